// SPDX-License-Identifier: Apache-2.0
// Snapshots of a clone: read-only btrfs snapshots; of an overlay clone, copies of its upper folder
// (reflinked where the file system can), taken while it is off. A copied clone on another file
// system has none.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"
#include "providers/nspawn/host_internal.h"

#define NAME_MAX_BYTES 63
#define COPY_MS        13000 // within the deadline of a call

struct shot {
  struct record r;
  int lock;
  bool overlay;
  char *folder; // snapshots/NAME
  char *path;   // snapshots/NAME/SNAPSHOT
  char *live;   // what it is a snapshot of
};

static void shot_release(struct shot *s)
{
  ns_record_release(&s->r);
  cleanup_close_(&s->lock);
  free(s->folder);
  free(s->path);
  free(s->live);
}

static bool snapshot_name_ok(const char *name)
{
  size_t length = strlen(name);
  return length > 0 && length <= NAME_MAX_BYTES &&
         strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == length;
}

static int shot_open(const struct host *h, const char *id, const char *name, struct shot *s,
                     struct err *err)
{
  s->lock = -1;
  if (ns_record_done(h, id, "Clone", &s->r, err) != 0)
    return -1;
  if (name && !snapshot_name_ok(name))
    return err_set(err, ERR_INVALID, "'%s' is not a name of a snapshot: use a-z, 0-9 and -", name);
  if (ns_machine_lock(h, id, &s->lock, err) != 0)
    return -1;
  s->overlay = ns_is_overlay(h, &s->r);
  s->folder = ns_own_path(h, "snapshots", id);
  s->path = s->folder ? str_printf("%s/%s", s->folder, name ? name : "") : NULL;
  cleanup_free char *own = ns_own_path(h, "overlays", id);
  s->live = s->overlay && own ? str_printf("%s/upper", own) : ns_machine_path(h, id);
  if (!s->folder || !s->path || !s->live)
    return ns_no_memory(err);
  if (!s->overlay && !ns_is_subvolume(s->live))
    return err_set(err, ERR_UNSUPPORTED,
                   "'%s' is a copy outside btrfs, of which no snapshot can be taken", id);
  return 0;
}

static int must_be_off(const struct host *h, const struct shot *s, struct err *err)
{
  if (ns_monitor_of(h, s->r.name))
    return err_set(err, ERR_BUSY, "machine '%s' runs: stop it first", s->r.name);
  return s->overlay ? ns_overlay_unmount(h, s->r.name, err) : 0;
}

static int copy(const char *from, const char *to, struct err *err)
{
  const char *argv[] = {"cp", "-a", "-x", "--reflink=auto", "-T", "--", from, to, NULL};
  struct command c = {.argv = argv, .timeout_ms = COPY_MS};
  struct command_result done;
  if (command_check(&c, &done, err) != 0)
    return -1;
  command_result_release(&done);
  return 0;
}

static int remove_tree(const char *path, struct err *err)
{
  const char *argv[] = {"rm", "-rf", "--", path, NULL};
  if (ns_is_subvolume(path) && ns_subvolume_remove(path, NULL) == 0)
    return 0;
  if (ns_is_subvolume(path) && ns_subvolume_read_only(path, false, err) != 0)
    return -1;
  return ns_folder_there(path) ? ns_run_program(argv, NULL, err) : 0;
}

// A copy of `from` at `to`, complete or not there at all.
static int duplicate(const struct shot *s, const char *from, const char *to, bool read_only,
                     struct err *err)
{
  cleanup_free char *part = str_printf("%s/.part", s->folder);
  if (!part)
    return ns_no_memory(err);
  if (!s->overlay)
    return ns_subvolume_snapshot(from, to, read_only, err);
  if (remove_tree(part, err) != 0 || copy(from, part, err) != 0)
    return -1;
  return ns_rename_new(part, to, err);
}

int ns_snapshot(void *handle, const char *id, const char *name, struct err *err)
{
  const struct host *h = handle;
  struct shot s CLEANUP(shot_release) = {.lock = -1};
  if (shot_open(h, id, name, &s, err) != 0)
    return -1;
  if (ns_folder_there(s.path))
    return 0;
  if (s.overlay && must_be_off(h, &s, err) != 0)
    return -1;
  if (mkdir(s.folder, 0700) != 0 && errno != EEXIST)
    return err_errno(err, errno, "make %s", s.folder);
  return duplicate(&s, s.live, s.path, true, err);
}

// ---- back --------------------------------------------------------------------------------------

// The new root's parent is the snapshot, which may go: so the record keeps whose child it is. It is
// written first: a lineage of something that never came to its place harms nobody.
static int remember(const struct host *h, struct shot *s, const char *fresh, struct err *err)
{
  struct subvolume v;
  bool linked;
  if (s->overlay)
    return 0;
  ns_mode_at(h, &s->r, s->live, &linked);
  if (ns_subvolume_look(fresh, &v, err) != 0)
    return -1;
  if (linked && !strings_has(&s->r.lineage, v.parent) && strings_add(&s->r.lineage, v.parent) != 0)
    return ns_no_memory(err);
  free(s->r.place);
  s->r.place = str_dup(v.uuid);
  return s->r.place ? ns_record_save(h, &s->r, err) : ns_no_memory(err);
}

// In one step: RENAME_EXCHANGE; then what was there before is removed.
static int swap(const char *fresh, const char *live, struct err *err)
{
  if (renameat2(AT_FDCWD, fresh, AT_FDCWD, live, RENAME_EXCHANGE) != 0)
    return err_errno(err, errno, "put %s in its place", live);
  return remove_tree(fresh, err);
}

int ns_rollback(void *handle, const char *id, const char *name, struct err *err)
{
  const struct host *h = handle;
  struct shot s CLEANUP(shot_release) = {.lock = -1};
  if (shot_open(h, id, name, &s, err) != 0)
    return -1;
  if (!ns_folder_there(s.path))
    return err_set(err, ERR_NOT_FOUND, "machine '%s' has no snapshot '%s'", id, name);
  cleanup_free char *fresh = str_printf("%s/.fresh", s.folder);
  if (!fresh)
    return ns_no_memory(err);
  if (must_be_off(h, &s, err) != 0 || remove_tree(fresh, err) != 0 ||
      duplicate(&s, s.path, fresh, false, err) != 0 || remember(h, &s, fresh, err) != 0)
    return -1;
  return swap(fresh, s.live, err);
}

int ns_snapshots(void *handle, const char *id, struct strings *ret, struct err *err)
{
  struct shot s CLEANUP(shot_release) = {.lock = -1};
  if (shot_open(handle, id, NULL, &s, err) != 0)
    return -1;
  DIR *dir = opendir(s.folder);
  int failed = 0;
  for (struct dirent *e; dir && !failed && (e = readdir(dir));)
    if (snapshot_name_ok(e->d_name))
      failed = strings_add(ret, e->d_name) != 0 ? ns_no_memory(err) : 0;
  if (dir)
    closedir(dir);
  return failed;
}

int ns_snapshot_remove(void *handle, const char *id, const char *name, struct err *err)
{
  struct shot s CLEANUP(shot_release) = {.lock = -1};
  if (shot_open(handle, id, name, &s, err) != 0)
    return -1;
  return remove_tree(s.path, err);
}
