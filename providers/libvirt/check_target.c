// SPDX-License-Identifier: Apache-2.0
// What stands against making a VM here. Changes nothing.
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/str.h"
#include "providers/libvirt/target_internal.h"

static void check_name(struct host *h, const struct vm_target *t, struct findings *f)
{
  struct err problem = ERR_INIT;
  if (build_name_ok(t->vm.name, &problem) != 0) {
    findings_add(f, "TargetName", FINDING_ERROR, "Set spec.target.vm.name.", "%s", problem.message);
    return;
  }
  cleanup_domain virDomainPtr named = virDomainLookupByName(h->conn, t->vm.name);
  struct xml x CLEANUP(xml_release) = {0};
  cleanup_free char *mark = NULL;
  if (named && host_domain_xml(named, &x, &problem) == 0)
    mark = xml_get(&x, NULL, "/domain/metadata/drover:owner");
  if (named && !owner_same(mark, t->owner))
    findings_add(f, "TargetName", FINDING_ERROR,
                 "Choose another spec.target.vm.name, or remove that VM.",
                 "there is a VM '%s' on %s already", t->vm.name, h->config->endpoint);
  else
    findings_add(f, "TargetName", FINDING_OK, NULL, "the name '%s' is free", t->vm.name);
}

// ---- storage -----------------------------------------------------------------------------------

// What the disks of one storage need: at once, and when they have grown.
struct need {
  const char *storage;
  int64_t now_bytes, most_bytes;
};

static void add_need(const struct vm_target *t, size_t i, const char *storage, bool folder,
                     struct need *need)
{
  const struct vm_disk *d = vm_disk_at(&t->vm, i);
  const struct target_disk *how = (const struct target_disk *)t->disks.items + i;
  bool whole = how->thick || !folder;
  need->storage = storage;
  need->most_bytes += d->capacity_bytes;
  need->now_bytes += whole                                    ? d->capacity_bytes
                     : d->allocated_bytes < d->capacity_bytes ? d->allocated_bytes
                                                              : d->capacity_bytes;
}

static void report_space(const struct place *p, const struct need *need, struct findings *f)
{
  char available[32], wanted[32];
  str_human_bytes((double)p->free_bytes, available);
  if (p->free_bytes < 0) {
    findings_add(f, "TargetSpace", FINDING_WARNING, "Make sure that there is room.",
                 "how much is free in '%s' is not known", p->name);
  } else if (need->now_bytes > p->free_bytes) {
    str_human_bytes((double)need->now_bytes, wanted);
    findings_add(f, "TargetSpace", FINDING_ERROR,
                 "Free some space, or choose another spec.target.vm.storage.",
                 "the disks need %s, '%s' has %s free", wanted, p->name, available);
  } else if (need->most_bytes > p->free_bytes) {
    str_human_bytes((double)need->most_bytes, wanted);
    findings_add(f, "TargetSpace", FINDING_WARNING, "Watch it: the disks grow as they are used.",
                 "the disks may grow to %s, '%s' has %s free", wanted, p->name, available);
  } else {
    findings_add(f, "TargetSpace", FINDING_OK, NULL, "'%s' has %s free", p->name, available);
  }
}

static void check_place(struct host *h, const struct vm_target *t, size_t first, struct findings *f)
{
  struct place p CLEANUP(place_release) = {0};
  struct err problem = ERR_INIT;
  const char *storage = place_name(h, t, first);
  if (place_find(h, storage, &p, &problem) != 0) {
    findings_add(f, "TargetStorage", FINDING_ERROR,
                 "Choose a spec.target.vm.storage that status.inventory of the Provider lists.",
                 "%s", problem.message);
    return;
  }
  if (!p.active) {
    findings_add(f, "TargetStorage", FINDING_ERROR, "Start it: virsh pool-start.",
                 "the storage pool '%s' is not active", p.name);
    return;
  }
  place_measure(h, &p);
  struct need need = {0};
  for (size_t i = first; i < t->vm.disks.count; i++)
    if (str_eq(place_name(h, t, i), storage))
      add_need(t, i, storage, p.folder, &need);
  report_space(&p, &need, f);
}

static void check_storage(struct host *h, const struct vm_target *t, struct findings *f)
{
  for (size_t i = 0; i < t->vm.disks.count; i++) {
    bool seen = false; // with an earlier disk
    for (size_t before = 0; before < i; before++)
      seen |= str_eq(place_name(h, t, before), place_name(h, t, i));
    if (!seen)
      check_place(h, t, i, f);
  }
}

// ---- networks ----------------------------------------------------------------------------------

static void check_network(struct host *h, const char *name, struct findings *f)
{
  cleanup_network virNetworkPtr network = virNetworkLookupByName(h->conn, name);
  if (!network)
    findings_add(f, "TargetNetwork", FINDING_ERROR,
                 "Map it by spec.target.vm.networks to one that the Provider's status lists, or to "
                 "'bridge:NAME'.",
                 "there is no network '%s' on %s", name, h->config->endpoint);
  else if (virNetworkIsActive(network) != 1)
    findings_add(f, "TargetNetwork", FINDING_ERROR, "Start it: virsh net-start.",
                 "the network '%s' is not active", name);
  else
    findings_add(f, "TargetNetwork", FINDING_OK, NULL, "network '%s' is there", name);
}

