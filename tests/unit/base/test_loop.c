// SPDX-License-Identifier: Apache-2.0
// The loop, the workers and the log: what has threads or callbacks.
#include "base/loop.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/worker.h"
#include "tests/unit/unit.h"

struct scene {
  struct loop *loop;
  int count;
  int64_t start_ms, fired_ms;
  struct loop_timer *timer, *other;
  struct loop_watch *watch;
  int pipe[2];
  bool on_loop;
};

static void stop(void *arg)
{
  struct scene *s = arg;
  s->fired_ms = clock_ms();
  loop_stop(s->loop);
}

static void count(void *arg)
{
  ((struct scene *)arg)->count++;
}

static void timers_fire_once_and_last_setting_counts(void **state)
{
  (void)state;
  struct scene s = {.loop = loop_new(), .start_ms = clock_ms()};
  s.timer = loop_timer_new(s.loop, stop, &s);
  s.other = loop_timer_new(s.loop, count, &s);
  loop_timer_start(s.other, 5);
  loop_timer_stop(s.other);
  loop_timer_start(s.timer, 60000);
  loop_timer_start(s.timer, 40);
  loop_run(s.loop);
  assert_true(s.fired_ms - s.start_ms >= 39);
  assert_int_equal(s.count, 0);
  loop_timer_start(s.other, 0);
  loop_timer_start(s.timer, 20);
  loop_run(s.loop); // a loop can run again
  assert_int_equal(s.count, 1);
  loop_timer_free(s.other);
  loop_timer_free(s.timer);
  loop_timer_free(NULL);
  loop_free(s.loop);
  loop_free(NULL);
}

static void free_other(void *arg)
{
  struct scene *s = arg;
  loop_timer_free(s->other);
  loop_timer_start(s->timer, 30);
  loop_timer_free(s->timer);
  s->timer = loop_timer_new(s->loop, stop, s);
  loop_timer_start(s->timer, 30);
}

// Both are due in the same turn: the first frees the second, and itself.
static void a_freed_timer_never_runs(void **state)
{
  (void)state;
  struct scene s = {.loop = loop_new()};
  s.timer = loop_timer_new(s.loop, free_other, &s);
  s.other = loop_timer_new(s.loop, count, &s);
  loop_timer_start(s.timer, 0);
  loop_timer_start(s.other, 0);
  loop_run(s.loop);
  assert_int_equal(s.count, 0);
  loop_timer_free(s.timer);
  loop_free(s.loop);
}

static void on_ready(void *arg, int events)
{
  struct scene *s = arg;
  char c;
  assert_int_equal(events & LOOP_READABLE, LOOP_READABLE);
  if (read(s->pipe[0], &c, 1) == 0) { // end of file counts as readable
    loop_watch_set(s->watch, 0);
    loop_stop(s->loop);
    return;
  }
  s->count++;
  if (s->count == 1)
    assert_int_equal(write(s->pipe[1], "b", 1), 1);
  else
    close(s->pipe[1]);
}

static void watches_descriptors(void **state)
{
  (void)state;
  struct scene s = {.loop = loop_new()};
  assert_int_equal(pipe(s.pipe), 0);
  s.watch = loop_watch_new(s.loop, s.pipe[0], on_ready, &s);
  assert_int_equal(loop_watch_set(s.watch, LOOP_READABLE), 0);
  assert_int_equal(write(s.pipe[1], "a", 1), 1);
  loop_run(s.loop);
  assert_int_equal(s.count, 2);
  loop_watch_free(s.watch);
  loop_watch_free(NULL);
  loop_free(s.loop);
  close(s.pipe[0]);
}

// ---- mailbox --------------------------------------------------------------------------------

#define POSTERS 4
#define POSTS   2000

struct mail {
  struct scene *scene;
  int poster, number;
};

static int last_seen[POSTERS];
static int received;

static void receive(void *arg)
{
  struct mail *m = arg;
  assert_int_equal(m->number, last_seen[m->poster] + 1); // in order
  last_seen[m->poster] = m->number;
  if (!loop_is_current(m->scene->loop))
    m->scene->on_loop = false;
  if (++received == POSTERS * POSTS)
    loop_stop(m->scene->loop);
  free(m);
}

struct poster {
  pthread_t thread;
  struct scene *scene;
  int index;
};

static void *post_all(void *arg)
{
  struct poster *p = arg;
  for (int i = 1; i <= POSTS; i++) {
    struct mail *m = malloc(sizeof(*m));
    *m = (struct mail){p->scene, p->index, i};
    loop_post(p->scene->loop, receive, m);
  }
  return NULL;
}

static void every_post_arrives_in_order(void **state)
{
  (void)state;
  struct scene s = {.loop = loop_new(), .on_loop = true};
  struct poster posters[POSTERS];
  for (int i = 0; i < POSTERS; i++) {
    posters[i] = (struct poster){.scene = &s, .index = i};
    pthread_create(&posters[i].thread, NULL, post_all, &posters[i]);
  }
  assert_false(loop_is_current(s.loop));
  loop_run(s.loop);
  for (int i = 0; i < POSTERS; i++)
    pthread_join(posters[i].thread, NULL);
  assert_int_equal(received, POSTERS * POSTS);
  assert_true(s.on_loop);
  loop_post(s.loop, count, &s);
  assert_int_equal(s.count, 0);
  loop_free(s.loop); // what waits is run, not lost
  assert_int_equal(s.count, 1);
}

