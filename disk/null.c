// SPDX-License-Identifier: Apache-2.0
// The end that is nothing: a disk of 0 bytes to read, and a target that forgets what it is given.
#include <stdlib.h>

#include "disk/open.h"

static int source_nothing(struct source *s, void *lane, void *into, size_t length, uint64_t offset,
                          struct err *err)
{
  (void)s, (void)lane, (void)into, (void)length, (void)offset;
  return err_set(err, ERR_INTERNAL, "nothing can be read from null:");
}

static void source_gone(struct source *s)
{
  free(s);
}

static const struct source_ops null_source = {
    .name = "null", .read = source_nothing, .free = source_gone};

int source_open_null(struct source **ret, struct err *err)
{
  struct source *s = calloc(1, sizeof(*s));
  if (!s)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  *s = (struct source){
      .ops = &null_source, .identity = "null", .exact_map = true, .tells_changes = true};
  *ret = s;
  return 0;
}

static int null_begin(struct target *t, uint64_t size_bytes, const struct extents *e,
                      struct err *err)
{
  (void)e, (void)err;
  t->size_bytes = size_bytes;
  return 0;
}

static int null_write(struct target *t, void *lane, const void *from, size_t length,
                      uint64_t offset, struct err *err)
{
  (void)t, (void)lane, (void)from, (void)length, (void)offset, (void)err;
  return 0;
}

static int null_zero(struct target *t, void *lane, uint64_t length, uint64_t offset,
                     struct err *err)
{
  (void)t, (void)lane, (void)length, (void)offset, (void)err;
  return 0;
}

static int null_finish(struct target *t, struct err *err)
{
  (void)t, (void)err;
  return 0;
}

static void null_free(struct target *t)
{
  free(t);
}

static const struct target_ops null_target = {.name = "null",
                                              .begin = null_begin,
                                              .write = null_write,
                                              .zero = null_zero,
                                              .finish = null_finish,
                                              .free = null_free};

int target_open_null(struct target **ret, struct err *err)
{
  struct target *t = calloc(1, sizeof(*t));
  if (!t)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  *t = (struct target){.ops = &null_target, .zeroed = true};
  *ret = t;
  return 0;
}
