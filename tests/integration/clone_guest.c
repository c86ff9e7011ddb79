// SPDX-License-Identifier: Apache-2.0
// What every backend must do with clones that run: power, commands, files, snapshots, identity.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tests/integration/clone_bench.h"

static void need_guest(void)
{
  if (!settings.runs || settings.no_exec)
    skip();
}

// Runs argv and gives the whole result; the exit status is the test's business.
static void run_in(const char *id, const char *const *argv, const char *input,
                   struct exec_result *ret)
{
  struct strings list cleanup_strings = {0};
  words(&list, argv);
  struct exec_order order = {.argv = list, .input = (char *)input, .timeout_ms = 20000};
  OK(provider_exec(provider, id, &order, ret, err));
}

// ---- power -------------------------------------------------------------------------------------

static void test_power(void **state)
{
  (void)state;
  if (!settings.runs)
    skip();
  const char *id = running_clone(0)->seen.id;
  struct clone_seen seen cleanup_seen = {0};
  OK(provider_clone_power(provider, id, POWER_ON, err)); // already so
  OK(provider_clone_get(provider, id, &seen, err));
  assert_int_equal(seen.power, VM_POWER_ON);
  assert_true(seen.memory_bytes >= -1);
  bench_reopen(); // what runs goes on running
  wait_power(id, VM_POWER_ON, true);
  power_off(id);
  power_off(id);
  power_on(id);
}

static void test_guest_shutdown(void **state)
{
  (void)state;
  if (!settings.runs || settings.no_shutdown)
    skip();
  const char *id = running_clone(0)->seen.id;
  OK(provider_clone_power(provider, id, POWER_GUEST_SHUTDOWN, err));
  wait_power(id, VM_POWER_OFF, false);
  OK(provider_clone_power(provider, id, POWER_GUEST_SHUTDOWN, err)); // already so
  power_on(id);
}

static void test_exec_when_off(void **state)
{
  (void)state;
  need_guest();
  struct bench_clone *c = the_clone(1);
  struct strings argv cleanup_strings = {0};
  struct exec_result result;
  words(&argv, (const char *const[]){"true", NULL});
  struct exec_order order = {.argv = argv, .timeout_ms = 5000};
  power_off(c->seen.id);
  FAILS(ERR_BUSY, provider_exec(provider, c->seen.id, &order, &result, err));
}

// ---- commands ----------------------------------------------------------------------------------

static void test_exec(void **state)
{
  (void)state;
  need_guest();
  const char *id = running_clone(0)->seen.id;
  struct exec_result r cleanup_result = {0};
  run_in(id, (const char *const[]){"sh", "-c", "echo out; echo err >&2; exit 7", NULL}, NULL, &r);
  assert_int_equal(r.exit_status, 7);
  assert_string_equal(r.output, "out\n");
  assert_string_equal(r.errors, "err\n");
  assert_false(r.cut);
  exec_result_release(&r);
  run_in(id, (const char *const[]){"sh", "-c", "kill -TERM $$", NULL}, NULL, &r);
  assert_int_equal(r.exit_status, 128 + 15);
  exec_result_release(&r);
  run_in(id, (const char *const[]){"cat", NULL}, "one\ntwo", &r);
  assert_string_equal(r.output, "one\ntwo");
  exec_result_release(&r);
  run_in(id, (const char *const[]){"cat", NULL}, NULL, &r); // no input is its end
  assert_string_equal(r.output, "");
}

// Words arrive as they are: no shell reads them on the way.
static void test_exec_words(void **state)
{
  (void)state;
  need_guest();
  const char *id = running_clone(0)->seen.id;
  static const char *const odd[] = {"a b",
                                    "",
                                    "it's",
                                    "\"quoted\"",
                                    "$HOME",
                                    "`id`",
                                    "\\n",
                                    "*",
                                    "; false",
                                    "tab\tline\nend",
                                    "-n",
                                    "--help",
                                    "%s%n",
                                    "snow\xe2\x98\x83man",
                                    "\x01\x02\x7f",
                                    "{\"json\": [1]}",
                                    "#",
                                    "!",
                                    "a=b",
                                    "~"};
  for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
    struct exec_result r cleanup_result = {0};
    cleanup_free char *wanted = str_printf("[%s][end]", odd[i]);
    run_in(id, (const char *const[]){"printf", "[%s]", odd[i], "end", NULL}, NULL, &r);
    assert_string_equal(r.output, wanted);
  }
}

