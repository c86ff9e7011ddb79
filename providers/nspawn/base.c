// SPDX-License-Identifier: Apache-2.0
// Bases: a read-only copy of a machine's folder (a btrfs snapshot where there is btrfs), the folder
// itself taken over (convert), what an archive holds (image), or a folder that is used as it is
// (template).
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/str.h"
#include "providers/nspawn/host_internal.h"

#define PATIENCE_MS 2000

// ---- what it is now ----------------------------------------------------------------------------

// A read-only subvolume changes in no way that its transaction number does not tell;
// everything else is walked. What was unpacked begins with the SHA-256 of the archive.
static int revision_of(const struct record *r, const char *path, char ret[REVISION_BYTES],
                       struct err *err)
{
  struct subvolume v = {0};
  char tree[65];
  const char *digest = r->digest ? r->digest : "", *colon = r->digest ? ":" : "";
  if (ns_is_subvolume(path) && ns_subvolume_look(path, &v, err) != 0)
    return -1;
  if (v.read_only) {
    snprintf(ret, REVISION_BYTES, "%s%s%s:%lld", digest, colon, v.uuid, (long long)v.changed);
    return 0;
  }
  if (ns_tree_revision(path, tree, err) != 0)
    return -1;
  snprintf(ret, REVISION_BYTES, "%s%s%s", digest, colon, tree);
  return 0;
}

int ns_base_look(const struct host *h, const char *id, char revision[REVISION_BYTES],
                 struct err *err)
{
  struct record r cleanup_record = {0};
  struct err failure = ERR_INIT;
  cleanup_free char *path = ns_name_ok(id) ? ns_machine_path(h, id) : NULL;
  if (!path || !ns_folder_there(path))
    return err_set(err, ERR_NOT_FOUND, "there is no base '%s' in %s", id ? id : "", h->folder);
  if (ns_record_load(h, id, &r, &failure) == 0 && !str_eq(r.kind, "Base"))
    return err_set(err, ERR_NOT_FOUND, "'%s' is a clone, not a base", id);
  if (r.name && r.state != RECORD_DONE)
    return err_set(err, ERR_BUSY, "base '%s' is being made or removed", id);
  if (ns_folder_busy(path))
    return err_set(err, ERR_BUSY, "base '%s' runs: nothing is cloned from it meanwhile", id);
  return revision_of(&r, path, revision, err);
}

static int seen_set(struct base_seen *ret, const char *id, const char *owner, struct err *err)
{
  *ret = (struct base_seen){.bytes = -1, .percent = 0};
  ret->id = str_dup(id);
  ret->name = str_dup(id);
  ret->owner = str_dup(owner);
  return ret->id && ret->name && (!owner || ret->owner) ? 0 : ns_no_memory(err);
}

int ns_base_get(void *handle, const struct owned *o, struct base_seen *ret, struct err *err)
{
  const struct host *h = handle;
  struct record r cleanup_record = {0};
  char revision[REVISION_BYTES];
  bool is_template = str_eq(o->kind, "Template");
  cleanup_free char *path = ns_name_ok(o->id) ? ns_machine_path(h, o->id) : NULL;
  struct err failure = ERR_INIT;
  if (!path)
    return err_set(err, ERR_NOT_FOUND, "there is no base '%s'", o->id ? o->id : "");
  if (!is_template && ns_record_load(h, o->id, &r, &failure) != 0)
    return failure.kind == ERR_NOT_FOUND
               ? err_set(err, ERR_NOT_FOUND, "there is no base '%s' in %s", o->id, h->folder)
               : err_set(err, failure.kind, "%s", failure.message);
  if (seen_set(ret, o->id, r.owner, err) != 0)
    return -1;
  if (r.name && r.state != RECORD_DONE)
    return 0;
  if (!ns_folder_there(path))
    return err_set(err, ERR_NOT_FOUND, "base '%s' is gone from %s", o->id, h->folder);
  if (revision_of(&r, path, revision, err) != 0)
    return -1;
  ret->is_template = is_template;
  ret->running = ns_folder_busy(path);
  ret->done = true;
  ret->percent = 100;
  ret->bytes = r.name ? r.bytes : -1;
  ret->revision = str_dup(revision);
  return ret->revision ? 0 : ns_no_memory(err);
}

