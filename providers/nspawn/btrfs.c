// SPDX-License-Identifier: Apache-2.0
// Subvolumes by the ioctls of linux/btrfs.h (the btrfs programs do the same).
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/str.h"
#include "providers/nspawn/host_internal.h"

#define SEARCH_BYTES (256u << 10)
#define LEAF_BYTES   16384 // of metadata, at the least, that a subvolume of its own takes

static int open_folder(const char *path, struct err *err)
{
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0)
    err_errno(err, errno, "open %s", path);
  return fd;
}

bool ns_is_subvolume(const char *path)
{
  struct statfs f;
  struct stat s;
  return lstat(path, &s) == 0 && s.st_ino == BTRFS_FIRST_FREE_OBJECTID && statfs(path, &f) == 0 &&
         f.f_type == BTRFS_SUPER_MAGIC;
}

static void uuid_text(const uint8_t *u, char ret[37])
{
  static const uint8_t none[16];
  ret[0] = '\0';
  if (memcmp(u, none, sizeof(none)) == 0)
    return;
  for (int i = 0, at = 0; i < 16; i++)
    at += sprintf(ret + at, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", u[i]);
}

int ns_subvolume_look(const char *path, struct subvolume *ret, struct err *err)
{
  struct btrfs_ioctl_get_subvol_info_args info = {0};
  cleanup_close int fd = open_folder(path, err);
  if (fd < 0)
    return -1;
  if (ioctl(fd, BTRFS_IOC_GET_SUBVOL_INFO, &info) < 0)
    return err_errno(err, errno, "look at the subvolume %s", path);
  uuid_text(info.uuid, ret->uuid);
  uuid_text(info.parent_uuid, ret->parent);
  ret->made = (int64_t)info.otransid;
  ret->changed = (int64_t)info.ctransid;
  ret->read_only = info.flags & BTRFS_ROOT_SUBVOL_RDONLY;
  return 0;
}

// Splits "FOLDER/NAME": opens the folder, ret_name points into path.
static int open_parent(const char *path, const char **ret_name, struct err *err)
{
  const char *slash = strrchr(path, '/');
  cleanup_free char *folder = strndup(path, (size_t)(slash - path));
  *ret_name = slash + 1;
  return folder ? open_folder(folder, err) : ns_no_memory(err);
}

int ns_subvolume_snapshot(const char *from, const char *to, bool read_only, struct err *err)
{
  const char *name;
  cleanup_close int source = open_folder(from, err);
  cleanup_close int folder = source < 0 ? -1 : open_parent(to, &name, err);
  if (folder < 0)
    return -1;
  struct btrfs_ioctl_vol_args_v2 args = {.fd = source,
                                         .flags = read_only ? BTRFS_SUBVOL_RDONLY : 0};
  snprintf(args.name, sizeof(args.name), "%s", name);
  if (ioctl(folder, BTRFS_IOC_SNAP_CREATE_V2, &args) != 0)
    return err_errno(err, errno, "take a snapshot of %s at %s", from, to);
  return 0;
}

int ns_subvolume_create(const char *path, struct err *err)
{
  const char *name;
  struct btrfs_ioctl_vol_args args = {0};
  cleanup_close int folder = open_parent(path, &name, err);
  if (folder < 0)
    return -1;
  snprintf(args.name, sizeof(args.name), "%s", name);
  if (ioctl(folder, BTRFS_IOC_SUBVOL_CREATE, &args) != 0)
    return err_errno(err, errno, "make the subvolume %s", path);
  return 0;
}

int ns_subvolume_read_only(const char *path, bool on, struct err *err)
{
  uint64_t flags = 0;
  cleanup_close int fd = open_folder(path, err);
  if (fd < 0)
    return -1;
  if (ioctl(fd, BTRFS_IOC_SUBVOL_GETFLAGS, &flags) != 0)
    return err_errno(err, errno, "look at the subvolume %s", path);
  flags = on ? flags | BTRFS_SUBVOL_RDONLY : flags & ~BTRFS_SUBVOL_RDONLY;
  if (ioctl(fd, BTRFS_IOC_SUBVOL_SETFLAGS, &flags) != 0)
    return err_errno(err, errno, "make the subvolume %s read-only", path);
  return 0;
}

int ns_subvolume_remove(const char *path, struct err *err)
{
  const char *name;
  struct btrfs_ioctl_vol_args args = {0};
  cleanup_close int folder = open_parent(path, &name, err);
  if (folder < 0)
    return -1;
  snprintf(args.name, sizeof(args.name), "%s", name);
  if (ioctl(folder, BTRFS_IOC_SNAP_DESTROY, &args) == 0)
    return 0;
  if (errno == ENOTEMPTY)
    return err_set(err, ERR_BUSY, "%s holds other subvolumes", path);
  return err_errno(err, errno, "remove the subvolume %s", path);
}

// ---- what a clone takes ------------------------------------------------------------------------

// Bytes of one item of the subvolume's tree: its data, if that was written by itself, and itself.
// An extent that is written piece by piece has an item for each piece, so each counts its share.
static int64_t item_bytes(const struct btrfs_ioctl_search_header *head, const char *body,
                          int64_t since)
{
  struct btrfs_file_extent_item e;
  int64_t own = head->len;
  if (head->type != BTRFS_EXTENT_DATA_KEY || head->len < sizeof(e))
    return own; // inline data is as long as its item
  memcpy(&e, body, sizeof(e));
  if (e.type == BTRFS_FILE_EXTENT_INLINE || e.disk_bytenr == 0 || e.ram_bytes == 0 ||
      (int64_t)le64toh(e.generation) < since)
    return own;
  double stored = (double)le64toh(e.disk_num_bytes) / (double)le64toh(e.ram_bytes);
  return own + (int64_t)((double)le64toh(e.num_bytes) * stored);
}

static bool next_key(struct btrfs_ioctl_search_key *k)
{
  if (++k->min_offset != 0)
    return true;
  if (k->min_type < 255) {
    k->min_type++;
    return true;
  }
  k->min_type = 0;
  return ++k->min_objectid != 0;
}

// Only leaves that are newer are read: that takes as long as there is something in them.
int ns_subvolume_bytes(const char *path, int64_t since, int64_t *ret, struct err *err)
{
  cleanup_close int fd = open_folder(path, err);
  cleanup_free struct btrfs_ioctl_search_args_v2 *args = calloc(1, sizeof(*args) + SEARCH_BYTES);
  if (fd < 0 || !args)
    return fd < 0 ? -1 : ns_no_memory(err);
  struct btrfs_ioctl_search_key key = {.max_objectid = UINT64_MAX,
                                       .max_offset = UINT64_MAX,
                                       .min_transid = (uint64_t)since,
                                       .max_transid = UINT64_MAX,
                                       .max_type = 255};
  int64_t sum = 0;
  for (bool more = true; more;) {
    args->key = key;
    args->key.nr_items = UINT32_MAX;
    args->buf_size = SEARCH_BYTES;
    if (ioctl(fd, BTRFS_IOC_TREE_SEARCH_V2, args) != 0)
      return err_errno(err, errno, "read the tree of %s", path);
    const char *at = (const char *)args->buf;
    for (uint32_t i = 0; i < args->key.nr_items; i++) {
      struct btrfs_ioctl_search_header head;
      memcpy(&head, at, sizeof(head));
      sum += item_bytes(&head, at + sizeof(head), since);
      at += sizeof(head) + head.len;
      key.min_objectid = head.objectid;
      key.min_type = head.type;
      key.min_offset = head.offset;
    }
    more = args->key.nr_items > 0 && next_key(&key);
  }
  *ret = sum < LEAF_BYTES ? LEAF_BYTES : sum;
  return 0;
}
