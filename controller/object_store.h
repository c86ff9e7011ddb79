// SPDX-License-Identifier: Apache-2.0
// Where objects live: a Kubernetes API server (store_kube.c) or one SQLite file (store_sqlite.c,
// for `drover run`). Runners cannot tell which. The controller is the only writer of status.
//
// Reading gives the latest that this process knows (a cache fed by the watch is fine), never older
// than its own last write. Every write carries the resource version of what was read: ERR_CONFLICT
// means that somebody changed the object meanwhile; the caller reads again and acts on nothing.
//
// Threads: start() and the callbacks belong to the loop; everything else may be called from any
// worker thread, and blocks.
//
// Defaults and rules of the schema hold in both: objects that this interface hands out have been
// decoded by the tables of crds/, with defaults filled in. An object that does not pass (an older
// API server, a hand-edited file) is handed out with `invalid` set to the sentence.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/field.h"
#include "base/loop.h"
#include "base/secret.h"
#include "crds/object.h"

struct object_key {
  enum object_kind kind;
  char ns[64];
  char name[254];
};

// ERR_INVALID: too long, or missing. ns "" is fine.
int object_key_set(struct object_key *key, enum object_kind kind, const char *ns, const char *name,
                   struct err *err);
struct object_key object_key_of(const struct object *o);

struct object_events {
  // Something about this object changed, or it was there at the start: look at it. Coalesced.
  void (*changed)(void *arg, const struct object_key *key);
  void (*deleted)(void *arg, const struct object_key *key);
  // Nothing changed but the status, which the step of this very object has written: it knows. For
  // those who show objects. A store that cannot tell says `changed`.
  void (*told)(void *arg, const struct object_key *key);
  // All objects that existed at the start have been announced (once per kind that was asked for).
  // NULL allowed.
  void (*synced)(void *arg);
  // The store cannot go on (the lease was lost, the API refuses us): end the process.
  void (*failed)(void *arg, const struct err *err);
  void *arg;
};

struct secret_map { // the data of one Secret
  struct secret_item {
    char *key;
    struct secret value;
  } * items;
  size_t count;
};
const struct secret *secret_map_get(const struct secret_map *m,
                                    const char *key); // NULL: no such key
void secret_map_release(struct secret_map *m);

struct object_store;
typedef void (*object_visit_fn)(void *arg, const struct object *o);

struct store_event {
  const char *type, *reason, *message; // borrowed
  int64_t count;
  int64_t first_wall_ms, last_wall_ms;
};
typedef void (*store_event_fn)(void *arg, const struct store_event *event);
typedef int (*store_each_fn)(void *arg, const struct object *o, struct err *err);

