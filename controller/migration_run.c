// SPDX-License-Identifier: Apache-2.0
// The runner of VMMigration: observe, ask the table, carry one action out, write status, again.
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "controller/checkpoints.h"
#include "controller/migration_internal.h"

#define ACTIONS_PER_STEP   24   // then others get a turn
#define WRITE_INTERVAL_MS  1000 // of status that only shows progress
#define BLOCKED_INITIAL_MS 2000
#define BLOCKED_MAX_MS     60000

// ---- writing --------------------------------------------------------------------------------

static void strip_progress(struct vmmigration_status *st)
{
  struct migration_disk_status *disks = st->disks.items;
  for (size_t i = 0; i < st->disks.count; i++) {
    disks[i].data_bytes = disks[i].transferred_bytes = disks[i].verified_bytes = 0;
    disks[i].bytes_per_second = 0;
  }
  st->progress = (struct migration_progress){0};
  str_set(&st->summary.progress, NULL);
  str_set(&st->summary.rate, NULL);
  str_set(&st->summary.eta, NULL);
}

// Whether anything but numbers that move all the time has changed.
static bool matters(struct run *r)
{
  struct vmmigration_status was = {0}, is = {0};
  struct err ignored = ERR_INIT;
  bool differ = true;
  if (table_copy(&vmmigration_status_table, r->before->status, &was, &ignored) == 0 &&
      table_copy(&vmmigration_status_table, r->st, &is, &ignored) == 0) {
    strip_progress(&was);
    strip_progress(&is);
    differ = !table_equal(&vmmigration_status_table, &was, &is);
  }
  table_release(&vmmigration_status_table, &was);
  table_release(&vmmigration_status_table, &is);
  return differ;
}

static bool written_lately(const struct run *r)
{
  int64_t then;
  return clock_parse_rfc3339(r->st->memory.progress_time, &then) &&
         r->now_ms < then + WRITE_INTERVAL_MS;
}

int run_save(struct run *r, struct err *err)
{
  if (table_equal(&vmmigration_status_table, r->before->status, r->st))
    return 0;
  if (!matters(r) && written_lately(r))
    return 0;
  r->st->observed_generation = r->o->meta.generation;
  clock_set(&r->st->memory.progress_time, r->now_ms);
  if (r->m->store->ops->put_status(r->m->store, r->o, err) != 0)
    return -1;
  struct object *before;
  if (object_copy(r->o, &before, err) != 0)
    return -1;
  object_free(r->before);
  r->before = before;
  return 0;
}

// ---- actions --------------------------------------------------------------------------------

static int act_nothing(struct run *r, struct err *err)
{
  (void)r;
  (void)err;
  return 0;
}

static int act_add_finalizer(struct run *r, struct err *err)
{
  return set_cleanup_finalizer(r->m, r->o, true, err);
}

static int act_remove_finalizer(struct run *r, struct err *err)
{
  movers_forget(r->m->movers, r->movers);
  checkpoints_remove(r->m, r->o->meta.uid, NULL, 0);
  return set_cleanup_finalizer(r->m, r->o, false, err);
}

static int act_delete_object(struct run *r, struct err *err)
{
  return r->m->store->ops->remove(r->m->store, r->o, err);
}

static int act_latch_cancel(struct run *r, struct err *err)
{
  (void)err;
  r->st->memory.cancelled = true;
  status_outcome(r, PHASE_CANCELLED, "Cancelled", "cancelled as spec.cancel asked");
  movers_stop_all(r->m->movers, r->movers);
  return 0;
}

static void nudge(struct run *r, enum object_kind kind, const struct ref *ref)
{
  struct object_key key;
  if (object_key_set(&key, kind, ref->ns ? ref->ns : r->key.ns, ref->name, NULL) == 0)
    queue_add(r->m->queue, &key, 0);
}

// Providers and stores count who depends on them.
static void tell_dependencies(struct run *r)
{
  const struct vmmigration_spec *s = r->spec;
  if (s->source.vm)
    nudge(r, OBJECT_PROVIDER, &s->source.vm->provider);
  if (s->target.vm)
    nudge(r, OBJECT_PROVIDER, &s->target.vm->provider);
  if (s->source.image)
    nudge(r, OBJECT_IMAGE_STORE, &s->source.image->store);
  if (s->target.image)
    nudge(r, OBJECT_IMAGE_STORE, &s->target.image->store);
  if (s->via)
    nudge(r, OBJECT_IMAGE_STORE, &s->via->store);
  const struct object_owner *owners = r->o->meta.owners.items;
  for (size_t i = 0; i < r->o->meta.owners.count; i++)
    if (str_eq(owners[i].kind, "CloneBase"))
      nudge(r, OBJECT_CLONE_BASE, &(struct ref){.name = owners[i].name});
}

static int act_begin(struct run *r, struct err *err)
{
  (void)err;
  if (!r->st->start_time)
    clock_set(&r->st->start_time, r->now_ms);
  return 0;
}

