// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/str.h"
#include "controller/store_kube_internal.h"
#include "kube/object.h"

#define PEOPLES_BURST 300 // calls at once, as kubectl has it

DEFINE_CLEANUP(object_free, struct object *)
DEFINE_CLEANUP(store_free, struct object_store *)

// ---- what the watches tell ------------------------------------------------------------------

// The whole manifest once more, which kubectl keeps there for itself.
#define LAST_APPLIED "kubectl.kubernetes.io/last-applied-configuration"

static void drop_last_applied(struct json_object *json)
{
  struct json_object *annotations = object_at(json, "metadata", "annotations", NULL);
  if (json_object_is_type(annotations, json_type_object))
    json_object_object_del(annotations, LAST_APPLIED);
}

static void on_changed(void *arg, struct json_object *json)
{
  struct kube_watch *w = arg;
  struct object *o CLEANUP(object_free_p) = NULL;
  struct err err = ERR_INIT;
  drop_last_applied(json);
  if (object_decode(json, &o, &err) != 0) {
    log_warning("an object that cannot be read", "kind", w->store->resources[w->kind].kind,
                "namespace", object_namespace(json), "name", object_name(json), "message",
                err.message, NULL);
    return;
  }
  struct object_key key = object_key_of(o);
  if (kube_cache_put(w->store->cache, o))
    w->store->callbacks.changed(w->store->callbacks.arg, &key);
}

static void on_deleted(void *arg, const char *ns, const char *name, const char *uid)
{
  struct kube_watch *w = arg;
  struct object_key key;
  if (object_key_set(&key, w->kind, ns, name, NULL) != 0)
    return;
  kube_cache_remove(w->store->cache, &key, uid);
  w->store->callbacks.deleted(w->store->callbacks.arg, &key);
}

static void note_listed(struct store_kube *s, enum object_kind kind)
{
  bool all = true;
  for (size_t i = 0; i < s->watch_count; i++)
    all = all && (s->watches[i].kind != kind || s->watches[i].synced);
  LOCK_FOR_SCOPE(&s->mutex);
  s->listed[kind] = all;
}

static void on_synced(void *arg)
{
  struct kube_watch *w = arg;
  struct store_kube *s = w->store;
  w->synced = true;
  note_listed(s, w->kind);
  if (++s->synced_count == s->watch_count && s->callbacks.synced)
    s->callbacks.synced(s->callbacks.arg);
}

// Before the first list has been read, a refusal is a mistake in how we were set up, and waiting
// would hide it; later it may be somebody who is changing roles.
static void on_trouble(void *arg, const struct err *err, int64_t again_in_ms)
{
  struct kube_watch *w = arg;
  char again[32];
  snprintf(again, sizeof(again), "%lld", (long long)again_in_ms);
  log_warning("watch", "resource", w->store->resources[w->kind].plural, "message", err->message,
              "again_in_ms", again, NULL);
  if (!w->synced && (err->kind == ERR_DENIED || err->kind == ERR_AUTH))
    w->store->callbacks.failed(w->store->callbacks.arg, err);
}

// ---- start and stop -------------------------------------------------------------------------

static int start_watch(struct store_kube *s, enum object_kind kind, const char *ns, struct err *err)
{
  struct kube_watch *w = &s->watches[s->watch_count++];
  *w = (struct kube_watch){.store = s, .kind = kind};
  struct informer_settings settings = {.resource = &s->resources[kind], .ns = ns};
  struct informer_callbacks callbacks = {.changed = on_changed,
                                         .deleted = on_deleted,
                                         .synced = on_synced,
                                         .trouble = on_trouble,
                                         .arg = w};
  return informer_start(s->informers, &settings, &callbacks, err) ? 0 : -1;
}

static void kube_store_stop(struct object_store *store)
{
  struct store_kube *s = (struct store_kube *)store;
  informers_free(TAKE(s->informers));
  free(TAKE(s->watches));
  s->watch_count = 0;
}

