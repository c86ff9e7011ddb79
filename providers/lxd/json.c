// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "base/str.h"
#include "providers/lxd/lxd_internal.h"

struct json_object *lxd_member(struct json_object *o, const char *key)
{
  struct json_object *value = NULL;
  if (!json_object_is_type(o, json_type_object))
    return NULL;
  return json_object_object_get_ex(o, key, &value) ? value : NULL;
}

const char *lxd_text(struct json_object *o, const char *key)
{
  struct json_object *value = lxd_member(o, key);
  return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
}

int64_t lxd_number(struct json_object *o, const char *key, int64_t fallback)
{
  struct json_object *value = lxd_member(o, key);
  return json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : fallback;
}

bool lxd_true(struct json_object *o, const char *key)
{
  struct json_object *value = lxd_member(o, key);
  return json_object_is_type(value, json_type_boolean) && json_object_get_boolean(value);
}

void lxd_put(struct json_object *o, const char *key, const char *value)
{
  if (value)
    json_object_object_add(o, key, json_object_new_string(value));
}

void lxd_put_number(struct json_object *o, const char *key, int64_t value)
{
  char text[24];
  snprintf(text, sizeof(text), "%lld", (long long)value);
  lxd_put(o, key, text);
}

void lxd_json_release(struct json_object **o)
{
  json_object_put(*o);
}
