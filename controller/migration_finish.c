// SPDX-License-Identifier: Apache-2.0
// The changes of a migration beside moving bytes: power, creating the target, and taking back.
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/str.h"
#include "controller/checkpoints.h"
#include "controller/migration_internal.h"

DEFINE_CLEANUP(storage_free, struct storage *)
DEFINE_CLEANUP(storage_lane_free, struct storage_lane *)

// ---- power of the source --------------------------------------------------------------------

int act_shut_down(struct run *r, struct err *err)
{
  struct provider *p;
  bool guest = r->spec->shutdown.policy == SHUTDOWN_GUEST;
  if (run_source(r, &p, err) != 0)
    return -1;
  // Written before it is done: after a crash we know that it is off because of us.
  if (!r->st->memory.source_touched) {
    r->st->memory.source_touched = true;
    if (run_save(r, err) != 0)
      return -1;
  }
  if (provider_power(p, r->st->memory.source_id, guest ? POWER_GUEST_SHUTDOWN : POWER_OFF, err) !=
      0)
    return -1;
  clock_set(&r->st->memory.shutdown_time, r->now_ms);
  return 0;
}

// The target must not run beside a source that comes back: two machines with one identity.
static int stop_target(struct run *r, struct err *err)
{
  const struct owned_status *vm = status_find_owned(r, "target", NULL, "VM");
  struct provider *p;
  if (!vm || !r->st->memory.started_time)
    return 0;
  if (run_target(r, &p, err) != 0)
    return -1;
  struct err failed = ERR_INIT;
  if (provider_power(p, vm->id, POWER_OFF, &failed) == 0 || failed.kind == ERR_NOT_FOUND)
    return 0;
  *err = failed;
  return -1;
}

int act_restore_source(struct run *r, struct err *err)
{
  struct provider *p;
  if (stop_target(r, err) != 0 || run_source(r, &p, err) != 0 ||
      provider_power(p, r->st->memory.source_id, POWER_ON, err) != 0)
    return -1;
  r->st->memory.source_touched = false;
  str_set(&r->st->memory.shutdown_time, NULL);
  return 0;
}

// ---- creating -------------------------------------------------------------------------------

static void say_adapted(struct run *r, const struct strings *adapted)
{
  for (size_t i = 0; i < adapted->count; i++) {
    r->m->store->ops->event(r->m->store, r->o, "Normal", "Adapted", adapted->items[i]);
    struct preflight_finding *f = list_add(&r->st->preflight, sizeof(*f), 256);
    if (f)
      *f = (struct preflight_finding){str_dup("Adapted"),
                                      str_dup(finding_severity_names[FINDING_WARNING]),
                                      str_dup(adapted->items[i]), NULL};
  }
}

static int ledger_of_disks(const struct run *r, const struct vm *vm, struct owned *ret,
                           struct err *err)
{
  for (size_t i = 0; i < vm->disks.count; i++) {
    const struct owned_status *o =
        status_find_owned(r, "target", vm_disk_at(vm, i)->name, "Volume");
    if (!o)
      return err_set(err, ERR_INTERNAL, "disk %s is not in the ledger", vm_disk_at(vm, i)->name);
    ret[i] = (struct owned){o->kind, o->id, o->where};
  }
  return 0;
}

static int create_vm(struct run *r, struct err *err)
{
  const struct vm *vm;
  struct provider *p;
  struct vm_target t CLEANUP(vm_target_release) = {0};
  struct owned disks[LIMIT_DISKS];
  struct owned_status *o = status_find_owned(r, "target", NULL, "VM");
  if (!o)
    return err_set(err, ERR_INTERNAL, "the VM is not in the ledger");
  if (run_vm(r, &vm, err) != 0 || plan_target(r, vm, &t, err) != 0 ||
      ledger_of_disks(r, vm, disks, err) != 0 || run_target(r, &p, err) != 0)
    return -1;
  struct vm_made made CLEANUP(vm_made_release) = {0};
  struct owned view = {o->kind, o->id, o->where};
  if (provider_target_finish(p, &t, disks, &view, &made, err) != 0)
    return -1;
  say_adapted(r, &made.adapted);
  str_set(&o->id, made.id);
  return 0;
}

static int image_disk_of(const struct run *r, const char *role, const struct vm_disk *d,
                         struct image *image, struct err *err)
{
  const struct owned_status *o = status_find_owned(r, role, d->name, "Object");
  const struct migration_disk_status *s = r->st->disks.items;
  size_t i = 0;
  while (i < r->st->disks.count && !str_eq(s[i].name, d->name))
    i++;
  struct image_disk *out = list_add(&image->disks, sizeof(*out), LIMIT_DISKS);
  if (!o || i == r->st->disks.count || !out)
    return err_set(err, ERR_INTERNAL, "disk %s is not in the ledger", d->name);
  const char *slash = strrchr(o->id, '/');
  *out = (struct image_disk){.name = str_dup(d->name),
                             .object = str_dup(slash ? slash + 1 : o->id),
                             .format = str_dup(disk_format_names[plan_object_format(r, d)]),
                             .content_digest = str_dup(s[i].content_digest),
                             .object_sha256 = str_dup(s[i].object_sha256),
                             .size_bytes = d->capacity_bytes};
  return 0;
}

