// SPDX-License-Identifier: Apache-2.0
// CloneSet (cset): N clones of one base, kept at N; owns Clones as a ReplicaSet owns Pods.
#pragma once

#include "crds/clone.h"

#define CRDS_LABEL_SET      "drover.dev/set" // on Clones: name of their set
#define CRDS_LABEL_ORDINAL  "drover.dev/ordinal"
#define CRDS_LABEL_REVISION "drover.dev/revision" // of set.spec: base and template, 10 hex digits
#define CRDS_DELETE_FIRST   "drover.dev/delete-first"

#define LIMIT_CLONES_OF_SET 10000

enum cset_update { CSET_ROLLING, CSET_ON_DELETE };
enum cset_scale_down { CSET_HIGHEST_ORDINAL, CSET_NEWEST, CSET_OLDEST, CSET_NOT_READY_FIRST };

struct cloneset_spec {
  int64_t replicas;        // default 1
  struct strings selector; // "selector.matchLabels"; default: drover.dev/set=NAME
  struct name_ref base;    // "baseRef"
  char *name_template;     // "{set}-{ordinal}"
  struct strings labels;   // "template.labels"
  struct clone_template t; // "template"
  struct cset_update_spec {
    int type;              // RollingUpdate, OnDelete
    int64_t partition;     // ordinals below stay as they are
    char *max_unavailable; // int or percent as text, default "1"
    char *max_surge;       // default "0"
  } update;
  int scale_down;
  int deletion_policy; // Delete, Retain
  int64_t min_ready_seconds;
  int64_t progress_deadline_seconds; // default 600
  bool suspend;
};

struct cset_failure {
  char *clone, *reason, *message;
};

struct cloneset_status {
  int64_t observed_generation;
  int64_t replicas, ready_replicas, available_replicas, updated_replicas;
  char *current_base, *update_base;         // names of CloneBases
  char *current_revision, *update_revision; // hashes, as on the Clones
  char *selector;                           // as text, for the scale subresource
  int64_t bytes_used, bytes_saved;
  struct list failures;   // of struct cset_failure, at most 20
  struct list conditions; // Ready, Reconciling, Stalled
  struct cset_memory {
    char *progress_time; // when the roll-out moved last
    char *power_state;   // of the template, as the clones were told last
  } memory;              // "runner"
};

extern const struct table cloneset_spec_table, cloneset_status_table;
