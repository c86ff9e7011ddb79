// SPDX-License-Identifier: Apache-2.0
// The runner of CloneBase. How disks are brought from elsewhere is in clonebase_disks.c.
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "controller/clonebase_internal.h"
#include "crds/cloneset.h"
#include "providers/clone.h"
#include "reconcile/base.h"

#define ACTIONS_PER_STEP 8
#define POLL_MS          200

// ---- facts ----------------------------------------------------------------------------------

static bool clone_names(const struct object *o, const char *base)
{
  const struct clone_spec *spec = o->spec;
  const struct clone_status *st = o->status;
  return spec->base && str_eq(spec->base->name, base) &&
         (st->owned.count > 0 || !o->meta.deletion_timestamp);
}

static bool set_names(const struct object *o, const char *base)
{
  const struct cloneset_spec *spec = o->spec;
  return str_eq(spec->base.name, base) && !o->meta.deletion_timestamp;
}

struct counting {
  bool (*names)(const struct object *o, const char *base);
  const struct basing *b;
  int64_t dependents;
};

static void count_one(void *arg, const struct object *o)
{
  struct counting *c = arg;
  c->dependents += !o->invalid && c->names(o, c->b->k.key.name);
}

static int64_t count_dependents(struct basing *b, enum object_kind kind,
                                bool (*names)(const struct object *o, const char *base))
{
  struct counting c = {names, b, 0};
  struct object_store *store = b->k.m->store;
  if (store->ops->visit(store, kind, b->k.key.ns, b->k.key.name, count_one, &c, &b->k.err) != 0)
    return 0;
  return c.dependents;
}

static bool retained(const struct basing *b)
{
  bool ours = b->spec->image || (b->spec->vm && b->spec->vm->take == BASE_COPY) ||
              (b->spec->template_ && !b->spec->template_->name);
  return b->spec->deletion_policy == BASE_RETAIN ||
         (b->spec->deletion_policy == BASE_DELETION_DEFAULT && !ours);
}

static void take_seen(struct basing *b, const struct base_seen *seen, uint64_t *facts)
{
  bool modified = b->st->revision && seen->revision && !str_eq(b->st->revision, seen->revision);
  if (!b->st->revision && seen->done)
    str_set(&b->st->revision, seen->revision);
  if (seen->done)
    str_set(&b->st->id, seen->id);
  b->st->bytes = seen->bytes;
  b->st->modified = modified;
  *facts |= bit(modified, BASE_FACT(MODIFIED)) | bit(seen->running, BASE_FACT(RUNNING));
}

static uint64_t look(struct basing *b)
{
  struct base_seen seen CLEANUP(base_seen_release) = {0};
  struct owned o = keeping_owned_view(b->k.owned->items);
  struct provider *p;
  uint64_t facts = BASE_FACT(SEEN);
  b->unreachable = (struct err)ERR_INIT;
  if (basing_provider(b, &p, &b->unreachable) != 0)
    return 0;
  if (provider_base_get(p, &o, &seen, &b->unreachable) != 0) {
    if (b->unreachable.kind != ERR_NOT_FOUND)
      return 0;
    b->unreachable = (struct err)ERR_INIT;
    return facts;
  }
  take_seen(b, &seen, &facts);
  return facts | BASE_FACT(EXISTS);
}

// Asked while it matters: of a machine that is to be copied, and of an image.
static void find_who_copies(struct basing *b)
{
  struct provider *p;
  bool copies = b->spec->image || (b->spec->vm && b->spec->vm->take == BASE_COPY);
  if (!copies || b->k.err.kind != ERR_NONE || basing_provider(b, &p, &b->k.err) != 0)
    return;
  b->copies_itself = provider_copies_machines(p);
  b->takes_images = provider_takes_images(p);
}