static void a_stop_before_the_start_counts(void **state)
{
  (void)state;
  struct scene s = {.loop = loop_new()};
  loop_post(s.loop, count, &s);
  loop_stop(s.loop);
  loop_run(s.loop);
  assert_int_equal(s.count, 1);
  loop_free(s.loop);
}

static void raise_it(void *arg)
{
  (void)arg;
  raise(SIGUSR1);
}

static void signals_arrive_on_the_loop(void **state)
{
  (void)state;
  struct scene s = {.loop = loop_new()};
  assert_int_equal(loop_on_signal(s.loop, SIGUSR1, stop, &s), 0);
  loop_post(s.loop, raise_it, NULL);
  loop_run(s.loop);
  assert_true(s.fired_ms > 0);
  loop_free(s.loop);
}

// ---- workers --------------------------------------------------------------------------------

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int done, running, most;
static bool open_gate;

static void job(void *arg)
{
  (void)arg;
  {
    LOCK_FOR_SCOPE(&mutex);
    running++;
    if (running > most)
      most = running;
  }
  for (bool go = false; !go;) {
    struct timespec pause = {.tv_nsec = 1000000};
    nanosleep(&pause, NULL);
    LOCK_FOR_SCOPE(&mutex);
    go = open_gate;
  }
  LOCK_FOR_SCOPE(&mutex);
  running--;
  done++;
}

static int read_locked(const int *value)
{
  LOCK_FOR_SCOPE(&mutex);
  return *value;
}

static void workers_work_side_by_side_and_finish(void **state)
{
  (void)state;
  struct workers *w = workers_new(3, "test");
  for (int i = 0; i < 20; i++)
    workers_put(w, job, NULL);
  assert_soon(read_locked(&running) == 3);
  {
    LOCK_FOR_SCOPE(&mutex);
    open_gate = true;
  }
  workers_free(w); // finishes all twenty
  assert_int_equal(done, 20);
  assert_int_equal(most, 3);
  workers_free(NULL);
}

static int order[100];
static int order_length;

static void note(void *arg)
{
  order[order_length++] = *(int *)arg;
}

static void one_worker_keeps_the_order(void **state)
{
  (void)state;
  static int numbers[100];
  struct workers *w = workers_new(1, "one");
  for (int i = 0; i < 100; i++) {
    numbers[i] = i;
    workers_put(w, note, &numbers[i]);
  }
  workers_free(w);
  for (int i = 0; i < 100; i++)
    assert_int_equal(order[i], i);
}

// ---- log ------------------------------------------------------------------------------------

// What fn writes to standard error.
static char *capture(void (*fn)(void))
{
  static char text[20000];
  FILE *f = tmpfile();
  int saved = dup(STDERR_FILENO);
  dup2(fileno(f), STDERR_FILENO);
  fn();
  dup2(saved, STDERR_FILENO);
  close(saved);
  rewind(f);
  text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
  fclose(f);
  return text;
}

static void log_lines(void)
{
  LOG_CONTEXT("migration", "%s/%s", "team", "web");
  log_debug("hidden", NULL);
  log_info("phase changed", "phase", "Creating", "message", "two words\nand \"a line\"", "absent",
           NULL, NULL);
}

static void log_nothing_left(void)
{
  log_warning("alone", NULL);
}

static void log_a_book(void)
{
  static char book[15000];
  memset(book, 'x', sizeof(book) - 1);
  log_info("long", "text", book, NULL);
}

static void logs_text(void **state)
{
  (void)state;
  log_init(LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
  assert_contains(capture(log_lines), " info    phase changed migration=team/web phase=Creating "
                                      "message=\"two words\\nand \\\"a line\\\"\"\n");
  char *text = capture(log_nothing_left);
  assert_contains(text, " warning alone\n");
  text = capture(log_a_book);
  assert_true(strlen(text) > 4000 && strlen(text) < 5000 && strstr(text, "x...\n"));
}

static void logs_json(void **state)
{
  (void)state;
  log_init(LOG_FORMAT_JSON, LOG_LEVEL_INFO);
  struct json_object *o = json_tokener_parse(capture(log_lines));
  assert_non_null(o);
  assert_string_equal(json_object_get_string(json_object_object_get(o, "msg")), "phase changed");
  assert_string_equal(json_object_get_string(json_object_object_get(o, "migration")), "team/web");
  assert_contains(json_object_get_string(json_object_object_get(o, "message")), "two words\n");
  json_object_put(o);
  log_init(LOG_FORMAT_TEXT, LOG_LEVEL_OFF);
  assert_string_equal(capture(log_lines), "");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(timers_fire_once_and_last_setting_counts),
      cmocka_unit_test(a_freed_timer_never_runs),
      cmocka_unit_test(watches_descriptors),
      cmocka_unit_test(every_post_arrives_in_order),
      cmocka_unit_test(a_stop_before_the_start_counts),
      cmocka_unit_test(signals_arrive_on_the_loop),
      cmocka_unit_test(workers_work_side_by_side_and_finish),
      cmocka_unit_test(one_worker_keeps_the_order),
      cmocka_unit_test(logs_text),
      cmocka_unit_test(logs_json),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
