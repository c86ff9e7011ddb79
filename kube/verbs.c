// SPDX-License-Identifier: Apache-2.0
// The calls of kube/client.h that have a name, each one kube_perform().
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "kube/client.h"
#include "kube/object.h"
#include "kube/status.h"

#define QUERY_MAX     6000
#define MANAGER_QUERY "fieldManager=" KUBE_FIELD_MANAGER

int kube_get(struct kube *k, const struct kube_resource *r, const char *ns, const char *name,
             struct json_object **ret, struct err *err)
{
  struct kube_call call = {.method = "GET", .resource = r, .ns = ns, .name = name};
  if (str_empty(name)) // would be a list
    return err_set(err, ERR_INTERNAL, "get of %s without a name", r->plural);
  struct json_object *object;
  if (kube_perform(k, &call, &object, NULL, err) != 0)
    return -1;
  object_drop_managed_fields(object);
  *ret = object;
  return 0;
}

// ---- lists ----------------------------------------------------------------------------------

static void add_query(struct buf *b, const char *name, const char *value)
{
  if (str_empty(value))
    return;
  buf_printf(b, "%s%s=", b->length ? "&" : "", name);
  buf_add_escaped(b, value, "");
}

// The items of an answer that begins where `next` says; the rest of the answer is thrown away.
static int take_page(struct json_object *list, const char *what, struct kube_page *ret,
                     struct err *err)
{
  struct json_object *items = object_at(list, "items", NULL);
  const char *next = object_string(list, "metadata", "continue", NULL);
  const char *version = object_string(list, "metadata", "resourceVersion", NULL);
  if (items && !json_object_is_type(items, json_type_array))
    return err_set(err, ERR_PROTOCOL, "list of %s: items is no array", what);
  for (size_t i = 0; items && i < json_object_array_length(items); i++)
    object_drop_managed_fields(json_object_array_get_idx(items, i));
  ret->items = items ? json_object_get(items) : json_object_new_array();
  ret->version = str_dup(version);
  ret->next = *next ? str_dup(next) : NULL;
  return 0;
}

int kube_list(struct kube *k, const struct kube_resource *r, const struct kube_list_query *q,
              struct kube_page *ret, struct err *err)
{
  struct buf query CLEANUP(buf_release) = BUF_INIT(QUERY_MAX);
  *ret = (struct kube_page){0};
  buf_printf(&query, "limit=%d", q->limit ? q->limit : KUBE_PAGE);
  add_query(&query, "labelSelector", q->label_selector);
  add_query(&query, "fieldSelector", q->field_selector);
  add_query(&query, "continue", q->next);
  if (!q->next) // the token holds the version
    add_query(&query, "resourceVersion", q->version);
  if (!buf_ok(&query))
    return err_set(err, ERR_LIMIT, "list of %s: selectors are too long", r->plural);
  struct kube_call call = {
      .method = "GET", .resource = r, .ns = q->ns, .query = buf_str(&query), .cancel = q->cancel};
  struct json_object *list cleanup_object = NULL;
  long status;
  if (kube_perform(k, &call, &list, &status, err) != 0) {
    ret->expired = status == 410;
    return -1;
  }
  return take_page(list, r->plural, ret, err);
}

void kube_page_release(struct kube_page *p)
{
  json_object_put(p->items);
  free(p->version);
  free(p->next);
  *p = (struct kube_page){0};
}

// ---- writes ---------------------------------------------------------------------------------

int kube_create(struct kube *k, const struct kube_resource *r, const char *ns,
                struct json_object *object, struct json_object **ret, struct err *err)
{
  struct kube_call call = {
      .method = "POST", .resource = r, .ns = ns, .query = MANAGER_QUERY, .body = object};
  return kube_perform(k, &call, ret, NULL, err);
}

static int put(struct kube *k, const struct kube_resource *r, const char *subresource,
               struct json_object *object, struct json_object **ret, struct err *err)
{
  struct kube_call call = {.method = "PUT",
                           .resource = r,
                           .ns = object_namespace(object),
                           .name = object_name(object),
                           .subresource = subresource,
                           .query = MANAGER_QUERY,
                           .body = object};
  if (str_empty(call.name))
    return err_set(err, ERR_INTERNAL, "update of %s without a name", r->plural);
  return kube_perform(k, &call, ret, NULL, err);
}

int kube_update(struct kube *k, const struct kube_resource *r, struct json_object *object,
                struct json_object **ret, struct err *err)
{
  return put(k, r, NULL, object, ret, err);
}

