// SPDX-License-Identifier: Apache-2.0
#include "crds/object.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "crds/clone.h"
#include "crds/clonebase.h"
#include "crds/cloneset.h"
#include "crds/imagestore.h"
#include "crds/provider.h"
#include "crds/tables_internal.h"
#include "crds/vmmigration.h"

static const struct object_kind_info kinds[OBJECT_KIND_COUNT] = {
    [OBJECT_PROVIDER] = {"Provider", "providers", "provider", "dprov", &provider_spec_table,
                         &provider_status_table},
    [OBJECT_IMAGE_STORE] = {"ImageStore", "imagestores", "imagestore", "istore",
                            &imagestore_spec_table, &imagestore_status_table},
    [OBJECT_VM_MIGRATION] = {"VMMigration", "vmmigrations", "vmmigration", "vmm",
                             &vmmigration_spec_table, &vmmigration_status_table},
    [OBJECT_CLONE_BASE] = {"CloneBase", "clonebases", "clonebase", "cbase", &clonebase_spec_table,
                           &clonebase_status_table},
    [OBJECT_CLONE] = {"Clone", "clones", "clone", "dclone", &clone_spec_table, &clone_status_table},
    [OBJECT_CLONE_SET] = {"CloneSet", "clonesets", "cloneset", "cset", &cloneset_spec_table,
                          &cloneset_status_table},
};

const struct object_kind_info *object_kind_info(enum object_kind kind)
{
  return &kinds[kind];
}

bool object_kind_named(const char *name, enum object_kind *ret)
{
  for (int k = 0; name && k < OBJECT_KIND_COUNT; k++) {
    const char *const names[] = {kinds[k].kind, kinds[k].plural, kinds[k].singular,
                                 kinds[k].short_name};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
      if (strcasecmp(names[i], name) == 0) {
        *ret = (enum object_kind)k;
        return true;
      }
  }
  return false;
}

// ---- metadata -------------------------------------------------------------------------------

static const struct field owner_fields[] = {
    {"apiVersion", FIELD_STRING, AT(object_owner, api_version)},
    {"kind", FIELD_STRING, AT(object_owner, kind)},
    {"name", FIELD_STRING, AT(object_owner, name)},
    {"uid", FIELD_STRING, AT(object_owner, uid)},
    {"controller", FIELD_BOOL, AT(object_owner, controller)},
};
static const struct table owner_table = TABLE(struct object_owner, owner_fields);

// Only what drover needs. An API server knows more, so it is read leniently.
static const struct field meta_fields[] = {
    {"namespace", FIELD_STRING, AT(object_meta, ns), .max = NAMESPACE_BYTES,
     .pattern = NAMESPACE_PATTERN},
    {"name", FIELD_STRING, AT(object_meta, name), .required = true, .min = 1,
     .max = LIMIT_NAME_BYTES, .pattern = NAME_PATTERN},
    {"uid", FIELD_STRING, AT(object_meta, uid)},
    {"resourceVersion", FIELD_STRING, AT(object_meta, resource_version)},
    {"generation", FIELD_INT, AT(object_meta, generation)},
    {"creationTimestamp", FIELD_STRING, AT(object_meta, creation_timestamp)},
    {"deletionTimestamp", FIELD_STRING, AT(object_meta, deletion_timestamp)},
    {"labels", FIELD_MAP, AT(object_meta, labels)},
    {"annotations", FIELD_MAP, AT(object_meta, annotations), .item_max = 256 << 10},
    {"finalizers", FIELD_STRINGS, AT(object_meta, finalizers)},
    {"ownerReferences", FIELD_LIST, AT(object_meta, owners), &owner_table},
};
const struct table object_meta_table = TABLE(struct object_meta, meta_fields);

// ---- decoding -------------------------------------------------------------------------------

DEFINE_CLEANUP(object_free, struct object *)

static const char *text_member(struct json_object *json, const char *name)
{
  struct json_object *value;
  if (!json_object_object_get_ex(json, name, &value))
    return NULL;
  return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
}