static int kube_store_start(struct object_store *store, struct loop *loop,
                            const struct object_events *events, struct err *err)
{
  struct store_kube *s = (struct store_kube *)store;
  size_t scopes = s->namespaces.count ? s->namespaces.count : 1;
  s->callbacks = *events;
  s->watches = calloc(scopes * OBJECT_KIND_COUNT, sizeof(*s->watches));
  s->informers = informers_new(loop, s->kube, err);
  if (!s->watches || !s->informers) {
    kube_store_stop(store);
    return err_set(err, ERR_NO_MEMORY, "no memory or threads for watches");
  }
  for (size_t n = 0; n < scopes; n++)
    for (int kind = 0; kind < OBJECT_KIND_COUNT; kind++)
      if (start_watch(s, kind, s->namespaces.count ? s->namespaces.items[n] : NULL, err) != 0) {
        kube_store_stop(store);
        return -1;
      }
  return 0;
}

// ---- reading --------------------------------------------------------------------------------

int kube_store_missing(const struct object_key *key, const struct err *why, struct err *err)
{
  if (why->kind == ERR_NOT_FOUND)
    return err_set(err, ERR_NOT_FOUND, "there is no %s '%s' in namespace '%s'",
                   object_kind_info(key->kind)->kind, key->name, key->ns);
  if (err)
    *err = *why;
  return -1;
}

static int ask_server(struct store_kube *s, const struct object_key *key, struct object **ret,
                      struct err *err)
{
  struct json_object *json cleanup_object = NULL;
  struct err why = ERR_INIT;
  if (kube_get(s->kube, &s->resources[key->kind], key->ns, key->name, &json, &why) != 0)
    return kube_store_missing(key, &why, err);
  return object_decode(json, ret, err);
}

// What is not here may have been made a moment ago: somebody applies a Provider and a VMMigration
// at once, and two watches are never at the same point.
static int kube_store_get(struct object_store *store, const struct object_key *key,
                          struct object **ret, struct err *err)
{
  struct store_kube *s = (struct store_kube *)store;
  bool no_memory;
  *ret = kube_cache_get(s->cache, key, &no_memory);
  if (*ret)
    return 0;
  if (no_memory)
    return err_set(err, ERR_NO_MEMORY, "no memory for a copy of an object");
  return ask_server(s, key, ret, err);
}

static int add_page(struct list *keys, enum object_kind kind, struct json_object *items,
                    struct err *err)
{
  for (size_t i = 0; i < json_object_array_length(items); i++) {
    struct json_object *o = json_object_array_get_idx(items, i);
    struct object_key *key = list_add(keys, sizeof(*key), SIZE_MAX);
    if (!key)
      return err_set(err, ERR_NO_MEMORY, "no memory for a list of objects");
    if (object_key_set(key, kind, object_namespace(o), object_name(o), err) != 0)
      return -1;
  }
  return 0;
}

static int list_namespace(struct store_kube *s, enum object_kind kind, const char *ns,
                          struct list *keys, struct err *err)
{
  cleanup_free char *next = NULL;
  do {
    struct kube_list_query query = {.ns = ns, .next = next};
    struct kube_page page CLEANUP(kube_page_release) = {0};
    if (kube_list(s->kube, &s->resources[kind], &query, &page, err) != 0 ||
        add_page(keys, kind, page.items, err) != 0)
      return -1;
    free(next);
    next = TAKE(page.next);
  } while (next);
  return 0;
}

static int list_by_server(struct store_kube *s, enum object_kind kind, const char *ns,
                          struct object_key **ret, size_t *ret_count, struct err *err)
{
  struct list keys = {0};
  int failed = 0;
  if (ns || !s->namespaces.count)
    failed = list_namespace(s, kind, ns, &keys, err);
  else
    for (size_t i = 0; !failed && i < s->namespaces.count; i++)
      failed = list_namespace(s, kind, s->namespaces.items[i], &keys, err);
  if (failed) {
    free(keys.items);
    return -1;
  }
  *ret = keys.items;
  *ret_count = keys.count;
  return 0;
}

static bool is_listed(struct store_kube *s, enum object_kind kind)
{
  LOCK_FOR_SCOPE(&s->mutex);
  return s->listed[kind];
}

