// SPDX-License-Identifier: Apache-2.0
// What repair.c and repair_writer.c share: the parts of the image, and a writer that the engine
// lays them into. While comparing, the writer looks at what is stored; while mending, it hands what
// differs on to the mender. Parts and damage are guarded by `lock`, for lanes work side by side;
// after comparing they do not change any more.
#pragma once

#include <pthread.h>

#include "disk/crew_internal.h"
#include "disk/repair.h"

#define REPAIR_HASH_BYTES     32
#define REPAIR_BLOCK_BYTES    (64u << 10)
#define REPAIR_STEP_BYTES     (1u << 20)
#define REPAIR_RUNS_MAX       4096 // of one part; further ones are joined to the last
#define REPAIR_KEEP_BYTES_MAX (512ull << 20)
#define REPAIR_PARTS_MAX      (1u << 20) // where the mender sets no limit

// What differs in a part: a run of blocks.
struct repair_run {
  uint64_t offset, length; // of the object
};

struct repair_part {
  uint64_t offset, length;
  bool known;              // was compared
  uint32_t segment;        // its number for the mender
  struct repair_run *runs; // NULL: nothing differs
  size_t run_count;
  uint8_t sha[REPAIR_HASH_BYTES]; // of the right bytes, where something differs
};

// A part for the mender: one that is written, or neighbours that are kept.
struct repair_segment {
  uint64_t offset, length;
  bool kept;
};

struct repair {
  struct object_writer writer; // what the engine writes into
  struct source *source;
  struct copy_options options;
  uint64_t part_min_bytes; // of the mender
  uint32_t parts_max;
  uint64_t object_max_bytes;
  bool equal_parts;
  struct tally *tally;
  pthread_mutex_t lock;
  struct repair_part *parts;
  size_t part_count, part_capacity;
  struct repair_found found;
  struct object_reader *_Atomic stored; // while comparing
  struct object_writer *_Atomic mender; // while mending
  struct repair_segment *segments;
  size_t segment_count, next_segment;
  struct crew *keepers; // while parts are kept
  _Atomic uint64_t sent_bytes;
};

// Makes r->writer ready for another run of the engine.
void repair_writer_reset(struct repair *r);
bool repair_part_is_bad(const struct repair *r, uint32_t number);
