// SPDX-License-Identifier: Apache-2.0
// Snapshots of clones: libvirt's internal ones, which lie in the clone's own qcow2 files and go
// with them. Of a running clone the memory is in it as well. libvirt takes none of machines with
// UEFI variable stores, nor of raw disks (https://libvirt.org/formatsnapshot.html).
#include <string.h>

#include "base/str.h"
#include "providers/libvirt/clone_internal.h"

static inline void snapshot_free_(virDomainSnapshotPtr *s)
{
  if (*s)
    virDomainSnapshotFree(*s);
}
#define cleanup_snapshot CLEANUP(snapshot_free_)

// Only of what is ours: a clone.
static virDomainPtr clone_domain(struct host *h, const char *id, struct xml *x, struct err *err)
{
  virDomainPtr domain = host_domain(h, id, err);
  struct mark mark CLEANUP(mark_release) = {0};
  if (!domain)
    return NULL;
  if (host_domain_xml(domain, x, err) == 0) {
    mark_read(x, &mark);
    if (str_eq(mark.kind, MARK_CLONE))
      return domain;
    err_set(err, ERR_DENIED, "VM '%s' is no clone of ours: its snapshots are left alone",
            virDomainGetName(domain));
  }
  virDomainFree(domain);
  return NULL;
}

static int can_snapshot(const struct xml *x, struct err *err)
{
  if (xml_has(x, NULL, "/domain/os/nvram | /domain/os[@firmware='efi']"))
    return err_set(err, ERR_UNSUPPORTED,
                   "libvirt takes no internal snapshot of a machine with UEFI: its variable store "
                   "cannot be in it");
  if (xml_has(x, NULL,
              "/domain/devices/disk[not(@device) or @device='disk'][not(readonly)]"
              "[not(driver/@type='qcow2')]"))
    return err_set(err, ERR_UNSUPPORTED,
                   "a snapshot lies in the disks, and not all of this clone's are qcow2");
  return 0;
}

static int name_ok(const char *name, struct err *err)
{
  size_t length = name ? strlen(name) : 0;
  if (length > 0 && length <= 63 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == length)
    return 0;
  return err_set(err, ERR_INVALID, "a snapshot has a name of lower-case letters, digits and '-'");
}

static virDomainSnapshotPtr snapshot_named(virDomainPtr domain, const char *name, struct err *err)
{
  virDomainSnapshotPtr s = virDomainSnapshotLookupByName(domain, name, 0);
  if (!s && host_last_error_is(VIR_ERR_NO_DOMAIN_SNAPSHOT))
    err_set(err, ERR_NOT_FOUND, "VM '%s' has no snapshot '%s'", virDomainGetName(domain), name);
  else if (!s)
    host_fail(err, "look up the snapshot '%s'", name);
  return s;
}

static char *snapshot_xml(const char *name)
{
  xmlDocPtr doc = xmlNewDoc(BAD_CAST "1.0");
  xmlNodePtr root = doc ? xmlNewNode(NULL, BAD_CAST "domainsnapshot") : NULL;
  if (root)
    xmlDocSetRootElement(doc, root);
  char *text = xml_add(root, "name", name, NULL) ? xml_text(doc) : NULL;
  if (doc)
    xmlFreeDoc(doc);
  return text;
}

int host_snapshot(void *handle, const char *id, const char *name, struct err *err)
{
  struct xml x CLEANUP(xml_release) = {0};
  if (name_ok(name, err) != 0)
    return -1;
  cleanup_domain virDomainPtr domain = clone_domain(handle, id, &x, err);
  struct err missing = ERR_INIT;
  if (!domain || can_snapshot(&x, err) != 0)
    return -1;
  cleanup_snapshot virDomainSnapshotPtr there = snapshot_named(domain, name, &missing);
  if (there)
    return 0;
  if (missing.kind != ERR_NOT_FOUND)
    return err_set(err, missing.kind, "%s", missing.message);
  cleanup_free char *text = snapshot_xml(name);
  if (!text)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  cleanup_snapshot virDomainSnapshotPtr made = virDomainSnapshotCreateXML(domain, text, 0);
  return made ? 0 : host_fail(err, "take the snapshot '%s'", name);
}

// On stays on, off stays off, whatever it was when the snapshot was taken.
int host_rollback(void *handle, const char *id, const char *name, struct err *err)
{
  struct xml x CLEANUP(xml_release) = {0};
  if (name_ok(name, err) != 0)
    return -1;
  cleanup_domain virDomainPtr domain = clone_domain(handle, id, &x, err);
  cleanup_snapshot virDomainSnapshotPtr s = domain ? snapshot_named(domain, name, err) : NULL;
  if (!s)
    return -1;
  bool on = virDomainIsActive(domain) == 1;
  unsigned flags = VIR_DOMAIN_SNAPSHOT_REVERT_FORCE | (on ? VIR_DOMAIN_SNAPSHOT_REVERT_RUNNING : 0);
  if (virDomainRevertToSnapshot(s, flags) != 0)
    return host_fail(err, "roll back to '%s'", name);
  if (!on && virDomainIsActive(domain) == 1 && virDomainDestroy(domain) != 0)
    return host_fail(err, "power off '%s'", virDomainGetName(domain));
  return 0;
}

int host_snapshots(void *handle, const char *id, struct strings *ret, struct err *err)
{
  cleanup_domain virDomainPtr domain = host_domain(handle, id, err);
  virDomainSnapshotPtr *all = NULL;
  if (!domain)
    return -1;
  int count = virDomainListAllSnapshots(domain, &all, VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL);
  if (count < 0)
    return host_fail(err, "list the snapshots of '%s'", virDomainGetName(domain));
  int failed = 0;
  for (int i = 0; i < count; i++) {
    failed |= strings_add(ret, virDomainSnapshotGetName(all[i]));
    virDomainSnapshotFree(all[i]);
  }
  free(all);
  return failed ? err_set(err, ERR_NO_MEMORY, "out of memory") : 0;
}

int host_snapshot_remove(void *handle, const char *id, const char *name, struct err *err)
{
  struct xml x CLEANUP(xml_release) = {0};
  struct err missing = ERR_INIT;
  if (name_ok(name, err) != 0)
    return -1;
  cleanup_domain virDomainPtr domain = clone_domain(handle, id, &x, err);
  if (!domain)
    return -1;
  cleanup_snapshot virDomainSnapshotPtr s = snapshot_named(domain, name, &missing);
  if (!s && missing.kind == ERR_NOT_FOUND)
    return 0; // gone already
  if (!s)
    return err_set(err, missing.kind, "%s", missing.message);
  return virDomainSnapshotDelete(s, 0) == 0 ? 0 : host_fail(err, "remove the snapshot '%s'", name);
}
