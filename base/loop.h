// SPDX-License-Identifier: Apache-2.0
// The event loop: a thin wrapper over libuv with timers, descriptors and a mailbox. One thread runs
// it; every function but loop_post() and loop_stop() is for that thread alone (asserted in debug
// builds). Callbacks run from loop_run(), never inside the call that started them.
//
// A timer or a watch is freed with its own _free function; its callback never runs after that.
// loop_free() aborts when a handle was forgotten: tests find every one that way.
//
// The mailbox: loop_post(loop, fn, arg) from any thread runs fn(arg) on the loop. Posts are run in
// order, each exactly once, also those posted before loop_run() started; what is still waiting when
// the loop ends is run by loop_free(), so that an arg is never lost.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct loop;
struct loop_timer;
struct loop_watch;
typedef void (*loop_fn)(void *arg);
typedef void (*loop_watch_fn)(void *arg, int events);

enum { LOOP_READABLE = 1, LOOP_WRITABLE = 2 };

struct loop *loop_new(void); // NULL: no memory or descriptors
void loop_free(struct loop *loop);
void loop_run(struct loop *loop);  // returns after loop_stop()
void loop_stop(struct loop *loop); // from any thread or a signal callback
void loop_post(struct loop *loop, loop_fn fn, void *arg);
// Runs what was posted so far, without waiting: for taking things down on the loop's thread while
// the loop does not run.
void loop_run_posted(struct loop *loop);
bool loop_is_current(const struct loop *loop); // true on the thread inside loop_run()

struct loop_timer *loop_timer_new(struct loop *loop, loop_fn fn, void *arg);
void loop_timer_free(struct loop_timer *timer); // NULL allowed
// Fires once after delay_ms, replacing what was set before.
void loop_timer_start(struct loop_timer *timer, int64_t delay_ms);
void loop_timer_stop(struct loop_timer *timer);

// Watches a descriptor that stays owned by the caller and must outlive the watch.
struct loop_watch *loop_watch_new(struct loop *loop, int fd, loop_watch_fn fn, void *arg);
void loop_watch_free(struct loop_watch *watch); // NULL allowed
int loop_watch_set(struct loop_watch *watch,
                   int events); // LOOP_READABLE | LOOP_WRITABLE, 0 = pause

// fn runs on the loop for each delivery of the signal; the registration lives as long as the loop.
int loop_on_signal(struct loop *loop, int signal_number, loop_fn fn, void *arg);