static void test_exec_failures(void **state)
{
  (void)state;
  need_guest();
  const char *id = running_clone(0)->seen.id;
  struct strings none cleanup_strings = {0}, slow cleanup_strings = {0};
  struct exec_result r;
  words(&none, (const char *const[]){"there-is-no-such-program", NULL});
  words(&slow, (const char *const[]){"sleep", "30", NULL});
  struct exec_order missing = {.argv = none, .timeout_ms = 10000};
  struct exec_order sleeping = {.argv = slow, .timeout_ms = 1000};
  FAILS(ERR_NOT_FOUND, provider_exec(provider, id, &missing, &r, err));
  int64_t before_ms = clock_ms();
  FAILS(ERR_TIMEOUT, provider_exec(provider, id, &sleeping, &r, err));
  assert_true(clock_ms() - before_ms < 15000);
  free(shell(id, "true")); // the connection is as good as before
}

static void test_exec_much(void **state)
{
  (void)state;
  need_guest();
  const char *id = running_clone(0)->seen.id;
  struct exec_result r cleanup_result = {0};
  run_in(id, (const char *const[]){"sh", "-c", "yes | head -c 6000000", NULL}, NULL, &r);
  assert_true(r.cut);
  assert_true(strlen(r.output) >= 1 << 20 && strlen(r.output) <= 4 << 20);
  exec_result_release(&r);
  run_in(id, (const char *const[]){"sh", "-c", "yes | head -c 300000", NULL}, NULL, &r);
  assert_false(r.cut);
  assert_int_equal(strlen(r.output), 300000);
}

// ---- files -------------------------------------------------------------------------------------

static void expect_pulled(const char *id, const char *path, const void *bytes, size_t length)
{
  void *got = NULL;
  size_t got_length = 0;
  OK(provider_pull(provider, id, path, &got, &got_length, err));
  assert_int_equal(got_length, length);
  assert_memory_equal(got, bytes, length);
  free(got);
}

static void test_files(void **state)
{
  (void)state;
  need_guest();
  const char *id = running_clone(0)->seen.id;
  cleanup_free char *path = str_printf("%s/it's a \"file\"", settings.guest.folder);
  size_t length = 300000;
  cleanup_free unsigned char *bytes = malloc(length);
  for (size_t i = 0; i < length; i++)
    bytes[i] = (unsigned char)(i * 7 + i / 256);
  OK(provider_push(provider, id, path, 0640, bytes, length, err));
  expect_pulled(id, path, bytes, length);
  cleanup_free char *script = str_printf("stat -c '%%a %%s' %s/it*file*", settings.guest.folder);
  cleanup_free char *stat = shell(id, script);
  assert_string_equal(stat, "640 300000");
  OK(provider_push(provider, id, path, 0600, "short", 5, err)); // over the old one, whole
  expect_pulled(id, path, "short", 5);
  OK(provider_push(provider, id, path, 0600, "", 0, err));
  expect_pulled(id, path, "", 0);
}

static void test_files_wrong(void **state)
{
  (void)state;
  need_guest();
  const char *id = running_clone(0)->seen.id;
  cleanup_free char *missing = str_printf("%s/none/at/all", settings.guest.folder);
  void *got;
  size_t length;
  struct err failure = ERR_INIT;
  FAILS(ERR_NOT_FOUND, provider_pull(provider, id, missing, &got, &length, err));
  FAILS(ERR_INVALID, provider_push(provider, id, "relative", 0644, "x", 1, err));
  FAILS(ERR_INVALID, provider_pull(provider, id, "relative", &got, &length, err));
  if (provider_pull(provider, id, settings.guest.folder, &got, &length, &failure) == 0)
    fail_msg("a folder was read as a file");
  if (provider_push(provider, id, settings.guest.folder, 0644, "x", 1, &failure) == 0)
    fail_msg("a folder was written as a file");
}

