// SPDX-License-Identifier: Apache-2.0
// What a step sees before it decides. Far sides are asked only in the phases that need to know.
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "controller/migration_internal.h"

DEFINE_CLEANUP(object_free, struct object *)

static bool passed(const struct run *r, const char *since, int64_t after_ms)
{
  return clock_passed(since, after_ms, r->now_ms);
}

// ---- what an outcome takes back -------------------------------------------------------------

bool run_takes_back(const struct run *r, const struct owned_status *o)
{
  bool staged = str_eq(o->role, "staged");
  int retain = r->spec->via ? r->spec->via->retain : RETAIN_NEVER;
  if (r->o->meta.deletion_timestamp || r->st->memory.cancelled)
    return !(staged && retain == RETAIN_ALWAYS);
  if (!str_eq(r->st->memory.outcome, "Failed"))
    return false;
  if (staged)
    return retain == RETAIN_NEVER;
  return r->spec->on_failure.target == FAILED_TARGET_REMOVE;
}

static bool anything_to_take_back(const struct run *r)
{
  const struct owned_status *all = r->st->owned.items;
  for (size_t i = 0; i < r->st->owned.count; i++)
    if (run_takes_back(r, &all[i]))
      return true;
  return false;
}

static bool gives_power_back(const struct run *r)
{
  const struct migration_memory *memory = &r->st->memory;
  if (!memory->source_touched || !str_eq(memory->source_power, "On") ||
      str_eq(memory->outcome, "Succeeded"))
    return false;
  bool stopped = r->o->meta.deletion_timestamp || memory->cancelled;
  return stopped || r->spec->on_failure.source == FAILED_SOURCE_RESTORE;
}

// ---- always ---------------------------------------------------------------------------------

uint64_t run_observe_wishes(const struct run *r)
{
  const struct migration_memory *memory = &r->st->memory;
  const char *retry = object_annotation(r->o, CRDS_ANNOTATE_RETRY);
  int64_t ttl_s = r->spec->ttl_seconds_after_finished;
  return bit(r->o->meta.deletion_timestamp != NULL, FACT(DELETING)) |
         bit(object_has_finalizer(r->o, CRDS_FINALIZER), FACT(FINALIZER)) |
         bit(str_eq(object_annotation(r->o, CRDS_ANNOTATE_ABANDON), "true"), FACT(ABANDON)) |
         bit(r->spec->suspend, FACT(SUSPENDED)) | bit(r->spec->dry_run, FACT(DRY_RUN)) |
         bit(memory->cancelled, FACT(CANCEL)) |
         bit(r->spec->cancel && !memory->cancelled, FACT(CANCEL_ASKED)) |
         bit(retry && !str_eq(retry, r->st->last_handled_retry), FACT(RETRY_ASKED)) |
         bit(ttl_s >= 0 && passed(r, r->st->completion_time, ttl_s * 1000), FACT(EXPIRED)) |
         bit(r->spec->timeout_ms > 0 && passed(r, r->st->start_time, r->spec->timeout_ms),
             FACT(LATE));
}

static uint64_t observe_memory(const struct run *r)
{
  const struct migration_memory *memory = &r->st->memory;
  return bit(movers_running(r->m->movers, r->movers) > 0, FACT(MOVERS)) |
         bit(anything_to_take_back(r), FACT(UNDO)) | bit(gives_power_back(r), FACT(RESTORE)) |
         bit(r->st->retries < r->spec->retry.limit, FACT(TRIES_LEFT)) |
         bit(memory->checked, FACT(CHECKED)) | bit(memory->made_before, FACT(MADE_BEFORE)) |
         bit(memory->shutdown_time != NULL, FACT(SHUTDOWN_ASKED)) |
         bit(passed(r, memory->shutdown_time, r->spec->shutdown.timeout_ms), FACT(SHUTDOWN_LATE)) |
         bit(memory->created, FACT(CREATED)) |
         bit(passed(r, memory->started_time,
                    r->spec->target.vm ? r->spec->target.vm->readiness.timeout_ms : 0),
             FACT(READY_LATE)) |
         bit(str_eq(memory->outcome, "Succeeded"), FACT(GOOD)) |
         bit(str_eq(memory->outcome, "Failed"), FACT(BAD)) |
         bit(str_eq(memory->outcome, "Cancelled"), FACT(STOPPED));
}

static uint64_t observe_error(const struct run *r)
{
  if (r->err.kind == ERR_NONE)
    return 0;
  return err_retryable(r->err.kind) ? FACT(HICCUP) : FACT(ERROR);
}

// ---- phase by phase -------------------------------------------------------------------------

static bool same_provider(const struct ref *a, const char *a_ns, const struct ref *b,
                          const char *b_ns)
{
  return str_eq(a->name, b->name) && str_eq(a->ns ? a->ns : a_ns, b->ns ? b->ns : b_ns);
}

static bool uses(const struct object *o, const struct ref *ref, const char *ns)
{
  const struct vmmigration_spec *s = o->spec;
  return (s->source.vm && same_provider(&s->source.vm->provider, o->meta.ns, ref, ns)) ||
         (s->target.vm && same_provider(&s->target.vm->provider, o->meta.ns, ref, ns));
}

static bool at_work(const struct object *o)
{
  enum migration_phase phase = run_phase(o->status);
  return phase > PHASE_QUEUED && phase < PHASE_CLEANING_UP;
}

struct working {
  const struct run *r;
  const struct ref *ref;
  int64_t count;
};

static void count_one(void *arg, const struct object *o)
{
  struct working *w = arg;
  struct object_key key = object_key_of(o);
  w->count += !o->invalid && at_work(o) && !object_key_eq(&key, &w->r->key) &&
              uses(o, w->ref, w->r->key.ns);
}

