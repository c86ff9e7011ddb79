// SPDX-License-Identifier: Apache-2.0
// Supervision of movers, with a fake one (tests/fakes/mover) that does what its disk is called.
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "controller/movers.h"
#include "tests/unit/unit.h"

struct world {
  struct loop *loop;
  pthread_t thread;
  struct movers *movers;
  atomic_int changes;
  atomic_bool loop_ended;
};

static const struct object_key owner = {OBJECT_VM_MIGRATION, "default", "web"};

static void on_changed(void *arg, const struct object_key *key)
{
  struct world *w = arg;
  if (str_eq(key->name, "web"))
    w->changes++;
}

static void *run_loop(void *arg)
{
  struct world *w = arg;
  loop_run(w->loop);
  return NULL;
}

static int set_up(void **state)
{
  struct world *w = calloc(1, sizeof(*w));
  w->loop = loop_new();
  w->movers = movers_new(w->loop, FAKE_MOVER, on_changed, w);
  assert_int_equal(pthread_create(&w->thread, NULL, run_loop, w), 0);
  *state = w;
  return 0;
}

static void end_loop(struct world *w)
{
  if (w->loop_ended)
    return;
  loop_stop(w->loop);
  pthread_join(w->thread, NULL);
  w->loop_ended = true;
}

static int tear_down(void **state)
{
  struct world *w = *state;
  end_loop(w);
  movers_free(w->movers);
  loop_free(w->loop);
  free(w);
  return 0;
}

static void start(struct world *w, const char *id, const char *disk)
{
  struct err err = ERR_INIT;
  struct mover_object object = {.store = {.type = STORAGE_HTTP}, .key = str_dup("a")};
  object.store.endpoint = str_dup("https://images.example.net/");
  secret_set_string(&object.store.token, "hunter2");
  struct mover_object *copy = malloc(sizeof(*copy));
  *copy = object;
  struct mover_spec spec CLEANUP(mover_spec_release) = {
      .version = 1, .owner = str_dup("a/b/c/d"), .disk = str_dup(disk), .attempt = 1};
  spec.source.object = copy;
  spec.target.null = true;
  assert_ok(movers_start(w->movers, id, &owner, &spec, &err), &err);
}

static struct mover_report report(struct world *w, const char *id)
{
  struct mover_report r;
  movers_report(w->movers, id, &r);
  return r;
}

static bool is_over(struct world *w, const char *id)
{
  return report(w, id).state != MOVER_RUNNING;
}

static struct mover_report run(struct world *w, const char *disk)
{
  start(w, disk, disk);
  assert_soon(is_over(w, disk));
  return report(w, disk);
}

static void test_done(void **state)
{
  struct world *w = *state;
  struct mover_report r = run(w, "done");
  assert_int_equal(r.state, MOVER_DONE);
  assert_string_equal(r.content_digest, "merkle:1");
  assert_string_equal(r.object_sha256, "abc");
  assert_string_equal(r.format, "qcow2");
  assert_int_equal(r.total_bytes, 1000);
  assert_int_equal(r.transferred_bytes, 800);
  assert_int_equal(r.stored_bytes, 640);
  assert_true(w->changes > 0);
}

static const struct {
  const char *disk;
  enum mover_state state;
  enum err_kind kind;
  const char *says; // in the message, or the digest of one that is done
} ends[] = {
    {"error", MOVER_FAILED, ERR_NO_SPACE, "pool is full"},
    {"unknown-error", MOVER_FAILED, ERR_INTERNAL, "what is this"},
    {"silent", MOVER_FAILED, ERR_IO, "ended with status 5"},
    {"signal", MOVER_FAILED, ERR_IO, "ended by signal 11"},
    {"long-line", MOVER_FAILED, ERR_IO, "ended by signal 9"},
    {"no-newline", MOVER_FAILED, ERR_IO, "ended with status 3"},
    {"garbage", MOVER_DONE, ERR_NONE, "merkle:2"},
    {"after-done", MOVER_DONE, ERR_NONE, "merkle:3"},
    {"secret", MOVER_DONE, ERR_NONE, "passed"},
};

static void test_ends(void **state)
{
  for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
    struct mover_report r = run(*state, ends[i].disk);
    if (r.state != ends[i].state || r.err.kind != ends[i].kind)
      fail_msg("%s: state %d, %s: %s", ends[i].disk, r.state, err_reason(r.err.kind),
               r.err.message);
    assert_contains(r.state == MOVER_DONE ? r.content_digest : r.err.message, ends[i].says);
  }
}

static void test_progress_while_it_runs(void **state)
{
  struct world *w = *state;
  start(w, "u/vda/1", "wait");
  assert_soon(report(w, "u/vda/1").transferred_bytes == 100);
  struct mover_report r = report(w, "u/vda/1");
  assert_int_equal(r.state, MOVER_RUNNING);
  assert_int_equal(r.bytes_per_second, 50);
  assert_int_equal(r.eta_seconds, 7);
  assert_true(r.moved_wall_ms > 0);
  assert_int_equal(movers_running(w->movers, "u/"), 1);
  assert_int_equal(movers_running(w->movers, "v/"), 0);
}

static void test_stopped(void **state)
{
  struct world *w = *state;
  start(w, "u/vda/1", "wait");
  assert_soon(report(w, "u/vda/1").transferred_bytes == 100);
  movers_stop(w->movers, "u/vda/1");
  assert_soon(is_over(w, "u/vda/1"));
  struct mover_report r = report(w, "u/vda/1");
  assert_int_equal(r.state, MOVER_FAILED);
  assert_int_equal(r.err.kind, ERR_CANCELLED);
  assert_contains(r.err.message, "cancel:true");
}

