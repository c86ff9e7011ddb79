// SPDX-License-Identifier: Apache-2.0
#include "disk/places_internal.h"

#include <stdbool.h>
#include <stdlib.h>

// 32 bytes each: 64 MiB. 128 GiB in which no two clusters of 64 KiB follow each other.
#define PLACES_MAX (2u << 20)

void places_release(struct places *l)
{
  free(l->items);
  *l = (struct places){0};
}

static bool continues(const struct place *last, const struct place *p)
{
  if (last->kind != p->kind)
    return false;
  if (p->kind == PLACE_FILE)
    return last->depth == p->depth && last->offset + last->length == p->offset;
  return p->kind != PLACE_QEMU || last->depth == p->depth;
}

static int grow(struct places *l, struct err *err)
{
  if (l->count == PLACES_MAX)
    return err_set(err, ERR_LIMIT,
                   "the image is too fragmented to be mapped: convert it first (qemu-img convert)");
  size_t capacity = l->capacity ? l->capacity * 2 : 64;
  struct place *items = reallocarray(l->items, capacity, sizeof(*items));
  if (!items)
    return err_set(err, ERR_NO_MEMORY, "no memory for the map of an image");
  l->items = items;
  l->capacity = capacity;
  return 0;
}

int places_add(struct places *l, const struct place *p, struct err *err)
{
  struct place *last = l->count ? &l->items[l->count - 1] : NULL;
  if (last && continues(last, p)) {
    last->length += p->length;
    l->size_bytes += p->length;
    return 0;
  }
  if (l->count == l->capacity && grow(l, err) != 0)
    return -1;
  l->items[l->count] = *p;
  l->items[l->count++].start = l->size_bytes;
  l->size_bytes += p->length;
  return 0;
}

size_t places_find(const struct places *l, uint64_t offset)
{
  size_t low = 0;
  size_t high = l->count;
  while (high - low > 1) {
    size_t middle = low + (high - low) / 2;
    if (l->items[middle].start <= offset)
      low = middle;
    else
      high = middle;
  }
  return low;
}

// A range of `from` appended to `ret`; beyond its end there are zeros.
static int add_range(const struct places *from, uint64_t start, uint64_t length, struct places *ret,
                     struct err *err)
{
  while (length && start < from->size_bytes) {
    struct place p = from->items[places_find(from, start)];
    uint64_t skip = start - p.start;
    p.length -= skip;
    if (p.length > length)
      p.length = length;
    if (p.kind == PLACE_FILE)
      p.offset += skip;
    if (places_add(ret, &p, err) != 0)
      return -1;
    start += p.length;
    length -= p.length;
  }
  struct place zeros = {.length = length, .kind = PLACE_ZERO};
  return length ? places_add(ret, &zeros, err) : 0;
}

int places_join(const struct places *top, const struct places *below, struct places *ret,
                struct err *err)
{
  *ret = (struct places){0};
  for (size_t i = 0; i < top->count; i++) {
    const struct place *p = &top->items[i];
    int failed = p->kind == PLACE_BELOW ? add_range(below, p->start, p->length, ret, err)
                                        : places_add(ret, p, err);
    if (failed)
      return -1;
  }
  return 0;
}
