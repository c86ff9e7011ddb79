// SPDX-License-Identifier: Apache-2.0
// Disks, network cards, console and the small devices of a new domain.
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/str.h"
#include "providers/libvirt/build_internal.h"

#define LOG_FOLDER "/var/log/libvirt/qemu" // libvirt's own, where virtlogd writes

static int no_memory(struct err *err)
{
  return err_set(err, ERR_NO_MEMORY, "out of memory");
}

static void adapt(const struct build *b, const char *sentence)
{
  if (sentence && !strings_has(b->adapted, sentence))
    strings_add(b->adapted, sentence);
}

// ---- disks -------------------------------------------------------------------------------------

struct names_used {
  unsigned virtio, scsi, ide; // device names given so far, by prefix
};

// vda ... vdz, vdaa ...
static char *device_name(const char *prefix, unsigned n)
{
  char letters[8];
  size_t at = sizeof(letters) - 1;
  letters[at] = '\0';
  for (unsigned rest = n + 1; rest > 0; rest = (rest - 1) / 26)
    letters[--at] = (char)('a' + (rest - 1) % 26);
  return str_printf("%s%s", prefix, letters + at);
}

static bool bus_offered(const struct build *b, const char *bus)
{
  cleanup_free char *path = str_printf("/domainCapabilities/devices/disk/enum[@name='bus']/"
                                       "value[.='%s']",
                                       bus); // a word of vm_bus_names
  return path && xml_has(&b->caps->xml, NULL, path);
}

static const char *choose_bus(const struct build *b, const struct vm_disk *disk)
{
  static const char *const instead[] = {"sata", "scsi", "virtio"};
  const char *wanted = disk->bus == VM_BUS_ANY ? "virtio" : vm_bus_names[disk->bus];
  if (bus_offered(b, wanted))
    return wanted;
  for (size_t i = 0; i < ARRAY_SIZE(instead); i++) {
    if (!bus_offered(b, instead[i]))
      continue;
    cleanup_free char *text =
        str_printf("Disk '%s' is on the bus %s, because the target's machine has no %s.",
                   disk->name, instead[i], wanted);
    adapt(b, text);
    return instead[i];
  }
  return wanted;
}

static char *next_name(const char *bus, struct names_used *used)
{
  if (str_eq(bus, "virtio"))
    return device_name("vd", used->virtio++);
  if (str_eq(bus, "ide"))
    return device_name("hd", used->ide++);
  return device_name("sd", used->scsi++);
}

// Parallel SCSI adapters of old have a unit for each disk, the others a target for each.
static int add_scsi_address(const struct vm *vm, xmlNodePtr disk, unsigned n, struct err *err)
{
  char number[16];
  snprintf(number, sizeof(number), "%u", n);
  bool units = str_eq(vm->scsi_controller, "lsilogic");
  return xml_add(disk, "address", NULL, "type", "drive", "controller", "0", "bus", "0", "target",
                 units ? "0" : number, "unit", units ? number : "0", NULL)
             ? 0
             : no_memory(err);
}

static int64_t boot_place(const struct vm *vm, int64_t order)
{
  int64_t place = 1;
  for (size_t i = 0; i < vm->disks.count; i++)
    place += vm_disk_at(vm, i)->boot_order > 0 && vm_disk_at(vm, i)->boot_order < order;
  for (size_t i = 0; i < vm->nics.count; i++)
    place += vm_nic_at(vm, i)->boot_order > 0 && vm_nic_at(vm, i)->boot_order < order;
  return place;
}

static bool boots_from_something(const struct vm *vm)
{
  for (size_t i = 0; i < vm->disks.count; i++)
    if (vm_disk_at(vm, i)->boot_order > 0)
      return true;
  for (size_t i = 0; i < vm->nics.count; i++)
    if (vm_nic_at(vm, i)->boot_order > 0)
      return true;
  return false;
}

// libvirt wants each order once: equal ones are told apart by place, disks first.
static int add_boot(const struct vm *vm, xmlNodePtr device, int64_t order, bool *used,
                    struct err *err)
{
  if (order <= 0)
    return 0;
  int64_t place = boot_place(vm, order);
  while (place < LIMIT_DISKS + LIMIT_NICS && used[place])
    place++;
  used[place] = true;
  char text[24];
  snprintf(text, sizeof(text), "%lld", (long long)place);
  return xml_add(device, "boot", NULL, "order", text, NULL) ? 0 : no_memory(err);
}

