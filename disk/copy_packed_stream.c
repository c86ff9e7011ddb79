// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "disk/copy_packed_internal.h"

static struct room *oldest_sent(struct packing *k)
{
  struct room *oldest = NULL;
  for (int i = 0; i < ROOMS_MAX; i++) {
    struct room *r = &k->rooms[i];
    if (r->sent && (!oldest || r->number < oldest->number))
      oldest = r;
  }
  return oldest;
}

struct room *packed_stream_drop(struct packing *k)
{
  struct room *r = oldest_sent(k);
  if (r)
    k->dropped_to = r->offset + r->length;
  return r;
}

// ---- sending --------------------------------------------------------------------------------

// The room that holds a stored offset; what lies before it counts as sent. A writer that starts
// over takes rooms back that it had read already.
static struct room *room_at(struct packing *k, uint64_t offset)
{
  struct room *found = NULL;
  for (int i = 0; i < ROOMS_MAX; i++) {
    struct room *r = &k->rooms[i];
    if (!r->ready)
      continue;
    bool sent = r->offset + r->length <= offset;
    if (sent && !r->sent)
      pthread_cond_broadcast(&k->changed);
    r->sent = sent;
    if (!sent && r->offset <= offset)
      found = r;
  }
  return found;
}

// What of the body is there at an offset. *ret NULL: the body ends there.
static int wait_room(struct packing *k, uint64_t offset, struct room **ret, struct err *err)
{
  LOCK_FOR_SCOPE(&k->lock);
  while (!packed_stopped(k)) {
    // Not retried by the writer: only a new copy has these bytes again.
    if (offset < k->dropped_to)
      return err_set(err, ERR_IO,
                     "the connection broke after more than %" PRIu64
                     " bytes of one body, and a compressed image cannot be sent again from its "
                     "start without packing the disk anew",
                     k->dropped_to);
    *ret = room_at(k, offset);
    if (*ret || k->ended)
      return 0;
    pthread_cond_wait(&k->changed, &k->lock);
  }
  return err_set(err, ERR_CANCELLED, "stopped");
}

static int body_read(void *packing, uint64_t offset, void *into, size_t size, size_t *ret_length,
                     struct err *err)
{
  struct packing *k = packing;
  struct room *r;
  *ret_length = 0;
  if (wait_room(k, offset, &r, err) != 0)
    return -1;
  if (!r)
    return 0;
  uint64_t left = r->offset + r->length - offset;
  *ret_length = left < size ? (size_t)left : size;
  memcpy(into, r->bytes + (offset - r->offset), *ret_length); // nobody drops it before it is sent
  crew_moved(k->copy->crew);
  return 0;
}

int packed_stream_send(struct packing *k, struct err *err)
{
  struct object_writer *w = k->copy->job->object;
  struct object_body body = {.length = OBJECT_LENGTH_OPEN, .read_some = body_read, .arg = k};
  void *lane;
  if (object_write_lane_open(w, &lane, err) != 0)
    return -1;
  int failed = object_write_part(w, lane, 0, 0, &body, err);
  object_write_lane_close(w, lane);
  return failed;
}
