// SPDX-License-Identifier: Apache-2.0
// Images for base_make() in tests of providers, which know no stores: a local file as a source, as
// slow as a test wants it.
#include <stdlib.h>
#include <time.h>

#include "disk/object.h"
#include "tests/integration/clone_bench.h"

struct local {
  struct feed_source base;
  char *path;
  struct object_reader *reader;
  void *lane;
  int64_t delay_ms; // before each read
  atomic_bool interrupted;
};

static int local_open(struct feed_source *source, struct err *err)
{
  struct local *l = (struct local *)source;
  if (object_reader_file(l->path, &l->reader, err) != 0 ||
      object_lane_open(l->reader, &l->lane, err) != 0)
    return -1;
  source->size_bytes = l->reader->size_bytes;
  return 0;
}

// An interrupted store ends its calls at once.
static int local_read(struct feed_source *source, void *into, size_t length, uint64_t offset,
                      struct err *err)
{
  struct local *l = (struct local *)source;
  struct timespec step = {.tv_nsec = 5000000};
  for (int64_t slept_ms = 0; slept_ms < l->delay_ms && !l->interrupted; slept_ms += 5)
    nanosleep(&step, NULL);
  if (l->interrupted)
    return err_set(err, ERR_CANCELLED, "interrupted");
  return object_read(l->reader, l->lane, into, length, offset, err);
}

static void local_interrupt(struct feed_source *source)
{
  ((struct local *)source)->interrupted = true;
}

static void local_free(struct feed_source *source)
{
  struct local *l = (struct local *)source;
  if (l->lane)
    object_lane_close(l->reader, l->lane);
  object_reader_free(l->reader);
  free(l->path);
  free(l);
}

static struct feed_source *local_new(const char *path, int64_t delay_ms)
{
  static const struct feed_source_ops ops = {local_open, local_read, local_interrupt, local_free};
  struct local *l = calloc(1, sizeof(*l));
  assert_non_null(l);
  l->base.ops = &ops;
  atomic_init(&l->base.references, 1);
  l->path = str_dup(path);
  l->delay_ms = delay_ms;
  return &l->base;
}

void bench_image(struct base_order *b)
{
  enum feed_format format = FEED_OTHER;
  struct err failed = ERR_INIT;
  struct feed_source *look = local_new(b->image, 0);
  if (feed_source_look(look, &format, &failed) != 0)
    format = FEED_OTHER;
  b->image_format = (int)format;
  b->image_bytes = (int64_t)look->size_bytes;
  feed_source_unref(look);
  feed_source_unref(b->source);
  b->source = local_new(b->image, settings.image_delay_ms);
}
