// SPDX-License-Identifier: Apache-2.0
// What a step of a Clone sees before it decides.
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "controller/clone_internal.h"
#include "crds/cloneset.h"

#define GUEST_SHUTDOWN_MS 60000

DEFINE_CLEANUP(object_free, struct object *)

static bool passed(const struct cloning *c, const char *since, int64_t after_ms)
{
  return clock_passed(since, after_ms, c->k.now_ms);
}

// ---- what only matters when it goes ---------------------------------------------------------

// A set that goes and wants its machines kept keeps those of its clones.
static bool retained(const struct cloning *c)
{
  if (c->spec->deletion_policy == CLONE_RETAIN)
    return true;
  const char *name = strings_map_get(&c->k.o->meta.labels, CRDS_LABEL_SET);
  struct object *set CLEANUP(object_free_p) = NULL;
  struct err gone = ERR_INIT;
  if (!name || store_get(c->k.m->store, OBJECT_CLONE_SET, c->k.key.ns, name, &set, &gone) != 0)
    return false;
  const struct cloneset_spec *spec = set->spec;
  return set->meta.deletion_timestamp && spec->deletion_policy == CLONE_RETAIN;
}

struct dependents {
  const char *of;
  bool found;
};

static void look_for_dependent(void *arg, const struct object *o)
{
  struct dependents *d = arg;
  const struct clone_spec *spec = o->spec;
  const struct clone_status *st = o->status;
  d->found = d->found || (spec->source && str_eq(spec->source->name, d->of) && st->owned.count);
}

static bool has_dependents(struct cloning *c)
{
  struct object_store *store = c->k.m->store;
  struct dependents d = {c->k.key.name, false};
  return store->ops->visit(store, OBJECT_CLONE, c->k.key.ns, d.of, look_for_dependent, &d,
                           &c->k.err) != 0 ||
         d.found;
}

// ---- the machine ----------------------------------------------------------------------------

static void take_seen(struct cloning *c)
{
  const struct clone_seen *seen = &c->seen;
  struct clone_status *st = c->st;
  if (!seen->done)
    return;
  str_set(&st->id, seen->id);
  str_set(&st->name, seen->name);
  str_set(&st->mode, clone_mode_names[seen->mode]);
  strings_copy(&st->addresses, &seen->addresses);
  st->bytes = seen->bytes;
  st->memory_bytes = seen->power == VM_POWER_ON ? seen->memory_bytes : -1;
}

static uint64_t look(struct cloning *c)
{
  struct provider *p;
  const struct owned_status *o = keeping_owned(&c->k, "Clone");
  bool fresh = c->fresh;
  c->fresh = false;
  if (!fresh)
    clone_seen_release(&c->seen);
  c->unreachable = (struct err)ERR_INIT;
  if (cloning_provider(c, &p, &c->unreachable) != 0)
    return 0;
  if (!fresh && provider_clone_get(p, o->id, &c->seen, &c->unreachable) != 0) {
    if (c->unreachable.kind != ERR_NOT_FOUND)
      return 0;
    c->unreachable = (struct err)ERR_INIT;
    return CLONE_FACT(SEEN);
  }
  bool ours = owner_same(c->seen.owner, c->k.owner);
  if (ours)
    take_seen(c);
  return CLONE_FACT(SEEN) | CLONE_FACT(EXISTS) | bit(ours, CLONE_FACT(OURS)) |
         bit(c->st->memory.made && c->seen.done, CLONE_FACT(MADE)) |
         bit(c->seen.power == VM_POWER_ON, CLONE_FACT(ON));
}

static bool answers(struct cloning *c)
{
  struct provider *p;
  const struct clone_ready *r = &c->spec->t.readiness;
  struct exec_order order = {.argv = r->exec, .timeout_ms = 10000};
  struct exec_result result = {0};
  struct err ignored = ERR_INIT;
  if (cloning_provider(c, &p, &ignored) != 0 ||
      provider_exec(p, c->seen.id, &order, &result, &ignored) != 0)
    return false;
  bool ready = result.exit_status == 0;
  exec_result_release(&result);
  return ready;
}

static bool is_ready(struct cloning *c)
{
  switch ((enum clone_readiness)c->spec->t.readiness.type) {
  case CLONE_READY_RUNNING:
  case CLONE_READY_NONE:
    return true;
  case CLONE_READY_ADDRESS:
    return c->seen.addresses.count > 0;
  case CLONE_READY_GUEST_AGENT:
    return c->seen.agent;
  case CLONE_READY_EXEC:
    return answers(c);
  }
  return false;
}

// Of one that runs, and shall.
static uint64_t look_inside(struct cloning *c)
{
  const struct clone_memory *memory = &c->st->memory;
  bool post_start = c->spec->t.post_start && !memory->post_started;
  bool ready = !post_start && is_ready(c);
  return bit(ready, CLONE_FACT(READY)) | bit(post_start && c->seen.agent, CLONE_FACT(POST_START)) |
         bit(!ready && passed(c, memory->start_time, c->spec->t.readiness.timeout_ms),
             CLONE_FACT(READY_LATE));
}

// ---- all ------------------------------------------------------------------------------------

uint64_t cloning_observe(struct cloning *c)
{
  static const struct keeping_bits bits = {CLONE_FACT(DELETING), CLONE_FACT(FINALIZER),
                                           CLONE_FACT(ABANDON), CLONE_FACT(ERROR),
                                           CLONE_FACT(HICCUP)};
  struct clone_memory *memory = &c->st->memory;
  bool want_on = c->spec->t.power_state == CLONE_POWER_ON;
  if (want_on)
    str_set(&memory->stop_time, NULL); // it was asked to, and that is over
  bool planned = keeping_owned(&c->k, "Clone") != NULL;
  uint64_t facts = keeping_observe(&c->k, &bits) | bit(c->spec->suspend, CLONE_FACT(SUSPENDED)) |
                   bit(c->origin.ready, CLONE_FACT(BASE_READY)) |
                   bit(memory->checked, CLONE_FACT(CHECKED)) | bit(planned, CLONE_FACT(PLANNED)) |
                   bit(want_on, CLONE_FACT(WANT_ON)) | bit(memory->made, CLONE_FACT(MADE)) |
                   bit(memory->stop_time != NULL, CLONE_FACT(STOP_ASKED)) |
                   bit(passed(c, memory->stop_time, GUEST_SHUTDOWN_MS), CLONE_FACT(STOP_LATE));
  if (facts & CLONE_FACT(DELETING))
    facts |= bit(retained(c), CLONE_FACT(RETAIN)) | bit(has_dependents(c), CLONE_FACT(DEPENDENTS));
  if (!planned || facts & (CLONE_FACT(ERROR) | CLONE_FACT(HICCUP)))
    return facts;
  uint64_t machine = look(c);
  facts = (facts & ~CLONE_FACT(MADE)) | machine;
  // One that is gone was made all the same: the table makes it anew.
  if (!(machine & CLONE_FACT(EXISTS)))
    facts |= bit(memory->made, CLONE_FACT(MADE));
  if (machine & CLONE_FACT(ON) && want_on && !(facts & CLONE_FACT(DELETING)))
    facts |= look_inside(c);
  return facts;
}
