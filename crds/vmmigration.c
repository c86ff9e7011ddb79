// SPDX-License-Identifier: Apache-2.0
#include "crds/vmmigration.h"

#include "crds/tables_internal.h"
#include "crds/vmmigration_internal.h"

static const char *const retain_names[] = {"Never", "OnFailure", "Always", NULL};
static const char *const mode_names[] = {"Cold", NULL};
static const char *const policy_names[] = {"Guest", "Force", "Never", NULL};
static const char *const action_names[] = {"Off", "Restore", "Delete", NULL};
static const char *const failed_target_names[] = {"Keep", "Remove", NULL};
static const char *const failed_source_names[] = {"Restore", "LeaveOff", NULL};
static const char *const verify_names[] = {"Stored", "ReadBack", "None", NULL};

#define HOUR_MS 3600000ll
#define DAY_MS  (24 * HOUR_MS)

static const struct field via_fields[] = {
    {"storeRef", FIELD_OBJECT, AT(migration_via, store), &ref_table, .required = true,
     .help = "ImageStore to stage in."},
    {"retain", FIELD_ENUM, AT(migration_via, retain), .names = retain_names,
     .fallback = "\"Never\"", .help = "When the staged images stay: Never, OnFailure or Always."},
};
static const struct table via_table = TABLE(struct migration_via, via_fields);

static const struct field shutdown_fields[] = {
    {"policy", FIELD_ENUM, AT(migration_shutdown_spec, policy), .names = policy_names,
     .fallback = "\"Guest\"",
     .help = "Guest: the guest is asked to shut down; Force: it is switched off; Never: a machine "
             "that runs is refused."},
    {"timeout", FIELD_DURATION, AT(migration_shutdown_spec, timeout_ms), .fallback = "\"5m\"",
     .min = 1000, .max = DAY_MS, .help = "Time that the guest may take to shut down."},
};
static const struct table shutdown_table = TABLE(struct migration_shutdown_spec, shutdown_fields);

static const struct field source_after_fields[] = {
    {"action", FIELD_ENUM, AT(migration_source_after_spec, action), .names = action_names,
     .fallback = "\"Off\"",
     .help = "Off: it stays off and does not start by itself; Restore: it gets back the power "
             "state it had; Delete: it is removed with its disks."},
    {"after", FIELD_DURATION, AT(migration_source_after_spec, after_ms), .fallback = "\"0s\"",
     .min = 0, .max = 365 * DAY_MS, .help = "Time to wait after success before Delete."},
};
static const struct table source_after_table =
    TABLE(struct migration_source_after_spec, source_after_fields);

static const struct field on_failure_fields[] = {
    {"target", FIELD_ENUM, AT(migration_on_failure, target), .names = failed_target_names,
     .fallback = "\"Keep\"",
     .help = "Keep: what is there stays, so that a retry can go on with it; Remove: it goes."},
    {"source", FIELD_ENUM, AT(migration_on_failure, source), .names = failed_source_names,
     .fallback = "\"Restore\"",
     .help = "Restore: the source gets back the power state it had; LeaveOff: it stays off."},
};
static const struct table on_failure_table = TABLE(struct migration_on_failure, on_failure_fields);

static const struct field transfer_fields[] = {
    {"verify", FIELD_ENUM, AT(migration_transfer, verify), .names = verify_names,
     .fallback = "\"Stored\"",
     .help = "Stored: digests of what was sent are compared; ReadBack: the target is read again "
             "and compared; None: nothing is compared."},
    {"bytesPerSecond", FIELD_BYTES, AT(migration_transfer, bytes_per_second),
     .help =
         "Rate of all disks together in bytes a second, such as 200M; without a limit by default."},
    {"connections", FIELD_INT, AT(migration_transfer, connections), .fallback = "4", .min = 1,
     .max = 16, .help = "Connections to each end that work on one disk."},
    {"stallTimeout", FIELD_DURATION, AT(migration_transfer, stall_timeout_ms), .fallback = "\"5m\"",
     .min = 10000, .max = DAY_MS,
     .help = "Time without a byte after which a transfer is given up and tried again."},
};
static const struct table transfer_table = TABLE(struct migration_transfer, transfer_fields);

static bool delays_in_order(const void *object)
{
  const struct migration_retry *retry = object;
  return retry->initial_delay_ms <= retry->max_delay_ms;
}

static const struct rule retry_rules[] = {
    {"initialDelay must not be longer than maxDelay", delays_in_order},
    {NULL, NULL},
};

