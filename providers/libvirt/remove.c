// SPDX-License-Identifier: Apache-2.0
// Taking back what the ledger lists: only what bears our mark.
#include <dirent.h>
#include <string.h>

#include "base/str.h"
#include "providers/libvirt/clone_internal.h"
#include "providers/libvirt/target_internal.h"

static int remove_vm(struct host *h, const struct owned *o, const char *owner, struct err *err)
{
  cleanup_domain virDomainPtr domain = virDomainLookupByUUIDString(h->conn, o->id);
  if (!domain)
    return host_last_error_is(VIR_ERR_NO_DOMAIN) ? 0 : host_fail(err, "look up the VM %s", o->id);
  struct xml x CLEANUP(xml_release) = {0};
  if (host_domain_xml(domain, &x, err) != 0)
    return -1;
  cleanup_free char *mark = xml_get(&x, NULL, "/domain/metadata/drover:owner");
  if (!owner_same(mark, owner))
    return err_set(err, ERR_DENIED,
                   "VM '%s' (%s) does not bear the mark of this object; it is "
                   "left alone",
                   virDomainGetName(domain), o->id);
  if (virDomainIsActive(domain) == 1)
    return err_set(err, ERR_BUSY, "VM '%s' runs", virDomainGetName(domain));
  return host_undefine(domain, true, err);
}

// A mover that was killed, or meant to go on, leaves NAME.OWNER.part beside the name; only on this
// host. ret_any: there was one.
static int remove_parts(struct host *h, const char *path, bool *ret_any, struct err *err)
{
  const char *name = strrchr(path, '/') + 1;
  cleanup_free char *folder = strndup(path, (size_t)(name - path));
  DIR *dir = h->data == DATA_LOCAL && folder ? opendir(folder) : NULL;
  int failed = 0;
  for (struct dirent *e; dir && !failed && (e = readdir(dir));) {
    const char *rest = str_after(e->d_name, name);
    if (!rest || rest[0] != '.' || !str_ends(rest, ".part"))
      continue;
    cleanup_free char *part = str_printf("%s%s", folder, e->d_name);
    failed = part ? host_remove_file(h, part, err) : err_set(err, ERR_NO_MEMORY, "out of memory");
    *ret_any = true;
  }
  if (dir)
    closedir(dir);
  return failed;
}

static int remove_volume(struct host *h, const struct owned *o, const char *owner, struct err *err)
{
  struct place p CLEANUP(place_release) = {0};
  cleanup_free char *uid = owner_uid(owner);
  cleanup_free char *user = NULL;
  bool ours_runs = false, any_part = false;
  if (owned_place(h, o, &p, err) != 0 || owned_path_ok(o, &p, uid, err) != 0 ||
      path_user(h, o->id, owner, &user, &ours_runs, err) != 0)
    return -1;
  if (user)
    return err_set(err, ERR_DENIED,
                   "%s is used by VM '%s', which does not bear the mark of this "
                   "object; it is left alone",
                   o->id, user);
  if (ours_runs)
    return err_set(err, ERR_BUSY, "the VM on %s runs", o->id);
  if (p.pool && p.active)
    virStoragePoolRefresh(p.pool, 0);
  if (path_remove(h, o->id, err) != 0 || remove_parts(h, o->id, &any_part, err) != 0)
    return -1;
  // The pool may have seen it, and would go on listing it.
  if (any_part && p.pool && p.active)
    virStoragePoolRefresh(p.pool, 0);
  return 0;
}

int host_remove(void *handle, const struct owned *o, const char *owner, struct err *err)
{
  cleanup_free char *uid = owner_uid(owner);
  if (!uid)
    return err_set(err, ERR_INTERNAL, "nothing is removed without the mark of its owner");
  if (str_eq(o->kind, "VM"))
    return remove_vm(handle, o, owner, err);
  if (str_eq(o->kind, "Volume"))
    return remove_volume(handle, o, owner, err);
  if (str_eq(o->kind, MARK_CLONE))
    return host_remove_clone(handle, o, owner, err);
  if (str_eq(o->kind, MARK_BASE))
    return host_remove_base(handle, o, owner, err);
  if (str_eq(o->kind, "Template"))
    return 0; // used as it was; nothing of ours is on it
  return err_set(err, ERR_INTERNAL, "libvirt has nothing of the kind '%s'", o->kind ? o->kind : "");
}
