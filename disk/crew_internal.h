// SPDX-License-Identifier: Apache-2.0
// The lanes of one run: threads that end together. The first error wins and stops all; cancel
// (tally), and nothing moving for too long, do the same. crew_run() supervises from the caller's
// thread: when the crew has to stop it calls `interrupt` again and again until the last lane has
// returned, so a lane that was about to enter a blocking call when the first interrupt came is
// caught by the next one.
//
// Lanes ask crew_stopped() between pieces of work, call crew_moved() whenever something moved, and
// take bytes from crew_throttle() before they move them.
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "disk/copy.h"

#define CREW_LANES_MAX (2 * COPY_LANES_MAX + 1)

struct crew {
  // set by the user before crew_run()
  struct tally *tally;
  int lanes; // CREW_LANES_MAX at most
  int64_t stall_timeout_ms;
  // All lanes take an item each within so long at the earliest (crew_pace); 0 = as they come.
  int64_t spread_ms;
  int (*lane)(void *arg, int index, struct err *err); // one thread each
  void (*interrupt)(void *arg);
  void (*wake)(void *arg); // may be NULL: wakes lanes that wait for each other
  void *arg;
  // ours
  pthread_mutex_t lock;
  pthread_cond_t changed;
  int running;
  _Atomic bool stopped;
  _Atomic uint64_t moves;
  bool failed;
  struct err first;
  int64_t begin_ms; // of the next item, where they are spread
  double tokens;    // throttle, bytes; negative = debt
  int64_t tokens_at_ms;
};

// Returns when every lane has ended. Error: the first one; ERR_CANCELLED when tally says so.
int crew_run(struct crew *c, struct err *err);
bool crew_stopped(const struct crew *c);
void crew_moved(struct crew *c);
// Waits until the limit of the tally allows bytes to move. ERR_CANCELLED when the crew stops.
int crew_throttle(struct crew *c, uint64_t bytes, struct err *err);
// Before a lane takes an item. Lanes that begin together on a long link share it evenly, end
// together (also those that wait for each other's turn), and then all wait for a round trip in
// which nothing moves, again and again: so they begin one after the other.
void crew_pace(struct crew *c);
bool tally_cancelled(const struct tally *t);
// A condition variable on the monotonic clock.
void cond_init_monotonic(pthread_cond_t *c);
// As pthread_cond_timedwait, for at most wait_ms.
void cond_wait_ms(pthread_cond_t *c, pthread_mutex_t *m, int64_t wait_ms);
