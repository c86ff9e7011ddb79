// SPDX-License-Identifier: Apache-2.0
#include "controller/access.h"

#include <errno.h>
#include <json-c/json.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "controller/local_path.h"
#include "providers/clone.h"

DEFINE_CLEANUP(object_free, struct object *)

// ---- who may name what ----------------------------------------------------------------------

static bool labels_match(const struct strings *wanted, const struct strings *labels)
{
  for (size_t i = 0; i + 1 < wanted->count; i += 2)
    if (!str_eq(strings_map_get(labels, wanted->items[i]), wanted->items[i + 1]))
      return false;
  return wanted->count > 0;
}

static int namespace_allowed(struct manager *m, const struct object *o,
                             const struct allowed_namespaces *rule, const char *from_ns,
                             struct err *err)
{
  const char *kind = object_kind_info(o->kind)->kind;
  if (str_eq(o->meta.ns, from_ns) || rule->from == NAMESPACES_ALL)
    return 0;
  if (rule->from == NAMESPACES_SELECTOR) {
    struct strings labels CLEANUP(strings_release) = {0};
    if (m->store->ops->namespace_labels(m->store, from_ns, &labels, err) != 0)
      return -1;
    if (labels_match(&rule->selector, &labels))
      return 0;
  }
  return err_set(err, ERR_DENIED,
                 "%s %s/%s does not allow namespace '%s'; its spec.allowedNamespaces must say so",
                 kind, o->meta.ns, o->meta.name, from_ns);
}

static int local_allowed(const struct manager *m, const char *path, const char *what,
                         struct err *err)
{
  return m->any_local ? 0 : local_path_check(&m->allow_local, path, what, err);
}

static const char *const scope_names[] = {"scope.storages", "scope.networks", "scope.vmNames"};

int scope_check(const struct provider_spec *spec, enum scope_list list, const char *name,
                struct err *err)
{
  const struct strings *globs[] = {&spec->scope.storages, &spec->scope.networks,
                                   &spec->scope.vm_names};
  const struct strings *allowed = globs[list];
  if (!name || allowed->count == 0)
    return 0;
  for (size_t i = 0; i < allowed->count; i++)
    if (str_glob(allowed->items[i], name))
      return 0;
  return err_set(err, ERR_DENIED, "'%s' is outside of the provider's spec.%s", name,
                 scope_names[list]);
}

int scope_check_machine(const struct provider_spec *spec, struct provider *p,
                        const char *name_or_id, struct err *err)
{
  struct clone_seen seen CLEANUP(clone_seen_release) = {0};
  struct err failed = ERR_INIT;
  if (spec->scope.vm_names.count == 0)
    return 0;
  if (provider_clone_get(p, name_or_id, &seen, &failed) == 0)
    return scope_check(spec, SCOPE_VM_NAMES, seen.name, err);
  if (failed.kind == ERR_NOT_FOUND)
    return 0;
  *err = failed;
  return -1;
}

// What libvirt's provider takes where neither the object nor the Provider says anything.
#define UNSAID "default"

static const char *said(const char *wish, const char *fallback)
{
  return !str_empty(wish) ? wish : !str_empty(fallback) ? fallback : UNSAID;
}

// The path of this machine that an endpoint stands for; NULL: it is on another one.
static const char *local_path_of(const struct provider_spec *spec)
{
  static const struct {
    const char *prefix, *path; // path NULL: what comes behind the prefix
  } locals[] = {{"unix://", NULL}, {"local:", NULL}, {"qemu:///", "/run/libvirt/libvirt-sock"}};
  for (size_t i = 0; i < ARRAY_SIZE(locals); i++) {
    const char *rest = str_after(spec->endpoint, locals[i].prefix);
    if (rest)
      return locals[i].path ? locals[i].path : rest;
  }
  return NULL;
}