// vm.json is written last: only now is the image complete for whoever reads it.
static int write_image(struct run *r, const char *role, const struct ref *store_ref,
                       const char *path, struct err *err)
{
  const struct vm *vm;
  struct image image CLEANUP(image_release) = {.layout_version = 1, .owner = str_dup(r->owner)};
  if (run_vm(r, &vm, err) != 0 || vm_copy(vm, &image.vm, err) != 0)
    return -1;
  struct vm_disk *disks = image.vm.disks.items;
  for (size_t i = 0; i < vm->disks.count; i++) {
    disks[i].format = plan_object_format(r, vm_disk_at(vm, i)); // as stored, not as it was
    if (image_disk_of(r, role, vm_disk_at(vm, i), &image, err) != 0)
      return -1;
  }
  struct storage *store CLEANUP(storage_free_p) = NULL;
  struct storage_lane *lane CLEANUP(storage_lane_free_p) = NULL;
  if (run_store_lane(r, store_ref, true, &store, &lane, err) != 0)
    return -1;
  return image_write(lane, path, &image, err);
}

int act_create(struct run *r, struct err *err)
{
  const struct migration_via *via = r->spec->via;
  if (via && via->retain == RETAIN_ALWAYS) {
    cleanup_free char *path = plan_staging_path(r);
    if (write_image(r, "staged", &via->store, path, err) != 0)
      return -1;
  }
  const struct migration_target_image *image = r->spec->target.image;
  if (image ? write_image(r, "target", &image->store, image->path, err) : create_vm(r, err))
    return -1;
  r->st->memory.created = true;
  return 0;
}

int act_power_on(struct run *r, struct err *err)
{
  const struct owned_status *vm = status_find_owned(r, "target", NULL, "VM");
  struct provider *p;
  if (!vm)
    return err_set(err, ERR_INTERNAL, "the VM is not in the ledger");
  if (!r->st->memory.started_time) {
    clock_set(&r->st->memory.started_time, r->now_ms);
    if (run_save(r, err) != 0)
      return -1;
  }
  return run_target(r, &p, err) == 0 ? provider_power(p, vm->id, POWER_ON, err) : -1;
}

// ---- success --------------------------------------------------------------------------------

void set_result_vm(struct run *r, const char *id, const char *name)
{
  if (!r->st->result.vm)
    r->st->result.vm = calloc(1, sizeof(*r->st->result.vm));
  if (!r->st->result.vm)
    return;
  str_set(&r->st->result.vm->id, id);
  str_set(&r->st->result.vm->name, name);
}

static void add_result_image(struct run *r, const char *store, const char *path, const char *digest)
{
  struct result_image *out = list_add(&r->st->result.images, sizeof(*out), 2 * LIMIT_DISKS);
  if (out)
    *out = (struct result_image){str_dup(store), str_dup(path), str_dup(digest)};
}

void add_result_images(struct run *r, const struct image *image)
{
  const struct migration_target_image *t = r->spec->target.image;
  const struct image_disk *disks = image->disks.items;
  for (size_t i = 0; i < image->disks.count; i++) {
    cleanup_free char *key = image_key(t->path, disks[i].object);
    add_result_image(r, t->store.name, key, disks[i].content_digest);
  }
}

static const char *digest_of(const struct run *r, const char *disk)
{
  const struct migration_disk_status *disks = r->st->disks.items;
  for (size_t i = 0; disk && i < r->st->disks.count; i++)
    if (str_eq(disks[i].name, disk))
      return disks[i].content_digest;
  return NULL;
}

static const char *name_made(struct run *r)
{
  const struct vm *vm;
  struct err ignored = ERR_INIT;
  return run_vm(r, &vm, &ignored) == 0 ? plan_target_name(r, vm) : r->spec->target.vm->name;
}

// What the user wanted leaves the ledger: from here on drover never removes it.
static void hand_over(struct run *r, const char *role, const char *store)
{
  for (size_t i = 0; i < r->st->owned.count;) {
    const struct owned_status *o = (const struct owned_status *)r->st->owned.items + i;
    if (!str_eq(o->role, role)) {
      i++;
      continue;
    }
    if (str_eq(o->kind, "VM"))
      set_result_vm(r, o->id, name_made(r));
    else if (str_eq(o->kind, "Object"))
      add_result_image(r, store, o->id, digest_of(r, o->disk));
    status_disown(r, o);
  }
}

int act_succeed(struct run *r, struct err *err)
{
  (void)err;
  hand_over(r, "target", r->spec->target.image ? r->spec->target.image->store.name : NULL);
  return 0;
}

static int delete_source(struct run *r, struct provider *p, struct err *err)
{
  const struct vm *vm;
  struct provider_access access = {0};
  if (run_vm(r, &vm, err) != 0 || provider_access(r->m, r->key.ns, &r->spec->source.vm->provider,
                                                  PROVIDER_DELETE_SOURCE, &access, err) != 0)
    return -1;
  provider_access_release(r->m, &access);
  struct err failed = ERR_INIT;
  if (provider_delete_vm(p, vm, &failed) == 0 || failed.kind == ERR_NOT_FOUND)
    return 0;
  *err = failed;
  return -1;
}

