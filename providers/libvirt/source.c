// SPDX-License-Identifier: Apache-2.0
// Reading from a VM: its description, what stands against moving it, and the way to its disks.
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"
#include "providers/libvirt/host_internal.h"
#include "providers/libvirt/image_internal.h"

// ---- description -------------------------------------------------------------------------------

// A volume's path, and its size as the pool knows it.
static int volume_facts(struct host *h, const struct disk_source *source, struct vm_disk *disk,
                        struct err *err)
{
  cleanup_pool virStoragePoolPtr pool = virStoragePoolLookupByName(h->conn, source->pool);
  cleanup_volume virStorageVolPtr volume =
      pool ? virStorageVolLookupByName(pool, source->volume) : NULL;
  if (!volume)
    return host_fail(err, "disk '%s'", disk->name);
  virStorageVolInfo info;
  if (virStorageVolGetInfo(volume, &info) == 0) {
    disk->capacity_bytes = (int64_t)info.capacity;
    disk->allocated_bytes = (int64_t)info.allocation;
  }
  cleanup_free char *path = virStorageVolGetPath(volume);
  free(disk->path);
  disk->path = TAKE(path);
  return disk->path ? 0 : host_fail(err, "disk '%s'", disk->name);
}

static int nvram_facts(struct host *h, struct vm_disk *disk, struct err *err)
{
  struct file_facts facts;
  if (h->data == DATA_NONE)
    return 0; // source_open says why
  if (host_stat(h, disk->path, &facts, err) != 0)
    return -1;
  if (!facts.exists)
    return err_set(err, ERR_NOT_FOUND, "the NVRAM file %s does not exist", disk->path);
  disk->capacity_bytes = disk->allocated_bytes = facts.size_bytes;
  return 0;
}

// Of a file on this machine the file system tells, without a round trip. What a qcow2 holds is told
// by its head (host_chain).
static void block_facts(struct host *h, virDomainPtr domain, struct vm_disk *disk)
{
  struct stat st;
  virDomainBlockInfo info;
  if (h->data == DATA_LOCAL && stat(disk->path, &st) == 0 && S_ISREG(st.st_mode)) {
    disk->capacity_bytes = st.st_size;
    disk->allocated_bytes = st.st_blocks * 512;
    return;
  }
  if (virDomainGetBlockInfo(domain, disk->path, &info, 0) != 0)
    return;
  disk->capacity_bytes = (int64_t)info.capacity;
  disk->allocated_bytes = (int64_t)info.allocation;
}

static int not_movable(const struct disk_source *source, const char *name, struct err *err)
{
  if (!str_eq(source->type, "file") && !str_eq(source->type, "block") &&
      !str_eq(source->type, "volume"))
    return err_set(err, ERR_UNSUPPORTED,
                   "disk '%s' is of type %s%s%s; disks on files, block "
                   "devices and storage volumes can be read",
                   name, source->type ? source->type : "unknown", source->protocol ? ", " : "",
                   source->protocol ? source->protocol : "");
  if (source->encrypted)
    return err_set(err, ERR_UNSUPPORTED, "disk '%s' is encrypted; remove the encryption first",
                   name);
  if (source->format != DISK_FORMAT_RAW && source->format != DISK_FORMAT_QCOW2)
    return err_set(err, ERR_UNSUPPORTED, "disk '%s' has the format '%s'; raw and qcow2 can be read",
                   name, source->format_name ? source->format_name : "");
  return 0;
}

