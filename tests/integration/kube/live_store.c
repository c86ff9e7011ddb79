// SPDX-License-Identifier: Apache-2.0
// controller/store_kube.c against a real API server: a worker thread asks and writes while the loop
// watches.
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/loop.h"
#include "base/str.h"
#include "controller/object_store.h"
#include "crds/clone.h"
#include "crds/provider.h"
#include "kube_live.h"

#define WAIT_MS 10000

static const struct kube_resource providers = {CRDS_GROUP, CRDS_VERSION, "providers", "Provider"};
static const struct kube_resource clonesets = {CRDS_GROUP, CRDS_VERSION, "clonesets", "CloneSet"};
static const struct kube_resource secrets = {"", "v1", "secrets", "Secret"};
static const struct kube_resource configmaps = {"", "v1", "configmaps", "ConfigMap"};

struct bench {
  struct kube *kube;
  struct object_store *store;
  struct loop *loop;
  pthread_mutex_t mutex; // guards what follows
  int changed, deleted, clones;
  bool synced;
};

static void on_changed(void *arg, const struct object_key *key)
{
  struct bench *b = arg;
  LOCK_FOR_SCOPE(&b->mutex);
  b->changed += key->kind == OBJECT_PROVIDER && str_eq(key->name, "p1");
  b->clones += key->kind == OBJECT_CLONE && str_eq(key->name, "web-0");
}

static void on_deleted(void *arg, const struct object_key *key)
{
  struct bench *b = arg;
  LOCK_FOR_SCOPE(&b->mutex);
  b->deleted += str_eq(key->name, "p1");
}

static void on_synced(void *arg)
{
  struct bench *b = arg;
  LOCK_FOR_SCOPE(&b->mutex);
  CHECK(!b->synced);
  b->synced = true;
}

static void on_failed(void *arg, const struct err *err)
{
  (void)arg;
  printf("failed: %s\n", err->message);
  exit(1);
}

static void wait_for(struct bench *b, int changed, int deleted)
{
  int64_t until_ms = clock_ms() + WAIT_MS;
  for (;;) {
    {
      LOCK_FOR_SCOPE(&b->mutex);
      if (b->synced && b->changed >= changed && b->deleted >= deleted)
        return;
    }
    CHECK(clock_ms() < until_ms);
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
  }
}

static struct json_object *parse(const char *text)
{
  struct json_object *o = object_parse(text, strlen(text));
  CHECK(o);
  return o;
}

static void create(struct bench *b, const struct kube_resource *r, const char *text)
{
  struct json_object *o cleanup_object = parse(text);
  MUST(kube_create(b->kube, r, "default", o, NULL, &err));
}

static const struct object_key key = {.kind = OBJECT_PROVIDER, .ns = "default", .name = "p1"};

// Just made, and perhaps not seen by the watch yet: it must be found.
static void reading(struct bench *b)
{
  struct object *o, *none;
  struct object_key absent = key;
  struct object_key *keys;
  size_t count;
  create(b, &providers,
         "{\"apiVersion\":\"drover.dev/v1alpha1\",\"kind\":\"Provider\",\"metadata\":{\"name\":"
         "\"p1\"},\"spec\":{\"type\":\"Libvirt\",\"endpoint\":\"qemu+tls://10.0.0.1/system\"}}");
  MUST(b->store->ops->get(b->store, &key, &o, &err));
  CHECK(!o->invalid && str_eq(((struct provider_spec *)o->spec)->type, "Libvirt"));
  CHECK(((struct provider_status *)o->status)->observed_generation == -1);
  object_free(o);
  strcpy(absent.name, "p2");
  MUST_FAIL(b->store->ops->get(b->store, &absent, &none, &err), ERR_NOT_FOUND, "p2");
  wait_for(b, 1, 0);
  MUST(b->store->ops->list(b->store, OBJECT_PROVIDER, NULL, &keys, &count, &err));
  CHECK(count == 1 && str_eq(keys[0].name, "p1"));
  free(keys);
  MUST(b->store->ops->list(b->store, OBJECT_PROVIDER, "kube-system", &keys, &count, &err));
  CHECK(count == 0);
  free(keys);
}

