// SPDX-License-Identifier: Apache-2.0
// The Clones that a CloneSet makes.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "controller/clone_internal.h"
#include "controller/cloneset_internal.h"

DEFINE_CLEANUP(object_free, struct object *)

const struct object_owner *cloneset_controller_of(const struct object *o)
{
  const struct object_owner *owners = o->meta.owners.items;
  for (size_t i = 0; i < o->meta.owners.count; i++)
    if (owners[i].controller)
      return &owners[i];
  return NULL;
}

static int take_template(const struct setting *s, int64_t ordinal, bool old, struct clone_spec *to,
                         struct err *err)
{
  const struct clone_addresses *pool = s->spec->t.addresses;
  if (table_copy(&clone_template_table, &s->spec->t, &to->t, err) != 0)
    return -1;
  to->base = calloc(1, sizeof(*to->base));
  if (!to->base)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  to->base->name = str_dup(old ? s->st->current_base : s->spec->base.name);
  if (to->t.hostname) {
    char name[254];
    if (!set_clone_name(s->spec->t.hostname, s->k.key.name, ordinal, name))
      return err_set(err, ERR_INVALID, "template.hostname must hold {ordinal}");
    str_set(&to->t.hostname, name);
  }
  if (!pool)
    return 0;
  if ((size_t)ordinal >= pool->addresses.count)
    return err_set(err, ERR_LIMIT,
                   "template.addresses holds %zu addresses: there is none for ordinal %" PRId64,
                   pool->addresses.count, ordinal);
  const struct strings one = {&pool->addresses.items[ordinal], 1};
  strings_copy(&to->t.addresses->addresses, &one);
  return 0;
}

static void add_labels(const struct setting *s, int64_t ordinal, bool old, struct object *o)
{
  char text[32];
  const struct strings *labels = &s->spec->labels;
  for (size_t i = 0; i + 1 < labels->count; i += 2)
    strings_map_set(&o->meta.labels, labels->items[i], labels->items[i + 1]);
  for (size_t i = 0; i + 1 < s->spec->selector.count; i += 2)
    strings_map_set(&o->meta.labels, s->spec->selector.items[i], s->spec->selector.items[i + 1]);
  snprintf(text, sizeof(text), "%" PRId64, ordinal);
  strings_map_set(&o->meta.labels, CRDS_LABEL_SET, s->k.key.name);
  strings_map_set(&o->meta.labels, CRDS_LABEL_ORDINAL, text);
  strings_map_set(&o->meta.labels, CRDS_LABEL_REVISION,
                  old ? s->st->current_revision : s->revision);
}

int cloneset_add_owner(const struct setting *s, struct object *o, struct err *err)
{
  struct object_owner *owner = list_add(&o->meta.owners, sizeof(*owner), 1);
  if (!owner)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  *owner = (struct object_owner){str_dup(CRDS_API_VERSION), str_dup("CloneSet"),
                                 str_dup(s->k.key.name), str_dup(s->k.o->meta.uid), true};
  return 0;
}

static int fill_clone(const struct setting *s, int64_t ordinal, bool old, struct object *o,
                      struct err *err)
{
  char name[254];
  if (!set_clone_name(s->spec->name_template, s->k.key.name, ordinal, name))
    return err_set(err, ERR_INVALID, "nameTemplate '%s' makes no name for ordinal %" PRId64,
                   s->spec->name_template, ordinal);
  o->meta.ns = str_dup(s->k.key.ns);
  o->meta.name = str_dup(name);
  add_labels(s, ordinal, old, o);
  strings_add(&o->meta.finalizers, CRDS_FINALIZER);
  if (cloneset_add_owner(s, o, err) != 0)
    return -1;
  return take_template(s, ordinal, old, o->spec, err);
}

int cloneset_create(struct setting *s, int64_t ordinal, bool old, struct err *err)
{
  struct object *o CLEANUP(object_free_p) = object_new(OBJECT_CLONE);
  if (!o)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  if (fill_clone(s, ordinal, old, o, err) != 0)
    return -1;
  struct err failed = ERR_INIT;
  if (s->k.m->store->ops->create(s->k.m->store, o, &failed) == 0)
    return 0;
  if (failed.kind != ERR_EXISTS) {
    *err = failed;
    return -1;
  }
  // Made by an earlier step, and not seen yet.
  struct object *there CLEANUP(object_free_p) = NULL;
  const struct object_owner *owner = NULL;
  if (store_get(s->k.m->store, OBJECT_CLONE, o->meta.ns, o->meta.name, &there, &failed) == 0)
    owner = cloneset_controller_of(there);
  if (owner && str_eq(owner->uid, s->k.o->meta.uid))
    return 0;
  return err_set(err, ERR_EXISTS,
                 "Clone %s/%s is there and is not of this set: remove it, or choose another "
                 "spec.nameTemplate",
                 o->meta.ns, o->meta.name);
}

// Its name on the platform is one that no clone has: it bears the uid of the set.
int cloneset_could_create(struct setting *s, int64_t ordinal, struct err *err)
{
  struct object *o CLEANUP(object_free_p) = object_new(OBJECT_CLONE);
  if (!o)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  if (fill_clone(s, ordinal, false, o, err) != 0)
    return -1;
  str_set(&o->meta.uid, s->k.o->meta.uid);
  return cloning_try(s->k.m, TAKE(o), err);
}
