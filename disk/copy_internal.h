// SPDX-License-Identifier: Apache-2.0
// Inside of the engine: what its files share. One struct copy lives for one copy_run() (or
// digest_source(), or check of a digest), on the caller's stack; lanes share it.
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "disk/copy.h"
#include "disk/crew_internal.h"
#include "disk/digest_internal.h"
#include "disk/layout_internal.h"
#include "disk/pack_internal.h"
#include "disk/resume_internal.h"
#include "disk/sha_internal.h"

#define COPY_LANES_DEFAULT 4
// Where a request takes so long, lanes mostly wait: there are then as many as the memory allows.
#define COPY_FAR_MS     50
#define COPY_SPREAD     2            // round trips over which all lanes begin an item each
#define COPY_PART_BYTES (8ull << 20) // of an object, when it is not so large that they must grow
// Parts that are held whole, and chunk buffers, of all lanes together.
#define COPY_MEMORY_BYTES (96ull << 20)

struct copy {
  const struct copy_job *job; // NULL: only reading
  struct source *source;
  struct tally *tally;
  _Atomic uint64_t *counter; // of the tally: what copy_moved() adds to
  struct crew *crew;         // own_crew; where two disks are compared, that of the first
  struct crew own_crew;
  struct extents map;     // of the source
  struct extents out_map; // what is laid down as data: map, or everything with no_sparse
  uint64_t size_bytes;    // of the source
  struct digest digest;
  bool hashing;
  bool sparse; // zeros are left out where the far side allows it

  pthread_mutex_t lock;   // the plan
  uint64_t next;          // target: guest offset; object: stored offset
  uint64_t next_sequence; // number of the next item of the plan

  struct layout *layout; // object, where the places of all bytes are known before
  struct pack *pack;     // object, where they are not
  uint64_t stored_bytes; // object, its length
  struct sha_turn *sha;  // object, when asked for
  _Atomic uint32_t part_number;
  uint64_t part_target_bytes;
  bool parts_in_memory;
  struct resume resume;
};

// What each lane has: handles and one chunk of memory.
struct lane {
  struct copy *copy;
  void *source_lane;
  void *out_lane; // of the target or the object
  uint8_t *chunk; // COPY_CHUNK_BYTES
  struct lane_notes notes;
};

int lane_open(struct copy *c, struct lane *l, struct err *err);
// Without out_lane: for one that only reads.
int lane_open_source(struct copy *c, struct lane *l, struct err *err);
void lane_close(struct lane *l);

// Reads a guest chunk whole into `into` (COPY_CHUNK_BYTES of room; zeros after the end of the disk)
// and takes its leaf hash. ret_nonzero: bit n set when block n holds anything but zeros.
// Throttled. ret_data_bytes: data moved.
int chunk_read(struct lane *l, uint64_t chunk, uint8_t *into, uint64_t *ret_nonzero,
               uint64_t *ret_data_bytes, struct err *err);
// Stored bytes of a piece into `into` (room for COPY_CHUNK_BYTES), which may be the lane's chunk.
int piece_load(struct lane *l, const struct piece *p, uint8_t *into, uint64_t *ret_data_bytes,
               struct err *err);
// Moves the stored blocks of a chunk to its start, one after the other, as the piece has them.
// mask: bits by guest block; returned by stored block.
uint64_t chunk_pack(uint8_t *chunk, const struct piece *p, uint64_t mask);
void copy_moved(struct copy *c, uint64_t data_bytes);

// The next chunk with data at or after *from (guest offset), which moves behind it. False: no more.
bool chunk_next(const struct copy *c, uint64_t *from, uint64_t *ret_chunk);

// One lane of each way to write (copy_target.c, copy_object.c, copy_window.c).
int copy_target_lane(void *copy, int index, struct err *err);
int copy_direct_lane(void *copy, int index, struct err *err);
int copy_parts_lane(void *copy, int index, struct err *err);
// Ordered writers: runs the whole crew.
int copy_window_run(struct copy *c, struct err *err);
// Packed formats: begins the object and runs the whole crew.
int copy_packed_run(struct copy *c, struct err *err);
// Whether the parts of the longest object that may come out can be held in memory.
bool copy_packed_fits(const struct object_writer *w, const struct pack *p);

// Whether the writer takes single runs of blocks as they come, and else: sizes of its parts.
bool copy_is_direct(const struct copy *c);
int copy_plan_parts(struct copy *c, struct err *err);
// Where the part that starts at a stored offset ends.
uint64_t part_end(const struct copy *c, uint64_t offset);

// What is common to copy_run() and the readers of compare.c. Until copy_setup() has succeeded there
// is nothing to release.
// How many lanes: those asked for; 0: by the round trip to the farther end, and what a lane holds.
int copy_lanes(int asked, int64_t round_trip_ms, uint64_t lane_bytes);
int copy_setup(struct copy *c, struct source *s, struct tally *tally, int lanes, struct err *err);
void copy_release(struct copy *c);
// The content digest and the numbers of the source into ret.
int copy_fill_result(struct copy *c, struct copy_result *ret, struct err *err);
