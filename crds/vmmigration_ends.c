// SPDX-License-Identifier: Apache-2.0
// Where a migration comes from and where it goes.
#include "crds/tables_internal.h"
#include "crds/vmmigration_internal.h"

#define VM_NAME_BYTES 128 // what we call a machine; other systems allow less, none demands more

static const char *const image_format_names[] = {"raw",  "qcow2", "raw.zst", "vmdk",
                                                 "vhdx", "vdi",   NULL};
static const char *const disk_formats[] = {"", "raw", "qcow2", NULL};
static const char *const written_formats[] = {"", "raw", "qcow2", "raw.zst", "vmdk", NULL};
static const char *const bus_names[] = {"", "virtio", "scsi", "sata", "ide", NULL};
static const char *const provisioning_names[] = {"Thin", "Thick", NULL};
static const char *const mac_names[] = {"Keep", "New", NULL};
static const char *const firmware_names[] = {"", "BIOS", "UEFI", NULL};
static const char *const power_names[] = {"AsSource", "On", "Off", NULL};
static const char *const readiness_names[] = {"Running", "None", NULL};
static const char *const overwrite_names[] = {"Never", "Owned", NULL};

// ---- source ---------------------------------------------------------------------------------

static bool one_of_name_and_id(const void *object)
{
  const struct migration_source_vm *vm = object;
  return !vm->name != !vm->id;
}

static const struct rule source_vm_rules[] = {
    {"exactly one of name and id must be given", one_of_name_and_id},
    {NULL, NULL},
};

static const struct field source_vm_fields[] = {
    {"providerRef", FIELD_OBJECT, AT(migration_source_vm, provider), &ref_table, .required = true,
     .help = "Provider that the machine is on."},
    {"name", FIELD_STRING, AT(migration_source_vm, name), .min = 1, .max = LIMIT_NAME_BYTES,
     .pattern = LINE_PATTERN, .help = "Name of the machine there."},
    {"id", FIELD_STRING, AT(migration_source_vm, id), .min = 1, .max = LIMIT_NAME_BYTES,
     .pattern = LINE_PATTERN, .help = "What the platform identifies it by; Libvirt: its UUID."},
    {"disks", FIELD_STRINGS, AT(migration_source_vm, disks), .max = LIMIT_DISKS, .item_max = 128,
     .pattern = LINE_PATTERN, .help = "Disks to take, by name; all of them by default."},
};
static const struct table source_vm_table =
    TABLE_WITH_RULES(struct migration_source_vm, source_vm_fields, source_vm_rules);

static bool disk_path_is_relative(const void *object)
{
  const struct migration_image_disk *disk = object;
  return !pattern_matches(BAD_KEY_PATTERN, disk->path);
}

static const struct rule image_disk_rules[] = {
    {"path must be relative, without empty, '.' or '..' parts", disk_path_is_relative},
    {NULL, NULL},
};

static const struct field image_disk_fields[] = {
    {"path", FIELD_STRING, AT(migration_image_disk, path), .required = true, .min = 1,
     .max = LIMIT_KEY_BYTES, .pattern = LINE_PATTERN, .help = "The image, as a path in the store."},
    {"format", FIELD_STRING, AT(migration_image_disk, format), .max = 16,
     .names = image_format_names, .help = "Its format; found out by looking when not said."},
    {"sha256", FIELD_STRING, AT(migration_image_disk, sha256), .max = 64,
     .pattern = "^[0-9A-Fa-f]{64}$",
     .help = "SHA-256 of the stored image in hexadecimal, which must come out."},
};
static const struct table image_disk_table =
    TABLE_WITH_RULES(struct migration_image_disk, image_disk_fields, image_disk_rules);

static bool one_of_path_and_disks(const void *object)
{
  const struct migration_source_image *image = object;
  return !image->path != (image->disks.count == 0);
}

static bool source_path_is_relative(const void *object)
{
  const struct migration_source_image *image = object;
  return !pattern_matches(BAD_KEY_PATTERN, image->path);
}

static const struct rule source_image_rules[] = {
    {"exactly one of path and disks must be given", one_of_path_and_disks},
    {"path must be relative, without empty, '.' or '..' parts", source_path_is_relative},
    {NULL, NULL},
};

static const struct field source_image_fields[] = {
    {"storeRef", FIELD_OBJECT, AT(migration_source_image, store), &ref_table, .required = true,
     .help = "ImageStore that the image is in."},
    {"path", FIELD_STRING, AT(migration_source_image, path), .min = 1, .max = LIMIT_KEY_BYTES,
     .pattern = LINE_PATTERN,
     .help = "Folder that drover exported to, or one bare image, as a path in the store."},
    {"disks", FIELD_LIST, AT(migration_source_image, disks), &image_disk_table, .max = LIMIT_DISKS,
     .help = "Bare images, in the order of the machine's disks."},
};
static const struct table source_image_table =
    TABLE_WITH_RULES(struct migration_source_image, source_image_fields, source_image_rules);

