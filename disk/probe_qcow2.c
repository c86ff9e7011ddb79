// SPDX-License-Identifier: Apache-2.0
// The header of qcow2, versions 2 and 3 (QEMU, docs/interop/qcow2.txt; bounds as QEMU has them).
#include <endian.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "disk/probe_internal.h"

#define HEADER_V2         72
#define HEADER_V3         104
#define L1_MAX_BYTES      (32u << 20)
#define REFTABLE_MAX      (8u << 20)
#define SNAPSHOTS_MAX     65536
#define BACKING_NAME_MAX  1023
#define EXTENSIONS_MAX    64
#define EXTENSION_DATA    0x44415441u // external data file name
#define FEATURE_CORRUPT   (1ull << 1)
#define FEATURE_DATA_FILE (1ull << 2)
#define FEATURE_EXTENDED  (1ull << 4)
#define FEATURES_KNOWN    0x1full // dirty, corrupt, data file, compression type, extended L2

struct qcow2_header {
  uint32_t version, cluster_bits, crypt_method, l1_size, refcount_table_clusters, snapshots;
  uint32_t backing_length, refcount_order, header_length;
  uint64_t backing_offset, size, l1_offset, refcount_table_offset, snapshots_offset, incompatible;
};

static uint32_t get32(const uint8_t *at)
{
  uint32_t big;
  memcpy(&big, at, 4);
  return be32toh(big);
}

static uint64_t get64(const uint8_t *at)
{
  uint64_t big;
  memcpy(&big, at, 8);
  return be64toh(big);
}

static int read_header(const struct probe *p, struct qcow2_header *h, struct err *err)
{
  uint8_t b[HEADER_V3] = {0};
  if (probe_read(p, b, HEADER_V2, 0, err) != 0)
    return -1;
  *h = (struct qcow2_header){
      .version = get32(b + 4),
      .backing_offset = get64(b + 8),
      .backing_length = get32(b + 16),
      .cluster_bits = get32(b + 20),
      .size = get64(b + 24),
      .crypt_method = get32(b + 32),
      .l1_size = get32(b + 36),
      .l1_offset = get64(b + 40),
      .refcount_table_offset = get64(b + 48),
      .refcount_table_clusters = get32(b + 56),
      .snapshots = get32(b + 60),
      .snapshots_offset = get64(b + 64),
      .refcount_order = 4,
      .header_length = HEADER_V2,
  };
  if (h->version != 2 && h->version != 3)
    return err_set(err, ERR_UNSUPPORTED, "qcow2 version %u is not known", h->version);
  if (h->version == 2)
    return 0;
  if (probe_read(p, b, HEADER_V3, 0, err) != 0)
    return -1;
  h->incompatible = get64(b + 72);
  h->refcount_order = get32(b + 96);
  h->header_length = get32(b + 100);
  return 0;
}

static int check_features(const struct qcow2_header *h, struct err *err)
{
  if (h->incompatible & FEATURE_CORRUPT)
    return probe_corrupt(err, "it is marked as corrupt; repair it with qemu-img check -r all");
  if (h->incompatible & ~FEATURES_KNOWN)
    return err_set(err, ERR_UNSUPPORTED,
                   "the qcow2 image uses features that are not known (0x%llx)",
                   (unsigned long long)(h->incompatible & ~FEATURES_KNOWN));
  return 0;
}

// A table lies on a cluster boundary and within the file.
static int check_table(const struct probe *p, const struct qcow2_header *h, const char *name,
                       uint64_t offset, uint64_t length, struct err *err)
{
  uint64_t size = p->reader->size_bytes;
  if (offset & ((1ull << h->cluster_bits) - 1))
    return probe_corrupt(err, "its %s table is not aligned", name);
  if (offset > size || length > size - offset)
    return probe_corrupt(err, "its %s table lies beyond the end of the file", name);
  return 0;
}