static int kube_store_list(struct object_store *store, enum object_kind kind, const char *ns,
                           struct object_key **ret, size_t *ret_count, struct err *err)
{
  struct store_kube *s = (struct store_kube *)store;
  if (!is_listed(s, kind))
    return list_by_server(s, kind, ns, ret, ret_count, err);
  if (kube_cache_list(s->cache, kind, ns, ret, ret_count) == 0)
    return 0;
  return err_set(err, ERR_NO_MEMORY, "no memory for a list of objects");
}

static int kube_store_visit(struct object_store *store, enum object_kind kind, const char *ns,
                            const char *mention, object_visit_fn fn, void *arg, struct err *err)
{
  struct store_kube *s = (struct store_kube *)store;
  if (!is_listed(s, kind)) {
    struct object_key *keys CLEANUP(cleanup_free_) = NULL;
    size_t count = 0;
    if (kube_store_list(store, kind, ns, &keys, &count, err) != 0)
      return -1;
    store_visit_keys(store, keys, count, fn, arg);
    return 0;
  }
  if (kube_cache_each(s->cache, kind, ns, mention, fn, arg) == 0)
    return 0;
  return err_set(err, ERR_NO_MEMORY, "no memory to look through objects");
}

// ---- writing --------------------------------------------------------------------------------

static struct json_object *metadata_of(const struct object *o)
{
  struct json_object *metadata = json_object_new_object();
  object_set_string(metadata, "namespace", o->meta.ns);
  object_set_string(metadata, "name", o->meta.name);
  object_set_string(metadata, "uid", o->meta.uid);
  object_set_string(metadata, "resourceVersion", o->meta.resource_version);
  return metadata;
}

static int take_version(struct store_kube *s, struct object *o, struct json_object *answer,
                        struct err *err)
{
  char *version = str_dup(object_version(answer));
  if (!version)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  free(o->meta.resource_version);
  o->meta.resource_version = version;
  o->meta.generation = object_int(answer, "metadata", "generation", NULL);
  kube_cache_written(s->cache, o);
  return 0;
}

// Whether the server would store what it has.
static bool same_status(struct store_kube *s, const struct object *o, struct json_object *status)
{
  struct object_key key = object_key_of(o);
  bool no_memory;
  struct object *now CLEANUP(object_free_p) = kube_cache_get(s->cache, &key, &no_memory);
  if (!now || !str_eq(now->meta.resource_version, o->meta.resource_version))
    return false;
  struct json_object *before cleanup_object =
      table_encode(object_kind_info(o->kind)->status, now->status);
  return before && json_object_equal(before, status);
}

static int kube_store_put_status(struct object_store *store, struct object *o, struct err *err)
{
  struct store_kube *s = (struct store_kube *)store;
  struct json_object *body cleanup_object = json_object_new_object();
  struct json_object *answer cleanup_object = NULL;
  struct json_object *status = table_encode(object_kind_info(o->kind)->status, o->status);
  if (!status || !body)
    return err_set(err, ERR_NO_MEMORY, "no memory for a status");
  object_set_string(body, "apiVersion", CRDS_API_VERSION);
  object_set_string(body, "kind", object_kind_info(o->kind)->kind);
  json_object_object_add(body, "metadata", metadata_of(o));
  json_object_object_add(body, "status", status);
  if (same_status(s, o, status))
    return 0;
  if (kube_update_status(s->kube, &s->resources[o->kind], body, &answer, err) != 0)
    return -1;
  return take_version(s, o, answer, err);
}

// etcd answers when it has synced.
static int kube_store_settle(struct object_store *store, struct err *err)
{
  (void)store;
  (void)err;
  return 0;
}

// What of an object goes to the server when it is made: the rest is the server's to say.
static struct json_object *new_object_of(const struct object *o)
{
  static const char *const servers[] = {"uid", "resourceVersion", "generation", "creationTimestamp",
                                        "deletionTimestamp"};
  struct json_object *body = object_encode(o);
  if (!body)
    return NULL;
  json_object_object_del(body, "status");
  struct json_object *metadata = json_object_object_get(body, "metadata");
  for (size_t i = 0; i < ARRAY_SIZE(servers); i++)
    json_object_object_del(metadata, servers[i]);
  return body;
}

