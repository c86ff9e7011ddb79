// SPDX-License-Identifier: Apache-2.0
// What commands of people ask of a cluster and the operator does not: whole lists, events, scale.
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "controller/store_kube_internal.h"
#include "kube/object.h"

#define EVENTS_MAX 1000 // of one object; the API server keeps them for an hour

DEFINE_CLEANUP(object_free, struct object *)

int kube_store_scale(struct object_store *store, const struct object_key *key, int64_t replicas,
                     struct err *err)
{
  struct store_kube *s = (struct store_kube *)store;
  struct json_object *patch cleanup_object = json_object_new_object();
  struct json_object *spec = json_object_new_object();
  struct err why = ERR_INIT;
  json_object_object_add(spec, "replicas", json_object_new_int64(replicas));
  json_object_object_add(patch, "spec", spec);
  if (kube_patch(s->kube, &s->resources[key->kind], key->ns, key->name, "scale", KUBE_PATCH_MERGE,
                 patch, NULL, &why) == 0)
    return 0;
  return kube_store_missing(key, &why, err);
}

// ---- lists ------------------------------------------------------------------------------------

typedef int (*take_page_fn)(void *arg, struct json_object *items, struct err *err);

static int each_page(struct store_kube *s, const struct kube_resource *r,
                     const struct kube_list_query *query, take_page_fn take, void *arg,
                     struct err *err)
{
  cleanup_free char *next = NULL;
  do {
    struct kube_list_query q = *query;
    struct kube_page page CLEANUP(kube_page_release) = {0};
    q.next = next;
    if (kube_list(s->kube, r, &q, &page, err) != 0 || take(arg, page.items, err) != 0)
      return -1;
    free(next);
    next = TAKE(page.next);
  } while (next);
  return 0;
}

struct each {
  store_each_fn fn;
  void *arg;
};

static int each_of_page(void *arg, struct json_object *items, struct err *err)
{
  const struct each *e = arg;
  for (size_t i = 0; i < json_object_array_length(items); i++) {
    struct object *o CLEANUP(object_free_p) = NULL;
    if (object_decode(json_object_array_get_idx(items, i), &o, err) != 0 ||
        e->fn(e->arg, o, err) != 0)
      return -1;
  }
  return 0;
}

int kube_store_each(struct object_store *store, enum object_kind kind, const char *ns,
                    store_each_fn fn, void *arg, struct err *err)
{
  struct store_kube *s = (struct store_kube *)store;
  struct each e = {fn, arg};
  struct kube_list_query query = {.ns = ns};
  return each_page(s, &s->resources[kind], &query, each_of_page, &e, err);
}

// ---- events -----------------------------------------------------------------------------------

static const struct kube_resource events = {"", "v1", "events", "Event"};

static int keep_page(void *arg, struct json_object *items, struct err *err)
{
  struct json_object *all = arg;
  for (size_t i = 0; i < json_object_array_length(items); i++) {
    if (json_object_array_length(all) == EVENTS_MAX)
      return 0;
    struct json_object *item = json_object_get(json_object_array_get_idx(items, i));
    if (json_object_array_add(all, item) != 0) {
      json_object_put(item);
      return err_set(err, ERR_NO_MEMORY, "no memory for events");
    }
  }
  return 0;
}

// Events of core/v1 have lastTimestamp and count; those of events.k8s.io eventTime and a series.
static int64_t last_of(struct json_object *event)
{
  struct json_object *series = object_at(event, "series", NULL);
  const char *times[] = {object_string(series, "lastObservedTime", NULL),
                         object_string(event, "lastTimestamp", NULL),
                         object_string(event, "eventTime", NULL),
                         object_string(event, "metadata", "creationTimestamp", NULL)};
  int64_t at_ms = 0;
  for (size_t i = 0; i < ARRAY_SIZE(times); i++)
    if (*times[i] && clock_parse_rfc3339(times[i], &at_ms))
      return at_ms;
  return at_ms;
}

static int by_last(const void *a, const void *b)
{
  int64_t x = last_of(*(struct json_object *const *)a),
          y = last_of(*(struct json_object *const *)b);
  return (x > y) - (x < y);
}

static void tell(struct json_object *event, store_event_fn fn, void *arg)
{
  struct store_event e = {.type = object_string(event, "type", NULL),
                          .reason = object_string(event, "reason", NULL),
                          .message = object_string(event, "message", NULL),
                          .count = object_int(event, "count", NULL),
                          .last_wall_ms = last_of(event)};
  if (e.count == 0)
    e.count = object_int(event, "series", "count", NULL);
  if (e.count == 0)
    e.count = 1;
  if (!clock_parse_rfc3339(object_string(event, "firstTimestamp", NULL), &e.first_wall_ms))
    e.first_wall_ms = e.last_wall_ms;
  fn(arg, &e);
}

int kube_store_events(struct object_store *store, const struct object *o, store_event_fn fn,
                      void *arg, struct err *err)
{
  struct store_kube *s = (struct store_kube *)store;
  struct json_object *all cleanup_object = json_object_new_array();
  cleanup_free char *selector =
      str_printf("involvedObject.name=%s,involvedObject.uid=%s", o->meta.name, o->meta.uid);
  struct kube_list_query query = {.ns = o->meta.ns, .field_selector = selector};
  if (!all || !selector)
    return err_set(err, ERR_NO_MEMORY, "no memory for events");
  if (each_page(s, &events, &query, keep_page, all, err) != 0)
    return -1;
  json_object_array_sort(all, by_last);
  for (size_t i = 0; i < json_object_array_length(all); i++)
    tell(json_object_array_get_idx(all, i), fn, arg);
  return 0;
}
