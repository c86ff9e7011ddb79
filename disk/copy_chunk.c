// SPDX-License-Identifier: Apache-2.0
// Reading one chunk: only where the map says data, with the digest on the way.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "disk/copy_internal.h"

int lane_open_source(struct copy *c, struct lane *l, struct err *err)
{
  *l = (struct lane){.copy = c};
  l->chunk = aligned_alloc(4096, COPY_CHUNK_BYTES);
  if (!l->chunk)
    return err_set(err, ERR_NO_MEMORY, "no memory for a lane");
  if (source_lane_open(c->source, &l->source_lane, err) == 0)
    return 0;
  lane_close(l);
  return -1;
}

int lane_open(struct copy *c, struct lane *l, struct err *err)
{
  if (lane_open_source(c, l, err) != 0)
    return -1;
  int failed = 0;
  if (c->job && c->job->target)
    failed = target_lane_open(c->job->target, &l->out_lane, err);
  else if (c->job)
    failed = object_write_lane_open(c->job->object, &l->out_lane, err);
  if (failed)
    lane_close(l);
  return failed;
}

void lane_close(struct lane *l)
{
  if (l->out_lane && l->copy->job->target)
    target_lane_close(l->copy->job->target, l->out_lane);
  else if (l->out_lane)
    object_write_lane_close(l->copy->job->object, l->out_lane);
  if (l->source_lane)
    source_lane_close(l->copy->source, l->source_lane);
  free(l->chunk);
  resume_lane_release(l);
  *l = (struct lane){0};
}

void copy_moved(struct copy *c, uint64_t data_bytes)
{
  atomic_fetch_add(c->counter, data_bytes);
  crew_moved(c->crew);
}

bool chunk_next(const struct copy *c, uint64_t *from, uint64_t *ret_chunk)
{
  size_t i = extents_find(&c->out_map, *from);
  while (i < c->out_map.count && !c->out_map.items[i].data)
    i++;
  if (i == c->out_map.count)
    return false;
  uint64_t at = c->out_map.items[i].offset > *from ? c->out_map.items[i].offset : *from;
  *ret_chunk = at / COPY_CHUNK_BYTES;
  *from = (*ret_chunk + 1) * COPY_CHUNK_BYTES;
  return true;
}

static bool block_is_zero(const uint8_t *block)
{
  for (size_t at = 0; at < BLOCK_BYTES; at += 64) {
    uint64_t words[8];
    memcpy(words, block + at, sizeof(words));
    if (words[0] | words[1] | words[2] | words[3] | words[4] | words[5] | words[6] | words[7])
      return false;
  }
  return true;
}

static uint64_t nonzero_blocks(const uint8_t *chunk, uint64_t candidates)
{
  uint64_t mask = 0;
  for (uint64_t left = candidates; left; left &= left - 1) {
    int n = __builtin_ctzll(left);
    if (!block_is_zero(chunk + (size_t)n * BLOCK_BYTES))
      mask |= 1ull << n;
  }
  return mask;
}

static uint64_t blocks_touched(uint64_t from, uint64_t to)
{
  uint64_t mask = 0;
  for (uint64_t n = from / BLOCK_BYTES; n * BLOCK_BYTES < to; n++)
    mask |= 1ull << n;
  return mask;
}

// Data extents are read, everything else in the buffer is zeroed.
static int fill_chunk(struct lane *l, uint64_t start, size_t length, uint8_t *into,
                      uint64_t *ret_touched, struct err *err)
{
  const struct extents *map = &l->copy->map;
  size_t done = 0;
  *ret_touched = 0;
  for (size_t i = extents_find(map, start); i < map->count && done < length; i++) {
    const struct extent *x = &map->items[i];
    uint64_t end = x->offset + x->length - start;
    size_t n = (end < length ? (size_t)end : length) - done;
    if (!x->data)
      memset(into + done, 0, n);
    else if (source_read(l->copy->source, l->source_lane, into + done, n, start + done, err) != 0)
      return -1;
    else
      *ret_touched |= blocks_touched(done, done + n);
    done += n;
    crew_moved(l->copy->crew);
  }
  memset(into + done, 0, COPY_CHUNK_BYTES - done);
  return 0;
}

int chunk_read(struct lane *l, uint64_t chunk, uint8_t *into, uint64_t *ret_nonzero,
               uint64_t *ret_data_bytes, struct err *err)
{
  struct copy *c = l->copy;
  uint64_t start = chunk * COPY_CHUNK_BYTES;
  uint64_t left = c->size_bytes - start;
  size_t length = left < COPY_CHUNK_BYTES ? (size_t)left : COPY_CHUNK_BYTES;
  *ret_data_bytes = extents_data_bytes(&c->map, start, length);
  uint64_t touched = 0;
  if (resume_note(l, chunk, err) != 0 || crew_throttle(c->crew, *ret_data_bytes, err) != 0 ||
      fill_chunk(l, start, length, into, &touched, err) != 0)
    return -1;
  *ret_nonzero = nonzero_blocks(into, touched);
  if (!c->hashing || *ret_nonzero == 0)
    return 0;
  if (!digest_leaf(&c->digest, chunk, into, length))
    return err_set(err, ERR_CHANGED, "the source changed at offset %" PRIu64 " while it was read",
                   start);
  return 0;
}

// into may be the chunk itself: blocks only move towards its start.
static void gather(const uint8_t *chunk, uint64_t blocks, uint64_t length, uint8_t *into)
{
  for (uint64_t left = blocks; left && length; left &= left - 1) {
    uint64_t n = length < BLOCK_BYTES ? length : BLOCK_BYTES;
    const uint8_t *from = chunk + (size_t)__builtin_ctzll(left) * BLOCK_BYTES;
    if (from != into)
      memmove(into, from, n);
    into += n;
    length -= n;
  }
}

uint64_t chunk_pack(uint8_t *chunk, const struct piece *p, uint64_t mask)
{
  if (p->blocks == UINT64_MAX)
    return mask;
  gather(chunk, p->blocks, p->length, chunk);
  uint64_t packed = 0;
  int n = 0;
  for (uint64_t left = p->blocks; left; left &= left - 1, n++)
    if (mask >> __builtin_ctzll(left) & 1)
      packed |= 1ull << n;
  return packed;
}

int piece_load(struct lane *l, const struct piece *p, uint8_t *into, uint64_t *ret_data_bytes,
               struct err *err)
{
  *ret_data_bytes = 0;
  if (!p->data) {
    layout_metadata(l->copy->layout, p, into);
    return 0;
  }
  uint64_t nonzero;
  if (chunk_read(l, p->chunk, into, &nonzero, ret_data_bytes, err) != 0)
    return -1;
  if (p->length < COPY_CHUNK_BYTES)
    gather(into, p->blocks, p->length, into);
  return 0;
}
