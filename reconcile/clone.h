// SPDX-License-Identifier: Apache-2.0
// What a Clone needs next, and what its phase is: from facts alone. Level-triggered: there is no
// phase that must be left in order; the same facts give the same step after any crash.
#pragma once

#include <stdbool.h>
#include <stdint.h>

// Facts are bits; what is not known is not set.
#define CLONE_FACTS(X)                                                                             \
  X(DELETING)                                                                                      \
  X(FINALIZER)                                                                                     \
  X(ABANDON) /* annotation: let go of what cannot be reached */                                    \
  X(RETAIN)  /* deletionPolicy: the machine stays */                                               \
  X(SUSPENDED)                                                                                     \
  X(ERROR)      /* the last action failed for good; deletion is a new beginning without it */      \
  X(HICCUP)     /* the last action failed, trying again may help */                                \
  X(DEPENDENTS) /* other clones were made of this one and are there still */                       \
  X(BASE_READY) /* the base, or the machine it is made of, can be cloned from */                   \
  X(CHECKED)    /* preflight has passed */                                                         \
  X(PLANNED)    /* the ledger names the machine */                                                 \
  X(SEEN)       /* the platform answered about it: the next facts are known */                     \
  X(EXISTS)                                                                                        \
  X(OURS) /* it bears our mark, or spec.adopt names it */                                          \
  X(MADE) /* it is complete, and was so before */                                                  \
  X(ON)                                                                                            \
  X(WANT_ON)                                                                                       \
  X(READY)      /* as readiness says */                                                            \
  X(READY_LATE) /* readiness.timeout passed */                                                     \
  X(POST_START) /* postStart is still to be run */                                                 \
  X(STOP_ASKED) /* it was told to stop, and was neither off nor wished on since */                 \
  X(STOP_LATE)  /* and did not in time */

enum clone_fact_bit {
#define CLONE_BIT_(name) CLONE_BIT_##name,
  CLONE_FACTS(CLONE_BIT_)
#undef CLONE_BIT_
};
#define CLONE_FACT(name) (UINT64_C(1) << CLONE_BIT_##name)

enum clone_action {
  CLONE_ACT_NOTHING,
  CLONE_ACT_WAIT,
  CLONE_ACT_BACK_OFF,
  CLONE_ACT_FAIL, // say so; nothing is tried until the object changes
  CLONE_ACT_ADD_FINALIZER,
  CLONE_ACT_REMOVE_FINALIZER,
  CLONE_ACT_CHECK,
  CLONE_ACT_PLAN,
  CLONE_ACT_MAKE, // or see how far it is
  CLONE_ACT_START,
  CLONE_ACT_STOP, // the guest is asked
  CLONE_ACT_FORCE_OFF,
  CLONE_ACT_POST_START,
  CLONE_ACT_REMOVE, // the machine: begins it, or sees whether it is gone
  CLONE_ACT_LET_GO, // report what is left, forget it
  CLONE_ACT_COUNT
};
extern const char *const clone_action_names[];

enum clone_phase {
  CLONE_PENDING,
  CLONE_CREATING,
  CLONE_STARTING,
  CLONE_RUNNING,
  CLONE_STOPPING,
  CLONE_STOPPED,
  CLONE_DELETING,
  CLONE_FAILED,
  CLONE_PHASE_COUNT
};
extern const char *const clone_phase_names[]; // the words of status.phase, NULL at the end

struct clone_step {
  enum clone_action action;
  enum clone_phase phase;
  bool ready;                   // condition Ready
  const char *reason, *message; // of it; NULL: the error's
  // Look again: 0 = at once, -1: when something changes. For what an action began; where it is seen
  // to be done already (MAKE, START, REMOVE), nobody needs to wait.
  int64_t after_ms;
};

struct clone_step clone_next(uint64_t facts);
