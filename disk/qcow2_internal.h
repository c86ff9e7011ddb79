// SPDX-License-Identifier: Apache-2.0
// What both ways to lay down a qcow2 share (layout_qcow2.c: forward, pack_qcow2.c: head last):
// version 3 in clusters of 64 KiB, refcounts of 16 bits, standard L2 entries, big-endian. Format:
// QEMU, docs/interop/qcow2.txt. No state; any thread.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "disk/layout_internal.h"

#define CLUSTER_BITS    16
#define CLUSTER         BLOCK_BYTES
#define TABLE_ENTRIES   (CLUSTER / 8) // L1, L2, refcount table
#define REFCOUNTS       (CLUSTER / 2) // in a refcount block
#define COPIED          (1ull << 63)  // refcount is exactly one
#define CLUSTERS_OF(n)  (((n) + CLUSTER - 1) / CLUSTER)
#define DIVIDE_UP(a, b) (((a) + (b)-1) / (b))

struct qcow2_head {
  uint64_t guest_bytes;
  uint64_t l1_size;                // entries
  uint64_t l1_offset, refs_offset; // of the L1 table and the refcount table
  uint64_t refs_clusters;          // of the refcount table
  bool zstd;                       // compressed clusters are of zstd, not zlib
};

// Entries of the L1 table: at least one.
uint64_t qcow2_l1_size(uint64_t guest_bytes);
// The first cluster, all of it.
void qcow2_put_head(const struct qcow2_head *h, uint8_t into[CLUSTER]);
void qcow2_put64(uint8_t *table, uint64_t index, uint64_t value);
