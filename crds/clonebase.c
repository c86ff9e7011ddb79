// SPDX-License-Identifier: Apache-2.0
#include "crds/clonebase.h"

#include "crds/tables_internal.h"
#include "crds/vmmigration_internal.h"

#define DAY_MS (24 * 3600000ll)

static const char *const take_names[] = {"Copy", "Convert", NULL};
static const char *const policy_names[] = {"Guest", "Force", "Never", NULL};
static const char *const firmware_names[] = {"", "BIOS", "UEFI", NULL};
static const char *const deletion_names[] = {"", "Delete", "Retain", NULL};

// ---- where it comes from --------------------------------------------------------------------

static const struct field shutdown_fields[] = {
    {"policy", FIELD_ENUM, AT(base_shutdown, policy), .names = policy_names,
     .fallback = "\"Never\"",
     .help = "Guest: the guest is asked to shut down; Force: it is switched off; Never: a machine "
             "that runs is refused."},
    {"timeout", FIELD_DURATION, AT(base_shutdown, timeout_ms), .fallback = "\"5m\"", .min = 1000,
     .max = DAY_MS, .help = "Time that the guest may take to shut down."},
};
static const struct table shutdown_table = TABLE(struct base_shutdown, shutdown_fields);

static bool one_of_name_and_id(const void *object)
{
  const struct clonebase_vm *vm = object;
  return !vm->name != !vm->id;
}

static const struct rule vm_rules[] = {
    {"exactly one of name and id must be given", one_of_name_and_id},
    {NULL, NULL},
};

static const struct field vm_fields[] = {
    {"name", FIELD_STRING, AT(clonebase_vm, name), .min = 1, .max = LIMIT_NAME_BYTES,
     .pattern = LINE_PATTERN, .help = "Name of the machine there."},
    {"id", FIELD_STRING, AT(clonebase_vm, id), .min = 1, .max = LIMIT_NAME_BYTES,
     .pattern = LINE_PATTERN, .help = "What the platform identifies it by; Libvirt: its UUID."},
    {"take", FIELD_ENUM, AT(clonebase_vm, take), .names = take_names, .fallback = "\"Copy\"",
     .help = "Copy: the machine is left alone; Convert: it becomes the base itself."},
    {"shutdown", FIELD_OBJECT, AT(clonebase_vm, shutdown), &shutdown_table,
     .help = "How a machine that runs is brought to a stop."},
};
static const struct table vm_table = TABLE_WITH_RULES(struct clonebase_vm, vm_fields, vm_rules);

static bool path_is_relative(const void *object)
{
  const struct clonebase_image *image = object;
  return !pattern_matches(BAD_KEY_PATTERN, image->path);
}

static const struct rule image_rules[] = {
    {"path must be relative, without empty, '.' or '..' parts", path_is_relative},
    {NULL, NULL},
};

static const struct field image_fields[] = {
    {"storeRef", FIELD_OBJECT, AT(clonebase_image, store), &ref_table, .required = true,
     .help = "ImageStore that the image is in."},
    {"path", FIELD_STRING, AT(clonebase_image, path), .required = true, .min = 1,
     .max = LIMIT_KEY_BYTES, .pattern = LINE_PATTERN,
     .help =
         "Path in the store. Libvirt: a folder that drover exported to, or one bare image. LXD: "
         "an image as it exports them, in one file. Nspawn: a root file system as a tar archive."},
    {"firmware", FIELD_ENUM, AT(clonebase_image, firmware), .names = firmware_names,
     .help = "What starts the machine; by default as the image says. A bare image says nothing: it "
             "needs this, cpus and memory. Not with LXD and Nspawn."},
};
static const struct table image_table =
    TABLE_WITH_RULES(struct clonebase_image, image_fields, image_rules);

static bool name_or_server(const void *object)
{
  const struct clonebase_template *t = object;
  return !t->name != !t->server;
}

static bool one_of_alias_and_fingerprint(const void *object)
{
  const struct clonebase_template *t = object;
  return !t->name ? !t->alias != !t->fingerprint : !t->alias && !t->fingerprint;
}

static bool image_is_certain(const void *object)
{
  const struct clonebase_template *t = object;
  return !t->server || t->fingerprint || str_starts(t->server, "https://");
}

