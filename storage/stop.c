// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "storage/storage_internal.h"

void stop_init(struct stop *s)
{
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_mutex_init(&s->lock, NULL);
  pthread_cond_init(&s->changed, &monotonic);
  pthread_condattr_destroy(&monotonic);
  s->set = false;
}

void stop_release(struct stop *s)
{
  pthread_cond_destroy(&s->changed);
  pthread_mutex_destroy(&s->lock);
}

void stop_set(struct stop *s)
{
  LOCK_FOR_SCOPE(&s->lock);
  s->set = true;
  pthread_cond_broadcast(&s->changed);
}

bool stop_is_set(struct stop *s)
{
  LOCK_FOR_SCOPE(&s->lock);
  return s->set;
}

bool stop_wait(struct stop *s, int64_t delay_ms)
{
  struct timespec end;
  clock_gettime(CLOCK_MONOTONIC, &end);
  end.tv_sec += delay_ms / 1000;
  end.tv_nsec += delay_ms % 1000 * 1000000;
  if (end.tv_nsec >= 1000000000) {
    end.tv_sec++;
    end.tv_nsec -= 1000000000;
  }
  LOCK_FOR_SCOPE(&s->lock);
  while (!s->set && pthread_cond_timedwait(&s->changed, &s->lock, &end) == 0)
    ;
  return s->set;
}

// Half of the step is fixed, half is chance, so that many movers do not come back together.
static int64_t backoff_ms(int attempt, int64_t asked_ms)
{
  int64_t step_ms = (int64_t)RETRY_FIRST_MS << attempt;
  if (step_ms > RETRY_LONGEST_MS)
    step_ms = RETRY_LONGEST_MS;
  int64_t delay_ms = step_ms / 2 + (int64_t)clock_random((uint64_t)step_ms / 2 + 1);
  return delay_ms > asked_ms ? delay_ms : asked_ms;
}

static bool worth_retrying(enum err_kind kind)
{
  return kind == ERR_UNREACHABLE || kind == ERR_TIMEOUT || kind == ERR_THROTTLED ||
         kind == ERR_PROTOCOL;
}

int storage_retry(struct stop *stop, int (*once)(void *arg, struct err *err), void *arg,
                  struct err *err)
{
  int64_t started_ms = clock_ms();
  for (int attempt = 0;; attempt++) {
    struct err failure = ERR_INIT;
    if (once(arg, &failure) == 0)
      return 0;
    int64_t delay_ms = backoff_ms(attempt, failure.retry_after_ms);
    bool late = attempt > 0 && clock_ms() - started_ms > RETRY_GIVE_UP_MS;
    bool last = !worth_retrying(failure.kind) || attempt + 1 == RETRY_ATTEMPTS_MAX || late ||
                delay_ms > RETRY_AFTER_HEED_MS;
    if (last) {
      if (err)
        *err = failure;
      return -1;
    }
    if (stop_wait(stop, delay_ms))
      return err_set(err, ERR_CANCELLED, "cancelled");
  }
}

// ---- sets of lanes ----

void lane_set_init(struct lane_set *s, void (*interrupt)(void *lane))
{
  *s = (struct lane_set){.interrupt = interrupt};
  pthread_mutex_init(&s->lock, NULL);
}

void lane_set_release(struct lane_set *s)
{
  free(s->lanes);
  pthread_mutex_destroy(&s->lock);
}

int lane_set_add(struct lane_set *s, void *lane, struct err *err)
{
  LOCK_FOR_SCOPE(&s->lock);
  if (s->interrupted)
    return err_set(err, ERR_CANCELLED, "cancelled");
  if (s->count == s->capacity) {
    size_t capacity = s->capacity ? s->capacity * 2 : 8;
    void **lanes = realloc(s->lanes, capacity * sizeof(*lanes));
    if (!lanes)
      return err_set(err, ERR_NO_MEMORY, "no memory for a lane");
    s->lanes = lanes;
    s->capacity = capacity;
  }
  s->lanes[s->count++] = lane;
  return 0;
}

void lane_set_remove(struct lane_set *s, void *lane)
{
  LOCK_FOR_SCOPE(&s->lock);
  for (size_t i = 0; i < s->count; i++)
    if (s->lanes[i] == lane) {
      s->lanes[i] = s->lanes[--s->count];
      return;
    }
}

void lane_set_interrupt(struct lane_set *s)
{
  LOCK_FOR_SCOPE(&s->lock);
  s->interrupted = true;
  for (size_t i = 0; i < s->count; i++)
    s->interrupt(s->lanes[i]);
}
