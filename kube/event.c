// SPDX-License-Identifier: Apache-2.0
#include "kube/event.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "base/worker.h"
#include "kube/correlator.h"
#include "kube/object.h"

#define CALL_MS       5000
#define RETRY_MS      1000
#define NAME_PART_MAX 230 // of an object's name within the name of its Event

static const struct kube_resource resource = {"", "v1", "events", "Event"};

struct events {
  struct kube *kube;
  char *component, *instance;
  struct workers *worker;        // one thread
  struct correlator *correlator; // of that thread
  pthread_mutex_t mutex;         // guards what follows
  pthread_cond_t ending_now;
  size_t queued;
  int64_t flush_until_ms; // 0 = not ending
};

struct job {
  struct events *events;
  char *api_version, *kind, *ns, *name, *uid, *version;
  char *type, *reason, *message;
};

static void job_free(struct job *j)
{
  free(j->api_version);
  free(j->kind);
  free(j->ns);
  free(j->name);
  free(j->uid);
  free(j->version);
  free(j->type);
  free(j->reason);
  free(j->message);
  free(j);
}

// ---- what is written ------------------------------------------------------------------------

// In the object's namespace; Events about cluster-wide objects live in "default".
static const char *event_namespace(const struct job *j)
{
  return *j->ns ? j->ns : "default";
}

static struct json_object *involved(const struct job *j)
{
  struct json_object *o = json_object_new_object();
  object_set_string(o, "apiVersion", j->api_version);
  object_set_string(o, "kind", j->kind);
  if (*j->ns)
    object_set_string(o, "namespace", j->ns);
  object_set_string(o, "name", j->name);
  object_set_string(o, "uid", j->uid);
  object_set_string(o, "resourceVersion", j->version);
  return o;
}

static struct json_object *new_event(const struct job *j, const struct correlated *c,
                                     const char *name)
{
  char time[32];
  struct json_object *o = json_object_new_object();
  struct json_object *metadata = json_object_new_object();
  struct json_object *source = json_object_new_object();
  object_set_string(metadata, "name", name);
  object_set_string(metadata, "namespace", event_namespace(j));
  object_set_string(source, "component", j->events->component);
  object_set_string(o, "apiVersion", "v1");
  object_set_string(o, "kind", "Event");
  json_object_object_add(o, "metadata", metadata);
  json_object_object_add(o, "involvedObject", involved(j));
  json_object_object_add(o, "source", source);
  object_set_string(o, "reportingComponent", j->events->component);
  object_set_string(o, "reportingInstance", j->events->instance);
  object_set_string(o, "type", j->type);
  object_set_string(o, "reason", j->reason);
  object_set_string(o, "message", c->message);
  object_set_string(o, "firstTimestamp", clock_rfc3339(c->first_wall_ms, time));
  object_set_string(o, "lastTimestamp", clock_rfc3339(clock_wall_ms(), time));
  json_object_object_add(o, "count", json_object_new_int64(c->count));
  return o;
}

static int create(const struct job *j, const struct correlated *c, struct err *err)
{
  char name[254];
  snprintf(name, sizeof(name), "%.*s.%016llx", NAME_PART_MAX, j->name,
           (unsigned long long)clock_random(UINT64_MAX));
  struct json_object *o cleanup_object = new_event(j, c, name);
  struct kube_call call = {.method = "POST",
                           .resource = &resource,
                           .ns = event_namespace(j),
                           .query = "fieldManager=" KUBE_FIELD_MANAGER,
                           .body = o,
                           .timeout_ms = CALL_MS};
  if (kube_perform(j->events->kube, &call, NULL, NULL, err) != 0)
    return -1;
  correlator_written(j->events->correlator, c->key, name);
  return 0;
}

static int update(const struct job *j, const struct correlated *c, struct err *err)
{
  char time[32];
  struct json_object *o cleanup_object = json_object_new_object();
  object_set_string(o, "message", c->message);
  object_set_string(o, "lastTimestamp", clock_rfc3339(clock_wall_ms(), time));
  json_object_object_add(o, "count", json_object_new_int64(c->count));
  struct kube_call call = {.method = "PATCH",
                           .resource = &resource,
                           .ns = event_namespace(j),
                           .name = c->event_name,
                           .query = "fieldManager=" KUBE_FIELD_MANAGER,
                           .content_type = "application/merge-patch+json",
                           .body = o,
                           .timeout_ms = CALL_MS};
  struct err why = ERR_INIT;
  if (kube_perform(j->events->kube, &call, NULL, NULL, &why) == 0)
    return 0;
  if (why.kind == ERR_NOT_FOUND) // Events live an hour
    return create(j, c, err);
  *err = why;
  return -1;
}

