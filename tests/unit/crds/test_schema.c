// SPDX-License-Identifier: Apache-2.0
// Walks each table in C and its schema in crds/*.yaml side by side: names, types, words, defaults,
// bounds, patterns, required fields, explain texts and the sentences of rules, in both directions.
#include <stdio.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "base/yaml.h"
#include "crds/immutable_internal.h"
#include "tests/unit/unit.h"

// Where we are, for messages, and whether bounds are compared: status has none in the schema, since
// a status that is too long must not be lost.
struct place {
  const struct place *outer;
  const char *name;
  bool bounds;
};

static int faults;

static void print_place(const struct place *p)
{
  if (p->outer) {
    print_place(p->outer);
    printf(".");
  }
  printf("%s", p->name);
}

static void fault(const struct place *p, const char *what, const char *c, const char *yaml)
{
  faults++;
  print_place(p);
  printf(": %s: C has %s, YAML has %s\n", what, c ? c : "nothing", yaml ? yaml : "nothing");
}

static struct json_object *get(struct json_object *json, const char *name)
{
  struct json_object *value = NULL;
  json_object_object_get_ex(json, name, &value);
  return value;
}

static const char *text(struct json_object *json)
{
  return json ? json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN) : NULL;
}

static void same_text(const struct place *p, const char *what, const char *c,
                      struct json_object *yaml)
{
  if (!str_eq(c, json_object_get_string(yaml)))
    fault(p, what, c, json_object_get_string(yaml));
}

// C's NULL: the schema must not have it.
static void same_json(const struct place *p, const char *what, const char *c,
                      struct json_object *yaml)
{
  struct json_object *expected = c ? json_tokener_parse(c) : NULL;
  if (!json_object_equal(expected, yaml))
    fault(p, what, c, text(yaml));
  json_object_put(expected);
}

static void same_number(const struct place *p, const char *what, bool said, int64_t c,
                        struct json_object *yaml)
{
  char b[32];
  snprintf(b, sizeof(b), "%lld", (long long)c);
  same_json(p, what, said ? b : NULL, yaml);
}

static void same_words(const struct place *p, const char *const *names, struct json_object *yaml)
{
  struct json_object *words = names ? json_object_new_array() : NULL;
  for (size_t i = 0; names && names[i]; i++)
    if (*names[i])
      json_object_array_add(words, json_object_new_string(names[i]));
  if (!json_object_equal(words, yaml))
    fault(p, "enum", text(words), text(yaml));
  json_object_put(words);
}

// ---- one function for each type -------------------------------------------------------------

static void walk(const struct table *t, struct json_object *yaml, const struct place *p);

static void same_string(const struct field *f, struct json_object *yaml, const struct place *p)
{
  bool numbers = f->number_max > 0;
  same_text(p, "type", numbers ? NULL : "string", get(yaml, "type"));
  same_json(p, "x-kubernetes-int-or-string", numbers ? "true" : NULL,
            get(yaml, "x-kubernetes-int-or-string"));
  same_number(p, "minimum", numbers, 0, get(yaml, "minimum"));
  same_number(p, "maximum", numbers, f->number_max, get(yaml, "maximum"));
  same_words(p, f->names, get(yaml, "enum"));
  same_text(p, "pattern", f->pattern, get(yaml, "pattern"));
  same_number(p, "minLength", f->min > 0, f->min, get(yaml, "minLength"));
  same_number(p, "maxLength", f->max > 0, f->max, get(yaml, "maxLength"));
  if (p->bounds && !f->max)
    fault(p, "maxLength", "nothing", "nothing, but must bound it");
}

static void same_bool(const struct field *f, struct json_object *yaml, const struct place *p)
{
  (void)f;
  same_text(p, "type", "boolean", get(yaml, "type"));
}

static void same_int(const struct field *f, struct json_object *yaml, const struct place *p)
{
  same_text(p, "type", "integer", get(yaml, "type"));
  same_text(p, "format", "int64", get(yaml, "format"));
  same_number(p, "minimum", f->max > 0, f->min, get(yaml, "minimum"));
  same_number(p, "maximum", f->max > 0, f->max, get(yaml, "maximum"));
}

