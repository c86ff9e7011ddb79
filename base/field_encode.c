// SPDX-License-Identifier: Apache-2.0
#include "base/cleanup.h"
#include "base/field_internal.h"
#include "base/str.h"

// Each encoder gives NULL for an absent value, and sets *failed when memory ran out.

static struct json_object *made(struct json_object *json, bool *failed)
{
  if (!json)
    *failed = true;
  return json;
}

// Values that decoding an absent field gives anyway may be left out.
static bool is_said(const struct field *f, bool value_is_zero)
{
  return !value_is_zero || f->required || f->fallback;
}

static struct json_object *encode_string(const struct field *f, const void *at, bool *failed)
{
  const char *text = *(char *const *)at;
  return text && !f->secret ? made(json_object_new_string(text), failed) : NULL;
}

static struct json_object *encode_bool(const struct field *f, const void *at, bool *failed)
{
  bool value = *(const bool *)at;
  return is_said(f, !value) ? made(json_object_new_boolean(value), failed) : NULL;
}

static struct json_object *encode_int(const struct field *f, const void *at, bool *failed)
{
  int64_t value = *(const int64_t *)at;
  return is_said(f, value == f->absent) ? made(json_object_new_int64(value), failed) : NULL;
}

static struct json_object *encode_enum(const struct field *f, const void *at, bool *failed)
{
  int value = *(const int *)at;
  if (!is_said(f, value == 0) || str_empty(f->names[value]))
    return NULL;
  return made(json_object_new_string(f->names[value]), failed);
}

static struct json_object *encode_duration(const struct field *f, const void *at, bool *failed)
{
  (void)f;
  char b[48];
  int64_t ms = *(const int64_t *)at;
  return ms < 0 ? NULL : made(json_object_new_string(str_duration_text(ms, b)), failed);
}

static struct json_object *encode_object(const struct field *f, const void *at, bool *failed)
{
  struct json_object *json = made(table_encode(f->table, at), failed);
  if (!json || json_object_object_length(json) > 0 || f->required)
    return json;
  json_object_put(json);
  return NULL;
}

static struct json_object *encode_pointer(const struct field *f, const void *at, bool *failed)
{
  const void *object = *(void *const *)at;
  return object ? made(table_encode(f->table, object), failed) : NULL;
}

static struct json_object *encode_list(const struct field *f, const void *at, bool *failed)
{
  const struct list *list = at;
  if (list->count == 0 && !f->required && !f->fallback)
    return NULL;
  struct json_object *array = made(json_object_new_array(), failed);
  for (size_t i = 0; array && i < list->count; i++) {
    struct json_object *item =
        made(table_encode(f->table, list_item(list, f->table->size, i)), failed);
    if (json_object_array_add(array, item))
      *failed = true;
  }
  return array;
}

static struct json_object *encode_strings(const struct field *f, const void *at, bool *failed)
{
  const struct strings *strings = at;
  if (strings->count == 0 && !f->required && !f->fallback)
    return NULL;
  struct json_object *array = made(json_object_new_array(), failed);
  for (size_t i = 0; array && i < strings->count; i++)
    if (json_object_array_add(array, made(json_object_new_string(strings->items[i]), failed)))
      *failed = true;
  return array;
}

static struct json_object *encode_map(const struct field *f, const void *at, bool *failed)
{
  const struct strings *map = at;
  if (map->count == 0 && !f->required && !f->fallback)
    return NULL;
  struct json_object *object = made(json_object_new_object(), failed);
  for (size_t i = 0; object && i + 1 < map->count; i += 2) {
    struct json_object *value = made(json_object_new_string(map->items[i + 1]), failed);
    if (json_object_object_add(object, map->items[i], value))
      *failed = true;
  }
  return object;
}

static struct json_object *(*const encoders[])(const struct field *f, const void *at,
                                               bool *failed) = {
    [FIELD_STRING] = encode_string,     [FIELD_BOOL] = encode_bool,
    [FIELD_INT] = encode_int,           [FIELD_ENUM] = encode_enum,
    [FIELD_DURATION] = encode_duration, [FIELD_BYTES] = encode_int,
    [FIELD_OBJECT] = encode_object,     [FIELD_POINTER] = encode_pointer,
    [FIELD_LIST] = encode_list,         [FIELD_STRINGS] = encode_strings,
    [FIELD_MAP] = encode_map,
};

struct json_object *table_encode(const struct table *t, const void *in)
{
  struct json_object *object = json_object_new_object();
  bool failed = !object;
  for (size_t i = 0; !failed && i < t->field_count; i++) {
    const struct field *f = &t->fields[i];
    struct json_object *value = encoders[f->type](f, field_at(f, in), &failed);
    if (value && json_object_object_add(object, f->name, value))
      failed = true;
  }
  if (!failed)
    return object;
  json_object_put(object);
  return NULL;
}
