// SPDX-License-Identifier: Apache-2.0
// Read from the server each time: Secrets are never kept, and the right to watch them all is not
// asked for.
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "controller/store_kube_internal.h"
#include "kube/file.h"
#include "kube/object.h"

static const struct kube_resource secrets = {"", "v1", "secrets", "Secret"};
static const struct kube_resource config_maps = {"", "v1", "configmaps", "ConfigMap"};
static const struct kube_resource namespaces = {"", "v1", "namespaces", "Namespace"};

static int get(struct object_store *store, const struct kube_resource *r, const char *ns,
               const char *name, struct json_object **ret, struct err *err)
{
  struct store_kube *s = (struct store_kube *)store;
  struct err why = ERR_INIT;
  if (kube_get(s->kube, r, ns, name, ret, &why) == 0)
    return 0;
  if (why.kind == ERR_NOT_FOUND && ns)
    return err_set(err, ERR_NOT_FOUND, "there is no %s '%s' in namespace '%s'", r->kind, name, ns);
  if (why.kind == ERR_NOT_FOUND)
    return err_set(err, ERR_NOT_FOUND, "there is no %s '%s'", r->kind, name);
  if (err)
    *err = why;
  return -1;
}

// json-c does not wipe what it frees.
static void wipe(struct json_object *data)
{
  if (!json_object_is_type(data, json_type_object))
    return;
  json_object_object_foreach(data, key, value)
  {
    (void)key;
    if (json_object_is_type(value, json_type_string))
      explicit_bzero((char *)(uintptr_t)json_object_get_string(value),
                     (size_t)json_object_get_string_len(value));
  }
}

static int take_items(struct json_object *data, const char *name, struct secret_map *m,
                      struct err *err)
{
  if (!json_object_is_type(data, json_type_object))
    return 0; // an empty Secret has no data
  m->items = calloc((size_t)json_object_object_length(data) + 1, sizeof(*m->items));
  if (!m->items)
    return err_set(err, ERR_NO_MEMORY, "no memory for a Secret");
  json_object_object_foreach(data, key, value)
  {
    struct secret_item *item = &m->items[m->count++];
    item->key = str_dup(key);
    if (!item->key)
      return err_set(err, ERR_NO_MEMORY, "no memory for a Secret");
    if (kube_base64_decode(json_object_get_string(value), key, &item->value, err) != 0)
      return err_prefix(err, "Secret '%s'", name);
  }
  return 0;
}

int kube_store_get_secret(struct object_store *s, const char *ns, const char *name,
                          struct secret_map *ret, struct err *err)
{
  struct json_object *o cleanup_object = NULL;
  struct secret_map m CLEANUP(secret_map_release) = {0};
  if (get(s, &secrets, ns, name, &o, err) != 0)
    return -1;
  struct json_object *data = object_at(o, "data", NULL);
  int failed = take_items(data, name, &m, err);
  wipe(data);
  if (failed)
    return -1;
  *ret = m;
  m = (struct secret_map){0};
  return 0;
}

int kube_store_get_config(struct object_store *s, const char *ns, const char *name, const char *key,
                          char **ret_value, struct err *err)
{
  struct json_object *o cleanup_object = NULL;
  if (get(s, &config_maps, ns, name, &o, err) != 0)
    return -1;
  struct json_object *value = object_at(o, "data", key, NULL);
  if (!json_object_is_type(value, json_type_string))
    return err_set(err, ERR_NOT_FOUND, "ConfigMap '%s' in namespace '%s' has no key '%s'", name, ns,
                   key);
  *ret_value = str_dup(json_object_get_string(value));
  return *ret_value ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for a ConfigMap");
}

int kube_store_remove_map(struct object_store *store, const char *kind, const char *ns,
                          const char *name, struct err *err)
{
  struct store_kube *s = (struct store_kube *)store;
  const struct kube_resource *r = str_eq(kind, secrets.kind) ? &secrets : &config_maps;
  struct err why = ERR_INIT;
  if (kube_delete(s->kube, r, ns, name, NULL, &why) == 0)
    return 0;
  if (why.kind == ERR_NOT_FOUND)
    return err_set(err, ERR_NOT_FOUND, "there is no %s '%s' in namespace '%s'", kind, name, ns);
  *err = why;
  return -1;
}

int kube_store_namespace_labels(struct object_store *s, const char *ns, struct strings *ret,
                                struct err *err)
{
  struct json_object *o cleanup_object = NULL;
  struct strings labels CLEANUP(strings_release) = {0};
  if (get(s, &namespaces, NULL, ns, &o, err) != 0)
    return -1;
  struct json_object *from = object_at(o, "metadata", "labels", NULL);
  if (json_object_is_type(from, json_type_object)) {
    json_object_object_foreach(from, key, value)
    {
      if (strings_map_set(&labels, key, json_object_get_string(value)) != 0)
        return err_set(err, ERR_NO_MEMORY, "no memory for labels");
    }
  }
  *ret = labels;
  labels = (struct strings){0};
  return 0;
}

// The uid of kube-system, which lives as long as the cluster: what others identify clusters by,
// too.
int kube_store_installation(struct object_store *store, char ret[64], struct err *err)
{
  struct store_kube *s = (struct store_kube *)store;
  {
    LOCK_FOR_SCOPE(&s->mutex);
    if (s->installation[0]) {
      memcpy(ret, s->installation, sizeof(s->installation));
      return 0;
    }
  }
  struct json_object *o cleanup_object = NULL;
  if (get(store, &namespaces, NULL, "kube-system", &o, err) != 0)
    return -1;
  const char *uid = object_uid(o);
  if (!*uid || strlen(uid) >= sizeof(s->installation))
    return err_set(err, ERR_PROTOCOL, "namespace kube-system has no usable uid");
  LOCK_FOR_SCOPE(&s->mutex);
  strcpy(s->installation, uid);
  strcpy(ret, uid);
  return 0;
}
