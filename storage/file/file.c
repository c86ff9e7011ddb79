// SPDX-License-Identifier: Apache-2.0
// A folder of this host as a store. Images are read and written through disk/'s local files. Names
// are looked up beneath the folder only: a symbolic link that leads out of it is refused.
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "storage/storage_internal.h"

#define WRITER_TRIES 5

struct folder {
  const struct storage_config *config;
  int no_lane; // lanes hold nothing: their address only tells them from NULL
};

static void describe(const struct storage_config *c, struct buf *into)
{
  buf_printf(into, "folder %s", c->path ? c->path : "(none)");
}

static int folder_open(const struct storage_config *c, const struct address_filter *allowed,
                       void **ret, struct err *err)
{
  (void)allowed; // no network
  if (str_empty(c->path) || c->path[0] != '/')
    return err_set(err, ERR_INVALID, "path must be an absolute folder");
  struct folder *f = calloc(1, sizeof(*f));
  if (!f)
    return err_set(err, ERR_NO_MEMORY, "no memory for a store");
  f->config = c;
  *ret = f;
  return 0;
}

static int lane_open(void *store, void **ret_lane, struct err *err)
{
  (void)err;
  *ret_lane = &((struct folder *)store)->no_lane;
  return 0;
}

static void lane_close(void *store, void *lane)
{
  (void)store, (void)lane;
}

static void interrupt(void *store, void *lane)
{
  (void)store, (void)lane; // calls on local files cannot be ended from outside
}

// ---- looking up ----