int act_source_after(struct run *r, struct err *err)
{
  struct provider *p;
  const struct migration_memory *memory = &r->st->memory;
  int action = r->spec->source_after.action;
  int failed = 0;
  if (run_source(r, &p, err) != 0)
    return -1;
  if (action == SOURCE_DELETE)
    failed = delete_source(r, p, err);
  else if (action == SOURCE_OFF && memory->source_autostart)
    failed = provider_set_autostart(p, memory->source_id, false, err);
  else if (action == SOURCE_RESTORE && str_eq(memory->source_power, "On"))
    failed = provider_power(p, memory->source_id, POWER_ON, err);
  if (failed)
    return -1;
  r->st->memory.source_done = true;
  return 0;
}

// ---- taking back ----------------------------------------------------------------------------

static const struct ref *store_of(const struct run *r, const struct owned_status *o)
{
  return str_eq(o->role, "staged") ? &r->spec->via->store : &r->spec->target.image->store;
}

// vm.json goes if it is ours; the folder's other objects have entries of their own.
static int remove_vm_json(struct storage_lane *lane, const char *path, const char *owner,
                          struct err *err)
{
  struct image image CLEANUP(image_release) = {0};
  struct err failed = ERR_INIT;
  if (image_read(lane, path, &image, &failed) != 0) {
    if (failed.kind == ERR_NOT_FOUND)
      return 0;
    *err = failed;
    return -1;
  }
  if (!owner_same_object(image.owner, owner))
    return 0;
  cleanup_free char *key = image_key(path, IMAGE_VM_JSON);
  return storage_remove(lane, key, err);
}

static int remove_object(struct run *r, const struct owned_status *o, struct err *err)
{
  struct storage *store CLEANUP(storage_free_p) = NULL;
  struct storage_lane *lane CLEANUP(storage_lane_free_p) = NULL;
  if (run_store_lane(r, store_of(r, o), true, &store, &lane, err) != 0)
    return -1;
  if (str_eq(o->kind, "Image"))
    return remove_vm_json(lane, o->id, r->owner, err);
  if (str_eq(o->kind, "Probe")) {
    int rc = storage_remove(lane, o->id, err);
    return rc ? rc : storage_remove_partial(lane, o->id, r->owner, err);
  }
  struct err failed = ERR_INIT;
  if (image_object_remove(lane, o->id, r->owner, &failed) == 0 || failed.kind == ERR_EXISTS)
    return 0; // gone, or never was ours
  *err = failed;
  return -1;
}

static int remove_made(struct run *r, const struct owned_status *o, struct err *err)
{
  struct provider *p;
  if (!str_eq(o->kind, "Volume") && !str_eq(o->kind, "VM"))
    return remove_object(r, o, err);
  if (run_target(r, &p, err) != 0)
    return -1;
  struct owned view = {o->kind, o->id, o->where};
  if (str_eq(o->kind, "VM") && stop_target(r, err) != 0)
    return -1;
  return provider_remove(p, &view, r->owner, err);
}

// Should it be tried again, it starts from what is still there.
static void forget_done(struct run *r, const struct owned_status *o)
{
  struct migration_disk_status *disks = r->st->disks.items;
  if (str_eq(o->role, "target"))
    r->st->memory.created = false;
  for (size_t i = 0; o->disk && i < r->st->disks.count; i++) {
    if (!str_eq(disks[i].name, o->disk))
      continue;
    checkpoints_remove(r->m, r->o->meta.uid, o->disk, 0);
    bool staged = str_eq(o->role, "target") && status_find_owned(r, "staged", o->disk, "Object") &&
                  disks[i].content_digest && !str_eq(disks[i].phase, "Staging");
    str_set(&disks[i].phase, staged ? "Staged" : "Pending");
  }
}

// One entry at a time, last made first, each out of the ledger when it is gone.
int act_undo(struct run *r, struct err *err)
{
  for (size_t i = r->st->owned.count; i > 0; i--) {
    const struct owned_status *o = (const struct owned_status *)r->st->owned.items + i - 1;
    if (!run_takes_back(r, o))
      continue;
    if (remove_made(r, o, err) != 0)
      return err_prefix(err, "%s %s", o->kind, o->id);
    log_info("removed", "kind", o->kind, "id", o->id, NULL);
    forget_done(r, o);
    status_disown(r, o);
    return 0;
  }
  return 0;
}

int act_remove_staged(struct run *r, struct err *err)
{
  if (r->spec->via->retain == RETAIN_ALWAYS) {
    hand_over(r, "staged", r->spec->via->store.name);
    return 0;
  }
  for (size_t i = r->st->owned.count; i > 0; i--) {
    const struct owned_status *o = (const struct owned_status *)r->st->owned.items + i - 1;
    if (!str_eq(o->role, "staged"))
      continue;
    if (remove_made(r, o, err) != 0)
      return err_prefix(err, "%s %s", o->kind, o->id);
    status_disown(r, o);
    return 0;
  }
  return 0;
}
