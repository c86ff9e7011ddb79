// SPDX-License-Identifier: Apache-2.0
#include "reconcile/migration.h"

#include <stddef.h>

#include "base/cleanup.h"

const char *const migration_phase_names[] = {
    "Pending",  "Queued",   "Preflight",  "ShuttingDown", "Preparing", "Transferring", "Verifying",
    "Creating", "Starting", "CleaningUp", "Succeeded",    "Failed",    "Cancelled",    NULL};

const char *const migration_action_names[ACT_COUNT] = {
    [ACT_NOTHING] = "nothing",
    [ACT_WAIT] = "wait",
    [ACT_BACK_OFF] = "back off",
    [ACT_ADD_FINALIZER] = "add finalizer",
    [ACT_REMOVE_FINALIZER] = "remove finalizer",
    [ACT_DELETE_OBJECT] = "delete object",
    [ACT_LATCH_CANCEL] = "latch cancel",
    [ACT_BEGIN] = "begin",
    [ACT_RETRY] = "retry",
    [ACT_PREFLIGHT] = "preflight",
    [ACT_SHUT_DOWN] = "shut down",
    [ACT_PLAN] = "plan",
    [ACT_TRANSFER] = "transfer",
    [ACT_STOP_MOVERS] = "stop movers",
    [ACT_CREATE] = "create",
    [ACT_POWER_ON] = "power on",
    [ACT_REMOVE_STAGED] = "remove staged",
    [ACT_SOURCE_AFTER] = "source after",
    [ACT_RESTORE_SOURCE] = "restore source",
    [ACT_UNDO] = "undo",
    [ACT_REPORT_LEFTOVERS] = "report leftovers",
    [ACT_ENTER] = "enter",
    [ACT_SUCCEED] = "succeed",
    [ACT_FAIL] = "fail",
    [ACT_FINISH] = "finish",
};

#define P(name)  (1u << PHASE_##name)
#define ANY      ((1u << PHASE_COUNT) - 1)
#define FINAL    (P(SUCCEEDED) | P(FAILED) | P(CANCELLED))
#define WORKING  (ANY & ~FINAL & ~P(CLEANING_UP))
#define MOVING   (P(TRANSFERRING) | P(VERIFYING))
#define SAME     PHASE_COUNT
#define SOON     1000
#define ON_EVENT (-1)

struct row {
  unsigned phases;
  uint64_t must, must_not;
  enum migration_action action;
  enum migration_phase next; // SAME = stay
  int64_t after_ms;
  const char *reason, *message;
};

#define F(name) FACT(name)

