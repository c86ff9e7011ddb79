// SPDX-License-Identifier: Apache-2.0
// The runner of Clone: observe, ask the table, carry one action out, write status, again.
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "controller/clone_internal.h"
#include "controller/making.h"
#include "crds/cloneset.h"

#define ACTIONS_PER_STEP 12
#define REMOVE_POLL_MS   200
#define MAKE_POLL_MS     100
#define START_POLL_MS    10
#define START_AGAIN_MS   10000
#define NUDGE_MS         50   // many clones of a set change at once
#define COUNT_NUDGE_MS   1000 // a base only counts those that come; it may wait for those that go
#define OUTPUT_SHOWN     200

// ---- actions --------------------------------------------------------------------------------

static int act_nothing(struct cloning *c, struct err *err)
{
  (void)c;
  (void)err;
  return 0;
}

static int act_add_finalizer(struct cloning *c, struct err *err)
{
  return set_cleanup_finalizer(c->k.m, c->k.o, true, err);
}

static int act_remove_finalizer(struct cloning *c, struct err *err)
{
  if (set_cleanup_finalizer(c->k.m, c->k.o, false, err) != 0)
    return -1;
  keeping_nudge(&c->k, OBJECT_CLONE_SET, NULL,
                strings_map_get(&c->k.o->meta.labels, CRDS_LABEL_SET), NUDGE_MS);
  return 0;
}

static int act_check(struct cloning *c, struct err *err)
{
  if (cloning_check(c, err) != 0)
    return -1;
  c->st->memory.checked = true;
  return 0;
}

static int act_plan(struct cloning *c, struct err *err)
{
  struct clone_order order = {0};
  struct owned o = {0};
  struct provider *p;
  if (cloning_provider(c, &p, err) != 0 || cloning_order(c, &order, err) != 0)
    return -1;
  int rc = provider_clone_plan(p, &order, &o, err);
  table_release(&clone_order_table, &order);
  if (rc != 0)
    return -1;
  keeping_own(&c->k, &o, "target");
  owned_release(&o);
  cleanup_free char *provider =
      str_printf("%s/%s", c->origin.provider.ns ? c->origin.provider.ns : c->k.key.ns,
                 c->origin.provider.name);
  str_set(&c->st->memory.provider, provider);
  return 0;
}

static void begin_making(struct cloning *c)
{
  struct clone_memory *memory = &c->st->memory;
  if (memory->made) { // it is gone: another one in its place
    c->st->recreated++;
    memory->made = memory->post_started = false;
    str_set(&memory->make_time, NULL);
    str_set(&memory->start_time, NULL);
    c->st->clone_millis = c->st->ready_millis = -1;
    strings_release(&c->st->addresses);
  }
  if (!memory->make_time)
    clock_set_micro(&memory->make_time, clock_wall_ms());
}

static void is_made(struct cloning *c)
{
  struct clone_memory *memory = &c->st->memory;
  memory->made = true;
  c->st->clone_millis = clock_wall_ms() - clock_time_of(memory->make_time);
  str_set(&c->st->id, c->seen.id);
  str_set(&c->st->name, c->seen.name);
  str_set(&c->st->base, c->origin.base_name);
  str_set(&c->st->revision, c->origin.revision);
  str_set(&c->st->mode, clone_mode_names[c->seen.mode]);
  bool copied = c->spec->t.clone_mode == CLONE_WISH_PREFER_LINKED && c->seen.mode == CLONE_FULL;
  str_set(&c->st->message, copied ? "the storage keeps no linked clones: copied whole" : NULL);
}

static int act_make(struct cloning *c, struct err *err)
{
  struct clone_order order = {0};
  struct provider *p;
  if (cloning_provider(c, &p, err) != 0)
    return -1;
  int64_t limit = provider_access_spec(&c->k.access)->limits.clones;
  if (!making_enter(c->k.m, c->k.access.object->meta.uid, c->k.o->meta.uid, limit))
    return 0; // asked again: others are being made
  if (cloning_order(c, &order, err) != 0) {
    making_leave(c->k.m, c->k.o->meta.uid);
    return -1;
  }
  begin_making(c);
  struct owned o = keeping_owned_view(keeping_owned(&c->k, "Clone"));
  clone_seen_release(&c->seen);
  int rc = provider_clone_make(p, &order, &o, &c->seen, err);
  table_release(&clone_order_table, &order);
  if (rc != 0 || c->seen.done)
    making_leave(c->k.m, c->k.o->meta.uid);
  if (rc == 0 && c->seen.done) {
    is_made(c);
    c->fresh = c->seen.owner != NULL;
  }
  return rc;
}

