// SPDX-License-Identifier: Apache-2.0
// What stands against a clone. Changes nothing but for a trial of a reflink, which it takes away.
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "providers/libvirt/clone_internal.h"

#define CLONE_MIN_BYTES  (1 << 20)  // that a linked clone needs free
#define MEMORY_MIN_BYTES (16 << 20) // less boots no system
#define HOSTNAME_MAX     253

static void add_problem(struct findings *f, const char *check, const char *suggestion,
                        const struct err *problem)
{
  findings_add(f, check, FINDING_ERROR, suggestion, "%s", problem->message);
}

static void check_name(struct host *h, const struct clone_order *c, struct findings *f)
{
  cleanup_domain virDomainPtr named = virDomainLookupByName(h->conn, c->name);
  struct xml x CLEANUP(xml_release) = {0};
  struct mark mark CLEANUP(mark_release) = {0};
  struct err none = ERR_INIT;
  if (named && host_domain_xml(named, &x, &none) == 0)
    mark_read(&x, &mark);
  if (named && !owner_same(mark.owner, c->owner))
    findings_add(f, "CloneName", FINDING_ERROR, "Choose another name, or remove that VM.",
                 "there is a VM '%s' on %s already", c->name, h->config->endpoint);
}

static void check_base(const struct making *m, struct findings *f)
{
  struct err problem = ERR_INIT;
  const struct clone_order *c = m->c;
  if (base_resting(&m->base, &problem) != 0)
    add_problem(f, "CloneBase", "Shut it down.", &problem);
  else if (c->base_revision && !str_eq(c->base_revision, m->base.revision))
    findings_add(f, "CloneBase", FINDING_ERROR, "Register it anew, as another CloneBase.",
                 "somebody wrote to the disks of base '%s'", m->base.vm.name);
  else
    findings_add(f, "CloneBase", FINDING_OK, NULL, "'%s' can be cloned", m->base.vm.name);
}

// ---- storage -----------------------------------------------------------------------------------

// The only sure way to know.
static void try_reflink(struct making *m, struct findings *f)
{
  struct err problem = ERR_INIT, none = ERR_INIT;
  cleanup_free char *trial = str_printf("%s/drover-trial-%s.tmp", m->place.path, m->c->uid);
  if (!trial || m->disk_count == 0)
    return;
  if (host_copy_file(m->h, making_base_disk(m, 0)->path, trial, true, &problem) == 0)
    findings_add(f, "CloneMode", FINDING_OK, NULL, "'%s' can share blocks", m->place.name);
  else
    add_problem(f, "CloneMode", "Choose a pool on the base's XFS or btrfs, or cloneMode: Linked.",
                &problem);
  host_remove_file(m->h, trial, &none);
}

static void check_space(struct making *m, struct findings *f)
{
  int64_t needed = CLONE_MIN_BYTES;
  char wanted[32], there[32];
  for (size_t i = 0; m->mode == CLONE_FULL && i < m->disk_count; i++)
    needed += making_base_disk(m, i)->allocated_bytes;
  place_measure(m->h, &m->place);
  if (m->place.free_bytes >= 0 && m->place.free_bytes < needed)
    findings_add(f, "CloneSpace", FINDING_ERROR, "Free some space, or choose another storage.",
                 "the clone needs %s, '%s' has %s free", str_human_bytes((double)needed, wanted),
                 m->place.name, str_human_bytes((double)m->place.free_bytes, there));
}

static void check_disks(const struct making *m, struct findings *f)
{
  const struct clone_disk *all = m->c->disks.items;
  for (size_t k = 0; k < m->c->disks.count; k++) {
    size_t i = 0;
    while (all[k].name && i < m->disk_count && !str_eq(m->disks[i].target, all[k].name))
      i++;
    if (i >= m->disk_count)
      findings_add(f, "CloneDisk", FINDING_ERROR, "Name a disk that the base has, like 'vda'.",
                   "the base has no disk '%s' that can be changed", all[k].name ? all[k].name : "");
    else if (all[k].size_bytes > 0 && all[k].size_bytes < making_base_disk(m, i)->capacity_bytes)
      findings_add(f, "CloneDisk", FINDING_ERROR, "Ask for at least the size of the base's disk.",
                   "disk '%s' of the base has %lld bytes, the clone's shall have %lld",
                   m->disks[i].target, (long long)making_base_disk(m, i)->capacity_bytes,
                   (long long)all[k].size_bytes);
    else if (all[k].size_bytes % 512)
      findings_add(f, "CloneDisk", FINDING_ERROR, "Ask for a multiple of 512 bytes.",
                   "a disk of %lld bytes has no whole sectors", (long long)all[k].size_bytes);
  }
}

