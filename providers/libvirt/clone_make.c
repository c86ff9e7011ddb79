// SPDX-License-Identifier: Apache-2.0
// Making clones.
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/str.h"
#include "providers/libvirt/clone_internal.h"

#define UID_MIN       8
#define UID_MAX       64
#define DISK_WORD_MAX 32

static int no_memory(struct err *err)
{
  return err_set(err, ERR_NO_MEMORY, "out of memory");
}

void making_release(struct making *m)
{
  place_release(&m->place);
  base_release(&m->base);
  for (size_t i = 0; m->disks && i < m->disk_count; i++)
    free((char *)m->disks[i].path);
  free(m->disks);
  free(m->nvram);
  free(m->seed);
  *m = (struct making){0};
}

// ---- names -------------------------------------------------------------------------------------

const char *clone_storage(const struct host *h, const struct clone_order *c)
{
  if (!str_empty(c->storage))
    return c->storage;
  return str_empty(h->config->default_storage) ? "default" : h->config->default_storage;
}

int clone_uid_ok(const char *uid, struct err *err)
{
  static const char *const plain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";
  size_t length = uid ? strlen(uid) : 0;
  if (length >= UID_MIN && length <= UID_MAX && strspn(uid, plain) == length)
    return 0;
  return err_set(err, ERR_INVALID, "'%.40s' is no uid of an object", uid ? uid : "");
}

static char *file_path(const struct making *m, const char *what, const char *suffix)
{
  cleanup_free char *name = build_file_word(m->c->name), *word = build_file_word(what);
  return name && word ? str_printf("%s/%s-%.*s-%s.%s", m->place.path, name, DISK_WORD_MAX, word,
                                   m->c->uid, suffix)
                      : NULL;
}

const struct vm_disk *making_base_disk(const struct making *m, size_t i)
{
  return vm_disk_named(&m->base.vm, m->disks[i].target);
}

static bool is_copied(const struct vm_disk *d)
{
  return d->role == VM_DISK_ROLE_DISK && !d->read_only; // read-only ones are shared
}

static int name_disk(struct making *m, const struct vm_disk *d, struct err *err)
{
  struct derive_disk *new = &m->disks[m->disk_count++];
  new->target = d->name;
  new->format = m->mode == CLONE_REFLINK ? d->format : DISK_FORMAT_QCOW2;
  new->path = file_path(m, d->name, disk_format_names[new->format]);
  if (m->mode == CLONE_LINKED && m->c->base) {
    new->backing_path = d->path;
    new->backing_format = d->format;
  } else if (m->mode != CLONE_FULL && d->backing.count) { // upon what is below the original
    const struct reach_backing *below = d->backing.items;
    new->backing_path = below->path;
    new->backing_format = below->format;
  }
  return new->path ? 0 : no_memory(err);
}

static int name_files(struct making *m, struct err *err)
{
  const struct vm *vm = &m->base.vm;
  m->disks = calloc(vm->disks.count + 1, sizeof(*m->disks));
  if (!m->disks)
    return no_memory(err);
  for (size_t i = 0; i < vm->disks.count; i++)
    if (is_copied(vm_disk_at(vm, i)) && name_disk(m, vm_disk_at(vm, i), err) != 0)
      return -1;
  const struct vm_disk *last = vm_disk_at(vm, vm->disks.count - 1);
  bool nvram = last->role == VM_DISK_ROLE_NVRAM;
  if (nvram && !(m->nvram = file_path(m, "nvram", "fd")))
    return no_memory(err);
  if (seed_wanted(m->c) && !(m->seed = file_path(m, "seed", "iso")))
    return no_memory(err);
  return 0;
}

// ---- what is asked for -------------------------------------------------------------------------

// Upon a machine that goes on nothing can be built. Of one that is linked itself a copy of what it
// wrote makes another upon the same base.
static bool source_is_linked(const struct vm *vm)
{
  for (size_t i = 0; i < vm->disks.count; i++)
    if (is_copied(vm_disk_at(vm, i)) && vm_disk_at(vm, i)->backing.count == 0)
      return false;
  return true;
}

static int choose_mode(struct making *m, struct err *err)
{
  m->mode = m->c->mode == CLONE_PREFER_LINKED ? CLONE_LINKED : m->c->mode;
  if (m->c->base || m->mode != CLONE_LINKED || source_is_linked(&m->base.vm))
    return 0;
  if (m->c->mode == CLONE_LINKED)
    return err_set(err, ERR_UNSUPPORTED,
                   "a linked clone needs a base, whose disks stay as they are; of a machine that "
                   "goes on there are Reflink and Full clones");
  m->mode = CLONE_FULL;
  return 0;
}

