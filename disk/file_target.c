// SPDX-License-Identifier: Apache-2.0
// Raw files and block devices that exist already, written in place. QEMU's image lock keeps running
// machines away; a device that is mounted or otherwise in use is refused (O_EXCL).
#include "disk/file_target_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "disk/fd_internal.h"
#include "disk/image_lock_internal.h"

#define ZEROS_BYTES (1u << 20)

struct file_target {
  struct target target;
  char *path;
  int fd;
  struct fd_direct direct;
  bool device;
  char earlier[TARGET_STATE_BYTES]; // to go on with
  char state[TARGET_STATE_BYTES];
};

// A file is emptied at once, which costs little however full it was. A device may be slow to zero:
// it is done piece by piece.
static bool make_empty(const struct file_target *t)
{
  int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  return !t->device && t->target.size_bytes &&
         fallocate(t->fd, mode, 0, (off_t)t->target.size_bytes) == 0;
}

// Which file it is.
static void identity_of(const struct file_target *t, char ret[TARGET_STATE_BYTES])
{
  struct stat st = {0};
  fstat(t->fd, &st);
  snprintf(ret, TARGET_STATE_BYTES - 2, "%s:%llx:%llu:%llu", t->device ? "device" : "file",
           (unsigned long long)(t->device ? st.st_rdev : st.st_dev),
           (unsigned long long)(t->device ? 0 : st.st_ino),
           (unsigned long long)t->target.size_bytes);
}

static int file_begin(struct target *target, uint64_t size_bytes, const struct extents *e,
                      struct err *err)
{
  (void)e;
  struct file_target *t = (struct file_target *)target;
  char identity[TARGET_STATE_BYTES];
  identity_of(t, identity);
  if (target_take_up(target, identity, t->earlier)) {
    snprintf(t->state, sizeof(t->state), "%s", t->earlier);
    return 0;
  }
  if (!t->device && target->size_bytes < size_bytes) {
    if (ftruncate(t->fd, (off_t)size_bytes) != 0)
      return err_errno(err, errno, "set the length of %s", t->path);
    target->size_bytes = size_bytes;
  }
  target->zeroed = make_empty(t);
  identity_of(t, identity); // the size is part of it
  target_state_text(identity, target->zeroed, t->state);
  return 0;
}

static int file_write(struct target *target, void *lane, const void *from, size_t length,
                      uint64_t offset, struct err *err)
{
  (void)lane;
  struct file_target *t = (struct file_target *)target;
  return fd_direct_write(&t->direct, t->fd, from, length, offset, t->path, err);
}

static int write_zeros(struct file_target *t, uint64_t length, uint64_t offset, struct err *err)
{
  cleanup_free char *zeros = calloc(1, ZEROS_BYTES);
  if (!zeros)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  for (uint64_t done = 0; done < length; done += ZEROS_BYTES) {
    uint64_t left = length - done;
    size_t n = left < ZEROS_BYTES ? (size_t)left : ZEROS_BYTES;
    if (fd_write_all(t->fd, zeros, n, offset + done, t->path, err) != 0)
      return -1;
  }
  return 0;
}

static int file_zero(struct target *target, void *lane, uint64_t length, uint64_t offset,
                     struct err *err)
{
  (void)lane;
  struct file_target *t = (struct file_target *)target;
  int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  if (fallocate(t->fd, mode, (off_t)offset, (off_t)length) == 0)
    return 0;
  uint64_t range[2] = {offset, length};
  if (t->device && ioctl(t->fd, BLKZEROOUT, range) == 0)
    return 0;
  return write_zeros(t, length, offset, err);
}

static void file_resume(struct target *target, const char *state)
{
  struct file_target *t = (struct file_target *)target;
  snprintf(t->earlier, sizeof(t->earlier), "%s", state);
}

static const char *file_state(struct target *target)
{
  return ((const struct file_target *)target)->state;
}

static int file_flush(struct target *target, void *lane, struct err *err)
{
  (void)lane;
  const struct file_target *t = (const struct file_target *)target;
  return fdatasync(t->fd) == 0 ? 0 : err_errno(err, errno, "fdatasync %s", t->path);
}

static int file_finish(struct target *target, struct err *err)
{
  struct file_target *t = (struct file_target *)target;
  return fsync(t->fd) == 0 ? 0 : err_errno(err, errno, "fsync %s", t->path);
}

static void file_free(struct target *target)
{
  struct file_target *t = (struct file_target *)target;
  if (t->fd >= 0)
    close(t->fd);
  fd_direct_close(&t->direct);
  free(t->path);
  free(t);
}

// ---- reading back ---------------------------------------------------------------------------

struct file_source {
  struct source source;
  const struct file_target *target;
};

static int source_pread(struct source *s, void *lane, void *into, size_t length, uint64_t offset,
                        struct err *err)
{
  (void)lane;
  const struct file_target *t = ((struct file_source *)s)->target;
  return fd_read_all(t->fd, into, length, offset, t->path, err);
}

static void source_gone(struct source *s)
{
  free(s);
}

static const struct source_ops source_ops = {
    .name = "file", .read = source_pread, .free = source_gone};

// Over the same descriptor: the lock for writing that we hold would keep a second one out.
static int file_reopen(struct target *target, struct source **ret, struct err *err)
{
  struct file_source *s = calloc(1, sizeof(*s));
  if (!s)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  s->source = (struct source){.ops = &source_ops, .size_bytes = target->size_bytes};
  s->target = (const struct file_target *)target;
  *ret = &s->source;
  return 0;
}

static const struct target_ops file_ops = {.name = "file",
                                           .begin = file_begin,
                                           .write = file_write,
                                           .zero = file_zero,
                                           .finish = file_finish,
                                           .reopen = file_reopen,
                                           .resume = file_resume,
                                           .state = file_state,
                                           .flush = file_flush,
                                           .free = file_free};

static int file_setup(struct file_target *t, struct err *err)
{
  struct stat st;
  if (stat(t->path, &st) != 0)
    return err_errno(err, errno, "%s", t->path);
  t->device = S_ISBLK(st.st_mode);
  t->fd = open(t->path, O_RDWR | O_CLOEXEC | O_NONBLOCK | (t->device ? O_EXCL : 0));
  if (t->fd < 0 && errno == EBUSY)
    return err_set(err, ERR_BUSY, "%s is mounted or otherwise in use", t->path);
  if (t->fd < 0)
    return err_errno(err, errno, "open %s", t->path);
  if (fd_disk_size(t->fd, t->path, &t->target.size_bytes, NULL, err) != 0)
    return -1;
  if (image_lock(t->fd, t->path, true, err) != 0)
    return -1;
  fd_direct_open(&t->direct, t->path);
  return 0;
}

int target_open_file(const char *path, struct target **ret, struct err *err)
{
  struct file_target *t = calloc(1, sizeof(*t));
  if (!t)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  t->target = (struct target){.ops = &file_ops, .outlives_us = true};
  t->fd = -1;
  atomic_init(&t->direct.fd, -1);
  t->path = str_dup(path);
  if (!t->path || file_setup(t, err) != 0) {
    file_free(&t->target);
    return -1;
  }
  *ret = &t->target;
  return 0;
}
