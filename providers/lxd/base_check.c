// SPDX-License-Identifier: Apache-2.0
#include "base/cleanup.h"
#include "base/str.h"
#include "providers/lxd/lxd_internal.h"

static int say(struct findings *f, const char *check, const char *suggestion, const char *text,
               struct err *err)
{
  return findings_add(f, check, FINDING_ERROR, suggestion, "%s", text) == 0 ? 0
                                                                            : lxd_no_memory(err);
}

static int check_template(struct lxd *l, const struct base_order *b, struct findings *f,
                          struct err *err)
{
  cleanup_json struct json_object *image = NULL;
  struct err failed = ERR_INIT;
  if (lxd_image(l, b->template_, &image, &failed) != 0)
    return lxd_find(f, "BaseTemplate", &failed, err);
  if (b->cpus || b->memory_bytes)
    return say(f, "BaseTemplate", "set them in the template of the clones",
               "an image is used as it is: it keeps neither CPUs nor memory", err);
  if (!str_empty(b->storage))
    return say(f, "BaseTemplate", "name the pool in the template of the clones",
               "an image is used as it is: it lies in no pool of its own", err);
  return 0;
}

static int check_vm(struct lxd *l, const struct base_order *b, struct findings *f, struct err *err)
{
  cleanup_json struct json_object *vm = NULL;
  struct err failed = ERR_INIT;
  if (lxd_instance(l, b->vm, &vm, &failed) != 0)
    return lxd_find(f, "BaseVM", &failed, err);
  if (lxd_is_running(vm) &&
      say(f, "BaseVM", "stop it first", "the instance runs: it must be stopped", err) != 0)
    return -1;
  const char *mark = lxd_config(vm, LXD_CONFIG_OWNER);
  if (b->convert && !str_empty(b->storage) &&
      say(f, "BaseStorage", NULL, "an instance that is converted stays in its pool", err) != 0)
    return -1;
  if (b->convert && mark && !owner_same(mark, b->owner))
    return say(f, "BaseVM", NULL, "the instance belongs to another object of drover", err);
  if (b->convert && !mark && lxd_snapshot_of(vm, LXD_SNAPSHOT))
    return say(f, "BaseVM", "rename that snapshot",
               "the instance has a snapshot '" LXD_SNAPSHOT "' already", err);
  return 0;
}

static int check_name(struct lxd *l, const struct base_order *b, struct findings *f,
                      struct err *err)
{
  cleanup_json struct json_object *there = NULL;
  struct err failed = ERR_INIT;
  if (lxd_name_check(b->name, &failed) != 0)
    return lxd_find(f, "BaseName", &failed, err);
  if (lxd_instance_brief_if(l, b->name, &there, err) != 0)
    return -1;
  if (there && lxd_check_mark(there, b->owner, &failed) != 0)
    return lxd_find(f, "BaseName", &failed, err);
  return 0;
}

static int check_pool(struct lxd *l, const struct base_order *b, struct findings *f,
                      struct err *err)
{
  struct lxd_pool p CLEANUP(lxd_pool_release) = {0};
  struct err failed = ERR_INIT;
  cleanup_free char *name = str_dup(b->storage);
  if (str_empty(name) && b->vm)
    return 0; // where the original is
  if (str_empty(name) && lxd_pool_default(l, &name, &failed) != 0)
    return lxd_find(f, "BaseStorage", &failed, err);
  if (lxd_pool(l, name, &p, &failed) != 0)
    return lxd_find(f, "BaseStorage", &failed, err);
  if (!p.active)
    return say(f, "BaseStorage", "look at it there with `lxc` or `incus storage show`",
               "the pool is not available", err);
  if (lxd_pool_space(l, &p, err) != 0)
    return -1;
  if (p.free_bytes == 0)
    return say(f, "BaseSpace", NULL, "the pool has no space left", err);
  if (b->image && p.free_bytes > 0 && b->image_bytes > p.free_bytes)
    return say(f, "BaseSpace", NULL, "the pool has less space than the image alone takes", err);
  return 0;
}

int lxd_base_check(void *h, const struct base_order *b, struct findings *f, struct err *err)
{
  struct lxd *l = h;
  if (b->template_)
    return check_template(l, b, f, err);
  if (b->vm && check_vm(l, b, f, err) != 0)
    return -1;
  if (b->image && lxd_upload_check(b, f, err) != 0)
    return -1;
  if (!b->vm && !b->image &&
      (str_empty(b->alias) || !str_starts(b->server ? b->server : "", "https://")) &&
      say(f, "BaseImage", NULL, "an image server is named by an https:// URL and an alias", err) !=
          0)
    return -1;
  if (!b->convert && check_name(l, b, f, err) != 0)
    return -1;
  return check_pool(l, b, f, err);
}
