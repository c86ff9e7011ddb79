// SPDX-License-Identifier: Apache-2.0
// What the files that make a VM share.
#pragma once

#include "providers/libvirt/build_internal.h"
#include "providers/libvirt/storage_internal.h"

void caps_release(struct caps *c);
// Of the hypervisor that the new VM will have: KVM where the target has it for that machine, else
// QEMU's emulation; the machine of that family, else the target's default.
int caps_get(struct host *h, const struct vm *vm, struct caps *ret, struct err *err);

// Where disk i goes and what it is called there.
int plan_disk(struct host *h, const struct vm_target *t, size_t i, struct owned *ret,
              struct err *err);
// The place that a ledger entry names.
int owned_place(struct host *h, const struct owned *o, struct place *ret, struct err *err);
// Is the entry's path one that we made for that uid, directly in its place?
int owned_path_ok(const struct owned *o, const struct place *p, const char *uid, struct err *err);
// Builds the domain for disks at these places. *ret is yours.
int build_for(struct host *h, const struct vm_target *t, const struct owned *disks,
              const struct caps *caps, char **ret, struct strings *adapted, struct err *err);
