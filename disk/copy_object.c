// SPDX-License-Identifier: Apache-2.0
// Lanes that lay down a stored object whose parts may come in any order: block by block into files
// (direct), or in parts that are runs of whole pieces.
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "disk/copy_internal.h"

#define PART_IN_MEMORY_BYTES (16ull << 20)

// ---- direct ---------------------------------------------------------------------------------

struct direct_item {
  struct piece piece;
  uint64_t sequence;
};

bool copy_is_direct(const struct copy *c)
{
  const struct object_writer *w = c->job->object;
  return w->holes && !w->ordered && w->parts_max == 0 && w->part_min_bytes == 0;
}

static bool direct_next(struct copy *c, struct direct_item *ret)
{
  uint64_t at = c->sparse ? layout_skip_holes(c->layout, c->next) : c->next;
  if (at >= layout_stored_bytes(c->layout))
    return false;
  ret->piece = layout_piece(c->layout, at);
  ret->sequence = c->next_sequence++;
  c->next = ret->piece.offset + ret->piece.length;
  return true;
}

static bool direct_take(struct copy *c, struct direct_item *ret)
{
  crew_pace(c->crew);
  LOCK_FOR_SCOPE(&c->lock);
  do {
    if (!direct_next(c, ret))
      return false;
  } while (resume_skip(c, ret->sequence));
  return true;
}

static int write_run(struct lane *l, const uint8_t *from, uint64_t length, uint64_t offset,
                     struct err *err)
{
  struct copy *c = l->copy;
  uint64_t most = c->job->object->part_max_bytes;
  while (length) {
    uint64_t n = most && length > most ? most : length;
    struct object_body body = object_body_bytes(from, (size_t)n);
    uint32_t number = atomic_fetch_add(&c->part_number, 1);
    if (object_write_part(c->job->object, l->out_lane, number, offset, &body, err) != 0)
      return -1;
    crew_moved(c->crew);
    from += n;
    offset += n;
    length -= n;
  }
  return 0;
}

// The chunk holds the stored blocks one after the other (chunk_pack). Runs of those with anything
// but zeros are written; the others stay holes.
static int write_blocks(struct lane *l, const struct piece *p, uint64_t wanted, struct err *err)
{
  for (int n = 0; n < BLOCKS_PER_CHUNK;) {
    if (!(wanted >> n & 1)) {
      n++;
      continue;
    }
    uint64_t at = (uint64_t)n * BLOCK_BYTES;
    while (n < BLOCKS_PER_CHUNK && wanted >> n & 1)
      n++;
    uint64_t end = (uint64_t)n * BLOCK_BYTES < p->length ? (uint64_t)n * BLOCK_BYTES : p->length;
    if (write_run(l, l->chunk + at, end - at, p->offset + at, err) != 0)
      return -1;
  }
  return 0;
}

static int hash_item(struct lane *l, const struct direct_item *item, struct err *err)
{
  struct sha_turn *sha = l->copy->sha;
  if (!sha || sha_turn_over(sha, item->sequence))
    return 0;
  if (sha_turn_wait(sha, item->sequence, err) != 0)
    return -1;
  sha_turn_add(sha, item->piece.offset, l->chunk, item->piece.length);
  sha_turn_pass(sha);
  return 0;
}

static int direct_metadata(struct lane *l, const struct direct_item *item, struct err *err)
{
  const struct copy *c = l->copy;
  layout_metadata(c->layout, &item->piece, l->chunk);
  // It follows from the map alone, which is the same: nothing is written to what has its name.
  bool there = c->job->object->stored && resume_may_be_same(c, item->sequence);
  if (hash_item(l, item, err) != 0 ||
      (!there && write_run(l, l->chunk, item->piece.length, item->piece.offset, err) != 0))
    return -1;
  return resume_unit_done(l, item->sequence, 0, !there, err);
}

static int direct_data(struct lane *l, const struct direct_item *item, struct err *err)
{
  struct copy *c = l->copy;
  const struct piece *p = &item->piece;
  uint64_t nonzero, data_bytes;
  if (chunk_read(l, p->chunk, l->chunk, &nonzero, &data_bytes, err) != 0)
    return -1;
  bool zeros = !c->sparse || c->resume.dirty;
  uint64_t wanted = chunk_pack(l->chunk, p, zeros ? UINT64_MAX : nonzero);
  bool same = resume_same(l, item->sequence);
  if (hash_item(l, item, err) != 0 ||
      (!same && (resume_undo(l, item->sequence, err) != 0 || write_blocks(l, p, wanted, err) != 0)))
    return -1;
  copy_moved(c, data_bytes);
  return resume_unit_done(l, item->sequence, data_bytes, !same, err);
}

