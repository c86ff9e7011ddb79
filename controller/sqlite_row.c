// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "controller/store_sqlite_internal.h"

#define COLUMNS                                                                                    \
  "uid, version, generation, created, deleted, labels, annotations, finalizers, spec, status, "    \
  "applied, owners"
enum { UID, VERSION, GENERATION, CREATED, DELETED, JSON };

// The JSON columns of a row, in the order of COLUMNS.
static const struct {
  size_t offset;
  bool array;
} json_columns[] = {
    {offsetof(struct sqlite_row, labels), false},
    {offsetof(struct sqlite_row, annotations), false},
    {offsetof(struct sqlite_row, finalizers), true},
    {offsetof(struct sqlite_row, spec), false},
    {offsetof(struct sqlite_row, status), false},
    {offsetof(struct sqlite_row, applied), false},
    {offsetof(struct sqlite_row, owners), true},
};

static struct json_object **json_column(struct sqlite_row *row, size_t i)
{
  return (struct json_object **)((char *)row + json_columns[i].offset);
}

void sqlite_row_release(struct sqlite_row *row)
{
  for (size_t i = 0; i < ARRAY_SIZE(json_columns); i++)
    json_object_put(*json_column(row, i));
  *row = (struct sqlite_row){0};
}

int sqlite_row_init(struct sqlite_row *row, const struct object_key *key, struct err *err)
{
  *row = (struct sqlite_row){.key = *key, .generation = 1};
  sqlite_new_uid(row->uid);
  clock_rfc3339(clock_wall_ms(), row->created);
  for (size_t i = 0; i < ARRAY_SIZE(json_columns); i++) {
    *json_column(row, i) =
        json_columns[i].array ? json_object_new_array() : json_object_new_object();
    if (!*json_column(row, i))
      return err_set(err, ERR_NO_MEMORY, "no memory for an object");
  }
  return 0;
}

static int read_columns(struct sqlite_query *q, struct sqlite_row *row, struct err *err)
{
  snprintf(row->uid, sizeof(row->uid), "%s", sqlite_text(q, UID));
  row->version = sqlite_int(q, VERSION);
  row->generation = sqlite_int(q, GENERATION);
  snprintf(row->created, sizeof(row->created), "%s", sqlite_text(q, CREATED));
  snprintf(row->deleted, sizeof(row->deleted), "%s", sqlite_text(q, DELETED));
  for (size_t i = 0; i < ARRAY_SIZE(json_columns); i++) {
    struct json_object *json = json_tokener_parse(sqlite_text(q, JSON + (int)i));
    enum json_type want = json_columns[i].array ? json_type_array : json_type_object;
    *json_column(row, i) = json;
    if (!json_object_is_type(json, want))
      return err_set(err, ERR_CORRUPT, "state file %s: %s %s/%s cannot be read back", q->db->path,
                     object_kind_info(row->key.kind)->kind, row->key.ns, row->key.name);
  }
  return 0;
}

int sqlite_row_find(struct sqlite_db *db, const struct object_key *key, struct sqlite_row *ret,
                    struct err *err)
{
  struct sqlite_query q CLEANUP(sqlite_close_query) = {0};
  if (sqlite_open_query(
          &q, db, "SELECT " COLUMNS " FROM objects WHERE kind = ? AND ns = ? AND name = ?",
          ARGS(ARG_TEXT(object_kind_info(key->kind)->kind), ARG_TEXT(key->ns), ARG_TEXT(key->name)),
          err) != 0)
    return -1;
  int found = sqlite_next(&q, err);
  if (found != 1)
    return found;
  *ret = (struct sqlite_row){.key = *key};
  if (read_columns(&q, ret, err) == 0)
    return 1;
  sqlite_row_release(ret);
  return -1;
}

int sqlite_row_read(struct sqlite_db *db, const struct object_key *key, struct sqlite_row *ret,
                    struct err *err)
{
  int found = sqlite_row_find(db, key, ret, err);
  if (found != 0)
    return found < 0 ? -1 : 0;
  return err_set(err, ERR_NOT_FOUND, "there is no %s '%s' in namespace '%s'",
                 object_kind_info(key->kind)->kind, key->name, key->ns);
}

int sqlite_next_version(struct sqlite_db *db, int64_t *ret, struct err *err)
{
  return sqlite_number(db,
                       "UPDATE meta SET value = value + 1 WHERE name = 'version' RETURNING value",
                       NO_ARGS, 0, ret, err);
}

