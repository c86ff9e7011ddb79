// SPDX-License-Identifier: Apache-2.0
// What stands against a clone. Each rule adds findings, or fails when the daemon cannot be asked.
#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "providers/lxd/lxd_internal.h"

#define MEMORY_MIN_BYTES (8ll << 20)
#define DISK_MIN_BYTES   (16ll << 20)

struct checking {
  struct lxd *l;
  const struct lxd_from *from;
  const struct clone_order *order;
  struct findings *findings;
};

#define SAY(c, check, suggestion, ...)                                                             \
  (findings_add((c)->findings, check, FINDING_ERROR, suggestion, __VA_ARGS__) == 0                 \
       ? 0                                                                                         \
       : lxd_no_memory(err))

// Errors that say something of the order; the others mean that nothing can be said.
int lxd_find(struct findings *f, const char *check, const struct err *failed, struct err *err)
{
  static const enum err_kind said[] = {ERR_NOT_FOUND, ERR_EXISTS,      ERR_INVALID,
                                       ERR_BUSY,      ERR_UNSUPPORTED, ERR_NO_SPACE};
  for (size_t i = 0; i < ARRAY_SIZE(said); i++)
    if (failed->kind == said[i])
      return findings_add(f, check, FINDING_ERROR, NULL, "%s", failed->message) == 0
                 ? 0
                 : lxd_no_memory(err);
  if (err)
    *err = *failed;
  return -1;
}

static int check_name(struct checking *c, struct err *err)
{
  cleanup_json struct json_object *there = NULL;
  struct err failed = ERR_INIT;
  if (lxd_name_check(c->order->name, &failed) != 0)
    return lxd_find(c->findings, "CloneName", &failed, err);
  if (lxd_instance_brief_if(c->l, c->order->name, &there, err) != 0)
    return -1;
  if (there && lxd_check_mark(there, c->order->owner, &failed) != 0)
    return lxd_find(c->findings, "CloneName", &failed, err);
  return 0;
}

static int check_base(struct checking *c, struct err *err)
{
  const struct lxd_from *from = c->from;
  if (c->order->base_revision && !str_eq(c->order->base_revision, from->revision))
    return SAY(c, "CloneBase", "register it again", "base '%s' is not what it was", from->id);
  if (c->order->base && from->running)
    return SAY(c, "CloneBase", "stop it", "base '%s' runs", from->id);
  if (from->running &&
      findings_add(c->findings, "CloneSource", FINDING_WARNING, "stop it first",
                   "'%s' runs: its copy will be as after a power failure", from->id) != 0)
    return lxd_no_memory(err);
  return 0;
}

static int check_space(struct checking *c, struct err *err)
{
  const struct lxd_pool *kind;
  if (lxd_pool_kind(c->l, lxd_clone_pool(c->from, c->order), &kind, err) != 0)
    return -1;
  struct lxd_pool p = *kind; // its texts are borrowed
  if (lxd_pool_space(c->l, &p, err) != 0)
    return -1;
  if (!p.active)
    return SAY(c, "CloneStorage", "look at it there with `lxc` or `incus storage show`",
               "pool '%s' is not available", p.name);
  int64_t wanted =
      c->from->image ? lxd_number(c->from->json, "size", 0) : lxd_root_usage(c->from->json);
  if (p.free_bytes >= 0 && (p.free_bytes == 0 || p.free_bytes < wanted) && !p.links)
    return SAY(c, "CloneSpace", "free some, or use another pool",
               "pool '%s' has %lld bytes free, and a copy of '%s' takes %lld", p.name,
               (long long)p.free_bytes, c->from->id, (long long)wanted);
  if (c->order->disks.count && !p.sizes)
    return SAY(c, "CloneDisk", "leave out the size, or use another pool",
               "pool '%s' (%s) does not enforce the size of a disk", p.name, p.driver);
  return 0;
}