static int64_t count_at_work(struct run *r, const struct ref *ref)
{
  struct working w = {r, ref, 0};
  struct object_store *store = r->m->store;
  return store->ops->visit(store, OBJECT_VM_MIGRATION, NULL, ref->name, count_one, &w, &r->err) == 0
             ? w.count
             : 0;
}

static bool has_room(struct run *r, const struct ref *ref)
{
  struct object *o CLEANUP(object_free_p) = NULL;
  struct err gone = ERR_INIT;
  // A provider that is not there is preflight's to complain about.
  if (store_get(r->m->store, OBJECT_PROVIDER, ref->ns ? ref->ns : r->key.ns, ref->name, &o,
                &gone) != 0)
    return true;
  const struct provider_spec *spec = o->spec;
  return count_at_work(r, ref) < spec->limits.transfers;
}

static uint64_t observe_queue(struct run *r)
{
  bool room = (!r->spec->source.vm || has_room(r, &r->spec->source.vm->provider)) &&
              (!r->spec->target.vm || has_room(r, &r->spec->target.vm->provider));
  return bit(room, FACT(SLOT));
}

static uint64_t observe_source(struct run *r)
{
  struct provider *p;
  enum vm_power power;
  if (!r->spec->source.vm || !r->st->memory.source_id)
    return 0;
  if (run_source(r, &p, &r->err) != 0 ||
      provider_power_state(p, r->st->memory.source_id, &power, &r->err) != 0)
    return FACT(SOURCE_ON);
  return bit(power != VM_POWER_OFF, FACT(SOURCE_ON));
}

static uint64_t observe_plan(struct run *r)
{
  const struct migration_disk_status *disks = r->st->disks.items;
  for (size_t i = 0; i < r->st->disks.count; i++) {
    const char *kind = r->spec->target.vm ? "Volume" : "Object";
    if (!status_find_owned(r, "target", disks[i].name, kind) ||
        (r->spec->via && !status_find_owned(r, "staged", disks[i].name, "Object")))
      return 0;
  }
  return FACT(PLANNED);
}

static uint64_t observe_disks(struct run *r)
{
  struct disks_seen seen;
  disks_observe(r, &seen);
  return bit(seen.all_done, FACT(DISKS_DONE)) | bit(seen.ready, FACT(DISKS_READY)) |
         bit(seen.verifying, FACT(DISKS_VERIFYING));
}

static bool power_wanted(const struct run *r)
{
  if (!r->spec->target.vm)
    return false;
  int wanted = r->spec->target.vm->power_state;
  if (wanted == MIGRATE_POWER_AS_SOURCE)
    return str_eq(r->st->memory.source_power, "On");
  return wanted == MIGRATE_POWER_ON;
}

static uint64_t observe_target(struct run *r)
{
  if (!power_wanted(r))
    return 0;
  const struct owned_status *vm = status_find_owned(r, "target", NULL, "VM");
  struct provider *p;
  enum vm_power power = VM_POWER_UNKNOWN;
  if (!vm || run_target(r, &p, &r->err) != 0 ||
      provider_power_state(p, vm->id, &power, &r->err) != 0)
    return FACT(POWER_WANTED);
  bool on = power == VM_POWER_ON;
  bool ready = on || (r->spec->target.vm->readiness.type == READINESS_NONE &&
                      r->st->memory.started_time != NULL);
  return FACT(POWER_WANTED) | bit(on || ready, FACT(POWERED)) | bit(ready, FACT(READY));
}

// Deleting the source may be put off until the target has proven itself.
static uint64_t observe_source_after(struct run *r)
{
  const struct migration_memory *memory = &r->st->memory;
  bool put_off =
      r->spec->source_after.action == SOURCE_DELETE && r->spec->source_after.after_ms > 0;
  bool due = !put_off || passed(r, r->st->completion_time, r->spec->source_after.after_ms);
  bool todo =
      r->spec->source.vm && !memory->source_done && !memory->made_before && !r->spec->dry_run;
  return bit(todo && due, FACT(SOURCE_AFTER));
}

static uint64_t observe_clean_up(struct run *r)
{
  const struct owned_status *all = r->st->owned.items;
  bool staged = false;
  for (size_t i = 0; i < r->st->owned.count; i++)
    staged = staged || str_eq(all[i].role, "staged");
  const struct migration_memory *memory = &r->st->memory;
  bool after =
      r->spec->source.vm && !memory->source_done && !memory->made_before && !r->spec->dry_run;
  return bit(staged, FACT(STAGED)) | bit(after, FACT(SOURCE_AFTER));
}

static uint64_t (*const observers[PHASE_COUNT])(struct run *r) = {
    [PHASE_QUEUED] = observe_queue,           [PHASE_PREFLIGHT] = observe_source,
    [PHASE_SHUTTING_DOWN] = observe_source,   [PHASE_PREPARING] = observe_plan,
    [PHASE_TRANSFERRING] = observe_disks,     [PHASE_VERIFYING] = observe_disks,
    [PHASE_STARTING] = observe_target,        [PHASE_CLEANING_UP] = observe_clean_up,
    [PHASE_SUCCEEDED] = observe_source_after,
};

uint64_t run_observe(struct run *r)
{
  uint64_t facts = run_observe_wishes(r) | observe_memory(r);
  // An action that failed is decided upon first; observing could only hide its error.
  bool stopping = facts & (FACT(DELETING) | FACT(CANCEL_ASKED) | FACT(SUSPENDED));
  if (r->err.kind == ERR_NONE && !stopping && observers[r->phase])
    facts |= observers[r->phase](r);
  else if (r->phase == PHASE_CLEANING_UP)
    facts |= observe_clean_up(r);
  return facts | observe_error(r);
}
