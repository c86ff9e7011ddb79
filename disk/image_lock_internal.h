// SPDX-License-Identifier: Apache-2.0
// QEMU's image lock, so that nobody reads the disk of a running machine or writes a disk that
// somebody reads. QEMU keeps it as open-file-description locks on single bytes of the image: byte
// 100 + n is held (shared) by who uses permission n, byte 200 + n by who does not allow others
// permission n; everyone takes all locks first and then tests for the opposite ones (QEMU,
// block/file-posix.c and include/block/block-common.h: consistent read 0, write 1, resize 3).
//
// The lock lasts until the descriptor is closed. Where the file system knows no such locks (some
// network ones) nothing is locked and the call succeeds, as in QEMU.
#pragma once

#include <stdbool.h>

#include "base/err.h"

// ERR_BUSY when another process uses the image in a way that does not go together with ours.
int image_lock(int fd, const char *path, bool for_writing, struct err *err);
