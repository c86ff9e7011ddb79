// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "providers/lxd/lxd_internal.h"

// ---- power -------------------------------------------------------------------------------------

static int change_state(struct lxd *l, const char *id, const char *action, bool force,
                        int timeout_s, struct err *err)
{
  cleanup_json struct json_object *body = json_object_new_object();
  cleanup_free char *path = lxd_instance_path(id, "/state");
  struct lxd_progress progress;
  char *operation = NULL;
  lxd_put(body, "action", action);
  json_object_object_add(body, "force", json_object_new_boolean(force));
  json_object_object_add(body, "timeout", json_object_new_int(timeout_s));
  if (lxd_call(l, "PUT", path, body, NULL, &operation, err) != 0 ||
      lxd_begin(l, id, operation, err) != 0)
    return -1;
  if (!force && str_eq(action, "stop")) // up to the guest
    return 0;
  return lxd_settle_begun(l, id, &progress, err);
}

// Is the daemon at what is wanted already? What it does else ends first: that it is stopped is seen
// before the work of stopping is over.
static int is_under_way(struct lxd *l, const char *id, enum power_action action, bool *ret,
                        struct err *err)
{
  cleanup_free char *operation = NULL;
  cleanup_free char *what = NULL;
  *ret = false;
  if (lxd_working(l, id, &operation, &what, err) != 0)
    return -1;
  // A guest that does not shut down is cut off; one that is just starting is let start.
  if (action == POWER_OFF && !str_eq(what, "Starting instance"))
    return 0;
  *ret = str_eq(what, action == POWER_ON ? "Starting instance" : "Stopping instance");
  return *ret || !operation ? 0 : lxd_idle(l, id, err);
}

// That a start which was begun before has failed since is told once, by the next call. A guest that
// did not shut down in LXD_GUEST_STOP_S is asked again: init may have come up only since.
int lxd_clone_power(void *h, const char *id, enum power_action action, struct err *err)
{
  struct lxd *l = h;
  cleanup_json struct json_object *instance = NULL;
  struct lxd_progress progress;
  struct err failed = ERR_INIT;
  bool begun;
  int settled = lxd_settle(l, id, &progress, &failed);
  if (lxd_instance_brief(l, id, &instance, err) != 0)
    return -1;
  int power = lxd_power_of(instance);
  if (power == (action == POWER_ON ? VM_POWER_ON : VM_POWER_OFF))
    return 0;
  if (settled != 0 && action == POWER_ON) {
    if (err)
      *err = failed;
    return -1;
  }
  if (is_under_way(l, id, action, &begun, err) != 0)
    return -1;
  if (begun)
    return 0;
  if (action == POWER_ON)
    return change_state(l, id, power == VM_POWER_PAUSED ? "unfreeze" : "start", false, 30, err);
  if (action == POWER_GUEST_SHUTDOWN)
    return change_state(l, id, "stop", false, LXD_GUEST_STOP_S, err);
  return change_state(l, id, "stop", true, 30, err);
}

// ---- snapshots ---------------------------------------------------------------------------------

int lxd_snapshot_name_check(const char *name, struct err *err)
{
  size_t length = strlen(name);
  if (length > 0 && length <= LXD_NAME_MAX &&
      name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0')
    return 0;
  return err_set(err, ERR_INVALID,
                 "'%.80s' is no name of a snapshot: at most %d small letters, digits and dashes",
                 name, LXD_NAME_MAX);
}

static int load(struct lxd *l, const char *id, const char *name, struct json_object **ret,
                struct err *err)
{
  if (name && lxd_snapshot_name_check(name, err) != 0)
    return -1;
  return lxd_instance(l, id, ret, err);
}

// What these begin is waited for as long as one call may take; longer work goes on by itself.
static int carry_out(struct lxd *l, const char *method, const char *path, struct json_object *body,
                     struct err *err)
{
  cleanup_free char *operation = NULL;
  struct err failed = ERR_INIT;
  if (!path)
    return lxd_no_memory(err);
  if (lxd_call(l, method, path, body, NULL, &operation, err) != 0)
    return -1;
  if (!operation || lxd_wait(l, operation, l->call_ms, NULL, &failed) == 0)
    return 0;
  if (failed.kind == ERR_TIMEOUT)
    return err_set(err, ERR_BUSY, "the daemon is still at work; ask again");
  if (err)
    *err = failed;
  return -1;
}

int lxd_snapshot(void *h, const char *id, const char *name, struct err *err)
{
  struct lxd *l = h;
  cleanup_json struct json_object *instance = NULL, *body = json_object_new_object();
  cleanup_free char *path = lxd_instance_path(id, "/snapshots");
  if (load(l, id, name, &instance, err) != 0)
    return -1;
  if (lxd_snapshot_of(instance, name)) // a copy has none of its source's: it is the instance's own
    return 0;
  if (lxd_idle(l, id, err) != 0)
    return -1;
  lxd_put(body, "name", name);
  json_object_object_add(body, "stateful", json_object_new_boolean(false));
  return carry_out(l, "POST", path, body, err);
}

int lxd_rollback(void *h, const char *id, const char *name, struct err *err)
{
  struct lxd *l = h;
  cleanup_json struct json_object *instance = NULL, *body = json_object_new_object();
  cleanup_free char *path = lxd_instance_path(id, "");
  if (load(l, id, name, &instance, err) != 0)
    return -1;
  if (!lxd_snapshot_of(instance, name))
    return err_set(err, ERR_NOT_FOUND, "instance '%s' has no snapshot '%s'", id, name);
  if (lxd_idle(l, id, err) != 0)
    return -1;
  lxd_put(body, "restore", name);
  return carry_out(l, "PUT", path, body, err);
}

int lxd_snapshots(void *h, const char *id, struct strings *ret, struct err *err)
{
  struct lxd *l = h;
  cleanup_json struct json_object *instance = NULL;
  struct strings names CLEANUP(strings_release) = {0};
  if (load(l, id, NULL, &instance, err) != 0)
    return -1;
  struct json_object *list = lxd_member(instance, "snapshots");
  for (size_t i = 0;
       json_object_is_type(list, json_type_array) && i < json_object_array_length(list); i++) {
    const char *full = lxd_text(json_object_array_get_idx(list, i), "name");
    const char *slash = full ? strrchr(full, '/') : NULL;
    if (full && strings_add(&names, slash ? slash + 1 : full) != 0)
      return lxd_no_memory(err);
  }
  *ret = names;
  names = (struct strings){0};
  return 0;
}

int lxd_snapshot_remove(void *h, const char *id, const char *name, struct err *err)
{
  struct lxd *l = h;
  cleanup_json struct json_object *instance = NULL;
  cleanup_free char *rest = str_printf("/snapshots/%s", name);
  cleanup_free char *path = rest ? lxd_instance_path(id, rest) : NULL;
  if (load(l, id, name, &instance, err) != 0)
    return -1;
  if (!lxd_snapshot_of(instance, name))
    return 0;
  if (lxd_idle(l, id, err) != 0)
    return -1;
  if (str_eq(name, LXD_SNAPSHOT) && str_eq(lxd_config(instance, LXD_CONFIG_KIND), "Base"))
    return err_set(err, ERR_DENIED, "snapshot '%s' is what clones of base '%s' are made of", name,
                   id);
  return carry_out(l, "DELETE", path, NULL, err);
}
