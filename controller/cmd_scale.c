// SPDX-License-Identifier: Apache-2.0
// drover start, stop, scale: wishes written into the spec of Clones and CloneSets of a state file
// or a cluster. Whoever runs the file, or the operator, carries them out; where nobody runs the
// file, the command itself, until it is so.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/str.h"
#include "controller/progress_view.h"
#include "controller/state_command.h"
#include "controller/text_table.h"
#include "crds/cloneset.h"
#include "kube/object.h"

DEFINE_CLEANUP(object_free, struct object *)
DEFINE_CLEANUP(store_free, struct object_store *)

struct arguments {
  struct state_arguments common;
  bool wait;
};

struct wish {
  const struct options *options;
  enum object_kind kind;
  const char *power; // spec.powerState of Clones; NULL: the last operand, a number of them in a set
  const char *said;  // "web-0: STARTING"
};

// What the command line asks for: objects, and how many clones.
struct asked {
  struct named *all;
  size_t count;
  int64_t replicas;
  char text[32]; // the same
};

static void asked_release(struct asked *q)
{
  free(q->all);
}

// ---- asking ---------------------------------------------------------------------------------

static int read_number(const char *text, struct asked *q, struct err *err)
{
  if (!str_int64(text, &q->replicas) || q->replicas < 0 || q->replicas > LIMIT_CLONES_OF_SET)
    return err_set(err, ERR_INVALID, "'%s' is not a number of clones, from 0 to %d", text,
                   LIMIT_CLONES_OF_SET);
  snprintf(q->text, sizeof(q->text), "%" PRId64, q->replicas);
  return 0;
}

static int read_operands(const struct wish *w, const struct arguments *a,
                         const struct option_values *operands, struct asked *q, struct err *err)
{
  struct option_values names = *operands;
  if (!w->power) {
    names.count--; // the last one is the number
    if (read_number(operands->items[names.count], q, err) != 0)
      return -1;
  }
  return named_of_kind(&names, w->kind, state_namespace(&a->common), &q->all, &q->count, err);
}

static int set_power(struct object_store *s, const struct object_key *key, const char *power,
                     struct err *err)
{
  struct json_object *patch cleanup_object = json_object_new_object();
  struct json_object *spec = json_object_new_object();
  object_set_string(spec, "powerState", power);
  json_object_object_add(patch, "spec", spec);
  return s->ops->patch(s, key, patch, err);
}

static int ask_one(struct object_store *s, const struct wish *w, const struct asked *q,
                   const struct object_key *key, struct err *err)
{
  char b[400];
  if ((w->power ? set_power(s, key, w->power, err) : s->ops->scale(s, key, q->replicas, err)) != 0)
    return -1;
  printf("%s: %s%s\n", named_text(key, b), w->said, q->text);
  return 0;
}

static int ask_all(const struct wish *w, const struct arguments *a, const struct asked *q,
                   struct err *err)
{
  struct object_store *s CLEANUP(store_free_p) = NULL;
  if (state_open(&a->common, STORE_WRITE, &s, err) != 0)
    return -1;
  for (size_t i = 0; i < q->count; i++)
    if (ask_one(s, w, q, &q->all[i].key, err) != 0)
      return -1;
  fflush(stdout);
  return 0;
}

// ---- waiting --------------------------------------------------------------------------------

static bool has_settled(const struct object *o)
{
  return !o || object_has_ended(o);
}

// It may have settled on not being able to.
static int tell_end(const char *command, struct object_store *s, const struct object_key *key)
{
  struct object *o CLEANUP(object_free_p) = NULL;
  struct err err = ERR_INIT;
  char b[400];
  if (s->ops->get(s, key, &o, &err) != 0) {
    int status = command_failed(command, &err);
    return err.kind == ERR_NOT_FOUND ? EXIT_NOT_SO : status;
  }
  if (object_has_succeeded(o))
    return EXIT_DONE;
  struct buf why CLEANUP(buf_release) = BUF_INIT(0);
  object_outcome(o, &why);
  cleanup_free char *clean = text_harmless(buf_str(&why));
  fprintf(stderr, "drover %s: %s: %s\n", command, named_text(key, b), clean);
  return EXIT_FAILED;
}

