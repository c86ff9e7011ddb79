// SPDX-License-Identifier: Apache-2.0
// Making room for disks, and the VM upon them.
#include "providers/libvirt/target_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

#define NVRAM_FOLDER  "/var/lib/libvirt/qemu/nvram"
#define DISK_WORD_MAX 32

static int no_memory(struct err *err)
{
  return err_set(err, ERR_NO_MEMORY, "out of memory");
}

static const struct target_disk *target_disk_at(const struct vm_target *t, size_t i)
{
  return i < t->disks.count ? (const struct target_disk *)t->disks.items + i : NULL;
}

// ---- capabilities ------------------------------------------------------------------------------

void caps_release(struct caps *c)
{
  xml_release(&c->xml);
}

static char *ask_capabilities(struct host *h, const struct vm *vm, const char *machine)
{
  static const char *const kinds[] = {"kvm", "qemu"};
  const char *arch = str_empty(vm->arch) ? NULL : vm->arch;
  for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
    char *text = virConnectGetDomainCapabilities(h->conn, NULL, arch, machine, kinds[i], 0);
    if (text)
      return text;
  }
  return NULL;
}

int caps_get(struct host *h, const struct vm *vm, struct caps *ret, struct err *err)
{
  *ret = (struct caps){0};
  cleanup_free char *text = str_empty(vm->machine) ? NULL : ask_capabilities(h, vm, vm->machine);
  if (!text)
    text = ask_capabilities(h, vm, NULL);
  if (!text)
    return host_fail(err, "what the target offers for %s", vm->arch ? vm->arch : "a VM");
  return xml_parse(&ret->xml, text, "domain capabilities", err);
}

// ---- places ------------------------------------------------------------------------------------

// A variable store is a file; where disks are block devices it goes to libvirt's own folder.
static const char *folder_for(const struct place *p, const struct vm_disk *d)
{
  return d->role == VM_DISK_ROLE_NVRAM && !p->folder ? NVRAM_FOLDER : p->path;
}

static char *file_name(const struct vm_target *t, size_t i, bool folder, struct err *err)
{
  const struct vm_disk *d = vm_disk_at(&t->vm, i);
  char uid8[9];
  if (build_uid8(t->uid, uid8, err) != 0)
    return NULL;
  cleanup_free char *vm_word = build_file_word(t->vm.name);
  cleanup_free char *disk_word = build_file_word(d->name);
  char *name = NULL;
  bool nvram = d->role == VM_DISK_ROLE_NVRAM;
  const char *suffix = nvram ? ".fd" : folder ? "." : "";
  const char *format = folder && !nvram ? disk_format_names[target_disk_at(t, i)->format] : "";
  if (vm_word && disk_word)
    name = str_printf("%s-%.*s-%s%s%s", vm_word, DISK_WORD_MAX, nvram ? "nvram" : disk_word, uid8,
                      suffix, format);
  if (!name)
    no_memory(err);
  return name;
}

static int format_ok(const struct vm_target *t, size_t i, const struct place *p, struct err *err)
{
  const struct vm_disk *d = vm_disk_at(&t->vm, i);
  int format = target_disk_at(t, i)->format;
  if (format != DISK_FORMAT_RAW && format != DISK_FORMAT_QCOW2)
    return err_set(err, ERR_UNSUPPORTED, "disk '%s': libvirt's disks are raw or qcow2, not '%s'",
                   d->name, disk_format_names[format]);
  if (d->role == VM_DISK_ROLE_NVRAM && format != DISK_FORMAT_RAW)
    return err_set(err, ERR_UNSUPPORTED, "the NVRAM is a raw file");
  if (!p->folder && format != DISK_FORMAT_RAW)
    return err_set(err, ERR_UNSUPPORTED,
                   "disk '%s': the storage '%s' holds block devices: its "
                   "format is raw",
                   d->name, p->name);
  return 0;
}

