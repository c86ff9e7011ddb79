// SPDX-License-Identifier: Apache-2.0
// Plans one by one: clones as words, "3of" is ordinal 3, old and failed. Whole lives of sets are in
// test_cloneset_life.c.
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "reconcile/cloneset.h"

enum { NOW_MS = 1000000, CLONES_MAX = 64, MANY = 10000 };

// n new, o old; u not ready, f failed, d being deleted, x delete-first; @N made at N; a adopted;
// r ready only since a second ago.
static struct set_clone clone_of(const char *word)
{
  char *rest;
  struct set_clone c = {.ordinal = strtoll(word, &rest, 10), .ready = true, .ready_ms = 1};
  for (; *rest && *rest != ' '; rest++) {
    c.updated = c.updated || *rest == 'n';
    c.failed = c.failed || *rest == 'f';
    c.deleting = c.deleting || *rest == 'd';
    c.delete_first = c.delete_first || *rest == 'x';
    c.ready = c.ready && *rest != 'u' && *rest != 'f';
    if (*rest == 'a')
      c.ordinal = -1;
    if (*rest == 'r')
      c.ready_ms = NOW_MS - 1000;
    if (*rest == '@')
      c.created_ms = strtoll(rest + 1, NULL, 10);
  }
  return c;
}

static size_t clones_of(const char *words, struct set_clone *ret)
{
  size_t count = 0;
  for (const char *w = words; *w; w += strspn(w, " ")) {
    assert_true(count < CLONES_MAX);
    ret[count++] = clone_of(w);
    w += strcspn(w, " ");
  }
  return count;
}

// "-2 +2 +3old": deletes by ordinal in the order of their choice, then creates.
static void say(const struct set_plan *p, const struct set_clone *clones, struct buf *ret)
{
  for (size_t i = 0; i < p->delete_count; i++)
    buf_printf(ret, "%s-%lld", ret->length ? " " : "", (long long)clones[p->deletes[i]].ordinal);
  for (size_t i = 0; i < p->create_count; i++)
    buf_printf(ret, "%s+%lld%s", ret->length ? " " : "", (long long)p->creates[i],
               p->create_old[i] ? "old" : "");
  if (p->complete)
    buf_printf(ret, "%scomplete", ret->length ? " " : "");
}

#define WISH(...)                                                                                  \
  {                                                                                                \
    .now_ms = NOW_MS, __VA_ARGS__                                                                  \
  }

