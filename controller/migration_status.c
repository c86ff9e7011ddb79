// SPDX-License-Identifier: Apache-2.0
// What a VMMigration's status says: phase and conditions, progress, ledger.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/str.h"
#include "controller/migration_internal.h"

// ---- phase and conditions -------------------------------------------------------------------

static bool condition(struct run *r, const char *type, bool on, const char *reason,
                      const char *message)
{
  return condition_set(&r->st->conditions, type, on ? CONDITION_TRUE : CONDITION_FALSE, reason,
                       message, r->o->meta.generation, r->now_ms);
}

static void event(struct run *r, const char *type, const char *reason, const char *message)
{
  r->m->store->ops->event(r->m->store, r->o, type, reason, message);
}

// Of a finished migration, too: what becomes of the source afterwards may be blocked as well.
static void say_blocked(struct run *r, const char *reason, const char *message)
{
  bool blocked = str_eq(reason, "CleanupBlocked");
  if (blocked || condition_find(&r->st->conditions, "CleanupBlocked"))
    condition(r, "CleanupBlocked", blocked, blocked ? reason : "NotBlocked",
              blocked && message ? message : "");
}

void status_phase(struct run *r, enum migration_phase phase, const char *reason,
                  const char *message)
{
  say_blocked(r, reason, message);
  bool moved = phase != r->phase || str_empty(r->st->phase);
  r->phase = phase;
  str_set(&r->st->phase, migration_phase_names[phase]);
  // What has ended stays as it is, but whoever deletes it must see what the deletion waits for.
  bool final = migration_phase_final(phase);
  bool blocked = r->o->meta.deletion_timestamp && str_eq(reason, "CleanupBlocked");
  if (!reason || (final && !blocked))
    return;
  bool changed = condition(r, "Progressing", true, reason, message ? message : "");
  condition(r, "Reconciling", true, reason, message ? message : "");
  if (!final)
    condition(r, "Finished", false, reason, "not finished");
  if (moved || changed)
    event(r, str_eq(reason, "CleanupBlocked") ? "Warning" : "Normal", reason,
          message ? message : "");
}

void status_outcome(struct run *r, enum migration_phase outcome, const char *reason,
                    const char *message)
{
  struct migration_memory *memory = &r->st->memory;
  str_set(&memory->outcome, migration_phase_names[outcome]);
  str_set(&memory->reason, reason);
  str_set(&memory->message, message);
  if (outcome == PHASE_FAILED)
    event(r, "Warning", reason, message);
}

void status_finished(struct run *r)
{
  const struct migration_memory *memory = &r->st->memory;
  const char *reason = memory->reason ? memory->reason : memory->outcome;
  const char *message = memory->message ? memory->message : "";
  bool failed = r->phase == PHASE_FAILED;
  if (!r->st->completion_time)
    clock_set(&r->st->completion_time, r->now_ms);
  condition(r, "Progressing", false, reason, message);
  condition(r, "Reconciling", false, reason, message);
  condition(r, "Succeeded", r->phase == PHASE_SUCCEEDED, reason, message);
  condition(r, "Failed", failed, reason, message);
  condition(r, "Stalled", failed, reason, message);
  condition(r, "Finished", true, reason, message);
  event(r, failed ? "Warning" : "Normal", migration_phase_names[r->phase], message);
}

// ---- ledger ---------------------------------------------------------------------------------

struct owned_status *status_own(struct run *r, const char *kind, const char *id, const char *where,
                                const char *role, const char *disk)
{
  struct owned_status *o = list_add(&r->st->owned, sizeof(*o), 4 * LIMIT_DISKS);
  if (!o)
    return NULL;
  *o = (struct owned_status){str_dup(kind), str_dup(id),   str_dup(where),
                             str_dup(role), str_dup(disk), 1};
  return o;
}

struct owned_status *status_find_owned(const struct run *r, const char *role, const char *disk,
                                       const char *kind)
{
  struct owned_status *all = r->st->owned.items;
  for (size_t i = 0; i < r->st->owned.count; i++)
    if (str_eq(all[i].role, role) && str_eq(all[i].disk, disk) && str_eq(all[i].kind, kind))
      return &all[i];
  return NULL;
}