static void same_enum(const struct field *f, struct json_object *yaml, const struct place *p)
{
  same_text(p, "type", "string", get(yaml, "type"));
  same_words(p, f->names, get(yaml, "enum"));
}

static void same_duration(const struct field *f, struct json_object *yaml, const struct place *p)
{
  same_text(p, "type", "string", get(yaml, "type"));
  same_text(p, "pattern", FIELD_DURATION_FORM, get(yaml, "pattern"));
  same_number(p, "maxLength", true, FIELD_AMOUNT_BYTES, get(yaml, "maxLength"));
  struct json_object *rules = get(yaml, "x-kubernetes-validations");
  if (!f->max) {
    fault(p, "bounds", NULL, "must have some");
    return;
  }
  char low[48], high[48], rule[200], message[200];
  snprintf(rule, sizeof(rule),
           "duration(self) >= duration('%s') && duration(self) <= duration('%s')",
           str_duration_text(f->min, low), str_duration_text(f->max, high));
  snprintf(message, sizeof(message), "must be between %s and %s", low, high);
  struct json_object *only = json_object_array_get_idx(rules, 0);
  if (!rules || json_object_array_length(rules) != 1)
    fault(p, "rules", "one", text(rules));
  same_text(p, "rule", rule, get(only, "rule"));
  same_text(p, "message", message, get(only, "message"));
}

static void same_bytes(const struct field *f, struct json_object *yaml, const struct place *p)
{
  same_json(p, "x-kubernetes-int-or-string", "true", get(yaml, "x-kubernetes-int-or-string"));
  same_text(p, "pattern", FIELD_BYTES_FORM, get(yaml, "pattern"));
  same_number(p, "maxLength", true, FIELD_AMOUNT_BYTES, get(yaml, "maxLength"));
  same_number(p, "minimum", true, 0, get(yaml, "minimum"));
  if (f->max)
    fault(p, "bounds", "some", "no way to say them");
}

static bool has_defaults(const struct table *t)
{
  for (size_t i = 0; i < t->field_count; i++) {
    const struct field *f = &t->fields[i];
    if (f->fallback || (f->type == FIELD_OBJECT && !f->required && has_defaults(f->table)))
      return true;
  }
  return false;
}

static void same_object(const struct field *f, struct json_object *yaml, const struct place *p)
{
  same_text(p, "type", "object", get(yaml, "type"));
  bool fills = f->type == FIELD_OBJECT && !f->required && has_defaults(f->table);
  same_json(p, "default", fills ? "{}" : NULL, get(yaml, "default"));
  walk(f->table, yaml, p);
}

static void same_count(const struct field *f, struct json_object *yaml, const char *min,
                       const char *max, const struct place *p)
{
  same_number(p, min, f->min > 0, f->min, get(yaml, min));
  same_number(p, max, f->max > 0, f->max, get(yaml, max));
  if (p->bounds && !f->max)
    fault(p, max, "nothing", "nothing, but must bound it");
}

static void same_list(const struct field *f, struct json_object *yaml, const struct place *p)
{
  same_text(p, "type", "array", get(yaml, "type"));
  same_count(f, yaml, "minItems", "maxItems", p);
  struct json_object *items = get(yaml, "items");
  same_text(p, "items", "object", get(items, "type"));
  walk(f->table, items, p);
}

static void same_item(const struct field *f, struct json_object *items, const struct place *p)
{
  int64_t max = f->item_max ? f->item_max : FIELD_ITEM_BYTES;
  same_text(p, "items", "string", get(items, "type"));
  same_words(p, f->names, get(items, "enum"));
  same_text(p, "pattern", f->pattern, get(items, "pattern"));
  same_number(p, "maxLength", p->bounds, max, get(items, "maxLength"));
}

static void same_strings(const struct field *f, struct json_object *yaml, const struct place *p)
{
  same_text(p, "type", "array", get(yaml, "type"));
  same_count(f, yaml, "minItems", "maxItems", p);
  same_item(f, get(yaml, "items"), p);
}

static void same_map(const struct field *f, struct json_object *yaml, const struct place *p)
{
  same_text(p, "type", "object", get(yaml, "type"));
  same_count(f, yaml, "minProperties", "maxProperties", p);
  same_item(f, get(yaml, "additionalProperties"), p);
}

