// SPDX-License-Identifier: Apache-2.0
// What a clone is made of, as bytes and XML: pure, no connection.
//
//   mark      drover's element in a domain's <metadata>: whose it is, and what it is
//   derive    the XML of a clone, from that of its base: identity and disks are replaced, devices
//             stay as they are
//   overlay   an empty qcow2 image upon a backing file
//   seed      the files of cloud-init's NoCloud source, as a small ISO 9660 image
//
// All results are the caller's.
#pragma once

#include "base/buf.h"
#include "providers/clone.h"
#include "providers/libvirt/build_internal.h"

#define MARK_BASE  "Base"
#define MARK_CLONE "Clone"

struct mark {
  char *owner;    // NULL: no mark of ours
  char *kind;     // MARK_...; NULL: a VM that a migration made
  char *base;     // of a clone: UUID of its base
  char *revision; // of a base when it was registered, of a clone: that of its base
  char *mode;     // of a clone: word of clone_mode_names, as it was made
};
void mark_release(struct mark *m);
void mark_read(const struct xml *x, struct mark *ret);
// Adds the element to <metadata>; NULL: no memory.
xmlNodePtr mark_add(xmlNodePtr metadata, const struct mark *m);
char *mark_text(const struct mark *m); // the element alone, as libvirt sets it

// ---- derive ------------------------------------------------------------------------------------

struct derive_disk {
  const char *target; // "vda"
  const char *path;   // new file
  int format;         // enum disk_format
  const char *backing_path;
  int backing_format;
};

struct derive {
  const char *name, *uuid;
  const char *base_name; // domain of the base
  const struct mark *mark;
  const struct clone_order *order;
  const struct derive_disk *disks; // the others keep what they have
  size_t disk_count;
  const char *nvram; // new file, NULL = none
  const char *seed;  // ISO image for a read-only disk of its own, NULL = none
};

// Edits the base's document into that of the clone. ERR_UNSUPPORTED for what cannot be changed.
int derive_domain(const struct derive *d, struct xml *x, char **ret, struct err *err);
int derive_devices(const struct derive *d, const struct xml *x, struct err *err);
int derive_nics(const struct derive *d, const struct xml *x, struct err *err);
// What of an order the base's hardware does not allow; ERR_UNSUPPORTED with a sentence.
int derive_hardware_ok(const struct xml *x, const struct clone_order *c, struct err *err);
// 32 hexadecimal digits as a UUID; ERR_INVALID.
int derive_uuid(const char *machine_id, char ret[BUILD_UUID_BYTES], struct err *err);
// The MAC of network card i: as ordered, or made of the seed; ERR_INVALID.
int derive_mac(const struct clone_order *c, size_t i, char ret[BUILD_MAC_BYTES], struct err *err);

// ---- overlay -----------------------------------------------------------------------------------

// qcow2, version 3, clusters of 64 KiB, no guest data; ret is empty before.
int overlay_bytes(const char *backing_path, int backing_format, int64_t size_bytes, struct buf *ret,
                  struct err *err);

// ---- seed --------------------------------------------------------------------------------------

#define SEED_FILES_MAX 8
#define SEED_BYTES_MAX (4u << 20)

struct seed_file {
  const char *name; // lower-case letters and "-", at most 30
  const char *text;
};
// An ISO 9660 image with Rock Ridge names and the label "cidata".
int seed_iso(const struct seed_file *files, size_t count, struct buf *ret, struct err *err);
// Is there anything to tell the guest?
bool seed_wanted(const struct clone_order *c);
// The image of this order; nic_count: cards that the clone has.
int seed_bytes(const struct clone_order *c, size_t nic_count, struct buf *ret, struct err *err);
