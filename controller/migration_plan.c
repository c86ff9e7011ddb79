// SPDX-License-Identifier: Apache-2.0
// From spec and description to what will be made: the target VM, names in stores, the ledger.
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "controller/migration_internal.h"
#include "mover/ends.h"

// Larger disks are staged as qcow2, whose parts may be of any size (disk/copy_packed.c).
#define STAGED_PACKED_MAX_BYTES (512ll << 30)

DEFINE_CLEANUP(storage_free, struct storage *)
DEFINE_CLEANUP(storage_lane_free, struct storage_lane *)

// ---- the target VM --------------------------------------------------------------------------

static const struct migration_target_disk *wish_for(const struct migration_target_vm *t,
                                                    const char *disk)
{
  const struct migration_target_disk *wishes = t->disks.items;
  for (size_t i = 0; i < t->disks.count; i++)
    if (str_eq(wishes[i].source, disk))
      return &wishes[i];
  return NULL;
}

static int target_format(const struct vm_disk *d, const struct migration_target_disk *wish)
{
  if (d->role == VM_DISK_ROLE_NVRAM)
    return DISK_FORMAT_RAW;
  if (wish && wish->format != MIGRATE_FORMAT_ANY)
    return wish->format == MIGRATE_FORMAT_RAW ? DISK_FORMAT_RAW : DISK_FORMAT_QCOW2;
  return d->format == DISK_FORMAT_RAW ? DISK_FORMAT_RAW : DISK_FORMAT_QCOW2;
}

static int plan_disks(const struct migration_target_vm *t, struct vm_target *ret, struct err *err)
{
  struct vm_disk *disks = ret->vm.disks.items;
  for (size_t i = 0; i < ret->vm.disks.count; i++) {
    const struct migration_target_disk *wish = wish_for(t, disks[i].name);
    struct target_disk *td = list_add(&ret->disks, sizeof(*td), LIMIT_DISKS);
    if (!td)
      return err_set(err, ERR_LIMIT, "more than %d disks", LIMIT_DISKS);
    td->storage = str_dup(wish && wish->storage ? wish->storage : t->storage);
    td->format = target_format(&disks[i], wish);
    td->thick = wish && wish->provisioning == MIGRATE_THICK;
    if (wish && wish->bus != MIGRATE_BUS_ANY)
      disks[i].bus = wish->bus;
  }
  return 0;
}

static void plan_networks(const struct migration_target_vm *t, const char *fallback,
                          struct vm_target *ret)
{
  struct vm_nic *nics = ret->vm.nics.items;
  const struct migration_network *map = t->networks.items;
  for (size_t i = 0; i < ret->vm.nics.count; i++) {
    size_t n = 0;
    while (n < t->networks.count && !str_eq(map[n].source, nics[i].network))
      n++;
    if (n < t->networks.count) {
      str_set(&nics[i].network, map[n].target);
      if (map[n].mac == MIGRATE_MAC_NEW)
        str_set(&nics[i].mac, NULL);
    } else if (fallback) {
      str_set(&nics[i].network, fallback);
    }
  }
}

static void plan_hardware(const struct migration_target_vm *t, struct vm *vm)
{
  if (t->name)
    str_set(&vm->name, t->name);
  if (t->cpus > 0)
    vm->cpus = t->cpus;
  if (t->memory_bytes > 0)
    vm->memory_bytes = t->memory_bytes;
  if (t->firmware != MIGRATE_FIRMWARE_ANY)
    vm->firmware = t->firmware == MIGRATE_FIRMWARE_BIOS ? VM_FIRMWARE_BIOS : VM_FIRMWARE_UEFI;
}

const char *plan_target_name(const struct run *r, const struct vm *vm)
{
  return r->spec->target.vm->name ? r->spec->target.vm->name : vm->name;
}

