// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "controller/commands.h"
#include "controller/following.h"
#include "controller/queue.h"
#include "controller/store_sqlite.h"
#include "crds/vmmigration.h"
#include "kube/object.h"

#define KEYS_MAX 1000000

DEFINE_CLEANUP(object_free, struct object *)

void following_release(struct following *r)
{
  progress_view_free(r->view);
  free(r->items.items);
  free(r->dirty.items);
}

static struct followed *item_at(const struct following *r, size_t i)
{
  return &((struct followed *)r->items.items)[i];
}

static struct followed *find(const struct following *r, const struct object_key *key)
{
  for (size_t i = 0; i < r->items.count; i++)
    if (object_key_eq(&item_at(r, i)->key, key))
      return item_at(r, i);
  return NULL;
}

int following_add(struct following *r, const struct object_key *key, struct err *err)
{
  if (find(r, key))
    return 0;
  struct followed *item = list_add(&r->items, sizeof(*item), KEYS_MAX);
  if (!item)
    return err_set(err, ERR_NO_MEMORY, "no memory for a list of objects");
  item->key = *key;
  following_changed(r, key);
  return 0;
}

// ---- retry ----------------------------------------------------------------------------------

int ask_for_retry(struct object_store *s, const struct object_key *key, struct err *err)
{
  char now[40];
  struct json_object *patch cleanup_object = json_object_new_object();
  struct json_object *meta = json_object_new_object();
  struct json_object *annotations = json_object_new_object();
  object_set_string(annotations, CRDS_ANNOTATE_RETRY, clock_rfc3339_micro(clock_wall_ms(), now));
  json_object_object_add(meta, "annotations", annotations);
  json_object_object_add(patch, "metadata", meta);
  return s->ops->patch(s, key, patch, err);
}

int following_retry(struct following *r, struct err *err)
{
  for (size_t i = 0; i < r->items.count; i++) {
    const struct object_key *key = &item_at(r, i)->key;
    struct object *o CLEANUP(object_free_p) = NULL;
    if (key->kind != OBJECT_VM_MIGRATION)
      continue;
    if (r->store->ops->get(r->store, key, &o, err) != 0)
      return -1;
    const struct vmmigration_status *st = o->status;
    if (str_eq(st->phase, "Failed") && ask_for_retry(r->store, key, err) != 0)
      return -1;
  }
  return 0;
}

// ---- looking --------------------------------------------------------------------------------

void following_changed(struct following *r, const struct object_key *key)
{
  const struct object_key *keys = r->dirty.items;
  for (size_t i = 0; i < r->dirty.count; i++)
    if (object_key_eq(&keys[i], key))
      return;
  struct object_key *new = list_add(&r->dirty, sizeof(*new), KEYS_MAX);
  if (new)
    *new = *key;
}

// A state file says itself when it cannot go on.
static void tell_unread(struct following *r, const struct err *err, int64_t now_wall_ms)
{
  if (!r->far || str_eq(err->message, r->unread))
    return;
  memcpy(r->unread, err->message, sizeof(r->unread));
  progress_view_say(r->view, now_wall_ms, "%s", err->message);
}

static void look_at(struct following *r, const struct object_key *key, int64_t now_ms,
                    int64_t now_wall_ms)
{
  struct object *o CLEANUP(object_free_p) = NULL;
  struct err err = ERR_INIT;
  struct followed *item = find(r, key);
  if (r->store->ops->get(r->store, key, &o, &err) != 0) {
    if (err.kind != ERR_NOT_FOUND) {
      tell_unread(r, &err, now_wall_ms);
      return;
    }
    if (item)
      item->gone = true;
    if (progress_view_knows(r->view, key))
      progress_view_gone(r->view, key, now_wall_ms);
    return;
  }
  if (item) {
    item->ended = object_has_ended(o);
    item->good = object_has_succeeded(o);
  }
  // What others had done long ago is not news.
  if (item || !object_has_ended(o) || progress_view_knows(r->view, key))
    progress_view_show(r->view, o, now_ms, now_wall_ms);
}

void following_look(struct following *r, int64_t now_ms, int64_t now_wall_ms)
{
  struct list dirty = r->dirty;
  r->dirty = (struct list){0};
  const struct object_key *keys = dirty.items;
  for (size_t i = 0; i < dirty.count; i++)
    look_at(r, &keys[i], now_ms, now_wall_ms);
  free(dirty.items);
}

// ---- the end --------------------------------------------------------------------------------

static bool is_a_platform(const struct followed *item)
{
  return item->key.kind == OBJECT_PROVIDER || item->key.kind == OBJECT_IMAGE_STORE;
}

static bool names_work(const struct following *r)
{
  for (size_t i = 0; i < r->items.count; i++)
    if (!is_a_platform(item_at(r, i)))
      return true;
  return false;
}

// Providers and stores only matter by themselves where there is nothing that uses them.
static bool counts(const struct following *r, const struct followed *item)
{
  return !is_a_platform(item) || !names_work(r);
}

bool following_counts(const struct following *r, const struct object_key *key)
{
  const struct followed *item = find(r, key);
  return item && counts(r, item);
}

bool following_is_over(const struct following *r)
{
  for (size_t i = 0; i < r->items.count; i++) {
    const struct followed *item = item_at(r, i);
    if (counts(r, item) && !item->ended && !item->gone)
      return false;
  }
  return true;
}

int following_summary(struct following *r, int64_t now_wall_ms)
{
  size_t good = 0, bad = 0, migrations = 0;
  for (size_t i = 0; i < r->items.count; i++) {
    const struct followed *item = item_at(r, i);
    if (counts(r, item)) {
      good += item->good;
      bad += !item->good;
      migrations += !item->good && item->key.kind == OBJECT_VM_MIGRATION;
    }
  }
  if (good + bad > 1)
    progress_view_say(r->view, now_wall_ms, "%zu succeeded, %zu failed", good, bad);
  if (migrations)
    progress_view_say(r->view, now_wall_ms,
                      "to try again: the same command with --retry; to give up and clean up: "
                      "drover delete vmmigration NAME");
  return bad ? EXIT_FAILED : EXIT_DONE;
}