int kube_update_status(struct kube *k, const struct kube_resource *r, struct json_object *object,
                       struct json_object **ret, struct err *err)
{
  if (!*object_version(object))
    return err_set(err, ERR_INTERNAL, "status of %s %s/%s without a resourceVersion", r->plural,
                   object_namespace(object), object_name(object));
  return put(k, r, "status", object, ret, err);
}

static const struct {
  const char *content_type, *query;
} patch_types[] = {
    [KUBE_PATCH_MERGE] = {"application/merge-patch+json", MANAGER_QUERY},
    [KUBE_PATCH_JSON] = {"application/json-patch+json", MANAGER_QUERY},
    [KUBE_PATCH_APPLY] = {"application/apply-patch+yaml", MANAGER_QUERY},
    [KUBE_PATCH_APPLY_FORCE] = {"application/apply-patch+yaml", MANAGER_QUERY "&force=true"},
};

int kube_patch(struct kube *k, const struct kube_resource *r, const char *ns, const char *name,
               const char *subresource, enum kube_patch_type type, struct json_object *patch,
               struct json_object **ret, struct err *err)
{
  struct kube_call call = {.method = "PATCH",
                           .resource = r,
                           .ns = ns,
                           .name = name,
                           .subresource = subresource,
                           .query = patch_types[type].query,
                           .content_type = patch_types[type].content_type,
                           .body = patch};
  if (str_empty(name))
    return err_set(err, ERR_INTERNAL, "patch of %s without a name", r->plural);
  return kube_perform(k, &call, ret, NULL, err);
}

static struct json_object *delete_options(const struct kube_preconditions *how)
{
  struct json_object *options = json_object_new_object();
  object_set_string(options, "kind", "DeleteOptions");
  object_set_string(options, "apiVersion", "v1");
  object_set_string(options, "propagationPolicy", how->propagation);
  if (how->uid || how->version) {
    struct json_object *conditions = json_object_new_object();
    object_set_string(conditions, "uid", how->uid);
    object_set_string(conditions, "resourceVersion", how->version);
    json_object_object_add(options, "preconditions", conditions);
  }
  return options;
}

int kube_delete(struct kube *k, const struct kube_resource *r, const char *ns, const char *name,
                const struct kube_preconditions *how, struct err *err)
{
  struct json_object *options cleanup_object = how ? delete_options(how) : NULL;
  struct kube_call call = {
      .method = "DELETE", .resource = r, .ns = ns, .name = name, .body = options};
  if (str_empty(name)) // would delete the whole collection
    return err_set(err, ERR_INTERNAL, "delete of %s without a name", r->plural);
  return kube_perform(k, &call, NULL, NULL, err);
}

// ---- discovery ------------------------------------------------------------------------------

static bool lists(struct json_object *resources, const char *name)
{
  size_t count =
      json_object_is_type(resources, json_type_array) ? json_object_array_length(resources) : 0;
  for (size_t i = 0; i < count; i++)
    if (str_eq(object_string(json_object_array_get_idx(resources, i), "name", NULL), name))
      return true;
  return false;
}

static int check_one(const struct kube_wanted *w, struct json_object *resources, const char *hint,
                     struct err *err)
{
  const struct kube_resource *r = w->resource;
  cleanup_free char *status = str_printf("%s/status", r->plural);
  bool there = lists(resources, r->plural);
  if (there && (!w->status || lists(resources, status)))
    return 0;
  return err_set(err, ERR_NOT_FOUND, "the cluster does not serve %s%s in %s%s%s: %s", r->plural,
                 there ? "/status" : "", r->group, *r->group ? "/" : "", r->version, hint);
}

int kube_check_served(struct kube *k, const struct kube_wanted *wanted, size_t count,
                      const char *hint, struct err *err)
{
  for (size_t i = 0; i < count; i++) {
    const struct kube_resource *r = wanted[i].resource;
    cleanup_free char *path = *r->group ? str_printf("/apis/%s/%s", r->group, r->version)
                                        : str_printf("/api/%s", r->version);
    struct kube_call call = {.method = "GET", .raw_path = path};
    struct json_object *list cleanup_object = NULL;
    long status;
    if (kube_perform(k, &call, &list, &status, err) != 0 && status != 404)
      return -1;
    if (check_one(&wanted[i], object_at(list, "resources", NULL), hint, err) != 0)
      return -1;
  }
  return 0;
}

int kube_server_version(struct kube *k, char ret[64], struct err *err)
{
  struct kube_call call = {.method = "GET", .raw_path = "/version"};
  struct json_object *version cleanup_object = NULL;
  if (kube_perform(k, &call, &version, NULL, err) != 0)
    return -1;
  snprintf(ret, 64, "%s", object_string(version, "gitVersion", NULL));
  return 0;
}