void status_disown(struct run *r, const struct owned_status *o)
{
  struct owned_status *all = r->st->owned.items;
  size_t i = (size_t)(o - all);
  char *texts[] = {all[i].kind, all[i].id, all[i].where, all[i].role, all[i].disk};
  for (size_t t = 0; t < ARRAY_SIZE(texts); t++)
    free(texts[t]);
  r->st->owned.count--;
  memmove(&all[i], &all[i + 1], (r->st->owned.count - i) * sizeof(*all));
}

// ---- progress -------------------------------------------------------------------------------

// Where the bytes pass through a store, each byte is moved twice.
static int legs(const struct run *r)
{
  return r->spec->via ? 2 : 1;
}

static int legs_behind(const struct migration_disk_status *d, int all)
{
  if (str_eq(d->phase, "Done"))
    return all;
  return str_eq(d->phase, "Staged") || str_eq(d->phase, "Restoring") ? 1 : 0;
}

struct sums {
  int64_t total, data, moved, resent, rate, work, done;
  bool known; // every disk has said how much data it holds
};

// Reading back is work as well: half a leg's worth would be a guess, so it counts as much as
// writing.
static void add_disk(struct sums *s, const struct migration_disk_status *d, int all_legs,
                     bool readback)
{
  int64_t data = d->data_bytes > 0 ? d->data_bytes : d->capacity_bytes;
  int64_t per_leg = readback ? 2 * data : data;
  int behind = legs_behind(d, all_legs);
  bool done = behind == all_legs;
  int64_t current = done ? 0 : d->transferred_bytes + (readback ? d->verified_bytes : 0);
  s->total += d->capacity_bytes;
  s->data += d->data_bytes;
  s->rate += d->bytes_per_second;
  s->resent += d->resent_bytes;
  s->work += per_leg * all_legs;
  s->done += per_leg * behind + (current > per_leg ? per_leg : current);
  s->moved += data * behind + (done ? 0 : d->transferred_bytes);
  s->known = s->known && d->data_bytes > 0;
}

static int64_t percent_of(const struct run *r, const struct sums *s)
{
  if (r->phase == PHASE_SUCCEEDED)
    return 100;
  if (r->phase < PHASE_TRANSFERRING || s->work == 0)
    return 0;
  int64_t percent = s->done * 100 / s->work;
  return percent > 99 ? 99 : percent; // all of it only when all of it is verified and finished
}

static void summarize(struct run *r, const struct sums *s)
{
  struct migration_summary *summary = &r->st->summary;
  struct migration_progress *p = &r->st->progress;
  bool moving = r->phase == PHASE_TRANSFERRING || r->phase == PHASE_VERIFYING;
  char bytes[32], text[64];
  snprintf(text, sizeof(text), "%" PRId64 "%%", p->percent);
  str_set(&summary->progress, text);
  snprintf(text, sizeof(text), "%s/s", str_human_bytes((double)s->rate, bytes));
  str_set(&summary->rate, moving && s->rate > 0 ? text : "");
  str_set(&summary->eta,
          moving && p->eta_seconds >= 0 ? str_human_duration(p->eta_seconds, bytes) : "");
}

void status_progress(struct run *r)
{
  const struct migration_disk_status *disks = r->st->disks.items;
  bool readback = r->spec->transfer.verify == MIGRATE_VERIFY_READBACK;
  struct sums s = {.known = true};
  for (size_t i = 0; i < r->st->disks.count; i++)
    add_disk(&s, &disks[i], legs(r), readback);
  struct migration_progress *p = &r->st->progress;
  p->total_bytes = s.total;
  p->data_bytes = s.data;
  // Never backwards: a disk that starts over has moved what it moved.
  if (s.moved > p->transferred_bytes)
    p->transferred_bytes = s.moved;
  if (s.resent > p->resent_bytes)
    p->resent_bytes = s.resent;
  int64_t percent = percent_of(r, &s);
  if (percent > p->percent)
    p->percent = percent;
  p->bytes_per_second = s.rate;
  p->eta_seconds = s.rate > 0 && s.known ? (s.work - s.done) / s.rate : -1;
  summarize(r, &s);
}