static int bury(struct sqlite_db *db, const struct sqlite_row *row, struct err *err)
{
  const char *kind = object_kind_info(row->key.kind)->kind;
  if (sqlite_exec(db, "DELETE FROM objects WHERE kind = ? AND ns = ? AND name = ?",
                  ARGS(ARG_TEXT(kind), ARG_TEXT(row->key.ns), ARG_TEXT(row->key.name)), err) != 0)
    return -1;
  if (sqlite_exec(
          db, "DELETE FROM events WHERE kind = ? AND ns = ? AND name = ? AND uid = ?",
          ARGS(ARG_TEXT(kind), ARG_TEXT(row->key.ns), ARG_TEXT(row->key.name), ARG_TEXT(row->uid)),
          err) != 0)
    return -1;
  return sqlite_exec(
      db, "INSERT INTO tombstones VALUES (?, ?, ?, ?)",
      ARGS(ARG_INT(row->version), ARG_TEXT(kind), ARG_TEXT(row->key.ns), ARG_TEXT(row->key.name)),
      err);
}

static const char *text_of(struct json_object *json)
{
  return json_object_to_json_string_ext(json,
                                        JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}

int sqlite_row_write(struct sqlite_db *db, struct sqlite_row *row, struct err *err)
{
  if (sqlite_next_version(db, &row->version, err) != 0)
    return -1;
  if (row->deleted[0] && json_object_array_length(row->finalizers) == 0)
    return bury(db, row, err);
  const char *columns[ARRAY_SIZE(json_columns)];
  for (size_t i = 0; i < ARRAY_SIZE(json_columns); i++)
    if (!(columns[i] = text_of(*json_column(row, i))))
      return err_set(err, ERR_NO_MEMORY, "no memory for an object");
  return sqlite_exec(db,
                     "INSERT OR REPLACE INTO objects (" COLUMNS ", kind, ns, name)"
                     " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                     ARGS(ARG_TEXT(row->uid), ARG_INT(row->version), ARG_INT(row->generation),
                          ARG_TEXT(row->created), ARG_TEXT(row->deleted), ARG_TEXT(columns[0]),
                          ARG_TEXT(columns[1]), ARG_TEXT(columns[2]), ARG_TEXT(columns[3]),
                          ARG_TEXT(columns[4]), ARG_TEXT(columns[5]), ARG_TEXT(columns[6]),
                          ARG_TEXT(object_kind_info(row->key.kind)->kind), ARG_TEXT(row->key.ns),
                          ARG_TEXT(row->key.name)),
                     err);
}

// ---- as a whole object ------------------------------------------------------------------------

static void add_number_text(struct json_object *to, const char *name, int64_t value)
{
  char text[24];
  snprintf(text, sizeof(text), "%lld", (long long)value);
  object_set_string(to, name, text);
}

static struct json_object *meta_json(const struct sqlite_row *row)
{
  struct json_object *meta = json_object_new_object();
  if (!meta)
    return NULL;
  object_set_string(meta, "name", row->key.name);
  object_set_string(meta, "namespace", row->key.ns);
  object_set_string(meta, "uid", row->uid);
  add_number_text(meta, "resourceVersion", row->version);
  json_object_object_add(meta, "generation", json_object_new_int64(row->generation));
  object_set_string(meta, "creationTimestamp", row->created);
  if (row->deleted[0])
    object_set_string(meta, "deletionTimestamp", row->deleted);
  json_object_object_add(meta, "labels", json_object_get(row->labels));
  json_object_object_add(meta, "annotations", json_object_get(row->annotations));
  json_object_object_add(meta, "finalizers", json_object_get(row->finalizers));
  if (json_object_array_length(row->owners))
    json_object_object_add(meta, "ownerReferences", json_object_get(row->owners));
  return meta;
}

struct json_object *sqlite_row_json(const struct sqlite_row *row)
{
  struct json_object *object = json_object_new_object();
  struct json_object *meta = object ? meta_json(row) : NULL;
  if (!meta) {
    json_object_put(object);
    return NULL;
  }
  object_set_string(object, "apiVersion", CRDS_API_VERSION);
  object_set_string(object, "kind", object_kind_info(row->key.kind)->kind);
  json_object_object_add(object, "metadata", meta);
  json_object_object_add(object, "spec", json_object_get(row->spec));
  json_object_object_add(object, "status", json_object_get(row->status));
  return object;
}
