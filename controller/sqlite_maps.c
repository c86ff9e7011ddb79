// SPDX-License-Identifier: Apache-2.0
// Secrets, ConfigMaps and Namespaces (their labels): maps from a key to bytes. A manifest replaces
// the whole map. Values go from the manifest to the table and from there into struct secret, and
// nowhere else.
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "controller/store_sqlite_internal.h"
#include "kube/file.h"

#define MAP_MAX_BYTES (1u << 20) // all values of one map, as in Kubernetes
#define MAP_MAX_ITEMS 1000
#define KEY_MAX_BYTES 253

// What the members of a manifest mean. in: member of the manifest, or of its metadata.
static const struct map_part {
  const char *kind, *member;
  bool base64;
  bool of_metadata;
} parts[] = {
    {"Secret", "data", true, false},
    {"Secret", "stringData", false, false}, // after data: it wins, as in Kubernetes
    {"ConfigMap", "binaryData", true, false},
    {"ConfigMap", "data", false, false},
    {"Namespace", "labels", false, true},
};

static const struct {
  const char *kind, *known; // members that a manifest may have, each between spaces
} shapes[] = {
    {"Secret", " apiVersion kind metadata type data stringData "},
    {"ConfigMap", " apiVersion kind metadata data binaryData "},
    {"Namespace", " apiVersion kind metadata spec "},
};

static const char *known_members(const char *kind)
{
  for (size_t i = 0; i < ARRAY_SIZE(shapes); i++)
    if (str_eq(shapes[i].kind, kind))
      return shapes[i].known;
  return NULL;
}

bool sqlite_is_map(const char *kind)
{
  return known_members(kind) != NULL;
}

static int check_members(struct json_object *json, const char *kind, const char *name,
                         struct err *err)
{
  json_object_object_foreach(json, member, value)
  {
    (void)value;
    cleanup_free char *word = str_printf(" %s ", member);
    if (!word || !strstr(known_members(kind), word))
      return err_set(err, ERR_INVALID, "%s '%s': %s: not known to 'drover run'", kind, name,
                     member);
  }
  const char *api_version = object_string(json, "apiVersion", NULL);
  if (!str_eq(api_version, "v1"))
    return err_set(err, ERR_INVALID, "%s '%s': apiVersion: '%s' is not v1", kind, name,
                   api_version);
  return 0;
}

// ---- from a manifest ------------------------------------------------------------------------

static struct secret_item *item_for(struct secret_map *m, const char *key, struct err *err)
{
  for (size_t i = 0; i < m->count; i++)
    if (str_eq(m->items[i].key, key))
      return &m->items[i];
  char *copy = m->count < MAP_MAX_ITEMS ? str_dup(key) : NULL;
  struct secret_item *items = copy ? realloc(m->items, (m->count + 1) * sizeof(*items)) : NULL;
  if (!items) {
    free(copy);
    err_set(err, ERR_LIMIT, "more than %d keys", MAP_MAX_ITEMS);
    return NULL;
  }
  m->items = items;
  m->items[m->count] = (struct secret_item){.key = copy};
  return &m->items[m->count++];
}

static int add_value(struct secret_map *m, const struct map_part *part, const char *key,
                     struct json_object *value, struct err *err)
{
  if (str_empty(key) || strlen(key) > KEY_MAX_BYTES)
    return err_set(err, ERR_INVALID, "%s: a key is empty or longer than %d bytes", part->member,
                   KEY_MAX_BYTES);
  if (!json_object_is_type(value, json_type_string))
    return err_set(err, ERR_INVALID, "%s.%s: must be a string (put it in quotes)", part->member,
                   key);
  struct secret_item *item = item_for(m, key, err);
  if (!item)
    return -1;
  const char *text = json_object_get_string(value);
  if (part->base64)
    return kube_base64_decode(text, key, &item->value, err);
  if (secret_set(&item->value, text, (size_t)json_object_get_string_len(value)) != 0)
    return err_set(err, ERR_LIMIT, "%s.%s: too long", part->member, key);
  return 0;
}

static int add_part(struct secret_map *m, const struct map_part *part, struct json_object *json,
                    struct err *err)
{
  struct json_object *from = part->of_metadata ? object_at(json, "metadata", part->member, NULL)
                                               : object_at(json, part->member, NULL);
  if (!from)
    return 0;
  if (!json_object_is_type(from, json_type_object))
    return err_set(err, ERR_INVALID, "%s: must be a map", part->member);
  json_object_object_foreach(from, key, value)
  {
    if (add_value(m, part, key, value, err) != 0)
      return -1;
  }
  return 0;
}

