// SPDX-License-Identifier: Apache-2.0
// All objects of a resource, and every change of them, without holding them: a paged list, then a
// watch that goes on where it left off, for as long as the process lives.
//
// What is promised: after the callbacks have run, the caller knows every object that exists, and
// has been told of each that went away; a change may be told once for several that happened
// quickly, and never out of order. That holds through lost connections, restarts of the server,
// expired versions (410: listed anew; what is gone meanwhile is reported deleted, what did not
// change is not reported again), answers cut off in the middle, and an object deleted and made
// again under its name (deleted with the old uid, then changed).
//
// Memory: per object its namespace, name, uid and resourceVersion; JSON trees live only during the
// callback (keep nothing of them), pages hold KUBE_PAGE objects at most.
//
// Threads: informers, and all callbacks, belong to the loop. Lists and credentials are fetched by
// two threads of their own; watches run on the loop itself. Life: informers_new(), informer_start()
// for each resource and namespace, informers_free(): no callback after that. The
// kube and the loop must outlive it, the loop being freed later (it may hold an empty message of
// ours).
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "kube/client.h"

#define INFORMER_WATCH_MS       300000 // a watch ends by itself after one to two times this
#define INFORMER_IDLE_MS        150000 // bookmarks come every minute: two missing = connection lost
#define INFORMER_LATE_MS        30000  // where there are none: its end may be late by so much
#define INFORMER_BACKOFF_MS     500
#define INFORMER_BACKOFF_MAX_MS 15000
#define INFORMER_LINE_MAX_BYTES (4u << 20) // one change: etcd takes 1.5 MiB

struct informers;
struct informer;

struct informer_callbacks {
  // The object is there and this is what it looks like.
  void (*changed)(void *arg, struct json_object *object);
  void (*deleted)(void *arg, const char *ns, const char *name, const char *uid);
  // Once: everything that existed at the start has been told.
  void (*synced)(void *arg);
  // A request failed and will be repeated by itself: for logs and metrics. ERR_DENIED and ERR_AUTH
  // will hardly heal without a person. May be NULL.
  void (*trouble)(void *arg, const struct err *err, int64_t again_in_ms);
  void *arg;
};

struct informer_settings {
  const struct kube_resource *resource; // must outlive the informer
  const char *ns;                       // NULL = all namespaces
  const char *label_selector, *field_selector;
  // Tests set these; 0 = as above.
  int page;
  int64_t watch_ms, idle_ms, backoff_ms, backoff_max_ms;
};

struct informers *informers_new(struct loop *loop, struct kube *k, struct err *err);
void informers_free(struct informers *all); // NULL allowed
struct informer *informer_start(struct informers *all, const struct informer_settings *settings,
                                const struct informer_callbacks *callbacks, struct err *err);
