// SPDX-License-Identifier: Apache-2.0
// What a VMMigration does next. Pure: a set of facts in, one step out; no I/O, no clock, no
// allocation. The whole life of a migration is one aligned table in migration.c, read from the top,
// first row that fits. The runner (controller/migration_run.c) observes the facts, carries the step
// out, writes status, and asks again.
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum migration_phase {
  PHASE_PENDING,
  PHASE_QUEUED,
  PHASE_PREFLIGHT,
  PHASE_SHUTTING_DOWN,
  PHASE_PREPARING,
  PHASE_TRANSFERRING,
  PHASE_VERIFYING,
  PHASE_CREATING,
  PHASE_STARTING,
  PHASE_CLEANING_UP,
  PHASE_SUCCEEDED,
  PHASE_FAILED,
  PHASE_CANCELLED,
  PHASE_COUNT
};

extern const char *const migration_phase_names[]; // "Pending", ..., NULL: the words of status.phase

// Facts are bits; what is not known is not set.
#define MIGRATION_FACTS(X)                                                                         \
  X(DELETING)        /* the object has a deletion time */                                          \
  X(FINALIZER)       /* ours is on it */                                                           \
  X(ABANDON)         /* annotation: let go of what cannot be reached */                            \
  X(MOVERS)          /* movers of this object run */                                               \
  X(UNDO)            /* the ledger lists things that this outcome takes back */                    \
  X(RESTORE)         /* the source ran before, and gets its power back in this outcome */          \
  X(SUSPENDED)       /* spec.suspend */                                                            \
  X(CANCEL)          /* asked for and latched */                                                   \
  X(CANCEL_ASKED)    /* spec.cancel, not latched yet */                                            \
  X(RETRY_ASKED)     /* a new value of the retry annotation */                                     \
  X(EXPIRED)         /* ttlSecondsAfterFinished is over */                                         \
  X(LATE)            /* spec.timeout is over */                                                    \
  X(ERROR)           /* the last action failed for good */                                         \
  X(HICCUP)          /* the last action failed, trying again may help */                           \
  X(TRIES_LEFT)      /* retry.limit not reached */                                                 \
  X(SLOT)            /* the providers' limits leave room */                                        \
  X(CHECKED)         /* preflight has passed */                                                    \
  X(DRY_RUN)         /* spec.dryRun */                                                             \
  X(MADE_BEFORE)     /* the target bears the mark of this very manifest */                         \
  X(SOURCE_ON)       /* the source is a VM and runs */                                             \
  X(SHUTDOWN_ASKED)  /* it was told to stop */                                                     \
  X(SHUTDOWN_LATE)   /* and did not in time */                                                     \
  X(PLANNED)         /* the ledger holds every disk */                                             \
  X(DISKS_DONE)      /* all bytes are there and verified */                                        \
  X(DISKS_READY)     /* a disk can be started or taken a step on */                                \
  X(DISKS_VERIFYING) /* all that still run are reading back */                                     \
  X(CREATED)         /* the VM is defined, or vm.json written */                                   \
  X(POWER_WANTED)    /* the target shall run */                                                    \
  X(POWERED)         /* it does */                                                                 \
  X(READY)           /* and is ready as readiness says */                                          \
  X(READY_LATE)      /* or was not in time */                                                      \
  X(STAGED)          /* staged objects are left that `retain` gives up */                          \
  X(SOURCE_AFTER)    /* sourceAfter is still to be done */                                         \
  X(GOOD)            /* outcome: succeeded */                                                      \
  X(BAD)             /* outcome: failed */                                                         \
  X(STOPPED)         /* outcome: cancelled */

enum migration_fact_bit {
#define MIGRATION_BIT_(name) MIGRATION_BIT_##name,
  MIGRATION_FACTS(MIGRATION_BIT_)
#undef MIGRATION_BIT_
};
#define FACT(name) (UINT64_C(1) << MIGRATION_BIT_##name)

enum migration_action {
  ACT_NOTHING,
  ACT_WAIT, // look again after a moment
  ACT_BACK_OFF,
  ACT_ADD_FINALIZER,
  ACT_REMOVE_FINALIZER,
  ACT_DELETE_OBJECT,
  ACT_LATCH_CANCEL,
  ACT_BEGIN,
  ACT_RETRY,
  ACT_PREFLIGHT,
  ACT_SHUT_DOWN,
  ACT_PLAN,
  ACT_TRANSFER,
  ACT_STOP_MOVERS,
  ACT_CREATE,
  ACT_POWER_ON,
  ACT_REMOVE_STAGED,
  ACT_SOURCE_AFTER,
  ACT_RESTORE_SOURCE,
  ACT_UNDO,
  ACT_REPORT_LEFTOVERS,
  ACT_ENTER,   // only the phase changes
  ACT_SUCCEED, // outcome good: clean up, then finish
  ACT_FAIL,    // outcome bad
  ACT_FINISH,  // into the final phase of the outcome
  ACT_COUNT
};

extern const char *const migration_action_names[];

struct migration_step {
  enum migration_action action;
  enum migration_phase phase; // the phase after the action succeeded
  const char *reason;         // for the condition Progressing; NULL: keep
  const char *message;        // for people; NULL: keep
  int64_t after_ms;           // look again; -1: when something changes
};

struct migration_step migration_next(enum migration_phase phase, uint64_t facts);
bool migration_phase_final(enum migration_phase phase);

// Milliseconds to wait before try number `tries` (1, 2, ...): doubling from initial, at most max.
// jitter: any number, from which up to a quarter is taken off, so that many do not come back at
// once.
int64_t backoff_ms(int64_t initial_ms, int64_t max_ms, int64_t tries, uint64_t jitter);
