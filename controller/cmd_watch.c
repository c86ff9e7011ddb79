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

#define LOOK_MS 250

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
    STATE_OPTION(arguments),
    NAMESPACE_OPTION(arguments),
};

static const struct options options = {
    .name = "watch",
    .usage = "[NAME...] [options]",
    .summary = "Shows the progress of migrations, all of the state file or those named, until\n"
               "they have ended. Another process (drover run) does the work.",
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

static int name_all(struct following *r, const struct arguments *a, struct err *err)
{
  struct object_key *keys CLEANUP(cleanup_free_) = NULL;
  size_t count = 0;
  if (r->store->ops->list(r->store, OBJECT_VM_MIGRATION, a->common.ns, &keys, &count, err) != 0)
    return -1;
  for (size_t i = 0; i < count; i++)
    if (following_add(r, &keys[i], err) != 0)
      return -1;
  return count ? 0 : err_set(err, ERR_NOT_FOUND, "there are no migrations");
}

static void look(struct following *r)
{
  struct winsize size;
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col)
    progress_view_size(r->view, size.ws_col, size.ws_row);
  const struct followed *items = r->items.items;
  for (size_t i = 0; i < r->items.count; i++)
    if (!items[i].gone)
      following_changed(r, &items[i].key);
  following_look(r, clock_ms(), clock_wall_ms());
  progress_view_draw(r->view, clock_ms());
}

static void tell_who_works(struct following *r, const char *path)
{
  if (!following_is_over(r) && store_sqlite_runner(path) == 0)
    progress_view_say(r->view, clock_wall_ms(),
                      "no process works on this state; 'drover run' goes on with it");
}

static int watch(const struct arguments *a, const struct option_values *operands)
{
  struct err err = ERR_INIT;
  struct object_store *store CLEANUP(store_free_p) = NULL;
  struct following r CLEANUP(following_release) = {0};
  cleanup_free char *path = state_path(&a->common, &err);
  if (!path || store_sqlite_open(path, STORE_READ, &store, &err) != 0)
    return command_failed("watch", &err);
  r.store = store;
  bool bars = isatty(STDOUT_FILENO);
  r.view = progress_view_new(stdout, a->output ? PROGRESS_JSON
                                     : bars    ? PROGRESS_BARS
                                               : PROGRESS_LINES);
  int rc = operands->count ? name_operands(&r, a, operands, &err) : name_all(&r, a, &err);
  if (!r.view || rc != 0) {
    int status = command_failed("watch", &err);
    return err.kind == ERR_NOT_FOUND ? EXIT_NOT_SO : status;
  }
  look(&r);
  tell_who_works(&r, path);
  while (!following_is_over(&r)) {
    struct timespec pause = {.tv_nsec = LOOK_MS * 1000000};
    nanosleep(&pause, NULL);
    look(&r);
  }
  progress_view_clear(r.view);
  return following_summary(&r, clock_wall_ms());
}

int cmd_watch(int argc, char **argv)
{
  struct arguments a = {0};
  struct option_values operands = {0};
  struct err err = ERR_INIT;
  int rc = options_parse(&options, argc, argv, &a, &operands, &err);
  int status = rc < 0 ? command_failed("watch", &err) : EXIT_DONE;
  if (rc == OPTIONS_PARSED)
    status = watch(&a, &operands);
  option_values_release(&operands);
  return status;
}