int making_begin(struct host *h, const struct clone_order *c, struct making *ret, struct err *err)
{
  const char *from = c->base ? c->base : c->source;
  *ret = (struct making){.h = h, .c = c};
  if (str_empty(from))
    return err_set(err, ERR_INVALID, "a clone needs a base or a source");
  if (clone_uid_ok(c->uid, err) != 0 || build_name_ok(c->name, err) != 0 ||
      derive_uuid(c->machine_id, ret->uuid, err) != 0 ||
      place_find(h, clone_storage(h, c), &ret->place, err) != 0)
    return -1;
  if (!ret->place.folder)
    return err_set(
        err, ERR_UNSUPPORTED,
        "the storage '%s' holds block devices; clones are files: choose a pool of files, "
        "or a folder",
        ret->place.name);
  if (!ret->place.active)
    return err_set(err, ERR_UNREACHABLE, "the storage pool '%s' is not active", ret->place.name);
  if (base_load(h, from, &ret->base, err) != 0 || choose_mode(ret, err) != 0)
    return -1;
  return name_files(ret, err);
}

static const struct clone_disk *ordered_disk(const struct making *m, size_t i)
{
  const struct clone_disk *all = m->c->disks.items;
  for (size_t k = 0; k < m->c->disks.count; k++)
    if (all[k].name ? str_eq(all[k].name, m->disks[i].target) : i == 0)
      return &all[k];
  return NULL;
}

int64_t making_disk_size(const struct making *m, size_t i)
{
  const struct clone_disk *wanted = ordered_disk(m, i);
  int64_t base_bytes = making_base_disk(m, i)->capacity_bytes;
  return wanted && wanted->size_bytes > 0 ? wanted->size_bytes : base_bytes;
}

// ---- files -------------------------------------------------------------------------------------

bool making_copies(const struct making *m)
{
  return m->mode == CLONE_FULL || (m->mode == CLONE_LINKED && !m->c->base);
}

static int grow(struct making *m, size_t i, struct err *err)
{
  int64_t size_bytes = making_disk_size(m, i);
  const struct derive_disk *d = &m->disks[i];
  if (size_bytes == making_base_disk(m, i)->capacity_bytes)
    return 0;
  char size[24];
  snprintf(size, sizeof(size), "%lld", (long long)size_bytes);
  const char *argv[] = {"qemu-img", "resize", "-q", "-f", disk_format_names[d->format],
                        "--",       d->path,  size, NULL};
  return host_check_run(m->h, argv, err);
}

static int make_disk(struct making *m, size_t i, struct err *err)
{
  const struct derive_disk *d = &m->disks[i];
  if (making_copies(m))
    return grow(m, i, err); // copied already
  if (m->mode == CLONE_REFLINK)
    return host_copy_file(m->h, making_base_disk(m, i)->path, d->path, true, err) != 0
               ? -1
               : grow(m, i, err);
  struct buf bytes CLEANUP(buf_release) = {0};
  if (overlay_bytes(d->backing_path, d->backing_format, making_disk_size(m, i), &bytes, err) != 0)
    return -1;
  return host_put_file(m->h, d->path, bytes.data, bytes.length, err);
}

static int make_nvram(struct making *m, struct err *err)
{
  if (!m->nvram)
    return 0;
  const char *from = vm_disk_named(&m->base.vm, "nvram")->path;
  return host_copy_file(m->h, from, m->nvram, false, err);
}

static size_t nic_count(const struct making *m)
{
  return m->c->nics.count ? m->c->nics.count : m->base.vm.nics.count;
}

static int make_seed(struct making *m, struct err *err)
{
  struct buf bytes CLEANUP(buf_release) = {0};
  if (!m->seed)
    return 0;
  int failed = seed_bytes(m->c, nic_count(m), &bytes, err);
  if (!failed)
    failed = host_put_file(m->h, m->seed, bytes.data, bytes.length, err);
  if (bytes.data)
    explicit_bzero(bytes.data, bytes.length); // user-data may hold secrets
  return failed;
}

static int lay_files(struct making *m, struct err *err)
{
  int copied = making_copies(m) ? copy_job(m, err) : 1;
  if (copied != 1)
    return copied;
  for (size_t i = 0; i < m->disk_count; i++)
    if (make_disk(m, i, err) != 0)
      return -1;
  return make_nvram(m, err) != 0 || make_seed(m, err) != 0 ? -1 : 1;
}

int making_files(struct making *m, struct err *err)
{
  int made = lay_files(m, err);
  return made < 0 ? err_prefix(err, "the clone's files in storage '%s'", m->place.name) : made;
}

// ---- the domain --------------------------------------------------------------------------------