static void writing(struct bench *b)
{
  struct object *o, *stale;
  MUST(b->store->ops->get(b->store, &key, &o, &err));
  MUST(object_copy(o, &stale, &err));
  struct provider_status *status = o->status;
  free(status->version);
  status->version = str_dup("9.0");
  MUST(b->store->ops->put_status(b->store, o, &err));
  cleanup_free char *version = str_dup(o->meta.resource_version);
  CHECK(!str_eq(version, stale->meta.resource_version));
  MUST(b->store->ops->put_status(b->store, o, &err)); // the same: nothing is written
  CHECK(str_eq(version, o->meta.resource_version));
  ((struct provider_status *)stale->status)->dependents = 5;
  MUST_FAIL(b->store->ops->put_status(b->store, stale, &err), ERR_CONFLICT, "modified");
  MUST_FAIL(b->store->ops->set_finalizer(b->store, stale, CRDS_FINALIZER, true, &err), ERR_CONFLICT,
            "modified");
  MUST(b->store->ops->set_finalizer(b->store, o, CRDS_FINALIZER, true, &err));
  object_free(stale);
  // Read at once: never older than the own write.
  MUST(b->store->ops->get(b->store, &key, &stale, &err));
  CHECK(str_eq(((struct provider_status *)stale->status)->version, "9.0"));
  CHECK(object_has_finalizer(stale, CRDS_FINALIZER));
  CHECK(str_eq(stale->meta.resource_version, o->meta.resource_version));
  ((struct provider_status *)stale->status)->dependents = 7;
  MUST(b->store->ops->put_status(b->store, stale, &err));
  object_free(stale);
  object_free(o);
}

static void removing(struct bench *b)
{
  struct object *o, *none;
  MUST(b->store->ops->get(b->store, &key, &o, &err));
  b->store->ops->event(b->store, o, "Normal", "Tested", "an event about a Provider");
  free(o->meta.uid);
  o->meta.uid = str_dup("00000000-0000-0000-0000-000000000000");
  MUST_FAIL(b->store->ops->remove(b->store, o, &err), ERR_CONFLICT, "recondition");
  object_free(o);
  MUST(b->store->ops->get(b->store, &key, &o, &err));
  MUST(b->store->ops->remove(b->store, o, &err));
  object_free(o);
  int64_t until_ms = clock_ms() + WAIT_MS;
  do { // the finalizer holds it
    MUST(b->store->ops->get(b->store, &key, &o, &err));
    bool deleting = o->meta.deletion_timestamp != NULL;
    if (deleting)
      break;
    object_free(o);
    CHECK(clock_ms() < until_ms);
  } while (true);
  MUST(b->store->ops->set_finalizer(b->store, o, CRDS_FINALIZER, false, &err));
  object_free(o);
  wait_for(b, 1, 1);
  MUST_FAIL(b->store->ops->get(b->store, &key, &none, &err), ERR_NOT_FOUND, "p1");
}

// A real one: the garbage collector takes away what has an owner that is not there.
static char *make_set(struct bench *b)
{
  struct object *set;
  create(b, &clonesets,
         "{\"apiVersion\":\"drover.dev/"
         "v1alpha1\",\"kind\":\"CloneSet\",\"metadata\":{\"name\":\"web\"},"
         "\"spec\":{\"baseRef\":{\"name\":\"debian\"}}}");
  MUST(store_get(b->store, OBJECT_CLONE_SET, "default", "web", &set, &err));
  char *uid = str_dup(set->meta.uid);
  object_free(set);
  return uid;
}

static struct object *clone_of_set(const char *uid)
{
  struct object *o;
  struct json_object *json = parse(
      "{\"apiVersion\":\"drover.dev/v1alpha1\",\"kind\":\"Clone\",\"metadata\":{\"namespace\":"
      "\"default\",\"name\":\"web-0\",\"labels\":{\"drover.dev/set\":\"web\"},\"finalizers\":"
      "[\"drover.dev/cleanup\"],\"ownerReferences\":[{\"apiVersion\":\"drover.dev/v1alpha1\","
      "\"kind\":\"CloneSet\",\"name\":\"web\",\"uid\":\"of the set\","
      "\"controller\":true}]},\"spec\":{\"baseRef\":{\"name\":\"debian\"},\"memory\":\"2Gi\"}}");
  MUST(object_decode(json, &o, &err));
  json_object_put(json);
  str_set(&((struct object_owner *)o->meta.owners.items)->uid, uid);
  return o;
}

static int64_t clones_told(struct bench *b)
{
  LOCK_FOR_SCOPE(&b->mutex);
  return b->clones;
}

