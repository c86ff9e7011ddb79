// SPDX-License-Identifier: Apache-2.0
#include "controller/machine_command.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/loop.h"
#include "base/str.h"
#include "controller/keeping.h"
#include "controller/manager.h"
#include "crds/clone.h"

int machine_failed(const char *command, const struct err *err)
{
  int status = command_failed(command, err);
  return err->kind == ERR_NOT_FOUND || err->kind == ERR_BUSY ? EXIT_NOT_SO : status;
}

static int open_state(struct machine *ret, const struct state_arguments *a, struct err *err)
{
  struct manager_options options = {.workers = 1, .far_objects = a->cluster};
  *ret = (struct machine){0};
  if (state_open(a, STORE_READ, &ret->store, err) != 0)
    return -1;
  ret->loop = loop_new();
  if (!ret->loop)
    return err_set(err, ERR_NO_MEMORY, "no memory or descriptors");
  ret->m = manager_new(ret->store, ret->loop, &options, err);
  return ret->m ? 0 : -1;
}

int machine_open_provider(struct machine *ret, const struct state_arguments *a, const char *name,
                          struct err *err)
{
  struct ref ref = {.name = (char *)name};
  if (open_state(ret, a, err) != 0)
    return -1;
  return provider_access(ret->m, state_namespace(a), &ref, -1, &ret->access, err);
}

static int check_mark(struct machine *m, struct err *err)
{
  struct clone_seen seen CLEANUP(clone_seen_release) = {0};
  if (provider_clone_get(m->access.handle, m->id, &seen, err) != 0)
    return -1;
  if (keeping_mark_is_of(seen.owner, m->clone))
    return 0;
  return err_set(err, ERR_DENIED,
                 "the machine '%s' at %s is not that of Clone %s/%s: it bears %s mark. Is this the "
                 "host that the operator means by that endpoint?",
                 m->id, provider_access_spec(&m->access)->endpoint, m->clone->meta.ns,
                 m->clone->meta.name, seen.owner ? "another" : "no");
}

static int open_provider_of(struct machine *m, const struct state_arguments *a, struct err *err)
{
  const struct clone_status *st = m->clone->status;
  const char *slash = st->memory.provider ? strchr(st->memory.provider, '/') : NULL;
  if (!slash || !st->memory.made || !st->id)
    return err_set(err, ERR_BUSY, "clone '%s' has no machine yet: it is %s", m->clone->meta.name,
                   st->phase ? st->phase : "Pending");
  cleanup_free char *ns = strndup(st->memory.provider, (size_t)(slash - st->memory.provider));
  struct ref ref = {.name = (char *)slash + 1, .ns = ns};
  m->id = str_dup(st->id);
  if (provider_access(m->m, state_namespace(a), &ref, -1, &m->access, err) != 0)
    return -1;
  return a->cluster ? check_mark(m, err) : 0;
}

int machine_open(struct machine *ret, const struct state_arguments *a, const char *name,
                 struct err *err)
{
  const char *slash = strchr(name, '/');
  if (open_state(ret, a, err) != 0)
    return -1;
  if (slash) {
    enum object_kind kind;
    cleanup_free char *word = strndup(name, (size_t)(slash - name));
    if (kind_of_word(word, &kind, err) != 0)
      return -1;
    if (kind != OBJECT_CLONE)
      return err_set(err, ERR_INVALID, "'%s': this is for clones", name);
    name = slash + 1;
  }
  if (store_get(ret->store, OBJECT_CLONE, state_namespace(a), name, &ret->clone, err) != 0)
    return -1;
  return open_provider_of(ret, a, err);
}

void machine_close(struct machine *m)
{
  if (m->m)
    provider_access_release(m->m, &m->access);
  object_free(m->clone);
  free(m->id);
  manager_free(m->m);
  loop_free(m->loop);
  store_free(m->store);
  *m = (struct machine){0};
}
