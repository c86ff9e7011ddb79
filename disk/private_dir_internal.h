// SPDX-License-Identifier: Apache-2.0
// A folder that only we can enter (0700), for unix sockets. Flat: what lies in it is removed with
// it. Its maker holds a lock on it as long as it lives; what a killed process left behind is
// removed when somebody makes the next one.
#pragma once

#include "base/err.h"

#define PRIVATE_DIR_MAX 64 // so that a socket's path fits into sockaddr_un

struct private_dir {
  char path[PRIVATE_DIR_MAX]; // "" = none
  int lock_fd;                // valid when there is a path
};

int private_dir_make(struct private_dir *d, struct err *err);
void private_dir_remove(struct private_dir *d); // none: nothing happens
