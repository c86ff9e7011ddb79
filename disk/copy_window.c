// SPDX-License-Identifier: Apache-2.0
// Writers that want their bytes in order (HTTP PUT): one lane sends, the others read ahead into a
// ring of pieces. When the writer starts a body over, the ring is emptied and filled again from
// there. SHA-256 is taken by the readers, in order, while the sender waits for the network.
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "disk/copy_internal.h"

#define SLOTS_MAX 12

enum slot_state { EMPTY, LOADING, READY };

struct slot {
  enum slot_state state;
  struct piece piece;
  uint8_t *bytes;
};

struct window {
  struct copy *copy;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  struct slot slots[SLOTS_MAX];
  int slot_count;
  uint64_t load_index, send_index; // modulo slot_count
  uint64_t load_next;              // stored offset of the piece that is loaded next
  uint64_t again_to;               // after starting over: what lies before was loaded once
  uint64_t hashed_to;
  uint64_t stored;
  bool done; // nothing will be asked for any more
};

static bool over(const struct window *w)
{
  return w->done || crew_stopped(w->copy->crew);
}

static void wait_change(struct window *w)
{
  pthread_cond_wait(&w->changed, &w->lock);
}

// ---- reading ahead --------------------------------------------------------------------------

static struct slot *reader_take(struct window *w)
{
  LOCK_FOR_SCOPE(&w->lock);
  for (;;) {
    struct slot *s = &w->slots[w->load_index % (uint64_t)w->slot_count];
    if (over(w))
      return NULL;
    if (w->load_next < w->stored && s->state == EMPTY) {
      s->piece = layout_piece(w->copy->layout, w->load_next);
      s->state = LOADING;
      w->load_next = s->piece.offset + s->piece.length;
      w->load_index++;
      return s;
    }
    wait_change(w);
  }
}

// Waits until all before this piece is hashed; false when it is already hashed itself.
static bool hash_turn(struct window *w, const struct piece *p)
{
  LOCK_FOR_SCOPE(&w->lock);
  while (w->hashed_to < p->offset && !over(w))
    wait_change(w);
  return w->hashed_to == p->offset;
}

static void count(struct window *w, const struct piece *p, uint64_t data_bytes)
{
  if (p->offset < w->again_to)
    atomic_fetch_add(&w->copy->tally->resent_bytes, data_bytes);
  else
    copy_moved(w->copy, data_bytes);
}

static int reader_load(struct window *w, struct lane *l, struct slot *s, struct err *err)
{
  uint64_t data_bytes;
  if (piece_load(l, &s->piece, s->bytes, &data_bytes, err) != 0)
    return -1;
  uint64_t end = s->piece.offset + s->piece.length;
  bool mine = w->copy->sha && hash_turn(w, &s->piece);
  if (mine)
    sha_turn_add(w->copy->sha, s->piece.offset, s->bytes, s->piece.length);
  LOCK_FOR_SCOPE(&w->lock);
  count(w, &s->piece, data_bytes);
  if (mine)
    w->hashed_to = end;
  s->state = READY;
  pthread_cond_broadcast(&w->changed);
  return 0;
}

static int reader_lane(struct window *w, struct err *err)
{
  struct lane l;
  if (lane_open(w->copy, &l, err) != 0)
    return -1;
  int failed = 0;
  struct slot *s;
  while (!failed && (s = reader_take(w)))
    failed = reader_load(w, &l, s, err);
  lane_close(&l);
  return failed;
}

// ---- sending --------------------------------------------------------------------------------

static bool any_loading(const struct window *w)
{
  for (int i = 0; i < w->slot_count; i++)
    if (w->slots[i].state == LOADING)
      return true;
  return false;
}

// Starts over at a stored offset: readers that are busy finish first.
static void rewind_to(struct window *w, uint64_t at)
{
  uint64_t reached = w->load_next;
  w->load_next = w->stored; // keeps readers from taking more
  while (any_loading(w) && !over(w))
    wait_change(w);
  if (reached > w->again_to)
    w->again_to = reached;
  for (int i = 0; i < w->slot_count; i++)
    w->slots[i].state = EMPTY;
  w->load_index = w->send_index = 0;
  w->load_next = layout_piece(w->copy->layout, at).offset;
  pthread_cond_broadcast(&w->changed);
}