static int find_kind(struct json_object *json, enum object_kind *ret, struct err *err)
{
  const char *version = text_member(json, "apiVersion");
  const char *kind = text_member(json, "kind");
  if (!version || !kind)
    return err_set(err, ERR_INVALID, "an object must have apiVersion and kind");
  if (!str_eq(version, CRDS_API_VERSION))
    return err_set(err, ERR_INVALID, "%.200s of %.200s is not known, only kinds of %s", kind,
                   version, CRDS_API_VERSION);
  for (int k = 0; k < OBJECT_KIND_COUNT; k++)
    if (str_eq(kinds[k].kind, kind)) {
      *ret = (enum object_kind)k;
      return 0;
    }
  return err_set(err, ERR_INVALID,
                 "kind '%.200s' is not known, only Provider, ImageStore, VMMigration, CloneBase, "
                 "Clone and CloneSet",
                 kind);
}

// What an API server adds to metadata, so that its output can be used as a manifest.
static const char *const foreign_meta[] = {"managedFields", "ownerReferences", "generateName",
                                           "selfLink", "deletionGracePeriodSeconds"};

static int decode_meta_strict(struct json_object *metadata, struct object_meta *meta,
                              struct err *err)
{
  struct json_object *known = NULL;
  if (json_object_deep_copy(metadata, &known, NULL))
    return err_set(err, ERR_NO_MEMORY, "out of memory while reading an object");
  for (size_t i = 0; i < ARRAY_SIZE(foreign_meta); i++)
    if (json_object_is_type(known, json_type_object))
      json_object_object_del(known, foreign_meta[i]);
  int result = table_decode(&object_meta_table, known, "metadata", meta, err);
  json_object_put(known);
  return result;
}

static int decode_meta(struct json_object *json, bool strict, struct object_meta *meta,
                       struct err *err)
{
  struct json_object *metadata = json_object_object_get(json, "metadata");
  if (!metadata)
    return err_set(err, ERR_INVALID, "metadata: is required");
  if (strict)
    return decode_meta_strict(metadata, meta, err);
  if (table_decode_lenient(&object_meta_table, metadata, "metadata", meta, err))
    return -1;
  if (str_empty(meta->name))
    return err_set(err, ERR_INVALID, "metadata.name: is required");
  return 0;
}

static int decode_status(struct json_object *json, struct object *o, struct err *err)
{
  const struct table *table = kinds[o->kind].status;
  struct json_object *status = json_object_object_get(json, "status");
  if (!status) {
    table_defaults(table, o->status);
    return 0;
  }
  return table_decode_lenient(table, status, "status", o->status, err);
}

static int decode_spec(struct json_object *json, struct object *o, struct err *err)
{
  struct json_object *spec = json_object_object_get(json, "spec");
  if (!spec)
    return err_set(err, ERR_INVALID, "spec: is required");
  return table_decode(kinds[o->kind].spec, spec, "spec", o->spec, err);
}

struct object *object_new(enum object_kind kind)
{
  struct object *o = calloc(1, sizeof(*o));
  if (!o)
    return NULL;
  o->kind = kind;
  o->spec = calloc(1, kinds[kind].spec->size);
  o->status = calloc(1, kinds[kind].status->size);
  if (o->spec && o->status)
    return o;
  free(o->spec);
  free(o->status);
  free(o);
  return NULL;
}

static int no_memory(struct err *err)
{
  return err_set(err, ERR_NO_MEMORY, "out of memory while reading an object");
}

static int decode(struct json_object *json, bool strict, struct object **ret, struct err *err)
{
  enum object_kind kind;
  if (find_kind(json, &kind, err))
    return -1;
  struct object *o CLEANUP(object_free_p) = object_new(kind);
  if (!o)
    return no_memory(err);
  if (decode_meta(json, strict, &o->meta, err) || decode_status(json, o, err))
    return -1;
  struct err why = ERR_INIT;
  if (decode_spec(json, o, &why)) {
    if (strict || why.kind != ERR_INVALID) {
      if (err)
        *err = why;
      return -1;
    }
    table_defaults(kinds[kind].spec, o->spec);
    if (!(o->invalid = strdup(why.message)))
      return no_memory(err);
  }
  *ret = TAKE(o);
  return 0;
}

int object_decode(struct json_object *json, struct object **ret, struct err *err)
{
  return decode(json, false, ret, err);
}

static const char *const members[] = {"apiVersion", "kind", "metadata", "spec", "status"};