// Links inside lead to what the guest sees there, never to this host.
static void test_files_links(void **state)
{
  (void)state;
  need_guest();
  struct bench_clone *c = running_clone(0);
  static const char *const links[] = {"/etc/hostname", "../../../../../../../../etc/hostname"};
  cleanup_free char *inner = shell(c->seen.id, "cat /etc/hostname");
  cleanup_free char *whole = str_printf("%s\n", inner);
  for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
    cleanup_free char *path = str_printf("%s/link%zu", settings.guest.folder, i);
    cleanup_free char *script = str_printf("ln -sf %s %s", links[i], path);
    free(shell(c->seen.id, script));
    void *got = NULL;
    size_t length = 0;
    OK(provider_pull(provider, c->seen.id, path, &got, &length, err));
    cleanup_free char *text = strndup(got, length);
    free(got);
    assert_true(str_eq(text, whole) || str_eq(text, inner));
  }
}

// ---- snapshots ---------------------------------------------------------------------------------

static void write_file(const char *id, const char *name, const char *text)
{
  cleanup_free char *path = str_printf("%s/%s", settings.guest.folder, name);
  OK(provider_push(provider, id, path, 0644, text, strlen(text), err));
  free(shell(id, "sync"));
}

static bool has_file(const char *id, const char *name, const char *text)
{
  cleanup_free char *path = str_printf("%s/%s", settings.guest.folder, name);
  void *got = NULL;
  size_t length = 0;
  struct err failure = ERR_INIT;
  if (provider_pull(provider, id, path, &got, &length, &failure) != 0)
    return false;
  bool same = length == strlen(text) && memcmp(got, text, length) == 0;
  free(got);
  return same;
}

static void test_no_snapshots(void **state)
{
  (void)state;
  struct strings names = {0};
  if (!settings.no_snapshots)
    skip();
  const char *id = the_clone(0)->seen.id;
  FAILS(ERR_UNSUPPORTED, provider_snapshot(provider, id, "s1", err));
  FAILS(ERR_UNSUPPORTED, provider_rollback(provider, id, "s1", err));
  FAILS(ERR_UNSUPPORTED, provider_snapshots(provider, id, &names, err));
  FAILS(ERR_UNSUPPORTED, provider_snapshot_remove(provider, id, "s1", err));
}

static void expect_snapshots(const char *id, size_t count, const char *name)
{
  struct strings names cleanup_strings = {0};
  OK(provider_snapshots(provider, id, &names, err));
  assert_int_equal(names.count, count);
  if (name)
    assert_true(strings_has(&names, name));
}

static void test_snapshot_verbs(void **state)
{
  (void)state;
  if (settings.no_snapshots)
    skip();
  const char *id = the_clone(1)->seen.id;
  power_off(id);
  expect_snapshots(id, 0, NULL);
  OK(provider_snapshot(provider, id, "s1", err));
  OK(provider_snapshot(provider, id, "s1", err)); // it is ours and there already
  OK(provider_snapshot(provider, id, "s-2", err));
  expect_snapshots(id, 2, "s-2");
  OK(provider_snapshot_remove(provider, id, "s-2", err));
  OK(provider_snapshot_remove(provider, id, "s-2", err));
  expect_snapshots(id, 1, "s1");
  FAILS(ERR_NOT_FOUND, provider_rollback(provider, id, "none", err));
  FAILS(ERR_INVALID, provider_snapshot(provider, id, "../up", err));
  FAILS(ERR_INVALID, provider_rollback(provider, id, "a b", err));
  FAILS(ERR_INVALID, provider_snapshot_remove(provider, id, "", err));
  OK(provider_rollback(provider, id, "s1", err));
  OK(provider_snapshot_remove(provider, id, "s1", err));
  expect_snapshots(id, 0, NULL);
}

