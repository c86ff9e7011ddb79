// SPDX-License-Identifier: Apache-2.0
// Tables, YAML and descriptions, letter by letter; and the printer columns beside those of crds/.
#include <stdlib.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "base/yaml.h"
#include "controller/json_path.h"
#include "controller/print_object.h"
#include "controller/text_table.h"
#include "kube/object.h"
#include "tests/unit/unit.h"

#define NOW_WALL_MS 1795269600000ll // 2026-11-21T14:00:00Z

static struct json_object *json_of(const char *text)
{
  struct err err = ERR_INIT;
  struct json_object *json = yaml_parse(text, strlen(text), &err);
  if (!json)
    fail_msg("%s", err.message);
  return json;
}

// ---- JSONPath -------------------------------------------------------------------------------

static void test_json_path(void **state)
{
  (void)state;
  struct json_object *json cleanup_object =
      json_of("{a: {b.c: 1, list: [{type: X, v: one}, {type: Ready, v: two}]}}");
  static const struct {
    const char *path, *value;
  } paths[] = {{".a.list[0].v", "one"},
               {".a.list[?(@.type==\"Ready\")].v", "two"},
               {".a.b\\.c", "1"},
               {".a.list[?(@.type==\"None\")].v", NULL},
               {".a.list[2].v", NULL},
               {".a.list.v", NULL},
               {".a.b", NULL},
               {"a", NULL},
               {".a.list[x]", NULL},
               {".a.list[?(@.type=Ready)].v", NULL},
               {".a.b\\.c.d", NULL},
               {".a[0]", NULL},
               {".a.list[?(@.type", NULL}};
  for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
    const char *found = json_object_get_string(json_path(json, paths[i].path));
    if (!str_eq(found, paths[i].value))
      fail_msg("%s: %s", paths[i].path, found ? found : "nothing");
  }
}

// ---- ages, text -----------------------------------------------------------------------------

static void test_ages(void **state)
{
  (void)state;
  static const struct {
    int64_t seconds;
    const char *text;
  } ages[] = {
      {-5, "0s"},     {0, "0s"},        {119, "119s"},     {120, "2m"},           {192, "3m12s"},
      {600, "10m"},   {10799, "179m"},  {10800, "3h"},     {14700, "4h5m"},       {28800, "8h"},
      {172800, "2d"}, {183600, "2d3h"}, {8 * 86400, "8d"}, {86400 * 800, "2y70d"}};
  for (size_t i = 0; i < ARRAY_SIZE(ages); i++) {
    char b[32];
    assert_string_equal(text_age(ages[i].seconds, b), ages[i].text);
  }
}

// What a guest is called must not move the cursor of whoever looks.
static void test_harmless(void **state)
{
  (void)state;
  static const char *const pairs[][2] = {{"plain", "plain"},
                                         {"a\x1b[2Jb", "a?[2Jb"},
                                         {"a\nb\tc\rd", "a b c d"},
                                         {"\x07\x7f", "??"},
                                         {"\xc2\x9b"
                                          "31m",
                                          "??31m"},
                                         {"\xc3\xbc", "\xc3\xbc"},
                                         {NULL, ""}};
  for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
    cleanup_free char *clean = text_harmless(pairs[i][0]);
    assert_string_equal(clean, pairs[i][1]);
  }
}

// ---- YAML -----------------------------------------------------------------------------------

static const char *const yaml_strings[] = {
    "plain",
    "On",
    "yes",
    "no",
    "null",
    "~",
    "123",
    "0x1f",
    "1e3",
    "",
    " leading",
    "a: b",
    "# x",
    "- x",
    "'q'",
    "\"q\"",
    "line\nend",
    "tail\n",
    "2026-11-21",
    "\xc3\xbc",
    "%x",
    "@x",
    "a\tb",
    "true",
    "0755",
    "1.5",
    "*x",
    "&x",
    "{a}",
    "[a]",
    "?",
    "a\\b",
    "2026-11-21T14:00:00Z",
    "very long very long very long very long very long very long very long",
    "\x1b[2J",
    "line\n\n\nend\n\n"};

