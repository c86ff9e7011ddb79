// SPDX-License-Identifier: Apache-2.0
// What Provider and ImageStore have in common: they last. A step probes them when it is due, says
// Ready or why not, and holds their deletion back while unfinished migrations name them.
#pragma once

#include "controller/controller_internal.h"

struct lasting {
  struct manager *m;
  struct object *o;
  struct list *conditions; // of o's status, and so is the rest
  int64_t *observed_generation;
  int64_t *dependents;
  bool suspended;
  int (*probe)(struct manager *m, struct object *o, struct err *err); // fills status
  int64_t interval_ms;
};

int64_t lasting_step(struct lasting *l);
void lasting_text(char **field, const char *text); // replaces with a copy
