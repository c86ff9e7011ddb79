// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "base/cleanup.h"
#include "disk/copy_packed_internal.h"

#define ROOM_ALIGN 4096 // for O_DIRECT

// ---- memory ---------------------------------------------------------------------------------

static int room_make(struct packing *k, struct room *r, size_t size, struct err *err)
{
  size_t bytes = (size + ROOM_ALIGN - 1) / ROOM_ALIGN * ROOM_ALIGN;
  r->bytes = aligned_alloc(ROOM_ALIGN, bytes);
  if (!r->bytes)
    return err_set(err, ERR_NO_MEMORY, "no memory for a part of %zu bytes", size);
  r->capacity = bytes;
  k->held_bytes += bytes;
  return 0;
}

static void room_drop(struct packing *k, struct room *r)
{
  free(r->bytes);
  k->held_bytes -= r->capacity;
  *r = (struct room){0};
}

void packed_rooms_release(struct packing *k)
{
  for (int i = 0; i < ROOMS_MAX; i++)
    room_drop(k, &k->rooms[i]);
  room_drop(k, &k->head);
}

// Those that are idle and too small make place for larger ones.
static struct room *idle_room(struct packing *k, size_t size, int *ret_busy)
{
  struct room *found = NULL;
  *ret_busy = 0;
  for (int i = 0; i < ROOMS_MAX && !found; i++) {
    struct room *r = &k->rooms[i];
    *ret_busy += r->busy;
    if (!r->busy && r->capacity >= size)
      found = r;
    else if (!r->busy)
      room_drop(k, r);
  }
  return found;
}

// *ret NULL: not now.
static int find_room(struct packing *k, size_t size, struct room **ret, struct err *err)
{
  int busy;
  *ret = idle_room(k, size, &busy);
  if (*ret)
    return 0;
  bool granted =
      k->held_bytes + size <= k->rooms_bytes || busy == 0 || (size > ROOM_PAIR_BYTES && busy == 1);
  if (!granted || busy == ROOMS_MAX) {
    *ret = k->stream ? packed_stream_drop(k) : NULL;
    return 0;
  }
  struct room *r = k->rooms;
  while (r->bytes)
    r++;
  *ret = r;
  return room_make(k, r, size, err);
}

static int wait_room(struct packing *k, size_t size, struct room **ret, struct err *err)
{
  bool head = k->next_part == 0 && k->pack->late_header_bytes > 0;
  *ret = &k->head;
  if (head)
    return room_make(k, &k->head, size, err);
  while (!packed_stopped(k)) {
    if (find_room(k, size, ret, err) != 0)
      return -1;
    if (*ret)
      return 0;
    pthread_cond_wait(&k->changed, &k->lock);
  }
  return err_set(err, ERR_CANCELLED, "stopped");
}

struct room *packed_room(struct packing *k, struct err *err)
{
  size_t size = (size_t)part_plan_size(&k->parts, k->next_part);
  struct room *r;
  LOCK_FOR_SCOPE(&k->lock);
  if (wait_room(k, size, &r, err) != 0)
    return NULL;
  r->busy = true;
  r->ready = r->sent = false;
  r->length = 0;
  r->full_bytes = size;
  r->offset = k->tail;
  r->data_bytes = 0;
  r->number = k->next_part++;
  resume_packed_part_begin(k->copy, r->number);
  k->filling = r;
  return r;
}

// ---- sending --------------------------------------------------------------------------------

void packed_offer(struct packing *k, struct room *r)
{
  LOCK_FOR_SCOPE(&k->lock);
  r->ready = true;
  k->unsent++;
  pthread_cond_broadcast(&k->changed);
}

int packed_wait_sent(struct packing *k, struct err *err)
{
  LOCK_FOR_SCOPE(&k->lock);
  while (k->unsent && !packed_stopped(k))
    pthread_cond_wait(&k->changed, &k->lock);
  return packed_stopped(k) ? err_set(err, ERR_CANCELLED, "stopped") : 0;
}

void packed_end(struct packing *k)
{
  LOCK_FOR_SCOPE(&k->lock);
  k->ended = true;
  pthread_cond_broadcast(&k->changed);
}

static struct room *oldest_ready(struct packing *k)
{
  struct room *oldest = k->head.ready && !k->head.sent ? &k->head : NULL;
  for (int i = 0; i < ROOMS_MAX; i++) {
    struct room *r = &k->rooms[i];
    if (r->ready && !r->sent && (!oldest || r->number < oldest->number))
      oldest = r;
  }
  return oldest;
}

// NULL: there are no more, or the crew stops.
static struct room *take_ready(struct packing *k)
{
  LOCK_FOR_SCOPE(&k->lock);
  while (!packed_stopped(k)) {
    struct room *r = oldest_ready(k);
    if (r)
      r->sent = true;
    if (r || k->ended)
      return r;
    pthread_cond_wait(&k->changed, &k->lock);
  }
  return NULL;
}

static int write_room(struct lane *l, const struct room *r, struct err *err)
{
  struct copy *c = l->copy;
  struct object_body body = object_body_bytes(r->bytes, r->length);
  bool there = resume_packed_part_is_there(c, r);
  if (!there &&
      object_write_part(c->job->object, l->out_lane, r->number, r->offset, &body, err) != 0)
    return -1;
  return resume_packed_part_done(l, r, !there, err);
}

static int send_room(struct packing *k, struct lane *l, struct room *r, struct err *err)
{
  if (write_room(l, r, err) != 0)
    return -1;
  crew_moved(k->copy->crew);
  LOCK_FOR_SCOPE(&k->lock);
  r->busy = r->ready = r->sent = false;
  k->unsent--;
  pthread_cond_broadcast(&k->changed);
  return 0;
}

int packed_send(struct packing *k, struct err *err)
{
  struct lane l = {.copy = k->copy};
  if (k->stream)
    return packed_stream_send(k, err);
  if (object_write_lane_open(k->copy->job->object, &l.out_lane, err) != 0)
    return -1;
  int failed = 0;
  struct room *r;
  while (!failed && (r = take_ready(k))) {
    if (k->far_out)
      crew_pace(k->copy->crew);
    failed = send_room(k, &l, r, err);
  }
  if (!failed)
    failed = resume_lane_end(&l, err);
  lane_close(&l);
  return failed;
}
