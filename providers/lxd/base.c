// SPDX-License-Identifier: Apache-2.0
// A base is an instance of ours that is never started, with a snapshot LXD_SNAPSHOT that clones are
// made of: so nothing that is done to the instance later reaches a clone. It is protected against
// removal. An image that is there is used as it is: its fingerprint says all.
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "providers/lxd/lxd_internal.h"

#define LOOKS 5 // at the instance, in one call

char *lxd_revision(struct json_object *instance)
{
  struct json_object *s = lxd_snapshot_of(instance, LXD_SNAPSHOT);
  const char *uuid = lxd_config(instance, "volatile.uuid");
  const char *taken = lxd_text(s, "created_at"), *used = lxd_text(instance, "last_used_at");
  if (!s || !taken)
    return NULL;
  const char *image = lxd_config(instance, LXD_CONFIG_IMAGE); // its SHA-256
  return str_printf("%s%s%s/%s/%s", image ? image : "", image ? "/" : "", uuid ? uuid : "", taken,
                    used ? used : "");
}

int lxd_base_plan(void *h, const struct base_order *b, struct owned *ret, struct err *err)
{
  struct lxd *l = h;
  if (b->template_) {
    cleanup_json struct json_object *image = NULL;
    if (lxd_image(l, b->template_, &image, err) != 0)
      return -1;
    return lxd_copy_owned(ret, "Template", lxd_text(image, "fingerprint"), l->endpoint, err);
  }
  const char *name = b->convert && b->vm ? b->vm : b->name;
  if (lxd_name_check(name, err) != 0)
    return -1;
  return lxd_copy_owned(ret, "Base", name, l->endpoint, err);
}

// ---- what is seen ------------------------------------------------------------------------------

const char *lxd_image_name(struct json_object *image)
{
  struct json_object *aliases = lxd_member(image, "aliases");
  struct json_object *first =
      json_object_is_type(aliases, json_type_array) ? json_object_array_get_idx(aliases, 0) : NULL;
  const char *name = lxd_text(first, "name");
  return name ? name : lxd_text(image, "fingerprint");
}

static int get_template(struct lxd *l, const char *id, struct base_seen *ret, struct err *err)
{
  cleanup_json struct json_object *image = NULL;
  if (lxd_image(l, id, &image, err) != 0)
    return -1;
  const char *fingerprint = lxd_text(image, "fingerprint");
  *ret = (struct base_seen){.done = true,
                            .is_template = true,
                            .percent = 100,
                            .bytes = lxd_number(image, "size", -1),
                            .id = str_dup(fingerprint),
                            .revision = str_dup(fingerprint),
                            .name = str_dup(lxd_image_name(image))};
  return ret->id && ret->revision && ret->name ? 0 : lxd_no_memory(err);
}

static int fill(struct json_object *instance, bool done, int64_t percent, struct base_seen *ret,
                struct err *err)
{
  const char *name = lxd_text(instance, "name");
  base_seen_release(ret);
  *ret = (struct base_seen){.done = done,
                            .percent = done ? 100 : percent,
                            .bytes = lxd_root_usage(instance),
                            .running = lxd_is_running(instance),
                            .id = str_dup(name),
                            .name = str_dup(name),
                            .owner = str_dup(lxd_config(instance, LXD_CONFIG_OWNER)),
                            .revision = lxd_revision(instance)};
  if (done && !ret->revision)
    ret->revision = str_dup("none"); // somebody has removed the snapshot
  return ret->id && ret->name ? 0 : lxd_no_memory(err);
}

static bool is_made(struct json_object *instance)
{
  return str_eq(lxd_config(instance, LXD_CONFIG_STATE), "made");
}

int lxd_base_get(void *h, const struct owned *o, struct base_seen *ret, struct err *err)
{
  struct lxd *l = h;
  cleanup_json struct json_object *instance = NULL;
  if (str_eq(o->kind, "Template"))
    return get_template(l, o->id, ret, err);
  if (lxd_instance(l, o->id, &instance, err) != 0)
    return -1;
  if (!str_eq(lxd_config(instance, LXD_CONFIG_KIND), "Base"))
    return err_set(err, ERR_NOT_FOUND, "instance '%s' is not registered as a base", o->id);
  *ret = (struct base_seen){0};
  return fill(instance, is_made(instance), 0, ret, err);
}

