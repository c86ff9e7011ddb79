// SPDX-License-Identifier: Apache-2.0
// What every backend must do with bases and clones, whether anything runs in them or not.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tests/integration/clone_bench.h"

#define CANCEL_MS 5000
#define FOREIGN_OWNER                                                                              \
  "conformance/clones/somebody-else/99999999-0000-4000-8000-000000000009/0badcafe"

static bool is_template(void)
{
  return settings.base.template_ != NULL;
}

// ---- bases -------------------------------------------------------------------------------------

static void test_base_check(void **state)
{
  (void)state;
  struct base_order b cleanup_base = {0};
  struct findings found cleanup_found = {0};
  base_order_make(&b);
  OK(provider_base_check(provider, &b, &found, err));
  for (size_t i = 0; i < found.count; i++)
    if (found.items[i].severity == FINDING_ERROR)
      fail_msg("%s: %s", found.items[i].check, found.items[i].message);
}

static void test_base_of_nothing(void **state)
{
  (void)state;
  struct base_order b cleanup_base = {0};
  struct findings found cleanup_found = {0};
  base_order_make(&b);
  char **source = b.vm ? &b.vm : b.template_ ? &b.template_ : b.image ? &b.image : &b.alias;
  if (!*source)
    source = &b.fingerprint;
  free(*source);
  *source = str_dup("cf-there-is-no-such");
  if (b.image)
    bench_image(&b);
  struct err failure = ERR_INIT;
  if (provider_base_check(provider, &b, &found, &failure) == 0)
    assert_true(refused(&found));
  else
    assert_int_equal(failure.kind, ERR_NOT_FOUND);
  struct owned o cleanup_owned = {0};
  struct base_seen seen cleanup_bseen = {0};
  struct err made = ERR_INIT;
  if (provider_base_plan(provider, &b, &o, &made) == 0 && base_complete(&b, &o, &seen, &made) == 0)
    fail_msg("a base was made of nothing");
  assert_int_equal(made.kind, ERR_NOT_FOUND);
}

static void test_base_plan(void **state)
{
  (void)state;
  struct base_order b cleanup_base = {0};
  struct owned first cleanup_owned = {0}, second cleanup_owned = {0};
  struct base_seen seen cleanup_bseen = {0};
  base_order_make(&b);
  OK(provider_base_plan(provider, &b, &first, err));
  OK(provider_base_plan(provider, &b, &second, err));
  assert_true(table_equal(&owned_table, &first, &second));
  assert_string_equal(first.kind, is_template() ? "Template" : "Base");
  if (!is_template())
    FAILS(ERR_NOT_FOUND, provider_base_get(provider, &first, &seen, err)); // nothing was made
}

static void test_base_crash(void **state)
{
  (void)state;
  struct base_order b cleanup_base = {0};
  struct owned o cleanup_owned = {0};
  struct base_seen seen cleanup_bseen = {0};
  base_order_make(&b);
  OK(provider_base_plan(provider, &b, &o, err));
  if (!is_template())
    bench_remember(&o, b.owner);
  OK(provider_base_make(provider, &b, &o, &seen, err)); // begins
  assert_in_range(seen.percent, 0, 100);
  bench_reopen();
  if (b.image)
    bench_image(&b);
  base_seen_release(&seen);
  OK(base_complete(&b, &o, &seen, err));
  assert_string_equal(seen.id, the_base_seen()->id);
}

static void test_base_seen(void **state)
{
  (void)state;
  const struct base_seen *made = the_base_seen();
  struct base_order b cleanup_base = {0};
  struct base_seen again cleanup_bseen = {0}, got cleanup_bseen = {0};
  base_order_make(&b);
  assert_false(str_empty(made->id));
  assert_false(str_empty(made->revision));
  assert_int_equal(made->is_template, is_template());
  assert_false(made->running);
  assert_true(made->bytes >= -1);
  if (!is_template())
    assert_true(owner_same(made->owner, b.owner));
  OK(base_complete(&b, the_base(), &again, err));
  OK(provider_base_get(provider, the_base(), &got, err));
  assert_true(got.done);
  assert_string_equal(again.id, made->id);
  assert_string_equal(again.revision, made->revision);
  assert_string_equal(got.id, made->id);
  assert_string_equal(got.revision, made->revision);
}

