// SPDX-License-Identifier: Apache-2.0
// What Provider and ImageStore have in common: they last. A step probes them when it is due, says
// Ready or why not, and holds their deletion back while unfinished migrations, bases and clones
// need them.
#pragma once

#include "controller/controller_internal.h"

struct lasting {
  struct manager *m;
  struct object *o;
  // What its kind says of it: where things are in spec and status.
  struct list *conditions;
  int64_t *observed_generation;
  int64_t *dependents;
  bool suspended;
  bool patient; // what was Ready when this process began is probed a little later: work goes first
  int64_t interval_ms;
};

struct lasting_kind {
  const char *name;                // in log lines: "provider"
  void (*view)(struct lasting *l); // fills what is said above, from l->o
  int (*probe)(struct manager *m, struct object *o, struct err *err); // fills status
};

int64_t lasting_step(struct manager *m, const struct object_key *key,
                     const struct lasting_kind *kind);
// Each of them was probed by this process, or is not to be.
bool lasting_all_probed(struct manager *m, enum object_kind objects,
                        const struct lasting_kind *kind);