// ---- making ------------------------------------------------------------------------------------

static struct json_object *marks(const struct base_order *b)
{
  struct json_object *config = json_object_new_object();
  lxd_put(config, LXD_CONFIG_OWNER, b->owner);
  lxd_put(config, LXD_CONFIG_KIND, "Base");
  lxd_put(config, LXD_CONFIG_STATE, "making");
  lxd_put(config, LXD_CONFIG_BASE, "");
  lxd_put(config, LXD_CONFIG_POOL, "");
  lxd_put(config, LXD_CONFIG_TAKEN, b->convert ? "true" : "");
  if (b->cpus)
    lxd_put_number(config, "limits.cpu", b->cpus);
  if (b->memory_bytes)
    lxd_put_number(config, "limits.memory", b->memory_bytes);
  return config;
}

static int put_vm_source(struct lxd *l, const struct base_order *b, struct json_object *body,
                         struct json_object *source, struct err *err)
{
  cleanup_json struct json_object *vm = NULL;
  if (lxd_instance(l, b->vm, &vm, err) != 0)
    return -1;
  if (lxd_is_running(vm))
    return err_set(err, ERR_BUSY, "instance '%s' runs: it must be stopped to be copied", b->vm);
  lxd_put(body, "type", lxd_text(vm, "type"));
  json_object_object_add(body, "profiles", json_object_get(lxd_member(vm, "profiles")));
  lxd_put(source, "type", "copy");
  lxd_put(source, "source", b->vm);
  json_object_object_add(source, "instance_only", json_object_new_boolean(true));
  if (str_empty(b->storage))
    return 0;
  const char *name = "root";
  struct json_object *root = lxd_root(vm, &name), *copy = NULL;
  struct json_object *devices = json_object_new_object();
  json_object_object_add(body, "devices", devices);
  if (!root || json_object_deep_copy(root, &copy, NULL) != 0)
    return err_set(err, ERR_UNSUPPORTED, "instance '%s' has no root disk", b->vm);
  lxd_put(copy, "pool", b->storage);
  json_object_object_add(devices, name, copy);
  return 0;
}

static void put_server_source(const struct base_order *b, struct json_object *source)
{
  lxd_put(source, "type", "image");
  lxd_put(source, "mode", "pull");
  lxd_put(source, "protocol", "simplestreams");
  lxd_put(source, "server", b->server);
  if (str_empty(b->fingerprint))
    lxd_put(source, "alias", b->alias);
  else
    lxd_put(source, "fingerprint", b->fingerprint);
}

static int put_root(struct lxd *l, const struct base_order *b, struct json_object *body,
                    struct err *err)
{
  cleanup_free char *pool = str_empty(b->storage) ? NULL : str_dup(b->storage);
  struct json_object *devices = json_object_new_object(), *root = json_object_new_object();
  struct json_object *profiles = json_object_new_array();
  json_object_array_add(profiles, json_object_new_string("default"));
  json_object_object_add(body, "profiles", profiles);
  json_object_object_add(body, "devices", devices);
  json_object_object_add(devices, "root", root);
  if (!pool && lxd_pool_default(l, &pool, err) != 0)
    return -1;
  lxd_put(root, "type", "disk");
  lxd_put(root, "path", "/");
  lxd_put(root, "pool", pool);
  return 0;
}

