// SPDX-License-Identifier: Apache-2.0
// All 2^22 sets of facts are tried: every row decides some of them, and no set leads to what must
// never be. Sentences say what single steps are; walks, what they make together, in a small world
// that is also killed after each action.
#include "tests/unit/unit.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "reconcile/clone.h"
#include "reconcile/rows_internal.h"

#define F(name) CLONE_FACT(name)

enum { FACT_COUNT = CLONE_BIT_STOP_LATE + 1 };

#define BEGUN     (F(FINALIZER) | F(BASE_READY) | F(CHECKED) | F(PLANNED))
#define WHOLE     (BEGUN | F(SEEN) | F(EXISTS) | F(OURS) | F(MADE))
#define RUNS      (WHOLE | F(ON) | F(WANT_ON))
#define GOING     (F(FINALIZER) | F(DELETING))

#define ACT(name) CLONE_ACT_##name
#define IN(name)  CLONE_##name

static const struct {
  const char *sentence;
  uint64_t facts;
  enum clone_action action;
  enum clone_phase phase;
  bool ready;
  const char *reason;
} steps[] = {
    {"the finalizer comes first", F(BASE_READY), ACT(ADD_FINALIZER), IN(PENDING), false, "Pending"},
    {"it waits for its base", F(FINALIZER) | F(CHECKED), ACT(WAIT), IN(PENDING), false,
     "WaitingForBase"},
    {"and then checks", F(FINALIZER) | F(BASE_READY), ACT(CHECK), IN(PENDING), false, "Pending"},
    {"the ledger comes before the machine", F(FINALIZER) | F(BASE_READY) | F(CHECKED), ACT(PLAN),
     IN(PENDING), false, "Pending"},
    {"a platform that does not answer is waited for", BEGUN, ACT(WAIT), IN(CREATING), false,
     "Unreachable"},
    {"what is not there is made", BEGUN | F(SEEN), ACT(MAKE), IN(CREATING), false, "Creating"},
    {"what is half made is completed", BEGUN | F(SEEN) | F(EXISTS) | F(OURS), ACT(MAKE),
     IN(CREATING), false, "Creating"},
    {"an impostor is left alone", BEGUN | F(SEEN) | F(EXISTS), ACT(FAIL), IN(FAILED), false,
     "AlreadyExists"},
    {"also when it took the place of ours", (RUNS | F(READY)) & ~F(OURS), ACT(FAIL), IN(FAILED),
     false, "AlreadyExists"},
    {"a made one asks no more for its base", (RUNS | F(READY)) & ~F(BASE_READY), ACT(WAIT),
     IN(RUNNING), true, "Ready"},
    {"what is gone is made anew", BEGUN | F(SEEN) | F(MADE), ACT(MAKE), IN(CREATING), false,
     "Recreating"},
    {"for which its base is needed again", (BEGUN | F(SEEN) | F(MADE)) & ~F(BASE_READY), ACT(WAIT),
     IN(CREATING), false, "WaitingForBase"},
    {"nobody knows whether an unseen one is gone", (RUNS & ~F(SEEN) & ~F(EXISTS)), ACT(WAIT),
     IN(RUNNING), false, "Unreachable"},
    {"it is started", WHOLE | F(WANT_ON), ACT(START), IN(STARTING), false, "Starting"},
    {"postStart comes before ready", RUNS | F(READY) | F(POST_START), ACT(POST_START), IN(STARTING),
     false, "Starting"},
    {"it becomes ready", RUNS, ACT(WAIT), IN(STARTING), false, "Starting"},
    {"or does not", RUNS | F(READY_LATE), ACT(WAIT), IN(RUNNING), false, "NotReady"},
    {"late and ready is ready", RUNS | F(READY) | F(READY_LATE), ACT(WAIT), IN(RUNNING), true,
     "Ready"},
    {"it is asked to stop", WHOLE | F(ON), ACT(STOP), IN(STOPPING), false, "Stopping"},
    {"which takes a while", WHOLE | F(ON) | F(STOP_ASKED), ACT(WAIT), IN(STOPPING), false,
     "Stopping"},
    {"or force", WHOLE | F(ON) | F(STOP_ASKED) | F(STOP_LATE), ACT(FORCE_OFF), IN(STOPPING), false,
     "Stopping"},
    {"off as wished is ready", WHOLE, ACT(WAIT), IN(STOPPED), true, "Stopped"},
    {"a final error is said", BEGUN | F(SEEN) | F(ERROR), ACT(FAIL), IN(FAILED), false, NULL},
    {"a hiccup backs off", RUNS | F(HICCUP), ACT(BACK_OFF), IN(RUNNING), false, NULL},
    {"a pause stops nothing", RUNS | F(READY) | F(SUSPENDED), ACT(WAIT), IN(RUNNING), true,
     "Suspended"},
    {"and starts nothing", WHOLE | F(WANT_ON) | F(SUSPENDED), ACT(WAIT), IN(STOPPED), false,
     "Suspended"},
    {"off as wished is ready in a pause, too", WHOLE | F(SUSPENDED), ACT(WAIT), IN(STOPPED), true,
     "Suspended"},
    {"a pause does not hold deletion", WHOLE | GOING | F(SUSPENDED), ACT(REMOVE), IN(DELETING),
     false, "Deleting"},
    {"deletion removes what the ledger names", RUNS | GOING, ACT(REMOVE), IN(DELETING), false,
     "Deleting"},
    {"but waits for what was made of it", RUNS | GOING | F(DEPENDENTS), ACT(WAIT), IN(DELETING),
     false, "InUse"},
    {"retain leaves the machine", RUNS | GOING | F(RETAIN), ACT(LET_GO), IN(DELETING), false,
     "Retained"},
    {"abandon lets go of what cannot be reached",
     (RUNS | GOING | F(ABANDON) | F(HICCUP)) & ~F(SEEN), ACT(LET_GO), IN(DELETING), false,
     "Abandoned"},
    {"a blocked clean-up keeps the finalizer", RUNS | GOING | F(ERROR), ACT(BACK_OFF), IN(DELETING),
     false, "CleanupBlocked"},
    {"an impostor outlives us", (RUNS | GOING) & ~F(OURS), ACT(LET_GO), IN(DELETING), false,
     "AlreadyExists"},
    {"with nothing left it goes", GOING, ACT(REMOVE_FINALIZER), IN(DELETING), false, "Deleting"},
    {"without our finalizer it is not ours", F(DELETING) | F(PLANNED), ACT(NOTHING), IN(DELETING),
     false, "Deleting"},
};

