// SPDX-License-Identifier: Apache-2.0
// The runner of CloneSet: counts its clones, asks set_plan() which to make and which to delete,
// and does so. It never touches a machine: that is the business of each Clone.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/str.h"
#include "controller/cloneset_internal.h"
#include "crds/clonebase.h"

#define BURST        64 // clones made or deleted in one step
#define FAILURES_MAX 20
#define RESYNC_MS    30000
#define RETRY_MS     5000
#define ORPHAN       "orphan" // finalizer of `kubectl delete --cascade=orphan`

DEFINE_CLEANUP(object_free, struct object *)

static void setting_release(struct setting *s)
{
  for (size_t i = 0; i < s->count; i++)
    object_free(s->clones[i]);
  free(s->clones);
  free(s->facts);
  free(s->why);
  set_plan_release(&s->plan);
  keeping_release(&s->k);
}

// ---- members --------------------------------------------------------------------------------

static bool selected(const struct setting *s, const struct object *o)
{
  const struct strings *wanted = &s->spec->selector;
  if (wanted->count == 0)
    return str_eq(strings_map_get(&o->meta.labels, CRDS_LABEL_SET), s->k.key.name);
  for (size_t i = 0; i + 1 < wanted->count; i += 2)
    if (!str_eq(strings_map_get(&o->meta.labels, wanted->items[i]), wanted->items[i + 1]))
      return false;
  return true;
}

static bool is_owned(const struct setting *s, const struct object *o)
{
  const struct object_owner *owner = cloneset_controller_of(o);
  return owner && str_eq(owner->uid, s->k.o->meta.uid);
}

// Owned by this set, or by nobody and wanted by its selector.
static bool is_member(const struct setting *s, const struct object *o)
{
  return cloneset_controller_of(o) ? is_owned(s, o) : selected(s, o);
}

static int64_t ordinal_of(const struct setting *s, const struct object *o)
{
  const char *text = strings_map_get(&o->meta.labels, CRDS_LABEL_ORDINAL);
  char name[254];
  char *end;
  if (!text)
    return -1;
  long long ordinal = strtoll(text, &end, 10);
  bool fits = *text && !*end && ordinal >= 0 &&
              set_clone_name(s->spec->name_template, s->k.key.name, ordinal, name) &&
              str_eq(name, o->meta.name);
  return fits ? ordinal : -1;
}

// One that was adopted bears no revision: what it rests upon tells.
static bool is_updated(const struct setting *s, const struct object *o)
{
  const char *revision = strings_map_get(&o->meta.labels, CRDS_LABEL_REVISION);
  const struct clone_spec *spec = o->spec;
  return revision ? str_eq(revision, s->revision)
                  : spec->base && str_eq(spec->base->name, s->spec->base.name);
}

static struct set_clone facts_of(const struct setting *s, const struct object *o)
{
  const struct clone_status *st = o->status;
  const struct condition *ready = condition_find(&st->conditions, "Ready");
  const struct condition *stalled = condition_find(&st->conditions, "Stalled");
  bool is_ready = ready && ready->status == CONDITION_TRUE;
  return (struct set_clone){
      .ordinal = ordinal_of(s, o),
      .updated = is_updated(s, o),
      .ready = is_ready,
      .deleting = o->meta.deletion_timestamp != NULL,
      .failed = stalled && stalled->status == CONDITION_TRUE,
      .delete_first = str_eq(object_annotation(o, CRDS_DELETE_FIRST), "true"),
      .ready_ms = is_ready ? clock_time_of(ready->last_transition_time) : 0,
      .created_ms = clock_time_of(o->meta.creation_timestamp),
  };
}

struct members {
  const struct setting *s;
  struct list clones; // of struct object *
  struct err err;
};

static void take_member(void *arg, const struct object *o)
{
  struct members *m = arg;
  if (m->err.kind != ERR_NONE || !is_member(m->s, o))
    return;
  struct object **copy = list_add(&m->clones, sizeof(*copy), SIZE_MAX);
  if (!copy)
    err_set(&m->err, ERR_NO_MEMORY, "out of memory");
  else if (object_copy(o, copy, &m->err) != 0)
    m->clones.count--;
}

