// SPDX-License-Identifier: Apache-2.0
#include "base/field.h"

#include "base/cleanup.h"
#include "base/str.h"
#include "tests/unit/unit.h"

struct disk {
  char *name;
  int format;
};

struct limits {
  int64_t rate_bytes;
  int64_t lanes;
};

struct machine {
  char *name;
  char *password;
  bool running;
  bool suspended;
  int64_t cpus;
  int64_t retries;
  int mode;
  int64_t timeout_ms;
  int64_t wait_ms;
  int64_t memory_bytes;
  struct limits limits;
  struct limits *more;
  struct list disks;
  struct strings tags;
  struct strings allow;
  struct strings labels;
};

static const char *const format_names[] = {"", "raw", "qcow2", NULL};
static const char *const mode_names[] = {"Cold", "Warm", NULL};
static const char *const allow_names[] = {"Export", "Import", NULL};

static bool disk_rule(const void *object)
{
  const struct disk *disk = object;
  return !str_eq(disk->name, "forbidden");
}

static const struct rule disk_rules[] = {{"a disk may not be forbidden", disk_rule}, {NULL, NULL}};

static const struct field disk_fields[] = {
    {"name", FIELD_STRING, offsetof(struct disk, name), .required = true, .min = 1, .max = 20,
     .pattern = "^[a-z]+$"},
    {"format", FIELD_ENUM, offsetof(struct disk, format), .names = format_names},
};
static const struct table disk_table = {.name = "disk",
                                        .size = sizeof(struct disk),
                                        .fields = disk_fields,
                                        .field_count = ARRAY_SIZE(disk_fields),
                                        .rules = disk_rules};

static const struct field limits_fields[] = {
    {"rate", FIELD_BYTES, offsetof(struct limits, rate_bytes)},
    {"lanes", FIELD_INT, offsetof(struct limits, lanes), .fallback = "4", .min = 1, .max = 64},
};
static const struct table limits_table = TABLE(struct limits, limits_fields);

static const struct field machine_fields[] = {
    {"name", FIELD_STRING, offsetof(struct machine, name), .required = true, .max = 30},
    {"password", FIELD_STRING, offsetof(struct machine, password), .secret = true},
    {"running", FIELD_BOOL, offsetof(struct machine, running), .fallback = "true"},
    {"suspended", FIELD_BOOL, offsetof(struct machine, suspended)},
    {"cpus", FIELD_INT, offsetof(struct machine, cpus), .min = 1, .max = 512},
    {"retries", FIELD_INT, offsetof(struct machine, retries), .fallback = "5", .max = 9},
    {"mode", FIELD_ENUM, offsetof(struct machine, mode), .names = mode_names,
     .fallback = "\"Warm\""},
    {"timeout", FIELD_DURATION, offsetof(struct machine, timeout_ms), .min = 1000, .max = 3600000},
    {"wait", FIELD_DURATION, offsetof(struct machine, wait_ms), .fallback = "\"5m\""},
    {"memory", FIELD_BYTES, offsetof(struct machine, memory_bytes)},
    {"limits", FIELD_OBJECT, offsetof(struct machine, limits), .table = &limits_table},
    {"more", FIELD_POINTER, offsetof(struct machine, more), .table = &limits_table},
    {"disks", FIELD_LIST, offsetof(struct machine, disks), .table = &disk_table, .max = 3},
    {"tags", FIELD_STRINGS, offsetof(struct machine, tags), .max = 2, .pattern = "^[a-z]*$",
     .item_max = 5},
    {"allow", FIELD_STRINGS, offsetof(struct machine, allow), .names = allow_names, .max = 4,
     .fallback = "[\"Export\"]"},
    {"labels", FIELD_MAP, offsetof(struct machine, labels), .max = 3},
};
static const struct table machine_table = TABLE(struct machine, machine_fields);

static void machine_release(struct machine *m)
{
  table_release(&machine_table, m);
}