static int plan_at(struct host *h, const struct vm_target *t, size_t i, const struct place *p,
                   struct owned *ret, struct err *err)
{
  (void)h;
  if (format_ok(t, i, p, err) != 0)
    return -1;
  const char *folder = folder_for(p, vm_disk_at(&t->vm, i));
  cleanup_free char *name = file_name(t, i, p->folder, err);
  if (!name)
    return -1;
  ret->kind = str_dup("Volume");
  ret->id = str_printf("%s/%s", folder, name);
  ret->where = str_dup(str_eq(folder, p->path) ? p->name : folder);
  return ret->kind && ret->id && ret->where ? 0 : no_memory(err);
}

int plan_disk(struct host *h, const struct vm_target *t, size_t i, struct owned *ret,
              struct err *err)
{
  struct place p CLEANUP(place_release) = {0};
  if (!vm_disk_at(&t->vm, i) || !target_disk_at(t, i))
    return err_set(err, ERR_INTERNAL, "disk %zu of a VM with %zu", i, t->vm.disks.count);
  if (build_name_ok(t->vm.name, err) != 0 || place_find(h, place_name(h, t, i), &p, err) != 0)
    return -1;
  return plan_at(h, t, i, &p, ret, err);
}

int host_target_plan(void *handle, const struct vm_target *t, size_t i, struct owned *ret,
                     struct err *err)
{
  return plan_disk(handle, t, i, ret, err);
}

int owned_place(struct host *h, const struct owned *o, struct place *ret, struct err *err)
{
  if (str_empty(o->where) || str_empty(o->id))
    return err_set(err, ERR_INVALID, "a ledger entry without id or place");
  return place_find(h, o->where, ret, err);
}

int owned_path_ok(const struct owned *o, const struct place *p, const char *uid, struct err *err)
{
  char uid8[9];
  if (build_uid8(uid, uid8, err) != 0)
    return -1;
  const char *slash = strrchr(o->id, '/');
  char mark[12];
  snprintf(mark, sizeof(mark), "-%s", uid8);
  const char *at = slash ? strstr(slash, mark) : NULL;
  bool ends = at && (at[9] == '\0' || at[9] == '.');
  if (ends && p->path && strncmp(o->id, p->path, (size_t)(slash - o->id)) == 0 &&
      strlen(p->path) == (size_t)(slash - o->id))
    return 0;
  return err_set(err, ERR_DENIED,
                 "'%s' is not a name that drover gives to a disk of this object "
                 "in %s; it is left alone",
                 o->id, p->name);
}

// ---- making room -------------------------------------------------------------------------------

static char *volume_xml(const char *name, int format, int64_t size_bytes, bool thick)
{
  xmlDocPtr doc = xmlNewDoc(BAD_CAST "1.0");
  xmlNodePtr volume = doc ? xmlNewNode(NULL, BAD_CAST "volume") : NULL;
  if (volume)
    xmlDocSetRootElement(doc, volume);
  xml_add(volume, "name", name, NULL);
  xml_add_int(volume, "capacity", size_bytes, "unit", "bytes", NULL);
  xml_add_int(volume, "allocation", thick ? size_bytes : 0, "unit", "bytes", NULL);
  xmlNodePtr target = xml_add(volume, "target", NULL, NULL);
  xmlNodePtr ok = xml_add(target, "format", NULL, "type", disk_format_names[format], NULL);
  if (ok && format == DISK_FORMAT_QCOW2)
    ok = xml_add(target, "compat", "1.1", NULL);
  char *text = ok ? xml_text(doc) : NULL;
  xmlFreeDoc(doc);
  return text;
}

struct room {
  const char *path;
  int format;
  int64_t size_bytes;
  bool thick;
};

static int same_size(virStorageVolPtr volume, const struct room *r, struct err *err)
{
  virStorageVolInfo info;
  if (virStorageVolGetInfo(volume, &info) != 0)
    return host_fail(err, "volume %s", r->path);
  if ((int64_t)info.capacity >= r->size_bytes)
    return 0;
  return err_set(err, ERR_EXISTS, "%s is there already, of another size; remove it", r->path);
}

