// SPDX-License-Identifier: Apache-2.0
// Inside of a checkpoint: the form of the file (checkpoint.h), what checkpoint.c (writing) and
// checkpoint_read.c (reading, of bytes that nobody vouches for) share.
#pragma once

#include <pthread.h>

#include "disk/checkpoint.h"

#define FILE_MAGIC       "DROVERCP"
#define FILE_STARTED_AT  8
#define FILE_RESENT_AT   16
#define FILE_HEAD_BYTES  24
#define FRAME_HEAD_BYTES 8
#define FRAME_SUM_BYTES  16
#define FRAME_BYTES_MAX  (1u << 20) // payload
#define BOOT_TEXT_BYTES  64

enum frame_type {
  FRAME_SUBJECT = 1, // JSON; the first one, and no other
  FRAME_BOOT,        // text: which start of which host writes what follows
  FRAME_UNITS,       // unit_record and its hash_records, again and again
  FRAME_SHA,         // state of the object's SHA-256
  FRAME_MARK,        // u64: everything before that place in the file is durable
  FRAME_STATE,       // text: the state of the target from here on, instead of the subject's
};

struct unit_record {
  uint64_t unit, data_bytes;
  uint32_t hash_count;
} __attribute__((packed));

struct hash_record {
  uint64_t chunk;
  uint8_t hash[CHECKPOINT_HASH_BYTES];
} __attribute__((packed));

struct checkpoint {
  char *path;
  int fd;
  bool foreign; // others can write it
  bool locked, found, begun, rebooted, removed;
  char damage[256];
  struct checkpoint_subject subject;
  uint64_t size_bytes; // of the file, when it was opened
  uint64_t started;    // by earlier copies
  uint64_t resent;     // bytes, by earlier copies
  pthread_mutex_t lock;
  // guarded by lock
  uint64_t end; // where the next frame goes: what lies before counts
  uint8_t sum[FRAME_SUM_BYTES];
  uint64_t noted;
};

extern const struct table checkpoint_subject_table;

void checkpoint_boot(char ret[BOOT_TEXT_BYTES]); // names this start of this host
void checkpoint_sum(const uint8_t before[FRAME_SUM_BYTES], const void *frame, size_t length,
                    uint8_t ret[FRAME_SUM_BYTES]);
// Finds out what the file holds and how far it counts. An error only when it cannot be read at all.
int checkpoint_examine(struct checkpoint *c, struct err *err);
