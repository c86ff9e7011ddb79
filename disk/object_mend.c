// SPDX-License-Identifier: Apache-2.0
// A mender of a local file. Blocks that are to be zeros become holes again.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "disk/fd_internal.h"
#include "disk/image_lock_internal.h"

#define STEP_BYTES (64u << 10)

struct file_mender {
  struct object_writer writer;
  char *path, *identity;
  int fd; // -1 before begin
};

static int mender_begin(struct object_writer *w, uint64_t size_bytes, struct err *err)
{
  struct file_mender *m = (struct file_mender *)w;
  char identity[160];
  uint64_t now_bytes;
  (void)size_bytes;
  m->fd = open(m->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (m->fd < 0)
    return err_errno(err, errno, "open %s", m->path);
  if (fd_disk_size(m->fd, m->path, &now_bytes, identity, err) != 0)
    return -1;
  if (!str_eq(identity, m->identity))
    return err_set(err, ERR_CHANGED, "%s changed while it was compared", m->path);
  return image_lock(m->fd, m->path, true, err);
}

static bool all_zeros(const char *bytes, size_t length)
{
  for (size_t i = 0; i < length; i++)
    if (bytes[i])
      return false;
  return true;
}

static int write_step(const struct file_mender *m, const char *bytes, size_t length,
                      uint64_t offset, struct err *err)
{
  const int hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  if (all_zeros(bytes, length) && fallocate(m->fd, hole, (off_t)offset, (off_t)length) == 0)
    return 0;
  return fd_write_all(m->fd, bytes, length, offset, m->path, err);
}

static int mender_write_part(struct object_writer *w, void *lane, uint32_t number, uint64_t offset,
                             const struct object_body *body, struct err *err)
{
  const struct file_mender *m = (const struct file_mender *)w;
  char step[STEP_BYTES];
  (void)lane, (void)number;
  for (uint64_t done = 0; done < body->length;) {
    uint64_t left = body->length - done;
    size_t n = left < STEP_BYTES ? (size_t)left : STEP_BYTES;
    if (object_body_read(body, done, step, n, err) != 0 ||
        write_step(m, step, n, offset + done, err) != 0)
      return -1;
    done += n;
  }
  return 0;
}

static int mender_commit(struct object_writer *w, struct err *err)
{
  const struct file_mender *m = (const struct file_mender *)w;
  if (ftruncate(m->fd, (off_t)w->size_bytes) != 0)
    return err_errno(err, errno, "set the length of %s", m->path);
  return fsync(m->fd) == 0 ? 0 : err_errno(err, errno, "fsync %s", m->path);
}

static int mender_abort(struct object_writer *w, struct err *err)
{
  (void)w, (void)err;
  return 0;
}

static void mender_free(struct object_writer *w)
{
  struct file_mender *m = (struct file_mender *)w;
  if (m->fd >= 0)
    close(m->fd);
  free(m->path);
  free(m->identity);
  free(m);
}

static const struct object_writer_ops mender_ops = {.name = "file",
                                                    .begin = mender_begin,
                                                    .write_part = mender_write_part,
                                                    .commit = mender_commit,
                                                    .abort = mender_abort,
                                                    .free = mender_free};

int object_mender_file(const char *path, const char *identity, struct object_writer **ret,
                       struct err *err)
{
  struct file_mender *m = calloc(1, sizeof(*m));
  if (!m)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  m->writer = (struct object_writer){.ops = &mender_ops, .in_place = true};
  m->fd = -1;
  m->path = str_dup(path);
  m->identity = str_dup(identity);
  if (!m->path || !m->identity) {
    mender_free(&m->writer);
    return err_set(err, ERR_NO_MEMORY, "no memory");
  }
  *ret = &m->writer;
  return 0;
}
