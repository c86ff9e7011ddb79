// SPDX-License-Identifier: Apache-2.0
#include "controller/state_command.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "kube/config.h"

// Decided once in main(), before any command.
static bool prefers_cluster;

void state_prefer_cluster(void)
{
  prefers_cluster = true;
}

// ---- where ----------------------------------------------------------------------------------

static int find_cluster(struct state_arguments *a, struct err *err)
{
  struct kube_config config CLEANUP(kube_config_release) = {0};
  bool named = a->kubeconfig || a->context;
  if (a->state && named)
    return err_set(err, ERR_INVALID,
                   "--state and --%s exclude each other: one names a file of 'drover run', the "
                   "other a cluster",
                   a->kubeconfig ? "kubeconfig" : "context");
  a->cluster = named || (prefers_cluster && !a->state);
  if (!a->cluster)
    return 0;
  if (kube_config_load(a->kubeconfig, a->context, &config, err) != 0)
    return -1;
  a->context_ns = str_dup(config.namespace_name);
  return a->context_ns ? 0 : err_set(err, ERR_NO_MEMORY, "no memory");
}

int state_parse(const struct options *o, int argc, char **argv, void *into,
                struct state_arguments *common, struct option_values *ret_operands, struct err *err)
{
  int rc = options_parse(o, argc, argv, into, ret_operands, err);
  return rc == OPTIONS_PARSED && find_cluster(common, err) != 0 ? -1 : rc;
}

void state_release(struct state_arguments *a)
{
  free(TAKE(a->context_ns));
}

char *state_path(const struct state_arguments *a, struct err *err)
{
  char *path = a->state ? str_dup(a->state) : store_sqlite_default_path();
  if (!path)
    err_set(err, ERR_INVALID, "neither HOME nor XDG_STATE_HOME is set: name a file with --state");
  return path;
}

const char *state_namespace(const struct state_arguments *a)
{
  return a->ns ? a->ns : a->context_ns ? a->context_ns : "default";
}

static int open_cluster(const struct state_arguments *a, struct object_store **ret, struct err *err)
{
  struct kube_config config;
  if (kube_config_load(a->kubeconfig, a->context, &config, err) != 0)
    return -1;
  return store_kube_open(&config, ret, err);
}

int state_open(const struct state_arguments *a, enum store_sqlite_mode mode,
               struct object_store **ret, struct err *err)
{
  if (a->cluster)
    return open_cluster(a, ret, err);
  cleanup_free char *path = state_path(a, err);
  return path ? store_sqlite_open(path, mode, ret, err) : -1;
}

// ---- names ----------------------------------------------------------------------------------

static const struct {
  const char *kind, *plural, *short_name;
} map_kinds[] = {
    {"Secret", "secrets", "secret"},
    {"ConfigMap", "configmaps", "cm"},
};

static const char *map_kind_of(const char *word)
{
  for (size_t i = 0; i < ARRAY_SIZE(map_kinds); i++)
    if (strcasecmp(word, map_kinds[i].kind) == 0 || strcasecmp(word, map_kinds[i].plural) == 0 ||
        strcasecmp(word, map_kinds[i].short_name) == 0)
      return map_kinds[i].kind;
  return NULL;
}

int kind_of_word(const char *word, enum object_kind *ret, struct err *err)
{
  if (object_kind_named(word, ret))
    return 0;
  if (map_kind_of(word))
    return err_set(err, ERR_INVALID, "what Secrets and ConfigMaps hold is not shown");
  const char *names[OBJECT_KIND_COUNT * 2];
  size_t count = 0;
  for (int i = 0; i < OBJECT_KIND_COUNT; i++) {
    names[count++] = object_kind_info((enum object_kind)i)->plural;
    names[count++] = object_kind_info((enum object_kind)i)->short_name;
  }
  const char *nearest = options_nearest(word, names, count);
  return err_set(
      err, ERR_INVALID, "there is no kind '%s'%s%s%s", word,
      nearest ? "; did you mean "
              : " (there are providers, imagestores, vmmigrations, clonebases, clones, clonesets)",
      nearest ? nearest : "", nearest ? "?" : "");
}

static int set_kind(const char *word, struct named *n, struct err *err)
{
  n->map_kind = map_kind_of(word);
  n->key.kind = OBJECT_KIND_COUNT;
  return n->map_kind ? 0 : kind_of_word(word, &n->key.kind, err);
}

static int set_name(const char *ns, const char *name, struct named *n, struct err *err)
{
  if (str_empty(name))
    return err_set(err, ERR_INVALID, "a name is missing");
  return object_key_set(&n->key, n->key.kind, ns, name, err);
}

// "KIND/NAME", or a name of the kind that n has already.
static int take_operand(const char *operand, const char *ns, struct named *n, struct err *err)
{
  const char *slash = strchr(operand, '/');
  if (!slash)
    return set_name(ns, operand, n, err);
  cleanup_free char *kind = strndup(operand, (size_t)(slash - operand));
  if (!kind)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  return set_kind(kind, n, err) == 0 ? set_name(ns, slash + 1, n, err) : -1;
}

static int take_operands(const struct named *first, const struct option_values *operands,
                         size_t skip, const char *ns, struct named **ret, size_t *ret_count,
                         struct err *err)
{
  size_t count = operands->count - skip;
  if (count == 0)
    return err_set(err, ERR_INVALID, "a name is missing");
  struct named *all cleanup_free = calloc(count, sizeof(*all));
  if (!all)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  for (size_t i = 0; i < count; i++) {
    all[i] = *first;
    if (take_operand(operands->items[skip + i], ns, &all[i], err) != 0)
      return -1;
  }
  *ret_count = count;
  *ret = TAKE(all);
  return 0;
}

int named_objects(const struct option_values *operands, bool kind_first, const char *ns,
                  struct named **ret, size_t *ret_count, struct err *err)
{
  struct named first = {.key.kind = OBJECT_VM_MIGRATION};
  size_t skip = 0;
  if (kind_first && operands->count && !strchr(operands->items[0], '/')) {
    if (set_kind(operands->items[0], &first, err) != 0)
      return -1;
    skip = 1;
  }
  return take_operands(&first, operands, skip, ns, ret, ret_count, err);
}

int named_of_kind(const struct option_values *operands, enum object_kind kind, const char *ns,
                  struct named **ret, size_t *ret_count, struct err *err)
{
  struct named first = {.key.kind = kind};
  struct named *all CLEANUP(cleanup_free_) = NULL;
  if (take_operands(&first, operands, 0, ns, &all, ret_count, err) != 0)
    return -1;
  for (size_t i = 0; i < *ret_count; i++)
    if (all[i].map_kind || all[i].key.kind != kind)
      return err_set(err, ERR_INVALID, "'%s' is no %s", operands->items[i],
                     object_kind_info(kind)->kind);
  *ret = TAKE(all);
  return 0;
}

char *named_text(const struct object_key *key, char b[400])
{
  snprintf(b, 400, "%s/%s", object_kind_info(key->kind)->singular, key->name);
  return b;
}