// The member of that name, or the one that was probably meant; NULL when none is near.
static const char *nearest_member(const char *name)
{
  const char *found = NULL;
  size_t best = 3;
  for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
    size_t distance = str_distance(name, members[i]);
    if (distance >= best)
      continue;
    best = distance;
    found = members[i];
  }
  return found;
}

static int check_members(struct json_object *json, struct err *err)
{
  json_object_object_foreach(json, name, value)
  {
    (void)value;
    const char *meant = nearest_member(name);
    if (meant && strcmp(name, meant) == 0)
      continue;
    if (meant)
      return err_set(err, ERR_INVALID, "unknown field '%.80s', did you mean '%s'?", name, meant);
    return err_set(err, ERR_INVALID, "unknown field '%.80s'", name);
  }
  return 0;
}

int object_decode_strict(struct json_object *json, struct object **ret, struct err *err)
{
  if (!json_object_is_type(json, json_type_object))
    return err_set(err, ERR_INVALID, "must be an object");
  enum object_kind kind;
  if (find_kind(json, &kind, err) || check_members(json, err))
    return -1;
  return decode(json, true, ret, err);
}

// ---- the rest -------------------------------------------------------------------------------

static int add(struct json_object *to, const char *name, struct json_object *value)
{
  return !value || json_object_object_add(to, name, value) ? -1 : 0;
}

struct json_object *object_encode(const struct object *o)
{
  const struct object_kind_info *kind = &kinds[o->kind];
  struct json_object *json = json_object_new_object();
  if (json && !add(json, "apiVersion", json_object_new_string(CRDS_API_VERSION)) &&
      !add(json, "kind", json_object_new_string(kind->kind)) &&
      !add(json, "metadata", table_encode(&object_meta_table, &o->meta)) &&
      !add(json, "spec", table_encode(kind->spec, o->spec)) &&
      !add(json, "status", table_encode(kind->status, o->status)))
    return json;
  json_object_put(json);
  return NULL;
}

struct json_object *object_encode_owners(const struct object *o)
{
  struct object_meta owners = {.owners = o->meta.owners};
  struct json_object *meta = table_encode(&object_meta_table, &owners);
  struct json_object *list = meta ? json_object_object_get(meta, "ownerReferences") : NULL;
  json_object_get(list);
  json_object_put(meta);
  return list ? list : json_object_new_array();
}

void object_free(struct object *o)
{
  if (!o)
    return;
  table_release(&object_meta_table, &o->meta);
  table_release(kinds[o->kind].spec, o->spec);
  table_release(kinds[o->kind].status, o->status);
  free(o->spec);
  free(o->status);
  free(o->invalid);
  free(o);
}

int object_copy(const struct object *from, struct object **ret, struct err *err)
{
  struct object *o CLEANUP(object_free_p) = object_new(from->kind);
  if (!o)
    return no_memory(err);
  if (table_copy(&object_meta_table, &from->meta, &o->meta, err) ||
      table_copy(kinds[from->kind].spec, from->spec, o->spec, err) ||
      table_copy(kinds[from->kind].status, from->status, o->status, err))
    return -1;
  o->invalid = str_dup(from->invalid);
  if (from->invalid && !o->invalid)
    return no_memory(err);
  *ret = TAKE(o);
  return 0;
}

bool object_has_finalizer(const struct object *o, const char *finalizer)
{
  return strings_has(&o->meta.finalizers, finalizer);
}

const char *object_annotation(const struct object *o, const char *name)
{
  return strings_map_get(&o->meta.annotations, name);
}

// The field of that name and type in status; NULL: this kind has none.
static void *status_field(const struct object *o, const char *name, enum field_type type)
{
  const struct table *t = kinds[o->kind].status;
  for (size_t i = 0; i < t->field_count; i++)
    if (t->fields[i].type == type && str_eq(t->fields[i].name, name))
      return (char *)o->status + t->fields[i].offset;
  return NULL;
}

struct list *object_conditions(const struct object *o)
{
  return status_field(o, "conditions", FIELD_LIST);
}

const struct condition *object_condition(const struct object *o, const char *type)
{
  const struct list *conditions = object_conditions(o);
  return conditions ? condition_find(conditions, type) : NULL;
}
