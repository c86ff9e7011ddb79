// SPDX-License-Identifier: Apache-2.0
// What clones are and do, asked of libvirt each time.
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/str.h"
#include "providers/libvirt/clone_internal.h"
#include "providers/libvirt/image_internal.h"

#define AGENT_TIMEOUT_S 2
#define MACHINES_MAX    100000
#define STATS_MAX       16

static int no_memory(struct err *err)
{
  return err_set(err, ERR_NO_MEMORY, "out of memory");
}

// ---- mode and bytes ----------------------------------------------------------------------------

#define OWN_DISKS "/domain/devices/disk[not(@device) or @device='disk'][not(readonly)]"

// What the image itself says; where that cannot be read at once, the definition, which is what
// QEMU opens.
static bool has_backing(struct host *h, const struct xml *x)
{
  if (!xml_has(x, NULL, OWN_DISKS "/backingStore/source"))
    return false;
  cleanup_free char *path = xml_get(x, NULL, OWN_DISKS "[backingStore/source]/source/@file");
  cleanup_free char *bytes = NULL;
  struct qcow2_head head CLEANUP(qcow2_head_release) = {0};
  struct err none = ERR_INIT;
  size_t length = 0;
  if (!path || h->data != DATA_LOCAL ||
      host_read_head(h, path, QCOW2_HEAD_BYTES, &bytes, &length, &none) != 0 ||
      qcow2_head_read(bytes, length, &head, &none) != 0)
    return true;
  return head.backing_path != NULL;
}

static void see_mode(struct host *h, const struct xml *x, const struct mark *mark,
                     struct clone_seen *ret)
{
  ret->mode = str_eq(mark->mode, clone_mode_names[CLONE_REFLINK]) ? CLONE_REFLINK : CLONE_FULL;
  if (!has_backing(h, x))
    return;
  ret->mode = CLONE_LINKED;
  ret->base = str_dup(mark->base);
}

// Files of a host that only libvirt reaches at once are asked of it, one by one.
static int64_t allocated(struct host *h, virDomainPtr domain, const struct strings *paths)
{
  struct err none = ERR_INIT;
  int64_t bytes = 0;
  if (h->data == DATA_LOCAL) {
    struct file_stamp stamps[2 * LIMIT_DISKS];
    if (paths->count > ARRAY_SIZE(stamps) || host_stamps(h, paths, stamps, &none) != 0)
      return -1;
    for (size_t i = 0; i < paths->count; i++)
      bytes += stamps[i].allocated_bytes;
    return bytes;
  }
  for (size_t i = 0; i < paths->count; i++) {
    virDomainBlockInfo info;
    if (virDomainGetBlockInfo(domain, paths->items[i], &info, 0) == 0)
      bytes += (int64_t)info.allocation;
  }
  return bytes;
}

static int64_t see_bytes(struct host *h, virDomainPtr domain, const struct xml *x)
{
  struct strings paths CLEANUP(strings_release) = {0};
  cleanup_nodes xmlXPathObjectPtr files =
      xml_find(x, NULL,
               OWN_DISKS "/source/@file | /domain/devices/disk[readonly]"
                         "/source/@file[contains(., '-seed-')]");
  for (size_t i = 0; i < xml_count(files); i++) {
    cleanup_free char *path = xml_get(x, xml_node(files, i), ".");
    if (path)
      strings_add(&paths, path);
  }
  struct disk_source nvram CLEANUP(disk_source_release) = {0};
  struct err none = ERR_INIT;
  if (h->data == DATA_LOCAL && domain_disk_source(x, "nvram", &nvram, &none) == 0)
    strings_add(&paths, nvram.path);
  return allocated(h, domain, &paths);
}

// ---- addresses and memory ----------------------------------------------------------------------

static bool is_of_use(const char *address)
{
  return !str_empty(address) && !str_starts(address, "127.") && !str_eq(address, "::1") &&
         !str_starts(address, "fe80:") && !strchr(address, '%');
}

