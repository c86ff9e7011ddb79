// SPDX-License-Identifier: Apache-2.0
// Writers of spec: manifests and patches. Both end in the same checks as a write to the API server:
// schema and rules, immutable fields, generation counted when spec changed.
//
// Apply merges three things, as kubectl does on the client: the manifest, the one before it, and
// what is there. A member that the last manifest had and this one has not is removed; one that
// somebody else set stays. Lists are replaced whole.
#include <string.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "controller/store_sqlite_internal.h"

#define DEPTH_MAX             64
#define LABEL_MAX_BYTES       63
#define ANNOTATIONS_MAX_BYTES (256u << 10) // all of an object's, as in Kubernetes

// ---- JSON -----------------------------------------------------------------------------------

static bool is_object(struct json_object *json)
{
  return json_object_is_type(json, json_type_object);
}

static struct json_object *member(struct json_object *o, const char *name)
{
  struct json_object *value = NULL;
  if (is_object(o))
    json_object_object_get_ex(o, name, &value);
  return value;
}

static struct json_object *copy_of(struct json_object *json)
{
  struct json_object *copy = NULL;
  return json && json_object_deep_copy(json, &copy, NULL) == 0 ? copy : NULL;
}

// RFC 7396: null removes, objects are merged, everything else replaces. patch is left as it is.
static void merge_patch(struct json_object *into, struct json_object *patch, int depth)
{
  json_object_object_foreach(patch, name, value)
  {
    struct json_object *old = member(into, name);
    if (!value) {
      json_object_object_del(into, name);
    } else if (is_object(value) && depth < DEPTH_MAX) {
      if (!is_object(old)) {
        json_object_object_add(into, name, json_object_new_object());
        old = member(into, name);
      }
      merge_patch(old, value, depth + 1);
    } else {
      json_object_object_add(into, name, copy_of(value));
    }
  }
}

// Takes away what `last` had and `now` has not.
static void prune(struct json_object *from, struct json_object *last, struct json_object *now,
                  int depth)
{
  if (!is_object(from) || !is_object(last) || depth > DEPTH_MAX)
    return;
  json_object_object_foreach(last, name, old)
  {
    struct json_object *new = member(now, name);
    if (!new)
      json_object_object_del(from, name);
    else if (is_object(new) && is_object(old))
      prune(member(from, name), old, new, depth + 1);
  }
}

static void merge_three(struct json_object *current, struct json_object *last,
                        struct json_object *now)
{
  prune(current, last, now, 0);
  if (is_object(now))
    merge_patch(current, now, 0);
}

// ---- names ----------------------------------------------------------------------------------

static bool is_alphanumeric(char c)
{
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

// RFC 1123, as Kubernetes wants names; dots only in object names.
static bool is_dns_name(const char *s, size_t max, bool dots)
{
  size_t length = strlen(s);
  if (length == 0 || length > max || !is_alphanumeric(s[0]) || !is_alphanumeric(s[length - 1]))
    return false;
  for (size_t i = 0; i < length; i++) {
    bool dot = dots && s[i] == '.';
    if (!is_alphanumeric(s[i]) && s[i] != '-' && !dot)
      return false;
    if (dot && (!is_alphanumeric(s[i - 1]) || !is_alphanumeric(s[i + 1])))
      return false;
  }
  return true;
}

static int check_names(const char *kind, const char *ns, const char *name, struct err *err)
{
  if (!is_dns_name(name, LIMIT_NAME_BYTES, true))
    return err_set(err, ERR_INVALID,
                   "%s '%s': metadata.name must be lower case letters, digits, '-' and '.', and "
                   "begin and end with a letter or digit",
                   kind, name);
  if (!is_dns_name(ns, 63, false))
    return err_set(err, ERR_INVALID,
                   "%s '%s': namespace '%s' must be at most 63 lower case letters, digits and '-'",
                   kind, name, ns);
  return 0;
}

static bool is_label_value(const char *s)
{
  size_t length = strlen(s);
  if (length > LABEL_MAX_BYTES || strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                            "0123456789-_.") != length)
    return false;
  return length == 0 || (!strchr("-_.", s[0]) && !strchr("-_.", s[length - 1]));
}

