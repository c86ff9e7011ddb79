// SPDX-License-Identifier: Apache-2.0
// A fixed number of threads that take jobs from one queue, in order. For straight-line blocking
// code; what a job finds out goes back to the loop by loop_post(). (libuv's own pool is not used:
// four long jobs there hold up its DNS and file calls for seconds.)
//
// Threads live as long as the pool, which matters to children started with a parent-death signal.
#pragma once

#include <stddef.h>

struct workers;
typedef void (*worker_fn)(void *arg);

struct workers *workers_new(size_t threads, const char *name); // name: at most 11 characters
// Finishes every job that was put in, then ends the threads. NULL allowed.
void workers_free(struct workers *w);
void workers_put(struct workers *w, worker_fn fn, void *arg); // from any thread
