// SPDX-License-Identifier: Apache-2.0
// What the runners of CloneBase, Clone and CloneSet share: one step of one object that is kept as
// it shall be for as long as it lives. A struct keeping lives for one step. Its kind says where in
// its status things are; status is changed in memory, and written by keeping_save() when it
// differs from what was read.
#pragma once

#include "controller/access.h"
#include "crds/common.h"
#include "crds/vmmigration.h"

struct keeping {
  struct manager *m;
  struct object_key key;
  struct object *o, *before;
  int64_t now_ms;  // wall clock
  char owner[640]; // mark
  struct err err;  // of the last action; kind ERR_NONE: it worked
  // Where its kind keeps them; NULL = it has no such thing.
  struct list *conditions, *owned, *preflight;
  int64_t *observed_generation, *retries;
  char **phase, **next_try_time;
  struct provider_access access; // released at the end
};

// Whether an owner mark names this object, of whatever installation: that is not known to everybody
// who may read the object, and its uid tells enough.
bool keeping_mark_is_of(const char *mark, const struct object *o);

// ERR_NOT_FOUND: it is gone. On errors nothing needs to be released.
int keeping_init(struct keeping *k, struct manager *m, const struct object_key *key,
                 struct err *err);
// Of an object that is in no store, to ask what would be: nothing can be saved. Takes the object.
void keeping_init_unsaved(struct keeping *k, struct manager *m, struct object *o);
void keeping_release(struct keeping *k);
// Writes status when it changed. Returns when to look again: after_ms, or earlier when the store
// did not take it.
int64_t keeping_save(struct keeping *k, int64_t after_ms);
// Writes status before what it tells of is done: it is known after a power cut, too. False: nothing
// may be done now, *ret_after_ms says when to come again.
bool keeping_note(struct keeping *k, int64_t *ret_after_ms);

// Phase and the conditions Ready, Reconciling, Stalled; an Event when Ready or its reason changes.
void keeping_say(struct keeping *k, const char *phase, bool ready, bool stalled, const char *reason,
                 const char *message);
// Sets *next_try_time by the number of tries and forgets the error. Returns its milliseconds.
int64_t keeping_back_off(struct keeping *k);
int64_t keeping_backing_off_ms(const struct keeping *k); // until then; 0 = now
// After a final failure: what was final may not be for ever (space, permissions, a Secret), and is
// tried again after a while, or at once by the next process. Until then nothing is done, whatever
// event comes: our own status is one. Returns its milliseconds.
int64_t keeping_pause(struct keeping *k);
// Said already of this generation; a check that is made again does not unsay it.
bool keeping_is_stalled(const struct keeping *k);
// A new generation begins anew.
void keeping_begin(struct keeping *k);
void keeping_worked(struct keeping *k); // tries begin at one again

struct owned_status *keeping_own(struct keeping *k, const struct owned *o, const char *role);
struct owned_status *keeping_owned(const struct keeping *k, const char *kind); // NULL = none
void keeping_disown(struct keeping *k, const struct owned_status *o);
struct owned keeping_owned_view(const struct owned_status *o); // texts are o's

// Findings into status.preflight. False when an error is among them: *err says the first.
bool keeping_take_findings(struct keeping *k, const struct findings *f, struct err *err);
// Facts that every kind has: of deletion, finalizer, abandon, error, hiccup. The bits are given.
struct keeping_bits {
  uint64_t deleting, finalizer, abandon, error, hiccup;
};
uint64_t keeping_observe(const struct keeping *k, const struct keeping_bits *bits);
// Queues another object, that should look again.
void keeping_nudge(struct keeping *k, enum object_kind kind, const char *ns, const char *name,
                   int64_t delay_ms);
// "NAME-UIDHEAD" as platforms take it: letters, digits and dashes, at most 63.
char *keeping_far_name(const struct object *o);
// First digits of the SHA-256 of text, `digits` of them (at most 64), NUL-terminated.
void keeping_hash(const char *text, size_t digits, char *ret);
