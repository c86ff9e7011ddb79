// SPDX-License-Identifier: Apache-2.0
// Objects that are local files.
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <linux/fs.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "disk/fd_internal.h"
#include "disk/image_lock_internal.h"
#include "disk/object.h"

#define PART_SUFFIX     ".part"
#define COPY_STEP_BYTES (1u << 20)

// ---- descriptors ----------------------------------------------------------------------------

int fd_read_all(int fd, void *into, size_t length, uint64_t offset, const char *name,
                struct err *err)
{
  char *at = into;
  while (length) {
    ssize_t n = pread(fd, at, length, (off_t)offset);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return err_errno(err, errno, "read %s at %" PRIu64, name, offset);
    if (n == 0)
      return err_set(err, ERR_CHANGED, "%s became shorter while it was read", name);
    at += n;
    offset += (uint64_t)n;
    length -= (size_t)n;
  }
  return 0;
}

int fd_write_all(int fd, const void *from, size_t length, uint64_t offset, const char *name,
                 struct err *err)
{
  const char *at = from;
  while (length) {
    ssize_t n = pwrite(fd, at, length, (off_t)offset);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return err_errno(err, errno, "write %s at %" PRIu64, name, offset);
    at += n;
    offset += (uint64_t)n;
    length -= (size_t)n;
  }
  return 0;
}

// ---- direct ---------------------------------------------------------------------------------

#define PAGE_BYTES 4096u