static int direct_do(struct lane *l, const struct direct_item *item, struct err *err)
{
  resume_unit_begin(l);
  return item->piece.data ? direct_data(l, item, err) : direct_metadata(l, item, err);
}

int copy_direct_lane(void *copy, int index, struct err *err)
{
  (void)index;
  struct copy *c = copy;
  struct lane l;
  if (lane_open(c, &l, err) != 0)
    return -1;
  int failed = 0;
  struct direct_item item;
  while (!failed && !crew_stopped(c->crew) && direct_take(c, &item))
    failed = direct_do(&l, &item, err);
  if (!failed)
    failed = resume_lane_end(&l, err);
  lane_close(&l);
  return failed;
}

// ---- parts ----------------------------------------------------------------------------------

struct part {
  uint64_t sequence, offset, length;
};

static uint64_t round_up(uint64_t n)
{
  return (n + COPY_CHUNK_BYTES - 1) / COPY_CHUNK_BYTES * COPY_CHUNK_BYTES;
}

// A part ends with the piece that reaches the target size, so it is less than a chunk larger.
int copy_plan_parts(struct copy *c, struct err *err)
{
  const struct object_writer *w = c->job->object;
  uint64_t stored = layout_stored_bytes(c->layout);
  uint64_t target = COPY_PART_BYTES;
  if (w->part_min_bytes > target)
    target = round_up(w->part_min_bytes);
  if (w->parts_max > 1 && stored / (w->parts_max - 1) >= target)
    target = round_up(stored / (w->parts_max - 1) + 1);
  if (w->parts_max == 1)
    target = UINT64_MAX;
  uint64_t largest = target == UINT64_MAX ? stored : target + COPY_CHUNK_BYTES;
  if (w->part_max_bytes && largest > w->part_max_bytes && stored > w->part_max_bytes)
    return err_set(err, ERR_LIMIT,
                   "%s cannot take an object of %llu bytes: its parts are too small", w->ops->name,
                   (unsigned long long)stored);
  c->part_target_bytes = target;
  // Each lane holds the part, which may be a chunk larger than the target.
  c->parts_in_memory = target <= PART_IN_MEMORY_BYTES &&
                       (uint64_t)c->crew->lanes * (target + COPY_CHUNK_BYTES) <= COPY_MEMORY_BYTES;
  return 0;
}

uint64_t part_end(const struct copy *c, uint64_t offset)
{
  uint64_t stored = layout_stored_bytes(c->layout);
  if (c->part_target_bytes >= stored - offset)
    return stored;
  struct piece p = layout_piece(c->layout, offset + c->part_target_bytes - 1);
  return p.offset + p.length;
}

static bool part_next(struct copy *c, struct part *ret)
{
  if (c->next >= layout_stored_bytes(c->layout))
    return false;
  uint64_t end = part_end(c, c->next);
  *ret = (struct part){c->next_sequence++, c->next, end - c->next};
  c->next = end;
  return true;
}

static bool part_take(struct copy *c, struct part *ret)
{
  struct object_writer *w = c->job->object;
  crew_pace(c->crew);
  LOCK_FOR_SCOPE(&c->lock);
  do {
    if (!part_next(c, ret))
      return false;
  } while (!object_wants(w, (uint32_t)ret->sequence) || resume_skip(c, ret->sequence));
  return true;
}

static bool part_is_hashed(const struct copy *c, const struct part *part)
{
  return c->sha && !sha_turn_over(c->sha, part->sequence);
}

static bool part_is_stored(const struct lane *l, const struct part *part, const uint8_t *bytes)
{
  return resume_same(l, part->sequence) ||
         resume_part_is_stored(l->copy, part->sequence, bytes, part->length);
}

static int part_in_memory(struct lane *l, const struct part *part, uint8_t *room, struct err *err)
{
  struct copy *c = l->copy;
  uint64_t data_sum = 0;
  for (uint64_t done = 0; done < part->length && !crew_stopped(c->crew);) {
    struct piece p = layout_piece(c->layout, part->offset + done);
    uint64_t data_bytes;
    if (piece_load(l, &p, room + done, &data_bytes, err) != 0)
      return -1;
    done += p.length;
    data_sum += data_bytes;
  }
  if (crew_stopped(c->crew))
    return err_set(err, ERR_CANCELLED, "stopped");
  if (part_is_hashed(c, part)) {
    if (sha_turn_wait(c->sha, part->sequence, err) != 0)
      return -1;
    sha_turn_add(c->sha, part->offset, room, part->length);
    sha_turn_pass(c->sha);
  }
  bool stored = part_is_stored(l, part, room);
  struct object_body body = object_body_bytes(room, (size_t)part->length);
  uint32_t number = (uint32_t)part->sequence;
  if (!stored &&
      (resume_undo(l, number, err) != 0 ||
       object_write_part(c->job->object, l->out_lane, number, part->offset, &body, err) != 0))
    return -1;
  copy_moved(c, data_sum);
  return resume_unit_done(l, number, data_sum, !stored, err);
}