static int wait_for_all(const struct wish *w, const struct arguments *a, const struct asked *q)
{
  struct object_key *keys CLEANUP(cleanup_free_) = calloc(q->count, sizeof(*keys));
  if (!keys)
    return EXIT_FAILED;
  for (size_t i = 0; i < q->count; i++)
    keys[i] = q->all[i].key;
  struct await waiting = {
      .arguments = &a->common, .keys = keys, .count = q->count, .holds = has_settled};
  int status = await(&waiting, w->options->name);
  struct object_store *s CLEANUP(store_free_p) = NULL;
  struct err err = ERR_INIT;
  if (status != EXIT_DONE)
    return status;
  if (state_open(&a->common, STORE_READ, &s, &err) != 0)
    return command_failed(w->options->name, &err);
  for (size_t i = 0; i < q->count && status == EXIT_DONE; i++)
    status = tell_end(w->options->name, s, &keys[i]);
  return status;
}

// ---- the commands -----------------------------------------------------------------------------

#define WAIT_OPTION(text)                                                                          \
  {                                                                                                \
    "wait", 0, OPTION_FLAG, offsetof(struct arguments, wait), .help = text                         \
  }

static const struct option rows[] = {
    WHERE_OPTIONS(arguments),
    WAIT_OPTION("wait until it is so (the default; --wait=false does not)"),
};

#define STATUS_TEXT                                                                                \
  "Exit status: 0 it is so, or asked for; 1 there is no such object; 3 it cannot be.\n"

static const struct options start_options = {
    .name = "start",
    .usage = "CLONE... [options]",
    .summary = "Starts clones: sets spec.powerState to On, and waits until they are ready.",
    OPTIONS_ROWS(rows),
    .operands_min = 1,
    .operands_max = 1000,
    .details = STATUS_TEXT,
    .examples = "  drover start web-0 web-1\n"};

static const struct options stop_options = {
    .name = "stop",
    .usage = "CLONE... [options]",
    .summary = "Stops clones: sets spec.powerState to Off. The guest is asked first, and switched\n"
               "off when it does not stop in time.",
    OPTIONS_ROWS(rows),
    .operands_min = 1,
    .operands_max = 1000,
    .details = STATUS_TEXT,
    .examples = "  drover stop web-0\n"};

static const struct options scale_options = {
    .name = "scale",
    .usage = "SET NUMBER [options]",
    .summary = "Says how many clones a set shall have, and waits until there are so many.",
    OPTIONS_ROWS(rows),
    .operands_min = 2,
    .operands_max = 2,
    .details = STATUS_TEXT,
    .examples = "  drover scale web 20\n"};

static int carry_out(const struct wish *w, const struct arguments *a,
                     const struct option_values *operands)
{
  struct err err = ERR_INIT;
  struct asked q CLEANUP(asked_release) = {0};
  if (read_operands(w, a, operands, &q, &err) != 0 || ask_all(w, a, &q, &err) != 0) {
    int status = command_failed(w->options->name, &err);
    return err.kind == ERR_NOT_FOUND ? EXIT_NOT_SO : status;
  }
  return a->wait ? wait_for_all(w, a, &q) : EXIT_DONE;
}

static int wish_command(const struct wish *w, int argc, char **argv)
{
  struct arguments a = {.wait = true};
  struct option_values operands = {0};
  struct err err = ERR_INIT;
  int rc = state_parse(w->options, argc, argv, &a, &a.common, &operands, &err);
  int status = rc < 0 ? command_failed(w->options->name, &err) : EXIT_DONE;
  if (rc == OPTIONS_PARSED) {
    log_init(LOG_FORMAT_TEXT, LOG_LEVEL_OFF); // what matters is in the objects, and said from there
    status = carry_out(w, &a, &operands);
  }
  state_release(&a.common);
  option_values_release(&operands);
  return status;
}

int cmd_start(int argc, char **argv)
{
  static const struct wish w = {&start_options, OBJECT_CLONE, "On", "starting"};
  return wish_command(&w, argc, argv);
}

int cmd_stop(int argc, char **argv)
{
  static const struct wish w = {&stop_options, OBJECT_CLONE, "Off", "stopping"};
  return wish_command(&w, argc, argv);
}

int cmd_scale(int argc, char **argv)
{
  static const struct wish w = {&scale_options, OBJECT_CLONE_SET, NULL, "scaled to "};
  return wish_command(&w, argc, argv);
}
