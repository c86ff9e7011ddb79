// SPDX-License-Identifier: Apache-2.0
#include "providers/vm.h"

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "disk/reach.h"

const char *const vm_power_names[] = {"Unknown", "Off", "On", "Paused", NULL};
const char *const vm_firmware_names[] = {"", "bios", "uefi", NULL};
const char *const vm_bus_names[] = {"", "virtio", "scsi", "sata", "ide", "nvme", "usb", NULL};
const char *const vm_disk_role_names[] = {"disk", "nvram", NULL};

static const struct field backing_fields[] = {
    {"path", FIELD_STRING, offsetof(struct reach_backing, path), .required = true, .max = 4096},
    {"format", FIELD_ENUM, offsetof(struct reach_backing, format), .names = disk_format_names},
};
static const struct table backing_table = TABLE(struct reach_backing, backing_fields);

// What vm.json and the full table have in common comes from one list, so that they cannot drift.
#define DISK_FIELDS                                                                                \
  {"name", FIELD_STRING, offsetof(struct vm_disk, name), .required = true, .min = 1, .max = 63},   \
      {"role", FIELD_ENUM, offsetof(struct vm_disk, role), .names = vm_disk_role_names},           \
      {"bus", FIELD_ENUM, offsetof(struct vm_disk, bus), .names = vm_bus_names},                   \
      {"bootOrder", FIELD_INT, offsetof(struct vm_disk, boot_order), .min = 0, .max = 1024},       \
      {"serial", FIELD_STRING, offsetof(struct vm_disk, serial), .max = 255},                      \
      {.name = "readOnly", .type = FIELD_BOOL, .offset = offsetof(struct vm_disk, read_only)},     \
      {"format", FIELD_ENUM, offsetof(struct vm_disk, format), .names = disk_format_names},        \
      {"capacityBytes", FIELD_BYTES, offsetof(struct vm_disk, capacity_bytes), .min = 0,           \
       .max = LIMIT_DISK_BYTES},                                                                   \
  {                                                                                                \
    "allocatedBytes", FIELD_BYTES, offsetof(struct vm_disk, allocated_bytes), .min = 0             \
  }

static const struct field disk_fields[] = {
    DISK_FIELDS,
    {"path", FIELD_STRING, offsetof(struct vm_disk, path), .max = 4096},
    {"storage", FIELD_STRING, offsetof(struct vm_disk, storage), .max = 4096},
    {"backing", FIELD_LIST, offsetof(struct vm_disk, backing), .table = &backing_table, .max = 200},
};
static const struct field disk_json_fields[] = {DISK_FIELDS};
const struct table vm_disk_table = TABLE(struct vm_disk, disk_fields);
static const struct table disk_json_table = TABLE(struct vm_disk, disk_json_fields);

static const struct field nic_fields[] = {
    {"mac", FIELD_STRING, offsetof(struct vm_nic, mac),
     .pattern = "^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$"},
    {"model", FIELD_STRING, offsetof(struct vm_nic, model), .max = 63},
    {"network", FIELD_STRING, offsetof(struct vm_nic, network), .max = 255},
    {"bootOrder", FIELD_INT, offsetof(struct vm_nic, boot_order), .min = 0, .max = 1024},
};
static const struct table nic_table = TABLE(struct vm_nic, nic_fields);

