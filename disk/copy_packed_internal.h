// SPDX-License-Identifier: Apache-2.0
// What copy_packed.c shares with copy_packed_stream.c: the rooms in which the stored bytes of a
// packed object are put together, in the order of the disk. Where the writer takes parts, whoever
// fills a room sends it. Where it takes one ordered body whose length is known at its end (HTTP
// PUT), the rooms are a ring between the lanes and a sender of its own: a room that was sent is
// kept until its space is needed, so that a body that breaks early can be started over.
#pragma once

#include "disk/copy_internal.h"

#define ROOMS_MAX (COPY_LANES_MAX + 1)

// A part, or a piece of the one body, while it is filled and sent.
struct room {
  uint8_t *bytes;
  size_t length, full_bytes; // it is sent when it has as many
  uint64_t offset;
  uint64_t data_bytes; // of the disk
  uint32_t number;
  bool busy;
  bool ready, sent; // stream: full; and read by the writer
};

struct packing {
  struct copy *copy;
  struct pack *pack;
  // The plan; guarded by copy->lock.
  uint64_t chunks, next_chunk, sequence;
  bool header_taken, trailer_taken;
  // Turns and rooms.
  pthread_mutex_t lock;
  pthread_cond_t changed;
  uint64_t turn;
  int unwritten; // items that have a place and are still being written
  struct room rooms[ROOMS_MAX];
  int room_count;
  struct room head;    // the first part, when the header comes late
  bool stream, ended;  // one ordered body; all of it is in rooms
  uint64_t dropped_to; // stream: what lies before is in no room any more
  // Only for whose turn it is.
  uint64_t tail; // stored bytes so far
  struct room *filling;
  uint32_t parts;
};

bool packed_stopped(const struct packing *k);
// With k->lock: room in which nothing is that may still be asked for. NULL: none now.
struct room *packed_stream_idle(struct packing *k);
void packed_stream_offer(struct packing *k, struct room *r);
void packed_stream_end(struct packing *k); // no more rooms come
// The sender's lane: returns when the writer has all.
int packed_stream_send(struct packing *k, struct err *err);
