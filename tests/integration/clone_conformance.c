// SPDX-License-Identifier: Apache-2.0
// The same checks of the clone verbs for every kind of provider, against a real platform. A script
// sets the platform up and describes it (struct bench_settings; names as in clone_bench.c):
//
//   clone_conformance FILE.json suite [PATTERN]   everything; only tests whose name fits a glob
//   clone_conformance FILE.json refuse KIND TEXT  a probe fails with that kind and sentence
//   clone_conformance FILE.json make NAME UID     makes the clone NAME; may be killed at any moment
//   clone_conformance FILE.json drop NAME UID     takes it away
//   clone_conformance FILE.json base NAME UID     makes the base NAME; may be killed at any moment
//   clone_conformance FILE.json unbase NAME UID   takes it away, whole or not
//   clone_conformance FILE.json power NAME ACTION on, off or shutdown; begins it
//   clone_conformance FILE.json time COUNT        makes and removes that many; milliseconds of each
//   clone_conformance FILE.json list              a line for each machine: KIND NAME POWER OWNER
//
// make and drop work with a base that is a template there ("template" in the description), so that
// no base of this run is needed. Status 0: all is well; 1: something is not; 2: usage.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "tests/integration/clone_bench.h"

#define TESTS_MAX 128

static void add(struct CMUnitTest *all, size_t *count, const struct CMUnitTest *some, size_t n)
{
  for (size_t i = 0; i < n && *count < TESTS_MAX; i++)
    all[(*count)++] = some[i];
}

static int end_suite(void **state)
{
  (void)state;
  return bench_end();
}

static int run_suite(const char *pattern)
{
  static struct CMUnitTest all[TESTS_MAX];
  size_t count = 0;
  add(all, &count, base_tests, base_tests_count);
  add(all, &count, guest_tests, guest_tests_count);
  add(all, &count, order_tests, order_tests_count);
  add(all, &count, end_tests, end_tests_count);
  cmocka_set_test_filter(pattern);
  return _cmocka_run_group_tests("clones", all, count, NULL, end_suite) == 0 ? 0 : 1;
}

static int said(const struct err *err)
{
  printf("FAILED: %s: %s\n", err_reason(err->kind), err->message);
  return 1;
}

static int run_refuse(const char *kind, const char *text)
{
  struct provider_info info CLEANUP(provider_info_release) = {0};
  struct err err = ERR_INIT;
  if (provider_probe(provider, &info, &err) == 0) {
    printf("FAILED: it succeeded instead of %s\n", kind);
    return 1;
  }
  if (!str_eq(err_reason(err.kind), kind) || !strstr(err.message, text))
    return said(&err);
  printf("ok: %s: %s\n", kind, err.message);
  return 0;
}

static int run_make(const char *name, const char *uid, bool drop)
{
  struct clone_order c cleanup_order = {0};
  struct owned o cleanup_owned = {0};
  struct clone_seen seen cleanup_seen = {0};
  struct err err = ERR_INIT;
  clone_order_of(name, uid, &c);
  if (provider_clone_plan(provider, &c, &o, &err) != 0 ||
      (drop ? remove_complete(&o, c.owner, &err) : clone_complete(&c, &o, &seen, &err)) != 0)
    return said(&err);
  printf("%s\n", o.id);
  return 0;
}

static int run_base(const char *name, const char *uid, bool drop)
{
  struct base_order b cleanup_base = {0};
  struct owned o cleanup_owned = {0};
  struct base_seen seen cleanup_bseen = {0};
  struct err err = ERR_INIT;
  base_order_of(name, uid, &b);
  if (provider_base_plan(provider, &b, &o, &err) != 0 ||
      (drop ? remove_complete(&o, b.owner, &err) : base_complete(&b, &o, &seen, &err)) != 0)
    return said(&err);
  printf("%s %s\n", o.id, drop ? "gone" : seen.revision);
  return 0;
}

