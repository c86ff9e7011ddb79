// SPDX-License-Identifier: Apache-2.0
// Making a clone: record, part, identity, place, record. A killed call leaves a record "Making";
// the next one goes on where the place tells that it may, and starts over where it may not.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"
#include "providers/nspawn/host_internal.h"

#define PATIENCE_MS 2000

int ns_clone_plan(void *handle, const struct clone_order *c, struct owned *ret, struct err *err)
{
  const struct host *h = handle;
  if (!ns_name_ok(c->name))
    return err_set(err, ERR_INVALID, "'%s' is not a name that a machine can have here", c->name);
  ret->kind = str_dup("Clone");
  ret->id = str_dup(c->name);
  ret->where = str_dup(h->endpoint);
  return ret->kind && ret->id && ret->where ? 0 : ns_no_memory(err);
}

int ns_clone_way(const struct host *h, const struct clone_order *c, int *ret_mode, struct err *err)
{
  cleanup_free char *from = ns_machine_path(h, c->base ? c->base : c->source);
  if (!from)
    return ns_no_memory(err);
  bool snapshot = h->fs == FS_BTRFS && ns_is_subvolume(from);
  bool link = snapshot || (c->base && h->overlay);
  *ret_mode = c->mode;
  if (c->mode == CLONE_PREFER_LINKED)
    *ret_mode = link ? CLONE_LINKED : h->reflink ? CLONE_REFLINK : CLONE_FULL;
  if (*ret_mode == CLONE_LINKED && !link)
    return err_set(err, ERR_UNSUPPORTED,
                   c->source ? "a linked clone of a clone needs btrfs: %s "
                               "has none"
                             : "%s can neither btrfs snapshots nor overlays: "
                               "no linked clones",
                   h->folder);
  if (*ret_mode == CLONE_REFLINK && !h->reflink)
    return err_set(err, ERR_UNSUPPORTED, "the file system of %s has no reflinks", h->folder);
  return 0;
}

// ---- what must be so ---------------------------------------------------------------------------

static int source_ready(const struct host *h, const struct clone_order *c, struct err *err)
{
  char revision[REVISION_BYTES];
  if (c->base) {
    if (ns_base_look(h, c->base, revision, err) != 0)
      return -1;
    if (c->base_revision && !str_eq(c->base_revision, revision))
      return err_set(err, ERR_CHANGED, "base '%s' is not what it was: somebody changed it",
                     c->base);
    return 0;
  }
  cleanup_free char *path = ns_name_ok(c->source) ? ns_machine_path(h, c->source) : NULL;
  if (!path || !ns_folder_there(path))
    return err_set(err, ERR_NOT_FOUND, "there is no machine '%s' in %s", c->source ? c->source : "",
                   h->folder);
  if (ns_monitor_of(h, c->source) || ns_folder_busy(path))
    return err_set(err, ERR_BUSY, "machine '%s' runs: stop it before it is cloned", c->source);
  return 0;
}

// MACs of the cards: as ordered, else its own.
static int fill_cards(const struct host *h, const struct clone_order *c, struct record *r)
{
  const struct clone_nic *nics = c->nics.items;
  size_t count = c->nics.count ? c->nics.count : 1;
  for (size_t i = 0; i < count; i++) {
    const char *network = i < c->nics.count && nics[i].network ? nics[i].network : h->network;
    char mac[CLONE_MAC_BYTES];
    clone_mac(c, i, mac);
    if (strings_add(&r->networks, network ? network : "") != 0 ||
        strings_add(&r->macs, i < c->nics.count && nics[i].mac ? nics[i].mac : mac) != 0)
      return -1;
  }
  for (size_t i = 0; i < c->addresses.count; i++)
    if (strings_add(&r->addresses, c->addresses.items[i]) != 0)
      return -1;
  return 0;
}

