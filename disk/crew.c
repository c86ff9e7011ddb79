// SPDX-License-Identifier: Apache-2.0
#include "disk/crew_internal.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define TICK_MS          100
#define STALL_DEFAULT_MS (5 * 60 * 1000)
#define THROTTLE_STEP_MS 50
#define BURST_S          0.1

void cond_init_monotonic(pthread_cond_t *c)
{
  pthread_condattr_t attr;
  pthread_condattr_init(&attr);
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  pthread_cond_init(c, &attr);
  pthread_condattr_destroy(&attr);
}

void cond_wait_ms(pthread_cond_t *c, pthread_mutex_t *m, int64_t wait_ms)
{
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_sec += wait_ms / 1000;
  until.tv_nsec += wait_ms % 1000 * 1000000;
  if (until.tv_nsec >= 1000000000) {
    until.tv_sec++;
    until.tv_nsec -= 1000000000;
  }
  pthread_cond_timedwait(c, m, &until);
}

bool tally_cancelled(const struct tally *t)
{
  return __atomic_load_n(&t->cancel, __ATOMIC_RELAXED);
}

bool crew_stopped(const struct crew *c)
{
  return atomic_load_explicit(&c->stopped, memory_order_relaxed);
}

void crew_moved(struct crew *c)
{
  atomic_fetch_add_explicit(&c->moves, 1, memory_order_relaxed);
}

// ---- throttle -------------------------------------------------------------------------------

// A token bucket that may go into debt: whoever finds it not empty passes, and the next ones wait
// until the debt is paid. The limit is read anew at every step, so a change shows within 50 ms.
static bool throttle_pass(struct crew *c, uint64_t bytes, int64_t *ret_wait_ms)
{
  int64_t limit = atomic_load(&c->tally->limit_bytes_per_s);
  int64_t now = clock_ms();
  double seconds = (double)(now - c->tokens_at_ms) / 1000.0;
  c->tokens_at_ms = now;
  if (limit <= 0) {
    c->tokens = 0;
    return true;
  }
  c->tokens += seconds * (double)limit;
  if (c->tokens > BURST_S * (double)limit)
    c->tokens = BURST_S * (double)limit;
  if (c->tokens >= 0) {
    c->tokens -= (double)bytes;
    return true;
  }
  int64_t wait = (int64_t)(-c->tokens * 1000.0 / (double)limit) + 1;
  *ret_wait_ms = wait < THROTTLE_STEP_MS ? wait : THROTTLE_STEP_MS;
  return false;
}

int crew_throttle(struct crew *c, uint64_t bytes, struct err *err)
{
  if (bytes == 0 || atomic_load(&c->tally->limit_bytes_per_s) <= 0)
    return 0;
  LOCK_FOR_SCOPE(&c->lock);
  int64_t wait_ms = 0;
  while (!throttle_pass(c, bytes, &wait_ms)) {
    if (crew_stopped(c) || tally_cancelled(c->tally))
      return err_set(err, ERR_CANCELLED, "stopped");
    crew_moved(c); // waiting here is not a stall
    cond_wait_ms(&c->changed, &c->lock, wait_ms);
  }
  return 0;
}

void crew_pace(struct crew *c)
{
  if (c->spread_ms == 0)
    return;
  LOCK_FOR_SCOPE(&c->lock);
  int64_t now_ms = clock_ms();
  int64_t begin_ms = c->begin_ms > now_ms ? c->begin_ms : now_ms;
  c->begin_ms = begin_ms + c->spread_ms / c->lanes;
  for (; !crew_stopped(c) && now_ms < begin_ms; now_ms = clock_ms())
    cond_wait_ms(&c->changed, &c->lock, begin_ms - now_ms);
}

// ---- running --------------------------------------------------------------------------------

struct member {
  struct crew *crew;
  int index;
  pthread_t thread;
};

static void stop(struct crew *c, const struct err *why)
{
  if (!c->failed) {
    c->failed = true;
    c->first = *why;
  }
  atomic_store(&c->stopped, true);
  pthread_cond_broadcast(&c->changed);
}

static void *member_main(void *arg)
{
  struct member *m = arg;
  struct crew *c = m->crew;
  struct err err = ERR_INIT;
  int failed = c->lane(c->arg, m->index, &err);
  LOCK_FOR_SCOPE(&c->lock);
  if (failed)
    stop(c, &err);
  c->running--;
  pthread_cond_broadcast(&c->changed);
  return NULL;
}

// Lanes get no signals: those belong to the program's main thread.
static int start(struct crew *c, struct member *members, struct err *err)
{
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int started = 0;
  int number = 0;
  LOCK_FOR_SCOPE(&c->lock);
  for (; started < c->lanes && !number; started += number == 0) {
    members[started] = (struct member){.crew = c, .index = started};
    number = pthread_create(&members[started].thread, NULL, member_main, &members[started]);
  }
  c->running = started;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (number) {
    struct err why = ERR_INIT;
    err_errno(&why, number, "start a thread");
    stop(c, &why);
  }
  if (started == 0)
    *err = c->first;
  return started;
}

static void supervise(struct crew *c)
{
  int64_t stall_ms = c->stall_timeout_ms ? c->stall_timeout_ms : STALL_DEFAULT_MS;
  int64_t moved_ms = clock_ms();
  uint64_t moves = 0;
  LOCK_FOR_SCOPE(&c->lock);
  while (c->running) {
    cond_wait_ms(&c->changed, &c->lock, TICK_MS);
    uint64_t now = atomic_load(&c->moves);
    if (now != moves)
      moved_ms = clock_ms();
    moves = now;
    struct err why = ERR_INIT;
    if (tally_cancelled(c->tally))
      err_set(&why, ERR_CANCELLED, "stopped on request");
    else if (clock_ms() - moved_ms > stall_ms)
      err_set(&why, ERR_TIMEOUT, "no byte moved for %lld s", (long long)(stall_ms / 1000));
    if (why.kind)
      stop(c, &why);
    if (!c->failed || !c->running)
      continue;
    pthread_mutex_unlock(&c->lock);
    c->interrupt(c->arg);
    if (c->wake)
      c->wake(c->arg);
    pthread_mutex_lock(&c->lock);
  }
}

int crew_run(struct crew *c, struct err *err)
{
  pthread_mutex_init(&c->lock, NULL);
  cond_init_monotonic(&c->changed);
  c->tokens_at_ms = clock_ms();
  struct member members[CREW_LANES_MAX];
  int started = start(c, members, err);
  supervise(c);
  for (int i = 0; i < started; i++)
    pthread_join(members[i].thread, NULL);
  pthread_cond_destroy(&c->changed);
  pthread_mutex_destroy(&c->lock);
  if (tally_cancelled(c->tally))
    return err_set(err, ERR_CANCELLED, "stopped on request");
  if (!c->failed)
    return 0;
  *err = c->first;
  return -1;
}
