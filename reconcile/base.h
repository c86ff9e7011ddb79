// SPDX-License-Identifier: Apache-2.0
// What a CloneBase needs next: from facts alone, as clone.h.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define BASE_FACTS(X)                                                                              \
  X(DELETING)                                                                                      \
  X(FINALIZER)                                                                                     \
  X(ABANDON)                                                                                       \
  X(RETAIN) /* what was there before stays, or the policy says so */                               \
  X(SUSPENDED)                                                                                     \
  X(ERROR)                                                                                         \
  X(HICCUP)                                                                                        \
  X(DEPENDENTS) /* Clones or CloneSets name it */                                                  \
  X(CHECKED)                                                                                       \
  X(NEEDS_DISKS) /* its disks come by a VMMigration */                                             \
  X(DISKS_ASKED) /* which is there */                                                              \
  X(DISKS_DONE)  /* and has succeeded */                                                           \
  X(DISKS_BAD)   /* or failed for good */                                                          \
  X(PLANNED)                                                                                       \
  X(MADE) /* registered, and was so before */                                                      \
  X(SEEN) /* the platform answered */                                                              \
  X(EXISTS)                                                                                        \
  X(MODIFIED) /* its content is not what it was registered with */                                 \
  X(RUNNING)  /* somebody started it */

enum base_fact_bit {
#define BASE_BIT_(name) BASE_BIT_##name,
  BASE_FACTS(BASE_BIT_)
#undef BASE_BIT_
};
#define BASE_FACT(name) (UINT64_C(1) << BASE_BIT_##name)

enum base_action {
  BASE_ACT_NOTHING,
  BASE_ACT_WAIT,
  BASE_ACT_BACK_OFF,
  BASE_ACT_FAIL,
  BASE_ACT_ADD_FINALIZER,
  BASE_ACT_REMOVE_FINALIZER,
  BASE_ACT_CHECK,
  BASE_ACT_ASK_DISKS, // make the VMMigration
  BASE_ACT_PLAN,
  BASE_ACT_MAKE,
  BASE_ACT_REMOVE,
  BASE_ACT_LET_GO,
  BASE_ACT_COUNT
};
extern const char *const base_action_names[];

enum base_phase {
  BASE_PENDING,
  BASE_COPYING,
  BASE_REGISTERING,
  BASE_READY,
  BASE_FAILED,
  BASE_DELETING,
  BASE_PHASE_COUNT
};
extern const char *const base_phase_names[];

struct base_step {
  enum base_action action;
  enum base_phase phase;
  bool ready;
  const char *reason, *message;
  int64_t after_ms;
};

struct base_step base_next(uint64_t facts);
