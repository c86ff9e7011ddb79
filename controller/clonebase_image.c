// SPDX-License-Identifier: Apache-2.0
// The image of a CloneBase as a stream, for platforms that take one: an object of a store, as
// providers/feed.h wants to read it.
#include <pthread.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "controller/clonebase_internal.h"
#include "storage/storage.h"

// Opened and read on one thread, interrupted from any; the mutex guards what the latter touches.
struct stored {
  struct feed_source base;
  struct storage_config config;
  const struct address_filter *allowed;
  char *key;
  struct storage *store;
  void *reader_lane;
  pthread_mutex_t mutex;
  struct storage_lane *lane;
  struct object_reader *reader;
  bool interrupted;
};

bool basing_streams(const struct basing *b)
{
  return b->spec->image && b->takes_images;
}

// ---- the source --------------------------------------------------------------------------------

static int cancelled(struct err *err)
{
  return err_set(err, ERR_CANCELLED, "the image is not wanted any more");
}

static int set_lane(struct stored *s, struct storage_lane *lane, struct err *err)
{
  LOCK_FOR_SCOPE(&s->mutex);
  s->lane = lane;
  return s->interrupted ? cancelled(err) : 0;
}

static int set_reader(struct stored *s, struct object_reader *reader, struct err *err)
{
  LOCK_FOR_SCOPE(&s->mutex);
  s->reader = reader;
  return s->interrupted ? cancelled(err) : 0;
}

static int stored_open(struct feed_source *source, struct err *err)
{
  struct stored *s = (struct stored *)source;
  struct storage_lane *lane;
  struct object_reader *reader;
  if (storage_open(&s->config, s->allowed, &s->store, err) != 0 ||
      storage_lane_new(s->store, &lane, err) != 0)
    return -1;
  if (set_lane(s, lane, err) != 0 || storage_lane_reader(lane, s->key, &reader, err) != 0)
    return err_prefix(err, "image %s", s->key);
  if (set_reader(s, reader, err) != 0 || object_lane_open(reader, &s->reader_lane, err) != 0)
    return err_prefix(err, "image %s", s->key);
  source->size_bytes = reader->size_bytes;
  return 0;
}

static int stored_read(struct feed_source *source, void *into, size_t length, uint64_t offset,
                       struct err *err)
{
  struct stored *s = (struct stored *)source;
  if (object_read(s->reader, s->reader_lane, into, length, offset, err) != 0)
    return err_prefix(err, "image %s", s->key);
  return 0;
}

static void stored_interrupt(struct feed_source *source)
{
  struct stored *s = (struct stored *)source;
  LOCK_FOR_SCOPE(&s->mutex);
  s->interrupted = true;
  if (s->lane)
    storage_lane_interrupt(s->lane);
  if (s->reader)
    object_interrupt(s->reader);
}

static void stored_free(struct feed_source *source)
{
  struct stored *s = (struct stored *)source;
  if (s->reader_lane)
    object_lane_close(s->reader, s->reader_lane);
  if (s->reader)
    object_reader_free(s->reader);
  if (s->lane)
    storage_lane_free(s->lane);
  if (s->store)
    storage_free(s->store);
  storage_config_release(&s->config);
  pthread_mutex_destroy(&s->mutex);
  free(s->key);
  free(s);
}

int basing_source(struct basing *b, struct feed_source **ret, struct err *err)
{
  static const struct feed_source_ops ops = {stored_open, stored_read, stored_interrupt,
                                             stored_free};
  struct stored *s = calloc(1, sizeof(*s));
  if (!s)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  pthread_mutex_init(&s->mutex, NULL);
  s->base.ops = &ops;
  atomic_init(&s->base.references, 1);
  s->allowed = b->k.m->allowed;
  s->key = str_dup(b->spec->image->path);
  int failed =
      s->key ? store_access(b->k.m, b->k.key.ns, &b->spec->image->store, false, &s->config, err)
             : err_set(err, ERR_NO_MEMORY, "out of memory");
  if (failed)
    stored_free(&s->base);
  else
    *ret = &s->base;
  return failed;
}

// ---- before anything is made -------------------------------------------------------------------

int basing_look_at_image(struct basing *b, struct base_order *order, struct findings *f,
                         struct err *err)
{
  struct feed_source *source;
  enum feed_format format = FEED_OTHER;
  if (b->spec->image->firmware &&
      findings_add(f, "Image", FINDING_ERROR, "Leave image.firmware out.",
                   "a container has no firmware") != 0)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  if (basing_source(b, &source, err) != 0)
    return -1;
  int failed = feed_source_look(source, &format, err);
  order->image_format = (int)format;
  order->image_bytes = (int64_t)source->size_bytes;
  feed_source_unref(source);
  return failed;
}
