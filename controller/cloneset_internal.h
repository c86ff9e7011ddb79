// SPDX-License-Identifier: Apache-2.0
// One step of a CloneSet, as its files see it. Lives for one step: cloneset_run.c fills it, decides
// and carries out, cloneset_make.c makes Clones of it. Belongs to the thread of the step.
#pragma once

#include "controller/keeping.h"
#include "crds/cloneset.h"
#include "reconcile/cloneset.h"

struct setting {
  struct keeping k;
  const struct cloneset_spec *spec;
  struct cloneset_status *st;
  char revision[11]; // of base and template
  struct object **clones;
  struct set_clone *facts; // of each
  size_t count;
  struct set_plan plan;
  bool base_ready;
  int64_t base_bytes;
  char *why; // NULL = it can be cloned from
  struct err
      no_other; // why no clone could be made now in place of one that goes; ERR_NONE: it could
};

// cloneset_make.c
const struct object_owner *cloneset_controller_of(const struct object *o); // NULL = nobody
int cloneset_add_owner(const struct setting *s, struct object *o, struct err *err);
// Makes the Clone of that ordinal; it is there already, and of this set: 0. old: of the former
// revision.
int cloneset_create(struct setting *s, int64_t ordinal, bool old, struct err *err);
// Whether a Clone of that ordinal and the newest revision could be made now: asks the platform, as
// the Clone itself would before it is made. Changes nothing. Errors say what stands against it.
int cloneset_could_create(struct setting *s, int64_t ordinal, struct err *err);