static int check_strings(struct json_object *map, const char *what, struct err *err)
{
  size_t total = 0;
  if (map && !is_object(map))
    return err_set(err, ERR_INVALID, "metadata.%s: must be a map", what);
  if (!map)
    return 0;
  json_object_object_foreach(map, name, value)
  {
    if (value && !json_object_is_type(value, json_type_string))
      return err_set(err, ERR_INVALID, "metadata.%s.%s: must be a string (put it in quotes)", what,
                     name);
    const char *text = value ? json_object_get_string(value) : "";
    total += strlen(name) + strlen(text);
    if (str_eq(what, "labels") && !is_label_value(text))
      return err_set(err, ERR_INVALID, "metadata.labels.%s: '%s' is not a label value", name, text);
  }
  if (total > ANNOTATIONS_MAX_BYTES)
    return err_set(err, ERR_LIMIT, "metadata.%s: %zu bytes, and at most %u are allowed", what,
                   total, ANNOTATIONS_MAX_BYTES);
  return 0;
}

// What may be written: {spec, metadata: {labels, annotations}}.
static int check_change(struct json_object *spec, struct json_object *meta, struct err *err)
{
  if (spec && !is_object(spec))
    return err_set(err, ERR_INVALID, "spec: must be a map");
  if (check_strings(member(meta, "labels"), "labels", err) != 0)
    return -1;
  return check_strings(member(meta, "annotations"), "annotations", err);
}

// ---- the write --------------------------------------------------------------------------------

static int decode_row(const struct sqlite_row *row, struct object **ret, struct err *err)
{
  struct json_object *json cleanup_object = sqlite_row_json(row);
  if (!json)
    return err_set(err, ERR_NO_MEMORY, "no memory for an object");
  return object_decode_strict(json, ret, err);
}
DEFINE_CLEANUP(object_free, struct object *)

// Checks a changed row against what was there, and counts the generation. before NULL: it is new.
static int check_row(struct sqlite_row *row, struct json_object *before, struct err *err)
{
  struct object *new CLEANUP(object_free_p) = NULL;
  struct object *old CLEANUP(object_free_p) = NULL;
  if (decode_row(row, &new, err) != 0)
    return -1;
  if (!before)
    return 0;
  // What is there may be of an older schema; then anything that is right replaces it.
  if (object_decode(before, &old, err) != 0)
    return -1;
  if (old->invalid) {
    row->generation++;
    return 0;
  }
  if (object_check_update(old, new, err) != 0)
    return err_prefix(err, "%s '%s'", object_kind_info(row->key.kind)->kind, row->key.name);
  if (!table_equal(object_kind_info(row->key.kind)->spec, old->spec, new->spec))
    row->generation++;
  return 0;
}

// A manifest is there to be applied again, and is on the disk with the first ledger that rests upon
// it; a patch is all that there is of somebody's wish.
static int write_checked(struct store_sqlite *s, struct sqlite_write *w, struct sqlite_row *row,
                         struct json_object *before, bool lasting, struct err *err)
{
  if (check_row(row, before, err) != 0 || sqlite_row_write(&s->db, row, err) != 0 ||
      (lasting ? sqlite_write_commit : sqlite_write_commit_soon)(w, err) != 0)
    return -1;
  sqlite_watch_poke(s);
  return 0;
}

static bool row_equals(const struct sqlite_row *row, struct json_object *before)
{
  struct json_object *meta = member(before, "metadata");
  return json_object_equal(row->spec, member(before, "spec")) &&
         json_object_equal(row->labels, member(meta, "labels")) &&
         json_object_equal(row->annotations, member(meta, "annotations"));
}

// A whole object that shares nothing with the row: the row is about to be changed in place.
static struct json_object *snapshot(const struct sqlite_row *row)
{
  struct json_object *json cleanup_object = sqlite_row_json(row);
  return copy_of(json);
}

// ---- apply ----------------------------------------------------------------------------------

// {spec, labels, annotations} of a manifest: what the next apply compares with.
static struct json_object *applied_of(struct json_object *json)
{
  static const char *const parts[] = {"spec", "labels", "annotations"};
  struct json_object *applied = json_object_new_object();
  for (size_t i = 0; applied && i < ARRAY_SIZE(parts); i++) {
    struct json_object *from = i == 0 ? json : member(json, "metadata");
    struct json_object *copy = copy_of(member(from, parts[i]));
    json_object_object_add(applied, parts[i], copy ? copy : json_object_new_object());
  }
  return applied;
}

static void merge_manifest(struct sqlite_row *row, struct json_object *now)
{
  merge_three(row->spec, member(row->applied, "spec"), member(now, "spec"));
  merge_three(row->labels, member(row->applied, "labels"), member(now, "labels"));
  merge_three(row->annotations, member(row->applied, "annotations"), member(now, "annotations"));
}

