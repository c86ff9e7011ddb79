// SPDX-License-Identifier: Apache-2.0
// Clone (dclone): one copy-on-write clone of a base; made by a CloneSet, or by hand.
#pragma once

#include "crds/common.h"

enum clone_wish { // cloneMode; the same words and order as a provider's enum clone_mode
  CLONE_WISH_LINKED,
  CLONE_WISH_PREFER_LINKED,
  CLONE_WISH_REFLINK,
  CLONE_WISH_FULL
};
enum clone_power { CLONE_POWER_ON, CLONE_POWER_OFF };
enum clone_readiness {
  CLONE_READY_RUNNING,
  CLONE_READY_NONE,
  CLONE_READY_ADDRESS,
  CLONE_READY_GUEST_AGENT,
  CLONE_READY_EXEC
};
enum clone_deletion { CLONE_DELETE, CLONE_RETAIN };

struct clone_network_spec {
  char *network;
  char *mac; // NULL = made from the clone's uid
};

struct clone_disk_spec {
  char *name;         // NULL = the first one
  int64_t size_bytes; // "size"
};

// What Clone and the template of a CloneSet have in common.
struct clone_template {
  int clone_mode;  // "cloneMode": enum clone_wish, default Linked
  int power_state; // "powerState", default On
  char *storage;
  int64_t cpus, memory_bytes; // 0 = as the base
  struct list disks;          // of struct clone_disk_spec
  struct list networks;       // of struct clone_network_spec
  char *hostname; // default: the Clone's name; of a set: with {ordinal}, perhaps {set}, to fill in
  struct clone_addresses {
    struct strings addresses; // "10.0.0.10/24"; of a set: one for each ordinal, in order
    char *gateway;
    struct strings nameservers;
  } * addresses;
  struct name_ref *ssh_keys;  // "sshKeysSecretRef": every value is a list of public keys
  struct name_ref *user_data; // "userDataSecretRef": key userdata
  struct clone_exec {
    struct strings exec; // argv
    int64_t timeout_ms;  // default 1m
  } * post_start;        // "postStart": once, after the first start
  struct clone_ready {
    int type;            // default Running
    struct strings exec; // argv, for type Exec
    int64_t timeout_ms;  // default 5m
  } readiness;
};

struct clone_spec {
  // Exactly one of base, source, vm.
  struct name_ref *base;   // "baseRef": CloneBase in the same namespace
  struct name_ref *source; // "sourceRef": another Clone in the same namespace
  struct clone_vm {
    struct ref provider; // "providerRef"
    char *name;
  } * vm;
  char *id;                // fixed name on the platform, for those who need one; default made
  struct clone_template t; // its fields stand in spec itself
  int deletion_policy;
  bool suspend;
};

struct clone_status {
  int64_t observed_generation;
  // "Pending", "Creating", "Starting", "Running", "Stopping", "Stopped", "Deleting", "Failed"
  char *phase;
  char *id, *name, *node;
  struct strings addresses;
  char *base, *revision;              // CloneBase it was made of, and its revision then
  char *mode;                         // read back: Linked, Reflink, Full
  int64_t clone_millis, ready_millis; // -1 = not yet
  int64_t bytes, memory_bytes;
  struct list owned;     // of struct owned_status
  struct list preflight; // of struct preflight_finding
  char *message;
  struct clone_summary {
    char *set, *base, *address, *bytes; // for columns
  } summary;
  int64_t retries, recreated; // recreated: how often it was made again because it was gone
  struct list conditions;     // Ready, Reconciling, Stalled
  struct clone_memory {
    bool checked, made, post_started;
    char *provider;   // "NAMESPACE/NAME" of the Provider that has it
    char *make_time;  // when creation began
    char *start_time; // when it was told to start
    char *stop_time;  // when it was told to stop
    char *next_try_time;
  } memory; // "runner"
};

extern const struct table clone_spec_table, clone_status_table;
extern const struct table clone_template_table; // for the template of a set, and for its hash