static int read_members(struct setting *s, struct err *err)
{
  struct object_store *store = s->k.m->store;
  struct members m = {.s = s};
  int failed = store->ops->visit(store, OBJECT_CLONE, s->k.key.ns, NULL, take_member, &m, err);
  s->clones = m.clones.items;
  s->count = m.clones.count;
  s->facts = calloc(s->count + 1, sizeof(*s->facts));
  if (failed)
    return -1;
  if (m.err.kind != ERR_NONE || !s->facts)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  for (size_t i = 0; i < s->count; i++)
    s->facts[i] = facts_of(s, s->clones[i]);
  return 0;
}

// ---- revision -------------------------------------------------------------------------------

// Of what makes a clone what it is. Labels are not among it, which change no machine, and neither
// is powerState, which each clone can be told as it is.
static void find_revision(struct setting *s)
{
  struct json_object *t = table_encode(&clone_template_table, &s->spec->t);
  if (t)
    json_object_object_del(t, "powerState");
  cleanup_free char *text =
      str_printf("%s\n%s", s->spec->base.name,
                 t ? json_object_to_json_string_ext(t, JSON_C_TO_STRING_PLAIN) : "");
  json_object_put(t);
  keeping_hash(text ? text : "", sizeof(s->revision) - 1, s->revision);
  str_set(&s->st->update_revision, s->revision);
  str_set(&s->st->update_base, s->spec->base.name);
  if (s->st->current_revision)
    return;
  str_set(&s->st->current_revision, s->revision);
  str_set(&s->st->current_base, s->spec->base.name);
}

static void find_base(struct setting *s)
{
  struct object *base CLEANUP(object_free_p) = NULL;
  struct err failed = ERR_INIT;
  if (store_get(s->k.m->store, OBJECT_CLONE_BASE, s->k.key.ns, s->spec->base.name, &base,
                &failed) != 0) {
    s->why = failed.kind == ERR_NOT_FOUND
                 ? str_printf("CloneBase %s/%s does not exist", s->k.key.ns, s->spec->base.name)
                 : str_dup(failed.message);
    return;
  }
  const struct clonebase_status *st = base->status;
  s->base_bytes = st->bytes;
  const struct condition *ready = condition_find(&st->conditions, "Ready");
  s->base_ready = ready && ready->status == CONDITION_TRUE && !base->meta.deletion_timestamp;
  if (!s->base_ready)
    s->why = str_printf("CloneBase %s/%s is not ready: %.400s", s->k.key.ns, s->spec->base.name,
                        ready && ready->message ? ready->message : "not looked at yet");
}

// ---- acting ---------------------------------------------------------------------------------

// What is nobody's becomes this set's, and goes with it. One that others own as well (but do not
// control) is counted and left with them.
static int adopt(struct setting *s, struct err *err)
{
  struct object_store *store = s->k.m->store;
  for (size_t i = 0; i < s->count; i++) {
    struct object *o = s->clones[i];
    if (o->meta.owners.count > 0 || o->meta.deletion_timestamp)
      continue;
    if (cloneset_add_owner(s, o, err) != 0 || store->ops->put_owners(store, o, err) != 0)
      return -1;
    log_info("Adopted", "clone", o->meta.name, NULL);
  }
  return 0;
}

// A roll-out takes no clone away before it is known that another can be made in its place: not that
// the base was ready a while ago, but that the platform, its storage and the base are there now.
static void ask_for_others(struct setting *s)
{
  if (s->plan.replaced_count == 0 || !s->base_ready)
    return;
  size_t first = s->plan.deletes[s->plan.delete_count - s->plan.replaced_count];
  int64_t ordinal = s->facts[first].ordinal;
  if (cloneset_could_create(s, ordinal < 0 ? 0 : ordinal, &s->no_other) != 0)
    log_info("nothing is replaced", "message", s->no_other.message, NULL);
}

