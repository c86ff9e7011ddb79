// SPDX-License-Identifier: Apache-2.0
// An object_reader on a store's get_range: each lane of the reader is a lane of the store.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "storage/storage_internal.h"

struct range_reader {
  struct object_reader base;
  struct storage *store;
  char *key; // with the prefix
  struct lane_set lanes;
};

static void interrupt_lane(void *arg)
{
  storage_lane_interrupt(arg);
}

static int reader_lane_open(struct object_reader *base, void **ret_lane, struct err *err)
{
  struct range_reader *r = (struct range_reader *)base;
  struct storage_lane *lane = NULL;
  if (storage_lane_new(r->store, &lane, err) < 0)
    return -1;
  if (lane_set_add(&r->lanes, lane, err) < 0) {
    storage_lane_free(lane);
    return -1;
  }
  *ret_lane = lane;
  return 0;
}

static void reader_lane_close(struct object_reader *base, void *lane)
{
  struct range_reader *r = (struct range_reader *)base;
  lane_set_remove(&r->lanes, lane);
  storage_lane_free(lane);
}

static int reader_read(struct object_reader *base, void *arg, void *into, size_t length,
                       uint64_t offset, struct err *err)
{
  struct range_reader *r = (struct range_reader *)base;
  struct storage_lane *lane = arg;
  return r->store->ops->get_range(r->store->state, lane->state, r->key, base->identity, into,
                                  length, offset, err);
}

static void reader_interrupt(struct object_reader *base)
{
  lane_set_interrupt(&((struct range_reader *)base)->lanes);
}

static void reader_free(struct object_reader *base)
{
  struct range_reader *r = (struct range_reader *)base;
  lane_set_release(&r->lanes);
  free(r->key);
  free(r);
}

static const struct object_reader_ops reader_ops = {
    .name = "store",
    .lane_open = reader_lane_open,
    .lane_close = reader_lane_close,
    .read = reader_read,
    .interrupt = reader_interrupt,
    .free = reader_free,
};

int storage_range_reader(struct storage *s, const char *key, const struct storage_stat *stat,
                         struct object_reader **ret, struct err *err)
{
  struct range_reader *r = calloc(1, sizeof(*r));
  char *copy = str_dup(key);
  if (!r || !copy) {
    free(r);
    free(copy);
    return err_set(err, ERR_NO_MEMORY, "no memory for a reader");
  }
  r->base = (struct object_reader){.ops = &reader_ops, .size_bytes = stat->size_bytes};
  snprintf(r->base.identity, sizeof(r->base.identity), "%s", stat->identity);
  // A web server may give neither a tag nor a date: only the size is left, after a colon.
  r->base.tells_changes = stat->identity[0] && stat->identity[0] != ':';
  r->store = s;
  r->key = copy;
  lane_set_init(&r->lanes, interrupt_lane);
  *ret = &r->base;
  return 0;
}

static int write_whole(struct object_writer *w, const void *data, size_t length, struct err *err)
{
  struct object_body body = object_body_bytes(data, length);
  void *lane = NULL;
  if (object_begin(w, length, err) < 0 || object_write_lane_open(w, &lane, err) < 0)
    return -1;
  int result = object_write_part(w, lane, 0, 0, &body, err);
  object_write_lane_close(w, lane);
  return result < 0 ? -1 : object_commit(w, err);
}

int storage_write_whole(struct object_writer *w, const void *data, size_t length, struct err *err)
{
  int result = write_whole(w, data, length, err);
  if (result < 0 && w->begun)
    object_abort(w, NULL);
  object_writer_free(w);
  return result;
}
