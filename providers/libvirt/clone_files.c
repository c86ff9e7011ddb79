// SPDX-License-Identifier: Apache-2.0
// Files of bases and clones, here or through ssh.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "base/str.h"
#include "providers/libvirt/clone_internal.h"

#define BLOCK         4096u
#define COPY_LIMIT_MS 60000 // a reflink of a large, dirty file; NVRAM

// ---- facts -------------------------------------------------------------------------------------

static int local_stamp(const char *path, struct file_stamp *ret, struct err *err)
{
  struct stat st;
  if (stat(path, &st) != 0)
    return errno == ENOENT ? 0 : err_errno(err, errno, "stat %s", path);
  *ret = (struct file_stamp){true, st.st_size, st.st_blocks * 512, (int64_t)st.st_ino,
                             st.st_mtim.tv_sec * 1000000000ll + st.st_mtim.tv_nsec};
  return 0;
}

// A line of stat(1): "SIZE BLOCKS BLOCKSIZE INODE SECONDS.NANOSECONDS NAME".
static bool read_stamp(const char *line, const char *path, struct file_stamp *ret)
{
  long long size, blocks, block, inode, seconds, nano;
  int at = 0;
  if (sscanf(line, "%lld %lld %lld %lld %lld.%9lld %n", &size, &blocks, &block, &inode, &seconds,
             &nano, &at) != 6 ||
      !str_eq(line + at, path))
    return false;
  *ret = (struct file_stamp){true, size, blocks * block, inode, seconds * 1000000000ll + nano};
  return true;
}

static int remote_stamps(struct host *h, const struct strings *paths, struct file_stamp *ret,
                         struct err *err)
{
  cleanup_free const char **argv = calloc(paths->count + 6, sizeof(*argv));
  if (!argv)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  const char *head[] = {"stat", "-L", "-c", "%s %b %B %i %.9Y %n", "--"};
  memcpy(argv, head, sizeof(head));
  for (size_t i = 0; i < paths->count; i++)
    argv[ARRAY_SIZE(head) + i] = paths->items[i];
  struct command_result r CLEANUP(command_result_release) = {0};
  if (host_run(h, argv, &r, err) != 0)
    return -1;
  if (r.exit_status != 0 && !strstr(r.errors, "No such file"))
    return err_set(err, ERR_IO, "stat on %s: %.300s", h->data_host, r.errors);
  char *rest = r.output, *line;
  while ((line = strsep(&rest, "\n")))
    for (size_t i = 0; *line && i < paths->count; i++)
      if (read_stamp(line, paths->items[i], &ret[i]))
        break;
  return 0;
}

int host_stamps(struct host *h, const struct strings *paths, struct file_stamp *ret,
                struct err *err)
{
  for (size_t i = 0; i < paths->count; i++)
    ret[i] = (struct file_stamp){0};
  if (h->data != DATA_LOCAL)
    return remote_stamps(h, paths, ret, err);
  for (size_t i = 0; i < paths->count; i++)
    if (local_stamp(paths->items[i], &ret[i], err) != 0)
      return -1;
  return 0;
}

// ---- writing -----------------------------------------------------------------------------------

static bool all_zero(const char *bytes, size_t length)
{
  return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}

static int write_sparse(int fd, const char *bytes, size_t length)
{
  for (size_t at = 0; at < length;) {
    size_t n = length - at < BLOCK ? length - at : BLOCK;
    ssize_t written = (ssize_t)n;
    if (!all_zero(bytes + at, n))
      written = pwrite(fd, bytes + at, n, (off_t)at);
    if (written < 0 && errno == EINTR)
      continue;
    if (written <= 0)
      return -1;
    at += (size_t)written;
  }
  return ftruncate(fd, (off_t)length) == 0 && fdatasync(fd) == 0 ? 0 : -1;
}

