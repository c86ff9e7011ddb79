// SPDX-License-Identifier: Apache-2.0
// Whole lives of sets: a small world makes, readies, breaks and removes clones as the plans and
// chance want it, wishes change in the middle, and at every instant the promises of cloneset.h are
// looked at. When chance and wishes come to rest, the set must come to its end. A failure names the
// seed; lives are the same for the same seed.
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "reconcile/cloneset.h"

enum { LIVES = 1500, RESTLESS = 120, PATIENCE = 3000, WORLD_MAX = 512, BAD_REVISION = 3 };

struct body { // a clone as the world has it
  struct set_clone c;
  int revision;
};

struct world {
  uint64_t seed, random;
  struct set_wish w;
  int current, update; // revisions; every fourth does not start
  struct body all[WORLD_MAX];
  size_t count;
  size_t burst;
  bool rest;
  bool away; // no other clone could be made: nothing is replaced
  int64_t creates;
};

static uint64_t chance(struct world *w, uint64_t below)
{
  w->random ^= w->random << 13;
  w->random ^= w->random >> 7;
  w->random ^= w->random << 17;
  return (w->random >> 11) % below;
}

#define LIFE_FAIL(w, ...)                                                                          \
  do {                                                                                             \
    show(w);                                                                                       \
    print_message(__VA_ARGS__);                                                                    \
    fail_msg(" (seed %llu)", (unsigned long long)(w)->seed);                                       \
  } while (0)

static void show(const struct world *w)
{
  const struct set_wish *s = &w->w;
  print_message("replicas %lld partition %lld unavailable %lld surge %lld policy %d on-delete %d "
                "min ready %lld revisions %d %d:",
                (long long)s->replicas, (long long)s->partition, (long long)s->max_unavailable,
                (long long)s->max_surge, (int)s->scale_down, s->on_delete,
                (long long)s->min_ready_ms, w->current, w->update);
  for (size_t i = 0; i < w->count; i++) {
    const struct set_clone *c = &w->all[i].c;
    print_message(" %lld%s%s%s%s", (long long)c->ordinal,
                  w->all[i].revision == w->update ? "n" : "o", c->ready ? "" : "u",
                  c->failed ? "f" : "", c->deleting ? "d" : "");
  }
  print_message("\n");
}

// ---- promises -------------------------------------------------------------------------------

struct tally {
  int64_t live, available;
};

static bool available(const struct world *w, const struct set_clone *c)
{
  return c->ready && !c->failed && !c->deleting && w->w.now_ms - c->ready_ms >= w->w.min_ready_ms;
}

static struct tally tally_of(const struct world *w)
{
  struct tally t = {0, 0};
  for (size_t i = 0; i < w->count; i++) {
    t.live += !w->all[i].c.deleting;
    t.available += available(w, &w->all[i].c);
  }
  return t;
}

static bool stale(const struct world *w, const struct body *b)
{
  int64_t at = b->c.ordinal < 0 ? 0 : b->c.ordinal;
  return b->revision != w->update && !w->w.on_delete && at >= w->w.partition;
}

static void check_creates(struct world *w, const struct set_plan *p)
{
  int64_t limit = w->w.replicas + w->w.max_surge;
  if (p->create_count && (int64_t)(w->count + p->create_count) > limit)
    LIFE_FAIL(w, "more than replicas + maxSurge");
  if (p->create_count > w->burst || p->delete_count > w->burst)
    LIFE_FAIL(w, "more than burst");
  for (size_t i = 0; i < p->create_count; i++) {
    for (size_t k = 0; k < w->count; k++)
      if (w->all[k].c.ordinal == p->creates[i])
        LIFE_FAIL(w, "%lld twice", (long long)p->creates[i]);
    if (p->creates[i] < 0 || (i > 0 && p->creates[i] <= p->creates[i - 1]))
      LIFE_FAIL(w, "creates are not ascending");
    if (p->creates[i] >= limit)
      LIFE_FAIL(w, "ordinal %lld", (long long)p->creates[i]);
    if (p->create_old[i] != (p->creates[i] < w->w.partition && !w->w.on_delete))
      LIFE_FAIL(w, "wrong revision of %lld", (long long)p->creates[i]);
  }
}

static int64_t smaller(int64_t a, int64_t b)
{
  return a < b ? a : b;
}

