// SPDX-License-Identifier: Apache-2.0
// Rows say what one step is; walks say what the steps make together: a small world plays the part
// of the runner, and a walk is the whole way through it as a string. Every walk is also killed
// after each action (the action is done twice: once unrecorded), and must end the same.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "reconcile/migration.h"

#define F(name) FACT(name)

static const struct {
  const char *sentence;
  enum migration_phase phase;
  uint64_t facts;
  enum migration_action action;
  enum migration_phase next;
} steps[] = {
    {"the finalizer comes before anything else", PHASE_PENDING, 0, ACT_ADD_FINALIZER,
     PHASE_PENDING},
    {"without a free place it waits", PHASE_QUEUED, F(FINALIZER), ACT_WAIT, PHASE_QUEUED},
    {"a dry run ends after the checks", PHASE_PREFLIGHT,
     F(FINALIZER) | F(CHECKED) | F(DRY_RUN) | F(SOURCE_ON), ACT_SUCCEED, PHASE_CLEANING_UP},
    {"what bears the mark is not made again", PHASE_PREFLIGHT,
     F(FINALIZER) | F(CHECKED) | F(MADE_BEFORE), ACT_SUCCEED, PHASE_CLEANING_UP},
    {"a final error fails at the first try", PHASE_TRANSFERRING,
     F(FINALIZER) | F(ERROR) | F(TRIES_LEFT), ACT_FAIL, PHASE_CLEANING_UP},
    {"a hiccup backs off", PHASE_TRANSFERRING, F(FINALIZER) | F(HICCUP) | F(TRIES_LEFT),
     ACT_BACK_OFF, PHASE_TRANSFERRING},
    {"the last hiccup fails", PHASE_TRANSFERRING, F(FINALIZER) | F(HICCUP), ACT_FAIL,
     PHASE_CLEANING_UP},
    {"cancel goes before errors", PHASE_TRANSFERRING, F(FINALIZER) | F(ERROR) | F(CANCEL_ASKED),
     ACT_LATCH_CANCEL, PHASE_CLEANING_UP},
    {"cancel after success does nothing", PHASE_CLEANING_UP,
     F(FINALIZER) | F(GOOD) | F(CANCEL_ASKED), ACT_FINISH, PHASE_SUCCEEDED},
    {"suspend stops the movers first", PHASE_TRANSFERRING, F(FINALIZER) | F(SUSPENDED) | F(MOVERS),
     ACT_STOP_MOVERS, PHASE_TRANSFERRING},
    {"suspend holds", PHASE_TRANSFERRING, F(FINALIZER) | F(SUSPENDED) | F(DISKS_READY), ACT_WAIT,
     PHASE_TRANSFERRING},
    {"a succeeded object goes without undoing anything", PHASE_SUCCEEDED,
     F(FINALIZER) | F(DELETING) | F(UNDO), ACT_REMOVE_FINALIZER, PHASE_SUCCEEDED},
    {"a failed one takes its leftovers back", PHASE_FAILED, F(FINALIZER) | F(DELETING) | F(UNDO),
     ACT_UNDO, PHASE_FAILED},
    {"deletion stops movers before it undoes", PHASE_TRANSFERRING,
     F(FINALIZER) | F(DELETING) | F(UNDO) | F(MOVERS), ACT_STOP_MOVERS, PHASE_TRANSFERRING},
    {"a blocked clean-up keeps the finalizer", PHASE_FAILED,
     F(FINALIZER) | F(DELETING) | F(UNDO) | F(ERROR), ACT_BACK_OFF, PHASE_FAILED},
    {"abandon lets go", PHASE_FAILED, F(FINALIZER) | F(DELETING) | F(UNDO) | F(ERROR) | F(ABANDON),
     ACT_REPORT_LEFTOVERS, PHASE_FAILED},
    {"retry starts a failed one again", PHASE_FAILED, F(FINALIZER) | F(RETRY_ASKED), ACT_RETRY,
     PHASE_PENDING},
    {"retry does not wake a cancelled one", PHASE_CANCELLED,
     F(FINALIZER) | F(RETRY_ASKED) | F(CANCEL), ACT_NOTHING, PHASE_CANCELLED},
    {"ttl deletes what is finished", PHASE_SUCCEEDED, F(FINALIZER) | F(EXPIRED), ACT_DELETE_OBJECT,
     PHASE_SUCCEEDED},
    {"a guest that does not stop fails", PHASE_SHUTTING_DOWN,
     F(FINALIZER) | F(SOURCE_ON) | F(SHUTDOWN_ASKED) | F(SHUTDOWN_LATE), ACT_FAIL,
     PHASE_CLEANING_UP},
    {"the time-out of the whole fails", PHASE_TRANSFERRING, F(FINALIZER) | F(LATE), ACT_FAIL,
     PHASE_CLEANING_UP},
    {"a failed clean-up after success is tried again", PHASE_CLEANING_UP,
     F(FINALIZER) | F(GOOD) | F(STAGED) | F(ERROR), ACT_BACK_OFF, PHASE_CLEANING_UP},
    {"nobody touches a deleted object that is not ours any more", PHASE_TRANSFERRING,
     F(DELETING) | F(UNDO) | F(MOVERS), ACT_NOTHING, PHASE_TRANSFERRING},
};