static uint64_t observe(struct basing *b)
{
  static const struct keeping_bits bits = {BASE_FACT(DELETING), BASE_FACT(FINALIZER),
                                           BASE_FACT(ABANDON), BASE_FACT(ERROR), BASE_FACT(HICCUP)};
  b->st->dependents = count_dependents(b, OBJECT_CLONE, clone_names) +
                      count_dependents(b, OBJECT_CLONE_SET, set_names);
  b->st->in_use = b->st->dependents > 0;
  if (!b->st->memory.made && !b->k.o->meta.deletion_timestamp)
    find_who_copies(b);
  bool planned = b->k.owned->count > 0;
  bool made = b->st->memory.made;
  uint64_t facts = keeping_observe(&b->k, &bits) | bit(retained(b), BASE_FACT(RETAIN)) |
                   bit(b->spec->suspend, BASE_FACT(SUSPENDED)) |
                   bit(b->st->in_use, BASE_FACT(DEPENDENTS)) |
                   bit(b->st->memory.checked, BASE_FACT(CHECKED)) |
                   bit(basing_needs_disks(b), BASE_FACT(NEEDS_DISKS)) |
                   bit(planned, BASE_FACT(PLANNED)) | bit(made, BASE_FACT(MADE));
  // Of an image that goes, nobody asked who takes it: there is a VMMigration if one was made.
  bool migrates =
      basing_needs_disks(b) && (!b->k.o->meta.deletion_timestamp || b->st->memory.migration);
  if (migrates && !made && b->k.err.kind == ERR_NONE)
    facts |= basing_look_at_migration(b);
  if (planned && made && !(facts & (BASE_FACT(ERROR) | BASE_FACT(HICCUP))))
    facts |= look(b);
  return facts;
}

// ---- actions --------------------------------------------------------------------------------

static void make_order(struct basing *b, struct base_order *ret)
{
  const struct clonebase_template *t = b->spec->template_;
  const struct clonebase_vm *vm = b->spec->vm;
  const struct clonebase_image *image = basing_streams(b) ? b->spec->image : NULL;
  *ret = (struct base_order){
      .name = keeping_far_name(b->k.o),
      .uid = str_dup(b->k.o->meta.uid),
      .owner = str_dup(b->k.owner),
      .vm = str_dup(b->machine ? b->machine
                    : vm       ? (vm->name ? vm->name : vm->id)
                               : NULL),
      .convert = b->machine || (vm && vm->take == BASE_CONVERT),
      .template_ = str_dup(t ? t->name : NULL),
      .server = str_dup(t ? t->server : NULL),
      .alias = str_dup(t ? t->alias : NULL),
      .fingerprint = str_dup(t ? t->fingerprint : NULL),
      .image = image ? str_printf("%s/%s", image->store.name, image->path) : NULL,
      // What a VMMigration brought was given them by it.
      .storage = str_dup(b->machine ? NULL : b->spec->storage),
      .cpus = b->machine ? 0 : b->spec->cpus,
      .memory_bytes = b->machine ? 0 : b->spec->memory_bytes,
  };
}

static int act_nothing(struct basing *b, struct err *err)
{
  (void)b;
  (void)err;
  return 0;
}

static int act_add_finalizer(struct basing *b, struct err *err)
{
  return set_cleanup_finalizer(b->k.m, b->k.o, true, err);
}

// A machine that runs is stopped first, if that was asked for. What a VMMigration brings is stopped
// by that one. Returns 1 while it runs still.
static int stop_source(struct basing *b, struct provider *p, struct err *err)
{
  const struct clonebase_vm *vm = b->spec->vm;
  struct clone_seen seen CLEANUP(clone_seen_release) = {0};
  if (!vm || basing_needs_disks(b) || vm->shutdown.policy == BASE_SHUTDOWN_NEVER)
    return 0;
  if (provider_clone_get(p, vm->name ? vm->name : vm->id, &seen, err) != 0)
    return -1;
  if (seen.power == VM_POWER_OFF)
    return 0;
  bool asked = b->st->memory.stopped;
  bool late =
      asked && b->k.now_ms >= clock_time_of(b->st->memory.stop_time) + vm->shutdown.timeout_ms;
  if (late && vm->shutdown.policy == BASE_SHUTDOWN_GUEST)
    return err_set(err, ERR_TIMEOUT, "'%s' did not shut down within vm.shutdown.timeout",
                   seen.name);
  enum power_action how =
      vm->shutdown.policy == BASE_SHUTDOWN_FORCE ? POWER_OFF : POWER_GUEST_SHUTDOWN;
  if (asked && how == POWER_GUEST_SHUTDOWN)
    return 1;
  b->st->memory.stopped = true;
  clock_set(&b->st->memory.stop_time, b->k.now_ms);
  int64_t again_ms;
  return keeping_note(&b->k, &again_ms) && provider_clone_power(p, seen.id, how, err) != 0 ? -1 : 1;
}

