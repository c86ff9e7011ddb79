// SPDX-License-Identifier: Apache-2.0
#include "reconcile/clone.h"

#include "base/cleanup.h"
#include "reconcile/rows_internal.h"

const char *const clone_phase_names[] = {"Pending", "Creating", "Starting", "Running", "Stopping",
                                         "Stopped", "Deleting", "Failed",   NULL};

const char *const clone_action_names[CLONE_ACT_COUNT] = {
    [CLONE_ACT_NOTHING] = "nothing",
    [CLONE_ACT_WAIT] = "wait",
    [CLONE_ACT_BACK_OFF] = "back off",
    [CLONE_ACT_FAIL] = "fail",
    [CLONE_ACT_ADD_FINALIZER] = "add finalizer",
    [CLONE_ACT_REMOVE_FINALIZER] = "remove finalizer",
    [CLONE_ACT_CHECK] = "check",
    [CLONE_ACT_PLAN] = "plan",
    [CLONE_ACT_MAKE] = "make",
    [CLONE_ACT_START] = "start",
    [CLONE_ACT_STOP] = "stop",
    [CLONE_ACT_FORCE_OFF] = "force off",
    [CLONE_ACT_POST_START] = "post start",
    [CLONE_ACT_REMOVE] = "remove",
    [CLONE_ACT_LET_GO] = "let go",
};

#define F(name)  CLONE_FACT(name)
#define DO(name) CLONE_ACT_##name
#define IN(name) CLONE_##name

#define SEEMS    CLONE_PHASE_COUNT
#define EVENT    ROW_ON_EVENT
#define MOMENT   250 // until a far side is done with what it was told
#define SHORT    2000
#define UNKNOWN  5000
#define LATE     10000
#define STEADY   30000

// A machine of ours that is there.
#define THERE (F(SEEN) | F(EXISTS) | F(OURS) | F(MADE))
#define RUNS  (THERE | F(ON) | F(WANT_ON) | F(READY))
#define OFF   (F(ON) | F(WANT_ON))

