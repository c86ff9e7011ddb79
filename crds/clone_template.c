// SPDX-License-Identifier: Apache-2.0
// What Clone and the template of a CloneSet have in common.
#include "crds/clone_internal.h"

#define HOUR_MS 3600000ll

const char *const clone_wish_names[] = {"Linked", "PreferLinked", "Reflink", "Full", NULL};
const char *const clone_power_names[] = {"On", "Off", NULL};
static const char *const readiness_names[] = {"Running",    "None", "Address",
                                              "GuestAgent", "Exec", NULL};

#define BYTE_PART  "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
#define IPV4_PART  "(" BYTE_PART "[.]){3}" BYTE_PART
#define IPV6_PART  "[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]{1,44}"
#define IP_PATTERN "^(" IPV4_PART "|" IPV6_PART ")$"
#define NET_PATTERN                                                                                \
  "^(" IPV4_PART "/(3[0-2]|[12]?[0-9])|" IPV6_PART "/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))$"

static const struct field disk_fields[] = {
    {"name", FIELD_STRING, AT(clone_disk_spec, name), .min = 1, .max = 128, .pattern = LINE_PATTERN,
     .help = "Name of the disk; by default the first one."},
    {"size", FIELD_BYTES, AT(clone_disk_spec, size_bytes), .required = true,
     .help = "Size in bytes that it grows to, such as 20Gi; never smaller than the base's."},
};
const struct table clone_disk_spec_table = TABLE(struct clone_disk_spec, disk_fields);

static const struct field network_fields[] = {
    {"network", FIELD_STRING, AT(clone_network_spec, network), .required = true, .min = 1,
     .max = LIMIT_NAME_BYTES, .pattern = LINE_PATTERN, .help = "Network that the card joins."},
    {"mac", FIELD_STRING, AT(clone_network_spec, mac), .max = 17,
     .pattern = "^[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}$",
     .help = "MAC address of the card; by default one that no other clone has."},
};
const struct table clone_network_spec_table = TABLE(struct clone_network_spec, network_fields);

static bool addresses_differ(const void *object)
{
  const struct clone_addresses *a = object;
  for (size_t i = 0; i < a->addresses.count; i++)
    for (size_t j = 0; j < i; j++)
      if (str_eq(a->addresses.items[i], a->addresses.items[j]))
        return false;
  return true;
}

static const struct rule addresses_rules[] = {
    {"addresses must not hold the same one twice", addresses_differ},
    {NULL, NULL},
};

static const struct field addresses_fields[] = {
    {"addresses", FIELD_STRINGS, AT(clone_addresses, addresses), .required = true, .min = 1,
     .max = CLONE_ADDRESSES, .item_max = 64, .pattern = NET_PATTERN,
     .help = "Addresses with the length of their network, such as 10.0.0.10/24. A Clone takes all "
             "of them, at most 16; in a set, the clone of ordinal 0 takes the first, and so on."},
    {"gateway", FIELD_STRING, AT(clone_addresses, gateway), .max = 64, .pattern = IP_PATTERN,
     .help = "Address of the router; by default there is none."},
    {"nameservers", FIELD_STRINGS, AT(clone_addresses, nameservers), .max = 8, .item_max = 64,
     .pattern = IP_PATTERN, .help = "Addresses of the name servers."},
};
const struct table clone_addresses_table =
    TABLE_WITH_RULES(struct clone_addresses, addresses_fields, addresses_rules);

static bool begins_with_a_program(const struct strings *argv)
{
  return argv->count > 0 && argv->items[0][0];
}

static bool post_start_has_a_program(const void *object)
{
  const struct clone_exec *exec = object;
  return begins_with_a_program(&exec->exec);
}

static const struct rule post_start_rules[] = {
    {"exec must begin with a program", post_start_has_a_program},
    {NULL, NULL},
};

static const struct field post_start_fields[] = {
    {"exec", FIELD_STRINGS, AT(clone_exec, exec), .required = true, .min = 1,
     .max = CLONE_ARGV_WORDS, .item_max = CLONE_ARGV_BYTES,
     .help = "Program and arguments, as they are: there is no shell in between."},
    {"timeout", FIELD_DURATION, AT(clone_exec, timeout_ms), .fallback = "\"1m\"", .min = 1000,
     .max = HOUR_MS, .help = "Time that the command may take."},
};
const struct table clone_post_start_table =
    TABLE_WITH_RULES(struct clone_exec, post_start_fields, post_start_rules);

static bool exec_when_asked(const void *object)
{
  const struct clone_ready *ready = object;
  return (ready->type == CLONE_READY_EXEC) == begins_with_a_program(&ready->exec) &&
         (ready->type == CLONE_READY_EXEC || ready->exec.count == 0);
}

static const struct rule readiness_rules[] = {
    {"exec must be given when type is Exec, and only then", exec_when_asked},
    {NULL, NULL},
};

static const struct field readiness_fields[] = {
    {"type", FIELD_ENUM, AT(clone_ready, type), .names = readiness_names, .fallback = "\"Running\"",
     .help = "Running: ready when the platform says that it runs; None: as soon as it is made; "
             "Address: when it has an address; GuestAgent: when its guest agent, or its init, "
             "answers; Exec: when a command inside ends with 0."},
    {"exec", FIELD_STRINGS, AT(clone_ready, exec), .max = CLONE_ARGV_WORDS,
     .item_max = CLONE_ARGV_BYTES,
     .help = "Program and arguments for type Exec, as they are: there is no shell in between."},
    {"timeout", FIELD_DURATION, AT(clone_ready, timeout_ms), .fallback = "\"5m\"", .min = 1000,
     .max = 24 * HOUR_MS, .help = "Time that it may take to be ready."},
};
const struct table clone_readiness_table =
    TABLE_WITH_RULES(struct clone_ready, readiness_fields, readiness_rules);

bool clone_storage_is_straight(const struct clone_template *t)
{
  return !pattern_matches(BAD_PATH_PATTERN, t->storage);
}

bool clone_disks_differ(const struct clone_template *t)
{
  const struct clone_disk_spec *disks = t->disks.items;
  for (size_t i = 0; i < t->disks.count; i++)
    for (size_t j = 0; j < i; j++)
      if (str_eq(disks[i].name, disks[j].name))
        return false;
  return true;
}

static const struct field template_fields[] = {TEMPLATE_ROWS(clone_template, )};
const struct table clone_template_table = TABLE(struct clone_template, template_fields);
