// SPDX-License-Identifier: Apache-2.0
// drover delete: removes objects of a state file or a cluster, and waits until what they left
// half-made is gone.
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/str.h"
#include "controller/state_command.h"
#include "kube/object.h"

DEFINE_CLEANUP(object_free, struct object *)
DEFINE_CLEANUP(store_free, struct object_store *)

struct arguments {
  struct state_arguments common;
  bool wait, abandon;
};

static const struct option rows[] = {
    WHERE_OPTIONS(arguments),
    {"wait", 0, OPTION_FLAG, offsetof(struct arguments, wait),
     .help = "wait until they are gone (the default; --wait=false does not)"},
    {"abandon", 0, OPTION_FLAG, offsetof(struct arguments, abandon),
     .help = "let go of what cannot be reached any more, and report it as left behind"},
};

static const struct options options = {
    .name = "delete",
    .usage = "KIND NAME...|KIND/NAME... [options]",
    .summary = "Deletes objects of a state file or a cluster, secrets and configmaps among them.\n"
               "A migration that has not succeeded takes back what it made, on both sides; one\n"
               "that has succeeded leaves all as it is. A clone goes with its machine, and a set\n"
               "with its clones, unless spec.deletionPolicy says otherwise. Where no 'drover run'\n"
               "works on a state file, this command does the cleaning up; in a cluster the\n"
               "operator does.",
    OPTIONS_ROWS(rows),
    .operands_min = 1,
    .operands_max = 1000,
    .details = "Exit status: 0 gone, 1 there was no such object, 2 wrong use, 3 failed.\n",
    .examples = "  drover delete vmm web-to-paris\n"
                "  drover delete provider/berlin secret/berlin\n"};

static int abandon(struct object_store *s, const struct object_key *key, struct err *err)
{
  struct json_object *patch cleanup_object = json_object_new_object();
  struct json_object *meta = json_object_new_object();
  struct json_object *annotations = json_object_new_object();
  object_set_string(annotations, CRDS_ANNOTATE_ABANDON, "true");
  json_object_object_add(meta, "annotations", annotations);
  json_object_object_add(patch, "metadata", meta);
  return s->ops->patch(s, key, patch, err);
}

static int remove_object(struct object_store *s, const struct object_key *key,
                         const struct arguments *a, struct strings *uids, struct err *err)
{
  struct object *o CLEANUP(object_free_p) = NULL;
  if (s->ops->get(s, key, &o, err) != 0)
    return -1;
  if (strings_add(uids, o->meta.uid) != 0)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  if (a->abandon && abandon(s, key, err) != 0)
    return -1;
  return s->ops->remove(s, o, err);
}

static bool is_gone(const struct object *o)
{
  return !o;
}

// uids: of the objects among them, in that order. A set makes a clone anew as soon as it is gone.
static int ask(const struct arguments *a, const struct named *all, size_t count,
               struct strings *uids, struct err *err)
{
  struct object_store *s CLEANUP(store_free_p) = NULL;
  if (state_open(&a->common, STORE_WRITE, &s, err) != 0)
    return -1;
  for (size_t i = 0; i < count; i++) {
    const struct object_key *key = &all[i].key;
    int rc = all[i].map_kind ? s->ops->remove_map(s, all[i].map_kind, key->ns, key->name, err)
                             : remove_object(s, key, a, uids, err);
    if (rc != 0)
      return -1;
    if (all[i].map_kind)
      printf("%s/%s deleted\n", all[i].map_kind, key->name);
  }
  return 0;
}

static void say(const struct object_key *keys, size_t count, const char *what)
{
  char b[400];
  for (size_t i = 0; i < count; i++)
    printf("%s %s\n", named_text(&keys[i], b), what);
}

static int finish(const struct arguments *a, const struct named *all, size_t count,
                  const struct strings *uids)
{
  struct object_key *keys CLEANUP(cleanup_free_) = calloc(count, sizeof(*keys));
  size_t objects = 0;
  for (size_t i = 0; keys && i < count; i++)
    if (!all[i].map_kind)
      keys[objects++] = all[i].key;
  if (objects == 0)
    return keys ? EXIT_DONE : EXIT_FAILED;
  if (!a->wait) {
    say(keys, objects,
        a->common.cluster ? "is being deleted; the operator finishes that"
                          : "is being deleted; 'drover run' finishes that");
    return EXIT_DONE;
  }
  struct await w = {
      .arguments = &a->common, .keys = keys, .count = objects, .uids = uids, .holds = is_gone};
  int status = await(&w, "delete");
  if (status == EXIT_DONE)
    say(keys, objects, "deleted");
  return status;
}

static int delete_named(const struct arguments *a, const struct option_values *operands)
{
  struct err err = ERR_INIT;
  struct named *all CLEANUP(cleanup_free_) = NULL;
  struct strings uids CLEANUP(strings_release) = {0};
  size_t count = 0;
  if (named_objects(operands, true, state_namespace(&a->common), &all, &count, &err) == 0 &&
      ask(a, all, count, &uids, &err) == 0)
    return finish(a, all, count, &uids);
  int status = command_failed("delete", &err);
  return err.kind == ERR_NOT_FOUND ? EXIT_NOT_SO : status;
}

int cmd_delete(int argc, char **argv)
{
  struct arguments a = {.wait = true};
  struct option_values operands = {0};
  struct err err = ERR_INIT;
  int rc = state_parse(&options, argc, argv, &a, &a.common, &operands, &err);
  int status = rc < 0 ? command_failed("delete", &err) : EXIT_DONE;
  if (rc == OPTIONS_PARSED) {
    log_init(LOG_FORMAT_TEXT, LOG_LEVEL_OFF); // what matters is in the objects, and said from there
    status = delete_named(&a, &operands);
  }
  state_release(&a.common);
  option_values_release(&operands);
  return status;
}