// What is finished stays finished; everything else is looked at again.
static int act_retry(struct run *r, struct err *err)
{
  (void)err;
  struct migration_memory *memory = &r->st->memory;
  str_set(&r->st->last_handled_retry, object_annotation(r->o, CRDS_ANNOTATE_RETRY));
  str_set(&memory->outcome, NULL);
  str_set(&memory->reason, NULL);
  str_set(&memory->message, NULL);
  str_set(&memory->shutdown_time, NULL);
  str_set(&memory->started_time, NULL);
  str_set(&r->st->completion_time, NULL);
  clock_set(&r->st->start_time, r->now_ms);
  memory->checked = false;
  r->st->retries = 0;
  return 0;
}

static int act_stop_movers(struct run *r, struct err *err)
{
  (void)err;
  movers_stop_all(r->m->movers, r->movers);
  return 0;
}

static int act_report_leftovers(struct run *r, struct err *err)
{
  (void)err;
  while (r->st->owned.count) {
    const struct owned_status *o = r->st->owned.items;
    cleanup_free char *text = str_printf("left behind: %s %s at %s", o->kind, o->id, o->where);
    r->m->store->ops->event(r->m->store, r->o, "Warning", "Abandoned", text);
    log_warning("left behind", "kind", o->kind, "id", o->id, "where", o->where, NULL);
    status_disown(r, o);
  }
  return 0;
}

static int act_finish(struct run *r, struct err *err)
{
  (void)err;
  movers_forget(r->m->movers, r->movers);
  checkpoints_remove(r->m, r->o->meta.uid, NULL, 0);
  return 0;
}

static int (*const actions[ACT_COUNT])(struct run *r, struct err *err) = {
    [ACT_NOTHING] = act_nothing,
    [ACT_WAIT] = act_nothing,
    [ACT_ENTER] = act_nothing,
    [ACT_ADD_FINALIZER] = act_add_finalizer,
    [ACT_REMOVE_FINALIZER] = act_remove_finalizer,
    [ACT_DELETE_OBJECT] = act_delete_object,
    [ACT_LATCH_CANCEL] = act_latch_cancel,
    [ACT_BEGIN] = act_begin,
    [ACT_RETRY] = act_retry,
    [ACT_PREFLIGHT] = act_preflight,
    [ACT_SHUT_DOWN] = act_shut_down,
    [ACT_PLAN] = act_plan,
    [ACT_TRANSFER] = act_transfer,
    [ACT_STOP_MOVERS] = act_stop_movers,
    [ACT_CREATE] = act_create,
    [ACT_POWER_ON] = act_power_on,
    [ACT_REMOVE_STAGED] = act_remove_staged,
    [ACT_SOURCE_AFTER] = act_source_after,
    [ACT_RESTORE_SOURCE] = act_restore_source,
    [ACT_UNDO] = act_undo,
    [ACT_REPORT_LEFTOVERS] = act_report_leftovers,
    [ACT_SUCCEED] = act_succeed,
    [ACT_FINISH] = act_finish,
};

// ---- deciding -------------------------------------------------------------------------------

static void back_off(struct run *r, const struct migration_step *step)
{
  bool blocked = str_eq(step->reason, "CleanupBlocked");
  int64_t tries = ++r->st->retries;
  int64_t delay_ms = blocked
                         ? backoff_ms(BLOCKED_INITIAL_MS, BLOCKED_MAX_MS, tries, 0)
                         : backoff_ms(r->spec->retry.initial_delay_ms, r->spec->retry.max_delay_ms,
                                      tries, clock_random(1 << 20));
  if (r->err.retry_after_ms > delay_ms)
    delay_ms = r->err.retry_after_ms;
  clock_set(&r->st->memory.next_try_time, r->now_ms + delay_ms);
  const char *reason = blocked ? step->reason : err_reason(r->err.kind);
  status_phase(r, step->phase, reason, r->err.message);
  log_warning("will try again", "reason", reason, "message", r->err.message, NULL);
}

static void fail(struct run *r, const struct migration_step *step)
{
  const char *reason = step->reason ? step->reason : err_reason(r->err.kind);
  const char *message = step->reason && step->message ? step->message : r->err.message;
  status_outcome(r, PHASE_FAILED, reason, message);
  status_phase(r, step->phase, reason, message);
  log_error("migration failed", "reason", reason, "message", message, NULL);
  movers_stop_all(r->m->movers, r->movers);
}

static int perform(struct run *r, const struct migration_step *step)
{
  struct err failed = ERR_INIT;
  if (actions[step->action](r, &failed) != 0) {
    r->err = failed;
    return -1;
  }
  bool moved = step->phase != r->phase;
  bool keeps = step->action == ACT_NOTHING || step->action == ACT_REMOVE_FINALIZER;
  if (!keeps)
    status_phase(r, step->phase, step->reason, step->message);
  if (step->action == ACT_SUCCEED)
    status_outcome(r, PHASE_SUCCEEDED, step->reason, step->message);
  if (step->action == ACT_FINISH)
    status_finished(r);
  if (moved)
    log_info("phase", "phase", r->st->phase, "reason", step->reason, NULL);
  return 0;
}

