// SPDX-License-Identifier: Apache-2.0
#include "disk/target.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/limits.h"
#include "base/str.h"

int target_begin(struct target *t, uint64_t size_bytes, const struct extents *e, struct err *err)
{
  if (size_bytes > LIMIT_DISK_BYTES)
    return err_set(err, ERR_LIMIT, "a disk of %" PRIu64 " bytes is larger than the limit",
                   size_bytes);
  if (t->ops->begin(t, size_bytes, e, err) != 0)
    return -1;
  if (t->size_bytes < size_bytes)
    return err_set(err, ERR_NO_SPACE,
                   "the target holds %" PRIu64 " bytes, but the disk has %" PRIu64, t->size_bytes,
                   size_bytes);
  return 0;
}

int target_lane_open(struct target *t, void **ret_lane, struct err *err)
{
  *ret_lane = NULL;
  return t->ops->lane_open ? t->ops->lane_open(t, ret_lane, err) : 0;
}

void target_lane_close(struct target *t, void *lane)
{
  if (t->ops->lane_close)
    t->ops->lane_close(t, lane);
}

static int check_range(const struct target *t, uint64_t length, uint64_t offset, struct err *err)
{
  if (offset <= t->size_bytes && length <= t->size_bytes - offset)
    return 0;
  return err_set(err, ERR_INTERNAL, "%s: %" PRIu64 " bytes at %" PRIu64 " are beyond the end",
                 t->ops->name, length, offset);
}

int target_write(struct target *t, void *lane, const void *from, size_t length, uint64_t offset,
                 struct err *err)
{
  if (check_range(t, length, offset, err) != 0)
    return -1;
  return length ? t->ops->write(t, lane, from, length, offset, err) : 0;
}

int target_zero(struct target *t, void *lane, uint64_t length, uint64_t offset, struct err *err)
{
  if (check_range(t, length, offset, err) != 0)
    return -1;
  return length ? t->ops->zero(t, lane, length, offset, err) : 0;
}

int target_finish(struct target *t, struct err *err)
{
  return t->ops->finish(t, err);
}

int target_reopen(struct target *t, struct source **ret, struct err *err)
{
  *ret = NULL;
  if (!t->ops->reopen)
    return err_set(err, ERR_UNSUPPORTED, "a %s target cannot be read back", t->ops->name);
  return t->ops->reopen(t, ret, err);
}

void target_state_text(const char *identity, bool zeroed, char ret[TARGET_STATE_BYTES])
{
  snprintf(ret, TARGET_STATE_BYTES, "%.*s:%d", TARGET_STATE_BYTES - 3, identity, zeroed);
}

bool target_take_up(struct target *t, const char *identity, const char *earlier)
{
  for (int zeroed = 0; zeroed <= 1; zeroed++) {
    char state[TARGET_STATE_BYTES];
    target_state_text(identity, zeroed, state);
    if (!str_eq(state, earlier))
      continue;
    t->zeroed = zeroed;
    return t->resumed = true;
  }
  return false;
}

void target_resume(struct target *t, const char *state)
{
  if (t->ops->resume)
    t->ops->resume(t, state);
}

const char *target_state(struct target *t)
{
  return t->ops->state ? t->ops->state(t) : NULL;
}

int target_flush(struct target *t, void *lane, struct err *err)
{
  return t->ops->flush ? t->ops->flush(t, lane, err) : 0;
}

void target_interrupt(struct target *t)
{
  if (t->ops->interrupt)
    t->ops->interrupt(t);
}

void target_free(struct target *t)
{
  if (t)
    t->ops->free(t);
}
