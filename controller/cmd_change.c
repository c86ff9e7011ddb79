// SPDX-License-Identifier: Apache-2.0
// drover cancel, retry, suspend: wishes written into the spec of objects of a state file or a
// cluster. Whoever runs the file, or the operator, carries them out.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/str.h"
#include "controller/following.h"
#include "controller/progress_view.h"
#include "controller/state_command.h"
#include "crds/vmmigration.h"
#include "kube/object.h"

DEFINE_CLEANUP(object_free, struct object *)
DEFINE_CLEANUP(store_free, struct object_store *)

struct arguments {
  struct state_arguments common;
  bool wait, off;
};

struct change {
  const struct options *options;
  // Writes the wish for one object; prints what was done. ERR_NOT_FOUND, ERR_CONFLICT: "not so".
  int (*ask)(struct object_store *s, const struct object_key *key, const struct arguments *a,
             struct err *err);
  bool only_migrations;
  bool (*holds)(const struct object *o); // waited for with --wait; NULL: nothing
};

static int set_flag(struct object_store *s, const struct object_key *key, const char *field,
                    bool value, struct err *err)
{
  struct json_object *patch cleanup_object = json_object_new_object();
  struct json_object *spec = json_object_new_object();
  json_object_object_add(spec, field, json_object_new_boolean(value));
  json_object_object_add(patch, "spec", spec);
  return s->ops->patch(s, key, patch, err);
}

static int get_phase(struct object_store *s, const struct object_key *key, char ret[64],
                     struct err *err)
{
  struct object *o CLEANUP(object_free_p) = NULL;
  if (s->ops->get(s, key, &o, err) != 0)
    return -1;
  const struct vmmigration_status *st = o->status;
  snprintf(ret, 64, "%s", str_empty(st->phase) ? "Pending" : st->phase);
  return 0;
}

// ---- cancel ---------------------------------------------------------------------------------

static int ask_cancel(struct object_store *s, const struct object_key *key,
                      const struct arguments *a, struct err *err)
{
  (void)a;
  char b[400];
  char phase[64];
  if (get_phase(s, key, phase, err) != 0)
    return -1;
  if (str_eq(phase, "Succeeded") || str_eq(phase, "Failed"))
    return err_set(err, ERR_CONFLICT, "%s has ended already: %s", named_text(key, b), phase);
  if (set_flag(s, key, "cancel", true, err) != 0)
    return -1;
  printf("%s: cancel asked for\n", named_text(key, b));
  return 0;
}

static bool has_ended(const struct object *o)
{
  return !o || object_has_ended(o);
}

static const struct option cancel_rows[] = {
    WHERE_OPTIONS(arguments),
    {"wait", 0, OPTION_FLAG, offsetof(struct arguments, wait),
     .help = "wait until it has stopped and cleaned up (the default; --wait=false does not)"},
};

static const struct options cancel_options = {
    .name = "cancel",
    .usage = "NAME... [options]",
    .summary = "Cancels migrations: transfers stop, and what they made is taken back. Final.\n"
               "Where no 'drover run' works on a state file, this command does the cleaning up.",
    OPTIONS_ROWS(cancel_rows),
    .operands_min = 1,
    .operands_max = 1000,
    .details = "Exit status: 0 cancelled, 1 there is no such migration or it had ended before.\n",
    .examples = "  drover cancel web-to-paris\n"};

// ---- retry ----------------------------------------------------------------------------------

static int ask_retry(struct object_store *s, const struct object_key *key,
                     const struct arguments *a, struct err *err)
{
  (void)a;
  char b[400];
  char phase[64];
  if (get_phase(s, key, phase, err) != 0)
    return -1;
  if (!str_eq(phase, "Failed"))
    return err_set(err, ERR_CONFLICT, "%s has not failed: %s", named_text(key, b), phase);
  if (ask_for_retry(s, key, err) != 0)
    return -1;
  printf("%s: another try asked for\n", named_text(key, b));
  return 0;
}

static const struct option state_rows[] = {WHERE_OPTIONS(arguments)};

static const struct options retry_options = {
    .name = "retry",
    .usage = "NAME... [options]",
    .summary =
        "Asks failed migrations for another try; finished disks are not moved again. The\n"
        "operator, or the 'drover run' that works on the state, begins at once, or else the\n"
        "next one.",
    OPTIONS_ROWS(state_rows),
    .operands_min = 1,
    .operands_max = 1000,
    .details = "Exit status: 0 asked for, 1 there is no such migration or it has not failed.\n",
    .examples = "  drover retry web-to-paris\n"};

