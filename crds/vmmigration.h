// SPDX-License-Identifier: Apache-2.0
// VMMigration (vmm): export, import, conversion and migration of virtual machines, in one kind.
#pragma once

#include "crds/common.h"

enum migration_power { MIGRATE_POWER_AS_SOURCE, MIGRATE_POWER_ON, MIGRATE_POWER_OFF };
enum migration_mac { MIGRATE_MAC_KEEP, MIGRATE_MAC_NEW };
enum migration_provisioning { MIGRATE_THIN, MIGRATE_THICK };
enum migration_overwrite { OVERWRITE_NEVER, OVERWRITE_OWNED };
enum migration_retain { RETAIN_NEVER, RETAIN_ON_FAILURE, RETAIN_ALWAYS };
enum migration_shutdown { SHUTDOWN_GUEST, SHUTDOWN_FORCE, SHUTDOWN_NEVER };
enum migration_source_after { SOURCE_OFF, SOURCE_RESTORE, SOURCE_DELETE };
enum migration_failed_target { FAILED_TARGET_KEEP, FAILED_TARGET_REMOVE };
enum migration_failed_source { FAILED_SOURCE_RESTORE, FAILED_SOURCE_LEAVE_OFF };
enum migration_verify { MIGRATE_VERIFY_STORED, MIGRATE_VERIFY_READBACK, MIGRATE_VERIFY_NONE };
enum migration_readiness { READINESS_RUNNING, READINESS_NONE };
// "" = not said, then as the provider's default (qcow2) or the source's format.
enum migration_format {
  MIGRATE_FORMAT_ANY,
  MIGRATE_FORMAT_RAW,
  MIGRATE_FORMAT_QCOW2,
  MIGRATE_FORMAT_RAW_ZST, // this and the next: of stored images only
  MIGRATE_FORMAT_VMDK,
};
enum migration_bus {
  MIGRATE_BUS_ANY,
  MIGRATE_BUS_VIRTIO,
  MIGRATE_BUS_SCSI,
  MIGRATE_BUS_SATA,
  MIGRATE_BUS_IDE
};
enum migration_firmware { MIGRATE_FIRMWARE_ANY, MIGRATE_FIRMWARE_BIOS, MIGRATE_FIRMWARE_UEFI };

struct migration_source_vm {
  struct ref provider;  // "providerRef"
  char *name, *id;      // exactly one
  struct strings disks; // names; empty = all
};

struct migration_image_disk {
  char *path, *format, *sha256; // format: raw, qcow2, raw.zst, vmdk, vhdx, vdi; absent = look
};

struct migration_source_image {
  struct ref store;  // "storeRef"
  char *path;        // folder of layout v1, or one bare image
  struct list disks; // of struct migration_image_disk; exactly one of path and disks
};

struct migration_target_disk {
  char *source; // name of the source's disk
  char *storage;
  int format, bus, provisioning;
};

struct migration_network {
  char *source, *target;
  int mac;
};

struct migration_target_vm {
  struct ref provider;
  char *name;
  char *storage;        // for all disks
  struct list disks;    // of struct migration_target_disk
  struct list networks; // of struct migration_network
  int64_t cpus;         // 0 = as the source
  int64_t memory_bytes; // "memory"
  int firmware, power_state;
  struct migration_ready {
    int type;
    int64_t timeout_ms; // default 5m
  } readiness;
};

struct migration_target_image {
  struct ref store;
  char *path;
  int format;    // raw, qcow2, raw.zst or vmdk, default qcow2
  bool compress; // of qcow2: with zstd
  int overwrite; // Never, Owned
};

struct vmmigration_spec {
  struct migration_source {
    struct migration_source_vm *vm;
    struct migration_source_image *image;
  } source;
  struct migration_target {
    struct migration_target_vm *vm;
    struct migration_target_image *image;
  } target;
  struct migration_via {
    struct ref store;
    int retain;
  } * via;
  int mode; // "Cold"
  struct migration_shutdown_spec {
    int policy;         // Guest, Force, Never
    int64_t timeout_ms; // default 5m
  } shutdown;
  struct migration_source_after_spec {
    int action;
    int64_t after_ms; // "after": wait so long after success before Delete; default 0
  } source_after;
  struct migration_on_failure {
    int target, source;
  } on_failure;
  struct migration_transfer {
    int verify;
    int64_t bytes_per_second;
    int64_t connections;      // default 4, 1..16
    int64_t stall_timeout_ms; // default 5m
  } transfer;
  struct migration_retry {
    int64_t limit;                          // default 5
    int64_t initial_delay_ms, max_delay_ms; // 5s, 5m
  } retry;
  int64_t timeout_ms; // FIELD_DURATION_ABSENT = none
  bool dry_run, cancel, suspend;
  int64_t ttl_seconds_after_finished; // -1 = none
};

struct migration_summary {
  char *source, *target, *progress, *rate, *eta;
};

struct migration_progress {
  int64_t percent, total_bytes, data_bytes, transferred_bytes, resent_bytes, bytes_per_second;
  int64_t eta_seconds;
};

// Disk phases: "Pending", "Transferring" (direct, export or import), "Staging" (first leg of via),
// "Staged", "Restoring" (second leg), "Done".
struct migration_disk_status {
  char *name, *source, *target, *format;
  int64_t capacity_bytes, data_bytes, transferred_bytes, verified_bytes, resent_bytes,
      bytes_per_second;
  char *content_digest, *object_sha256;
  char *phase;
  int64_t attempts;
  char *message;
};

struct owned_status { // the ledger
  char *kind;         // "Volume", "VM", "Object", "Image"
  char *id;
  char *where; // "provider NS/NAME" or "store NS/NAME", then what the provider says
  char *role;  // "target", "staged": which policy decides about it
  char *disk;  // name of the disk it is for, NULL = none
  int64_t layout_version;
};

struct result_image {
  char *store, *path, *digest;
};

struct preflight_finding {
  char *check, *severity, *message, *suggestion;
};

struct vmmigration_status {
  int64_t observed_generation;
  char *phase;
  struct migration_summary summary;
  struct migration_progress progress;
  struct list disks; // of struct migration_disk_status
  struct list owned; // of struct owned_status
  struct migration_result {
    struct result_vm {
      char *id, *node, *name;
    } * vm;
    struct list images; // of struct result_image
  } result;
  struct list preflight; // of struct preflight_finding
  char *start_time, *completion_time;
  int64_t retries;
  char *last_handled_retry;
  struct list conditions;
  // What a restart must know and people need not read.
  struct migration_memory {
    bool cancelled; // latched
    bool checked;   // preflight has passed
    bool made_before;
    char *outcome;          // "Succeeded", "Failed", "Cancelled" once decided
    char *reason, *message; // of the outcome
    char *source_id;
    char *source_power; // "On", "Off": before we touched it
    bool source_autostart;
    bool source_touched; // shut down by us
    bool source_done;    // sourceAfter has been carried out
    char *shutdown_time; // when it was told to stop
    char *started_time;  // when the target was told to start
    char *vm;            // neutral description of what is moved, as JSON (it outlives the source)
    bool created;        // the VM is defined or vm.json written
    char *next_try_time; // backing off until then
    char *progress_time; // when status was written last
  } memory;              // "runner"
};

extern const struct table vmmigration_spec_table, vmmigration_status_table;