static const struct {
  const char *sentence;
  struct set_wish wish;
  const char *clones, *plan;
} plans[] = {
    {"from nothing", WISH(.replicas = 3), "", "+0 +1 +2"},
    {"as wished", WISH(.replicas = 2), "0n 1n", "complete"},
    {"nothing is wished", WISH(.replicas = 0), "", "complete"},
    {"all the way down", WISH(.replicas = 0), "0n 1o 2nu", "-2 -1 -0"},
    {"not before it is ready", WISH(.replicas = 2), "0n 1nu", ""},
    {"nor in the face of failure", WISH(.replicas = 2), "0n 1nf", ""},
    {"up", WISH(.replicas = 4), "0n 1n", "+2 +3"},
    {"into gaps", WISH(.replicas = 4), "1n 3n", "+0 +2"},
    {"one lost comes back under its name", WISH(.replicas = 3), "0n 2n", "+1"},
    {"as soon as that is free", WISH(.replicas = 3), "0n 1nd 2n", ""},
    {"down from the top", WISH(.replicas = 2), "0n 1n 2n 3n", "-3 -2"},
    {"the newest", WISH(.replicas = 2, .scale_down = SET_NEWEST), "0n@9 1n@7 2n@8", "-0"},
    {"the oldest", WISH(.replicas = 2, .scale_down = SET_OLDEST), "0n@9 1n@7 2n@8", "-1"},
    {"the one not ready", WISH(.replicas = 2, .scale_down = SET_NOT_READY_FIRST), "0nu 1n 2n",
     "-0"},
    {"highest does not ask for ready", WISH(.replicas = 2), "0nu 1n 2n", "-2"},
    {"broken before good", WISH(.replicas = 2), "0nf 1n 2n", "-0"},
    {"broken before oldest", WISH(.replicas = 2, .scale_down = SET_OLDEST), "0n@1 1nf@2 2n@3",
     "-1"},
    {"asked for before broken", WISH(.replicas = 2), "0nf 1nx 2n", "-1"},
    {"asked for is no reason alone", WISH(.replicas = 3), "0n 1nx 2n", "complete"},
    {"what goes counts until it is gone", WISH(.replicas = 3), "0n 1n 2nd 3nd 4nd", ""},
    {"gaps that a scale-down left stay", WISH(.replicas = 2), "1n 2n", "complete"},
    {"adopted ones count", WISH(.replicas = 3), "0n 0na", "+1"},
    {"and go last", WISH(.replicas = 1), "0n 1n 0na", "-1 -0"},
    {"a second one of an ordinal counts as adopted", WISH(.replicas = 2), "0n 0n", "complete"},

    {"roll-out from the top", WISH(.replicas = 3, .max_unavailable = 1), "0o 1o 2o", "-2"},
    {"two at a time", WISH(.replicas = 3, .max_unavailable = 2), "0o 1o 2o", "-2 -1"},
    {"the next when the last is back", WISH(.replicas = 3, .max_unavailable = 1), "0o 1o 2nu", ""},
    {"it is", WISH(.replicas = 3, .max_unavailable = 1), "0o 1o 2n", "-1"},
    {"neither is one", WISH(.replicas = 3), "0o 1o 2o", "-2"},
    {"a broken old one first", WISH(.replicas = 3, .max_unavailable = 1), "0of 1o 2o", "-0"},
    {"then one not ready", WISH(.replicas = 3, .max_unavailable = 1), "0o 1ou 2o", "-1"},
    {"none known: one at a time", WISH(.replicas = 3, .max_unavailable = 1), "0ou 1ou 2ou", "-2"},
    {"and no more", WISH(.replicas = 3, .max_unavailable = 1), "0ou 1ou 2nu", ""},
    {"a bad new base stops it", WISH(.replicas = 3, .max_unavailable = 1), "0o 1o 2nf", ""},
    {"and goes first when rolled back", WISH(.replicas = 3, .max_unavailable = 1), "0n 1n 2of",
     "-2"},
    {"wherever it is", WISH(.replicas = 3, .max_unavailable = 1), "0of 1o 2n", "-0"},
    {"partition", WISH(.replicas = 3, .partition = 2, .max_unavailable = 3), "0o 1o 2o", "-2"},
    {"below it all stays", WISH(.replicas = 3, .partition = 2), "0o 1o 2n", "complete"},
    {"and is made as it was", WISH(.replicas = 3, .partition = 2), "0o", "+1old +2"},
    {"new ones below it are left", WISH(.replicas = 2, .partition = 2), "0n 1o", "complete"},
    {"on delete", WISH(.replicas = 2, .on_delete = true), "0o 1o", "complete"},
    {"new after it", WISH(.replicas = 2, .on_delete = true, .partition = 2), "0o", "+1"},
    {"down in a roll-out", WISH(.replicas = 2, .max_unavailable = 1), "0o 1o 2n", "-2 -1"},
    {"also of what was not ready", WISH(.replicas = 2, .max_unavailable = 1), "0o 1o 2nu", "-2 -1"},

    {"surge", WISH(.replicas = 3, .max_surge = 1), "0o 1o 2o", "+3"},
    {"no more of them", WISH(.replicas = 3, .max_surge = 1), "0o 1o 2o 3nu", ""},
    {"then one goes", WISH(.replicas = 3, .max_surge = 1), "0o 1o 2o 3n", "-2"},
    {"and is waited for", WISH(.replicas = 3, .max_surge = 1), "0o 1o 2od 3n", ""},
    {"and comes back", WISH(.replicas = 3, .max_surge = 1), "0o 1o 3n", "+2"},
    {"until the last", WISH(.replicas = 3, .max_surge = 1), "0o 1n 2n 3n", "-0"},
    {"whose place is waited for", WISH(.replicas = 3, .max_surge = 1), "0od 1n 2n 3n", ""},
    {"and taken", WISH(.replicas = 3, .max_surge = 1), "1n 2n 3n", "+0"},
    {"until it is ready", WISH(.replicas = 3, .max_surge = 1), "0nu 1n 2n 3n", ""},
    {"and the surge goes", WISH(.replicas = 3, .max_surge = 1), "0n 1n 2n 3n", "-3"},
    {"surge and unavailable together", WISH(.replicas = 4, .max_surge = 1, .max_unavailable = 1),
     "0o 1o 2o 3o", "-3 +4"},
    {"a broken surge is no reason to go on", WISH(.replicas = 3, .max_surge = 1), "0o 1o 2o 3nf",
     ""},
    {"a broken one made after the surge is not made again and again",
     WISH(.replicas = 3, .max_surge = 1), "0nf@9 1n@5 2n@6 3n@4", ""},
    {"an older one goes", WISH(.replicas = 3, .max_surge = 1), "0nf@2 1n@5 2n@6 3n@4", "-0"},
    {"down by more than the surge goes at once", WISH(.replicas = 2, .max_surge = 1),
     "0nu 1nu 2n 3n", "-3"},
    {"down with surge and a wish", WISH(.replicas = 3, .max_surge = 1), "0n 1nx 2n 3n", "-1"},
    {"whose place is filled again", WISH(.replicas = 3, .max_surge = 1), "0n 2n 3n", "+1"},
    {"other policies leave the surge",
     WISH(.replicas = 2, .max_surge = 1, .scale_down = SET_NEWEST), "1n 2n", "complete"},
    {"surge is no place for those whose names are taken",
     WISH(.replicas = 3, .max_surge = 2, .scale_down = SET_NEWEST), "0o 1od 2od", "+3"},
    {"a second one of an ordinal has no place to fill", WISH(.replicas = 2, .max_surge = 1),
     "0n 0n", "complete"},
    {"surge with another policy", WISH(.replicas = 2, .max_surge = 1, .scale_down = SET_NEWEST),
     "0o 1o", "+2"},

    {"a short time is not enough", WISH(.replicas = 2, .min_ready_ms = 5000), "0n 1nr", ""},
    {"nor for the roll-out", WISH(.replicas = 2, .min_ready_ms = 5000), "0o 1nr", ""},
    {"but then", WISH(.replicas = 2, .min_ready_ms = 500), "0o 1nr", "-0"},
};