#define VM_FIELDS(disks_table)                                                                     \
  {"name", FIELD_STRING, offsetof(struct vm, name), .required = true, .min = 1, .max = 255},       \
      {"uuid", FIELD_STRING, offsetof(struct vm, uuid), .max = 36},                                \
      {"cpus", FIELD_INT, offsetof(struct vm, cpus), .min = 0, .max = 4096},                       \
      {"memoryBytes", FIELD_BYTES, offsetof(struct vm, memory_bytes), .min = 0,                    \
       .max = 64ll << 40},                                                                         \
      {"arch", FIELD_STRING, offsetof(struct vm, arch), .max = 63},                                \
      {"machine", FIELD_STRING, offsetof(struct vm, machine), .max = 63},                          \
      {"cpuModel", FIELD_STRING, offsetof(struct vm, cpu_model), .max = 127},                      \
      {"cpuCores", FIELD_INT, offsetof(struct vm, cpu_cores), .min = 0, .max = 4096},              \
      {"cpuThreads", FIELD_INT, offsetof(struct vm, cpu_threads), .min = 0, .max = 64},            \
      {"firmware", FIELD_ENUM, offsetof(struct vm, firmware), .names = vm_firmware_names},         \
      {.name = "secureBoot", .type = FIELD_BOOL, .offset = offsetof(struct vm, secure_boot)},      \
      {"tpm", FIELD_STRING, offsetof(struct vm, tpm), .max = 15},                                  \
      {"guestOS", FIELD_STRING, offsetof(struct vm, guest_os), .max = 255},                        \
      {"smbiosSerial", FIELD_STRING, offsetof(struct vm, smbios_serial), .max = 255},              \
      {"scsiController", FIELD_STRING, offsetof(struct vm, scsi_controller), .max = 63},           \
      {.name = "clockLocal", .type = FIELD_BOOL, .offset = offsetof(struct vm, clock_local)},      \
      {"serialConsole", FIELD_BOOL, offsetof(struct vm, serial_console), .fallback = "true"},      \
      {.name = "consoleLog", .type = FIELD_BOOL, .offset = offsetof(struct vm, console_log)},      \
      {"graphics", FIELD_BOOL, offsetof(struct vm, graphics), .fallback = "true"},                 \
      {"guestAgent", FIELD_BOOL, offsetof(struct vm, guest_agent), .fallback = "true"},            \
      {"rng", FIELD_BOOL, offsetof(struct vm, rng), .fallback = "true"},                           \
      {"balloon", FIELD_BOOL, offsetof(struct vm, balloon), .fallback = "true"},                   \
      {"disks", FIELD_LIST, offsetof(struct vm, disks), .table = &(disks_table),                   \
       .max = LIMIT_DISKS},                                                                        \
      {"nics", FIELD_LIST, offsetof(struct vm, nics), .table = &nic_table, .max = LIMIT_NICS},     \
  {                                                                                                \
    "leftBehind", FIELD_STRINGS, offsetof(struct vm, left_behind), .max = 256                      \
  }

static const struct field vm_fields[] = {
    VM_FIELDS(vm_disk_table),
    {"id", FIELD_STRING, offsetof(struct vm, id), .max = 255},
    {"power", FIELD_ENUM, offsetof(struct vm, power), .names = vm_power_names},
    {.name = "autostart", .type = FIELD_BOOL, .offset = offsetof(struct vm, autostart)},
    {"owner", FIELD_STRING, offsetof(struct vm, owner), .max = 1024},
};
static const struct field vm_json_fields[] = {VM_FIELDS(disk_json_table)};
const struct table vm_table = TABLE(struct vm, vm_fields);
const struct table vm_json_table = TABLE(struct vm, vm_json_fields);

void vm_release(struct vm *vm)
{
  table_release(&vm_table, vm);
}

int vm_copy(const struct vm *from, struct vm *to, struct err *err)
{
  return table_copy(&vm_table, from, to, err);
}

const struct vm_disk *vm_disk_at(const struct vm *vm, size_t i)
{
  return i < vm->disks.count ? (const struct vm_disk *)vm->disks.items + i : NULL;
}

const struct vm_disk *vm_disk_named(const struct vm *vm, const char *name)
{
  for (size_t i = 0; i < vm->disks.count; i++)
    if (str_eq(vm_disk_at(vm, i)->name, name))
      return vm_disk_at(vm, i);
  return NULL;
}

const struct vm_nic *vm_nic_at(const struct vm *vm, size_t i)
{
  return i < vm->nics.count ? (const struct vm_nic *)vm->nics.items + i : NULL;
}