static void test_yaml_reads_back(void **state)
{
  (void)state;
  struct err err = ERR_INIT;
  for (size_t i = 0; i < ARRAY_SIZE(yaml_strings); i++) {
    struct buf text CLEANUP(buf_release) = BUF_INIT(0);
    struct json_object *json cleanup_object = json_object_new_object();
    object_set_string(json, "key", yaml_strings[i]);
    json_object_object_add(json, yaml_strings[i], json_object_new_int(5));
    json_object_object_add(json, "none", NULL);
    json_object_object_add(json, "list", json_object_new_array());
    assert_ok(yaml_write(json, &text, &err), &err);
    struct json_object *back cleanup_object = yaml_parse(text.data, text.length, &err);
    if (!back || !json_object_equal(json, back))
      fail_msg("'%s' is not read back from: %s (%s)", yaml_strings[i], buf_str(&text), err.message);
  }
}

static void test_yaml_looks_as_kubectl_prints_it(void **state)
{
  (void)state;
  struct err err = ERR_INIT;
  struct json_object *json cleanup_object =
      json_of("{a: {b: [1, {c: d, e: \"On\"}], f: {}, g: []}, t: \"2026-11-21T14:00:00Z\", w: null,"
              " v: true, x: 1.5}");
  struct buf text CLEANUP(buf_release) = BUF_INIT(0);
  assert_ok(yaml_write(json, &text, &err), &err);
  assert_string_equal(buf_str(&text), "a:\n"
                                      "  b:\n"
                                      "  - 1\n"
                                      "  - c: d\n"
                                      "    e: \"On\"\n"
                                      "  f: {}\n"
                                      "  g: []\n"
                                      "t: \"2026-11-21T14:00:00Z\"\n"
                                      "w: null\n"
                                      "v: true\n"
                                      "x: 1.5\n");
}

// ---- tables ---------------------------------------------------------------------------------

static const char migrations[] =
    "[{metadata: {name: web, namespace: default, creationTimestamp: \"2026-11-21T13:55:00Z\"},\n"
    "  status: {phase: Transferring, summary: {source: berlin/web, target: paris/web,\n"
    "           progress: 42%, rate: 118 MB/s, eta: 6m12s}}},\n"
    " {metadata: {name: a-much-longer-name, namespace: other,\n"
    "             creationTimestamp: \"2026-11-19T10:00:00Z\"},\n"
    "  status: {phase: Failed, summary: {source: \"berlin/b\\u00fcro\", target: paris/x},\n"
    "           conditions: [{type: Finished, message: \"evil \\u001b[2J\"}]}},\n"
    " {metadata: {name: new, namespace: default}}]";

struct printed {
  char *text;
  size_t length;
  FILE *to;
};

static void print_release(struct printed *p)
{
  if (p->to)
    fclose(p->to);
  free(p->text);
}

static void print_begin(struct printed *p)
{
  p->to = open_memstream(&p->text, &p->length);
}

static const char *print_end(struct printed *p)
{
  fclose(p->to);
  p->to = NULL;
  return p->text;
}

static void assert_printed(const char *objects, const struct print_options *options,
                           const char *want)
{
  struct err err = ERR_INIT;
  struct printed p CLEANUP(print_release) = {0};
  struct json_object *json cleanup_object = json_of(objects);
  print_begin(&p);
  assert_ok(print_objects(OBJECT_VM_MIGRATION, json, options, p.to, &err), &err);
  assert_string_equal(print_end(&p), want);
}

static void test_table(void **state)
{
  (void)state;
  struct print_options o = {.now_wall_ms = NOW_WALL_MS};
  assert_printed(
      migrations, &o,
      "NAME                 SOURCE        TARGET      PHASE          PROGRESS   RATE       ETA     "
      "AGE\n"
      "web                  berlin/web    paris/web   Transferring   42%        118 MB/s   6m12s   "
      "5m\n"
      "a-much-longer-name   berlin/b\xc3\xbcro   paris/x     Failed                    "
      "                   2d4h\n"
      "new\n");
}