static int check_mode(struct checking *c, struct err *err)
{
  struct err failed = ERR_INIT;
  bool links;
  if (lxd_clone_links(c->l, c->from, c->order, &links, &failed) != 0)
    return lxd_find(c->findings, failed.kind == ERR_NOT_FOUND ? "CloneStorage" : "CloneMode",
                    &failed, err);
  if (c->order->mode == CLONE_PREFER_LINKED && !links &&
      findings_add(c->findings, "CloneMode", FINDING_WARNING, "use a pool that links clones",
                   "the clone will be a full copy in pool '%s'",
                   lxd_clone_pool(c->from, c->order)) != 0)
    return lxd_no_memory(err);
  return check_space(c, err);
}

static int check_size(struct checking *c, struct err *err)
{
  const struct clone_order *o = c->order;
  cleanup_json struct json_object *host = NULL;
  if (!o->cpus && !o->memory_bytes)
    return 0;
  if (lxd_get(c->l, "/1.0/resources", &host, err) != 0)
    return -1;
  int64_t cpus = lxd_number(lxd_member(host, "cpu"), "total", INT64_MAX);
  int64_t memory = lxd_number(lxd_member(host, "memory"), "total", INT64_MAX);
  if (o->cpus < 0 || o->cpus > cpus)
    return SAY(c, "CloneCPUs", NULL, "%lld CPUs: the host has %lld", (long long)o->cpus,
               (long long)cpus);
  if (o->memory_bytes && (o->memory_bytes < MEMORY_MIN_BYTES || o->memory_bytes > memory))
    return SAY(c, "CloneMemory", NULL,
               "%lld bytes of memory: it must be at least %lld, and the host has %lld",
               (long long)o->memory_bytes, MEMORY_MIN_BYTES, (long long)memory);
  return 0;
}

static int check_disks(struct checking *c, struct err *err)
{
  const struct clone_disk *disks = c->order->disks.items;
  const char *root_name = "root";
  struct json_object *root = lxd_root_of(c->from->devices, &root_name);
  int64_t least = DISK_MIN_BYTES, size = 0;
  int64_t used = c->from->image ? 0 : lxd_root_usage(c->from->json);
  if (c->order->disks.count == 0)
    return 0;
  if (c->order->disks.count > 1 || (disks[0].name && !str_eq(disks[0].name, root_name)))
    return SAY(c, "CloneDisk", NULL, "only the first disk, '%s', can be given a size", root_name);
  if (str_bytes(lxd_text(root, "size") ? lxd_text(root, "size") : "", &size) && size > least)
    least = size;
  if (used > least)
    least = used;
  if (disks[0].size_bytes < least)
    return SAY(c, "CloneDisk", NULL, "a disk of %lld bytes is smaller than the base's %lld",
               (long long)disks[0].size_bytes, (long long)least);
  return 0;
}

static bool mac_ok(const char *mac)
{
  for (int i = 0; i < 17; i++)
    if (i % 3 == 2 ? mac[i] != ':' : !isxdigit((unsigned char)mac[i]))
      return false;
  return mac[17] == '\0';
}

static int check_nics(struct checking *c, struct err *err)
{
  const struct clone_nic *nics = c->order->nics.items;
  for (size_t i = 0; i < c->order->nics.count; i++) {
    cleanup_json struct json_object *network = NULL;
    struct err failed = ERR_INIT;
    const char *name = str_empty(nics[i].network) ? c->l->default_network : nics[i].network;
    if (!str_empty(nics[i].mac) && !mac_ok(nics[i].mac) &&
        SAY(c, "CloneNetwork", NULL, "'%.40s' is no MAC address", nics[i].mac) != 0)
      return -1;
    if (!name)
      return SAY(c, "CloneNetwork", "name it", "card %zu has no network", i + 1);
    if (lxd_network(c->l, name, &network, &failed) != 0 &&
        lxd_find(c->findings, "CloneNetwork", &failed, err) != 0)
      return -1;
    if (network && !lxd_true(network, "managed") && !str_eq(lxd_text(network, "type"), "bridge") &&
        SAY(c, "CloneNetwork", NULL, "'%s' is neither a network nor a bridge", name) != 0)
      return -1;
  }
  return 0;
}

