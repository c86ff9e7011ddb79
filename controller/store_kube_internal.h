// SPDX-License-Identifier: Apache-2.0
// What the files of the Kubernetes object store share.
//
//   store_kube.c        life, watches, reading, writing
//   store_kube_maps.c   Secrets, ConfigMaps, Namespaces
//   store_kube_ask.c    what only commands of people ask for
//   kube_cache.c        what the watches have told
#pragma once

#include <pthread.h>

#include "base/field.h"
#include "controller/kube_cache.h"
#include "controller/object_store.h"
#include "kube/client.h"
#include "kube/event.h"
#include "kube/informer.h"

struct store_kube;

struct kube_watch { // one kind in one namespace; of the loop
  struct store_kube *store;
  enum object_kind kind;
  bool synced;
};

struct store_kube {
  struct object_store base;
  struct kube *kube;     // the caller's
  struct kube *own_kube; // the same, where it goes with the store
  struct strings namespaces;
  struct kube_cache *cache;
  struct events *events;
  struct kube_resource resources[OBJECT_KIND_COUNT];
  // of the loop, between start and stop
  struct informers *informers;
  struct kube_watch *watches;
  size_t watch_count, synced_count;
  struct object_events callbacks;
  // shared
  pthread_mutex_t mutex;
  bool listed[OBJECT_KIND_COUNT]; // the cache knows all of that kind
  char installation[64];
};

// ---- store_kube.c
// Why a call about this object failed, as a sentence about the object where it is not there. -1.
int kube_store_missing(const struct object_key *key, const struct err *why, struct err *err);

// ---- store_kube_ask.c: as struct object_store_ops says
int kube_store_scale(struct object_store *s, const struct object_key *key, int64_t replicas,
                     struct err *err);
int kube_store_each(struct object_store *s, enum object_kind kind, const char *ns, store_each_fn fn,
                    void *arg, struct err *err);
int kube_store_events(struct object_store *s, const struct object *o, store_event_fn fn, void *arg,
                      struct err *err);

// ---- store_kube_maps.c: as struct object_store_ops says
int kube_store_get_secret(struct object_store *s, const char *ns, const char *name,
                          struct secret_map *ret, struct err *err);
int kube_store_get_config(struct object_store *s, const char *ns, const char *name, const char *key,
                          char **ret_value, struct err *err);
int kube_store_remove_map(struct object_store *s, const char *kind, const char *ns,
                          const char *name, struct err *err);
int kube_store_namespace_labels(struct object_store *s, const char *ns, struct strings *ret,
                                struct err *err);
int kube_store_installation(struct object_store *s, char ret[64], struct err *err);
