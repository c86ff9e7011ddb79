// SPDX-License-Identifier: Apache-2.0
#include "crds/provider.h"

#include "crds/tables_internal.h"

static const char *const type_names[] = {"Libvirt", "LXD", "Nspawn", NULL};
static const char *const allow_names[] = {"Export", "Import", "DeleteSource", "Clone", NULL};

#define HOST_PART "([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\\[[0-9A-Fa-f:.]+\\])(:[0-9]{1,5})?"
// No query strings: libvirt's can start programs and turn verification off.
#define LIBVIRT_PATTERN                                                                            \
  "^(qemu:///system|qemu\\+ssh://([A-Za-z0-9_][A-Za-z0-9_.-]*@)?" HOST_PART "/system"              \
  "|qemu\\+tls://" HOST_PART "/system|unix:///[A-Za-z0-9_./-]+-sock)$"

#define LXD_PATTERN    "^(unix:///[A-Za-z0-9_./-]+|https://" HOST_PART ")$"
#define NSPAWN_PATTERN "^local:(/[A-Za-z0-9_.-]+)+$"

static bool fits(const struct provider_spec *spec, const char *type, const char *pattern)
{
  return !str_eq(spec->type, type) || pattern_matches(pattern, spec->endpoint);
}

static bool endpoint_is_of_libvirt(const void *object)
{
  return fits(object, "Libvirt", LIBVIRT_PATTERN);
}

static bool endpoint_is_of_lxd(const void *object)
{
  return fits(object, "LXD", LXD_PATTERN);
}

static bool endpoint_is_of_nspawn(const void *object)
{
  return fits(object, "Nspawn", NSPAWN_PATTERN);
}

static bool ssh_acts(const void *object)
{
  const struct provider_spec *spec = object;
  return !spec->ssh || str_eq(spec->type, "Libvirt");
}

static bool credentials_act(const void *object)
{
  const struct provider_spec *spec = object;
  return !str_eq(spec->type, "Nspawn") || (!spec->credentials && !spec->tls);
}

static bool endpoint_is_straight(const void *object)
{
  const struct provider_spec *spec = object;
  return !pattern_matches(BAD_PATH_PATTERN, spec->endpoint);
}

static const struct rule spec_rules[] = {
    {"endpoint of a Libvirt provider must be qemu:///system, "
     "qemu+ssh://[USER@]HOST[:PORT]/system, qemu+tls://HOST[:PORT]/system or "
     "unix:///PATH/libvirt-sock, without a query string",
     endpoint_is_of_libvirt},
    {"endpoint of an LXD provider must be unix:///PATH of its socket or https://HOST[:PORT]",
     endpoint_is_of_lxd},
    {"endpoint of an Nspawn provider must be local:/FOLDER, an absolute path on this host",
     endpoint_is_of_nspawn},
    {"endpoint must not hold '.' or '..' parts", endpoint_is_straight},
    {"ssh goes with a Libvirt provider only", ssh_acts},
    {"credentialsSecretRef and tls cannot go with an Nspawn provider, which is on this host",
     credentials_act},
    {NULL, NULL},
};

static const struct field ssh_fields[] = {
    {"host", FIELD_STRING, AT(provider_ssh, host), .min = 1, .max = LIMIT_NAME_BYTES,
     .pattern = HOST_PATTERN,
     .help = "Name or address for ssh; by default the host of the endpoint."},
    {"port", FIELD_INT, AT(provider_ssh, port), .fallback = "22", .min = 1, .max = 65535,
     .help = "Port of the ssh server."},
    {"user", FIELD_STRING, AT(provider_ssh, user), .min = 1, .max = 64,
     .pattern = "^[A-Za-z0-9_][A-Za-z0-9_.-]*$", .help = "User to log in as; by default root."},
    {"secretRef", FIELD_POINTER, AT(provider_ssh, secret), &name_ref_table,
     .help = "Secret with the keys ssh-privatekey and known_hosts."},
    {"insecureIgnoreHostKey", FIELD_BOOL, AT(provider_ssh, insecure_host_key),
     .help = "Accepts any host key. For trials only: whoever sits in between reads and changes "
             "everything."},
};
static const struct table ssh_table = TABLE(struct provider_ssh, ssh_fields);

static bool storage_is_straight(const void *object)
{
  const struct provider_defaults *defaults = object;
  return !pattern_matches(BAD_PATH_PATTERN, defaults->storage);
}

static const struct rule defaults_rules[] = {
    {"storage must not hold '.' or '..' parts", storage_is_straight},
    {NULL, NULL},
};

static const struct field defaults_fields[] = {
    {"storage", FIELD_STRING, AT(provider_defaults, storage), .min = 1, .max = LIMIT_PATH_BYTES,
     .pattern = LINE_PATTERN,
     .help = "Where disks of imported machines and of bases go unless their object says otherwise: "
             "a pool, or a folder by its absolute path."},
    {"network", FIELD_STRING, AT(provider_defaults, network), .min = 1, .max = LIMIT_NAME_BYTES,
     .pattern = LINE_PATTERN,
     .help = "Network that cards of imported machines join unless their object says otherwise."},
};
static const struct table defaults_table =
    TABLE_WITH_RULES(struct provider_defaults, defaults_fields, defaults_rules);

static const struct field limits_fields[] = {
    {"transfers", FIELD_INT, AT(provider_limits, transfers), .fallback = "4", .min = 1, .max = 64,
     .help = "Migrations that may be at work on this platform at the same time."},
    {"clones", FIELD_INT, AT(provider_limits, clones), .fallback = "8", .min = 1, .max = 256,
     .help = "Clones that may be made, started or removed on this platform at the same time."},
    {"bytesPerSecond", FIELD_BYTES, AT(provider_limits, bytes_per_second),
     .help = "Rate of one migration to or from this platform in bytes a second, such as 200M; "
             "without a limit by default."},
};
static const struct table limits_table = TABLE(struct provider_limits, limits_fields);

