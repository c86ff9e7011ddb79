// SPDX-License-Identifier: Apache-2.0
// The commands of the program. Each takes the words from its own name on (argv[0] = "copy") and
// returns the exit status: 0 done, 1 the thing asked about is not so, 2 wrong use, 3 failed,
// 130 interrupted.
#pragma once

#include "base/err.h"

enum {
  EXIT_DONE = 0,
  EXIT_NOT_SO = 1,
  EXIT_WRONG_USE = 2,
  EXIT_FAILED = 3,
  EXIT_INTERRUPTED = 130
};

int cmd_controller(int argc, char **argv);
int cmd_copy(int argc, char **argv);
int cmd_digest(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_get(int argc, char **argv);
int cmd_describe(int argc, char **argv);
int cmd_watch(int argc, char **argv);
int cmd_cancel(int argc, char **argv);
int cmd_retry(int argc, char **argv);
int cmd_suspend(int argc, char **argv);
int cmd_delete(int argc, char **argv);
int cmd_start(int argc, char **argv);
int cmd_stop(int argc, char **argv);
int cmd_scale(int argc, char **argv);
int cmd_exec(int argc, char **argv);
int cmd_console(int argc, char **argv);
int cmd_cp(int argc, char **argv);
int cmd_snapshot(int argc, char **argv);
int cmd_rollback(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_version(int argc, char **argv);

// "drover NAME: message" on standard error. Returns EXIT_WRONG_USE for ERR_INVALID, else
// EXIT_FAILED.
int command_failed(const char *name, const struct err *err);