static void test_steps(void **state)
{
  (void)state;
  for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
    struct clone_step s = clone_next(steps[i].facts);
    bool same = s.reason == steps[i].reason ||
                (s.reason && steps[i].reason && strcmp(s.reason, steps[i].reason) == 0);
    if (s.action != steps[i].action || s.phase != steps[i].phase || s.ready != steps[i].ready ||
        !same)
      fail_msg("%s: got %s, %s, %s", steps[i].sentence, clone_action_names[s.action],
               clone_phase_names[s.phase], s.reason);
  }
}

static bool touches(enum clone_action a)
{
  return a == ACT(MAKE) || a == ACT(START) || a == ACT(STOP) || a == ACT(FORCE_OFF) ||
         a == ACT(POST_START) || a == ACT(REMOVE);
}

// What must hold of the step of any set of facts; the sentence that does not.
static const char *broken(uint64_t f, const struct clone_step *s)
{
  enum clone_action a = s->action;
  bool foreign = f & F(SEEN) && f & F(EXISTS) && !(f & F(OURS));
  bool makes = a == ACT(CHECK) || a == ACT(PLAN) || (touches(a) && a != ACT(REMOVE));
  const struct {
    bool is;
    const char *rule;
  } never[] = {
      {a == ACT(REMOVE) && !(f & F(DELETING)), "removes only when deleted"},
      {a == ACT(REMOVE) && f & (F(RETAIN) | F(ABANDON) | F(DEPENDENTS)), "leaves what shall stay"},
      {a == ACT(LET_GO) && !(f & F(DELETING)), "lets go only when deleted"},
      {a == ACT(REMOVE_FINALIZER) && f & F(PLANNED), "the finalizer outlives the ledger"},
      {a == ACT(REMOVE_FINALIZER) && !(f & F(DELETING)), "keeps the finalizer while it lives"},
      {makes && f & F(DELETING), "makes nothing when deleted"},
      {makes && f & F(SUSPENDED), "does nothing in a pause"},
      {makes && !(f & F(FINALIZER)), "the finalizer comes first"},
      {(makes || a == ACT(REMOVE)) && f & (F(ERROR) | F(HICCUP)), "an error comes first"},
      {touches(a) && !(f & F(PLANNED)), "the ledger comes first"},
      {touches(a) && a != ACT(REMOVE) && !(f & F(SEEN)), "does nothing to what it does not see"},
      {touches(a) && foreign, "never touches a foreign machine"},
      {a == ACT(MAKE) && f & F(MADE) && f & F(EXISTS), "makes no second one"},
      {a == ACT(MAKE) && !(f & F(BASE_READY)), "makes it of a base that is ready"},
      {a == ACT(START) && (f & F(ON) || !(f & F(WANT_ON))), "starts what is off and wished on"},
      {(a == ACT(STOP) || a == ACT(FORCE_OFF)) && (!(f & F(ON)) || f & F(WANT_ON)),
       "stops what is on and wished off"},
      {a == ACT(FORCE_OFF) && !(f & F(STOP_ASKED)), "asks before it forces"},
      {s->ready && (foreign || !(f & F(SEEN)) || !(f & F(MADE))), "ready is what is seen and ours"},
      {s->ready && !(f & F(ON)) != !(f & F(WANT_ON)), "ready is in the power state wished"},
      {s->ready && f & F(ON) && !(f & F(READY)), "ready is as readiness says"},
      {(a == ACT(WAIT) || a == ACT(REMOVE) || a == ACT(MAKE)) && s->after_ms == 0,
       "no busy waiting"},
      {s->phase >= CLONE_PHASE_COUNT || a >= CLONE_ACT_COUNT, "words that exist"},
      {!s->reason != (a == ACT(BACK_OFF) && !(f & F(DELETING))) &&
           !s->reason != (a == ACT(FAIL) && f & F(ERROR)),
       "a reason, but for the error's own"},
  };
  for (size_t i = 0; i < ARRAY_SIZE(never); i++)
    if (never[i].is)
      return never[i].rule;
  return NULL;
}

