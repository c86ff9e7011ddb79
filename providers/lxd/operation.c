// SPDX-License-Identifier: Apache-2.0
// Changes of instances are operations of the daemon: /1.0/operations/ID, status Running, Success,
// Failure or Cancelled; it forgets one five seconds after its end. We note the last one that we
// began on each instance, to tell why it failed; nothing else depends on the note.
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "providers/lxd/lxd_internal.h"

static struct lxd_begun *find(const struct lxd *l, const char *instance)
{
  for (size_t i = 0; i < l->begun_count; i++)
    if (str_eq(l->begun[i].instance, instance))
      return &l->begun[i];
  return NULL;
}

bool lxd_is_begun(const struct lxd *l, const char *instance)
{
  return find(l, instance) != NULL;
}

static void forget(struct lxd *l, struct lxd_begun *b)
{
  free(b->instance);
  free(b->id);
  *b = l->begun[--l->begun_count];
}

int lxd_begin(struct lxd *l, const char *instance, char *id, struct err *err)
{
  struct lxd_begun *b = find(l, instance);
  int64_t now_ms = clock_ms();
  l->alone = now_ms - l->begun_ms > LXD_ALONE_MS;
  l->begun_ms = now_ms;
  if (b)
    forget(l, b);
  if (!id)
    return 0;
  if (l->begun_count >= LXD_OPERATIONS_MAX) // of long ago: nobody asked for its end
    forget(l, &l->begun[0]);
  struct lxd_begun *more = reallocarray(l->begun, l->begun_count + 1, sizeof(*more));
  char *name = str_dup(instance);
  if (more)
    l->begun = more;
  if (!more || !name) {
    free(name);
    free(id);
    return lxd_no_memory(err);
  }
  l->begun[l->begun_count++] = (struct lxd_begun){.instance = name, .id = id};
  return 0;
}

// "Unpack: 45% (30MB/s)" among the values of its metadata.
static int64_t percent_of(struct json_object *metadata)
{
  int64_t best = 0;
  if (!json_object_is_type(metadata, json_type_object))
    return 0;
  json_object_object_foreach(metadata, key, value)
  {
    const char *text =
        json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
    const char *sign = strchr(text, '%'), *at = sign;
    (void)key;
    while (at && at > text && at[-1] >= '0' && at[-1] <= '9')
      at--;
    int64_t percent = at && at < sign ? atoll(at) : 0;
    best = percent > best && percent <= 100 ? percent : best;
  }
  return best;
}

// One look at it. -1 also when it failed; *ret_over says which.
static int look(struct lxd *l, const char *id, int64_t wait_ms, struct lxd_progress *ret,
                struct json_object **ret_metadata, bool *ret_over, struct err *err)
{
  cleanup_free char *path = wait_ms > 0 ? str_printf("/1.0/operations/%s/wait?timeout=%lld", id,
                                                     (long long)(wait_ms + 999) / 1000)
                                        : str_printf("/1.0/operations/%s", id);
  cleanup_json struct json_object *o = NULL;
  struct err failed = ERR_INIT;
  *ret_over = false;
  if (lxd_get(l, path, &o, &failed) != 0) {
    // Who waits for what fails is told no more than why; the operation itself can still be seen.
    if (l->incus && wait_ms > 0)
      return look(l, id, 0, ret, ret_metadata, ret_over, err);
    if (err)
      *err = failed;
    return -1;
  }
  int64_t code = lxd_number(o, "status_code", 0);
  if (ret_metadata)
    *ret_metadata = json_object_get(lxd_member(o, "metadata"));
  ret->percent = percent_of(lxd_member(o, "metadata"));
  ret->running = code >= 100 && code < 200;
  ret->good = code == 200;
  *ret_over = !ret->running;
  if (ret->running || code == 200)
    return 0;
  if (code == 0)
    return err_set(err, ERR_PROTOCOL, "the daemon tells no status of an operation");
  const char *text = lxd_text(o, "err"), *what = lxd_text(o, "description");
  return err_set(err, lxd_kind_of_text(text, ERR_PROTOCOL), "%s: %s", what ? what : "an operation",
                 str_empty(text) ? "it failed" : text);
}