int host_disk_facts(struct host *h, virDomainPtr domain, const struct xml *x, struct vm_disk *disk,
                    struct err *err)
{
  struct disk_source source CLEANUP(disk_source_release) = {0};
  if (domain_disk_source(x, disk->name, &source, err) != 0 ||
      not_movable(&source, disk->name, err) != 0)
    return -1;
  if (source.pool ? volume_facts(h, &source, disk, err) != 0 : str_empty(disk->path))
    return source.pool ? -1 : err_set(err, ERR_NOT_FOUND, "disk '%s' has no file", disk->name);
  if (disk->role == VM_DISK_ROLE_NVRAM)
    return nvram_facts(h, disk, err);
  if (!source.pool)
    block_facts(h, domain, disk);
  backing_release(&disk->backing);
  if (h->data != DATA_NONE &&
      host_chain(h, disk->path, &source, &disk->backing, &disk->capacity_bytes, err) != 0)
    return -1;
  if (disk->capacity_bytes > 0)
    return 0;
  return err_set(err, ERR_NOT_FOUND, "disk '%s': %s does not exist, is empty, or cannot be read",
                 disk->name, disk->path);
}

// A UEFI machine that has never run has no NVRAM file yet: then there is nothing to move.
static void drop_missing_nvram(struct vm *vm)
{
  if (vm->disks.count == 0)
    return;
  struct vm_disk *last = (struct vm_disk *)vm->disks.items + vm->disks.count - 1;
  if (last->role != VM_DISK_ROLE_NVRAM)
    return;
  free(last->name);
  free(last->path);
  vm->disks.count--;
}

static int describe(struct host *h, virDomainPtr domain, struct vm *ret, struct err *err)
{
  struct xml x CLEANUP(xml_release) = {0};
  int autostart = 0;
  enum vm_power power;
  if (host_domain_xml(domain, &x, err) != 0 || domain_describe(&x, ret, err) != 0 ||
      host_power(domain, &power, err) != 0)
    return -1;
  if (virDomainGetAutostart(domain, &autostart) == 0)
    ret->autostart = autostart != 0;
  ret->power = power;
  for (size_t i = 0; i < ret->disks.count; i++) {
    struct vm_disk *disk = (struct vm_disk *)ret->disks.items + i;
    struct err problem = ERR_INIT; // what cannot be read is check_source's to report
    int failed = host_disk_facts(h, domain, &x, disk, &problem);
    if (failed && problem.kind == ERR_NOT_FOUND && disk->role == VM_DISK_ROLE_NVRAM)
      drop_missing_nvram(ret);
  }
  return 0;
}

int host_find_vm(void *handle, const char *name_or_id, struct vm *ret, struct err *err)
{
  struct host *h = handle;
  cleanup_domain virDomainPtr domain = host_domain(h, name_or_id, err);
  return domain ? describe(h, domain, ret, err) : -1;
}

// ---- findings ----------------------------------------------------------------------------------

static void check_power(virDomainPtr domain, const struct vm *vm, struct findings *f)
{
  enum vm_power power = VM_POWER_UNKNOWN;
  struct err none = ERR_INIT;
  host_power(domain, &power, &none);
  if (power == VM_POWER_ON)
    findings_add(f, "SourcePower", FINDING_WARNING,
                 "It is shut down first, as spec.shutdown says; plan for the time it is off.",
                 "VM '%s' is running", vm->name);
  else if (power == VM_POWER_PAUSED)
    findings_add(f, "SourcePower", FINDING_WARNING,
                 "Resume it so that it can be shut down, or set spec.shutdown.policy to Force.",
                 "VM '%s' is paused and cannot hear a shutdown", vm->name);
  else
    findings_add(f, "SourcePower", FINDING_OK, NULL, "VM '%s' is off", vm->name);
}

static void check_state(virDomainPtr domain, const struct vm *vm, struct findings *f)
{
  if (virDomainIsPersistent(domain) == 0)
    findings_add(f, "SourcePersistent", FINDING_ERROR,
                 "Make it persistent: virsh dumpxml NAME > FILE; virsh define FILE.",
                 "VM '%s' is transient: it and its definition vanish when it is shut down",
                 vm->name);
  if (virDomainHasManagedSaveImage(domain, 0) == 1)
    findings_add(f, "SourceSaved", FINDING_ERROR,
                 "Start it and shut it down in the guest, or give up its memory: virsh "
                 "managedsave-remove.",
                 "VM '%s' was suspended to disk: its memory holds what its disks lack", vm->name);
}