static int make_volume(const struct place *p, const struct room *r, struct err *err)
{
  const char *name = strrchr(r->path, '/') + 1;
  bool raw_block = !p->folder;
  virStoragePoolRefresh(p->pool, 0); // so that what a first try made is seen
  cleanup_volume virStorageVolPtr there = virStorageVolLookupByName(p->pool, name);
  if (there)
    return same_size(there, r, err);
  cleanup_free char *text = volume_xml(name, r->format, r->size_bytes, r->thick || raw_block);
  if (!text)
    return no_memory(err);
  unsigned flags =
      r->thick && r->format == DISK_FORMAT_QCOW2 ? VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA : 0;
  cleanup_volume virStorageVolPtr made = virStorageVolCreateXML(p->pool, text, flags);
  return made ? 0 : host_fail(err, "make the volume %s", r->path);
}

static int make_file(struct host *h, const struct room *r, struct err *err)
{
  struct file_facts facts;
  char size[24];
  snprintf(size, sizeof(size), "%lld", (long long)r->size_bytes);
  if (host_stat(h, r->path, &facts, err) != 0)
    return -1;
  if (facts.exists) // of a first try: the name carries our uid
    return 0;
  const char *options = r->thick                         ? "preallocation=falloc"
                        : r->format == DISK_FORMAT_QCOW2 ? "compat=1.1"
                                                         : "preallocation=off";
  const char *argv[] = {"qemu-img", "create", "-q", "-f",    disk_format_names[r->format],
                        "-o",       options,  "--", r->path, size,
                        NULL};
  return host_check_run(h, argv, err);
}

// Files on this host are made by the mover, under a temporary name. What it cannot make (files on
// other hosts, block devices, space taken at once) is made here, and the mover writes into it.
static int make_room(struct host *h, const struct place *p, const struct room *r, struct reach *ret,
                     struct err *err)
{
  if (h->data == DATA_LOCAL && p->folder && !r->thick) {
    ret->create = true;
    return 0;
  }
  return p->pool ? make_volume(p, r, err) : make_file(h, r, err);
}

static int not_in_use(struct host *h, const char *path, const char *owner, struct err *err)
{
  cleanup_free char *user = NULL;
  bool ours_runs = false;
  if (path_user(h, path, owner, &user, &ours_runs, err) != 0)
    return -1;
  if (user)
    return err_set(err, ERR_EXISTS, "%s is used by VM '%s', which is not ours", path, user);
  return ours_runs ? err_set(err, ERR_BUSY, "the VM on %s runs already", path) : 0;
}

int host_target_prepare(void *handle, const struct vm_target *t, size_t i, const struct owned *o,
                        struct reach *ret, struct err *err)
{
  struct host *h = handle;
  struct place p CLEANUP(place_release) = {0};
  const struct vm_disk *d = vm_disk_at(&t->vm, i);
  const struct target_disk *how = target_disk_at(t, i);
  if (!d || !how)
    return err_set(err, ERR_INTERNAL, "disk %zu of a VM with %zu", i, t->vm.disks.count);
  if (d->capacity_bytes <= 0)
    return err_set(err, ERR_INVALID, "the size of disk '%s' is not known", d->name);
  if (host_need_data(h, err) != 0 || owned_place(h, o, &p, err) != 0 ||
      owned_path_ok(o, &p, t->uid, err) != 0 || not_in_use(h, o->id, t->owner, err) != 0)
    return -1;
  if (!p.active)
    return err_set(err, ERR_UNREACHABLE, "the storage pool '%s' is not active", p.name);
  struct room room = {o->id, how->format, d->capacity_bytes, how->thick};
  if (make_room(h, &p, &room, ret, err) != 0)
    return -1;
  return host_reach(h, o->id, how->format, d->capacity_bytes, ret, err);
}

int host_target_disk_done(void *handle, const struct vm_target *t, size_t i, const struct owned *o,
                          struct err *err)
{
  struct host *h = handle;
  struct place p CLEANUP(place_release) = {0};
  struct file_facts facts;
  (void)t;
  (void)i;
  if (owned_place(h, o, &p, err) != 0 || host_stat(h, o->id, &facts, err) != 0)
    return -1;
  if (!facts.exists)
    return err_set(err, ERR_NOT_FOUND, "%s is not there, although it was written", o->id);
  if (p.pool && virStoragePoolRefresh(p.pool, 0) != 0)
    return host_fail(err, "refresh the storage pool '%s'", p.name);
  return 0;
}

// ---- the VM ------------------------------------------------------------------------------------