static void test_plans(void **state)
{
  (void)state;
  for (size_t i = 0; i < ARRAY_SIZE(plans); i++) {
    struct set_clone clones[CLONES_MAX];
    size_t count = clones_of(plans[i].clones, clones);
    struct set_plan p CLEANUP(set_plan_release);
    struct buf said CLEANUP(buf_release) = BUF_INIT(0);
    assert_int_equal(set_plan(&plans[i].wish, clones, count, 100, &p), 0);
    say(&p, clones, &said);
    const char *text = said.length ? buf_str(&said) : "";
    if (strcmp(text, plans[i].plan) != 0)
      fail_msg("%s [%s]: '%s', not '%s'", plans[i].sentence, plans[i].clones, text, plans[i].plan);
  }
}

// Of the deletions of a plan, those in whose place others must come: "TOO MANY | REPLACED".
static const struct {
  const char *sentence;
  struct set_wish wish;
  const char *clones, *deletes;
} divisions[] = {
    {"a scale-down replaces nothing", WISH(.replicas = 1), "0n 1n 2n", "-2 -1 |"},
    {"also of what is old", WISH(.replicas = 1, .partition = 9), "0o 1o 2o", "-2 -1 |"},
    {"nor does an end", WISH(.replicas = 0), "0o 1o", "-1 -0 |"},
    {"a roll-out does", WISH(.replicas = 3, .max_unavailable = 2), "0o 1o 2o", "| -2 -1"},
    {"of broken ones as well", WISH(.replicas = 3, .max_unavailable = 1), "0of 1o 2o", "| -0"},
    {"of what does not answer", WISH(.replicas = 3, .max_unavailable = 1), "0ou 1ou 2ou", "| -2"},
    {"with a surge that is ready", WISH(.replicas = 3, .max_surge = 1), "0o 1o 2o 3n", "| -2"},
    {"the surge itself is not replaced", WISH(.replicas = 3, .max_surge = 1), "0n 1n 2n 3n",
     "-3 |"},
    {"both at once", WISH(.replicas = 2, .max_unavailable = 1), "0o 1o 2n", "-2 | -1"},
    {"nothing goes", WISH(.replicas = 2), "0n 1n", "|"},
};

