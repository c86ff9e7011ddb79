// SPDX-License-Identifier: Apache-2.0
#include "base/launch.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "tests/unit/unit.h"

#define SHELL(text) ((const char *const[]){"sh", "-c", text, NULL})

static char folder[] = "/tmp/drover-launch.XXXXXX";
static char log_path[64], pid_path[64];

static int set_up(void **state)
{
  (void)state;
  if (!mkdtemp(folder))
    return -1;
  snprintf(log_path, sizeof(log_path), "%s/log", folder);
  snprintf(pid_path, sizeof(pid_path), "%s/pid", folder);
  return 0;
}

static int tear_down(void **state)
{
  (void)state;
  unlink(log_path);
  unlink(pid_path);
  return rmdir(folder);
}

static bool file_is(const char *path, const char *text)
{
  char b[256] = "";
  cleanup_fclose FILE *f = fopen(path, "re");
  size_t n = f ? fread(b, 1, sizeof(b) - 1, f) : 0;
  b[n] = '\0';
  return str_eq(b, text);
}

static void ends_by_signal(void **state)
{
  (void)state;
  struct err err = ERR_INIT;
  struct launched p;
  struct launch l = {.argv = SHELL("exec sleep 600"), .log_path = log_path};
  assert_ok(launch(&l, &p, &err), &err);
  assert_true(launch_alive(&p));
  assert_int_equal(getsid(p.pid), p.pid); // a session of its own
  assert_ok(launch_signal(&p, SIGKILL, &err), &err);
  assert_soon(!launch_alive(&p));
  assert_int_equal(waitpid(p.pid, NULL, WNOHANG), -1); // no remains
  assert_ok(launch_signal(&p, SIGKILL, &err), &err);   // gone already
}

// Another process with that pid is not taken for it, and gets no signal.
static void knows_a_reused_pid(void **state)
{
  (void)state;
  struct err err = ERR_INIT;
  struct launched p;
  struct launch l = {.argv = SHELL("exec sleep 600"), .log_path = log_path};
  assert_ok(launch(&l, &p, &err), &err);
  struct launched before = {.pid = p.pid, .start_ticks = p.start_ticks - 1};
  assert_false(launch_alive(&before));
  assert_ok(launch_signal(&before, SIGKILL, &err), &err);
  assert_true(launch_alive(&p));
  assert_int_equal(launch_start_ticks(p.pid), p.start_ticks);
  assert_ok(launch_signal(&p, SIGKILL, &err), &err);
  assert_soon(!launch_alive(&p));
}

static void writes_its_pid_and_log(void **state)
{
  (void)state;
  struct err err = ERR_INIT;
  struct launched p;
  char pid[16];
  fclose(fopen(pid_path, "we"));
  struct launch l = {.argv = SHELL("echo out; echo errors >&2; echo $ONE"),
                     .env = (const char *const[]){"ONE=two", NULL},
                     .log_path = log_path,
                     .join = (const char *const[]){pid_path, NULL}};
  assert_ok(launch(&l, &p, &err), &err);
  snprintf(pid, sizeof(pid), "%d", p.pid);
  assert_true(file_is(pid_path, pid));
  assert_soon(!launch_alive(&p));
  assert_true(file_is(log_path, "out\nerrors\ntwo\n"));
}

static void outlives_its_starter(void **state)
{
  (void)state;
  int pipes[2];
  struct launched p = {0};
  assert_int_equal(pipe(pipes), 0);
  pid_t starter = fork();
  if (starter == 0) {
    struct launch l = {.argv = SHELL("exec sleep 600"), .log_path = log_path};
    bool told = launch(&l, &p, NULL) == 0 && write(pipes[1], &p, sizeof(p)) == sizeof(p);
    _exit(told ? 0 : 1);
  }
  assert_int_equal(read(pipes[0], &p, sizeof(p)), sizeof(p));
  assert_int_equal(waitpid(starter, NULL, 0), starter);
  assert_true(launch_alive(&p));
  assert_int_equal(launch_signal(&p, SIGKILL, NULL), 0);
  assert_soon(!launch_alive(&p));
  close(pipes[0]);
  close(pipes[1]);
}

static void fails_clearly(void **state)
{
  (void)state;
  struct err err = ERR_INIT;
  struct launched p;
  struct launch none = {.argv = (const char *const[]){"there-is-no-such-program", NULL},
                        .log_path = log_path};
  assert_int_equal(launch(&none, &p, &err), -1);
  assert_int_equal(err.kind, ERR_NOT_FOUND);
  assert_contains(err.message, "'there-is-no-such-program' is not installed");
  struct launch unjoined = {.argv = SHELL("true"),
                            .log_path = log_path,
                            .join = (const char *const[]){"/nowhere/cgroup.procs", NULL}};
  assert_int_equal(launch(&unjoined, &p, &err), -1);
  struct launched nobody = {0};
  assert_false(launch_alive(&nobody));
  assert_int_equal(launch_start_ticks(0), 0);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ends_by_signal),         cmocka_unit_test(knows_a_reused_pid),
      cmocka_unit_test(writes_its_pid_and_log), cmocka_unit_test(outlives_its_starter),
      cmocka_unit_test(fails_clearly),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
