// SPDX-License-Identifier: Apache-2.0
// Kubernetes objects as json-c trees: the few questions that everything in kube/ asks of one. Trees
// are short-lived here: whoever needs an object for long decodes it into a struct of its own.
//
// All strings belong to the tree. A missing or wrongly typed member reads as "" / 0 / NULL: what
// comes from a server is never trusted to be complete.
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"

static inline void object_put_p(struct json_object **o)
{
  json_object_put(*o);
}
#define cleanup_object CLEANUP(object_put_p)

// The member at the end of a path of names that ends with NULL, or NULL.
struct json_object *object_at(struct json_object *o, ...) __attribute__((sentinel));
// The string there, "" when there is none.
const char *object_string(struct json_object *o, ...) __attribute__((sentinel));
int64_t object_int(struct json_object *o, ...) __attribute__((sentinel));
bool object_bool(struct json_object *o, ...) __attribute__((sentinel));

const char *object_namespace(struct json_object *o); // metadata.namespace, "" for cluster-wide
const char *object_name(struct json_object *o);
const char *object_uid(struct json_object *o);
const char *object_version(struct json_object *o); // metadata.resourceVersion

// Sets a string member unless the value is NULL; "" is set.
void object_set_string(struct json_object *o, const char *name, const char *value);
// Removes metadata.managedFields, which is often the larger half of an object and never read.
void object_drop_managed_fields(struct json_object *o);
// Parses one JSON text of a server with our depth limit; NULL when it is not one.
struct json_object *object_parse(const char *text, size_t length);
