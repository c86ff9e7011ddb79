// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/field_internal.h"
#include "base/limits.h"
#include "base/str.h"

// What is being decoded, and how strictly.
struct reading {
  const struct field *field;
  struct json_object *json;
  void *at; // zeroed memory of the field
  const struct spot *spot;
  bool lenient;
  struct err *err;
};

static int decode_table(const struct table *t, struct json_object *json, const struct spot *spot,
                        bool lenient, void *out, struct err *err);

static int no_memory(struct err *err)
{
  return err_set(err, ERR_NO_MEMORY, "out of memory while reading an object");
}

static int wrong_type(const struct reading *r, const char *wanted)
{
  static const char *const names[] = {
      [json_type_null] = "null",        [json_type_boolean] = "a boolean",
      [json_type_double] = "a number",  [json_type_int] = "a number",
      [json_type_object] = "an object", [json_type_array] = "a list",
      [json_type_string] = "a string",
  };
  // YAML takes a bare On, Off, Yes or No for a boolean.
  bool bare = json_object_is_type(r->json, json_type_boolean) && str_eq(wanted, "a string");
  return spot_err(r->spot, r->err, "must be %s, not %s%s", wanted,
                  names[json_object_get_type(r->json)], bare ? ": put it in quotes" : "");
}

// The text of a JSON string, of which C can hold all; NULL: err is set.
static const char *text_of(const struct reading *r)
{
  if (!json_object_is_type(r->json, json_type_string)) {
    wrong_type(r, "a string");
    return NULL;
  }
  const char *text = json_object_get_string(r->json);
  if (strlen(text) != (size_t)json_object_get_string_len(r->json)) {
    spot_err(r->spot, r->err, "must not hold NUL characters");
    return NULL;
  }
  return text;
}

static int64_t text_max(const struct field *f)
{
  if (f->type == FIELD_STRING)
    return f->max;
  return f->item_max ? f->item_max : FIELD_ITEM_BYTES;
}

// A string, one item of STRINGS or one value of MAP, checked; NULL: err is set.
static const char *checked_text(const struct reading *r)
{
  int index;
  const char *text = text_of(r);
  if (!text || r->lenient)
    return text;
  if (r->field->names && field_check_word(r->field, text, &index, r->spot, r->err))
    return NULL;
  return field_check_string(r->field, text, text_max(r->field), r->spot, r->err) ? NULL : text;
}

static int keep_text(const struct reading *r, const char *text)
{
  char *copy = strdup(text);
  *(char **)r->at = copy;
  return copy ? 0 : no_memory(r->err);
}

// A number where a text is wanted, and either will do.
static int decode_number_text(const struct reading *r)
{
  const struct field bounds = {.type = FIELD_INT, .max = r->field->number_max};
  int64_t value = json_object_get_int64(r->json);
  char text[24];
  if (!r->lenient && field_check_number(&bounds, value, r->spot, r->err))
    return -1;
  snprintf(text, sizeof(text), "%lld", (long long)value);
  return keep_text(r, text);
}

static int decode_string(const struct reading *r)
{
  if (r->field->number_max && json_object_is_type(r->json, json_type_int))
    return decode_number_text(r);
  const char *text = checked_text(r);
  return text ? keep_text(r, text) : -1;
}

static int decode_bool(const struct reading *r)
{
  if (!json_object_is_type(r->json, json_type_boolean))
    return wrong_type(r, "true or false");
  *(bool *)r->at = json_object_get_boolean(r->json);
  return 0;
}

static int finish_number(const struct reading *r, int64_t value)
{
  if (!r->lenient && field_check_number(r->field, value, r->spot, r->err))
    return -1;
  *(int64_t *)r->at = value;
  return 0;
}

static int decode_int(const struct reading *r)
{
  if (!json_object_is_type(r->json, json_type_int))
    return wrong_type(r, "a whole number");
  return finish_number(r, json_object_get_int64(r->json));
}

static int decode_enum(const struct reading *r)
{
  const char *text = text_of(r);
  return text ? field_check_word(r->field, text, r->at, r->spot, r->err) : -1;
}

