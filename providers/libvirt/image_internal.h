// SPDX-License-Identifier: Apache-2.0
// The chain of images below a disk. Guests write what lies in their images, and so could name any
// file of the host as "backing file": headers are read by ourselves, at most 64 KiB of each, and a
// chain may only lead to files in the image's own folder, in a storage pool, or that the domain's
// definition lists. Header fields: docs/interop/qcow2.txt of QEMU.
#pragma once

#include "providers/libvirt/host_internal.h"

#define QCOW2_HEAD_BYTES (64u << 10)

struct qcow2_head {
  int64_t size_bytes;   // guest-visible
  char *backing_path;   // as written; NULL = none
  char *backing_format; // NULL = not said
  bool external_data, encrypted;
};
void qcow2_head_release(struct qcow2_head *q);
int qcow2_head_read(const void *bytes, size_t length, struct qcow2_head *ret, struct err *err);
// Path of a backing file, seen from the image that names it, without "." and ".."; yours. NULL with
// an error for what is no path (nbd:, json:, ...).
char *backing_resolve(const char *image, const char *backing, struct err *err);

// Fills `backing` (of struct reach_backing) and, when it finds it, the size.
int host_chain(struct host *h, const char *path, const struct disk_source *source,
               struct list *backing, int64_t *size_bytes, struct err *err);
void backing_release(struct list *backing);