void plan_check_scope(struct run *r, const struct vm_target *t, struct findings *f)
{
  const struct provider_spec *spec = provider_access_spec(&r->target);
  const struct target_disk *disks = t->disks.items;
  struct err failed = ERR_INIT;
  if (scope_check(spec, SCOPE_VM_NAMES, t->vm.name, &failed) != 0)
    findings_add(f, "TargetScope", FINDING_ERROR, "choose another name", "%s", failed.message);
  for (size_t i = 0; i < t->disks.count; i++)
    if (storage_check(r->m, spec, disks[i].storage, &failed) != 0)
      findings_add(f, "TargetScope", FINDING_ERROR, "choose another storage", "%s", failed.message);
  for (size_t i = 0; i < t->vm.nics.count; i++)
    if (network_check(spec, vm_nic_at(&t->vm, i)->network, &failed) != 0)
      findings_add(f, "TargetScope", FINDING_ERROR,
                   "map it to an allowed one in spec.target.vm.networks", "%s", failed.message);
}

// Preflight says it all; but the Provider may have been changed since.
static int still_in_scope(struct run *r, const struct vm_target *t, struct err *err)
{
  struct findings f CLEANUP(findings_release) = {0};
  if (!r->st->memory.checked)
    return 0;
  plan_check_scope(r, t, &f);
  const struct finding *first = f.items;
  return f.count ? err_set(err, ERR_DENIED, "%s", first->message) : 0;
}

int plan_target(struct run *r, const struct vm *vm, struct vm_target *ret, struct err *err)
{
  const struct migration_target_vm *t = r->spec->target.vm;
  struct provider *p;
  *ret = (struct vm_target){0};
  if (run_target(r, &p, err) != 0 || vm_copy(vm, &ret->vm, err) != 0)
    return -1;
  plan_hardware(t, &ret->vm);
  plan_networks(t, provider_access_spec(&r->target)->defaults.network, ret);
  ret->owner = str_dup(r->owner);
  ret->uid = str_dup(r->o->meta.uid);
  if (plan_disks(t, ret, err) == 0 && still_in_scope(r, ret, err) == 0)
    return 0;
  vm_target_release(ret);
  return -1;
}

// ---- names in stores ------------------------------------------------------------------------

static const int image_formats[] = {
    [MIGRATE_FORMAT_ANY] = DISK_FORMAT_QCOW2,   [MIGRATE_FORMAT_RAW] = DISK_FORMAT_RAW,
    [MIGRATE_FORMAT_QCOW2] = DISK_FORMAT_QCOW2, [MIGRATE_FORMAT_RAW_ZST] = DISK_FORMAT_RAW_ZST,
    [MIGRATE_FORMAT_VMDK] = DISK_FORMAT_VMDK,
};

// Staged: as the name in the ledger says, whatever the store has become since.
int plan_object_format(const struct run *r, const struct vm_disk *d)
{
  if (d->role == VM_DISK_ROLE_NVRAM)
    return DISK_FORMAT_RAW;
  if (r->spec->target.image)
    return image_formats[r->spec->target.image->format];
  const struct owned_status *o = status_find_owned(r, "staged", d->name, "Object");
  return o ? mover_format_of_name(o->id, true) : DISK_FORMAT_QCOW2;
}

// What is staged travels compressed, where the store takes it and the disk is not so large that its
// parts could become too many.
static int staged_format(const struct vm_disk *d, const struct storage *store)
{
  if (d->role == VM_DISK_ROLE_NVRAM)
    return DISK_FORMAT_RAW;
  bool packed = storage_takes_any_length(store) == STORAGE_YES &&
                d->capacity_bytes <= STAGED_PACKED_MAX_BYTES;
  return packed ? DISK_FORMAT_RAW_ZST : DISK_FORMAT_QCOW2;
}

char *plan_staging_path(const struct run *r)
{
  return str_printf(STAGING_FOLDER "/%s/%s-%.8s", r->key.ns, r->key.name, r->o->meta.uid);
}

