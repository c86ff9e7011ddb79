// SPDX-License-Identifier: Apache-2.0
// A pack is a format whose stored length is only known when all of it is written: chunks are
// compressed. Lanes pack chunks side by side; what they made is laid down in the order of the disk,
// and only then it is known where. So a pack has two halves: data() and zeros() run in many lanes
// at once and touch nothing that is shared; place() and trailer() are called by one lane at a time,
// in order.
//
// Implementations embed struct pack as their first member. copy_packed.c drives them.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "disk/source.h"

struct pack;
struct vmdk_options;

// Some chunks of the disk, packed: one with data, or a run without.
struct packed {
  uint64_t chunk, count;
  uint64_t nonzero; // bit n: block n (64 KiB) holds anything but zeros
  uint8_t *bytes;   // pack->room_bytes
  size_t start;     // what is laid down begins here
  size_t length;    // 0: nothing is
};

struct pack_ops {
  const char *layout; // name in the manifest, 15 characters at most
  int (*lane_open)(struct pack *p, void **ret_lane, struct err *err);
  void (*lane_close)(struct pack *p, void *lane);
  // One chunk of `length` bytes, not all of them zeros; zeros behind them.
  int (*data)(struct pack *p, void *lane, const uint8_t *chunk, size_t length, struct packed *k,
              struct err *err);
  void (*zeros)(struct pack *p, struct packed *k); // k->count chunks; NULL: zeros leave no trace
  // In order: k begins at a stored offset. May append to k, and put something before it.
  int (*place)(struct pack *p, struct packed *k, uint64_t offset, struct err *err);
  // What comes before the first chunk; NULL: nothing. At most room_bytes. With late_header_bytes
  // it is asked for after the trailer, and of just that length.
  size_t (*header)(struct pack *p, uint8_t *into);
  // What comes after the last chunk, at most room_bytes at a time; 0: that was all. offset: where
  // it begins.
  int (*trailer)(struct pack *p, uint64_t offset, uint8_t *into, size_t *ret_length,
                 struct err *err);
  void (*free)(struct pack *p);
};

struct pack {
  const struct pack_ops *ops;
  uint64_t bound_bytes; // the stored length is at most this
  size_t room_bytes;    // most that one struct packed, header or step of the trailer takes
  uint64_t zeros_max;   // chunks in one run of zeros
  // The header is only known at the end: so much is kept free for it, and the part that it is in
  // is sent last. Nobody can hash such an object while it is laid down. 0: it is known before.
  size_t late_header_bytes;
};

// A trailer that is made as a whole and given piece by piece. bytes NULL: not made yet; freed by
// the pack.
struct pack_end {
  uint8_t *bytes;
  size_t length, given;
};
// What comes next, at most `room` bytes of it; 0: that was all.
size_t pack_end_give(struct pack_end *e, size_t room, uint8_t *into);

// map and size as for a layout; map is only used by this call.
int pack_new_raw_zst(const struct extents *map, uint64_t guest_bytes, struct pack **ret,
                     struct err *err);
// The same for streamOptimized; options may be all zeros.
int pack_new_vmdk(const struct extents *map, uint64_t guest_bytes, const struct vmdk_options *o,
                  struct pack **ret, struct err *err);
// The same for qcow2, head last. zstd: its clusters are compressed.
int pack_new_qcow2(const struct extents *map, uint64_t guest_bytes, bool zstd, struct pack **ret,
                   struct err *err);
void pack_free(struct pack *p); // NULL allowed

// Chunks that hold data, at the most.
uint64_t pack_data_chunks(const struct extents *map);