static bool one_source(const void *object)
{
  const struct migration_source *source = object;
  return !source->vm != !source->image;
}

static const struct rule source_rules[] = {
    {"exactly one of vm and image must be given", one_source},
    {NULL, NULL},
};

static const struct field source_fields[] = {
    {"vm", FIELD_POINTER, AT(migration_source, vm), &source_vm_table, .help = "A machine."},
    {"image", FIELD_POINTER, AT(migration_source, image), &source_image_table,
     .help = "Disk images in a store."},
};
const struct table migration_source_table =
    TABLE_WITH_RULES(struct migration_source, source_fields, source_rules);

// ---- target ---------------------------------------------------------------------------------

static bool disk_storage_is_straight(const void *object)
{
  const struct migration_target_disk *disk = object;
  return !pattern_matches(BAD_PATH_PATTERN, disk->storage);
}

static const struct rule target_disk_rules[] = {
    {"storage must not hold '.' or '..' parts", disk_storage_is_straight},
    {NULL, NULL},
};

static const struct field target_disk_fields[] = {
    {"source", FIELD_STRING, AT(migration_target_disk, source), .required = true, .min = 1,
     .max = 128, .pattern = LINE_PATTERN, .help = "Name of the disk at the source."},
    {"storage", FIELD_STRING, AT(migration_target_disk, storage), .min = 1, .max = LIMIT_PATH_BYTES,
     .pattern = LINE_PATTERN,
     .help = "Pool or absolute folder for this disk; by default the machine's storage."},
    {"format", FIELD_ENUM, AT(migration_target_disk, format), .names = disk_formats,
     .help = "Format to store it in; by default what the storage prefers."},
    {"bus", FIELD_ENUM, AT(migration_target_disk, bus), .names = bus_names,
     .help = "Bus that the machine sees it on; by default the one it had."},
    {"provisioning", FIELD_ENUM, AT(migration_target_disk, provisioning),
     .names = provisioning_names, .fallback = "\"Thin\"",
     .help = "Thin: space is taken as it is written; Thick: all of it at once."},
};
static const struct table target_disk_table =
    TABLE_WITH_RULES(struct migration_target_disk, target_disk_fields, target_disk_rules);

static const struct field network_fields[] = {
    {"source", FIELD_STRING, AT(migration_network, source), .required = true, .min = 1,
     .max = LIMIT_NAME_BYTES, .pattern = LINE_PATTERN,
     .help = "Name of the network at the source."},
    {"target", FIELD_STRING, AT(migration_network, target), .required = true, .min = 1,
     .max = LIMIT_NAME_BYTES, .pattern = LINE_PATTERN, .help = "Network to join at the target."},
    {"mac", FIELD_ENUM, AT(migration_network, mac), .names = mac_names, .fallback = "\"Keep\"",
     .help = "Keep: cards keep their MAC address; New: the target makes new ones."},
};
static const struct table network_table = TABLE(struct migration_network, network_fields);

static const struct field readiness_fields[] = {
    {"type", FIELD_ENUM, AT(migration_ready, type), .names = readiness_names,
     .fallback = "\"Running\"",
     .help = "Running: ready when the platform says that it runs; None: as soon as it is made."},
    {"timeout", FIELD_DURATION, AT(migration_ready, timeout_ms), .fallback = "\"5m\"", .min = 1000,
     .max = 86400000, .help = "Time that it may take to be ready."},
};
static const struct table readiness_table = TABLE(struct migration_ready, readiness_fields);

static bool storage_is_straight(const void *object)
{
  const struct migration_target_vm *vm = object;
  return !pattern_matches(BAD_PATH_PATTERN, vm->storage);
}

static bool disks_differ(const void *object)
{
  const struct migration_target_vm *vm = object;
  const struct migration_target_disk *disks = vm->disks.items;
  for (size_t i = 0; i < vm->disks.count; i++)
    for (size_t j = 0; j < i; j++)
      if (str_eq(disks[i].source, disks[j].source))
        return false;
  return true;
}

static bool networks_differ(const void *object)
{
  const struct migration_target_vm *vm = object;
  const struct migration_network *networks = vm->networks.items;
  for (size_t i = 0; i < vm->networks.count; i++)
    for (size_t j = 0; j < i; j++)
      if (str_eq(networks[i].source, networks[j].source))
        return false;
  return true;
}

