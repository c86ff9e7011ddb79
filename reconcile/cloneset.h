// SPDX-License-Identifier: Apache-2.0
// Which clones a CloneSet makes and which it deletes next: from what it wants and what is there,
// nothing else. Called again after every change, it ends with exactly `replicas` updated clones,
// never with fewer available ones than replicas - maxUnavailable because of a roll-out, and never
// with more than replicas + maxSurge.
//
// Broken clones go before good ones, whatever the policy. Clones that are being deleted count as
// there (their name is taken) until they are gone. What is not known (a clone whose platform does
// not answer) is neither available nor a reason to delete it: of clones that are not available, a
// roll-out replaces only so many at a time as may be unavailable. Whether others can be made in the
// place of what is replaced is not known here: a caller that is not sure leaves those deletes out.
//
// A lost clone comes back under its own ordinal, the lowest that is free below `replicas`. Surge
// clones have the lowest free ones at or above it. With scaleDown HighestOrdinal and a surge, a set
// ends as 0 to replicas - 1: what stands at or above is replaced by what is missing below. Without
// surge, or with another policy, the gaps that a scale-down left stay.
//
// Adopted clones count as replicas, are the last to go, and are replaced by a roll-out like any
// other: a caller that wants them left alone says `updated` of them. Raising `partition` takes
// nothing back; changing the base back does. Pure, no clock; any thread.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum set_scale_down { SET_HIGHEST_ORDINAL, SET_NEWEST, SET_OLDEST, SET_NOT_READY_FIRST };

struct set_clone {
  int64_t ordinal; // -1: adopted, its name is not ours
  bool updated;    // of the newest revision
  bool ready, deleting, failed;
  bool delete_first;  // annotation
  int64_t ready_ms;   // since when, wall clock; 0 = not
  int64_t created_ms; // wall clock
};

struct set_wish {
  int64_t replicas, partition;
  int64_t max_unavailable, max_surge; // numbers by now (set_amount)
  bool on_delete;                     // update type
  enum set_scale_down scale_down;
  int64_t min_ready_ms;
  int64_t now_ms; // wall clock
};

struct set_plan {
  int64_t *creates; // ordinals, ascending
  bool *create_old; // of each: of the former revision (below partition)
  size_t create_count;
  size_t *deletes; // indexes into clones: what is too many, then what is replaced
  size_t delete_count;
  size_t replaced_count; // of them, the last ones: others must come in their place
  int64_t replicas, ready, available, updated, updated_available;
  int64_t look_again_ms; // when a clone becomes available by time alone; -1 = never
  bool complete;         // as wished: all there, none stale, all available; nothing to do
};

// At most `burst` creates and deletes each in one plan; *ret is the caller's to release, counts are
// of what is there before the plan, without what is being deleted. Returns -1 without memory.
int set_plan(const struct set_wish *wish, const struct set_clone *clones, size_t count,
             size_t burst, struct set_plan *ret);
void set_plan_release(struct set_plan *p);

// "3" or "25%" of replicas, percent rounded up (surge) or down (unavailable). -1: neither form, or
// out of range (over 100%, over 2^31 - 1). maxUnavailable 0 with maxSurge 0 cannot roll: the caller
// makes it 1.
int64_t set_amount(const char *text, int64_t replicas, bool round_up);

// Name of a clone from "{set}-{ordinal}": in ret, NUL-terminated. False when it does not fit,
// {ordinal} is missing, or there are other braces.
bool set_clone_name(const char *name_template, const char *set, int64_t ordinal, char ret[254]);