// ---- before anything is made -------------------------------------------------------------------

static int check_space(const struct host *h, const char *path, struct findings *f, struct err *err)
{
  struct statvfs s;
  int64_t bytes;
  if (ns_tree_bytes(path, &bytes, err) != 0 || statvfs(h->folder, &s) != 0)
    return -1;
  int64_t room = (int64_t)s.f_bavail * (int64_t)s.f_frsize;
  char need[32], have[32];
  if (bytes <= room)
    return findings_add(f, "Space", FINDING_OK, NULL, "%s has room for the copy", h->folder);
  return findings_add(f, "Space", FINDING_ERROR, "Make room, or use take: Convert.",
                      "the copy takes %s, and %s has %s", str_human_bytes((double)bytes, need),
                      h->folder, str_human_bytes((double)room, have));
}

static int check_source(const struct host *h, const struct base_order *b, struct findings *f,
                        struct err *err)
{
  const char *source = b->vm ? b->vm : b->template_;
  cleanup_free char *path = ns_name_ok(source) ? ns_machine_path(h, source) : NULL;
  struct record r cleanup_record = {0};
  if (!path || !ns_folder_there(path))
    return findings_add(f, "Source", FINDING_ERROR, "Name a folder of it.",
                        "there is no machine '%s' in %s", source, h->folder);
  if (ns_folder_busy(path) || ns_monitor_of(h, source))
    return findings_add(f, "Source", FINDING_ERROR, "Stop it first.", "machine '%s' runs", source);
  bool known = ns_record_load(h, source, &r, NULL) == 0;
  if (known && b->convert)
    return findings_add(f, "Source", FINDING_ERROR, "Use take: Copy.",
                        "'%s' is a %s of drover and cannot be taken over", source, r.kind);
  if (findings_add(f, "Source", FINDING_OK, NULL, "machine '%s' is there and off", source) != 0)
    return ns_no_memory(err);
  bool copies = b->vm && !b->convert && !ns_is_subvolume(path);
  return copies ? check_space(h, path, f, err) : 0;
}

static int check_name(const struct host *h, const struct base_order *b, struct findings *f)
{
  struct record r cleanup_record = {0};
  cleanup_free char *path = ns_name_ok(b->name) ? ns_machine_path(h, b->name) : NULL;
  if (!path)
    return findings_add(f, "Name", FINDING_ERROR, NULL, "'%s' cannot be a machine's name here",
                        b->name ? b->name : "");
  bool known = ns_record_load(h, b->name, &r, NULL) == 0;
  if (known ? !owner_same(r.owner, b->owner) : ns_folder_there(path))
    return findings_add(f, "Name", FINDING_ERROR, "Remove that machine.",
                        "machine '%s' is there already and belongs to somebody else", b->name);
  return 0;
}

int ns_base_check(void *handle, const struct base_order *b, struct findings *f, struct err *err)
{
  const struct host *h = handle;
  if (b->server || b->alias || b->fingerprint)
    return findings_add(f, "Source", FINDING_ERROR,
                        "Unpack a root file system into the folder and name it as vm or template.",
                        "systemd-nspawn folders have no image servers");
  if (b->storage && !str_eq(b->storage, h->folder) &&
      findings_add(f, "Storage", FINDING_ERROR, "Leave storage out.",
                   "all machines of this provider are in %s", h->folder) != 0)
    return ns_no_memory(err);
  if ((b->cpus || b->memory_bytes) &&
      findings_add(f, "Template", FINDING_ERROR, "Give them in the clones' template.",
                   "a folder has no CPUs and no memory of its own") != 0)
    return ns_no_memory(err);
  if (!b->image)
    return check_source(h, b, f, err);
  return check_name(h, b, f) != 0 || ns_image_check(h, b, f) != 0 ? ns_no_memory(err) : 0;
}

