// SPDX-License-Identifier: Apache-2.0
// One piece of work on a thread of its own, while the first thread listens (signals, standard
// input) and talks. The work says what can be interrupted at the moment; a cancel sets the tally's
// flag and interrupts that. Work that has not come back GRACE_MS later is given up: the process
// ends, its children with it.
//
// Everything but session_run() is for the working thread.
#pragma once

#include <pthread.h>

#include "disk/copy.h"
#include "mover/report.h"

struct session {
  const struct mover_spec *spec;
  const struct mover_talk *talk;
  struct report report;
  struct tally tally;
  // ours
  pthread_mutex_t lock; // guards interrupt, interrupt_arg
  void (*interrupt)(void *arg);
  void *interrupt_arg;
  int done_fd; // eventfd, written when the work has ended
  int (*work)(struct session *s, struct err *err);
  int rc;
  struct err err;
};

// Runs `work`; the exit status: its rc when that is 0 or 1, else 3 after an error line. work calls
// report_result() itself. command: for messages.
int session_run(const char *command, const struct mover_spec *spec, const struct mover_talk *talk,
                int (*work)(struct session *s, struct err *err));

// From now on a cancel calls fn(arg), on another thread. ERR_CANCELLED when it came before.
int session_enter(struct session *s, void (*fn)(void *arg), void *arg, struct err *err);
// No more; fn is not running when this returns.
void session_leave(struct session *s);
