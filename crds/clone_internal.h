// SPDX-License-Identifier: Apache-2.0
// The fields that Clone.spec and CloneSet.spec.template have in common, as rows and rules: written
// once, so that both say the same.
//
// TEMPLATE_ROWS(type, at): `at` is how the struct clone_template is reached inside struct type,
// with its dot ("t."), or nothing. Rules get the whole object, so each user has small ones of its
// own around clone_storage_is_straight() and clone_disks_differ(), with the same sentences.
#pragma once

#include "crds/clone.h"
#include "crds/tables_internal.h"

#define CLONE_ARGV_BYTES       4096 // one word of a command
#define CLONE_ARGV_WORDS       256
#define CLONE_ADDRESSES        512 // of a set; a single clone takes CLONE_ADDRESSES_OF_ONE
#define CLONE_ADDRESSES_OF_ONE 16
#define CLONE_LABELS           32

// A word of a name: what a Clone's name is made of.
#define CLONE_WORD         "([a-z0-9]|[{]set[}]|[{]ordinal[}])"
#define CLONE_NAME_PATTERN "^" CLONE_WORD "(([.-]|" CLONE_WORD ")*" CLONE_WORD ")?$"
#define CLONE_HOST_PATTERN "^" CLONE_WORD "((-|" CLONE_WORD ")*" CLONE_WORD ")?$"

extern const char *const clone_wish_names[], *const clone_power_names[];
extern const struct table clone_disk_spec_table, clone_network_spec_table, clone_addresses_table,
    clone_post_start_table, clone_readiness_table;

// What the rules of both ask of the common part.
bool clone_storage_is_straight(const struct clone_template *t);
bool clone_disks_differ(const struct clone_template *t);

#define CLONE_STORAGE_SENTENCE "storage must not hold '.' or '..' parts"
#define CLONE_DISKS_SENTENCE   "disks must not name the same disk twice"

#define TEMPLATE_ROWS(type, at)                                                                    \
  {"cloneMode",                                                                                    \
   FIELD_ENUM,                                                                                     \
   AT(type, at clone_mode),                                                                        \
   .names = clone_wish_names,                                                                      \
   .fallback = "\"Linked\"",                                                                       \
   .help = "Linked: the clone takes only what it changes, or is refused where that cannot be; "    \
           "PreferLinked: a full copy where it cannot be, which status tells; Reflink: files "     \
           "that share their blocks; Full: a copy of its own."},                                   \
      {"powerState",                                                                               \
       FIELD_ENUM,                                                                                 \
       AT(type, at power_state),                                                                   \
       .names = clone_power_names,                                                                 \
       .fallback = "\"On\"",                                                                       \
       .help = "Whether it shall run."},                                                           \
      {"storage",                                                                                  \
       FIELD_STRING,                                                                               \
       AT(type, at storage),                                                                       \
       .min = 1,                                                                                   \
       .max = LIMIT_PATH_BYTES,                                                                    \
       .pattern = LINE_PATTERN,                                                                    \
       .help = "Pool or absolute folder for its disks; by default where the base lies, or the "    \
               "provider's."},                                                                     \
      {"cpus",   FIELD_INT,   AT(type, at cpus),                                                   \
       .min = 1, .max = 1024, .help = "Number of processors; by default as the base."},            \
      {"memory", FIELD_BYTES, AT(type, at memory_bytes),                                           \
       .help = "Memory in bytes, such as 2Gi; by default as the base."},                           \
      {"disks",                                                                                    \
       FIELD_LIST,                                                                                 \
       AT(type, at disks),                                                                         \
       &clone_disk_spec_table,                                                                     \
       .max = LIMIT_DISKS,                                                                         \
       .help = "Disks that shall be larger than those of the base."},                              \
      {"networks",                                                                                 \
       FIELD_LIST,                                                                                 \
       AT(type, at networks),                                                                      \
       &clone_network_spec_table,                                                                  \
       .max = LIMIT_NICS,                                                                          \
       .help = "Its network cards, in order; by default those of the base."},                      \
      {"hostname",                                                                                 \
       FIELD_STRING,                                                                               \
       AT(type, at hostname),                                                                      \
       .min = 1,                                                                                   \
       .max = 63,                                                                                  \
       .pattern = CLONE_HOST_PATTERN,                                                              \
       .help = "What it calls itself; by default the name of the Clone. In a set it holds "        \
               "{ordinal}, and {set} if you like."},                                               \
      {"addresses", FIELD_POINTER, AT(type, at addresses), &clone_addresses_table,                 \
       .help = "Fixed addresses of its first network card; by default it asks its network."},      \
      {"sshKeysSecretRef", FIELD_POINTER, AT(type, at ssh_keys), &name_ref_table,                  \
       .help = "Secret whose values are public keys, one to a line, that may log in."},            \
      {"userDataSecretRef", FIELD_POINTER, AT(type, at user_data), &name_ref_table,                \
       .help = "Secret whose key userdata is handed to cloud-init."},                              \
      {"postStart", FIELD_POINTER, AT(type, at post_start), &clone_post_start_table,               \
       .help = "A command that is run inside once, after the first start."},                       \
  {                                                                                                \
    "readiness", FIELD_OBJECT, AT(type, at readiness), &clone_readiness_table,                     \
        .help = "When a clone that was started counts as ready."                                   \
  }
