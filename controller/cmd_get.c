// SPDX-License-Identifier: Apache-2.0
// drover get, drover describe: what is in a state file or a cluster.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "controller/print_object.h"
#include "controller/state_command.h"
#include "kube/object.h"

DEFINE_CLEANUP(object_free, struct object *)
DEFINE_CLEANUP(store_free, struct object_store *)

struct arguments {
  struct state_arguments common;
  bool all_namespaces;
  int output;
};

static const char *const outputs[] = {"table", "wide", "json", "yaml", NULL};

static const struct option get_rows[] = {
    {"output", 'o', OPTION_CHOICE, offsetof(struct arguments, output), .argument = "FORMAT",
     .help = "table, wide, json or yaml", .choices = outputs},
    WHERE_OPTIONS(arguments),
    {"all-namespaces", 'A', OPTION_FLAG, offsetof(struct arguments, all_namespaces),
     .help = "of all namespaces"},
};

static const struct options get_options = {
    .name = "get",
    .usage = "KIND [NAME...] [options]",
    .summary =
        "Lists objects of a state file or a cluster: providers (dprov), imagestores (istore),\n"
        "vmmigrations (vmm), clonebases (cbase), clones (dclone), clonesets (cset).",
    OPTIONS_ROWS(get_rows),
    .operands_min = 1,
    .operands_max = 1000,
    .details = "Exit status: 0 found, 1 not found, 2 wrong use, 3 failed.\n",
    .examples = "  drover get vmm\n"
                "  drover get provider paris -o yaml\n"};

static const struct option describe_rows[] = {WHERE_OPTIONS(arguments)};

static const struct options describe_options = {
    .name = "describe",
    .usage = "KIND NAME... [options]",
    .summary = "Says all that is known about objects: conditions, disks, checks, what was made,\n"
               "what would be taken back, events.",
    OPTIONS_ROWS(describe_rows),
    .operands_min = 1,
    .operands_max = 1000,
    .examples = "  drover describe vmm web-to-paris\n"};

static int not_found(const char *command, const struct err *err)
{
  command_failed(command, err);
  return err->kind == ERR_NOT_FOUND ? EXIT_NOT_SO
         : err->kind == ERR_INVALID ? EXIT_WRONG_USE
                                    : EXIT_FAILED;
}

static int add(void *arg, const struct object *o, struct err *err)
{
  struct json_object *array = arg;
  struct json_object *json = object_encode(o);
  if (!json || json_object_array_add(array, json) != 0)
    return err_set(err, ERR_NO_MEMORY, "no memory to print");
  return 0;
}

static int add_object(struct object_store *s, const struct object_key *key,
                      struct json_object *array, struct err *err)
{
  struct object *o CLEANUP(object_free_p) = NULL;
  return s->ops->get(s, key, &o, err) == 0 ? add(array, o, err) : -1;
}

static int print(enum object_kind kind, struct json_object *array, const struct arguments *a,
                 bool list)
{
  struct err err = ERR_INIT;
  struct print_options o = {.format = a->output,
                            .namespaces = a->all_namespaces,
                            .list = list,
                            .now_wall_ms = clock_wall_ms()};
  if (print_objects(kind, array, &o, stdout, &err) != 0)
    return command_failed("get", &err);
  return EXIT_DONE;
}

static int get_all(struct object_store *s, const struct arguments *a, const char *word)
{
  struct err err = ERR_INIT;
  enum object_kind kind;
  struct json_object *array cleanup_object = json_object_new_array();
  const char *ns = a->all_namespaces ? NULL : state_namespace(&a->common);
  if (kind_of_word(word, &kind, &err) != 0 || store_each(s, kind, ns, add, array, &err) != 0)
    return not_found("get", &err);
  bool text = a->output == PRINT_TABLE || a->output == PRINT_WIDE;
  if (!text || json_object_array_length(array) > 0)
    return print(kind, array, a, true);
  fprintf(stderr, "There are no %s%s%s.\n", object_kind_info(kind)->plural,
          ns ? " in namespace " : "", ns ? ns : "");
  return EXIT_DONE;
}

