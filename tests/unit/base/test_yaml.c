// SPDX-License-Identifier: Apache-2.0
// YAML texts, and the JSON that they are or the sentence they are refused with.
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "base/yaml.h"
#include "tests/unit/unit.h"

static const struct {
  const char *yaml;
  const char *want; // JSON, or "!" and what the message holds
} rows[] = {
    {"a: 1\nb: [x, 'y', \"z\"]\n", "{\"a\":1,\"b\":[\"x\",\"y\",\"z\"]}"},
    {"[true, Yes, on, no, OFF, 'yes', y, N, ~, null, '']",
     "[true,true,true,false,false,\"yes\",true,false,null,null,\"\"]"},
    {"[0755, 0x1F, 0b11, 0o17, -5, +3, 0, 08, 1_000]", "[493,31,3,15,-5,3,0,8,1000]"},
    {"[1.5, -2e3, .5, 5., 1:20, 0755a, 0x, _1, 1Gi, 9223372036854775807, 18446744073709551615, "
     "1.2.3, 2024-01-01, -, e]",
     "[1.5,-2000,0.5,5,\"1:20\",\"0755a\",\"0x\",\"_1\",\"1Gi\",9223372036854775807,"
     "18446744073709551615,\"1.2.3\",\"2024-01-01\",\"-\",\"e\"]"},
    {"a: !!str 5\n", "{\"a\":\"5\"}"},
    {"a: |\n  one\n  two\nb: >-\n  three\n  four\n",
     "{\"a\":\"one\\ntwo\\n\",\"b\":\"three four\"}"},
    {"a: &x {k: 1}\nb: *x\n", "{\"a\":{\"k\":1},\"b\":{\"k\":1}}"},
    {"base: &b {x: 1, y: 2}\nd: {y: 3, <<: *b}\n",
     "{\"base\":{\"x\":1,\"y\":2},\"d\":{\"y\":3,\"x\":1}}"},
    {"d: {<<: [{x: 1}, {x: 2, z: 3}]}\n", "{\"d\":{\"x\":1,\"z\":3}}"},
    {"{\"a\":\"\\ud83d\\ude00\",\t\"b\":[1]}\n", "{\"a\":\"\xf0\x9f\x98\x80\",\"b\":[1]}"},
    {"%YAML 1.1\n---\na: 1\n...\n", "{\"a\":1}"},
    {"a: 1\na: 2\n", "!line 2: key 'a' is given twice"},
    {"{a: 1, a: 2}", "!key 'a' is given twice"},
    {"a: *missing\n", "!line 1: an alias to an anchor that is not there"},
    {"a: .inf\n", "!infinity"},
    {"a: !!python/object x\n", "!"},
    {"a: !own x\n", "!a tag"},
    {"? [a]\n: b\n", "!a key must be a string"},
    {"a: \"x\\0y\"\n", "!NUL"},
    {"a: [1, 2\nb: 3\n", "!line "},
    {"a:\n\t- b\n", "!line 2"},
    {"<<: 5\n", "!'<<' needs a map"},
    {"a: 1\n---\nb: 2\n", "!more than one document"},
    {"# nothing\n", "!an empty document"},
    {"\xff\xfe", "!"},
};

static void check(const char *yaml, const char *want, size_t row)
{
  struct err err = ERR_INIT;
  struct json_object *o = yaml_parse(yaml, strlen(yaml), &err);
  const char *got = o ? json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN) : "";
  if (*want == '!' ? o != NULL || !strstr(err.message, want + 1) : !str_eq(got, want))
    fail_msg("row %zu: %s %s / %s", row, got, err.message, want);
  json_object_put(o);
}

static void test_table(void **state)
{
  (void)state;
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
    check(rows[i].yaml, rows[i].want, i);
}

static void test_hostile(void **state)
{
  (void)state;
  struct buf deep CLEANUP(buf_release) = BUF_INIT(0);
  struct buf laughs CLEANUP(buf_release) = BUF_INIT(0);
  struct buf anchors CLEANUP(buf_release) = BUF_INIT(0);
  for (int i = 0; i < 1000; i++)
    buf_adds(&deep, "[");
  check(buf_str(&deep), "!nested too deeply", 0);
  buf_adds(&laughs, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
  for (int i = 1; i < 12; i++) {
    buf_printf(&laughs, "a%d: &a%d [", i, i);
    for (int k = 0; k < 10; k++)
      buf_printf(&laughs, "%s*a%d", k ? ", " : "", i - 1);
    buf_adds(&laughs, "]\n");
  }
  check(buf_str(&laughs), "!too many values", 0);
  buf_clear(&laughs);
  buf_adds(&laughs, "a: &a \"");
  for (int i = 0; i < 20000; i++)
    buf_addc(&laughs, 'x');
  buf_adds(&laughs, "\"\nb: [");
  for (int i = 0; i < 1000; i++)
    buf_adds(&laughs, "*a, ");
  buf_adds(&laughs, "]\n");
  check(buf_str(&laughs), "!too much text", 0);
  for (int i = 0; i < 300; i++)
    buf_printf(&anchors, "k%d: &a%d 1\n", i, i);
  check(buf_str(&anchors), "!too many anchors", 0);
}

static void test_documents(void **state)
{
  (void)state;
  static const char text[] = "# first\na: 1\n---\n---\nb: 2\n";
  struct err err = ERR_INIT;
  struct yaml_reader *r = yaml_open(text, sizeof(text) - 1, &err);
  struct json_object *o;
  int line;
  assert_int_equal(yaml_next(r, &o, &line, &err), 1);
  assert_string_equal(json_object_to_json_string(o), "{ \"a\": 1 }");
  json_object_put(o);
  assert_int_equal(yaml_next(r, &o, &line, &err), 1);
  assert_null(o);
  assert_int_equal(yaml_next(r, &o, &line, &err), 1);
  assert_int_equal(line, 4);
  json_object_put(o);
  assert_int_equal(yaml_next(r, &o, &line, &err), 0);
  assert_int_equal(yaml_next(r, &o, &line, &err), 0);
  yaml_close(r);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_table),
      cmocka_unit_test(test_hostile),
      cmocka_unit_test(test_documents),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
