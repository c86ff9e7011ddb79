// SPDX-License-Identifier: Apache-2.0
#include "controller/store_sqlite.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "controller/store_sqlite_internal.h"

// ---- reading --------------------------------------------------------------------------------

static int sqlite_get(struct object_store *store, const struct object_key *key, struct object **ret,
                      struct err *err)
{
  struct store_sqlite *s = (struct store_sqlite *)store;
  struct sqlite_row row CLEANUP(sqlite_row_release) = {0};
  {
    LOCK_FOR_SCOPE(&s->db.mutex);
    if (sqlite_row_read(&s->db, key, &row, err) != 0)
      return -1;
  }
  struct json_object *json cleanup_object = sqlite_row_json(&row);
  if (!json)
    return err_set(err, ERR_NO_MEMORY, "no memory for an object");
  return object_decode(json, ret, err);
}

static int add_key(struct list *keys, enum object_kind kind, struct sqlite_query *q,
                   struct err *err)
{
  struct object_key *key = list_add(keys, sizeof(*key), SIZE_MAX);
  if (!key)
    return err_set(err, ERR_NO_MEMORY, "no memory for a list of objects");
  return object_key_set(key, kind, sqlite_text(q, 0), sqlite_text(q, 1), err);
}

static int list_mentioning(struct object_store *store, enum object_kind kind, const char *ns,
                           const char *text, struct object_key **ret, size_t *ret_count,
                           struct err *err)
{
  struct store_sqlite *s = (struct store_sqlite *)store;
  cleanup_free char *quoted = text ? str_printf("\"%s\"", text) : NULL;
  if (text && !quoted)
    return err_set(err, ERR_NO_MEMORY, "no memory for a list of objects");
  LOCK_FOR_SCOPE(&s->db.mutex);
  struct sqlite_query q CLEANUP(sqlite_close_query) = {0};
  if (sqlite_open_query(
          &q, &s->db,
          "SELECT ns, name FROM objects WHERE kind = ?1 AND (?2 IS NULL OR ns = ?2)"
          " AND (?3 IS NULL OR instr(spec, ?3)) ORDER BY ns, name",
          ARGS(ARG_TEXT(object_kind_info(kind)->kind), ARG_TEXT(ns), ARG_TEXT(quoted)), err) != 0)
    return -1;
  struct list keys = {0};
  int more;
  while ((more = sqlite_next(&q, err)) == 1)
    if (add_key(&keys, kind, &q, err) != 0) {
      more = -1;
      break;
    }
  if (more < 0) {
    free(keys.items);
    return -1;
  }
  *ret = keys.items;
  *ret_count = keys.count;
  return 0;
}

static int sqlite_list(struct object_store *store, enum object_kind kind, const char *ns,
                       struct object_key **ret, size_t *ret_count, struct err *err)
{
  return list_mentioning(store, kind, ns, NULL, ret, ret_count, err);
}

static int sqlite_visit(struct object_store *store, enum object_kind kind, const char *ns,
                        const char *mention, object_visit_fn fn, void *arg, struct err *err)
{
  struct object_key *keys CLEANUP(cleanup_free_) = NULL;
  size_t count = 0;
  if (list_mentioning(store, kind, ns, mention, &keys, &count, err) != 0)
    return -1;
  store_visit_keys(store, keys, count, fn, arg);
  return 0;
}

static int sqlite_installation(struct object_store *store, char ret[64], struct err *err)
{
  struct store_sqlite *s = (struct store_sqlite *)store;
  LOCK_FOR_SCOPE(&s->db.mutex);
  struct sqlite_query q CLEANUP(sqlite_close_query) = {0};
  if (sqlite_open_query(&q, &s->db, "SELECT value FROM meta WHERE name = 'installation'", NO_ARGS,
                        err) != 0)
    return -1;
  int found = sqlite_next(&q, err);
  if (found == 1)
    snprintf(ret, 64, "%s", sqlite_text(&q, 0));
  if (found == 0)
    return err_set(err, ERR_CORRUPT, "state file %s has lost its installation id", s->path);
  return found < 0 ? -1 : 0;
}

// ---- writing --------------------------------------------------------------------------------

// The row of an object that somebody read, if it is still the version that was read.
static int read_current(struct store_sqlite *s, const struct object *o, struct sqlite_row *row,
                        struct err *err)
{
  struct object_key key = object_key_of(o);
  if (sqlite_row_read(&s->db, &key, row, err) != 0)
    return -1;
  int64_t version = -1;
  if (str_int64(o->meta.resource_version, &version) && version == row->version)
    return 0;
  return err_set(err, ERR_CONFLICT,
                 "%s '%s' has changed meanwhile (version %" PRId64 ", not %s): read it again",
                 object_kind_info(o->kind)->kind, o->meta.name, row->version,
                 o->meta.resource_version ? o->meta.resource_version : "none");
}

