// SPDX-License-Identifier: Apache-2.0
// What stands against a clone, before anything is made.
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/str.h"
#include "providers/nspawn/host_internal.h"

#define MEMORY_MIN_BYTES (16ll << 20)
#define MAC_LENGTH       17

#define ERROR(check, suggestion, ...)                                                              \
  findings_add(f, (check), FINDING_ERROR, (suggestion), __VA_ARGS__)

// ---- numbers -----------------------------------------------------------------------------------

static int check_limits(const struct clone_order *c, struct findings *f)
{
  struct sysinfo s = {0};
  sysinfo(&s);
  long cpus = sysconf(_SC_NPROCESSORS_ONLN);
  int64_t total = (int64_t)s.totalram * (int64_t)s.mem_unit;
  if ((c->cpus || c->memory_bytes) && !ns_cgroup_can_limit())
    return ERROR("Limits", "Leave cpus and memory out.",
                 "this host has no control groups for memory and CPU that drover may use");
  if (c->cpus < 0 || c->cpus > cpus)
    return ERROR("CPUs", "Ask for fewer.", "%lld CPUs are asked for, and the host has %ld",
                 (long long)c->cpus, cpus);
  if (c->memory_bytes && (c->memory_bytes < MEMORY_MIN_BYTES || c->memory_bytes > total))
    return ERROR("Memory", "Ask for 16Mi or more, and less than the host has.",
                 "%lld bytes of memory are asked for, and the host has %lld",
                 (long long)c->memory_bytes, (long long)total);
  return 0;
}

static int check_storage(const struct host *h, const struct clone_order *c, struct findings *f)
{
  if (c->disks.count)
    return ERROR("Disks", "Leave disks out.", "a container has a folder here, which has no size");
  if (c->storage && !str_eq(c->storage, h->folder))
    return ERROR("Storage", "Leave storage out.", "all machines of this provider are in %s",
                 h->folder);
  return 0;
}

// ---- identity ----------------------------------------------------------------------------------

static bool is_hex(const char *s, size_t length)
{
  return strlen(s) == length && strspn(s, "0123456789abcdef") == length;
}

static int check_identity(const struct clone_order *c, struct findings *f)
{
  if (c->hostname && !ns_name_ok(c->hostname))
    return ERROR("Hostname", "Use letters, digits and dashes.", "it is not a host name");
  if (c->machine_id && !is_hex(c->machine_id, 32))
    return ERROR("MachineID", NULL, "a machine-id has 32 hexadecimal digits");
  for (size_t i = 0; i < c->ssh_keys.count; i++)
    if (strpbrk(c->ssh_keys.items[i], "\r\n") || !strchr(c->ssh_keys.items[i], ' '))
      return ERROR("SSHKeys", "Give one public key in a line.", "key %zu is not a public key", i);
  return 0;
}

static int check_user_data(const struct host *h, const struct clone_order *c, struct findings *f)
{
  static const char *const programs[] = {"/usr/bin/cloud-init", "/usr/local/bin/cloud-init"};
  struct record from cleanup_record = {0};
  cleanup_close int root = -1;
  const char *name = c->base ? c->base : c->source;
  if (!c->user_data || !ns_name_ok(name))
    return 0;
  if (ns_record_load(h, name, &from, NULL) != 0 && !(from.name = str_dup(name)))
    return -1;
  if (ns_root_open(h, &from, &root, NULL) == 0)
    for (size_t i = 0; i < ARRAY_SIZE(programs); i++)
      if (ns_root_has(root, programs[i]))
        return 0;
  return ERROR("UserData", "Install cloud-init in the base, or leave user data out.",
               "there is no cloud-init in '%s': nothing would act on user data", name);
}

// ---- network -----------------------------------------------------------------------------------

static bool is_mac(const char *s)
{
  if (strlen(s) != MAC_LENGTH)
    return false;
  for (size_t i = 0; i < MAC_LENGTH; i++)
    if (i % 3 == 2 ? s[i] != ':' : !strchr("0123456789abcdefABCDEF", s[i]))
      return false;
  return true;
}

// "10.0.0.7/24"; without a slash when `plain`.
static bool is_address(const char *text, bool plain)
{
  char b[64], *slash;
  unsigned char raw[16];
  int64_t length = 0;
  snprintf(b, sizeof(b), "%s", text);
  slash = strchr(b, '/');
  if (!slash == !plain)
    return false;
  bool six = strchr(b, ':') != NULL;
  if (slash) {
    *slash = '\0';
    if (!str_int64(slash + 1, &length) || length < 1 || length > (six ? 128 : 32))
      return false;
  }
  return strlen(text) < sizeof(b) && inet_pton(six ? AF_INET6 : AF_INET, b, raw) == 1;
}

