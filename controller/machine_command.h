// SPDX-License-Identifier: Apache-2.0
// What the commands on a single machine share: from the name of a Clone, in the state of `drover
// run` or in a cluster, to its provider, connected by this process itself, from this host: with the
// Provider and its Secrets as the user may read them. A machine that a cluster's Clone leads to
// must bear that Clone's mark: what a local socket means depends on the host.
#pragma once

#include "controller/access.h"
#include "controller/state_command.h"
#include "providers/clone.h"

struct machine {
  struct object_store *store;
  struct loop *loop;
  struct manager *m;
  struct object *clone;
  struct provider_access access;
  char *id; // on the platform
};

// name: of a Clone, also as "dclone/NAME". ERR_NOT_FOUND, ERR_BUSY: it has no machine yet.
int machine_open(struct machine *ret, const struct state_arguments *a, const char *name,
                 struct err *err);
// Only the provider of that name.
int machine_open_provider(struct machine *ret, const struct state_arguments *a, const char *name,
                          struct err *err);
void machine_close(struct machine *m); // also of one whose open failed
// Exit status for an error: EXIT_NOT_SO when what was named is not there.
int machine_failed(const char *command, const struct err *err);
