// SPDX-License-Identifier: Apache-2.0
#include "controller/queue.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/worker.h"

#define BUCKETS 1024

struct entry {
  struct entry *next; // in its bucket
  struct object_key key;
  int64_t due_ms; // -1 = does not wait
  bool running;
};

struct queue {
  queue_step_fn step;
  void *arg;
  struct workers *workers;
  pthread_mutex_t mutex; // guards what follows
  pthread_cond_t changed;
  struct entry *buckets[BUCKETS];
  size_t waiting, running;
  bool held, ending;
};

bool object_key_eq(const struct object_key *a, const struct object_key *b)
{
  return a->kind == b->kind && strcmp(a->ns, b->ns) == 0 && strcmp(a->name, b->name) == 0;
}

static size_t bucket_of(const struct object_key *key)
{
  uint64_t h = 1469598103934665603u + (uint64_t)key->kind;
  for (const char *c = key->ns; *c; c++)
    h = (h ^ (unsigned char)*c) * 1099511628211u;
  for (const char *c = key->name; *c; c++)
    h = (h ^ (unsigned char)*c) * 1099511628211u;
  return h % BUCKETS;
}

static struct entry *find(struct queue *q, const struct object_key *key)
{
  struct entry *e = q->buckets[bucket_of(key)];
  while (e && !object_key_eq(&e->key, key))
    e = e->next;
  return e;
}

static void forget(struct queue *q, struct entry *gone)
{
  struct entry **at = &q->buckets[bucket_of(&gone->key)];
  while (*at != gone)
    at = &(*at)->next;
  *at = gone->next;
  free(gone);
}

static void add_locked(struct queue *q, const struct object_key *key, int64_t delay_ms)
{
  struct entry *e = find(q, key);
  if (!e) {
    e = calloc(1, sizeof(*e));
    if (!e)
      abort(); // a lost key is a wedged object; a restart loses nothing
    e->key = *key;
    e->due_ms = -1;
    size_t b = bucket_of(key);
    e->next = q->buckets[b];
    q->buckets[b] = e;
  }
  int64_t due_ms = clock_ms() + delay_ms;
  if (e->due_ms < 0)
    q->waiting++;
  if (e->due_ms < 0 || due_ms < e->due_ms)
    e->due_ms = due_ms;
  pthread_cond_signal(&q->changed);
}

void queue_add(struct queue *q, const struct object_key *key, int64_t delay_ms)
{
  LOCK_FOR_SCOPE(&q->mutex);
  if (!q->ending)
    add_locked(q, key, delay_ms);
}

// The entry that is due first among those that do not run; NULL: none waits.
static struct entry *earliest(struct queue *q)
{
  struct entry *best = NULL;
  for (size_t b = 0; b < BUCKETS; b++)
    for (struct entry *e = q->buckets[b]; e; e = e->next)
      if (e->due_ms >= 0 && !e->running && (!best || e->due_ms < best->due_ms))
        best = e;
  return best;
}

static void wait_until(struct queue *q, int64_t due_ms)
{
  struct timespec until = {.tv_sec = due_ms / 1000, .tv_nsec = due_ms % 1000 * 1000000};
  pthread_cond_timedwait(&q->changed, &q->mutex, &until);
}

static struct entry *take(struct queue *q)
{
  LOCK_FOR_SCOPE(&q->mutex);
  while (!q->ending) {
    struct entry *e = q->held ? NULL : earliest(q);
    if (e && e->due_ms <= clock_ms()) {
      e->due_ms = -1;
      e->running = true;
      q->waiting--;
      q->running++;
      return e;
    }
    if (e)
      wait_until(q, e->due_ms);
    else
      pthread_cond_wait(&q->changed, &q->mutex);
  }
  return NULL;
}

static void put_back(struct queue *q, struct entry *e, int64_t after_ms)
{
  LOCK_FOR_SCOPE(&q->mutex);
  e->running = false;
  q->running--;
  if (after_ms >= 0 && !q->ending)
    add_locked(q, &e->key, after_ms);
  else if (e->due_ms < 0)
    forget(q, e);
  // Another worker may have been waiting for just this key to stop running.
  pthread_cond_signal(&q->changed);
}

static void work(void *arg)
{
  struct queue *q = arg;
  for (struct entry *e; (e = take(q));)
    put_back(q, e, q->step(q->arg, &e->key));
}

struct queue *queue_new(size_t workers, queue_step_fn step, void *arg)
{
  struct queue *q = calloc(1, sizeof(*q));
  if (!q)
    return NULL;
  q->step = step;
  q->arg = arg;
  pthread_mutex_init(&q->mutex, NULL);
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&q->changed, &monotonic);
  pthread_condattr_destroy(&monotonic);
  q->workers = workers_new(workers, "step");
  if (!q->workers) {
    queue_free(q);
    return NULL;
  }
  for (size_t i = 0; i < workers; i++)
    workers_put(q->workers, work, q);
  return q;
}

void queue_free(struct queue *q)
{
  if (!q)
    return;
  {
    LOCK_FOR_SCOPE(&q->mutex);
    q->ending = true;
    pthread_cond_broadcast(&q->changed);
  }
  workers_free(q->workers);
  for (size_t b = 0; b < BUCKETS; b++)
    while (q->buckets[b])
      forget(q, q->buckets[b]);
  pthread_cond_destroy(&q->changed);
  pthread_mutex_destroy(&q->mutex);
  free(q);
}

void queue_hold(struct queue *q, bool held)
{
  LOCK_FOR_SCOPE(&q->mutex);
  q->held = held;
  pthread_cond_broadcast(&q->changed);
}

size_t queue_depth(struct queue *q)
{
  LOCK_FOR_SCOPE(&q->mutex);
  return q->waiting + q->running;
}
