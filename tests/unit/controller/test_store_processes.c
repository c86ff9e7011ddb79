// SPDX-License-Identifier: Apache-2.0
// Several processes on one state file: one runs it, others read it and ask for things; any of them
// may be killed at any moment.
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>

#include "base/loop.h"
#include "tests/unit/controller/store_help.h"

static int set_up(void **state)
{
  *state = place_new();
  return 0;
}

static int tear_down(void **state)
{
  place_free(*state);
  return 0;
}

// Children say what they have done by one byte each: what was said is on the disk.
static void say(int fd)
{
  if (write(fd, ".", 1) != 1)
    _exit(1);
}

static void wait_for_byte(int fd)
{
  char byte;
  struct pollfd p = {.fd = fd, .events = POLLIN};
  assert_int_equal(poll(&p, 1, 20000), 1);
  assert_int_equal(read(fd, &byte, 1), 1);
}

// Forks; the child runs fn and never returns.
static pid_t start(int (*fn)(const struct place *p, int fd, int number), const struct place *p,
                   int number, int *ret_fd)
{
  int pipe_fds[2];
  assert_int_equal(pipe(pipe_fds), 0);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    close(pipe_fds[0]);
    _exit(fn(p, pipe_fds[1], number));
  }
  close(pipe_fds[1]);
  *ret_fd = pipe_fds[0];
  return pid;
}

