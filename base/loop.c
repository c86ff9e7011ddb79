// SPDX-License-Identifier: Apache-2.0
#include "base/loop.h"

#include <assert.h>
#include <stdlib.h>
#include <uv.h>

#include "base/cleanup.h"

struct letter {
  struct letter *next;
  loop_fn fn;
  void *arg;
};

struct on_signal {
  struct on_signal *next;
  uv_signal_t uv;
  loop_fn fn;
  void *arg;
};

struct loop {
  uv_loop_t uv;
  uv_async_t wake;
  struct on_signal *signals;
  pthread_t thread;
  bool running;
  pthread_mutex_t mutex; // guards what follows
  struct letter *first, **last;
  bool stopping;
};

struct loop_timer {
  uv_timer_t uv;
  loop_fn fn;
  void *arg;
};

struct loop_watch {
  uv_poll_t uv;
  loop_watch_fn fn;
  void *arg;
};

bool loop_is_current(const struct loop *loop)
{
  return loop->running && pthread_equal(loop->thread, pthread_self());
}

// Before loop_run() the thread that sets things up counts as the loop's.
static void assert_on_loop(const struct loop *loop)
{
  assert(!loop->running || loop_is_current(loop));
  (void)loop;
}

static struct letter *take_letters(struct loop *loop, bool *ret_stopping)
{
  LOCK_FOR_SCOPE(&loop->mutex);
  struct letter *all = loop->first;
  loop->first = NULL;
  loop->last = &loop->first;
  *ret_stopping = loop->stopping;
  return all;
}

// Wake-ups are coalesced by uv: the whole list is drained each time.
static void drain(struct loop *loop)
{
  bool stopping;
  struct letter *letter = take_letters(loop, &stopping);
  while (letter) {
    struct letter *next = letter->next;
    letter->fn(letter->arg);
    free(letter);
    letter = next;
  }
  if (stopping)
    uv_stop(&loop->uv);
}

static void on_wake(uv_async_t *wake)
{
  drain(wake->data);
}

struct loop *loop_new(void)
{
  struct loop *loop = calloc(1, sizeof(*loop));
  if (!loop)
    return NULL;
  loop->last = &loop->first;
  pthread_mutex_init(&loop->mutex, NULL);
  if (uv_loop_init(&loop->uv) != 0) {
    free(loop);
    return NULL;
  }
  if (uv_async_init(&loop->uv, &loop->wake, on_wake) != 0)
    abort(); // an eventfd for a loop that just got its own epoll
  loop->wake.data = loop;
  return loop;
}

static void close_signals(struct loop *loop)
{
  for (struct on_signal *s = loop->signals; s; s = s->next)
    uv_close((uv_handle_t *)&s->uv, NULL);
}

static void free_signals(struct loop *loop)
{
  while (loop->signals) {
    struct on_signal *s = loop->signals;
    loop->signals = s->next;
    free(s);
  }
}

void loop_run_posted(struct loop *loop)
{
  assert_on_loop(loop);
  drain(loop);
}

void loop_free(struct loop *loop)
{
  if (!loop)
    return;
  while (loop->first)
    drain(loop);
  uv_close((uv_handle_t *)&loop->wake, NULL);
  close_signals(loop);
  uv_run(&loop->uv, UV_RUN_NOWAIT);
  uv_run(&loop->uv, UV_RUN_NOWAIT);
  if (uv_loop_close(&loop->uv) != 0) {
    uv_print_all_handles(&loop->uv, stderr);
    abort();
  }
  free_signals(loop);
  pthread_mutex_destroy(&loop->mutex);
  free(loop);
}

void loop_run(struct loop *loop)
{
  loop->thread = pthread_self();
  loop->running = true;
  uv_async_send(&loop->wake);
  uv_run(&loop->uv, UV_RUN_DEFAULT);
  loop->running = false;
  LOCK_FOR_SCOPE(&loop->mutex);
  loop->stopping = false;
}

