// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "providers/lxd/lxd_internal.h"

#define STORAGES_MAX 1024
#define MACHINES_MAX 65536

typedef int (*item_fn)(struct lxd *l, struct json_object *item, void *arg, struct err *err);

static int for_each(struct lxd *l, const char *path, item_fn fn, void *arg, struct err *err)
{
  cleanup_json struct json_object *list = NULL;
  if (lxd_get(l, path, &list, err) != 0)
    return -1;
  if (list && !json_object_is_type(list, json_type_array))
    return err_set(err, ERR_PROTOCOL, "GET %s: the answer is no list", path);
  for (size_t i = 0; list && i < json_object_array_length(list); i++)
    if (fn(l, json_object_array_get_idx(list, i), arg, err) != 0)
      return -1;
  return 0;
}

// ---- probe -------------------------------------------------------------------------------------

static int add_capability(struct provider_info *info, const char *name, struct err *err)
{
  if (strings_has(&info->capabilities, name) || strings_add(&info->capabilities, name) == 0)
    return 0;
  return lxd_no_memory(err);
}

static int add_pool(struct lxd *l, struct json_object *item, void *arg, struct err *err)
{
  struct provider_info *info = arg;
  struct lxd_pool p CLEANUP(lxd_pool_release) = {0};
  struct err failed = ERR_INIT;
  if (lxd_pool_of_json(item, &p, err) != 0)
    return -1;
  if (lxd_pool_space(l, &p, &failed) != 0) // one pool that is away does not hide the others
    p.active = false;
  struct provider_storage *s = list_add(&info->storages, sizeof(*s), STORAGES_MAX);
  if (!s)
    return lxd_no_memory(err);
  s->name = TAKE(p.name);
  s->type = TAKE(p.driver);
  s->free_bytes = p.free_bytes;
  s->capacity_bytes = p.capacity_bytes;
  s->active = p.active;
  return p.links ? add_capability(info, "LinkedClone", err) : 0;
}

static int add_network(struct lxd *l, struct json_object *item, void *arg, struct err *err)
{
  (void)l;
  struct provider_info *info = arg;
  const char *name = lxd_text(item, "name");
  if (!name || (!lxd_true(item, "managed") && !str_eq(lxd_text(item, "type"), "bridge")))
    return 0;
  return strings_add(&info->networks, name) == 0 ? 0 : lxd_no_memory(err);
}

// "/1.0/instances/NAME": what each of them does is not asked for.
static int add_vm(struct lxd *l, struct json_object *item, void *arg, struct err *err)
{
  (void)l;
  struct provider_info *info = arg;
  const char *path =
      json_object_is_type(item, json_type_string) ? json_object_get_string(item) : "";
  const char *name = str_after(path, "/1.0/instances/");
  if (str_empty(name) || strchr(name, '/'))
    return err_set(err, ERR_PROTOCOL, "'%.80s' is no path of an instance", path);
  return strings_add(&info->vms, name) == 0 ? 0 : lxd_no_memory(err);
}

static int read_server(struct lxd *l, struct provider_info *info, struct err *err)
{
  cleanup_json struct json_object *server = NULL;
  if (lxd_get(l, "/1.0", &server, err) != 0)
    return -1;
  struct json_object *e = lxd_member(server, "environment");
  const char *version = lxd_text(e, "server_version"), *name = lxd_text(e, "server_name");
  const char *driver = lxd_text(e, "driver");
  if (!version || !name)
    return err_set(err, ERR_PROTOCOL, "the daemon at %s tells no version", l->endpoint);
  info->version =
      str_printf("%s %s (%s)", l->incus ? "Incus" : "LXD", version, driver ? driver : "");
  info->host = str_dup(name);
  return info->version && info->host ? 0 : lxd_no_memory(err);
}

int lxd_probe(void *h, struct provider_info *ret, struct err *err)
{
  struct lxd *l = h;
  struct provider_info info CLEANUP(provider_info_release) = {0};
  if (read_server(l, &info, err) != 0 || add_capability(&info, "Clone", err) != 0 ||
      for_each(l, "/1.0/storage-pools?recursion=1", add_pool, &info, err) != 0 ||
      for_each(l, "/1.0/networks?recursion=1", add_network, &info, err) != 0 ||
      for_each(l, "/1.0/instances", add_vm, &info, err) != 0)
    return -1;
  *ret = info;
  info = (struct provider_info){0};
  return 0;
}

// ---- machines ----------------------------------------------------------------------------------

static struct machine_seen *add_machine(struct machines *m, const char *id, const char *name,
                                        const char *kind)
{
  struct machine_seen *s = list_add(&m->items, sizeof(*s), MACHINES_MAX);
  if (!s)
    return NULL;
  s->id = str_dup(id);
  s->name = str_dup(name);
  s->kind = str_dup(kind);
  return s->id && s->name && s->kind ? s : NULL;
}

static int add_instance(struct lxd *l, struct json_object *item, void *arg, struct err *err)
{
  (void)l;
  const char *name = lxd_text(item, "name"), *kind = lxd_config(item, LXD_CONFIG_KIND);
  const char *owner = lxd_config(item, LXD_CONFIG_OWNER);
  if (!name)
    return err_set(err, ERR_PROTOCOL, "an instance without a name");
  if (!owner || (!str_eq(kind, "Base") && !str_eq(kind, "Clone")))
    kind = lxd_is_vm(item) ? "VM" : "Container";
  struct machine_seen *s = add_machine(arg, name, name, kind);
  if (!s)
    return lxd_no_memory(err);
  s->power = lxd_power_of(item);
  s->owner = str_dup(owner);
  return 0;
}

static int add_image(struct lxd *l, struct json_object *item, void *arg, struct err *err)
{
  (void)l;
  const char *id = lxd_text(item, "fingerprint");
  if (!id)
    return err_set(err, ERR_PROTOCOL, "an image without a fingerprint");
  struct machine_seen *s = add_machine(arg, id, lxd_image_name(item), "Template");
  if (!s)
    return lxd_no_memory(err);
  s->power = VM_POWER_OFF;
  return 0;
}

int lxd_machines(void *h, struct machines *ret, struct err *err)
{
  struct lxd *l = h;
  struct machines all CLEANUP(machines_release) = {0};
  if (for_each(l, "/1.0/instances?recursion=1", add_instance, &all, err) != 0 ||
      for_each(l, "/1.0/images?recursion=1", add_image, &all, err) != 0)
    return -1;
  *ret = all;
  all = (struct machines){0};
  return 0;
}
