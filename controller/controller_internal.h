// SPDX-License-Identifier: Apache-2.0
// What the files of the operator share. One struct manager for the process; one runner per kind,
// each a function that makes one step for one object and says when to look again (milliseconds, -1
// = when something changes).
#pragma once

#include <pthread.h>

#include "controller/manager.h"
#include "controller/movers.h"
#include "controller/queue.h"
#include "providers/provider.h"

struct provider_cache; // access.c
struct probe_note;     // manager.c
struct making;         // making.c

struct manager {
  struct object_store *store;
  struct loop *loop;
  struct queue *queue;
  struct movers *movers;
  struct provider_cache *providers;
  char installation[64];
  char *program;
  char *checkpoints;          // folder, NULL = none
  bool any_local;             // `drover run`: every local path may be named
  bool far_objects;           // as in struct manager_options
  struct strings allow_local; // else these
  struct strings allowed_cidrs;
  struct address_filter *allowed; // NULL = any
  size_t workers;
  int64_t started_ms; // wall clock
  void (*on_change)(void *arg, const struct object_key *key);
  void *on_change_arg;
  _Atomic uint64_t steps;
  pthread_mutex_t mutex; // guards what follows
  struct probe_note *probes;
  struct making *making; // clones that are being made
};

// provider_run.c, imagestore_run.c, migration_run.c
int64_t provider_step(struct manager *m, const struct object_key *key);
int64_t imagestore_step(struct manager *m, const struct object_key *key);
// Every ImageStore that is to be probed was probed by this process: what a probe that was killed
// left in one is gone then.
bool imagestores_probed(struct manager *m);
int64_t migration_step(struct manager *m, const struct object_key *key);
// clonebase_run.c, clone_run.c, cloneset_run.c
int64_t clonebase_step(struct manager *m, const struct object_key *key);
int64_t clone_step(struct manager *m, const struct object_key *key);
int64_t cloneset_step(struct manager *m, const struct object_key *key);

// How many need this Provider or ImageStore: unfinished migrations, bases, clones; -1 = the store
// fails. *ret_first (NULL allowed) names one of them, "KIND NS/NAME", and is yours.
int64_t dependents_of(struct manager *m, const struct object *o, char **ret_first, struct err *err);

// manager.c
// When a lasting object was probed, and how long that holds; a new generation is probed at once.
void manager_note_probe(struct manager *m, const struct object *o, int64_t next_ms);
bool manager_probed_lately(struct manager *m, const struct object *o, int64_t *ret_wait_ms);
bool manager_has_probed(struct manager *m, const struct object *o);
// A fact when it holds, else none.
static inline uint64_t bit(bool on, uint64_t fact)
{
  return on ? fact : 0;
}
// Our finalizer on or off.
int set_cleanup_finalizer(struct manager *m, struct object *o, bool present, struct err *err);