static int get_named(struct object_store *s, const struct arguments *a,
                     const struct option_values *operands)
{
  struct err err = ERR_INIT;
  struct named *all CLEANUP(cleanup_free_) = NULL;
  size_t count = 0;
  struct json_object *array cleanup_object = json_object_new_array();
  if (named_objects(operands, true, state_namespace(&a->common), &all, &count, &err) != 0)
    return not_found("get", &err);
  for (size_t i = 0; i < count; i++) {
    if (all[i].map_kind || all[i].key.kind != all[0].key.kind) {
      err_set(&err, ERR_INVALID,
              all[i].map_kind ? "what Secrets and ConfigMaps hold is not shown"
                              : "one kind at a time");
      return not_found("get", &err);
    }
    if (add_object(s, &all[i].key, array, &err) != 0)
      return not_found("get", &err);
  }
  return print(all[0].key.kind, array, a, false);
}

static int get(const struct arguments *a, const struct option_values *operands)
{
  struct err err = ERR_INIT;
  struct object_store *s CLEANUP(store_free_p) = NULL;
  if (state_open(&a->common, STORE_READ, &s, &err) != 0)
    return not_found("get", &err);
  bool all = operands->count == 1 && !strchr(operands->items[0], '/');
  return all ? get_all(s, a, operands->items[0]) : get_named(s, a, operands);
}

// ---- describe -------------------------------------------------------------------------------

static void add_event(void *arg, const struct store_event *event)
{
  struct json_object *array = arg;
  struct json_object *json = json_object_new_object();
  char time[32];
  object_set_string(json, "type", event->type);
  object_set_string(json, "reason", event->reason);
  object_set_string(json, "message", event->message);
  object_set_string(json, "last", clock_rfc3339(event->last_wall_ms, time));
  json_object_object_add(json, "count", json_object_new_int64(event->count));
  json_object_array_add(array, json);
}

static int describe_one(struct object_store *s, const struct named *n, struct err *err)
{
  struct json_object *array cleanup_object = json_object_new_array();
  struct json_object *events cleanup_object = json_object_new_array();
  struct object *o CLEANUP(object_free_p) = NULL;
  struct err why = ERR_INIT;
  if (n->map_kind)
    return err_set(err, ERR_INVALID, "what Secrets and ConfigMaps hold is not shown");
  if (s->ops->get(s, &n->key, &o, err) != 0 || add(array, o, err) != 0)
    return -1;
  // Somebody who may read the object but not events still gets what there is.
  if (s->ops->events(s, o, add_event, events, &why) != 0)
    command_failed("describe", &why);
  return print_description(json_object_array_get_idx(array, 0), events, clock_wall_ms(), stdout,
                           err);
}

static int describe(const struct arguments *a, const struct option_values *operands)
{
  struct err err = ERR_INIT;
  struct object_store *s CLEANUP(store_free_p) = NULL;
  struct named *all CLEANUP(cleanup_free_) = NULL;
  size_t count = 0;
  if (named_objects(operands, true, state_namespace(&a->common), &all, &count, &err) != 0 ||
      state_open(&a->common, STORE_READ, &s, &err) != 0)
    return not_found("describe", &err);
  for (size_t i = 0; i < count; i++) {
    if (i)
      puts("\n");
    if (describe_one(s, &all[i], &err) != 0)
      return not_found("describe", &err);
  }
  return EXIT_DONE;
}

// ---- the commands ---------------------------------------------------------------------------

static int parse_and(const struct options *o, int argc, char **argv,
                     int (*then)(const struct arguments *a, const struct option_values *operands))
{
  struct arguments a = {0};
  struct option_values operands = {0};
  struct err err = ERR_INIT;
  int rc = state_parse(o, argc, argv, &a, &a.common, &operands, &err);
  int status = rc < 0 ? command_failed(o->name, &err) : EXIT_DONE;
  if (rc == OPTIONS_PARSED)
    status = then(&a, &operands);
  state_release(&a.common);
  option_values_release(&operands);
  return status;
}

int cmd_get(int argc, char **argv)
{
  return parse_and(&get_options, argc, argv, get);
}

int cmd_describe(int argc, char **argv)
{
  return parse_and(&describe_options, argc, argv, describe);
}