// Migrations rely on being called again after each of their writes.
static bool knows_itself(enum object_kind kind)
{
  return kind == OBJECT_CLONE_BASE || kind == OBJECT_CLONE || kind == OBJECT_CLONE_SET;
}

static int write_back(struct store_sqlite *s, struct sqlite_write *w, struct sqlite_row *row,
                      bool lasting, struct object *o, struct err *err)
{
  cleanup_free char *version = str_printf("%" PRId64, row->version);
  if (!version)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  if ((lasting ? sqlite_write_commit : sqlite_write_commit_soon)(w, err) != 0)
    return -1;
  free(o->meta.resource_version);
  o->meta.resource_version = TAKE(version);
  sqlite_watch_poke(s);
  return 0;
}

static int sqlite_put_status(struct object_store *store, struct object *o, struct err *err)
{
  struct store_sqlite *s = (struct store_sqlite *)store;
  struct json_object *status cleanup_object =
      table_encode(object_kind_info(o->kind)->status, o->status);
  if (!status)
    return err_set(err, ERR_NO_MEMORY, "no memory for a status");
  struct sqlite_row row CLEANUP(sqlite_row_release) = {0};
  struct sqlite_write w CLEANUP(sqlite_write_end) = {0};
  if (sqlite_write_begin(&w, &s->db, err) != 0 || read_current(s, o, &row, err) != 0)
    return -1;
  if (json_object_equal(status, row.status))
    return 0;
  bool lasting = o->kind == OBJECT_VM_MIGRATION; // notes what it does to its source
  json_object_put(row.status);
  row.status = TAKE(status);
  if (sqlite_row_write(&s->db, &row, err) != 0)
    return -1;
  if (knows_itself(o->kind))
    s->own_writes[row.version % OWN_WRITES] = row.version;
  return write_back(s, &w, &row, lasting, o, err);
}

static size_t finalizer_at(struct json_object *finalizers, const char *name)
{
  size_t i = 0;
  while (i < json_object_array_length(finalizers) &&
         !str_eq(json_object_get_string(json_object_array_get_idx(finalizers, i)), name))
    i++;
  return i;
}

static int copy_finalizers(struct json_object *from, struct strings *to, struct err *err)
{
  strings_release(to);
  *to = (struct strings){0};
  for (size_t i = 0; i < json_object_array_length(from); i++)
    if (strings_add(to, json_object_get_string(json_object_array_get_idx(from, i))) != 0)
      return err_set(err, ERR_NO_MEMORY, "no memory");
  return 0;
}

static int sqlite_set_finalizer(struct object_store *store, struct object *o, const char *finalizer,
                                bool present, struct err *err)
{
  struct store_sqlite *s = (struct store_sqlite *)store;
  struct sqlite_row row CLEANUP(sqlite_row_release) = {0};
  struct sqlite_write w CLEANUP(sqlite_write_end) = {0};
  if (sqlite_write_begin(&w, &s->db, err) != 0 || read_current(s, o, &row, err) != 0)
    return -1;
  size_t at = finalizer_at(row.finalizers, finalizer);
  bool there = at < json_object_array_length(row.finalizers);
  if (there == present)
    return 0;
  if (present && row.deleted[0])
    return err_set(err, ERR_CONFLICT, "'%s' is being deleted: it takes no finalizer", o->meta.name);
  if (present)
    json_object_array_add(row.finalizers, json_object_new_string(finalizer));
  else
    json_object_array_del_idx(row.finalizers, at, 1);
  if (copy_finalizers(row.finalizers, &o->meta.finalizers, err) != 0 ||
      sqlite_row_write(&s->db, &row, err) != 0)
    return -1;
  return write_back(s, &w, &row, false, o, err);
}

static int sqlite_put_owners(struct object_store *store, struct object *o, struct err *err)
{
  struct store_sqlite *s = (struct store_sqlite *)store;
  struct json_object *owners cleanup_object = object_encode_owners(o);
  struct sqlite_row row CLEANUP(sqlite_row_release) = {0};
  struct sqlite_write w CLEANUP(sqlite_write_end) = {0};
  if (!owners)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  if (sqlite_write_begin(&w, &s->db, err) != 0 || read_current(s, o, &row, err) != 0)
    return -1;
  json_object_put(row.owners);
  row.owners = TAKE(owners);
  if (sqlite_row_write(&s->db, &row, err) != 0)
    return -1;
  return write_back(s, &w, &row, false, o, err);
}

static int sqlite_settle(struct object_store *store, struct err *err)
{
  return sqlite_db_settle(&((struct store_sqlite *)store)->db, err);
}

