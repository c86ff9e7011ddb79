// SPDX-License-Identifier: Apache-2.0
// Removing clones and bases, also half-made ones: only what bears our mark, or a name with our uid.
#include <string.h>

#include "base/str.h"
#include "providers/libvirt/clone_internal.h"

static int denied(virDomainPtr domain, struct err *err)
{
  return err_set(err, ERR_DENIED, "VM '%s' does not bear the mark of this object; it is left alone",
                 virDomainGetName(domain));
}

// NULL with *ret_failed 0: there is none.
static virDomainPtr find(struct host *h, const char *id, int *ret_failed, struct err *err)
{
  virDomainPtr domain = virDomainLookupByUUIDString(h->conn, id);
  *ret_failed = 0;
  if (!domain && !host_last_error_is(VIR_ERR_NO_DOMAIN))
    *ret_failed = host_fail(err, "look up the VM %s", id);
  return domain;
}

static int remove_domain(virDomainPtr domain, const char *owner, struct err *err)
{
  struct xml x CLEANUP(xml_release) = {0};
  struct mark mark CLEANUP(mark_release) = {0};
  if (host_domain_xml(domain, &x, err) != 0)
    return -1;
  mark_read(&x, &mark);
  if (!owner_same(mark.owner, owner) || !str_eq(mark.kind, MARK_CLONE))
    return denied(domain, err);
  if (virDomainIsActive(domain) == 1)
    return err_set(err, ERR_BUSY, "VM '%s' runs", virDomainGetName(domain));
  return host_undefine(domain, true, err);
}

// Through the pool if it knows the file, or it would go on listing it.
static int remove_file(struct host *h, const struct place *p, const char *path, struct err *err)
{
  cleanup_volume virStorageVolPtr volume =
      p->pool ? virStorageVolLookupByPath(h->conn, path) : NULL;
  if (volume && virStorageVolDelete(volume, 0) == 0)
    return 0;
  return host_remove_file(h, path, err);
}

int host_remove_clone(struct host *h, const struct owned *o, const char *owner, struct err *err)
{
  struct place p CLEANUP(place_release) = {0};
  struct strings files CLEANUP(strings_release) = {0};
  cleanup_free char *uid = owner_uid(owner);
  int failed;
  if (clone_uid_ok(uid, err) != 0 || place_find(h, o->where, &p, err) != 0)
    return -1;
  if (!p.active || !p.folder)
    return err_set(err, ERR_UNREACHABLE,
                   "the storage '%s' is not there now: files of the clone would "
                   "be left",
                   p.name);
  copy_job_end(h, uid);
  cleanup_domain virDomainPtr domain = find(h, o->id, &failed, err);
  cleanup_free char *part = str_printf("-%s.", uid);
  if (failed || (domain && remove_domain(domain, owner, err) != 0))
    return -1;
  if (!part)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  if (host_files_named(h, p.path, part, &files, err) != 0)
    return -1;
  for (size_t i = 0; i < files.count; i++)
    if (remove_file(h, &p, files.items[i], err) != 0)
      return -1;
  return 0;
}

// ---- bases -------------------------------------------------------------------------------------

int host_base_needed(struct host *h, const struct vm *vm, const char *uuid, struct err *err)
{
  for (size_t i = 0; i < vm->disks.count; i++) {
    const char *path = vm_disk_at(vm, i)->path;
    cleanup_free char *user = NULL;
    if (path && path_user_but(h, path, uuid, &user, err) != 0)
      return -1;
    if (user)
      return err_set(err, ERR_BUSY, "%s of base '%s' is in use by '%s'", path, vm->name, user);
  }
  return 0;
}

// Files first: while the domain is there, it knows which they are.
static int remove_disks(struct host *h, const struct vm *vm, struct err *err)
{
  for (size_t i = 0; i < vm->disks.count; i++) {
    const struct vm_disk *d = vm_disk_at(vm, i);
    if (d->path && !d->read_only && path_remove(h, d->path, err) != 0)
      return -1;
  }
  return 0;
}

// Disks that are volumes of a pool have no path in the definition. Those that are gone get none.
static void find_paths(struct host *h, virDomainPtr domain, const struct xml *x, struct vm *vm)
{
  for (size_t i = 0; i < vm->disks.count; i++) {
    struct err none = ERR_INIT;
    struct vm_disk *d = (struct vm_disk *)vm->disks.items + i;
    if (!d->path)
      host_disk_facts(h, domain, x, d, &none);
  }
}

int host_remove_base(struct host *h, const struct owned *o, const char *owner, struct err *err)
{
  struct xml x CLEANUP(xml_release) = {0};
  struct mark mark CLEANUP(mark_release) = {0};
  struct vm vm CLEANUP(vm_release) = {0};
  int failed;
  cleanup_domain virDomainPtr domain = find(h, o->id, &failed, err);
  if (!domain)
    return failed;
  if (host_domain_xml(domain, &x, err) != 0 || domain_describe(&x, &vm, err) != 0)
    return -1;
  mark_read(&x, &mark);
  if (!mark.owner)
    return 0; // it was never ours
  if (!owner_same(mark.owner, owner) || !str_eq(mark.kind, MARK_BASE))
    return denied(domain, err);
  if (virDomainIsActive(domain) == 1)
    return err_set(err, ERR_BUSY, "base '%s' runs", vm.name);
  find_paths(h, domain, &x, &vm);
  if (host_base_needed(h, &vm, o->id, err) != 0 || remove_disks(h, &vm, err) != 0)
    return -1;
  return host_undefine(domain, true, err);
}
