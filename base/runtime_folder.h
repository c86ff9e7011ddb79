// SPDX-License-Identifier: Apache-2.0
// Private folders for sockets, and for what other programs insist on reading from files: ssh keys,
// certificates. All lie in one folder for each process (mode 0700), under DROVER_RUNTIME_DIR,
// XDG_RUNTIME_DIR/drover, /run/drover (root) or /tmp/drover-UID. The process holds a lock in its
// own; the next process of drover that makes one removes those whose lock nobody holds: what a
// killed process left. An ordinary end removes it at once. Any thread.
#pragma once

#include <stddef.h>

#include "base/err.h"

// No path of such a folder is longer, with its final NUL: a socket in it fits into sockaddr_un.
#define RUNTIME_FOLDER_MAX 88

// Makes an empty one; *ret is yours: runtime_folder_remove().
int runtime_folder_new(char **ret, struct err *err);
// One that stays when processes end, for all of this user: "NAME" below the same place. It is not
// made, but its parent is. *ret is yours.
int runtime_folder_lasting(const char *name, char **ret, struct err *err);
void runtime_folder_remove(char *path); // with content; frees the string; NULL allowed
int runtime_folder_write(const char *dir, const char *name, int mode, const void *bytes,
                         size_t length, struct err *err);
