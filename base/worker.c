// SPDX-License-Identifier: Apache-2.0
#include "base/worker.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/cleanup.h"

struct job {
  struct job *next;
  worker_fn fn;
  void *arg;
};

struct workers {
  pthread_mutex_t mutex; // guards what follows
  pthread_cond_t changed;
  struct job *first, **last;
  bool ending;
  size_t count;
  pthread_t threads[];
};

static struct job *next_job(struct workers *w)
{
  LOCK_FOR_SCOPE(&w->mutex);
  while (!w->first && !w->ending)
    pthread_cond_wait(&w->changed, &w->mutex);
  struct job *job = w->first;
  if (job) {
    w->first = job->next;
    if (!w->first)
      w->last = &w->first;
  }
  return job;
}

static void *work(void *arg)
{
  struct workers *w = arg;
  for (struct job *job; (job = next_job(w));) {
    job->fn(job->arg);
    free(job);
  }
  return NULL;
}

// Signals are the loop's business: threads of a pool block them all.
static int start_thread(struct workers *w, const char *name)
{
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int failed = pthread_create(&w->threads[w->count], NULL, work, w);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (failed)
    return -1;
  char label[16];
  snprintf(label, sizeof(label), "%.11s-%zu", name, w->count);
  pthread_setname_np(w->threads[w->count], label);
  w->count++;
  return 0;
}

struct workers *workers_new(size_t threads, const char *name)
{
  struct workers *w = calloc(1, sizeof(*w) + threads * sizeof(pthread_t));
  if (!w)
    return NULL;
  pthread_mutex_init(&w->mutex, NULL);
  pthread_cond_init(&w->changed, NULL);
  w->last = &w->first;
  while (w->count < threads) {
    if (start_thread(w, name) != 0) {
      workers_free(w);
      return NULL;
    }
  }
  return w;
}

void workers_free(struct workers *w)
{
  if (!w)
    return;
  {
    LOCK_FOR_SCOPE(&w->mutex);
    w->ending = true;
    pthread_cond_broadcast(&w->changed);
  }
  for (size_t i = 0; i < w->count; i++)
    pthread_join(w->threads[i], NULL);
  pthread_cond_destroy(&w->changed);
  pthread_mutex_destroy(&w->mutex);
  free(w);
}

void workers_put(struct workers *w, worker_fn fn, void *arg)
{
  struct job *job = malloc(sizeof(*job));
  if (!job)
    abort(); // losing a job would wedge its object; a restart loses nothing
  *job = (struct job){.fn = fn, .arg = arg};
  LOCK_FOR_SCOPE(&w->mutex);
  *w->last = job;
  w->last = &job->next;
  pthread_cond_signal(&w->changed);
}
