// SPDX-License-Identifier: Apache-2.0
// What a host is and has.
#include <stdio.h>

#include "base/str.h"
#include "providers/libvirt/host_internal.h"
#include "providers/libvirt/storage_internal.h"

#define INVENTORY_MAX 10000

static int version_text(struct host *h, char **ret, struct err *err)
{
  unsigned long qemu = 0, lib = 0; // 1,000,000 x major + 1,000 x minor + release
  if (virConnectGetVersion(h->conn, &qemu) != 0 || virConnectGetLibVersion(h->conn, &lib) != 0)
    return host_fail(err, "read the version of %s", h->config->endpoint);
  *ret =
      str_printf("%s %lu.%lu.%lu, libvirt %lu.%lu.%lu", virConnectGetType(h->conn), qemu / 1000000,
                 qemu / 1000 % 1000, qemu % 1000, lib / 1000000, lib / 1000 % 1000, lib % 1000);
  return *ret ? 0 : err_set(err, ERR_NO_MEMORY, "out of memory");
}

static int add_capabilities(struct host *h, struct strings *ret)
{
  int failed = 0;
  if (h->data != DATA_NONE)
    failed |= strings_add(ret, "Export") | strings_add(ret, "Import");
  if (h->data == DATA_LOCAL)
    failed |= strings_add(ret, "DirectRead");
  if (h->data != DATA_NONE)
    failed |=
        strings_add(ret, "Clone") | strings_add(ret, "CloneLinked") | strings_add(ret, "CloneFull");
  return failed | strings_add(ret, "Power") | strings_add(ret, "GuestShutdown") |
         strings_add(ret, "Autostart") | strings_add(ret, "DeleteSource");
}

// libvirt's lists are arrays that end with NULL, of objects to be freed one by one.
static int add_pools(struct host *h, struct list *ret, struct err *err)
{
  virStoragePoolPtr *pools = NULL;
  int count = virConnectListAllStoragePools(h->conn, &pools, 0);
  if (count < 0)
    return host_fail(err, "list the storage pools");
  int failed = 0;
  for (int i = 0; i < count; i++) {
    struct provider_storage *s = failed ? NULL : list_add(ret, sizeof(*s), INVENTORY_MAX);
    if (s && pool_facts(pools[i], s, err) != 0)
      failed = -1;
    virStoragePoolFree(pools[i]);
  }
  free(pools);
  return failed;
}

static int add_networks(struct host *h, struct strings *ret, struct err *err)
{
  virNetworkPtr *networks = NULL;
  int count = virConnectListAllNetworks(h->conn, &networks, 0);
  if (count < 0)
    return host_fail(err, "list the networks");
  int failed = 0;
  for (int i = 0; i < count; i++) {
    if (i < INVENTORY_MAX)
      failed |= strings_add(ret, virNetworkGetName(networks[i]));
    virNetworkFree(networks[i]);
  }
  free(networks);
  return failed ? err_set(err, ERR_NO_MEMORY, "out of memory") : 0;
}

static int add_vms(struct host *h, struct strings *ret, struct err *err)
{
  virDomainPtr *domains = NULL;
  int count = virConnectListAllDomains(h->conn, &domains, 0);
  if (count < 0)
    return host_fail(err, "list the VMs");
  int failed = 0;
  for (int i = 0; i < count; i++) {
    if (i < INVENTORY_MAX)
      failed |= strings_add(ret, virDomainGetName(domains[i]));
    virDomainFree(domains[i]);
  }
  free(domains);
  return failed ? err_set(err, ERR_NO_MEMORY, "out of memory") : 0;
}

int host_probe(void *handle, struct provider_info *ret, struct err *err)
{
  struct host *h = handle;
  if (version_text(h, &ret->version, err) != 0)
    return -1;
  cleanup_free char *name = virConnectGetHostname(h->conn);
  ret->host = TAKE(name);
  if (!ret->host)
    return host_fail(err, "read the name of %s", h->config->endpoint);
  if (add_capabilities(h, &ret->capabilities) != 0)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  if (add_pools(h, &ret->storages, err) != 0 || add_networks(h, &ret->networks, err) != 0)
    return -1;
  return add_vms(h, &ret->vms, err);
}
