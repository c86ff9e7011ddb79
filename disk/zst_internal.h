// SPDX-License-Identifier: Apache-2.0
// The seekable format of zstd (contrib/seekable_format of the zstd project, version 0.1.0):
// ordinary zstd frames, and behind them a skippable frame with a table of their sizes. `zstd -d`
// reads it as any other; with the table any range can be had without what lies before it.
//
// We write one frame a chunk of 4 MiB, and no checksums in the table: each frame carries its own.
// Between the last frame and the table stands one more skippable frame, which only we read: the map
// of blocks, so that holes smaller than a chunk are holes again on the far side. Little endian:
// magic, version, bytes of a block, number of chunks, a bit for each block (set: it holds anything
// but zeros; 64 a chunk, lowest first), SHA-256 of all before.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "disk/layout_internal.h"
#include "disk/probe_internal.h"

#define ZST_SKIPPABLE_MAGIC 0x184d2a5eu
#define ZST_SEEKABLE_MAGIC  0x8f92eab1u
#define ZST_HEADER_BYTES    8 // of the skippable frame
#define ZST_FOOTER_BYTES    9
#define ZST_ENTRY_BYTES     8
#define ZST_CHECKSUM_BYTES  4 // more in each entry, where the table has checksums
#define ZST_HAS_CHECKSUMS   0x80
#define ZST_RESERVED        0x7c
#define ZST_FRAMES_MAX      (4u << 20) // a disk of 16 TiB, as we write them
#define ZST_FRAME_MAX_BYTES (16u << 20)
#define ZST_MAP_FRAME_MAGIC 0x184d2a50u
#define ZST_MAP_MAGIC       "DROVERBM"
#define ZST_MAP_MAGIC_BYTES 8
#define ZST_MAP_VERSION     1
#define ZST_MAP_HEAD_BYTES  (ZST_MAP_MAGIC_BYTES + 4 + 4 + 8)
#define ZST_MAP_SUM_BYTES   32
#define ZST_LEVEL           1
// A frame of nothing but zeros takes 4 bytes a block of 128 KiB, and a head and a checksum.
#define ZST_ZERO_FRAME_BYTES 512

// The frame that `length` (at most a chunk) zeros become here. Its length. Another version of zstd
// may make another one of it; then it is read as data.
size_t zst_zero_frame(size_t length, uint8_t ret[ZST_ZERO_FRAME_BYTES]);

struct zst_frame {
  uint64_t stored_at, disk_at;
};

struct zst_table {
  struct zst_frame *frames; // count + 1: the last one says where the one before ends
  uint32_t count;
  uint64_t *blocks; // of each frame the map of its blocks, or NULL: not known
};

// ERR_UNSUPPORTED when there is no table, ERR_CORRUPT for one that cannot be. Sets the size of the
// disk in p->info. Release it in any case.
int zst_table_read(const struct probe *p, struct zst_table *ret, struct err *err);
void zst_table_release(struct zst_table *t);
