// SPDX-License-Identifier: Apache-2.0
// Waiting for something to come true in a state file or a cluster, and working on the file where
// nobody else does.
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "controller/drive.h"
#include "controller/queue.h"
#include "controller/state_command.h"
#include "controller/text_table.h"

#define POLL_MS         200
#define POLL_CLUSTER_MS 500
#define LONG_MS         15000 // of a cluster: who does the work is said then

DEFINE_CLEANUP(object_free, struct object *)
DEFINE_CLEANUP(store_free, struct object_store *)

struct waiting {
  const struct await *a;
  const char *command;
  struct object_store *store;
  char *told;     // the last sentence
  size_t holding; // so many of the first ones hold
  struct err err; // why the last look saw nothing; ERR_NONE
};

// What holds it up, if the controller has said so.
static const char *trouble_of(const struct object *o)
{
  const struct list *list = object_conditions(o);
  const struct condition *all = list->items;
  for (size_t i = 0; i < list->count; i++)
    if (str_eq(all[i].reason, "CleanupBlocked") || str_eq(all[i].reason, "InUse") ||
        (str_eq(all[i].type, "CleanupBlocked") && all[i].status == CONDITION_TRUE))
      return all[i].message;
  return NULL;
}

static void tell_trouble(struct waiting *w, const struct object *o)
{
  const char *trouble = trouble_of(o);
  if (!trouble || str_eq(trouble, w->told))
    return;
  free(w->told);
  w->told = str_dup(trouble);
  struct object_key key = object_key_of(o);
  char b[400];
  cleanup_free char *clean = text_harmless(trouble);
  fprintf(stderr, "drover %s: %s waits: %s\n", w->command, named_text(&key, b), clean);
}

// From number `from` on.
static bool rest_holds(struct waiting *w, size_t from)
{
  w->err = (struct err)ERR_INIT;
  for (w->holding = from; w->holding < w->a->count; w->holding++) {
    const struct object_key *key = &w->a->keys[w->holding];
    struct object *o CLEANUP(object_free_p) = NULL;
    struct err err = ERR_INIT;
    if (w->store->ops->get(w->store, key, &o, &err) != 0 && err.kind != ERR_NOT_FOUND) {
      w->err = err;
      return false; // the next look may see more
    }
    bool other = o && w->a->uids && !str_eq(o->meta.uid, w->a->uids->items[w->holding]);
    if (w->a->holds(other ? NULL : o))
      continue;
    if (o)
      tell_trouble(w, o);
    return false;
  }
  return true;
}

static bool all_hold(struct waiting *w)
{
  return rest_holds(w, 0);
}

static bool on_changed(void *arg, const struct object_key *key)
{
  const struct waiting *w = arg;
  for (size_t i = 0; i < w->a->count; i++)
    if (object_key_eq(&w->a->keys[i], key))
      return true;
  return false;
}

static bool on_tick(void *arg)
{
  return all_hold(arg);
}

static int work(struct waiting *w)
{
  struct err err = ERR_INIT;
  cleanup_free char *state = state_path(w->a->arguments, &err);
  if (!state)
    return command_failed(w->command, &err);
  struct drive d = {
      .store = w->store, .state = state, .changed = on_changed, .tick = on_tick, .arg = w};
  if (store_sqlite_only(w->store, w->a->keys, w->a->count, &err) != 0)
    return command_failed(w->command, &err);
  switch (drive(&d, &err)) {
  case DRIVE_DONE:
    return EXIT_DONE;
  case DRIVE_INTERRUPTED:
    fprintf(stderr, "drover %s: interrupted; the same command goes on\n", w->command);
    return EXIT_INTERRUPTED;
  case DRIVE_FAILED:
    break;
  }
  return command_failed(w->command, &err);
}

// Looks on while another process works. False: that process has ended, and it does not hold yet.
static bool look_on(struct waiting *w, const char *path)
{
  while (!all_hold(w)) {
    if (store_sqlite_runner(path) == 0)
      return all_hold(w);
    struct timespec pause = {.tv_nsec = POLL_MS * 1000000};
    nanosleep(&pause, NULL);
  }
  return true;
}

// ---- in a cluster -----------------------------------------------------------------------------

static void tell_once(struct waiting *w, const char *sentence)
{
  if (str_eq(sentence, w->told))
    return;
  str_set(&w->told, sentence);
  fprintf(stderr, "drover %s: %s\n", w->command, sentence);
}

// False: waiting longer will not help.
static bool may_wait(struct waiting *w, int64_t since_ms)
{
  if (w->err.kind == ERR_DENIED || w->err.kind == ERR_AUTH || w->err.kind == ERR_TLS)
    return false;
  if (w->err.kind != ERR_NONE)
    tell_once(w, w->err.message);
  else if (!w->told && clock_ms() - since_ms > LONG_MS)
    tell_once(w, "waits for the operator; does 'drover controller' run on that cluster?");
  return true;
}

// What held once is not asked for again: each look costs a call for each object that it looks at.
static int await_cluster(const struct await *a, const char *command)
{
  struct object_store *store CLEANUP(store_free_p) = NULL;
  struct waiting w = {.a = a, .command = command};
  const struct timespec pause = {.tv_nsec = POLL_CLUSTER_MS * 1000000};
  int64_t since_ms = clock_ms();
  struct err err = ERR_INIT;
  if (state_open(a->arguments, STORE_READ, &store, &err) != 0)
    return command_failed(command, &err);
  w.store = store;
  bool go_on = true;
  while (!rest_holds(&w, w.holding) && (go_on = may_wait(&w, since_ms)))
    nanosleep(&pause, NULL);
  free(w.told);
  return go_on ? EXIT_DONE : command_failed(command, &w.err);
}

int await(const struct await *a, const char *command)
{
  struct err err = ERR_INIT;
  if (a->arguments->cluster)
    return await_cluster(a, command);
  char *told CLEANUP(cleanup_free_) = NULL;
  cleanup_free char *path = state_path(a->arguments, &err);
  while (path) {
    struct object_store *store CLEANUP(store_free_p) = NULL;
    struct waiting w = {.a = a, .command = command, .told = told};
    int rc = store_sqlite_open(path, STORE_RUN, &store, &err);
    bool busy = rc != 0 && err.kind == ERR_BUSY;
    if (busy)
      rc = store_sqlite_open(path, STORE_READ, &store, &err);
    if (rc != 0)
      break;
    w.store = store;
    int status = busy ? EXIT_DONE : work(&w);
    bool over = !busy || look_on(&w, path);
    told = w.told;
    if (over)
      return status;
  }
  return command_failed(command, &err);
}
