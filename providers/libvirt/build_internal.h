// SPDX-License-Identifier: Apache-2.0
// The XML of a new domain, made from the neutral description and from what the target offers. Pure:
// the target speaks through its domain capabilities (https://libvirt.org/formatdomaincaps.html).
#pragma once

#include "providers/libvirt/domain_internal.h"

#define BUILD_UUID_BYTES 37
#define BUILD_MAC_BYTES  18

struct caps {
  struct xml xml;
};

struct build_disk {
  const char *path;
  bool block; // a block device, else a file
};

struct build {
  const struct vm_target *target;
  const struct caps *caps;
  const struct build_disk *disks; // one for each disk of target->vm
  const char *default_network;
  struct strings *adapted; // sentences are added: what had to be other than described
};

// *ret is yours. ERR_UNSUPPORTED for what the target cannot do at all (UEFI, Secure Boot).
int domain_build(const struct build *b, char **ret, struct err *err);
int build_devices(const struct build *b, xmlNodePtr domain, struct err *err); // build_devices.c
bool build_wants_uefi(const struct caps *caps, const struct vm *vm);
// One that check_target asks for.
int build_loader(const struct caps *caps, const struct vm *vm, char **ret, struct err *err);

// The UUID that the domain of an object has: version 5 of RFC 4122 over its uid.
void build_uuid(const char *uid, char ret[BUILD_UUID_BYTES]);
// The MAC of its network card nic, where a new one is wanted.
void build_mac(const char *uid, size_t nic, char ret[BUILD_MAC_BYTES]);
// First 8 letters and digits of the uid; shorter ones are ERR_INVALID.
int build_uid8(const char *uid, char ret[9], struct err *err);
// A name as part of a file name: letters, digits, ".", "_", "-"; others become "_"; at most 100
// bytes; yours.
char *build_file_word(const char *name);
// Is it one that libvirt accepts and XML carries? ERR_INVALID.
int build_name_ok(const char *name, struct err *err);