static int sqlite_remove(struct object_store *store, const struct object *o, struct err *err)
{
  struct store_sqlite *s = (struct store_sqlite *)store;
  struct object_key key = object_key_of(o);
  struct sqlite_row row CLEANUP(sqlite_row_release) = {0};
  struct sqlite_write w CLEANUP(sqlite_write_end) = {0};
  if (sqlite_write_begin(&w, &s->db, err) != 0 || sqlite_row_read(&s->db, &key, &row, err) != 0)
    return -1;
  if (!str_eq(row.uid, o->meta.uid))
    return err_set(err, ERR_CONFLICT, "'%s' is another object by now (uid %s)", key.name, row.uid);
  if (row.deleted[0])
    return 0;
  clock_rfc3339(clock_wall_ms(), row.deleted);
  row.generation++; // as the API server counts it
  if (sqlite_row_write(&s->db, &row, err) != 0 || sqlite_write_commit(&w, err) != 0)
    return -1;
  sqlite_watch_poke(s);
  return 0;
}

// ---- opening --------------------------------------------------------------------------------

static void sqlite_free(struct object_store *store)
{
  struct store_sqlite *s = (struct store_sqlite *)store;
  sqlite_watch_stop(store);
  sqlite_db_close(&s->db);
  if (s->lock_fd >= 0)
    close(s->lock_fd);
  free(s->only);
  free(s->path);
  free(s);
}
DEFINE_CLEANUP(store_free, struct object_store *)

static int sqlite_scale(struct object_store *s, const struct object_key *key, int64_t replicas,
                        struct err *err)
{
  struct json_object *patch cleanup_object = json_object_new_object();
  struct json_object *spec = json_object_new_object();
  json_object_object_add(spec, "replicas", json_object_new_int64(replicas));
  json_object_object_add(patch, "spec", spec);
  return store_sqlite_patch(s, key, patch, err);
}

static int sqlite_events(struct object_store *s, const struct object *o, store_event_fn fn,
                         void *arg, struct err *err)
{
  struct object_key key = object_key_of(o);
  return store_sqlite_events(s, &key, fn, arg, err);
}

static const struct object_store_ops sqlite_ops = {
    .name = "sqlite",
    .start = sqlite_watch_start,
    .stop = sqlite_watch_stop,
    .get = sqlite_get,
    .list = sqlite_list,
    .visit = sqlite_visit,
    .put_status = sqlite_put_status,
    .settle = sqlite_settle,
    .create = sqlite_create,
    .patch = store_sqlite_patch,
    .scale = sqlite_scale,
    .set_finalizer = sqlite_set_finalizer,
    .put_owners = sqlite_put_owners,
    .remove = sqlite_remove,
    .event = sqlite_event,
    .get_secret = sqlite_get_secret,
    .get_config = sqlite_get_config,
    .events = sqlite_events,
    .remove_map = store_sqlite_remove_map,
    .namespace_labels = sqlite_namespace_labels,
    .installation = sqlite_installation,
    .free = sqlite_free,
};

static int open_file(struct store_sqlite *s, struct err *err)
{
  bool run = s->mode == STORE_RUN;
  if (!run && access(s->path, F_OK) != 0)
    return errno == ENOENT ? err_set(err, ERR_NOT_FOUND,
                                     "there is no state file %s; 'drover run' makes one, and "
                                     "--state names another",
                                     s->path)
                           : err_errno(err, errno, "state file %s", s->path);
  if (run && (sqlite_create_file(s->path, err) != 0 || sqlite_lock(s->path, &s->lock_fd, err) != 0))
    return -1;
  if (sqlite_db_open(&s->db, s->path, s->mode == STORE_READ, err) != 0)
    return -1;
  return sqlite_schema(&s->db, run, err);
}

int store_sqlite_open(const char *path, enum store_sqlite_mode mode, struct object_store **ret,
                      struct err *err)
{
  struct store_sqlite *s = calloc(1, sizeof(*s));
  if (!s)
    return err_set(err, ERR_NO_MEMORY, "no memory for the object store");
  s->base.ops = &sqlite_ops;
  s->mode = mode;
  s->lock_fd = -1;
  struct object_store *store CLEANUP(store_free_p) = &s->base;
  s->path = str_dup(path);
  if (!s->path)
    return err_set(err, ERR_NO_MEMORY, "no memory for the object store");
  if (open_file(s, err) != 0)
    return -1;
  *ret = TAKE(store);
  return 0;
}

bool store_sqlite_trouble(struct object_store *store, struct err *err)
{
  struct store_sqlite *s = (struct store_sqlite *)store;
  LOCK_FOR_SCOPE(&s->db.mutex);
  if (s->db.trouble.kind == ERR_NONE)
    return false;
  *err = s->db.trouble;
  return true;
}

int store_sqlite_only(struct object_store *store, const struct object_key *keys, size_t count,
                      struct err *err)
{
  struct store_sqlite *s = (struct store_sqlite *)store;
  struct object_key *copy = calloc(count ? count : 1, sizeof(*copy));
  if (!copy)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  memcpy(copy, keys, count * sizeof(*keys));
  free(s->only);
  s->only = copy;
  s->only_count = count;
  s->has_only = true;
  return 0;
}
