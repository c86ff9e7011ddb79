// SPDX-License-Identifier: Apache-2.0
#include "reconcile/base.h"

#include "base/cleanup.h"
#include "reconcile/rows_internal.h"

const char *const base_phase_names[] = {"Pending", "Copying",  "Registering", "Ready",
                                        "Failed",  "Deleting", NULL};

const char *const base_action_names[BASE_ACT_COUNT] = {
    [BASE_ACT_NOTHING] = "nothing",
    [BASE_ACT_WAIT] = "wait",
    [BASE_ACT_BACK_OFF] = "back off",
    [BASE_ACT_FAIL] = "fail",
    [BASE_ACT_ADD_FINALIZER] = "add finalizer",
    [BASE_ACT_REMOVE_FINALIZER] = "remove finalizer",
    [BASE_ACT_CHECK] = "check",
    [BASE_ACT_ASK_DISKS] = "ask disks",
    [BASE_ACT_PLAN] = "plan",
    [BASE_ACT_MAKE] = "make",
    [BASE_ACT_REMOVE] = "remove",
    [BASE_ACT_LET_GO] = "let go",
};

#define F(name)  BASE_FACT(name)
#define DO(name) BASE_ACT_##name
#define IN(name) BASE_##name

#define SEEMS    BASE_PHASE_COUNT
#define EVENT    ROW_ON_EVENT
#define MOMENT   500 // until a far side is done with what it was told
#define UNKNOWN  5000
#define LATE     30000
#define STEADY   60000

// clang-format off
const struct row base_rows[] = {
    // Deleted: what drover made is removed; what was there before is let go of.
    {F(DELETING), F(FINALIZER), DO(NOTHING), IN(DELETING), false, EVENT, "Deleting", "somebody else's finalizer holds it"},
    {F(DELETING) | F(DEPENDENTS), 0, DO(WAIT), IN(DELETING), false, UNKNOWN, "InUse", "clones of this base are there still; delete them first"},
    {F(DELETING) | F(ABANDON) | F(PLANNED), 0, DO(LET_GO), IN(DELETING), false, 0, "Abandoned", "what is left is reported and let go"},
    {F(DELETING) | F(RETAIN) | F(PLANNED), 0, DO(LET_GO), IN(DELETING), false, 0, "Retained", "the base stays on the platform"},
    {F(DELETING) | F(HICCUP), 0, DO(BACK_OFF), IN(DELETING), false, EVENT, "CleanupBlocked", NULL},
    {F(DELETING) | F(ERROR), 0, DO(BACK_OFF), IN(DELETING), false, EVENT, "CleanupBlocked", NULL},
    {F(DELETING) | F(PLANNED), 0, DO(REMOVE), IN(DELETING), false, MOMENT, "Deleting", "removing the base"},
    {F(DELETING), 0, DO(REMOVE_FINALIZER), IN(DELETING), false, EVENT, "Deleting", "nothing is left"},

    // Held, or gone wrong.
    {F(SUSPENDED) | F(MADE) | F(SEEN) | F(EXISTS), F(MODIFIED) | F(RUNNING), DO(WAIT), SEEMS, true, EVENT, "Suspended", "spec.suspend is set"},
    {F(SUSPENDED), 0, DO(WAIT), SEEMS, false, EVENT, "Suspended", "spec.suspend is set"},
    {F(ERROR), 0, DO(FAIL), IN(FAILED), false, EVENT, NULL, NULL},
    {F(HICCUP), 0, DO(BACK_OFF), SEEMS, false, EVENT, NULL, NULL},

    // Its disks, then itself.
    {0, F(FINALIZER), DO(ADD_FINALIZER), SEEMS, false, 0, "Pending", "not begun yet"},
    {0, F(CHECKED), DO(CHECK), SEEMS, false, 0, "Pending", "checking before anything is made"},
    {F(NEEDS_DISKS), F(DISKS_ASKED) | F(DISKS_DONE) | F(MADE), DO(ASK_DISKS), IN(COPYING), false, 0, "Copying", "asking for its disks"},
    {F(NEEDS_DISKS) | F(DISKS_BAD), F(DISKS_DONE) | F(MADE), DO(FAIL), IN(FAILED), false, LATE, "DisksFailed", "the VMMigration that brings its disks has failed; its conditions say why"},
    {F(NEEDS_DISKS), F(DISKS_DONE) | F(MADE), DO(WAIT), IN(COPYING), false, UNKNOWN, "Copying", "a VMMigration brings its disks"},
    {0, F(PLANNED), DO(PLAN), SEEMS, false, 0, "Registering", "choosing what it will be on the platform"},
    {0, F(MADE), DO(MAKE), IN(REGISTERING), false, MOMENT, "Registering", "registering the base"},

    // Watched. It is never made a second time: clones rest on this very content.
    {0, F(SEEN), DO(WAIT), SEEMS, false, UNKNOWN, "Unreachable", "the platform does not answer; nothing is made or removed meanwhile"},
    {0, F(EXISTS), DO(FAIL), IN(FAILED), false, LATE, "Gone", "the base is not on the platform any more; bring it back, or make a new CloneBase"},
    {F(MODIFIED), 0, DO(FAIL), IN(FAILED), false, LATE, "Modified", "somebody changed its content; bring it back, or make a new CloneBase"},
    {F(RUNNING), 0, DO(WAIT), IN(PENDING), false, UNKNOWN, "Running", "somebody started it; no clones are made of it until it is off"},
    {0, 0, DO(WAIT), IN(READY), true, STEADY, "Ready", "it can be cloned from"},
};
// clang-format on
const size_t base_row_count = ARRAY_SIZE(base_rows);

// What it is when nobody works on it. "Ready" is said only of what was seen to be.
static enum base_phase seems(uint64_t facts)
{
  static const struct {
    uint64_t must, must_not;
    enum base_phase phase;
  } looks[] = {
      {F(MADE) | F(SEEN), F(EXISTS), BASE_FAILED},
      {F(MADE) | F(SEEN) | F(MODIFIED), 0, BASE_FAILED},
      {F(MADE) | F(SEEN), F(RUNNING), BASE_READY},
      {F(MADE), 0, BASE_PENDING},
      {F(PLANNED), 0, BASE_REGISTERING},
      {F(NEEDS_DISKS) | F(DISKS_ASKED), F(DISKS_DONE), BASE_COPYING},
  };
  for (size_t i = 0; i < ARRAY_SIZE(looks); i++)
    if ((facts & looks[i].must) == looks[i].must && !(facts & looks[i].must_not))
      return looks[i].phase;
  return BASE_PENDING;
}

struct base_step base_next(uint64_t facts)
{
  const struct row *r = &base_rows[row_of(base_rows, base_row_count, facts)];
  return (struct base_step){
      .action = (enum base_action)r->action,
      .phase = r->phase == SEEMS ? seems(facts) : (enum base_phase)r->phase,
      .ready = r->ready,
      .reason = r->reason,
      .message = r->message,
      .after_ms = r->after_ms,
  };
}