static int start_source(struct basing *b, struct provider *p, struct err *err)
{
  const struct clonebase_vm *vm = b->spec->vm;
  struct clone_seen seen CLEANUP(clone_seen_release) = {0};
  if (!b->st->memory.stopped || vm->take != BASE_COPY)
    return 0;
  if (provider_clone_get(p, vm->name ? vm->name : vm->id, &seen, err) != 0)
    return -1;
  return provider_clone_power(p, seen.id, POWER_ON, err);
}

// Before anything is asked of the machine. A template is a machine on some platforms.
static int scope_of_origin(struct basing *b, struct provider *p, struct err *err)
{
  const struct clonebase_vm *vm = b->spec->vm;
  const char *name = vm               ? (vm->name ? vm->name : vm->id)
                     : b->spec->image ? NULL
                                      : b->spec->template_->name;
  return name ? scope_check_machine(provider_access_spec(&b->k.access), p, name, err) : 0;
}

// What the VMMigration brings is checked by that one's preflight.
static int act_check(struct basing *b, struct err *err)
{
  struct findings f CLEANUP(findings_release) = {0};
  struct base_order order;
  struct provider *p;
  if (basing_provider(b, &p, err) != 0)
    return -1;
  if (!provider_can_clone(p))
    return err_set(err, ERR_UNSUPPORTED, "providers of type %s keep no clones",
                   provider_access_spec(&b->k.access)->type);
  if (scope_of_origin(b, p, err) != 0)
    return -1;
  int stopping = stop_source(b, p, err);
  if (stopping != 0)
    return stopping < 0 ? -1 : 0;
  make_order(b, &order);
  int rc = b->spec->storage
               ? storage_check(b->k.m, provider_access_spec(&b->k.access), b->spec->storage, err)
               : 0;
  if (rc == 0 && basing_streams(b))
    rc = basing_look_at_image(b, &order, &f, err);
  if (rc == 0 && !basing_needs_disks(b))
    rc = provider_base_check(p, &order, &f, err);
  table_release(&base_order_table, &order);
  if (rc != 0 || !keeping_take_findings(&b->k, &f, err))
    return -1;
  b->st->memory.checked = true;
  return 0;
}

static int act_plan(struct basing *b, struct err *err)
{
  struct base_order order;
  struct owned o = {0};
  struct provider *p;
  if (basing_provider(b, &p, err) != 0)
    return -1;
  make_order(b, &order);
  int rc = provider_base_plan(p, &order, &o, err);
  table_release(&base_order_table, &order);
  if (rc == 0)
    keeping_own(&b->k, &o, "target");
  owned_release(&o);
  return rc;
}

static int act_make(struct basing *b, struct err *err)
{
  struct base_seen seen CLEANUP(base_seen_release) = {0};
  struct base_order order;
  struct provider *p;
  uint64_t ignored = 0;
  if (basing_provider(b, &p, err) != 0)
    return -1;
  struct feed_source *source = NULL;
  if (basing_streams(b) && basing_source(b, &source, err) != 0)
    return -1;
  make_order(b, &order);
  order.source = source;
  struct owned o = keeping_owned_view(b->k.owned->items);
  int rc = provider_base_make(p, &order, &o, &seen, err);
  table_release(&base_order_table, &order);
  feed_source_unref(source);
  if (rc != 0)
    return -1;
  take_seen(b, &seen, &ignored);
  if (seen.done && start_source(b, p, err) != 0)
    return -1;
  b->st->memory.made = seen.done;
  cleanup_free char *percent =
      !seen.done && seen.percent > 0 ? str_printf("%lld%%", (long long)seen.percent) : NULL;
  str_set(&b->st->summary.progress, percent);
  return 0;
}

static int act_remove(struct basing *b, struct err *err)
{
  struct provider *p;
  const struct owned_status *s = b->k.owned->items;
  struct owned o = keeping_owned_view(s);
  struct err failed = ERR_INIT;
  if (basing_provider(b, &p, err) != 0)
    return -1;
  if (provider_remove(p, &o, b->k.owner, &failed) == 0) {
    keeping_disown(&b->k, s);
    return 0;
  }
  if (failed.kind == ERR_BUSY) { // under way, or others rest on it
    keeping_say(&b->k, base_phase_names[BASE_DELETING], false, false, "Deleting", failed.message);
    return 0;
  }
  *err = failed;
  return -1;
}

