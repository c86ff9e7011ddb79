// SPDX-License-Identifier: Apache-2.0
// As test_clone.c: all sets of facts, a sentence for each row, and walks.
#include "tests/unit/unit.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "reconcile/base.h"
#include "reconcile/rows_internal.h"

#define F(name) BASE_FACT(name)

enum { FACT_COUNT = BASE_BIT_RUNNING + 1 };

#define BEGUN     (F(FINALIZER) | F(CHECKED) | F(PLANNED))
#define DONE      (BEGUN | F(MADE) | F(SEEN) | F(EXISTS))
#define GOING     (F(FINALIZER) | F(DELETING))
#define COPIES    (F(FINALIZER) | F(CHECKED) | F(NEEDS_DISKS))

#define ACT(name) BASE_ACT_##name
#define IN(name)  BASE_##name

static const struct {
  const char *sentence;
  uint64_t facts;
  enum base_action action;
  enum base_phase phase;
  bool ready;
  const char *reason;
} steps[] = {
    {"the finalizer comes first", 0, ACT(ADD_FINALIZER), IN(PENDING), false, "Pending"},
    {"then the checks", F(FINALIZER), ACT(CHECK), IN(PENDING), false, "Pending"},
    {"disks are asked for", COPIES, ACT(ASK_DISKS), IN(COPYING), false, "Copying"},
    {"and waited for", COPIES | F(DISKS_ASKED), ACT(WAIT), IN(COPYING), false, "Copying"},
    {"unless they cannot come", COPIES | F(DISKS_ASKED) | F(DISKS_BAD), ACT(FAIL), IN(FAILED),
     false, "DisksFailed"},
    {"with disks it is planned", COPIES | F(DISKS_ASKED) | F(DISKS_DONE), ACT(PLAN), IN(PENDING),
     false, "Registering"},
    {"without need of any, too", F(FINALIZER) | F(CHECKED), ACT(PLAN), IN(PENDING), false,
     "Registering"},
    {"then made", BEGUN, ACT(MAKE), IN(REGISTERING), false, "Registering"},
    {"it is ready", DONE, ACT(WAIT), IN(READY), true, "Ready"},
    {"and needs no VMMigration any more", DONE | F(NEEDS_DISKS) | F(DISKS_BAD), ACT(WAIT),
     IN(READY), true, "Ready"},
    {"unseen is not ready", DONE & ~F(SEEN) & ~F(EXISTS), ACT(WAIT), IN(PENDING), false,
     "Unreachable"},
    {"gone is gone", DONE & ~F(EXISTS), ACT(FAIL), IN(FAILED), false, "Gone"},
    {"another content is another base", DONE | F(MODIFIED), ACT(FAIL), IN(FAILED), false,
     "Modified"},
    {"a base that runs is not cloned", DONE | F(RUNNING), ACT(WAIT), IN(PENDING), false, "Running"},
    {"a final error is said", BEGUN | F(ERROR), ACT(FAIL), IN(FAILED), false, NULL},
    {"a hiccup backs off", BEGUN | F(HICCUP), ACT(BACK_OFF), IN(REGISTERING), false, NULL},
    {"a pause does not unmake it", DONE | F(SUSPENDED), ACT(WAIT), IN(READY), true, "Suspended"},
    {"but holds what is under way", BEGUN | F(SUSPENDED), ACT(WAIT), IN(REGISTERING), false,
     "Suspended"},
    {"one in use waits", DONE | GOING | F(DEPENDENTS), ACT(WAIT), IN(DELETING), false, "InUse"},
    {"what drover made is removed", DONE | GOING, ACT(REMOVE), IN(DELETING), false, "Deleting"},
    {"what was there before stays", DONE | GOING | F(RETAIN), ACT(LET_GO), IN(DELETING), false,
     "Retained"},
    {"abandon lets go", DONE | GOING | F(ABANDON) | F(ERROR), ACT(LET_GO), IN(DELETING), false,
     "Abandoned"},
    {"a blocked clean-up keeps the finalizer", DONE | GOING | F(ERROR), ACT(BACK_OFF), IN(DELETING),
     false, "CleanupBlocked"},
    {"for a while or for good", DONE | GOING | F(HICCUP), ACT(BACK_OFF), IN(DELETING), false,
     "CleanupBlocked"},
    {"with nothing left it goes", GOING | F(CHECKED), ACT(REMOVE_FINALIZER), IN(DELETING), false,
     "Deleting"},
    {"without our finalizer it is not ours", F(DELETING) | F(PLANNED), ACT(NOTHING), IN(DELETING),
     false, "Deleting"},
};

static void test_steps(void **state)
{
  (void)state;
  bool hit[64] = {false};
  for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
    struct base_step s = base_next(steps[i].facts);
    bool same = s.reason == steps[i].reason ||
                (s.reason && steps[i].reason && strcmp(s.reason, steps[i].reason) == 0);
    if (s.action != steps[i].action || s.phase != steps[i].phase || s.ready != steps[i].ready ||
        !same)
      fail_msg("%s: got %s, %s, %s", steps[i].sentence, base_action_names[s.action],
               base_phase_names[s.phase], s.reason);
    hit[row_of(base_rows, base_row_count, steps[i].facts)] = true;
  }
  for (size_t i = 0; i < base_row_count; i++)
    if (!hit[i])
      fail_msg("row %zu (%s) has no sentence", i, base_rows[i].reason);
}