static void test_base_of_others(void **state)
{
  (void)state;
  struct base_order b cleanup_base = {0};
  struct base_seen seen cleanup_bseen = {0};
  if (is_template())
    skip();
  the_base();
  base_order_make(&b);
  free(b.owner);
  b.owner = str_dup(FOREIGN_OWNER);
  FAILS(ERR_EXISTS, provider_base_make(provider, &b, the_base(), &seen, err));
  FAILS(ERR_DENIED, provider_remove(provider, the_base(), FOREIGN_OWNER, err));
  OK(provider_base_get(provider, the_base(), &seen, err));
}

// An image that takes long: its base is taken away while it comes, and at once.
static void test_base_cancelled(void **state)
{
  (void)state;
  struct base_order b cleanup_base = {0};
  struct owned o cleanup_owned = {0};
  struct base_seen seen cleanup_bseen = {0}, got cleanup_bseen = {0};
  int64_t delay_ms = settings.image_delay_ms;
  if (!settings.base.image)
    skip();
  settings.image_delay_ms = 60000;
  base_order_of("cf-cancelled", "0badcafe-0000-4000-8000-0000000000ca", &b);
  settings.image_delay_ms = delay_ms;
  OK(provider_base_plan(provider, &b, &o, err));
  bench_remember(&o, b.owner);
  OK(provider_base_make(provider, &b, &o, &seen, err));
  assert_false(seen.done);
  int64_t start_ms = clock_ms();
  OK(remove_complete(&o, b.owner, err));
  if (clock_ms() - start_ms > CANCEL_MS)
    fail_msg("it took %lld ms", (long long)(clock_ms() - start_ms));
  FAILS(ERR_NOT_FOUND, provider_base_get(provider, &o, &got, err));
}

// ---- clones ------------------------------------------------------------------------------------

static void test_clone_check(void **state)
{
  (void)state;
  for (int mode = 0; clone_mode_names[mode]; mode++) {
    struct clone_order c cleanup_order = {0};
    struct findings found cleanup_found = {0};
    clone_order_make(20, &c);
    c.mode = mode;
    OK(provider_clone_check(provider, &c, &found, err));
    bool can = can_mode(mode) || mode == CLONE_PREFER_LINKED;
    for (size_t i = 0; i < found.count && can; i++)
      if (found.items[i].severity == FINDING_ERROR)
        fail_msg("%s: %s: %s", clone_mode_names[mode], found.items[i].check,
                 found.items[i].message);
    if (!can && !refused(&found))
      fail_msg("mode %s is not refused", clone_mode_names[mode]);
  }
}

// A clone in each mode: what can be had is read back as such, what cannot leaves nothing behind.
static void test_modes(void **state)
{
  (void)state;
  for (int mode = 0; clone_mode_names[mode]; mode++) {
    struct clone_order c cleanup_order = {0};
    struct owned o cleanup_owned = {0};
    struct clone_seen seen cleanup_seen = {0};
    clone_order_make(30 + (unsigned)mode, &c);
    c.mode = mode;
    OK(provider_clone_plan(provider, &c, &o, err));
    bench_remember(&o, c.owner);
    if (!can_mode(mode) && mode != CLONE_PREFER_LINKED) {
      FAILS(ERR_UNSUPPORTED, clone_complete(&c, &o, &seen, err));
      assert_false(is_there(o.id));
      assert_false(machine_listed(c.name, NULL));
      continue;
    }
    OK(clone_complete(&c, &o, &seen, err));
    if (mode == CLONE_PREFER_LINKED && !can_mode(CLONE_LINKED))
      assert_true(seen.mode == CLONE_REFLINK || seen.mode == CLONE_FULL);
    else
      assert_int_equal(seen.mode, mode == CLONE_PREFER_LINKED ? CLONE_LINKED : mode);
    if (seen.mode == CLONE_LINKED) {
      assert_string_equal(seen.base, the_base_seen()->id);
      if (seen.bytes < 0 || seen.bytes > settings.linked_bytes)
        fail_msg("a linked clone takes %lld bytes", (long long)seen.bytes);
    }
    OK(remove_complete(&o, c.owner, err));
    assert_false(is_there(o.id));
  }
}