void fd_direct_open(struct fd_direct *d, const char *path)
{
  atomic_store(&d->fd, open(path, O_WRONLY | O_DIRECT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
}

void fd_direct_close(struct fd_direct *d)
{
  int fd = atomic_exchange(&d->fd, -1);
  if (fd >= 0)
    close(fd);
}

int fd_direct_write(struct fd_direct *d, int fd, const void *from, size_t length, uint64_t offset,
                    const char *name, struct err *err)
{
  int direct = atomic_load(&d->fd);
  const char *at = from;
  bool whole_pages = ((uintptr_t)from | offset) % PAGE_BYTES == 0;
  while (direct >= 0 && whole_pages && length >= PAGE_BYTES) {
    ssize_t n = pwrite(direct, at, length / PAGE_BYTES * PAGE_BYTES, (off_t)offset);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0 || n % PAGE_BYTES)
      break; // what is wrong shows below, if it is not O_DIRECT itself
    at += n;
    offset += (uint64_t)n;
    length -= (size_t)n;
  }
  return fd_write_all(fd, at, length, offset, name, err);
}

int fd_disk_size(int fd, const char *name, uint64_t *ret_bytes, char identity[160], struct err *err)
{
  struct stat st;
  if (fstat(fd, &st) != 0)
    return err_errno(err, errno, "stat %s", name);
  if (S_ISREG(st.st_mode))
    *ret_bytes = (uint64_t)st.st_size;
  else if (!S_ISBLK(st.st_mode))
    return err_set(err, ERR_INVALID, "%s is neither a regular file nor a block device", name);
  else if (ioctl(fd, BLKGETSIZE64, ret_bytes) != 0)
    return err_errno(err, errno, "size of %s", name);
  if (identity)
    snprintf(identity, 160, "file:%" PRIu64 ":%llu:%lld.%09ld", *ret_bytes,
             (unsigned long long)st.st_ino, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
  return 0;
}

// ---- reader ---------------------------------------------------------------------------------

struct file_reader {
  struct object_reader reader;
  int fd; // pread needs no lane of its own
  char *path;
};

static int reader_read(struct object_reader *r, void *lane, void *into, size_t length,
                       uint64_t offset, struct err *err)
{
  (void)lane;
  struct file_reader *f = (struct file_reader *)r;
  return fd_read_all(f->fd, into, length, offset, f->path, err);
}

static void reader_free(struct object_reader *r)
{
  struct file_reader *f = (struct file_reader *)r;
  if (f->fd >= 0)
    close(f->fd);
  free(f->path);
  free(f);
}

static const struct object_reader_ops reader_ops = {
    .name = "file", .read = reader_read, .free = reader_free};

static int reader_setup(struct file_reader *f, struct err *err)
{
  if (!f->path)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  f->fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (f->fd < 0)
    return err_errno(err, errno, "open %s", f->path);
  if (fd_disk_size(f->fd, f->path, &f->reader.size_bytes, f->reader.identity, err) != 0)
    return -1;
  f->reader.local_path = f->path;
  struct stat st; // writing to a device leaves the time of its node alone
  f->reader.tells_changes = fstat(f->fd, &st) == 0 && S_ISREG(st.st_mode);
  return image_lock(f->fd, f->path, false, err);
}

int object_reader_file(const char *path, struct object_reader **ret, struct err *err)
{
  struct file_reader *f = calloc(1, sizeof(*f));
  if (!f)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  f->reader.ops = &reader_ops;
  f->fd = -1;
  f->path = str_dup(path);
  if (reader_setup(f, err) != 0) {
    reader_free(&f->reader);
    return -1;
  }
  *ret = &f->reader;
  return 0;
}

int object_reader_file_fd(const struct object_reader *r)
{
  return r->ops == &reader_ops ? ((const struct file_reader *)r)->fd : -1;
}

// ---- names ----------------------------------------------------------------------------------

static void add_digest(struct buf *b, const char *text)
{
  unsigned char md[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  EVP_Digest(text, strlen(text), md, &length, EVP_sha256(), NULL);
  buf_add_hex(b, md, 16);
}

char *object_part_path(const char *path, const char *owner)
{
  struct buf b CLEANUP(buf_release) = BUF_INIT(2 * PATH_MAX);
  buf_adds(&b, path);
  buf_addc(&b, '.');
  size_t owner_at = b.length;
  for (const char *c = owner; *c; c++)
    buf_addc(&b, isalnum((unsigned char)*c) || strchr("-._", *c) ? *c : '_');
  buf_adds(&b, PART_SUFFIX);
  if (!buf_ok(&b))
    return NULL;
  const char *slash = strrchr(b.data, '/');
  size_t name_length = b.length - (slash ? (size_t)(slash + 1 - b.data) : 0);
  if (name_length <= NAME_MAX)
    return buf_take(&b);
  // Too long for a file name: what is unique goes into a digest of both.
  struct buf all CLEANUP(buf_release) = BUF_INIT(2 * PATH_MAX);
  buf_printf(&all, "%s\n%s", path, owner);
  size_t keep = slash ? (size_t)(slash + 1 - b.data) : 0;
  size_t base_length = owner_at - keep < 200 ? owner_at - keep : 200;
  b.length = keep + base_length;
  buf_addc(&b, '.');
  add_digest(&b, buf_str(&all));
  buf_adds(&b, PART_SUFFIX);
  return buf_take(&b);
}

// ---- writer ---------------------------------------------------------------------------------

struct file_writer {
  struct object_writer writer;
  char *path, *part_path;
  bool overwrite;
  int folder_fd; // locked, shared: who tidies up empty folders leaves it alone
  int fd;        // -1 before begin
  struct fd_direct direct;
  char earlier[OBJECT_STATE_BYTES]; // state of the file to go on with, "" = none
  char state[OBJECT_STATE_BYTES];
  struct object_file_state is; // file "": it cannot be told
};

// What a dead process of the same owner left is removed; a live one holds the lock.
static int remove_stale(const char *part_path, struct err *err)
{
  cleanup_close int old = open(part_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (old < 0 && errno == ENOENT)
    return 0;
  if (old < 0)
    return err_errno(err, errno, "open %s", part_path);
  if (flock(old, LOCK_EX | LOCK_NB) != 0)
    return err_set(err, ERR_BUSY, "another process is writing %s", part_path);
  if (unlink(part_path) != 0 && errno != ENOENT)
    return err_errno(err, errno, "remove %s", part_path);
  return 0;
}

static int create_part(struct file_writer *f, struct err *err)
{
  f->fd = open(f->part_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (f->fd < 0 && errno == EEXIST)
    return err_set(err, ERR_BUSY, "another process is writing %s", f->part_path);
  if (f->fd < 0)
    return err_errno(err, errno, "create %s", f->part_path);
  if (flock(f->fd, LOCK_EX | LOCK_NB) != 0)
    return err_set(err, ERR_BUSY, "another process is writing %s", f->part_path);
  return 0;
}

// Which file it is. Inode numbers are used again: the time when it was made tells another file of
// the same name from this one; where the file system does not keep that, the time of the last
// access, for nobody reads it.
static bool look_at(int fd, uint64_t begun_bytes, struct object_file_state *ret)
{
  struct statx st;
  *ret = (struct object_file_state){.begun_bytes = begun_bytes};
  if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &st) != 0 ||
      !S_ISREG(st.stx_mode))
    return false;
  const struct statx_timestamp *made = st.stx_mask & STATX_BTIME ? &st.stx_btime : &st.stx_atime;
  snprintf(ret->file, sizeof(ret->file), "file:%x:%x:%llu:%lld.%09u", st.stx_dev_major,
           st.stx_dev_minor, (unsigned long long)st.stx_ino, (long long)made->tv_sec,
           made->tv_nsec);
  snprintf(ret->changed, sizeof(ret->changed), "%lld.%09u", (long long)st.stx_mtime.tv_sec,
           st.stx_mtime.tv_nsec);
  ret->length_bytes = st.stx_size;
  return true;
}

typedef bool (*is_earlier_fn)(const struct object_file_state *found, const char *earlier);

static int open_earlier(struct file_writer *f, const char *path, uint64_t size_bytes,
                        is_earlier_fn is_earlier)
{
  cleanup_close int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0 || !look_at(fd, size_bytes, &f->is) || !is_earlier(&f->is, f->earlier))
    return -1;
  f->writer.there_bytes = f->is.length_bytes;
  return TAKE_FD(fd);
}

// A file that was linked to its final name and not yet unlinked from this one.
static void remove_twin(const struct file_writer *f)
{
  struct stat ours, named;
  if (fstat(f->fd, &ours) == 0 && lstat(f->part_path, &named) == 0 && ours.st_ino == named.st_ino &&
      ours.st_dev == named.st_dev)
    unlink(f->part_path);
}

// 1: what an earlier process left is open, 0: it is not there, -1: error.
static int find_earlier(struct file_writer *f, uint64_t size_bytes, struct err *err)
{
  f->fd = open_earlier(f, f->path, size_bytes, object_file_state_is_whole);
  f->writer.stored = f->fd >= 0;
  if (f->writer.stored)
    remove_twin(f);
  else
    f->fd = open_earlier(f, f->part_path, size_bytes, object_file_state_is_part);
  if (f->fd >= 0 && !f->writer.stored && flock(f->fd, LOCK_EX | LOCK_NB) != 0)
    return err_set(err, ERR_BUSY, "another process is writing %s", f->part_path);
  f->writer.resumed = f->fd >= 0;
  return f->writer.resumed;
}

static int writer_begin(struct object_writer *w, uint64_t size_bytes, struct err *err)
{
  struct file_writer *f = (struct file_writer *)w;
  int found = f->earlier[0] ? find_earlier(f, size_bytes, err) : 0;
  if (found < 0)
    return -1;
  if (found) {
    f->is.changed[0] = '\0';
    if (!w->stored)
      fd_direct_open(&f->direct, f->part_path);
    return 0;
  }
  if (!f->overwrite && access(f->path, F_OK) == 0)
    return err_set(err, ERR_EXISTS, "%s exists already", f->path);
  if (remove_stale(f->part_path, err) != 0 || create_part(f, err) != 0)
    return -1;
  if (ftruncate(f->fd, (off_t)size_bytes) != 0)
    return err_errno(err, errno, "set the length of %s", f->part_path);
  if (!look_at(f->fd, size_bytes, &f->is))
    f->is.file[0] = '\0';
  f->is.changed[0] = '\0';
  fd_direct_open(&f->direct, f->part_path);
  return 0;
}

static int copy_body(struct file_writer *f, uint64_t offset, const struct object_body *body,
                     struct err *err)
{
  cleanup_free char *step = malloc(COPY_STEP_BYTES);
  if (!step)
    return err_set(err, ERR_NO_MEMORY, "no memory for a part");
  for (uint64_t done = 0; done < body->length;) {
    uint64_t left = body->length - done;
    size_t n = left < COPY_STEP_BYTES ? (size_t)left : COPY_STEP_BYTES;
    if (object_body_read(body, done, step, n, err) != 0 ||
        fd_write_all(f->fd, step, n, offset + done, f->part_path, err) != 0)
      return -1;
    done += n;
  }
  return 0;
}

static int writer_write_part(struct object_writer *w, void *lane, uint32_t number, uint64_t offset,
                             const struct object_body *body, struct err *err)
{
  (void)lane, (void)number;
  struct file_writer *f = (struct file_writer *)w;
  if (body->bytes)
    return fd_direct_write(&f->direct, f->fd, body->bytes, (size_t)body->length, offset,
                           f->part_path, err);
  return copy_body(f, offset, body, err);
}

// rename, but an existing name is an error. File systems without RENAME_NOREPLACE: link refuses
// too.
static int rename_new(const char *from, const char *to)
{
  if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
    return 0;
  if (errno != EINVAL && errno != ENOSYS)
    return -1;
  if (link(from, to) != 0)
    return -1;
  return unlink(from);
}

int fd_sync_folder_of(const char *path, struct err *err)
{
  cleanup_free char *copy = str_dup(path);
  if (!copy)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  const char *folder = dirname(copy);
  cleanup_close int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0)
    return err_errno(err, errno, "open %s", folder);
  if (fsync(fd) != 0 && errno != EINVAL)
    return err_errno(err, errno, "fsync %s", folder);
  return 0;
}

static void writer_resume(struct object_writer *w, const char *state)
{
  struct file_writer *f = (struct file_writer *)w;
  snprintf(f->earlier, sizeof(f->earlier), "%s", state);
}

static const char *writer_state(struct object_writer *w)
{
  struct file_writer *f = (struct file_writer *)w;
  if (!f->is.file[0])
    return NULL;
  f->is.length_bytes = w->size_bytes;
  object_file_state_text(&f->is, f->state);
  return f->state;
}

static int writer_flush(struct object_writer *w, void *lane, struct err *err)
{
  (void)lane;
  const struct file_writer *f = (const struct file_writer *)w;
  return fdatasync(f->fd) == 0 ? 0 : err_errno(err, errno, "fdatasync %s", f->part_path);
}

static int writer_seal(struct object_writer *w, struct err *err)
{
  struct file_writer *f = (struct file_writer *)w;
  if (ftruncate(f->fd, (off_t)w->size_bytes) != 0)
    return err_errno(err, errno, "set the length of %s", f->part_path);
  if (fsync(f->fd) != 0)
    return err_errno(err, errno, "fsync %s", f->part_path);
  if (!look_at(f->fd, f->is.begun_bytes, &f->is))
    f->is.file[0] = '\0';
  return 0;
}

static int end_stored(const struct file_writer *f, struct err *err)
{
  if (f->writer.size_bytes != f->writer.there_bytes)
    return err_set(err, ERR_CONFLICT,
                   "%s was completed by an earlier copy, but its length is not the one that it "
                   "should have",
                   f->path);
  return fd_sync_folder_of(f->path, err);
}

static int writer_commit(struct object_writer *w, struct err *err)
{
  struct file_writer *f = (struct file_writer *)w;
  if (w->stored)
    return end_stored(f, err);
  if (!f->is.changed[0] && writer_seal(w, err) != 0)
    return -1;
  int failed = f->overwrite ? rename(f->part_path, f->path) : rename_new(f->part_path, f->path);
  if (failed && errno == EEXIST)
    return err_set(err, ERR_EXISTS, "%s exists already", f->path);
  if (failed)
    return err_errno(err, errno, "rename %s", f->part_path);
  return fd_sync_folder_of(f->path, err);
}

static int writer_abort(struct object_writer *w, struct err *err)
{
  struct file_writer *f = (struct file_writer *)w;
  f->earlier[0] = '\0';
  if (f->fd < 0)
    return 0; // begin replaces what is there
  if (unlink(f->part_path) != 0 && errno != ENOENT)
    return err_errno(err, errno, "remove %s", f->part_path);
  return 0;
}

static void writer_free(struct object_writer *w)
{
  struct file_writer *f = (struct file_writer *)w;
  if (f->fd >= 0)
    close(f->fd);
  if (f->folder_fd >= 0)
    close(f->folder_fd);
  fd_direct_close(&f->direct);
  free(f->path);
  free(f->part_path);
  free(f);
}

static const struct object_writer_ops writer_ops = {.name = "file",
                                                    .begin = writer_begin,
                                                    .write_part = writer_write_part,
                                                    .seal = writer_seal,
                                                    .commit = writer_commit,
                                                    .abort = writer_abort,
                                                    .resume = writer_resume,
                                                    .state = writer_state,
                                                    .flush = writer_flush,
                                                    .free = writer_free};

// Whoever removes empty folders takes the lock alone; where a file system knows no locks it is as
// if nobody did.
static int hold_folder(struct file_writer *f, struct err *err)
{
  cleanup_free char *copy = str_dup(f->path);
  if (!copy)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  const char *folder = dirname(copy);
  struct stat st;
  f->folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (f->folder_fd < 0)
    return err_errno(err, errno, "open folder %s", folder);
  flock(f->folder_fd, LOCK_SH);
  if (fstat(f->folder_fd, &st) != 0 || st.st_nlink == 0)
    return err_set(err, ERR_NOT_FOUND, "folder %s was removed", folder);
  return 0;
}

int object_writer_file(const char *path, const char *owner, bool overwrite,
                       struct object_writer **ret, struct err *err)
{
  struct file_writer *f = calloc(1, sizeof(*f));
  if (!f)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  f->writer = (struct object_writer){
      .ops = &writer_ops, .any_length = true, .holes = true, .outlives_us = true};
  f->fd = f->folder_fd = -1;
  atomic_init(&f->direct.fd, -1);
  f->overwrite = overwrite;
  f->path = str_dup(path);
  f->part_path = object_part_path(path, owner);
  int failed =
      !f->path || !f->part_path ? err_set(err, ERR_NO_MEMORY, "no memory") : hold_folder(f, err);
  if (failed) {
    writer_free(&f->writer);
    return -1;
  }
  *ret = &f->writer;
  return 0;
}