static void test_replaced(void **state)
{
  (void)state;
  for (size_t i = 0; i < ARRAY_SIZE(divisions); i++) {
    struct set_clone clones[CLONES_MAX];
    struct set_plan p;
    struct buf b CLEANUP(buf_release) = BUF_INIT(4096);
    size_t count = clones_of(divisions[i].clones, clones);
    assert_int_equal(set_plan(&divisions[i].wish, clones, count, CLONES_MAX, &p), 0);
    assert_true(p.replaced_count <= p.delete_count);
    for (size_t k = 0; k <= p.delete_count; k++) {
      if (k == p.delete_count - p.replaced_count)
        buf_adds(&b, b.length ? " |" : "|");
      if (k < p.delete_count)
        buf_printf(&b, "%s-%lld", b.length ? " " : "", (long long)clones[p.deletes[k]].ordinal);
    }
    if (strcmp(buf_str(&b), divisions[i].deletes) != 0)
      fail_msg("%s: '%s', not '%s'", divisions[i].sentence, buf_str(&b), divisions[i].deletes);
    set_plan_release(&p);
  }
}

static void test_counts(void **state)
{
  (void)state;
  struct set_wish w = WISH(.replicas = 6, .min_ready_ms = 5000);
  struct set_clone clones[CLONES_MAX];
  size_t count = clones_of("0n 1o 2nr 3nu 4nf 5nd", clones);
  struct set_plan p CLEANUP(set_plan_release);
  assert_int_equal(set_plan(&w, clones, count, 100, &p), 0);
  assert_int_equal(p.replicas, 5);
  assert_int_equal(p.ready, 3);
  assert_int_equal(p.available, 2);
  assert_int_equal(p.updated, 4);
  assert_int_equal(p.updated_available, 1);
  assert_int_equal(p.look_again_ms, 4000);
  assert_false(p.complete);
}

static void test_burst(void **state)
{
  (void)state;
  struct set_wish up = WISH(.replicas = 9), down = WISH(.replicas = 0);
  struct set_clone clones[CLONES_MAX];
  size_t count = clones_of("0n 1n 2n 3n", clones);
  struct set_plan p CLEANUP(set_plan_release);
  assert_int_equal(set_plan(&up, clones, count, 2, &p), 0);
  assert_int_equal(p.create_count, 2);
  set_plan_release(&p);
  assert_int_equal(set_plan(&down, clones, count, 3, &p), 0);
  assert_int_equal(p.delete_count, 3);
  set_plan_release(&p);
  assert_int_equal(set_plan(&down, clones, count, 0, &p), 0);
  assert_int_equal(p.delete_count, 0);
  assert_false(p.complete);
}

static void test_wishes_out_of_bounds(void **state)
{
  (void)state;
  struct set_wish w = WISH(.replicas = INT64_MAX, .partition = INT64_MIN, .max_surge = INT64_MAX,
                           .max_unavailable = INT64_MIN, .min_ready_ms = INT64_MAX);
  struct set_clone odd[] = {{.ordinal = INT64_MAX, .ready = true, .ready_ms = 1},
                            {.ordinal = INT64_MIN, .created_ms = INT64_MIN},
                            {.ordinal = 0, .ready = true, .ready_ms = INT32_MAX}};
  struct set_plan p CLEANUP(set_plan_release);
  assert_int_equal(set_plan(&w, odd, ARRAY_SIZE(odd), 4, &p), 0);
  assert_int_equal(p.create_count, 4);
  assert_int_equal(p.creates[0], 1);
  set_plan_release(&p);
  w.replicas = INT64_MIN;
  w.scale_down = SET_NEWEST;
  assert_int_equal(set_plan(&w, odd, ARRAY_SIZE(odd), 4, &p), 0);
}

