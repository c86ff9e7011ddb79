// SPDX-License-Identifier: Apache-2.0
// What `drover run` shows while things move: bars, lines and JSON, for a migration that goes
// through its life.
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "base/yaml.h"
#include "controller/progress_internal.h"
#include "kube/object.h"
#include "tests/unit/unit.h"

#define NOW_WALL_MS 1795269600000ll // 2026-11-21T14:00:00Z

struct shown {
  char *text;
  size_t length, seen;
  FILE *to;
  struct progress_view *view;
  int64_t now_ms;
};

static void shown_release(struct shown *s)
{
  progress_view_free(s->view);
  fclose(s->to);
  free(s->text);
}

static void begin(enum progress_mode mode, struct shown *s)
{
  s->to = open_memstream(&s->text, &s->length);
  s->view = progress_view_new(s->to, mode);
  s->now_ms = 10000;
}

static struct object *migration(const char *name, const char *more)
{
  struct err err = ERR_INIT;
  cleanup_free char *yaml =
      str_printf("apiVersion: drover.dev/v1alpha1\nkind: VMMigration\nmetadata: {name: %s, "
                 "namespace: default}\n"
                 "spec:\n  source: {vm: {providerRef: {name: a}, name: web}}\n"
                 "  target: {vm: {providerRef: {name: paris}, name: web}}\n%s",
                 name, more);
  struct json_object *json cleanup_object = yaml_parse(yaml, strlen(yaml), &err);
  struct object *o = NULL;
  if (!json || object_decode_strict(json, &o, &err) != 0)
    fail_msg("%s", err.message);
  return o;
}

static void show(struct shown *s, const char *name, const char *more)
{
  struct object *o = migration(name, more);
  progress_view_show(s->view, o, s->now_ms, NOW_WALL_MS);
  object_free(o);
}

// What came since the last time.
static const char *since(struct shown *s)
{
  static char copy[8192];
  fflush(s->to);
  snprintf(copy, sizeof(copy), "%s", s->text + s->seen);
  s->seen = s->length;
  return copy;
}

#define QUEUED                                                                                     \
  "status: {phase: Queued, conditions: [{type: Progressing, status: \"True\", reason: Queued,"     \
  " message: waiting}]}\n"
#define MOVING(bytes, percent)                                                                     \
  "status: {phase: Transferring, progress: {percent: " percent ", totalBytes: 6000000000,"         \
  " dataBytes: 2900000000, transferredBytes: " bytes ", bytesPerSecond: 118000000,"                \
  " etaSeconds: 372}, conditions: [{type: Progressing, status: \"True\", reason: Transferring,"    \
  " message: moving disks}]}\n"
#define BACKING_OFF                                                                                \
  "status: {phase: Transferring, progress: {percent: 3, transferredBytes: 5}, conditions:"         \
  " [{type: Progressing, status: \"True\", reason: Unreachable, message: no route}]}\n"
#define SUCCEEDED                                                                                  \
  "status: {phase: Succeeded, progress: {percent: 100, transferredBytes: 2900000000},"             \
  " startTime: \"2026-11-21T13:59:00Z\", completionTime: \"2026-11-21T13:59:41Z\","                \
  " result: {vm: {name: web, id: u}}, conditions: [{type: Finished, status: \"True\","             \
  " reason: Completed, message: all is done}]}\n"
#define FAILED_CHECKS                                                                              \
  "status: {phase: Failed, preflight: [{check: Space, severity: Error, message: full,"             \
  " suggestion: make room}], conditions: [{type: Finished, status: \"True\","                      \
  " reason: PreflightFailed, message: full}]}\n"
#define FAILED                                                                                     \
  "status: {phase: Failed, progress: {transferredBytes: 5}, conditions: [{type: Finished,"         \
  " status: \"True\", reason: InsufficientSpace, message: \"pool \\u001b[2J is full\"}]}\n"