// The slot that holds a stored offset, loaded. NULL when the crew stops, or the writer jumps ahead.
static struct slot *sender_slot(struct window *w, uint64_t at)
{
  LOCK_FOR_SCOPE(&w->lock);
  struct slot *s = &w->slots[w->send_index % (uint64_t)w->slot_count];
  if (s->state == READY && at == s->piece.offset + s->piece.length) {
    s->state = EMPTY;
    w->send_index++;
    s = &w->slots[w->send_index % (uint64_t)w->slot_count];
    pthread_cond_broadcast(&w->changed);
  }
  bool expected = s->state != EMPTY || w->load_next < w->stored;
  uint64_t start = s->state != EMPTY ? s->piece.offset : w->load_next;
  if (!expected || layout_piece(w->copy->layout, at).offset != start) {
    if (at > w->load_next && at > w->again_to)
      return NULL; // skips what it never read
    rewind_to(w, at);
    s = &w->slots[0];
  }
  while (s->state != READY && !crew_stopped(w->copy->crew))
    wait_change(w);
  return s->state == READY ? s : NULL;
}

struct window_body {
  struct window *window;
  uint64_t start; // stored offset of the part
};

static int body_read(void *arg, uint64_t offset, void *into, size_t length, struct err *err)
{
  const struct window_body *b = arg;
  uint64_t at = b->start + offset;
  while (length) {
    const struct slot *s = sender_slot(b->window, at);
    if (!s && crew_stopped(b->window->copy->crew))
      return err_set(err, ERR_CANCELLED, "stopped");
    if (!s)
      return err_set(err, ERR_INTERNAL, "the writer skips bytes");
    uint64_t left = s->piece.offset + s->piece.length - at;
    size_t n = left < length ? (size_t)left : length;
    memcpy(into, s->bytes + (at - s->piece.offset), n); // only the sender frees a slot
    into = (char *)into + n;
    at += n;
    length -= n;
    crew_moved(b->window->copy->crew);
  }
  return 0;
}

static int send_parts(struct window *w, void *out_lane, struct err *err)
{
  struct copy *c = w->copy;
  uint32_t number = 0;
  for (uint64_t at = 0; at < w->stored && !crew_stopped(c->crew);) {
    uint64_t end = part_end(c, at);
    struct window_body b = {.window = w, .start = at};
    struct object_body body = {.length = end - at, .read = body_read, .arg = &b};
    if (object_write_part(c->job->object, out_lane, number++, at, &body, err) != 0)
      return -1;
    at = end;
  }
  return 0;
}

static int sender_lane(struct window *w, struct err *err)
{
  void *out_lane;
  if (object_write_lane_open(w->copy->job->object, &out_lane, err) != 0)
    return -1;
  int failed = send_parts(w, out_lane, err);
  object_write_lane_close(w->copy->job->object, out_lane);
  LOCK_FOR_SCOPE(&w->lock);
  w->done = true;
  pthread_cond_broadcast(&w->changed);
  return failed;
}

// ---- all together ---------------------------------------------------------------------------

static int window_lane(void *window, int index, struct err *err)
{
  return index == 0 ? sender_lane(window, err) : reader_lane(window, err);
}

static void window_wake(void *window)
{
  struct window *w = window;
  LOCK_FOR_SCOPE(&w->lock);
  pthread_cond_broadcast(&w->changed);
}

static void window_interrupt(void *window)
{
  const struct window *w = window;
  source_interrupt(w->copy->source);
  object_writer_interrupt(w->copy->job->object);
}

static int window_init(struct window *w, struct copy *c, struct err *err)
{
  int readers = c->crew->lanes;
  *w = (struct window){.copy = c, .stored = layout_stored_bytes(c->layout)};
  w->slot_count = readers + 2 < SLOTS_MAX ? readers + 2 : SLOTS_MAX;
  pthread_mutex_init(&w->lock, NULL);
  cond_init_monotonic(&w->changed);
  for (int i = 0; i < w->slot_count; i++) {
    w->slots[i].bytes = malloc(COPY_CHUNK_BYTES);
    if (!w->slots[i].bytes)
      return err_set(err, ERR_NO_MEMORY, "no memory for reading ahead");
  }
  return 0;
}

static void window_release(struct window *w)
{
  for (int i = 0; i < w->slot_count; i++)
    free(w->slots[i].bytes);
  pthread_cond_destroy(&w->changed);
  pthread_mutex_destroy(&w->lock);
}

int copy_window_run(struct copy *c, struct err *err)
{
  struct window w;
  int failed = window_init(&w, c, err);
  if (!failed) {
    c->crew->lanes++; // the sender
    c->crew->lane = window_lane;
    c->crew->interrupt = window_interrupt;
    c->crew->wake = window_wake;
    c->crew->arg = &w;
    failed = crew_run(c->crew, err);
  }
  window_release(&w);
  return failed;
}
