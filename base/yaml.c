// SPDX-License-Identifier: Apache-2.0
#include "base/yaml.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <yaml.h>

#include "base/cleanup.h"
#include "base/str.h"

#define ANCHORS_MAX  256
#define NUMBER_BYTES 64 // longer plain scalars are text

struct anchor {
  char *name;
  struct json_object *value; // a reference of ours
  size_t values, bytes;      // how many values and bytes of text an alias to it stands for
};

struct yaml_reader {
  yaml_parser_t parser;
  struct json_object *json; // the whole text when it was JSON
  bool is_json, ended;
  struct anchor anchors[ANCHORS_MAX];
  size_t anchor_count;
  size_t values, bytes; // of this document so far
  int depth;
};

static int read_node(struct yaml_reader *r, yaml_event_t *event, struct json_object **ret,
                     struct err *err);

static int fail_at(const yaml_event_t *event, enum err_kind kind, struct err *err, const char *what)
{
  return err_set(err, kind, "line %zu: %s", event->start_mark.line + 1, what);
}

static int next_event(struct yaml_reader *r, yaml_event_t *event, struct err *err)
{
  if (yaml_parser_parse(&r->parser, event))
    return 0;
  memset(event, 0, sizeof(*event));
  return err_set(err, ERR_INVALID, "line %zu: %s", r->parser.problem_mark.line + 1,
                 r->parser.problem ? r->parser.problem : "not YAML");
}

static void put_json(struct json_object **o)
{
  json_object_put(*o);
}

static void event_delete(yaml_event_t *event)
{
  yaml_event_delete(event);
}

// ---- scalars --------------------------------------------------------------------------------

static const struct {
  const char *words[12];
  int value; // 1, 0, or -1 for null
} plain_words[] = {
    {{"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y"}, 1},
    {{"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N"}, 0},
    {{"", "~", "null", "Null", "NULL"}, -1},
};

static bool plain_word(const char *text, struct json_object **ret)
{
  for (size_t i = 0; i < ARRAY_SIZE(plain_words); i++)
    for (const char *const *w = plain_words[i].words; *w; w++)
      if (strcmp(*w, text) == 0) {
        *ret = plain_words[i].value < 0 ? NULL : json_object_new_boolean(plain_words[i].value);
        return true;
      }
  return false;
}

// Decimal, 0x, 0o, 0b and C's octal, as Go's ParseInt with base 0.
static bool plain_int(const char *text, struct json_object **ret)
{
  const char *digits = text + (*text == '-' || *text == '+');
  int base = 10;
  if (digits[0] == '0' && digits[1]) {
    char c = (char)tolower((unsigned char)digits[1]);
    base = c == 'x' ? 16 : c == 'b' ? 2 : 8;
    digits += strchr("xob", c) ? 2 : 1;
  }
  if (!isalnum((unsigned char)*digits))
    return false;
  char *end;
  errno = 0;
  unsigned long long value = strtoull(digits, &end, base);
  if (*end || errno)
    return false;
  if (*text == '-' && value <= (unsigned long long)INT64_MAX)
    *ret = json_object_new_int64(-(int64_t)value);
  else if (*text == '-')
    return false;
  else
    *ret =
        value <= INT64_MAX ? json_object_new_int64((int64_t)value) : json_object_new_uint64(value);
  return true;
}

static bool plain_double(const char *text, double *ret)
{
  if (strspn(text, "0123456789+-.eE") != strlen(text) || !strpbrk(text, "0123456789"))
    return false;
  char *end;
  *ret = strtod(text, &end);
  return *end == '\0' && isfinite(*ret);
}

// A number as Go's reader of YAML sees it: underscores do not count, and 1e3 is a whole number.
static bool plain_number(const char *text, struct json_object **ret)
{
  char digits[NUMBER_BYTES];
  size_t n = 0;
  double number;
  if (!*text || !strchr("0123456789+-.", *text) || strlen(text) >= sizeof(digits))
    return false;
  for (; *text; text++)
    if (*text != '_')
      digits[n++] = *text;
  digits[n] = '\0';
  if (plain_int(digits, ret))
    return true;
  if (!plain_double(digits, &number))
    return false;
  bool whole = floor(number) == number && fabs(number) < 0x1p53;
  *ret = whole ? json_object_new_int64((int64_t)number) : json_object_new_double(number);
  return true;
}