static void test_all_facts(void **state)
{
  (void)state;
  bool hit[64] = {false};
  assert_true(clone_row_count <= ARRAY_SIZE(hit));
  for (uint64_t f = 0; f < UINT64_C(1) << FACT_COUNT; f++) {
    struct clone_step s = clone_next(f);
    hit[row_of(clone_rows, clone_row_count, f)] = true;
    const char *rule = broken(f, &s);
    if (rule)
      fail_msg("facts %06llx, %s: %s", (unsigned long long)f, clone_action_names[s.action], rule);
  }
  for (size_t i = 0; i < clone_row_count; i++)
    if (!hit[i])
      fail_msg("row %zu (%s, %s) never decides", i, clone_action_names[clone_rows[i].action],
               clone_rows[i].reason);
}

// Each row by a sentence above: a row that nobody describes is found here.
static void test_every_row_has_a_sentence(void **state)
{
  (void)state;
  bool hit[64] = {false};
  for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
    hit[row_of(clone_rows, clone_row_count, steps[i].facts)] = true;
  hit[row_of(clone_rows, clone_row_count, WHOLE | GOING | F(HICCUP))] = true; // as ERROR
  for (size_t i = 0; i < clone_row_count; i++)
    if (!hit[i])
      fail_msg("row %zu (%s) has no sentence", i, clone_rows[i].reason);
}

