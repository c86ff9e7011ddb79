// SPDX-License-Identifier: Apache-2.0
#include "disk/private_dir_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"

#define PREFIX "drover-run-"
// A folder that was made this long ago has its lock by now, if its maker is alive.
#define STALE_S 30

static void remove_content(int fd)
{
  int copy = dup(fd);
  DIR *dir = copy < 0 ? NULL : fdopendir(copy);
  if (!dir) {
    if (copy >= 0)
      close(copy);
    return;
  }
  for (struct dirent *e; (e = readdir(dir));)
    if (!str_eq(e->d_name, ".") && !str_eq(e->d_name, ".."))
      unlinkat(dirfd(dir), e->d_name, 0);
  closedir(dir);
}

static void remove_if_stale(int base_fd, const char *name)
{
  cleanup_close int fd = openat(base_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  struct stat st;
  if (fd < 0 || fstat(fd, &st) != 0 || st.st_uid != geteuid() ||
      st.st_mtim.tv_sec + STALE_S > time(NULL) || flock(fd, LOCK_EX | LOCK_NB) != 0)
    return;
  remove_content(fd);
  unlinkat(base_fd, name, AT_REMOVEDIR);
}

static void sweep(const char *base)
{
  DIR *dir = opendir(base);
  for (struct dirent *e; dir && (e = readdir(dir));)
    if (str_starts(e->d_name, PREFIX))
      remove_if_stale(dirfd(dir), e->d_name);
  if (dir)
    closedir(dir);
}

int private_dir_make(struct private_dir *d, struct err *err)
{
  const char *base = getenv("TMPDIR");
  if (str_empty(base) || strlen(base) + sizeof("/" PREFIX "XXXXXX") > PRIVATE_DIR_MAX)
    base = "/tmp";
  sweep(base);
  snprintf(d->path, sizeof(d->path), "%s/" PREFIX "XXXXXX", base);
  if (!mkdtemp(d->path)) {
    int number = errno;
    *d->path = '\0';
    return err_errno(err, number, "make a private folder in %s", base);
  }
  d->lock_fd = open(d->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (d->lock_fd >= 0 && flock(d->lock_fd, LOCK_EX | LOCK_NB) == 0)
    return 0;
  err_errno(err, errno, "lock %s", d->path);
  private_dir_remove(d);
  return -1;
}

void private_dir_remove(struct private_dir *d)
{
  if (!*d->path)
    return;
  if (d->lock_fd >= 0) {
    remove_content(d->lock_fd);
    close(d->lock_fd);
  }
  rmdir(d->path);
  *d->path = '\0';
}
