// SPDX-License-Identifier: Apache-2.0
// Private folders for what other programs insist on reading from files: ssh keys, certificates.
// All lie in one folder for each process (mode 0700), under DROVER_RUNTIME_DIR,
// XDG_RUNTIME_DIR/drover, /run/drover (root) or /tmp/drover-UID. The process holds a lock in its
// own; the first one made removes those whose lock nobody holds: what a killed process left.
#pragma once

#include <stddef.h>

#include "base/err.h"

// Makes an empty one; *ret is yours: runtime_folder_remove().
int runtime_folder_new(char **ret, struct err *err);
void runtime_folder_remove(char *path); // with content; frees the string; NULL allowed
int runtime_folder_write(const char *dir, const char *name, int mode, const void *bytes,
                         size_t length, struct err *err);
