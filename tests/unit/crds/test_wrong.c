// SPDX-License-Identifier: Apache-2.0
// tests/golden/wrong-manifests.yaml: each is refused, with its sentence and its path. The same file
// is put before a real API server by tests/integration/run-crds.
#include <stdio.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "crds/manifest.h"
#include "crds/object.h"
#include "tests/unit/unit.h"

static const char *member(struct json_object *json, const char *name)
{
  return json_object_get_string(json_object_object_get(json, name));
}

static void read_golden(struct manifests *m)
{
  static const char path[] = SOURCE_DIR "/tests/golden/wrong-manifests.yaml";
  struct err err = ERR_INIT;
  FILE *f cleanup_fclose = fopen(path, "r");
  assert_non_null(f);
  static char content[1 << 20];
  size_t length = fread(content, 1, sizeof(content), f);
  assert_ok(manifests_parse_yaml(content, length, path, m, &err), &err);
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

static void every_one_is_refused(void **state)
{
  (void)state;
  struct manifests m = {0};
  read_golden(&m);
  assert_true(m.count >= 40);
  for (size_t i = 0; i < m.count; i++) {
    struct json_object *test = m.items[i].json;
    struct err err = ERR_INIT;
    if (judge(test, &err) == 0)
      fail_msg("line %zu: accepted, but should say '%s'", m.items[i].line, member(test, "says"));
    assert_int_equal(err.kind, ERR_INVALID);
    char expected[1000];
    const char *path = member(test, "path");
    snprintf(expected, sizeof(expected), "%s%s%s", path, *path ? ": " : "", member(test, "says"));
    // Where a sentence goes on with a pattern, the file may leave that out.
    if (!str_starts(err.message, expected) && !str_ends(expected, "does not match"))
      fail_msg("line %zu: '%s', not '%s'", m.items[i].line, err.message, expected);
    if (!str_starts(err.message, path))
      fail_msg("line %zu: '%s' does not begin with %s", m.items[i].line, err.message, path);
    assert_contains(err.message, member(test, "says"));
  }
  manifests_release(&m);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_one_is_refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
