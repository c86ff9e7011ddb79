// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "crds/clone_internal.h"
#include "crds/vmmigration_internal.h"

static const char *const deletion_names[] = {"Delete", "Retain", NULL};

static const struct field vm_fields[] = {
    {"providerRef", FIELD_OBJECT, AT(clone_vm, provider), &ref_table, .required = true,
     .help = "Provider that the machine is on."},
    {"name", FIELD_STRING, AT(clone_vm, name), .required = true, .min = 1, .max = LIMIT_NAME_BYTES,
     .pattern = LINE_PATTERN, .help = "Name of the machine there."},
};
static const struct table vm_table = TABLE(struct clone_vm, vm_fields);

// ---- rules ----------------------------------------------------------------------------------

static bool one_origin(const void *object)
{
  const struct clone_spec *spec = object;
  return !!spec->base + !!spec->source + !!spec->vm == 1;
}

static bool storage_is_straight(const void *object)
{
  const struct clone_spec *spec = object;
  return clone_storage_is_straight(&spec->t);
}

static bool disks_differ(const void *object)
{
  const struct clone_spec *spec = object;
  return clone_disks_differ(&spec->t);
}

static bool hostname_is_plain(const void *object)
{
  const struct clone_spec *spec = object;
  return !spec->t.hostname || !strchr(spec->t.hostname, '{');
}

static bool few_addresses(const void *object)
{
  const struct clone_spec *spec = object;
  return !spec->t.addresses || spec->t.addresses->addresses.count <= CLONE_ADDRESSES_OF_ONE;
}

static const struct rule spec_rules[] = {
    {"exactly one of baseRef, sourceRef and vm must be given", one_origin},
    {CLONE_STORAGE_SENTENCE, storage_is_straight},
    {CLONE_DISKS_SENTENCE, disks_differ},
    {"hostname must not hold {set} or {ordinal}: those are for sets", hostname_is_plain},
    {"addresses.addresses must hold at most 16", few_addresses},
    {NULL, NULL},
};

// ---- spec -----------------------------------------------------------------------------------

static const struct field spec_fields[] = {
    {"baseRef", FIELD_POINTER, AT(clone_spec, base), &name_ref_table,
     .help = "CloneBase that it is made of."},
    {"sourceRef", FIELD_POINTER, AT(clone_spec, source), &name_ref_table,
     .help = "Another Clone that it is made of."},
    {"vm", FIELD_POINTER, AT(clone_spec, vm), &vm_table,
     .help = "A machine that it is made of, as it is now."},
    {"id", FIELD_STRING, AT(clone_spec, id), .min = 1, .max = 128,
     .pattern = "^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$",
     .help = "What it shall be called on the platform; by default a name that nobody else has."},
    TEMPLATE_ROWS(clone_spec, t.),
    {"deletionPolicy", FIELD_ENUM, AT(clone_spec, deletion_policy), .names = deletion_names,
     .fallback = "\"Delete\"",
     .help = "What becomes of the machine when this object goes: Delete, or Retain, which leaves "
             "it to you."},
    {"suspend", FIELD_BOOL, AT(clone_spec, suspend),
     .help = "Leaves the machine alone until it is taken away again."},
};
const struct table clone_spec_table = TABLE_WITH_RULES(struct clone_spec, spec_fields, spec_rules);

// ---- status ---------------------------------------------------------------------------------

static const struct field summary_fields[] = {
    {"set", FIELD_STRING, AT(clone_summary, set), .help = "CloneSet that it belongs to."},
    {"base", FIELD_STRING, AT(clone_summary, base), .help = "What it was made of."},
    {"address", FIELD_STRING, AT(clone_summary, address), .help = "Its first address."},
    {"bytes", FIELD_STRING, AT(clone_summary, bytes), .help = "What it takes beside its base."},
};
static const struct table summary_table = TABLE(struct clone_summary, summary_fields);