int storage_check(struct manager *m, const struct provider_spec *spec, const char *wish,
                  struct err *err)
{
  const char *storage = said(wish, spec->defaults.storage);
  if (scope_check(spec, SCOPE_STORAGES, storage, err) != 0)
    return -1;
  // A folder on the host of the provider, and that host is this one.
  return storage[0] == '/' && local_path_of(spec) ? local_allowed(m, storage, "storage", err) : 0;
}

int network_check(const struct provider_spec *spec, const char *wish, struct err *err)
{
  return scope_check(spec, SCOPE_NETWORKS, said(wish, spec->defaults.network), err);
}

static int get_named(struct manager *m, enum object_kind kind, const char *from_ns,
                     const struct ref *ref, struct object **ret, struct err *err)
{
  const char *ns = ref->ns ? ref->ns : from_ns;
  const char *what = object_kind_info(kind)->kind;
  struct object *o CLEANUP(object_free_p) = NULL;
  struct err failed = ERR_INIT;
  if (store_get(m->store, kind, ns, ref->name, &o, &failed) != 0) {
    if (failed.kind == ERR_NOT_FOUND)
      return err_set(err, ERR_NOT_FOUND, "%s %s/%s does not exist", what, ns, ref->name);
    return err_set(err, failed.kind, "%s %s/%s: %s", what, ns, ref->name, failed.message);
  }
  if (o->invalid)
    return err_set(err, ERR_INVALID, "%s %s/%s is not valid: %s", what, ns, ref->name, o->invalid);
  // One that is being deleted waits for those who name it, and they need it to end and to clean up.
  *ret = TAKE(o);
  return 0;
}

// ---- secrets --------------------------------------------------------------------------------

static int read_secret(struct manager *m, const struct object *o, const struct name_ref *ref,
                       struct secret_map *ret, struct err *err)
{
  *ret = (struct secret_map){0};
  if (!ref)
    return 0;
  if (m->store->ops->get_secret(m->store, o->meta.ns, ref->name, ret, err) != 0)
    return err_prefix(err, "%s %s/%s: secret '%s'", object_kind_info(o->kind)->kind, o->meta.ns,
                      o->meta.name, ref->name);
  return 0;
}

static void take_secret(const struct secret_map *map, const char *key, struct secret *into)
{
  const struct secret *value = secret_map_get(map, key);
  if (value)
    secret_copy(into, value);
}

static void take_text(const struct secret_map *map, const char *key, char **into)
{
  const struct secret *value = secret_map_get(map, key);
  if (value) {
    free(*into);
    *into = str_dup(secret_reveal(value));
  }
}

static int read_tls(struct manager *m, const struct object *o, const struct tls_spec *tls,
                    char **ca_pem, char **fingerprint, bool *insecure, struct err *err)
{
  if (!tls)
    return 0;
  *insecure = tls->insecure_skip_verify;
  *fingerprint = str_dup(tls->fingerprint_sha256);
  if (tls->ca_config_map)
    return m->store->ops->get_config(m->store, o->meta.ns, tls->ca_config_map->name, "ca.crt",
                                     ca_pem, err);
  struct secret_map map CLEANUP(secret_map_release) = {0};
  if (read_secret(m, o, tls->ca_secret, &map, err) != 0)
    return -1;
  take_text(&map, "ca.crt", ca_pem);
  if (tls->ca_secret && !*ca_pem)
    return err_set(err, ERR_NOT_FOUND, "secret '%s' has no key ca.crt", tls->ca_secret->name);
  return 0;
}

// ---- providers ------------------------------------------------------------------------------

struct provider_entry {
  struct provider_entry *next;
  char *key; // namespace/name/uid of the Provider, its generation, and a digest of its secrets
  struct provider *handle;
  size_t users;
  bool stale; // a newer one has taken its place: closed when the last user is gone
};

struct provider_cache {
  pthread_mutex_t mutex;
  struct provider_entry *first;
};

struct provider_cache *provider_cache_new(void)
{
  struct provider_cache *c = calloc(1, sizeof(*c));
  if (c)
    pthread_mutex_init(&c->mutex, NULL);
  return c;
}

static void entry_free(struct provider_entry *e)
{
  provider_close(e->handle);
  free(e->key);
  free(e);
}

