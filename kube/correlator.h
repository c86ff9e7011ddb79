// SPDX-License-Identifier: Apache-2.0
// Keeps Events from flooding a cluster, with the rules of client-go's EventCorrelator:
//
//   spam       of one object: 25 at once, then one every 300 s; the rest is dropped
//   similar    more than 10 different messages of one object, type and reason within 10 minutes
//              become one Event "(combined from similar events): ..."
//   repeated   the same again is not a new Event: the count of the old one goes up
//
// Pure bookkeeping on times that the caller gives; at most CORRELATOR_MAX things of each sort are
// remembered, the least recently used are forgotten. For one thread.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define CORRELATOR_MAX         4096
#define CORRELATOR_BURST       25
#define CORRELATOR_REFILL_MS   300000
#define CORRELATOR_SIMILAR     10
#define CORRELATOR_SIMILAR_MS  600000
#define CORRELATOR_MESSAGE_MAX 1024 // what the API takes

struct correlator;

enum correlated_action { CORRELATED_DROP, CORRELATED_CREATE, CORRELATED_UPDATE };

struct correlated {
  enum correlated_action action;
  char message[CORRELATOR_MESSAGE_MAX + 1]; // the one to write
  int64_t count;
  int64_t first_wall_ms;
  char event_name[254]; // UPDATE: which Event
  char key[64];         // for correlator_written() and correlator_forget()
};

struct correlator *correlator_new(void);
void correlator_free(struct correlator *c); // NULL allowed
// object: identifies the object with its uid. now_ms is monotonic.
void correlator_judge(struct correlator *c, const char *object, const char *type,
                      const char *reason, const char *message, int64_t now_ms, int64_t now_wall_ms,
                      struct correlated *ret);
// The Event was created under this name.
void correlator_written(struct correlator *c, const char *key, const char *event_name);
// Nothing was written: the next one is a new Event.
void correlator_forget(struct correlator *c, const char *key);
