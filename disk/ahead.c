// SPDX-License-Identifier: Apache-2.0
#include "disk/ahead_internal.h"

#include <stdlib.h>
#include <string.h>

#include "disk/copy.h"

#define GAP_BYTES (64u << 10) // cheaper to read over than to ask again
#define RUN_BYTES AHEAD_BYTES // a chunk, and gaps

_Static_assert(AHEAD_BYTES > COPY_CHUNK_BYTES, "a chunk fits");

void ahead_release(struct ahead *a)
{
  free(a->bytes);
  *a = (struct ahead){0};
}

uint64_t ahead_run_end(const struct places *l, size_t i, uint64_t from)
{
  const struct place *first = &l->items[i];
  uint64_t begin = first->offset + (from - first->start);
  uint64_t chunk_end = (from / COPY_CHUNK_BYTES + 1) * COPY_CHUNK_BYTES;
  uint64_t end = begin;
  for (; i < l->count && l->items[i].start < chunk_end; i++) {
    const struct place *p = &l->items[i];
    if (p->kind == PLACE_ZERO)
      continue;
    uint64_t at = p == first ? begin : p->offset;
    uint64_t guest = p == first ? from : p->start;
    uint64_t length = p->start + p->length - guest;
    if (guest + length > chunk_end)
      length = chunk_end - guest;
    if (p->kind != PLACE_FILE || p->depth != first->depth || at < end || at - end > GAP_BYTES ||
        at + length - begin > RUN_BYTES)
      break;
    end = at + length;
  }
  return end;
}

static bool at_hand(const struct ahead *a, uint16_t depth, uint64_t at, size_t length)
{
  return a->bytes && a->depth == depth && at >= a->offset && at + length <= a->offset + a->length;
}

static int fetch(struct ahead *a, struct object_reader *r, void *lane, uint16_t depth, uint64_t at,
                 size_t length, struct err *err)
{
  if (!a->bytes && !(a->bytes = malloc(RUN_BYTES)))
    return err_set(err, ERR_NO_MEMORY, "no memory for reading ahead");
  a->length = 0; // not good until all of it is there
  if (object_read(r, lane, a->bytes, length, at, err) != 0)
    return -1;
  a->offset = at;
  a->length = length;
  a->depth = depth;
  return 0;
}

int ahead_read(struct ahead *a, struct object_reader *r, void *lane, uint16_t depth, void *into,
               size_t length, uint64_t at, uint64_t run_end, struct err *err)
{
  if (!at_hand(a, depth, at, length)) {
    uint64_t end = run_end < r->size_bytes ? run_end : r->size_bytes;
    if (end <= at + length)
      return object_read(r, lane, into, length, at, err);
    if (fetch(a, r, lane, depth, at, (size_t)(end - at), err) != 0)
      return -1;
  }
  memcpy(into, a->bytes + (at - a->offset), length);
  return 0;
}
