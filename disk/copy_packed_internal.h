// SPDX-License-Identifier: Apache-2.0
// What the files of packed objects share: lanes that pack (copy_packed.c), the rooms in which the
// stored bytes are put together in the order of the disk, and lanes that send what is in them
// (copy_packed_rooms.c). A room holds one part, cut to the byte as part_plan_internal.h says. It is
// handed to a sender when it is full and more follows, so the last one waits until the length is
// known. Where the writer takes one ordered body whose length is known at its end (HTTP PUT), the
// rooms are a ring between those that pack and the one sender (copy_packed_stream.c): a room that
// was sent is kept until its space is needed, so that a body that breaks early can be started over.
//
// Memory: of what a copy may have (COPY_MEMORY_BYTES), lanes that pack take their share, and rooms
// the rest. One room is held in any case; of parts above ROOM_PAIR_BYTES two are, so that the next
// is packed while one is sent: of 5 TiB in S3 that is 1.5 GiB, of less than 600 GB nothing more.
#pragma once

#include "disk/copy_internal.h"
#include "disk/part_plan_internal.h"

#define ROOMS_MAX       (COPY_LANES_MAX + 1)
#define ROOM_PAIR_BYTES (64ull << 20)

// A part, or a piece of the one body, while it is filled and sent.
struct room {
  uint8_t *bytes; // NULL: no memory yet
  size_t capacity;
  size_t length, full_bytes;
  uint64_t offset;
  uint64_t data_bytes; // of the disk
  uint32_t number;
  bool busy;
  bool ready, sent; // full; and taken by a sender (stream: read by the writer)
};

struct packing {
  struct copy *copy;
  struct pack *pack;
  struct part_plan parts;
  uint64_t limit_bytes; // the object may not be longer
  int packers, senders; // lanes of each kind
  bool far_out;         // the writer is far away: senders are spread over the round trip
  // The plan; guarded by copy->lock.
  uint64_t chunks, next_chunk, sequence;
  bool header_taken, trailer_taken;
  // Turns and rooms.
  pthread_mutex_t lock;
  pthread_cond_t changed;
  uint64_t turn;
  struct room rooms[ROOMS_MAX];
  struct room head;                 // the first part, when the header comes late
  uint64_t rooms_bytes, held_bytes; // how much memory they may have, and have
  int unsent;                       // rooms that are ready and not written yet
  bool stream, ended;               // one ordered body; no more rooms come
  uint64_t dropped_to;              // stream: what lies before is in no room any more
  // Only for whose turn it is.
  uint64_t tail; // stored bytes so far
  struct room *filling;
  uint32_t next_part;
};

bool packed_stopped(const struct packing *k);

// During the turn: a room for the next part, which is k->filling from then on; waits until one has
// been sent when there is none.
struct room *packed_room(struct packing *k, struct err *err);
void packed_offer(struct packing *k, struct room *r); // to the senders
int packed_wait_sent(struct packing *k, struct err *err);
void packed_end(struct packing *k); // no more rooms come
// A sender's lane.
int packed_send(struct packing *k, struct err *err);
void packed_rooms_release(struct packing *k);

// The one sender of a stream: returns when the writer has all.
int packed_stream_send(struct packing *k, struct err *err);
// With k->lock: takes back the oldest room that was sent. NULL: there is none.
struct room *packed_stream_drop(struct packing *k);
