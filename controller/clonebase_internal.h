// SPDX-License-Identifier: Apache-2.0
// One step of a CloneBase, as its files see it. Lives for one step.
#pragma once

#include "controller/keeping.h"
#include "crds/clonebase.h"
#include "providers/clone.h"
#include "reconcile/base.h"

struct basing {
  struct keeping k;
  const struct clonebase_spec *spec;
  struct clonebase_status *st;
  bool copies_itself; // the platform copies machines: no VMMigration needed
  char *machine;      // what the VMMigration made
  char *percent;      // of it
  struct err unreachable;
};

// clonebase_run.c
int basing_provider(struct basing *b, struct provider **ret, struct err *err);

// clonebase_disks.c: the VMMigration that brings disks.
bool basing_needs_disks(const struct basing *b);
uint64_t basing_look_at_migration(struct basing *b); // facts of reconcile/base.h
int basing_ask_disks(struct basing *b, struct err *err);
// Removes it, and what it made when that was never registered.
int basing_forget_migration(struct basing *b, struct err *err);