static int act_let_go(struct basing *b, struct err *err)
{
  (void)err;
  if (!b->k.owned->count)
    return 0;
  const struct owned_status *o = b->k.owned->items;
  struct owned view = keeping_owned_view(o);
  struct err failed = ERR_INIT;
  struct provider *p;
  // What cannot be given back now is let go all the same: that is what was asked for.
  bool given = basing_provider(b, &p, &failed) == 0 &&
               provider_base_release(p, &view, b->k.owner, &failed) == 0;
  cleanup_free char *text = given
                                ? str_printf("stays: %s %s", o->kind, o->id)
                                : str_printf("stays, and bears the mark of drover still: %s %s: %s",
                                             o->kind, o->id, failed.message);
  b->k.m->store->ops->event(b->k.m->store, b->k.o, given ? "Normal" : "Warning", "Retained", text);
  keeping_disown(&b->k, o);
  return 0;
}

static int (*const actions[BASE_ACT_COUNT])(struct basing *b, struct err *err) = {
    [BASE_ACT_NOTHING] = act_nothing,
    [BASE_ACT_WAIT] = act_nothing,
    [BASE_ACT_BACK_OFF] = act_nothing,
    [BASE_ACT_FAIL] = act_nothing,
    [BASE_ACT_ADD_FINALIZER] = act_add_finalizer,
    [BASE_ACT_REMOVE_FINALIZER] = basing_remove_finalizer,
    [BASE_ACT_CHECK] = act_check,
    [BASE_ACT_ASK_DISKS] = basing_ask_disks,
    [BASE_ACT_PLAN] = act_plan,
    [BASE_ACT_MAKE] = act_make,
    [BASE_ACT_REMOVE] = act_remove,
    [BASE_ACT_LET_GO] = act_let_go,
};

// ---- saying ---------------------------------------------------------------------------------

// act_make() says by itself how far it is.
static void summarize(struct basing *b, bool making)
{
  const struct clonebase_spec *s = b->spec;
  cleanup_free char *source =
      s->vm      ? str_printf("vm %s", s->vm->name ? s->vm->name : s->vm->id)
      : s->image ? str_printf("image %s/%s", s->image->store.name, s->image->path)
                 : str_printf("template %s", s->template_->name    ? s->template_->name
                                             : s->template_->alias ? s->template_->alias
                                                                   : s->template_->fingerprint);
  str_set(&b->st->summary.provider, s->provider.name);
  str_set(&b->st->summary.source, source);
  if (!making)
    str_set(&b->st->summary.progress, b->st->memory.made ? NULL : b->percent);
}

static void say(struct basing *b, const struct base_step *step)
{
  bool failed = b->k.err.kind != ERR_NONE;
  bool away = !failed && b->unreachable.kind != ERR_NONE;
  const char *reason = failed && !step->reason      ? err_reason(b->k.err.kind)
                       : away && b->st->memory.made ? err_reason(b->unreachable.kind)
                       : step->reason               ? step->reason
                                                    : "Working";
  const char *message = failed ? b->k.err.message : away ? b->unreachable.message : step->message;
  keeping_say(&b->k, base_phase_names[step->phase], step->ready, step->action == BASE_ACT_FAIL,
              reason, message);
  condition_set(b->k.conditions, "InUse", b->st->in_use ? CONDITION_TRUE : CONDITION_FALSE,
                b->st->in_use ? "Dependents" : "NoDependents", "", b->k.o->meta.generation,
                b->k.now_ms);
  condition_set(b->k.conditions, "Modified", b->st->modified ? CONDITION_TRUE : CONDITION_FALSE,
                b->st->modified ? "ContentChanged" : "AsRegistered", "", b->k.o->meta.generation,
                b->k.now_ms);
  summarize(b, step->action == BASE_ACT_MAKE);
}

static void nudge_one(void *arg, const struct object *o)
{
  const struct counting *c = arg;
  struct object_key key = object_key_of(o);
  if (!o->invalid && c->names(o, c->b->k.key.name))
    queue_add(c->b->k.m->queue, &key, 0);
}

// Whoever waits for this base looks again when it becomes ready.
static void nudge_all(struct basing *b, enum object_kind kind,
                      bool (*names)(const struct object *o, const char *base))
{
  struct counting c = {names, b, 0};
  struct object_store *store = b->k.m->store;
  struct err ignored = ERR_INIT;
  store->ops->visit(store, kind, b->k.key.ns, b->k.key.name, nudge_one, &c, &ignored);
}

static bool ready_changed(const struct basing *b)
{
  const struct clonebase_status *was = b->k.before->status;
  const struct condition *before = condition_find(&was->conditions, "Ready");
  const struct condition *now = condition_find(b->k.conditions, "Ready");
  return now && (!before || before->status != now->status);
}