// Milliseconds until the next try, 0 = now. Whoever deletes, cancels or suspends is not kept
// waiting, but a clean-up that is blocked is not hurried by the deletion that it belongs to.
static int64_t backing_off_ms(const struct run *r, uint64_t facts)
{
  const struct condition *progressing = condition_find(&r->st->conditions, "Progressing");
  bool blocked = progressing && str_eq(progressing->reason, "CleanupBlocked");
  uint64_t hurry =
      blocked ? FACT(ABANDON) : FACT(DELETING) | FACT(CANCEL_ASKED) | FACT(SUSPENDED) | FACT(LATE);
  int64_t until;
  if (facts & hurry || !clock_parse_rfc3339(r->st->memory.next_try_time, &until))
    return 0;
  return until > r->now_ms ? until - r->now_ms : 0;
}

// One decision carried out. Returns true to go on at once, else *ret_after_ms says when.
static bool advance(struct run *r, int64_t *ret_after_ms)
{
  uint64_t facts = run_observe(r);
  struct migration_step step = migration_next(r->phase, facts);
  *ret_after_ms = step.after_ms;
  if (step.action == ACT_BACK_OFF) {
    back_off(r, &step);
    *ret_after_ms = -1;
    r->err = (struct err)ERR_INIT;
    return false;
  }
  if (step.action == ACT_FAIL) {
    fail(r, &step);
    r->err = (struct err)ERR_INIT;
    return true;
  }
  if (perform(r, &step) != 0)
    return true; // the error is a fact now: decide again
  if (step.action != ACT_NOTHING && step.action != ACT_WAIT)
    str_set(&r->st->memory.next_try_time, NULL);
  r->ended = step.action == ACT_FINISH || step.action == ACT_REMOVE_FINALIZER;
  bool gone = step.action == ACT_REMOVE_FINALIZER || step.action == ACT_DELETE_OBJECT;
  return step.after_ms == 0 && !gone;
}

static int64_t wake_up_ms(const struct run *r, int64_t after_ms)
{
  int64_t wait = backing_off_ms(r, 0);
  if (wait > 0)
    return wait;
  int64_t then;
  if (!migration_phase_final(r->phase) || !clock_parse_rfc3339(r->st->completion_time, &then))
    return after_ms;
  int64_t ttl_ms = r->spec->ttl_seconds_after_finished * 1000;
  int64_t delete_ms = r->st->memory.source_done ? -1 : r->spec->source_after.after_ms;
  int64_t next_ms = ttl_ms < 0 || (delete_ms > 0 && delete_ms < ttl_ms) ? delete_ms : ttl_ms;
  int64_t left_ms = then + next_ms - r->now_ms;
  return next_ms <= 0 || left_ms < 0 ? after_ms : left_ms + 1;
}

static int64_t go_on(struct run *r)
{
  struct err failed = ERR_INIT;
  int64_t after_ms = -1;
  int64_t wait_ms = backing_off_ms(r, run_observe_wishes(r));
  if (wait_ms > 0)
    return wait_ms;
  for (int i = 0; i < ACTIONS_PER_STEP; i++) {
    r->now_ms = clock_wall_ms();
    bool more = advance(r, &after_ms);
    status_progress(r);
    if (run_save(r, &failed) != 0) {
      // Somebody changed the object, or the store is away: nothing is assumed, all is read again.
      if (failed.kind != ERR_CONFLICT && failed.kind != ERR_NOT_FOUND)
        log_error("status not written", "message", failed.message, NULL);
      return failed.kind == ERR_CONFLICT ? 0 : failed.kind == ERR_NOT_FOUND ? -1 : 1000;
    }
    if (r->ended)
      tell_dependencies(r);
    if (!more)
      return wake_up_ms(r, after_ms);
  }
  return 0;
}

static int64_t say_invalid(struct run *r)
{
  if (r->phase == PHASE_FAILED)
    return -1;
  struct err failed = ERR_INIT;
  status_outcome(r, PHASE_FAILED, err_reason(ERR_INVALID), r->o->invalid);
  status_phase(r, PHASE_FAILED, NULL, NULL);
  status_finished(r);
  return run_save(r, &failed) == 0 ? -1 : 1000;
}

int64_t migration_step(struct manager *m, const struct object_key *key)
{
  LOG_CONTEXT("migration", "%s/%s", key->ns, key->name);
  struct run r CLEANUP(run_release);
  struct err failed = ERR_INIT;
  if (run_init(&r, m, key, &failed) != 0) {
    if (failed.kind == ERR_NOT_FOUND) {
      // Gone without our finalizer (somebody removed it by force): what it ran is ended.
      cleanup_free char *prefix = str_printf("%s/%s/", key->ns, key->name);
      movers_stop_all(m->movers, prefix);
      return movers_running(m->movers, prefix) ? 500 : -1;
    }
    log_error("object not read", "message", failed.message, NULL);
    return 1000;
  }
  if (r.o->invalid && !r.o->meta.deletion_timestamp)
    return say_invalid(&r);
  return go_on(&r);
}
