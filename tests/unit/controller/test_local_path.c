// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/field.h"
#include "base/str.h"
#include "controller/local_path.h"
#include "tests/unit/unit.h"

static char root[] = "/tmp/drover-local-XXXXXX";

static void link_at(const char *to, const char *name)
{
  cleanup_free char *path = str_printf("%s/%s", root, name);
  assert_int_equal(symlink(to, path), 0);
}

static void folder_at(const char *name)
{
  cleanup_free char *path = str_printf("%s/%s", root, name);
  assert_int_equal(mkdir(path, 0700), 0);
}

static int build(void **state)
{
  (void)state;
  assert_non_null(mkdtemp(root));
  folder_at("open");
  folder_at("open/in");
  folder_at("open-evil");
  folder_at("closed");
  link_at("../closed", "open/out");
  link_at("out", "open/twice");
  link_at("nowhere", "open/dangling");
  link_at("loop", "open/loop");
  link_at("open", "alias");
  return 0;
}

static int clear(void **state)
{
  (void)state;
  cleanup_free char *command = str_printf("rm -r %s", root);
  return system(command);
}

static bool allows(const char *folder, const char *name)
{
  cleanup_free char *allowed = str_printf("%s/%s", root, folder);
  cleanup_free char *path = str_printf("%s/%s", root, name);
  struct strings list = {.items = &allowed, .count = 1};
  struct err err = ERR_INIT;
  if (local_path_check(&list, path, "spec.x", &err) == 0)
    return true;
  assert_int_equal(err.kind, ERR_DENIED);
  assert_true(str_starts(err.message, "spec.x names the local path '"));
  return false;
}

static void test_where_a_path_leads_is_what_counts(void **state)
{
  (void)state;
  static const struct {
    const char *allowed, *path;
    bool answer;
  } rows[] = {
      {"open", "open", true},          {"open", "open/", true},
      {"open", "open/in", true},       {"open", "open/not/yet", true},
      {"open/", "open/in", true},      {"open", "alias/in", true},
      {"alias", "open/in", true},      {"alias", "alias/in/x", true},
      {"open/in", "open", false},      {"open", "open-evil", false},
      {"open", "closed", false},       {"open", "open/out", false},
      {"open", "open/out/", false},    {"open", "open/out/not-yet", false},
      {"open", "open/twice", false},   {"open", "open/dangling", false},
      {"open", "open/loop", false},    {"open", "open/dangling/x", false},
      {"open", "open/../open", false}, {"open", "open/..", false},
      {"not-yet", "not-yet/in", true}, {"open/dangling", "open/dangling", false},
  };
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
    if (allows(rows[i].allowed, rows[i].path) != rows[i].answer)
      fail_msg("%s below %s: not %d", rows[i].path, rows[i].allowed, rows[i].answer);
}

static void test_root_and_nothing(void **state)
{
  (void)state;
  char *slash = (char[]){"/"};
  struct strings everything = {.items = &slash, .count = 1}, nothing = {0};
  struct err err = ERR_INIT;
  assert_int_equal(local_path_check(&everything, root, "x", &err), 0);
  assert_int_equal(local_path_check(&everything, "relative", "x", &err), -1);
  assert_int_equal(local_path_check(&nothing, root, "x", &err), -1);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_where_a_path_leads_is_what_counts),
      cmocka_unit_test(test_root_and_nothing),
  };
  return cmocka_run_group_tests(tests, build, clear);
}
