// SPDX-License-Identifier: Apache-2.0
// What a migration has come to, and what its runner must find again after a restart.
#include "crds/tables_internal.h"
#include "crds/vmmigration_internal.h"

static const struct field summary_fields[] = {
    {"source", FIELD_STRING, AT(migration_summary, source), .help = "What is moved."},
    {"target", FIELD_STRING, AT(migration_summary, target), .help = "Where it goes."},
    {"progress", FIELD_STRING, AT(migration_summary, progress), .help = "How far it is."},
    {"rate", FIELD_STRING, AT(migration_summary, rate), .help = "How fast it goes."},
    {"eta", FIELD_STRING, AT(migration_summary, eta), .help = "How long it will take."},
};
static const struct table summary_table = TABLE(struct migration_summary, summary_fields);

static const struct field progress_fields[] = {
    {"percent", FIELD_INT, AT(migration_progress, percent), .required = true,
     .help = "Share that is done; 100 only when verified."},
    {"totalBytes", FIELD_INT, AT(migration_progress, total_bytes),
     .help = "Sizes of all disks, bytes."},
    {"dataBytes", FIELD_INT, AT(migration_progress, data_bytes),
     .help = "Bytes of them that are not holes."},
    {"transferredBytes", FIELD_INT, AT(migration_progress, transferred_bytes),
     .help = "Bytes that have been moved."},
    {"resentBytes", FIELD_INT, AT(migration_progress, resent_bytes),
     .help = "Bytes that had to be moved again."},
    {"bytesPerSecond", FIELD_INT, AT(migration_progress, bytes_per_second),
     .help = "Rate at present, bytes a second."},
    {"etaSeconds", FIELD_INT, AT(migration_progress, eta_seconds),
     .help = "Time that is left, seconds."},
};
static const struct table progress_table = TABLE(struct migration_progress, progress_fields);

static const struct field disk_fields[] = {
    {"name", FIELD_STRING, AT(migration_disk_status, name), .required = true,
     .help = "Name of the disk at the source."},
    {"source", FIELD_STRING, AT(migration_disk_status, source), .help = "Where it is read."},
    {"target", FIELD_STRING, AT(migration_disk_status, target), .help = "Where it is written."},
    {"format", FIELD_STRING, AT(migration_disk_status, format),
     .help = "Format that it is written in."},
    {"capacityBytes", FIELD_INT, AT(migration_disk_status, capacity_bytes),
     .help = "Size that the guest sees, bytes."},
    {"dataBytes", FIELD_INT, AT(migration_disk_status, data_bytes),
     .help = "Bytes of it that are not holes."},
    {"transferredBytes", FIELD_INT, AT(migration_disk_status, transferred_bytes),
     .help = "Bytes that have been moved."},
    {"verifiedBytes", FIELD_INT, AT(migration_disk_status, verified_bytes),
     .help = "Bytes that have been compared."},
    {"resentBytes", FIELD_INT, AT(migration_disk_status, resent_bytes),
     .help = "Bytes of this leg that were moved more than once."},
    {"bytesPerSecond", FIELD_INT, AT(migration_disk_status, bytes_per_second),
     .help = "Rate at present, bytes a second."},
    {"contentDigest", FIELD_STRING, AT(migration_disk_status, content_digest),
     .help = "Digest of what the guest sees."},
    {"objectSha256", FIELD_STRING, AT(migration_disk_status, object_sha256),
     .help = "SHA-256 of the stored image."},
    {"phase", FIELD_STRING, AT(migration_disk_status, phase),
     .help = "Pending, Transferring, Staging, Staged, Restoring or Done."},
    {"attempts", FIELD_INT, AT(migration_disk_status, attempts), .help = "How often it was begun."},
    {"message", FIELD_STRING, AT(migration_disk_status, message), .help = "What went wrong last."},
};
static const struct table disk_table = TABLE(struct migration_disk_status, disk_fields);

static const struct field owned_fields[] = {
    {"kind", FIELD_STRING, AT(owned_status, kind), .required = true,
     .help = "Volume, VM, Object, Image, Base, Clone, or Probe (of a store)."},
    {"id", FIELD_STRING, AT(owned_status, id), .required = true,
     .help = "What the far side knows it by."},
    {"where", FIELD_STRING, AT(owned_status, where),
     .help = "Provider or store, and the place there."},
    {"role", FIELD_STRING, AT(owned_status, role), .help = "target or staged."},
    {"disk", FIELD_STRING, AT(owned_status, disk), .help = "Disk that it is for."},
    {"layoutVersion", FIELD_INT, AT(owned_status, layout_version),
     .help = "Version of the layout of what is there."},
};
const struct table owned_status_table = TABLE(struct owned_status, owned_fields);

static const struct field result_vm_fields[] = {
    {"id", FIELD_STRING, AT(result_vm, id), .help = "What the platform identifies it by."},
    {"node", FIELD_STRING, AT(result_vm, node), .help = "Host that it is on."},
    {"name", FIELD_STRING, AT(result_vm, name), .help = "Its name."},
};
static const struct table result_vm_table = TABLE(struct result_vm, result_vm_fields);

static const struct field result_image_fields[] = {
    {"store", FIELD_STRING, AT(result_image, store), .help = "ImageStore that it is in."},
    {"path", FIELD_STRING, AT(result_image, path), .help = "Path in the store."},
    {"digest", FIELD_STRING, AT(result_image, digest), .help = "Digest of what the guest sees."},
};
static const struct table result_image_table = TABLE(struct result_image, result_image_fields);