static bool snapshot_is_internal(virDomainSnapshotPtr snapshot)
{
  cleanup_free char *text = virDomainSnapshotGetXMLDesc(snapshot, 0);
  struct xml x CLEANUP(xml_release) = {0};
  struct err none = ERR_INIT;
  return text && xml_parse(&x, text, "snapshot", &none) == 0 &&
         xml_has(&x, NULL,
                 "/domainsnapshot/disks/disk[@snapshot='internal'] | "
                 "/domainsnapshot/memory[@snapshot='internal']");
}

static void check_snapshots(virDomainPtr domain, const struct vm *vm, struct findings *f)
{
  virDomainSnapshotPtr *snapshots = NULL;
  int count = virDomainListAllSnapshots(domain, &snapshots, 0);
  int internal = 0;
  for (int i = 0; i < count; i++) {
    internal += snapshot_is_internal(snapshots[i]);
    virDomainSnapshotFree(snapshots[i]);
  }
  free(snapshots);
  if (internal > 0)
    findings_add(f, "SourceSnapshots", FINDING_WARNING,
                 "Only the present state moves. Keep the source until the snapshots are not needed "
                 "any more.",
                 "VM '%s' has %d internal snapshots, which stay behind", vm->name, internal);
}

// Another VM that runs on the same file would change it while it is read.
static void check_rival(const struct vm *vm, virDomainPtr other, struct findings *f)
{
  struct xml x CLEANUP(xml_release) = {0};
  struct err none = ERR_INIT;
  cleanup_free char *text = virDomainGetXMLDesc(other, 0);
  char id[VIR_UUID_STRING_BUFLEN] = "";
  virDomainGetUUIDString(other, id);
  if (!text || str_eq(id, vm->id) || xml_parse(&x, text, "domain", &none) != 0)
    return;
  for (size_t i = 0; i < vm->disks.count; i++) {
    const struct vm_disk *disk = vm_disk_at(vm, i);
    if (disk->path && domain_writes_path(&x, disk->path))
      findings_add(f, "SourceDiskInUse", FINDING_ERROR, "Shut that VM down first.",
                   "disk '%s' (%s) is in use by VM '%s', which is running", disk->name, disk->path,
                   virDomainGetName(other));
  }
}