// clang-format off
static const struct row rows[] = {
    // Deleted: what has not succeeded is taken back; what has is left to the user.
    {ANY, F(DELETING), F(FINALIZER), ACT_NOTHING, SAME, ON_EVENT, NULL, NULL},
    {ANY, F(DELETING) | F(MOVERS), 0, ACT_STOP_MOVERS, SAME, 100, "Deleting", "stopping transfers"},
    {P(SUCCEEDED), F(DELETING), 0, ACT_REMOVE_FINALIZER, SAME, ON_EVENT, NULL, NULL},
    {ANY, F(DELETING) | F(ABANDON) | F(UNDO), 0, ACT_REPORT_LEFTOVERS, SAME, 0, "Abandoned", "what is left is reported and let go"},
    {ANY, F(DELETING) | F(UNDO) | F(HICCUP), 0, ACT_BACK_OFF, SAME, ON_EVENT, "CleanupBlocked", NULL},
    {ANY, F(DELETING) | F(UNDO) | F(ERROR), 0, ACT_BACK_OFF, SAME, ON_EVENT, "CleanupBlocked", NULL},
    {ANY, F(DELETING) | F(UNDO), 0, ACT_UNDO, SAME, 0, "Deleting", "taking back what was made"},
    {ANY, F(DELETING) | F(RESTORE) | F(HICCUP), F(ABANDON), ACT_BACK_OFF, SAME, ON_EVENT, "CleanupBlocked", NULL},
    {ANY, F(DELETING) | F(RESTORE), F(ABANDON) | F(ERROR), ACT_RESTORE_SOURCE, SAME, 0, "Deleting", "giving the source its power state back"},
    {ANY, F(DELETING), 0, ACT_REMOVE_FINALIZER, SAME, ON_EVENT, NULL, NULL},

    // Finished.
    {P(FAILED), F(RETRY_ASKED), F(CANCEL), ACT_RETRY, PHASE_PENDING, 0, "Retrying", "another try was asked for"},
    {FINAL, F(EXPIRED), 0, ACT_DELETE_OBJECT, SAME, ON_EVENT, NULL, NULL},
    {P(SUCCEEDED), F(SOURCE_AFTER) | F(HICCUP), 0, ACT_BACK_OFF, SAME, ON_EVENT, "CleanupBlocked", NULL},
    {P(SUCCEEDED), F(SOURCE_AFTER) | F(ERROR), 0, ACT_BACK_OFF, SAME, ON_EVENT, "CleanupBlocked", NULL},
    {P(SUCCEEDED), F(SOURCE_AFTER), 0, ACT_SOURCE_AFTER, SAME, 0, NULL, NULL},
    {FINAL, 0, 0, ACT_NOTHING, SAME, ON_EVENT, NULL, NULL},

    // Stop, for whatever reason: cancel before time-out before errors.
    {WORKING | P(CLEANING_UP), F(CANCEL_ASKED), F(CANCEL) | F(GOOD) | F(BAD), ACT_LATCH_CANCEL, PHASE_CLEANING_UP, 0, "Cancelling", "cancel was asked for"},
    {P(CLEANING_UP), F(CANCEL_ASKED) | F(BAD), F(CANCEL), ACT_LATCH_CANCEL, PHASE_CLEANING_UP, 0, "Cancelling", "cancel was asked for"},
    {WORKING, F(SUSPENDED) | F(MOVERS), 0, ACT_STOP_MOVERS, SAME, 100, "Suspended", "spec.suspend is set"},
    {WORKING, F(SUSPENDED), 0, ACT_WAIT, SAME, ON_EVENT, "Suspended", "spec.suspend is set"},
    {WORKING, F(LATE), 0, ACT_FAIL, PHASE_CLEANING_UP, 0, "DeadlineExceeded", "spec.timeout passed; raise it and ask for a retry"},
    {WORKING, F(ERROR), 0, ACT_FAIL, PHASE_CLEANING_UP, 0, NULL, NULL},
    {WORKING, F(HICCUP), F(TRIES_LEFT), ACT_FAIL, PHASE_CLEANING_UP, 0, NULL, NULL},
    {WORKING, F(HICCUP), 0, ACT_BACK_OFF, SAME, ON_EVENT, NULL, NULL},

    // The way to success.
    {P(PENDING), 0, F(FINALIZER), ACT_ADD_FINALIZER, SAME, 0, NULL, NULL},
    {P(PENDING), 0, 0, ACT_BEGIN, PHASE_QUEUED, 0, "Queued", "waiting for a free place"},
    {P(QUEUED), 0, F(SLOT), ACT_WAIT, SAME, SOON, "Queued", "waiting for a free place at the provider (limits.transfers)"},
    {P(QUEUED), 0, 0, ACT_ENTER, PHASE_PREFLIGHT, 0, "Preflight", "checking before anything is changed"},
    {P(PREFLIGHT), 0, F(CHECKED), ACT_PREFLIGHT, SAME, 0, "Preflight", "checking before anything is changed"},
    {P(PREFLIGHT), F(MADE_BEFORE), 0, ACT_SUCCEED, PHASE_CLEANING_UP, 0, "AlreadyMigrated", "the target already holds what this manifest made"},
    {P(PREFLIGHT), F(DRY_RUN), 0, ACT_SUCCEED, PHASE_CLEANING_UP, 0, "DryRun", "all checks passed; nothing was changed"},
    {P(PREFLIGHT), F(SOURCE_ON), 0, ACT_ENTER, PHASE_SHUTTING_DOWN, 0, "ShuttingDown", "the source is shutting down"},
    {P(PREFLIGHT), 0, 0, ACT_ENTER, PHASE_PREPARING, 0, "Preparing", "preparing the target"},
    {P(SHUTTING_DOWN), 0, F(SOURCE_ON), ACT_ENTER, PHASE_PREPARING, 0, "Preparing", "preparing the target"},
    {P(SHUTTING_DOWN), F(SHUTDOWN_LATE), 0, ACT_FAIL, PHASE_CLEANING_UP, 0, "ShutdownTimedOut", "the guest did not shut down within spec.shutdown.timeout; set spec.shutdown.policy: Force, or shut it down yourself and ask for a retry"},
    {P(SHUTTING_DOWN), 0, F(SHUTDOWN_ASKED), ACT_SHUT_DOWN, SAME, 500, "ShuttingDown", "the source is shutting down"},
    {P(SHUTTING_DOWN), 0, 0, ACT_WAIT, SAME, 500, "ShuttingDown", "the source is shutting down"},
    {P(PREPARING), 0, F(PLANNED), ACT_PLAN, SAME, 0, "Preparing", "preparing the target"},
    {P(PREPARING), 0, 0, ACT_ENTER, PHASE_TRANSFERRING, 0, "Transferring", "moving disks"},
    {MOVING, F(DISKS_DONE), 0, ACT_ENTER, PHASE_CREATING, 0, "Creating", "all disks are there; creating the target"},
    {MOVING, F(DISKS_READY), 0, ACT_TRANSFER, SAME, 0, "Transferring", "moving disks"},
    {P(TRANSFERRING), F(DISKS_VERIFYING), 0, ACT_ENTER, PHASE_VERIFYING, SOON, "Verifying", "reading back what was written"},
    {MOVING, 0, 0, ACT_WAIT, SAME, SOON, NULL, NULL},
    {P(CREATING), 0, F(CREATED), ACT_CREATE, SAME, 0, "Creating", "all disks are there; creating the target"},
    {P(CREATING), 0, 0, ACT_ENTER, PHASE_STARTING, 0, "Starting", "starting the target"},
    {P(STARTING), F(POWER_WANTED), F(POWERED), ACT_POWER_ON, SAME, 500, "Starting", "starting the target"},
    {P(STARTING), F(POWER_WANTED) | F(READY_LATE), F(READY), ACT_FAIL, PHASE_CLEANING_UP, 0, "NotReady", "the target was not ready within readiness.timeout"},
    {P(STARTING), F(POWER_WANTED), F(READY), ACT_WAIT, SAME, 500, "Starting", "waiting until the target is ready"},
    {P(STARTING), 0, 0, ACT_SUCCEED, PHASE_CLEANING_UP, 0, "Completed", "all that was asked for is done"},

    // Afterwards. Nothing here gives up: what cannot be removed now is tried again, and named.
    {P(CLEANING_UP), F(MOVERS), 0, ACT_STOP_MOVERS, SAME, 100, NULL, NULL},
    {P(CLEANING_UP), F(GOOD) | F(STAGED) | F(ABANDON), 0, ACT_REPORT_LEFTOVERS, SAME, 0, NULL, NULL},
    {P(CLEANING_UP), F(UNDO) | F(ABANDON), F(GOOD), ACT_REPORT_LEFTOVERS, SAME, 0, NULL, NULL},
    {P(CLEANING_UP), F(HICCUP), 0, ACT_BACK_OFF, SAME, ON_EVENT, "CleanupBlocked", NULL},
    {P(CLEANING_UP), F(ERROR), 0, ACT_BACK_OFF, SAME, ON_EVENT, "CleanupBlocked", NULL},
    {P(CLEANING_UP), F(GOOD) | F(STAGED), 0, ACT_REMOVE_STAGED, SAME, 0, NULL, NULL},
    {P(CLEANING_UP), F(GOOD) | F(SOURCE_AFTER), 0, ACT_SOURCE_AFTER, SAME, 0, NULL, NULL},
    {P(CLEANING_UP), F(GOOD), 0, ACT_FINISH, PHASE_SUCCEEDED, ON_EVENT, NULL, NULL},
    {P(CLEANING_UP), F(UNDO), 0, ACT_UNDO, SAME, 0, NULL, NULL},
    {P(CLEANING_UP), F(RESTORE), 0, ACT_RESTORE_SOURCE, SAME, 0, NULL, NULL},
    {P(CLEANING_UP), F(STOPPED), 0, ACT_FINISH, PHASE_CANCELLED, ON_EVENT, NULL, NULL},
    {P(CLEANING_UP), 0, 0, ACT_FINISH, PHASE_FAILED, ON_EVENT, NULL, NULL},
};
// clang-format on

struct migration_step migration_next(enum migration_phase phase, uint64_t facts)
{
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
    const struct row *r = &rows[i];
    if (!(r->phases & 1u << phase) || (facts & r->must) != r->must || facts & r->must_not)
      continue;
    return (struct migration_step){r->action, r->next == SAME ? phase : r->next, r->reason,
                                   r->message, r->after_ms};
  }
  return (struct migration_step){ACT_NOTHING, phase, NULL, NULL, ON_EVENT};
}

bool migration_phase_final(enum migration_phase phase)
{
  return (FINAL & 1u << phase) != 0;
}

int64_t backoff_ms(int64_t initial_ms, int64_t max_ms, int64_t tries, uint64_t jitter)
{
  int64_t delay = initial_ms < 1 ? 1 : initial_ms;
  for (int64_t i = 1; i < tries && delay < max_ms; i++)
    delay *= 2;
  if (delay > max_ms)
    delay = max_ms;
  return delay - (int64_t)(jitter % (uint64_t)(delay / 4 + 1));
}
