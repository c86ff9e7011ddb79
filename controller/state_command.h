// SPDX-License-Identifier: Apache-2.0
// What the commands of people share: where the objects are (the state file of `drover run`, or a
// cluster), the namespace, naming objects ("vmm web", "vmmigration/web"), waiting until something
// has come true.
//
// A cluster is meant by --kubeconfig, by --context, or by calling the program kubectl-drover; then
// everything is asked of the API server with the rights of that user, call by call: nothing is
// watched and nothing kept. state_parse() settles which it is; state_release() at the end.
#pragma once

#include "base/options.h"
#include "controller/commands.h"
#include "controller/store_sqlite.h"

struct state_arguments {
  const char *state, *ns, *kubeconfig, *context; // as given
  bool cluster;                                  // what follows is state_parse()'s
  char *context_ns;                              // namespace of the context
};

#define STATE_OPTION(type)                                                                         \
  {                                                                                                \
    "state", 0, OPTION_STRING, offsetof(struct type, common.state),                                \
        .argument = "FILE", .help = "the state file; default: $XDG_STATE_HOME/drover/state.db"     \
  }
#define NAMESPACE_OPTION(type)                                                                     \
  {                                                                                                \
    "namespace", 'n', OPTION_STRING, offsetof(struct type, common.ns),                             \
        .argument = "NAME", .help = "namespace of the objects; default: the context's, or default" \
  }
// All that says where the objects are, for state_parse().
#define WHERE_OPTIONS(type)                                                                        \
  STATE_OPTION(type), NAMESPACE_OPTION(type),                                                      \
      {"kubeconfig",       0,                                                                      \
       OPTION_STRING,      offsetof(struct type, common.kubeconfig),                               \
       .argument = "FILE", .help = "work on that cluster instead of a state file"},                \
  {                                                                                                \
    "context", 0, OPTION_STRING, offsetof(struct type, common.context),                            \
        .argument = "NAME",                                                                        \
        .help = "the same, by a context; default of a cluster: the current one"                    \
  }

// The program was called as kubectl-drover: without --state, a cluster is meant.
void state_prefer_cluster(void);
// options_parse(), and then where the objects are: of the options that exclude each other only
// some (ERR_INVALID), a kubeconfig that can be read. common: within `into`.
int state_parse(const struct options *o, int argc, char **argv, void *into,
                struct state_arguments *common, struct option_values *ret_operands,
                struct err *err);
void state_release(struct state_arguments *a);

// Yours; NULL: no home folder is known, err set.
char *state_path(const struct state_arguments *a, struct err *err);
const char *state_namespace(const struct state_arguments *a);
// Yours to store_free(). mode is for files.
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
// other process runs a state file, this one does, for these objects only; in a cluster that is the
// operator's alone. What holds it up is said on standard error.
struct await {
  const struct state_arguments *arguments;
  const struct object_key *keys;
  size_t count;
  const struct strings *uids; // of these keys: another object of the name is not it; NULL = any is
  // o NULL: it is gone.
  bool (*holds)(const struct object *o);
};
// EXIT_DONE, or another exit status after telling why on standard error. command: for messages.
int await(const struct await *a, const char *command);