static int run_power(const char *name, const char *action)
{
  static const char *const actions[] = {
      [POWER_ON] = "on", [POWER_OFF] = "off", [POWER_GUEST_SHUTDOWN] = "shutdown"};
  struct err err = ERR_INIT;
  for (size_t i = 0; i < ARRAY_SIZE(actions); i++)
    if (str_eq(actions[i], action))
      return provider_clone_power(provider, name, (enum power_action)i, &err) == 0 ? 0 : said(&err);
  return 2;
}

static int compare(const void *a, const void *b)
{
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

static void print_times(const char *what, int64_t *ms, size_t count)
{
  int64_t sum = 0;
  qsort(ms, count, sizeof(*ms), compare);
  for (size_t i = 0; i < count; i++)
    sum += ms[i];
  printf("%s: %zu, median %lld ms, longest %lld ms, together %lld ms\n", what, count,
         (long long)ms[count / 2], (long long)ms[count - 1], (long long)sum);
}

static int run_time(unsigned count)
{
  cleanup_free int64_t *made_ms = calloc(count, sizeof(*made_ms));
  cleanup_free int64_t *removed_ms = calloc(count, sizeof(*removed_ms));
  struct err err = ERR_INIT;
  the_base();
  for (unsigned i = 0; i < 2 * count; i++) {
    struct clone_order c cleanup_order = {0};
    struct owned o cleanup_owned = {0};
    struct clone_seen seen cleanup_seen = {0};
    int64_t start_ms = clock_ms();
    clone_order_make(i % count, &c);
    if (provider_clone_plan(provider, &c, &o, &err) != 0 ||
        (i < count ? clone_complete(&c, &o, &seen, &err) : remove_complete(&o, c.owner, &err)) != 0)
      return said(&err);
    (i < count ? made_ms : removed_ms)[i % count] = clock_ms() - start_ms;
  }
  print_times("made", made_ms, count);
  print_times("removed", removed_ms, count);
  return bench_end() == 0 ? 0 : 1;
}

static int run_list(void)
{
  struct machines all CLEANUP(machines_release) = {0};
  struct err err = ERR_INIT;
  if (provider_machines(provider, &all, &err) != 0)
    return said(&err);
  for (size_t i = 0; i < all.items.count; i++) {
    const struct machine_seen *m = &((const struct machine_seen *)all.items.items)[i];
    printf("%s %s %s %s\n", m->kind, m->name, vm_power_names[m->power], m->owner ? m->owner : "-");
  }
  return 0;
}

int main(int argc, char **argv)
{
  struct err err = ERR_INIT;
  const char *mode = argc > 2 ? argv[2] : "";
  signal(SIGPIPE, SIG_IGN);
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (argc < 3 || bench_read(argv[1], &err) != 0 || bench_open(&err) != 0) {
    fprintf(stderr, "usage: %s FILE.json suite|refuse|make|drop|power|time|list ... %s\n", argv[0],
            err.message);
    return 2;
  }
  int status = 2;
  if (str_eq(mode, "suite"))
    status = run_suite(argc > 3 ? argv[3] : NULL);
  else if (str_eq(mode, "refuse") && argc == 5)
    status = run_refuse(argv[3], argv[4]);
  else if ((str_eq(mode, "make") || str_eq(mode, "drop")) && argc == 5)
    status = run_make(argv[3], argv[4], str_eq(mode, "drop"));
  else if ((str_eq(mode, "base") || str_eq(mode, "unbase")) && argc == 5)
    status = run_base(argv[3], argv[4], str_eq(mode, "unbase"));
  else if (str_eq(mode, "power") && argc == 5)
    status = run_power(argv[3], argv[4]);
  else if (str_eq(mode, "time") && argc == 4 && atoi(argv[3]) > 0)
    status = run_time((unsigned)atoi(argv[3]));
  else if (str_eq(mode, "list"))
    status = run_list();
  bench_close();
  return status;
}