static int fill_record(const struct host *h, const struct clone_order *c, struct record *r,
                       struct err *err)
{
  r->kind = str_dup("Clone");
  r->name = str_dup(c->name);
  r->owner = str_dup(c->owner);
  r->uid = str_dup(c->uid);
  r->base = str_dup(c->base ? c->base : c->source);
  r->source = str_dup(c->source);
  r->cpus = c->cpus;
  r->memory_bytes = c->memory_bytes;
  r->hostname = str_dup(c->hostname ? c->hostname : c->name);
  r->gateway = str_dup(c->gateway);
  r->bytes = -1;
  bool all = r->kind && r->name && r->owner && r->uid && r->base && r->hostname;
  return all && fill_cards(h, c, r) == 0 ? 0 : ns_no_memory(err);
}

// Loads the record of an earlier call, or writes a new one once nothing stands against it.
static int begin(const struct host *h, const struct clone_order *c, struct record *r,
                 struct err *err)
{
  struct err failure = ERR_INIT;
  cleanup_free char *path = ns_machine_path(h, c->name);
  if (!path)
    return ns_no_memory(err);
  if (ns_record_load(h, c->name, r, &failure) == 0) {
    if (!owner_same(r->owner, c->owner) || !str_eq(r->kind, "Clone") || ns_place_taken(h, r))
      return err_set(err, ERR_EXISTS, "machine '%s' is there already and belongs to somebody else",
                     c->name);
    if (r->state == RECORD_REMOVING)
      return err_set(err, ERR_BUSY, "clone '%s' is being removed", c->name);
    return 0;
  }
  if (failure.kind != ERR_NOT_FOUND)
    return err_set(err, failure.kind, "%s", failure.message);
  if (ns_folder_there(path))
    return err_set(err, ERR_EXISTS, "%s is there already and is not drover's", path);
  if (source_ready(h, c, err) != 0 || ns_clone_way(h, c, &r->mode, err) != 0 ||
      fill_record(h, c, r, err) != 0)
    return -1;
  return ns_record_save(h, r, err);
}

// ---- the part ----------------------------------------------------------------------------------

static int make_overlay(const struct host *h, const struct record *r, const char *part,
                        struct err *err)
{
  cleanup_free char *own = ns_own_path(h, "overlays", r->name);
  cleanup_free char *upper = own ? str_printf("%s/upper", own) : NULL;
  cleanup_free char *work = own ? str_printf("%s/work", own) : NULL;
  const char *folders[] = {own, upper, work, part};
  if (!upper || !work)
    return ns_no_memory(err);
  for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
    if (mkdir(folders[i], i == 1 ? 0755 : 0700) != 0)
      return err_errno(err, errno, "make %s", folders[i]);
  return 0;
}

static int start_copy(struct host *h, struct record *r, int *lock, struct err *err)
{
  struct record from cleanup_record = {0};
  cleanup_close int root = -1;
  if (ns_record_load(h, r->base, &from, NULL) != 0 && !(from.name = str_dup(r->base)))
    return ns_no_memory(err);
  if (ns_root_open(h, &from, &root, err) != 0)
    return -1;
  return ns_copy_start(h, r->name, root, r->mode, lock, err);
}

// ret_done false: cp is at work.
static int make_part(struct host *h, struct record *r, const char *part, int *lock, bool *ret_done,
                     struct err *err)
{
  cleanup_free char *from = ns_machine_path(h, r->base);
  *ret_done = r->mode == CLONE_LINKED;
  if (!from)
    return ns_no_memory(err);
  if (r->mode != CLONE_LINKED)
    return start_copy(h, r, lock, err);
  if (h->fs == FS_BTRFS && ns_is_subvolume(from))
    return ns_subvolume_snapshot(from, part, false, err);
  return make_overlay(h, r, part, err);
}

// ---- the whole ---------------------------------------------------------------------------------

