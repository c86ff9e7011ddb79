// SPDX-License-Identifier: Apache-2.0
// What a mover says, and how: a bar on a terminal, plain lines, JSON lines, or nothing but the
// result. Progress for people goes to standard error, results and JSON lines to standard output.
//
// The meter is the one place where speed and remaining time are made: an average over about the
// last five seconds, weighted exponentially, so that neither jumps.
//
// Threads: everything but report_init() may be called from any.
#pragma once

#include <pthread.h>

#include "base/buf.h"
#include "disk/copy.h"
#include "mover/mover.h"

struct meter {
  int64_t at_ms; // 0 = not begun
  uint64_t bytes;
  double sum, weight;
};

// bytes: all that moved so far, at that moment.
void meter_update(struct meter *m, int64_t now_ms, uint64_t bytes);
double meter_rate(const struct meter *m);                       // bytes per second, 0 = unknown
int64_t meter_eta_s(const struct meter *m, uint64_t remaining); // -1 = unknown

// One look at a tally.
struct progress {
  int phase; // enum copy_phase
  uint64_t total_bytes, data_bytes, transferred_bytes, verified_bytes, resent_bytes;
  uint64_t resumed_bytes; // of those transferred: by an earlier copy
  double bytes_per_s;
  int64_t eta_s; // -1 = unknown
};

struct progress progress_look(const struct tally *t, struct meter *m, int64_t now_ms);
double progress_fraction(const struct progress *p); // 0..1
// "45%  1.2 GB of 2.6 GB  118 MB/s  eta 12s"
void progress_text(const struct progress *p, struct buf *to);
// The same with a bar before it, `columns` wide at most.
void progress_bar(const struct progress *p, int columns, struct buf *to);

struct report {
  int style; // enum mover_progress, never AUTO
  bool json_result;
  int64_t attempt;
  const char *disk;    // may be NULL
  const char *command; // for messages: "copy"
  pthread_mutex_t lock;
  struct meter meter;
  int last_phase;
  int64_t last_ms;
  bool bar_shown;
  bool broken;              // nobody reads standard output any more
  _Atomic int64_t hurry_ms; // since when we want to end; 0 = not
};

void report_init(struct report *r, const struct mover_spec *s, const struct mover_talk *talk,
                 const char *command);
// Call at least every report_interval_ms(); says something when it is time.
void report_progress(struct report *r, const struct tally *t, bool now);
int report_interval_ms(const struct report *r);
// A cancel: what is still to be said waits only a moment for who does not read.
void report_hurry(struct report *r);
void report_warning(struct report *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void report_error(struct report *r, const struct err *e);
// The result: a JSON object (taken over) with "type" put first, or lines of text.
void report_result(struct report *r, struct json_object *fields, const char *text);
