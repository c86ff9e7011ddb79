// SPDX-License-Identifier: Apache-2.0
#include "providers/nspawn/nspawn.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include "base/str.h"
#include "providers/nspawn/host_internal.h"

#define XFS_MAGIC 0x58465342

// ---- opening -----------------------------------------------------------------------------------

// The rest of "local:/FOLDER". Names of machines are put behind it, and it into mount options.
static const char *folder_of(const char *endpoint, struct err *err)
{
  const char *folder = str_after(endpoint, "local:");
  const char *allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-";
  size_t length = folder ? strlen(folder) : 0;
  if (length < 2 || folder[0] != '/' || folder[length - 1] == '/' || strstr(folder, "/../") ||
      str_ends(folder, "/..") || strstr(folder, "//") || strspn(folder, allowed) != length) {
    err_set(err, ERR_INVALID,
            "endpoint '%s' must be local:/FOLDER, an absolute path of letters, digits, '/', '.', "
            "'_' and '-'",
            endpoint);
    return NULL;
  }
  return folder;
}

static int make_own_folders(const struct host *h, struct err *err)
{
  static const char *const names[] = {"",           "/records", "/parts", "/overlays",
                                      "/snapshots", "/trash",   "/locks", "/run"};
  for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
    cleanup_free char *path = str_printf("%s/.drover%s", h->folder, names[i]);
    if (!path)
      return ns_no_memory(err);
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
      return err_errno(err, errno, "make %s", path);
    struct stat s;
    if (lstat(path, &s) != 0 || !S_ISDIR(s.st_mode) || s.st_uid != geteuid() ||
        (s.st_mode & 022) != 0)
      return err_set(err, ERR_DENIED, "%s is not drover's own folder", path);
  }
  return 0;
}

static int look_at_folder(struct host *h, struct err *err)
{
  struct statfs s;
  if (statfs(h->folder, &s) != 0)
    return errno == ENOENT ? err_set(err, ERR_NOT_FOUND, "there is no folder %s", h->folder)
                           : err_errno(err, errno, "%s", h->folder);
  if (!ns_folder_there(h->folder))
    return err_set(err, ERR_INVALID, "%s is not a folder", h->folder);
  if (geteuid() != 0)
    return err_set(err, ERR_DENIED, "systemd-nspawn needs root");
  h->fs = s.f_type == BTRFS_SUPER_MAGIC ? FS_BTRFS : FS_OTHER;
  for (const char *c = h->folder; *c; c++)
    h->tag = (int)(((uint32_t)h->tag ^ (unsigned char)*c) * 16777619u);
  if (make_own_folders(h, err) != 0)
    return -1;
  h->overlay = ns_overlay_works(h);
  h->reflink = ns_reflink_works(h);
  return 0;
}

static void host_close(void *handle)
{
  struct host *h = handle;
  ns_images_end(h);
  ns_tasks_end(h);
  free(h->folder);
  free(h->endpoint);
  free(h->network);
  free(h);
}

static int host_open(const struct provider_config *c, const struct address_filter *allowed,
                     void **ret, struct err *err)
{
  (void)allowed; // nothing is connected to
  const char *folder = folder_of(c->endpoint, err);
  struct host *h = folder ? calloc(1, sizeof(*h)) : NULL;
  if (!h)
    return folder ? ns_no_memory(err) : -1;
  h->folder = str_dup(folder);
  h->endpoint = str_dup(c->endpoint);
  h->network = str_empty(c->default_network) ? NULL : str_dup(c->default_network);
  int failed = h->folder && h->endpoint ? look_at_folder(h, err) : ns_no_memory(err);
  if (failed)
    host_close(h);
  else
    *ret = h;
  return failed;
}

static bool host_alive(void *handle)
{
  struct host *h = handle;
  return ns_folder_there(h->folder);
}

// ---- what there is -----------------------------------------------------------------------------

static const char *type_name(const char *folder)
{
  struct statfs s;
  if (statfs(folder, &s) != 0)
    return "unknown";
  switch (s.f_type) {
  case BTRFS_SUPER_MAGIC:
    return "btrfs";
  case XFS_MAGIC:
    return "xfs";
  case EXT4_SUPER_MAGIC:
    return "ext4";
  default:
    return "dir";
  }
}

