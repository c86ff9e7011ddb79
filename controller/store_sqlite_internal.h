// SPDX-License-Identifier: Apache-2.0
// What the files of the embedded object store share: the store itself, and a row of its table of
// objects, read, changed and written as a whole inside one transaction.
#pragma once

#include "controller/sqlite_internal.h"
#include "controller/store_sqlite.h"
#include "kube/object.h"

struct sqlite_watch; // sqlite_watch.c

#define OWN_WRITES 1024

struct store_sqlite {
  struct object_store base;
  char *path;
  enum store_sqlite_mode mode;
  int lock_fd; // STORE_RUN
  struct sqlite_db db;
  struct sqlite_watch *watch; // between start and stop; guarded by db.mutex
  struct object_key *only;    // see store_sqlite_only()
  size_t only_count;
  bool has_only;
  // Versions that steps gave their own objects, each at its remainder; guarded by db.mutex. One
  // that is overwritten before it was announced is announced as a change of somebody else's.
  int64_t own_writes[OWN_WRITES];
  // Events beyond a rate are dropped; guarded by db.mutex.
  double event_tokens;
  int64_t event_tokens_ms;
};

// ---- sqlite_file.c: the file, its lock, its schema
int sqlite_create_file(const char *path, struct err *err);       // there afterwards, mode 0600
int sqlite_lock(const char *path, int *ret_fd, struct err *err); // ERR_BUSY names the holder
int sqlite_schema(struct sqlite_db *db, bool write, struct err *err);
void sqlite_new_uid(char ret[40]); // a random UUID

// ---- sqlite_row.c
struct sqlite_row {
  struct object_key key;
  char uid[40];
  int64_t version, generation;
  char created[32], deleted[32];                         // deleted "" = not being deleted
  struct json_object *labels, *annotations, *finalizers; // never NULL
  struct json_object *owners;                            // never NULL
  struct json_object *spec, *status;                     // never NULL
  struct json_object *applied; // {spec, labels, annotations} of the last manifest
};
void sqlite_row_release(struct sqlite_row *row);
// A new object: uid, creation time, generation 1, everything else empty.
int sqlite_row_init(struct sqlite_row *row, const struct object_key *key, struct err *err);
// The caller holds db.mutex. 1: found; 0: there is none; -1: error.
int sqlite_row_find(struct sqlite_db *db, const struct object_key *key, struct sqlite_row *ret,
                    struct err *err);
// As find, but none is ERR_NOT_FOUND.
int sqlite_row_read(struct sqlite_db *db, const struct object_key *key, struct sqlite_row *ret,
                    struct err *err);
// Inside a write. Gives the row its next version. A row that is being deleted and has no finalizer
// left is removed instead.
int sqlite_row_write(struct sqlite_db *db, struct sqlite_row *row, struct err *err);
struct json_object *
sqlite_row_json(const struct sqlite_row *row); // a whole object; NULL: no memory
int sqlite_next_version(struct sqlite_db *db, int64_t *ret, struct err *err);

// ---- sqlite_apply.c
int sqlite_create(struct object_store *s, struct object *o, struct err *err);

// ---- sqlite_watch.c
int sqlite_watch_start(struct object_store *s, struct loop *loop,
                       const struct object_events *events, struct err *err);
void sqlite_watch_stop(struct object_store *s);
void sqlite_watch_poke(struct store_sqlite *s); // this process has written something

// ---- sqlite_maps.c
bool sqlite_is_map(const char *kind);
int sqlite_apply_map(struct store_sqlite *s, struct json_object *json, const char *ns,
                     struct store_applied_object *ret, struct err *err);
int sqlite_get_secret(struct object_store *s, const char *ns, const char *name,
                      struct secret_map *ret, struct err *err);
int sqlite_get_config(struct object_store *s, const char *ns, const char *name, const char *key,
                      char **ret_value, struct err *err);
int sqlite_namespace_labels(struct object_store *s, const char *ns, struct strings *ret,
                            struct err *err);

// ---- sqlite_events.c
void sqlite_event(struct object_store *s, const struct object *o, const char *type,
                  const char *reason, const char *message);
