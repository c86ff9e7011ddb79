// SPDX-License-Identifier: Apache-2.0
// What the files of the Kubernetes object store share.
//
//   store_kube.c        life, watches, reading, writing
//   store_kube_maps.c   Secrets, ConfigMaps, Namespaces
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
  struct kube *kube; // the caller's
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

// ---- store_kube_maps.c: as struct object_store_ops says
int kube_store_get_secret(struct object_store *s, const char *ns, const char *name,
                          struct secret_map *ret, struct err *err);
int kube_store_get_config(struct object_store *s, const char *ns, const char *name, const char *key,
                          char **ret_value, struct err *err);
int kube_store_namespace_labels(struct object_store *s, const char *ns, struct strings *ret,
                                struct err *err);
int kube_store_installation(struct object_store *s, char ret[64], struct err *err);
