// SPDX-License-Identifier: Apache-2.0
// Whole reads and writes on descriptors of files and block devices. `name` is for messages.
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "disk/object.h"

// ERR_CHANGED when the file ends before length.
int fd_read_all(int fd, void *into, size_t length, uint64_t offset, const char *name,
                struct err *err);
int fd_write_all(int fd, const void *from, size_t length, uint64_t offset, const char *name,
                 struct err *err);
// Length of a regular file or block device, ERR_INVALID for everything else. identity: as in struct
// source; may be NULL.
int fd_disk_size(int fd, const char *name, uint64_t *ret_bytes, char identity[160],
                 struct err *err);
// Writing past the page cache, where the file system can: half the CPU, and nothing is left for
// fsync to do. Only whole pages go that way; everything else, and everything on other file systems,
// is written as usual.
struct fd_direct {
  _Atomic int fd; // -1 = not here
};
void fd_direct_open(struct fd_direct *d, const char *path);
void fd_direct_close(struct fd_direct *d);
int fd_direct_write(struct fd_direct *d, int fd, const void *from, size_t length, uint64_t offset,
                    const char *name, struct err *err);
// What of the first `size` bytes of a file is data (SEEK_DATA), appended to an empty map. -1: the
// file system does not tell, or no memory. In raw_source.c.
struct extents;
int fd_extents(int fd, uint64_t size, struct extents *ret);
int fd_sync_folder_of(const char *path, struct err *err);
// The descriptor of object_reader_file(), still owned by it; -1 for other readers.
int object_reader_file_fd(const struct object_reader *r);