// clang-format off
const struct row clone_rows[] = {
    // Deleted: what the ledger names is removed, or let go of.
    {F(DELETING), F(FINALIZER), DO(NOTHING), IN(DELETING), false, EVENT, "Deleting", "somebody else's finalizer holds it"},
    {F(DELETING) | F(DEPENDENTS), 0, DO(WAIT), IN(DELETING), false, UNKNOWN, "InUse", "other clones were made of this one and are there still; delete them first"},
    {F(DELETING) | F(ABANDON) | F(PLANNED), 0, DO(LET_GO), IN(DELETING), false, 0, "Abandoned", "what is left is reported and let go"},
    {F(DELETING) | F(RETAIN) | F(PLANNED), 0, DO(LET_GO), IN(DELETING), false, 0, "Retained", "the machine stays, as spec.deletionPolicy says"},
    {F(DELETING) | F(HICCUP), 0, DO(BACK_OFF), IN(DELETING), false, EVENT, "CleanupBlocked", NULL},
    {F(DELETING) | F(ERROR), 0, DO(BACK_OFF), IN(DELETING), false, EVENT, "CleanupBlocked", NULL},
    {F(DELETING) | F(PLANNED) | F(SEEN) | F(EXISTS), F(OURS), DO(LET_GO), IN(DELETING), false, 0, "AlreadyExists", "the machine of that name is not ours and stays"},
    {F(DELETING) | F(PLANNED), 0, DO(REMOVE), IN(DELETING), false, MOMENT, "Deleting", "removing the machine"},
    {F(DELETING), 0, DO(REMOVE_FINALIZER), IN(DELETING), false, EVENT, "Deleting", "nothing is left"},

    // Held, or gone wrong.
    {F(SUSPENDED) | RUNS, F(POST_START), DO(WAIT), SEEMS, true, EVENT, "Suspended", "spec.suspend is set"},
    {F(SUSPENDED) | THERE, OFF, DO(WAIT), SEEMS, true, EVENT, "Suspended", "spec.suspend is set"},
    {F(SUSPENDED), 0, DO(WAIT), SEEMS, false, EVENT, "Suspended", "spec.suspend is set"},
    {F(ERROR), 0, DO(FAIL), IN(FAILED), false, EVENT, NULL, NULL},
    {F(HICCUP), 0, DO(BACK_OFF), SEEMS, false, EVENT, NULL, NULL},

    // Made, once; and made again when it is gone.
    {0, F(FINALIZER), DO(ADD_FINALIZER), SEEMS, false, 0, "Pending", "not begun yet"},
    {0, F(BASE_READY) | F(MADE), DO(WAIT), SEEMS, false, UNKNOWN, "WaitingForBase", "what it is made of is not ready"},
    {0, F(CHECKED), DO(CHECK), SEEMS, false, 0, "Pending", "checking before anything is made"},
    {0, F(PLANNED), DO(PLAN), SEEMS, false, 0, "Pending", "choosing what it will be on the platform"},
    {0, F(SEEN), DO(WAIT), SEEMS, false, UNKNOWN, "Unreachable", "the platform does not answer; nothing is made or removed meanwhile"},
    {F(EXISTS), F(OURS), DO(FAIL), IN(FAILED), false, STEADY, "AlreadyExists", "a machine of that name is there already and is not ours; it is left alone"},
    {F(MADE), F(EXISTS) | F(BASE_READY), DO(WAIT), IN(CREATING), false, UNKNOWN, "WaitingForBase", "the machine is gone, and what it is made of is not ready"},
    {F(MADE), F(EXISTS), DO(MAKE), IN(CREATING), false, MOMENT, "Recreating", "the machine is gone; it is made anew"},
    {0, F(MADE), DO(MAKE), IN(CREATING), false, MOMENT, "Creating", "making the machine"},

    // Its power.
    {F(ON) | F(STOP_ASKED) | F(STOP_LATE), F(WANT_ON), DO(FORCE_OFF), IN(STOPPING), false, MOMENT, "Stopping", "it did not stop when asked; turning it off"},
    {F(ON) | F(STOP_ASKED), F(WANT_ON), DO(WAIT), IN(STOPPING), false, MOMENT, "Stopping", "it was asked to stop"},
    {F(ON), F(WANT_ON), DO(STOP), IN(STOPPING), false, MOMENT, "Stopping", "it is asked to stop"},
    {0, F(ON) | F(WANT_ON), DO(WAIT), IN(STOPPED), true, STEADY, "Stopped", "off, as spec.powerState says"},
    {0, F(ON), DO(START), IN(STARTING), false, MOMENT, "Starting", "starting the machine"},
    {F(POST_START), 0, DO(POST_START), IN(STARTING), false, 0, "Starting", "running template.postStart"},
    {F(READY), 0, DO(WAIT), IN(RUNNING), true, STEADY, "Ready", "all is as wished"},
    {F(READY_LATE), 0, DO(WAIT), IN(RUNNING), false, LATE, "NotReady", "it is not ready, and readiness.timeout has passed"},
    {0, 0, DO(WAIT), IN(STARTING), false, SHORT, "Starting", "waiting until it is ready"},
};
// clang-format on
const size_t clone_row_count = ARRAY_SIZE(clone_rows);

// What it is when nobody works on it: as seen last; unseen, as it is wished to be.
static enum clone_phase seems(uint64_t facts)
{
  static const struct {
    uint64_t must, must_not;
    enum clone_phase phase;
  } looks[] = {
      {F(SEEN) | F(EXISTS), F(OURS), CLONE_FAILED},
      {0, F(MADE) | F(PLANNED), CLONE_PENDING},
      {0, F(MADE), CLONE_CREATING},
      {F(WANT_ON), F(SEEN), CLONE_RUNNING},
      {0, F(SEEN), CLONE_STOPPED},
      {0, F(EXISTS), CLONE_CREATING},
      {0, F(ON), CLONE_STOPPED},
  };
  for (size_t i = 0; i < ARRAY_SIZE(looks); i++)
    if ((facts & looks[i].must) == looks[i].must && !(facts & looks[i].must_not))
      return looks[i].phase;
  return CLONE_RUNNING;
}

struct clone_step clone_next(uint64_t facts)
{
  const struct row *r = &clone_rows[row_of(clone_rows, clone_row_count, facts)];
  return (struct clone_step){
      .action = (enum clone_action)r->action,
      .phase = r->phase == SEEMS ? seems(facts) : (enum clone_phase)r->phase,
      .ready = r->ready,
      .reason = r->reason,
      .message = r->message,
      .after_ms = r->after_ms,
  };
}
