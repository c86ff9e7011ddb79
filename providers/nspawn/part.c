// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/str.h"
#include "providers/nspawn/host_internal.h"

#define MARK        "trusted.drover.uid" // on a folder: whose it is, until its record says so
#define UID_BYTES   256
#define PATIENCE_MS 3000

// ---- places ------------------------------------------------------------------------------------

char *ns_place_of(const char *path)
{
  struct subvolume v;
  struct statx s;
  if (ns_is_subvolume(path))
    return ns_subvolume_look(path, &v, NULL) == 0 ? str_dup(v.uuid) : NULL;
  if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &s) != 0 ||
      !S_ISDIR(s.stx_mode))
    return NULL;
  return str_printf("%llu-%lld.%09u", (unsigned long long)s.stx_ino, (long long)s.stx_btime.tv_sec,
                    s.stx_btime.tv_nsec);
}

bool ns_place_taken(const struct host *h, const struct record *r)
{
  cleanup_free char *path = ns_machine_path(h, r->name);
  cleanup_free char *place = path && !ns_is_mount_point(path) ? ns_place_of(path) : NULL;
  return place && r->place && !str_eq(place, r->place);
}

bool ns_part_placed(const struct host *h, const struct record *r)
{
  char uid[UID_BYTES];
  cleanup_free char *path = ns_machine_path(h, r->name);
  ssize_t length = path ? lgetxattr(path, MARK, uid, sizeof(uid) - 1) : -1;
  uid[length > 0 ? length : 0] = '\0';
  return length > 0 && str_eq(uid, r->uid);
}

int ns_part_place(const struct host *h, const char *from, struct record *r, struct err *err)
{
  cleanup_free char *to = ns_machine_path(h, r->name);
  if (!to)
    return ns_no_memory(err);
  if (lsetxattr(from, MARK, r->uid, strlen(r->uid), 0) != 0)
    return err_errno(err, errno, "mark %s", from);
  if (!str_eq(from, to) && ns_rename_new(from, to, err) != 0)
    return -1;
  free(r->place);
  r->place = ns_place_of(to);
  return r->place ? 0 : ns_no_memory(err);
}

// ---- copies ------------------------------------------------------------------------------------

int ns_copy_start(struct host *h, const char *name, int from, int mode, int *lock, struct err *err)
{
  cleanup_free char *part = ns_own_path(h, "parts", name);
  const char *reflink = mode == CLONE_REFLINK ? "--reflink=always" : "--reflink=never";
  const char *argv[] = {"cp", "-a", "-x", reflink, "-T", "/proc/self/fd/3/.", part, NULL};
  if (!part)
    return ns_no_memory(err);
  if (h->fs == FS_BTRFS && ns_subvolume_create(part, err) != 0)
    return -1;
  return ns_task_start(h, name, argv, from, lock, err);
}

// ---- removal -----------------------------------------------------------------------------------

// Into the trash under a name that is free there.
static int to_trash(const char *path, const char *trash, struct err *err)
{
  if (!ns_folder_there(path))
    return 0;
  if (ns_is_subvolume(path) && ns_subvolume_read_only(path, false, err) != 0)
    return -1;
  ns_tree_immutable(path, false);
  for (int i = 0; i < 100; i++) {
    cleanup_free char *to = str_printf("%s/%d", trash, i);
    if (!to)
      return ns_no_memory(err);
    if (renameat2(AT_FDCWD, path, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
      return 0;
    if (errno != EEXIST)
      return err_errno(err, errno, "remove %s", path);
  }
  return err_set(err, ERR_BUSY, "%s is full", trash);
}

// Subvolumes go at once; those with others inside, and everything else, are left for rm.
static void remove_subvolumes(const char *folder, int depth)
{
  DIR *dir = opendir(folder);
  for (struct dirent *e; dir && (e = readdir(dir));) {
    cleanup_free char *path = str_printf("%s/%s", folder, e->d_name);
    if (!path || e->d_name[0] == '.' || e->d_type != DT_DIR)
      continue;
    if (ns_is_subvolume(path))
      ns_subvolume_remove(path, NULL);
    else if (depth > 0)
      remove_subvolumes(path, depth - 1);
    rmdir(path);
  }
  if (dir)
    closedir(dir);
}

static int remove_tree(struct host *h, const char *name, const char *path, int *lock,
                       struct err *err)
{
  const char *argv[] = {"rm", "-rf", "--", path, NULL};
  if (ns_task_start(h, name, argv, -1, lock, err) != 0)
    return -1;
  switch (ns_task_wait(h, name, PATIENCE_MS, err)) {
  case TASK_RUNS:
    return err_set(err, ERR_BUSY, "'%s' is being removed", name);
  case TASK_FAILED:
    return -1;
  default:
    return ns_machine_lock(h, name, lock, err); // the task had it
  }
}

static int empty_trash(struct host *h, const char *name, const char *trash, int *lock,
                       struct err *err)
{
  remove_subvolumes(trash, 1);
  if (rmdir(trash) == 0 || errno == ENOENT)
    return 0;
  return remove_tree(h, name, trash, lock, err);
}

// On a full file system there is no room for the trash: what was only begun goes as it stands.
static int make_room(struct host *h, const char *name, int *lock, struct err *err)
{
  cleanup_free char *part = ns_own_path(h, "parts", name);
  if (!part)
    return ns_no_memory(err);
  return ns_is_subvolume(part) ? ns_subvolume_remove(part, err)
                               : remove_tree(h, name, part, lock, err);
}

static int make_trash(struct host *h, const char *name, const char *trash, int *lock,
                      struct err *err)
{
  if (mkdir(trash, 0700) == 0 || errno == EEXIST)
    return 0;
  if (errno != ENOSPC)
    return err_errno(err, errno, "make %s", trash);
  if (make_room(h, name, lock, err) != 0)
    return -1;
  return mkdir(trash, 0700) == 0 ? 0 : err_errno(err, errno, "make %s", trash);
}

int ns_discard(struct host *h, const char *name, bool with_place, int *lock, struct err *err)
{
  static const char *const parts[] = {"parts", "overlays", "snapshots"};
  cleanup_free char *trash = ns_own_path(h, "trash", name);
  cleanup_free char *path = ns_machine_path(h, name);
  if (!trash || !path)
    return ns_no_memory(err);
  if (make_trash(h, name, trash, lock, err) != 0)
    return -1;
  if (with_place && to_trash(path, trash, err) != 0)
    return -1;
  for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
    cleanup_free char *part = ns_own_path(h, parts[i], name);
    if (!part)
      return ns_no_memory(err);
    if (to_trash(part, trash, err) != 0)
      return -1;
  }
  return empty_trash(h, name, trash, lock, err);
}