static int add_disk(const struct build *b, xmlNodePtr devices, size_t i, struct names_used *used,
                    bool *orders, struct err *err)
{
  const struct vm *vm = &b->target->vm;
  const struct vm_disk *d = vm_disk_at(vm, i);
  const struct target_disk *how = (const struct target_disk *)b->target->disks.items + i;
  bool block = b->disks[i].block;
  const char *bus = choose_bus(b, d);
  unsigned scsi_before = used->scsi;
  cleanup_free char *name = next_name(bus, used);
  xmlNodePtr disk =
      xml_add(devices, "disk", NULL, "type", block ? "block" : "file", "device", "disk", NULL);
  bool ok = name &&
            xml_add(disk, "driver", NULL, "name", "qemu", "type", disk_format_names[how->format],
                    "discard", "unmap", NULL) &&
            xml_add(disk, "source", NULL, block ? "dev" : "file", b->disks[i].path, NULL) &&
            xml_add(disk, "target", NULL, "dev", name, "bus", bus, NULL);
  if (ok && !str_empty(d->serial))
    ok = xml_add(disk, "serial", d->serial, NULL) != NULL;
  if (ok && d->read_only)
    ok = xml_add(disk, "readonly", NULL, NULL) != NULL;
  if (!ok)
    return no_memory(err);
  if (str_eq(bus, "scsi") && add_scsi_address(vm, disk, scsi_before, err) != 0)
    return -1;
  bool only_choice = i == 0 && !boots_from_something(vm);
  return add_boot(vm, disk, only_choice ? 1 : d->boot_order, orders, err);
}

static int add_scsi_controller(const struct build *b, xmlNodePtr devices, struct err *err)
{
  static const struct {
    const char *name, *model;
  } models[] = {{"virtio-scsi", "virtio-scsi"},
                {"lsilogic", "lsilogic"},
                {"lsisas1068", "lsisas1068"},
                {"pvscsi", "vmpvscsi"}};
  const char *wanted = b->target->vm.scsi_controller;
  const char *model = wanted ? NULL : "virtio-scsi";
  for (size_t i = 0; i < ARRAY_SIZE(models); i++)
    if (str_eq(wanted, models[i].name))
      model = models[i].model;
  if (!model) {
    cleanup_free char *text = str_printf("The SCSI controller is virtio-scsi instead of %s; the "
                                         "guest needs its driver.",
                                         wanted);
    adapt(b, text);
    model = "virtio-scsi";
  }
  return xml_add(devices, "controller", NULL, "type", "scsi", "index", "0", "model", model, NULL)
             ? 0
             : no_memory(err);
}

static int add_disks(const struct build *b, xmlNodePtr devices, bool *orders, struct err *err)
{
  const struct vm *vm = &b->target->vm;
  struct names_used used = {0};
  if (b->target->disks.count < vm->disks.count)
    return err_set(err, ERR_INTERNAL, "a target without a place for each disk");
  bool scsi = false;
  for (size_t i = 0; i < vm->disks.count; i++)
    if (vm_disk_at(vm, i)->role != VM_DISK_ROLE_NVRAM) {
      scsi |= str_eq(choose_bus(b, vm_disk_at(vm, i)), "scsi");
      if (add_disk(b, devices, i, &used, orders, err) != 0)
        return -1;
    }
  return scsi ? add_scsi_controller(b, devices, err) : 0;
}

// ---- network cards -----------------------------------------------------------------------------

static const char *nic_model(const struct build *b, const struct vm_nic *nic)
{
  static const char *const known[] = {"virtio",
                                      "virtio-transitional",
                                      "virtio-non-transitional",
                                      "e1000",
                                      "e1000e",
                                      "rtl8139",
                                      "vmxnet3",
                                      "igb",
                                      "pcnet",
                                      "ne2k_pci"};
  if (str_empty(nic->model))
    return "virtio";
  for (size_t i = 0; i < ARRAY_SIZE(known); i++)
    if (str_eq(nic->model, known[i]))
      return known[i];
  cleanup_free char *text = str_printf("A network card is of model virtio instead of %s; the guest "
                                       "needs its driver.",
                                       nic->model);
  adapt(b, text);
  return "virtio";
}

static xmlNodePtr add_interface(xmlNodePtr devices, const char *network)
{
  const char *bridge = str_after(network, "bridge:");
  const char *direct = str_after(network, "direct:");
  if (str_eq(network, "user"))
    return xml_add(devices, "interface", NULL, "type", "user", NULL);
  xmlNodePtr node = xml_add(devices, "interface", NULL, "type",
                            bridge   ? "bridge"
                            : direct ? "direct"
                                     : "network",
                            NULL);
  if (bridge)
    return xml_add(node, "source", NULL, "bridge", bridge, NULL) ? node : NULL;
  if (direct)
    return xml_add(node, "source", NULL, "dev", direct, "mode", "bridge", NULL) ? node : NULL;
  return xml_add(node, "source", NULL, "network", network, NULL) ? node : NULL;
}