// ---- the step -------------------------------------------------------------------------------

// What is done at once is followed by the next thing; what takes its time is asked again.
static bool goes_on(struct basing *b, const struct base_step *step, int64_t *ret_after_ms)
{
  switch (step->action) {
  case BASE_ACT_REMOVE_FINALIZER:
    if (object_has_finalizer(b->k.o, CRDS_FINALIZER))
      *ret_after_ms = POLL_MS;
    return false;
  case BASE_ACT_CHECK:
    *ret_after_ms = POLL_MS;
    return b->st->memory.checked;
  case BASE_ACT_MAKE:
    *ret_after_ms = POLL_MS;
    return b->st->memory.made;
  case BASE_ACT_REMOVE:
    *ret_after_ms = POLL_MS;
    return b->k.owned->count == 0;
  case BASE_ACT_FAIL:
    if (step->after_ms < 0)
      *ret_after_ms = keeping_pause(&b->k);
    return false;
  default:
    return step->action > BASE_ACT_FAIL && step->after_ms == 0;
  }
}

static bool advance(struct basing *b, int64_t *ret_after_ms)
{
  struct err failed = ERR_INIT;
  struct base_step step = base_next(observe(b));
  *ret_after_ms = step.after_ms;
  bool tries_again = step.action == BASE_ACT_CHECK && keeping_is_stalled(&b->k);
  if (step.action != BASE_ACT_REMOVE_FINALIZER && !tries_again)
    say(b, &step);
  if (step.action == BASE_ACT_BACK_OFF) {
    *ret_after_ms = keeping_back_off(&b->k);
    return false;
  }
  // The ledger is written before what it names is made.
  bool makes = step.action == BASE_ACT_MAKE || step.action == BASE_ACT_ASK_DISKS;
  int64_t again_ms;
  if (makes && !keeping_note(&b->k, &again_ms)) {
    *ret_after_ms = again_ms;
    return false;
  }
  if (actions[step.action](b, &failed) != 0) {
    b->k.err = failed;
    return true; // the error is a fact now: decide again
  }
  if (step.action > BASE_ACT_FAIL)
    keeping_worked(&b->k);
  return goes_on(b, &step, ret_after_ms);
}

static int64_t go_on(struct basing *b)
{
  int64_t after_ms = -1;
  for (int i = 0; i < ACTIONS_PER_STEP; i++) {
    b->k.now_ms = clock_wall_ms();
    bool more = advance(b, &after_ms);
    bool tell = ready_changed(b);
    int64_t again_ms = keeping_save(&b->k, after_ms);
    if (tell) {
      nudge_all(b, OBJECT_CLONE, clone_names);
      nudge_all(b, OBJECT_CLONE_SET, set_names);
    }
    if (!more || again_ms != after_ms)
      return again_ms;
  }
  return 0;
}

static int64_t run(struct basing *b)
{
  if (b->k.o->invalid && !b->k.o->meta.deletion_timestamp) {
    keeping_say(&b->k, base_phase_names[BASE_FAILED], false, true, err_reason(ERR_INVALID),
                b->k.o->invalid);
    return keeping_save(&b->k, -1);
  }
  keeping_begin(&b->k);
  int64_t wait_ms = keeping_backing_off_ms(&b->k);
  if (wait_ms > 0)
    return wait_ms;
  return go_on(b);
}

int64_t clonebase_step(struct manager *m, const struct object_key *key)
{
  LOG_CONTEXT("clonebase", "%s/%s", key->ns, key->name);
  struct basing b = {0};
  struct err failed = ERR_INIT;
  int64_t after_ms = -1;
  if (keeping_init(&b.k, m, key, &failed) == 0) {
    b.spec = b.k.o->spec;
    b.st = b.k.o->status;
    b.k.conditions = &b.st->conditions;
    b.k.owned = &b.st->owned;
    b.k.preflight = &b.st->preflight;
    b.k.observed_generation = &b.st->observed_generation;
    b.k.retries = &b.st->retries;
    b.k.phase = &b.st->phase;
    b.k.next_try_time = &b.st->memory.next_try_time;
    after_ms = run(&b);
  } else if (failed.kind != ERR_NOT_FOUND) {
    after_ms = 1000;
  }
  free(b.machine);
  free(b.percent);
  keeping_release(&b.k);
  return after_ms;
}
