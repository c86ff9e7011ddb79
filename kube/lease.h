// SPDX-License-Identifier: Apache-2.0
// Leader election by a coordination.k8s.io/v1 Lease: of all processes that stand for the same
// lease, at most one leads, and a successor leads within 15 seconds of its death.
//
// The holder renews every LEASE_RETRY_MS. It stops leading by itself when it could not renew for
// LEASE_RENEW_DEADLINE_MS, counted from the moment the last successful request was *sent*; others
// take over LEASE_DURATION_MS after they last *saw* the record change. Both are measured on each
// one's own monotonic clock, so that wall clocks may differ as they like; the gap between the two
// is what is left for requests under way. A request of a former leader that is already on the wire
// is stopped by its resourceVersion alone.
//
// Life: lease_start() begins to stand; `leading` comes on the loop once, later perhaps `lost`,
// after which the process should end (nothing is tried again). lease_stop() gives the lease back,
// so that a successor need not wait; call it before kube_interrupt(). It blocks for some seconds at
// most. Threads: one of its own; start and stop are for the loop, lease_is_held() for all.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "kube/client.h"

#define LEASE_DURATION_MS       10000
#define LEASE_RENEW_DEADLINE_MS 7000
#define LEASE_RETRY_MS          2000

struct lease;

struct lease_settings {
  const char *ns, *name;
  const char *identity; // unique to this process: lease_identity()
  // Tests set these; 0 = as above. Duration in whole seconds.
  int64_t duration_ms, renew_deadline_ms, retry_ms;
};

struct lease_callbacks {
  void (*leading)(void *arg);
  void (*lost)(void *arg, const struct err *err);
  // A request failed and will be repeated. May be NULL.
  void (*trouble)(void *arg, const struct err *err);
  void *arg;
};

struct lease *lease_start(struct kube *k, struct loop *loop, const struct lease_settings *settings,
                          const struct lease_callbacks *callbacks, struct err *err);
void lease_stop(struct lease *l); // no callback afterwards; NULL allowed
// True while nobody else can hold it. Ask before an action that must not happen twice.
bool lease_is_held(struct lease *l);
// "HOST_RANDOM"; returns b.
char *lease_identity(char b[128]);