static void test_lines(void **state)
{
  (void)state;
  struct shown s CLEANUP(shown_release) = {0};
  begin(PROGRESS_LINES, &s);
  show(&s, "web", "");
  assert_string_equal(since(&s), "web: Pending\n");
  show(&s, "web", QUEUED);
  assert_string_equal(since(&s), "web: Queued: waiting\n");
  show(&s, "web", QUEUED);
  assert_string_equal(since(&s), "");
  show(&s, "web", MOVING("1200000000", "42"));
  assert_string_equal(since(&s), "web: Transferring: moving disks\n"
                                 "web: Transferring 42%, 1.2 GB of 2.9 GB, 118 MB/s, 6m12s left\n");
  s.now_ms += 1900; // too soon
  show(&s, "web", MOVING("1300000000", "45"));
  assert_string_equal(since(&s), "");
  s.now_ms += 200;
  show(&s, "web", MOVING("1400000000", "48"));
  assert_string_equal(since(&s), "web: Transferring 48%, 1.4 GB of 2.9 GB, 118 MB/s, 6m12s left\n");
  s.now_ms += 5000; // nothing has moved
  show(&s, "web", MOVING("1400000000", "48"));
  assert_string_equal(since(&s), "");
  show(&s, "web", BACKING_OFF);
  assert_contains(since(&s), "web: Transferring (Unreachable): no route\n");
  show(&s, "web", SUCCEEDED);
  assert_string_equal(since(&s), "web: Succeeded: VM 'web' on paris; 2.9 GB in 41s\n");
  show(&s, "web", SUCCEEDED);
  assert_string_equal(since(&s), "");
}

static void test_failures(void **state)
{
  (void)state;
  struct shown s CLEANUP(shown_release) = {0};
  begin(PROGRESS_LINES, &s);
  show(&s, "one", FAILED_CHECKS);
  assert_string_equal(since(&s), "one: Failed: PreflightFailed\n"
                                 "  CHECK   SEVERITY   MESSAGE   SUGGESTION\n"
                                 "  Space   Error      full      make room\n");
  show(&s, "two", FAILED);
  assert_string_equal(since(&s), "two: Failed: InsufficientSpace: pool ?[2J is full\n");
}

static void test_a_dry_run_shows_what_it_found(void **state)
{
  (void)state;
  struct shown s CLEANUP(shown_release) = {0};
  begin(PROGRESS_LINES, &s);
  show(&s, "one",
       "  dryRun: true\nstatus: {phase: Succeeded, preflight: [{check: Space, severity: OK,"
       " message: enough}], conditions: [{type: Finished, status: \"True\", reason: DryRun,"
       " message: nothing was changed}]}\n");
  assert_string_equal(since(&s), "one: Succeeded: DryRun: nothing was changed\n"
                                 "  CHECK   SEVERITY   MESSAGE   SUGGESTION\n"
                                 "  Space   OK         enough\n");
}

static void test_a_retry_begins_again(void **state)
{
  (void)state;
  struct shown s CLEANUP(shown_release) = {0};
  begin(PROGRESS_LINES, &s);
  show(&s, "web", FAILED);
  since(&s);
  struct object *o = migration("web", FAILED);
  assert_true(object_has_ended(o));
  assert_false(object_has_succeeded(o));
  assert_int_equal(strings_map_set(&o->meta.annotations, CRDS_ANNOTATE_RETRY, "1"), 0);
  assert_false(object_has_ended(o));
  object_free(o);
  show(&s, "web", QUEUED);
  assert_string_equal(since(&s), "web: Queued: waiting\n");
  show(&s, "web", SUCCEEDED);
  assert_contains(since(&s), "web: Succeeded");
}

// ---- bars -----------------------------------------------------------------------------------

static void test_bars(void **state)
{
  (void)state;
  struct shown s CLEANUP(shown_release) = {0};
  begin(PROGRESS_BARS, &s);
  progress_view_size(s.view, 100, 24);
  show(&s, "web", MOVING("1200000000", "42"));
  show(&s, "database", QUEUED);
  progress_view_draw(s.view, s.now_ms);
  assert_string_equal(since(&s),
                      "web       Transferring [##############--------------------]  42%  1.2 GB of "
                      "2.9 GB  118 MB/s  6m12s\n"
                      "database  Queued       waiting\n");
  // Not more often than five times a second, and only when something is new.
  show(&s, "web", MOVING("1300000000", "45"));
  progress_view_draw(s.view, s.now_ms + 150);
  assert_string_equal(since(&s), "");
  progress_view_draw(s.view, s.now_ms + 250);
  assert_contains(since(&s), "\r\x1b[2A\x1b[Jweb       Transferring");
  progress_view_draw(s.view, s.now_ms + 1000);
  assert_string_equal(since(&s), "");
  // What has ended stands above what moves.
  s.now_ms += 2000;
  show(&s, "web", SUCCEEDED);
  progress_view_draw(s.view, s.now_ms);
  assert_string_equal(since(&s), "\r\x1b[2A\x1b[Jweb: Succeeded: VM 'web' on paris; 2.9 GB in 41s\n"
                                 "database  Queued       waiting\n");
  progress_view_say(s.view, NOW_WALL_MS, "bye\x1b[2J");
  assert_string_equal(since(&s), "\r\x1b[1A\x1b[Jbye?[2J\n");
}