static void test_steps(void **state)
{
  (void)state;
  for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
    struct migration_step s = migration_next(steps[i].phase, steps[i].facts);
    if (s.action != steps[i].action || s.phase != steps[i].next)
      fail_msg("%s: got %s -> %s", steps[i].sentence, migration_action_names[s.action],
               migration_phase_names[s.phase]);
  }
}

// A world in which every action works at once.
struct world {
  enum migration_phase phase;
  uint64_t facts;
  bool gone;
};

static void play(struct world *w, const struct migration_step *s)
{
  static const struct {
    uint64_t sets, clears;
  } effects[ACT_COUNT] = {
      [ACT_ADD_FINALIZER] = {F(FINALIZER), 0},
      [ACT_REMOVE_FINALIZER] = {0, F(FINALIZER)},
      [ACT_LATCH_CANCEL] = {F(CANCEL) | F(STOPPED), F(BAD)},
      [ACT_RETRY] = {0, F(RETRY_ASKED) | F(BAD) | F(ERROR)},
      [ACT_PREFLIGHT] = {F(CHECKED), 0},
      [ACT_SHUT_DOWN] = {F(SHUTDOWN_ASKED), F(SOURCE_ON)},
      [ACT_PLAN] = {F(PLANNED) | F(UNDO) | F(DISKS_READY), 0},
      [ACT_TRANSFER] = {F(DISKS_DONE), F(DISKS_READY) | F(MOVERS)},
      [ACT_STOP_MOVERS] = {0, F(MOVERS)},
      [ACT_CREATE] = {F(CREATED), 0},
      [ACT_POWER_ON] = {F(POWERED) | F(READY), 0},
      [ACT_REMOVE_STAGED] = {0, F(STAGED)},
      [ACT_SOURCE_AFTER] = {0, F(SOURCE_AFTER)},
      [ACT_RESTORE_SOURCE] = {0, F(RESTORE)},
      [ACT_UNDO] = {0, F(UNDO)},
      [ACT_REPORT_LEFTOVERS] = {0, F(UNDO) | F(STAGED)},
      [ACT_SUCCEED] = {F(GOOD), 0},
      [ACT_FAIL] = {F(BAD), F(ERROR) | F(HICCUP) | F(LATE)},
  };
  w->facts = (w->facts | effects[s->action].sets) & ~effects[s->action].clears;
  w->gone = (w->facts & F(DELETING)) && !(w->facts & F(FINALIZER));
}

