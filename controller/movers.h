// SPDX-License-Identifier: Apache-2.0
// Supervision of mover processes (mover/mover.h): starts them as children, reads their lines on the
// loop, keeps the latest report of each, wakes the object that owns it. Movers die with this
// process; the next one starts them again from what is in status.
//
// A mover is known by an id that its owner chooses ("UID/vda/1"), at most one at a time per id: two
// movers never write one disk. A report stays until movers_forget().
//
// Threads: everything may be called from any thread; `changed` is called on the loop.
#pragma once

#include "base/loop.h"
#include "controller/object_store.h"
#include "mover/mover.h"

enum mover_state { MOVER_NONE, MOVER_RUNNING, MOVER_DONE, MOVER_FAILED };

struct mover_report {
  enum mover_state state;
  bool verifying;
  int64_t total_bytes, data_bytes, transferred_bytes, verified_bytes, resent_bytes;
  int64_t bytes_per_second, eta_seconds; // eta -1 = unknown
  int64_t stored_bytes;
  char content_digest[128], object_sha256[72];
  char format[16];
  int64_t moved_wall_ms; // when bytes moved last
  struct err err;        // FAILED
};

struct movers;

// program: path of drover itself. changed: something about a mover of this object is new.
struct movers *movers_new(struct loop *loop, const char *program,
                          void (*changed)(void *arg, const struct object_key *key), void *arg);
// Kills what runs, waits for it. On the loop's thread, after loop_run() returned.
void movers_free(struct movers *m);
// Starts a mover; already running under that id: 0. What an earlier one reported is forgotten.
int movers_start(struct movers *m, const char *id, const struct object_key *owner,
                 const struct mover_spec *spec, struct err *err);
void movers_report(struct movers *m, const char *id, struct mover_report *ret);
// Asks it to stop (it has 2 s, then it is killed). The report then says FAILED, ERR_CANCELLED.
void movers_stop(struct movers *m, const char *id);
void movers_stop_all(struct movers *m, const char *id_prefix);
void movers_limit(struct movers *m, const char *id, int64_t bytes_per_second);
size_t movers_running(struct movers *m, const char *id_prefix); // "" = all
void movers_forget(struct movers *m, const char *id_prefix);    // of movers that do not run
