// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "providers/provider_internal.h"

// One thread with one handle. The provider's mutex guards it.
struct connection {
  struct provider *provider;
  pthread_t thread;
  pthread_cond_t wake;
  struct job *first, **last; // waiting, in order
  bool ending;               // finish the queue, then end
  bool abandoned;            // wedged and replaced: nobody waits for it any more
  void *handle;              // of the thread alone; NULL = not connected
};

void connection_cond_init(pthread_cond_t *cond)
{
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(cond, &attributes);
  pthread_condattr_destroy(&attributes);
}

struct job *job_new(job_fn run, const char *what)
{
  struct job *job = calloc(1, sizeof(*job));
  if (!job)
    return NULL;
  job->run = run;
  job->what = what;
  job->references = 1;
  connection_cond_init(&job->changed);
  return job;
}

// With the mutex held.
static void job_drop(struct job *job)
{
  if (--job->references > 0)
    return;
  job_release(job);
  pthread_cond_destroy(&job->changed);
  free(job);
}

void job_unref(struct job *job)
{
  if (!job->at) { // never posted: nobody else has it
    job_drop(job);
    return;
  }
  LOCK_FOR_SCOPE(&job->at->mutex);
  job_drop(job);
}

static void job_finish(struct job *job, int result)
{
  job->result = result;
  job->done = true;
  pthread_cond_broadcast(&job->changed);
  job_drop(job);
}

void provider_unref(struct provider *p)
{
  pthread_mutex_lock(&p->mutex);
  unsigned left = --p->references;
  pthread_mutex_unlock(&p->mutex);
  if (left > 0)
    return;
  provider_config_release(&p->config);
  pthread_cond_destroy(&p->ended);
  pthread_mutex_destroy(&p->mutex);
  free(p);
}

// ---- the thread --------------------------------------------------------------------------------

static int connect_handle(struct connection *c, struct err *err)
{
  struct provider *p = c->provider;
  if (c->handle && p->ops->alive(c->handle))
    return 0;
  if (c->handle)
    p->ops->close(TAKE(c->handle));
  return p->ops->open(&p->config, p->allowed, &c->handle, err);
}

static int run_job(struct connection *c, struct job *job)
{
  if (connect_handle(c, &job->err) != 0)
    return -1;
  return job->run(c->provider->ops, c->handle, job, &job->err);
}

static struct job *take_job(struct connection *c)
{
  while (!c->first && !c->ending && !c->abandoned)
    pthread_cond_wait(&c->wake, &c->provider->mutex);
  struct job *job = c->abandoned ? NULL : c->first;
  if (!job)
    return NULL;
  c->first = job->next;
  if (!c->first)
    c->last = &c->first;
  job->started = true;
  job->since_ms = clock_ms();
  return job;
}

static void serve(struct connection *c)
{
  struct provider *p = c->provider;
  LOCK_FOR_SCOPE(&p->mutex);
  for (struct job *job; (job = take_job(c));) {
    pthread_mutex_unlock(&p->mutex);
    int result = run_job(c, job);
    pthread_mutex_lock(&p->mutex);
    job_finish(job, result);
  }
}

static void *connection_main(void *arg)
{
  struct connection *c = arg;
  struct provider *p = c->provider;
  serve(c);
  if (c->handle)
    p->ops->close(c->handle);
  pthread_mutex_lock(&p->mutex);
  if (c->abandoned) { // it came back after all: the far side answers, so no more waiting
    p->wedged--;
    p->retry_at_ms = 0;
  } else {
    p->live--;
    pthread_cond_broadcast(&p->ended);
  }
  pthread_mutex_unlock(&p->mutex);
  pthread_cond_destroy(&c->wake);
  free(c);
  provider_unref(p);
  return NULL;
}

// ---- callers, with the mutex held --------------------------------------------------------------

static int connection_start(struct provider *p, struct connection *c)
{
  sigset_t all, before; // signals are the loop's business
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int failed = pthread_create(&c->thread, NULL, connection_main, c);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (failed)
    return -1;
  pthread_setname_np(c->thread, "provider");
  p->references++;
  p->live++;
  p->current = c;
  return 0;
}

static struct connection *connection_new(struct provider *p, struct err *err)
{
  struct connection *c = calloc(1, sizeof(*c));
  if (c) {
    c->provider = p;
    c->last = &c->first;
    connection_cond_init(&c->wake);
    if (connection_start(p, c) == 0)
      return c;
    pthread_cond_destroy(&c->wake);
    free(c);
  }
  err_set(err, ERR_NO_MEMORY, "no thread for the connection to %s", p->config.endpoint);
  return NULL;
}

