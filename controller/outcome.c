// SPDX-License-Identifier: Apache-2.0
// How an object ended, in one line.
#include <inttypes.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/str.h"
#include "controller/progress_view.h"
#include "crds/vmmigration.h"
#include "reconcile/migration.h"

// Clones and what belongs to them have ended when they are as wished, or cannot become so by
// themselves; until then Ready is False, too. Providers and stores have been looked at or not.
static bool settles(const struct object *o)
{
  return o->kind == OBJECT_CLONE_BASE || o->kind == OBJECT_CLONE || o->kind == OBJECT_CLONE_SET;
}

static bool is_stalled(const struct object *o)
{
  const struct condition *stalled = object_condition(o, "Stalled");
  return stalled && stalled->status == CONDITION_TRUE &&
         stalled->observed_generation == o->meta.generation;
}

static bool is_final(const char *phase)
{
  for (int i = 0; phase && i < PHASE_COUNT; i++)
    if (str_eq(phase, migration_phase_names[i]))
      return migration_phase_final((enum migration_phase)i);
  return false;
}

// Asked for after the end, and not seen yet: it will begin again.
static bool will_retry(const struct object *o)
{
  const struct vmmigration_status *st = o->status;
  const char *retry = object_annotation(o, CRDS_ANNOTATE_RETRY);
  return str_eq(st->phase, migration_phase_names[PHASE_FAILED]) && retry &&
         !str_eq(retry, st->last_handled_retry);
}

bool object_has_ended(const struct object *o)
{
  if (o->meta.deletion_timestamp)
    return false;
  if (o->kind == OBJECT_VM_MIGRATION) {
    const struct vmmigration_status *st = o->status;
    return is_final(st->phase) && !will_retry(o);
  }
  const struct condition *ready = object_condition(o, "Ready");
  if (!ready || ready->observed_generation != o->meta.generation)
    return false;
  return settles(o) ? ready->status == CONDITION_TRUE || is_stalled(o)
                    : ready->status != CONDITION_UNKNOWN;
}

bool object_has_succeeded(const struct object *o)
{
  if (!object_has_ended(o))
    return false;
  if (o->kind != OBJECT_VM_MIGRATION)
    return object_condition(o, "Ready")->status == CONDITION_TRUE;
  const struct vmmigration_status *st = o->status;
  return str_eq(st->phase, migration_phase_names[PHASE_SUCCEEDED]);
}

static void add_made(const struct vmmigration_status *st, const char *target, struct buf *to)
{
  size_t begin = to->length;
  if (st->result.vm && st->result.vm->name)
    buf_printf(to, "VM '%s'%s%s", st->result.vm->name, target ? " on " : "", target ? target : "");
  const struct result_image *images = st->result.images.items;
  for (size_t i = 0; i < st->result.images.count && i < 3; i++)
    buf_printf(to, "%simage %s in %s", to->length > begin ? ", " : "", images[i].path,
               images[i].store);
  if (st->result.images.count > 3)
    buf_printf(to, " and %zu more", st->result.images.count - 3);
}

static void add_cost(const struct vmmigration_status *st, struct buf *to)
{
  int64_t begin_ms, end_ms;
  char bytes[32], time[32];
  if (!clock_parse_rfc3339(st->start_time, &begin_ms) ||
      !clock_parse_rfc3339(st->completion_time, &end_ms) || st->progress.transferred_bytes == 0)
    return;
  buf_printf(to, "; %s in %s", str_human_bytes((double)st->progress.transferred_bytes, bytes),
             str_human_duration((end_ms - begin_ms + 999) / 1000, time));
}

static const char *target_name(const struct object *o)
{
  const struct vmmigration_spec *spec = o->spec;
  return spec->target.vm ? spec->target.vm->provider.name : NULL;
}

static void migration_outcome(const struct object *o, struct buf *to)
{
  const struct vmmigration_status *st = o->status;
  const struct condition *finished = condition_find(&st->conditions, "Finished");
  bool good = str_eq(st->phase, migration_phase_names[PHASE_SUCCEEDED]);
  size_t begin = to->length;
  if (good) {
    add_made(st, target_name(o), to);
    add_cost(st, to);
  }
  bool plain = good && finished && str_eq(finished->reason, "Completed"); // nothing special
  if (!finished || plain || (str_empty(finished->message) && good))
    return;
  buf_printf(to, "%s%s: %s", to->length > begin ? "; " : "",
             finished->reason ? finished->reason : "",
             str_empty(finished->message) ? "no more is known" : finished->message);
}

void object_outcome(const struct object *o, struct buf *to)
{
  if (o->kind == OBJECT_VM_MIGRATION) {
    migration_outcome(o, to);
    return;
  }
  const struct condition *ready = object_condition(o, "Ready");
  if (ready)
    buf_printf(to, "%s: %s", ready->reason ? ready->reason : "",
               ready->message ? ready->message : "");
}