static int read_manifest(struct json_object *json, const char *kind, struct secret_map *ret,
                         struct err *err)
{
  for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
    if (str_eq(parts[i].kind, kind) && add_part(ret, &parts[i], json, err) != 0)
      return -1;
  size_t total = 0;
  for (size_t i = 0; i < ret->count; i++)
    total += strlen(ret->items[i].key) + ret->items[i].value.length;
  if (total > MAP_MAX_BYTES)
    return err_set(err, ERR_LIMIT, "%zu bytes, and at most %u are allowed", total, MAP_MAX_BYTES);
  return 0;
}

// ---- to and from the table --------------------------------------------------------------------

// The caller holds the mutex. 1: there is such a map; 0: none; -1: error.
static int read_map(struct store_sqlite *s, const char *kind, const char *ns, const char *name,
                    struct secret_map *ret, struct err *err)
{
  const struct sqlite_arg *which = ARGS(ARG_TEXT(kind), ARG_TEXT(ns), ARG_TEXT(name));
  int64_t version = 0;
  if (sqlite_number(&s->db, "SELECT version FROM maps WHERE kind = ? AND ns = ? AND name = ?",
                    which, 0, &version, err) != 0)
    return -1;
  struct sqlite_query q CLEANUP(sqlite_close_query) = {0};
  if (sqlite_open_query(&q, &s->db,
                        "SELECT key, value FROM map_items WHERE kind = ? AND ns = ? AND name = ?"
                        " ORDER BY key",
                        which, err) != 0)
    return -1;
  int more;
  while ((more = sqlite_next(&q, err)) == 1) {
    struct secret_item *item = item_for(ret, sqlite_text(&q, 0), err);
    const void *bytes = sqlite3_column_blob(q.stmt, 1);
    size_t length = (size_t)sqlite3_column_bytes(q.stmt, 1);
    if (!item || secret_set(&item->value, bytes ? bytes : "", length) != 0)
      return item ? err_set(err, ERR_NO_MEMORY, "no memory for a %s", kind) : -1;
  }
  return more < 0 ? -1 : version > 0;
}

static bool same_maps(const struct secret_map *a, const struct secret_map *b)
{
  if (a->count != b->count)
    return false;
  for (size_t i = 0; i < a->count; i++) {
    const struct secret *left = &a->items[i].value;
    const struct secret *right = secret_map_get(b, a->items[i].key);
    if (!right || left->length != right->length ||
        memcmp(secret_reveal(left), secret_reveal(right), left->length) != 0)
      return false;
  }
  return true;
}

static int write_map(struct store_sqlite *s, const char *kind, const char *ns, const char *name,
                     const struct secret_map *m, struct err *err)
{
  int64_t version;
  if (sqlite_next_version(&s->db, &version, err) != 0 ||
      sqlite_exec(&s->db, "INSERT OR REPLACE INTO maps VALUES (?, ?, ?, ?)",
                  ARGS(ARG_TEXT(kind), ARG_TEXT(ns), ARG_TEXT(name), ARG_INT(version)), err) != 0 ||
      sqlite_exec(&s->db, "DELETE FROM map_items WHERE kind = ? AND ns = ? AND name = ?",
                  ARGS(ARG_TEXT(kind), ARG_TEXT(ns), ARG_TEXT(name)), err) != 0)
    return -1;
  for (size_t i = 0; i < m->count; i++) {
    const struct secret *value = &m->items[i].value;
    if (sqlite_exec(&s->db, "INSERT INTO map_items VALUES (?, ?, ?, ?, ?)",
                    ARGS(ARG_TEXT(kind), ARG_TEXT(ns), ARG_TEXT(name), ARG_TEXT(m->items[i].key),
                         ARG_BLOB(secret_reveal(value), value->length)),
                    err) != 0)
      return -1;
  }
  return 0;
}