// How many may go now: what is too many always, the rest when others can be made.
static size_t may_delete(const struct setting *s)
{
  bool replaces = s->base_ready && s->no_other.kind == ERR_NONE;
  return s->plan.delete_count - (replaces ? 0 : s->plan.replaced_count);
}

// A new powerState of the template is a wish for all; later ones of a single clone (`drover stop`)
// stay.
static int tell_power(struct setting *s, struct err *err)
{
  static const char *const words[] = {"On", "Off"};
  const char *wish = words[s->spec->t.power_state];
  char **told = &s->st->memory.power_state;
  bool first = !*told;
  if (str_eq(*told, wish))
    return 0;
  struct json_object *patch = json_object_new_object();
  struct json_object *spec = json_object_new_object();
  json_object_object_add(spec, "powerState", json_object_new_string(wish));
  json_object_object_add(patch, "spec", spec);
  int failed = 0;
  for (size_t i = 0; !first && !failed && i < s->count; i++) {
    const struct clone_spec *clone = s->clones[i]->spec;
    struct object_key key = object_key_of(s->clones[i]);
    if (!s->facts[i].deleting && clone->t.power_state != s->spec->t.power_state)
      failed = s->k.m->store->ops->patch(s->k.m->store, &key, patch, err);
  }
  json_object_put(patch);
  if (!failed)
    str_set(told, wish);
  return failed;
}

static int carry_out(struct setting *s, struct err *err)
{
  struct object_store *store = s->k.m->store;
  size_t deletes = may_delete(s);
  for (size_t i = 0; i < deletes; i++) {
    struct err failed = ERR_INIT;
    if (store->ops->remove(store, s->clones[s->plan.deletes[i]], &failed) == 0 ||
        failed.kind == ERR_NOT_FOUND)
      continue;
    *err = failed;
    return -1;
  }
  // What must wait for its base is not made: a set that cannot begin makes no heap of objects.
  if (!s->base_ready)
    return 0;
  for (size_t i = 0; i < s->plan.create_count; i++)
    if (cloneset_create(s, s->plan.creates[i], s->plan.create_old[i], err) != 0)
      return -1;
  return 0;
}

// ---- saying ---------------------------------------------------------------------------------

static void forget_failures(struct list *l)
{
  struct cset_failure *items = l->items;
  for (size_t i = 0; i < l->count; i++) {
    free(items[i].clone);
    free(items[i].reason);
    free(items[i].message);
  }
  free(items);
  *l = (struct list){0};
}

static void count_bytes(struct setting *s)
{
  int64_t used = 0, saved = 0, whole = s->base_bytes;
  for (size_t i = 0; i < s->count; i++) {
    const struct clone_status *st = s->clones[i]->status;
    if (!st->memory.made || st->bytes < 0)
      continue;
    used += st->bytes;
    saved += whole > st->bytes ? whole - st->bytes : 0;
  }
  s->st->bytes_used = used;
  s->st->bytes_saved = saved;
}

static void list_failures(struct setting *s)
{
  forget_failures(&s->st->failures);
  for (size_t i = 0; i < s->count && s->st->failures.count < FAILURES_MAX; i++) {
    const struct clone_status *st = s->clones[i]->status;
    const struct condition *stalled = condition_find(&st->conditions, "Stalled");
    if (!s->facts[i].failed)
      continue;
    struct cset_failure *f = list_add(&s->st->failures, sizeof(*f), FAILURES_MAX);
    if (f)
      *f = (struct cset_failure){str_dup(s->clones[i]->meta.name), str_dup(stalled->reason),
                                 str_dup(stalled->message)};
  }
}

static char *selector_text(const struct setting *s)
{
  struct buf b CLEANUP(buf_release) = BUF_INIT(8192);
  const struct strings *wanted = &s->spec->selector;
  for (size_t i = 0; i + 1 < wanted->count; i += 2)
    buf_printf(&b, "%s%s=%s", i ? "," : "", wanted->items[i], wanted->items[i + 1]);
  if (wanted->count == 0)
    buf_printf(&b, "%s=%s", CRDS_LABEL_SET, s->k.key.name);
  return buf_take(&b);
}

