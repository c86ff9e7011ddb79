// SPDX-License-Identifier: Apache-2.0
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "controller/queue.h"
#include "tests/unit/unit.h"

#define KEYS 50

struct world {
  struct queue *q;
  atomic_int steps[KEYS];
  atomic_int inside[KEYS]; // steps of that key that run now
  atomic_int together;     // steps of any key that run now, and the most ever
  atomic_int most;
  atomic_bool doubled, open;
  atomic_int answer_ms; // what a step returns the first times
  atomic_int answers;   // how often; then -1
};

static struct object_key key_of(int i)
{
  struct object_key key = {OBJECT_VM_MIGRATION, "default", ""};
  snprintf(key.name, sizeof(key.name), "%d", i);
  return key;
}

static void add(struct world *w, int i, int64_t delay_ms)
{
  struct object_key key = key_of(i);
  queue_add(w->q, &key, delay_ms);
}

static int64_t step(void *arg, const struct object_key *key)
{
  struct world *w = arg;
  int i = atoi(key->name);
  if (atomic_fetch_add(&w->inside[i], 1) != 0)
    w->doubled = true;
  int together = atomic_fetch_add(&w->together, 1) + 1;
  int most = w->most;
  while (together > most && !atomic_compare_exchange_weak(&w->most, &most, together))
    ;
  while (!w->open) {
    struct timespec pause = {.tv_nsec = 1000000};
    nanosleep(&pause, NULL);
  }
  atomic_fetch_sub(&w->together, 1);
  atomic_fetch_sub(&w->inside[i], 1);
  atomic_fetch_add(&w->steps[i], 1);
  return atomic_fetch_sub(&w->answers, 1) > 0 ? w->answer_ms : -1;
}

static int set_up(void **state)
{
  struct world *w = calloc(1, sizeof(*w));
  w->q = queue_new(4, step, w);
  w->open = true;
  *state = w;
  return 0;
}

static int tear_down(void **state)
{
  struct world *w = *state;
  w->open = true;
  queue_free(w->q);
  free(w);
  return 0;
}

static void test_each_key_is_stepped(void **state)
{
  struct world *w = *state;
  for (int i = 0; i < KEYS; i++)
    add(w, i, 0);
  assert_soon(queue_depth(w->q) == 0);
  for (int i = 0; i < KEYS; i++)
    assert_int_equal(w->steps[i], 1);
}

static void test_added_often_it_is_stepped_once(void **state)
{
  struct world *w = *state;
  w->open = false;
  for (int i = 0; i < 4; i++)
    add(w, i, 0); // all workers are busy now
  assert_soon(w->together == 4);
  for (int i = 0; i < 100; i++)
    add(w, 9, 0);
  assert_int_equal(queue_depth(w->q), 5);
  w->open = true;
  assert_soon(queue_depth(w->q) == 0);
  assert_int_equal(w->steps[9], 1);
}

static void test_added_while_it_runs_it_is_stepped_again(void **state)
{
  struct world *w = *state;
  w->open = false;
  add(w, 1, 0);
  assert_soon(w->inside[1] == 1);
  add(w, 1, 0);
  add(w, 1, 0);
  // Workers are free, and yet its second step does not begin before the first has ended.
  add(w, 2, 0);
  assert_soon(w->inside[2] == 1);
  assert_int_equal(w->inside[1], 1);
  w->open = true;
  assert_soon(queue_depth(w->q) == 0);
  assert_int_equal(w->steps[1], 2);
  assert_false(w->doubled);
}

static void test_delay(void **state)
{
  struct world *w = *state;
  int64_t before_ms = clock_ms();
  add(w, 1, 150);
  assert_soon(w->steps[1] == 1);
  assert_true(clock_ms() - before_ms >= 150);
}

static void test_the_earliest_delay_counts(void **state)
{
  struct world *w = *state;
  add(w, 1, 60000);
  add(w, 1, 20);
  add(w, 1, 60000);
  assert_soon(queue_depth(w->q) == 0);
  assert_int_equal(w->steps[1], 1);
}

static void test_a_step_says_when_to_look_again(void **state)
{
  struct world *w = *state;
  w->answer_ms = 0;
  w->answers = 3;
  add(w, 1, 0);
  assert_soon(queue_depth(w->q) == 0);
  assert_int_equal(w->steps[1], 4);
  w->answer_ms = 40;
  w->answers = 2;
  int64_t before_ms = clock_ms();
  add(w, 1, 0);
  assert_soon(queue_depth(w->q) == 0);
  assert_int_equal(w->steps[1], 7);
  assert_true(clock_ms() - before_ms >= 80);
}

// A step that wants to be left alone for long, and somebody who wants it now.
static void test_an_event_goes_before_a_delay(void **state)
{
  struct world *w = *state;
  w->answer_ms = 60000;
  w->answers = 1;
  add(w, 1, 0);
  assert_soon(w->steps[1] == 1);
  add(w, 1, 0);
  assert_soon(w->steps[1] == 2);
}

static void test_all_workers_work(void **state)
{
  struct world *w = *state;
  w->open = false;
  for (int i = 0; i < KEYS; i++)
    add(w, i, 0);
  assert_soon(w->together == 4);
  w->open = true;
  assert_soon(queue_depth(w->q) == 0);
  assert_int_equal(w->most, 4);
}

static void *hammer(void *arg)
{
  struct world *w = arg;
  for (int i = 0; i < 2000; i++)
    add(w, (int)clock_random(KEYS), (int64_t)clock_random(3));
  return NULL;
}

static void test_hammered(void **state)
{
  struct world *w = *state;
  pthread_t threads[4];
  w->answer_ms = 1;
  w->answers = 2000;
  for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
    assert_int_equal(pthread_create(&threads[i], NULL, hammer, w), 0);
  for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
    pthread_join(threads[i], NULL);
  assert_soon(queue_depth(w->q) == 0);
  assert_false(w->doubled);
  for (int i = 0; i < KEYS; i++)
    assert_true(w->steps[i] > 0);
}

static void test_freed_with_work_waiting(void **state)
{
  struct world *w = *state;
  for (int i = 0; i < KEYS; i++)
    add(w, i, 60000);
  add(w, 1, 0);
  assert_soon(w->steps[1] == 1); // tear_down must not wait a minute
}

static void test_keys_are_told_apart(void **state)
{
  (void)state;
  struct object_key a = {OBJECT_VM_MIGRATION, "x", "one"};
  struct object_key b = {OBJECT_PROVIDER, "x", "one"};
  struct object_key c = {OBJECT_VM_MIGRATION, "y", "one"};
  struct object_key d = {OBJECT_VM_MIGRATION, "x", "two"};
  assert_true(object_key_eq(&a, &a));
  assert_false(object_key_eq(&a, &b));
  assert_false(object_key_eq(&a, &c));
  assert_false(object_key_eq(&a, &d));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
  const struct CMUnitTest tests[] = {
      TEST(test_each_key_is_stepped),
      TEST(test_added_often_it_is_stepped_once),
      TEST(test_added_while_it_runs_it_is_stepped_again),
      TEST(test_delay),
      TEST(test_the_earliest_delay_counts),
      TEST(test_a_step_says_when_to_look_again),
      TEST(test_an_event_goes_before_a_delay),
      TEST(test_all_workers_work),
      TEST(test_hammered),
      TEST(test_freed_with_work_waiting),
      TEST(test_keys_are_told_apart),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