static void walk(struct world *w, struct buf *trace, int crash_at)
{
  for (int i = 0; i < 60 && !w->gone; i++) {
    struct migration_step s = migration_next(w->phase, w->facts);
    if (s.action == ACT_NOTHING || s.action == ACT_WAIT || s.action == ACT_BACK_OFF)
      break;
    if (i == crash_at) {
      // Done, but the phase was not recorded: the next life must come through all the same.
      play(w, &s);
      if (s.action == ACT_SUCCEED || s.action == ACT_FAIL || s.action == ACT_LATCH_CANCEL)
        w->phase = s.phase; // the outcome and its phase are one write
      continue;
    }
    buf_printf(trace, "%s%s", trace->length ? ", " : "", migration_action_names[s.action]);
    play(w, &s);
    w->phase = s.phase;
  }
}

static const struct {
  uint64_t facts;
  enum migration_phase phase, end;
  const char *way;
} walks[] = {
    {F(SLOT) | F(SOURCE_ON) | F(POWER_WANTED) | F(SOURCE_AFTER) | F(STAGED) | F(TRIES_LEFT),
     PHASE_PENDING, PHASE_SUCCEEDED,
     "add finalizer, begin, enter, preflight, enter, shut down, enter, plan, enter, transfer, "
     "enter, "
     "create, enter, power on, succeed, remove staged, source after, finish"},
    {F(SLOT) | F(TRIES_LEFT), PHASE_PENDING, PHASE_SUCCEEDED,
     "add finalizer, begin, enter, preflight, enter, plan, enter, transfer, enter, create, enter, "
     "succeed, finish"},
    {F(SLOT) | F(DRY_RUN) | F(SOURCE_ON), PHASE_PENDING, PHASE_SUCCEEDED,
     "add finalizer, begin, enter, preflight, succeed, finish"},
    {F(FINALIZER) | F(MOVERS) | F(UNDO) | F(RESTORE) | F(CANCEL_ASKED), PHASE_TRANSFERRING,
     PHASE_CANCELLED, "latch cancel, stop movers, undo, restore source, finish"},
    {F(FINALIZER) | F(MOVERS) | F(UNDO) | F(RESTORE) | F(ERROR), PHASE_TRANSFERRING, PHASE_FAILED,
     "fail, stop movers, undo, restore source, finish"},
    {F(FINALIZER) | F(DELETING) | F(MOVERS) | F(UNDO) | F(RESTORE), PHASE_TRANSFERRING,
     PHASE_TRANSFERRING, "stop movers, undo, restore source, remove finalizer"},
    {F(FINALIZER) | F(DELETING), PHASE_SUCCEEDED, PHASE_SUCCEEDED, "remove finalizer"},
};

static void test_walks(void **state)
{
  (void)state;
  for (size_t i = 0; i < ARRAY_SIZE(walks); i++) {
    struct buf trace CLEANUP(buf_release) = BUF_INIT(0);
    struct world w = {walks[i].phase, walks[i].facts, false};
    walk(&w, &trace, -1);
    assert_string_equal(buf_str(&trace), walks[i].way);
    assert_int_equal(w.phase, walks[i].end);
  }
}

static void test_walks_survive_a_crash_after_each_action(void **state)
{
  (void)state;
  for (size_t i = 0; i < ARRAY_SIZE(walks); i++) {
    for (int crash_at = 0; crash_at < 20; crash_at++) {
      struct buf trace CLEANUP(buf_release) = BUF_INIT(0);
      struct world w = {walks[i].phase, walks[i].facts, false};
      walk(&w, &trace, crash_at);
      assert_int_equal(w.phase, walks[i].end);
    }
  }
}

static void test_backoff(void **state)
{
  (void)state;
  assert_int_equal(backoff_ms(1000, 60000, 1, 0), 1000);
  assert_int_equal(backoff_ms(1000, 60000, 4, 0), 8000);
  assert_int_equal(backoff_ms(1000, 60000, 100, 0), 60000);
  assert_in_range(backoff_ms(1000, 60000, 3, 987654321), 3000, 4000);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_steps),
      cmocka_unit_test(test_walks),
      cmocka_unit_test(test_walks_survive_a_crash_after_each_action),
      cmocka_unit_test(test_backoff),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
