// SPDX-License-Identifier: Apache-2.0
#include "base/command.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "tests/unit/unit.h"

#define SHELL(text) ((const char *const[]){"sh", "-c", text, NULL})

static void gives_output_and_status(void **state)
{
  (void)state;
  struct err err = ERR_INIT;
  struct command_result r CLEANUP(command_result_release) = {0};
  struct command c = {.argv = SHELL("printf 'a\\0b'; echo bad >&2; exit 7")};
  assert_ok(command_run(&c, &r, &err), &err);
  assert_int_equal(r.exit_status, 7);
  assert_int_equal(r.output_length, 3);
  assert_memory_equal(r.output, "a\0b", 4);
  assert_string_equal(r.errors, "bad\n");
  assert_int_equal(r.signal_number, 0);
}

static void check_wants_success(void **state)
{
  (void)state;
  struct err err = ERR_INIT;
  struct command_result r = {0};
  struct command c = {.argv = SHELL("echo first >&2; echo 'no such pool' >&2; exit 3")};
  assert_int_equal(command_check(&c, &r, &err), -1);
  assert_string_equal(err.message, "sh failed with status 3: no such pool");
  assert_null(r.output);
  c.argv = SHELL("kill -9 $$");
  assert_int_equal(command_check(&c, &r, &err), -1);
  assert_string_equal(err.message, "sh was ended by signal 9");
  c.argv = (const char *const[]){"drover-no-such-program", NULL};
  assert_int_equal(command_run(&c, &r, &err), -1);
  assert_int_equal(err.kind, ERR_NOT_FOUND);
  c.argv = (const char *const[]){"/etc/passwd", NULL};
  assert_int_equal(command_run(&c, &r, &err), -1);
  assert_int_equal(err.kind, ERR_DENIED);
}

// More than a pipe holds, in both directions at once; and a child that does not want its input.
static void feeds_input(void **state)
{
  (void)state;
  static char input[1 << 20];
  memset(input, 'x', sizeof(input));
  struct err err = ERR_INIT;
  struct command_result r = {0};
  struct command c = {.argv = SHELL("cat"), .input = input, .input_length = sizeof(input)};
  assert_ok(command_run(&c, &r, &err), &err);
  assert_int_equal(r.output_length, sizeof(input));
  assert_memory_equal(r.output, input, sizeof(input));
  command_result_release(&r);
  c.argv = SHELL("exec <&-; echo done");
  assert_ok(command_run(&c, &r, &err), &err);
  assert_string_equal(r.output, "done\n");
  command_result_release(&r);
  c = (struct command){.argv = SHELL("cat"), .input = "", .input_length = 0};
  assert_ok(command_run(&c, &r, &err), &err);
  assert_int_equal(r.output_length, 0);
  command_result_release(&r);
  c = (struct command){.argv = SHELL("cat")};
  assert_ok(command_run(&c, &r, &err), &err);
  command_result_release(&r);
}

static void an_empty_world(void **state)
{
  (void)state;
  setenv("DROVER_TEST_SECRET", "geheim", 1);
  int leak = open("/dev/null", O_RDONLY);
  assert_int_equal(dup2(leak, 77), 77); // without close-on-exec, as a careless library leaves it
  struct err err = ERR_INIT;
  struct command_result r CLEANUP(command_result_release) = {0};
  struct command c = {.argv = SHELL("env | grep -v '^_=\\|^PWD=\\|^SHLVL='; ls /proc/self/fd; "
                                    "grep SigIgn /proc/self/status"),
                      .env = (const char *const[]){"EXTRA=1", NULL}};
  assert_ok(command_check(&c, &r, &err), &err);
  assert_contains(r.output, "EXTRA=1\n");
  assert_contains(r.output, "LANG=C.UTF-8\n");
  assert_contains(r.output, "PATH=");
  assert_null(strstr(r.output, "geheim"));
  assert_contains(r.output, "\n0\n1\n2\n3\nSigIgn"); // 3 is ls's own
  assert_contains(r.output, "SigIgn:\t0000000000000000");
  close(77);
  close(leak);
}

static void limits_hold(void **state)
{
  (void)state;
  struct err err = ERR_INIT;
  struct command_result r = {0};
  struct command c = {.argv = SHELL("yes"), .output_max = 100000};
  assert_int_equal(command_run(&c, &r, &err), -1);
  assert_int_equal(err.kind, ERR_LIMIT);
  assert_null(r.output);
}