static int local_put(const char *path, const void *bytes, size_t length, struct err *err)
{
  if (unlink(path) != 0 && errno != ENOENT)
    return err_errno(err, errno, "replace %s", path);
  cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0)
    return err_errno(err, errno, "make %s", path);
  return write_sparse(fd, bytes, length) == 0 ? 0 : err_errno(err, errno, "write %s", path);
}

int host_put_file(struct host *h, const char *path, const void *bytes, size_t length,
                  struct err *err)
{
  if (h->data == DATA_LOCAL)
    return local_put(path, bytes, length, err);
  static const char script[] =
      "umask 077; rm -f -- \"$1\" && exec dd of=\"$1\" bs=4096 iflag=fullblock "
      "conv=sparse,excl,fdatasync status=none";
  const char *argv[] = {"sh", "-c", script, "drover", path, NULL};
  struct command c = {
      .argv = argv, .input = bytes, .input_length = length, .timeout_ms = COPY_LIMIT_MS};
  return host_check_command(h, &c, err);
}

int host_copy_file(struct host *h, const char *from, const char *to, bool reflink, struct err *err)
{
  // A new file: its owner and mode are not those of the base, which may not be written to.
  const char *argv[] = {"sh",
                        "-c",
                        HOST_PRIVATELY,
                        "cp",
                        reflink ? "--reflink=always" : "--reflink=auto",
                        "--sparse=auto",
                        "--no-preserve=mode",
                        "--remove-destination",
                        "--",
                        from,
                        to,
                        NULL};
  struct command c = {.argv = argv, .timeout_ms = COPY_LIMIT_MS};
  struct err failed = ERR_INIT;
  if (host_check_command(h, &c, &failed) == 0)
    return 0;
  bool cannot = strstr(failed.message, "Operation not supported") ||
                strstr(failed.message, "Invalid cross-device link") ||
                strstr(failed.message, "Inappropriate ioctl") ||
                strstr(failed.message, "Invalid argument");
  if (reflink && cannot) {
    struct err none = ERR_INIT;
    host_remove_file(h, to, &none); // cp leaves an empty one
    return err_set(err, ERR_UNSUPPORTED,
                   "%s and %s do not share a file system that can share blocks (btrfs, XFS): no "
                   "reflink copies",
                   from, to);
  }
  return err_set(err, failed.kind, "%s", failed.message);
}

// ---- finding -----------------------------------------------------------------------------------

static int local_named(const char *folder, const char *part, struct strings *ret, struct err *err)
{
  DIR *dir = opendir(folder);
  if (!dir)
    return err_errno(err, errno, "open the folder %s", folder);
  int failed = 0;
  for (struct dirent *e; !failed && (e = readdir(dir));) {
    if (!strstr(e->d_name, part) || (e->d_type != DT_REG && e->d_type != DT_UNKNOWN))
      continue;
    cleanup_free char *path = str_printf("%s/%s", folder, e->d_name);
    failed = path ? strings_add(ret, path) : -1;
  }
  closedir(dir);
  return failed ? err_set(err, ERR_NO_MEMORY, "out of memory") : 0;
}

int host_files_named(struct host *h, const char *folder, const char *part, struct strings *ret,
                     struct err *err)
{
  if (h->data == DATA_LOCAL)
    return local_named(folder, part, ret, err);
  cleanup_free char *glob = str_printf("*%s*", part);
  const char *argv[] = {"find", folder,  "-maxdepth", "1",       "-type",
                        "f",    "-name", glob,        "-print0", NULL};
  struct command_result r CLEANUP(command_result_release) = {0};
  if (!glob)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  if (host_run(h, argv, &r, err) != 0)
    return -1;
  if (r.exit_status != 0)
    return err_set(err, ERR_IO, "list %s on %s: %.300s", folder, h->data_host, r.errors);
  for (size_t at = 0; at < r.output_length; at += strlen(r.output + at) + 1)
    if (strings_add(ret, r.output + at) != 0)
      return err_set(err, ERR_NO_MEMORY, "out of memory");
  return 0;
}
