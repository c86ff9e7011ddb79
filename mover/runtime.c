// SPDX-License-Identifier: Apache-2.0
#include "mover/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/runtime_folder.h"

#define TREE_FD_MAX 8

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
  (void)st;
  (void)type;
  (void)ftw;
  return remove(path) && errno != ENOENT ? -1 : 0;
}

static void remove_tree(const char *path)
{
  nftw(path, remove_one, TREE_FD_MAX, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

// Holds nothing of its parent but the pipe, so that nobody waits for this process.
static void keep(const struct runtime_dir *d, int fd)
{
  setsid();
  prctl(PR_SET_NAME, "drover-keeper");
  signal(SIGTERM, SIG_IGN);
  signal(SIGINT, SIG_IGN);
  signal(SIGHUP, SIG_IGN);
  if (dup2(fd, 0) < 0 || chdir("/"))
    _exit(1);
  close_range(1, ~0u, 0); // the lock on the folder as well
  char c;
  while (read(0, &c, 1) < 0 && errno == EINTR)
    ;
  remove_tree(dirname(d->path)); // all that this process has there
  _exit(0);
}

static int start_keeper(struct runtime_dir *d, struct err *err)
{
  int ends[2];
  if (pipe2(ends, O_CLOEXEC))
    return err_errno(err, errno, "pipe");
  d->keeper_pid = fork();
  if (d->keeper_pid == 0) {
    close(ends[1]);
    keep(d, ends[0]);
  }
  int number = errno;
  close(ends[0]);
  d->keeper_fd = ends[1];
  if (d->keeper_pid < 0) {
    close(ends[1]);
    return err_errno(err, number, "fork");
  }
  return 0;
}

int runtime_dir_open(struct runtime_dir *d, struct err *err)
{
  *d = (struct runtime_dir){.keeper_fd = -1};
  if (runtime_folder_new(&d->path, err))
    return -1;
  if (start_keeper(d, err)) {
    runtime_folder_remove(d->path);
    return -1;
  }
  setenv("TMPDIR", d->path, 1);
  return 0;
}

void runtime_dir_close(struct runtime_dir *d)
{
  close(d->keeper_fd);
  waitpid(d->keeper_pid, NULL, 0);
  free(d->path);
}
