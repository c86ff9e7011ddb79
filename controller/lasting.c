// SPDX-License-Identifier: Apache-2.0
#include "controller/lasting.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "crds/clone.h"
#include "crds/clonebase.h"
#include "crds/common.h"
#include "crds/vmmigration.h"
#include "reconcile/migration.h"

#define NOT_READY_INTERVAL_MS 15000
#define WAITING_INTERVAL_MS   2000
#define FIRST_PROBE_MS        2000

DEFINE_CLEANUP(object_free, struct object *)

// ---- who depends ----------------------------------------------------------------------------

static bool names(const struct ref *ref, const char *ref_ns, const struct object *o)
{
  return str_eq(ref->name, o->meta.name) && str_eq(ref->ns ? ref->ns : ref_ns, o->meta.ns);
}

static bool depends_on(const struct object *migration, const struct object *o)
{
  const struct vmmigration_spec *s = migration->spec;
  const char *ns = migration->meta.ns;
  if (o->kind == OBJECT_PROVIDER)
    return (s->source.vm && names(&s->source.vm->provider, ns, o)) ||
           (s->target.vm && names(&s->target.vm->provider, ns, o));
  return (s->source.image && names(&s->source.image->store, ns, o)) ||
         (s->target.image && names(&s->target.image->store, ns, o)) ||
         (s->via && names(&s->via->store, ns, o));
}

// A failed one may still have to take things back there; a finished one with an empty ledger has
// not.
static bool still_needs(const struct object *migration)
{
  const struct vmmigration_status *st = migration->status;
  bool succeeded = str_eq(st->phase, migration_phase_names[PHASE_SUCCEEDED]);
  bool ended = succeeded || str_eq(st->phase, migration_phase_names[PHASE_FAILED]) ||
               str_eq(st->phase, migration_phase_names[PHASE_CANCELLED]);
  return !ended || (!succeeded && st->owned.count > 0);
}

static bool migration_needs(const struct object *migration, const struct object *o)
{
  return depends_on(migration, o) && still_needs(migration);
}

// A base is needed for as long as it is there: its Provider for what lies on it, its store until
// the disks have come.
static bool base_needs(const struct object *base, const struct object *o)
{
  const struct clonebase_spec *s = base->spec;
  const struct clonebase_status *st = base->status;
  if (o->kind == OBJECT_PROVIDER)
    return names(&s->provider, base->meta.ns, o);
  return s->image && !st->memory.made && names(&s->image->store, base->meta.ns, o);
}

// Those of a base are held by it.
static bool clone_needs(const struct object *clone, const struct object *o)
{
  const struct clone_spec *s = clone->spec;
  return o->kind == OBJECT_PROVIDER && s->vm && names(&s->vm->provider, clone->meta.ns, o);
}

struct needing {
  const struct object *o;
  bool (*needs)(const struct object *who, const struct object *o);
  char **first;
  int64_t count;
};

static void count_one(void *arg, const struct object *who)
{
  struct needing *n = arg;
  if (who->invalid || !n->needs(who, n->o))
    return;
  n->count++;
  if (!*n->first)
    *n->first =
        str_printf("%s %s/%s", object_kind_info(who->kind)->kind, who->meta.ns, who->meta.name);
}

static int64_t count_needing(struct manager *m, enum object_kind kind, const struct object *o,
                             bool (*needs)(const struct object *who, const struct object *o),
                             char **first, struct err *err)
{
  struct needing n = {o, needs, first, 0};
  return m->store->ops->visit(m->store, kind, NULL, o->meta.name, count_one, &n, err) == 0 ? n.count
                                                                                           : -1;
}

int64_t dependents_of(struct manager *m, const struct object *o, char **ret_first, struct err *err)
{
  cleanup_free char *first = NULL;
  int64_t migrations = count_needing(m, OBJECT_VM_MIGRATION, o, migration_needs, &first, err);
  int64_t bases = count_needing(m, OBJECT_CLONE_BASE, o, base_needs, &first, err);
  int64_t clones = count_needing(m, OBJECT_CLONE, o, clone_needs, &first, err);
  if (ret_first)
    *ret_first = TAKE(first);
  return migrations < 0 || bases < 0 || clones < 0 ? -1 : migrations + bases + clones;
}

// ---- the step -------------------------------------------------------------------------------

static bool say(struct lasting *l, bool ready, const char *reason, const char *message)
{
  int64_t generation = l->o->meta.generation;
  int64_t now_ms = clock_wall_ms();
  bool final = !ready && !err_retryable(err_kind_of_reason(reason));
  bool changed = condition_set(l->conditions, "Ready", ready ? CONDITION_TRUE : CONDITION_FALSE,
                               reason, message, generation, now_ms);
  condition_set(l->conditions, "Reconciling", ready || final ? CONDITION_FALSE : CONDITION_TRUE,
                reason, message, generation, now_ms);
  condition_set(l->conditions, "Stalled", final ? CONDITION_TRUE : CONDITION_FALSE, reason, message,
                generation, now_ms);
  *l->observed_generation = generation;
  return changed;
}

static int64_t save(struct lasting *l, const struct object *before, int64_t after_ms)
{
  struct err err = ERR_INIT;
  const struct table *t = object_kind_info(l->o->kind)->status;
  if (table_equal(t, before->status, l->o->status))
    return after_ms;
  if (l->m->store->ops->put_status(l->m->store, l->o, &err) == 0)
    return after_ms;
  if (err.kind == ERR_CONFLICT)
    return 0;
  log_error("status not written", "message", err.message, NULL);
  return err.kind == ERR_NOT_FOUND ? -1 : 1000;
}

