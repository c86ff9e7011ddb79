// SPDX-License-Identifier: Apache-2.0
// What readers of VMDK images share (VMware, Virtual Disk Format 5.0): the header of a sparse
// extent and the lines of descriptors. In probe_vmdk.c.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define VMDK_SECTOR            512ull
#define VMDK_GRAIN_SECTORS_MAX (64u << 10)
#define VMDK_TABLE_ENTRIES     512
#define VMDK_FLAG_ZERO_GRAINS  (1u << 2)
#define VMDK_FLAG_COMPRESSED   (1u << 16)
#define VMDK_VALUE_BYTES       256

struct vmdk_header {
  uint32_t magic, version, flags;
  uint64_t capacity, grain_sectors, descriptor_at, descriptor_sectors;
  uint32_t entries;
  uint64_t redundant_at, directory_at, overhead;
} __attribute__((packed));

// Value of NAME=value or NAME="value" in one line; false when the line is another one.
bool vmdk_value(const char *line, const char *name, char ret[VMDK_VALUE_BYTES]);
// ERR_CORRUPT for a line that names a parent disk.
int vmdk_check_parent(const char *line, struct err *err);
