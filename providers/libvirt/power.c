// SPDX-License-Identifier: Apache-2.0
// Power, autostart and the removal of a source.
#include "base/str.h"
#include "providers/libvirt/storage_internal.h"

#define AGENT_TIMEOUT_S 5

int host_power_state(void *handle, const char *vm_id, enum vm_power *ret, struct err *err)
{
  cleanup_domain virDomainPtr domain = host_domain(handle, vm_id, err);
  return domain ? host_power(domain, ret, err) : -1;
}

// Only an agent that is connected is asked: one that is not would be waited for.
static bool agent_answers(virDomainPtr domain)
{
  cleanup_free char *text = virDomainGetXMLDesc(domain, 0);
  struct xml x CLEANUP(xml_release) = {0};
  struct err none = ERR_INIT;
  return text && xml_parse(&x, text, "domain", &none) == 0 &&
         xml_has(&x, NULL,
                 "/domain/devices/channel/target[@name='org.qemu.guest_agent.0']"
                 "[@state='connected']");
}

static int shut_down(virDomainPtr domain, struct err *err)
{
  if (agent_answers(domain)) {
    virDomainAgentSetResponseTimeout(domain, AGENT_TIMEOUT_S, 0);
    if (virDomainShutdownFlags(domain, VIR_DOMAIN_SHUTDOWN_GUEST_AGENT) == 0)
      return 0;
  }
  if (virDomainShutdownFlags(domain, VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN) == 0)
    return 0;
  return host_fail(err, "shut down '%s'", virDomainGetName(domain));
}

static int act(virDomainPtr domain, enum power_action action, struct err *err)
{
  switch (action) {
  case POWER_ON:
    if (virDomainCreate(domain) == 0)
      return 0;
    return host_fail(err, "start '%s'", virDomainGetName(domain));
  case POWER_OFF:
    if (virDomainDestroy(domain) == 0)
      return 0;
    return host_fail(err, "power off '%s'", virDomainGetName(domain));
  case POWER_GUEST_SHUTDOWN:
    return shut_down(domain, err);
  }
  return err_set(err, ERR_INTERNAL, "unknown power action %d", (int)action);
}

int host_set_power(void *handle, const char *vm_id, enum power_action action, struct err *err)
{
  cleanup_domain virDomainPtr domain = host_domain(handle, vm_id, err);
  if (!domain)
    return -1;
  bool on = action == POWER_ON;
  struct err failed = ERR_INIT;
  if ((virDomainIsActive(domain) == 1) == on || act(domain, action, &failed) == 0)
    return 0;
  if ((virDomainIsActive(domain) == 1) == on) // somebody, or the guest, was faster
    return 0;
  if (err)
    *err = failed;
  return -1;
}

int host_set_autostart(void *handle, const char *vm_id, bool on, struct err *err)
{
  cleanup_domain virDomainPtr domain = host_domain(handle, vm_id, err);
  if (!domain)
    return -1;
  if (virDomainSetAutostart(domain, on) == 0)
    return 0;
  return host_fail(err, "set autostart of '%s'", virDomainGetName(domain));
}

// ---- removing the source -----------------------------------------------------------------------

int host_undefine(virDomainPtr domain, bool with_nvram, struct err *err)
{
  unsigned flags = VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
                   VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA;
  flags |= with_nvram ? VIR_DOMAIN_UNDEFINE_NVRAM : VIR_DOMAIN_UNDEFINE_KEEP_NVRAM;
  if (virDomainUndefineFlags(domain, flags) == 0 || host_last_error_is(VIR_ERR_NO_DOMAIN))
    return 0;
  return host_fail(err, "undefine '%s'", virDomainGetName(domain));
}

// The definition must still be the one that was moved, disk by disk.
static int same_disks(virDomainPtr domain, const struct vm *vm, struct err *err)
{
  struct xml x CLEANUP(xml_release) = {0};
  struct vm now CLEANUP(vm_release) = {0};
  if (host_domain_xml(domain, &x, err) != 0 || domain_describe(&x, &now, err) != 0)
    return -1;
  for (size_t i = 0; i < vm->disks.count; i++) {
    const struct vm_disk *then = vm_disk_at(vm, i);
    const struct vm_disk *disk = vm_disk_named(&now, then->name);
    if (!disk || (disk->path && !str_eq(disk->path, then->path)))
      return err_set(err, ERR_CHANGED,
                     "disk '%s' of VM '%s' is not the one that was moved: the VM "
                     "is not deleted",
                     then->name, vm->name);
  }
  return 0;
}

// Asked for all disks before anything is removed.
static int may_remove(struct host *h, const struct vm *vm, struct err *err)
{
  for (size_t i = 0; i < vm->disks.count; i++) {
    const char *path = vm_disk_at(vm, i)->path;
    cleanup_free char *user = NULL;
    if (!path)
      continue;
    if (path_user_but(h, path, vm->id, &user, err) != 0)
      return -1;
    if (!user && path_removable(h, path, err) != 0)
      return -1;
    if (user)
      return err_set(err, ERR_DENIED, "%s is used by VM '%s' as well: VM '%s' is not deleted", path,
                     user, vm->name);
  }
  return 0;
}

int host_delete_vm(void *handle, const struct vm *vm, struct err *err)
{
  struct host *h = handle;
  struct err missing = ERR_INIT;
  cleanup_domain virDomainPtr domain = host_domain(h, vm->id, &missing);
  if (!domain && missing.kind != ERR_NOT_FOUND) {
    if (err)
      *err = missing;
    return -1;
  }
  if (domain && virDomainIsActive(domain) == 1)
    return err_set(err, ERR_BUSY, "VM '%s' runs", vm->name);
  if (domain && same_disks(domain, vm, err) != 0)
    return -1;
  if (may_remove(h, vm, err) != 0 || (domain && host_undefine(domain, true, err) != 0))
    return -1;
  for (size_t i = 0; i < vm->disks.count; i++) {
    const struct vm_disk *disk = vm_disk_at(vm, i);
    if (disk->path && path_remove(h, disk->path, err) != 0)
      return -1;
  }
  return 0;
}
