// SPDX-License-Identifier: Apache-2.0
// Network of a machine: a network namespace that is made before it runs, with cards of the MACs and
// addresses that it shall have; systemd-nspawn only enters it. The other ends of the cards stay
// here, in a bridge or alone. By the `ip` program, one batch for each side.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/str.h"
#include "providers/nspawn/host_internal.h"

static uint32_t hash_of(const struct host *h, const char *name)
{
  uint32_t hash = 2166136261u ^ (uint32_t)h->tag;
  for (; *name; name++)
    hash = (hash ^ (unsigned char)*name) * 16777619u;
  return hash;
}

char *ns_network_namespace(const struct host *h, const char *name)
{
  return str_printf("drover-%08x-%s", (unsigned)h->tag, name);
}

bool ns_network_is_bridge(const char *name)
{
  cleanup_free char *path = str_printf("/sys/class/net/%s/bridge", name);
  return path && !strchr(name, '/') && ns_folder_there(path);
}

static int batch(const char *namespace, const struct buf *lines, struct err *err)
{
  const char *outside[] = {"ip", "-batch", "-", NULL};
  const char *inside[] = {"ip", "-n", namespace, "-batch", "-", NULL};
  if (!buf_ok(lines))
    return ns_no_memory(err);
  return ns_run_program(namespace ? inside : outside, buf_str(lines), err);
}

static int make_cards(const struct host *h, const struct record *r, const char *namespace,
                      struct err *err)
{
  struct buf b CLEANUP(buf_release) = BUF_INIT(0);
  uint32_t hash = hash_of(h, r->name);
  buf_printf(&b, "netns add %s\n", namespace);
  for (size_t i = 0; i < r->macs.count; i++) {
    const char *network = i < r->networks.count ? r->networks.items[i] : "";
    buf_printf(&b, "link add name dr%08x-%zu type veth peer name host%zu address %s netns %s\n",
               hash, i, i, r->macs.items[i], namespace);
    if (*network)
      buf_printf(&b, "link set dev dr%08x-%zu master %s\n", hash, i, network);
    buf_printf(&b, "link set dev dr%08x-%zu up\n", hash, i);
  }
  return batch(NULL, &b, err);
}

static int set_addresses(const struct record *r, const char *namespace, struct err *err)
{
  struct buf b CLEANUP(buf_release) = BUF_INIT(0);
  buf_adds(&b, "link set dev lo up\n");
  for (size_t i = 0; i < r->macs.count; i++)
    buf_printf(&b, "link set dev host%zu up\n", i);
  for (size_t i = 0; i < r->addresses.count; i++)
    buf_printf(&b, "address add %s dev host0\n", r->addresses.items[i]);
  if (r->gateway)
    buf_printf(&b, "route add default via %s dev host0\n", r->gateway);
  return batch(namespace, &b, err);
}

int ns_network_make(const struct host *h, const struct record *r, struct err *err)
{
  cleanup_free char *namespace = ns_network_namespace(h, r->name);
  if (!namespace)
    return ns_no_memory(err);
  if (ns_network_remove(h, r->name, err) != 0)
    return -1;
  if (make_cards(h, r, namespace, err) == 0 && set_addresses(r, namespace, err) == 0)
    return 0;
  ns_network_remove(h, r->name, NULL);
  return err_prefix(err, "network of '%s'", r->name);
}

// The ends on this side go first: with the namespace they would go, too, but some time later, and
// until then their names are taken. One that goes meanwhile by itself is no failure.
static int remove_ends(const struct host *h, const char *name, struct err *err)
{
  uint32_t hash = hash_of(h, name);
  for (unsigned i = 0; i < LIMIT_NICS; i++) {
    char end[IFNAMSIZ], path[64];
    struct err failure = ERR_INIT;
    snprintf(end, sizeof(end), "dr%08x-%u", hash, i);
    snprintf(path, sizeof(path), "/sys/class/net/%s", end);
    const char *argv[] = {"ip", "link", "delete", "dev", end, NULL};
    if (access(path, F_OK) == 0 && ns_run_program(argv, NULL, &failure) != 0 &&
        access(path, F_OK) == 0)
      return err_set(err, failure.kind, "%s", failure.message);
  }
  return 0;
}

int ns_network_remove(const struct host *h, const char *name, struct err *err)
{
  cleanup_free char *namespace = ns_network_namespace(h, name);
  cleanup_free char *path = namespace ? str_printf("/run/netns/%s", namespace) : NULL;
  if (!path)
    return ns_no_memory(err);
  if (remove_ends(h, name, err) != 0)
    return -1;
  if (access(path, F_OK) != 0)
    return 0;
  const char *argv[] = {"ip", "netns", "delete", namespace, NULL};
  return ns_run_program(argv, NULL, err);
}

// ---- addresses ---------------------------------------------------------------------------------

static int add_address(const struct ifaddrs *a, struct strings *ret)
{
  char text[NI_MAXHOST];
  int family = a->ifa_addr ? a->ifa_addr->sa_family : AF_UNSPEC;
  bool local = str_eq(a->ifa_name, "lo");
  if (local || (family != AF_INET && family != AF_INET6) || ret->count >= CLONE_ADDRESSES_MAX)
    return 0;
  const struct sockaddr_in6 *six = (const void *)a->ifa_addr;
  if (family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&six->sin6_addr))
    return 0;
  socklen_t length = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
  if (getnameinfo(a->ifa_addr, length, text, sizeof(text), NULL, 0, NI_NUMERICHOST) != 0)
    return 0;
  return strings_add(ret, text);
}

// The namespace is entered by this thread alone, for as long as the question takes.
int ns_network_addresses(const struct host *h, const char *name, struct strings *ret,
                         struct err *err)
{
  cleanup_free char *namespace = ns_network_namespace(h, name);
  cleanup_free char *path = namespace ? str_printf("/run/netns/%s", namespace) : NULL;
  cleanup_close int theirs = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  cleanup_close int ours = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  struct ifaddrs *all = NULL;
  if (theirs < 0 || ours < 0)
    return 0; // no network (yet)
  if (setns(theirs, CLONE_NEWNET) != 0)
    return err_errno(err, errno, "enter the network of '%s'", name);
  int failed = getifaddrs(&all);
  if (setns(ours, CLONE_NEWNET) != 0)
    abort(); // this thread would go on in somebody else's network
  if (failed)
    return err_errno(err, errno, "read the addresses of '%s'", name);
  for (const struct ifaddrs *a = all; a && !failed; a = a->ifa_next)
    failed = add_address(a, ret) != 0 ? ns_no_memory(err) : 0;
  freeifaddrs(all);
  return failed;
}