static int own_object(struct run *r, const char *path, const char *role, const struct ref *store,
                      const struct vm_disk *d, size_t number, int format, struct err *err)
{
  if (status_find_owned(r, role, d->name, "Object"))
    return 0;
  cleanup_free char *name = image_object_name(d, number, format);
  cleanup_free char *key = image_key(path, name);
  cleanup_free char *where =
      str_printf("store %s/%s", store->ns ? store->ns : r->key.ns, store->name);
  if (!key || !where || !status_own(r, "Object", key, where, role, d->name))
    return err_set(err, ERR_NO_MEMORY, "no memory");
  return 0;
}

// ---- the ledger -----------------------------------------------------------------------------

static int own_volumes(struct run *r, const struct vm *vm, struct err *err)
{
  struct provider *p;
  struct vm_target t CLEANUP(vm_target_release);
  if (plan_target(r, vm, &t, err) != 0 || run_target(r, &p, err) != 0)
    return -1;
  for (size_t i = 0; i < vm->disks.count; i++) {
    const char *disk = vm_disk_at(vm, i)->name;
    struct owned o CLEANUP(owned_release) = {0};
    if (status_find_owned(r, "target", disk, "Volume"))
      continue;
    if (provider_target_plan(p, &t, i, &o, err) != 0)
      return -1;
    if (!status_own(r, "Volume", o.id, o.where, "target", disk))
      return err_set(err, ERR_NO_MEMORY, "no memory");
  }
  if (status_find_owned(r, "target", NULL, "VM"))
    return 0;
  struct owned made CLEANUP(owned_release) = {0};
  if (provider_target_plan_vm(p, &t, &made, err) != 0)
    return -1;
  return status_own(r, "VM", made.id, made.where, "target", NULL)
             ? 0
             : err_set(err, ERR_NO_MEMORY, "no memory");
}

static int own_image(struct run *r, const char *path, const char *role, const struct ref *store,
                     struct err *err)
{
  if (status_find_owned(r, role, NULL, "Image"))
    return 0;
  cleanup_free char *where =
      str_printf("store %s/%s", store->ns ? store->ns : r->key.ns, store->name);
  return status_own(r, "Image", path, where, role, NULL) ? 0
                                                         : err_set(err, ERR_NO_MEMORY, "no memory");
}

static int own_staged(struct run *r, const struct vm *vm, const char *path, struct err *err)
{
  struct storage *store CLEANUP(storage_free_p) = NULL;
  struct storage_lane *lane CLEANUP(storage_lane_free_p) = NULL;
  const struct ref *via = &r->spec->via->store;
  if (run_store_lane(r, via, true, &store, &lane, err) != 0)
    return -1;
  if (storage_takes_any_length(store) == STORAGE_UNKNOWN &&
      probe_store(r, via, "staged", lane, err) != 0)
    return -1;
  for (size_t i = 0; i < vm->disks.count; i++) {
    const struct vm_disk *d = vm_disk_at(vm, i);
    if (own_object(r, path, "staged", via, d, i, staged_format(d, store), err) != 0)
      return -1;
  }
  return own_image(r, path, "staged", via, err);
}

static int own_target_image(struct run *r, const struct vm *vm, struct err *err)
{
  const struct migration_target_image *t = r->spec->target.image;
  for (size_t i = 0; i < vm->disks.count; i++) {
    const struct vm_disk *d = vm_disk_at(vm, i);
    if (own_object(r, t->path, "target", &t->store, d, i, plan_object_format(r, d), err) != 0)
      return -1;
  }
  return own_image(r, t->path, "target", &t->store, err);
}

// Nothing is made here: everything that will be is written down first.
int act_plan(struct run *r, struct err *err)
{
  const struct vm *vm;
  if (run_vm(r, &vm, err) != 0)
    return -1;
  if (r->spec->via) {
    cleanup_free char *path = plan_staging_path(r);
    if (own_staged(r, vm, path, err) != 0)
      return -1;
  }
  if (r->spec->target.vm)
    return own_volumes(r, vm, err);
  return own_target_image(r, vm, err);
}