static const struct field retry_fields[] = {
    {"limit", FIELD_INT, AT(migration_retry, limit), .fallback = "5", .min = 0, .max = 100,
     .help = "How often it is tried again after errors that may go away."},
    {"initialDelay", FIELD_DURATION, AT(migration_retry, initial_delay_ms), .fallback = "\"5s\"",
     .min = 100, .max = DAY_MS,
     .help = "Time to wait before the first retry; it doubles with each."},
    {"maxDelay", FIELD_DURATION, AT(migration_retry, max_delay_ms), .fallback = "\"5m\"",
     .min = 100, .max = DAY_MS, .help = "Longest time to wait before a retry."},
};
static const struct table retry_table =
    TABLE_WITH_RULES(struct migration_retry, retry_fields, retry_rules);

// ---- spec -----------------------------------------------------------------------------------

static bool via_between_vms(const void *object)
{
  const struct vmmigration_spec *spec = object;
  return !spec->via || (spec->source.vm && spec->target.vm);
}

static bool delete_a_vm(const void *object)
{
  const struct vmmigration_spec *spec = object;
  return spec->source_after.action != SOURCE_DELETE || spec->source.vm;
}

static bool delete_verified(const void *object)
{
  const struct vmmigration_spec *spec = object;
  return spec->source_after.action != SOURCE_DELETE || spec->transfer.verify != MIGRATE_VERIFY_NONE;
}

static bool delete_whole(const void *object)
{
  const struct vmmigration_spec *spec = object;
  return spec->source_after.action != SOURCE_DELETE || !spec->source.vm ||
         spec->source.vm->disks.count == 0;
}

static bool images_differ(const void *object)
{
  const struct vmmigration_spec *spec = object;
  const struct migration_source_image *from = spec->source.image;
  const struct migration_target_image *to = spec->target.image;
  return !from || !to || !from->path || !str_eq(from->path, to->path) ||
         !str_eq(from->store.name, to->store.name) || !str_eq(from->store.ns, to->store.ns);
}

static const struct rule spec_rules[] = {
    {"via needs a vm as source and as target", via_between_vms},
    {"sourceAfter.action Delete needs a vm as source", delete_a_vm},
    {"sourceAfter.action Delete needs transfer.verify Stored or ReadBack", delete_verified},
    {"sourceAfter.action Delete needs all disks: source.vm.disks must not be given", delete_whole},
    {"source and target must not be the same image", images_differ},
    {NULL, NULL},
};

static const struct field spec_fields[] = {
    {"source", FIELD_OBJECT, AT(vmmigration_spec, source), &migration_source_table,
     .required = true, .help = "What is moved. Cannot be changed."},
    {"target", FIELD_OBJECT, AT(vmmigration_spec, target), &migration_target_table,
     .required = true, .help = "Where it goes. Cannot be changed."},
    {"via", FIELD_POINTER, AT(vmmigration_spec, via), &via_table,
     .help = "Stages the disks in a store; without it they go straight from machine to machine. "
             "Cannot be changed."},
    {"mode", FIELD_ENUM, AT(vmmigration_spec, mode), .names = mode_names, .fallback = "\"Cold\"",
     .help = "Cold: the source is off while it is moved. Cannot be changed."},
    {"shutdown", FIELD_OBJECT, AT(vmmigration_spec, shutdown), &shutdown_table,
     .help = "How a source that runs is brought to a stop."},
    {"sourceAfter", FIELD_OBJECT, AT(vmmigration_spec, source_after), &source_after_table,
     .help = "What becomes of the source after success."},
    {"onFailure", FIELD_OBJECT, AT(vmmigration_spec, on_failure), &on_failure_table,
     .help = "What becomes of both sides after a failure or a cancel."},
    {"transfer", FIELD_OBJECT, AT(vmmigration_spec, transfer), &transfer_table,
     .help = "How bytes are moved."},
    {"retry", FIELD_OBJECT, AT(vmmigration_spec, retry), &retry_table,
     .help = "How often and when it is tried again."},
    {"timeout", FIELD_DURATION, AT(vmmigration_spec, timeout_ms), .min = 1000, .max = 365 * DAY_MS,
     .help = "Time that all of it may take; without a limit by default."},
    {"dryRun", FIELD_BOOL, AT(vmmigration_spec, dry_run),
     .help = "Only checks, and changes nothing: see status.preflight."},
    {"cancel", FIELD_BOOL, AT(vmmigration_spec, cancel),
     .help = "Stops it and cleans up. Once seen this is final."},
    {"suspend", FIELD_BOOL, AT(vmmigration_spec, suspend),
     .help = "Pauses it; what has been moved is kept."},
    {"ttlSecondsAfterFinished", FIELD_INT, AT(vmmigration_spec, ttl_seconds_after_finished),
     .min = 0, .max = 31536000, .absent = -1,
     .help = "Seconds after which the object removes itself once it is finished; never by "
             "default."},
};
const struct table vmmigration_spec_table =
    TABLE_WITH_RULES(struct vmmigration_spec, spec_fields, spec_rules);
