// SPDX-License-Identifier: Apache-2.0
// tests/golden/wrong-*.yaml: each is refused, with its sentence and its path. The same files are
// put before a real API server by tests/integration/run-crds.
#include <stdio.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "base/yaml.h"
#include "crds/object.h"
#include "tests/unit/unit.h"

static const char *member(struct json_object *json, const char *name)
{
  return json_object_get_string(json_object_object_get(json, name));
}

static size_t read_golden(const char *name, char *content, size_t size)
{
  char path[512];
  snprintf(path, sizeof(path), "%s/tests/golden/%s", SOURCE_DIR, name);
  FILE *f cleanup_fclose = fopen(path, "r");
  assert_non_null(f);
  return fread(content, 1, size, f);
}

// 0 when drover would take it.
static int judge(struct json_object *test, struct err *err)
{
  struct json_object *first = json_object_object_get(test, "before");
  struct object *before = NULL;
  struct object *after = NULL;
  if (object_decode_strict(json_object_object_get(test, "object"), &after, err))
    return -1;
  int result = 0;
  if (first) {
    assert_ok(object_decode_strict(first, &before, err), err);
    result = object_check_update(before, after, err);
  }
  object_free(before);
  object_free(after);
  return result;
}

static void must_be_refused(struct json_object *test, int line)
{
  struct err err = ERR_INIT;
  const char *path = member(test, "path");
  const char *says = member(test, "says");
  if (judge(test, &err) == 0)
    fail_msg("line %d: accepted, but should say '%s'", line, says);
  assert_int_equal(err.kind, ERR_INVALID);
  char expected[1000];
  snprintf(expected, sizeof(expected), "%s%s%s", path, *path ? ": " : "", says);
  // A sentence that goes on with the pattern may stand without it in the file.
  bool as_expected = str_ends(says, "does not match")
                         ? str_starts(err.message, path) && strstr(err.message, says)
                         : str_starts(err.message, expected);
  if (!as_expected)
    fail_msg("line %d: '%s', not '%s'", line, err.message, expected);
}

static int refuse_all(const char *name)
{
  static char content[1 << 20];
  struct err err = ERR_INIT;
  struct yaml_reader *reader =
      yaml_open(content, read_golden(name, content, sizeof(content)), &err);
  struct json_object *test;
  int line;
  int count = 0;
  while (yaml_next(reader, &test, &line, &err) == 1) {
    if (test)
      must_be_refused(test, line);
    json_object_put(test);
    count++;
  }
  assert_string_equal(err.message, "");
  yaml_close(reader);
  return count;
}

static void every_one_is_refused(void **state)
{
  (void)state;
  assert_true(refuse_all("wrong-manifests.yaml") >= 80);
  assert_true(refuse_all("wrong-clones.yaml") >= 80);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_one_is_refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
