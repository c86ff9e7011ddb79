// SPDX-License-Identifier: Apache-2.0
// Overlay clones: the base below, a folder of the clone's own above. Mounted at the machine's path
// while it runs; for everything else as a mount without a place, which ends with its descriptor.
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/str.h"
#include "providers/nspawn/host_internal.h"

bool ns_is_mount_point(const char *path)
{
  struct statx s;
  return statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &s) == 0 &&
         (s.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

static int open_mount(const char *lower, const char *upper, const char *work, int *ret_fd,
                      struct err *err)
{
  cleanup_close int fs = fsopen("overlay", FSOPEN_CLOEXEC);
  if (fs < 0)
    return err_errno(err, errno, "overlayfs");
  if (fsconfig(fs, FSCONFIG_SET_STRING, "source", "drover", 0) != 0 ||
      fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir", lower, 0) != 0 ||
      fsconfig(fs, FSCONFIG_SET_STRING, "upperdir", upper, 0) != 0 ||
      fsconfig(fs, FSCONFIG_SET_STRING, "workdir", work, 0) != 0 ||
      fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) != 0)
    return err_errno(err, errno, "overlay %s on %s", upper, lower);
  int fd = fsmount(fs, FSMOUNT_CLOEXEC, 0);
  if (fd < 0)
    return err_errno(err, errno, "mount overlay %s", upper);
  *ret_fd = fd;
  return 0;
}

int ns_overlay_open(const struct host *h, const char *name, const char *base, int *ret_fd,
                    struct err *err)
{
  cleanup_free char *lower = ns_machine_path(h, base);
  cleanup_free char *own = ns_own_path(h, "overlays", name);
  cleanup_free char *upper = own ? str_printf("%s/upper", own) : NULL;
  cleanup_free char *work = own ? str_printf("%s/work", own) : NULL;
  if (!lower || !upper || !work)
    return ns_no_memory(err);
  if (!ns_folder_there(lower))
    return err_set(err, ERR_NOT_FOUND, "base '%s' of '%s' is gone from %s", base, name, h->folder);
  return open_mount(lower, upper, work, ret_fd, err);
}

int ns_overlay_mount(const struct host *h, const char *name, const char *base, struct err *err)
{
  cleanup_free char *path = ns_machine_path(h, name);
  cleanup_close int fd = -1;
  if (!path)
    return ns_no_memory(err);
  if (ns_is_mount_point(path))
    return 0;
  if (ns_overlay_open(h, name, base, &fd, err) != 0)
    return -1;
  if (move_mount(fd, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) != 0)
    return err_errno(err, errno, "mount %s", path);
  return 0;
}

int ns_overlay_unmount(const struct host *h, const char *name, struct err *err)
{
  cleanup_free char *path = ns_machine_path(h, name);
  if (!path)
    return ns_no_memory(err);
  while (ns_is_mount_point(path))
    if (umount2(path, UMOUNT_NOFOLLOW) != 0)
      return err_errno(err, errno, "unmount %s", path);
  return 0;
}

// ---- what the file system can ------------------------------------------------------------------

bool ns_overlay_works(const struct host *h)
{
  char *paths[4] = {NULL};
  static const char *const names[] = {"probe", "probe/lower", "probe/upper", "probe/work"};
  int fd = -1;
  for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
    paths[i] = ns_own_path(h, "parts", names[i]);
    if (paths[i])
      mkdir(paths[i], 0700);
  }
  bool works =
      paths[1] && paths[2] && paths[3] && open_mount(paths[1], paths[2], paths[3], &fd, NULL) == 0;
  if (works)
    close(fd);
  cleanup_free char *inner = ns_own_path(h, "parts", "probe/work/work"); // made by the kernel
  if (inner)
    rmdir(inner);
  for (size_t i = ARRAY_SIZE(paths); i-- > 0;) {
    if (paths[i])
      rmdir(paths[i]);
    free(paths[i]);
  }
  return works;
}

static int temporary(const struct host *h)
{
  cleanup_free char *path = ns_own_path(h, "parts", "");
  return path ? open(path, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600) : -1;
}

bool ns_reflink_works(const struct host *h)
{
  char block[4096];
  memset(block, 'x', sizeof(block));
  cleanup_close int from = temporary(h);
  cleanup_close int to = temporary(h);
  return from >= 0 && to >= 0 && write(from, block, sizeof(block)) == sizeof(block) &&
         ioctl(to, FICLONE, from) == 0;
}