static int create_object(struct store_sqlite *s, struct sqlite_write *w,
                         const struct object_key *key, struct json_object *applied, struct err *err)
{
  struct sqlite_row row CLEANUP(sqlite_row_release) = {0};
  if (sqlite_row_init(&row, key, err) != 0)
    return -1;
  merge_manifest(&row, applied);
  json_object_put(row.applied);
  row.applied = json_object_get(applied);
  return write_checked(s, w, &row, NULL, false, err);
}

static int update_object(struct store_sqlite *s, struct sqlite_write *w, struct sqlite_row *row,
                         struct json_object *applied, enum store_applied *ret, struct err *err)
{
  struct json_object *before cleanup_object = snapshot(row);
  if (!before)
    return err_set(err, ERR_NO_MEMORY, "no memory for an object");
  merge_manifest(row, applied);
  *ret = row_equals(row, before) ? APPLIED_UNCHANGED : APPLIED_CONFIGURED;
  if (*ret == APPLIED_UNCHANGED && json_object_equal(applied, row->applied))
    return 0;
  json_object_put(row->applied);
  row->applied = json_object_get(applied);
  return write_checked(s, w, row, before, false, err);
}

static int apply_object(struct store_sqlite *s, struct json_object *json,
                        struct store_applied_object *ret, struct err *err)
{
  struct json_object *applied cleanup_object = applied_of(json);
  struct sqlite_row row CLEANUP(sqlite_row_release) = {0};
  struct sqlite_write w CLEANUP(sqlite_write_end) = {0};
  if (!applied)
    return err_set(err, ERR_NO_MEMORY, "no memory for an object");
  if (sqlite_write_begin(&w, &s->db, err) != 0)
    return -1;
  int found = sqlite_row_find(&s->db, &ret->key, &row, err);
  if (found < 0)
    return -1;
  if (found && row.deleted[0])
    return err_set(err, ERR_CONFLICT,
                   "%s '%s' is being deleted; finish that with 'drover delete', then apply again",
                   ret->kind, ret->key.name);
  ret->what = APPLIED_CREATED;
  return found ? update_object(s, &w, &row, applied, &ret->what, err)
               : create_object(s, &w, &ret->key, applied, err);
}

// A manifest is for what the user says: the rest is the store's.
static int check_manifest(struct json_object *json, const char *kind, struct err *err)
{
  if (str_empty(object_name(json)))
    return err_set(err, ERR_INVALID, "%s: metadata.name is missing", kind);
  return check_change(member(json, "spec"), member(json, "metadata"), err);
}

int store_sqlite_apply(struct object_store *store, struct json_object *json, const char *default_ns,
                       struct store_applied_object *ret, struct err *err)
{
  struct store_sqlite *s = (struct store_sqlite *)store;
  const char *kind = object_string(json, "kind", NULL);
  const char *ns = object_namespace(json);
  *ret = (struct store_applied_object){0};
  snprintf(ret->kind, sizeof(ret->kind), "%s", kind);
  if (check_manifest(json, kind, err) != 0)
    return -1;
  if (str_eq(kind, "Namespace"))
    ns = "";
  else if (str_empty(ns))
    ns = default_ns;
  if (check_names(kind, *ns ? ns : "cluster", object_name(json), err) != 0)
    return -1;
  if (sqlite_is_map(kind))
    return sqlite_apply_map(s, json, ns, ret, err);
  enum object_kind object_kind;
  if (!str_eq(object_string(json, "apiVersion", NULL), CRDS_API_VERSION) ||
      !object_kind_named(kind, &object_kind))
    return err_set(err, ERR_INVALID, "'%s' of '%s' is not a kind that drover knows", kind,
                   object_string(json, "apiVersion", NULL));
  ret->is_object = true;
  if (object_key_set(&ret->key, object_kind, ns, object_name(json), err) != 0)
    return -1;
  return apply_object(s, json, ret, err);
}

// ---- create ---------------------------------------------------------------------------------

static void take_member(struct json_object **to, struct json_object *from, const char *name)
{
  struct json_object *value = member(from, name);
  if (!value)
    return;
  json_object_put(*to);
  *to = json_object_get(value);
}

static void fill_row(struct sqlite_row *row, struct json_object *json)
{
  struct json_object *meta = member(json, "metadata");
  take_member(&row->labels, meta, "labels");
  take_member(&row->annotations, meta, "annotations");
  take_member(&row->finalizers, meta, "finalizers");
  take_member(&row->owners, meta, "ownerReferences");
  take_member(&row->spec, json, "spec");
}

