// SPDX-License-Identifier: Apache-2.0
// Images in stores, as the source of a migration and as its target: what preflight reads of them.
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "controller/migration_internal.h"
#include "disk/open.h"

DEFINE_CLEANUP(storage_free, struct storage *)
DEFINE_CLEANUP(storage_lane_free, struct storage_lane *)

static int format_named(const char *name)
{
  for (int i = DISK_FORMAT_RAW; name && disk_format_names[i]; i++)
    if (str_eq(name, disk_format_names[i]))
      return i;
  return DISK_FORMAT_ANY;
}

static int fit_to_read(const struct vm_disk *d, const struct image_info *info, struct err *err)
{
  if (info->backing_path)
    return err_set(err, ERR_CORRUPT, "%s names a backing file (%s); flatten it first", d->path,
                   info->backing_path);
  if (info->has_data_file)
    return err_set(err, ERR_CORRUPT,
                   "%s keeps its data in another file; convert it to a plain qcow2 first", d->path);
  if (info->encrypted)
    return err_set(err, ERR_UNSUPPORTED, "%s is encrypted; decrypt it first", d->path);
  if (info->size_bytes == 0)
    return err_set(err, ERR_CORRUPT, "%s is empty", d->path);
  return 0;
}

// Whatever is no other format can be taken for raw: not what is called otherwise.
static int is_as_called(const struct vm_disk *d, const struct image_info *info, struct err *err)
{
  const char *dot = strrchr(d->path, '.');
  int called = format_named(dot ? dot + 1 : NULL);
  if (d->format != DISK_FORMAT_ANY || info->format != DISK_FORMAT_RAW || info->size_bytes == 0 ||
      called == DISK_FORMAT_ANY || called == DISK_FORMAT_RAW)
    return 0;
  return err_set(err, ERR_CORRUPT, "%s is no %s image: it does not begin as one", d->path, dot + 1);
}

// Reads the head of a stored disk: what it is, how large, and whether it is fit to be opened at
// all.
static int look_at(struct storage *store, struct vm_disk *d, struct err *err)
{
  struct object_reader *reader;
  struct image_info info = {0};
  if (storage_reader(store, d->path, &reader, err) != 0)
    return -1;
  int failed = image_probe(reader, d->format, &info, err);
  object_reader_free(reader);
  if (failed)
    return err_prefix(err, "%s", d->path);
  int bad = is_as_called(d, &info, err);
  d->format = info.format;
  d->capacity_bytes = (int64_t)info.size_bytes;
  bad = bad ? bad : fit_to_read(d, &info, err);
  image_info_release(&info);
  return bad;
}

static int finding_of(struct findings *f, const char *check, const char *suggestion,
                      const struct err *failed, struct err *err)
{
  if (err_retryable(failed->kind)) {
    *err = *failed;
    return -1;
  }
  findings_add(f, check, FINDING_ERROR, suggestion, "%s", failed->message);
  return 0;
}

static int look_at_all(struct storage *store, struct vm *vm, struct findings *f, struct err *err)
{
  struct vm_disk *disks = vm->disks.items;
  for (size_t i = 0; i < vm->disks.count; i++) {
    struct err failed = ERR_INIT;
    if (look_at(store, &disks[i], &failed) != 0 &&
        finding_of(f, "SourceImage", "check the path and the file", &failed, err) != 0)
      return -1;
  }
  return 0;
}

static int add_bare(struct vm *vm, const char *path, int format, struct err *err)
{
  struct vm_disk *d = list_add(&vm->disks, sizeof(*d), LIMIT_DISKS);
  if (!d)
    return err_set(err, ERR_LIMIT, "more than %d disks", LIMIT_DISKS);
  d->name = str_printf("disk-%zu", vm->disks.count - 1);
  d->path = str_dup(path);
  d->format = format;
  d->bus = VM_BUS_VIRTIO;
  d->boot_order = vm->disks.count == 1 ? 1 : 0;
  return 0;
}

static int add_bare_disks(const struct migration_source_image *s, struct vm *vm, struct err *err)
{
  const struct migration_image_disk *disks = s->disks.items;
  if (s->path)
    return add_bare(vm, s->path, DISK_FORMAT_ANY, err);
  for (size_t i = 0; i < s->disks.count; i++)
    if (add_bare(vm, disks[i].path, format_named(disks[i].format), err) != 0)
      return -1;
  return 0;
}