static int power(struct cloning *c, enum power_action action, struct err *err)
{
  struct provider *p;
  if (cloning_provider(c, &p, err) != 0)
    return -1;
  return provider_clone_power(p, c->seen.id, action, err);
}

static int act_start(struct cloning *c, struct err *err)
{
  struct clone_memory *memory = &c->st->memory;
  str_set(&memory->stop_time, NULL);
  if (c->k.now_ms >= clock_time_of(memory->start_time) + START_AGAIN_MS) // else told once more
    clock_set_micro(&memory->start_time, c->k.now_ms);
  return power(c, POWER_ON, err);
}

static int act_stop(struct cloning *c, struct err *err)
{
  clock_set(&c->st->memory.stop_time, clock_wall_ms());
  return power(c, POWER_GUEST_SHUTDOWN, err);
}

static int act_force_off(struct cloning *c, struct err *err)
{
  return power(c, POWER_OFF, err);
}

static int act_post_start(struct cloning *c, struct err *err)
{
  const struct clone_exec *e = c->spec->t.post_start;
  struct exec_order order = {.argv = e->exec, .timeout_ms = e->timeout_ms};
  struct exec_result result = {0};
  struct provider *p;
  if (cloning_provider(c, &p, err) != 0 || provider_exec(p, c->seen.id, &order, &result, err) != 0)
    return -1;
  int64_t status = result.exit_status;
  if (status != 0)
    err_set(err, ERR_IO, "postStart ended with status %lld: %.*s", (long long)status, OUTPUT_SHOWN,
            result.errors && *result.errors ? result.errors : "");
  exec_result_release(&result);
  c->st->memory.post_started = status == 0;
  return status == 0 ? 0 : -1;
}

static int act_remove(struct cloning *c, struct err *err)
{
  struct provider *p;
  const struct owned_status *s = keeping_owned(&c->k, "Clone");
  struct owned o = keeping_owned_view(s);
  struct err failed = ERR_INIT;
  making_leave(c->k.m, c->k.o->meta.uid);
  if (cloning_provider(c, &p, err) != 0)
    return -1;
  if (c->seen.id && c->seen.power == VM_POWER_ON && owner_same(c->seen.owner, c->k.owner) &&
      provider_clone_power(p, c->seen.id, POWER_OFF, err) != 0)
    return -1;
  if (provider_remove(p, &o, c->k.owner, &failed) == 0) {
    keeping_disown(&c->k, s);
    return 0;
  }
  if (failed.kind == ERR_BUSY)
    return 0; // under way
  *err = failed;
  return -1;
}

static int act_let_go(struct cloning *c, struct err *err)
{
  (void)err;
  const struct owned_status *o = keeping_owned(&c->k, "Clone");
  making_leave(c->k.m, c->k.o->meta.uid);
  if (!o)
    return 0;
  cleanup_free char *text = str_printf("stays: %s %s", o->kind, o->id);
  c->k.m->store->ops->event(c->k.m->store, c->k.o, "Normal", "Retained", text);
  keeping_disown(&c->k, o);
  return 0;
}

static int (*const actions[CLONE_ACT_COUNT])(struct cloning *c, struct err *err) = {
    [CLONE_ACT_NOTHING] = act_nothing,
    [CLONE_ACT_WAIT] = act_nothing,
    [CLONE_ACT_BACK_OFF] = act_nothing,
    [CLONE_ACT_FAIL] = act_nothing,
    [CLONE_ACT_ADD_FINALIZER] = act_add_finalizer,
    [CLONE_ACT_REMOVE_FINALIZER] = act_remove_finalizer,
    [CLONE_ACT_CHECK] = act_check,
    [CLONE_ACT_PLAN] = act_plan,
    [CLONE_ACT_MAKE] = act_make,
    [CLONE_ACT_START] = act_start,
    [CLONE_ACT_STOP] = act_stop,
    [CLONE_ACT_FORCE_OFF] = act_force_off,
    [CLONE_ACT_POST_START] = act_post_start,
    [CLONE_ACT_REMOVE] = act_remove,
    [CLONE_ACT_LET_GO] = act_let_go,
};

