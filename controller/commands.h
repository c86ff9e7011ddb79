// SPDX-License-Identifier: Apache-2.0
// The commands of the program. Each takes the words from its own name on (argv[0] = "copy") and
// returns the exit status: 0 done, 1 the thing asked about is not so, 2 wrong use, 3 failed.
#pragma once

#include "base/err.h"

enum { EXIT_DONE = 0, EXIT_NOT_SO = 1, EXIT_WRONG_USE = 2, EXIT_FAILED = 3 };

int cmd_controller(int argc, char **argv);
int cmd_copy(int argc, char **argv);
int cmd_digest(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_version(int argc, char **argv);

// "drover NAME: message" on standard error. Returns EXIT_WRONG_USE for ERR_INVALID, else
// EXIT_FAILED.
int command_failed(const char *name, const struct err *err);