// The content comes back, and whose machine it is does not change.
static void test_rollback(void **state)
{
  (void)state;
  need_guest();
  if (settings.no_snapshots)
    skip();
  struct bench_clone *c = running_clone(0);
  struct clone_seen seen cleanup_seen = {0};
  const char *id = c->seen.id;
  write_file(id, "rolled", "before");
  power_off(id);
  OK(provider_snapshot(provider, id, "s1", err));
  power_on(id);
  write_file(id, "rolled", "after");
  write_file(id, "rolled-too", "new");
  power_off(id);
  OK(provider_rollback(provider, id, "s1", err));
  power_off(id); // a platform may have started it
  OK(provider_clone_get(provider, id, &seen, err));
  assert_string_equal(seen.id, id);
  assert_true(owner_same(seen.owner, c->order.owner));
  assert_int_equal(seen.mode, c->seen.mode);
  power_on(id);
  assert_true(has_file(id, "rolled", "before"));
  assert_false(has_file(id, "rolled-too", "new"));
  OK(provider_snapshot_remove(provider, id, "s1", err));
  assert_true(has_file(id, "rolled", "before"));
}

// ---- identity and isolation --------------------------------------------------------------------

static char *asked(const char *id, const struct strings *argv)
{
  for (int64_t end_ms = clock_ms() + settings.boot_ms;;) { // host keys come late in a boot
    struct exec_order order = {.argv = *argv, .timeout_ms = 20000};
    struct exec_result r cleanup_result = {0};
    OK(provider_exec(provider, id, &order, &r, err));
    if (r.exit_status == 0 && !str_empty(r.output))
      return TAKE(r.output);
    if (clock_ms() > end_ms)
      fail_msg("%s ends with %lld: %s", argv->items[0], (long long)r.exit_status, r.errors);
    free(shell(id, "sleep 0.2"));
  }
}

static void expect_different(const struct strings *argv, const char *what)
{
  char *answers[BENCH_CLONES] = {NULL};
  if (argv->count == 0)
    return;
  for (unsigned i = 0; i < BENCH_CLONES; i++)
    answers[i] = asked(running_clone(i)->seen.id, argv);
  for (unsigned i = 0; i < BENCH_CLONES; i++)
    for (unsigned k = 0; k < i; k++)
      if (str_eq(answers[i], answers[k]))
        fail_msg("%s: clones %u and %u agree: %s", what, k, i, answers[i]);
  for (unsigned i = 0; i < BENCH_CLONES; i++)
    free(answers[i]);
}

static void test_identity(void **state)
{
  (void)state;
  need_guest();
  for (unsigned i = 0; i < BENCH_CLONES; i++) // all at once
    OK(provider_clone_power(provider, the_clone(i)->seen.id, POWER_ON, err));
  for (unsigned i = 0; i < BENCH_CLONES; i++)
    wait_power(the_clone(i)->seen.id, VM_POWER_ON, true);
  expect_different(&settings.guest.hostname, "hostname");
  expect_different(&settings.guest.machine_id, "machine-id");
  expect_different(&settings.guest.macs, "MAC");
  expect_different(&settings.guest.host_keys, "host keys");
  for (unsigned i = 0; i < BENCH_CLONES; i++) {
    struct bench_clone *c = the_clone(i);
    if (settings.guest.hostname.count) {
      cleanup_free char *name = inside(c->seen.id, &settings.guest.hostname);
      assert_string_equal(name, c->order.hostname);
    }
    if (settings.guest.machine_id.count) {
      cleanup_free char *name = inside(c->seen.id, &settings.guest.machine_id);
      assert_string_equal(name, c->order.machine_id);
    }
  }
}

// Who it is survives a restart.
static void test_identity_lasts(void **state)
{
  (void)state;
  need_guest();
  const struct strings *const questions[] = {&settings.guest.machine_id, &settings.guest.macs,
                                             &settings.guest.host_keys};
  const char *id = running_clone(0)->seen.id;
  char *before[ARRAY_SIZE(questions)] = {NULL};
  for (size_t i = 0; i < ARRAY_SIZE(questions); i++)
    before[i] = questions[i]->count ? asked(id, questions[i]) : NULL;
  free(shell(id, "sync"));
  power_off(id);
  power_on(id);
  for (size_t i = 0; i < ARRAY_SIZE(questions); i++) {
    cleanup_free char *after = before[i] ? asked(id, questions[i]) : NULL;
    assert_true(str_eq(before[i], after));
    free(before[i]);
  }
}