static int write_identity(const struct host *h, const struct clone_order *c, const struct record *r,
                          const char *part, struct err *err)
{
  cleanup_close int root = -1;
  if (ns_is_overlay(h, r)) {
    if (ns_overlay_open(h, r->name, r->base, &root, err) != 0)
      return -1;
  } else if ((root = open(part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0) {
    return err_errno(err, errno, "open %s", part);
  }
  return ns_identity_write(h, root, c, err);
}

// How it came out is measured, not believed.
static int measure(const struct host *h, struct record *r, const char *path, struct err *err)
{
  struct subvolume v;
  int64_t all;
  bool linked;
  if (ns_is_subvolume(path)) {
    if (ns_subvolume_look(path, &v, err) != 0)
      return -1;
    r->since = v.made;
  }
  int wanted = r->mode;
  r->mode = wanted == CLONE_LINKED ? CLONE_FULL : wanted;
  if (ns_mode_at(h, r, path, &linked) == CLONE_LINKED) {
    r->mode = CLONE_LINKED;
  } else {
    if (ns_tree_bytes(path, &all, err) != 0 || ns_tree_own_bytes(path, &r->bytes, err) != 0)
      return -1;
    r->mode = r->bytes < all / 2 ? CLONE_REFLINK : CLONE_FULL;
  }
  if (r->mode == wanted)
    return 0;
  return err_set(err, ERR_INTERNAL, "clone '%s' came out as %s, not %s", r->name,
                 clone_mode_names[r->mode], clone_mode_names[wanted]);
}

static int place(const struct host *h, const struct clone_order *c, struct record *r,
                 const char *part, struct err *err)
{
  if (write_identity(h, c, r, part, err) != 0 || measure(h, r, part, err) != 0)
    return -1;
  return ns_part_place(h, part, r, err);
}

static int make(struct host *h, const struct clone_order *c, struct record *r, bool copied,
                int *lock, struct err *err)
{
  cleanup_free char *part = ns_own_path(h, "parts", c->name);
  cleanup_free char *path = ns_machine_path(h, c->name);
  bool done = copied;
  if (!part || !path)
    return ns_no_memory(err);
  if (!copied && ns_part_placed(h, r)) {
    if (measure(h, r, path, err) != 0 || ns_part_place(h, path, r, err) != 0)
      return -1;
  } else {
    if (!copied && ns_folder_there(path))
      return err_set(err, ERR_EXISTS, "%s is there already and is not drover's", path);
    if (!copied && (ns_discard(h, c->name, false, lock, err) != 0 || source_ready(h, c, err) != 0 ||
                    make_part(h, r, part, lock, &done, err) != 0))
      return -1;
    if (!done || place(h, c, r, part, err) != 0)
      return done ? -1 : 0;
  }
  r->state = RECORD_DONE;
  return ns_record_save(h, r, err);
}

// A failed first call leaves nothing, so that the name is free for others.
static int give_up(struct host *h, const struct record *r, int *lock)
{
  if (*lock >= 0 && ns_discard(h, r->name, false, lock, NULL) == 0)
    ns_record_remove(h, r->name, NULL);
  return -1;
}

int ns_clone_make(void *handle, const struct clone_order *c, const struct owned *o,
                  struct clone_seen *ret, struct err *err)
{
  struct host *h = handle;
  struct record r cleanup_record = {0};
  cleanup_close int lock = -1;
  if (!ns_name_ok(c->name) || !str_eq(c->name, o->id) || !c->base == !c->source)
    return err_set(err, ERR_INVALID, "'%s' is not the clone that was planned", c->name);
  enum task_state copy = ns_task_wait(h, c->name, PATIENCE_MS, err);
  if (copy == TASK_RUNS)
    return ns_clone_get(h, c->name, ret, err);
  if (ns_machine_lock(h, c->name, &lock, err) != 0 || begin(h, c, &r, err) != 0)
    return -1;
  if (copy == TASK_FAILED)
    return give_up(h, &r, &lock);
  cleanup_free char *path = ns_machine_path(h, c->name);
  bool gone =
      r.state == RECORD_DONE && path && !ns_folder_there(path); // removed by hand: once more
  if (gone && ns_clean_up(h, &r, err) != 0)
    return -1;
  if ((r.state != RECORD_DONE || gone) && make(h, c, &r, copy == TASK_DONE, &lock, err) != 0)
    return r.place ? -1 : give_up(h, &r, &lock);
  return ns_clone_get(h, c->name, ret, err);
}