static const char *broken(uint64_t f, const struct base_step *s)
{
  enum base_action a = s->action;
  bool makes = a == ACT(CHECK) || a == ACT(ASK_DISKS) || a == ACT(PLAN) || a == ACT(MAKE);
  const struct {
    bool is;
    const char *rule;
  } never[] = {
      {a == ACT(REMOVE) && !(f & F(DELETING)), "removes only when deleted"},
      {a == ACT(REMOVE) && f & (F(RETAIN) | F(ABANDON) | F(DEPENDENTS)), "leaves what shall stay"},
      {a == ACT(REMOVE) && !(f & F(PLANNED)), "removes what the ledger names"},
      {a == ACT(LET_GO) && (!(f & F(DELETING)) || f & F(DEPENDENTS)), "lets go when deleted"},
      {a == ACT(REMOVE_FINALIZER) && f & F(PLANNED), "the finalizer outlives the ledger"},
      {makes && f & (F(DELETING) | F(SUSPENDED)), "makes nothing when deleted or held"},
      {makes && !(f & F(FINALIZER)), "the finalizer comes first"},
      {(makes || a == ACT(REMOVE)) && f & (F(ERROR) | F(HICCUP)), "an error comes first"},
      {a == ACT(MAKE) && f & F(MADE), "is never made twice"},
      {a == ACT(MAKE) && (!(f & F(PLANNED)) || !(f & F(CHECKED))), "checked and planned first"},
      {(a == ACT(MAKE) || a == ACT(PLAN)) && f & F(NEEDS_DISKS) && !(f & (F(DISKS_DONE) | F(MADE))),
       "disks come first"},
      {a == ACT(ASK_DISKS) && f & (F(DISKS_ASKED) | F(MADE)), "asks once"},
      {s->ready && (f & (F(MODIFIED) | F(RUNNING) | F(DELETING)) || !(f & F(MADE)) ||
                    !(f & F(SEEN)) || !(f & F(EXISTS))),
       "ready is what is there, as it was"},
      {s->phase == IN(READY) && !s->ready && a != ACT(BACK_OFF) && f & F(FINALIZER) &&
           f & F(CHECKED) && f & F(PLANNED),
       "the phase says no more than the condition"},
      {(a == ACT(WAIT) || a == ACT(REMOVE) || a == ACT(MAKE)) && s->after_ms == 0,
       "no busy waiting"},
      {s->phase >= BASE_PHASE_COUNT || a >= BASE_ACT_COUNT, "words that exist"},
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
  for (uint64_t f = 0; f < UINT64_C(1) << FACT_COUNT; f++) {
    struct base_step s = base_next(f);
    hit[row_of(base_rows, base_row_count, f)] = true;
    const char *rule = broken(f, &s);
    if (rule)
      fail_msg("facts %05llx, %s: %s", (unsigned long long)f, base_action_names[s.action], rule);
  }
  for (size_t i = 0; i < base_row_count; i++)
    if (!hit[i])
      fail_msg("row %zu (%s) never decides", i, base_rows[i].reason);
}

static uint64_t play(uint64_t facts, enum base_action action)
{
  static const struct {
    uint64_t sets, clears;
  } effects[BASE_ACT_COUNT] = {
      [ACT(ADD_FINALIZER)] = {F(FINALIZER), 0},
      [ACT(REMOVE_FINALIZER)] = {0, F(FINALIZER)},
      [ACT(CHECK)] = {F(CHECKED), 0},
      [ACT(ASK_DISKS)] = {F(DISKS_ASKED) | F(DISKS_DONE), 0},
      [ACT(PLAN)] = {F(PLANNED), 0},
      [ACT(MAKE)] = {F(MADE) | F(SEEN) | F(EXISTS), 0},
      [ACT(REMOVE)] = {0, F(EXISTS) | F(PLANNED)},
      [ACT(LET_GO)] = {0, F(PLANNED)},
  };
  return (facts | effects[action].sets) & ~effects[action].clears;
}

static const struct {
  uint64_t facts;
  const char *way;
} walks[] = {
    {0, "add finalizer, check, plan, make"},
    {F(NEEDS_DISKS), "add finalizer, check, ask disks, plan, make"},
    {DONE | GOING, "remove, remove finalizer"},
    {DONE | GOING | F(RETAIN), "let go, remove finalizer"},
};

static void test_walks(void **state)
{
  (void)state;
  for (size_t i = 0; i < ARRAY_SIZE(walks); i++) {
    struct buf trace CLEANUP(buf_release) = BUF_INIT(0);
    uint64_t facts = walks[i].facts;
    for (int n = 0; n < 20 && (!(facts & F(DELETING)) || facts & F(FINALIZER)); n++) {
      enum base_action a = base_next(facts).action;
      if (a == ACT(WAIT))
        break;
      buf_printf(&trace, "%s%s", trace.length ? ", " : "", base_action_names[a]);
      facts = play(facts, a);
    }
    assert_string_equal(buf_str(&trace), walks[i].way);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_steps),
      cmocka_unit_test(test_all_facts),
      cmocka_unit_test(test_walks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
