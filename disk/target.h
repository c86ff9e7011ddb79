// SPDX-License-Identifier: Apache-2.0
// A disk that takes guest-visible bytes at any offset, from several lanes (an NBD export, a raw
// file, a block device). Same shape and rules as struct source. Images in a format that we lay down
// ourselves are written through struct object_writer instead (disk/object.h).
#pragma once

#include "disk/source.h"

struct target;

struct target_ops {
  const char *name;
  // Called once before any lane: size of the content, and where data will come.
  int (*begin)(struct target *t, uint64_t size_bytes, const struct extents *extents,
               struct err *err);
  int (*lane_open)(struct target *t, void **ret_lane, struct err *err);
  void (*lane_close)(struct target *t, void *lane);
  int (*write)(struct target *t, void *lane, const void *from, size_t length, uint64_t offset,
               struct err *err);
  // Makes the range read as zeros, as cheaply as the far side can. Not called where `zeroed`.
  int (*zero)(struct target *t, void *lane, uint64_t length, uint64_t offset, struct err *err);
  int (*finish)(struct target *t, struct err *err); // durable when it returns 0
  // The content as a source, after finish, for reading back. NULL op: cannot be read.
  int (*reopen)(struct target *t, struct source **ret, struct err *err);
  void (*interrupt)(struct target *t);
  // As in struct object_writer: state NULL ops cannot be gone on with. lane NULL: everything.
  void (*resume)(struct target *t, const char *state);
  const char *(*state)(struct target *t);
  int (*flush)(struct target *t, void *lane, struct err *err);
  void (*free)(
      struct target *t); // without finish: what was made by begin is removed if it was ours
};

struct target {
  const struct target_ops *ops;
  uint64_t size_bytes; // after begin: may be larger than the content, the rest reads as zeros
  bool zeroed;         // reads as zeros where nothing was written
  bool outlives_us;    // as in struct object_writer
  bool resumed;        // after begin: what an earlier process wrote there was left alone
};

int target_begin(struct target *t, uint64_t size_bytes, const struct extents *e, struct err *err);
int target_lane_open(struct target *t, void **ret_lane, struct err *err);
void target_lane_close(struct target *t, void *lane);
int target_write(struct target *t, void *lane, const void *from, size_t length, uint64_t offset,
                 struct err *err);
int target_zero(struct target *t, void *lane, uint64_t length, uint64_t offset, struct err *err);
int target_finish(struct target *t, struct err *err);
int target_reopen(struct target *t, struct source **ret, struct err *err);
#define TARGET_STATE_BYTES 64
// For implementations: the state of a target is which one it is, and whether it read as zeros
// before it was written.
void target_state_text(const char *identity, bool zeroed, char ret[TARGET_STATE_BYTES]);
// Whether `earlier` is the state of this very one; sets zeroed and resumed.
bool target_take_up(struct target *t, const char *identity, const char *earlier);
void target_resume(struct target *t, const char *state); // before begin
const char *target_state(struct target *t);              // after begin; NULL: no going on
int target_flush(struct target *t, void *lane, struct err *err);
void target_interrupt(struct target *t);
void target_free(struct target *t); // NULL allowed
