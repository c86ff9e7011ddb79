// SPDX-License-Identifier: Apache-2.0
// A clone is made in three steps, each found again by the marks in its config: the daemon copies
// (state "making"), it gets its identity, it is "made". A copy that the daemon itself did not
// complete, since it was killed, lacks the note that its storage is whole: it is taken away and
// made anew.
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "providers/lxd/lxd_internal.h"

#define LOOKS 3 // at the instance, in one call

int lxd_clone_plan(void *h, const struct clone_order *c, struct owned *ret, struct err *err)
{
  struct lxd *l = h;
  if (lxd_name_check(c->name, err) != 0)
    return -1;
  return lxd_copy_owned(ret, "Clone", c->name, l->endpoint, err);
}

// ---- what is seen ------------------------------------------------------------------------------

static int add_addresses(struct json_object *card, struct strings *to)
{
  struct json_object *list = lxd_member(card, "addresses");
  for (size_t i = 0;
       json_object_is_type(list, json_type_array) && i < json_object_array_length(list); i++) {
    struct json_object *a = json_object_array_get_idx(list, i);
    const char *text = lxd_text(a, "address");
    if (text && str_eq(lxd_text(a, "scope"), "global") && to->count < CLONE_ADDRESSES_MAX &&
        strings_add(to, text) != 0)
      return -1;
  }
  return 0;
}

static int read_state(struct json_object *instance, struct clone_seen *ret)
{
  struct json_object *state = lxd_member(instance, "state");
  struct json_object *cards = lxd_member(state, "network");
  bool on = ret->power == VM_POWER_ON;
  // The agent of a VM counts its processes, and -1 says that there is none.
  ret->agent = on && lxd_number(state, "processes", -1) > 0;
  ret->memory_bytes = on ? lxd_number(lxd_member(state, "memory"), "usage", -1) : -1;
  if (!on || !json_object_is_type(cards, json_type_object))
    return 0;
  json_object_object_foreach(cards, name, card)
  {
    if (!str_eq(name, "lo") && add_addresses(card, &ret->addresses) != 0)
      return -1;
  }
  return 0;
}

// Linked: it was made of something in the pool that it is in (still), and copies there share.
static int read_mode(struct lxd *l, struct json_object *instance, int *ret, struct err *err)
{
  const char *pool = lxd_root_pool(instance), *base = lxd_config(instance, LXD_CONFIG_BASE);
  const struct lxd_pool *p;
  *ret = CLONE_FULL;
  if (!pool || !base)
    return 0;
  if (!lxd_is_fingerprint(base) && !str_eq(pool, lxd_config(instance, LXD_CONFIG_POOL)))
    return 0;
  if (lxd_pool_kind(l, pool, &p, err) != 0)
    return -1;
  *ret = p->links ? CLONE_LINKED : CLONE_FULL;
  return 0;
}

static int fill(struct lxd *l, struct json_object *instance, bool done, struct clone_seen *ret,
                struct err *err)
{
  const char *name = lxd_text(instance, "name"), *owner = lxd_config(instance, LXD_CONFIG_OWNER);
  struct clone_seen seen CLEANUP(clone_seen_release) = {.done = done};
  if (read_mode(l, instance, &seen.mode, err) != 0)
    return -1;
  seen.id = str_dup(name);
  seen.name = str_dup(name);
  seen.owner = str_dup(owner);
  if (seen.mode == CLONE_LINKED)
    seen.base = str_dup(lxd_config(instance, LXD_CONFIG_BASE));
  seen.power = lxd_power_of(instance);
  seen.bytes = lxd_root_usage(instance);
  if (read_state(instance, &seen) != 0 || !seen.id || !seen.name || (owner && !seen.owner))
    return lxd_no_memory(err);
  *ret = seen;
  seen = (struct clone_seen){0};
  return 0;
}

static bool is_making(struct json_object *instance)
{
  return str_eq(lxd_config(instance, LXD_CONFIG_STATE), "making");
}

int lxd_clone_get(void *h, const char *id, struct clone_seen *ret, struct err *err)
{
  struct lxd *l = h;
  cleanup_json struct json_object *instance = NULL;
  if (lxd_instance(l, id, &instance, err) != 0)
    return -1;
  return fill(l, instance, !is_making(instance), ret, err);
}

