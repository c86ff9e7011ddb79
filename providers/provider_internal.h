// SPDX-License-Identifier: Apache-2.0
// What the wrappers (provider.c) and the connection thread (connection.c) share.
//
// A job is one call: copies of its arguments, room for its results. It is counted by both sides,
// because a caller whose deadline passes goes away while the thread may still be inside: then the
// job dies with the thread's reference, and nothing of the caller's is touched any more.
//
// struct provider is counted too: once for its owner, once for each thread that still lives.
#pragma once

#include <pthread.h>

#include "providers/provider.h"

#define PROVIDER_DEADLINE_MS 15000
#define PROVIDER_WEDGED_MAX  3
#define PROVIDER_LANES_MAX   4

struct job;
typedef int (*job_fn)(const struct provider_ops *ops, void *handle, struct job *job,
                      struct err *err);

struct job {
  job_fn run;
  const char *what; // "describe a VM", for messages
  // arguments
  char *text;
  int number;
  bool flag;
  size_t index;
  struct vm vm;
  struct vm_target target;
  struct owned owned;
  struct owned *disks;
  size_t disk_count;
  void *extra; // arguments and results of a clone verb (clone.c)
  void (*extra_free)(void *extra);
  int64_t extra_ms; // that it may run beyond the deadline
  // results
  union {
    struct provider_info info;
    struct vm vm;
    struct findings findings;
    struct reach reach;
    struct owned owned;
    struct vm_made made;
    enum vm_power power;
  } out;
  void (*out_release)(struct job *job); // NULL: nothing in `out` needs it
  struct provider *at;                  // whose thread has it; NULL: none
  // kept by connection.c, under that provider's mutex
  struct job *next;
  pthread_cond_t changed;
  unsigned references;
  bool started, done;
  int result;
  int64_t since_ms; // when posted; when started
  struct err err;
};

struct job *job_new(job_fn run, const char *what); // NULL: no memory
void job_release(struct job *job);                 // content only; the last reference does it

struct connection;

struct provider {
  struct provider_config config; // with a deadline
  const struct provider_ops *ops;
  const struct address_filter *allowed;
  pthread_mutex_t mutex; // guards what follows
  unsigned references;
  struct connection *current; // NULL: the next call makes one
  unsigned live;              // threads but those left behind
  pthread_cond_t ended;       // one of them has
  unsigned wedged;            // threads left behind inside a call
  int64_t retry_at_ms;        // no new connection before
  // Further connections to the same platform, for verbs about one machine; lanes of their own have
  // none. Not guarded: as they were made.
  struct provider *lanes[PROVIDER_LANES_MAX - 1];
  size_t lane_count;
};

// Where a verb about this machine runs: always the same lane for one id. NULL: p itself.
struct provider *provider_lane(struct provider *p, const char *id);

int provider_config_copy(const struct provider_config *from, struct provider_config *to,
                         struct err *err);
int vm_target_copy(const struct vm_target *from, struct vm_target *to, struct err *err);

// Moves all of *from to the end of *to.
int findings_append(struct findings *to, struct findings *from, struct err *err);

// For tests, which bring ops of their own.
int provider_open_ops(const struct provider_ops *ops, const struct provider_config *config,
                      const struct address_filter *allowed, struct provider **ret, struct err *err);

// Runs the job on the provider's thread and waits: at most the deadline in the queue and at most
// the deadline while it runs. Its results may be read when this returns 0. Takes the caller's
// reference only through job_unref.
int connection_run(struct provider *p, struct job *job, struct err *err);
void connection_end(struct provider *p);         // no call may be under way
void connection_cond_init(pthread_cond_t *cond); // on the monotonic clock
void provider_unref(struct provider *p);
void job_unref(struct job *job);