static void test_isolation(void **state)
{
  (void)state;
  need_guest();
  struct bench_clone *writer = running_clone(0), *sibling = running_clone(1);
  struct base_seen base cleanup_bseen = {0};
  struct clone_order c cleanup_order = {0};
  struct owned o cleanup_owned = {0};
  struct clone_seen late cleanup_seen = {0};
  write_file(writer->seen.id, "only-here", "written");
  free(shell(writer->seen.id, "echo changed >> /etc/issue; sync"));
  cleanup_free char *changed = shell(writer->seen.id, "tail -n 1 /etc/issue");
  assert_string_equal(changed, "changed");
  assert_false(has_file(sibling->seen.id, "only-here", "written"));
  OK(provider_base_get(provider, the_base(), &base, err));
  assert_string_equal(base.revision, the_base_seen()->revision);
  clone_order_make(26, &c);
  OK(provider_clone_plan(provider, &c, &o, err));
  bench_remember(&o, c.owner);
  OK(clone_complete(&c, &o, &late, err));
  power_on(late.id);
  const char *others[] = {sibling->seen.id, late.id};
  for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
    assert_false(has_file(others[i], "only-here", "written"));
    cleanup_free char *issue = shell(others[i], "cat /etc/issue");
    assert_null(strstr(issue, "changed"));
  }
  power_off(late.id);
  OK(remove_complete(&o, c.owner, err));
}

// What is written piece by piece into room that was taken before is counted once.
static void expect_pieces_once(const char *id, int64_t before_bytes)
{
  struct clone_seen after cleanup_seen = {0};
  cleanup_free char *script = str_printf(
      "fallocate -l 8000000 %s/pieces 2>&1 || true; for i in $(seq 0 40 1600); do head -c 4096 "
      "/dev/urandom | dd of=%s/pieces bs=4096 seek=$i conv=notrunc 2>&1; sync; done",
      settings.guest.folder, settings.guest.folder);
  free(shell(id, script));
  OK(provider_clone_get(provider, id, &after, err));
  if (after.bytes > before_bytes + 60000000)
    fail_msg("%lld bytes became %lld", (long long)before_bytes, (long long)after.bytes);
}

// What a clone wrote is counted.
static void test_bytes(void **state)
{
  (void)state;
  need_guest();
  struct bench_clone *c = running_clone(2);
  struct clone_seen before cleanup_seen = {0}, after cleanup_seen = {0};
  OK(provider_clone_get(provider, c->seen.id, &before, err));
  if (before.mode != CLONE_LINKED) {
    clone_seen_release(&before);
    skip();
  }
  cleanup_free char *script =
      str_printf("head -c 8000000 /dev/urandom > %s/weight && sync", settings.guest.folder);
  free(shell(c->seen.id, script));
  for (int64_t end_ms = clock_ms() + 40000;; free(shell(c->seen.id, "sync; sleep 0.3"))) {
    clone_seen_release(&after); // some file systems count with delay
    OK(provider_clone_get(provider, c->seen.id, &after, err));
    if (after.bytes >= before.bytes + 7000000)
      break;
    if (clock_ms() > end_ms)
      fail_msg("%lld bytes became %lld", (long long)before.bytes, (long long)after.bytes);
  }
  expect_pieces_once(c->seen.id, after.bytes);
}

const struct CMUnitTest guest_tests[] = {
    cmocka_unit_test(test_power),          cmocka_unit_test(test_guest_shutdown),
    cmocka_unit_test(test_exec_when_off),  cmocka_unit_test(test_exec),
    cmocka_unit_test(test_exec_words),     cmocka_unit_test(test_exec_failures),
    cmocka_unit_test(test_exec_much),      cmocka_unit_test(test_files),
    cmocka_unit_test(test_files_wrong),    cmocka_unit_test(test_files_links),
    cmocka_unit_test(test_no_snapshots),   cmocka_unit_test(test_snapshot_verbs),
    cmocka_unit_test(test_rollback),       cmocka_unit_test(test_identity),
    cmocka_unit_test(test_identity_lasts), cmocka_unit_test(test_isolation),
    cmocka_unit_test(test_bytes),
};
const size_t guest_tests_count = ARRAY_SIZE(guest_tests);