static void test_clone_made(void **state)
{
  (void)state;
  struct clone_order c cleanup_order = {0};
  struct owned o cleanup_owned = {0}, again cleanup_owned = {0};
  struct clone_seen first cleanup_seen = {0}, second cleanup_seen = {0}, got cleanup_seen = {0};
  clone_order_make(1, &c);
  OK(provider_clone_plan(provider, &c, &o, err));
  OK(provider_clone_plan(provider, &c, &again, err));
  assert_true(table_equal(&owned_table, &o, &again));
  assert_string_equal(o.kind, "Clone");
  assert_false(is_there(o.id)); // planning makes nothing
  struct bench_clone *shared = the_clone(1);
  OK(clone_complete(&c, &o, &first, err));
  bench_reopen();
  OK(clone_complete(&c, &o, &second, err));
  OK(provider_clone_get(provider, o.id, &got, err));
  assert_string_equal(first.id, shared->seen.id);
  assert_string_equal(first.id, o.id);
  assert_string_equal(second.id, o.id);
  assert_string_equal(got.id, o.id);
  assert_string_equal(got.name, c.name);
  assert_true(owner_same(got.owner, c.owner));
  assert_int_equal(got.mode, c.mode);
  assert_int_equal(got.power, VM_POWER_OFF);
  assert_true(got.done);
  assert_false(got.agent);
  if (got.mode == CLONE_LINKED)
    assert_string_equal(got.base, the_base_seen()->id);
}

static void test_clone_crash(void **state)
{
  (void)state;
  struct clone_order c cleanup_order = {0};
  struct owned o cleanup_owned = {0};
  struct clone_seen seen cleanup_seen = {0};
  clone_order_make(21, &c);
  OK(provider_clone_plan(provider, &c, &o, err));
  bench_remember(&o, c.owner);
  OK(provider_clone_make(provider, &c, &o, &seen, err)); // begins
  bench_reopen();
  clone_seen_release(&seen);
  OK(clone_complete(&c, &o, &seen, err));
  assert_string_equal(seen.id, o.id);
  struct machines all CLEANUP(machines_release) = {0};
  OK(provider_machines(provider, &all, err));
  unsigned count = 0;
  for (size_t i = 0; i < all.items.count; i++)
    count += str_eq(((const struct machine_seen *)all.items.items)[i].name, c.name);
  assert_int_equal(count, 1);
  OK(remove_complete(&o, c.owner, err));
}

static void test_clone_wrong_base(void **state)
{
  (void)state;
  struct clone_order c cleanup_order = {0};
  struct owned o cleanup_owned = {0};
  struct clone_seen seen cleanup_seen = {0};
  clone_order_make(22, &c);
  OK(provider_clone_plan(provider, &c, &o, err));
  bench_remember(&o, c.owner);
  c.base_revision = str_dup("not-its-revision");
  FAILS(ERR_CHANGED, clone_complete(&c, &o, &seen, err));
  free(c.base_revision);
  c.base_revision = str_dup(the_base_seen()->revision);
  free(c.base);
  c.base = str_dup("cf-there-is-no-such");
  FAILS(ERR_NOT_FOUND, clone_complete(&c, &o, &seen, err));
  assert_false(is_there(o.id));
  free(c.base);
  c.base = str_dup(the_base_seen()->id);
  OK(clone_complete(&c, &o, &seen, err));
  OK(remove_complete(&o, c.owner, err));
}

// A machine that somebody made by hand has the wanted name: nothing happens to it.
static void test_impostor(void **state)
{
  (void)state;
  struct clone_order c cleanup_order = {0};
  struct owned o cleanup_owned = {0};
  struct clone_seen seen cleanup_seen = {0};
  struct findings found cleanup_found = {0};
  struct machine_seen listed = {0};
  if (settings.host.foreign_make.count == 0)
    skip();
  clone_order_make(23, &c);
  cleanup_free char *made = on_host(&settings.host.foreign_make, c.name);
  assert_non_null(made);
  cleanup_free char *before = on_host(&settings.host.foreign_show, c.name);
  assert_non_null(before);
  OK(provider_clone_plan(provider, &c, &o, err));
  FAILS(ERR_EXISTS, clone_complete(&c, &o, &seen, err));
  OK(provider_clone_check(provider, &c, &found, err));
  assert_true(refused(&found));
  assert_true(machine_listed(c.name, &listed));
  assert_null(listed.owner);
  struct owned its cleanup_owned = {0};
  its.kind = str_dup("Clone");
  its.id = str_dup(listed.id);
  its.where = str_dup(o.where);
  table_release(&machine_seen_table, &listed);
  FAILS(ERR_DENIED, provider_remove(provider, &its, c.owner, err));
  cleanup_free char *after = on_host(&settings.host.foreign_show, c.name);
  assert_non_null(after);
  assert_string_equal(before, after);
  cleanup_free char *gone = on_host(&settings.host.foreign_remove, c.name);
  assert_non_null(gone);
}

