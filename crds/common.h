// SPDX-License-Identifier: Apache-2.0
// What several kinds share.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/field.h"

struct ref { // to an object of drover; ns NULL = the namespace of the one that refers
  char *name;
  char *ns; // "namespace"
};
extern const struct table ref_table;

struct name_ref { // to a Secret or ConfigMap in the same namespace
  char *name;
};
extern const struct table name_ref_table;

struct tls_spec {
  struct name_ref *ca_config_map; // "caConfigMapRef", key ca.crt
  struct name_ref *ca_secret;     // "caSecretRef", key ca.crt
  char *fingerprint_sha256;
  bool insecure_skip_verify;
};
extern const struct table tls_spec_table;

enum namespaces_from { NAMESPACES_SAME, NAMESPACES_ALL, NAMESPACES_SELECTOR };
struct allowed_namespaces {
  int from;                // "Same" (default), "All", "Selector"
  struct strings selector; // "matchLabels", FIELD_MAP
};
extern const struct table allowed_namespaces_table;

enum condition_status { CONDITION_UNKNOWN, CONDITION_TRUE, CONDITION_FALSE };
struct condition { // metav1.Condition
  char *type;
  int status; // "Unknown", "True", "False"
  char *reason, *message;
  char *last_transition_time;
  int64_t observed_generation;
};
extern const struct table condition_table;

// Sets or adds; last_transition_time changes only with status. Returns true when anything changed.
bool condition_set(struct list *conditions, const char *type, enum condition_status status,
                   const char *reason, const char *message, int64_t generation,
                   int64_t now_wall_ms);
const struct condition *condition_find(const struct list *conditions, const char *type);