static int add_nic(const struct build *b, xmlNodePtr devices, size_t i, bool *orders,
                   struct err *err)
{
  const struct vm_nic *nic = vm_nic_at(&b->target->vm, i);
  char mac[BUILD_MAC_BYTES];
  build_mac(b->target->uid, i, mac);
  xmlNodePtr node =
      add_interface(devices, str_empty(nic->network) ? b->default_network : nic->network);
  if (!xml_add(node, "mac", NULL, "address", str_empty(nic->mac) ? mac : nic->mac, NULL) ||
      !xml_add(node, "model", NULL, "type", nic_model(b, nic), NULL))
    return no_memory(err);
  return add_boot(&b->target->vm, node, nic->boot_order, orders, err);
}

// ---- small devices -----------------------------------------------------------------------------

static int add_console(const struct vm *vm, xmlNodePtr devices, struct err *err)
{
  if (!vm->serial_console)
    return 0;
  xmlNodePtr serial = xml_add(devices, "serial", NULL, "type", "pty", NULL);
  if (vm->console_log) {
    cleanup_free char *word = build_file_word(vm->name);
    cleanup_free char *path = word ? str_printf(LOG_FOLDER "/%s-serial.log", word) : NULL;
    if (!path || !xml_add(serial, "log", NULL, "file", path, "append", "off", NULL))
      return no_memory(err);
  }
  return xml_add(serial, "target", NULL, "port", "0", NULL) ? 0 : no_memory(err);
}

static int add_graphics(const struct vm *vm, xmlNodePtr devices, struct err *err)
{
  if (!vm->graphics)
    return 0;
  xmlNodePtr video = xml_add(devices, "video", NULL, NULL);
  return xml_add(video, "model", NULL, "type", "vga", NULL) &&
                 xml_add(devices, "graphics", NULL, "type", "vnc", "port", "-1", "autoport", "yes",
                         "listen", "127.0.0.1", NULL)
             ? 0
             : no_memory(err);
}

// What the TPM knew stays behind (left_behind says so): the new one is empty.
static int add_tpm(const struct build *b, xmlNodePtr devices, struct err *err)
{
  const char *version = b->target->vm.tpm;
  if (!version)
    return 0;
  if (!xml_has(&b->caps->xml, NULL,
               "/domainCapabilities/devices/tpm[@supported='yes']/enum[@name='backendModel']/"
               "value[.='emulator']")) {
    adapt(b, "The VM has no TPM, because the target offers none (swtpm is not installed).");
    return 0;
  }
  adapt(b, "The VM has a new, empty TPM.");
  xmlNodePtr tpm =
      xml_add(devices, "tpm", NULL, "model", str_eq(version, "1.2") ? "tpm-tis" : "tpm-crb", NULL);
  return xml_add(tpm, "backend", NULL, "type", "emulator", "version", version, NULL)
             ? 0
             : no_memory(err);
}

static int add_small(const struct build *b, xmlNodePtr devices, struct err *err)
{
  const struct vm *vm = &b->target->vm;
  bool ok = xml_add(devices, "memballoon", NULL, "model", vm->balloon ? "virtio" : "none", NULL);
  if (vm->guest_agent) {
    xmlNodePtr channel = xml_add(devices, "channel", NULL, "type", "unix", NULL);
    ok &= xml_add(channel, "target", NULL, "type", "virtio", "name", "org.qemu.guest_agent.0",
                  NULL) != NULL;
  }
  if (vm->rng) {
    xmlNodePtr rng = xml_add(devices, "rng", NULL, "model", "virtio", NULL);
    ok &= xml_add(rng, "backend", "/dev/urandom", "model", "random", NULL) != NULL;
  }
  return ok ? add_tpm(b, devices, err) : no_memory(err);
}

int build_devices(const struct build *b, xmlNodePtr domain, struct err *err)
{
  const struct vm *vm = &b->target->vm;
  bool orders[LIMIT_DISKS + LIMIT_NICS + 1] = {false};
  cleanup_free char *emulator = xml_get(&b->caps->xml, NULL, "/domainCapabilities/path");
  xmlNodePtr devices = xml_add(domain, "devices", NULL, NULL);
  if (!xml_add(devices, "emulator", emulator, NULL))
    return no_memory(err);
  if (add_disks(b, devices, orders, err) != 0)
    return -1;
  for (size_t i = 0; i < vm->nics.count; i++)
    if (add_nic(b, devices, i, orders, err) != 0)
      return -1;
  if (add_console(vm, devices, err) != 0 || add_graphics(vm, devices, err) != 0)
    return -1;
  return add_small(b, devices, err);
}
