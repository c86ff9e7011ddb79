// SPDX-License-Identifier: Apache-2.0
#include "crds/manifest.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "tests/unit/unit.h"

static int parse(const char *text, struct manifests *m, struct err *err)
{
  return manifests_parse_yaml(text, strlen(text), "a.yaml", m, err);
}

// The whole of a document as compact JSON must be what is expected.
static void check_yaml(const char *yaml, const char *json)
{
  struct manifests m = {0};
  struct err err = ERR_INIT;
  assert_ok(parse(yaml, &m, &err), &err);
  assert_int_equal(m.count, 1);
  assert_string_equal(json_object_to_json_string_ext(
                          m.items[0].json, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
                      json);
  manifests_release(&m);
}

// Measured with kubectl 1.34: create --dry-run=client -o json.
static void scalars_are_what_kubernetes_reads(void **state)
{
  (void)state;
  check_yaml("[y, Y, n, yes, On, off, true, TRUE, tRue]",
             "[true,true,false,true,true,false,true,true,\"tRue\"]");
  check_yaml("- ~\n- null\n- Null\n-\n- \"\"", "[null,null,null,null,\"\"]");
  check_yaml("[010, 0o10, 0x1F, 0b11, 1_000, +5, -5, -0x10]", "[8,8,31,3,1000,5,-5,-16]");
  check_yaml("[1.5, 1e3, 1e+3, .5, 5., 08]", "[1.5,1000,1000,0.5,5,8]");
  check_yaml("[2001-01-01, 12:30:45, 0755a, \"on\", =, 1:20, 1Gi, 5m, +, 0x, \".\"]",
             "[\"2001-01-01\",\"12:30:45\",\"0755a\",\"on\",\"=\",\"1:20\",\"1Gi\",\"5m\","
             "\"+\",\"0x\",\".\"]");
  check_yaml("a: |\n  x\n  y\nb: >-\n  x\n  y\nc: 'it''s'\nd: \"\\u00e4\\n\"",
             "{\"a\":\"x\\ny\\n\",\"b\":\"x y\",\"c\":\"it's\",\"d\":\"ä\\n\"}");
  check_yaml("5: a\n1.50: b", "{\"5\":\"a\",\"1.50\":\"b\"}");
}

static void anchors_and_merges(void **state)
{
  (void)state;
  check_yaml("a: &x {p: 1, q: 2}\nb: *x\nc: {<<: *x, q: 3}\nd: {<<: [{q: 5}, *x], r: 1}",
             "{\"a\":{\"p\":1,\"q\":2},\"b\":{\"p\":1,\"q\":2},\"c\":{\"q\":3,\"p\":1},"
             "\"d\":{\"r\":1,\"q\":5,\"p\":1}}");
}

static void documents_know_their_lines(void **state)
{
  (void)state;
  struct manifests m = {0};
  struct err err = ERR_INIT;
  assert_ok(parse("# nothing\n---\na: 1\n---\n# empty\n---\n\nb: 2\n...\n", &m, &err), &err);
  assert_int_equal(m.count, 2);
  assert_int_equal(m.items[0].line, 3);
  assert_int_equal(m.items[1].line, 8);
  manifests_release(&m);
  assert_ok(parse("", &m, &err), &err);
  assert_int_equal(m.count, 0);
  static const char json[] = " {\"a\":1}\n\n{\"b\":\"\\ud83d\\ude00\"} ";
  assert_ok(manifests_parse_json(json, strlen(json), "a.json", &m, &err), &err);
  assert_int_equal(m.count, 2);
  assert_int_equal(m.items[1].line, 3);
  manifests_release(&m);
}

static const struct {
  const char *yaml;
  const char *message;
} broken[] = {
    {"a: 1\nb: [1, 2", "a.yaml:"},
    {"a: 1\n\tb: 2", "a.yaml:2: not YAML"},
    {"a: 1\nb: 2\na: 3", "a.yaml: line 3: the key 'a' stands twice"},
    {"a: *nothing", "a.yaml:1: not YAML: found undefined alias"},
    {"yes: 1", "line 1: this key is a boolean or null for YAML: quote it"},
    {"? [a]\n: 1", "line 1: a key must be text"},
    {"a: !python/object x", "line 1: tags are not supported"},
    {"a: !!binary aGFsbG8=", "line 1: tags are not supported"},
    {"a: !!set {x}", "line 1: tags are not supported"},
    {"a: &a [*a]", "nested too deeply"},
    {"a: {<<: 5}", "<< takes a mapping"},
    {"a: \"\xff\"", "a.yaml:1: not YAML"},
    {"\"a\\0b\": 1", "a key must not hold NUL"},
};

static void broken_yaml_is_refused(void **state)
{
  (void)state;
  for (size_t i = 0; i < ARRAY_SIZE(broken); i++) {
    struct manifests m = {0};
    struct err err = ERR_INIT;
    if (parse(broken[i].yaml, &m, &err) == 0)
      fail_msg("accepted: %s", broken[i].yaml);
    assert_contains(err.message, broken[i].message);
    manifests_release(&m);
  }
  struct manifests m = {0};
  struct err err = ERR_INIT;
  assert_int_equal(manifests_parse_json("{\"a\":\n[}", 8, "a.json", &m, &err), -1);
  assert_contains(err.message, "a.json:2: not JSON");
  assert_int_equal(manifests_parse_json("{\"a\":1", 6, "a.json", &m, &err), -1);
  assert_contains(err.message, "ends too early");
  manifests_release(&m);
}

static void refuse_text(const struct buf *text, const char *message)
{
  struct manifests m = {0};
  struct err err = ERR_INIT;
  assert_true(buf_ok(text));
  assert_int_equal(manifests_parse_yaml(buf_str(text), text->length, "b", &m, &err), -1);
  assert_int_equal(err.kind, ERR_LIMIT);
  assert_contains(err.message, message);
  manifests_release(&m);
}

// A kilobyte that would become a billion values; one that would become 2 MB of text; nesting.
static void bombs_are_refused(void **state)
{
  (void)state;
  struct buf text CLEANUP(buf_release) = BUF_INIT(4u << 20);
  buf_adds(&text, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
  for (int i = 1; i < 9; i++) {
    buf_printf(&text, "a%d: &a%d [", i, i);
    for (int j = 0; j < 10; j++)
      buf_printf(&text, "*a%d, ", i - 1);
    buf_adds(&text, "]\n");
  }
  int64_t start_ms = clock_ms();
  refuse_text(&text, "too many values");
  assert_true(clock_ms() - start_ms < 5000);
  buf_clear(&text);
  buf_adds(&text, "a: &a \"");
  for (int i = 0; i < 20000; i++)
    buf_addc(&text, 'x');
  buf_adds(&text, "\"\nb: [");
  for (int i = 0; i < 100; i++)
    buf_adds(&text, "*a, ");
  buf_adds(&text, "]");
  refuse_text(&text, "over the limit of 1 MiB");
  buf_clear(&text);
  for (int i = 0; i < 100; i++)
    buf_adds(&text, "[");
  for (int i = 0; i < 100; i++)
    buf_adds(&text, "]");
  refuse_text(&text, "nested too deeply");
}

// ---- files ----------------------------------------------------------------------------------

static char folder[] = "/tmp/drover-manifest-XXXXXX";

static void write_file(const char *name, const char *text)
{
  char path[200];
  snprintf(path, sizeof(path), "%s/%s", folder, name);
  FILE *f cleanup_fclose = fopen(path, "w");
  assert_non_null(f);
  fputs(text, f);
}

static void remove_file(const char *name)
{
  char path[200];
  snprintf(path, sizeof(path), "%s/%s", folder, name);
  assert_int_equal(unlink(path), 0);
}

static void reads_folders_in_order(void **state)
{
  (void)state;
  assert_non_null(mkdtemp(folder));
  write_file("b.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: team}\n---\n"
                       "apiVersion: drover.dev/v1alpha1\nkind: ImageStore\nmetadata: {name: s}\n"
                       "spec: {file: {path: /a}}\n");
  write_file("a.json", "{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[{\"apiVersion\":\"v1\","
                       "\"kind\":\"Secret\",\"metadata\":{\"name\":\"x\"},\"data\":{\"k\":"
                       "\"aGFsbG8=\"}},{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":"
                       "{\"name\":\"y\"},\"data\":{\"k\":\"v\"}}]}");
  write_file(".hidden.yaml", "broken: [");
  write_file("notes.txt", "broken: [");
  struct manifests m = {0};
  struct err err = ERR_INIT;
  assert_ok(manifests_read(folder, &m, &err), &err);
  assert_int_equal(m.count, 3);
  assert_true(str_ends(m.items[0].file, "/a.json"));
  assert_int_equal(m.items[2].line, 5);
  assert_int_equal(m.notes.count, 1);
  assert_contains(m.notes.items[0], "b.yaml:1: Namespace team is left out");
  manifests_release(&m);
  write_file("c.yml", "# x\napiVersion: drover.dev/v1alpha1\nkind: ImageStore\n"
                      "metadata: {name: s}\nspec: {fiel: {path: /a}}\n");
  assert_int_equal(manifests_read(folder, &m, &err), -1);
  assert_contains(err.message, "c.yml:2: spec: unknown field 'fiel', did you mean 'file'?");
  manifests_release(&m);
  static const char *const names[] = {"a.json", "b.yaml", "c.yml", ".hidden.yaml", "notes.txt"};
  for (size_t i = 0; i < ARRAY_SIZE(names); i++)
    remove_file(names[i]);
  assert_int_equal(manifests_read(folder, &m, &err), -1);
  assert_int_equal(err.kind, ERR_NOT_FOUND);
  assert_int_equal(rmdir(folder), 0);
  assert_int_equal(manifests_read(folder, &m, &err), -1);
  assert_int_equal(err.kind, ERR_NOT_FOUND);
}

static const struct {
  const char *yaml;
  const char *message;
} refused[] = {
    {"{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {password: geheim}}",
     "data.password: is not base64"},
    {"{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {pin: 1234}}",
     "stringData.pin: must be a string: quote it"},
    {"{apiVersion: v1, kind: Secret, metadata: {name: s}, stringdata: {pin: a}}",
     "unknown field 'stringdata'"},
    {"{apiVersion: v1, kind: Secret, metadata: {}, stringData: {pin: a}}",
     "metadata.name: is required"},
    {"{apiVersion: v1, kind: ConfigMap, metadata: {name: s}, data: [a]}",
     "data: must be an object"},
    {"{apiVersion: apps/v1, kind: Deployment, metadata: {name: s}}", "Deployment of apps/v1"},
    {"[1, 2]", "an object was expected"},
    {"just text", "an object was expected"},
};

static void refuses_other_things_and_keeps_secrets(void **state)
{
  (void)state;
  for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
    struct manifests m = {0};
    struct err err = ERR_INIT;
    bool ignore;
    assert_ok(parse(refused[i].yaml, &m, &err), &err);
    if (manifest_check(m.items[0].json, &ignore, &err) == 0)
      fail_msg("accepted: %s", refused[i].yaml);
    assert_contains(err.message, refused[i].message);
    assert_null(strstr(err.message, "geheim"));
    assert_null(strstr(err.message, "1234"));
    manifests_release(&m);
  }
}

static void samples_are_fine(void **state)
{
  (void)state;
  struct manifests m = {0};
  struct err err = ERR_INIT;
  assert_ok(manifests_read(SOURCE_DIR "/deploy/samples", &m, &err), &err);
  assert_true(m.count >= 10);
  assert_int_equal(m.notes.count, 0);
  manifests_release(&m);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(scalars_are_what_kubernetes_reads),
      cmocka_unit_test(anchors_and_merges),
      cmocka_unit_test(documents_know_their_lines),
      cmocka_unit_test(broken_yaml_is_refused),
      cmocka_unit_test(bombs_are_refused),
      cmocka_unit_test(reads_folders_in_order),
      cmocka_unit_test(refuses_other_things_and_keeps_secrets),
      cmocka_unit_test(samples_are_fine),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