// One that was uploaded: the daemon knows whether a container or a VM is in it.
static int put_uploaded_source(struct lxd *l, const char *fingerprint, struct json_object *body,
                               struct json_object *source, struct json_object *config,
                               struct err *err)
{
  cleanup_json struct json_object *image = NULL;
  struct err failed = ERR_INIT;
  if (lxd_image(l, fingerprint, &image, &failed) != 0) // one of somebody else's can go meanwhile
    return err_set(err, failed.kind == ERR_NOT_FOUND ? ERR_BUSY : failed.kind, "%s",
                   failed.message);
  lxd_put(body, "type", lxd_text(image, "type"));
  lxd_put(source, "type", "image");
  lxd_put(source, "fingerprint", fingerprint);
  lxd_put(config, LXD_CONFIG_IMAGE, fingerprint);
  return 0;
}

static int begin_copy(struct lxd *l, const struct base_order *b, const char *fingerprint,
                      struct err *err)
{
  cleanup_json struct json_object *body = json_object_new_object();
  struct json_object *source = json_object_new_object(), *config = marks(b);
  char *operation = NULL;
  json_object_object_add(body, "source", source);
  json_object_object_add(body, "config", config);
  lxd_put(body, "name", b->name);
  lxd_put(config, LXD_CONFIG_GUARD, "false");
  int failed = b->vm ? put_vm_source(l, b, body, source, err) : put_root(l, b, body, err);
  if (!failed && b->image)
    failed = put_uploaded_source(l, fingerprint, body, source, config, err);
  else if (!failed && !b->vm)
    put_server_source(b, source);
  if (failed || lxd_call(l, "POST", "/1.0/instances", body, NULL, &operation, err) != 0)
    return -1;
  return lxd_begin(l, b->name, operation, err);
}

static int set_config(struct lxd *l, const char *name, struct json_object *config, struct err *err)
{
  struct json_object *body = json_object_new_object();
  json_object_object_add(body, "config", config);
  return lxd_patch(l, name, body, err);
}

// The one thing that is changed without a mark: it gets ours, having none.
static int take_over(struct lxd *l, const struct base_order *b, struct json_object *instance,
                     struct err *err)
{
  if (lxd_config(instance, LXD_CONFIG_OWNER))
    return lxd_check_mark(instance, b->owner, err);
  if (lxd_is_running(instance))
    return err_set(err, ERR_BUSY, "instance '%s' runs: it must be stopped to become a base", b->vm);
  if (lxd_snapshot_of(instance, LXD_SNAPSHOT))
    return err_set(err, ERR_EXISTS, "instance '%s' has a snapshot '%s' already", b->vm,
                   LXD_SNAPSHOT);
  return set_config(l, b->vm, marks(b), err);
}

static int begin_snapshot(struct lxd *l, const char *name, struct err *err)
{
  cleanup_json struct json_object *body = json_object_new_object();
  cleanup_free char *path = lxd_instance_path(name, "/snapshots");
  char *operation = NULL;
  lxd_put(body, "name", LXD_SNAPSHOT);
  if (lxd_call(l, "POST", path, body, NULL, &operation, err) != 0)
    return -1;
  return lxd_begin(l, name, operation, err);
}

// The snapshot is there: what is left is config.
static int finish(struct lxd *l, struct json_object *instance, struct err *err)
{
  cleanup_free char *inside = NULL;
  if (lxd_inside(l, lxd_text(instance, "name"), lxd_is_vm(instance), &inside, err) != 0)
    return -1;
  struct json_object *config = json_object_new_object();
  lxd_put(config, LXD_CONFIG_INSIDE, inside);
  lxd_put(config, LXD_CONFIG_STATE, "made");
  lxd_put(config, LXD_CONFIG_GUARD, "true");
  return set_config(l, lxd_text(instance, "name"), config, err);
}

static bool is_whole(struct json_object *instance)
{
  return lxd_config(instance, LXD_CONFIG_TAKEN) || lxd_config(instance, LXD_CONFIG_TEMPLATE);
}

// The image has done its work: the base goes on without it.
static int finish_uploaded(struct lxd *l, const struct base_order *b, struct json_object *instance,
                           struct err *err)
{
  if (b->image && lxd_upload_drop(l, b->name, b->owner, true, err) != 0)
    return -1;
  return finish(l, instance, err);
}