static int take_identity(struct object *o, struct json_object *answer, struct err *err)
{
  static const char *const names[] = {"uid", "resourceVersion", "creationTimestamp"};
  char **const fields[] = {&o->meta.uid, &o->meta.resource_version, &o->meta.creation_timestamp};
  for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
    free(*fields[i]);
    *fields[i] = str_dup(object_string(answer, "metadata", names[i], NULL));
    if (!*fields[i])
      return err_set(err, ERR_PROTOCOL, "the answer to a create has no metadata.%s", names[i]);
  }
  o->meta.generation = object_int(answer, "metadata", "generation", NULL);
  return 0;
}

static int kube_store_create(struct object_store *store, struct object *o, struct err *err)
{
  struct store_kube *s = (struct store_kube *)store;
  struct object_key key = object_key_of(o);
  struct json_object *body cleanup_object = new_object_of(o);
  struct json_object *answer cleanup_object = NULL;
  struct kube_birth *birth = body ? kube_cache_expect(s->cache, &key) : NULL;
  if (!birth)
    return err_set(err, ERR_NO_MEMORY, "no memory for an object");
  bool made = kube_create(s->kube, &s->resources[o->kind], key.ns, body, &answer, err) == 0 &&
              take_identity(o, answer, err) == 0;
  kube_cache_born(s->cache, birth, made ? o : NULL);
  return made ? 0 : -1;
}

static int kube_store_patch(struct object_store *store, const struct object_key *key,
                            struct json_object *patch, struct err *err)
{
  struct store_kube *s = (struct store_kube *)store;
  struct err why = ERR_INIT;
  if (kube_patch(s->kube, &s->resources[key->kind], key->ns, key->name, NULL, KUBE_PATCH_MERGE,
                 patch, NULL, &why) == 0)
    return 0;
  return kube_store_missing(key, &why, err);
}

static struct json_object *finalizers_with(const struct object *o, const char *finalizer,
                                           bool present)
{
  struct json_object *list = json_object_new_array();
  for (size_t i = 0; i < o->meta.finalizers.count; i++)
    if (!str_eq(o->meta.finalizers.items[i], finalizer))
      json_object_array_add(list, json_object_new_string(o->meta.finalizers.items[i]));
  if (present)
    json_object_array_add(list, json_object_new_string(finalizer));
  return list;
}

static int copy_finalizers(struct json_object *from, struct strings *to, struct err *err)
{
  strings_release(to);
  *to = (struct strings){0};
  for (size_t i = 0; i < json_object_array_length(from); i++)
    if (strings_add(to, json_object_get_string(json_object_array_get_idx(from, i))) != 0)
      return err_set(err, ERR_NO_MEMORY, "no memory");
  return 0;
}

static int kube_store_set_finalizer(struct object_store *store, struct object *o,
                                    const char *finalizer, bool present, struct err *err)
{
  struct store_kube *s = (struct store_kube *)store;
  if (object_has_finalizer(o, finalizer) == present)
    return 0;
  struct json_object *patch cleanup_object = json_object_new_object();
  struct json_object *answer cleanup_object = NULL;
  struct json_object *metadata = metadata_of(o);
  struct json_object *list = finalizers_with(o, finalizer, present);
  json_object_object_add(metadata, "finalizers", list);
  json_object_object_add(patch, "metadata", metadata);
  if (kube_patch(s->kube, &s->resources[o->kind], o->meta.ns, o->meta.name, NULL, KUBE_PATCH_MERGE,
                 patch, &answer, err) != 0 ||
      copy_finalizers(list, &o->meta.finalizers, err) != 0)
    return -1;
  return take_version(s, o, answer, err);
}

static int kube_store_put_owners(struct object_store *store, struct object *o, struct err *err)
{
  struct store_kube *s = (struct store_kube *)store;
  struct json_object *patch cleanup_object = json_object_new_object();
  struct json_object *answer cleanup_object = NULL;
  struct json_object *metadata = metadata_of(o);
  json_object_object_add(metadata, "ownerReferences", object_encode_owners(o));
  json_object_object_add(patch, "metadata", metadata);
  if (kube_patch(s->kube, &s->resources[o->kind], o->meta.ns, o->meta.name, NULL, KUBE_PATCH_MERGE,
                 patch, &answer, err) != 0)
    return -1;
  return take_version(s, o, answer, err);
}

