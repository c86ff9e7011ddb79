// SPDX-License-Identifier: Apache-2.0
#include "kube/object.h"

#include <limits.h>
#include <stdarg.h>

#define DEPTH_MAX 64

static struct json_object *walk(struct json_object *o, va_list names)
{
  for (const char *name; (name = va_arg(names, const char *));)
    if (!json_object_is_type(o, json_type_object) || !json_object_object_get_ex(o, name, &o))
      return NULL;
  return o;
}

struct json_object *object_at(struct json_object *o, ...)
{
  va_list names;
  va_start(names, o);
  struct json_object *found = walk(o, names);
  va_end(names);
  return found;
}

const char *object_string(struct json_object *o, ...)
{
  va_list names;
  va_start(names, o);
  struct json_object *found = walk(o, names);
  va_end(names);
  return json_object_is_type(found, json_type_string) ? json_object_get_string(found) : "";
}

int64_t object_int(struct json_object *o, ...)
{
  va_list names;
  va_start(names, o);
  struct json_object *found = walk(o, names);
  va_end(names);
  return json_object_is_type(found, json_type_int) ? json_object_get_int64(found) : 0;
}

bool object_bool(struct json_object *o, ...)
{
  va_list names;
  va_start(names, o);
  struct json_object *found = walk(o, names);
  va_end(names);
  return json_object_is_type(found, json_type_boolean) && json_object_get_boolean(found);
}

const char *object_namespace(struct json_object *o)
{
  return object_string(o, "metadata", "namespace", NULL);
}

const char *object_name(struct json_object *o)
{
  return object_string(o, "metadata", "name", NULL);
}

const char *object_uid(struct json_object *o)
{
  return object_string(o, "metadata", "uid", NULL);
}

const char *object_version(struct json_object *o)
{
  return object_string(o, "metadata", "resourceVersion", NULL);
}

void object_set_string(struct json_object *o, const char *name, const char *value)
{
  if (value)
    json_object_object_add(o, name, json_object_new_string(value));
}

void object_drop_managed_fields(struct json_object *o)
{
  struct json_object *metadata = object_at(o, "metadata", NULL);
  if (json_object_is_type(metadata, json_type_object))
    json_object_object_del(metadata, "managedFields");
}

struct json_object *object_parse(const char *text, size_t length)
{
  if (length > INT_MAX)
    return NULL;
  struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
  if (!tokener)
    return NULL;
  json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
  struct json_object *o = json_tokener_parse_ex(tokener, text, (int)length);
  enum json_tokener_error error = json_tokener_get_error(tokener);
  json_tokener_free(tokener);
  if (error == json_tokener_success)
    return o;
  json_object_put(o);
  return NULL;
}