// ---- making ------------------------------------------------------------------------------------

static int check_order(struct lxd *l, const struct lxd_from *from, const struct clone_order *c,
                       struct err *err)
{
  bool links;
  if (c->base_revision && !str_eq(c->base_revision, from->revision))
    return err_set(err, ERR_CHANGED,
                   "base '%s' is not what it was: somebody has started it, or taken another "
                   "snapshot '%s'",
                   from->id, LXD_SNAPSHOT);
  if (c->base && from->running)
    return err_set(err, ERR_BUSY, "base '%s' runs: nothing is cloned from it", from->id);
  if (c->user_data && !from->cloud_init)
    return err_set(err, ERR_UNSUPPORTED, "'%s' has no cloud-init to read user data", from->id);
  return lxd_clone_links(l, from, c, &links, err);
}

int lxd_check_mark(struct json_object *instance, const char *owner, struct err *err)
{
  const char *name = lxd_text(instance, "name"), *mark = lxd_config(instance, LXD_CONFIG_OWNER);
  if (owner_same(mark, owner))
    return 0;
  return err_set(err, ERR_EXISTS, "there is an instance '%s' already, which %s", name,
                 mark ? "belongs to another object" : "drover did not make");
}

static int read_back(struct lxd *l, const struct clone_order *c, struct clone_seen *ret,
                     struct err *err)
{
  cleanup_json struct json_object *instance = NULL;
  if (lxd_instance(l, c->name, &instance, err) != 0 || lxd_check_mark(instance, c->owner, err) != 0)
    return -1;
  return fill(l, instance, !is_making(instance), ret, err);
}

// What it takes to complete a copy.
struct copy {
  const struct clone_order *order;
  char *inside; // NULL = not known
  char *base;   // what it was made of
  bool vm;
  struct lxd_host_key key; // made while the daemon copies, or empty
};

static void copy_release(struct copy *c)
{
  free(c->inside);
  free(c->base);
  lxd_host_key_release(&c->key);
}

static int copy_read(struct lxd *l, const struct clone_order *order, struct json_object *from,
                     const char *base, bool vm, struct copy *ret, struct err *err)
{
  const char *inside = lxd_config(from, LXD_CONFIG_INSIDE);
  if (!inside && lxd_is_fingerprint(base))
    inside = lxd_image_inside(l, base);
  *ret = (struct copy){.order = order, .inside = str_dup(inside), .base = str_dup(base), .vm = vm};
  return (inside && !ret->inside) || (base && !ret->base) ? lxd_no_memory(err) : 0;
}

static int begin(struct lxd *l, const struct clone_order *c, struct copy *ret, struct err *err)
{
  struct lxd_from from CLEANUP(lxd_from_release) = {0};
  cleanup_json struct json_object *body = NULL;
  char *operation = NULL;
  if (lxd_from(l, c, &from, err) != 0 || check_order(l, &from, c, err) != 0 ||
      lxd_clone_body(l, &from, c, &body, err) != 0 ||
      copy_read(l, c, from.snapshot ? from.json : NULL, from.id, from.vm, ret, err) != 0 ||
      lxd_call(l, "POST", "/1.0/instances", body, NULL, &operation, err) != 0)
    return -1;
  return lxd_begin(l, c->name, operation, err);
}

// Looks again after it has seen that nobody works on it: the work may have ended in between.
int lxd_undo_unless_busy(struct lxd *l, const char *name, struct err *err)
{
  cleanup_json struct json_object *instance = NULL;
  cleanup_free char *path = lxd_instance_path(name, "");
  char *operation = NULL;
  bool busy;
  if (lxd_busy(l, name, &busy, err) != 0 || lxd_instance_brief_if(l, name, &instance, err) != 0)
    return -1;
  if (busy || !instance || lxd_config(instance, LXD_CONFIG_TEMPLATE))
    return 0;
  if (lxd_call(l, "DELETE", path, NULL, NULL, &operation, err) != 0)
    return -1;
  return lxd_begin(l, name, operation, err);
}

// Of a base its config tells; of an image the first clone of it.
static int know_inside(struct lxd *l, struct copy *copy, struct err *err)
{
  bool image = lxd_is_fingerprint(copy->base);
  if (copy->inside)
    return 0;
  if (lxd_inside(l, copy->order->name, false, &copy->inside, err) != 0)
    return -1;
  if (image)
    lxd_image_inside_note(l, copy->base, copy->inside);
  return 0;
}