static void check_networks(struct host *h, const struct vm_target *t, struct findings *f)
{
  const char *usual = h->config->default_network;
  for (size_t i = 0; i < t->vm.nics.count; i++) {
    const char *name = vm_nic_at(&t->vm, i)->network;
    if (str_empty(name))
      name = str_empty(usual) ? "default" : usual;
    if (!xml_can_carry(name))
      findings_add(f, "TargetNetwork", FINDING_ERROR, "Map it by spec.target.vm.networks.",
                   "the name of a network holds control characters");
    else if (!str_eq(name, "user") && !str_starts(name, "bridge:") && !str_starts(name, "direct:"))
      check_network(h, name, f);
  }
}

// ---- the machine -------------------------------------------------------------------------------

static void check_cpus(const struct vm_target *t, const struct caps *caps, struct findings *f)
{
  int64_t max = xml_int(&caps->xml, NULL, "/domainCapabilities/vcpu/@max", 0);
  if (max > 0 && t->vm.cpus > max)
    findings_add(f, "TargetCPU", FINDING_ERROR, "Set spec.target.vm.cpus.",
                 "the VM has %lld CPUs, the target's machine takes %lld", (long long)t->vm.cpus,
                 (long long)max);
}

static void check_memory(struct host *h, const struct vm_target *t, struct findings *f)
{
  virNodeInfo node;
  if (virNodeGetInfo(h->conn, &node) != 0 || t->vm.memory_bytes <= (int64_t)node.memory * 1024)
    return;
  char wanted[32], there[32];
  findings_add(f, "TargetMemory", FINDING_WARNING, "Set spec.target.vm.memory.",
               "the VM has %s of memory, the host has %s",
               str_human_bytes((double)t->vm.memory_bytes, wanted),
               str_human_bytes((double)node.memory * 1024, there));
}

static int plan_all(struct host *h, const struct vm_target *t, struct owned *plans, struct err *err)
{
  for (size_t i = 0; i < t->vm.disks.count; i++)
    if (plan_disk(h, t, i, &plans[i], err) != 0)
      return -1;
  return 0;
}

static void check_build(struct host *h, const struct vm_target *t, const struct caps *caps,
                        const struct owned *plans, struct findings *f)
{
  struct strings adapted CLEANUP(strings_release) = {0};
  struct err problem = ERR_INIT;
  cleanup_free char *text = NULL;
  if (build_for(h, t, plans, caps, &text, &adapted, &problem) != 0) {
    findings_add(f, "TargetMachine", FINDING_ERROR,
                 "Change what spec.target.vm asks for, or choose another target.", "%s",
                 problem.message);
    return;
  }
  for (size_t i = 0; i < adapted.count; i++)
    findings_add(f, "TargetAdapted", FINDING_WARNING, "Nothing, if the guest copes.", "%s",
                 adapted.items[i]);
  if (xml_is(&caps->xml, NULL, "/domainCapabilities/domain", "qemu"))
    findings_add(f, "TargetKVM", FINDING_WARNING, "Load the kvm module on the target.",
                 "the target offers no KVM for this machine: the VM will be emulated, and slow");
  findings_add(f, "TargetMachine", FINDING_OK, NULL, "the target can run this machine");
}

static void check_machine(struct host *h, const struct vm_target *t, struct findings *f)
{
  struct owned *plans = calloc(t->vm.disks.count + 1, sizeof(*plans));
  struct caps caps CLEANUP(caps_release) = {0};
  struct err problem = ERR_INIT;
  if (caps_get(h, &t->vm, &caps, &problem) != 0) {
    findings_add(f, "TargetMachine", FINDING_ERROR, "Choose a target of that architecture.", "%s",
                 problem.message);
  } else if (!plans || plan_all(h, t, plans, &problem) != 0) {
    findings_add(f, "TargetDisk", FINDING_ERROR, "Change spec.target.vm.disks or storage.", "%s",
                 problem.message);
  } else {
    check_cpus(t, &caps, f);
    check_build(h, t, &caps, plans, f);
  }
  for (size_t i = 0; plans && i < t->vm.disks.count; i++)
    owned_release(&plans[i]);
  free(plans);
}

int host_check_target(void *handle, const struct vm_target *t, struct findings *f, struct err *err)
{
  struct host *h = handle;
  struct err no_data = ERR_INIT;
  if (t->disks.count != t->vm.disks.count)
    return err_set(err, ERR_INTERNAL, "a target without a place for each disk");
  if (host_need_data(h, &no_data) != 0)
    findings_add(f, "TargetDataPath", FINDING_ERROR,
                 "Set spec.ssh of the Provider: host, user and a secret with ssh-privatekey and "
                 "known_hosts.",
                 "%s", no_data.message);
  check_name(h, t, f);
  check_storage(h, t, f);
  check_networks(h, t, f);
  check_memory(h, t, f);
  check_machine(h, t, f);
  return 0;
}
