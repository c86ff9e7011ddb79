// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "providers/lxd/lxd_internal.h"

// https://documentation.ubuntu.com/lxd/latest/reference/storage_drivers/: what a copy within the
// pool is. unless_key, when it is set to unless_value, makes it a full one.
static const struct {
  const char *driver, *unless_key, *unless_value;
  bool links, sizes;
} drivers[] = {
    {"btrfs", NULL, NULL, true, true},
    {"zfs", "zfs.clone_copy", "false", true, true},
    {"lvm", "lvm.use_thinpool", "false", true, true},
    {"ceph", "ceph.rbd.clone_copy", "false", true, true},
    {"dir", NULL, NULL, false, false}, // project quotas, where the file system has them; not told
};

static void read_driver(struct json_object *config, struct lxd_pool *p)
{
  for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
    if (!str_eq(drivers[i].driver, p->driver))
      continue;
    const char *value = drivers[i].unless_key ? lxd_text(config, drivers[i].unless_key) : NULL;
    p->links = drivers[i].links && !(value && str_eq(value, drivers[i].unless_value));
    p->sizes = drivers[i].sizes;
  }
}

void lxd_pool_release(struct lxd_pool *p)
{
  free(p->name);
  free(p->driver);
}

int lxd_pool_of_json(struct json_object *o, struct lxd_pool *ret, struct err *err)
{
  const char *name = lxd_text(o, "name"), *driver = lxd_text(o, "driver");
  if (!name || !driver)
    return err_set(err, ERR_PROTOCOL, "the daemon's description of a storage pool makes no sense");
  *ret = (struct lxd_pool){.name = str_dup(name),
                           .driver = str_dup(driver),
                           .free_bytes = -1,
                           .capacity_bytes = -1,
                           .active = str_eq(lxd_text(o, "status"), "Created")};
  if (!ret->name || !ret->driver) {
    lxd_pool_release(ret);
    return lxd_no_memory(err);
  }
  read_driver(lxd_member(o, "config"), ret);
  return 0;
}

static char *pool_path(const char *name, const char *rest)
{
  struct buf b = BUF_INIT(LXD_PATH_MAX);
  buf_adds(&b, "/1.0/storage-pools/");
  buf_add_escaped(&b, name, "");
  buf_adds(&b, rest);
  char *path = buf_take(&b);
  buf_release(&b);
  return path;
}

int lxd_pool(struct lxd *l, const char *name, struct lxd_pool *ret, struct err *err)
{
  cleanup_free char *path = pool_path(name, "");
  cleanup_json struct json_object *o = NULL;
  struct err failed = ERR_INIT;
  if (lxd_get(l, path, &o, &failed) == 0)
    return lxd_pool_of_json(o, ret, err);
  if (failed.kind == ERR_NOT_FOUND)
    return err_set(err, ERR_NOT_FOUND, "there is no storage pool '%s' on %s", name, l->endpoint);
  if (err)
    *err = failed;
  return -1;
}

int lxd_pool_space(struct lxd *l, struct lxd_pool *p, struct err *err)
{
  cleanup_free char *path = pool_path(p->name, "/resources");
  cleanup_json struct json_object *o = NULL;
  if (lxd_get(l, path, &o, err) != 0)
    return -1;
  struct json_object *space = lxd_member(o, "space");
  int64_t used = lxd_number(space, "used", -1), total = lxd_number(space, "total", -1);
  p->capacity_bytes = total > 0 ? total : -1;
  p->free_bytes = total > 0 && used >= 0 && used <= total ? total - used : -1;
  return 0;
}

int lxd_pool_default(struct lxd *l, char **ret, struct err *err)
{
  if (l->default_storage) {
    *ret = str_dup(l->default_storage);
    return *ret ? 0 : lxd_no_memory(err);
  }
  cleanup_json struct json_object *profile = NULL;
  if (lxd_get(l, "/1.0/profiles/default", &profile, err) != 0)
    return -1;
  struct json_object *devices = lxd_member(profile, "devices");
  const char *pool = NULL;
  if (json_object_is_type(devices, json_type_object)) {
    json_object_object_foreach(devices, name, device)
    {
      (void)name;
      if (str_eq(lxd_text(device, "type"), "disk") && str_eq(lxd_text(device, "path"), "/"))
        pool = lxd_text(device, "pool");
    }
  }
  if (!pool)
    return err_set(err, ERR_INVALID,
                   "the default profile of %s has no root disk: say which storage pool to use",
                   l->endpoint);
  *ret = str_dup(pool);
  return *ret ? 0 : lxd_no_memory(err);
}
