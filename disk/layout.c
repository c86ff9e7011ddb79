// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "disk/copy.h"
#include "disk/layout_type_internal.h"

void layout_free(struct layout *l)
{
  if (l)
    l->ops->free(l);
}

uint64_t layout_stored_bytes(const struct layout *l)
{
  return l->stored_bytes;
}

struct piece layout_piece(const struct layout *l, uint64_t offset)
{
  return l->ops->piece(l, offset);
}

uint64_t layout_skip_holes(const struct layout *l, uint64_t offset)
{
  return l->ops->skip_holes ? l->ops->skip_holes(l, offset) : offset;
}

void layout_metadata(const struct layout *l, const struct piece *p, void *into)
{
  l->ops->metadata(l, p, into);
}

// ---- raw: stored bytes are guest bytes ------------------------------------------------------

static struct piece raw_piece(const struct layout *l, uint64_t offset)
{
  struct piece p = {.data = true, .chunk = offset / COPY_CHUNK_BYTES};
  p.offset = p.chunk * COPY_CHUNK_BYTES;
  uint64_t left = l->stored_bytes - p.offset;
  p.length = left < COPY_CHUNK_BYTES ? left : COPY_CHUNK_BYTES;
  uint64_t blocks = (p.length + BLOCK_BYTES - 1) / BLOCK_BYTES;
  p.blocks = blocks == BLOCKS_PER_CHUNK ? UINT64_MAX : (1ull << blocks) - 1;
  return p;
}

static uint64_t raw_skip_holes(const struct layout *l, uint64_t offset)
{
  size_t i = extents_find(l->map, offset);
  while (i < l->map->count && !l->map->items[i].data)
    i++;
  if (i == l->map->count)
    return l->stored_bytes;
  uint64_t at = l->map->items[i].offset / COPY_CHUNK_BYTES * COPY_CHUNK_BYTES;
  return at > offset ? at : offset;
}

static void raw_free(struct layout *l)
{
  free(l);
}

static const struct layout_ops raw_ops = {
    .piece = raw_piece, .skip_holes = raw_skip_holes, .free = raw_free};

int layout_new_raw(const struct extents *map, uint64_t guest_bytes, struct layout **ret,
                   struct err *err)
{
  struct layout *l = calloc(1, sizeof(*l));
  if (!l)
    return err_set(err, ERR_NO_MEMORY, "no memory for the layout");
  *l = (struct layout){
      .ops = &raw_ops, .map = map, .guest_bytes = guest_bytes, .stored_bytes = guest_bytes};
  *ret = l;
  return 0;
}
