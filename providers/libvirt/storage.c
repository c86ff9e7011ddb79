// SPDX-License-Identifier: Apache-2.0
#include "providers/libvirt/storage_internal.h"

#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/str.h"

// Kinds of pool that take disks of ours; others (rbd, iscsi, disk, ...) are listed, not used.
static const struct {
  const char *type;
  bool folder;
} kinds[] = {{"dir", true}, {"fs", true}, {"netfs", true}, {"logical", false}};

static void pool_space(virStoragePoolPtr pool, struct provider_storage *ret)
{
  virStoragePoolInfo info;
  if (!ret->active || virStoragePoolGetInfo(pool, &info) != 0)
    return;
  ret->free_bytes = (int64_t)info.available;
  ret->capacity_bytes = (int64_t)info.capacity;
}

static int pool_kind(virStoragePoolPtr pool, struct provider_storage *ret, struct err *err)
{
  ret->name = str_dup(virStoragePoolGetName(pool));
  ret->free_bytes = ret->capacity_bytes = -1;
  ret->active = virStoragePoolIsActive(pool) == 1;
  cleanup_free char *text = virStoragePoolGetXMLDesc(pool, 0);
  if (!text)
    return host_fail(err, "read the storage pool '%s'", ret->name);
  struct xml x CLEANUP(xml_release) = {0};
  if (xml_parse(&x, text, "storage pool", err) != 0)
    return -1;
  ret->type = xml_get(&x, NULL, "/pool/@type");
  ret->path = xml_get(&x, NULL, "/pool/target/path");
  return 0;
}

int pool_facts(virStoragePoolPtr pool, struct provider_storage *ret, struct err *err)
{
  if (pool_kind(pool, ret, err) != 0)
    return -1;
  pool_space(pool, ret);
  return 0;
}

void place_release(struct place *p)
{
  free(p->name);
  free(p->path);
  if (p->pool)
    virStoragePoolFree(p->pool);
  *p = (struct place){0};
}

const char *place_name(const struct host *h, const struct vm_target *t, size_t i)
{
  const struct target_disk *d =
      i < t->disks.count ? (const struct target_disk *)t->disks.items + i : NULL;
  if (d && !str_empty(d->storage))
    return d->storage;
  return str_empty(h->config->default_storage) ? "default" : h->config->default_storage;
}

static int find_folder(struct host *h, struct place *p, struct err *err)
{
  size_t length = strlen(p->path);
  while (length > 1 && p->path[length - 1] == '/')
    p->path[--length] = '\0';
  if (strstr(p->path, "/../") || str_ends(p->path, "/.."))
    return err_set(err, ERR_INVALID, "storage '%s': a folder without '..' is needed", p->name);
  p->folder = true;
  p->active = true;
  p->free_bytes = -1;
  const char *test[] = {"test", "-d", p->path, NULL};
  struct command_result r CLEANUP(command_result_release) = {0};
  if (host_run(h, test, &r, err) != 0)
    return -1;
  return r.exit_status == 0 ? 0
                            : err_set(err, ERR_NOT_FOUND, "there is no folder %s on %s", p->path,
                                      h->config->endpoint);
}

static int find_pool(struct host *h, struct place *p, struct err *err)
{
  p->pool = virStoragePoolLookupByName(h->conn, p->name);
  if (!p->pool && host_last_error_is(VIR_ERR_NO_STORAGE_POOL))
    return err_set(err, ERR_NOT_FOUND, "there is no storage pool '%s' on %s", p->name,
                   h->config->endpoint);
  if (!p->pool)
    return host_fail(err, "look up the storage pool '%s'", p->name);
  struct provider_storage facts = {0};
  int failed = pool_kind(p->pool, &facts, err);
  bool known = false;
  for (size_t i = 0; !failed && i < ARRAY_SIZE(kinds); i++)
    if (str_eq(kinds[i].type, facts.type)) {
      known = true;
      p->folder = kinds[i].folder;
    }
  p->active = facts.active;
  p->free_bytes = -1;
  p->path = TAKE(facts.path);
  if (!failed && (!known || !p->path))
    failed = err_set(err, ERR_UNSUPPORTED,
                     "storage pool '%s' is of type %s; disks go to dir, fs, "
                     "netfs and logical pools",
                     p->name, facts.type);
  free(facts.name);
  free(facts.type);
  return failed;
}

// What libvirt says of a pool is as old as its last refresh; the file system knows now.
static void ask_free(struct host *h, struct place *p)
{
  struct statvfs fs;
  if (h->data == DATA_LOCAL && statvfs(p->path, &fs) == 0)
    p->free_bytes = (int64_t)(fs.f_bavail * fs.f_frsize);
  if (h->data != DATA_SSH)
    return;
  const char *argv[] = {"stat", "-f", "-c", "%a %S", "--", p->path, NULL};
  struct command_result r CLEANUP(command_result_release) = {0};
  struct err none = ERR_INIT;
  long long blocks, block_bytes;
  if (host_run(h, argv, &r, &none) == 0 && r.exit_status == 0 &&
      sscanf(r.output, "%lld %lld", &blocks, &block_bytes) == 2)
    p->free_bytes = blocks * block_bytes;
}

int place_find(struct host *h, const char *storage, struct place *ret, struct err *err)
{
  *ret = (struct place){.name = str_dup(storage)};
  if (!ret->name)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  if (storage[0] != '/')
    return find_pool(h, ret, err);
  ret->path = str_dup(storage);
  return ret->path ? find_folder(h, ret, err) : err_set(err, ERR_NO_MEMORY, "out of memory");
}

