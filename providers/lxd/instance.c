// SPDX-License-Identifier: Apache-2.0
#include <ctype.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "providers/lxd/lxd_internal.h"

#define ENDING_LOOKS    50
#define ENDING_PAUSE_MS 20

// What the daemon takes as a host name: RFC 1123, not a number.
bool lxd_name_ok(const char *name)
{
  size_t length = name ? strlen(name) : 0;
  if (length == 0 || length > LXD_NAME_MAX || !isalpha((unsigned char)name[0]) ||
      name[length - 1] == '-')
    return false;
  for (const char *at = name; *at; at++)
    if (!isalnum((unsigned char)*at) && *at != '-')
      return false;
  return true;
}

int lxd_name_check(const char *name, struct err *err)
{
  if (lxd_name_ok(name))
    return 0;
  return err_set(err, ERR_INVALID,
                 "'%.80s' is no name of an instance: at most %d letters, digits and dashes, "
                 "beginning with a letter and not ending with a dash",
                 name ? name : "", LXD_NAME_MAX);
}

// Incus cannot tell of a container whose init is just ending: it answers so, for milliseconds.
static bool is_ending(const struct err *failed)
{
  return strstr(failed->message, ": Invalid PID ") != NULL;
}

static int look(struct lxd *l, const char *path, struct json_object **ret, struct err *err)
{
  const struct timespec pause = {.tv_nsec = ENDING_PAUSE_MS * 1000000};
  struct err failed = ERR_INIT;
  for (int i = 0; i < ENDING_LOOKS; i++) {
    if (lxd_get(l, path, ret, &failed) == 0)
      return 0;
    if (!is_ending(&failed))
      break;
    nanosleep(&pause, NULL);
  }
  if (is_ending(&failed))
    return err_set(err, ERR_BUSY, "%s", failed.message);
  if (err)
    *err = failed;
  return -1;
}

static int load(struct lxd *l, const char *name, const char *query, struct json_object **ret,
                struct err *err)
{
  if (!lxd_name_ok(name)) // such a one cannot be there
    return err_set(err, ERR_NOT_FOUND, "there is no instance '%.80s' on %s", name, l->endpoint);
  cleanup_free char *path = lxd_instance_path(name, query);
  cleanup_json struct json_object *o = NULL;
  struct err failed = ERR_INIT;
  if (look(l, path, &o, &failed) != 0) {
    if (failed.kind == ERR_NOT_FOUND) {
      lxd_absent_note(l, name);
      return err_set(err, ERR_NOT_FOUND, "there is no instance '%s' on %s", name, l->endpoint);
    }
    if (err)
      *err = failed;
    return -1;
  }
  if (!str_eq(lxd_text(o, "name"), name) || !lxd_text(o, "status") || !lxd_member(o, "config"))
    return err_set(err, ERR_PROTOCOL, "the daemon's description of instance '%s' makes no sense",
                   name);
  *ret = TAKE(o);
  return 0;
}

int lxd_instance(struct lxd *l, const char *name, struct json_object **ret, struct err *err)
{
  return load(l, name, "?recursion=1", ret, err);
}

int lxd_instance_brief(struct lxd *l, const char *name, struct json_object **ret, struct err *err)
{
  return load(l, name, "", ret, err);
}

static int unless_missing(int result, const struct err *failed, struct err *err)
{
  if (result == 0 || failed->kind == ERR_NOT_FOUND)
    return 0;
  if (err)
    *err = *failed;
  return -1;
}

int lxd_instance_if(struct lxd *l, const char *name, struct json_object **ret, struct err *err)
{
  struct err failed = ERR_INIT;
  *ret = NULL;
  return unless_missing(lxd_instance(l, name, ret, &failed), &failed, err);
}

int lxd_instance_brief_if(struct lxd *l, const char *name, struct json_object **ret,
                          struct err *err)
{
  struct err failed = ERR_INIT;
  *ret = NULL;
  return unless_missing(lxd_instance_brief(l, name, ret, &failed), &failed, err);
}

const char *lxd_config(struct json_object *instance, const char *key)
{
  const char *value = lxd_text(lxd_member(instance, "config"), key);
  return str_empty(value) ? NULL : value;
}

bool lxd_is_vm(struct json_object *instance)
{
  return str_eq(lxd_text(instance, "type"), "virtual-machine");
}

int lxd_power_of(struct json_object *instance)
{
  const char *status = lxd_text(instance, "status");
  if (str_eq(status, "Running") || str_eq(status, "Ready"))
    return VM_POWER_ON;
  if (str_eq(status, "Stopped"))
    return VM_POWER_OFF;
  return str_eq(status, "Frozen") ? VM_POWER_PAUSED : VM_POWER_UNKNOWN;
}

bool lxd_is_running(struct json_object *instance)
{
  return lxd_power_of(instance) != VM_POWER_OFF;
}

struct json_object *lxd_root_of(struct json_object *devices, const char **ret_name)
{
  if (!json_object_is_type(devices, json_type_object))
    return NULL;
  json_object_object_foreach(devices, name, device)
  {
    if (!str_eq(lxd_text(device, "type"), "disk") || !str_eq(lxd_text(device, "path"), "/"))
      continue;
    if (ret_name)
      *ret_name = name;
    return device;
  }
  return NULL;
}

struct json_object *lxd_root(struct json_object *instance, const char **ret_name)
{
  return lxd_root_of(lxd_member(instance, "expanded_devices"), ret_name);
}

const char *lxd_root_pool(struct json_object *instance)
{
  return lxd_text(lxd_root(instance, NULL), "pool");
}

int64_t lxd_root_usage(struct json_object *instance)
{
  const char *name = NULL;
  if (!lxd_root(instance, &name))
    return -1;
  struct json_object *disks = lxd_member(lxd_member(instance, "state"), "disk");
  return lxd_number(lxd_member(disks, name), "usage", -1);
}

bool lxd_is_nic(struct json_object *device)
{
  return str_eq(lxd_text(device, "type"), "nic");
}

struct json_object *lxd_snapshot_of(struct json_object *instance, const char *name)
{
  struct json_object *list = lxd_member(instance, "snapshots");
  for (size_t i = 0;
       json_object_is_type(list, json_type_array) && i < json_object_array_length(list); i++) {
    struct json_object *s = json_object_array_get_idx(list, i);
    const char *full = lxd_text(s, "name"), *slash = full ? strrchr(full, '/') : NULL;
    if (str_eq(slash ? slash + 1 : full, name))
      return s;
  }
  return NULL;
}

int lxd_copy_owned(struct owned *ret, const char *kind, const char *id, const char *where,
                   struct err *err)
{
  *ret = (struct owned){.kind = str_dup(kind), .id = str_dup(id), .where = str_dup(where)};
  if (ret->kind && ret->id && ret->where)
    return 0;
  owned_release(ret);
  return lxd_no_memory(err);
}
