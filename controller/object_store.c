// SPDX-License-Identifier: Apache-2.0
#include "controller/object_store.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"

DEFINE_CLEANUP(object_free, struct object *)

const struct secret *secret_map_get(const struct secret_map *m, const char *key)
{
  for (size_t i = 0; i < m->count; i++)
    if (str_eq(m->items[i].key, key))
      return &m->items[i].value;
  return NULL;
}

void secret_map_release(struct secret_map *m)
{
  for (size_t i = 0; i < m->count; i++) {
    free(m->items[i].key);
    secret_release(&m->items[i].value);
  }
  free(m->items);
  *m = (struct secret_map){0};
}

int object_key_set(struct object_key *key, enum object_kind kind, const char *ns, const char *name,
                   struct err *err)
{
  *key = (struct object_key){.kind = kind};
  if (!ns || !name || strlen(ns) >= sizeof(key->ns) || strlen(name) >= sizeof(key->name))
    return err_set(err, ERR_INVALID, "a name is missing or too long (%zu bytes at most)",
                   sizeof(key->name) - 1);
  strcpy(key->ns, ns);
  strcpy(key->name, name);
  return 0;
}

struct object_key object_key_of(const struct object *o)
{
  struct object_key key;
  object_key_set(&key, o->kind, o->meta.ns ? o->meta.ns : "", o->meta.name, NULL);
  return key;
}

int store_get(struct object_store *s, enum object_kind kind, const char *ns, const char *name,
              struct object **ret, struct err *err)
{
  struct object_key key;
  if (object_key_set(&key, kind, ns, name, err) != 0)
    return -1;
  return s->ops->get(s, &key, ret, err);
}

// All of a kind; one that goes meanwhile is left out.
static int each_by_key(struct object_store *s, const struct object_key *keys, size_t count,
                       store_each_fn fn, void *arg, struct err *err)
{
  for (size_t i = 0; i < count; i++) {
    struct object *o CLEANUP(object_free_p) = NULL;
    struct err failed = ERR_INIT;
    if (s->ops->get(s, &keys[i], &o, &failed) != 0) {
      if (failed.kind == ERR_NOT_FOUND)
        continue;
      *err = failed;
      return -1;
    }
    if (fn(arg, o, err) != 0)
      return -1;
  }
  return 0;
}

int store_each(struct object_store *s, enum object_kind kind, const char *ns, store_each_fn fn,
               void *arg, struct err *err)
{
  struct object_key *keys CLEANUP(cleanup_free_) = NULL;
  size_t count = 0;
  if (s->ops->each)
    return s->ops->each(s, kind, ns, fn, arg, err);
  if (s->ops->list(s, kind, ns, &keys, &count, err) != 0)
    return -1;
  return each_by_key(s, keys, count, fn, arg, err);
}

void store_visit_keys(struct object_store *s, const struct object_key *keys, size_t count,
                      object_visit_fn fn, void *arg)
{
  for (size_t i = 0; i < count; i++) {
    struct object *o CLEANUP(object_free_p) = NULL;
    struct err gone = ERR_INIT;
    if (s->ops->get(s, &keys[i], &o, &gone) == 0)
      fn(arg, o);
  }
}

void store_free(struct object_store *s)
{
  if (s)
    s->ops->free(s);
}
