// SPDX-License-Identifier: Apache-2.0
// Provider (dprov): a virtualization platform.
#pragma once

#include "crds/common.h"

enum provider_allow { PROVIDER_EXPORT, PROVIDER_IMPORT, PROVIDER_DELETE_SOURCE, PROVIDER_CLONE };

struct provider_spec {
  char *type; // "Libvirt", "LXD", "Nspawn"
  char *endpoint;
  struct name_ref *credentials; // "credentialsSecretRef"
  struct tls_spec *tls;
  struct provider_ssh {
    char *host;
    int64_t port;
    char *user;
    struct name_ref *secret; // "secretRef": ssh-privatekey, known_hosts
    bool insecure_host_key;  // "insecureIgnoreHostKey"
  } * ssh;
  struct provider_defaults {
    char *storage, *network;
  } defaults;
  struct provider_limits {
    int64_t transfers;        // at the same time, default 4
    int64_t clones;           // at the same time, default 8
    int64_t bytes_per_second; // FIELD_BYTES, 0 = none
  } limits;
  struct allowed_namespaces allowed_namespaces;
  struct strings allow; // "Export", "Import", "DeleteSource", "Clone"; not DeleteSource
  struct provider_scope {
    struct strings storages, networks, vm_names; // globs; empty = all
  } scope;
  bool suspend;
};

struct provider_storage_status {
  char *name, *type;
  int64_t free_bytes, capacity_bytes;
};

struct provider_status {
  int64_t observed_generation;
  char *version, *host;
  struct strings capabilities;
  struct provider_inventory {
    struct list storages; // of struct provider_storage_status
    struct strings networks;
    int64_t vms; // how many
  } inventory;
  int64_t dependents; // objects that name it
  struct list conditions;
};

extern const struct table provider_spec_table, provider_status_table;