static void (*const comparers[])(const struct field *f, struct json_object *yaml,
                                 const struct place *p) = {
    [FIELD_STRING] = same_string,   [FIELD_BOOL] = same_bool,         [FIELD_INT] = same_int,
    [FIELD_ENUM] = same_enum,       [FIELD_DURATION] = same_duration, [FIELD_BYTES] = same_bytes,
    [FIELD_OBJECT] = same_object,   [FIELD_POINTER] = same_object,    [FIELD_LIST] = same_list,
    [FIELD_STRINGS] = same_strings, [FIELD_MAP] = same_map,
};

// ---- objects --------------------------------------------------------------------------------

// Words of a schema that are compared above. Another one would be a promise that C does not keep.
static const char *const known_words[] = {"description",
                                          "default",
                                          "type",
                                          "enum",
                                          "minLength",
                                          "maxLength",
                                          "pattern",
                                          "format",
                                          "minimum",
                                          "maximum",
                                          "x-kubernetes-validations",
                                          "x-kubernetes-int-or-string",
                                          "required",
                                          "properties",
                                          "items",
                                          "additionalProperties",
                                          "maxItems",
                                          "minItems",
                                          "maxProperties",
                                          "minProperties",
                                          "x-kubernetes-list-type",
                                          "x-kubernetes-list-map-keys"};

static void only_known_words(struct json_object *yaml, const struct place *p)
{
  json_object_object_foreach(yaml, word, value)
  {
    (void)value;
    bool known = false;
    for (size_t i = 0; i < ARRAY_SIZE(known_words); i++)
      known |= strcmp(word, known_words[i]) == 0;
    if (!known)
      fault(p, "word", NULL, word);
  }
}

static void same_field(const struct field *f, struct json_object *properties,
                       const struct place *outer)
{
  struct place p = {outer, f->name, outer->bounds};
  struct json_object *yaml = get(properties, f->name);
  if (!yaml) {
    fault(&p, "field", "it", NULL);
    return;
  }
  only_known_words(yaml, &p);
  same_text(&p, "description", f->help, get(yaml, "description"));
  if (f->type != FIELD_OBJECT)
    same_json(&p, "default", f->fallback, get(yaml, "default"));
  comparers[f->type](f, yaml, &p);
}

static void same_required(const struct table *t, struct json_object *yaml, const struct place *p)
{
  struct json_object *required = json_object_new_array();
  for (size_t i = 0; i < t->field_count; i++)
    if (t->fields[i].required)
      json_object_array_add(required, json_object_new_string(t->fields[i].name));
  bool any = json_object_array_length(required) > 0;
  if (!json_object_equal(any ? required : NULL, yaml))
    fault(p, "required", text(required), text(yaml));
  json_object_put(required);
}

// The sentences of t and of what may not change, in order, against those of the schema.
static void same_rules(const struct table *t, struct json_object *yaml, const struct place *p)
{
  size_t n = 0;
  for (const struct rule *r = t->rules; r && r->message; r++)
    same_text(p, "rule", r->message, get(json_object_array_get_idx(yaml, n++), "message"));
  for (const struct immutable *i = object_immutables; i->field; i++) {
    if (object_kind_info(i->kind)->spec != t)
      continue;
    struct json_object *rule = json_object_array_get_idx(yaml, n++);
    same_text(p, "rule", i->message, get(rule, "message"));
    if (!rule || !strstr(json_object_get_string(get(rule, "rule")), "oldSelf"))
      fault(p, "rule", i->message, "no oldSelf");
  }
  size_t length = yaml ? json_object_array_length(yaml) : 0;
  for (; n < length; n++)
    fault(p, "rule", NULL, text(get(json_object_array_get_idx(yaml, n), "message")));
}

static void walk(const struct table *t, struct json_object *yaml, const struct place *p)
{
  struct json_object *properties = get(yaml, "properties");
  same_required(t, get(yaml, "required"), p);
  same_rules(t, get(yaml, "x-kubernetes-validations"), p);
  for (size_t i = 0; i < t->field_count; i++)
    same_field(&t->fields[i], properties, p);
  if ((size_t)json_object_object_length(properties) == t->field_count)
    return;
  json_object_object_foreach(properties, name, value)
  {
    (void)value;
    bool found = false;
    for (size_t i = 0; i < t->field_count; i++)
      found |= strcmp(t->fields[i].name, name) == 0;
    if (!found)
      fault(p, "field", NULL, name);
  }
}