static void test_one_that_does_not_listen_is_killed(void **state)
{
  struct world *w = *state;
  start(w, "u/vda/1", "hang");
  assert_soon(report(w, "u/vda/1").transferred_bytes == 100);
  int64_t before_ms = clock_ms();
  movers_stop_all(w->movers, "u/");
  assert_soon(is_over(w, "u/vda/1"));
  int64_t took_ms = clock_ms() - before_ms;
  assert_in_range(took_ms, 1500, 4000);
  assert_int_equal(report(w, "u/vda/1").err.kind, ERR_CANCELLED);
}

// Its output ends, but the process does not: the loop is not held up, and it is ended.
static void test_one_that_closes_its_output_is_ended(void **state)
{
  struct world *w = *state;
  start(w, "u/vda/1", "deaf");
  assert_soon(report(w, "u/vda/1").transferred_bytes == 100);
  start(w, "u/vdb/1", "done");
  assert_soon(is_over(w, "u/vdb/1"));
  assert_soon(is_over(w, "u/vda/1"));
  assert_int_equal(report(w, "u/vda/1").state, MOVER_FAILED);
}

static void test_limit_is_passed_on(void **state)
{
  struct world *w = *state;
  start(w, "a", "limit");
  assert_soon(report(w, "a").transferred_bytes == 1);
  movers_limit(w->movers, "a", 12345);
  assert_soon(is_over(w, "a"));
  assert_string_equal(report(w, "a").content_digest, "{bytesPerSecond:12345}");
}

static void test_one_at_a_time_per_id(void **state)
{
  struct world *w = *state;
  start(w, "a", "wait");
  start(w, "a", "done"); // is running already: this one is not started
  assert_soon(report(w, "a").transferred_bytes == 100);
  assert_int_equal(movers_running(w->movers, ""), 1);
  movers_stop(w->movers, "a");
  assert_soon(is_over(w, "a"));
  // Now it may start again, and what was said before is forgotten.
  start(w, "a", "done");
  assert_soon(is_over(w, "a"));
  assert_int_equal(report(w, "a").state, MOVER_DONE);
  assert_int_equal(report(w, "a").err.kind, ERR_NONE);
  // A line without an end is noticed in a second life too.
  start(w, "a", "long-line");
  assert_soon(is_over(w, "a"));
  assert_int_equal(report(w, "a").state, MOVER_FAILED);
}

static void test_forgotten(void **state)
{
  struct world *w = *state;
  run(w, "done");
  start(w, "hang", "hang");
  movers_forget(w->movers, "");
  assert_int_equal(report(w, "done").state, MOVER_NONE);
  assert_int_equal(report(w, "hang").state, MOVER_RUNNING);
  assert_int_equal(report(w, "never").state, MOVER_NONE);
}

static void test_program_that_is_not_there(void **state)
{
  struct world *w = *state;
  struct movers *m = movers_new(w->loop, "/nonexistent/drover", on_changed, w);
  struct err err = ERR_INIT;
  struct mover_spec spec CLEANUP(mover_spec_release) = {.version = 1, .owner = str_dup("a")};
  spec.source.null = true;
  spec.target.null = true;
  assert_int_equal(movers_start(m, "a", &owner, &spec, &err), -1);
  assert_int_equal(movers_running(m, ""), 0);
  end_loop(w);
  movers_free(m);
}

static size_t children(void)
{
  cleanup_free char *path = str_printf("/proc/self/task/%d/children", (int)getpid());
  FILE *f cleanup_fclose = fopen(path, "r");
  size_t count = 0;
  int pid;
  while (f && fscanf(f, "%d", &pid) == 1)
    count++;
  return count;
}

static void test_none_outlives_the_movers(void **state)
{
  struct world *w = *state;
  for (int i = 0; i < 5; i++) {
    char id[16];
    snprintf(id, sizeof(id), "m%d", i);
    start(w, id, "hang");
    assert_soon(report(w, id).transferred_bytes == 100);
  }
  assert_int_equal(children(), 5);
  end_loop(w);
  movers_free(w->movers);
  w->movers = NULL;
  assert_int_equal(children(), 0);
}

static void test_many_at_once(void **state)
{
  struct world *w = *state;
  for (int i = 0; i < 40; i++) {
    char id[16];
    snprintf(id, sizeof(id), "m%d", i);
    start(w, id, i % 2 ? "done" : "error");
  }
  assert_soon(movers_running(w->movers, "") == 0);
  for (int i = 0; i < 40; i++) {
    char id[16];
    snprintf(id, sizeof(id), "m%d", i);
    assert_int_equal(report(w, id).state, i % 2 ? MOVER_DONE : MOVER_FAILED);
  }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
  signal(SIGPIPE, SIG_IGN);
  const struct CMUnitTest tests[] = {
      TEST(test_done),
      TEST(test_ends),
      TEST(test_progress_while_it_runs),
      TEST(test_stopped),
      TEST(test_one_that_does_not_listen_is_killed),
      TEST(test_one_that_closes_its_output_is_ended),
      TEST(test_limit_is_passed_on),
      TEST(test_one_at_a_time_per_id),
      TEST(test_forgotten),
      TEST(test_program_that_is_not_there),
      TEST(test_none_outlives_the_movers),
      TEST(test_many_at_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