// ---- saying ---------------------------------------------------------------------------------

static void summarize(struct cloning *c)
{
  struct clone_summary *s = &c->st->summary;
  char bytes[32];
  str_set(&s->set, strings_map_get(&c->k.o->meta.labels, CRDS_LABEL_SET));
  str_set(&s->base, c->spec->base     ? c->spec->base->name
                    : c->spec->source ? c->spec->source->name
                                      : c->spec->vm->name);
  str_set(&s->address, c->st->addresses.count ? c->st->addresses.items[0] : NULL);
  str_set(&s->bytes, c->st->memory.made && c->st->bytes >= 0
                         ? str_human_bytes((double)c->st->bytes, bytes)
                         : NULL);
}

static void say(struct cloning *c, const struct clone_step *step)
{
  bool failed = c->k.err.kind != ERR_NONE;
  bool away = !failed && c->unreachable.kind != ERR_NONE;
  const char *reason = away           ? err_reason(c->unreachable.kind)
                       : step->reason ? step->reason
                       : failed       ? err_reason(c->k.err.kind)
                                      : "Working";
  const char *message = away            ? c->unreachable.message
                        : failed        ? c->k.err.message
                        : step->message ? step->message
                                        : NULL;
  if (!failed && !away && !c->origin.ready && !c->st->memory.made && step->message)
    message = c->origin.why;
  if (step->ready && c->st->ready_millis < 0)
    c->st->ready_millis = c->k.now_ms - clock_time_of(c->st->memory.make_time);
  keeping_say(&c->k, clone_phase_names[step->phase], step->ready, step->action == CLONE_ACT_FAIL,
              reason, message);
  summarize(c);
}

// Whoever counts this clone must look again when what they count has changed.
struct news {
  bool ready, owned, left;
};

static struct news find_news(const struct cloning *c)
{
  const struct clone_status *was = c->k.before->status;
  const struct condition *now = condition_find(&c->st->conditions, "Ready");
  const struct condition *before = condition_find(&was->conditions, "Ready");
  bool same = now && before && before->status == now->status && str_eq(before->reason, now->reason);
  return (struct news){.ready = !same,
                       .owned = was->owned.count != c->st->owned.count,
                       .left = was->owned.count > c->st->owned.count};
}

// After the status was written: else they would look at what was before.
static void tell(struct cloning *c, const struct news *n)
{
  if (n->ready || n->owned)
    keeping_nudge(&c->k, OBJECT_CLONE_SET, NULL,
                  strings_map_get(&c->k.o->meta.labels, CRDS_LABEL_SET), NUDGE_MS);
  if (n->owned && c->spec->base)
    keeping_nudge(&c->k, OBJECT_CLONE_BASE, NULL, c->spec->base->name,
                  n->left ? NUDGE_MS : COUNT_NUDGE_MS);
}

// ---- the step -------------------------------------------------------------------------------

// What has just been told to start is asked often, what takes its time ever less: nobody waits for
// it a quarter longer than it took.
static int64_t start_poll_ms(const struct cloning *c, int64_t most_ms)
{
  int64_t quarter_ms = (clock_wall_ms() - clock_time_of(c->st->memory.start_time)) / 4;
  return quarter_ms < START_POLL_MS ? START_POLL_MS : quarter_ms < most_ms ? quarter_ms : most_ms;
}

// What is done at once is followed by the next thing; what takes its time is asked again.
static bool goes_on(struct cloning *c, const struct clone_step *step, int64_t *ret_after_ms)
{
  switch (step->action) {
  case CLONE_ACT_MAKE:
    *ret_after_ms = MAKE_POLL_MS;
    return c->st->memory.made;
  case CLONE_ACT_REMOVE:
    *ret_after_ms = REMOVE_POLL_MS;
    return c->st->owned.count == 0;
  case CLONE_ACT_FAIL:
    if (step->after_ms < 0)
      *ret_after_ms = keeping_pause(&c->k);
    return false;
  case CLONE_ACT_START:
    *ret_after_ms = start_poll_ms(c, step->after_ms);
    return false;
  case CLONE_ACT_WAIT:
    if (step->phase == CLONE_STARTING)
      *ret_after_ms = start_poll_ms(c, step->after_ms);
    return false;
  default:
    return step->action > CLONE_ACT_FAIL && step->after_ms == 0;
  }
}