// The copy is whole: it becomes somebody, and is read back.
static int complete(struct lxd *l, struct copy *copy, struct clone_seen *ret, struct err *err)
{
  if (!copy->vm && (know_inside(l, copy, err) != 0 ||
                    lxd_identify(l, copy->inside, &copy->key, copy->order, err) != 0))
    return -1;
  struct json_object *body = json_object_new_object(), *config = json_object_new_object();
  json_object_object_add(body, "config", config);
  lxd_put(config, LXD_CONFIG_STATE, "made");
  return lxd_patch(l, copy->order->name, body, err) == 0 ? read_back(l, copy->order, ret, err) : -1;
}

// Nothing is there: a copy is begun, and completed if it is over at once. *ret_again: it is over
// otherwise.
static int make_new(struct lxd *l, const struct clone_order *c, bool *ret_again,
                    struct clone_seen *ret, struct err *err)
{
  struct copy copy CLEANUP(copy_release) = {0};
  struct lxd_progress progress;
  struct err failed = ERR_INIT;
  if (begin(l, c, &copy, err) != 0)
    return -1;
  if (l->alone && !copy.vm && lxd_needs_host_key(copy.inside) &&
      lxd_host_key_new(c->name, &copy.key, err) != 0)
    return -1;
  int settled = lxd_settle_begun(l, c->name, &progress, &failed);
  *ret_again = !progress.running && !progress.good;
  if (settled != 0)
    return failed.kind == ERR_EXISTS ? 0 // begun twice, around a crash
                                     : err_set(err, failed.kind, "%s", failed.message);
  return progress.good ? complete(l, &copy, ret, err) : 0;
}

// It bears our mark, and was not completed.
static int go_on(struct lxd *l, struct json_object *instance, const struct clone_order *c,
                 struct clone_seen *ret, struct err *err)
{
  struct copy copy CLEANUP(copy_release) = {0};
  if (!lxd_config(instance, LXD_CONFIG_TEMPLATE)) // it is not whole
    return lxd_undo_unless_busy(l, c->name, err);
  if (copy_read(l, c, instance, lxd_config(instance, LXD_CONFIG_BASE), lxd_is_vm(instance), &copy,
                err) != 0)
    return -1;
  return complete(l, &copy, ret, err);
}

// *ret_again: the copy was over at once, and not as it should be: look again.
static int step(struct lxd *l, const struct clone_order *c, bool *ret_again, struct clone_seen *ret,
                struct err *err)
{
  struct lxd_progress progress;
  struct err failed = ERR_INIT;
  cleanup_json struct json_object *instance = NULL;
  *ret_again = false;
  bool absent = lxd_absent_take(l, c->name) && !lxd_is_begun(l, c->name);
  int settled = lxd_settle(l, c->name, &progress, &failed);
  if (progress.running) // it is ours, whatever it does
    return 0;
  if (!absent && lxd_instance_brief_if(l, c->name, &instance, err) != 0)
    return -1;
  if (instance && lxd_check_mark(instance, c->owner, err) != 0)
    return -1;
  if (!instance && settled != 0) {
    if (err)
      *err = failed;
    return -1;
  }
  if (!instance)
    return make_new(l, c, ret_again, ret, err);
  return is_making(instance) ? go_on(l, instance, c, ret, err) : read_back(l, c, ret, err);
}

int lxd_clone_make(void *h, const struct clone_order *c, const struct owned *o,
                   struct clone_seen *ret, struct err *err)
{
  struct lxd *l = h;
  bool again = true;
  if (!str_eq(c->name, o->id))
    return err_set(err, ERR_INTERNAL, "the clone '%s' was planned as '%s'", c->name, o->id);
  *ret = (struct clone_seen){.bytes = -1, .memory_bytes = -1};
  for (int i = 0; again && i < LOOKS; i++)
    if (step(l, c, &again, ret, err) != 0)
      return -1;
  if (!ret->id && !(ret->id = str_dup(o->id)))
    return lxd_no_memory(err);
  if (!ret->name && !(ret->name = str_dup(o->id))) {
    clone_seen_release(ret);
    return lxd_no_memory(err);
  }
  return 0;
}
