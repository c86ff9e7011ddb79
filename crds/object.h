// SPDX-License-Identifier: Apache-2.0
// A custom resource as the program sees it: metadata, and spec and status decoded by the tables of
// its kind. JSON is read into these structs and thrown away (ten thousand JSON trees of 2 KB take
// 500 MiB). An object is owned by whoever got it: object_free().
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/field.h"
#include "crds/common.h"

#define CRDS_GROUP            "drover.dev"
#define CRDS_VERSION          "v1alpha1"
#define CRDS_API_VERSION      CRDS_GROUP "/" CRDS_VERSION
#define CRDS_FINALIZER        "drover.dev/cleanup"
#define CRDS_ANNOTATE_RETRY   "drover.dev/retry"
#define CRDS_ANNOTATE_ABANDON "drover.dev/abandon"

enum object_kind {
  OBJECT_PROVIDER,
  OBJECT_IMAGE_STORE,
  OBJECT_VM_MIGRATION,
  OBJECT_CLONE_BASE,
  OBJECT_CLONE,
  OBJECT_CLONE_SET,
  OBJECT_KIND_COUNT
};

struct object_kind_info {
  const char *kind, *plural, *singular, *short_name; // "VMMigration", "vmmigrations", ...
  const struct table *spec, *status;
};
const struct object_kind_info *object_kind_info(enum object_kind kind);
// Kind, plural, singular or short name, any case; false when there is none.
bool object_kind_named(const char *name, enum object_kind *ret);

struct object_owner { // an entry of ownerReferences
  char *api_version, *kind, *name, *uid;
  bool controller;
};

struct object_meta {
  char *ns, *name, *uid;
  char *resource_version;
  int64_t generation;
  char *creation_timestamp;           // RFC 3339
  char *deletion_timestamp;           // NULL = not being deleted
  struct strings labels, annotations; // FIELD_MAP
  struct strings finalizers;
  struct list owners; // "ownerReferences", of struct object_owner
};

struct object {
  enum object_kind kind;
  struct object_meta meta;
  void *spec;    // of the kind's spec table
  void *status;  // of the kind's status table; always there
  char *invalid; // the sentence, when spec did not pass its table; NULL = fine
};

// From a whole object ({"apiVersion","kind","metadata","spec","status"}). A spec that does not pass
// is no error here: `invalid` says so, and spec is what defaults give. Errors: not of our kinds, no
// name.
int object_decode(struct json_object *json, struct object **ret, struct err *err);
// The same, but a spec that does not pass is ERR_INVALID.
int object_decode_strict(struct json_object *json, struct object **ret, struct err *err);
struct json_object *object_encode(const struct object *o);        // NULL: no memory
struct json_object *object_encode_owners(const struct object *o); // the list only; as above
// One without name, spec and status all zero: to be filled and handed to a store's create(). NULL:
// no memory.
struct object *object_new(enum object_kind kind);
void object_free(struct object *o); // NULL allowed
int object_copy(const struct object *from, struct object **ret, struct err *err);
// An object in few bytes, for a cache of thousands; freed by free().
struct squeezed;
int object_squeeze(const struct object *o, struct squeezed **ret, struct err *err);
// It again, to be looked at only: freed by free(), not object_free(), and before the squeezed.
int object_unsqueeze(const struct squeezed *s, struct object **ret, struct err *err);
// Whether any text of it is or ends with this one: no need to unsqueeze it otherwise.
bool squeezed_mentions(const struct squeezed *s, const char *text);
bool object_has_finalizer(const struct object *o, const char *finalizer);
const char *object_annotation(const struct object *o, const char *name); // NULL: not there
// The list of struct condition in its status, which every kind has.
struct list *object_conditions(const struct object *o);
const struct condition *object_condition(const struct object *o, const char *type); // NULL: none
// Whether spec may change from one to the other (immutable fields); ERR_INVALID names the field.
int object_check_update(const struct object *before, const struct object *after, struct err *err);
