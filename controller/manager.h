// SPDX-License-Identifier: Apache-2.0
// The operator: one object store, one queue, one runner per kind, the movers. `drover controller`
// and `drover run` differ only in the object store and in when they end.
#pragma once

#include "base/loop.h"
#include "controller/object_store.h"
#include "net/address.h"

struct manager_options {
  const char *program;               // path of drover itself, for movers
  const char *checkpoints;           // folder in which movers note what they have finished, or NULL
  const struct strings *allow_local; // folders and sockets that manifests may name; NULL = any
  const struct strings *allowed_endpoints; // CIDRs; empty = any
  size_t workers;                          // 0 = 8
  bool far_objects; // they were written for another host: a local path that is not here is theirs
};

struct manager;

// store and loop outlive the manager.
struct manager *manager_new(struct object_store *store, struct loop *loop,
                            const struct manager_options *options, struct err *err);
// Begins watching; steps run from then on. On the loop's thread.
int manager_start(struct manager *m, struct err *err);
// Called on the loop whenever an object or a mover changed: `drover run` prints from here.
void manager_on_change(struct manager *m, void (*fn)(void *arg, const struct object_key *key),
                       void *arg);
// Ends movers and steps. On the loop's thread, after loop_run() returned (or never ran). NULL
// allowed.
void manager_free(struct manager *m);