static void test_wide_table_of_all_namespaces(void **state)
{
  (void)state;
  struct print_options o = {.format = PRINT_WIDE, .namespaces = true, .now_wall_ms = NOW_WALL_MS};
  assert_printed(
      "[{metadata: {name: web, namespace: other}, status: {conditions: [{type: Finished,"
      " message: \"evil \\u001b[2J\"}]}}]",
      &o,
      "NAMESPACE   NAME   SOURCE   TARGET   PHASE   PROGRESS   RATE   ETA   MESSAGE     AGE\n"
      "other       web                                                      evil ?[2J\n");
}

static void test_json_and_yaml(void **state)
{
  (void)state;
  struct print_options o = {.format = PRINT_JSON};
  assert_printed("[{kind: X, a: [1]}]", &o, "{\n  \"kind\":\"X\",\n  \"a\":[\n    1\n  ]\n}\n");
  o.format = PRINT_YAML;
  assert_printed("[{kind: X, a: [1]}]", &o, "kind: X\na:\n- 1\n");
  o.list = true;
  assert_printed("[{kind: X}]", &o, "apiVersion: v1\nkind: List\nitems:\n- kind: X\n");
  assert_printed("[]", &o, "apiVersion: v1\nkind: List\nitems: []\n");
}

// ---- the columns of crds/*.yaml -----------------------------------------------------------------

static struct json_object *definition_of(enum object_kind kind)
{
  char path[256];
  static char text[1 << 20];
  snprintf(path, sizeof(path), "%s/crds/%s.yaml", PROJECT, object_kind_info(kind)->singular);
  FILE *f cleanup_fclose = fopen(path, "r");
  if (!f)
    fail_msg("%s is not there", path);
  size_t length = fread(text, 1, sizeof(text) - 1, f);
  text[length] = '\0';
  return json_of(text);
}

static void test_columns_are_those_of_the_definitions(void **state)
{
  (void)state;
  for (int kind = 0; kind < OBJECT_KIND_COUNT; kind++) {
    struct json_object *crd cleanup_object = definition_of((enum object_kind)kind);
    struct json_object *theirs = json_path(crd, ".spec.versions[0].additionalPrinterColumns");
    size_t count;
    const struct print_column *ours = print_columns((enum object_kind)kind, &count);
    assert_int_equal(json_object_array_length(theirs), count);
    for (size_t i = 0; i < count; i++) {
      struct json_object *column = json_object_array_get_idx(theirs, i);
      assert_string_equal(object_string(column, "name", NULL), ours[i].name);
      assert_string_equal(object_string(column, "jsonPath", NULL), ours[i].path);
      assert_int_equal(object_int(column, "priority", NULL), ours[i].wide);
      assert_int_equal(str_eq(object_string(column, "type", NULL), "date"), ours[i].age);
    }
  }
}

// ---- describe -------------------------------------------------------------------------------

static const char described[] =
    "kind: VMMigration\n"
    "metadata: {name: web, namespace: default, creationTimestamp: \"2026-11-21T13:55:00Z\"}\n"
    "spec: {source: {vm: {name: web}}, suspend: false}\n"
    "status:\n"
    "  phase: Failed\n"
    "  retries: 2\n"
    "  progress: {totalBytes: 6442450944, transferredBytes: 0}\n"
    "  conditions:\n"
    "  - {type: Finished, status: \"True\", reason: PreflightFailed, message: \"a\\nb\",\n"
    "     lastTransitionTime: \"2026-11-21T13:59:00Z\"}\n"
    "  preflight:\n"
    "  - {check: Space, severity: Error, message: pool is full, suggestion: make room}\n"
    "  - {check: Names, severity: OK, message: free}\n"
    "  owned: [{kind: Volume, role: target, disk: vda, where: provider default/paris, id: v1}]\n";