static void test_bars_fit_the_terminal(void **state)
{
  (void)state;
  struct shown s CLEANUP(shown_release) = {0};
  begin(PROGRESS_BARS, &s);
  progress_view_size(s.view, 40, 6);
  for (int i = 0; i < 9; i++) {
    char name[32];
    snprintf(name, sizeof(name), "a-rather-long-name-%d", i);
    show(&s, name, MOVING("1200000000", "42"));
  }
  progress_view_draw(s.view, s.now_ms);
  cleanup_free char *text = str_dup(since(&s));
  assert_contains(text, "... and 5 more\n");
  size_t lines = 0;
  char *rest = NULL;
  for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
    assert_true(strlen(line) < 40);
    lines++;
  }
  assert_int_equal(lines, 5);
}

// Staged bytes move twice: "of so many" would be wrong.
static void test_staged(void **state)
{
  (void)state;
  struct shown s CLEANUP(shown_release) = {0};
  begin(PROGRESS_LINES, &s);
  show(&s, "web", "  via: {storeRef: {name: s}}\n" MOVING("3200000000", "60"));
  assert_contains(since(&s), "Transferring 60%, 3.2 GB, 118 MB/s, 6m12s left\n");
}

// ---- JSON -----------------------------------------------------------------------------------

static void test_json(void **state)
{
  (void)state;
  struct shown s CLEANUP(shown_release) = {0};
  begin(PROGRESS_JSON, &s);
#define HEAD(type)                                                                                 \
  "{\"type\":\"" type "\",\"time\":\"2026-11-21T14:00:00Z\",\"kind\":\"VMMigration\","             \
  "\"namespace\":\"default\",\"name\":\"web\","
  show(&s, "web", MOVING("1200000000", "42"));
  assert_string_equal(since(&s),
                      HEAD("phase") "\"phase\":\"Transferring\",\"reason\":\"Transferring\","
                                    "\"message\":\"moving disks\"}\n" HEAD(
                                        "progress") "\"percent\":42,\"totalBytes\":6000000000,"
                                                    "\"transferredBytes\":1200000000,"
                                                    "\"bytesPerSecond\":118000000,"
                                                    "\"etaSeconds\":372}\n");
  show(&s, "web", SUCCEEDED);
  assert_string_equal(since(&s), HEAD("end") "\"phase\":\"Succeeded\",\"reason\":\"Completed\","
                                             "\"message\":\"all is done\",\"result\":{\"vm\":"
                                             "{\"id\":\"u\",\"name\":\"web\"}}}\n");
  struct object_key key = {OBJECT_VM_MIGRATION, "default", "web"};
  progress_view_gone(s.view, &key, NOW_WALL_MS);
  assert_contains(since(&s), "\"type\":\"deleted\"");
}

static void test_providers(void **state)
{
  (void)state;
  struct err err = ERR_INIT;
  struct shown s CLEANUP(shown_release) = {0};
  begin(PROGRESS_LINES, &s);
  const char *yaml =
      "{apiVersion: drover.dev/v1alpha1, kind: Provider, metadata: {name: p, namespace: default,"
      " generation: 2}, spec: {type: Libvirt, endpoint: \"qemu:///system\"}, status: {conditions:"
      " [{type: Ready, status: \"False\", reason: Unreachable, message: away, observedGeneration:"
      " 2}]}}";
  struct json_object *json cleanup_object = yaml_parse(yaml, strlen(yaml), &err);
  struct object *o = NULL;
  assert_ok(object_decode_strict(json, &o, &err), &err);
  progress_view_show(s.view, o, s.now_ms, NOW_WALL_MS);
  progress_view_show(s.view, o, s.now_ms, NOW_WALL_MS);
  assert_string_equal(since(&s), "provider/p: NotReady (Unreachable): away\n");
  assert_true(object_has_ended(o));
  assert_false(object_has_succeeded(o));
  o->meta.generation = 3; // what is known is about an older spec
  assert_false(object_has_ended(o));
  object_free(o);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_lines),
      cmocka_unit_test(test_failures),
      cmocka_unit_test(test_a_dry_run_shows_what_it_found),
      cmocka_unit_test(test_a_retry_begins_again),
      cmocka_unit_test(test_bars),
      cmocka_unit_test(test_bars_fit_the_terminal),
      cmocka_unit_test(test_staged),
      cmocka_unit_test(test_json),
      cmocka_unit_test(test_providers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
