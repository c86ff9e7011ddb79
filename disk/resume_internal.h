// SPDX-License-Identifier: Apache-2.0
// Going on with an unfinished copy: what the engine does with a checkpoint (checkpoint.h). The plan
// of a copy cuts it into units (a chunk or a run of zeros of a target, a piece of a file, a part of
// an upload), numbered in the order in which lanes take them; the same source and target give the
// same plan, so a number says it all. Where the places are not known before the first byte moves
// (packed objects), units are parts, told by their bytes: resume_parts.c.
//
// A source that tells when it changes is trusted: what is finished is skipped. Any other one
// (block device, NBD) is read again, and what has the hash that it had before is not sent again.
//
// One struct resume per struct copy; lanes share it. resume_prepare() and resume_begin() come
// before there are lanes. Without a checkpoint everything here does nothing.
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "disk/checkpoint.h"

// What a killed copy may have to send again, as long as its parts are no larger than a lane's
// share.
#define RESUME_BYTES (64ull << 20)
// Where writing down costs no flush it is done sooner.
#define RESUME_LANE_BYTES (8ull << 20)

struct copy;
struct lane;

struct resume {
  struct checkpoint *checkpoint; // NULL: nothing is written down
  struct checkpoint_subject subject;
  bool compare; // the source does not tell of changes
  bool going_on;
  bool dirty; // what is there may hold anything: zeros are written, too
  uint64_t started;
  uint64_t *done; // one bit a unit
  uint64_t done_count, done_capacity;
  uint8_t *then;          // compare: hashes of the chunks, as copy.digest
  uint64_t *part_lengths; // uploads: of each part of the plan
  uint64_t part_count;
  bool packed;          // units are the parts of a packed object
  uint8_t *part_sums;   // packed: SHA-256 of the parts that are written down, and of their places
  uint64_t batch_bytes; // a lane writes down what it has finished after so much
  _Atomic int64_t marked_ms;
  _Atomic bool broken; // the checkpoint cannot be written any more
};

// Of a lane: the unit at work, and finished ones that are not yet written down.
struct lane_notes {
  uint64_t *chunks; // that have a hash
  size_t count, capacity;
  struct checkpoint_batch batch;
  uint64_t bytes;
};

int resume_prepare(struct copy *c, struct err *err); // before the end begins
int resume_begin(struct copy *c, struct err *err);   // after, and after the plan is made
void resume_release(struct resume *r);

// By whoever takes units, under the lock of the plan: whether this one is to be left out. Else it
// counts as sent from now on.
bool resume_skip(struct copy *c, uint64_t unit);
// A lane reads a chunk that has a hash.
int resume_note(struct lane *l, uint64_t chunk, struct err *err);
void resume_unit_begin(struct lane *l);
// compare: the unit was finished, so reading it may tell that it need not be sent.
bool resume_may_be_same(const struct copy *c, uint64_t unit);
// compare, after it was read: what the unit holds is what was written there before, so it need not
// be sent.
bool resume_same(const struct lane *l, uint64_t unit);
// compare: it is not; from here on it counts as unfinished.
int resume_undo(struct lane *l, uint64_t unit, struct err *err);
// The unit is in the target. sent: by this copy.
int resume_unit_done(struct lane *l, uint64_t unit, uint64_t data_bytes, bool sent,
                     struct err *err);
void resume_count(struct copy *c, uint64_t unit, uint64_t data_bytes, bool sent);
int resume_write_down_some(struct lane *l, uint64_t data_bytes, struct err *err);
int resume_lane_end(struct lane *l, struct err *err); // before its handles are closed
// The length of the object is settled: it may be found with that from now on.
void resume_settled(struct copy *c);
// Before the object is committed: so that it is known again under its final name.
int resume_seal(struct copy *c, struct err *err);
void resume_lane_release(struct lane *l);

// ---- resume_parts.c

bool resume_is_done(const struct resume *r, uint64_t unit);
// Whether the store has a part with these very bytes, as its MD5 says, where the store tells that:
// of a copy that was killed before it could note it.
bool resume_part_is_stored(const struct copy *c, uint64_t part, const void *bytes, size_t length);
// Packed objects: what their parts will be is only known when the disk has been read and packed
// once more; the same disk makes the same parts, and those that are there are not sent again.
// Before resume_begin(): how many there may be.
int resume_expect_parts(struct copy *c, uint64_t count, struct err *err);
int resume_take_sum(struct resume *r, uint64_t part, const uint8_t *sum, struct err *err);
struct room;
bool resume_packed_part_is_there(const struct copy *c, const struct room *r);
void resume_packed_part_begin(struct copy *c, uint64_t part);
int resume_packed_part_done(struct lane *l, const struct room *r, bool sent, struct err *err);
