// SPDX-License-Identifier: Apache-2.0
// The bytes of a stored image: a local file, or an object in a store (storage/ implements both
// interfaces for its objects). Formats turn these bytes into guest bytes and back.
//
// Reading: any range, from many lanes. Writing: in parts; every part is a run of bytes at an
// offset, parts may arrive in any order unless `ordered`, and nothing is visible under the final
// name before commit. The engine asks what a writer can do and lays its parts out accordingly.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct object_reader;

struct object_reader_ops {
  const char *name;
  int (*lane_open)(struct object_reader *r, void **ret_lane, struct err *err);
  void (*lane_close)(struct object_reader *r, void *lane);
  int (*read)(struct object_reader *r, void *lane, void *into, size_t length, uint64_t offset,
              struct err *err);
  void (*interrupt)(struct object_reader *r);
  void (*free)(struct object_reader *r);
};

struct object_reader {
  const struct object_reader_ops *ops;
  uint64_t size_bytes;
  char identity[160];     // as struct source: etag, or mtime and size
  bool tells_changes;     // as struct source
  const char *local_path; // when the bytes are a local file; else NULL
  int64_t round_trip_ms;  // of a small request to the far side; 0 = near, or not known
};

int object_lane_open(struct object_reader *r, void **ret_lane, struct err *err);
void object_lane_close(struct object_reader *r, void *lane);
int object_read(struct object_reader *r, void *lane, void *into, size_t length, uint64_t offset,
                struct err *err);
void object_interrupt(struct object_reader *r);
void object_reader_free(struct object_reader *r);
// A local regular file or block device.
int object_reader_file(const char *path, struct object_reader **ret, struct err *err);

#define OBJECT_LENGTH_OPEN UINT64_MAX

// The bytes of one part, readable again from any offset (a store may retry). Thread: the lane's.
// Where the one part of an ordered object of any length is written, the length is OPEN, and
// read_some is there instead of read: at most `size` bytes, 0 of them at the end. It may refuse to
// go back to the start (ERR_IO), and tells the end only after object_settle().
struct object_body {
  uint64_t length;
  int (*read_some)(void *arg, uint64_t offset, void *into, size_t size, size_t *ret_length,
                   struct err *err);
  int (*read)(void *arg, uint64_t offset, void *into, size_t length, struct err *err);
  void *arg;
  const void *bytes; // when all of it is in memory, else NULL; read works either way
};

// A body over bytes in memory, which stay the caller's.
struct object_body object_body_bytes(const void *bytes, size_t length);
// What writers call: checks the bounds. length 0 is fine.
int object_body_read(const struct object_body *b, uint64_t offset, void *into, size_t length,
                     struct err *err);

#define OBJECT_TAG_BYTES 128

struct object_part { // one that the far side already has (resume), or that we have sent
  uint32_t number;   // from 0
  uint64_t offset, length;
  char tag[OBJECT_TAG_BYTES]; // S3: the ETag; elsewhere empty
};

struct object_writer;

struct object_writer_ops {
  const char *name;
  // size_bytes: length of the object; where object_settle() follows, the most that it can come to,
  // and commit finds what it came to in w->size_bytes.
  int (*begin)(struct object_writer *w, uint64_t size_bytes, struct err *err);
  int (*lane_open)(struct object_writer *w, void **ret_lane, struct err *err);
  void (*lane_close)(struct object_writer *w, void *lane);
  // An object of 0 bytes gets one part of 0 bytes. No other part is empty.
  int (*write_part)(struct object_writer *w, void *lane, uint32_t number, uint64_t offset,
                    const struct object_body *body, struct err *err);
  // All parts are written: makes the object what it will be, durable, and not yet visible. From
  // then on state() tells how it will be found under its final name. NULL: commit does all. Commit
  // does this first where it was not asked for.
  int (*seal)(struct object_writer *w, struct err *err);
  // Durable and visible when it returns 0. Repeating it after a lost answer must succeed.
  int (*commit)(struct object_writer *w, struct err *err);
  // Leaves nothing behind. Must work after interrupt, too.
  int (*abort)(struct object_writer *w, struct err *err);
  void (*interrupt)(struct object_writer *w);
  void (*free)(struct object_writer *w); // neither commits nor aborts what is resumable
  // Going on with what an earlier process left. All NULL: it cannot be done, else only part_tag
  // may be. resume comes before begin, with what state() said there; begin then sets `resumed`, or
  // starts over when that is gone. abort after resume takes the old one away.
  void (*resume)(struct object_writer *w, const char *state);
  // After begin; NULL: not this object. Where there is a seal, another one after object_settle()
  // and after seal: who wants to go on writes it down then, the last one before commit.
  const char *(*state)(struct object_writer *w);
  // What this lane wrote is safe where it was written to when it returns 0.
  int (*flush)(struct object_writer *w, void *lane, struct err *err);
  // Of a part that the far side has: its tag (S3: the ETag) and length. False: it does not have it.
  // Where there is no such op, parts stay as they were written.
  bool (*part_tag)(struct object_writer *w, uint32_t number, char ret_tag[OBJECT_TAG_BYTES],
                   uint64_t *ret_length);
  // Whether that part has to be written at all; NULL: each of them. The others are not even read.
  bool (*wants)(struct object_writer *w, uint32_t number);
  // Menders only: this part is the same range of the object that is there now, and no byte of it is
  // sent. NULL where what is not written stays as it is (in_place).
  int (*keep_part)(struct object_writer *w, void *lane, uint32_t number, uint64_t offset,
                   uint64_t length, struct err *err);
};