// maxUnavailable: 1 and "25%" alike.
struct share {
  char *amount;
};
static const struct field share_fields[] = {{"amount", FIELD_STRING, offsetof(struct share, amount),
                                             .max = 4, .pattern = "^[0-9]+%?$", .number_max = 999}};
static const struct table share_table = TABLE(struct share, share_fields);

static void takes_numbers_as_text_where_either_will_do(void **state)
{
  (void)state;
  static const struct {
    const char *json, *text, *message;
  } rows[] = {
      {"{\"amount\":25}", "25", NULL},
      {"{\"amount\":0}", "0", NULL},
      {"{\"amount\":\"25%\"}", "25%", NULL},
      {"{\"amount\":1000}", NULL, "spec.amount: must be between 0 and 999, not 1000"},
      {"{\"amount\":-1}", NULL, "spec.amount: must be between 0 and 999, not -1"},
      {"{\"amount\":1.5}", NULL, "spec.amount: must be a string, not a number"},
      {"{\"amount\":\"x\"}", NULL, "spec.amount: 'x' does not match ^[0-9]+%?$"},
  };
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
    struct share s = {0};
    struct err err = ERR_INIT;
    int failed = table_decode_text(&share_table, rows[i].json, "spec", &s, &err);
    assert_int_equal(failed != 0, rows[i].message != NULL);
    if (failed)
      assert_string_equal(err.message, rows[i].message);
    else
      assert_string_equal(s.amount, rows[i].text);
    table_release(&share_table, &s);
  }
}

static const char everything[] =
    "{\"name\":\"web\",\"password\":\"geheim\",\"running\":false,\"suspended\":true,\"cpus\":2,"
    "\"retries\":0,\"mode\":\"Cold\",\"timeout\":\"1m30s\",\"wait\":\"0s\",\"memory\":\"2Gi\","
    "\"limits\":{\"rate\":4096,\"lanes\":1},\"more\":{},"
    "\"disks\":[{\"name\":\"a\",\"format\":\"qcow2\"},{\"name\":\"b\"}],"
    "\"tags\":[\"x\",\"\"],\"allow\":[],\"labels\":{\"z\":\"1\",\"a\":\"2\"}}";

static void decodes_every_type(void **state)
{
  (void)state;
  struct err err = ERR_INIT;
  struct machine m CLEANUP(machine_release) = {0};
  assert_ok(table_decode_text(&machine_table, everything, "spec", &m, &err), &err);
  assert_string_equal(m.name, "web");
  assert_string_equal(m.password, "geheim");
  assert_false(m.running);
  assert_true(m.suspended);
  assert_int_equal(m.cpus, 2);
  assert_int_equal(m.retries, 0);
  assert_int_equal(m.mode, 0);
  assert_int_equal(m.timeout_ms, 90000);
  assert_int_equal(m.wait_ms, 0);
  assert_int_equal(m.memory_bytes, 2ll << 30);
  assert_int_equal(m.limits.rate_bytes, 4096);
  assert_int_equal(m.limits.lanes, 1);
  assert_int_equal(m.more->lanes, 4);
  assert_int_equal(m.disks.count, 2);
  assert_int_equal(((struct disk *)m.disks.items)[0].format, 2);
  assert_int_equal(((struct disk *)m.disks.items)[1].format, 0);
  assert_int_equal(m.tags.count, 2);
  assert_int_equal(m.allow.count, 0);
  assert_string_equal(m.labels.items[0], "a");
  assert_string_equal(strings_map_get(&m.labels, "z"), "1");
  assert_null(strings_map_get(&m.labels, "y"));
}