// ---- sending --------------------------------------------------------------------------------

static bool flush_is_over(struct events *e)
{
  LOCK_FOR_SCOPE(&e->mutex);
  return e->flush_until_ms && clock_ms() >= e->flush_until_ms;
}

// False when there is no time left.
static bool pause_for(struct events *e, int64_t delay_ms)
{
  int64_t until_ms = clock_ms() + delay_ms;
  struct timespec until = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};
  LOCK_FOR_SCOPE(&e->mutex);
  while (!e->flush_until_ms && clock_ms() < until_ms)
    pthread_cond_timedwait(&e->ending_now, &e->mutex, &until);
  return !e->flush_until_ms;
}

static int deliver(const struct job *j, const struct correlated *c)
{
  for (int try = 1;; try++) {
    struct err err = ERR_INIT;
    if ((c->action == CORRELATED_UPDATE ? update : create)(j, c, &err) == 0)
      return 0;
    int64_t wait_ms = err.retry_after_ms > RETRY_MS ? err.retry_after_ms : RETRY_MS * try;
    if (!err_retryable(err.kind) || try == EVENT_TRIES || !pause_for(j->events, wait_ms))
      return -1;
  }
}

static void send_job(void *arg)
{
  struct job *j = arg;
  struct events *e = j->events;
  struct correlated c = {0};
  cleanup_free char *object = str_printf("%s/%s/%s/%s", j->kind, j->ns, j->name, j->uid);
  bool failed = flush_is_over(e) || !object;
  if (!failed)
    correlator_judge(e->correlator, object, j->type, j->reason, j->message, clock_ms(),
                     clock_wall_ms(), &c);
  if (c.action != CORRELATED_DROP)
    failed = deliver(j, &c) != 0;
  if (failed && c.action == CORRELATED_CREATE)
    correlator_forget(e->correlator, c.key);
  job_free(j);
  LOCK_FOR_SCOPE(&e->mutex);
  e->queued--;
}

static bool enter_queue(struct events *e)
{
  LOCK_FOR_SCOPE(&e->mutex);
  bool room = e->queued < EVENT_QUEUE_MAX && !e->flush_until_ms;
  e->queued += room;
  return room;
}

void event_send(struct events *e, const struct event_about *about, const char *type,
                const char *reason, const char *message)
{
  if (!enter_queue(e))
    return;
  struct job *j = calloc(1, sizeof(*j));
  if (j)
    *j = (struct job){.events = e,
                      .api_version = str_dup(about->api_version),
                      .kind = str_dup(about->kind),
                      .ns = str_dup(about->ns ? about->ns : ""),
                      .name = str_dup(about->name),
                      .uid = str_dup(about->uid ? about->uid : ""),
                      .version = str_dup(about->version),
                      .type = str_dup(type),
                      .reason = str_dup(reason),
                      .message = str_dup(message ? message : "")};
  if (j && j->ns && j->name && j->uid && j->kind && j->type && j->reason && j->message) {
    workers_put(e->worker, send_job, j);
    return;
  }
  if (j)
    job_free(j);
  LOCK_FOR_SCOPE(&e->mutex);
  e->queued--;
}

// ---- life -----------------------------------------------------------------------------------

struct events *events_new(struct kube *k, const char *component, const char *instance,
                          struct err *err)
{
  struct events *e = calloc(1, sizeof(*e));
  if (e) {
    pthread_condattr_t monotonic;
    pthread_mutex_init(&e->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&e->ending_now, &monotonic);
    pthread_condattr_destroy(&monotonic);
    e->kube = k;
    e->component = str_dup(component);
    e->instance = str_dup(instance);
    e->correlator = correlator_new();
    e->worker = workers_new(1, "events");
  }
  if (e && e->component && e->instance && e->correlator && e->worker)
    return e;
  events_free(e);
  err_set(err, ERR_NO_MEMORY, "no memory or thread for events");
  return NULL;
}

void events_free(struct events *e)
{
  if (!e)
    return;
  {
    LOCK_FOR_SCOPE(&e->mutex);
    e->flush_until_ms = clock_ms() + EVENT_FLUSH_MS;
    pthread_cond_broadcast(&e->ending_now);
  }
  workers_free(e->worker);
  correlator_free(e->correlator);
  pthread_cond_destroy(&e->ending_now);
  pthread_mutex_destroy(&e->mutex);
  free(e->component);
  free(e->instance);
  free(e);
}