static void test_description(void **state)
{
  (void)state;
  struct err err = ERR_INIT;
  struct printed p CLEANUP(print_release) = {0};
  struct json_object *json cleanup_object = json_of(described);
  struct json_object *events cleanup_object =
      json_of("[{type: Warning, reason: PreflightFailed, message: m, count: 3,"
              " last: \"2026-11-21T13:58:00Z\"}]");
  print_begin(&p);
  assert_ok(print_description(json, events, NOW_WALL_MS, p.to, &err), &err);
  assert_string_equal(print_end(&p), "Name:                 web\n"
                                     "Namespace:            default\n"
                                     "Kind:                 VMMigration\n"
                                     "Created:              2026-11-21T13:55:00Z (5m ago)\n"
                                     "Phase:                Failed\n"
                                     "Retries:              2\n"
                                     "Size of the disks:    6.4 GB\n"
                                     "\n"
                                     "Spec:\n"
                                     "  source:\n"
                                     "    vm:\n"
                                     "      name: web\n"
                                     "  suspend: false\n"
                                     "\n"
                                     "Conditions:\n"
                                     "  TYPE       STATUS   REASON            SINCE   MESSAGE\n"
                                     "  Finished   True     PreflightFailed   60s     a b\n"
                                     "\n"
                                     "Preflight:\n"
                                     "  CHECK   SEVERITY   MESSAGE        SUGGESTION\n"
                                     "  Space   Error      pool is full   make room\n"
                                     "  Names   OK         free\n"
                                     "\n"
                                     "Owned (what drover takes back if this does not succeed):\n"
                                     "  KIND     ROLE     DISK   WHERE                    ID\n"
                                     "  Volume   target   vda    provider default/paris   v1\n"
                                     "\n"
                                     "Events:\n"
                                     "  LAST   TYPE      REASON            COUNT   MESSAGE\n"
                                     "  2m     Warning   PreflightFailed   3       m\n");
}

static void describe(const char *yaml, struct printed *p)
{
  struct err err = ERR_INIT;
  struct json_object *json cleanup_object = json_of(yaml);
  struct json_object *events cleanup_object = json_of("[]");
  print_begin(p);
  assert_ok(print_description(json, events, NOW_WALL_MS, p->to, &err), &err);
}

static void test_description_of_clones(void **state)
{
  (void)state;
  struct printed set CLEANUP(print_release) = {0};
  struct printed clone CLEANUP(print_release) = {0};
  describe("{kind: CloneSet, metadata: {name: web}, spec: {replicas: 2}, status: {replicas: 2,"
           " readyReplicas: 1, availableReplicas: 0, updatedReplicas: 2, currentBase: a,"
           " updateBase: b, bytesUsed: 4096, bytesSaved: 2147483648,"
           " failures: [{clone: web-1, reason: NotReady, message: no address}]}}",
           &set);
  assert_string_equal(print_end(&set), "Name:                 web\n"
                                       "Kind:                 CloneSet\n"
                                       "Base, so far:         a\n"
                                       "Base, wanted:         b\n"
                                       "Clones:               2\n"
                                       "Ready:                1\n"
                                       "Available:            0\n"
                                       "Updated:              2\n"
                                       "All of them take:     4.1 kB\n"
                                       "Saved:                2.1 GB\n"
                                       "\n"
                                       "Spec:\n"
                                       "  replicas: 2\n"
                                       "\n"
                                       "Clones that are not as they shall be:\n"
                                       "  CLONE   REASON     MESSAGE\n"
                                       "  web-1   NotReady   no address\n");
  describe("{kind: Clone, metadata: {name: web-1}, spec: {}, status: {phase: Running, base: b,"
           " id: i-7, addresses: [10.0.0.7, \"fd00::7\"], mode: Linked, cloneMillis: 12,"
           " summary: {set: web}}}",
           &clone);
  const char *text = print_end(&clone);
  assert_contains(text, "Set:                  web\n");
  assert_contains(text, "Addresses:            10.0.0.7, fd00::7\n");
  assert_contains(text, "Made in:              12 ms\n");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_json_path),
      cmocka_unit_test(test_ages),
      cmocka_unit_test(test_harmless),
      cmocka_unit_test(test_yaml_reads_back),
      cmocka_unit_test(test_yaml_looks_as_kubectl_prints_it),
      cmocka_unit_test(test_table),
      cmocka_unit_test(test_wide_table_of_all_namespaces),
      cmocka_unit_test(test_json_and_yaml),
      cmocka_unit_test(test_columns_are_those_of_the_definitions),
      cmocka_unit_test(test_description),
      cmocka_unit_test(test_description_of_clones),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