static int check_addresses(const struct clone_order *c, struct findings *f)
{
  for (size_t i = 0; i < c->addresses.count; i++)
    if (!is_address(c->addresses.items[i], false))
      return ERROR("Addresses", "Write 10.0.0.7/24.", "'%s' is not an address with its prefix",
                   c->addresses.items[i]);
  for (size_t i = 0; i < c->nameservers.count; i++)
    if (!is_address(c->nameservers.items[i], true))
      return ERROR("Nameservers", NULL, "'%s' is not an address", c->nameservers.items[i]);
  if (c->gateway && !is_address(c->gateway, true))
    return ERROR("Gateway", NULL, "'%s' is not an address", c->gateway);
  if (c->gateway && c->addresses.count == 0)
    return ERROR("Gateway", "Give an address as well.", "a gateway without an address");
  return 0;
}

static int check_network(const struct host *h, const struct clone_order *c, struct findings *f)
{
  const struct clone_nic *nics = c->nics.items;
  if (h->network && !ns_network_is_bridge(h->network))
    return ERROR("Network", "Make the bridge, or change defaults.network.",
                 "'%s' is not a bridge of this host", h->network);
  if (c->nics.count > LIMIT_NICS)
    return ERROR("Network", "Ask for fewer cards.", "more than %d cards", LIMIT_NICS);
  for (size_t i = 0; i < c->nics.count; i++) {
    if (nics[i].network && !ns_network_is_bridge(nics[i].network))
      return ERROR("Network", "Name a bridge of the host.", "'%s' is not a bridge of this host",
                   nics[i].network);
    if (nics[i].mac && !is_mac(nics[i].mac))
      return ERROR("Network", "Write 52:54:00:0a:0b:0c.", "'%s' is not a MAC", nics[i].mac);
  }
  return check_addresses(c, f);
}

// ---- the name, the base, the mode --------------------------------------------------------------

static int check_name(const struct host *h, const struct clone_order *c, struct findings *f)
{
  struct record r cleanup_record = {0};
  cleanup_free char *path = ns_name_ok(c->name) ? ns_machine_path(h, c->name) : NULL;
  if (!path)
    return ERROR("Name", "Use letters, digits and dashes.", "'%s' cannot be a machine's name here",
                 c->name ? c->name : "");
  bool known = ns_record_load(h, c->name, &r, NULL) == 0;
  if (known ? !owner_same(r.owner, c->owner) || ns_place_taken(h, &r) : ns_folder_there(path))
    return ERROR("Name", "Use another name, or remove that machine.",
                 "machine '%s' is there already and belongs to somebody else", c->name);
  return findings_add(f, "Name", FINDING_OK, NULL, "the name '%s' is free", c->name);
}

static int check_space(const struct host *h, const char *from, struct findings *f)
{
  struct statvfs s;
  int64_t bytes;
  char need[32];
  if (ns_tree_bytes(from, &bytes, NULL) != 0 || statvfs(h->folder, &s) != 0 ||
      bytes <= (int64_t)s.f_bavail * (int64_t)s.f_frsize)
    return 0;
  return ERROR("Space", "Make room, or use a linked clone.", "a copy takes %s: %s is too full",
               str_human_bytes((double)bytes, need), h->folder);
}

static int check_mode(const struct host *h, const struct clone_order *c, struct findings *f)
{
  struct err failure = ERR_INIT;
  int mode;
  const char *name = c->base ? c->base : c->source;
  cleanup_free char *from = ns_name_ok(name) ? ns_machine_path(h, name) : NULL;
  if (!from || !ns_folder_there(from))
    return ERROR("Base", NULL, "there is no machine '%s' in %s", name ? name : "", h->folder);
  if (ns_clone_way(h, c, &mode, &failure) != 0)
    return ERROR("CloneMode", "Use PreferLinked or Full, or btrfs.", "%s", failure.message);
  if (mode == CLONE_FULL && check_space(h, from, f) != 0)
    return -1;
  return findings_add(f, "CloneMode", FINDING_OK, NULL, "clones here are made as %s",
                      clone_mode_names[mode]);
}

int ns_clone_check(void *handle, const struct clone_order *c, struct findings *f, struct err *err)
{
  const struct host *h = handle;
  if (check_name(h, c, f) != 0 || check_mode(h, c, f) != 0 || check_limits(c, f) != 0 ||
      check_storage(h, c, f) != 0 || check_identity(c, f) != 0 || check_user_data(h, c, f) != 0 ||
      check_network(h, c, f) != 0)
    return ns_no_memory(err);
  return 0;
}
