// SPDX-License-Identifier: Apache-2.0
// A checkpoint: the file in which a copy writes down what is finished, so that the next one goes on
// from there. It is a journal: what it is about (struct checkpoint_subject) and then frames, each
// with a check sum over itself and all before it. Bytes are safe in the target before the frame
// about them is written; a frame counts as long as this host has not been started anew since, and
// after that only up to the last mark (which is written when both sides are known to be on disk).
//
// A file that is cut or damaged counts up to there. One that is not a checkpoint, or is somebody
// else's, or too large, counts as none. Which process works on it is told by a lock (flock), held
// from checkpoint_open() to checkpoint_close().
//
// Threads: append, mark and note_started from any; everything else from one.
//
//     0   8 bytes  "DROVERCP"
//     8   u64      units that may have been sent, rewritten in place; counts what is sent again
//     16  u64      bytes sent again so far, rewritten in place
//     24  frames:  u32 type, u32 length, payload, 16 bytes of SHA-256 over the 16 bytes of the
//                  frame before (zeros for the first) and this frame. Little endian.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/field.h"

#define CHECKPOINT_HASH_BYTES  32
#define CHECKPOINT_SHA_BYTES   128        // serialized state of a SHA-256
#define CHECKPOINT_UNITS_MAX   (1u << 26) // of one copy
#define CHECKPOINT_STATE_BYTES 2048       // what an end says of itself
#define CHECKPOINT_FILE_BYTES  (8ull << 30)

struct checkpoint;

// What the journal is about. Another value in any field: it is not ours to go on with.
struct checkpoint_subject {
  int64_t version;    // of the plan: how a copy is cut into units
  int64_t size_bytes; // of the source
  char *source;       // its identity
  char *sample;       // digest of samples of it, hex
  char *map;          // digest of where its data lies, hex
  char *format;       // that is laid down, "" for targets
  char *target;       // where to, in words
  bool no_sparse, hashed, sha256;
  char *state; // of the unfinished target, as it was noted last; not compared
};

void checkpoint_subject_release(struct checkpoint_subject *s);
// What of `now` is not as it was, for people ("the source has changed"); NULL: the same.
const char *checkpoint_subject_differs(const struct checkpoint_subject *then,
                                       const struct checkpoint_subject *now);

// Opens or makes it (mode 0600), and reads through it once. ERR_BUSY: another process works on it.
int checkpoint_open(const char *path, struct checkpoint **ret, struct err *err);
void checkpoint_close(struct checkpoint *c); // NULL allowed; the file stays
// The file goes; only checkpoint_close() may follow. Gone already: 0.
int checkpoint_remove(struct checkpoint *c, struct err *err);
// Removes one that no process works on. ERR_BUSY when one does; not there: 0.
int checkpoint_remove_path(const char *path, struct err *err);

// What an earlier copy wrote there; NULL: nothing that could be used.
const struct checkpoint_subject *checkpoint_found(const struct checkpoint *c);
// As if nothing had been found: a copy that is to start over.
void checkpoint_ignore(struct checkpoint *c);
// It holds what can be gone on with, from now or from before.
bool checkpoint_begun(const struct checkpoint *c);
// What is wrong with it, for a warning; NULL: nothing.
const char *checkpoint_damage(const struct checkpoint *c);
// Units below this number may have been sent by earlier copies, and so many bytes were sent again.
uint64_t checkpoint_started(const struct checkpoint *c);
uint64_t checkpoint_resent(const struct checkpoint *c);

// What frames say, in order. ERR_CORRUPT from a function ends the reading.
struct checkpoint_sink {
  void *arg;
  int (*unit)(void *arg, uint64_t unit, uint64_t data_bytes, struct err *err);
  int (*hash)(void *arg, uint64_t chunk, const uint8_t hash[CHECKPOINT_HASH_BYTES],
              struct err *err);
  int (*sha)(void *arg, const uint8_t state[CHECKPOINT_SHA_BYTES], struct err *err);
};
int checkpoint_load(struct checkpoint *c, const struct checkpoint_sink *sink, struct err *err);

// Either of these before anything is appended: begins anew, or goes on with what was found.
int checkpoint_start(struct checkpoint *c, const struct checkpoint_subject *s, struct err *err);
int checkpoint_resume(struct checkpoint *c, struct err *err);

// Finished units, on their way into a frame. A lane's own.
struct checkpoint_batch {
  uint8_t *bytes;
  size_t length, capacity;
  uint64_t data_bytes; // of the units in it
};
void checkpoint_batch_release(struct checkpoint_batch *b);
// data_bytes: what was moved for it. hashes: pairs of chunk number and hash follow by add_hash,
// exactly hash_count of them.
int checkpoint_batch_unit(struct checkpoint_batch *b, uint64_t unit, uint64_t data_bytes,
                          uint32_t hash_count, struct err *err);
int checkpoint_batch_hash(struct checkpoint_batch *b, uint64_t chunk, const uint8_t *hash,
                          struct err *err);

// The target tells its state anew. durable: it, and all that was appended before, is on disk, so it
// counts even when this host is started anew.
int checkpoint_note_state(struct checkpoint *c, const char *state, bool durable, struct err *err);
// Writes the batch as one frame and empties it. sha may be NULL.
int checkpoint_append(struct checkpoint *c, struct checkpoint_batch *b,
                      const uint8_t sha[CHECKPOINT_SHA_BYTES], struct err *err);
// Units below this number may have been sent from now on. Only counts; never fails.
void checkpoint_note_started(struct checkpoint *c, uint64_t unit);
void checkpoint_note_resent(struct checkpoint *c, uint64_t bytes); // all, the earlier ones too
// What has been appended so far; after the target has been flushed, mark with that number makes it
// count even when this host is started anew.
uint64_t checkpoint_length(struct checkpoint *c);
int checkpoint_mark(struct checkpoint *c, uint64_t length, struct err *err);