static const struct rule target_vm_rules[] = {
    {"storage must not hold '.' or '..' parts", storage_is_straight},
    {"disks must not name the same source twice", disks_differ},
    {"networks must not name the same source twice", networks_differ},
    {NULL, NULL},
};

static const struct field target_vm_fields[] = {
    {"providerRef", FIELD_OBJECT, AT(migration_target_vm, provider), &ref_table, .required = true,
     .help = "Provider that the machine shall be on."},
    {"name", FIELD_STRING, AT(migration_target_vm, name), .min = 1, .max = VM_NAME_BYTES,
     .pattern = "^[^/.[:cntrl:]-][^/[:cntrl:]]*$",
     .help = "Name of the machine there; by default the one it had."},
    {"storage", FIELD_STRING, AT(migration_target_vm, storage), .min = 1, .max = LIMIT_PATH_BYTES,
     .pattern = LINE_PATTERN,
     .help = "Pool or absolute folder for its disks; by default the provider's."},
    {"disks", FIELD_LIST, AT(migration_target_vm, disks), &target_disk_table, .max = LIMIT_DISKS,
     .help = "What shall be different about single disks."},
    {"networks", FIELD_LIST, AT(migration_target_vm, networks), &network_table, .max = LIMIT_NICS,
     .help = "Which network replaces which; others go by their own name, or the provider's "
             "default."},
    {"cpus", FIELD_INT, AT(migration_target_vm, cpus), .min = 1, .max = 1024,
     .help = "Number of virtual processors; by default as the source."},
    {"memory", FIELD_BYTES, AT(migration_target_vm, memory_bytes),
     .help = "Memory in bytes, such as 2Gi; by default as the source."},
    {"firmware", FIELD_ENUM, AT(migration_target_vm, firmware), .names = firmware_names,
     .help = "What starts the machine; by default as the source."},
    {"powerState", FIELD_ENUM, AT(migration_target_vm, power_state), .names = power_names,
     .fallback = "\"AsSource\"",
     .help = "Whether it shall run in the end; AsSource: when the source ran."},
    {"readiness", FIELD_OBJECT, AT(migration_target_vm, readiness), &readiness_table,
     .help = "When a machine that was started counts as ready."},
};
static const struct table target_vm_table =
    TABLE_WITH_RULES(struct migration_target_vm, target_vm_fields, target_vm_rules);

static bool target_path_is_relative(const void *object)
{
  const struct migration_target_image *image = object;
  return !pattern_matches(BAD_KEY_PATTERN, image->path);
}

static bool only_qcow2_is_compressed(const void *object)
{
  const struct migration_target_image *image = object;
  return !image->compress || image->format == MIGRATE_FORMAT_QCOW2;
}

static const struct rule target_image_rules[] = {
    {"path must be relative, without empty, '.' or '..' parts", target_path_is_relative},
    {"compress goes with format qcow2 only", only_qcow2_is_compressed},
    {NULL, NULL},
};

static const struct field target_image_fields[] = {
    {"storeRef", FIELD_OBJECT, AT(migration_target_image, store), &ref_table, .required = true,
     .help = "ImageStore that the image is put in."},
    {"path", FIELD_STRING, AT(migration_target_image, path), .required = true, .min = 1,
     .max = LIMIT_KEY_BYTES, .pattern = LINE_PATTERN,
     .help = "Folder in the store, one for each image."},
    {"format", FIELD_ENUM, AT(migration_target_image, format), .names = written_formats,
     .fallback = "\"qcow2\"", .help = "Format of the disks."},
    {"compress", FIELD_BOOL, AT(migration_target_image, compress),
     .help = "Whether the clusters of a qcow2 are compressed, with zstd."},
    {"overwrite", FIELD_ENUM, AT(migration_target_image, overwrite), .names = overwrite_names,
     .fallback = "\"Never\"",
     .help = "Never: nothing is replaced; Owned: what drover put there may be."},
};
static const struct table target_image_table =
    TABLE_WITH_RULES(struct migration_target_image, target_image_fields, target_image_rules);

static bool one_target(const void *object)
{
  const struct migration_target *target = object;
  return !target->vm != !target->image;
}

static const struct rule target_rules[] = {
    {"exactly one of vm and image must be given", one_target},
    {NULL, NULL},
};

static const struct field target_fields[] = {
    {"vm", FIELD_POINTER, AT(migration_target, vm), &target_vm_table,
     .help = "A machine to be made."},
    {"image", FIELD_POINTER, AT(migration_target, image), &target_image_table,
     .help = "Disk images to be put in a store."},
};
const struct table migration_target_table =
    TABLE_WITH_RULES(struct migration_target, target_fields, target_rules);
