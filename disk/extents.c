// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "disk/source.h"

// 24 bytes each: 24 MiB for the worst map. A map that is finer is made coarser: small holes are
// called data, which is always true enough (they read as zeros).
#define EXTENTS_MAX (1u << 20)

static void coarsen(struct extents *e, uint64_t least_hole_bytes)
{
  size_t kept = 0;
  for (size_t i = 0; i < e->count; i++) {
    struct extent x = e->items[i];
    if (!x.data && x.length < least_hole_bytes)
      x.data = true;
    struct extent *last = kept ? &e->items[kept - 1] : NULL;
    if (last && last->data == x.data)
      last->length += x.length;
    else
      e->items[kept++] = x;
  }
  e->count = kept;
}

static void make_room(struct extents *e)
{
  for (uint64_t least = 64u << 10; e->count > EXTENTS_MAX / 2; least *= 2)
    coarsen(e, least);
}

static int grow(struct extents *e)
{
  size_t capacity = e->capacity ? e->capacity * 2 : 64;
  struct extent *items = reallocarray(e->items, capacity, sizeof(*items));
  if (!items)
    return -1;
  e->items = items;
  e->capacity = capacity;
  return 0;
}

int extents_add(struct extents *e, uint64_t offset, uint64_t length, bool data)
{
  if (length == 0)
    return 0;
  if (e->count >= EXTENTS_MAX)
    make_room(e);
  struct extent *last = e->count ? &e->items[e->count - 1] : NULL;
  if (last && last->data == data && last->offset + last->length == offset) {
    last->length += length;
    return 0;
  }
  if (e->count == e->capacity && grow(e) != 0)
    return -1;
  e->items[e->count++] = (struct extent){offset, length, data};
  return 0;
}

void extents_release(struct extents *e)
{
  free(e->items);
  *e = (struct extents){0};
}

size_t extents_find(const struct extents *e, uint64_t offset)
{
  size_t low = 0;
  size_t high = e->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    const struct extent *x = &e->items[middle];
    if (x->offset + x->length <= offset)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

uint64_t extents_data_bytes(const struct extents *e, uint64_t offset, uint64_t length)
{
  uint64_t end = offset + length;
  uint64_t sum = 0;
  for (size_t i = extents_find(e, offset); i < e->count && e->items[i].offset < end; i++) {
    const struct extent *x = &e->items[i];
    if (!x->data)
      continue;
    uint64_t from = x->offset > offset ? x->offset : offset;
    uint64_t to = x->offset + x->length < end ? x->offset + x->length : end;
    sum += to - from;
  }
  return sum;
}