int host_target_plan_vm(void *handle, const struct vm_target *t, struct owned *ret, struct err *err)
{
  struct host *h = handle;
  char uuid[BUILD_UUID_BYTES], uid8[9];
  if (build_uid8(t->uid, uid8, err) != 0 || build_name_ok(t->vm.name, err) != 0)
    return -1;
  build_uuid(t->uid, uuid);
  ret->kind = str_dup("VM");
  ret->id = str_dup(uuid);
  ret->where = str_dup(h->config->endpoint);
  return ret->kind && ret->id && ret->where ? 0 : no_memory(err);
}

int build_for(struct host *h, const struct vm_target *t, const struct owned *disks,
              const struct caps *caps, char **ret, struct strings *adapted, struct err *err)
{
  cleanup_free struct build_disk *places = calloc(t->vm.disks.count + 1, sizeof(*places));
  if (!places)
    return no_memory(err);
  for (size_t i = 0; i < t->vm.disks.count; i++) {
    struct place p CLEANUP(place_release) = {0};
    if (owned_place(h, &disks[i], &p, err) != 0)
      return -1;
    places[i] = (struct build_disk){disks[i].id, !p.folder};
  }
  const char *network = h->config->default_network;
  struct build b = {t, caps, places, str_empty(network) ? "default" : network, adapted};
  return domain_build(&b, ret, err);
}

// 1: our VM is there and runs, so there is nothing to define; 0: go on.
static int look_for_ours(struct host *h, const struct vm_target *t, const char *uuid,
                         struct err *err)
{
  cleanup_domain virDomainPtr domain = virDomainLookupByUUIDString(h->conn, uuid);
  cleanup_domain virDomainPtr named = virDomainLookupByName(h->conn, t->vm.name);
  char named_uuid[VIR_UUID_STRING_BUFLEN] = "";
  if (named)
    virDomainGetUUIDString(named, named_uuid);
  if (named && !str_eq(named_uuid, uuid))
    return err_set(err, ERR_EXISTS,
                   "there is another VM '%s' on %s; choose another name, or "
                   "remove it",
                   t->vm.name, h->config->endpoint);
  if (!domain)
    return 0;
  struct xml x CLEANUP(xml_release) = {0};
  if (host_domain_xml(domain, &x, err) != 0)
    return -1;
  cleanup_free char *mark = xml_get(&x, NULL, "/domain/metadata/drover:owner");
  if (!owner_same(mark, t->owner))
    return err_set(err, ERR_EXISTS,
                   "there is a VM with the UUID %s on %s that does not bear our "
                   "mark",
                   uuid, h->config->endpoint);
  return virDomainIsActive(domain) == 1;
}

static int define(struct host *h, const struct vm_target *t, const struct owned *disks,
                  struct vm_made *ret, struct err *err)
{
  struct caps caps CLEANUP(caps_release) = {0};
  cleanup_free char *text = NULL;
  if (caps_get(h, &t->vm, &caps, err) != 0 ||
      build_for(h, t, disks, &caps, &text, &ret->adapted, err) != 0)
    return -1;
  cleanup_domain virDomainPtr domain =
      virDomainDefineXMLFlags(h->conn, text, VIR_DOMAIN_DEFINE_VALIDATE);
  return domain ? 0 : host_fail(err, "define VM '%s'", t->vm.name);
}

int host_target_finish(void *handle, const struct vm_target *t, const struct owned *disks,
                       const struct owned *vm, struct vm_made *ret, struct err *err)
{
  struct host *h = handle;
  char uuid[BUILD_UUID_BYTES];
  build_uuid(t->uid, uuid);
  if (!str_eq(vm->id, uuid))
    return err_set(err, ERR_INTERNAL, "the ledger names the VM %s, not %s", vm->id, uuid);
  if (build_name_ok(t->vm.name, err) != 0)
    return -1;
  int runs = look_for_ours(h, t, uuid, err);
  if (runs < 0 || (!runs && define(h, t, disks, ret, err) != 0))
    return -1;
  ret->id = str_dup(uuid);
  ret->name = str_dup(t->vm.name);
  return ret->id && ret->name ? 0 : no_memory(err);
}