// One decision carried out. Returns true to go on at once, else *ret_after_ms says when.
static bool advance(struct cloning *c, int64_t *ret_after_ms)
{
  uint64_t facts = cloning_observe(c);
  struct clone_step step = clone_next(facts);
  struct err failed = ERR_INIT;
  *ret_after_ms = step.after_ms;
  bool tries_again = step.action == CLONE_ACT_CHECK && keeping_is_stalled(&c->k);
  if (step.action != CLONE_ACT_REMOVE_FINALIZER && !tries_again)
    say(c, &step);
  if (step.action == CLONE_ACT_BACK_OFF) {
    *ret_after_ms = keeping_back_off(&c->k);
    return false;
  }
  // The ledger is written before what it names is made.
  if (step.action == CLONE_ACT_MAKE) {
    int64_t again_ms;
    struct news news = find_news(c);
    if (!keeping_note(&c->k, &again_ms)) {
      *ret_after_ms = again_ms;
      return false;
    }
    tell(c, &news);
  }
  if (actions[step.action](c, &failed) != 0) {
    c->k.err = failed;
    return true; // the error is a fact now: decide again
  }
  if (step.action > CLONE_ACT_FAIL)
    keeping_worked(&c->k);
  return goes_on(c, &step, ret_after_ms);
}

static int64_t go_on(struct cloning *c)
{
  int64_t after_ms = -1;
  for (int i = 0; i < ACTIONS_PER_STEP; i++) {
    c->k.now_ms = clock_wall_ms();
    bool more = advance(c, &after_ms);
    struct news news = find_news(c);
    int64_t again_ms = keeping_save(&c->k, after_ms);
    tell(c, &news);
    if (!more || again_ms != after_ms)
      return again_ms;
  }
  return 0;
}

static bool hurries(const struct cloning *c)
{
  return c->k.o->meta.deletion_timestamp != NULL &&
         str_eq(object_annotation(c->k.o, CRDS_ANNOTATE_ABANDON), "true");
}

static int64_t run(struct cloning *c)
{
  struct err failed = ERR_INIT;
  if (c->k.o->invalid && !c->k.o->meta.deletion_timestamp) {
    keeping_say(&c->k, clone_phase_names[CLONE_FAILED], false, true, err_reason(ERR_INVALID),
                c->k.o->invalid);
    return keeping_save(&c->k, -1);
  }
  keeping_begin(&c->k);
  int64_t wait_ms = keeping_backing_off_ms(&c->k);
  if (wait_ms > 0 && !hurries(c))
    return wait_ms;
  if (cloning_resolve(c, &failed) != 0) {
    log_error("origin not read", "message", failed.message, NULL);
    return 1000;
  }
  return go_on(c);
}

// Gone without our finalizer: its set, if its name tells one, looks again.
static void gone(struct manager *m, const struct object_key *key)
{
  struct object_key set = *key;
  char *dash = strrchr(set.name, '-');
  if (!dash)
    return;
  *dash = '\0';
  set.kind = OBJECT_CLONE_SET;
  queue_add(m->queue, &set, NUDGE_MS);
}

int64_t clone_step(struct manager *m, const struct object_key *key)
{
  LOG_CONTEXT("clone", "%s/%s", key->ns, key->name);
  struct cloning c = {0};
  struct err failed = ERR_INIT;
  int64_t after_ms = -1;
  if (keeping_init(&c.k, m, key, &failed) == 0) {
    c.spec = c.k.o->spec;
    c.st = c.k.o->status;
    c.k.conditions = &c.st->conditions;
    c.k.owned = &c.st->owned;
    c.k.preflight = &c.st->preflight;
    c.k.observed_generation = &c.st->observed_generation;
    c.k.retries = &c.st->retries;
    c.k.phase = &c.st->phase;
    c.k.next_try_time = &c.st->memory.next_try_time;
    after_ms = run(&c);
  } else if (failed.kind == ERR_NOT_FOUND) {
    gone(m, key);
  } else {
    after_ms = 1000;
  }
  clone_seen_release(&c.seen);
  origin_release(&c.origin);
  keeping_release(&c.k);
  return after_ms;
}