static void add_addresses(virDomainInterfacePtr nic, struct strings *ret)
{
  for (unsigned i = 0; i < nic->naddrs; i++)
    if (is_of_use(nic->addrs[i].addr) && ret->count < CLONE_ADDRESSES_MAX &&
        !strings_has(ret, nic->addrs[i].addr))
      strings_add(ret, nic->addrs[i].addr);
}

// The guest knows best; then who gave the address; then who saw it.
static void see_addresses(virDomainPtr domain, bool agent, struct strings *ret)
{
  static const unsigned sources[] = {VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT,
                                     VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE,
                                     VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP};
  for (size_t s = agent ? 0 : 1; s < ARRAY_SIZE(sources) && ret->count == 0; s++) {
    virDomainInterfacePtr *nics = NULL;
    int count = virDomainInterfaceAddresses(domain, &nics, sources[s], 0);
    for (int i = 0; i < count; i++) {
      add_addresses(nics[i], ret);
      virDomainInterfaceFree(nics[i]);
    }
    free(nics);
  }
}

static int64_t see_memory(virDomainPtr domain)
{
  virDomainMemoryStatStruct stats[STATS_MAX];
  int count = virDomainMemoryStats(domain, stats, STATS_MAX, 0);
  int64_t balloon = -1;
  for (int i = 0; i < count; i++) {
    if (stats[i].tag == VIR_DOMAIN_MEMORY_STAT_RSS)
      return (int64_t)stats[i].val * 1024;
    if (stats[i].tag == VIR_DOMAIN_MEMORY_STAT_ACTUAL_BALLOON)
      balloon = (int64_t)stats[i].val * 1024;
  }
  return balloon;
}

// ---- the verbs ---------------------------------------------------------------------------------

int clone_see(struct host *h, virDomainPtr domain, struct clone_seen *ret, struct err *err)
{
  struct xml x CLEANUP(xml_release) = {0};
  struct mark mark CLEANUP(mark_release) = {0};
  enum vm_power power;
  char uuid[VIR_UUID_STRING_BUFLEN];
  if (host_domain_xml(domain, &x, err) != 0 || host_power(domain, &power, err) != 0)
    return -1;
  mark_read(&x, &mark);
  virDomainGetUUIDString(domain, uuid);
  ret->done = true;
  ret->id = str_dup(uuid);
  ret->name = str_dup(virDomainGetName(domain));
  ret->owner = TAKE(mark.owner);
  ret->power = power;
  ret->memory_bytes = -1;
  see_mode(h, &x, &mark, ret);
  ret->bytes = see_bytes(h, domain, &x);
  if (power == VM_POWER_ON) {
    ret->agent = agent_pings(domain);
    virDomainAgentSetResponseTimeout(domain, AGENT_TIMEOUT_S, 0);
    see_addresses(domain, ret->agent, &ret->addresses);
    ret->memory_bytes = see_memory(domain);
  }
  return ret->id && ret->name ? 0 : no_memory(err);
}

int host_clone_get(void *handle, const char *id, struct clone_seen *ret, struct err *err)
{
  cleanup_domain virDomainPtr domain = host_domain(handle, id, err);
  return domain ? clone_see(handle, domain, ret, err) : -1;
}

int host_clone_power(void *handle, const char *id, enum power_action action, struct err *err)
{
  cleanup_domain virDomainPtr domain = host_domain(handle, id, err);
  struct xml x CLEANUP(xml_release) = {0};
  struct mark mark CLEANUP(mark_release) = {0};
  if (!domain || host_domain_xml(domain, &x, err) != 0)
    return -1;
  mark_read(&x, &mark);
  if (action == POWER_ON && str_eq(mark.kind, MARK_BASE))
    return err_set(err, ERR_DENIED, "'%s' is a base: it is not started, its clones are",
                   virDomainGetName(domain));
  return host_set_power(handle, id, action, err);
}