static void creating(struct bench *b)
{
  cleanup_free char *set = make_set(b);
  struct object *o = clone_of_set(set), *again = clone_of_set(set), *back;
  struct object_key *keys;
  size_t count;
  MUST(b->store->ops->create(b->store, o, &err));
  CHECK(o->meta.generation == 1 && strlen(o->meta.uid) == 36);
  MUST_FAIL(b->store->ops->create(b->store, again, &err), ERR_EXISTS, "web-0");
  object_free(again);
  // Here at once, whether the watch has told of it or not.
  MUST(b->store->ops->list(b->store, OBJECT_CLONE, "default", &keys, &count, &err));
  CHECK(count == 1 && str_eq(keys[0].name, "web-0"));
  free(keys);
  MUST(store_get(b->store, OBJECT_CLONE, "default", "web-0", &back, &err));
  const struct object_owner *owner = back->meta.owners.items;
  CHECK(back->meta.owners.count == 1 && owner->controller && str_eq(owner->kind, "CloneSet"));
  CHECK(str_eq(back->meta.uid, o->meta.uid) && object_has_finalizer(back, CRDS_FINALIZER));
  CHECK(((struct clone_spec *)back->spec)->t.memory_bytes == 2ll << 30);
  object_free(back);
  free(((struct clone_status *)o->status)->phase);
  ((struct clone_status *)o->status)->phase = str_dup("Pending");
  MUST(b->store->ops->put_status(b->store, o, &err));
  int64_t until_ms = clock_ms() + WAIT_MS;
  while (clones_told(b) == 0) { // the watch tells of it all the same
    CHECK(clock_ms() < until_ms);
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
  }
  MUST(b->store->ops->set_finalizer(b->store, o, CRDS_FINALIZER, false, &err));
  MUST(b->store->ops->remove(b->store, o, &err));
  object_free(o);
}

static void maps(struct bench *b)
{
  struct secret_map m;
  struct strings labels;
  char *value, id[64], again[64];
  create(b, &secrets,
         "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"s\"},\"stringData\":"
         "{\"username\":\"root\",\"password\":\"p\\u00e4ss\\n\"}}");
  create(b, &configmaps,
         "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"m\"},\"data\":"
         "{\"ca.crt\":\"CA\"}}");
  MUST(b->store->ops->get_secret(b->store, "default", "s", &m, &err));
  CHECK(m.count == 2 && str_eq(secret_reveal(secret_map_get(&m, "password")), "p\xc3\xa4ss\n"));
  CHECK(!secret_map_get(&m, "other"));
  secret_map_release(&m);
  MUST_FAIL(b->store->ops->get_secret(b->store, "default", "t", &m, &err), ERR_NOT_FOUND,
            "there is no Secret 't' in namespace 'default'");
  MUST(b->store->ops->get_config(b->store, "default", "m", "ca.crt", &value, &err));
  CHECK(str_eq(value, "CA"));
  free(value);
  MUST_FAIL(b->store->ops->get_config(b->store, "default", "m", "x", &value, &err), ERR_NOT_FOUND,
            "has no key 'x'");
  MUST(b->store->ops->namespace_labels(b->store, "default", &labels, &err));
  CHECK(str_eq(strings_map_get(&labels, "kubernetes.io/metadata.name"), "default"));
  strings_release(&labels);
  MUST_FAIL(b->store->ops->namespace_labels(b->store, "nowhere", &labels, &err), ERR_NOT_FOUND,
            "there is no Namespace 'nowhere'");
  MUST(b->store->ops->installation(b->store, id, &err));
  MUST(b->store->ops->installation(b->store, again, &err));
  CHECK(strlen(id) == 36 && str_eq(id, again));
}

static void *work(void *arg)
{
  struct bench *b = arg;
  reading(b);
  writing(b);
  removing(b);
  creating(b);
  maps(b);
  loop_stop(b->loop);
  return NULL;
}

int live_store(void)
{
  struct bench b = {.kube = live_client(), .loop = loop_new()};
  pthread_t thread;
  pthread_mutex_init(&b.mutex, NULL);
  MUST(store_kube_new(b.kube, NULL, &b.store, &err));
  struct object_events callbacks = {.changed = on_changed,
                                    .deleted = on_deleted,
                                    .synced = on_synced,
                                    .failed = on_failed,
                                    .arg = &b};
  MUST(b.store->ops->start(b.store, b.loop, &callbacks, &err));
  CHECK(pthread_create(&thread, NULL, work, &b) == 0);
  loop_run(b.loop);
  pthread_join(thread, NULL);
  b.store->ops->stop(b.store);
  store_free(b.store);
  loop_free(b.loop);
  kube_free(b.kube);
  pthread_mutex_destroy(&b.mutex);
  printf("store: all held\n");
  return 0;
}
