// SPDX-License-Identifier: Apache-2.0
// Files inside a machine. Every path is resolved by the kernel as the machine would (openat2 with
// RESOLVE_IN_ROOT): absolute links and ".." stay inside, and the links of /proc are not followed.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/clock.h"
#include "base/str.h"
#include "providers/nspawn/host_internal.h"

#define RACES_MAX 1000

static int open_in(int root, const char *path, int flags)
{
  struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC),
                         .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
  int fd = -1;
  errno = EAGAIN; // something was renamed while ".." was followed: nobody knows where it leads
  for (int i = 0; fd < 0 && errno == EAGAIN && i < RACES_MAX; i++)
    fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
  return fd;
}

// The folder of a path; ret_name points into path.
static int open_folder_of(int root, const char *path, const char **ret_name, struct err *err)
{
  const char *slash = strrchr(path, '/');
  cleanup_free char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : NULL;
  *ret_name = slash ? slash + 1 : path;
  if (!folder)
    return err_set(err, ERR_INVALID, "'%s' is not an absolute path", path);
  if (!**ret_name || str_eq(*ret_name, ".") || str_eq(*ret_name, ".."))
    return err_set(err, ERR_INVALID, "'%s' is not the path of a file", path);
  int fd = open_in(root, folder, O_RDONLY | O_DIRECTORY);
  if (fd < 0)
    err_errno(err, errno, "%s", folder);
  return fd;
}

int ns_root_open(const struct host *h, const struct record *r, int *ret_fd, struct err *err)
{
  pid_t leader = ns_leader_of(h, r->name);
  cleanup_free char *path =
      leader ? str_printf("/proc/%d/root", leader) : ns_machine_path(h, r->name);
  if (!path)
    return ns_no_memory(err);
  if (!leader && ns_is_overlay(h, r) && !ns_is_mount_point(path))
    return ns_overlay_open(h, r->name, r->base, ret_fd, err);
  *ret_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC | (leader ? 0 : O_NOFOLLOW));
  return *ret_fd < 0 ? err_errno(err, errno, "open the root of '%s'", r->name) : 0;
}

static int read_whole(int fd, const char *path, size_t max, void **ret, size_t *ret_length,
                      struct err *err)
{
  struct stat s;
  if (fstat(fd, &s) != 0)
    return err_errno(err, errno, "%s", path);
  if (!S_ISREG(s.st_mode))
    return err_set(err, ERR_INVALID, "%s is not a regular file", path);
  if (s.st_size > (off_t)max)
    return err_set(err, ERR_LIMIT, "%s has %lld bytes, over the limit of %zu", path,
                   (long long)s.st_size, max);
  size_t room = s.st_size ? (size_t)s.st_size : 65536; // files of /proc have no size
  cleanup_free char *bytes = malloc(room + 1);
  if (!bytes)
    return ns_no_memory(err);
  size_t length = 0;
  for (ssize_t got = 1; got > 0 && length < room; length += (size_t)got)
    if ((got = read(fd, bytes + length, room - length)) < 0)
      return err_errno(err, errno, "read %s", path);
  bytes[length] = '\0';
  *ret = TAKE(bytes);
  *ret_length = length;
  return 0;
}

int ns_root_read(int root, const char *path, size_t max, void **ret, size_t *ret_length,
                 struct err *err)
{
  if (path[0] != '/')
    return err_set(err, ERR_INVALID, "'%s' is not an absolute path", path);
  cleanup_close int fd = open_in(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (fd < 0)
    return err_errno(err, errno, "%s", path);
  return read_whole(fd, path, max, ret, ret_length, err);
}

static int write_new(int folder, const char *name, const void *bytes, size_t length, int mode,
                     struct err *err)
{
  cleanup_close int fd =
      openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0)
    return err_errno(err, errno, "make %s", name);
  for (size_t done = 0; done < length;) {
    ssize_t n = write(fd, (const char *)bytes + done, length - done);
    if (n < 0)
      return err_errno(err, errno, "write %s", name);
    done += (size_t)n;
  }
  if (fchmod(fd, (mode_t)mode & 07777) != 0)
    return err_errno(err, errno, "chmod %s", name);
  return 0;
}

int ns_root_write(int root, const char *path, const void *bytes, size_t length, int mode,
                  struct err *err)
{
  const char *name;
  char part[64];
  if (path[0] != '/')
    return err_set(err, ERR_INVALID, "'%s' is not an absolute path", path);
  cleanup_close int folder = open_folder_of(root, path, &name, err);
  if (folder < 0)
    return -1;
  snprintf(part, sizeof(part), ".drover-%016llx", (unsigned long long)clock_random(UINT64_MAX));
  int failed = write_new(folder, part, bytes, length, mode, err);
  if (!failed && renameat(folder, part, folder, name) != 0)
    failed = errno == EISDIR ? err_set(err, ERR_INVALID, "%s is a folder", path)
                             : err_errno(err, errno, "write %s", path);
  if (failed)
    unlinkat(folder, part, 0);
  return failed;
}

int ns_root_folder(int root, const char *path, int mode, struct err *err)
{
  const char *name;
  cleanup_close int folder = open_folder_of(root, path, &name, err);
  if (folder < 0)
    return -1;
  if (mkdirat(folder, name, (mode_t)mode) != 0 && errno != EEXIST)
    return err_errno(err, errno, "make %s", path);
  return 0;
}

int ns_root_unlink(int root, const char *path, struct err *err)
{
  const char *name;
  struct err failure = ERR_INIT;
  cleanup_close int folder = open_folder_of(root, path, &name, &failure);
  if (folder < 0)
    return failure.kind == ERR_NOT_FOUND ? 0 : err_set(err, failure.kind, "%s", failure.message);
  if (unlinkat(folder, name, 0) != 0 && errno != ENOENT)
    return err_errno(err, errno, "remove %s", path);
  return 0;
}

bool ns_root_has(int root, const char *path)
{
  cleanup_close int fd = open_in(root, path, O_PATH);
  return fd >= 0;
}

int ns_root_each(int root, const char *path, int (*fn)(int root, const char *path, struct err *err),
                 struct err *err)
{
  int fd = open_in(root, path, O_RDONLY | O_DIRECTORY);
  DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
  int failed = 0;
  for (struct dirent *e; dir && !failed && (e = readdir(dir));) {
    cleanup_free char *file = str_printf("%s/%s", path, e->d_name);
    if (e->d_name[0] != '.')
      failed = file ? fn(root, file, err) : ns_no_memory(err);
  }
  if (dir)
    closedir(dir);
  else if (fd >= 0)
    close(fd);
  return failed;
}
