// SPDX-License-Identifier: Apache-2.0
// Events about objects, as `kubectl describe` shows them (core/v1, which events.k8s.io/v1 serves
// too): best effort, correlated (kube/correlator.h), sent by one thread of its own. event_send()
// only copies into a queue of EVENT_QUEUE_MAX and never blocks; what does not fit is dropped.
//
// Life: events_new(), event_send() from any thread, events_free(), which still sends what is queued
// for EVENT_FLUSH_MS at most; so before kube_interrupt().
#pragma once

#include <stdint.h>

#include "kube/client.h"

#define EVENT_QUEUE_MAX 1000
#define EVENT_FLUSH_MS  2000
#define EVENT_TRIES     3

struct events;

struct event_about {
  const char *api_version, *kind;
  const char *ns, *name, *uid;
  const char *version; // resourceVersion; may be NULL
};

// component: who reports ("drover"); instance: which of them (a pod's name).
struct events *events_new(struct kube *k, const char *component, const char *instance,
                          struct err *err);
void events_free(struct events *e); // NULL allowed
// type: "Normal" or "Warning"; reason: CamelCase, for machines; message: for people, cut at 1 KiB.
void event_send(struct events *e, const struct event_about *about, const char *type,
                const char *reason, const char *message);
