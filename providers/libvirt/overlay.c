// SPDX-License-Identifier: Apache-2.0
// An empty qcow2 image upon a backing file, written by ourselves: a few KiB of a sparse file and
// no process, where qemu-img takes some 10 ms and 200 KiB. Layout, one cluster each: header with
// its extensions and the backing file's name, refcount table, refcount block; then the L1 table,
// all zero. Format: QEMU, docs/interop/qcow2.txt (big-endian).
#include "providers/libvirt/derive_internal.h"

#include <endian.h>
#include <string.h>

#include "base/limits.h"
#include "base/str.h"

#define CLUSTER_BITS       16
#define CLUSTER            (1u << CLUSTER_BITS)
#define L1_ENTRY_BYTES     ((int64_t)CLUSTER / 8 * CLUSTER) // guest bytes that one L2 table maps
#define HEADER_BYTES       104u
#define BACKING_NAME_MAX   1023u // of the format
#define EXT_BACKING_FORMAT 0xe2792acau

static void put32(struct buf *b, size_t at, uint32_t value)
{
  value = htobe32(value);
  memcpy(b->data + at, &value, sizeof(value));
}

static void put64(struct buf *b, size_t at, uint64_t value)
{
  value = htobe64(value);
  memcpy(b->data + at, &value, sizeof(value));
}

// Numbers are offsets in the header.
static void put_header(struct buf *b, int64_t size_bytes, uint32_t l1_entries)
{
  memcpy(b->data, "QFI\xfb", 4);
  put32(b, 4, 3); // version
  put32(b, 20, CLUSTER_BITS);
  put64(b, 24, (uint64_t)size_bytes);
  put32(b, 36, l1_entries);
  put64(b, 40, 3ull * CLUSTER); // L1 table
  put64(b, 48, 1ull * CLUSTER); // refcount table
  put32(b, 56, 1);              // its clusters
  put32(b, 96, 4);              // refcounts of 2^4 bits
  put32(b, 100, HEADER_BYTES);
}

static void put_backing(struct buf *b, const char *path, const char *format)
{
  size_t at = HEADER_BYTES;
  size_t length = strlen(format);
  put32(b, at, EXT_BACKING_FORMAT);
  put32(b, at + 4, (uint32_t)length);
  memcpy(b->data + at + 8, format, length);
  at += 8 + (length + 7) / 8 * 8;
  at += 8; // the end of the extensions: type 0, length 0
  put64(b, 8, at);
  put32(b, 16, (uint32_t)strlen(path));
  memcpy(b->data + at, path, strlen(path));
}

int overlay_bytes(const char *backing_path, int backing_format, int64_t size_bytes, struct buf *ret,
                  struct err *err)
{
  if (strlen(backing_path) > BACKING_NAME_MAX)
    return err_set(err, ERR_LIMIT, "the path of a base's disk has more than %u bytes",
                   BACKING_NAME_MAX);
  if (size_bytes <= 0 || size_bytes > LIMIT_DISK_BYTES)
    return err_set(err, ERR_INVALID, "a disk of %lld bytes", (long long)size_bytes);
  uint32_t l1_entries = (uint32_t)((size_bytes + L1_ENTRY_BYTES - 1) / L1_ENTRY_BYTES);
  uint32_t clusters = 3 + (l1_entries * 8 + CLUSTER - 1) / CLUSTER;
  size_t length = (size_t)clusters * CLUSTER;
  char *zeros = calloc(1, length);
  ret->max = length;
  if (zeros)
    buf_add(ret, zeros, length);
  free(zeros);
  if (!zeros || !buf_ok(ret))
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  put_header(ret, size_bytes, l1_entries);
  put_backing(ret, backing_path, disk_format_names[backing_format]);
  put64(ret, CLUSTER, 2ull * CLUSTER); // the refcount block; each of our clusters is used once
  for (uint32_t i = 0; i < clusters; i++)
    ret->data[2 * CLUSTER + 2 * i + 1] = 1;
  return 0;
}