static void test_clone_of_others(void **state)
{
  (void)state;
  struct bench_clone *mine = the_clone(0);
  struct clone_order c cleanup_order = {0};
  struct clone_seen seen cleanup_seen = {0};
  OK(table_copy(&clone_order_table, &mine->order, &c, err));
  free(c.owner);
  c.owner = str_dup(FOREIGN_OWNER);
  FAILS(ERR_EXISTS, clone_complete(&c, &mine->owned, &seen, err));
  FAILS(ERR_DENIED, provider_remove(provider, &mine->owned, FOREIGN_OWNER, err));
  assert_true(is_there(mine->seen.id));
}

static void test_machines(void **state)
{
  (void)state;
  struct bench_clone *mine = the_clone(0);
  struct machine_seen m = {0};
  assert_true(machine_listed(mine->order.name, &m));
  assert_string_equal(m.kind, "Clone");
  assert_string_equal(m.id, mine->seen.id);
  assert_true(owner_same(m.owner, mine->order.owner));
  table_release(&machine_seen_table, &m);
  assert_true(machine_listed(the_base_seen()->name, &m));
  assert_true(str_eq(m.kind, "Base") || str_eq(m.kind, "Template"));
  table_release(&machine_seen_table, &m);
  assert_false(machine_listed("cf-there-is-no-such", NULL));
}

static void test_unknown_machine(void **state)
{
  (void)state;
  static const char *const none = "00000000-0000-4000-8000-00000000dead";
  struct clone_seen seen;
  struct exec_result result;
  struct strings argv cleanup_strings = {0}, names = {0};
  void *bytes;
  size_t length;
  words(&argv, (const char *const[]){"true", NULL});
  struct exec_order order = {.argv = argv};
  FAILS(ERR_NOT_FOUND, provider_clone_get(provider, none, &seen, err));
  FAILS(ERR_NOT_FOUND, provider_clone_power(provider, none, POWER_ON, err));
  FAILS(ERR_NOT_FOUND, provider_exec(provider, none, &order, &result, err));
  FAILS(ERR_NOT_FOUND, provider_push(provider, none, "/tmp/x", 0644, "x", 1, err));
  FAILS(ERR_NOT_FOUND, provider_pull(provider, none, "/tmp/x", &bytes, &length, err));
  if (settings.no_snapshots)
    return;
  FAILS(ERR_NOT_FOUND, provider_snapshot(provider, none, "s1", err));
  FAILS(ERR_NOT_FOUND, provider_snapshots(provider, none, &names, err));
}

static void test_console(void **state)
{
  (void)state;
  struct bench_clone *mine = settings.runs ? running_clone(0) : the_clone(0);
  struct strings argv cleanup_strings = {0};
  OK(provider_console(provider, mine->seen.id, &argv, err));
  assert_true(argv.count > 0);
  assert_false(str_empty(argv.items[0]));
}

// A clone of a clone: what is in the first is in the second, which has an identity of its own.
static void test_source(void **state)
{
  (void)state;
  struct clone_order c cleanup_order = {0};
  struct owned o cleanup_owned = {0};
  struct clone_seen seen cleanup_seen = {0};
  struct findings found cleanup_found = {0};
  struct bench_clone *first = the_clone(2);
  power_off(first->seen.id);
  clone_order_make(24, &c);
  free(c.base);
  c.base = NULL;
  c.source = str_dup(first->seen.id);
  OK(provider_clone_plan(provider, &c, &o, err));
  OK(provider_clone_check(provider, &c, &found, err));
  assert_int_equal(refused(&found), settings.no_source);
  if (settings.no_source) {
    FAILS(ERR_UNSUPPORTED, clone_complete(&c, &o, &seen, err));
    assert_false(is_there(o.id));
    return;
  }
  bench_remember(&o, c.owner);
  OK(clone_complete(&c, &o, &seen, err));
  assert_string_not_equal(seen.id, first->seen.id);
  OK(remove_complete(&o, c.owner, err));
  assert_true(is_there(first->seen.id));
}

// ---- the end of things -------------------------------------------------------------------------