struct object_store_ops {
  const char *name; // "kubernetes", "sqlite"
  // Begins list and watch of all kinds; callbacks on the loop.
  int (*start)(struct object_store *s, struct loop *loop, const struct object_events *events,
               struct err *err);
  void (*stop)(struct object_store *s); // on the loop; no callback afterwards
  // A copy that the caller frees with object_free(). ERR_NOT_FOUND.
  int (*get)(struct object_store *s, const struct object_key *key, struct object **ret,
             struct err *err);
  // Keys of all objects of a kind, in the namespace or (ns NULL) everywhere this store looks.
  int (*list)(struct object_store *s, enum object_kind kind, const char *ns,
              struct object_key **ret, size_t *ret_count, struct err *err);
  // Shows the objects of a kind, of ns or (NULL) everywhere, without a copy of each: at least those
  // in whose spec the text `mention` (NULL = all) is a string; others may be among them. fn keeps
  // nothing of them, is brief, and asks nothing of the store, which may be locked meanwhile.
  int (*visit)(struct object_store *s, enum object_kind kind, const char *ns, const char *mention,
               object_visit_fn fn, void *arg, struct err *err);
  // Writes o->status if o->meta.resource_version is still current, and sets the new version in o.
  int (*put_status)(struct object_store *s, struct object *o, struct err *err);
  // What this process has written so far survives a power cut afterwards: before something is done
  // that only those writes tell of. Migrations need not ask: their status is always so.
  int (*settle)(struct object_store *s, struct err *err);
  // Makes a new object of o's kind, namespace, name, labels, annotations, finalizers, owners and
  // spec, and sets uid, generation and resource version in o. ERR_EXISTS: the name is taken.
  int (*create)(struct object_store *s, struct object *o, struct err *err);
  // A JSON merge patch of spec ({"spec": {...}}), and of labels and annotations in metadata,
  // without a precondition: a wish of somebody (a set for its clones, `drover cancel`). Checked as
  // any change of spec is.
  int (*patch)(struct object_store *s, const struct object_key *key, struct json_object *patch,
               struct err *err);
  // spec.replicas of a CloneSet; in a cluster through its scale subresource, whose rights are
  // enough.
  int (*scale)(struct object_store *s, const struct object_key *key, int64_t replicas,
               struct err *err);
  // Adds or removes a finalizer, same precondition. Removing the last one of an object that is
  // being deleted makes it go.
  int (*set_finalizer)(struct object_store *s, struct object *o, const char *finalizer,
                       bool present, struct err *err);
  // Writes o->meta.owners, same precondition.
  int (*put_owners)(struct object_store *s, struct object *o, struct err *err);
  // Asks for deletion (ttlSecondsAfterFinished, `drover delete`). Preconditions: uid.
  int (*remove)(struct object_store *s, const struct object *o, struct err *err);
  // Never blocks for long and never fails: best effort, rate limited. type: "Normal" or "Warning".
  void (*event)(struct object_store *s, const struct object *o, const char *type,
                const char *reason, const char *message);
  int (*get_secret)(struct object_store *s, const char *ns, const char *name,
                    struct secret_map *ret, struct err *err);
  // *ret_value is yours. ERR_NOT_FOUND names what is missing, map or key.
  int (*get_config)(struct object_store *s, const char *ns, const char *name, const char *key,
                    char **ret_value, struct err *err);
  // Calls fn for each object of a kind as it is kept now, in ns or (NULL) everywhere; fn may set
  // err and return -1, which ends it. NULL: what list and get give (store_each() knows).
  int (*each)(struct object_store *s, enum object_kind kind, const char *ns, store_each_fn fn,
              void *arg, struct err *err);
  // Calls fn for each event of the object, the latest last.
  int (*events)(struct object_store *s, const struct object *o, store_event_fn fn, void *arg,
                struct err *err);
  // Removes a "Secret" or "ConfigMap". ERR_NOT_FOUND.
  int (*remove_map)(struct object_store *s, const char *kind, const char *ns, const char *name,
                    struct err *err);
  // Labels as FIELD_MAP (alternating key, value).
  int (*namespace_labels)(struct object_store *s, const char *ns, struct strings *ret,
                          struct err *err);
  // Identifies this cluster or state file for ever: the first part of every owner mark.
  int (*installation)(struct object_store *s, char ret[64], struct err *err);
  void (*free)(struct object_store *s);
};

struct object_store {
  const struct object_store_ops *ops; // implementations embed this struct as their first member
};

// kube: namespaces NULL-terminated, NULL = all. No request is made before start().
struct kube;
int store_kube_new(struct kube *kube, const char *const *namespaces, struct object_store **ret,
                   struct err *err);
// For a command that people run: a store with a client of its own, which asks the server each time
// and watches nothing. *config is taken over (left empty). No request is made.
struct kube_config;
int store_kube_open(struct kube_config *config, struct object_store **ret, struct err *err);
// The other one is in controller/store_sqlite.h.

// Wrappers, so that callers need not spell s->ops.
int store_get(struct object_store *s, enum object_kind kind, const char *ns, const char *name,
              struct object **ret, struct err *err);
int store_each(struct object_store *s, enum object_kind kind, const char *ns, store_each_fn fn,
               void *arg, struct err *err);
// For ops->visit: reads each of these and shows it; what has gone meanwhile is left out.
void store_visit_keys(struct object_store *s, const struct object_key *keys, size_t count,
                      object_visit_fn fn, void *arg);
void store_free(struct object_store *s); // NULL allowed
