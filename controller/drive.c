// SPDX-License-Identifier: Apache-2.0
#include "controller/drive.h"

#include <signal.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/loop.h"
#include "base/str.h"
#include "controller/controller_internal.h"
#include "controller/manager.h"

#define TICK_MS      100
#define SOON_MS      5  // between two ticks, however much changes
#define LAST_POLL_MS 10 // when all is done but a first look at a store
#define LAST_WAIT_MS 10000

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};

struct driver {
  const struct drive *d;
  struct loop *loop;
  struct loop_timer *timer;
  struct manager *manager;
  bool hurried; // the next tick comes soon
  bool over;    // what was asked for is done
  int64_t ticked_ms, over_ms;
  bool done, interrupted;
};

// What a process that was killed left in a store is taken away by the next probe: one that ends
// sooner than it has looked waits for it, but not long for a store that does not answer.
static bool may_end(const struct driver *r)
{
  return imagestores_probed(r->manager) || clock_ms() - r->over_ms > LAST_WAIT_MS;
}

static void on_tick(void *arg)
{
  struct driver *r = arg;
  if (!r->over && r->d->tick(r->d->arg)) {
    r->over = true;
    r->over_ms = clock_ms();
  }
  r->hurried = false;
  r->ticked_ms = clock_ms();
  r->done = r->over && may_end(r);
  if (r->done)
    loop_stop(r->loop);
  else
    loop_timer_start(r->timer, r->over ? LAST_POLL_MS : TICK_MS);
}

// The end is seen when it comes, not at the next turn of a clock.
static void on_change(void *arg, const struct object_key *key)
{
  struct driver *r = arg;
  if (!r->d->changed(r->d->arg, key) || r->hurried || r->over)
    return;
  int64_t left_ms = r->ticked_ms + SOON_MS - clock_ms();
  r->hurried = true;
  loop_timer_start(r->timer, left_ms > 0 ? left_ms : 0);
}

static void on_signal(void *arg)
{
  struct driver *r = arg;
  if (r->interrupted)
    return;
  r->interrupted = true;
  // The next one is not for the loop, which has ended by then.
  for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
    signal(signals[i], SIG_DFL);
  if (r->d->stopping)
    r->d->stopping(r->d->arg);
  loop_stop(r->loop);
}

static int set_up(struct driver *r, const char *program, struct err *err)
{
  cleanup_free char *checkpoints = str_printf("%s.checkpoints", r->d->state);
  struct manager_options options = {.program = program, .checkpoints = checkpoints};
  if (!checkpoints)
    return err_set(err, ERR_NO_MEMORY, "no memory for a path");
  r->timer = loop_timer_new(r->loop, on_tick, r);
  if (!r->timer)
    return err_set(err, ERR_NO_MEMORY, "no memory for a timer");
  r->manager = manager_new(r->d->store, r->loop, &options, err);
  if (!r->manager)
    return -1;
  for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
    if (loop_on_signal(r->loop, signals[i], on_signal, r) != 0)
      return err_set(err, ERR_INTERNAL, "signals cannot be caught");
  manager_on_change(r->manager, on_change, r);
  return manager_start(r->manager, err);
}

enum drive_end drive(const struct drive *d, struct err *err)
{
  struct driver r = {.d = d, .loop = loop_new()};
  char program[4096];
  ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
  program[n > 0 ? n : 0] = '\0';
  int rc = r.loop ? set_up(&r, program, err) : err_set(err, ERR_NO_MEMORY, "no event loop");
  if (rc == 0) {
    loop_timer_start(r.timer, 0);
    loop_run(r.loop);
  }
  manager_free(r.manager);
  loop_timer_free(r.timer);
  if (r.loop)
    loop_free(r.loop);
  if (rc != 0)
    return DRIVE_FAILED;
  if (r.done)
    return DRIVE_DONE;
  if (r.interrupted)
    return DRIVE_INTERRUPTED;
  err_set(err, ERR_IO, "the state file cannot be worked on any longer");
  return DRIVE_FAILED;
}