// Quadratic planning of so many takes seconds; under sanitizers this takes some ten milliseconds.
static void test_ten_thousand(void **state)
{
  (void)state;
  cleanup_free struct set_clone *clones = calloc(MANY, sizeof(*clones));
  for (int64_t i = 0; i < MANY; i++) // all over the place
    clones[i] = (struct set_clone){
        .ordinal = i * 7919 % MANY, .ready = i % 3, .ready_ms = 1, .created_ms = i * 31 % 977};
  static const struct set_wish wishes[] = {
      WISH(.replicas = MANY / 2),
      WISH(.replicas = MANY / 2, .max_surge = 50, .scale_down = SET_OLDEST),
      WISH(.replicas = MANY * 2, .max_surge = MANY, .max_unavailable = MANY),
      WISH(.replicas = MANY, .max_surge = MANY / 4, .max_unavailable = MANY / 4),
  };
  for (size_t i = 0; i < ARRAY_SIZE(wishes); i++) {
    struct set_plan p CLEANUP(set_plan_release);
    int64_t start_ms = clock_ms();
    assert_int_equal(set_plan(&wishes[i], clones, MANY, MANY, &p), 0);
    int64_t took_ms = clock_ms() - start_ms;
    print_message("%d clones, wish %zu: %lld ms\n", MANY, i, (long long)took_ms);
    assert_true(took_ms < 500);
    assert_true(p.delete_count + p.create_count > 0);
  }
}

static void test_amounts(void **state)
{
  (void)state;
  static const struct {
    const char *text;
    int64_t replicas;
    bool round_up;
    int64_t amount;
  } amounts[] = {
      {"0", 10, false, 0},         {"3", 10, true, 3},
      {"25%", 10, false, 2},       {"25%", 10, true, 3},
      {"100%", 7, false, 7},       {"0%", 7, true, 0},
      {"1%", 1, true, 1},          {"1%", 1, false, 0},
      {"50%", 0, true, 0},         {"101%", 10, true, -1},
      {"", 10, true, -1},          {NULL, 10, true, -1},
      {"%", 10, true, -1},         {"-1", 10, true, -1},
      {"+1", 10, true, -1},        {" 1", 10, true, -1},
      {"1 %", 10, true, -1},       {"2.5", 10, true, -1},
      {"1%%", 10, true, -1},       {"x", 10, true, -1},
      {"2147483648", 1, true, -1}, {"99999999999999999999", 1, true, -1},
      {"5%", -1, true, -1},
  };
  for (size_t i = 0; i < ARRAY_SIZE(amounts); i++)
    if (set_amount(amounts[i].text, amounts[i].replicas, amounts[i].round_up) != amounts[i].amount)
      fail_msg("'%s' of %lld", amounts[i].text, (long long)amounts[i].replicas);
}

static void test_names(void **state)
{
  (void)state;
  char name[254];
  assert_true(set_clone_name("{set}-{ordinal}", "web", 12, name));
  assert_string_equal(name, "web-12");
  assert_true(set_clone_name("a{ordinal}b", "web", 0, name));
  assert_string_equal(name, "a0b");
  assert_false(set_clone_name("{set}", "web", 0, name));
  assert_false(set_clone_name("{set}-{ordinal", "web", 0, name));
  assert_false(set_clone_name("{other}-{ordinal}", "web", 0, name));
  assert_false(set_clone_name("}{ordinal}", "web", 0, name));
  assert_false(set_clone_name("", "web", 0, name));
  assert_false(set_clone_name("{set}-{ordinal}", "web", -1, name));
  char set[254];
  memset(set, 'a', 253);
  set[253] = 0;
  assert_false(set_clone_name("{set}-{ordinal}", set, 0, name));
  set[251] = 0;
  assert_true(set_clone_name("{set}-{ordinal}", set, 9, name));
  assert_int_equal(strlen(name), 253);
  assert_false(set_clone_name("{set}-{ordinal}", set, 10, name));
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_plans),
      cmocka_unit_test(test_counts),
      cmocka_unit_test(test_replaced),
      cmocka_unit_test(test_burst),
      cmocka_unit_test(test_wishes_out_of_bounds),
      cmocka_unit_test(test_amounts),
      cmocka_unit_test(test_ten_thousand),
      cmocka_unit_test(test_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