// 1: ours is there, and so complete; 0: it is to be made.
static int look_for_clone(struct host *h, const struct clone_order *c, const char *uuid,
                          virDomainPtr *ret, struct err *err)
{
  cleanup_domain virDomainPtr domain = virDomainLookupByUUIDString(h->conn, uuid);
  if (!domain && !host_last_error_is(VIR_ERR_NO_DOMAIN))
    return host_fail(err, "look up the VM %s", uuid);
  if (!domain) {
    cleanup_domain virDomainPtr named = virDomainLookupByName(h->conn, c->name);
    return named ? err_set(err, ERR_EXISTS, "there is another VM '%s' on %s", c->name,
                           h->config->endpoint)
                 : 0;
  }
  struct xml x CLEANUP(xml_release) = {0};
  struct mark mark CLEANUP(mark_release) = {0};
  if (host_domain_xml(domain, &x, err) != 0)
    return -1;
  mark_read(&x, &mark);
  if (!owner_same(mark.owner, c->owner) || !str_eq(mark.kind, MARK_CLONE))
    return err_set(err, ERR_EXISTS,
                   "the VM '%s' on %s has the UUID %s and does not bear the mark of this clone",
                   virDomainGetName(domain), h->config->endpoint, uuid);
  *ret = TAKE(domain);
  return 1;
}

static int base_as_wanted(const struct making *m, struct err *err)
{
  const struct base *b = &m->base;
  if (base_resting(b, err) != 0)
    return -1;
  if (!m->c->base_revision || str_eq(m->c->base_revision, b->revision))
    return 0;
  return err_set(err, ERR_CHANGED,
                 "somebody wrote to the disks of base '%s': it is at revision %s, not %s",
                 b->vm.name, b->revision, m->c->base_revision);
}

static int define(struct making *m, virDomainPtr *ret, struct err *err)
{
  // The base of a copy of a linked clone is still that clone's.
  bool inherits = !m->c->base && m->base.mark.base;
  struct mark mark = {.owner = m->c->owner,
                      .kind = (char *)MARK_CLONE,
                      .base = inherits ? m->base.mark.base : m->base.uuid,
                      .revision = m->base.revision,
                      .mode = (char *)clone_mode_names[m->mode]};
  struct derive d = {.name = m->c->name,
                     .uuid = m->uuid,
                     .base_name = m->base.vm.name,
                     .mark = &mark,
                     .order = m->c,
                     .disks = m->disks,
                     .disk_count = m->disk_count,
                     .nvram = m->nvram,
                     .seed = m->seed};
  cleanup_free char *text = NULL;
  if (derive_domain(&d, &m->base.x, &text, err) != 0)
    return -1;
  *ret = virDomainDefineXMLFlags(m->h->conn, text, 0);
  return *ret ? 0 : host_fail(err, "define VM '%s'", m->c->name);
}

int host_clone_plan(void *handle, const struct clone_order *c, struct owned *ret, struct err *err)
{
  struct host *h = handle;
  char uuid[BUILD_UUID_BYTES];
  if (clone_uid_ok(c->uid, err) != 0 || build_name_ok(c->name, err) != 0 ||
      derive_uuid(c->machine_id, uuid, err) != 0)
    return -1;
  ret->kind = str_dup(MARK_CLONE);
  ret->id = str_dup(uuid);
  ret->where = str_dup(clone_storage(h, c));
  return ret->kind && ret->id && ret->where ? 0 : no_memory(err);
}

static int under_way(const struct clone_order *c, const char *uuid, struct clone_seen *ret,
                     struct err *err)
{
  ret->id = str_dup(uuid);
  ret->name = str_dup(c->name);
  ret->power = VM_POWER_OFF;
  ret->bytes = ret->memory_bytes = -1;
  return ret->id && ret->name ? 0 : no_memory(err);
}

static int make(struct host *h, const struct clone_order *c, struct clone_seen *ret,
                struct err *err)
{
  struct making m CLEANUP(making_release) = {0};
  cleanup_domain virDomainPtr domain = NULL;
  if (making_begin(h, c, &m, err) != 0 || base_as_wanted(&m, err) != 0)
    return -1;
  int made = making_files(&m, err);
  if (made == 1 && define(&m, &domain, err) == 0)
    return clone_see(h, domain, ret, err);
  return made == 0 ? under_way(c, m.uuid, ret, err) : -1;
}

int host_clone_make(void *handle, const struct clone_order *c, const struct owned *o,
                    struct clone_seen *ret, struct err *err)
{
  struct host *h = handle;
  char uuid[BUILD_UUID_BYTES];
  cleanup_domain virDomainPtr domain = NULL;
  if (derive_uuid(c->machine_id, uuid, err) != 0)
    return -1;
  if (!str_eq(o->id, uuid) || !str_eq(o->where, clone_storage(h, c)))
    return err_set(err, ERR_INTERNAL, "the ledger names the clone %s in %s, not %s in %s", o->id,
                   o->where, uuid, clone_storage(h, c));
  if (copy_job_runs(h, c->uid))
    return under_way(c, uuid, ret, err);
  int there = look_for_clone(h, c, uuid, &domain, err);
  if (there < 0)
    return -1;
  return there ? clone_see(h, domain, ret, err) : make(h, c, ret, err);
}