// "10.0.0.7/24" or, without prefix, "10.0.0.7".
static bool address_ok(const char *text, bool prefix)
{
  unsigned char bytes[16];
  cleanup_free char *address = str_dup(text ? text : "");
  char *slash = address ? strchr(address, '/') : NULL;
  int64_t bits = 0;
  if (!address || !slash != !prefix || (slash && !str_int64(slash + 1, &bits)))
    return false;
  if (slash)
    *slash = '\0';
  bool six = inet_pton(AF_INET6, address, bytes) == 1;
  return (six || inet_pton(AF_INET, address, bytes) == 1) && bits >= 0 && bits <= (six ? 128 : 32);
}

static int check_addresses(struct checking *c, struct err *err)
{
  const struct clone_order *o = c->order;
  for (size_t i = 0; i < o->addresses.count; i++)
    if (!address_ok(o->addresses.items[i], true))
      return SAY(c, "CloneAddress", NULL, "'%.60s' is no address with a prefix, as 10.0.0.7/24",
                 o->addresses.items[i]);
  for (size_t i = 0; i < o->nameservers.count; i++)
    if (!address_ok(o->nameservers.items[i], false))
      return SAY(c, "CloneAddress", NULL, "'%.60s' is no address of a name server",
                 o->nameservers.items[i]);
  if (!str_empty(o->gateway) && !address_ok(o->gateway, false))
    return SAY(c, "CloneAddress", NULL, "'%.60s' is no address of a gateway", o->gateway);
  bool any = o->addresses.count || o->nameservers.count || !str_empty(o->gateway);
  if (any && o->addresses.count == 0)
    return SAY(c, "CloneAddress", NULL, "a gateway or name servers need a fixed address, too");
  if (any && !c->from->cloud_init)
    return SAY(c, "CloneAddress", "use DHCP, or a base with cloud-init",
               "'%s' has no cloud-init to set fixed addresses", c->from->id);
  return 0;
}

bool lxd_host_name_ok(const char *host)
{
  size_t length = strlen(host);
  if (length == 0 || length > 63 || host[0] == '-' || host[length - 1] == '-')
    return false;
  return host[strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")] ==
         '\0';
}

static int check_identity(struct checking *c, struct err *err)
{
  const struct clone_order *o = c->order;
  if (o->hostname && !lxd_host_name_ok(o->hostname))
    return SAY(c, "CloneHostname", NULL, "'%.80s' is no host name", o->hostname);
  if (o->machine_id &&
      (strlen(o->machine_id) != 32 || o->machine_id[strspn(o->machine_id, "0123456789abcdef")]))
    return SAY(c, "CloneMachineID", NULL, "'%.40s' is no machine-id: 32 hexadecimal digits",
               o->machine_id);
  for (size_t i = 0; i < o->ssh_keys.count; i++)
    if (str_empty(o->ssh_keys.items[i]) || strpbrk(o->ssh_keys.items[i], "\r\n"))
      return SAY(c, "CloneSSHKey", NULL, "ssh key %zu is empty or has more than one line", i + 1);
  if (o->ssh_keys.count > CLONE_SSH_KEYS_MAX)
    return SAY(c, "CloneSSHKey", NULL, "more than %d ssh keys", CLONE_SSH_KEYS_MAX);
  if (o->user_data && !c->from->cloud_init)
    return SAY(c, "CloneUserData", "use a base with cloud-init",
               "'%s' has no cloud-init to read user data", c->from->id);
  return 0;
}

int lxd_clone_check(void *h, const struct clone_order *c, struct findings *f, struct err *err)
{
  static int (*const rules[])(struct checking *, struct err *) = {
      check_name,  check_base, check_mode,      check_size,
      check_disks, check_nics, check_addresses, check_identity,
  };
  struct lxd *l = h;
  struct lxd_from from CLEANUP(lxd_from_release) = {0};
  struct err failed = ERR_INIT;
  if (lxd_from(l, c, &from, &failed) != 0)
    return lxd_find(f, "CloneBase", &failed, err);
  struct checking checking = {l, &from, c, f};
  for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
    if (rules[i](&checking, err) != 0)
      return -1;
  if (f->count == 0 && findings_add(f, "Clone", FINDING_OK, NULL, "nothing stands against it") != 0)
    return lxd_no_memory(err);
  return 0;
}