struct object_writer {
  const struct object_writer_ops *ops;
  bool ordered;            // parts must come in order, one at a time (HTTP PUT: one part = all)
  bool any_length;         // the length may be told at the end (object_settle); with `ordered` and
                           // parts_max 1: in one part of OBJECT_LENGTH_OPEN
  bool holes;              // bytes never written read as zeros (files): holes need no part
  uint64_t part_min_bytes; // all but the last part; 0 = any
  uint64_t part_max_bytes; // 0 = any
  uint32_t parts_max;      // 0 = any; 1 = the whole object is one part
  uint64_t object_max_bytes; // 0 = any
  bool equal_parts;          // all but the last must have one size
  int64_t round_trip_ms;     // as struct object_reader
  bool outlives_us;          // what is written stays without a flush when only this process dies
  bool resumed;              // after begin
  bool stored;               // resumed, and even committed already: only commit is left
  uint64_t there_bytes;      // resumed, no part_tag: what lies beyond is not there, whoever says so
  bool in_place;             // a mender that writes into the object itself, at once
  // Kept by the wrappers, for ops to read only.
  _Atomic uint64_t part_bytes; // equal_parts: of the first that came
  bool begun, committed;
  uint64_t size_bytes;  // after begin, and again after settle
  uint64_t next_offset; // ordered: where the next part must start
};

int object_begin(struct object_writer *w, uint64_t size_bytes, struct err *err);
int object_write_lane_open(struct object_writer *w, void **ret_lane, struct err *err);
void object_write_lane_close(struct object_writer *w, void *lane);
int object_write_part(struct object_writer *w, void *lane, uint32_t number, uint64_t offset,
                      const struct object_body *body, struct err *err);
bool object_wants(struct object_writer *w, uint32_t number);
// Menders that are not in_place: every byte of the object is in a part written or a part kept.
int object_keep_part(struct object_writer *w, void *lane, uint32_t number, uint64_t offset,
                     uint64_t length, struct err *err);
// Once, before the last part, when no other part is being written, or before the end of the one
// part of open length. ERR_UNSUPPORTED where the length
// must be known before.
int object_settle(struct object_writer *w, uint64_t size_bytes, struct err *err);
int object_seal(struct object_writer *w, struct err *err); // where it can: else nothing
int object_commit(struct object_writer *w, struct err *err);
int object_abort(struct object_writer *w, struct err *err);
void object_resume(struct object_writer *w, const char *state); // where it can: else nothing
const char *object_state(struct object_writer *w); // NULL: this object cannot be gone on with
int object_flush(struct object_writer *w, void *lane, struct err *err);
void object_writer_interrupt(struct object_writer *w);
void object_writer_free(struct object_writer *w);
// The state of an object that is one file, written under a temporary name and then renamed:
// FILE:BEGUN:LENGTH:CHANGED. Such a file is cut to its length before it is renamed, so there are
// moments in which it is found with either length.
struct object_file_state {
  char file[128];        // which file, for a name may be another's by now
  uint64_t begun_bytes;  // its length while parts are written
  uint64_t length_bytes; // what that comes to; of a file that is found: its length now
  char changed[40];      // time of its last change, when it is sealed or found; else ""
};
#define OBJECT_STATE_BYTES 256
void object_file_state_text(const struct object_file_state *s, char ret[OBJECT_STATE_BYTES]);
// Whether what is found under the temporary name, or under the final one, is what the state of an
// earlier writer tells of.
bool object_file_state_is_part(const struct object_file_state *found, const char *earlier);
bool object_file_state_is_whole(const struct object_file_state *found, const char *earlier);
// A local file: written beside its final name (object_part_path), renamed by commit. Without
// `overwrite` the final name must not exist (ERR_EXISTS, at begin and at commit). fsync'ed (file,
// then folder) by commit. What an earlier try of the same owner left is replaced, but not while
// another process still writes it (ERR_BUSY). The folder must exist (ERR_NOT_FOUND), and a shared
// flock() on it is held as long as the writer lives: tidying up must not remove it (LOCK_EX).
int object_writer_file(const char *path, const char *owner, bool overwrite,
                       struct object_writer **ret, struct err *err);
// The temporary name that belongs to a final name and an owner: "PATH.OWNER.part", the owner with
// '/' and everything unusual as '_', and shortened to a digest where the name would get too long.
// For who cleans up after a crash. Yours; NULL: no memory.
char *object_part_path(const char *path, const char *owner);
// A mender of a local file that is there: what is written goes into it, in place and with QEMU's
// lock held; commit sets the length and makes all of it durable. Nothing is undone by abort: what
// was damaged is damaged still, or is mended. identity (of an object_reader): ERR_CHANGED at begin
// when it is another file by now.
int object_mender_file(const char *path, const char *identity, struct object_writer **ret,
                       struct err *err);
