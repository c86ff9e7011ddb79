// SPDX-License-Identifier: Apache-2.0
#include "disk/image_lock_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { USES = 100, FORBIDS = 200 };
enum { CONSISTENT_READ = 0, WRITE = 1, RESIZE = 3 };

static const int reader_bytes[] = {USES + CONSISTENT_READ, FORBIDS + WRITE, FORBIDS + RESIZE};
static const int reader_tests[] = {FORBIDS + CONSISTENT_READ, USES + WRITE, USES + RESIZE};
static const int writer_bytes[] = {USES + CONSISTENT_READ, USES + WRITE, FORBIDS + WRITE,
                                   FORBIDS + RESIZE};
static const int writer_tests[] = {FORBIDS + CONSISTENT_READ, FORBIDS + WRITE, USES + WRITE,
                                   USES + RESIZE};

static struct flock byte_lock(int byte, short type)
{
  return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
}

static bool no_locks_here(int number)
{
  return number == ENOLCK || number == EINVAL || number == EOPNOTSUPP || number == ENOSYS;
}

static int busy(const char *path, struct err *err)
{
  return err_set(err, ERR_BUSY,
                 "%s is in use by another process (a running virtual machine?): shut it down, or "
                 "wait until it is free",
                 path);
}

int image_lock(int fd, const char *path, bool for_writing, struct err *err)
{
  const int *bytes = for_writing ? writer_bytes : reader_bytes;
  const int *tests = for_writing ? writer_tests : reader_tests;
  size_t byte_count = for_writing ? ARRAY_SIZE(writer_bytes) : ARRAY_SIZE(reader_bytes);
  size_t test_count = for_writing ? ARRAY_SIZE(writer_tests) : ARRAY_SIZE(reader_tests);
  for (size_t i = 0; i < byte_count; i++) {
    struct flock lock = byte_lock(bytes[i], F_RDLCK);
    if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
      continue;
    if (no_locks_here(errno))
      return 0;
    if (errno == EAGAIN || errno == EACCES)
      return busy(path, err);
    return err_errno(err, errno, "lock %s", path);
  }
  for (size_t i = 0; i < test_count; i++) {
    struct flock lock = byte_lock(tests[i], F_WRLCK);
    if (fcntl(fd, F_OFD_GETLK, &lock) != 0)
      return no_locks_here(errno) ? 0 : err_errno(err, errno, "test the lock of %s", path);
    if (lock.l_type != F_UNLCK)
      return busy(path, err);
  }
  return 0;
}