static int open_root(const struct folder *f, struct err *err)
{
  int fd = open(f->config->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
    return err_set(err, ERR_NOT_FOUND, "the folder does not exist: make it first");
  return fd < 0 ? err_errno(err, errno, "open %s", f->config->path) : fd;
}

static int open_beneath(int root, const char *key, int flags)
{
  struct open_how how = {.flags = (unsigned long long)(flags | O_CLOEXEC | O_NONBLOCK),
                         .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
  return (int)syscall(SYS_openat2, root, key, &how, sizeof(how));
}

// A descriptor of the object, -1 after an error.
static int open_object(const struct folder *f, const char *key, struct err *err)
{
  cleanup_close int root = open_root(f, err);
  if (root < 0)
    return -1;
  cleanup_close int fd = open_beneath(root, key, O_RDONLY);
  struct stat st;
  if (fd < 0 && errno == EXDEV)
    return err_set(err, ERR_DENIED, "'%s' leads out of the folder", key);
  if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
    return err_set(err, ERR_NOT_FOUND, "there is no object '%s'", key);
  if (fd < 0)
    return err_errno(err, errno, "open '%s'", key);
  if (fstat(fd, &st) < 0)
    return err_errno(err, errno, "stat '%s'", key);
  if (!S_ISREG(st.st_mode))
    return err_set(err, ERR_NOT_FOUND, "'%s' is not a regular file", key);
  return TAKE_FD(fd);
}

static char *path_of(const struct folder *f, const char *key, struct err *err)
{
  char *path = str_printf("%s/%s", f->config->path, key);
  if (!path)
    err_set(err, ERR_NO_MEMORY, "no memory for a path");
  return path;
}

// Makes the folders that the key lies in.
static int make_parents(const struct folder *f, const char *key, struct err *err)
{
  cleanup_close int at = open_root(f, err);
  char *copy cleanup_free = str_dup(key);
  char *rest = copy;
  if (at < 0)
    return -1;
  for (char *slash; rest && (slash = strchr(rest, '/')); rest = slash + 1) {
    *slash = '\0';
    if (mkdirat(at, rest, 0777) < 0 && errno != EEXIST)
      return err_errno(err, errno, "make folder '%s'", copy);
    int next = open_beneath(at, rest, O_RDONLY | O_DIRECTORY);
    if (next < 0 && (errno == ENOTDIR || errno == EXDEV))
      return err_set(err, ERR_EXISTS, "'%s' exists and is not a folder of this store", rest);
    if (next < 0)
      return err_errno(err, errno, "open folder '%s'", rest);
    close(at);
    at = next;
  }
  return copy ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for a path");
}

// Folders that became empty go, up to the prefix. One that a writer holds (object_writer_file)
// stays.
static bool remove_folder(int root, const char *path)
{
  cleanup_close int fd = openat(root, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 || (flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK))
    return false;
  return unlinkat(root, path, AT_REMOVEDIR) == 0;
}

static void prune_parents(const struct folder *f, const char *key)
{
  cleanup_close int root = open_root(f, NULL);
  char *copy cleanup_free = str_dup(key);
  size_t keep = f->config->prefix ? strlen(f->config->prefix) : 0;
  while (root >= 0 && copy) {
    char *slash = strrchr(copy, '/');
    if (!slash || (size_t)(slash - copy) <= keep)
      return;
    *slash = '\0';
    if (!remove_folder(root, copy))
      return;
  }
}

// ---- calls ----

static int check(void *store, void *lane, struct err *err)
{
  struct folder *f = store;
  (void)lane;
  cleanup_close int root = open_root(f, err);
  if (root < 0)
    return -1;
  if (!f->config->read_only && faccessat(root, ".", W_OK, AT_EACCESS) < 0)
    return err_errno(err, errno, "write to %s", f->config->path);
  return 0;
}

// As disk/ names a file that it reads.
static void fill_stat(const struct stat *st, struct storage_stat *ret)
{
  *ret = (struct storage_stat){.size_bytes = (uint64_t)st->st_size,
                               .modified_wall_ms = (int64_t)st->st_mtim.tv_sec * 1000 +
                                                   st->st_mtim.tv_nsec / 1000000};
  snprintf(ret->identity, sizeof(ret->identity), "file:%llu:%llu:%lld.%09ld",
           (unsigned long long)st->st_size, (unsigned long long)st->st_ino,
           (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
}

static int stat_object(void *store, void *lane, const char *key, struct storage_stat *ret,
                       struct err *err)
{
  (void)lane;
  cleanup_close int fd = open_object(store, key, err);
  struct stat st;
  if (fd < 0)
    return -1;
  if (fstat(fd, &st) < 0)
    return err_errno(err, errno, "stat '%s'", key);
  fill_stat(&st, ret);
  return 0;
}

static int get_range(void *store, void *lane, const char *key, const char *identity, void *into,
                     size_t length, uint64_t offset, struct err *err)
{
  (void)lane;
  cleanup_close int fd = open_object(store, key, err);
  struct stat st;
  struct storage_stat now;
  if (fd < 0)
    return -1;
  if (fstat(fd, &st) < 0)
    return err_errno(err, errno, "stat '%s'", key);
  fill_stat(&st, &now);
  if (!str_empty(identity) && !str_eq(identity, now.identity))
    return err_set(err, ERR_CHANGED, "'%s' is not the same any more", key);
  for (size_t got = 0; got < length;) {
    ssize_t n = pread(fd, (char *)into + got, length - got, (off_t)(offset + got));
    if (n < 0 && errno != EINTR)
      return err_errno(err, errno, "read '%s'", key);
    if (n == 0)
      return err_set(err, ERR_CHANGED, "'%s' became shorter while it was read", key);
    got += n > 0 ? (size_t)n : 0;
  }
  return 0;
}

static void fts_free(FTS **f)
{
  if (*f)
    fts_close(*f);
}

static int list(void *store, void *lane, const char *folder, size_t max, struct strings *ret,
                struct err *err)
{
  struct folder *f = store;
  (void)lane;
  cleanup_close int root = open_root(f, err);
  if (root < 0)
    return -1;
  char *path cleanup_free = path_of(f, folder, err);
  char *const paths[] = {path, NULL};
  FTS *tree CLEANUP(fts_free) = path ? fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL) : NULL;
  size_t skip = strlen(f->config->path) + 1;
  if (!tree)
    return path ? err_errno(err, errno, "list %s", path) : -1;
  for (FTSENT *e; (e = fts_read(tree));) {
    if (e->fts_info == FTS_DNR || e->fts_info == FTS_ERR)
      return err_errno(err, e->fts_errno, "list %s", e->fts_path);
    if (e->fts_info != FTS_F || storage_key_is_partial(e->fts_name))
      continue;
    const char *name = e->fts_path + skip;
    if (ret->count == max)
      return err_set(err, ERR_LIMIT, "there are more than %zu objects", max);
    if (strings_add(ret, name + strspn(name, "/")) < 0)
      return err_set(err, ERR_NO_MEMORY, "no memory for a list");
  }
  return 0;
}

static int remove_path(struct folder *f, const char *key, const char *path, struct err *err)
{
  cleanup_close int root = open_root(f, err);
  if (root < 0 || !path)
    return -1;
  if (unlink(path) < 0 && errno != ENOENT && errno != ENOTDIR)
    return err_errno(err, errno, "remove '%s'", key);
  prune_parents(f, key);
  return 0;
}

// A link on the way that leads out of the folder must not make us remove what lies there.
static int check_beneath(struct folder *f, const char *key, struct err *err)
{
  struct err failure = ERR_INIT;
  cleanup_close int fd = open_object(f, key, &failure);
  if (fd < 0 && failure.kind == ERR_DENIED) {
    if (err)
      *err = failure;
    return -1;
  }
  return 0;
}

static int remove_object(void *store, void *lane, const char *key, struct err *err)
{
  (void)lane;
  char *path cleanup_free = path_of(store, key, err);
  return check_beneath(store, key, err) < 0 ? -1 : remove_path(store, key, path, err);
}

static int remove_partial(void *store, void *lane, const char *key, const char *owner,
                          struct err *err)
{
  (void)lane;
  char *path cleanup_free = path_of(store, key, err);
  char *part cleanup_free = path ? object_part_path(path, owner ? owner : "") : NULL;
  if (!part)
    return err_set(err, ERR_NO_MEMORY, "no memory for a path");
  return check_beneath(store, key, err) < 0 ? -1 : remove_path(store, key, part, err);
}

static int free_bytes(void *store, void *lane, int64_t *ret, struct err *err)
{
  struct folder *f = store;
  struct statvfs v;
  (void)lane;
  if (statvfs(f->config->path, &v) < 0)
    return err_errno(err, errno, "free space of %s", f->config->path);
  *ret = (int64_t)(v.f_bavail * v.f_frsize);
  return 0;
}

// ---- images ----

static int reader(void *store, const char *key, struct object_reader **ret, struct err *err)
{
  cleanup_close int fd = open_object(store, key, err);
  char *path cleanup_free = fd < 0 ? NULL : path_of(store, key, err);
  return path ? object_reader_file(path, ret, err) : -1;
}

static int writer(void *store, const char *key, const char *owner, bool overwrite,
                  struct object_writer **ret, struct err *err)
{
  char *path cleanup_free = path_of(store, key, err);
  struct err failure = ERR_INIT;
  if (!path)
    return -1;
  for (int tries = 0; tries < WRITER_TRIES; tries++) {
    failure = (struct err)ERR_INIT;
    if (make_parents(store, key, &failure) == 0 &&
        object_writer_file(path, owner ? owner : "", overwrite, ret, &failure) == 0)
      return 0;
    if (failure.kind != ERR_NOT_FOUND)
      break; // else: between the two, somebody tidied up
  }
  if (err)
    *err = failure;
  return -1;
}

static int mender(void *store, const char *key, const char *owner, const char *identity,
                  struct object_writer **ret, struct err *err)
{
  cleanup_close int fd = open_object(store, key, err);
  char *path cleanup_free = fd < 0 ? NULL : path_of(store, key, err);
  (void)owner;
  return path ? object_mender_file(path, identity, ret, err) : -1;
}

static int put(void *store, void *lane, const char *key, const void *data, size_t length,
               const char *owner, bool only_new, struct err *err)
{
  struct object_writer *w = NULL;
  (void)lane;
  if (writer(store, key, owner, !only_new, &w, err) < 0)
    return -1;
  int result = storage_write_whole(w, data, length, err);
  if (result < 0)
    prune_parents(store, key);
  return result;
}

const struct storage_ops storage_file_ops = {
    .name = "file",
    .keeps_owner = false,
    .describe = describe,
    .open = folder_open,
    .close = free,
    .lane_open = lane_open,
    .lane_close = lane_close,
    .interrupt = interrupt,
    .check = check,
    .stat = stat_object,
    .list = list,
    .remove = remove_object,
    .remove_partial = remove_partial,
    .free_bytes = free_bytes,
    .get_range = get_range,
    .put = put,
    .reader = reader,
    .writer = writer,
    .mender = mender,
};