// "images/web.qcow2" -> "web": what an image made of it says the machine is called.
static char *name_of_file(const char *path)
{
  const char *slash = strrchr(path, '/');
  const char *name = slash ? slash + 1 : path;
  size_t length = strcspn(name, ".");
  return length ? str_printf("%.*s", (int)length, name) : str_dup(name);
}

// A bare image says nothing of the machine: what the manifest says is all there is.
static int describe_bare(const struct run *r, struct vm *vm, struct err *err)
{
  const struct migration_target_vm *t = r->spec->target.vm;
  table_defaults(&vm_table, vm);
  if (add_bare_disks(r->spec->source.image, vm, err) != 0)
    return -1;
  vm->name = t ? str_dup(t->name) : name_of_file(vm_disk_at(vm, 0)->path);
  const struct migration_network *networks = t ? t->networks.items : NULL;
  for (size_t i = 0; t && i < t->networks.count; i++) {
    struct vm_nic *nic = list_add(&vm->nics, sizeof(*nic), LIMIT_NICS);
    if (nic)
      *nic = (struct vm_nic){.model = str_dup("virtio"), .network = str_dup(networks[i].source)};
  }
  return 0;
}

// Layout v1: the disks' names are those of the VM, their paths the objects.
static int describe_layout(const struct image *image, const char *path, struct vm *vm,
                           struct err *err)
{
  if (vm_copy(&image->vm, vm, err) != 0)
    return -1;
  struct vm_disk *disks = vm->disks.items;
  for (size_t i = 0; i < vm->disks.count; i++) {
    const struct image_disk *stored = image_disk_named(image, disks[i].name);
    if (!stored || strchr(stored->object, '/'))
      return err_set(err, ERR_CORRUPT, "%s/vm.json names no object for disk '%s'", path,
                     disks[i].name);
    free(disks[i].path);
    disks[i].path = image_key(path, stored->object);
    disks[i].format = format_named(stored->format);
  }
  return 0;
}

static int describe(struct run *r, struct storage_lane *lane, struct vm *vm, struct err *err)
{
  const struct migration_source_image *s = r->spec->source.image;
  struct image image CLEANUP(image_release) = {0};
  struct err failed = ERR_INIT;
  if (s->path && image_read(lane, s->path, &image, &failed) == 0)
    return describe_layout(&image, s->path, vm, err);
  if (s->path && failed.kind != ERR_NOT_FOUND) {
    *err = failed;
    return -1;
  }
  return describe_bare(r, vm, err);
}

int describe_source_image(struct run *r, struct vm *ret, struct findings *f, struct err *err)
{
  struct storage *store CLEANUP(storage_free_p) = NULL;
  struct storage_lane *lane CLEANUP(storage_lane_free_p) = NULL;
  struct err failed = ERR_INIT;
  if (run_store_lane(r, &r->spec->source.image->store, false, &store, &lane, &failed) != 0)
    return finding_of(f, "SourceStore", "see the message", &failed, err);
  if (storage_probe(lane, false, r->owner, &failed) != 0)
    return finding_of(f, "SourceStore", "see the message", &failed, err);
  if (describe(r, lane, ret, &failed) != 0)
    return finding_of(f, "SourceImage", "check spec.source.image.path", &failed, err);
  return look_at_all(store, ret, f, err);
}

// ---- target ---------------------------------------------------------------------------------

int check_store_space(const struct vm *vm, struct storage_lane *lane, const char *check,
                      struct findings *f, struct err *err)
{
  int64_t free_bytes = -1, needed_bytes = 0;
  char needed[32], there[32];
  for (size_t i = 0; i < vm->disks.count; i++)
    needed_bytes += vm_disk_at(vm, i)->allocated_bytes;
  if (storage_free_bytes(lane, &free_bytes, err) != 0)
    return -1;
  if (free_bytes >= 0 && needed_bytes > free_bytes)
    findings_add(f, check, FINDING_ERROR, "make room, or choose another store",
                 "the disks need %s, the store has %s free",
                 str_human_bytes((double)needed_bytes, needed),
                 str_human_bytes((double)free_bytes, there));
  return 0;
}

