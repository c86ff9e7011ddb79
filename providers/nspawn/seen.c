// SPDX-License-Identifier: Apache-2.0
// What a clone is, and what machines there are: from the file system and the processes.
#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "base/str.h"
#include "providers/nspawn/host_internal.h"

bool ns_is_overlay(const struct host *h, const struct record *r)
{
  cleanup_free char *path = ns_own_path(h, "overlays", r->name);
  return path && ns_folder_there(path);
}

static bool subvolume_linked(const struct host *h, const struct record *r, const char *path)
{
  struct subvolume v, base;
  cleanup_free char *from = r->base ? ns_machine_path(h, r->base) : NULL;
  if (!from || ns_subvolume_look(path, &v, NULL) != 0)
    return false;
  if (strings_has(&r->lineage, v.parent)) // rolled back: see snapshot.c
    return ns_folder_there(from);
  return ns_is_subvolume(from) && ns_subvolume_look(from, &base, NULL) == 0 &&
         str_eq(v.parent, base.uuid);
}

int ns_mode_at(const struct host *h, const struct record *r, const char *path, bool *ret_linked)
{
  cleanup_free char *base = r->base ? ns_machine_path(h, r->base) : NULL;
  *ret_linked = false;
  if (ns_is_overlay(h, r)) {
    *ret_linked = base && ns_folder_there(base);
    return CLONE_LINKED;
  }
  *ret_linked = ns_is_subvolume(path) && subvolume_linked(h, r, path);
  return *ret_linked ? CLONE_LINKED : r->mode;
}

int ns_mode_of(const struct host *h, const struct record *r)
{
  cleanup_free char *path = ns_machine_path(h, r->name);
  bool linked;
  return path ? ns_mode_at(h, r, path, &linked) : r->mode;
}

static int64_t bytes_of(const struct host *h, const struct record *r, const char *path, int mode)
{
  int64_t bytes = -1;
  if (mode != CLONE_LINKED)
    return r->bytes;
  if (!ns_is_overlay(h, r))
    return ns_subvolume_bytes(path, r->since, &bytes, NULL) == 0 ? bytes : -1;
  cleanup_free char *own = ns_own_path(h, "overlays", r->name);
  return own && ns_tree_bytes(own, &bytes, NULL) == 0 ? bytes : -1;
}

// A machine that is not drover's.
static int see_foreign(const char *path, const char *id, struct clone_seen *ret, struct err *err)
{
  ret->done = true;
  ret->id = str_dup(id);
  ret->name = str_dup(id);
  ret->mode = CLONE_FULL;
  ret->bytes = ret->memory_bytes = -1;
  ret->power = ns_folder_busy(path) ? VM_POWER_ON : VM_POWER_OFF;
  return ret->id && ret->name ? 0 : ns_no_memory(err);
}

static int see(const struct host *h, const struct record *r, const char *path,
               struct clone_seen *ret, struct err *err)
{
  bool linked;
  ret->done = r->state == RECORD_DONE;
  ret->id = str_dup(r->name);
  ret->name = str_dup(r->name);
  ret->owner = str_dup(r->owner);
  ret->memory_bytes = ret->bytes = -1;
  ret->power = VM_POWER_OFF;
  ret->mode = r->mode;
  if (!ret->id || !ret->name || !ret->owner)
    return ns_no_memory(err);
  if (!ret->done)
    return 0;
  ret->mode = ns_mode_at(h, r, path, &linked);
  if (linked && !(ret->base = str_dup(r->base)))
    return ns_no_memory(err);
  ret->bytes = bytes_of(h, r, path, ret->mode);
  if (!ns_monitor_of(h, r->name))
    return 0;
  ret->power = VM_POWER_ON;
  ret->memory_bytes = ns_cgroup_memory(h, r->name);
  ret->agent = ns_answers(h, r->name);
  return ns_network_addresses(h, r->name, &ret->addresses, err);
}

int ns_clone_get(void *handle, const char *id, struct clone_seen *ret, struct err *err)
{
  const struct host *h = handle;
  struct record r cleanup_record = {0};
  struct err failure = ERR_INIT;
  cleanup_free char *path = ns_name_ok(id) ? ns_machine_path(h, id) : NULL;
  bool there = path && ns_folder_there(path);
  bool known = path && ns_record_load(h, id, &r, &failure) == 0;
  if (path && !known && failure.kind != ERR_NOT_FOUND)
    return err_set(err, failure.kind, "%s", failure.message);
  bool made = known && r.state == RECORD_DONE;
  if ((!known || made) && !there)
    return err_set(err, ERR_NOT_FOUND, "there is no machine '%s' in %s", id ? id : "", h->folder);
  if (!known || str_eq(r.kind, "Base") || ns_place_taken(h, &r))
    return see_foreign(path, id, ret, err);
  return see(h, &r, path, ret, err);
}

// ---- all of them -------------------------------------------------------------------------------

static int add_machine(const struct host *h, const char *name, struct machines *ret,
                       struct err *err)
{
  struct record r cleanup_record = {0};
  cleanup_free char *path = ns_machine_path(h, name);
  if (!path || !ns_folder_there(path))
    return 0;
  struct machine_seen *m = list_add(&ret->items, sizeof(*m), 0);
  if (!m)
    return ns_no_memory(err);
  bool known = ns_record_load(h, name, &r, NULL) == 0 && !ns_place_taken(h, &r);
  m->id = str_dup(name);
  m->name = str_dup(name);
  m->kind = str_dup(known ? r.kind : "Container");
  m->owner = known ? str_dup(r.owner) : NULL;
  bool on = known ? ns_monitor_of(h, name) != 0 : ns_folder_busy(path);
  m->power = on ? VM_POWER_ON : VM_POWER_OFF;
  return m->id && m->name && m->kind ? 0 : ns_no_memory(err);
}

int ns_machines(void *handle, struct machines *ret, struct err *err)
{
  const struct host *h = handle;
  DIR *dir = opendir(h->folder);
  if (!dir)
    return err_errno(err, errno, "open %s", h->folder);
  int failed = 0;
  for (struct dirent *e; !failed && (e = readdir(dir));)
    if (ns_name_ok(e->d_name))
      failed = add_machine(h, e->d_name, ret, err);
  closedir(dir);
  return failed;
}
