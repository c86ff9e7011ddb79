// SPDX-License-Identifier: Apache-2.0
// An image of a store on its way into a platform that takes one as a stream (clone_ops
// takes_images). It takes longer than a call of a provider may: so a feed is a thread, begun by the
// verb and looked after by calling it again.
//
// A source is the object, not opened yet; whoever knows stores implements it (controller/), and
// providers see no more of it than this. It is counted, and used by one feed at most. A feed reads
// it from the first byte to the last through one window of memory, says what kind of archive it is
// by how it begins, and makes the SHA-256 in the same pass. The platform's part is `work`, which
// runs on the feed's thread and pulls: feed_open(), feed_read() in rising order, feed_digest().
// Nothing survives the process: what a killed one left is found by the mark and made anew.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define FEED_WINDOW_BYTES (4u << 20)
#define FEED_DIGEST_TEXT  65 // 64 hexadecimal digits and NUL

enum feed_format {
  FEED_OTHER, // none of the following
  FEED_TAR,
  FEED_TAR_GZIP, // or anything else in gzip: who unpacks it finds out; so for the next two
  FEED_TAR_XZ,
  FEED_TAR_ZSTD,
  FEED_SQUASHFS,
  FEED_DISK, // qcow2, vmdk, VHD(X), a partition table: a disk, not a tree
  FEED_FORMAT_COUNT
};
extern const char *const feed_format_names[]; // "other", "tar", "tar.gz", ..., NULL

struct feed_source;
struct feed_source_ops {
  // Once, first of all. Sets size_bytes. ERR_NOT_FOUND: there is no such object.
  int (*open)(struct feed_source *s, struct err *err);
  int (*read)(struct feed_source *s, void *into, size_t length, uint64_t offset, struct err *err);
  // From any thread: the call under way, and every later one, ends with ERR_CANCELLED.
  void (*interrupt)(struct feed_source *s);
  void (*free)(struct feed_source *s);
};

struct feed_source { // first in its implementation
  const struct feed_source_ops *ops;
  atomic_uint references; // begins at 1
  uint64_t size_bytes;    // once it is open
};
struct feed_source *feed_source_ref(struct feed_source *s);
void feed_source_unref(struct feed_source *s); // NULL allowed
// Opens it and tells what it is, for preflight. Blocks as long as the store does.
int feed_source_look(struct feed_source *s, enum feed_format *ret, struct err *err);

struct feed;
struct feed_work {
  int (*run)(struct feed *f, void *arg, struct err *err);
  // From any thread, while run() is in it: makes it return soon. NULL: it looks at feed_stopped().
  void (*stop)(void *arg);
  void (*free)(void *arg);
};

enum feed_state { FEED_RUNS, FEED_DONE, FEED_FAILED };

// Takes arg over also when it fails, and a reference of the source.
int feed_start(struct feed_source *s, const struct feed_work *work, void *arg, struct feed **ret,
               struct err *err);
// Waits at most so long for the end. FAILED fills err, each time.
enum feed_state feed_wait(struct feed *f, int64_t patience_ms, struct err *err);
int64_t feed_percent(struct feed *f); // of the bytes read, at most 99 while it runs
void feed_free(struct feed *f);       // ends it first; NULL allowed

// ---- for work->run alone ----

int feed_open(struct feed *f, enum feed_format *ret_format, uint64_t *ret_size, struct err *err);
// Exactly `length` bytes. Offsets rise without gaps; 0 begins anew.
int feed_read(struct feed *f, void *into, size_t length, uint64_t offset, struct err *err);
// SHA-256 of the whole object: what was not read yet is read now.
int feed_digest(struct feed *f, char ret[FEED_DIGEST_TEXT], struct err *err);
bool feed_stopped(struct feed *f); // any thread