static const struct rule template_rules[] = {
    {"exactly one of name and server must be given", name_or_server},
    {"with server, exactly one of alias and fingerprint must be given, and with name neither",
     one_of_alias_and_fingerprint},
    {"server must be https://... unless a fingerprint says which image must come",
     image_is_certain},
    {NULL, NULL},
};

static const struct field template_fields[] = {
    {"name", FIELD_STRING, AT(clonebase_template, name), .min = 1, .max = LIMIT_NAME_BYTES,
     .pattern = LINE_PATTERN,
     .help = "Template or image that the platform has already; it is used as it is, and stays."},
    {"server", FIELD_STRING, AT(clonebase_template, server), .min = 1, .max = 512,
     .pattern = URL_PATTERN, .help = "Server that the platform downloads the image from."},
    {"alias", FIELD_STRING, AT(clonebase_template, alias), .min = 1, .max = LIMIT_NAME_BYTES,
     .pattern = LINE_PATTERN, .help = "What the server calls the image, such as debian/12."},
    {"fingerprint", FIELD_STRING, AT(clonebase_template, fingerprint), .max = 64,
     .pattern = "^[0-9a-f]{12,64}$",
     .help = "SHA-256 of the image in hexadecimal, or how it begins."},
};
static const struct table template_table =
    TABLE_WITH_RULES(struct clonebase_template, template_fields, template_rules);

// ---- spec -----------------------------------------------------------------------------------

static bool one_origin(const void *object)
{
  const struct clonebase_spec *spec = object;
  return !!spec->vm + !!spec->image + !!spec->template_ == 1;
}

static bool hardware_is_unknown(const void *object)
{
  const struct clonebase_spec *spec = object;
  return !spec->vm || (spec->cpus == 0 && spec->memory_bytes == 0);
}

static bool stays_where_it_is(const struct clonebase_spec *spec)
{
  return (spec->vm && spec->vm->take == BASE_CONVERT) || (spec->template_ && spec->template_->name);
}

static bool storage_acts(const void *object)
{
  const struct clonebase_spec *spec = object;
  return !spec->storage || !stays_where_it_is(spec);
}

static bool storage_is_straight(const void *object)
{
  const struct clonebase_spec *spec = object;
  return !pattern_matches(BAD_PATH_PATTERN, spec->storage);
}

static bool deletes_its_own(const void *object)
{
  const struct clonebase_spec *spec = object;
  return spec->deletion_policy != BASE_DELETE || !spec->template_ || !spec->template_->name;
}

static const struct rule spec_rules[] = {
    {"exactly one of vm, image and template must be given", one_origin},
    {"cpus and memory cannot go with a vm, which has its own", hardware_is_unknown},
    {"storage cannot go with vm.take Convert or template.name, which stay where they are",
     storage_acts},
    {"storage must not hold '.' or '..' parts", storage_is_straight},
    {"deletionPolicy Delete cannot go with template.name, which drover did not make",
     deletes_its_own},
    {NULL, NULL},
};

static const struct field spec_fields[] = {
    {"providerRef", FIELD_OBJECT, AT(clonebase_spec, provider), &ref_table, .required = true,
     .help = "Provider that it is on. Cannot be changed."},
    {"vm", FIELD_POINTER, AT(clonebase_spec, vm), &vm_table,
     .help = "A machine there that it is made of. Cannot be changed."},
    {"image", FIELD_POINTER, AT(clonebase_spec, image), &image_table,
     .help = "An image in a store that it is made of. Cannot be changed."},
    {"template", FIELD_POINTER, AT(clonebase_spec, template_), &template_table,
     .help = "A template or image that the platform has or downloads. Cannot be changed."},
    {"cpus", FIELD_INT, AT(clonebase_spec, cpus), .min = 1, .max = 1024,
     .help = "Number of processors of clones of an image or template; by default as it says. "
             "Cannot be changed."},
    {"memory", FIELD_BYTES, AT(clonebase_spec, memory_bytes),
     .help = "Memory in bytes, such as 2Gi, of clones of an image or template; by default as it "
             "says. Cannot be changed."},
    {"storage", FIELD_STRING, AT(clonebase_spec, storage), .min = 1, .max = LIMIT_PATH_BYTES,
     .pattern = LINE_PATTERN,
     .help = "Pool or absolute folder for its disks; by default the provider's. Cannot be "
             "changed."},
    {"deletionPolicy", FIELD_ENUM, AT(clonebase_spec, deletion_policy), .names = deletion_names,
     .help = "What becomes of it on the platform when this object goes: Delete or Retain. By "
             "default what drover made is deleted, and what was there before is retained."},
    {"suspend", FIELD_BOOL, AT(clonebase_spec, suspend),
     .help = "Leaves this base as it is until it is taken away again."},
};
const struct table clonebase_spec_table =
    TABLE_WITH_RULES(struct clonebase_spec, spec_fields, spec_rules);

