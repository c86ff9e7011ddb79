// SPDX-License-Identifier: Apache-2.0
// What a guest sees of a disk, for reading. A source is opened once and read by several lanes at
// the same time; each lane opens a lane handle of its own (its connection, descriptor, buffers) and
// uses it from one thread. Implementations embed struct source as their first member and fill
// `ops`; everybody else calls the checking wrappers below, never the ops.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct extent {
  uint64_t offset, length; // bytes, guest-visible
  bool data;               // false: reads as zeros
};

struct extents { // in order, without gaps, over the whole disk
  struct extent *items;
  size_t count, capacity;
};

struct source;

struct source_ops {
  const char *name;
  // The map of the whole disk. May call everything data when it does not know better. Called
  // before the first lane is opened, from a thread that stays as long as the source is used.
  int (*extents)(struct source *s, struct extents *ret, struct err *err);
  int (*lane_open)(struct source *s, void **ret_lane, struct err *err);
  void (*lane_close)(struct source *s, void *lane);
  // Fills all of `into`; beyond the end of the disk is never asked.
  int (*read)(struct source *s, void *lane, void *into, size_t length, uint64_t offset,
              struct err *err);
  // Ends what hangs in the far side so that lanes return soon; from any thread. May be NULL.
  void (*interrupt)(struct source *s);
  void (*free)(struct source *s);
};

struct source {
  const struct source_ops *ops;
  uint64_t size_bytes;
  char identity[160]; // changes when the content may have changed (size, mtime, etag): for resuming
  bool exact_map;     // extents are known and not a guess
  int64_t round_trip_ms; // of a request to the far side; 0 = near, or not known
  size_t lane_bytes;     // memory that each lane takes for itself
  bool tells_changes;    // identity is another one whenever the content is (not so: devices, NBD)
};

int source_extents(struct source *s, struct extents *ret,
                   struct err *err); // checks order and cover
int source_lane_open(struct source *s, void **ret_lane, struct err *err);
void source_lane_close(struct source *s, void *lane);
int source_read(struct source *s, void *lane, void *into, size_t length, uint64_t offset,
                struct err *err);
void source_interrupt(struct source *s);
void source_free(struct source *s); // NULL allowed

int extents_add(struct extents *e, uint64_t offset, uint64_t length,
                bool data); // merges neighbours
void extents_release(struct extents *e);
// Index of the extent that holds offset; e->count when it is beyond the end.
size_t extents_find(const struct extents *e, uint64_t offset);
// Bytes of data in [offset, offset + length).
uint64_t extents_data_bytes(const struct extents *e, uint64_t offset, uint64_t length);
