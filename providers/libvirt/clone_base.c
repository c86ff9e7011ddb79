// SPDX-License-Identifier: Apache-2.0
// Bases: machines that are off, and stay so.
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/str.h"
#include "providers/libvirt/clone_internal.h"
#include "providers/libvirt/image_internal.h"

#define REVISION_BYTES 16 // of a SHA-256

void base_release(struct base *b)
{
  if (b->domain)
    virDomainFree(b->domain);
  xml_release(&b->x);
  mark_release(&b->mark);
  vm_release(&b->vm);
  free(b->revision);
  *b = (struct base){0};
}

// ---- what it is --------------------------------------------------------------------------------

static int add_paths(const struct vm_disk *d, struct strings *paths)
{
  int failed = strings_add(paths, d->path);
  for (size_t i = 0; i < d->backing.count; i++)
    failed |= strings_add(paths, ((struct reach_backing *)d->backing.items)[i].path);
  return failed;
}

static char *digest(const struct buf *text)
{
  unsigned char hash[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  struct buf hex CLEANUP(buf_release) = BUF_INIT(2 * REVISION_BYTES);
  if (EVP_Digest(buf_str(text), text->length, hash, &length, EVP_sha256(), NULL) != 1)
    return NULL;
  buf_add_hex(&hex, hash, REVISION_BYTES);
  return buf_take(&hex);
}

// Who writes to a file changes its time; who replaces it, its inode. Not the path and not the
// owner, which libvirt changes.
static int make_revision(struct host *h, struct base *b, struct err *err)
{
  struct strings paths CLEANUP(strings_release) = {0};
  for (size_t i = 0; i < b->vm.disks.count; i++)
    if (add_paths(vm_disk_at(&b->vm, i), &paths) != 0)
      return err_set(err, ERR_NO_MEMORY, "out of memory");
  cleanup_free struct file_stamp *stamps = calloc(paths.count + 1, sizeof(*stamps));
  if (!stamps)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  if (host_stamps(h, &paths, stamps, err) != 0)
    return -1;
  struct buf text CLEANUP(buf_release) = BUF_INIT(1u << 20);
  for (size_t i = 0; i < paths.count; i++) {
    const struct file_stamp *s = &stamps[i];
    if (!s->exists)
      return err_set(err, ERR_NOT_FOUND, "%s does not exist", paths.items[i]);
    buf_printf(&text, "%lld %lld %lld\n", (long long)s->size_bytes, (long long)s->mtime_ns,
               (long long)s->inode);
  }
  b->revision = digest(&text);
  return b->revision ? 0 : err_set(err, ERR_NO_MEMORY, "out of memory");
}

static int load_disk(struct host *h, struct base *b, size_t i, struct err *err)
{
  struct vm_disk *d = (struct vm_disk *)b->vm.disks.items + i;
  struct disk_source source CLEANUP(disk_source_release) = {0};
  if (host_disk_facts(h, b->domain, &b->x, d, err) != 0 ||
      domain_disk_source(&b->x, d->name, &source, err) != 0)
    return -1;
  if (str_eq(source.type, "block"))
    return err_set(
        err, ERR_UNSUPPORTED,
        "disk '%s' of VM '%s' is a block device: nobody would notice writes to it; bases "
        "lie in files",
        d->name, b->vm.name);
  d->format = source.format;
  return 0;
}

// A UEFI machine that has never run has no variable store yet.
static void forget_last_disk(struct vm *vm)
{
  struct vm_disk *last = (struct vm_disk *)vm->disks.items + --vm->disks.count;
  free(last->name);
  free(last->path);
}

static int load_disks(struct host *h, struct base *b, struct err *err)
{
  for (size_t i = 0; i < b->vm.disks.count; i++) {
    struct err problem = ERR_INIT;
    if (load_disk(h, b, i, &problem) == 0)
      continue;
    bool nvram = vm_disk_at(&b->vm, i)->role == VM_DISK_ROLE_NVRAM;
    if (!nvram || problem.kind != ERR_NOT_FOUND)
      return err_set(err, problem.kind, "%s", problem.message);
    forget_last_disk(&b->vm);
  }
  return b->vm.disks.count ? 0 : err_set(err, ERR_UNSUPPORTED, "VM '%s' has no disk", b->vm.name);
}

int base_load(struct host *h, const char *id, struct base *ret, struct err *err)
{
  if (host_need_data(h, err) != 0)
    return -1;
  ret->domain = host_domain(h, id, err);
  if (!ret->domain)
    return -1;
  cleanup_free char *text =
      virDomainGetXMLDesc(ret->domain, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);
  if (!text)
    return host_fail(err, "read the definition of '%s'", virDomainGetName(ret->domain));
  if (xml_parse(&ret->x, text, "domain", err) != 0 || domain_describe(&ret->x, &ret->vm, err) != 0)
    return -1;
  virDomainGetUUIDString(ret->domain, ret->uuid);
  mark_read(&ret->x, &ret->mark);
  ret->active = virDomainIsActive(ret->domain) == 1;
  struct err problem = ERR_INIT;
  if (load_disks(h, ret, &problem) == 0 && make_revision(h, ret, &problem) == 0)
    return 0;
  // It is there all the same: a pool may be offline.
  return err_set(err, problem.kind == ERR_NOT_FOUND ? ERR_CORRUPT : problem.kind, "%s",
                 problem.message);
}

int base_resting(const struct base *b, struct err *err)
{
  const char *name = b->vm.name;
  if (b->active)
    return err_set(err, ERR_BUSY, "VM '%s' runs: clones are made of machines that are off", name);
  if (virDomainHasManagedSaveImage(b->domain, 0) == 1)
    return err_set(err, ERR_BUSY,
                   "VM '%s' was suspended to disk: its memory holds what its disks "
                   "lack; start it and shut it down",
                   name);
  return virDomainIsPersistent(b->domain) == 1
             ? 0
             : err_set(err, ERR_UNSUPPORTED, "VM '%s' is transient", name);
}

// ---- the verbs ---------------------------------------------------------------------------------

static const char *order_machine(const struct base_order *b)
{
  return b->vm ? b->vm : b->template_;
}

static int order_ok(const struct base_order *b, struct err *err)
{
  if (b->server || b->alias)
    return err_set(err, ERR_UNSUPPORTED,
                   "libvirt downloads no images: put the image into an ImageStore");
  if (!order_machine(b))
    return err_set(err, ERR_INVALID, "a base is made of a machine or a template");
  if (b->vm && !b->convert)
    return err_set(
        err, ERR_UNSUPPORTED,
        "this provider copies no machines by itself: a migration does, and its result is "
        "converted");
  if (b->cpus || b->memory_bytes || b->storage)
    return err_set(err, ERR_UNSUPPORTED,
                   "a machine is registered as it is: CPUs, memory and storage are for its clones "
                   "to say");
  return 0;
}

// May this object have it? A mark without kind is that of the migration that brought it here.
static int may_register(const struct base *b, const char *owner, struct err *err)
{
  if (!b->mark.kind || owner_same(b->mark.owner, owner))
    return 0;
  return err_set(err, ERR_EXISTS, "VM '%s' is a %s of another object already (%s)", b->vm.name,
                 str_eq(b->mark.kind, MARK_BASE) ? "base" : "clone", b->mark.owner);
}

// QEMU's lock: another process that writes to a disk is noticed. Reading does not clash with it in
// a raw file, so that is opened for writing, and nothing is written.
static int not_locked(struct host *h, const struct base *b, struct err *err)
{
  for (size_t i = 0; i < b->vm.disks.count; i++) {
    const struct vm_disk *d = vm_disk_at(&b->vm, i);
    const char *info[] = {"qemu-img", "info", "-f", "qcow2", "--", d->path, NULL};
    const char *open[] = {"qemu-io", "-f", "raw", "-c", "quit", "--", d->path, NULL};
    struct err problem = ERR_INIT;
    if (d->role != VM_DISK_ROLE_DISK || d->read_only)
      continue;
    if (host_check_run(h, d->format == DISK_FORMAT_QCOW2 ? info : open, &problem) != 0)
      return err_set(err, strstr(problem.message, "lock") ? ERR_BUSY : problem.kind, "%s",
                     problem.message);
  }
  return 0;
}

int host_base_check(void *handle, const struct base_order *o, struct findings *f, struct err *err)
{
  struct host *h = handle;
  struct base b CLEANUP(base_release) = {0};
  struct err problem = ERR_INIT;
  const char *check = "BaseOrder";
  int failed = order_ok(o, &problem);
  if (!failed) {
    check = "BaseMachine";
    failed = base_load(h, order_machine(o), &b, &problem);
  }
  if (!failed && o->vm) {
    check = "BaseFree";
    failed = may_register(&b, o->owner, &problem);
  }
  if (!failed) {
    check = "BaseAtRest";
    failed = base_resting(&b, &problem) || not_locked(h, &b, &problem);
  }
  if (failed && err_retryable(problem.kind) && problem.kind != ERR_BUSY) {
    if (err)
      *err = problem;
    return -1; // no answer to the question
  }
  if (failed)
    return findings_add(f, check, FINDING_ERROR, "Change the CloneBase, or that machine.", "%s",
                        problem.message);
  return findings_add(f, "BaseMachine", FINDING_OK, NULL, "VM '%s' can be cloned from", b.vm.name);
}

int host_base_plan(void *handle, const struct base_order *o, struct owned *ret, struct err *err)
{
  struct host *h = handle;
  if (order_ok(o, err) != 0)
    return -1;
  cleanup_domain virDomainPtr domain = host_domain(h, order_machine(o), err);
  char uuid[VIR_UUID_STRING_BUFLEN];
  if (!domain)
    return -1;
  virDomainGetUUIDString(domain, uuid);
  ret->kind = str_dup(o->vm ? MARK_BASE : "Template");
  ret->id = str_dup(uuid);
  ret->where = str_dup(h->config->endpoint);
  return ret->kind && ret->id && ret->where ? 0 : err_set(err, ERR_NO_MEMORY, "out of memory");
}

static int set_mark(const struct base *b, const struct mark *m, struct err *err)
{
  cleanup_free char *text = mark_text(m);
  if (!text)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  if (virDomainSetMetadata(b->domain, VIR_DOMAIN_METADATA_ELEMENT, text, "drover", XML_DROVER_NS,
                           VIR_DOMAIN_AFFECT_CONFIG) == 0)
    return 0;
  return host_fail(err, "mark VM '%s'", b->vm.name);
}

// QEMU runs as a user of its own, so it cannot open them for writing any more.
static int protect(struct host *h, const struct base *b, struct err *err)
{
  for (size_t i = 0; i < b->vm.disks.count; i++) {
    const struct vm_disk *d = vm_disk_at(&b->vm, i);
    const char *argv[] = {"chmod", "a-w", "--", d->path, NULL};
    if (!d->read_only && host_check_run(h, argv, err) != 0)
      return -1;
  }
  if (virDomainSetAutostart(b->domain, 0) != 0)
    return host_fail(err, "take the autostart of VM '%s' away", b->vm.name);
  return 0;
}

static int tell(struct host *h, const struct base *b, bool is_template, struct base_seen *ret,
                struct err *err)
{
  struct strings paths CLEANUP(strings_release) = {0};
  struct file_stamp stamps[LIMIT_DISKS];
  for (size_t i = 0; i < b->vm.disks.count; i++)
    if (strings_add(&paths, vm_disk_at(&b->vm, i)->path) != 0)
      return err_set(err, ERR_NO_MEMORY, "out of memory");
  if (host_stamps(h, &paths, stamps, err) != 0)
    return -1;
  for (size_t i = 0; i < paths.count; i++)
    ret->bytes += stamps[i].allocated_bytes;
  ret->id = str_dup(b->uuid);
  ret->name = str_dup(b->vm.name);
  ret->owner = is_template ? NULL : str_dup(b->mark.owner);
  ret->revision = str_dup(b->revision);
  ret->is_template = is_template;
  ret->running = b->active;
  ret->done = is_template || b->mark.revision;
  ret->percent = ret->done ? 100 : 0;
  return ret->id && ret->name && ret->revision ? 0 : err_set(err, ERR_NO_MEMORY, "out of memory");
}

// The mark first, so that what a killed call left is known as ours; with a revision it is done.
static int convert(struct host *h, const struct base_order *o, struct base *b, struct err *err)
{
  struct mark m = {.owner = o->owner, .kind = (char *)MARK_BASE};
  if (may_register(b, o->owner, err) != 0 || base_resting(b, err) != 0 ||
      not_locked(h, b, err) != 0 || set_mark(b, &m, err) != 0 || protect(h, b, err) != 0)
    return -1;
  m.revision = b->revision;
  return set_mark(b, &m, err);
}

int host_base_make(void *handle, const struct base_order *o, const struct owned *owned,
                   struct base_seen *ret, struct err *err)
{
  struct host *h = handle;
  struct base b CLEANUP(base_release) = {0};
  if (order_ok(o, err) != 0 || base_load(h, owned->id, &b, err) != 0)
    return -1;
  bool done =
      str_eq(b.mark.kind, MARK_BASE) && b.mark.revision && owner_same(b.mark.owner, o->owner);
  if (o->vm && !done) {
    if (convert(h, o, &b, err) != 0)
      return -1;
    mark_release(&b.mark);
    b.mark.owner = str_dup(o->owner);
    b.mark.revision = str_dup(b.revision);
  }
  return tell(h, &b, !o->vm, ret, err);
}

int host_base_get(void *handle, const struct owned *owned, struct base_seen *ret, struct err *err)
{
  struct host *h = handle;
  struct base b CLEANUP(base_release) = {0};
  bool registered = str_eq(owned->kind, MARK_BASE);
  if (base_load(h, owned->id, &b, err) != 0)
    return -1;
  if (registered && !str_eq(b.mark.kind, MARK_BASE))
    return err_set(err, ERR_NOT_FOUND, "VM '%s' is not registered as a base", b.vm.name);
  return tell(h, &b, !registered, ret, err);
}

// Clones may rest upon it still, if their objects were retained as well: then it stays guarded.
int host_base_release(void *handle, const struct owned *owned, const char *owner, struct err *err)
{
  struct host *h = handle;
  struct base b CLEANUP(base_release) = {0};
  struct err problem = ERR_INIT;
  if (base_load(h, owned->id, &b, &problem) != 0)
    return problem.kind == ERR_NOT_FOUND ? 0 : err_set(err, problem.kind, "%s", problem.message);
  if (!str_eq(b.mark.kind, MARK_BASE) || !owner_same(b.mark.owner, owner))
    return 0;
  if (host_base_needed(h, &b.vm, owned->id, err) != 0)
    return -1;
  for (size_t i = 0; i < b.vm.disks.count; i++) {
    const char *argv[] = {"chmod", "u+w", "--", vm_disk_at(&b.vm, i)->path, NULL};
    if (host_check_run(h, argv, err) != 0)
      return -1;
  }
  if (virDomainSetMetadata(b.domain, VIR_DOMAIN_METADATA_ELEMENT, NULL, NULL, XML_DROVER_NS,
                           VIR_DOMAIN_AFFECT_CONFIG) == 0)
    return 0;
  return host_fail(err, "take the mark off VM '%s'", b.vm.name);
}