static bool is_infinite(const char *text)
{
  if (*text == '-' || *text == '+')
    text++;
  return strcasecmp(text, ".inf") == 0 || strcasecmp(text, ".nan") == 0;
}

static struct json_object *string_of(const yaml_event_t *e)
{
  return json_object_new_string_len((const char *)e->data.scalar.value, (int)e->data.scalar.length);
}

// Of a scalar: the tags whose meaning the plain rules give anyway, and !!str.
static bool tag_is_known(const char *tag)
{
  static const char *const known[] = {"str", "int", "float", "bool", "null", "timestamp"};
  const char *name = str_after(tag, "tag:yaml.org,2002:");
  for (size_t i = 0; name && i < ARRAY_SIZE(known); i++)
    if (str_eq(name, known[i]))
      return true;
  return false;
}

static int read_scalar(const yaml_event_t *e, struct json_object **ret, struct err *err)
{
  const char *text = (const char *)e->data.scalar.value;
  const char *tag = (const char *)e->data.scalar.tag;
  if (strlen(text) != e->data.scalar.length)
    return fail_at(e, ERR_INVALID, err, "a NUL character");
  if (tag && !tag_is_known(tag))
    return fail_at(e, ERR_INVALID, err, "a tag that JSON has no value for");
  if (str_eq(tag, "tag:yaml.org,2002:str") || e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
    *ret = string_of(e);
  else if (plain_word(text, ret) || plain_number(text, ret))
    return 0;
  else if (is_infinite(text))
    return fail_at(e, ERR_INVALID, err, "infinity and NaN are not allowed");
  else
    *ret = string_of(e);
  return 0;
}

// ---- anchors --------------------------------------------------------------------------------

static int remember(struct yaml_reader *r, const yaml_event_t *e, const char *name,
                    struct json_object *value, const struct anchor *size, struct err *err)
{
  if (!name)
    return 0;
  if (r->anchor_count == ANCHORS_MAX)
    return fail_at(e, ERR_LIMIT, err, "too many anchors");
  r->anchors[r->anchor_count++] =
      (struct anchor){str_dup(name), json_object_get(value), size->values, size->bytes};
  return 0;
}

static void forget_anchors(struct yaml_reader *r)
{
  while (r->anchor_count) {
    struct anchor *a = &r->anchors[--r->anchor_count];
    free(a->name);
    json_object_put(a->value);
  }
}

static int count(struct yaml_reader *r, const yaml_event_t *e, size_t values, size_t bytes,
                 struct err *err)
{
  r->values += values;
  r->bytes += bytes;
  if (r->values > YAML_MAX_VALUES)
    return fail_at(e, ERR_LIMIT, err, "too many values");
  return r->bytes > YAML_MAX_BYTES ? fail_at(e, ERR_LIMIT, err, "too much text") : 0;
}

static int read_alias(struct yaml_reader *r, const yaml_event_t *e, struct json_object **ret,
                      struct err *err)
{
  for (size_t i = r->anchor_count; i-- > 0;) {
    struct anchor *a = &r->anchors[i];
    if (!str_eq(a->name, (const char *)e->data.alias.anchor))
      continue;
    if (count(r, e, a->values, a->bytes, err) != 0)
      return -1;
    // A copy: a shared part of a tree would be a trap for who changes it.
    *ret = NULL;
    if (a->value && json_object_deep_copy(a->value, ret, NULL) != 0)
      return err_set(err, ERR_NO_MEMORY, "no memory for YAML");
    return 0;
  }
  return fail_at(e, ERR_INVALID, err, "an alias to an anchor that is not there");
}

// ---- lists and maps -------------------------------------------------------------------------

static int read_list(struct yaml_reader *r, struct json_object *into, struct err *err)
{
  for (;;) {
    yaml_event_t event CLEANUP(event_delete) = {0};
    struct json_object *value = NULL;
    if (next_event(r, &event, err) != 0)
      return -1;
    if (event.type == YAML_SEQUENCE_END_EVENT)
      return 0;
    if (read_node(r, &event, &value, err) != 0)
      return -1;
    json_object_array_add(into, value);
  }
}

// Keys of a map that is merged in never replace keys that are there, wherever "<<" stands.
static int merge(const yaml_event_t *at, struct json_object *into, struct json_object *from,
                 struct err *err)
{
  if (json_object_is_type(from, json_type_array)) {
    for (size_t i = 0; i < json_object_array_length(from); i++)
      if (merge(at, into, json_object_array_get_idx(from, i), err) != 0)
        return -1;
    return 0;
  }
  if (!json_object_is_type(from, json_type_object))
    return fail_at(at, ERR_INVALID, err, "'<<' needs a map or a list of maps");
  json_object_object_foreach(from, key, value)
  {
    if (!json_object_object_get_ex(into, key, NULL))
      json_object_object_add(into, key, json_object_get(value));
  }
  return 0;
}

static int read_pair(struct yaml_reader *r, const yaml_event_t *key, struct json_object *into,
                     struct json_object **merged, struct err *err)
{
  if (key->type != YAML_SCALAR_EVENT)
    return fail_at(key, ERR_INVALID, err, "a key must be a string");
  const char *name = (const char *)key->data.scalar.value;
  bool is_merge = str_eq(name, "<<") && key->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
  if (strlen(name) != key->data.scalar.length)
    return fail_at(key, ERR_INVALID, err, "a NUL character");
  if (is_merge ? *merged != NULL : json_object_object_get_ex(into, name, NULL))
    return err_set(err, ERR_INVALID, "line %zu: key '%.100s' is given twice",
                   key->start_mark.line + 1, name);
  yaml_event_t event CLEANUP(event_delete) = {0};
  struct json_object *value = NULL;
  if (count(r, key, 1, key->data.scalar.length, err) != 0 || next_event(r, &event, err) != 0 ||
      read_node(r, &event, &value, err) != 0)
    return -1;
  if (is_merge)
    *merged = value;
  else
    json_object_object_add(into, name, value);
  return 0;
}

static int read_map(struct yaml_reader *r, struct json_object *into, struct err *err)
{
  struct json_object *merged CLEANUP(put_json) = NULL;
  for (;;) {
    yaml_event_t event CLEANUP(event_delete) = {0};
    if (next_event(r, &event, err) != 0)
      return -1;
    if (event.type == YAML_MAPPING_END_EVENT)
      return merged ? merge(&event, into, merged, err) : 0;
    if (read_pair(r, &event, into, &merged, err) != 0)
      return -1;
  }
}

static int read_collection(struct yaml_reader *r, const yaml_event_t *e, struct json_object **ret,
                           struct err *err)
{
  bool is_map = e->type == YAML_MAPPING_START_EVENT;
  if (++r->depth > YAML_MAX_DEPTH)
    return fail_at(e, ERR_LIMIT, err, "nested too deeply");
  struct json_object *made CLEANUP(put_json) =
      is_map ? json_object_new_object() : json_object_new_array();
  if (!made)
    return err_set(err, ERR_NO_MEMORY, "no memory for YAML");
  if ((is_map ? read_map(r, made, err) : read_list(r, made, err)) != 0)
    return -1;
  r->depth--;
  *ret = TAKE(made);
  return 0;
}

static const char *anchor_of(const yaml_event_t *e)
{
  switch (e->type) {
  case YAML_SCALAR_EVENT:
    return (const char *)e->data.scalar.anchor;
  case YAML_SEQUENCE_START_EVENT:
    return (const char *)e->data.sequence_start.anchor;
  case YAML_MAPPING_START_EVENT:
    return (const char *)e->data.mapping_start.anchor;
  default:
    return NULL;
  }
}

static int read_node(struct yaml_reader *r, yaml_event_t *e, struct json_object **ret,
                     struct err *err)
{
  struct anchor before = {.values = r->values, .bytes = r->bytes};
  size_t bytes = e->type == YAML_SCALAR_EVENT ? e->data.scalar.length : 0;
  if (count(r, e, 1, bytes, err) != 0)
    return -1;
  if (e->type == YAML_ALIAS_EVENT)
    return read_alias(r, e, ret, err);
  if ((e->type == YAML_SCALAR_EVENT ? read_scalar(e, ret, err) : read_collection(r, e, ret, err)) !=
      0)
    return -1;
  struct anchor size = {.values = r->values - before.values, .bytes = r->bytes - before.bytes};
  if (remember(r, e, anchor_of(e), *ret, &size, err) == 0)
    return 0;
  json_object_put(TAKE(*ret));
  return -1;
}

// ---- documents ------------------------------------------------------------------------------

// libyaml reads most JSON, but not surrogate pairs, nor tabs as white space.
static void try_json(struct yaml_reader *r, const char *text, size_t length)
{
  size_t start = 0;
  while (start < length && isspace((unsigned char)text[start]))
    start++;
  if (start == length || (text[start] != '{' && text[start] != '['))
    return;
  struct json_tokener *tokener = json_tokener_new_ex(YAML_MAX_DEPTH);
  if (!tokener)
    return;
  json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
  r->json = json_tokener_parse_ex(tokener, text, (int)length);
  r->is_json = json_tokener_get_error(tokener) == json_tokener_success;
  json_tokener_free(tokener);
}

struct yaml_reader *yaml_open(const char *text, size_t length, struct err *err)
{
  if (length > YAML_MAX_BYTES) {
    err_set(err, ERR_LIMIT, "YAML of more than %u MiB", YAML_MAX_BYTES >> 20);
    return NULL;
  }
  struct yaml_reader *r = calloc(1, sizeof(*r));
  if (!r || !yaml_parser_initialize(&r->parser)) {
    free(r);
    err_set(err, ERR_NO_MEMORY, "no memory for YAML");
    return NULL;
  }
  yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
  yaml_parser_set_input_string(&r->parser, (const unsigned char *)text, length);
  try_json(r, text, length);
  return r;
}

void yaml_close(struct yaml_reader *r)
{
  if (!r)
    return;
  forget_anchors(r);
  json_object_put(r->json);
  yaml_parser_delete(&r->parser);
  free(r);
}

static int read_document(struct yaml_reader *r, struct json_object **ret, struct err *err)
{
  yaml_event_t node CLEANUP(event_delete) = {0};
  yaml_event_t end CLEANUP(event_delete) = {0};
  struct json_object *value CLEANUP(put_json) = NULL;
  r->values = 0;
  r->bytes = 0;
  r->depth = 0;
  forget_anchors(r);
  if (next_event(r, &node, err) != 0 || read_node(r, &node, &value, err) != 0 ||
      next_event(r, &end, err) != 0)
    return -1;
  *ret = TAKE(value);
  return 1;
}

int yaml_next(struct yaml_reader *r, struct json_object **ret, int *ret_line, struct err *err)
{
  if (r->is_json && !r->ended) {
    r->ended = true;
    *ret = TAKE(r->json);
    if (ret_line)
      *ret_line = 1;
    return 1;
  }
  while (!r->ended) {
    yaml_event_t event CLEANUP(event_delete) = {0};
    if (next_event(r, &event, err) != 0)
      return -1;
    if (event.type == YAML_DOCUMENT_START_EVENT) {
      if (ret_line)
        *ret_line = (int)event.end_mark.line + 1;
      return read_document(r, ret, err);
    }
    r->ended = event.type == YAML_STREAM_END_EVENT;
  }
  return 0;
}

struct json_object *yaml_parse(const char *text, size_t length, struct err *err)
{
  struct json_object *first CLEANUP(put_json) = NULL;
  struct json_object *second CLEANUP(put_json) = NULL;
  struct yaml_reader *r = yaml_open(text, length, err);
  if (!r)
    return NULL;
  int got = yaml_next(r, &first, NULL, err);
  int more = got == 1 ? yaml_next(r, &second, NULL, err) : 0;
  yaml_close(r);
  if (got < 0 || more < 0)
    return NULL;
  if (!first || more)
    err_set(err, ERR_INVALID, more ? "more than one document" : "an empty document");
  return first && !more ? TAKE(first) : NULL;
}