// ---- walks ----------------------------------------------------------------------------------

static uint64_t play(uint64_t facts, enum clone_action action)
{
  static const struct {
    uint64_t sets, clears;
  } effects[CLONE_ACT_COUNT] = {
      [ACT(ADD_FINALIZER)] = {F(FINALIZER), 0},
      [ACT(REMOVE_FINALIZER)] = {0, F(FINALIZER)},
      [ACT(CHECK)] = {F(CHECKED), 0},
      [ACT(PLAN)] = {F(PLANNED) | F(SEEN), 0},
      [ACT(MAKE)] = {F(EXISTS) | F(OURS) | F(MADE), 0},
      [ACT(START)] = {F(ON) | F(READY), 0},
      [ACT(STOP)] = {F(STOP_ASKED) | F(STOP_LATE), 0}, // a guest that does not listen
      [ACT(FORCE_OFF)] = {0, F(ON) | F(STOP_ASKED) | F(STOP_LATE) | F(READY)},
      [ACT(POST_START)] = {0, F(POST_START)},
      [ACT(REMOVE)] = {0, F(EXISTS) | F(PLANNED)},
      [ACT(LET_GO)] = {0, F(PLANNED)},
  };
  return (facts | effects[action].sets) & ~effects[action].clears;
}

static uint64_t walk(uint64_t facts, struct buf *trace, int crash_at)
{
  for (int i = 0; i < 40 && (!(facts & F(DELETING)) || facts & F(FINALIZER)); i++) {
    struct clone_step s = clone_next(facts);
    if (s.action == ACT(NOTHING) || s.action == ACT(WAIT) || s.action == ACT(BACK_OFF) ||
        s.action == ACT(FAIL))
      break;
    // Killed before status was written: what the object would remember of the action is lost.
    uint64_t memory = F(CHECKED) | F(MADE) | F(STOP_ASKED), before = facts;
    facts = play(facts, s.action);
    if (i == crash_at)
      facts = (facts & ~(memory & ~before)) | (before & F(POST_START));
    buf_printf(trace, "%s%s", trace->length ? ", " : "", clone_action_names[s.action]);
  }
  return facts;
}

static const struct {
  uint64_t facts, end;
  const char *way;
} walks[] = {
    {F(BASE_READY) | F(WANT_ON) | F(POST_START), RUNS | F(READY),
     "add finalizer, check, plan, make, start, post start"},
    {F(BASE_READY), WHOLE, "add finalizer, check, plan, make"},
    {RUNS & ~F(EXISTS) & ~F(ON), RUNS | F(READY), "make, start"},
    {(RUNS | F(READY)) & ~F(WANT_ON), WHOLE, "stop, force off"},
    {RUNS | GOING, (RUNS | GOING) & ~F(FINALIZER) & ~F(PLANNED) & ~F(EXISTS),
     "remove, remove finalizer"},
    {RUNS | GOING | F(RETAIN), (RUNS | GOING | F(RETAIN)) & ~F(FINALIZER) & ~F(PLANNED),
     "let go, remove finalizer"},
};

static void test_walks(void **state)
{
  (void)state;
  for (size_t i = 0; i < ARRAY_SIZE(walks); i++) {
    struct buf trace CLEANUP(buf_release) = BUF_INIT(0);
    assert_int_equal(walk(walks[i].facts, &trace, -1), walks[i].end);
    assert_string_equal(buf_str(&trace), walks[i].way);
    for (int crash_at = 0; crash_at < 12; crash_at++) {
      struct buf again CLEANUP(buf_release) = BUF_INIT(0);
      assert_int_equal(walk(walks[i].facts, &again, crash_at), walks[i].end);
    }
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_steps),
      cmocka_unit_test(test_all_facts),
      cmocka_unit_test(test_every_row_has_a_sentence),
      cmocka_unit_test(test_walks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
