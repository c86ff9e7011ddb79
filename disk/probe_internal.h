// SPDX-License-Identifier: Apache-2.0
// Headers of images, read by ourselves before QEMU sees them. Each parser fills image_info from
// bounded reads, and refuses what QEMU could be led astray by: sizes out of bounds (ERR_CORRUPT),
// unknown features (ERR_UNSUPPORTED), and references to other files that cannot be named in
// image_info (ERR_CORRUPT). What it can name there (backing file, external data file, encryption)
// is the caller's to refuse: image_allowed().
#pragma once

#include "disk/open.h"

struct probe {
  struct object_reader *reader;
  void *lane;
  struct image_info *info;
};

int probe_read(const struct probe *p, void *into, size_t length, uint64_t offset, struct err *err);
int probe_qcow2(const struct probe *p, struct err *err);
int probe_vmdk(const struct probe *p, struct err *err);
int probe_vhdx(const struct probe *p, struct err *err);
int probe_raw_zst(const struct probe *p, struct err *err); // zst_source.c
int probe_vdi(const struct probe *p, struct err *err);
// "the image is damaged or hostile: ..." with ERR_CORRUPT.
int probe_corrupt(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
int probe_size(const struct probe *p, uint64_t size_bytes, struct err *err); // bounds, into info
