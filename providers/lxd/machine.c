// SPDX-License-Identifier: Apache-2.0
// What the seam of migrations asks. Machines are described and powered; their disks are the
// daemon's own business, so nothing is moved from or to here, and each verb says so.
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "providers/lxd/lxd_internal.h"

#define NO_DISKS                                                                                   \
  "LXD and Incus give no access to the disks of an instance: machines are cloned there, not moved"

static int add_nics(struct json_object *instance, struct vm *vm)
{
  struct json_object *devices = lxd_member(instance, "expanded_devices");
  if (!json_object_is_type(devices, json_type_object))
    return 0;
  json_object_object_foreach(devices, name, device)
  {
    if (!lxd_is_nic(device))
      continue;
    cleanup_free char *key = str_printf("volatile.%s.hwaddr", name);
    const char *mac = lxd_text(device, "hwaddr"), *network = lxd_text(device, "network");
    struct vm_nic *n = list_add(&vm->nics, sizeof(*n), 32);
    if (!n || !key)
      return -1;
    n->mac = str_dup(mac ? mac : lxd_config(instance, key));
    n->network = str_dup(network ? network : lxd_text(device, "parent"));
  }
  return 0;
}

int lxd_find_vm(void *h, const char *name_or_id, struct vm *ret, struct err *err)
{
  struct lxd *l = h;
  cleanup_json struct json_object *instance = NULL;
  struct vm vm CLEANUP(vm_release) = {0};
  if (lxd_instance_brief(l, name_or_id, &instance, err) != 0)
    return -1;
  struct json_object *config = lxd_member(instance, "expanded_config");
  const char *cpus = lxd_text(config, "limits.cpu"), *memory = lxd_text(config, "limits.memory");
  vm.id = str_dup(name_or_id);
  vm.name = str_dup(name_or_id);
  vm.uuid = str_dup(lxd_config(instance, "volatile.uuid"));
  vm.arch = str_dup(lxd_text(instance, "architecture"));
  vm.owner = str_dup(lxd_config(instance, LXD_CONFIG_OWNER));
  vm.power = lxd_power_of(instance);
  vm.autostart = str_eq(lxd_text(config, "boot.autostart"), "true");
  if (!str_int64(cpus ? cpus : "", &vm.cpus))
    vm.cpus = 0; // a set of CPUs, or no limit
  if (!str_bytes(memory ? memory : "", &vm.memory_bytes))
    vm.memory_bytes = 0;
  if (!vm.id || !vm.name || add_nics(instance, &vm) != 0 ||
      strings_add(&vm.left_behind, "The disks stay behind: " NO_DISKS ".") != 0)
    return lxd_no_memory(err);
  *ret = vm;
  vm = (struct vm){0};
  return 0;
}

int lxd_power_state(void *h, const char *id, enum vm_power *ret, struct err *err)
{
  struct lxd *l = h;
  cleanup_json struct json_object *instance = NULL;
  if (lxd_instance_brief(l, id, &instance, err) != 0)
    return -1;
  *ret = lxd_power_of(instance);
  return 0;
}

int lxd_set_autostart(void *h, const char *id, bool on, struct err *err)
{
  struct lxd *l = h;
  cleanup_json struct json_object *instance = NULL;
  if (lxd_instance_brief(l, id, &instance, err) != 0)
    return -1;
  struct json_object *body = json_object_new_object(), *config = json_object_new_object();
  json_object_object_add(body, "config", config);
  lxd_put(config, "boot.autostart", on ? "true" : "false");
  return lxd_patch(l, id, body, err);
}

static int check(struct findings *f, const char *name, struct err *err)
{
  if (findings_add(f, name, FINDING_ERROR, "name a provider of another type", NO_DISKS) == 0)
    return 0;
  return lxd_no_memory(err);
}

static int check_source(void *h, const struct vm *vm, struct findings *f, struct err *err)
{
  (void)h, (void)vm;
  return check(f, "SourceDisks", err);
}

static int check_target(void *h, const struct vm_target *t, struct findings *f, struct err *err)
{
  (void)h, (void)t;
  return check(f, "TargetDisks", err);
}

static const struct clone_ops clones = {
    .copies_machines = true,
    .takes_images = true,
    .base_check = lxd_base_check,
    .base_plan = lxd_base_plan,
    .base_make = lxd_base_make,
    .base_get = lxd_base_get,
    .base_release = lxd_base_release,
    .clone_check = lxd_clone_check,
    .clone_plan = lxd_clone_plan,
    .clone_make = lxd_clone_make,
    .clone_get = lxd_clone_get,
    .clone_power = lxd_clone_power,
    .machines = lxd_machines,
    .exec = lxd_exec,
    .push = lxd_push,
    .pull = lxd_pull,
    .snapshot = lxd_snapshot,
    .rollback = lxd_rollback,
    .snapshots = lxd_snapshots,
    .snapshot_remove = lxd_snapshot_remove,
    .console = lxd_console,
};

const struct provider_ops lxd_ops = {
    .type = "LXD",
    .lanes = 4,
    .no_disks = NO_DISKS,
    .open = lxd_open,
    .close = lxd_close,
    .alive = lxd_alive,
    .probe = lxd_probe,
    .find_vm = lxd_find_vm,
    .power = lxd_clone_power,
    .power_state = lxd_power_state,
    .set_autostart = lxd_set_autostart,
    .check_source = check_source,
    .check_target = check_target,
    .remove = lxd_remove,
    .clones = &clones,
};