static int settle(struct lxd *l, const char *instance, int64_t wait_ms, struct lxd_progress *ret,
                  struct err *err)
{
  struct lxd_begun *b = find(l, instance);
  struct err failed = ERR_INIT;
  bool over;
  *ret = (struct lxd_progress){0};
  if (!b)
    return 0;
  int result = look(l, b->id, wait_ms, ret, NULL, &over, &failed);
  bool gone = result != 0 && !over && failed.kind == ERR_NOT_FOUND;
  if (over || gone)
    forget(l, b);
  if (result == 0 || gone)
    return 0;
  if (err)
    *err = failed;
  return -1;
}

int lxd_settle(struct lxd *l, const char *instance, struct lxd_progress *ret, struct err *err)
{
  return settle(l, instance, 0, ret, err);
}

int lxd_settle_new(struct lxd *l, const char *instance, struct lxd_progress *ret, struct err *err)
{
  return settle(l, instance, l->alone ? LXD_BRIEF_MS : 0, ret, err);
}

int lxd_settle_begun(struct lxd *l, const char *instance, struct lxd_progress *ret, struct err *err)
{
  *ret = (struct lxd_progress){.running = lxd_is_begun(l, instance)};
  return l->alone ? settle(l, instance, LXD_BRIEF_MS, ret, err) : 0;
}

int lxd_wait(struct lxd *l, const char *id, int64_t wait_ms, struct json_object **ret,
             struct err *err)
{
  int64_t until_ms = clock_ms() + wait_ms;
  struct lxd_progress progress;
  for (;;) {
    int64_t left_ms = until_ms - clock_ms();
    int64_t step_ms = left_ms < l->call_ms / 2 ? left_ms : l->call_ms / 2;
    cleanup_json struct json_object *metadata = NULL;
    bool over;
    int failed = look(l, id, step_ms, &progress, &metadata, &over, err);
    if (over && ret)
      *ret = TAKE(metadata);
    if (failed || over)
      return failed;
    if (left_ms <= 0)
      return err_set(err, ERR_TIMEOUT, "the daemon was not done within %lld ms",
                     (long long)wait_ms);
  }
}

static bool works_on(struct json_object *operation, const char *instance)
{
  cleanup_free char *path = lxd_instance_path(instance, "");
  struct json_object *list = lxd_member(lxd_member(operation, "resources"), "instances");
  int64_t code = lxd_number(operation, "status_code", 0);
  const char *what = lxd_text(operation, "description");
  if (!path || code < 100 || code >= 200 || str_eq(what, "Executing command") ||
      str_eq(what, "Showing console") || !json_object_is_type(list, json_type_array))
    return false;
  for (size_t i = 0; i < json_object_array_length(list); i++)
    if (str_eq(json_object_get_string(json_object_array_get_idx(list, i)), path))
      return true;
  return false;
}

static int pick(struct json_object *operation, char **ret_id, char **ret_what)
{
  *ret_id = str_dup(lxd_text(operation, "id"));
  *ret_what = str_dup(lxd_text(operation, "description"));
  return *ret_id && *ret_what ? 0 : -1;
}

int lxd_working(struct lxd *l, const char *instance, char **ret_id, char **ret_what,
                struct err *err)
{
  cleanup_json struct json_object *states = NULL;
  *ret_id = *ret_what = NULL;
  if (lxd_get(l, "/1.0/operations?recursion=1", &states, err) != 0)
    return -1;
  if (!json_object_is_type(states, json_type_object))
    return 0; // none at all
  json_object_object_foreach(states, state, list)
  {
    size_t count = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
    (void)state;
    for (size_t i = 0; i < count; i++) {
      struct json_object *o = json_object_array_get_idx(list, i);
      if (!*ret_id && works_on(o, instance) && pick(o, ret_id, ret_what) != 0)
        return lxd_no_memory(err);
    }
  }
  return 0;
}

int lxd_busy(struct lxd *l, const char *instance, bool *ret, struct err *err)
{
  cleanup_free char *id = NULL;
  cleanup_free char *what = NULL;
  int failed = lxd_working(l, instance, &id, &what, err);
  *ret = id != NULL;
  return failed;
}

// How it ends is no business of who waits here.
int lxd_idle(struct lxd *l, const char *instance, struct err *err)
{
  cleanup_free char *id = NULL;
  cleanup_free char *what = NULL;
  struct err failed = ERR_INIT;
  if (lxd_working(l, instance, &id, &what, err) != 0)
    return -1;
  if (!id || lxd_wait(l, id, l->call_ms / 2, NULL, &failed) == 0 || failed.kind != ERR_TIMEOUT)
    return 0;
  return err_set(err, ERR_BUSY, "the daemon is at work on '%s' (%s)", instance, what);
}