static void check_rivals(struct host *h, const struct vm *vm, struct findings *f)
{
  virDomainPtr *domains = NULL;
  int count = virConnectListAllDomains(h->conn, &domains, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
  for (int i = 0; i < count; i++) {
    check_rival(vm, domains[i], f);
    virDomainFree(domains[i]);
  }
  free(domains);
}

static void check_disk(struct host *h, virDomainPtr domain, const struct xml *x,
                       const struct vm_disk *given, struct findings *f)
{
  struct vm_disk disk = {
      .name = str_dup(given->name), .role = given->role, .path = str_dup(given->path)};
  struct disk_source source CLEANUP(disk_source_release) = {0};
  struct err problem = ERR_INIT;
  if (host_disk_facts(h, domain, x, &disk, &problem) != 0)
    findings_add(f, "SourceDisk", FINDING_ERROR,
                 "Leave the disk out (spec.source.vm.disks), or change it so that it can be read.",
                 "%s", problem.message);
  else
    findings_add(f, "SourceDisk", FINDING_OK, NULL, "disk '%s' can be read", disk.name);
  struct err none = ERR_INIT;
  if (domain_disk_source(x, given->name, &source, &none) == 0 && source.shared)
    findings_add(f, "SourceDiskShared", FINDING_ERROR,
                 "Take the disk away from the other VMs and make it unshared.",
                 "disk '%s' is shared with other VMs, which may write to it", given->name);
  if (source.transient)
    findings_add(f, "SourceDiskTransient", FINDING_WARNING, "Nothing, if that is wanted.",
                 "disk '%s' forgets what is written to it; the copy will not", given->name);
  free(disk.name);
  free(disk.path);
  backing_release(&disk.backing);
}

int host_check_source(void *handle, const struct vm *vm, struct findings *f, struct err *err)
{
  struct host *h = handle;
  cleanup_domain virDomainPtr domain = host_domain(h, vm->id, err);
  struct xml x CLEANUP(xml_release) = {0};
  if (!domain || host_domain_xml(domain, &x, err) != 0)
    return -1;
  struct err no_data = ERR_INIT;
  check_power(domain, vm, f);
  check_state(domain, vm, f);
  check_snapshots(domain, vm, f);
  check_rivals(h, vm, f);
  if (vm->disks.count == 0)
    findings_add(f, "SourceDisks", FINDING_ERROR, "Choose a VM with a disk.",
                 "VM '%s' has no disk that could move", vm->name);
  if (host_need_data(h, &no_data) != 0) {
    findings_add(f, "SourceDataPath", FINDING_ERROR,
                 "Set spec.ssh of the Provider: host, user and a secret with ssh-privatekey and "
                 "known_hosts.",
                 "%s", no_data.message);
    return 0;
  }
  for (size_t i = 0; i < vm->disks.count; i++)
    check_disk(h, domain, &x, vm_disk_at(vm, i), f);
  return 0;
}

// ---- reaching the bytes ------------------------------------------------------------------------

int host_reach(struct host *h, const char *path, int format, int64_t size_bytes, struct reach *ret,
               struct err *err)
{
  if (host_need_data(h, err) != 0)
    return -1;
  ret->kind = h->data == DATA_SSH ? REACH_SSH : REACH_FILE;
  ret->format = format;
  ret->size_bytes = size_bytes;
  ret->path = str_dup(path);
  if (h->data != DATA_SSH)
    return ret->path ? 0 : err_set(err, ERR_NO_MEMORY, "out of memory");
  ret->host = str_dup(h->data_host);
  ret->address = str_dup(h->data_address);
  ret->port = h->data_port;
  ret->user = str_dup(h->data_user ? h->data_user : "root");
  ret->known_hosts = str_dup(h->config->known_hosts);
  ret->insecure_host_key = h->config->insecure_host_key;
  if (ret->path && ret->host && ret->address && ret->user &&
      secret_copy(&ret->ssh_key, &h->config->ssh_key) == 0)
    return 0;
  return err_set(err, ERR_NO_MEMORY, "out of memory");
}

int host_source_open(void *handle, const struct vm *vm, const char *name, struct reach *ret,
                     struct err *err)
{
  struct host *h = handle;
  cleanup_domain virDomainPtr domain = host_domain(h, vm->id, err);
  struct xml x CLEANUP(xml_release) = {0};
  enum vm_power power;
  if (!domain || host_domain_xml(domain, &x, err) != 0 || host_power(domain, &power, err) != 0)
    return -1;
  if (power != VM_POWER_OFF)
    return err_set(err, ERR_BUSY, "VM '%s' is not off", vm->name);
  struct vm now CLEANUP(vm_release) = {0};
  if (host_need_data(h, err) != 0 || domain_describe(&x, &now, err) != 0)
    return -1;
  struct vm_disk *disk = (struct vm_disk *)vm_disk_named(&now, name);
  if (!disk)
    return err_set(err, ERR_CHANGED, "VM '%s' has no disk '%s' any more", vm->name, name);
  if (host_disk_facts(h, domain, &x, disk, err) != 0 ||
      host_reach(h, disk->path, disk->format, disk->capacity_bytes, ret, err) != 0)
    return -1;
  ret->backing = disk->backing;
  disk->backing = (struct list){0};
  return 0;
}

// Nothing is held on the far side while a disk of a machine that is off is read.
int host_source_release(void *handle, const struct vm *vm, const char *disk, struct err *err)
{
  (void)handle;
  (void)vm;
  (void)disk;
  (void)err;
  return 0;
}
