// SPDX-License-Identifier: Apache-2.0
// A domain's XML read into the neutral description, and what of its disks the description has no
// words for. Pure: no connection. libvirt's format: https://libvirt.org/formatdomain.html
#pragma once

#include "providers/libvirt/xml_internal.h"
#include "providers/provider.h"

// Where a disk's bytes are, as the XML says.
struct disk_source {
  char *type; // "file", "block", "volume", "network", ...
  char *path; // file, block; NVRAM
  char *pool, *volume;
  char *protocol; // network: "rbd"
  int format;     // enum disk_format; -1: one that we do not know
  char *format_name;
  bool encrypted, shared, transient;
  bool chain_known;    // the XML tells the whole chain below
  struct list backing; // of struct reach_backing, when chain_known
};
void disk_source_release(struct disk_source *s);

// Everything that the XML alone tells: disks without sizes and, for volumes, without path. *ret is
// zeroed before, and released by the caller also after an error.
int domain_describe(const struct xml *x, struct vm *ret, struct err *err);
// The disk of that name ("nvram" for the variable store). ERR_NOT_FOUND when there is none.
int domain_disk_source(const struct xml *x, const char *name, struct disk_source *ret,
                       struct err *err);
// "pc-q35-7.2" -> "q35", "pc-i440fx-7.2" -> "pc", "virt-7.2" -> "virt"; yours.
char *machine_family(const char *machine);
int disk_format_of(const char *name); // -1: not known
// Adds a sentence for each thing that the VM has and that does not move.
int domain_left_behind(const struct xml *x, struct strings *ret, struct err *err);
// Index of the word in names, or -1.
int name_index(const char *const *names, const char *word);
// Does the domain use this file: as a disk, in a chain, as NVRAM, kernel or loader?
bool domain_writes_path(const struct xml *x, const char *path); // as a disk that it may write to
bool domain_uses_path(const struct xml *x, const char *path);
