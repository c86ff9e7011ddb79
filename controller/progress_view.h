// SPDX-License-Identifier: Apache-2.0
// What `drover run` and `drover watch` show while things move, in one of three ways: bars redrawn
// in place (a terminal), a line when something happens (a file, a pipe), or JSON, one object a
// line.
//
// The caller shows it objects whenever they may have changed, and draws a few times a second. What
// has ended becomes a lasting line: what was made, or why not. Pure but for writing to the FILE:
// the clock comes in, so that tests can say what is printed.
//
// JSON lines: {"type": "phase"|"progress"|"ready"|"end"|"deleted"|"note", "time", "kind",
// "namespace", "name", ...}; with phase: "phase", "reason", "message"; with progress: "percent",
// "totalBytes", "transferredBytes", "bytesPerSecond", "etaSeconds"; with end: "phase", "reason",
// "message", "result", "preflight".
//
// One thread at a time.
#pragma once

#include <stdio.h>

#include "base/buf.h"
#include "controller/object_store.h"

enum progress_mode { PROGRESS_BARS, PROGRESS_LINES, PROGRESS_JSON };

struct progress_view;

struct progress_view *progress_view_new(FILE *to, enum progress_mode mode); // NULL: no memory
void progress_view_free(struct progress_view *v); // NULL allowed; bars that still stand stay
void progress_view_size(struct progress_view *v, int columns, int rows); // of the terminal
// The object as it is now. now_ms: monotonic; now_wall_ms for time stamps.
void progress_view_show(struct progress_view *v, const struct object *o, int64_t now_ms,
                        int64_t now_wall_ms);
void progress_view_gone(struct progress_view *v, const struct object_key *key, int64_t now_wall_ms);
// Whether it was shown before.
bool progress_view_knows(const struct progress_view *v, const struct object_key *key);
// A lasting line above the bars.
void progress_view_say(struct progress_view *v, int64_t now_wall_ms, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// Redraws the bars when something is new and the last time is long enough ago.
void progress_view_draw(struct progress_view *v, int64_t now_ms);
// Takes the bars away.
void progress_view_clear(struct progress_view *v);

// Whether nothing more will happen to it by itself: the final phase of a VMMigration and no retry
// asked for; for kinds without an end, a verdict (Ready is True or False at this generation).
bool object_has_ended(const struct object *o);
// And whether it is a good one.
bool object_has_succeeded(const struct object *o);
// "VM 'web' on default/paris; 2.1 GB in 41s", or "InsufficientSpace: pool ...": how it ended.
void object_outcome(const struct object *o, struct buf *to);