static bool numbers_changed(const struct setting *s)
{
  const struct cloneset_status *was = s->k.before->status;
  return was->replicas != s->st->replicas || was->ready_replicas != s->st->ready_replicas ||
         was->available_replicas != s->st->available_replicas ||
         was->updated_replicas != s->st->updated_replicas ||
         !str_eq(was->update_revision, s->st->update_revision);
}

static void take_numbers(struct setting *s)
{
  const struct set_plan *p = &s->plan;
  cleanup_free char *selector = selector_text(s);
  str_set(&s->st->selector, selector);
  s->st->replicas = p->replicas;
  s->st->ready_replicas = p->ready;
  s->st->available_replicas = p->available;
  s->st->updated_replicas = p->updated;
  count_bytes(s);
  list_failures(s);
  if (numbers_changed(s) || !s->st->memory.progress_time)
    clock_set(&s->st->memory.progress_time, s->k.now_ms);
  if (p->complete && s->spec->update.partition == 0) {
    str_set(&s->st->current_revision, s->revision);
    str_set(&s->st->current_base, s->spec->base.name);
  }
}

static bool overdue(const struct setting *s)
{
  return s->k.now_ms >=
         clock_time_of(s->st->memory.progress_time) + s->spec->progress_deadline_seconds * 1000;
}

static void say(struct setting *s)
{
  char text[256], waits[ERR_MESSAGE_MAX + 512];
  const struct set_plan *p = &s->plan;
  bool rolling = p->updated < s->spec->replicas || !str_eq(s->st->current_revision, s->revision);
  snprintf(text, sizeof(text), "%" PRId64 " of %" PRId64 " available, %" PRId64 " updated",
           p->available, s->spec->replicas, p->updated);
  snprintf(waits, sizeof(waits),
           "%s; no clone is deleted before another can be made in its place: %s", text,
           s->no_other.message);
  if (s->k.err.kind != ERR_NONE)
    keeping_say(&s->k, NULL, false, !err_retryable(s->k.err.kind), err_reason(s->k.err.kind),
                s->k.err.message);
  else if (p->complete)
    keeping_say(&s->k, NULL, true, false, "Complete", text);
  else if (!s->base_ready)
    keeping_say(&s->k, NULL, false, false, "BaseNotReady", s->why);
  else if (s->no_other.kind != ERR_NONE)
    keeping_say(&s->k, NULL, false, false, "CannotReplace", waits);
  else if (overdue(s))
    keeping_say(&s->k, NULL, false, true, "ProgressDeadlineExceeded", text);
  else
    keeping_say(&s->k, NULL, false, false, rolling ? "RollingOut" : "Scaling", text);
}

// ---- the step -------------------------------------------------------------------------------

static int make_wish(const struct setting *s, struct set_wish *ret, struct err *err)
{
  const struct cset_update_spec *u = &s->spec->update;
  int64_t unavailable = set_amount(u->max_unavailable, s->spec->replicas, false);
  int64_t surge = set_amount(u->max_surge, s->spec->replicas, true);
  if (unavailable < 0 || surge < 0)
    return err_set(err, ERR_INVALID,
                   "update: maxUnavailable and maxSurge must be numbers or percents");
  *ret = (struct set_wish){
      .replicas = s->spec->replicas,
      .partition = u->partition,
      .max_unavailable = unavailable == 0 && surge == 0 ? 1 : unavailable,
      .max_surge = surge,
      .on_delete = u->type == CSET_ON_DELETE,
      .scale_down = (enum set_scale_down)s->spec->scale_down,
      .min_ready_ms = s->spec->min_ready_seconds * 1000,
      .now_ms = s->k.now_ms,
  };
  return 0;
}

