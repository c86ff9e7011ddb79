// SPDX-License-Identifier: Apache-2.0
// One step of a Clone, as its files see it. Lives for one step.
#pragma once

#include "controller/keeping.h"
#include "crds/clone.h"
#include "providers/clone.h"
#include "reconcile/clone.h"

// What it is made of, and where.
struct origin {
  struct ref provider; // texts are owned
  char *base_name;     // of the CloneBase; NULL = made of a machine
  char *base;          // id of the base on the platform
  char *revision;
  char *source; // or of the machine
  bool ready;   // it can be cloned from now
  char why[ERR_MESSAGE_MAX];
};

struct cloning {
  struct keeping k;
  const struct clone_spec *spec; // of k.o
  struct clone_status *st;       // of k.o
  struct origin origin;
  struct clone_seen seen;
  bool fresh;             // seen is of this moment: it was made just now
  struct err unreachable; // why the platform did not tell; kind ERR_NONE: it did
};

// clone_order.c
// Finds the origin. Errors are those of the store; what is missing is told by `why`.
int cloning_resolve(struct cloning *c, struct err *err);
void origin_release(struct origin *o);
int cloning_provider(struct cloning *c, struct provider **ret, struct err *err);
// Everything that is asked for, with secrets read. Release with table_release(&clone_order_table).
int cloning_order(struct cloning *c, struct clone_order *ret, struct err *err);

// clone_facts.c
uint64_t cloning_observe(struct cloning *c);

// clone_check.c
// Asks the platform what stands against it. Findings go into its status; *err says the first error.
int cloning_check(struct cloning *c, struct err *err);
// The same of a Clone that is in no store, which is freed: whether it could be made now.
int cloning_try(struct manager *m, struct object *o, struct err *err);