static void test_base_in_use(void **state)
{
  (void)state;
  struct bench_clone *mine = the_clone(0);
  struct base_seen seen cleanup_bseen = {0};
  struct base_order b cleanup_base = {0};
  if (is_template() || mine->seen.mode != CLONE_LINKED)
    skip();
  base_order_make(&b);
  FAILS(ERR_BUSY, provider_remove(provider, the_base(), b.owner, err));
  OK(provider_base_get(provider, the_base(), &seen, err));
  assert_true(seen.done);
  assert_string_equal(seen.revision, the_base_seen()->revision);
  assert_true(is_there(mine->seen.id));
}

// Somebody changes the base on the host: either the platform does not let them, or it is seen and
// nothing is cloned from it any more.
static void test_base_changed(void **state)
{
  (void)state;
  struct base_seen seen cleanup_bseen = {0};
  struct clone_order c cleanup_order = {0};
  struct owned o cleanup_owned = {0};
  struct clone_seen clone cleanup_seen = {0};
  if (settings.host.base_change.count == 0)
    skip();
  clone_order_make(25, &c);
  c.base_revision = str_dup(the_base_seen()->revision);
  cleanup_free char *changed = on_host(&settings.host.base_change, the_base_seen()->id);
  OK(provider_base_get(provider, the_base(), &seen, err));
  if (!changed) {
    assert_string_equal(seen.revision, the_base_seen()->revision);
    return;
  }
  assert_string_not_equal(seen.revision, the_base_seen()->revision);
  OK(provider_clone_plan(provider, &c, &o, err));
  FAILS(ERR_CHANGED, clone_complete(&c, &o, &clone, err));
  assert_false(is_there(o.id));
}

static void test_remove(void **state)
{
  (void)state;
  for (unsigned i = 0; i < BENCH_CLONES; i++) {
    struct bench_clone *c = settings.runs ? running_clone(i) : the_clone(i);
    if (settings.runs) {
      FAILS(ERR_BUSY, provider_remove(provider, &c->owned, c->order.owner, err));
      assert_true(is_there(c->seen.id));
      power_off(c->seen.id);
    }
    OK(remove_complete(&c->owned, c->order.owner, err));
    OK(remove_complete(&c->owned, c->order.owner, err));
    assert_false(is_there(c->seen.id));
    assert_false(machine_listed(c->order.name, NULL));
    clone_drop(c);
  }
}

static void test_base_remove(void **state)
{
  (void)state;
  struct base_order b cleanup_base = {0};
  struct base_seen seen;
  if (is_template())
    skip();
  base_order_make(&b);
  if (settings.release) {
    OK(provider_base_release(provider, the_base(), b.owner, err));
    OK(provider_base_release(provider, the_base(), b.owner, err));
    FAILS(ERR_NOT_FOUND, provider_base_get(provider, the_base(), &seen, err));
    return;
  }
  OK(remove_complete(the_base(), b.owner, err));
  OK(remove_complete(the_base(), b.owner, err));
  FAILS(ERR_NOT_FOUND, provider_base_get(provider, the_base(), &seen, err));
  assert_int_equal(bench_end(), 0);
}

const struct CMUnitTest base_tests[] = {
    cmocka_unit_test(test_base_check),     cmocka_unit_test(test_base_of_nothing),
    cmocka_unit_test(test_base_plan),      cmocka_unit_test(test_base_crash),
    cmocka_unit_test(test_base_seen),      cmocka_unit_test(test_base_of_others),
    cmocka_unit_test(test_base_cancelled), cmocka_unit_test(test_clone_check),
    cmocka_unit_test(test_modes),          cmocka_unit_test(test_clone_made),
    cmocka_unit_test(test_clone_crash),    cmocka_unit_test(test_clone_wrong_base),
    cmocka_unit_test(test_impostor),       cmocka_unit_test(test_clone_of_others),
    cmocka_unit_test(test_machines),       cmocka_unit_test(test_unknown_machine),
    cmocka_unit_test(test_console),
};
const size_t base_tests_count = ARRAY_SIZE(base_tests);

const struct CMUnitTest end_tests[] = {
    cmocka_unit_test(test_source),       cmocka_unit_test(test_base_in_use),
    cmocka_unit_test(test_base_changed), cmocka_unit_test(test_remove),
    cmocka_unit_test(test_base_remove),
};
const size_t end_tests_count = ARRAY_SIZE(end_tests);
