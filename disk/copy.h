// SPDX-License-Identifier: Apache-2.0
// The copy engine: one source, one end to write to, N lanes. Each lane is a thread with handles of
// its own to both sides: it takes the next piece of the plan, reads, hashes, writes, ticks it off.
// Holes and zero chunks are neither read nor sent. Memory is bounded by lanes x part size.
//
// The tally is the one place of progress, throttle and cancel: other threads read and change it
// while copy_run() works.
//
// Digest: merkle-sha256-4m, the Merkle tree hash of RFC 9162 section 2.1.1 over guest-visible
// content in chunks of 4 MiB (size rounded up to 512 bytes with zeros). The same for the same
// content in any format and at any end.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "disk/checkpoint.h"
#include "disk/object.h"
#include "disk/reach.h"
#include "disk/source.h"
#include "disk/target.h"

#define COPY_CHUNK_BYTES (4u << 20)
#define COPY_LANES_MAX   16

enum copy_verify { COPY_VERIFY_STORED, COPY_VERIFY_READBACK, COPY_VERIFY_NONE };
extern const char *const copy_verify_names[]; // "Stored", "ReadBack", "None", NULL

enum copy_phase { COPY_PREPARING, COPY_TRANSFERRING, COPY_VERIFYING, COPY_DONE };

struct tally {
  _Atomic int phase;                     // enum copy_phase
  _Atomic uint64_t total_bytes;          // guest-visible size
  _Atomic uint64_t data_bytes;           // of it, data to move
  _Atomic uint64_t transferred_bytes;    // data moved
  _Atomic uint64_t verified_bytes;       // read back and compared
  _Atomic uint64_t resent_bytes;         // moved more than once, also by an earlier copy
  _Atomic uint64_t resumed_bytes;        // of those moved: by an earlier copy
  _Atomic uint64_t resumed_resent_bytes; // of those moved more than once: by earlier copies
  _Atomic int64_t limit_bytes_per_s;     // 0 = none; may change while running
  volatile bool cancel;                  // set by copy_interrupt(); for command.h to look at
};

// What a vmdk says about itself beside the disk. Importers may look at it.
enum vmdk_adapter { VMDK_ADAPTER_ANY, VMDK_LSILOGIC, VMDK_BUSLOGIC, VMDK_IDE }; // ANY: lsilogic
extern const char *const vmdk_adapter_names[]; // "", "lsilogic", "buslogic", "ide", NULL

#define VMDK_HARDWARE_MIN     4
#define VMDK_HARDWARE_MAX     99
#define VMDK_HARDWARE_DEFAULT 13 // of ESXi 6.5

struct vmdk_options {
  int adapter;              // enum vmdk_adapter
  int64_t hardware_version; // 0 = VMDK_HARDWARE_DEFAULT
};

struct copy_options {
  int format;                  // enum disk_format to lay down when `object` is given: RAW, QCOW2,
                               // RAW_ZST, VMDK (streamOptimized)
  struct vmdk_options vmdk;    // of format VMDK
  bool compress;               // of format QCOW2: clusters are compressed (zstd), head last
  int verify;                  // enum copy_verify
  int lanes;                   // 0 = 4, more where the ends are far away
  bool object_sha256;          // also the plain SHA-256 of the stored object, where its bytes come
                               // in order: not of a qcow2 that is laid down head last
  bool no_sparse;              // write zeros out
  bool compares;               // the object only compares: what moves counts as verified
  int64_t stall_timeout_ms;    // nothing moved for so long: ERR_TIMEOUT; 0 = 5 min
  const char *expected_digest; // content digest that must come out, or NULL: ERR_MISMATCH
};

struct copy_result {
  char content_digest[128]; // "merkle-sha256-4m:SIZE:HEX", "" with COPY_VERIFY_NONE
  char object_sha256[65];   // hex, "" when not asked or not an object, or laid down head last
  char layout[16];          // "forward", "packed", "head-last", "head-last+zstd"; "" for targets
  uint64_t size_bytes, data_bytes, stored_bytes;
  int64_t elapsed_ms;
  // 32 bytes a chunk, all chunks; 32 zero bytes stand for a chunk of zeros (so that an empty disk
  // costs no memory). NULL when no digest was taken. Yours: copy_result_release().
  uint8_t *chunk_hashes;
  uint64_t chunk_count;
};

// Exactly one of target and object is given. Both sides are only used, not freed; neither committed
// nor aborted here is what the caller still has to do on failure (object_abort, target_free).
// before_commit (objects; may be NULL) is called once all bytes are there and the digest is as
// expected, before the object gets its final name: where a manifest is written. ReadBack of a
// target is done here; of an object it is the caller's, after the commit (digest_verify()).
struct copy_job {
  struct source *source;
  struct target *target;
  struct object_writer *object;
  struct copy_options options;
  int (*before_commit)(void *arg, const struct copy_result *r, struct err *err);
  void *before_commit_arg;
  // NULL, or where to write down what is finished, and what to go on from (still the caller's, and
  // left for the next try when the copy fails). target_name: what the target is, in words. warn is
  // told, on any thread, when it is not used and why.
  struct checkpoint *checkpoint;
  const char *target_name;
  void (*warn)(void *arg, const char *text);
  void *warn_arg;
};

// After ERR_MISMATCH *ret still has its chunk hashes, so that the place can be looked for.
int copy_run(const struct copy_job *job, struct tally *tally, struct copy_result *ret,
             struct err *err);
// Makes a running copy_run() return within 2 s with ERR_CANCELLED, whatever hangs. Any thread.
void copy_interrupt(const struct copy_job *job, struct tally *tally);
void copy_result_release(struct copy_result *r);

// The content digest of a source (drover digest). hashes as in copy_result.
int digest_source(struct source *s, int lanes, struct tally *tally, struct copy_result *ret,
                  struct err *err);
// Reads a disk and compares it with a content digest: over the digest's SIZE, and what the disk has
// beyond must be zeros. ERR_MISMATCH when it differs, ERR_INVALID for a malformed digest. Counts
// tally->verified_bytes. What ReadBack of a stored object is made of.
int digest_verify(struct source *s, const char *expected_digest, int lanes, struct tally *tally,
                  struct err *err);
// First differing byte range of two sources is named in *ret_offset; 0 = equal, 1 = differ, -1
// error. A longer disk is equal when its rest is zero.
int compare_sources(struct source *a, struct source *b, int lanes, struct tally *tally,
                    uint64_t *ret_offset, struct err *err);