void provider_cache_free(struct provider_cache *c)
{
  if (!c)
    return;
  while (c->first) {
    struct provider_entry *e = c->first;
    c->first = e->next;
    entry_free(e);
  }
  pthread_mutex_destroy(&c->mutex);
  free(c);
}

// Takes out what nobody uses any more; the caller closes it outside of the lock.
static struct provider_entry *take_unused(struct provider_cache *c)
{
  for (struct provider_entry **at = &c->first; *at; at = &(*at)->next)
    if ((*at)->stale && (*at)->users == 0) {
      struct provider_entry *e = *at;
      *at = e->next;
      return e;
    }
  return NULL;
}

static void sweep(struct provider_cache *c)
{
  for (;;) {
    struct provider_entry *unused;
    {
      LOCK_FOR_SCOPE(&c->mutex);
      unused = take_unused(c);
    }
    if (!unused)
      return;
    entry_free(unused);
  }
}

// FNV-1a: tells changed secrets from unchanged ones within this process, nothing more.
static uint64_t mix(uint64_t h, const char *text)
{
  for (; text && *text; text++)
    h = (h ^ (unsigned char)*text) * 1099511628211u;
  return (h ^ 0xff) * 1099511628211u;
}

static char *entry_key(const struct object *o, const struct provider_config *c)
{
  uint64_t h = 1469598103934665603u;
  const char *texts[] = {c->endpoint,    c->ca_pem,          c->fingerprint_sha256,
                         c->known_hosts, c->username,        c->ssh_host,
                         c->ssh_user,    c->default_storage, c->default_network};
  const struct secret *secrets[] = {&c->password, &c->client_cert_pem, &c->client_key_pem,
                                    &c->ssh_key};
  for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
    h = mix(h, texts[i]);
  for (size_t i = 0; i < ARRAY_SIZE(secrets); i++)
    h = mix(h, secret_reveal(secrets[i]));
  return str_printf("%s/%s/%s/%lld/%016llx", o->meta.ns, o->meta.name, o->meta.uid,
                    (long long)o->meta.generation, (unsigned long long)h);
}

static struct provider_entry *find_entry(struct provider_cache *c, const char *key)
{
  for (struct provider_entry *e = c->first; e; e = e->next)
    if (str_eq(e->key, key) && !e->stale)
      return e;
  return NULL;
}

static void mark_older(struct provider_cache *c, const struct object *o)
{
  cleanup_free char *prefix = str_printf("%s/%s/", o->meta.ns, o->meta.name);
  for (struct provider_entry *e = c->first; e; e = e->next)
    if (prefix && str_starts(e->key, prefix))
      e->stale = true;
}

static struct provider_entry *enter(struct manager *m, const struct object *o,
                                    const struct provider_config *config, struct err *err)
{
  struct provider_cache *c = m->providers;
  cleanup_free char *key = entry_key(o, config);
  LOCK_FOR_SCOPE(&c->mutex);
  struct provider_entry *e = find_entry(c, key);
  if (!e) {
    struct provider *handle;
    if (provider_open(config, m->allowed, &handle, err) != 0)
      return NULL;
    mark_older(c, o);
    e = calloc(1, sizeof(*e));
    if (!e)
      abort();
    *e = (struct provider_entry){.next = c->first, .key = TAKE(key), .handle = handle};
    c->first = e;
  }
  e->users++;
  return e;
}

static int local_endpoint_allowed(const struct manager *m, const struct object *o, struct err *err)
{
  const struct provider_spec *spec = o->spec;
  const char *path = local_path_of(spec);
  if (path && m->far_objects && access(path, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR))
    return err_set(err, ERR_UNREACHABLE,
                   "Provider %s/%s: its endpoint %s is a path of the host that the operator runs "
                   "on, and there is no %s on this one: run the command there",
                   o->meta.ns, o->meta.name, spec->endpoint, path);
  return path ? local_allowed(m, path, "spec.endpoint", err) : 0;
}