static struct connection *connection_get(struct provider *p, struct err *err)
{
  if (p->current)
    return p->current;
  int64_t wait_ms = p->retry_at_ms - clock_ms();
  if (p->wedged >= PROVIDER_WEDGED_MAX) {
    err_set(err, ERR_TIMEOUT, "%s has not answered %u calls, which still hang", p->config.endpoint,
            p->wedged);
    return NULL;
  }
  if (p->wedged > 0 && wait_ms > 0) {
    err_set(err, ERR_TIMEOUT, "%s has just not answered; it is tried again in %lld s",
            p->config.endpoint, (long long)(wait_ms + 999) / 1000);
    if (err)
      err->retry_after_ms = (long)wait_ms;
    return NULL;
  }
  return connection_new(p, err);
}

static void unqueue(struct connection *c, const struct job *job)
{
  struct job **at = &c->first;
  while (*at && *at != job)
    at = &(*at)->next;
  if (!*at)
    return;
  *at = job->next;
  if (!*at)
    c->last = at;
}

// The thread is inside a call that does not return. Its other jobs fail now; the thread goes on by
// itself, and frees what is its own when it comes back.
static void abandon(struct provider *p, struct connection *c)
{
  c->abandoned = true;
  pthread_detach(c->thread);
  p->current = NULL;
  p->live--;
  p->wedged++;
  p->retry_at_ms = clock_ms() + p->config.deadline_ms;
  for (struct job *job = c->first, *next; job; job = next) {
    next = job->next;
    err_set(&job->err, ERR_TIMEOUT, "%s does not answer", p->config.endpoint);
    job_finish(job, -1);
  }
  c->first = NULL;
  c->last = &c->first;
}

static int64_t limit_of(const struct provider *p, const struct job *job)
{
  return job->since_ms + p->config.deadline_ms + (job->started ? job->extra_ms : 0);
}

static int give_up(struct provider *p, struct connection *c, struct job *job, struct err *err)
{
  int64_t seconds = (limit_of(p, job) - job->since_ms) / 1000;
  if (job->started) {
    abandon(p, c);
    return err_set(err, ERR_TIMEOUT, "%s did not answer within %lld s (%s)", p->config.endpoint,
                   (long long)seconds, job->what);
  }
  unqueue(c, job);
  job_drop(job);
  return err_set(err, ERR_TIMEOUT, "the connection to %s was busy for %lld s (%s)",
                 p->config.endpoint, (long long)seconds, job->what);
}

static bool wait_until(struct provider *p, pthread_cond_t *cond, int64_t limit_ms)
{
  struct timespec t = {.tv_sec = limit_ms / 1000, .tv_nsec = limit_ms % 1000 * 1000000};
  return pthread_cond_timedwait(cond, &p->mutex, &t) != ETIMEDOUT;
}

int connection_run(struct provider *p, struct job *job, struct err *err)
{
  LOCK_FOR_SCOPE(&p->mutex);
  struct connection *c = connection_get(p, err);
  if (!c)
    return -1;
  job->at = p;
  job->references++;
  job->since_ms = clock_ms();
  *c->last = job;
  c->last = &job->next;
  pthread_cond_signal(&c->wake);
  while (!job->done) {
    if (!wait_until(p, &job->changed, limit_of(p, job)) && !job->done &&
        clock_ms() >= limit_of(p, job))
      return give_up(p, c, job, err);
  }
  if (job->result != 0 && err)
    *err = job->err;
  return job->result;
}

static bool end_current(struct provider *p, pthread_t *ret_thread)
{
  LOCK_FOR_SCOPE(&p->mutex);
  struct connection *c = p->current;
  p->current = NULL;
  if (!c)
    return false;
  *ret_thread = c->thread;
  c->ending = true;
  pthread_cond_signal(&c->wake);
  int64_t limit_ms = clock_ms() + p->config.deadline_ms;
  while (p->live > 0 && clock_ms() < limit_ms)
    wait_until(p, &p->ended, limit_ms);
  if (p->live == 0)
    return true;
  pthread_detach(*ret_thread); // closing can hang as well: then the thread is left behind
  return false;
}

void connection_end(struct provider *p)
{
  pthread_t thread;
  if (end_current(p, &thread))
    pthread_join(thread, NULL);
}
