// SPDX-License-Identifier: Apache-2.0
// Opens the two ends of a session. What belongs to an end (store, connections, source or target)
// lives in one struct and is released in the right order.
#pragma once

#include "disk/open.h"
#include "mover/session.h"

struct open_end {
  const struct mover_spec *spec; // for new credentials
  const struct mover_object *object;
  struct address_filter *allowed;
  struct storage *storage;      // objects only
  struct storage_lane *lane;    // objects only: for small calls; interrupted by a cancel while used
  struct object_reader *reader; // open_reader(); taken over by source
  struct source *source;
  struct target *target; // one of these two on the target's side
  struct object_writer *writer;
  int format;                // enum disk_format of the writer
  char expected_digest[128]; // from the manifest beside a source; "" = none
};

void open_end_release(struct open_end *o);

// The stored bytes of a source, its manifest obeyed. Only REACH_FILE and objects have some: others
// leave ret->reader NULL.
int open_reader(struct session *s, const struct mover_end *e, struct open_end *ret,
                struct err *err);
// A source; sha256 (may be NULL) is what its stored bytes must hash to: they are read once before.
int open_source(struct session *s, const struct mover_end *e, const char *sha256,
                struct open_end *ret, struct err *err);
// keep (may be NULL): when that is the target's name, what an earlier attempt left unfinished there
// is not cleared away, for this one goes on with it.
int open_target(struct session *s, const struct mover_end *e, const char *keep,
                struct open_end *ret, struct err *err);
// The target in words, the same for each attempt. Yours; NULL: no memory.
char *open_target_name(const struct mover_end *e, const struct open_end *o);
// Connects the store of an object, for ends that need no more.
int open_store(struct session *s, const struct mover_object *object, struct open_end *o,
               struct err *err);
// Brackets calls on o->lane.
int open_lane_enter(struct session *s, struct open_end *o, struct err *err);