static int read_ssh(struct manager *m, const struct object *o, struct provider_config *c,
                    struct err *err)
{
  const struct provider_spec *spec = o->spec;
  if (!spec->ssh)
    return 0;
  c->ssh_host = str_dup(spec->ssh->host);
  c->ssh_port = spec->ssh->port;
  c->ssh_user = str_dup(spec->ssh->user);
  c->insecure_host_key = spec->ssh->insecure_host_key;
  struct secret_map map CLEANUP(secret_map_release) = {0};
  if (read_secret(m, o, spec->ssh->secret, &map, err) != 0)
    return -1;
  take_secret(&map, "ssh-privatekey", &c->ssh_key);
  take_text(&map, "known_hosts", &c->known_hosts);
  return 0;
}

static int provider_config_of(struct manager *m, const struct object *o, struct provider_config *c,
                              struct err *err)
{
  const struct provider_spec *spec = o->spec;
  if (local_endpoint_allowed(m, o, err) != 0)
    return -1;
  c->type = str_dup(spec->type);
  c->endpoint = str_dup(spec->endpoint);
  c->default_storage = str_dup(spec->defaults.storage);
  c->default_network = str_dup(spec->defaults.network);
  struct secret_map map CLEANUP(secret_map_release) = {0};
  if (read_secret(m, o, spec->credentials, &map, err) != 0)
    return -1;
  take_text(&map, "username", &c->username);
  take_secret(&map, "password", &c->password);
  take_secret(&map, "tls.crt", &c->client_cert_pem);
  take_secret(&map, "tls.key", &c->client_key_pem);
  take_text(&map, "ca.crt", &c->ca_pem);
  take_secret(&map, "ssh-privatekey", &c->ssh_key);
  take_text(&map, "known_hosts", &c->known_hosts);
  if (read_ssh(m, o, c, err) != 0)
    return -1;
  return read_tls(m, o, spec->tls, &c->ca_pem, &c->fingerprint_sha256, &c->insecure_skip_verify,
                  err);
}

int provider_access_own(struct manager *m, const struct object *o, struct provider_access *ret,
                        struct err *err)
{
  struct provider_config config CLEANUP(provider_config_release) = {0};
  if (provider_config_of(m, o, &config, err) != 0)
    return -1;
  struct object *copy CLEANUP(object_free_p) = NULL;
  if (object_copy(o, &copy, err) != 0)
    return -1;
  struct provider_entry *entry = enter(m, o, &config, err);
  sweep(m->providers);
  if (!entry)
    return -1;
  *ret = (struct provider_access){TAKE(copy), entry->handle, entry};
  return 0;
}

static const char *const allow_names[] = {"Export", "Import", "DeleteSource", "Clone"};

int provider_access(struct manager *m, const char *from_ns, const struct ref *ref, int need,
                    struct provider_access *ret, struct err *err)
{
  struct object *o CLEANUP(object_free_p) = NULL;
  if (get_named(m, OBJECT_PROVIDER, from_ns, ref, &o, err) != 0)
    return -1;
  const struct provider_spec *spec = o->spec;
  if (namespace_allowed(m, o, &spec->allowed_namespaces, from_ns, err) != 0)
    return -1;
  if (need >= 0 && !strings_has(&spec->allow, allow_names[need]))
    return err_set(err, ERR_DENIED, "Provider %s/%s does not allow %s; add it to its spec.allow",
                   o->meta.ns, o->meta.name, allow_names[need]);
  if (spec->suspend)
    return err_set(err, ERR_BUSY, "Provider %s/%s is suspended", o->meta.ns, o->meta.name);
  return provider_access_own(m, o, ret, err);
}

void provider_access_release(struct manager *m, struct provider_access *a)
{
  if (a->entry) {
    LOCK_FOR_SCOPE(&m->providers->mutex);
    a->entry->users--;
  }
  object_free(a->object);
  *a = (struct provider_access){0};
}

const struct provider_spec *provider_access_spec(const struct provider_access *a)
{
  return a->object->spec;
}

