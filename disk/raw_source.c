// SPDX-License-Identifier: Apache-2.0
// Raw images: stored bytes are guest bytes. Local files show their holes (SEEK_DATA); for block
// devices and remote objects everything is data.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk/fd_internal.h"
#include "disk/image_internal.h"

struct raw_source {
  struct source source;
  struct object_reader *reader;
  int fd; // of a local file or device, the reader's; -1 otherwise
};

static int raw_lane_open(struct source *s, void **ret_lane, struct err *err)
{
  return object_lane_open(((struct raw_source *)s)->reader, ret_lane, err);
}

static void raw_lane_close(struct source *s, void *lane)
{
  object_lane_close(((struct raw_source *)s)->reader, lane);
}

static int raw_read(struct source *s, void *lane, void *into, size_t length, uint64_t offset,
                    struct err *err)
{
  return object_read(((struct raw_source *)s)->reader, lane, into, length, offset, err);
}

int fd_extents(int fd, uint64_t size, struct extents *ret)
{
  uint64_t at = 0;
  while (at < size) {
    off_t data = lseek(fd, (off_t)at, SEEK_DATA);
    if (data < 0 && errno != ENXIO)
      return -1;
    uint64_t start = data < 0 || (uint64_t)data > size ? size : (uint64_t)data;
    if (extents_add(ret, at, start - at, false) != 0)
      return -1;
    if (start == size)
      return 0;
    off_t hole = lseek(fd, (off_t)start, SEEK_HOLE);
    uint64_t end = hole < 0 || (uint64_t)hole > size ? size : (uint64_t)hole;
    if (extents_add(ret, start, end - start, true) != 0)
      return -1;
    at = end;
  }
  return 0;
}

static int raw_extents(struct source *s, struct extents *ret, struct err *err)
{
  const struct raw_source *r = (const struct raw_source *)s;
  if (s->exact_map && fd_extents(r->fd, s->size_bytes, ret) == 0)
    return 0;
  extents_release(ret); // no map to be had: everything is data
  s->exact_map = false;
  if (extents_add(ret, 0, s->size_bytes, true) != 0)
    return err_set(err, ERR_NO_MEMORY, "no memory for the extent map");
  return 0;
}

static void raw_interrupt(struct source *s)
{
  object_interrupt(((struct raw_source *)s)->reader);
}

static void raw_free(struct source *s)
{
  object_reader_free(((struct raw_source *)s)->reader);
  free(s);
}

static const struct source_ops raw_ops = {.name = "raw",
                                          .extents = raw_extents,
                                          .lane_open = raw_lane_open,
                                          .lane_close = raw_lane_close,
                                          .read = raw_read,
                                          .interrupt = raw_interrupt,
                                          .free = raw_free};

int source_open_raw(struct object_reader *r, struct source **ret, struct err *err)
{
  struct raw_source *s = calloc(1, sizeof(*s));
  if (!s) {
    object_reader_free(r);
    return err_set(err, ERR_NO_MEMORY, "no memory");
  }
  s->source = (struct source){.ops = &raw_ops, .size_bytes = r->size_bytes};
  snprintf(s->source.identity, sizeof(s->source.identity), "%s", r->identity);
  s->source.tells_changes = r->tells_changes;
  s->source.round_trip_ms = r->round_trip_ms;
  s->reader = r;
  s->fd = object_reader_file_fd(r);
  struct stat st;
  s->source.exact_map = s->fd >= 0 && fstat(s->fd, &st) == 0 && S_ISREG(st.st_mode);
  *ret = &s->source;
  return 0;
}
