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

// XFS may be without reflinks; then clone_check says so.
static bool file_system_shares(struct host *h, const char *path)
{
  const char *argv[] = {"stat", "-f", "-c", "%T", "--", path, NULL};
  struct command_result r CLEANUP(command_result_release) = {0};
  struct err none = ERR_INIT;
  return host_run(h, argv, &r, &none) == 0 && r.exit_status == 0 &&
         (str_starts(r.output, "btrfs") || str_starts(r.output, "xfs"));
}

static int add_clone_capabilities(struct host *h, const struct list *storages, struct strings *ret)
{
  if (h->data == DATA_NONE)
    return 0;
  int failed =
      strings_add(ret, "Clone") | strings_add(ret, "CloneLinked") | strings_add(ret, "CloneFull");
  const struct provider_storage *all = storages->items;
  for (size_t i = 0; i < storages->count; i++) {
    bool folder = str_eq(all[i].type, "dir") || str_eq(all[i].type, "fs");
    if (folder && all[i].active && all[i].path && file_system_shares(h, all[i].path))
      return failed | strings_add(ret, "CloneReflink");
  }
  return failed;
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
  if (add_clone_capabilities(h, &ret->storages, &ret->capabilities) != 0)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  return add_vms(h, &ret->vms, err);
}