static void time_is_limited(void **state)
{
  (void)state;
  // The last closes what is read from it, and a grandchild of the second keeps it open.
  static const char *const scripts[] = {"sleep 60", "sleep 60 & sleep 60",
                                        "exec >&- 2>&-; sleep 60"};
  for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
    struct err err = ERR_INIT;
    struct command_result r = {0};
    struct command c = {.argv = SHELL(scripts[i]), .timeout_ms = 150};
    int64_t start_ms = clock_ms();
    assert_int_equal(command_run(&c, &r, &err), -1);
    assert_int_equal(err.kind, ERR_TIMEOUT);
    int64_t took_ms = clock_ms() - start_ms;
    assert_true(took_ms >= 150 && took_ms < 5000);
  }
}

static void *cancel_soon(void *arg)
{
  struct timespec pause = {.tv_nsec = 50000000};
  nanosleep(&pause, NULL);
  __atomic_store_n((volatile bool *)arg, true, __ATOMIC_RELAXED);
  return NULL;
}

static void cancel_stops_it(void **state)
{
  (void)state;
  static volatile bool cancel;
  pthread_t thread;
  struct err err = ERR_INIT;
  struct command_result r = {0};
  struct command c = {.argv = SHELL("sleep 60"), .cancel = &cancel};
  pthread_create(&thread, NULL, cancel_soon, (void *)&cancel);
  int64_t start_ms = clock_ms();
  assert_int_equal(command_run(&c, &r, &err), -1);
  assert_int_equal(err.kind, ERR_CANCELLED);
  assert_true(clock_ms() - start_ms < 5000);
  pthread_join(thread, NULL);
}

static bool is_gone(pid_t pid)
{
  return kill(pid, 0) != 0 && errno == ESRCH;
}

static void children_talk(void **state)
{
  (void)state;
  struct err err = ERR_INIT;
  int secret[2];
  assert_int_equal(pipe(secret), 0);
  assert_int_equal(write(secret[1], "pw\n", 3), 3);
  close(secret[1]);
  struct command_start start = {.argv = SHELL("read a; read b <&3; echo $a-$b; sleep 60"),
                                .want_input = true,
                                .fds = (const int[]){secret[0]},
                                .fd_count = 1};
  struct command_child child;
  assert_ok(command_start(&start, &child, &err), &err);
  close(secret[0]);
  assert_int_equal(write(child.input, "hello\n", 6), 6);
  char line[32] = "";
  assert_int_equal(read(child.output, line, sizeof(line) - 1), 9);
  assert_string_equal(line, "hello-pw\n");
  struct command_result r = {0};
  pid_t pid = child.pid;
  command_reap(&child, true, &r);
  assert_int_equal(r.signal_number, SIGKILL);
  assert_int_equal(r.exit_status, -1);
  assert_true(is_gone(pid));
  assert_int_equal(child.output, -1);
}

// A child dies with the thread that started it.
static void *start_and_end(void *arg)
{
  struct err err = ERR_INIT;
  struct command_start start = {.argv = SHELL("sleep 60")};
  assert_ok(command_start(&start, arg, &err), &err);
  return NULL;
}

static void children_die_with_their_thread(void **state)
{
  (void)state;
  struct command_child child;
  pthread_t thread;
  pthread_create(&thread, NULL, start_and_end, &child);
  pthread_join(thread, NULL);
  struct command_result r = {0};
  command_reap(&child, false, &r); // would wait a minute
  assert_int_equal(r.signal_number, SIGKILL);
}

static int fake(void *arg, const struct command *c, struct command_result *ret, struct err *err)
{
  (void)err;
  *(const char **)arg = c->argv[1];
  ret->output = strdup("faked");
  return 0;
}

static void tests_can_answer_themselves(void **state)
{
  (void)state;
  const char *seen = NULL;
  struct err err = ERR_INIT;
  struct command_result r CLEANUP(command_result_release) = {0};
  command_set_fake(fake, &seen);
  struct command c = {.argv = (const char *const[]){"rm", "-rf", NULL}};
  assert_ok(command_check(&c, &r, &err), &err);
  command_set_fake(NULL, NULL);
  assert_string_equal(seen, "-rf");
  assert_string_equal(r.output, "faked");
}

int main(void)
{
  signal(SIGPIPE, SIG_IGN); // as main() does
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gives_output_and_status),
      cmocka_unit_test(check_wants_success),
      cmocka_unit_test(feeds_input),
      cmocka_unit_test(an_empty_world),
      cmocka_unit_test(limits_hold),
      cmocka_unit_test(time_is_limited),
      cmocka_unit_test(cancel_stops_it),
      cmocka_unit_test(children_talk),
      cmocka_unit_test(children_die_with_their_thread),
      cmocka_unit_test(tests_can_answer_themselves),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
