// SPDX-License-Identifier: Apache-2.0
// Objects that a command follows to their end (`drover run`, `watch`): which have ended, and how.
// Everything in the state is worked on and shown; only what was named is waited for and counted.
#pragma once

#include "controller/progress_view.h"

struct followed { // one that was named
  struct object_key key;
  bool ended, good, gone;
};

struct following {
  struct object_store *store;
  struct progress_view *view; // freed with it
  bool stay;
  bool far;                      // in a cluster: why an object cannot be read is told
  struct list items;             // of struct followed
  struct list dirty;             // of struct object_key: changed since the last look
  char trouble[ERR_MESSAGE_MAX]; // of the state file, as told last
  char unread[ERR_MESSAGE_MAX];  // why an object could not be read, as told last
};

void following_release(struct following *r);
int following_add(struct following *r, const struct object_key *key, struct err *err);
// Asks those that have failed for another try.
int following_retry(struct following *r, struct err *err);
void following_changed(struct following *r, const struct object_key *key);
// Is the end of this one waited for?
bool following_counts(const struct following *r, const struct object_key *key);
// Reads and shows what has changed.
void following_look(struct following *r, int64_t now_ms, int64_t now_wall_ms);
// Every named migration has ended or is gone; without any, every named object has a verdict.
bool following_is_over(const struct following *r);
// The last words; the exit status.
int following_summary(struct following *r, int64_t now_wall_ms);
// What the retry annotation is set to: another value each time.
int ask_for_retry(struct object_store *s, const struct object_key *key, struct err *err);