void loop_stop(struct loop *loop)
{
  {
    LOCK_FOR_SCOPE(&loop->mutex);
    loop->stopping = true;
  }
  uv_async_send(&loop->wake);
}

void loop_post(struct loop *loop, loop_fn fn, void *arg)
{
  struct letter *letter = malloc(sizeof(*letter));
  if (!letter)
    abort(); // losing a message would lose a job; a restart loses nothing
  *letter = (struct letter){.fn = fn, .arg = arg};
  {
    LOCK_FOR_SCOPE(&loop->mutex);
    *loop->last = letter;
    loop->last = &letter->next;
  }
  uv_async_send(&loop->wake);
}

static void free_handle(uv_handle_t *handle)
{
  free(handle->data);
}

static void on_timer(uv_timer_t *uv)
{
  struct loop_timer *timer = uv->data;
  timer->fn(timer->arg);
}

struct loop_timer *loop_timer_new(struct loop *loop, loop_fn fn, void *arg)
{
  assert_on_loop(loop);
  struct loop_timer *timer = calloc(1, sizeof(*timer));
  if (!timer)
    return NULL;
  timer->fn = fn;
  timer->arg = arg;
  uv_timer_init(&loop->uv, &timer->uv);
  timer->uv.data = timer;
  return timer;
}

void loop_timer_free(struct loop_timer *timer)
{
  if (timer)
    uv_close((uv_handle_t *)&timer->uv, free_handle);
}

void loop_timer_start(struct loop_timer *timer, int64_t delay_ms)
{
  // The loop's idea of now may be old when a callback ran long.
  uv_update_time(timer->uv.loop);
  uv_timer_start(&timer->uv, on_timer, delay_ms < 0 ? 0 : (uint64_t)delay_ms, 0);
}

void loop_timer_stop(struct loop_timer *timer)
{
  uv_timer_stop(&timer->uv);
}

// An error on the descriptor wakes both sides: reading or writing will tell what it is.
static void on_poll(uv_poll_t *uv, int status, int events)
{
  struct loop_watch *watch = uv->data;
  int ready = status < 0 ? LOOP_READABLE | LOOP_WRITABLE : 0;
  if (events & (UV_READABLE | UV_DISCONNECT))
    ready |= LOOP_READABLE;
  if (events & UV_WRITABLE)
    ready |= LOOP_WRITABLE;
  watch->fn(watch->arg, ready);
}

struct loop_watch *loop_watch_new(struct loop *loop, int fd, loop_watch_fn fn, void *arg)
{
  assert_on_loop(loop);
  struct loop_watch *watch = calloc(1, sizeof(*watch));
  if (!watch)
    return NULL;
  watch->fn = fn;
  watch->arg = arg;
  if (uv_poll_init(&loop->uv, &watch->uv, fd) != 0) {
    free(watch);
    return NULL;
  }
  watch->uv.data = watch;
  return watch;
}

void loop_watch_free(struct loop_watch *watch)
{
  if (watch)
    uv_close((uv_handle_t *)&watch->uv, free_handle);
}

int loop_watch_set(struct loop_watch *watch, int events)
{
  int uv_events = 0;
  if (events & LOOP_READABLE)
    uv_events |= UV_READABLE;
  if (events & LOOP_WRITABLE)
    uv_events |= UV_WRITABLE;
  if (!uv_events)
    return uv_poll_stop(&watch->uv);
  return uv_poll_start(&watch->uv, uv_events, on_poll);
}

static void on_signal(uv_signal_t *uv, int number)
{
  (void)number;
  struct on_signal *s = uv->data;
  s->fn(s->arg);
}

int loop_on_signal(struct loop *loop, int signal_number, loop_fn fn, void *arg)
{
  assert_on_loop(loop);
  struct on_signal *s = calloc(1, sizeof(*s));
  if (!s)
    return -1;
  *s = (struct on_signal){.next = loop->signals, .fn = fn, .arg = arg};
  uv_signal_init(&loop->uv, &s->uv);
  s->uv.data = s;
  loop->signals = s;
  return uv_signal_start(&s->uv, on_signal, signal_number);
}