// A roll-out costs at most maxUnavailable; only a scale-down beyond the surge may cost more.
static void check_deletes(struct world *w, const struct set_plan *p)
{
  struct tally t = tally_of(w);
  int64_t forced = t.live - w->w.replicas - w->w.max_surge;
  forced = forced < 0 ? 0 : forced;
  int64_t least =
      w->w.replicas - (w->w.max_unavailable || w->w.max_surge ? w->w.max_unavailable : 1);
  int64_t left = t.available, good = 0, lives = t.live;
  for (size_t i = 0; i < p->delete_count; i++) {
    struct body *b = &w->all[p->deletes[i]];
    if (b->c.deleting)
      LIFE_FAIL(w, "%lld deleted twice", (long long)b->c.ordinal);
    left -= available(w, &b->c);
    good += !b->c.failed && !b->c.delete_first;
    lives--;
    if (t.live <= w->w.replicas && !stale(w, b))
      LIFE_FAIL(w, "%lld deleted for nothing", (long long)b->c.ordinal);
    b->c.deleting = true; // also finds an index that comes twice
  }
  if (left < smaller(t.available, least) - forced)
    LIFE_FAIL(w, "%lld available left", (long long)left);
  if (lives < smaller(t.live, least))
    LIFE_FAIL(w, "%lld alive left", (long long)lives);
  if (w->w.max_surge > 0 || good == 0 || p->delete_count == w->burst)
    return;
  for (size_t i = 0; i < w->count; i++) // excess and roll-out both take broken ones first
    if (w->all[i].c.failed && !w->all[i].c.deleting && stale(w, &w->all[i]) && !forced)
      LIFE_FAIL(w, "a good one before the broken %lld", (long long)w->all[i].c.ordinal);
}

// Without what is replaced a plan only takes away what is too many: that may be carried out
// whatever the platform does.
static void check_too_many(struct world *w, const struct set_plan *p)
{
  int64_t live = tally_of(w).live;
  int64_t left = live - (int64_t)(p->delete_count - p->replaced_count);
  if (left < smaller(live, w->w.replicas))
    LIFE_FAIL(w, "%lld alive left, and nothing comes in their place", (long long)left);
}

// ---- the world ------------------------------------------------------------------------------

static void carry_out(struct world *w, struct set_plan *p)
{
  check_creates(w, p);
  check_too_many(w, p);
  if (w->away)
    p->delete_count -= p->replaced_count;
  check_deletes(w, p); // marks them
  for (size_t i = 0; i < p->create_count; i++) {
    assert_true(w->count < WORLD_MAX);
    w->all[w->count++] =
        (struct body){.c = {.ordinal = p->creates[i], .created_ms = w->w.now_ms / 1000 * 1000},
                      .revision = p->create_old[i] ? w->current : w->update};
    w->creates++;
  }
}

static void become_ready(struct world *w, struct set_clone *c)
{
  c->ready = true;
  c->failed = false;
  c->ready_ms = w->w.now_ms;
}

static void break_one(struct world *w, struct body *b)
{
  switch (chance(w, 40)) {
  case 0:
    b->c.ready = false;
    break;
  case 1:
    b->c.failed = true;
    b->c.ready = false;
    break;
  case 2:
    b->c.deleting = true; // by hand
    break;
  case 3:
    b->c.delete_first = true;
    break;
  default:
    break;
  }
}

// Time goes by. In a restless world a bad revision never starts and anything may break.
static void live_on(struct world *w)
{
  w->w.now_ms += 1 + (int64_t)chance(w, 900);
  size_t kept = 0;
  for (size_t i = 0; i < w->count; i++) {
    struct body b = w->all[i];
    bool starts = w->rest || b.revision % 4 != BAD_REVISION;
    if (b.c.deleting && chance(w, 3) == 0)
      continue; // gone
    if (!b.c.deleting && !b.c.ready && starts && chance(w, w->rest && b.c.failed ? 9 : 3) == 0)
      become_ready(w, &b.c);
    else if (!b.c.deleting && !b.c.ready && !starts && chance(w, 4) == 0)
      b.c.failed = true;
    else if (!w->rest)
      break_one(w, &b);
    w->all[kept++] = b;
  }
  w->count = kept;
  if (w->count > 1 && chance(w, 4) == 0) { // lists come in any order
    size_t a = chance(w, w->count), b = chance(w, w->count);
    struct body other = w->all[a];
    w->all[a] = w->all[b];
    w->all[b] = other;
  }
}

static void wish_anew(struct world *w)
{
  switch (chance(w, 60)) {
  case 0:
    w->w.replicas = (int64_t)chance(w, 14);
    break;
  case 1:
  case 2:
    w->update = (int)chance(w, 5); // there and back again
    break;
  case 3:
    w->w.partition = (int64_t)chance(w, 2) * (int64_t)chance(w, 14);
    break;
  case 4:
    w->w.max_surge = (int64_t)chance(w, 2) * (int64_t)chance(w, 5);
    w->w.max_unavailable = (int64_t)chance(w, 4);
    break;
  case 5:
    w->w.on_delete = chance(w, 4) == 0;
    break;
  case 6:
    w->w.scale_down = (enum set_scale_down)chance(w, 4);
    break;
  case 7:
    w->w.min_ready_ms = (int64_t)chance(w, 2) * 2500;
    break;
  case 8: // a clone that somebody had made by hand
    w->all[w->count++] = (struct body){.c = {.ordinal = -1, .created_ms = w->w.now_ms},
                                       .revision = (int)chance(w, 5)};
    break;
  case 9:
    w->away = !w->away;
    break;
  default:
    break;
  }
}