static int decode_duration(const struct reading *r)
{
  const char *text = text_of(r);
  int64_t ms;
  if (!text)
    return -1;
  if (!field_check_form(text, FIELD_DURATION_FORM) || !str_duration(text, &ms))
    return spot_err(r->spot, r->err, "'%.40s' is not a duration such as 90s, 5m or 1h30m", text);
  return finish_number(r, ms);
}

static int decode_bytes(const struct reading *r)
{
  int64_t bytes;
  if (json_object_is_type(r->json, json_type_int)) {
    bytes = json_object_get_int64(r->json);
    if (bytes < 0)
      return spot_err(r->spot, r->err, "must not be negative");
    return finish_number(r, bytes);
  }
  if (!json_object_is_type(r->json, json_type_string))
    return wrong_type(r, "a number of bytes such as 4096 or 2Gi");
  const char *text = text_of(r);
  if (!text)
    return -1;
  if (!field_check_form(text, FIELD_BYTES_FORM) || !str_bytes(text, &bytes))
    return spot_err(r->spot, r->err, "'%.40s' is not a number of bytes such as 4096, 200M or 2Gi",
                    text);
  return finish_number(r, bytes);
}

static int decode_object(const struct reading *r)
{
  return decode_table(r->field->table, r->json, r->spot, r->lenient, r->at, r->err);
}

static int decode_pointer(const struct reading *r)
{
  void *object cleanup_free = calloc(1, r->field->table->size);
  if (!object)
    return no_memory(r->err);
  if (decode_table(r->field->table, r->json, r->spot, r->lenient, object, r->err))
    return -1;
  *(void **)r->at = TAKE(object);
  return 0;
}

static int check_array(const struct reading *r)
{
  if (!json_object_is_type(r->json, json_type_array))
    return wrong_type(r, "a list");
  if (r->lenient)
    return 0;
  return field_check_count(r->field, json_object_array_length(r->json), r->spot, r->err);
}

static int decode_list(const struct reading *r)
{
  struct list *list = r->at;
  if (check_array(r))
    return -1;
  size_t count = json_object_array_length(r->json);
  for (size_t i = 0; i < count; i++) {
    struct spot spot = {r->spot, NULL, i};
    void *item = list_add(list, r->field->table->size, 0);
    if (!item)
      return no_memory(r->err);
    if (decode_table(r->field->table, json_object_array_get_idx(r->json, i), &spot, r->lenient,
                     item, r->err))
      return -1;
  }
  return 0;
}

static int decode_strings(const struct reading *r)
{
  if (check_array(r))
    return -1;
  size_t count = json_object_array_length(r->json);
  for (size_t i = 0; i < count; i++) {
    struct spot spot = {r->spot, NULL, i};
    struct reading item = *r;
    item.json = json_object_array_get_idx(r->json, i);
    item.spot = &spot;
    const char *text = checked_text(&item);
    if (!text)
      return -1;
    if (strings_add(r->at, text))
      return no_memory(r->err);
  }
  return 0;
}

static int decode_map(const struct reading *r)
{
  if (!json_object_is_type(r->json, json_type_object))
    return wrong_type(r, "an object");
  if (!r->lenient &&
      field_check_count(r->field, (size_t)json_object_object_length(r->json), r->spot, r->err))
    return -1;
  json_object_object_foreach(r->json, key, value)
  {
    struct spot spot = {r->spot, key, 0};
    struct reading item = *r;
    item.json = value;
    item.spot = &spot;
    if (!r->lenient && strlen(key) > (size_t)text_max(r->field))
      return spot_err(r->spot, r->err, "has a key of %zu bytes, over the limit of %lld",
                      strlen(key), (long long)text_max(r->field));
    const char *text = checked_text(&item);
    if (!text)
      return -1;
    if (strings_map_set(r->at, key, text))
      return no_memory(r->err);
  }
  return 0;
}

static int (*const decoders[])(const struct reading *r) = {
    [FIELD_STRING] = decode_string,     [FIELD_BOOL] = decode_bool,
    [FIELD_INT] = decode_int,           [FIELD_ENUM] = decode_enum,
    [FIELD_DURATION] = decode_duration, [FIELD_BYTES] = decode_bytes,
    [FIELD_OBJECT] = decode_object,     [FIELD_POINTER] = decode_pointer,
    [FIELD_LIST] = decode_list,         [FIELD_STRINGS] = decode_strings,
    [FIELD_MAP] = decode_map,
};

