// SPDX-License-Identifier: Apache-2.0
#include "controller/kube_cache.h"

#include <json-c/linkhash.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"

struct entry {
  struct squeezed *object;
  bool announced; // by the watch; else it is here by our own create
  char key[];     // "namespace/name"
};

struct kube_birth {
  struct kube_birth *next;
  struct object_key key;
  struct strings gone; // uids of this name that the watch has told to be gone meanwhile
};

struct kube_cache {
  pthread_mutex_t mutex; // guards what follows
  struct lh_table *tables[OBJECT_KIND_COUNT];
  struct kube_birth *births;
};

static void free_entry(struct lh_entry *e)
{
  struct entry *entry = lh_entry_v(e);
  free(entry->object);
  free(entry);
}

struct kube_cache *kube_cache_new(void)
{
  struct kube_cache *c = calloc(1, sizeof(*c));
  if (!c)
    return NULL;
  pthread_mutex_init(&c->mutex, NULL);
  for (int kind = 0; kind < OBJECT_KIND_COUNT; kind++)
    if (!(c->tables[kind] = lh_kchar_table_new(64, free_entry))) {
      kube_cache_free(c);
      return NULL;
    }
  return c;
}

void kube_cache_free(struct kube_cache *c)
{
  if (!c)
    return;
  for (int kind = 0; kind < OBJECT_KIND_COUNT; kind++)
    if (c->tables[kind])
      lh_table_free(c->tables[kind]);
  pthread_mutex_destroy(&c->mutex);
  free(c);
}

#define KEY_TEXT_MAX 320

static const char *key_text(const char *ns, const char *name, char b[KEY_TEXT_MAX])
{
  snprintf(b, KEY_TEXT_MAX, "%s/%s", ns ? ns : "", name);
  return b;
}

static struct lh_entry *find(struct kube_cache *c, enum object_kind kind, const char *ns,
                             const char *name)
{
  char text[KEY_TEXT_MAX];
  return lh_table_lookup_entry(c->tables[kind], key_text(ns, name, text));
}

// To be freed by free(), and of no use once the entry has changed. NULL: there is none, or no
// memory.
static struct object *look_at(struct lh_entry *e)
{
  struct object *o = NULL;
  if (e && object_unsqueeze(((struct entry *)lh_entry_v(e))->object, &o, NULL) != 0)
    return NULL;
  return o;
}

// Versions of one object can be compared as numbers: they are etcd's revisions, and since
// Kubernetes 1.35 that is promised. What is no number counts as newer.
static bool is_newer(const struct object *a, const struct object *b)
{
  int64_t left, right;
  if (!str_int64(a->meta.resource_version, &left) || !str_int64(b->meta.resource_version, &right))
    return !str_eq(a->meta.resource_version, b->meta.resource_version);
  return left > right;
}

// Takes what is squeezed over when it says true.
static bool insert(struct kube_cache *c, const struct object *o, struct squeezed *squeezed,
                   bool announced)
{
  char text[KEY_TEXT_MAX];
  key_text(o->meta.ns, o->meta.name, text);
  struct entry *e = calloc(1, sizeof(*e) + strlen(text) + 1);
  if (!e)
    return false;
  e->object = squeezed;
  e->announced = announced;
  strcpy(e->key, text);
  if (lh_table_insert(c->tables[o->kind], e->key, e) == 0)
    return true;
  free(e);
  return false;
}

// What is at hand is never older than our own write, or what the watch has told: without memory
// reads ask the server.
static void replace(struct kube_cache *c, enum object_kind kind, struct lh_entry *entry,
                    struct squeezed *squeezed)
{
  struct entry *at = lh_entry_v(entry);
  if (!squeezed) {
    lh_table_delete_entry(c->tables[kind], entry);
    return;
  }
  free(at->object);
  at->object = squeezed;
}

static struct squeezed *squeeze(const struct object *o)
{
  struct squeezed *squeezed;
  return object_squeeze(o, &squeezed, NULL) == 0 ? squeezed : NULL;
}

bool kube_cache_put(struct kube_cache *c, const struct object *o)
{
  struct squeezed *squeezed CLEANUP(cleanup_free_) = squeeze(o);
  LOCK_FOR_SCOPE(&c->mutex);
  struct lh_entry *entry = find(c, o->kind, o->meta.ns, o->meta.name);
  struct entry *at = entry ? lh_entry_v(entry) : NULL;
  struct object *old CLEANUP(cleanup_free_) = look_at(entry);
  bool news = !at || !at->announced;
  if (at)
    at->announced = true;
  if (old && str_eq(old->meta.uid, o->meta.uid) && !is_newer(o, old))
    return news;
  if (at)
    replace(c, o->kind, entry, TAKE(squeezed));
  else if (squeezed && insert(c, o, squeezed, true))
    squeezed = NULL;
  return true;
}

void kube_cache_written(struct kube_cache *c, const struct object *o)
{
  struct squeezed *squeezed CLEANUP(cleanup_free_) = squeeze(o);
  LOCK_FOR_SCOPE(&c->mutex);
  struct lh_entry *entry = find(c, o->kind, o->meta.ns, o->meta.name);
  struct object *old CLEANUP(cleanup_free_) = look_at(entry);
  if (old && str_eq(old->meta.uid, o->meta.uid) && is_newer(o, old))
    replace(c, o->kind, entry, TAKE(squeezed));
}