// Only what it owns: whoever asks for orphans has the owner taken from them, at once or already.
static int64_t delete_all(struct setting *s)
{
  struct object_store *store = s->k.m->store;
  struct err failed = ERR_INIT;
  size_t left = 0;
  if (!object_has_finalizer(s->k.o, CRDS_FINALIZER))
    return -1;
  bool orphans = object_has_finalizer(s->k.o, ORPHAN);
  for (size_t i = 0; i < s->count && !orphans; i++) {
    bool owned = is_owned(s, s->clones[i]);
    left += owned;
    if (owned && !s->facts[i].deleting)
      store->ops->remove(store, s->clones[i], &failed);
  }
  if (left == 0)
    return set_cleanup_finalizer(s->k.m, s->k.o, false, &failed) == 0 ? -1 : 1000;
  char text[64];
  snprintf(text, sizeof(text), "%zu clone(s) are being deleted", left);
  keeping_say(&s->k, NULL, false, false, "Deleting", text);
  return keeping_save(&s->k, RESYNC_MS);
}

static int64_t keep(struct setting *s)
{
  struct set_wish wish;
  struct err failed = ERR_INIT;
  find_base(s);
  if (make_wish(s, &wish, &s->k.err) != 0) {
    say(s);
    return keeping_save(&s->k, -1);
  }
  if (set_plan(&wish, s->facts, s->count, BURST, &s->plan) != 0)
    return 1000;
  take_numbers(s);
  if (s->spec->suspend) {
    keeping_say(&s->k, NULL, false, false, "Suspended", "spec.suspend is set");
    return keeping_save(&s->k, -1);
  }
  if (adopt(s, &failed) != 0)
    return failed.kind == ERR_CONFLICT || failed.kind == ERR_NOT_FOUND ? 100 : 1000;
  ask_for_others(s);
  bool acts = may_delete(s) + (s->base_ready ? s->plan.create_count : 0) > 0;
  if (tell_power(s, &failed) != 0 || (acts && carry_out(s, &failed) != 0))
    s->k.err = failed;
  say(s);
  int64_t after_ms = s->plan.look_again_ms >= 0 ? s->plan.look_again_ms
                     : s->plan.complete         ? -1
                                                : RESYNC_MS;
  if (s->k.err.kind != ERR_NONE)
    after_ms = RETRY_MS;
  else if (acts)
    after_ms = 20; // a burst is not all
  else if (s->no_other.kind != ERR_NONE)
    after_ms = RETRY_MS;
  return keeping_save(&s->k, after_ms);
}

static int64_t run(struct setting *s)
{
  struct err failed = ERR_INIT;
  bool deleting = s->k.o->meta.deletion_timestamp != NULL;
  if (s->k.o->invalid && !deleting) {
    keeping_say(&s->k, NULL, false, true, err_reason(ERR_INVALID), s->k.o->invalid);
    return keeping_save(&s->k, -1);
  }
  if (!deleting && !object_has_finalizer(s->k.o, CRDS_FINALIZER))
    return set_cleanup_finalizer(s->k.m, s->k.o, true, &failed) == 0 ? 0 : 1000;
  find_revision(s);
  if (read_members(s, &failed) != 0) {
    log_error("clones not read", "message", failed.message, NULL);
    return 1000;
  }
  return deleting ? delete_all(s) : keep(s);
}

int64_t cloneset_step(struct manager *m, const struct object_key *key)
{
  LOG_CONTEXT("cloneset", "%s/%s", key->ns, key->name);
  struct setting s = {0};
  struct err failed = ERR_INIT;
  int64_t after_ms = -1;
  if (keeping_init(&s.k, m, key, &failed) == 0) {
    s.spec = s.k.o->spec;
    s.st = s.k.o->status;
    s.k.conditions = &s.st->conditions;
    s.k.observed_generation = &s.st->observed_generation;
    after_ms = run(&s);
  } else if (failed.kind != ERR_NOT_FOUND) {
    after_ms = 1000;
  }
  setting_release(&s);
  return after_ms;
}