static int64_t step_deleting(struct lasting *l)
{
  struct err err = ERR_INIT;
  if (!object_has_finalizer(l->o, CRDS_FINALIZER))
    return -1;
  cleanup_free char *first = NULL;
  int64_t left = dependents_of(l->m, l->o, &first, &err);
  if (left == 0)
    return set_cleanup_finalizer(l->m, l->o, false, &err) == 0 ? -1 : 1000;
  char text[768];
  snprintf(text, sizeof(text), "deletion waits for %lld object(s) that need it: %s%s",
           (long long)left, first ? first : "", left > 1 ? " and others" : "");
  *l->dependents = left;
  say(l, false, "InUse", left < 0 ? err.message : text);
  return WAITING_INTERVAL_MS;
}

// Steps come with every change, our own writes among them; probes only when they are due.
static bool due(const struct lasting *l, int64_t *ret_wait_ms)
{
  const struct condition *ready = condition_find(l->conditions, "Ready");
  if (!ready || *l->observed_generation != l->o->meta.generation)
    return true;
  if (l->patient && ready->status == CONDITION_TRUE && !manager_has_probed(l->m, l->o)) {
    *ret_wait_ms = l->m->started_ms + FIRST_PROBE_MS - clock_wall_ms();
    return *ret_wait_ms <= 0 || *ret_wait_ms > FIRST_PROBE_MS; // the clock may have been set
  }
  return !manager_probed_lately(l->m, l->o, ret_wait_ms);
}

static int64_t step_probe(struct lasting *l, const struct lasting_kind *kind)
{
  struct err err = ERR_INIT;
  int64_t wait_ms = 0;
  int64_t dependents = dependents_of(l->m, l->o, NULL, &err);
  if (dependents >= 0)
    *l->dependents = dependents;
  if (!due(l, &wait_ms))
    return wait_ms;
  err = (struct err)ERR_INIT;
  bool ready = kind->probe(l->m, l->o, &err) == 0;
  bool changed = say(l, ready, ready ? "Probed" : err_reason(err.kind),
                     ready ? "answers, and can be used" : err.message);
  if (changed) {
    l->m->store->ops->event(l->m->store, l->o, ready ? "Normal" : "Warning",
                            ready ? "Ready" : err_reason(err.kind), ready ? "ready" : err.message);
    log_info(ready ? "ready" : "not ready", "message", ready ? NULL : err.message, NULL);
  }
  int64_t next_ms = ready ? l->interval_ms : NOT_READY_INTERVAL_MS;
  manager_note_probe(l->m, l->o, next_ms);
  return next_ms;
}

static int64_t step(struct lasting *l, const struct lasting_kind *kind)
{
  struct object *before CLEANUP(object_free_p) = NULL;
  struct err err = ERR_INIT;
  if (object_copy(l->o, &before, &err) != 0)
    return 1000;
  int64_t after_ms = -1;
  if (l->o->meta.deletion_timestamp) {
    after_ms = step_deleting(l);
    if (!object_has_finalizer(l->o, CRDS_FINALIZER))
      return -1;
  } else if (l->o->invalid) {
    say(l, false, err_reason(ERR_INVALID), l->o->invalid);
  } else if (l->suspended) {
    say(l, false, "Suspended", "spec.suspend is set");
  } else if (!object_has_finalizer(l->o, CRDS_FINALIZER)) {
    return set_cleanup_finalizer(l->m, l->o, true, &err) == 0 ? 0 : 1000;
  } else {
    after_ms = step_probe(l, kind);
  }
  return save(l, before, after_ms);
}

static bool wants_probe(struct manager *m, const struct object_key *key,
                        const struct lasting_kind *kind)
{
  struct object *o CLEANUP(object_free_p) = NULL;
  struct err err = ERR_INIT;
  if (m->store->ops->get(m->store, key, &o, &err) != 0 || o->invalid || o->meta.deletion_timestamp)
    return false;
  struct lasting l = {.m = m, .o = o};
  kind->view(&l);
  return !l.suspended && !manager_has_probed(m, o);
}

bool lasting_all_probed(struct manager *m, enum object_kind objects,
                        const struct lasting_kind *kind)
{
  struct object_key *keys CLEANUP(cleanup_free_) = NULL;
  size_t count = 0;
  struct err err = ERR_INIT;
  if (m->store->ops->list(m->store, objects, NULL, &keys, &count, &err) != 0)
    return true;
  for (size_t i = 0; i < count; i++)
    if (wants_probe(m, &keys[i], kind))
      return false;
  return true;
}

int64_t lasting_step(struct manager *m, const struct object_key *key,
                     const struct lasting_kind *kind)
{
  LOG_CONTEXT(kind->name, "%s/%s", key->ns, key->name);
  struct object *o CLEANUP(object_free_p) = NULL;
  struct err err = ERR_INIT;
  if (m->store->ops->get(m->store, key, &o, &err) != 0)
    return err.kind == ERR_NOT_FOUND ? -1 : 1000;
  struct lasting l = {.m = m, .o = o};
  kind->view(&l);
  return step(&l, kind);
}
