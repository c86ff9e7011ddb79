// SPDX-License-Identifier: Apache-2.0
// Child processes, by argv only: no shell. Two ways:
//
//   command_run()    waits for the end, feeds standard input, captures output up to a limit;
//   command_start()  gives a running child with pipes; the caller reads, then command_reap().
//
// A child starts with an environment of its own (PATH, HOME, LANG=C.UTF-8 and what `env` adds),
// default signal handlers, no descriptor but 0, 1, 2 and those in `fds`, and dies with the thread
// that started it (PR_SET_PDEATHSIG; so start long-lived children from threads that stay).
// Secrets go through `input` or `fds`, never through argv or the environment.
// The process must ignore SIGPIPE: a child need not take all of its input.
//
// command_set_fake() lets a test answer instead of running anything, and see every argv.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct command {
  const char *const *argv; // NULL-terminated; argv[0] is looked up in PATH
  const char *const *env;  // more "NAME=value", NULL-terminated; may be NULL
  const void *input;       // standard input; NULL = /dev/null
  size_t input_length;
  int64_t timeout_ms;          // 0 = none; then the child and its group are killed
  size_t output_max;           // most bytes captured of each stream; 0 = LIMIT_COMMAND_OUTPUT_BYTES
  const volatile bool *cancel; // when it turns true the child is killed within 100 ms; may be NULL
};

struct command_result {
  char *output; // standard output, NUL-terminated; yours: command_result_release()
  size_t output_length;
  char *errors; // standard error
  size_t errors_length;
  int exit_status;   // 0..255, or -1 when a signal ended it
  int signal_number; // 0 when it exited
};

// 0 when the child could be run and ended, whatever its exit status. Errors: not found
// (ERR_NOT_FOUND), time-out (ERR_TIMEOUT), output over the limit (ERR_LIMIT), cancelled
// (ERR_CANCELLED).
int command_run(const struct command *c, struct command_result *ret, struct err *err);
// The same, but an exit status other than 0 is an error too, with the last line of standard error.
int command_check(const struct command *c, struct command_result *ret, struct err *err);
void command_result_release(struct command_result *r);

struct command_child {
  pid_t pid;
  int input;  // write end of the child's standard input, -1 when not wanted
  int output; // read end of its standard output
  int errors; // read end of its standard error; -1 when it shares ours
};

struct command_start {
  const char *const *argv;
  const char *const *env;
  bool want_input;   // else /dev/null
  bool share_errors; // standard error is ours
  const int *fds;    // descriptors to pass on; fds[i] becomes descriptor 3 + i
  size_t fd_count;   // at most 8
};

int command_start(const struct command_start *c, struct command_child *ret, struct err *err);
// Waits for the end and fills exit_status and signal_number alone. Closes the pipes. kill_first
// sends SIGKILL to the child's process group before.
void command_reap(struct command_child *child, bool kill_first, struct command_result *ret);

// Tests only: fn answers every command_run() from then on (NULL = real children again).
typedef int (*command_fake_fn)(void *arg, const struct command *c, struct command_result *ret,
                               struct err *err);
void command_set_fake(command_fake_fn fn, void *arg);
