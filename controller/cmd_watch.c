// SPDX-License-Identifier: Apache-2.0
// drover watch: the progress of migrations that another process works on.
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "controller/following.h"
#include "controller/progress_view.h"
#include "controller/state_command.h"

#define LOOK_MS         250
#define LOOK_CLUSTER_MS 1000 // each look asks once for each migration that has not ended

DEFINE_CLEANUP(object_free, struct object *)
DEFINE_CLEANUP(store_free, struct object_store *)

struct arguments {
  struct state_arguments common;
  int output;
};

static const char *const outputs[] = {"table", "json", NULL};

static const struct option rows[] = {
    {"output", 'o', OPTION_CHOICE, offsetof(struct arguments, output), .argument = "FORMAT",
     .help = "table (for people) or json (one object a line)", .choices = outputs},
    WHERE_OPTIONS(arguments),
};

static const struct options options = {
    .name = "watch",
    .usage = "[NAME...] [options]",
    .summary =
        "Shows the progress of migrations, all of the state file or namespace or those named,\n"
        "until they have ended. Another process (drover run, the operator) does the work.",
    OPTIONS_ROWS(rows),
    .operands_max = 1000,
    .details = "Exit status: 0 all succeeded, 1 there is nothing to watch, 3 something failed.\n",
    .examples = "  drover watch\n"
                "  drover watch web-to-paris\n"};

static int name_operands(struct following *r, const struct arguments *a,
                         const struct option_values *operands, struct err *err)
{
  struct named *all CLEANUP(cleanup_free_) = NULL;
  size_t count = 0;
  if (named_objects(operands, false, state_namespace(&a->common), &all, &count, err) != 0)
    return -1;
  for (size_t i = 0; i < count; i++) {
    struct object *o CLEANUP(object_free_p) = NULL;
    if (all[i].map_kind || all[i].key.kind != OBJECT_VM_MIGRATION)
      return err_set(err, ERR_INVALID, "'%s' is no migration", all[i].key.name);
    if (r->store->ops->get(r->store, &all[i].key, &o, err) != 0 ||
        following_add(r, &all[i].key, err) != 0)
      return -1;
  }
  return 0;
}

// Without a namespace: all of a state file, those of the context's namespace of a cluster.
static int name_all(struct following *r, const struct arguments *a, struct err *err)
{
  struct object_key *keys CLEANUP(cleanup_free_) = NULL;
  size_t count = 0;
  const char *ns = a->common.cluster ? state_namespace(&a->common) : a->common.ns;
  if (r->store->ops->list(r->store, OBJECT_VM_MIGRATION, ns, &keys, &count, err) != 0)
    return -1;
  for (size_t i = 0; i < count; i++)
    if (following_add(r, &keys[i], err) != 0)
      return -1;
  return count ? 0 : err_set(err, ERR_NOT_FOUND, "there are no migrations");
}

static void look(struct following *r, bool cluster)
{
  struct winsize size;
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col)
    progress_view_size(r->view, size.ws_col, size.ws_row);
  const struct followed *items = r->items.items;
  for (size_t i = 0; i < r->items.count; i++)
    if (!items[i].gone && !(cluster && items[i].ended))
      following_changed(r, &items[i].key);
  following_look(r, clock_ms(), clock_wall_ms());
  progress_view_draw(r->view, clock_ms());
}

static void tell_who_works(struct following *r, const struct state_arguments *a)
{
  cleanup_free char *path = a->cluster ? NULL : state_path(a, NULL);
  if (path && !following_is_over(r) && store_sqlite_runner(path) == 0)
    progress_view_say(r->view, clock_wall_ms(),
                      "no process works on this state; 'drover run' goes on with it");
}

static void look_to_the_end(struct following *r, const struct state_arguments *a)
{
  int64_t pause_ms = a->cluster ? LOOK_CLUSTER_MS : LOOK_MS;
  struct timespec pause = {.tv_sec = pause_ms / 1000, .tv_nsec = pause_ms % 1000 * 1000000};
  look(r, a->cluster);
  tell_who_works(r, a);
  while (!following_is_over(r)) {
    nanosleep(&pause, NULL);
    look(r, a->cluster);
  }
}

static int watch(const struct arguments *a, const struct option_values *operands)
{
  struct err err = ERR_INIT;
  struct object_store *store CLEANUP(store_free_p) = NULL;
  struct following r CLEANUP(following_release) = {0};
  if (state_open(&a->common, STORE_READ, &store, &err) != 0)
    return command_failed("watch", &err);
  r.store = store;
  r.far = a->common.cluster;
  bool bars = isatty(STDOUT_FILENO);
  r.view = progress_view_new(stdout, a->output ? PROGRESS_JSON
                                     : bars    ? PROGRESS_BARS
                                               : PROGRESS_LINES);
  int rc = operands->count ? name_operands(&r, a, operands, &err) : name_all(&r, a, &err);
  if (!r.view || rc != 0) {
    int status = command_failed("watch", &err);
    return err.kind == ERR_NOT_FOUND ? EXIT_NOT_SO : status;
  }
  look_to_the_end(&r, &a->common);
  progress_view_clear(r.view);
  return following_summary(&r, clock_wall_ms());
}

int cmd_watch(int argc, char **argv)
{
  struct arguments a = {0};
  struct option_values operands = {0};
  struct err err = ERR_INIT;
  int rc = state_parse(&options, argc, argv, &a, &a.common, &operands, &err);
  int status = rc < 0 ? command_failed("watch", &err) : EXIT_DONE;
  if (rc == OPTIONS_PARSED)
    status = watch(&a, &operands);
  state_release(&a.common);
  option_values_release(&operands);
  return status;
}
