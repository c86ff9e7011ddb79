// SPDX-License-Identifier: Apache-2.0
// What a clone is made of: a base (an instance with a snapshot of ours), a template (an image), or
// any instance.
#include <ctype.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "providers/lxd/lxd_internal.h"

void lxd_from_release(struct lxd_from *f)
{
  json_object_put(f->json);
  json_object_put(f->profile);
  json_object_put(f->profiles);
  free(f->id);
  free(f->pool);
  free(f->revision);
}

bool lxd_is_fingerprint(const char *id)
{
  return id && strlen(id) == 64 && id[strspn(id, "0123456789abcdef")] == '\0';
}

// The fingerprint that an alias stands for, yours; the name itself when there is no such alias.
static int find_alias(struct lxd *l, const char *name, char **ret, struct err *err)
{
  struct buf path CLEANUP(buf_release) = BUF_INIT(LXD_PATH_MAX);
  cleanup_json struct json_object *alias = NULL;
  struct err failed = ERR_INIT;
  buf_adds(&path, "/1.0/images/aliases/");
  buf_add_escaped(&path, name, "");
  if (!lxd_is_fingerprint(name) && lxd_get(l, buf_str(&path), &alias, &failed) != 0 &&
      failed.kind != ERR_NOT_FOUND) {
    if (err)
      *err = failed;
    return -1;
  }
  const char *target = lxd_text(alias, "target");
  *ret = str_dup(target ? target : name);
  return *ret ? 0 : lxd_no_memory(err);
}

// By alias, or by fingerprint or the beginning of one that is unique. ERR_NOT_FOUND.
int lxd_image(struct lxd *l, const char *name, struct json_object **ret, struct err *err)
{
  struct buf path CLEANUP(buf_release) = BUF_INIT(LXD_PATH_MAX);
  cleanup_free char *target = NULL;
  struct err failed = ERR_INIT;
  if (find_alias(l, name, &target, err) != 0)
    return -1;
  buf_adds(&path, "/1.0/images/");
  buf_add_escaped(&path, target, "");
  if (lxd_get(l, buf_str(&path), ret, &failed) != 0) {
    if (failed.kind == ERR_NOT_FOUND)
      return err_set(err, ERR_NOT_FOUND, "there is no image '%s' on %s", name, l->endpoint);
    if (err)
      *err = failed;
    return -1;
  }
  if (lxd_is_fingerprint(lxd_text(*ret, "fingerprint")))
    return 0;
  json_object_put(*ret);
  *ret = NULL;
  return err_set(err, ERR_PROTOCOL, "the daemon's description of image '%s' makes no sense", name);
}

static int load_image(struct lxd *l, const char *id, struct lxd_from *f, struct err *err)
{
  if (lxd_image(l, id, &f->json, err) != 0 ||
      lxd_get(l, "/1.0/profiles/default", &f->profile, err) != 0 ||
      lxd_pool_default(l, &f->pool, err) != 0)
    return -1;
  struct json_object *properties = lxd_member(f->json, "properties");
  f->image = true;
  f->vm = str_eq(lxd_text(f->json, "type"), "virtual-machine");
  f->id = str_dup(lxd_text(f->json, "fingerprint"));
  f->revision = str_dup(f->id);
  f->devices = lxd_member(f->profile, "devices");
  f->profiles = json_object_new_array();
  f->raw_lxc = lxd_text(lxd_member(f->profile, "config"), "raw.lxc");
  json_object_array_add(f->profiles, json_object_new_string("default"));
  // Which images have it is a convention of the image servers.
  f->cloud_init = f->vm || str_eq(lxd_text(properties, "variant"), "cloud") ||
                  str_eq(lxd_text(properties, "os"), "ubuntu");
  return f->id && f->revision && f->devices ? 0 : lxd_no_memory(err);
}

