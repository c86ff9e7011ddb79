// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "controller/keeping.h"
#include "controller/state_command.h"
#include "tests/unit/unit.h"

static char path[] = "/tmp/drover-kubeconfig-XXXXXX";

static const char kubeconfig[] =
    "apiVersion: v1\nkind: Config\ncurrent-context: here\n"
    "clusters:\n- name: c\n  cluster: {server: 'https://127.0.0.1:1'}\n"
    "contexts:\n- name: here\n  context: {cluster: c, namespace: team}\n"
    "- name: plain\n  context: {cluster: c}\n";

struct arguments {
  struct state_arguments common;
};

static const struct option rows[] = {WHERE_OPTIONS(arguments)};
static const struct options options = {
    .name = "try", .usage = "", .summary = "", OPTIONS_ROWS(rows), .operands_max = 2};

static int write_config(void **state)
{
  (void)state;
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, kubeconfig, strlen(kubeconfig)), (ssize_t)strlen(kubeconfig));
  close(fd);
  setenv("KUBECONFIG", path, 1);
  return 0;
}

static int remove_config(void **state)
{
  (void)state;
  return unlink(path);
}

struct wanted {
  bool cluster;
  const char *ns; // NULL: refused
  const char *refusal;
};

static void check(int argc, char **argv, const struct wanted *want)
{
  struct arguments a = {0};
  struct option_values operands = {0};
  struct err err = ERR_INIT;
  int rc = state_parse(&options, argc, argv, &a, &a.common, &operands, &err);
  assert_int_equal(rc, want->ns ? OPTIONS_PARSED : -1);
  if (want->ns) {
    assert_int_equal(a.common.cluster, want->cluster);
    assert_string_equal(state_namespace(&a.common), want->ns);
  } else {
    assert_non_null(strstr(err.message, want->refusal));
  }
  state_release(&a.common);
  option_values_release(&operands);
}

// In this order: the last rows are of the program called as kubectl-drover.
static void test_where(void **state)
{
  (void)state;
  static const struct {
    bool plugin;
    const char *argv[7];
    struct wanted want;
  } table[] = {
      {false, {"try"}, {false, "default", NULL}},
      {false, {"try", "-n", "x"}, {false, "x", NULL}},
      {false, {"try", "--state", "f"}, {false, "default", NULL}},
      {false, {"try", "--kubeconfig", path}, {true, "team", NULL}},
      {false, {"try", "--kubeconfig", path, "-n", "x"}, {true, "x", NULL}},
      {false, {"try", "--context", "plain"}, {true, "default", NULL}},
      {false, {"try", "--context", "here"}, {true, "team", NULL}},
      {false, {"try", "--context", "nope"}, {.refusal = "there is no context 'nope'"}},
      {false, {"try", "--kubeconfig", "/nowhere/config"}, {.refusal = "/nowhere/config"}},
      {false,
       {"try", "--state", "f", "--kubeconfig", path},
       {.refusal = "--state and --kubeconfig exclude each other"}},
      {false,
       {"try", "--context", "here", "--state", "f"},
       {.refusal = "--state and --context exclude each other"}},
      {true, {"try"}, {true, "team", NULL}},
      {true, {"try", "--context", "plain"}, {true, "default", NULL}},
      {true, {"try", "--state", "f"}, {false, "default", NULL}},
      {true, {"try", "--state", "f", "--context", "here"}, {.refusal = "exclude each other"}},
  };
  for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
    char *argv[8] = {0};
    int argc = 0;
    memcpy(argv, table[i].argv, sizeof(table[i].argv));
    while (argv[argc])
      argc++;
    if (table[i].plugin)
      state_prefer_cluster();
    check(argc, argv, &table[i].want);
  }
}

static void test_marks(void **state)
{
  (void)state;
  char ns[] = "team", name[] = "web-0", uid[] = "u-1";
  const struct object o = {.meta = {.ns = ns, .name = name, .uid = uid}};
  assert_true(keeping_mark_is_of("inst/team/web-0/u-1/abcd", &o));
  const char *const others[] = {NULL,
                                "",
                                "inst",
                                "inst/team/web-0/u-12/abcd",
                                "inst/team/web-0/u-2/abcd",
                                "inst/team/web-01/u-1/abcd",
                                "inst/other/web-0/u-1/abcd",
                                "team/web-0/u-1/abcd"};
  for (size_t i = 0; i < ARRAY_SIZE(others); i++)
    assert_false(keeping_mark_is_of(others[i], &o));
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_where),
      cmocka_unit_test(test_marks),
  };
  return cmocka_run_group_tests(tests, write_config, remove_config);
}