// ---- hardware and network ----------------------------------------------------------------------

static void check_hardware(const struct making *m, struct findings *f)
{
  struct err problem = ERR_INIT;
  virNodeInfo node;
  const struct clone_order *c = m->c;
  bool little = c->memory_bytes != 0 && c->memory_bytes < MEMORY_MIN_BYTES;
  if (c->cpus < 0 || little)
    findings_add(f, "CloneHardware", FINDING_ERROR, "Ask for at least one CPU and 16 MiB.",
                 "%lld CPUs and %lld bytes of memory", (long long)c->cpus,
                 (long long)c->memory_bytes);
  else if (derive_hardware_ok(&m->base.x, c, &problem) != 0)
    add_problem(f, "CloneHardware", "Leave cpus and memory out.", &problem);
  if (virNodeGetInfo(m->h->conn, &node) != 0)
    return;
  if (c->memory_bytes > (int64_t)node.memory * 1024)
    findings_add(f, "CloneMemory", FINDING_ERROR, "Ask for less memory.",
                 "the clone shall have %lld bytes of memory, the host has %lld",
                 (long long)c->memory_bytes, (long long)node.memory * 1024);
  cleanup_free char *type = xml_get(&m->base.x, NULL, "/domain/@type");
  cleanup_free char *machine = xml_get(&m->base.x, NULL, "/domain/os/type/@machine");
  cleanup_free char *text =
      c->cpus > 0 ? virConnectGetDomainCapabilities(m->h->conn, NULL, NULL, machine, type, 0)
                  : NULL;
  struct xml caps CLEANUP(xml_release) = {0};
  int64_t max = text && xml_parse(&caps, text, "domain capabilities", &problem) == 0
                    ? xml_int(&caps, NULL, "/domainCapabilities/vcpu/@max", 0)
                    : 0;
  if (max > 0 && c->cpus > max)
    findings_add(f, "CloneCPU", FINDING_ERROR, "Ask for fewer CPUs.",
                 "the clone shall have %lld CPUs, its machine takes %lld", (long long)c->cpus,
                 (long long)max);
}

static void check_network(struct host *h, const char *name, struct findings *f)
{
  if (str_empty(name) || str_eq(name, "user") || str_starts(name, "bridge:") ||
      str_starts(name, "direct:"))
    return;
  cleanup_network virNetworkPtr network = virNetworkLookupByName(h->conn, name);
  if (!network)
    findings_add(f, "CloneNetwork", FINDING_ERROR,
                 "Choose one that the Provider's status lists, or 'bridge:NAME'.",
                 "there is no network '%s' on %s", name, h->config->endpoint);
  else if (virNetworkIsActive(network) != 1)
    findings_add(f, "CloneNetwork", FINDING_ERROR, "Start it: virsh net-start.",
                 "the network '%s' is not active", name);
}

static bool is_address(const char *text, bool with_prefix)
{
  char b[INET6_ADDRSTRLEN + 8];
  unsigned char raw[16];
  snprintf(b, sizeof(b), "%s", text);
  char *slash = strchr(b, '/');
  int64_t bits = -1;
  if ((slash != NULL) != with_prefix)
    return false;
  if (slash) {
    *slash = '\0';
    if (!str_int64(slash + 1, &bits) || bits < 0)
      return false;
  }
  return (inet_pton(AF_INET, b, raw) == 1 && bits <= 32) ||
         (inet_pton(AF_INET6, b, raw) == 1 && bits <= 128);
}

static void check_addresses(const struct clone_order *c, struct findings *f)
{
  for (size_t i = 0; i < c->addresses.count; i++)
    if (!is_address(c->addresses.items[i], true))
      findings_add(f, "CloneAddress", FINDING_ERROR, "Write it as 10.0.0.7/24.",
                   "'%s' is no address with its prefix", c->addresses.items[i]);
  for (size_t i = 0; i < c->nameservers.count; i++)
    if (!is_address(c->nameservers.items[i], false))
      findings_add(f, "CloneAddress", FINDING_ERROR, "Write it as 10.0.0.1.",
                   "the name server '%s' is no address", c->nameservers.items[i]);
  if (c->gateway && !is_address(c->gateway, false))
    findings_add(f, "CloneAddress", FINDING_ERROR, "Write it as 10.0.0.1.",
                 "the gateway '%s' is no address", c->gateway);
  if (c->gateway && c->addresses.count == 0)
    findings_add(f, "CloneAddress", FINDING_ERROR, "Give an address as well.",
                 "a gateway without a fixed address");
}