// What is about to be written must not be there yet, unless we may replace it.
static int check_objects(struct run *r, const struct vm *vm, struct storage_lane *lane,
                         struct findings *f, struct err *err)
{
  const struct migration_target_image *t = r->spec->target.image;
  for (size_t i = 0; i < vm->disks.count; i++) {
    const struct vm_disk *d = vm_disk_at(vm, i);
    cleanup_free char *name = image_object_name(d, i, plan_object_format(r, d));
    cleanup_free char *key = image_key(t->path, name);
    enum image_holder holder;
    if (image_object_holder(lane, key, r->owner, &holder, err) != 0)
      return -1;
    bool replaceable = holder == HELD_BY_DROVER && t->overwrite == OVERWRITE_OWNED;
    if (holder > HELD_BY_US && !replaceable)
      findings_add(f, "TargetPath", FINDING_ERROR, "choose another spec.target.image.path",
                   "'%s' is there already%s", key,
                   holder == HELD_BY_OTHERS ? " and was not made by drover" : "");
  }
  return 0;
}

static int check_place(struct run *r, struct storage_lane *lane, struct findings *f,
                       bool *ret_made_before, struct err *err)
{
  const struct migration_target_image *t = r->spec->target.image;
  struct image image CLEANUP(image_release) = {0};
  struct err failed = ERR_INIT;
  if (image_read(lane, t->path, &image, &failed) != 0) {
    if (failed.kind == ERR_NOT_FOUND)
      return 0;
    return finding_of(f, "TargetPath", "choose another spec.target.image.path", &failed, err);
  }
  if (owner_same_object(image.owner, r->owner))
    return 0;
  if (owner_same_manifest(image.owner, r->owner)) {
    *ret_made_before = true;
    add_result_images(r, &image);
    return 0;
  }
  bool drovers = !str_empty(image.owner);
  if (t->overwrite == OVERWRITE_OWNED && drovers)
    return 0;
  findings_add(f, "TargetPath", FINDING_ERROR,
               drovers ? "choose another path, or set spec.target.image.overwrite: Owned"
                       : "choose another path",
               "spec.target.image.path '%s' holds an image already", t->path);
  return 0;
}

// Compressed ones are as long as they come out.
static void check_format(const struct run *r, const struct storage *store, struct findings *f)
{
  const struct migration_target_image *t = r->spec->target.image;
  const char *packed = t->format == MIGRATE_FORMAT_RAW_ZST ? "raw.zst"
                       : t->format == MIGRATE_FORMAT_VMDK  ? "vmdk"
                                                           : NULL;
  if (t->compress && storage_is_ordered(store))
    findings_add(f, "TargetFormat", FINDING_ERROR, "leave spec.target.image.compress out",
                 "a compressed qcow2 cannot be written to an HTTP store: its head comes last");
  else if (packed && storage_takes_any_length(store) == STORAGE_NO)
    findings_add(f, "TargetFormat", FINDING_ERROR, "set spec.target.image.format: qcow2",
                 "%s cannot be written to this HTTP server, which wants to know the length first",
                 packed);
}

int check_target_image(struct run *r, const struct vm *vm, struct findings *f,
                       bool *ret_made_before, struct err *err)
{
  struct storage *store CLEANUP(storage_free_p) = NULL;
  struct storage_lane *lane CLEANUP(storage_lane_free_p) = NULL;
  struct err failed = ERR_INIT;
  if (run_store_lane(r, &r->spec->target.image->store, true, &store, &lane, &failed) != 0)
    return finding_of(f, "TargetStore", "see the message", &failed, err);
  if (probe_store(r, &r->spec->target.image->store, "target", lane, &failed) != 0)
    return finding_of(f, "TargetStore", "see the message", &failed, err);
  size_t before = f->count;
  check_format(r, store, f);
  if (check_store_space(vm, lane, "TargetSpace", f, err) != 0 ||
      check_place(r, lane, f, ret_made_before, err) != 0)
    return -1;
  return *ret_made_before || f->count > before ? 0 : check_objects(r, vm, lane, f, err);
}
