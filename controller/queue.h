// SPDX-License-Identifier: Apache-2.0
// The work queue: keys, each at most once, at most one step of a key at a time. A key added while
// its step runs is stepped again afterwards; added with a delay it comes up when the earliest delay
// is over. Workers are threads of the queue's own; a step is straight-line blocking code, and
// short.
//
// The step function returns when to look again: milliseconds, 0 = at once, -1 = when somebody adds
// it.
#pragma once

#include <stdint.h>

#include "controller/object_store.h"

struct queue;
typedef int64_t (*queue_step_fn)(void *arg, const struct object_key *key);

struct queue *queue_new(size_t workers, queue_step_fn step, void *arg);
// Waits for running steps; what still waits is forgotten (its state is in the objects). NULL
// allowed.
void queue_free(struct queue *q);
void queue_add(struct queue *q, const struct object_key *key, int64_t delay_ms); // any thread
// While it is held keys gather and no step begins.
void queue_hold(struct queue *q, bool held);
// Keys that wait or run now; for metrics and for `drover run` to know that nothing is left to do.
size_t queue_depth(struct queue *q);
bool object_key_eq(const struct object_key *a, const struct object_key *b);
