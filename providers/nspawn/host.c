// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/str.h"
#include "providers/nspawn/host_internal.h"

#define PROGRAM_MS 15000

int ns_no_memory(struct err *err)
{
  return err_set(err, ERR_NO_MEMORY, "out of memory");
}

// As systemd wants machine names; never hidden, never a path.
bool ns_name_ok(const char *name)
{
  size_t length = name ? strlen(name) : 0;
  if (length == 0 || length > NSPAWN_NAME_MAX || name[0] == '.' || name[0] == '-')
    return false;
  return strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") ==
             length &&
         !strstr(name, "..");
}

char *ns_machine_path(const struct host *h, const char *name)
{
  return str_printf("%s/%s", h->folder, name);
}

char *ns_own_path(const struct host *h, const char *part, const char *name)
{
  return str_printf("%s/.drover/%s/%s", h->folder, part, name);
}

bool ns_folder_there(const char *path)
{
  struct stat s;
  return lstat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

int ns_machine_lock(const struct host *h, const char *name, int *ret_fd, struct err *err)
{
  cleanup_free char *path = ns_own_path(h, "locks", name);
  if (!path)
    return ns_no_memory(err);
  cleanup_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0)
    return err_errno(err, errno, "open %s", path);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0)
    return err_set(err, ERR_BUSY, "another process is at work on %s", name);
  *ret_fd = TAKE_FD(fd);
  return 0;
}

int ns_file_read(const char *path, size_t max, char **ret, struct err *err)
{
  cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0)
    return err_errno(err, errno, "open %s", path);
  cleanup_free char *text = malloc(max + 1);
  if (!text)
    return ns_no_memory(err);
  size_t length = 0;
  ssize_t got = 1;
  while (got > 0 && length < max) {
    got = read(fd, text + length, max - length);
    if (got < 0)
      return err_errno(err, errno, "read %s", path);
    length += (size_t)got;
  }
  text[length] = '\0';
  *ret = TAKE(text);
  return 0;
}

static int write_all(int fd, const char *text, bool lasting, const char *path, struct err *err)
{
  size_t length = strlen(text);
  for (size_t done = 0; done < length;) {
    ssize_t n = write(fd, text + done, length - done);
    if (n < 0)
      return err_errno(err, errno, "write %s", path);
    done += (size_t)n;
  }
  if (lasting && fdatasync(fd) != 0)
    return err_errno(err, errno, "write %s", path);
  return 0;
}

int ns_file_replace(const char *path, const char *text, int mode, bool lasting, struct err *err)
{
  cleanup_free char *part = str_printf("%s.new", path);
  if (!part)
    return ns_no_memory(err);
  unlink(part);
  cleanup_close int fd =
      open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, (mode_t)mode);
  if (fd < 0)
    return err_errno(err, errno, "make %s", part);
  if (write_all(fd, text, lasting, part, err) != 0) {
    unlink(part);
    return -1;
  }
  if (rename(part, path) != 0)
    return err_errno(err, errno, "rename %s", part);
  return 0;
}

int ns_rename_new(const char *from, const char *to, struct err *err)
{
  if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) != 0)
    return err_errno(err, errno, "rename %s to %s", from, to);
  return 0;
}

int ns_run_program(const char *const *argv, const char *input, struct err *err)
{
  struct command c = {.argv = argv,
                      .input = input,
                      .input_length = input ? strlen(input) : 0,
                      .timeout_ms = PROGRAM_MS};
  struct command_result done;
  if (command_check(&c, &done, err) != 0)
    return -1;
  command_result_release(&done);
  return 0;
}