// An instance that bears our mark: the next thing that it lacks.
static int advance(struct lxd *l, const struct base_order *b, struct json_object *instance,
                   bool *ret_again, struct err *err)
{
  const char *name = lxd_text(instance, "name");
  *ret_again = is_whole(instance);
  if (!is_whole(instance))
    return lxd_undo_unless_busy(l, name, err);
  if (lxd_snapshot_of(instance, LXD_SNAPSHOT))
    return finish_uploaded(l, b, instance, err);
  return begin_snapshot(l, name, err);
}

static int begin_uploaded(struct lxd *l, const struct base_order *b, bool *ret_again,
                          int64_t *ret_percent, struct err *err)
{
  cleanup_free char *fingerprint = NULL;
  if (lxd_upload(l, b, &fingerprint, ret_percent, err) != 0)
    return -1;
  *ret_again = fingerprint != NULL;
  return fingerprint ? begin_copy(l, b, fingerprint, err) : 0;
}

static int begin(struct lxd *l, const struct base_order *b, struct json_object *instance,
                 bool *ret_again, int64_t *ret_percent, struct err *err)
{
  if (b->image)
    return begin_uploaded(l, b, ret_again, ret_percent, err);
  if (b->convert)
    return instance
               ? take_over(l, b, instance, err)
               : err_set(err, ERR_NOT_FOUND, "there is no instance '%s' on %s", b->vm, l->endpoint);
  return begin_copy(l, b, NULL, err);
}

// The daemon unpacks an image only now. One that is broken, or too large, is not kept for a second
// try: the object in the store may be another by then.
static int undo_uploaded(struct lxd *l, const struct base_order *b, const struct err *failed,
                         struct err *err)
{
  struct err ignored = ERR_INIT; // it bears our mark, and is found again
  lxd_upload_drop(l, b->name, b->owner, true, &ignored);
  if (failed->kind == ERR_PROTOCOL && strstr(failed->message, "Unpack failed"))
    return err_set(err, ERR_CORRUPT, "LXD cannot read the image: %s", failed->message);
  return err_set(err, failed->kind, "%s", failed->message);
}

static int step(struct lxd *l, const struct base_order *b, const char *id, bool *ret_again,
                struct base_seen *ret, struct err *err)
{
  struct lxd_progress progress;
  struct err failed = ERR_INIT;
  cleanup_json struct json_object *instance = NULL;
  *ret_again = false;
  int settled = lxd_settle_new(l, id, &progress, &failed);
  if (lxd_instance_if(l, id, &instance, err) != 0)
    return -1;
  bool ours = instance && owner_same(lxd_config(instance, LXD_CONFIG_OWNER), b->owner);
  if (instance && !ours && !b->convert)
    return lxd_check_mark(instance, b->owner, err);
  if (settled != 0 && !(ours && failed.kind == ERR_EXISTS)) { // begun twice, around a crash
    if (b->image)
      return undo_uploaded(l, b, &failed, err);
    if (err)
      *err = failed;
    return -1;
  }
  ret->percent = progress.percent;
  if (progress.running)
    return 0;
  if (ours && is_made(instance))
    return fill(instance, true, 100, ret, err);
  *ret_again = true;
  return ours ? advance(l, b, instance, ret_again, err)
              : begin(l, b, instance, ret_again, &ret->percent, err);
}

int lxd_base_make(void *h, const struct base_order *b, const struct owned *o, struct base_seen *ret,
                  struct err *err)
{
  struct lxd *l = h;
  struct base_seen seen CLEANUP(base_seen_release) = {.bytes = -1};
  bool again = true;
  if (str_eq(o->kind, "Template"))
    return get_template(l, o->id, ret, err);
  for (int i = 0; again && i < LOOKS; i++)
    if (step(l, b, o->id, &again, &seen, err) != 0)
      return -1;
  if (!seen.id)
    seen.id = str_dup(o->id);
  if (!seen.name)
    seen.name = str_dup(o->id);
  if (!seen.id || !seen.name)
    return lxd_no_memory(err);
  *ret = seen;
  seen = (struct base_seen){0};
  return 0;
}
