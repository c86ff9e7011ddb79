// SPDX-License-Identifier: Apache-2.0
#include "disk/object.h"

#include <inttypes.h>
#include <string.h>

// ---- reading --------------------------------------------------------------------------------

int object_lane_open(struct object_reader *r, void **ret_lane, struct err *err)
{
  *ret_lane = NULL;
  return r->ops->lane_open ? r->ops->lane_open(r, ret_lane, err) : 0;
}

void object_lane_close(struct object_reader *r, void *lane)
{
  if (r->ops->lane_close)
    r->ops->lane_close(r, lane);
}

int object_read(struct object_reader *r, void *lane, void *into, size_t length, uint64_t offset,
                struct err *err)
{
  if (offset > r->size_bytes || length > r->size_bytes - offset)
    return err_set(err, ERR_INTERNAL, "%s: read of %zu bytes at %" PRIu64 " is beyond the end",
                   r->ops->name, length, offset);
  return length ? r->ops->read(r, lane, into, length, offset, err) : 0;
}

void object_interrupt(struct object_reader *r)
{
  if (r->ops->interrupt)
    r->ops->interrupt(r);
}

void object_reader_free(struct object_reader *r)
{
  if (r)
    r->ops->free(r);
}

// ---- bodies ---------------------------------------------------------------------------------

static int read_bytes(void *arg, uint64_t offset, void *into, size_t length, struct err *err)
{
  (void)err;
  memcpy(into, (const char *)arg + offset, length);
  return 0;
}

struct object_body object_body_bytes(const void *bytes, size_t length)
{
  return (struct object_body){
      .length = length, .read = read_bytes, .arg = (void *)(uintptr_t)bytes, .bytes = bytes};
}

int object_body_read(const struct object_body *b, uint64_t offset, void *into, size_t length,
                     struct err *err)
{
  if (offset > b->length || length > b->length - offset)
    return err_set(err, ERR_INTERNAL, "read of a part beyond its end");
  return length ? b->read(b->arg, offset, into, length, err) : 0;
}

// ---- writing --------------------------------------------------------------------------------

int object_begin(struct object_writer *w, uint64_t size_bytes, struct err *err)
{
  if (w->begun)
    return err_set(err, ERR_INTERNAL, "%s: an object is begun once", w->ops->name);
  if (w->ops->begin(w, size_bytes, err) != 0)
    return -1;
  w->begun = true;
  w->size_bytes = size_bytes;
  return 0;
}

int object_write_lane_open(struct object_writer *w, void **ret_lane, struct err *err)
{
  *ret_lane = NULL;
  return w->ops->lane_open ? w->ops->lane_open(w, ret_lane, err) : 0;
}

void object_write_lane_close(struct object_writer *w, void *lane)
{
  if (w->ops->lane_close)
    w->ops->lane_close(w, lane);
}

static int refuse(const struct object_writer *w, uint32_t number, const char *why, struct err *err)
{
  return err_set(err, ERR_INTERNAL, "%s: part %u %s", w->ops->name, number, why);
}

static bool is_equal(struct object_writer *w, uint64_t length, bool last)
{
  uint64_t first = 0;
  if (!w->equal_parts || (last && length <= atomic_load(&w->part_bytes)))
    return true;
  return last ? w->part_bytes == 0
              : atomic_compare_exchange_strong(&w->part_bytes, &first, length) || first == length;
}

static int check_part(struct object_writer *w, uint32_t number, uint64_t offset, uint64_t length,
                      struct err *err)
{
  if (!w->begun || w->committed)
    return refuse(w, number, "comes at the wrong time", err);
  if (length == OBJECT_LENGTH_OPEN)
    return w->ordered && w->parts_max == 1 && w->any_length && number == 0 && offset == 0
               ? 0
               : refuse(w, number, "has no length", err);
  if (offset > w->size_bytes || length > w->size_bytes - offset)
    return refuse(w, number, "is beyond the end", err);
  if (length == 0 && w->size_bytes != 0)
    return refuse(w, number, "is empty", err);
  bool last = offset + length == w->size_bytes;
  if (!last && length < w->part_min_bytes)
    return refuse(w, number, "is too small", err);
  if (w->part_max_bytes && length > w->part_max_bytes)
    return refuse(w, number, "is too large", err);
  if (!is_equal(w, length, last))
    return refuse(w, number, "is not as long as the others", err);
  if (w->parts_max && number >= w->parts_max)
    return refuse(w, number, "is one too many", err);
  if (!w->ordered)
    return 0;
  if (offset != w->next_offset)
    return refuse(w, number, "is out of order", err);
  w->next_offset = offset + length;
  return 0;
}

int object_write_part(struct object_writer *w, void *lane, uint32_t number, uint64_t offset,
                      const struct object_body *body, struct err *err)
{
  if (check_part(w, number, offset, body->length, err) != 0)
    return -1;
  if (w->stored)
    return err_set(err, ERR_CONFLICT,
                   "the object was completed by an earlier copy, but the checkpoint lacks part %u",
                   number);
  return w->ops->write_part(w, lane, number, offset, body, err);
}

bool object_wants(struct object_writer *w, uint32_t number)
{
  return !w->ops->wants || w->ops->wants(w, number);
}

int object_keep_part(struct object_writer *w, void *lane, uint32_t number, uint64_t offset,
                     uint64_t length, struct err *err)
{
  if (!w->ops->keep_part)
    return err_set(err, ERR_INTERNAL, "%s: parts are kept by not writing them", w->ops->name);
  if (check_part(w, number, offset, length, err) != 0)
    return -1;
  return w->ops->keep_part(w, lane, number, offset, length, err);
}

int object_settle(struct object_writer *w, uint64_t size_bytes, struct err *err)
{
  if (!w->any_length)
    return err_set(err, ERR_UNSUPPORTED, "%s: the length of an object must be known before",
                   w->ops->name);
  if (!w->begun || w->committed || size_bytes > w->size_bytes)
    return err_set(err, ERR_INTERNAL, "%s: a length of %" PRIu64 " bytes comes at the wrong time",
                   w->ops->name, size_bytes);
  w->size_bytes = size_bytes;
  return 0;
}

int object_seal(struct object_writer *w, struct err *err)
{
  if (!w->begun || w->committed)
    return err_set(err, ERR_INTERNAL, "%s: sealed at the wrong time", w->ops->name);
  return w->ops->seal && !w->stored ? w->ops->seal(w, err) : 0;
}

int object_commit(struct object_writer *w, struct err *err)
{
  if (!w->begun)
    return err_set(err, ERR_INTERNAL, "%s: commit before begin", w->ops->name);
  if (w->committed)
    return 0;
  if (w->ops->commit(w, err) != 0)
    return -1;
  w->committed = true;
  return 0;
}

int object_abort(struct object_writer *w, struct err *err)
{
  if (w->committed)
    return err_set(err, ERR_INTERNAL, "%s: abort after commit", w->ops->name);
  return w->ops->abort(w, err);
}

void object_resume(struct object_writer *w, const char *state)
{
  if (w->ops->resume && !w->begun)
    w->ops->resume(w, state);
}

const char *object_state(struct object_writer *w)
{
  return w->begun && w->ops->state ? w->ops->state(w) : NULL;
}

int object_flush(struct object_writer *w, void *lane, struct err *err)
{
  return w->ops->flush ? w->ops->flush(w, lane, err) : 0;
}

void object_writer_interrupt(struct object_writer *w)
{
  if (w->ops->interrupt)
    w->ops->interrupt(w);
}

void object_writer_free(struct object_writer *w)
{
  if (w)
    w->ops->free(w);
}
