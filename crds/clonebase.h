// SPDX-License-Identifier: Apache-2.0
// CloneBase (cbase): a registered base that clones are made of. Immutable: another content is
// another CloneBase, and sets roll from one to the other.
#pragma once

#include "crds/common.h"

enum base_shutdown_policy { BASE_SHUTDOWN_GUEST, BASE_SHUTDOWN_FORCE, BASE_SHUTDOWN_NEVER };
enum base_take { BASE_COPY, BASE_CONVERT };
enum base_deletion { BASE_DELETION_DEFAULT, BASE_DELETE, BASE_RETAIN };

struct clonebase_spec {
  struct ref provider; // "providerRef"
  // Exactly one of the three.
  struct clonebase_vm {
    char *name, *id; // exactly one
    int take;        // Copy (default): the original is left alone; Convert: it becomes the base
    struct base_shutdown {
      int policy;         // Guest, Force, Never (the default: a machine that runs is refused)
      int64_t timeout_ms; // default 5m
    } shutdown;
  } * vm;
  struct clonebase_image {
    struct ref store; // "storeRef"
    char *path;
    int firmware; // enum migration_firmware; ANY = as the image says
  } * image;
  struct clonebase_template {
    char *name;                         // there already; or:
    char *server, *alias, *fingerprint; // downloaded by the platform
  } * template_;                        // "template"
  int64_t cpus;                         // of a bare image or a template; 0 = as it says
  int64_t memory_bytes;                 // "memory"
  char *storage;
  int deletion_policy; // absent: Delete for what drover made, Retain for what was there
  bool suspend;
};

struct clonebase_status {
  int64_t observed_generation;
  char *phase; // "Pending", "Copying", "Registering", "Ready", "Failed", "Deleting"
  char *id;    // backend id, what clones name
  char *revision;
  int64_t bytes;
  int64_t dependents;
  bool in_use, modified;
  struct clonebase_summary {
    char *provider, *source, *progress;
  } summary;
  struct list owned;     // of struct owned_status (vmmigration.h)
  struct list preflight; // of struct preflight_finding
  int64_t retries;
  struct list conditions; // Ready, InUse, Modified, Reconciling, Stalled
  struct clonebase_memory {
    bool checked, made;
    bool stopped;    // by us: a machine that is copied is started again
    char *stop_time; // when it was told to
    char *migration; // name of the VMMigration that brings the disks
    char *next_try_time;
  } memory; // "runner"
};

extern const struct table clonebase_spec_table, clonebase_status_table;