static void fills_in_defaults(void **state)
{
  (void)state;
  struct err err = ERR_INIT;
  struct machine m CLEANUP(machine_release) = {0};
  struct machine d CLEANUP(machine_release) = {0};
  // A null is no value, for the API server too.
  assert_ok(table_decode_text(&machine_table, "{\"name\":\"x\",\"wait\":null}", "", &m, &err),
            &err);
  assert_true(m.running);
  assert_int_equal(m.retries, 5);
  assert_int_equal(m.mode, 1);
  assert_int_equal(m.timeout_ms, FIELD_DURATION_ABSENT);
  assert_int_equal(m.wait_ms, 300000);
  assert_int_equal(m.limits.lanes, 4);
  assert_null(m.more);
  assert_string_equal(m.allow.items[0], "Export");
  table_defaults(&machine_table, &d);
  assert_false(table_equal(&machine_table, &m, &d));
  d.name = strdup("x");
  assert_true(table_equal(&machine_table, &m, &d));
}

static void encoding_and_decoding_give_the_same(void **state)
{
  (void)state;
  static const char *const texts[] = {everything, "{\"name\":\"x\"}"};
  for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
    struct err err = ERR_INIT;
    struct machine m CLEANUP(machine_release) = {0};
    struct machine again CLEANUP(machine_release) = {0};
    assert_ok(table_decode_text(&machine_table, texts[i], "", &m, &err), &err);
    struct json_object *json = table_encode(&machine_table, &m);
    assert_null(strstr(json_object_to_json_string(json), "geheim"));
    assert_ok(table_decode(&machine_table, json, "", &again, &err), &err);
    json_object_put(json);
    free(m.password);
    m.password = NULL;
    assert_true(table_equal(&machine_table, &m, &again));
  }
}

static void encodes_what_was_said_and_no_more(void **state)
{
  (void)state;
  struct machine m CLEANUP(machine_release) = {0};
  table_defaults(&machine_table, &m);
  m.name = strdup("x");
  struct json_object *json = table_encode(&machine_table, &m);
  assert_string_equal(json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN),
                      "{\"name\":\"x\",\"running\":true,\"retries\":5,\"mode\":\"Warm\",\"wait\":"
                      "\"5m\",\"limits\":{\"lanes\":4},\"allow\":[\"Export\"]}");
  json_object_put(json);
}

static void copies_are_equal_and_independent(void **state)
{
  (void)state;
  struct err err = ERR_INIT;
  struct machine m CLEANUP(machine_release) = {0};
  struct machine copy CLEANUP(machine_release) = {0};
  assert_ok(table_decode_text(&machine_table, everything, "", &m, &err), &err);
  assert_ok(table_copy(&machine_table, &m, &copy, &err), &err);
  assert_true(table_equal(&machine_table, &m, &copy));
  assert_ptr_not_equal(m.name, copy.name);
  ((struct disk *)copy.disks.items)[1].format = 1;
  assert_false(table_equal(&machine_table, &m, &copy));
  ((struct disk *)copy.disks.items)[1].format = 0;
  copy.more->lanes = 9;
  assert_false(table_equal(&machine_table, &m, &copy));
  table_release(&limits_table, copy.more);
  free(copy.more);
  copy.more = NULL;
  assert_false(table_equal(&machine_table, &m, &copy));
  copy.wait_ms++;
  assert_int_equal(strings_map_set(&copy.labels, "z", NULL), 0);
  assert_int_equal(copy.labels.count, 2);
}