void place_measure(struct host *h, struct place *p)
{
  struct provider_storage facts = {.active = p->active, .free_bytes = -1};
  if (p->folder && p->active)
    ask_free(h, p);
  if (p->free_bytes >= 0 || !p->pool)
    return;
  pool_space(p->pool, &facts);
  p->free_bytes = facts.free_bytes;
}

// ---- who uses a file ---------------------------------------------------------------------------

// Disks given as pool and volume have no path in the definition.
static bool uses_volume(struct host *h, const struct xml *x, const char *path)
{
  cleanup_nodes xmlXPathObjectPtr disks =
      xml_find(x, NULL, "/domain/devices/disk/source[@pool and @volume]");
  for (size_t i = 0; i < xml_count(disks); i++) {
    cleanup_free char *pool_name = xml_get(x, xml_node(disks, i), "@pool");
    cleanup_free char *name = xml_get(x, xml_node(disks, i), "@volume");
    cleanup_pool virStoragePoolPtr pool = virStoragePoolLookupByName(h->conn, pool_name);
    cleanup_volume virStorageVolPtr volume = pool ? virStorageVolLookupByName(pool, name) : NULL;
    cleanup_free char *at = volume ? virStorageVolGetPath(volume) : NULL;
    if (str_eq(at, path))
      return true;
  }
  return false;
}

struct use {
  bool uses;
  char *owner; // mark
};

static int domain_use(struct host *h, virDomainPtr domain, const char *path, struct use *ret,
                      struct err *err)
{
  const unsigned forms[] = {VIR_DOMAIN_XML_INACTIVE, 0}; // as it is defined, and as it runs
  size_t count = virDomainIsActive(domain) == 1 ? 2 : 1;
  for (size_t i = 0; i < count; i++) {
    cleanup_free char *text = virDomainGetXMLDesc(domain, forms[i]);
    if (!text && host_last_error_is(VIR_ERR_NO_DOMAIN))
      return 0; // removed in the meantime
    if (!text)
      return host_fail(err, "read the definition of '%s'", virDomainGetName(domain));
    struct xml x CLEANUP(xml_release) = {0};
    if (xml_parse(&x, text, "domain", err) != 0)
      return -1;
    if (!ret->owner)
      ret->owner = xml_get(&x, NULL, "/domain/metadata/drover:owner");
    if (domain_uses_path(&x, path) || uses_volume(h, &x, path))
      ret->uses = true;
  }
  return 0;
}

// Who may use the file: the domains with our mark, or the one with that UUID.
struct user_search {
  const char *path, *owner, *uuid;
  char *name; // of another
  bool ours_runs;
};

static int search_domain(struct host *h, virDomainPtr domain, struct user_search *s,
                         struct err *err)
{
  struct use use = {0};
  char id[VIR_UUID_STRING_BUFLEN] = "";
  if (domain_use(h, domain, s->path, &use, err) != 0) {
    free(use.owner);
    return -1;
  }
  virDomainGetUUIDString(domain, id);
  bool ours = s->owner ? owner_same(use.owner, s->owner) : str_eq(id, s->uuid);
  free(use.owner);
  if (use.uses && !ours)
    s->name = str_dup(virDomainGetName(domain));
  else if (use.uses && virDomainIsActive(domain) == 1)
    s->ours_runs = true;
  return 0;
}

static int search(struct host *h, struct user_search *s, struct err *err)
{
  virDomainPtr *domains = NULL;
  int count = virConnectListAllDomains(h->conn, &domains, 0);
  if (count < 0)
    return host_fail(err, "list the VMs");
  int failed = 0;
  for (int i = 0; i < count; i++) {
    if (!failed && !s->name)
      failed = search_domain(h, domains[i], s, err);
    virDomainFree(domains[i]);
  }
  free(domains);
  return failed;
}

int path_user(struct host *h, const char *path, const char *owner, char **ret_name,
              bool *ret_ours_runs, struct err *err)
{
  struct user_search s = {.path = path, .owner = owner};
  int failed = search(h, &s, err);
  *ret_name = s.name;
  *ret_ours_runs = s.ours_runs;
  return failed;
}

int path_user_but(struct host *h, const char *path, const char *uuid, char **ret_name,
                  struct err *err)
{
  struct user_search s = {.path = path, .uuid = uuid};
  int failed = search(h, &s, err);
  *ret_name = s.name;
  return failed;
}

// ---- removing ----------------------------------------------------------------------------------

// What there is to remove: a volume, a plain file, or nothing.
struct victim {
  virStorageVolPtr volume;
  bool exists;
};

static int find_victim(struct host *h, const char *path, struct victim *ret, struct err *err)
{
  struct file_facts facts;
  ret->volume = virStorageVolLookupByPath(h->conn, path);
  if (host_stat(h, path, &facts, err) != 0)
    return -1;
  ret->exists = facts.exists; // a pool that was not refreshed still lists what is gone
  if (!ret->volume && facts.is_block)
    return err_set(err, ERR_UNSUPPORTED,
                   "%s is a block device and no volume of a storage pool; it "
                   "is not removed",
                   path);
  return 0;
}

int path_removable(struct host *h, const char *path, struct err *err)
{
  struct victim v = {0};
  int failed = find_victim(h, path, &v, err);
  if (v.volume)
    virStorageVolFree(v.volume);
  return failed;
}

int path_remove(struct host *h, const char *path, struct err *err)
{
  struct victim v = {0};
  int failed = find_victim(h, path, &v, err);
  if (!failed && v.exists && v.volume && virStorageVolDelete(v.volume, 0) != 0)
    failed = host_fail(err, "remove the volume %s", path);
  else if (!failed && v.exists && !v.volume)
    failed = host_remove_file(h, path, err);
  if (v.volume)
    virStorageVolFree(v.volume);
  return failed;
}
