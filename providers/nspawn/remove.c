// SPDX-License-Identifier: Apache-2.0
// Taking back what the ledger lists: only what bears our mark, and no base that clones stand on.
#include <string.h>

#include "base/str.h"
#include "providers/nspawn/host_internal.h"

static int check_dependents(const struct host *h, const char *id, struct err *err)
{
  struct strings names CLEANUP(strings_release) = {0};
  if (ns_record_names(h, &names, err) != 0)
    return -1;
  for (size_t i = 0; i < names.count; i++) {
    struct record r cleanup_record = {0};
    if (ns_record_load(h, names.items[i], &r, NULL) != 0 || !str_eq(r.base, id))
      continue;
    if (r.state == RECORD_MAKING || ns_mode_of(h, &r) == CLONE_LINKED)
      return err_set(err, ERR_BUSY, "'%s' is in use: clone '%s' stands on it", id, r.name);
  }
  return 0;
}

static int begin(const struct host *h, struct record *r, struct err *err)
{
  cleanup_free char *path = ns_machine_path(h, r->name);
  if (!path)
    return ns_no_memory(err);
  if (ns_monitor_of(h, r->name) || ns_folder_busy(path))
    return err_set(err, ERR_BUSY, "machine '%s' runs", r->name);
  if (check_dependents(h, r->name, err) != 0)
    return -1;
  r->state = RECORD_REMOVING;
  return ns_record_save(h, r, err);
}

static int take_away(struct host *h, struct record *r, int *lock, struct err *err)
{
  bool with_place = r->place != NULL || ns_part_placed(h, r);
  if (r->state != RECORD_REMOVING && begin(h, r, err) != 0)
    return -1;
  if (ns_clean_up(h, r, err) != 0 || ns_discard(h, r->name, with_place, lock, err) != 0)
    return -1;
  return ns_record_remove(h, r->name, err);
}

int ns_remove_owned(void *handle, const struct owned *o, const char *owner, struct err *err)
{
  struct host *h = handle;
  struct record r cleanup_record = {0};
  struct err failure = ERR_INIT;
  cleanup_close int lock = -1;
  cleanup_free char *path = ns_name_ok(o->id) ? ns_machine_path(h, o->id) : NULL;
  if (!path || str_eq(o->kind, "Template")) // was there before: not ours to remove
    return 0;
  if (ns_task_look(h, o->id, &failure) == TASK_RUNS)
    return err_set(err, ERR_BUSY, "'%s' is being copied or removed", o->id);
  failure = (struct err)ERR_INIT;
  if (ns_record_load(h, o->id, &r, &failure) != 0) {
    if (failure.kind != ERR_NOT_FOUND)
      return err_set(err, failure.kind, "%s", failure.message);
    return ns_folder_there(path)
               ? err_set(err, ERR_DENIED,
                         "machine '%s' does not bear the mark of this object; it is "
                         "left alone",
                         o->id)
               : 0;
  }
  if (!owner_same(r.owner, owner) || !str_eq(r.kind, o->kind) || ns_place_taken(h, &r))
    return err_set(err, ERR_DENIED,
                   "machine '%s' does not bear the mark of this object; it is left alone", o->id);
  ns_image_cancel(h, o->id, &lock);
  if (lock < 0 && ns_machine_lock(h, o->id, &lock, err) != 0)
    return -1;
  return take_away(h, &r, &lock, err);
}

// Its name is the one that it was given as a base, where clones look for it.
int ns_base_release(void *handle, const struct owned *o, const char *owner, struct err *err)
{
  struct host *h = handle;
  struct record r cleanup_record = {0};
  struct err failure = ERR_INIT;
  cleanup_close int lock = -1;
  cleanup_free char *path = ns_name_ok(o->id) ? ns_machine_path(h, o->id) : NULL;
  if (!path || !str_eq(o->kind, "Base"))
    return 0;
  if (ns_record_load(h, o->id, &r, &failure) != 0)
    return failure.kind == ERR_NOT_FOUND ? 0 : err_set(err, failure.kind, "%s", failure.message);
  if (!owner_same(r.owner, owner) || !str_eq(r.kind, "Base") || ns_place_taken(h, &r))
    return 0;
  ns_image_cancel(h, o->id, &lock);
  if ((lock < 0 && ns_machine_lock(h, o->id, &lock, err) != 0) ||
      check_dependents(h, r.name, err) != 0)
    return -1;
  if (r.image && r.state == RECORD_MAKING && ns_discard(h, o->id, false, &lock, err) != 0)
    return -1; // half an image is of no use to anybody
  if (ns_is_subvolume(path)) {
    if (ns_subvolume_read_only(path, false, err) != 0)
      return -1;
  } else {
    ns_tree_immutable(path, false);
  }
  return ns_record_remove(h, r.name, err);
}