static int check_new(struct json_object *json, const struct object_key *key, struct err *err)
{
  const char *kind = object_kind_info(key->kind)->kind;
  if (check_names(kind, key->ns, key->name, err) != 0)
    return -1;
  return check_change(member(json, "spec"), member(json, "metadata"), err);
}

static int check_free(struct store_sqlite *s, const struct object_key *key, struct err *err)
{
  struct sqlite_row there CLEANUP(sqlite_row_release) = {0};
  int found = sqlite_row_find(&s->db, key, &there, err);
  if (found == 1)
    return err_set(err, ERR_EXISTS, "there is a %s '%s' in namespace '%s' already%s",
                   object_kind_info(key->kind)->kind, key->name, key->ns,
                   there.deleted[0] ? ", being deleted" : "");
  return found;
}

// What the caller learns of the new object.
static int take_identity(struct object *o, const struct sqlite_row *row, struct err *err)
{
  char version[24];
  snprintf(version, sizeof(version), "%lld", (long long)row->version);
  char **const fields[] = {&o->meta.uid, &o->meta.resource_version, &o->meta.creation_timestamp};
  const char *const texts[] = {row->uid, version, row->created};
  for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
    free(*fields[i]);
    if (!(*fields[i] = str_dup(texts[i])))
      return err_set(err, ERR_NO_MEMORY, "no memory for an object");
  }
  o->meta.generation = row->generation;
  return 0;
}

int sqlite_create(struct object_store *store, struct object *o, struct err *err)
{
  struct store_sqlite *s = (struct store_sqlite *)store;
  struct object_key key = object_key_of(o);
  struct json_object *json cleanup_object = object_encode(o);
  struct sqlite_row row CLEANUP(sqlite_row_release) = {0};
  struct sqlite_write w CLEANUP(sqlite_write_end) = {0};
  if (!json)
    return err_set(err, ERR_NO_MEMORY, "no memory for an object");
  if (check_new(json, &key, err) != 0 || sqlite_row_init(&row, &key, err) != 0)
    return -1;
  fill_row(&row, json);
  if (check_row(&row, NULL, err) != 0 || sqlite_write_begin(&w, &s->db, err) != 0 ||
      check_free(s, &key, err) != 0 || sqlite_row_write(&s->db, &row, err) != 0 ||
      take_identity(o, &row, err) != 0 || sqlite_write_commit_soon(&w, err) != 0)
    return -1;
  sqlite_watch_poke(s);
  return 0;
}

// ---- patch ----------------------------------------------------------------------------------

// Every member of the map is one of two names.
static int only_members(struct json_object *map, const char *one, const char *two, const char *path,
                        struct err *err)
{
  json_object_object_foreach(map, name, value)
  {
    if (!str_eq(name, one) && !str_eq(name, two))
      return err_set(err, ERR_INVALID, "%s%s: cannot be patched", path, name);
    if (!is_object(value))
      return err_set(err, ERR_INVALID, "%s%s: must be a map", path, name);
  }
  return 0;
}

static int check_patch(struct json_object *patch, struct err *err)
{
  if (!is_object(patch))
    return err_set(err, ERR_INVALID, "a patch must be a map");
  if (only_members(patch, "spec", "metadata", "", err) != 0)
    return -1;
  struct json_object *meta = member(patch, "metadata");
  if (meta && only_members(meta, "labels", "annotations", "metadata.", err) != 0)
    return -1;
  return check_change(member(patch, "spec"), meta, err);
}

static void merge_if(struct json_object *into, struct json_object *patch)
{
  if (patch)
    merge_patch(into, patch, 0);
}

int store_sqlite_patch(struct object_store *store, const struct object_key *key,
                       struct json_object *patch, struct err *err)
{
  struct store_sqlite *s = (struct store_sqlite *)store;
  struct sqlite_row row CLEANUP(sqlite_row_release) = {0};
  struct json_object *before cleanup_object = NULL;
  struct sqlite_write w CLEANUP(sqlite_write_end) = {0};
  if (check_patch(patch, err) != 0 || sqlite_write_begin(&w, &s->db, err) != 0 ||
      sqlite_row_read(&s->db, key, &row, err) != 0)
    return -1;
  before = snapshot(&row);
  if (!before)
    return err_set(err, ERR_NO_MEMORY, "no memory for an object");
  merge_if(row.spec, member(patch, "spec"));
  merge_if(row.labels, member(member(patch, "metadata"), "labels"));
  merge_if(row.annotations, member(member(patch, "metadata"), "annotations"));
  return row_equals(&row, before) ? 0 : write_checked(s, &w, &row, before, true, err);
}