static int see_machine(virDomainPtr domain, struct machine_seen *ret, struct strings *bases,
                       struct err *err)
{
  struct xml x CLEANUP(xml_release) = {0};
  struct mark mark CLEANUP(mark_release) = {0};
  enum vm_power power;
  char uuid[VIR_UUID_STRING_BUFLEN];
  if (host_domain_xml(domain, &x, err) != 0 || host_power(domain, &power, err) != 0)
    return -1;
  mark_read(&x, &mark);
  virDomainGetUUIDString(domain, uuid);
  ret->id = str_dup(uuid);
  ret->name = str_dup(virDomainGetName(domain));
  ret->kind = str_dup(mark.owner && mark.kind ? mark.kind : "VM");
  if (mark.base && !strings_has(bases, mark.base))
    strings_add(bases, mark.base);
  ret->owner = TAKE(mark.owner);
  ret->power = power;
  return ret->id && ret->name && ret->kind ? 0 : no_memory(err);
}

static int add_machine(virDomainPtr domain, struct machines *ret, struct strings *bases,
                       struct err *err)
{
  struct machine_seen *m = list_add(&ret->items, sizeof(*m), MACHINES_MAX);
  struct err problem = ERR_INIT;
  if (!m)
    return err_set(err, ERR_LIMIT, "more than %d machines", MACHINES_MAX);
  if (see_machine(domain, m, bases, &problem) == 0)
    return 0;
  if (problem.kind != ERR_NOT_FOUND)
    return err_set(err, problem.kind, "%s", problem.message);
  ret->items.count--; // removed in the meantime
  return 0;
}

// What clones are made of without having been registered, serves as a template.
static void name_templates(struct machines *all, const struct strings *bases)
{
  for (size_t i = 0; i < all->items.count; i++) {
    struct machine_seen *m = (struct machine_seen *)all->items.items + i;
    char *kind = str_eq(m->kind, "VM") && strings_has(bases, m->id) ? str_dup("Template") : NULL;
    if (!kind)
      continue;
    free(m->kind);
    m->kind = kind;
  }
}

int host_machines(void *handle, struct machines *ret, struct err *err)
{
  struct host *h = handle;
  struct strings bases CLEANUP(strings_release) = {0};
  virDomainPtr *domains = NULL;
  int count = virConnectListAllDomains(h->conn, &domains, 0);
  if (count < 0)
    return host_fail(err, "list the VMs");
  int failed = 0;
  for (int i = 0; i < count; i++) {
    if (!failed)
      failed = add_machine(domains[i], ret, &bases, err);
    virDomainFree(domains[i]);
  }
  free(domains);
  name_templates(ret, &bases);
  return failed;
}

int host_console(void *handle, const char *id, struct strings *ret, struct err *err)
{
  struct host *h = handle;
  cleanup_domain virDomainPtr domain = host_domain(h, id, err);
  struct xml x CLEANUP(xml_release) = {0};
  char uuid[VIR_UUID_STRING_BUFLEN];
  if (!domain || host_domain_xml(domain, &x, err) != 0)
    return -1;
  if (!xml_has(&x, NULL,
               "/domain/devices/serial[@type='pty'] | "
               "/domain/devices/console[@type='pty']"))
    return err_set(err, ERR_UNSUPPORTED,
                   "VM '%s' has no serial console of type pty, which is what can be attached to",
                   virDomainGetName(domain));
  virDomainGetUUIDString(domain, uuid);
  cleanup_free char *uri = host_uri(h);
  return uri && strings_add(ret, "virsh") == 0 && strings_add(ret, "-c") == 0 &&
                 strings_add(ret, uri) == 0 && strings_add(ret, "console") == 0 &&
                 strings_add(ret, uuid) == 0
             ? 0
             : no_memory(err);
}