static const struct {
  const char *json;
  const char *message;
} refusals[] = {
    {"[]", "spec: must be an object, not a list"},
    {"{}", "spec.name: is required"},
    {"{\"name\":null}", "spec.name: is required"},
    {"{\"name\":1}", "spec.name: must be a string, not a number"},
    {"{\"name\":\"a\\u0000b\"}", "spec.name: must not hold NUL characters"},
    {"{\"name\":\"0123456789012345678901234567890\"}",
     "spec.name: is 31 bytes long, over the limit of 30"},
    {"{\"name\":\"x\",\"cpu\":1}", "spec: unknown field 'cpu', did you mean 'cpus'?"},
    {"{\"name\":\"x\",\"Running\":true}", "spec: unknown field 'Running', did you mean 'running'?"},
    {"{\"name\":\"x\",\"zzzzzzzz\":1}", "spec: unknown field 'zzzzzzzz'"},
    {"{\"name\":\"x\",\"running\":\"yes\"}", "spec.running: must be true or false, not a string"},
    {"{\"name\":\"x\",\"cpus\":0}", "spec.cpus: must be between 1 and 512, not 0"},
    {"{\"name\":\"x\",\"cpus\":99999999999999999999}",
     "spec.cpus: must be between 1 and 512, not 9223372036854775807"},
    {"{\"name\":\"x\",\"cpus\":1.5}", "spec.cpus: must be a whole number, not a number"},
    {"{\"name\":\"x\",\"mode\":\"Hot\"}", "spec.mode: 'Hot' is not one of Cold, Warm"},
    {"{\"name\":\"x\",\"timeout\":\"90\"}", "spec.timeout: '90' is not a duration such as 90s"},
    {"{\"name\":\"x\",\"timeout\":\"2h\"}", "spec.timeout: must be between 1s and 1h, not 2h"},
    {"{\"name\":\"x\",\"timeout\":5}", "spec.timeout: must be a string, not a number"},
    {"{\"name\":\"x\",\"memory\":\"2GB\"}", "spec.memory: '2GB' is not a number of bytes"},
    {"{\"name\":\"x\",\"memory\":-1}", "spec.memory: must not be negative"},
    {"{\"name\":\"x\",\"limits\":{\"lanes\":65}}",
     "spec.limits.lanes: must be between 1 and 64, not 65"},
    {"{\"name\":\"x\",\"more\":3}", "spec.more: must be an object, not a number"},
    {"{\"name\":\"x\",\"disks\":{}}", "spec.disks: must be a list, not an object"},
    {"{\"name\":\"x\",\"disks\":[{\"name\":\"a\"},{\"name\":\"b\",\"format\":\"vdi\"}]}",
     "spec.disks[1].format: 'vdi' is not one of raw, qcow2"},
    {"{\"name\":\"x\",\"disks\":[{\"name\":\"A\"}]}",
     "spec.disks[0].name: 'A' does not match ^[a-z]+$"},
    {"{\"name\":\"x\",\"disks\":[{\"name\":\"a\\nb\"}]}", "does not match ^[a-z]+$"},
    {"{\"name\":\"x\",\"disks\":[{\"name\":\"\"}]}", "spec.disks[0].name: must not be empty"},
    {"{\"name\":\"x\",\"disks\":[{\"name\":\"forbidden\"}]}",
     "spec.disks[0]: a disk may not be forbidden"},
    {"{\"name\":\"x\",\"disks\":[null]}", "spec.disks[0]: must be an object, not null"},
    {"{\"name\":\"x\",\"disks\":[{\"name\":\"a\"},{\"name\":\"a\"},{\"name\":\"a\"},{}]}",
     "spec.disks: has 4 items, over the limit of 3"},
    {"{\"name\":\"x\",\"tags\":[\"a\",\"B\"]}", "spec.tags[1]: 'B' does not match"},
    {"{\"name\":\"x\",\"tags\":[\"abcdef\"]}",
     "spec.tags[0]: is 6 bytes long, over the limit of 5"},
    {"{\"name\":\"x\",\"allow\":[\"Delete\"]}",
     "spec.allow[0]: 'Delete' is not one of Export, Import"},
    {"{\"name\":\"x\",\"labels\":{\"a\":1}}", "spec.labels.a: must be a string, not a number"},
    {"{\"name\":\"x\",\"labels\":{\"a\":\"\",\"b\":\"\",\"c\":\"\",\"d\":\"\"}}",
     "spec.labels: has 4 items, over the limit of 3"},
    {"{\"name\":\"x\"", "spec: not JSON at byte"},
    {"{\"name\":\"x\"} {}", "spec: not JSON at byte"},
    {"{\"name\":\"\xff\"}", "spec: not JSON at byte"},
};