int sqlite_apply_map(struct store_sqlite *s, struct json_object *json, const char *ns,
                     struct store_applied_object *ret, struct err *err)
{
  const char *name = object_name(json);
  struct secret_map now CLEANUP(secret_map_release) = {0};
  struct secret_map before CLEANUP(secret_map_release) = {0};
  if (object_key_set(&ret->key, OBJECT_KIND_COUNT, ns, name, err) != 0 ||
      check_members(json, ret->kind, name, err) != 0)
    return -1;
  if (read_manifest(json, ret->kind, &now, err) != 0)
    return err_prefix(err, "%s '%s'", ret->kind, name);
  struct sqlite_write w CLEANUP(sqlite_write_end) = {0};
  if (sqlite_write_begin(&w, &s->db, err) != 0)
    return -1;
  int found = read_map(s, ret->kind, ns, name, &before, err);
  if (found < 0)
    return -1;
  ret->what = !found                     ? APPLIED_CREATED
              : same_maps(&now, &before) ? APPLIED_UNCHANGED
                                         : APPLIED_CONFIGURED;
  if (ret->what == APPLIED_UNCHANGED)
    return 0;
  return write_map(s, ret->kind, ns, name, &now, err) == 0 ? sqlite_write_commit_soon(&w, err) : -1;
}

int store_sqlite_remove_map(struct object_store *store, const char *kind, const char *ns,
                            const char *name, struct err *err)
{
  struct store_sqlite *s = (struct store_sqlite *)store;
  struct sqlite_write w CLEANUP(sqlite_write_end) = {0};
  if (sqlite_write_begin(&w, &s->db, err) != 0 ||
      sqlite_exec(&s->db, "DELETE FROM maps WHERE kind = ? AND ns = ? AND name = ?",
                  ARGS(ARG_TEXT(kind), ARG_TEXT(ns), ARG_TEXT(name)), err) != 0)
    return -1;
  if (sqlite_changed(&s->db) == 0)
    return err_set(err, ERR_NOT_FOUND, "there is no %s '%s' in namespace '%s'", kind, name, ns);
  return sqlite_write_commit(&w, err);
}

// ---- for runners ------------------------------------------------------------------------------

static int get_map(struct object_store *store, const char *kind, const char *ns, const char *name,
                   struct secret_map *ret, struct err *err)
{
  struct store_sqlite *s = (struct store_sqlite *)store;
  struct secret_map m CLEANUP(secret_map_release) = {0};
  LOCK_FOR_SCOPE(&s->db.mutex);
  int found = read_map(s, kind, ns, name, &m, err);
  if (found == 0)
    return err_set(err, ERR_NOT_FOUND, "there is no %s '%s' in namespace '%s'", kind, name, ns);
  if (found < 0)
    return -1;
  *ret = m;
  m = (struct secret_map){0};
  return 0;
}

int sqlite_get_secret(struct object_store *s, const char *ns, const char *name,
                      struct secret_map *ret, struct err *err)
{
  return get_map(s, "Secret", ns, name, ret, err);
}

int sqlite_get_config(struct object_store *s, const char *ns, const char *name, const char *key,
                      char **ret_value, struct err *err)
{
  struct secret_map m CLEANUP(secret_map_release) = {0};
  if (get_map(s, "ConfigMap", ns, name, &m, err) != 0)
    return -1;
  const struct secret *value = secret_map_get(&m, key);
  if (!value)
    return err_set(err, ERR_NOT_FOUND, "ConfigMap '%s' in namespace '%s' has no key '%s'", name, ns,
                   key);
  char *copy = str_dup(secret_reveal(value));
  if (!copy)
    return err_set(err, ERR_NO_MEMORY, "no memory for a ConfigMap");
  *ret_value = copy;
  return 0;
}

// Kubernetes gives each namespace a label with its own name; here namespaces are there by being
// named, and a Namespace manifest adds labels.
int sqlite_namespace_labels(struct object_store *store, const char *ns, struct strings *ret,
                            struct err *err)
{
  static const char own_name[] = "kubernetes.io/metadata.name";
  struct store_sqlite *s = (struct store_sqlite *)store;
  struct secret_map m CLEANUP(secret_map_release) = {0};
  struct strings labels CLEANUP(strings_release) = {0};
  {
    LOCK_FOR_SCOPE(&s->db.mutex);
    if (read_map(s, "Namespace", "", ns, &m, err) < 0)
      return -1;
  }
  int rc = 0;
  for (size_t i = 0; rc == 0 && i < m.count; i++)
    rc = strings_map_set(&labels, m.items[i].key, secret_reveal(&m.items[i].value));
  if (rc != 0 || strings_map_set(&labels, own_name, ns) != 0)
    return err_set(err, ERR_NO_MEMORY, "no memory for labels");
  *ret = labels;
  labels = (struct strings){0};
  return 0;
}