static int add_storage(const struct host *h, struct provider_info *ret, struct err *err)
{
  struct statvfs s;
  struct provider_storage *p = list_add(&ret->storages, sizeof(*p), 0);
  if (!p || statvfs(h->folder, &s) != 0)
    return p ? err_errno(err, errno, "%s", h->folder) : ns_no_memory(err);
  p->name = str_dup(h->folder);
  p->path = str_dup(h->folder);
  p->type = str_dup(type_name(h->folder));
  p->free_bytes = (int64_t)s.f_bavail * (int64_t)s.f_frsize;
  p->capacity_bytes = (int64_t)s.f_blocks * (int64_t)s.f_frsize;
  p->active = true;
  return p->name && p->path && p->type ? 0 : ns_no_memory(err);
}

static int add_bridges(struct provider_info *ret, struct err *err)
{
  DIR *dir = opendir("/sys/class/net");
  int failed = 0;
  for (struct dirent *e; dir && !failed && (e = readdir(dir));)
    if (e->d_name[0] != '.' && ns_network_is_bridge(e->d_name))
      failed = strings_add(&ret->networks, e->d_name) != 0 ? ns_no_memory(err) : 0;
  if (dir)
    closedir(dir);
  return failed;
}

static int add_machines(struct host *h, struct provider_info *ret, struct err *err)
{
  struct machines all CLEANUP(machines_release) = {0};
  if (ns_machines(h, &all, err) != 0)
    return -1;
  const struct machine_seen *m = all.items.items;
  for (size_t i = 0; i < all.items.count; i++)
    if (strings_add(&ret->vms, m[i].name) != 0)
      return ns_no_memory(err);
  return 0;
}

static int read_version(char **ret, struct err *err)
{
  const char *argv[] = {"systemd-nspawn", "--version", NULL};
  struct command c = {.argv = argv, .timeout_ms = 10000};
  struct command_result done;
  if (command_check(&c, &done, err) != 0)
    return -1;
  done.output[strcspn(done.output, "\n")] = '\0';
  *ret = str_dup(done.output);
  command_result_release(&done);
  return *ret ? 0 : ns_no_memory(err);
}

static int probe(void *handle, struct provider_info *ret, struct err *err)
{
  struct host *h = handle;
  char name[256] = "";
  gethostname(name, sizeof(name) - 1);
  ret->host = str_dup(name);
  if (!ret->host)
    return ns_no_memory(err);
  if (read_version(&ret->version, err) != 0 || strings_add(&ret->capabilities, "Clone") != 0 ||
      add_storage(h, ret, err) != 0 || add_bridges(ret, err) != 0)
    return -1;
  return add_machines(h, ret, err);
}

// ---- what virtual machines have and containers have not ----------------------------------------

static int power_state(void *handle, const char *id, enum vm_power *ret, struct err *err)
{
  struct clone_seen seen CLEANUP(clone_seen_release) = {0};
  if (ns_clone_get(handle, id, &seen, err) != 0)
    return -1;
  *ret = (enum vm_power)seen.power;
  return 0;
}

static int set_autostart(void *h, const char *id, bool on, struct err *err)
{
  (void)h, (void)id, (void)on;
  return err_set(err, ERR_UNSUPPORTED, "drover starts containers itself: they have no autostart");
}

static const struct clone_ops clones = {
    .copies_machines = true,
    .takes_images = true,
    .base_check = ns_base_check,
    .base_plan = ns_base_plan,
    .base_make = ns_base_make,
    .base_get = ns_base_get,
    .base_release = ns_base_release,
    .clone_check = ns_clone_check,
    .clone_plan = ns_clone_plan,
    .clone_make = ns_clone_make,
    .clone_get = ns_clone_get,
    .clone_power = ns_clone_power,
    .machines = ns_machines,
    .exec = ns_exec,
    .push = ns_push,
    .pull = ns_pull,
    .snapshot = ns_snapshot,
    .rollback = ns_rollback,
    .snapshots = ns_snapshots,
    .snapshot_remove = ns_snapshot_remove,
    .console = ns_console,
};

const struct provider_ops nspawn_ops = {
    .type = "Nspawn",
    .no_disks = "an Nspawn provider has containers, which have no disks to migrate",
    .open = host_open,
    .close = host_close,
    .alive = host_alive,
    .probe = probe,
    .power = ns_clone_power,
    .power_state = power_state,
    .set_autostart = set_autostart,
    .remove = ns_remove_owned,
    .clones = &clones,
};
