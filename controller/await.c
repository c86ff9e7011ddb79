// SPDX-License-Identifier: Apache-2.0
// Waiting for something to come true in a state file, and working on it where nobody else does.
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "controller/drive.h"
#include "controller/state_command.h"
#include "controller/text_table.h"

#define POLL_MS 200

DEFINE_CLEANUP(object_free, struct object *)
DEFINE_CLEANUP(store_free, struct object_store *)

struct waiting {
  const struct await *a;
  const char *command;
  struct object_store *store;
  char *told; // the last sentence
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

static bool all_hold(struct waiting *w)
{
  for (size_t i = 0; i < w->a->count; i++) {
    struct object *o CLEANUP(object_free_p) = NULL;
    struct err err = ERR_INIT;
    if (w->store->ops->get(w->store, &w->a->keys[i], &o, &err) != 0 && err.kind != ERR_NOT_FOUND)
      return false; // the next look may see more
    if (w->a->holds(o))
      continue;
    if (o)
      tell_trouble(w, o);
    return false;
  }
  return true;
}

static void on_changed(void *arg, const struct object_key *key)
{
  (void)arg;
  (void)key;
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

int await(const struct await *a, const char *command)
{
  struct err err = ERR_INIT;
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