int ns_base_plan(void *handle, const struct base_order *b, struct owned *ret, struct err *err)
{
  const struct host *h = handle;
  const char *id = b->template_ ? b->template_ : b->name;
  if (!b->template_ && !b->vm && !b->image)
    return err_set(err, ERR_UNSUPPORTED, "a base here is made of a vm, an image or a template");
  if (!ns_name_ok(id))
    return err_set(err, b->template_ ? ERR_NOT_FOUND : ERR_INVALID,
                   "'%s' is not a name of a machine here", id ? id : "");
  ret->kind = str_dup(b->template_ ? "Template" : "Base");
  ret->id = str_dup(id);
  ret->where = str_dup(h->endpoint);
  return ret->kind && ret->id && ret->where ? 0 : ns_no_memory(err);
}

// ---- making ------------------------------------------------------------------------------------

static int fill_record(const struct base_order *b, struct record *r, struct err *err)
{
  r->kind = str_dup("Base");
  r->name = str_dup(b->name);
  r->owner = str_dup(b->owner);
  r->uid = str_dup(b->uid);
  r->vm = str_dup(b->vm);
  r->image = str_dup(b->image);
  r->convert = b->convert;
  r->bytes = -1;
  bool all = r->kind && r->name && r->owner && r->uid && (r->vm || r->image);
  return all ? 0 : ns_no_memory(err);
}

static int source_ready(const struct host *h, const struct base_order *b, struct err *err)
{
  cleanup_free char *path = ns_name_ok(b->vm) ? ns_machine_path(h, b->vm) : NULL;
  struct record r cleanup_record = {0};
  if (b->image)
    return b->source ? 0 : err_set(err, ERR_INTERNAL, "nobody brings '%s'", b->image);
  if (!path || !ns_folder_there(path))
    return err_set(err, ERR_NOT_FOUND, "there is no machine '%s' in %s", b->vm, h->folder);
  if (ns_folder_busy(path) || ns_monitor_of(h, b->vm))
    return err_set(err, ERR_BUSY, "machine '%s' runs: stop it first", b->vm);
  if (b->convert && ns_record_load(h, b->vm, &r, NULL) == 0)
    return err_set(err, ERR_UNSUPPORTED, "'%s' is a %s of drover and cannot be taken over", b->vm,
                   r.kind);
  return 0;
}

// Loads the record of an earlier call, or writes a new one. ret_new: nothing was begun before.
static int begin(const struct host *h, const struct base_order *b, struct record *r,
                 struct err *err)
{
  struct err failure = ERR_INIT;
  cleanup_free char *path = ns_machine_path(h, b->name);
  if (!path)
    return ns_no_memory(err);
  if (ns_record_load(h, b->name, r, &failure) == 0) {
    if (!owner_same(r->owner, b->owner) || !str_eq(r->kind, "Base"))
      return err_set(err, ERR_EXISTS, "'%s' is there already and belongs to another object",
                     b->name);
    if (r->state == RECORD_REMOVING)
      return err_set(err, ERR_BUSY, "base '%s' is being removed", b->name);
    return 0;
  }
  if (failure.kind != ERR_NOT_FOUND)
    return err_set(err, failure.kind, "%s", failure.message);
  if (ns_folder_there(path))
    return err_set(err, ERR_EXISTS, "%s is there already and is not drover's", path);
  if (source_ready(h, b, err) != 0 || fill_record(b, r, err) != 0)
    return -1;
  return ns_record_save(h, r, err);
}

static int finish(const struct host *h, struct record *r, struct err *err)
{
  cleanup_free char *path = ns_machine_path(h, r->name);
  if (!path)
    return ns_no_memory(err);
  if (ns_is_subvolume(path) ? ns_subvolume_read_only(path, true, err) != 0
                            : ns_tree_bytes(path, &r->bytes, err) != 0)
    return -1;
  if (!ns_is_subvolume(path))
    ns_tree_immutable(path, true); // as machinectl read-only; where there is no such flag, the
                                   // revision tells
  free(r->place);
  r->place = ns_place_of(path);
  r->state = RECORD_DONE;
  return ns_record_save(h, r, err);
}