// A default is JSON in the source of drover: it is trusted to parse and to fit, and a test makes
// sure of every one.
static void set_absent(const struct field *f, void *at)
{
  if (f->type == FIELD_DURATION)
    *(int64_t *)at = FIELD_DURATION_ABSENT;
  if (f->type == FIELD_INT)
    *(int64_t *)at = f->absent;
  if (f->type == FIELD_OBJECT)
    table_defaults(f->table, at);
  if (!f->fallback)
    return;
  struct json_object *json = json_tokener_parse(f->fallback);
  struct spot spot = {NULL, f->name, 0};
  struct reading r = {f, json, at, &spot, true, NULL};
  if (decoders[f->type](&r))
    abort();
  json_object_put(json);
}

void table_defaults(const struct table *t, void *out)
{
  memset(out, 0, t->size);
  for (size_t i = 0; i < t->field_count; i++)
    set_absent(&t->fields[i], field_at(&t->fields[i], out));
}

static int decode_field(const struct field *f, struct json_object *object, const struct spot *outer,
                        bool lenient, void *out, struct err *err)
{
  struct json_object *json = NULL;
  struct spot spot = {outer, f->name, 0};
  // A null is no value, as it is for the API server.
  if (json_object_object_get_ex(object, f->name, &json) && json) {
    struct reading r = {f, json, field_at(f, out), &spot, lenient, err};
    return decoders[f->type](&r);
  }
  if (f->required && !lenient)
    return spot_err(&spot, err, "is required");
  set_absent(f, field_at(f, out));
  return 0;
}

static int check_rules(const struct table *t, const void *object, const struct spot *spot,
                       struct err *err)
{
  for (const struct rule *rule = t->rules; rule && rule->message; rule++)
    if (!rule->holds(object))
      return spot_err(spot, err, "%s", rule->message);
  return 0;
}

static int decode_members(const struct table *t, struct json_object *json, const struct spot *spot,
                          bool lenient, void *out, struct err *err)
{
  if (!lenient && field_check_known(t, json, spot, err))
    return -1;
  for (size_t i = 0; i < t->field_count; i++)
    if (decode_field(&t->fields[i], json, spot, lenient, out, err))
      return -1;
  return lenient ? 0 : check_rules(t, out, spot, err);
}

static int decode_table(const struct table *t, struct json_object *json, const struct spot *spot,
                        bool lenient, void *out, struct err *err)
{
  memset(out, 0, t->size);
  struct reading r = {.json = json, .spot = spot, .err = err};
  if (!json_object_is_type(json, json_type_object))
    return wrong_type(&r, "an object");
  if (decode_members(t, json, spot, lenient, out, err)) {
    table_release(t, out);
    return -1;
  }
  return 0;
}

int table_decode(const struct table *t, struct json_object *json, const char *path, void *out,
                 struct err *err)
{
  struct spot spot = {NULL, path, 0};
  return decode_table(t, json, &spot, false, out, err);
}

int table_decode_lenient(const struct table *t, struct json_object *json, const char *path,
                         void *out, struct err *err)
{
  struct spot spot = {NULL, path, 0};
  return decode_table(t, json, &spot, true, out, err);
}

int table_decode_text(const struct table *t, const char *text, const char *path, void *out,
                      struct err *err)
{
  memset(out, 0, t->size);
  size_t length = strlen(text);
  if (length > LIMIT_HTTP_BODY_BYTES)
    return err_set(err, ERR_LIMIT, "%s: JSON of %zu bytes is over the limit of %u", path, length,
                   LIMIT_HTTP_BODY_BYTES);
  struct json_tokener *tokener = json_tokener_new();
  if (!tokener)
    return no_memory(err);
  json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
  struct json_object *json = json_tokener_parse_ex(tokener, text, (int)length + 1);
  enum json_tokener_error fault = json_tokener_get_error(tokener);
  size_t end = json_tokener_get_parse_end(tokener);
  json_tokener_free(tokener);
  int result;
  if (fault != json_tokener_success)
    result = err_set(err, ERR_INVALID, "%s: not JSON at byte %zu: %s", path, end,
                     json_tokener_error_desc(fault));
  else
    result = table_decode(t, json, path, out, err);
  json_object_put(json);
  return result;
}