static int check_header(const struct probe *p, const struct qcow2_header *h, struct err *err)
{
  if (h->cluster_bits < 9 || h->cluster_bits > 21)
    return probe_corrupt(err, "cluster size 2^%u", h->cluster_bits);
  uint64_t cluster = 1ull << h->cluster_bits;
  if (h->version == 3 && (h->header_length < HEADER_V3 || h->header_length > cluster))
    return probe_corrupt(err, "header length %u", h->header_length);
  if (h->refcount_order > 6)
    return probe_corrupt(err, "refcount order %u", h->refcount_order);
  if (h->l1_size > L1_MAX_BYTES / 8)
    return probe_corrupt(err, "L1 table of %u entries", h->l1_size);
  uint64_t entry_bytes = h->incompatible & FEATURE_EXTENDED ? 16 : 8;
  uint64_t per_l1 = cluster / entry_bytes * cluster;
  if (h->size / per_l1 + (h->size % per_l1 != 0) > h->l1_size)
    return probe_corrupt(err, "its L1 table is too small for its size");
  if (h->refcount_table_clusters > REFTABLE_MAX / cluster)
    return probe_corrupt(err, "refcount table of %u clusters", h->refcount_table_clusters);
  if (h->snapshots > SNAPSHOTS_MAX)
    return probe_corrupt(err, "%u snapshots", h->snapshots);
  if (check_table(p, h, "L1", h->l1_offset, h->l1_size * 8ull, err) != 0)
    return -1;
  return check_table(p, h, "refcount", h->refcount_table_offset,
                     h->refcount_table_clusters * cluster, err);
}

static int read_backing(const struct probe *p, const struct qcow2_header *h, struct err *err)
{
  if (h->backing_offset == 0)
    return 0;
  uint64_t cluster = 1ull << h->cluster_bits;
  if (h->backing_length > BACKING_NAME_MAX || h->backing_offset > cluster ||
      h->backing_length > cluster - h->backing_offset)
    return probe_corrupt(err, "backing file name of %u bytes", h->backing_length);
  char *name = calloc(1, h->backing_length + 1u);
  if (!name)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  p->info->backing_path = name;
  if (probe_read(p, name, h->backing_length, h->backing_offset, err) != 0)
    return -1;
  if (strlen(name) != h->backing_length)
    return probe_corrupt(err, "a zero byte in its backing file name");
  return 0;
}

static int scan_extensions(const struct probe *p, const struct qcow2_header *h, struct err *err)
{
  uint64_t end = h->backing_offset ? h->backing_offset : 1ull << h->cluster_bits;
  uint64_t at = h->header_length;
  for (int i = 0; at + 8 <= end; i++) {
    uint8_t b[8];
    if (at + 8 > p->reader->size_bytes)
      return 0; // a header without extensions in a file of less than a cluster
    if (probe_read(p, b, sizeof(b), at, err) != 0)
      return -1;
    uint32_t type = get32(b);
    uint64_t length = get32(b + 4);
    if (type == 0)
      return 0;
    if (i == EXTENSIONS_MAX || length > end - at - 8)
      return probe_corrupt(err, "its header extensions have no end");
    if (type == EXTENSION_DATA)
      p->info->has_data_file = true;
    at += 8 + (length + 7) / 8 * 8;
  }
  return 0;
}

int probe_qcow2(const struct probe *p, struct err *err)
{
  struct qcow2_header h;
  if (read_header(p, &h, err) != 0 || check_features(&h, err) != 0 ||
      check_header(p, &h, err) != 0 || probe_size(p, h.size, err) != 0)
    return -1;
  p->info->cluster_bytes = 1u << h.cluster_bits;
  p->info->encrypted = h.crypt_method != 0;
  p->info->has_data_file = h.incompatible & FEATURE_DATA_FILE;
  if (read_backing(p, &h, err) != 0)
    return -1;
  return scan_extensions(p, &h, err);
}