// ---- status ---------------------------------------------------------------------------------

static const struct field summary_fields[] = {
    {"provider", FIELD_STRING, AT(clonebase_summary, provider), .help = "Provider that it is on."},
    {"source", FIELD_STRING, AT(clonebase_summary, source), .help = "What it is made of."},
    {"progress", FIELD_STRING, AT(clonebase_summary, progress), .help = "How far it is."},
};
static const struct table summary_table = TABLE(struct clonebase_summary, summary_fields);

static const struct field memory_fields[] = {
    {"checked", FIELD_BOOL, AT(clonebase_memory, checked), .help = "Preflight has passed."},
    {"made", FIELD_BOOL, AT(clonebase_memory, made), .help = "It was registered once."},
    {"stopped", FIELD_BOOL, AT(clonebase_memory, stopped),
     .help = "The machine that it is made of ran, and was stopped for it."},
    {"stopTime", FIELD_STRING, AT(clonebase_memory, stop_time),
     .help = "When it was told to stop, RFC 3339."},
    {"migration", FIELD_STRING, AT(clonebase_memory, migration),
     .help = "VMMigration that brings its disks."},
    {"nextTryTime", FIELD_STRING, AT(clonebase_memory, next_try_time),
     .help = "When it is tried again, RFC 3339."},
};
static const struct table memory_table = TABLE(struct clonebase_memory, memory_fields);

static const struct field status_fields[] = {
    {"observedGeneration", FIELD_INT, AT(clonebase_status, observed_generation), .fallback = "-1",
     .help = "The metadata.generation that status speaks of."},
    {"phase", FIELD_STRING, AT(clonebase_status, phase),
     .help = "Pending, Copying, Registering, Ready, Failed or Deleting."},
    {"id", FIELD_STRING, AT(clonebase_status, id), .help = "What the platform identifies it by."},
    {"revision", FIELD_STRING, AT(clonebase_status, revision),
     .help = "Identity of its content: another one means that somebody changed it."},
    {"bytes", FIELD_INT, AT(clonebase_status, bytes), .help = "What it takes, bytes."},
    {"dependents", FIELD_INT, AT(clonebase_status, dependents),
     .help = "How many Clones and CloneSets refer to it."},
    {"inUse", FIELD_BOOL, AT(clonebase_status, in_use), .help = "Clones of it exist."},
    {"modified", FIELD_BOOL, AT(clonebase_status, modified),
     .help = "Somebody changed its content after it was registered."},
    {"summary", FIELD_OBJECT, AT(clonebase_status, summary), &summary_table,
     .help = "The same for people, as text."},
    {"owned", FIELD_LIST, AT(clonebase_status, owned), &owned_status_table,
     .help = "What drover made, or is about to make."},
    {"preflight", FIELD_LIST, AT(clonebase_status, preflight), &preflight_finding_table,
     .help = "What was found before anything was made."},
    {"retries", FIELD_INT, AT(clonebase_status, retries), .help = "How often it was tried again."},
    {"conditions", FIELD_LIST, AT(clonebase_status, conditions), &condition_table,
     .help = "Ready, InUse, Modified, Reconciling, Stalled and CleanupBlocked."},
    {"runner", FIELD_OBJECT, AT(clonebase_status, memory), &memory_table,
     .help = "What drover must know after a restart; no interface for others."},
};
const struct table clonebase_status_table = TABLE(struct clonebase_status, status_fields);
