// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "disk/copy.h"
#include "disk/pack_internal.h"

uint64_t pack_data_chunks(const struct extents *map)
{
  uint64_t chunks = 0, next = 0;
  for (size_t i = 0; i < map->count; i++) {
    const struct extent *x = &map->items[i];
    if (!x->data)
      continue;
    uint64_t first = x->offset / COPY_CHUNK_BYTES;
    uint64_t end = (x->offset + x->length + COPY_CHUNK_BYTES - 1) / COPY_CHUNK_BYTES;
    first = first > next ? first : next;
    chunks += end > first ? end - first : 0;
    next = end > next ? end : next;
  }
  return chunks;
}

size_t pack_end_give(struct pack_end *e, size_t room, uint8_t *into)
{
  size_t left = e->length - e->given;
  size_t length = left < room ? left : room;
  memcpy(into, e->bytes + e->given, length);
  e->given += length;
  return length;
}

void pack_free(struct pack *p)
{
  if (p)
    p->ops->free(p);
}