// ---- stores ---------------------------------------------------------------------------------

static void config_place(const struct imagestore_spec *spec, struct storage_config *c)
{
  if (spec->s3) {
    c->type = STORAGE_S3;
    c->endpoint = str_dup(spec->s3->endpoint);
    c->bucket = str_dup(spec->s3->bucket);
    c->region = str_dup(spec->s3->region);
    c->prefix = str_dup(spec->s3->prefix);
    c->path_style = spec->s3->path_style;
  } else if (spec->http) {
    c->type = STORAGE_HTTP;
    c->endpoint = str_dup(spec->http->url);
  } else if (spec->nfs) {
    c->type = STORAGE_NFS;
    c->server = str_dup(spec->nfs->server);
    c->export_path = str_dup(spec->nfs->export_path);
    c->prefix = str_dup(spec->nfs->path);
    c->uid = spec->nfs->uid;
    c->gid = spec->nfs->gid;
    c->version = spec->nfs->version;
    c->nfs_port = spec->nfs->port;
    c->mount_port = spec->nfs->mount_port;
  } else if (spec->file) {
    c->type = STORAGE_FILE;
    c->path = str_dup(spec->file->path);
  }
  c->read_only = spec->access == STORE_READ_ONLY;
}

int store_access_own(struct manager *m, const struct object *o, struct storage_config *ret,
                     struct err *err)
{
  const struct imagestore_spec *spec = o->spec;
  struct storage_config c CLEANUP(storage_config_release) = {0};
  config_place(spec, &c);
  if (spec->file && local_allowed(m, spec->file->path, "spec.file.path", err) != 0)
    return -1;
  struct secret_map map CLEANUP(secret_map_release) = {0};
  if (read_secret(m, o, spec->credentials, &map, err) != 0)
    return -1;
  take_text(&map, "username", &c.username);
  take_secret(&map, "password", &c.password);
  take_secret(&map, "token", &c.token);
  take_secret(&map, "accessKeyID", &c.access_key_id);
  take_secret(&map, "secretAccessKey", &c.secret_access_key);
  take_secret(&map, "sessionToken", &c.session_token);
  take_text(&map, "ca.crt", &c.ca_pem);
  if (read_tls(m, o, spec->tls, &c.ca_pem, &c.fingerprint_sha256, &c.insecure_skip_verify, err) !=
      0)
    return -1;
  return storage_config_copy(&c, ret, err);
}

// A shared store keeps each namespace under its own prefix. The store's own namespace has no
// prefix, and stages below that name.
static int own_corner(struct storage_config *c, const char *ns, struct err *err)
{
  if (str_eq(ns, STAGING_FOLDER))
    return err_set(err, ERR_DENIED, "a namespace called '%s' cannot use stores of others", ns);
  char *prefix = str_empty(c->prefix) ? str_dup(ns) : str_printf("%s/%s", c->prefix, ns);
  if (!prefix)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  free(c->prefix);
  c->prefix = prefix;
  return 0;
}

int store_access(struct manager *m, const char *from_ns, const struct ref *ref, bool write,
                 struct storage_config *ret, struct err *err)
{
  struct object *o CLEANUP(object_free_p) = NULL;
  if (get_named(m, OBJECT_IMAGE_STORE, from_ns, ref, &o, err) != 0)
    return -1;
  const struct imagestore_spec *spec = o->spec;
  if (namespace_allowed(m, o, &spec->allowed_namespaces, from_ns, err) != 0)
    return -1;
  if (write && spec->access == STORE_READ_ONLY)
    return err_set(err, ERR_DENIED, "ImageStore %s/%s is read only (spec.access)", o->meta.ns,
                   o->meta.name);
  if (spec->suspend)
    return err_set(err, ERR_BUSY, "ImageStore %s/%s is suspended", o->meta.ns, o->meta.name);
  if (store_access_own(m, o, ret, err) != 0)
    return -1;
  return str_eq(o->meta.ns, from_ns) ? 0 : own_corner(ret, from_ns, err);
}