static const struct field result_fields[] = {
    {"vm", FIELD_POINTER, AT(migration_result, vm), &result_vm_table,
     .help = "The machine that was made."},
    {"images", FIELD_LIST, AT(migration_result, images), &result_image_table,
     .help = "The images that were put in a store."},
};
static const struct table result_table = TABLE(struct migration_result, result_fields);

static const struct field finding_fields[] = {
    {"check", FIELD_STRING, AT(preflight_finding, check), .required = true,
     .help = "What was looked at."},
    {"severity", FIELD_STRING, AT(preflight_finding, severity), .help = "OK, Warning or Error."},
    {"message", FIELD_STRING, AT(preflight_finding, message), .help = "What was found."},
    {"suggestion", FIELD_STRING, AT(preflight_finding, suggestion), .help = "What to do about it."},
};
const struct table preflight_finding_table = TABLE(struct preflight_finding, finding_fields);

static const struct field memory_fields[] = {
    {"cancelled", FIELD_BOOL, AT(migration_memory, cancelled), .help = "Cancel has been seen."},
    {"checked", FIELD_BOOL, AT(migration_memory, checked), .help = "Preflight has passed."},
    {"madeBefore", FIELD_BOOL, AT(migration_memory, made_before),
     .help = "What was to be made was found, bearing the mark of this object."},
    {"outcome", FIELD_STRING, AT(migration_memory, outcome),
     .help = "The phase that it ends in, once decided."},
    {"reason", FIELD_STRING, AT(migration_memory, reason), .help = "Why, in one word."},
    {"message", FIELD_STRING, AT(migration_memory, message), .help = "Why, in a sentence."},
    {"sourceID", FIELD_STRING, AT(migration_memory, source_id),
     .help = "What the platform identifies the source by."},
    {"sourcePower", FIELD_STRING, AT(migration_memory, source_power),
     .help = "On or Off, before it was touched."},
    {"sourceAutostart", FIELD_BOOL, AT(migration_memory, source_autostart),
     .help = "It started with its host, before it was touched."},
    {"sourceTouched", FIELD_BOOL, AT(migration_memory, source_touched),
     .help = "It was shut down by drover."},
    {"sourceDone", FIELD_BOOL, AT(migration_memory, source_done),
     .help = "sourceAfter has been carried out."},
    {"shutdownTime", FIELD_STRING, AT(migration_memory, shutdown_time),
     .help = "When the source was told to stop, RFC 3339."},
    {"startedTime", FIELD_STRING, AT(migration_memory, started_time),
     .help = "When the target was told to start, RFC 3339."},
    {"vm", FIELD_STRING, AT(migration_memory, vm), .help = "The machine, as a JSON document."},
    {"created", FIELD_BOOL, AT(migration_memory, created),
     .help = "The machine is defined, or the image complete."},
    {"nextTryTime", FIELD_STRING, AT(migration_memory, next_try_time),
     .help = "When it is tried again, RFC 3339."},
    {"progressTime", FIELD_STRING, AT(migration_memory, progress_time),
     .help = "When progress was written last, RFC 3339."},
};
static const struct table memory_table = TABLE(struct migration_memory, memory_fields);

static const struct field status_fields[] = {
    {"observedGeneration", FIELD_INT, AT(vmmigration_status, observed_generation), .fallback = "-1",
     .help = "The metadata.generation that status speaks of."},
    {"phase", FIELD_STRING, AT(vmmigration_status, phase),
     .help = "Pending, Queued, Preflight, ShuttingDown, Preparing, Transferring, Verifying, "
             "Creating, Starting, CleaningUp, Succeeded, Failed or Cancelled."},
    {"summary", FIELD_OBJECT, AT(vmmigration_status, summary), &summary_table,
     .help = "The same for people, as text."},
    {"progress", FIELD_OBJECT, AT(vmmigration_status, progress), &progress_table,
     .help = "How far all disks are."},
    {"disks", FIELD_LIST, AT(vmmigration_status, disks), &disk_table,
     .help = "How far each disk is."},
    {"owned", FIELD_LIST, AT(vmmigration_status, owned), &owned_status_table,
     .help = "What drover made, or is about to make, and removes again unless it becomes the "
             "result."},
    {"result", FIELD_OBJECT, AT(vmmigration_status, result), &result_table,
     .help = "What came out, which drover never removes."},
    {"preflight", FIELD_LIST, AT(vmmigration_status, preflight), &preflight_finding_table,
     .help = "What was found before anything was changed."},
    {"startTime", FIELD_STRING, AT(vmmigration_status, start_time),
     .help = "When it began, RFC 3339."},
    {"completionTime", FIELD_STRING, AT(vmmigration_status, completion_time),
     .help = "When it ended, RFC 3339."},
    {"retries", FIELD_INT, AT(vmmigration_status, retries),
     .help = "How often it was tried again."},
    {"lastHandledRetry", FIELD_STRING, AT(vmmigration_status, last_handled_retry),
     .help = "The drover.dev/retry annotation that was obeyed last."},
    {"conditions", FIELD_LIST, AT(vmmigration_status, conditions), &condition_table,
     .help = "Finished, Succeeded, Failed, Progressing, Reconciling, Stalled and CleanupBlocked."},
    {"runner", FIELD_OBJECT, AT(vmmigration_status, memory), &memory_table,
     .help = "What drover must know after a restart; no interface for others."},
};
const struct table vmmigration_status_table = TABLE(struct vmmigration_status, status_fields);
