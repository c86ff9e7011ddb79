// SPDX-License-Identifier: Apache-2.0
// The object store without a cluster: one SQLite file, what `drover run` works on. It keeps
// objects as Kubernetes would: resource versions that count up with each write, generations that
// count changes of spec, finalizers, deletion in two steps, events; and Secrets and ConfigMaps, in
// tables of their own.
//
// One process at a time runs a file (STORE_RUN: it holds a lock on FILE.lock, with its process id
// inside); others may read it, and ask for things (cancel, delete) while that one works: it
// notices within half a second. Crash-safe: every write is one transaction in a write-ahead log,
// which a kill at any instruction leaves whole. After a power cut the file is as it was at some
// moment before: never older than the last settle(), deletion, patch or status of a migration that
// was acknowledged, nor than the end of the last process. The file may hold Secrets, so its mode is
// 0600 always.
//
// Threads: as controller/object_store.h says; what is declared here, from any thread.
#pragma once

#include <json-c/json.h>

#include "controller/object_store.h"

enum store_sqlite_mode {
  STORE_READ,  // the file must exist; nothing is written
  STORE_WRITE, // writers of spec: cancel, delete, retry; the file must exist
  STORE_RUN,   // creates what is missing; holds the lock until store_free()
};

// ERR_BUSY (STORE_RUN): another process runs it; the message names it. ERR_NOT_FOUND: no such file.
// ERR_UNSUPPORTED: written by a newer drover, or not by drover at all.
int store_sqlite_open(const char *path, enum store_sqlite_mode mode, struct object_store **ret,
                      struct err *err);
// Process id of whoever runs that file now; 0 = nobody.
int64_t store_sqlite_runner(const char *path);
// The state file that is meant when none is named: $XDG_STATE_HOME/drover/state.db, or
// ~/.local/state/drover/state.db. NULL: neither variable is set.
char *store_sqlite_default_path(void);

// Why nothing can be written just now (the disk is full): true, and err says it. Whoever needs the
// write tries again; this is for telling people.
bool store_sqlite_trouble(struct object_store *s, struct err *err);

enum store_applied { APPLIED_UNCHANGED, APPLIED_CREATED, APPLIED_CONFIGURED };

struct store_applied_object {
  enum store_applied what;
  bool is_object;        // false: a Secret, ConfigMap or Namespace
  struct object_key key; // kind only when is_object
  char kind[64];         // "VMMigration", "Secret"
};

// What `drover run -f` does with each manifest, as `kubectl apply` would: create, or change spec,
// labels and annotations; what an earlier manifest said and this one does not is taken away; what
// others added stays (spec.cancel by `drover cancel`). Defaults and rules of the schema are
// checked, and immutable fields refused (ERR_INVALID); status is not touched. What does not change
// anything writes nothing. Kinds: ours, Secret, ConfigMap, Namespace (for its labels). json stays
// the caller's; default_ns is for manifests that name none.
int store_sqlite_apply(struct object_store *s, struct json_object *json, const char *default_ns,
                       struct store_applied_object *ret, struct err *err);
// For `drover cancel|retry|suspend`: a JSON merge patch (RFC 7396) of "spec", and of "labels" and
// "annotations" in "metadata". Checked as by apply.
int store_sqlite_patch(struct object_store *s, const struct object_key *key,
                       struct json_object *patch, struct err *err);

// Removes a Secret, ConfigMap or Namespace. ERR_NOT_FOUND.
int store_sqlite_remove_map(struct object_store *s, const char *kind, const char *ns,
                            const char *name, struct err *err);

// From now on only these of the kinds that have an end (VMMigration) are announced by start(), and
// all of other kinds: `drover delete` works on one object and leaves the others asleep. Before
// start(). keys are copied.
int store_sqlite_only(struct object_store *s, const struct object_key *keys, size_t count,
                      struct err *err);

// As ops->events, by key: also of an object that is gone.
int store_sqlite_events(struct object_store *s, const struct object_key *key, store_event_fn fn,
                        void *arg, struct err *err);
