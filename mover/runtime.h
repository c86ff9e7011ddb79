// SPDX-License-Identifier: Apache-2.0
// One private folder per process (base/runtime_folder.h) for sockets and the like, which vanishes
// with the process however that ends: a small second process waits for the end of the first and
// clears it away. Should both be killed, the next process of drover clears it. Everything that
// makes temporary names below TMPDIR (disk/) ends up in it.
#pragma once

#include "base/err.h"

struct runtime_dir {
  char *path;
  int keeper_fd; // its end tells the second process
  int keeper_pid;
};

// Before any thread is started. Sets TMPDIR.
int runtime_dir_open(struct runtime_dir *d, struct err *err);
// Removes the folder and all in it.
void runtime_dir_close(struct runtime_dir *d);