struct kube_birth *kube_cache_expect(struct kube_cache *c, const struct object_key *key)
{
  struct kube_birth *b = calloc(1, sizeof(*b));
  if (!b)
    return NULL;
  b->key = *key;
  LOCK_FOR_SCOPE(&c->mutex);
  b->next = c->births;
  c->births = b;
  return b;
}

static void unlink_birth(struct kube_cache *c, const struct kube_birth *b)
{
  struct kube_birth **at = &c->births;
  while (*at != b)
    at = &(*at)->next;
  *at = b->next;
}

static bool same_key(const struct object_key *a, const struct object_key *b)
{
  return a->kind == b->kind && str_eq(a->ns, b->ns) && str_eq(a->name, b->name);
}

// One of another uid had the name before: the server has let go of it, whatever the watch says yet.
// Takes what is squeezed over, or frees it.
static void put_born(struct kube_cache *c, const struct object *o, struct squeezed *squeezed)
{
  struct lh_entry *entry = find(c, o->kind, o->meta.ns, o->meta.name);
  struct object *old CLEANUP(cleanup_free_) = look_at(entry);
  if (entry && !(old && str_eq(old->meta.uid, o->meta.uid))) {
    ((struct entry *)lh_entry_v(entry))->announced = false;
    replace(c, o->kind, entry, squeezed);
  } else if (entry || !insert(c, o, squeezed, false)) {
    free(squeezed);
  }
}

void kube_cache_born(struct kube_cache *c, struct kube_birth *b, const struct object *o)
{
  if (!b)
    return;
  // Without memory reads ask the server until the watch has told.
  struct squeezed *squeezed CLEANUP(cleanup_free_) = o ? squeeze(o) : NULL;
  LOCK_FOR_SCOPE(&c->mutex);
  unlink_birth(c, b);
  if (squeezed && !strings_has(&b->gone, o->meta.uid))
    put_born(c, o, TAKE(squeezed));
  strings_release(&b->gone);
  free(b);
}

void kube_cache_remove(struct kube_cache *c, const struct object_key *key, const char *uid)
{
  LOCK_FOR_SCOPE(&c->mutex);
  for (struct kube_birth *b = c->births; b; b = b->next)
    if (same_key(&b->key, key))
      strings_add(&b->gone, uid);
  struct lh_entry *entry = find(c, key->kind, key->ns, key->name);
  struct object *old CLEANUP(cleanup_free_) = look_at(entry);
  if (entry && (!old || str_eq(old->meta.uid, uid)))
    lh_table_delete_entry(c->tables[key->kind], entry);
}

struct object *kube_cache_get(struct kube_cache *c, const struct object_key *key,
                              bool *ret_no_memory)
{
  struct object *copy = NULL;
  LOCK_FOR_SCOPE(&c->mutex);
  struct lh_entry *entry = find(c, key->kind, key->ns, key->name);
  struct object *o CLEANUP(cleanup_free_) = look_at(entry);
  *ret_no_memory = entry && (!o || object_copy(o, &copy, NULL) != 0);
  return copy;
}

// Keys begin with the namespace.
static bool is_in(const struct entry *e, const char *ns)
{
  size_t length = ns ? strlen(ns) : 0;
  return !ns || (strncmp(e->key, ns, length) == 0 && e->key[length] == '/');
}

int kube_cache_list(struct kube_cache *c, enum object_kind kind, const char *ns,
                    struct object_key **ret, size_t *ret_count)
{
  LOCK_FOR_SCOPE(&c->mutex);
  size_t count = (size_t)lh_table_length(c->tables[kind]);
  struct object_key *keys = calloc(count + 1, sizeof(*keys));
  struct lh_entry *entry;
  if (!keys)
    return -1;
  *ret_count = 0;
  lh_foreach(c->tables[kind], entry)
  {
    const struct entry *e = lh_entry_v(entry);
    const char *name = strchr(e->key, '/') + 1;
    struct object_key *key = &keys[*ret_count];
    if (!is_in(e, ns))
      continue;
    *key = (struct object_key){.kind = kind};
    snprintf(key->ns, sizeof(key->ns), "%.*s", (int)(name - 1 - e->key), e->key);
    snprintf(key->name, sizeof(key->name), "%s", name);
    ++*ret_count;
  }
  *ret = keys;
  return 0;
}

int kube_cache_each(struct kube_cache *c, enum object_kind kind, const char *ns,
                    const char *mention, object_visit_fn fn, void *arg)
{
  LOCK_FOR_SCOPE(&c->mutex);
  struct lh_entry *entry;
  lh_foreach(c->tables[kind], entry)
  {
    const struct entry *e = lh_entry_v(entry);
    if (!is_in(e, ns) || (mention && !squeezed_mentions(e->object, mention)))
      continue;
    struct object *o CLEANUP(cleanup_free_) = look_at(entry);
    if (!o)
      return -1;
    fn(arg, o);
  }
  return 0;
}