// ---- tests ----------------------------------------------------------------------------------

static struct json_object *load(enum object_kind kind)
{
  char path[512];
  struct err err = ERR_INIT;
  snprintf(path, sizeof(path), SOURCE_DIR "/crds/%s.yaml", object_kind_info(kind)->singular);
  FILE *f cleanup_fclose = fopen(path, "r");
  assert_non_null(f);
  static char content[1 << 20];
  size_t length = fread(content, 1, sizeof(content), f);
  struct json_object *json = yaml_parse(content, length, &err);
  if (!json)
    fail_msg("%s: %s", path, err.message);
  return json;
}

static struct json_object *version_of(struct json_object *crd)
{
  return json_object_array_get_idx(get(get(crd, "spec"), "versions"), 0);
}

static void tables_and_schemas_agree(void **state)
{
  (void)state;
  for (int k = 0; k < OBJECT_KIND_COUNT; k++) {
    const struct object_kind_info *info = object_kind_info(k);
    struct json_object *crd = load(k);
    struct json_object *schema = get(get(version_of(crd), "schema"), "openAPIV3Schema");
    struct json_object *status = get(get(schema, "properties"), "status");
    struct place spec_place = {NULL, info->kind, true};
    struct place status_place = {&spec_place, "status", false};
    walk(info->spec, get(get(schema, "properties"), "spec"), &spec_place);
    walk(info->status, status, &status_place);
    same_json(&status_place, "default", "{\"observedGeneration\":-1}", get(status, "default"));
    same_json(&spec_place, "required", "[\"spec\"]", get(schema, "required"));
    json_object_put(crd);
  }
  assert_int_equal(faults, 0);
}

static void names_agree(void **state)
{
  (void)state;
  for (int k = 0; k < OBJECT_KIND_COUNT; k++) {
    const struct object_kind_info *info = object_kind_info(k);
    struct json_object *crd = load(k);
    struct json_object *spec = get(crd, "spec");
    struct json_object *names = get(spec, "names");
    struct place p = {NULL, info->kind, true};
    same_text(&p, "group", CRDS_GROUP, get(spec, "group"));
    same_text(&p, "version", CRDS_VERSION, get(version_of(crd), "name"));
    same_text(&p, "kind", info->kind, get(names, "kind"));
    same_text(&p, "plural", info->plural, get(names, "plural"));
    same_text(&p, "singular", info->singular, get(names, "singular"));
    same_text(&p, "short name", info->short_name,
              json_object_array_get_idx(get(names, "shortNames"), 0));
    same_json(&p, "categories", "[\"drover\"]", get(names, "categories"));
    same_json(&p, "status", "{}", get(get(version_of(crd), "subresources"), "status"));
    json_object_put(crd);
  }
  assert_int_equal(faults, 0);
}

// Columns read fields that exist; kubectl would show nothing for others, and say nothing.
static void columns_read_fields(void **state)
{
  (void)state;
  for (int k = 0; k < OBJECT_KIND_COUNT; k++) {
    struct json_object *crd = load(k);
    struct json_object *columns = get(version_of(crd), "additionalPrinterColumns");
    assert_true(json_object_array_length(columns) > 3);
    for (size_t i = 0; i < json_object_array_length(columns); i++) {
      char path[200];
      snprintf(path, sizeof(path), "%s",
               json_object_get_string(get(json_object_array_get_idx(columns, i), "jsonPath")));
      path[strcspn(path, "[")] = '\0';
      if (str_starts(path, ".metadata"))
        continue;
      struct json_object *at = get(get(version_of(crd), "schema"), "openAPIV3Schema");
      char *rest = NULL;
      for (char *part = strtok_r(path, ".", &rest); part; part = strtok_r(NULL, ".", &rest)) {
        at = get(get(at, "properties"), part);
        if (!at)
          fail_msg("a column reads %s, which does not exist", part);
      }
    }
    json_object_put(crd);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(tables_and_schemas_agree),
      cmocka_unit_test(names_agree),
      cmocka_unit_test(columns_read_fields),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