static int load_instance(struct lxd *l, const char *id, bool base, struct lxd_from *f,
                         struct err *err)
{
  if (lxd_instance(l, id, &f->json, err) != 0)
    return -1;
  const char *pool = lxd_root_pool(f->json);
  if (!pool)
    return err_set(err, ERR_UNSUPPORTED, "instance '%s' has no root disk", id);
  f->id = str_dup(id);
  f->pool = str_dup(pool);
  f->vm = lxd_is_vm(f->json);
  f->snapshot = base;
  f->running = lxd_is_running(f->json);
  f->devices = lxd_member(f->json, "expanded_devices");
  f->profiles = json_object_get(lxd_member(f->json, "profiles"));
  f->raw_lxc = lxd_text(lxd_member(f->json, "expanded_config"), "raw.lxc");
  f->cloud_init =
      f->vm || lxd_inside_has(lxd_config(f->json, LXD_CONFIG_INSIDE), LXD_INSIDE_CLOUD_INIT);
  if (!f->id || !f->pool)
    return lxd_no_memory(err);
  if (!base)
    return 0;
  f->revision = lxd_revision(f->json);
  if (!f->revision)
    return err_set(err, ERR_NOT_FOUND, "instance '%s' is no base: it has no snapshot '%s'", id,
                   LXD_SNAPSHOT);
  return 0;
}

int lxd_from(struct lxd *l, const struct clone_order *c, struct lxd_from *ret, struct err *err)
{
  struct lxd_from f CLEANUP(lxd_from_release) = {0};
  if (!c->base == !c->source)
    return err_set(err, ERR_INVALID, "a clone is made of either a base or another machine");
  int failed = lxd_is_fingerprint(c->base)
                   ? load_image(l, c->base, &f, err)
                   : load_instance(l, c->base ? c->base : c->source, c->base != NULL, &f, err);
  if (failed)
    return -1;
  *ret = f;
  f = (struct lxd_from){0};
  return 0;
}

int lxd_network(struct lxd *l, const char *name, struct json_object **ret, struct err *err)
{
  struct buf path CLEANUP(buf_release) = BUF_INIT(LXD_PATH_MAX);
  struct err failed = ERR_INIT;
  buf_adds(&path, "/1.0/networks/");
  buf_add_escaped(&path, name, "");
  if (lxd_get(l, buf_str(&path), ret, &failed) == 0)
    return 0;
  if (failed.kind == ERR_NOT_FOUND || failed.kind == ERR_INVALID)
    return err_set(err, ERR_NOT_FOUND, "there is no network '%s' on %s", name, l->endpoint);
  if (err)
    *err = failed;
  return -1;
}

const char *lxd_clone_pool(const struct lxd_from *from, const struct clone_order *c)
{
  return str_empty(c->storage) ? from->pool : c->storage;
}

int lxd_clone_links(struct lxd *l, const struct lxd_from *from, const struct clone_order *c,
                    bool *ret, struct err *err)
{
  const char *name = lxd_clone_pool(from, c);
  const struct lxd_pool *p;
  if (lxd_pool_kind(l, name, &p, err) != 0)
    return -1;
  bool same = from->image || str_eq(name, from->pool);
  *ret = p->links && same;
  if (c->mode == CLONE_REFLINK)
    return err_set(err, ERR_UNSUPPORTED,
                   "LXD makes no reflink copies: use Linked on a pool of btrfs, zfs, lvm or ceph");
  if (c->mode == CLONE_LINKED && !same)
    return err_set(err, ERR_UNSUPPORTED,
                   "a clone in pool '%s' cannot be linked to '%s', which is in pool '%s'", name,
                   from->id, from->pool);
  if (c->mode == CLONE_LINKED && !p->links)
    return err_set(err, ERR_UNSUPPORTED,
                   "pool '%s' (%s) cannot link clones: it copies them whole; use PreferLinked or "
                   "Full, or a pool of btrfs, zfs, lvm with thin volumes or ceph",
                   name, p->driver);
  if (c->mode == CLONE_FULL && *ret)
    return err_set(err, ERR_UNSUPPORTED,
                   "within pool '%s' (%s) LXD only makes linked clones; a full one needs another "
                   "pool",
                   name, p->driver);
  return 0;
}