static int end(pid_t pid, int signal_number)
{
  int status = 0;
  if (signal_number)
    kill(pid, signal_number);
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// ---- the lock -------------------------------------------------------------------------------

static int hold(const struct place *p, int fd, int number)
{
  (void)number;
  struct err err = ERR_INIT;
  struct object_store *s = NULL;
  if (store_sqlite_open(p->path, STORE_RUN, &s, &err) != 0)
    return 1;
  say(fd);
  for (;;)
    pause();
}

static void test_one_process_runs_it(void **state)
{
  const struct place *p = *state;
  struct err err = ERR_INIT;
  struct object_store *s = NULL;
  cleanup_close int fd = -1;
  assert_int_equal(store_sqlite_runner(p->path), 0);
  pid_t pid = start(hold, p, 0, &fd);
  wait_for_byte(fd);
  char number[24];
  snprintf(number, sizeof(number), "process %d;", (int)pid);
  assert_int_equal(store_sqlite_open(p->path, STORE_RUN, &s, &err), -1);
  assert_int_equal(err.kind, ERR_BUSY);
  assert_contains(err.message, number);
  assert_int_equal(store_sqlite_runner(p->path), pid);
  {
    struct object_store *reader cleanup_store = open_store(p, STORE_READ);
    struct object_store *writer cleanup_store = open_store(p, STORE_WRITE);
    apply(writer, VMM("one", ""));
    assert_true(is_there(reader, "one"));
  }
  end(pid, SIGKILL);
  assert_int_equal(store_sqlite_runner(p->path), 0);
  struct object_store *mine cleanup_store = open_store(p, STORE_RUN);
  assert_true(is_there(mine, "one"));
}

// ---- announcements --------------------------------------------------------------------------

struct heard {
  struct loop *loop;
  struct loop_timer *timeout;
  size_t changed, deleted, synced;
  char last[254];
  size_t wanted_changed, wanted_deleted;
  bool late;
};

static void maybe_stop(struct heard *h)
{
  if (h->synced && h->changed >= h->wanted_changed && h->deleted >= h->wanted_deleted)
    loop_stop(h->loop);
}

static void on_changed(void *arg, const struct object_key *key)
{
  struct heard *h = arg;
  h->changed++;
  snprintf(h->last, sizeof(h->last), "%s", key->name);
  maybe_stop(h);
}

static void on_deleted(void *arg, const struct object_key *key)
{
  struct heard *h = arg;
  h->deleted++;
  snprintf(h->last, sizeof(h->last), "%s", key->name);
  maybe_stop(h);
}

static void on_synced(void *arg)
{
  struct heard *h = arg;
  h->synced++;
  maybe_stop(h);
}

static void on_failed(void *arg, const struct err *err)
{
  (void)arg;
  fail_msg("the store failed: %s", err->message);
}

static void on_late(void *arg)
{
  struct heard *h = arg;
  h->late = true;
  loop_stop(h->loop);
}

// Runs the loop with a store in it, until so much was heard. act: called once at the start.
static void listen_for(struct object_store *s, struct heard *h, void (*act)(void *arg), void *arg,
                       int64_t within_ms)
{
  struct err err = ERR_INIT;
  struct object_events events = {on_changed, on_deleted, on_changed, on_synced, on_failed, h};
  h->loop = loop_new();
  h->timeout = loop_timer_new(h->loop, on_late, h);
  assert_ok(s->ops->start(s, h->loop, &events, &err), &err);
  loop_timer_start(h->timeout, within_ms);
  if (act)
    loop_post(h->loop, act, arg);
  loop_run(h->loop);
  s->ops->stop(s);
  loop_timer_free(h->timeout);
  loop_free(h->loop);
  assert_false(h->late);
}

static void test_all_is_announced_at_the_start(void **state)
{
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  apply(s, VMM("one", ""));
  apply(s, VMM("two", ""));
  struct heard h = {.wanted_changed = 2};
  listen_for(s, &h, NULL, NULL, 10000);
  assert_int_equal(h.changed, 2);
  assert_int_equal(h.synced, 1);
}

static void apply_three(void *arg)
{
  apply(arg, VMM("three", ""));
}

static void test_changes_of_others_are_noticed(void **state)
{
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  struct object_store *other cleanup_store = open_store(*state, STORE_WRITE);
  struct heard h = {.wanted_changed = 1};
  listen_for(s, &h, apply_three, other, 1000); // within a second, as promised
  assert_string_equal(h.last, "three");
}

static void test_own_changes_are_noticed(void **state)
{
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  struct heard h = {.wanted_changed = 1};
  listen_for(s, &h, apply_three, s, 1000);
  assert_string_equal(h.last, "three");
}

static void remove_three(void *arg)
{
  struct err err = ERR_INIT;
  struct object_store *s = arg;
  struct object *o cleanup_crd = get(s, "three");
  assert_ok(s->ops->remove(s, o, &err), &err);
}

static void test_deletions_of_others_are_noticed(void **state)
{
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  struct object_store *other cleanup_store = open_store(*state, STORE_WRITE);
  apply(s, VMM("three", ""));
  struct heard h = {.wanted_deleted = 1};
  listen_for(s, &h, remove_three, other, 1000);
  assert_int_equal(h.deleted, 1);
  assert_string_equal(h.last, "three");
}

static void test_only_what_was_asked_for(void **state)
{
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  struct err err = ERR_INIT;
  apply(s, VMM("one", ""));
  apply(s, VMM("two", ""));
  apply(s, "{apiVersion: drover.dev/v1alpha1, kind: ImageStore, metadata: {name: i},"
           " spec: {file: {path: /x}}}");
  struct object_key key = {OBJECT_VM_MIGRATION, "default", "two"};
  assert_ok(store_sqlite_only(s, &key, 1, &err), &err);
  struct heard h = {.wanted_changed = 2};
  listen_for(s, &h, NULL, NULL, 10000);
  assert_int_equal(h.changed, 2);
}

static void test_stopped_with_letters_on_the_way(void **state)
{
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  struct err err = ERR_INIT;
  struct heard h = {.loop = loop_new()};
  struct object_events events = {on_changed, on_deleted, on_changed, on_synced, on_failed, &h};
  assert_ok(s->ops->start(s, h.loop, &events, &err), &err);
  apply(s, VMM("one", "")); // posts a letter that nobody reads before the end
  s->ops->stop(s);
  loop_free(h.loop);
  assert_int_equal(h.changed, 0);
}

// ---- writers at the same time -------------------------------------------------------------------

#define WRITERS 4
#define ROUNDS  25

// Each writes objects of its own, and all of them change one that is shared.
static int write_many(const struct place *p, int fd, int number)
{
  struct object_store *s = NULL;
  struct err err = ERR_INIT;
  if (store_sqlite_open(p->path, STORE_WRITE, &s, &err) != 0)
    return 1;
  for (int i = 0; i < ROUNDS; i++) {
    char yaml[1024];
    struct store_applied_object applied;
    snprintf(yaml, sizeof(yaml), VMM("w%d-%d", ""), number, i);
    if (apply_text(s, yaml, &applied, &err) != 0)
      return 2;
    snprintf(yaml, sizeof(yaml), "{spec: {transfer: {bytesPerSecond: %d}}}",
             1000000 + number * ROUNDS + i);
    struct json_object *patch = yaml_parse(yaml, strlen(yaml), &err);
    struct object_key key = {OBJECT_VM_MIGRATION, "default", "shared"};
    if (!patch || store_sqlite_patch(s, &key, patch, &err) != 0)
      return 3;
    json_object_put(patch);
  }
  store_free(s);
  say(fd);
  return 0;
}

static void test_writers_at_the_same_time(void **state)
{
  const struct place *p = *state;
  pid_t pids[WRITERS];
  int fds[WRITERS];
  {
    struct object_store *s cleanup_store = open_store(p, STORE_RUN);
    apply(s, VMM("shared", ""));
  }
  for (int i = 0; i < WRITERS; i++)
    pids[i] = start(write_many, p, i, &fds[i]);
  for (int i = 0; i < WRITERS; i++) {
    assert_int_equal(end(pids[i], 0), 0);
    close(fds[i]);
  }
  struct object_store *s cleanup_store = open_store(p, STORE_READ);
  struct object_key *keys cleanup_free = NULL;
  size_t count = 0;
  struct err err = ERR_INIT;
  assert_ok(s->ops->list(s, OBJECT_VM_MIGRATION, "default", &keys, &count, &err), &err);
  assert_int_equal(count, WRITERS * ROUNDS + 1);
  // No change was lost: each counted one generation.
  struct object *shared cleanup_crd = get(s, "shared");
  assert_int_equal(shared->meta.generation, WRITERS * ROUNDS + 1);
}

// ---- kill -9 --------------------------------------------------------------------------------

static int live(struct object_store *s, int number, int i, struct err *err)
{
  char yaml[1024], name[32];
  struct store_applied_object applied;
  struct object *o cleanup_crd = NULL;
  snprintf(name, sizeof(name), "k%d-%d", number, i);
  snprintf(yaml, sizeof(yaml), VMM("k%d-%d", ""), number, i);
  if (apply_text(s, yaml, &applied, err) != 0 || apply_text(s, SECRET("s", "x"), &applied, err) ||
      store_get(s, OBJECT_VM_MIGRATION, "default", name, &o, err) != 0 ||
      s->ops->set_finalizer(s, o, CRDS_FINALIZER, true, err) != 0)
    return -1;
  set_phase(o, i % 2 ? "Queued" : "Failed");
  if (s->ops->put_status(s, o, err) != 0)
    return -1;
  s->ops->event(s, o, "Normal", "Queued", name);
  if (i % 3)
    return 0;
  struct object *dying cleanup_crd = NULL;
  if (s->ops->remove(s, o, err) != 0 ||
      store_get(s, OBJECT_VM_MIGRATION, "default", name, &dying, err) != 0)
    return -1;
  return s->ops->set_finalizer(s, dying, CRDS_FINALIZER, false, err);
}

static int live_until_killed(const struct place *p, int fd, int number)
{
  struct object_store *s = NULL;
  struct err err = ERR_INIT;
  if (store_sqlite_open(p->path, STORE_RUN, &s, &err) != 0)
    return 1;
  for (int i = 0;; i++) {
    if (live(s, number, i, &err) != 0)
      return 2;
    say(fd);
  }
}

static int64_t ask_sqlite(const struct place *p, const char *sql, char text[64])
{
  sqlite3 *db = NULL;
  sqlite3_stmt *q = NULL;
  assert_int_equal(sqlite3_open_v2(p->path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
  assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &q, NULL), SQLITE_OK);
  assert_int_equal(sqlite3_step(q), SQLITE_ROW);
  int64_t number = sqlite3_column_int64(q, 0);
  snprintf(text, 64, "%s", (const char *)sqlite3_column_text(q, 0));
  sqlite3_finalize(q);
  sqlite3_close(db);
  return number;
}

// What every state of the file must satisfy, whenever its process was killed.
static const struct {
  const char *sql, *answer;
} invariants[] = {
    {"PRAGMA integrity_check", "ok"},
    {"SELECT (SELECT value FROM meta WHERE name = 'version') >= coalesce(max(version), 0)"
     " FROM objects",
     "1"},
    {"SELECT count(*) FROM objects WHERE NOT json_valid(spec) OR NOT json_valid(status)"
     " OR NOT json_valid(finalizers) OR generation < 1 OR length(uid) != 36",
     "0"},
    {"SELECT count(*) FROM objects WHERE deleted != '' AND finalizers = '[]'", "0"},
    {"SELECT count(*) FROM map_items WHERE name NOT IN (SELECT name FROM maps)", "0"},
    {"SELECT count(*) FROM (SELECT uid FROM objects GROUP BY uid HAVING count(*) > 1)", "0"},
    {"SELECT count(*) FROM events WHERE uid NOT IN (SELECT uid FROM objects)", "0"},
};

static size_t count_said(int fd)
{
  char bytes[4096];
  size_t total = 0;
  for (ssize_t n; (n = read(fd, bytes, sizeof(bytes))) > 0;)
    total += (size_t)n;
  return total;
}

static void check_said(const struct place *p, int number, size_t said)
{
  struct object_store *s cleanup_store = open_store(p, STORE_RUN);
  for (size_t i = 0; i < said; i++) {
    char name[32];
    snprintf(name, sizeof(name), "k%d-%zu", number, i);
    if (i % 3 == 0) {
      assert_false(is_there(s, name));
      continue;
    }
    struct object *o cleanup_crd = get(s, name);
    assert_string_equal(((struct vmmigration_status *)o->status)->phase,
                        i % 2 ? "Queued" : "Failed");
    assert_true(object_has_finalizer(o, CRDS_FINALIZER));
  }
}

static void test_killed_while_writing(void **state)
{
  const struct place *p = *state;
  for (int round = 0; round < 20; round++) {
    cleanup_close int fd = -1;
    pid_t pid = start(live_until_killed, p, round, &fd);
    wait_for_byte(fd);
    struct timespec moment = {.tv_nsec = (long)clock_random(40000000)};
    nanosleep(&moment, NULL);
    assert_int_equal(end(pid, SIGKILL), -1);
    size_t said = 1 + count_said(fd);
    for (size_t i = 0; i < ARRAY_SIZE(invariants); i++) {
      char text[64];
      ask_sqlite(p, invariants[i].sql, text);
      if (!str_eq(text, invariants[i].answer))
        fail_msg("round %d: %s: %s", round, invariants[i].sql, text);
    }
    check_said(p, round, said);
  }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
  const struct CMUnitTest tests[] = {
      TEST(test_one_process_runs_it),
      TEST(test_all_is_announced_at_the_start),
      TEST(test_changes_of_others_are_noticed),
      TEST(test_own_changes_are_noticed),
      TEST(test_deletions_of_others_are_noticed),
      TEST(test_only_what_was_asked_for),
      TEST(test_stopped_with_letters_on_the_way),
      TEST(test_writers_at_the_same_time),
      TEST(test_killed_while_writing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
