// SPDX-License-Identifier: Apache-2.0
// The neutral description of a virtual machine: what every provider can read off its own and build
// from anybody's. It is also what vm.json of a stored image holds (layout version 1). Plain data,
// moved in and out of JSON by the tables below; no provider's words in it.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/field.h"

enum vm_power { VM_POWER_UNKNOWN, VM_POWER_OFF, VM_POWER_ON, VM_POWER_PAUSED };
enum vm_firmware { VM_FIRMWARE_ANY, VM_FIRMWARE_BIOS, VM_FIRMWARE_UEFI };
enum vm_bus {
  VM_BUS_ANY,
  VM_BUS_VIRTIO,
  VM_BUS_SCSI,
  VM_BUS_SATA,
  VM_BUS_IDE,
  VM_BUS_NVME,
  VM_BUS_USB
};
// NVRAM, the variable store of UEFI, moves as one more small raw disk.
enum vm_disk_role { VM_DISK_ROLE_DISK, VM_DISK_ROLE_NVRAM };

extern const char *const vm_power_names[];     // "Unknown", "Off", "On", "Paused", NULL
extern const char *const vm_firmware_names[];  // "", "bios", "uefi", NULL
extern const char *const vm_bus_names[];       // "", "virtio", "scsi", ..., NULL
extern const char *const vm_disk_role_names[]; // "disk", "nvram", NULL

struct vm_disk {
  char *name;         // unique in the VM: "vda"; NVRAM: "nvram"
  int role;           // enum vm_disk_role
  int bus;            // enum vm_bus
  int64_t boot_order; // 1 = first; 0 = not booted from
  char *serial;
  bool read_only;
  int format;              // enum disk_format of what is stored
  int64_t capacity_bytes;  // guest-visible
  int64_t allocated_bytes; // taken at the source, 0 = unknown
  // Where it lies, for the provider that described it; left out of vm.json.
  char *path;
  char *storage;       // pool or datastore name, NULL = none
  struct list backing; // of struct reach_backing
};

struct vm_nic {
  char *mac;   // "52:54:00:0a:0b:0c"
  char *model; // "virtio", "e1000", ...
  // At the provider that described it: the name of a network or port group, or "bridge:NAME",
  // "direct:DEVICE" (macvtap), "user" (QEMU's own).
  char *network;
  int64_t boot_order; // among the disks' orders; 0 = not booted from
};

struct vm {
  char *id; // the provider's own (libvirt: UUID)
  char *name;
  char *uuid; // SMBIOS UUID
  int power;  // enum vm_power
  bool autostart;
  int64_t cpus;
  int64_t memory_bytes;
  char *arch;    // "x86_64"
  char *machine; // family: "q35", "pc"
  // A model of QEMU's, "host-model" (like the host's, migratable), "host-passthrough", or NULL: the
  // target's default.
  char *cpu_model;
  int64_t cpu_cores;   // per socket, 0 = not said (a socket for each CPU)
  int64_t cpu_threads; // per core, 0 = not said
  int firmware;        // enum vm_firmware
  bool secure_boot;
  char *tpm; // "2.0"; NULL = none. Its state does not move: reported
  char *guest_os;
  char *smbios_serial;
  // "virtio-scsi", "lsilogic", "lsisas1068", "pvscsi"; NULL = the target's default.
  char *scsi_controller;
  bool clock_local;    // the hardware clock shows local time, as Windows wants it; else UTC
  bool serial_console; // a serial port that people can attach to
  bool console_log;    // what the guest writes there is kept in a log on the host, too
  bool graphics;       // a screen
  bool guest_agent;    // a channel for the QEMU guest agent
  bool rng;            // random numbers from the host
  bool balloon;
  struct list disks; // of struct vm_disk, NVRAM last
  struct list nics;  // of struct vm_nic
  struct strings
      left_behind; // sentences: what the VM has and does not move (CD-ROMs, host devices)
  char *owner;     // our mark on it, NULL = not made by drover
};

extern const struct table vm_disk_table;
extern const struct table vm_table;      // everything
extern const struct table vm_json_table; // for vm.json: no paths, no power, no mark
void vm_release(struct vm *vm);
int vm_copy(const struct vm *from, struct vm *to, struct err *err);
const struct vm_disk *vm_disk_at(const struct vm *vm, size_t i);
const struct vm_disk *vm_disk_named(const struct vm *vm, const char *name);
const struct vm_nic *vm_nic_at(const struct vm *vm, size_t i);