static int kube_store_remove(struct object_store *store, const struct object *o, struct err *err)
{
  struct store_kube *s = (struct store_kube *)store;
  struct kube_preconditions how = {.uid = o->meta.uid, .propagation = "Background"};
  return kube_delete(s->kube, &s->resources[o->kind], o->meta.ns, o->meta.name, &how, err);
}

static void kube_store_event(struct object_store *store, const struct object *o, const char *type,
                             const char *reason, const char *message)
{
  struct store_kube *s = (struct store_kube *)store;
  struct event_about about = {.api_version = CRDS_API_VERSION,
                              .kind = object_kind_info(o->kind)->kind,
                              .ns = o->meta.ns,
                              .name = o->meta.name,
                              .uid = o->meta.uid,
                              .version = o->meta.resource_version};
  event_send(s->events, &about, type, reason, message);
}

// ---- life -----------------------------------------------------------------------------------

static void kube_store_free(struct object_store *store)
{
  struct store_kube *s = (struct store_kube *)store;
  kube_store_stop(store);
  events_free(s->events);
  kube_cache_free(s->cache);
  kube_free(s->own_kube);
  strings_release(&s->namespaces);
  pthread_mutex_destroy(&s->mutex);
  free(s);
}

static const struct object_store_ops kube_ops = {
    .name = "kubernetes",
    .start = kube_store_start,
    .stop = kube_store_stop,
    .get = kube_store_get,
    .list = kube_store_list,
    .visit = kube_store_visit,
    .put_status = kube_store_put_status,
    .settle = kube_store_settle,
    .create = kube_store_create,
    .patch = kube_store_patch,
    .scale = kube_store_scale,
    .set_finalizer = kube_store_set_finalizer,
    .put_owners = kube_store_put_owners,
    .remove = kube_store_remove,
    .event = kube_store_event,
    .get_secret = kube_store_get_secret,
    .get_config = kube_store_get_config,
    .each = kube_store_each,
    .events = kube_store_events,
    .remove_map = kube_store_remove_map,
    .namespace_labels = kube_store_namespace_labels,
    .installation = kube_store_installation,
    .free = kube_store_free,
};

static int fill(struct store_kube *s, const char *const *namespaces, struct err *err)
{
  char host[64] = "";
  gethostname(host, sizeof(host) - 1);
  for (int kind = 0; kind < OBJECT_KIND_COUNT; kind++) {
    const struct object_kind_info *info = object_kind_info(kind);
    s->resources[kind] = (struct kube_resource){CRDS_GROUP, CRDS_VERSION, info->plural, info->kind};
  }
  for (const char *const *ns = namespaces; ns && *ns; ns++)
    if (strings_add(&s->namespaces, *ns) != 0)
      return err_set(err, ERR_NO_MEMORY, "no memory for an object store");
  s->cache = kube_cache_new();
  if (!s->cache)
    return err_set(err, ERR_NO_MEMORY, "no memory for an object store");
  s->events = events_new(s->kube, "drover", host, err);
  return s->events ? 0 : -1;
}

int store_kube_new(struct kube *kube, const char *const *namespaces, struct object_store **ret,
                   struct err *err)
{
  struct store_kube *s = calloc(1, sizeof(*s));
  if (!s)
    return err_set(err, ERR_NO_MEMORY, "no memory for an object store");
  s->base.ops = &kube_ops;
  s->kube = kube;
  pthread_mutex_init(&s->mutex, NULL);
  struct object_store *store CLEANUP(store_free_p) = &s->base;
  if (fill(s, namespaces, err) != 0)
    return -1;
  *ret = TAKE(store);
  return 0;
}

int store_kube_open(struct kube_config *config, struct object_store **ret, struct err *err)
{
  struct kube_settings settings = {.burst = PEOPLES_BURST};
  struct kube *kube = kube_new(config, &settings, err);
  if (!kube)
    return -1;
  if (store_kube_new(kube, NULL, ret, err) != 0) {
    kube_free(kube);
    return -1;
  }
  ((struct store_kube *)*ret)->own_kube = kube;
  return 0;
}
