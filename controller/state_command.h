// SPDX-License-Identifier: Apache-2.0
// What the commands on the state of `drover run` share: naming the file, the namespace and objects
// ("vmm web", "vmmigration/web"), waiting until something has come true.
#pragma once

#include "base/options.h"
#include "controller/commands.h"
#include "controller/store_sqlite.h"

struct state_arguments {
  const char *state, *ns;
};

#define STATE_OPTION(type)                                                                         \
  {                                                                                                \
    "state", 0, OPTION_STRING, offsetof(struct type, common.state),                                \
        .argument = "FILE", .help = "the state file; default: $XDG_STATE_HOME/drover/state.db"     \
  }
#define NAMESPACE_OPTION(type)                                                                     \
  {                                                                                                \
    "namespace", 'n', OPTION_STRING, offsetof(struct type, common.ns),                             \
        .argument = "NAME", .help = "namespace of the objects; default: default"                   \
  }

// Yours; NULL: no home folder is known, err set.
char *state_path(const struct state_arguments *a, struct err *err);
const char *state_namespace(const struct state_arguments *a);
int state_open(const struct state_arguments *a, enum store_sqlite_mode mode,
               struct object_store **ret, struct err *err);

// Names in operands: "KIND NAME..." (kind_first), or names of VMMigrations; "KIND/NAME" always.
struct named {
  struct object_key key; // kind OBJECT_KIND_COUNT: a map
  const char *map_kind;  // "Secret", "ConfigMap"; NULL: an object
};
// ERR_INVALID. *ret is the caller's to free.
int named_objects(const struct option_values *operands, bool kind_first, const char *ns,
                  struct named **ret, size_t *ret_count, struct err *err);
// Names of one kind, bare or as "KIND/NAME".
int named_of_kind(const struct option_values *operands, enum object_kind kind, const char *ns,
                  struct named **ret, size_t *ret_count, struct err *err);
int kind_of_word(const char *word, enum object_kind *ret, struct err *err);
// "vmmigration/web"
char *named_text(const struct object_key *key, char b[400]);

// Waits until `holds` says so of every key, looking at the state a few times a second. Where no
// other process runs the state, this one does, for these objects only. say: called with each new
// sentence about what it waits for.
struct await {
  const struct state_arguments *arguments;
  const struct object_key *keys;
  size_t count;
  // o NULL: it is gone.
  bool (*holds)(const struct object *o);
};
// EXIT_DONE, or another exit status after telling why on standard error. command: for messages.
int await(const struct await *a, const char *command);
