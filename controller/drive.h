// SPDX-License-Identifier: Apache-2.0
// Runs the operator on an embedded store, from its start until something is done or somebody
// interrupts: the body of `drover run`, and of `drover delete` and `cancel` when no other process
// runs the state.
//
// SIGINT, SIGTERM or SIGHUP once: movers and steps end, the state is kept. Twice: the process ends
// at once (movers die with it).
#pragma once

#include "controller/object_store.h"

struct drive {
  struct object_store *store; // opened with STORE_RUN
  const char *state;          // its file: movers note beside it what they have finished
  // All on the calling thread.
  // May have changed, or is gone. True: a tick soon, this may be the end.
  bool (*changed)(void *arg, const struct object_key *key);
  bool (*tick)(void *arg);     // a few times a second, and then; true: done
  void (*stopping)(void *arg); // the first interrupt
  void *arg;
};

enum drive_end { DRIVE_DONE, DRIVE_INTERRUPTED, DRIVE_FAILED };

// DRIVE_FAILED sets err.
enum drive_end drive(const struct drive *d, struct err *err);