// The machine as it is, or a snapshot of it. ret_done false: cp has begun.
static int take(struct host *h, struct record *r, int *lock, bool *ret_done, struct err *err)
{
  cleanup_free char *from = ns_machine_path(h, r->vm);
  cleanup_free char *part = ns_own_path(h, "parts", r->name);
  cleanup_close int root = -1;
  struct record source cleanup_record = {0};
  if (!from || !part)
    return ns_no_memory(err);
  *ret_done = true;
  if (r->convert)
    return ns_part_place(h, from, r, err);
  if (ns_is_subvolume(from) && h->fs == FS_BTRFS)
    return ns_subvolume_snapshot(from, part, false, err) != 0 ? -1 : ns_part_place(h, part, r, err);
  if (ns_record_load(h, r->vm, &source, NULL) != 0)
    source = (struct record){.name = str_dup(r->vm)};
  *ret_done = false;
  if (ns_root_open(h, &source, &root, err) != 0)
    return -1;
  return ns_copy_start(h, r->name, root, h->reflink ? CLONE_REFLINK : CLONE_FULL, lock, err);
}

static int unpack(struct host *h, const struct base_order *b, int *lock, struct err *err)
{
  cleanup_free char *part = ns_own_path(h, "parts", b->name);
  if (!part)
    return ns_no_memory(err);
  if (h->fs == FS_BTRFS ? ns_subvolume_create(part, err) != 0 : mkdir(part, 0755) != 0)
    return h->fs == FS_BTRFS ? -1 : err_errno(err, errno, "make %s", part);
  return ns_image_start(h, b->name, b->source, lock, err);
}

static int make(struct host *h, const struct base_order *b, struct record *r, bool copied,
                int *lock, struct err *err)
{
  cleanup_free char *part = ns_own_path(h, "parts", b->name);
  cleanup_free char *path = ns_machine_path(h, b->name);
  bool done = true;
  if (!part || !path)
    return ns_no_memory(err);
  // The digest is in the record before the place says that it is whole.
  if (copied &&
      ((r->image && ns_record_save(h, r, err) != 0) || ns_part_place(h, part, r, err) != 0))
    return -1;
  if (!copied && !ns_part_placed(h, r)) {
    if (ns_folder_there(path))
      return err_set(err, ERR_EXISTS, "%s is there already and is not drover's", path);
    if (ns_discard(h, b->name, false, lock, err) != 0 || source_ready(h, b, err) != 0)
      return -1;
    if (r->image)
      return unpack(h, b, lock, err);
    if (take(h, r, lock, &done, err) != 0)
      return -1;
  }
  return done ? finish(h, r, err) : 0;
}

// What is left of an archive that could not be unpacked goes, so that the name is free for others.
static int give_up(struct host *h, const struct base_order *b, int *lock)
{
  if (*lock >= 0 && ns_discard(h, b->name, false, lock, NULL) == 0)
    ns_record_remove(h, b->name, NULL);
  return -1;
}

static int under_way(struct host *h, const struct owned *o, int64_t percent, struct base_seen *ret,
                     struct err *err)
{
  if (ns_base_get(h, o, ret, err) != 0)
    return -1;
  ret->percent = percent;
  return 0;
}

int ns_base_make(void *handle, const struct base_order *b, const struct owned *o,
                 struct base_seen *ret, struct err *err)
{
  struct host *h = handle;
  struct record r cleanup_record = {0};
  cleanup_close int lock = -1;
  if (str_eq(o->kind, "Template"))
    return ns_base_get(h, o, ret, err);
  int64_t percent = 0;
  char digest[FEED_DIGEST_TEXT] = "";
  enum task_state copy = ns_task_wait(h, b->name, PATIENCE_MS, err);
  if (b->image && copy != TASK_RUNS) // what was a task then was a removal
    copy = ns_image_wait(h, b->name, PATIENCE_MS, &percent, digest, &lock, err);
  if (copy == TASK_FAILED)
    return give_up(h, b, &lock);
  if (copy == TASK_RUNS)
    return under_way(h, o, percent, ret, err);
  if ((lock < 0 && ns_machine_lock(h, b->name, &lock, err) != 0) || begin(h, b, &r, err) != 0)
    return -1;
  if (digest[0])
    str_set(&r.digest, digest);
  cleanup_free char *path = ns_machine_path(h, b->name);
  bool gone =
      r.state == RECORD_DONE && path && !ns_folder_there(path); // removed by hand: once more
  if ((r.state != RECORD_DONE || gone) && make(h, b, &r, copy == TASK_DONE, &lock, err) != 0)
    return -1;
  return ns_base_get(h, o, ret, err);
}
