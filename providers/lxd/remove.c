// SPDX-License-Identifier: Apache-2.0
// Taking back what the ledger lists: only what bears our mark.
#include "base/cleanup.h"
#include "base/str.h"
#include "providers/lxd/lxd_internal.h"

// On none of the drivers does a clone need its base to be there; but a base in use is asked for
// again, when the set grows. *ret: the name of a clone, NULL without.
static int find_clone(struct lxd *l, const char *base, char **ret, struct err *err)
{
  cleanup_json struct json_object *all = NULL;
  if (lxd_get(l, "/1.0/instances?recursion=1", &all, err) != 0)
    return -1;
  for (size_t i = 0;
       json_object_is_type(all, json_type_array) && !*ret && i < json_object_array_length(all);
       i++) {
    struct json_object *o = json_object_array_get_idx(all, i);
    if (str_eq(lxd_config(o, LXD_CONFIG_KIND), "Clone") &&
        str_eq(lxd_config(o, LXD_CONFIG_BASE), base))
      *ret = str_dup(lxd_text(o, "name"));
  }
  return 0;
}

static int set_config(struct lxd *l, const char *id, const char *const *keys, const char *value,
                      struct err *err)
{
  struct json_object *body = json_object_new_object(), *config = json_object_new_object();
  json_object_object_add(body, "config", config);
  for (; *keys; keys++)
    lxd_put(config, *keys, value);
  return lxd_patch(l, id, body, err);
}

// It goes on without our marks.
static int give_back(struct lxd *l, struct json_object *instance, struct err *err)
{
  static const char *const ours[] = {
      LXD_CONFIG_KIND,  LXD_CONFIG_STATE, LXD_CONFIG_BASE,  LXD_CONFIG_POOL,  LXD_CONFIG_INSIDE,
      LXD_CONFIG_TAKEN, LXD_CONFIG_GUARD, LXD_CONFIG_IMAGE, LXD_CONFIG_OWNER, NULL};
  const char *id = lxd_text(instance, "name");
  cleanup_free char *path = lxd_instance_path(id, "/snapshots/" LXD_SNAPSHOT);
  cleanup_free char *operation = NULL;
  if (lxd_snapshot_of(instance, LXD_SNAPSHOT) &&
      (lxd_call(l, "DELETE", path, NULL, NULL, &operation, err) != 0 ||
       (operation && lxd_wait(l, operation, l->call_ms, NULL, err) != 0)))
    return -1;
  return set_config(l, id, ours, "", err);
}

static int begin(struct lxd *l, struct json_object *instance, struct err *err)
{
  static const char *const guard[] = {LXD_CONFIG_GUARD, NULL};
  const char *id = lxd_text(instance, "name");
  cleanup_free char *path = lxd_instance_path(id, "");
  char *operation = NULL;
  if (str_eq(lxd_config(instance, LXD_CONFIG_GUARD), "true") &&
      set_config(l, id, guard, "false", err) != 0)
    return -1;
  if (lxd_call(l, "DELETE", path, NULL, NULL, &operation, err) != 0)
    return -1;
  return lxd_begin(l, id, operation, err);
}

static int check_free(struct lxd *l, struct json_object *instance, const struct owned *o,
                      struct err *err)
{
  cleanup_free char *clone = NULL;
  bool busy;
  if (str_eq(o->kind, "Base") && find_clone(l, o->id, &clone, err) != 0)
    return -1;
  if (clone)
    return err_set(err, ERR_BUSY, "base '%s' has clones still, such as '%s'", o->id, clone);
  if (lxd_is_running(instance))
    return err_set(err, ERR_BUSY, "instance '%s' runs", o->id);
  if (lxd_busy(l, o->id, &busy, err) != 0)
    return -1;
  return busy ? err_set(err, ERR_BUSY, "the daemon is at work on '%s'", o->id) : 0;
}

static int remove_instance(struct lxd *l, const struct owned *o, const char *owner, struct err *err)
{
  struct lxd_progress progress;
  cleanup_json struct json_object *instance = NULL;
  if (lxd_settle(l, o->id, &progress, err) != 0)
    return -1;
  if (progress.running)
    return err_set(err, ERR_BUSY, "the daemon is at work on '%s'", o->id);
  if (lxd_instance_brief_if(l, o->id, &instance, err) != 0)
    return -1;
  if (str_eq(o->kind, "Base") && lxd_upload_drop(l, o->id, owner, instance != NULL, err) != 0)
    return -1;
  if (!instance)
    return 0;
  if (!owner_same(lxd_config(instance, LXD_CONFIG_OWNER), owner))
    return err_set(err, ERR_DENIED,
                   "instance '%s' does not bear the mark of this object; it is left alone", o->id);
  if (check_free(l, instance, o, err) != 0)
    return -1;
  if (begin(l, instance, err) != 0 || lxd_settle_begun(l, o->id, &progress, err) != 0)
    return -1;
  return progress.running ? err_set(err, ERR_BUSY, "'%s' is being removed", o->id) : 0;
}

int lxd_remove(void *h, const struct owned *o, const char *owner, struct err *err)
{
  cleanup_free char *uid = owner_uid(owner);
  if (!uid)
    return err_set(err, ERR_INTERNAL, "nothing is removed without the mark of its owner");
  if (str_eq(o->kind, "Template")) // an image that was there before
    return 0;
  if (str_eq(o->kind, "Base") || str_eq(o->kind, "Clone"))
    return remove_instance(h, o, owner, err);
  return err_set(err, ERR_INTERNAL, "LXD has nothing of the kind '%s'", o->kind ? o->kind : "");
}

int lxd_base_release(void *h, const struct owned *o, const char *owner, struct err *err)
{
  struct lxd *l = h;
  cleanup_json struct json_object *instance = NULL;
  if (!str_eq(o->kind, "Base"))
    return 0;
  if (lxd_instance_if(l, o->id, &instance, err) != 0 ||
      lxd_upload_drop(l, o->id, owner, instance != NULL, err) != 0)
    return -1;
  if (!instance || !owner_same(lxd_config(instance, LXD_CONFIG_OWNER), owner))
    return 0;
  return give_back(l, instance, err);
}