static const struct field scope_fields[] = {
    {"storages", FIELD_STRINGS, AT(provider_scope, storages), .max = 64, .item_max = 253,
     .pattern = LINE_PATTERN, .help = "Pools and folders that may be used, as globs."},
    {"networks", FIELD_STRINGS, AT(provider_scope, networks), .max = 64, .item_max = 253,
     .pattern = LINE_PATTERN, .help = "Networks that may be used, as globs."},
    {"vmNames", FIELD_STRINGS, AT(provider_scope, vm_names), .max = 64, .item_max = 253,
     .pattern = LINE_PATTERN, .help = "Machines that may be read or made, as globs."},
};
static const struct table scope_table = TABLE(struct provider_scope, scope_fields);

static const struct field spec_fields[] = {
    {"type", FIELD_STRING, AT(provider_spec, type), .required = true, .min = 1, .max = 32,
     .names = type_names, .help = "Which platform it is."},
    {"endpoint", FIELD_STRING, AT(provider_spec, endpoint), .required = true, .min = 1, .max = 512,
     .help =
         "Where it is. Libvirt: qemu:///system, qemu+ssh://[USER@]HOST[:PORT]/system, "
         "qemu+tls://HOST[:PORT]/system or unix:///PATH/libvirt-sock. LXD, Incus: unix:///PATH of "
         "its socket or https://HOST[:PORT]. Nspawn: local:/FOLDER on this host."},
    {"credentialsSecretRef", FIELD_POINTER, AT(provider_spec, credentials), &name_ref_table,
     .help = "Secret with username and password, or tls.crt and tls.key for a client certificate, "
             "or ssh-privatekey and known_hosts."},
    {"tls", FIELD_POINTER, AT(provider_spec, tls), &tls_spec_table,
     .help = "Which server certificates are trusted; by default those of public authorities."},
    {"ssh", FIELD_POINTER, AT(provider_spec, ssh), &ssh_table,
     .help = "How disks on the host are reached when that is another machine."},
    {"defaults", FIELD_OBJECT, AT(provider_spec, defaults), &defaults_table,
     .help = "What objects that name this provider need not say."},
    {"limits", FIELD_OBJECT, AT(provider_spec, limits), &limits_table,
     .help = "How much may happen at once."},
    {"allowedNamespaces", FIELD_OBJECT, AT(provider_spec, allowed_namespaces),
     &allowed_namespaces_table, .help = "Which namespaces may refer to this provider."},
    {"allow", FIELD_STRINGS, AT(provider_spec, allow), .names = allow_names, .max = 4,
     .item_max = 32, .fallback = "[\"Export\",\"Import\",\"Clone\"]",
     .help = "What may be done: Export reads machines, Import makes them, DeleteSource removes "
             "them after a move, Clone registers bases and makes, starts and removes clones."},
    {"scope", FIELD_OBJECT, AT(provider_spec, scope), &scope_table,
     .help = "Which parts of the platform may be used; an absent list allows everything."},
    {"suspend", FIELD_BOOL, AT(provider_spec, suspend),
     .help = "Stops looking after this provider and begins no new work on it."},
};
const struct table provider_spec_table =
    TABLE_WITH_RULES(struct provider_spec, spec_fields, spec_rules);

// ---- status ---------------------------------------------------------------------------------

static const struct field storage_fields[] = {
    {"name", FIELD_STRING, AT(provider_storage_status, name), .required = true,
     .help = "Name of the pool."},
    {"type", FIELD_STRING, AT(provider_storage_status, type), .help = "Kind of the pool."},
    {"freeBytes", FIELD_INT, AT(provider_storage_status, free_bytes), .help = "Free space, bytes."},
    {"capacityBytes", FIELD_INT, AT(provider_storage_status, capacity_bytes),
     .help = "Size, bytes."},
};
static const struct table storage_table = TABLE(struct provider_storage_status, storage_fields);

static const struct field inventory_fields[] = {
    {"storages", FIELD_LIST, AT(provider_inventory, storages), &storage_table,
     .help = "Pools that disks can lie in."},
    {"networks", FIELD_STRINGS, AT(provider_inventory, networks),
     .help = "Networks that cards can join."},
    {"vms", FIELD_INT, AT(provider_inventory, vms), .help = "How many machines there are."},
};
static const struct table inventory_table = TABLE(struct provider_inventory, inventory_fields);

static const struct field status_fields[] = {
    {"observedGeneration", FIELD_INT, AT(provider_status, observed_generation), .fallback = "-1",
     .help = "The metadata.generation that status speaks of."},
    {"version", FIELD_STRING, AT(provider_status, version), .help = "Versions of the platform."},
    {"host", FIELD_STRING, AT(provider_status, host), .help = "What the host calls itself."},
    {"capabilities", FIELD_STRINGS, AT(provider_status, capabilities),
     .help = "What can be done there."},
    {"inventory", FIELD_OBJECT, AT(provider_status, inventory), &inventory_table,
     .help = "What was found there."},
    {"dependents", FIELD_INT, AT(provider_status, dependents),
     .help = "How many objects refer to this one and are not finished."},
    {"conditions", FIELD_LIST, AT(provider_status, conditions), &condition_table,
     .help = "Ready, Reconciling and Stalled."},
};
const struct table provider_status_table = TABLE(struct provider_status, status_fields);