static const struct field memory_fields[] = {
    {"checked", FIELD_BOOL, AT(clone_memory, checked), .help = "Preflight has passed."},
    {"made", FIELD_BOOL, AT(clone_memory, made), .help = "The machine was complete once."},
    {"postStarted", FIELD_BOOL, AT(clone_memory, post_started), .help = "postStart has been run."},
    {"provider", FIELD_STRING, AT(clone_memory, provider),
     .help = "Provider that it is on, as NAMESPACE/NAME."},
    {"makeTime", FIELD_STRING, AT(clone_memory, make_time),
     .help = "When its creation began, RFC 3339."},
    {"startTime", FIELD_STRING, AT(clone_memory, start_time),
     .help = "When it was told to start, RFC 3339."},
    {"stopTime", FIELD_STRING, AT(clone_memory, stop_time),
     .help = "When it was told to stop, RFC 3339."},
    {"nextTryTime", FIELD_STRING, AT(clone_memory, next_try_time),
     .help = "When it is tried again, RFC 3339."},
};
static const struct table memory_table = TABLE(struct clone_memory, memory_fields);

static const struct field status_fields[] = {
    {"observedGeneration", FIELD_INT, AT(clone_status, observed_generation), .fallback = "-1",
     .help = "The metadata.generation that status speaks of."},
    {"phase", FIELD_STRING, AT(clone_status, phase),
     .help = "Pending, Creating, Starting, Running, Stopping, Stopped, Deleting or Failed."},
    {"id", FIELD_STRING, AT(clone_status, id), .help = "What the platform identifies it by."},
    {"name", FIELD_STRING, AT(clone_status, name), .help = "Its name on the platform."},
    {"node", FIELD_STRING, AT(clone_status, node), .help = "Host that it is on."},
    {"addresses", FIELD_STRINGS, AT(clone_status, addresses), .help = "Addresses that it has."},
    {"base", FIELD_STRING, AT(clone_status, base), .help = "CloneBase that it was made of."},
    {"revision", FIELD_STRING, AT(clone_status, revision),
     .help = "Revision that the base had then."},
    {"mode", FIELD_STRING, AT(clone_status, mode),
     .help = "What it is, as read back from the platform: Linked, Reflink or Full."},
    {"cloneMillis", FIELD_INT, AT(clone_status, clone_millis), .absent = -1,
     .help = "Time that making it took, milliseconds."},
    {"readyMillis", FIELD_INT, AT(clone_status, ready_millis), .absent = -1,
     .help = "Time from its start until it was ready, milliseconds."},
    {"bytes", FIELD_INT, AT(clone_status, bytes), .absent = -1,
     .help = "What it takes beside its base, bytes."},
    {"memoryBytes", FIELD_INT, AT(clone_status, memory_bytes), .absent = -1,
     .help = "Memory that it uses, bytes."},
    {"owned", FIELD_LIST, AT(clone_status, owned), &owned_status_table,
     .help = "What drover made, or is about to make."},
    {"preflight", FIELD_LIST, AT(clone_status, preflight), &preflight_finding_table,
     .help = "What was found before anything was made."},
    {"message", FIELD_STRING, AT(clone_status, message), .help = "What is to be said about it."},
    {"summary", FIELD_OBJECT, AT(clone_status, summary), &summary_table,
     .help = "The same for people, as text."},
    {"retries", FIELD_INT, AT(clone_status, retries), .help = "How often it was tried again."},
    {"recreated", FIELD_INT, AT(clone_status, recreated),
     .help = "How often it was made again because it was gone."},
    {"conditions", FIELD_LIST, AT(clone_status, conditions), &condition_table,
     .help = "Ready, Reconciling, Stalled and CleanupBlocked."},
    {"runner", FIELD_OBJECT, AT(clone_status, memory), &memory_table,
     .help = "What drover must know after a restart; no interface for others."},
};
const struct table clone_status_table = TABLE(struct clone_status, status_fields);