static void check_nics(const struct making *m, struct findings *f)
{
  size_t count = m->c->nics.count ? m->c->nics.count : m->base.vm.nics.count;
  for (size_t i = 0; i < count; i++) {
    struct err problem = ERR_INIT;
    char mac[BUILD_MAC_BYTES];
    if (derive_mac(m->c, i, mac, &problem) != 0)
      add_problem(f, "CloneMAC", "Leave it out, or write it as 52:54:00:0a:0b:0c.", &problem);
    const struct clone_nic *nic =
        i < m->c->nics.count ? (const struct clone_nic *)m->c->nics.items + i : NULL;
    if (nic && str_empty(nic->network) && i >= m->base.vm.nics.count)
      findings_add(f, "CloneNetwork", FINDING_ERROR, "Name its network.",
                   "network card %zu, which the base lacks, has no network", i + 1);
    check_network(m->h, nic && nic->network ? nic->network : NULL, f);
  }
  if (count == 0 && (m->c->addresses.count || m->c->nameservers.count))
    findings_add(f, "CloneAddress", FINDING_ERROR, "Add a network.",
                 "the base has no network card for these addresses");
  check_addresses(m->c, f);
}

// What goes into files of the guest line by line must be one line.
static void check_identity(const struct clone_order *c, struct findings *f)
{
  static const char *const plain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.";
  const char *name = c->hostname;
  if (name && (!*name || strlen(name) > HOSTNAME_MAX || name[strspn(name, plain)]))
    findings_add(f, "CloneHostname", FINDING_ERROR, "Use letters, digits, '-' and '.'.",
                 "that is no host name");
  for (size_t i = 0; i < c->ssh_keys.count; i++)
    if (!xml_can_carry(c->ssh_keys.items[i])) // text without control characters
      findings_add(f, "CloneKeys", FINDING_ERROR, "Give each key as one line.",
                   "ssh key %zu is not one line of text", i + 1);
  if (c->ssh_keys.count > CLONE_SSH_KEYS_MAX)
    findings_add(f, "CloneKeys", FINDING_ERROR, "Give fewer.", "more than %d ssh keys",
                 CLONE_SSH_KEYS_MAX);
}

static void check_devices(const struct making *m, struct findings *f)
{
  if (xml_has(&m->base.x, NULL,
              "/domain/devices/hostdev | "
              "/domain/devices/interface[@type='hostdev']"))
    findings_add(f, "CloneDevices", FINDING_WARNING, "Take it away from the base.",
                 "the base has a device of the host, which only one machine at a time can have");
  if (xml_has(&m->base.x, NULL, "/domain/devices/*/source[@mode='bind'][@service]"))
    findings_add(f, "CloneDevices", FINDING_WARNING, "Take it away from the base.",
                 "the base listens at a fixed TCP port, which only one machine at a time can have");
  if (xml_has(&m->base.x, NULL, "/domain/devices/disk/shareable"))
    findings_add(f, "CloneDevices", FINDING_ERROR, "Take the disk away from the base.",
                 "the base has a disk that it shares with other machines");
}

int host_clone_check(void *handle, const struct clone_order *c, struct findings *f, struct err *err)
{
  struct host *h = handle;
  struct making m CLEANUP(making_release) = {0};
  struct err problem = ERR_INIT;
  if (making_begin(h, c, &m, &problem) != 0) {
    if (err_retryable(problem.kind)) { // no answer to the question
      if (err)
        *err = problem;
      return -1;
    }
    add_problem(f, problem.kind == ERR_UNSUPPORTED ? "CloneMode" : "CloneOrder",
                "Change the template of the clone.", &problem);
    return 0;
  }
  check_name(h, c, f);
  check_base(&m, f);
  check_space(&m, f);
  if (m.mode == CLONE_REFLINK)
    try_reflink(&m, f);
  check_disks(&m, f);
  check_hardware(&m, f);
  check_nics(&m, f);
  check_identity(c, f);
  check_devices(&m, f);
  return 0;
}