// ---- suspend --------------------------------------------------------------------------------

static int ask_suspend(struct object_store *s, const struct object_key *key,
                       const struct arguments *a, struct err *err)
{
  char b[400];
  if (set_flag(s, key, "suspend", !a->off, err) != 0)
    return -1;
  printf("%s: %s\n", named_text(key, b), a->off ? "goes on" : "suspended");
  return 0;
}

static const struct option suspend_rows[] = {
    WHERE_OPTIONS(arguments),
    {"off", 0, OPTION_FLAG, offsetof(struct arguments, off), .help = "let it go on"},
};

static const struct options suspend_options = {
    .name = "suspend",
    .usage = "NAME...|KIND/NAME... [--off] [options]",
    .summary = "Pauses migrations, or other objects: nothing is done for them until they are let\n"
               "go on. Transfers stop.",
    OPTIONS_ROWS(suspend_rows),
    .operands_min = 1,
    .operands_max = 1000,
    .examples = "  drover suspend web-to-paris\n"
                "  drover suspend web-to-paris --off\n"
                "  drover suspend provider/paris\n"};

// ---- all of them ------------------------------------------------------------------------------

static int check_kinds(const struct change *c, const struct named *all, size_t count,
                       struct err *err)
{
  for (size_t i = 0; i < count; i++)
    if (all[i].map_kind || (c->only_migrations && all[i].key.kind != OBJECT_VM_MIGRATION))
      return err_set(err, ERR_INVALID, "'%s': this is %s", all[i].key.name,
                     c->only_migrations ? "for migrations" : "not for Secrets and ConfigMaps");
  return 0;
}

static int failed(const struct change *c, const struct err *err)
{
  int status = command_failed(c->options->name, err);
  bool not_so = err->kind == ERR_NOT_FOUND || err->kind == ERR_CONFLICT;
  return not_so ? EXIT_NOT_SO : status;
}

static int wait_for(const struct change *c, const struct arguments *a, const struct named *all,
                    size_t count)
{
  struct object_key *keys CLEANUP(cleanup_free_) = calloc(count, sizeof(*keys));
  for (size_t i = 0; keys && i < count; i++)
    keys[i] = all[i].key;
  struct await w = {.arguments = &a->common, .keys = keys, .count = count, .holds = c->holds};
  return keys ? await(&w, c->options->name) : EXIT_FAILED;
}

static int ask_all(const struct change *c, const struct arguments *a, const struct named *all,
                   size_t count, struct err *err)
{
  struct object_store *s CLEANUP(store_free_p) = NULL;
  if (state_open(&a->common, STORE_WRITE, &s, err) != 0)
    return -1;
  for (size_t i = 0; i < count; i++)
    if (c->ask(s, &all[i].key, a, err) != 0)
      return -1;
  return 0;
}

static int change(const struct change *c, const struct arguments *a,
                  const struct option_values *operands)
{
  struct err err = ERR_INIT;
  struct named *all CLEANUP(cleanup_free_) = NULL;
  size_t count = 0;
  if (named_objects(operands, false, state_namespace(&a->common), &all, &count, &err) != 0 ||
      check_kinds(c, all, count, &err) != 0 || ask_all(c, a, all, count, &err) != 0)
    return failed(c, &err);
  fflush(stdout);
  return c->holds && a->wait ? wait_for(c, a, all, count) : EXIT_DONE;
}

static int change_command(const struct change *c, int argc, char **argv)
{
  struct arguments a = {.wait = true};
  struct option_values operands = {0};
  struct err err = ERR_INIT;
  int rc = state_parse(c->options, argc, argv, &a, &a.common, &operands, &err);
  int status = rc < 0 ? command_failed(c->options->name, &err) : EXIT_DONE;
  if (rc == OPTIONS_PARSED) {
    log_init(LOG_FORMAT_TEXT, LOG_LEVEL_OFF); // what matters is in the objects, and said from there
    status = change(c, &a, &operands);
  }
  state_release(&a.common);
  option_values_release(&operands);
  return status;
}

int cmd_cancel(int argc, char **argv)
{
  static const struct change c = {
      .options = &cancel_options, .ask = ask_cancel, .only_migrations = true, .holds = has_ended};
  return change_command(&c, argc, argv);
}

int cmd_retry(int argc, char **argv)
{
  static const struct change c = {
      .options = &retry_options, .ask = ask_retry, .only_migrations = true};
  return change_command(&c, argc, argv);
}

int cmd_suspend(int argc, char **argv)
{
  static const struct change c = {.options = &suspend_options, .ask = ask_suspend};
  return change_command(&c, argc, argv);
}