static void refuses(void **state)
{
  (void)state;
  for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
    struct err err = ERR_INIT;
    struct machine m;
    memset(&m, 0xff, sizeof(m));
    if (table_decode_text(&machine_table, refusals[i].json, "spec", &m, &err) != -1)
      fail_msg("accepted: %s", refusals[i].json);
    assert_int_equal(err.kind, ERR_INVALID);
    assert_contains(err.message, refusals[i].message);
    assert_null(m.name); // left released
  }
}

static void lenient_reads_what_other_versions_wrote(void **state)
{
  (void)state;
  struct err err = ERR_INIT;
  struct machine m CLEANUP(machine_release) = {0};
  struct json_object *json = json_tokener_parse(
      "{\"later\":1,\"cpus\":9999,\"disks\":[{\"name\":\"forbidden\",\"x\":1}]}");
  assert_ok(table_decode_lenient(&machine_table, json, "status", &m, &err), &err);
  json_object_put(json);
  assert_int_equal(m.cpus, 9999);
  assert_int_equal(m.disks.count, 1);
  struct machine wrong;
  json = json_tokener_parse("{\"cpus\":\"many\"}");
  assert_int_equal(table_decode_lenient(&machine_table, json, "status", &wrong, &err), -1);
  json_object_put(json);
  assert_contains(err.message, "status.cpus: must be a whole number, not a string");
}

static void deep_paths_are_cut_not_overrun(void **state)
{
  (void)state;
  char path[2000];
  memset(path, 'p', sizeof(path) - 1);
  path[sizeof(path) - 1] = '\0';
  struct err err = ERR_INIT;
  struct machine m;
  assert_int_equal(table_decode_text(&machine_table, "{}", path, &m, &err), -1);
  assert_contains(err.message, "ppp: is required");
}

static void strings_and_lists(void **state)
{
  (void)state;
  struct strings map = {0};
  assert_int_equal(strings_map_set(&map, "m", "1"), 0);
  assert_int_equal(strings_map_set(&map, "a", "2"), 0);
  assert_int_equal(strings_map_set(&map, "z", "3"), 0);
  assert_int_equal(strings_map_set(&map, "m", "4"), 0);
  assert_int_equal(strings_map_set(&map, "none", NULL), 0);
  assert_int_equal(map.count, 6);
  assert_string_equal(map.items[0], "a");
  assert_string_equal(strings_map_get(&map, "m"), "4");
  struct strings copy = {0};
  assert_int_equal(strings_add(&copy, "goes"), 0);
  assert_int_equal(strings_copy(&copy, &map), 0);
  assert_int_equal(copy.count, 6);
  assert_string_equal(strings_map_get(&copy, "m"), "4");
  assert_ptr_not_equal(copy.items[0], map.items[0]);
  strings_release(&copy);
  assert_int_equal(strings_map_set(&map, "a", NULL), 0);
  assert_string_equal(map.items[0], "m");
  assert_true(strings_has(&map, "3"));
  assert_false(strings_has(&map, "2"));
  strings_release(&map);
  struct list list = {0};
  for (int i = 0; i < 5; i++)
    *(int64_t *)list_add(&list, sizeof(int64_t), 5) = i;
  assert_null(list_add(&list, sizeof(int64_t), 5));
  for (int i = 0; i < 5; i++)
    assert_int_equal(((int64_t *)list.items)[i], i);
  free(list.items);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(decodes_every_type),
      cmocka_unit_test(fills_in_defaults),
      cmocka_unit_test(encoding_and_decoding_give_the_same),
      cmocka_unit_test(encodes_what_was_said_and_no_more),
      cmocka_unit_test(copies_are_equal_and_independent),
      cmocka_unit_test(refuses),
      cmocka_unit_test(lenient_reads_what_other_versions_wrote),
      cmocka_unit_test(deep_paths_are_cut_not_overrun),
      cmocka_unit_test(strings_and_lists),
      cmocka_unit_test(takes_numbers_as_text_where_either_will_do),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