static void plan_once(struct world *w, struct set_plan *ret)
{
  struct set_clone clones[WORLD_MAX];
  for (size_t i = 0; i < w->count; i++) {
    clones[i] = w->all[i].c;
    clones[i].updated = w->all[i].revision == w->update;
  }
  assert_int_equal(set_plan(&w->w, clones, w->count, w->burst, ret), 0);
}

// What a finished set looks like, by its own measure.
static void check_end(struct world *w)
{
  struct tally t = tally_of(w);
  if ((int64_t)w->count != w->w.replicas || t.available != w->w.replicas)
    LIFE_FAIL(w, "complete, but not as wished");
  int64_t adopted = 0, high = 0;
  for (size_t i = 0; i < w->count; i++) {
    if (stale(w, &w->all[i]))
      LIFE_FAIL(w, "complete, but %lld is old", (long long)w->all[i].c.ordinal);
    adopted += w->all[i].c.ordinal < 0;
    high = w->all[i].c.ordinal > high ? w->all[i].c.ordinal : high;
  }
  if (w->w.max_surge > 0 && w->w.scale_down == SET_HIGHEST_ORDINAL &&
      high >= w->w.replicas - adopted && high > 0)
    LIFE_FAIL(w, "the surge has not gone");
}

static void live(struct world *w)
{
  for (int n = 0; n < RESTLESS + PATIENCE; n++) {
    w->rest = n >= RESTLESS;
    w->away = w->away && !w->rest;
    if (!w->rest)
      wish_anew(w);
    struct set_plan p CLEANUP(set_plan_release);
    plan_once(w, &p);
    carry_out(w, &p);
    if (p.complete) {
      check_end(w);
      w->current = w->w.partition == 0 && !w->w.on_delete ? w->update : w->current;
      if (w->rest)
        return;
    }
    live_on(w);
  }
  LIFE_FAIL(w, "no end");
}

static void test_lives(void **state)
{
  (void)state;
  cleanup_free struct world *w = calloc(1, sizeof(*w));
  for (uint64_t seed = 1; seed <= LIVES; seed++) {
    *w = (struct world){.seed = seed, .random = seed * UINT64_C(0x9e3779b97f4a7c15)};
    w->w = (struct set_wish){.replicas = (int64_t)chance(w, 12),
                             .max_unavailable = (int64_t)chance(w, 3),
                             .max_surge = (int64_t)chance(w, 3),
                             .scale_down = (enum set_scale_down)chance(w, 4),
                             .now_ms = 1000000};
    w->burst = chance(w, 2) ? 1 + chance(w, 3) : 100;
    live(w);
  }
}

// An undisturbed roll-out makes each clone once, and its surge.
static void test_a_roll_out_makes_nothing_twice(void **state)
{
  (void)state;
  cleanup_free struct world *w = calloc(1, sizeof(*w));
  for (uint64_t seed = 1; seed <= 200; seed++) {
    *w = (struct world){.seed = seed, .random = seed, .rest = true, .burst = 100, .update = 1};
    w->w = (struct set_wish){.replicas = 8,
                             .max_unavailable = (int64_t)seed % 3,
                             .max_surge = (int64_t)seed % 4,
                             .scale_down = (enum set_scale_down)(seed % 2),
                             .now_ms = 1000000};
    for (int64_t i = 0; i < w->w.replicas; i++)
      w->all[w->count++] = (struct body){.c = {.ordinal = i, .ready = true, .ready_ms = 1}};
    for (bool complete = false; !complete;) {
      struct set_plan p CLEANUP(set_plan_release);
      plan_once(w, &p);
      carry_out(w, &p);
      complete = p.complete;
      live_on(w);
    }
    if (w->creates > w->w.replicas + w->w.max_surge)
      LIFE_FAIL(w, "%lld made", (long long)w->creates);
  }
}

// A platform that answers nothing, and a base that changes meanwhile: nobody is deleted for it but
// those that may be unavailable at a time anyway, and all of them are told apart as replaced, so
// that who knows of the outage deletes none; without a change, nobody at all.
static void test_an_outage_costs_nothing(void **state)
{
  (void)state;
  for (int changed = 0; changed < 2; changed++) {
    struct set_clone clones[20];
    for (int64_t i = 0; i < 20; i++)
      clones[i] = (struct set_clone){.ordinal = i, .updated = !changed, .created_ms = i};
    struct set_wish w = {.replicas = 20, .max_unavailable = 2, .now_ms = 1000000};
    size_t deleted = 0;
    for (int n = 0; n < 10; n++) {
      struct set_plan p CLEANUP(set_plan_release);
      assert_int_equal(set_plan(&w, clones, ARRAY_SIZE(clones), 100, &p), 0);
      for (size_t i = 0; i < p.delete_count; i++)
        clones[p.deletes[i]].deleting = true;
      deleted += p.delete_count;
      assert_int_equal(p.replaced_count, p.delete_count);
      assert_int_equal(p.create_count, 0);
    }
    assert_int_equal(deleted, changed ? 2 : 0);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_lives),
      cmocka_unit_test(test_a_roll_out_makes_nothing_twice),
      cmocka_unit_test(test_an_outage_costs_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