// A part that is too large to be held: pieces are read when the writer asks for them, and again
// when it starts over.
struct stream {
  struct lane *lane;
  const struct part *part;
  struct piece piece; // in lane->chunk; length 0 = none
  uint64_t loaded_to; // stored offset; what lies before has been read once
  uint64_t data_bytes;
};

static int stream_load(struct stream *s, uint64_t at, struct err *err)
{
  struct copy *c = s->lane->copy;
  if (crew_stopped(c->crew))
    return err_set(err, ERR_CANCELLED, "stopped");
  struct piece p = layout_piece(c->layout, at);
  uint64_t data_bytes;
  s->piece.length = 0;
  if (piece_load(s->lane, &p, s->lane->chunk, &data_bytes, err) != 0)
    return -1;
  s->piece = p;
  if (p.offset != s->loaded_to) {
    atomic_fetch_add(&c->tally->resent_bytes, p.offset < s->loaded_to ? data_bytes : 0);
    return 0;
  }
  copy_moved(c, data_bytes);
  s->data_bytes += data_bytes;
  s->loaded_to = p.offset + p.length;
  if (!part_is_hashed(c, s->part))
    return 0;
  if (sha_turn_wait(c->sha, s->part->sequence, err) != 0)
    return -1;
  sha_turn_add(c->sha, p.offset, s->lane->chunk, p.length);
  if (s->loaded_to == s->part->offset + s->part->length)
    sha_turn_pass(c->sha);
  return 0;
}

static int stream_read(void *arg, uint64_t offset, void *into, size_t length, struct err *err)
{
  struct stream *s = arg;
  uint64_t at = s->part->offset + offset;
  while (length) {
    bool here = at >= s->piece.offset && at < s->piece.offset + s->piece.length;
    if (!here && stream_load(s, at, err) != 0)
      return -1;
    uint64_t left = s->piece.offset + s->piece.length - at;
    size_t n = left < length ? (size_t)left : length;
    memcpy(into, s->lane->chunk + (at - s->piece.offset), n);
    into = (char *)into + n;
    at += n;
    length -= n;
  }
  return 0;
}

static int stream_all(struct stream *s, struct err *err)
{
  uint64_t end = s->part->offset + s->part->length;
  for (uint64_t at = s->part->offset; at < end; at = s->loaded_to)
    if (stream_load(s, at, err) != 0)
      return -1;
  return 0;
}

static int part_streamed(struct lane *l, const struct part *part, struct err *err)
{
  struct copy *c = l->copy;
  struct stream s = {.lane = l, .part = part, .loaded_to = part->offset};
  if (resume_may_be_same(c, part->sequence) && stream_all(&s, err) != 0)
    return -1;
  if (resume_same(l, part->sequence))
    return resume_unit_done(l, part->sequence, s.data_bytes, false, err);
  struct object_body body = {.length = part->length, .read = stream_read, .arg = &s};
  uint32_t number = (uint32_t)part->sequence;
  if (object_write_part(c->job->object, l->out_lane, number, part->offset, &body, err) != 0)
    return -1;
  if (s.loaded_to != part->offset + part->length)
    return err_set(err, ERR_INTERNAL, "%s did not read part %u in order to its end",
                   c->job->object->ops->name, number);
  return resume_unit_done(l, number, s.data_bytes, true, err);
}

static int part_do(struct lane *l, const struct part *part, uint8_t *room, struct err *err)
{
  resume_unit_begin(l);
  return room ? part_in_memory(l, part, room, err) : part_streamed(l, part, err);
}

int copy_parts_lane(void *copy, int index, struct err *err)
{
  (void)index;
  struct copy *c = copy;
  size_t room_bytes = c->parts_in_memory ? c->part_target_bytes + COPY_CHUNK_BYTES : 0;
  cleanup_free uint8_t *room = room_bytes ? malloc(room_bytes) : NULL;
  if (room_bytes && !room)
    return err_set(err, ERR_NO_MEMORY, "no memory for a part");
  struct lane l;
  if (lane_open(c, &l, err) != 0)
    return -1;
  int failed = 0;
  struct part part;
  while (!failed && !crew_stopped(c->crew) && part_take(c, &part))
    failed = part_do(&l, &part, room, err);
  if (!failed)
    failed = resume_lane_end(&l, err);
  lane_close(&l);
  return failed;
}
