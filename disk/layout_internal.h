// SPDX-License-Identifier: Apache-2.0
// A layout says where the guest bytes of a disk come to lie in a stored object of one format, when
// the object is laid down in one pass (forward). It is computed from the extent map before the
// first byte moves, never holds data, and is only read once made: lanes share it.
//
// The stored object is a sequence of pieces of at most 4 MiB: metadata, which the layout generates,
// and chunks: of each 4 MiB of guest data those blocks of 64 KiB that the format stores.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "disk/source.h"

#define BLOCK_BYTES      65536u
#define BLOCKS_PER_CHUNK 64 // COPY_CHUNK_BYTES / BLOCK_BYTES: one bit each in a uint64_t

struct layout;

struct piece {
  uint64_t offset, length; // in the stored object
  bool data;               // else metadata
  uint64_t chunk;          // data: number of the guest chunk
  uint64_t blocks;         // data: its stored blocks, bit n = block n; they follow each other
};

// map must outlive the layout. guest_bytes: size of the disk.
int layout_new_raw(const struct extents *map, uint64_t guest_bytes, struct layout **ret,
                   struct err *err);
int layout_new_qcow2(const struct extents *map, uint64_t guest_bytes, struct layout **ret,
                     struct err *err);
void layout_free(struct layout *l);

uint64_t layout_stored_bytes(const struct layout *l);
// The piece that contains a stored offset (< stored bytes).
struct piece layout_piece(const struct layout *l, uint64_t offset);
// The first stored offset from `offset` on that holds something: what lies before reads as zeros.
// stored bytes when nothing follows. For writers that can leave holes.
uint64_t layout_skip_holes(const struct layout *l, uint64_t offset);
// Bytes of a metadata piece.
void layout_metadata(const struct layout *l, const struct piece *p, void *into);
