// SPDX-License-Identifier: Apache-2.0
#include "disk/source.h"

#include <inttypes.h>

#include "base/limits.h"

static int check_map(const struct source *s, const struct extents *e, struct err *err)
{
  uint64_t at = 0;
  for (size_t i = 0; i < e->count; i++) {
    const struct extent *x = &e->items[i];
    if (x->offset != at || x->length == 0 || x->length > s->size_bytes - at)
      return err_set(err, ERR_INTERNAL, "%s: the extent map is broken at offset %" PRIu64,
                     s->ops->name, at);
    at += x->length;
  }
  if (at != s->size_bytes)
    return err_set(err, ERR_INTERNAL, "%s: the extent map ends at %" PRIu64 " of %" PRIu64,
                   s->ops->name, at, s->size_bytes);
  return 0;
}

int source_extents(struct source *s, struct extents *ret, struct err *err)
{
  *ret = (struct extents){0};
  if (s->size_bytes > LIMIT_DISK_BYTES)
    return err_set(err, ERR_LIMIT, "a disk of %" PRIu64 " bytes is larger than the limit",
                   s->size_bytes);
  int failed = 0;
  if (s->ops->extents)
    failed = s->ops->extents(s, ret, err);
  else if (extents_add(ret, 0, s->size_bytes, true) != 0)
    failed = err_set(err, ERR_NO_MEMORY, "no memory for the extent map");
  if (!failed)
    failed = check_map(s, ret, err);
  if (failed)
    extents_release(ret);
  return failed;
}

int source_lane_open(struct source *s, void **ret_lane, struct err *err)
{
  *ret_lane = NULL;
  return s->ops->lane_open ? s->ops->lane_open(s, ret_lane, err) : 0;
}

void source_lane_close(struct source *s, void *lane)
{
  if (s->ops->lane_close)
    s->ops->lane_close(s, lane);
}

int source_read(struct source *s, void *lane, void *into, size_t length, uint64_t offset,
                struct err *err)
{
  if (offset > s->size_bytes || length > s->size_bytes - offset)
    return err_set(err, ERR_INTERNAL, "%s: read of %zu bytes at %" PRIu64 " is beyond the end",
                   s->ops->name, length, offset);
  return length ? s->ops->read(s, lane, into, length, offset, err) : 0;
}

void source_interrupt(struct source *s)
{
  if (s->ops->interrupt)
    s->ops->interrupt(s);
}

void source_free(struct source *s)
{
  if (s)
    s->ops->free(s);
}
