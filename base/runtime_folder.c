// SPDX-License-Identifier: Apache-2.0
#include "base/runtime_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/cleanup.h"
#include "base/str.h"

#define PROCESS_PREFIX "process-"
#define ROOT_MAX       (RUNTIME_FOLDER_MAX - strlen("/" PROCESS_PREFIX "XXXXXX/XXXXXX") - 1)

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char *process_dir; // this process's, once made
static int process_lock = -1;

// The first of the places that is there to be used; XDG_RUNTIME_DIR often outlives the session.
static char *runtime_root(void)
{
  const char *own = getenv("DROVER_RUNTIME_DIR");
  const char *session = getenv("XDG_RUNTIME_DIR");
  if (!str_empty(own))
    return str_dup(own);
  if (!str_empty(session) && strlen(session) <= ROOT_MAX - strlen("/drover") &&
      access(session, W_OK | X_OK) == 0)
    return str_printf("%s/drover", session);
  return geteuid() == 0 ? str_dup("/run/drover") : str_printf("/tmp/drover-%u", geteuid());
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
  (void)st;
  (void)type;
  (void)at;
  remove(path);
  return 0;
}

static void remove_tree(const char *path)
{
  nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

void runtime_folder_remove(char *path)
{
  if (path)
    remove_tree(path);
  free(path);
}

// A folder of ours that nobody else can write to or read.
static int make_root(const char *root, struct err *err)
{
  struct stat st;
  if (strlen(root) > ROOT_MAX)
    return err_set(err, ERR_INVALID,
                   "the runtime folder %s has too long a name for the sockets in it; set "
                   "DROVER_RUNTIME_DIR to one of at most %zu bytes",
                   root, ROOT_MAX);
  if (mkdir(root, 0700) != 0 && errno != EEXIST)
    return err_errno(err, errno, "make the runtime folder %s", root);
  if (lstat(root, &st) != 0)
    return err_errno(err, errno, "runtime folder %s", root);
  if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid())
    return err_set(err, ERR_IO,
                   "the runtime folder %s belongs to somebody else; set "
                   "DROVER_RUNTIME_DIR to a folder of your own",
                   root);
  if (chmod(root, 0700) != 0)
    return err_errno(err, errno, "runtime folder %s", root);
  return 0;
}

// One without a lock was left as well: with the root locked, nobody is about to make it.
static void remove_if_left(const char *root, const char *name)
{
  cleanup_free char *dir = str_printf("%s/%s", root, name);
  cleanup_free char *lock = str_printf("%s/lock", dir);
  cleanup_close int fd = open(lock, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (fd >= 0 ? flock(fd, LOCK_EX | LOCK_NB) == 0 : errno == ENOENT)
    remove_tree(dir);
}

static void remove_left_over(const char *root)
{
  DIR *folder = opendir(root);
  if (!folder)
    return;
  for (struct dirent *e; (e = readdir(folder));)
    if (str_starts(e->d_name, PROCESS_PREFIX))
      remove_if_left(root, e->d_name);
  closedir(folder);
}

static void remove_process_dir(void)
{
  if (process_dir)
    remove_tree(process_dir);
}

// With the mutex held.
static int make_process_dir(struct err *err)
{
  cleanup_free char *root = runtime_root();
  if (!root || make_root(root, err) != 0)
    return root ? -1 : err_set(err, ERR_NO_MEMORY, "out of memory");
  // One process at a time looks for what was left and makes its own.
  cleanup_close int root_fd = open(root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (root_fd < 0 || flock(root_fd, LOCK_EX) != 0)
    return err_errno(err, errno, "lock the runtime folder %s", root);
  remove_left_over(root);
  cleanup_free char *dir = str_printf("%s/%sXXXXXX", root, PROCESS_PREFIX);
  if (!dir || !mkdtemp(dir))
    return err_errno(err, errno, "make a folder in %s", root);
  cleanup_free char *lock = str_printf("%s/lock", dir);
  process_lock = open(lock, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (process_lock < 0 || flock(process_lock, LOCK_EX | LOCK_NB) != 0)
    return err_errno(err, errno, "lock %s", lock);
  process_dir = TAKE(dir);
  atexit(remove_process_dir);
  return 0;
}

int runtime_folder_new(char **ret, struct err *err)
{
  LOCK_FOR_SCOPE(&mutex);
  if (!process_dir && make_process_dir(err) != 0)
    return -1;
  cleanup_free char *dir = str_printf("%s/XXXXXX", process_dir);
  if (!dir || !mkdtemp(dir))
    return err_errno(err, errno, "make a folder in %s", process_dir);
  *ret = TAKE(dir);
  return 0;
}

int runtime_folder_lasting(const char *name, char **ret, struct err *err)
{
  cleanup_free char *root = runtime_root();
  if (root && make_root(root, err) != 0)
    return -1;
  *ret = root ? str_printf("%s/%s", root, name) : NULL;
  return *ret ? 0 : err_set(err, ERR_NO_MEMORY, "out of memory");
}

static int write_all(int fd, const char *bytes, size_t length)
{
  while (length > 0) {
    ssize_t n = write(fd, bytes, length);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return -1;
    bytes += n;
    length -= (size_t)n;
  }
  return 0;
}

int runtime_folder_write(const char *dir, const char *name, int mode, const void *bytes,
                         size_t length, struct err *err)
{
  cleanup_free char *path = str_printf("%s/%s", dir, name);
  cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
  if (fd < 0 || fchmod(fd, (mode_t)mode) != 0 || write_all(fd, bytes, length) != 0)
    return err_errno(err, errno, "write %s", path);
  return 0;
}
