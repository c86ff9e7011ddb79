// SPDX-License-Identifier: Apache-2.0
#include "disk/qcow2_internal.h"

#include <endian.h>
#include <string.h>

#define FEATURE_COMPRESSION_TYPE (1ull << 3)
#define COMPRESSION_ZSTD         1
#define LENGTH_PLAIN             104 // where the compression type is the default
#define LENGTH_TYPED             112

struct header {
  uint32_t magic, version;
  uint64_t backing_file_offset;
  uint32_t backing_file_size, cluster_bits;
  uint64_t size;
  uint32_t crypt_method, l1_size;
  uint64_t l1_table_offset, refcount_table_offset;
  uint32_t refcount_table_clusters, nb_snapshots;
  uint64_t snapshots_offset, incompatible_features, compatible_features, autoclear_features;
  uint32_t refcount_order, header_length;
  uint8_t compression_type, padding[7];
  // An end-of-extensions mark (8 zero bytes) follows.
} __attribute__((packed));

_Static_assert(sizeof(struct header) == LENGTH_TYPED, "qcow2 header");

uint64_t qcow2_l1_size(uint64_t guest_bytes)
{
  uint64_t entries = DIVIDE_UP(CLUSTERS_OF(guest_bytes), TABLE_ENTRIES);
  return entries ? entries : 1;
}

void qcow2_put_head(const struct qcow2_head *q, uint8_t into[CLUSTER])
{
  struct header h = {
      .magic = htobe32(0x514649fb),
      .version = htobe32(3),
      .cluster_bits = htobe32(CLUSTER_BITS),
      .size = htobe64((q->guest_bytes + 511) & ~511ull), // QEMU counts sectors
      .l1_size = htobe32((uint32_t)q->l1_size),
      .l1_table_offset = htobe64(q->l1_offset),
      .refcount_table_offset = htobe64(q->refs_offset),
      .refcount_table_clusters = htobe32((uint32_t)q->refs_clusters),
      .incompatible_features = htobe64(q->zstd ? FEATURE_COMPRESSION_TYPE : 0),
      .refcount_order = htobe32(4),
      .header_length = htobe32(q->zstd ? LENGTH_TYPED : LENGTH_PLAIN),
      .compression_type = q->zstd ? COMPRESSION_ZSTD : 0,
  };
  memset(into, 0, CLUSTER);
  memcpy(into, &h, sizeof(h));
}

void qcow2_put64(uint8_t *table, uint64_t index, uint64_t value)
{
  uint64_t big = htobe64(value);
  memcpy(table + index * 8, &big, 8);
}
