// SPDX-License-Identifier: Apache-2.0
// From a Clone's spec to what a provider is asked for: origin, names, identity, secrets.
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "controller/clone_internal.h"
#include "crds/clonebase.h"
#include "reconcile/identity.h"

#define HOSTNAME_MAX 63

DEFINE_CLEANUP(object_free, struct object *)

void origin_release(struct origin *o)
{
  free(o->provider.name);
  free(o->provider.ns);
  free(o->base_name);
  free(o->base);
  free(o->revision);
  free(o->source);
}

// ---- origin ---------------------------------------------------------------------------------

// What is not there yet may still come: a manifest applied in another order.
static int find(struct cloning *c, enum object_kind kind, const char *name, struct object **ret,
                struct err *err)
{
  struct err failed = ERR_INIT;
  if (store_get(c->k.m->store, kind, c->k.key.ns, name, ret, &failed) == 0)
    return 0;
  if (failed.kind != ERR_NOT_FOUND) {
    *err = failed;
    return -1;
  }
  snprintf(c->origin.why, sizeof(c->origin.why), "%s %s/%s does not exist",
           object_kind_info(kind)->kind, c->k.key.ns, name);
  return 0;
}

static void take_ref(struct ref *to, const struct ref *from, const char *ns)
{
  str_set(&to->name, from->name);
  str_set(&to->ns, from->ns ? from->ns : ns);
}

static int from_base(struct cloning *c, struct err *err)
{
  struct object *base CLEANUP(object_free_p) = NULL;
  if (find(c, OBJECT_CLONE_BASE, c->spec->base->name, &base, err) != 0)
    return -1;
  if (!base)
    return 0;
  const struct clonebase_spec *spec = base->spec;
  const struct clonebase_status *st = base->status;
  take_ref(&c->origin.provider, &spec->provider, base->meta.ns);
  c->origin.base_name = str_dup(base->meta.name);
  c->origin.base = str_dup(st->id);
  c->origin.revision = str_dup(st->revision);
  const struct condition *ready = condition_find(&st->conditions, "Ready");
  bool is_ready = ready && ready->status == CONDITION_TRUE;
  c->origin.ready = is_ready && st->id && !base->meta.deletion_timestamp;
  snprintf(c->origin.why, sizeof(c->origin.why), "CloneBase %s/%s is not ready: %.500s",
           base->meta.ns, base->meta.name,
           base->meta.deletion_timestamp ? "it is being deleted"
           : ready && ready->message     ? ready->message
                                         : "not looked at yet");
  return 0;
}

// "NS/NAME" as memory.provider keeps it.
static void take_provider(struct ref *to, const char *text)
{
  const char *slash = text ? strchr(text, '/') : NULL;
  if (!slash)
    return;
  free(to->ns);
  to->ns = strndup(text, (size_t)(slash - text));
  str_set(&to->name, slash + 1);
}

static int from_clone(struct cloning *c, struct err *err)
{
  struct object *other CLEANUP(object_free_p) = NULL;
  if (find(c, OBJECT_CLONE, c->spec->source->name, &other, err) != 0)
    return -1;
  if (!other)
    return 0;
  const struct clone_status *st = other->status;
  take_provider(&c->origin.provider, st->memory.provider);
  c->origin.source = str_dup(st->id);
  c->origin.ready = st->memory.made && st->id && !other->meta.deletion_timestamp;
  snprintf(c->origin.why, sizeof(c->origin.why), "Clone %s/%s cannot be cloned from: it is %s",
           other->meta.ns, other->meta.name,
           other->meta.deletion_timestamp ? "being deleted" : "not made yet");
  return 0;
}

int cloning_resolve(struct cloning *c, struct err *err)
{
  if (c->st->memory.provider) // it was begun there, whatever has become of the origin
    take_provider(&c->origin.provider, c->st->memory.provider);
  if (c->spec->base)
    return from_base(c, err);
  if (c->spec->source)
    return from_clone(c, err);
  take_ref(&c->origin.provider, &c->spec->vm->provider, c->k.key.ns);
  c->origin.source = str_dup(c->spec->vm->name);
  c->origin.ready = true;
  return 0;
}

int cloning_provider(struct cloning *c, struct provider **ret, struct err *err)
{
  if (!c->k.access.handle) {
    if (!c->origin.provider.name)
      return err_set(err, ERR_NOT_FOUND, "%s", c->origin.why);
    if (provider_access(c->k.m, c->k.key.ns, &c->origin.provider, PROVIDER_CLONE, &c->k.access,
                        err) != 0)
      return -1;
  }
  *ret = c->k.access.handle;
  return 0;
}

// ---- order ----------------------------------------------------------------------------------

static int add_lines(struct strings *to, const char *text, struct err *err)
{
  cleanup_free char *copy = str_dup(text);
  char *rest = copy;
  for (char *line; (line = strsep(&rest, "\r\n"));) {
    if (!*line || *line == '#')
      continue;
    if (to->count >= CLONE_SSH_KEYS_MAX)
      return err_set(err, ERR_LIMIT, "more than %d SSH keys", CLONE_SSH_KEYS_MAX);
    strings_add(to, line);
  }
  return 0;
}

static int read_keys(struct cloning *c, struct strings *ret, struct err *err)
{
  struct secret_map map CLEANUP(secret_map_release) = {0};
  const struct name_ref *ref = c->spec->t.ssh_keys;
  if (!ref)
    return 0;
  if (c->k.m->store->ops->get_secret(c->k.m->store, c->k.key.ns, ref->name, &map, err) != 0)
    return err_prefix(err, "sshKeysSecretRef: secret '%s'", ref->name);
  for (size_t i = 0; i < map.count; i++)
    if (add_lines(ret, secret_reveal(&map.items[i].value), err) != 0)
      return err_prefix(err, "sshKeysSecretRef: secret '%s'", ref->name);
  if (ret->count)
    return 0;
  return err_set(err, ERR_INVALID, "sshKeysSecretRef: secret '%s' holds no key", ref->name);
}

static int read_user_data(struct cloning *c, char **ret, struct err *err)
{
  struct secret_map map CLEANUP(secret_map_release) = {0};
  const struct name_ref *ref = c->spec->t.user_data;
  if (!ref)
    return 0;
  if (c->k.m->store->ops->get_secret(c->k.m->store, c->k.key.ns, ref->name, &map, err) != 0)
    return err_prefix(err, "userDataSecretRef: secret '%s'", ref->name);
  const struct secret *data = secret_map_get(&map, "userdata");
  if (!data)
    return err_set(err, ERR_NOT_FOUND, "userDataSecretRef: secret '%s' has no key userdata",
                   ref->name);
  *ret = str_dup(secret_reveal(data));
  return 0;
}

static void add_hardware(const struct clone_template *t, struct clone_order *to)
{
  const struct clone_disk_spec *disks = t->disks.items;
  const struct clone_network_spec *networks = t->networks.items;
  to->mode = t->clone_mode;
  to->storage = str_dup(t->storage);
  to->cpus = t->cpus;
  to->memory_bytes = t->memory_bytes;
  for (size_t i = 0; i < t->disks.count; i++) {
    struct clone_disk *d = list_add(&to->disks, sizeof(*d), t->disks.count);
    if (d)
      *d = (struct clone_disk){str_dup(disks[i].name), disks[i].size_bytes};
  }
  for (size_t i = 0; i < t->networks.count; i++) {
    struct clone_nic *n = list_add(&to->nics, sizeof(*n), t->networks.count);
    if (n)
      *n = (struct clone_nic){str_dup(networks[i].network), str_dup(networks[i].mac)};
  }
}

// A card without a MAC gets one that no other clone has.
static void add_identity(const struct cloning *c, struct clone_order *to)
{
  struct identity id;
  char hostname[HOSTNAME_MAX + 1];
  const char *uid = c->k.o->meta.uid;
  identity_of(uid, &id);
  to->machine_id = str_dup(id.machine_id);
  struct clone_nic *nics = to->nics.items;
  for (size_t i = 0; i < to->nics.count; i++) {
    char mac[18];
    if (nics[i].mac)
      continue;
    identity_mac(uid, (unsigned)i, mac);
    nics[i].mac = str_dup(mac);
  }
  const char *wish = c->spec->t.hostname ? c->spec->t.hostname : c->k.o->meta.name;
  snprintf(hostname, sizeof(hostname), "%s", wish);
  to->hostname = str_dup(hostname);
}

int cloning_order(struct cloning *c, struct clone_order *ret, struct err *err)
{
  struct clone_order o = {
      .name = c->spec->id ? str_dup(c->spec->id) : keeping_far_name(c->k.o),
      .uid = str_dup(c->k.o->meta.uid),
      .owner = str_dup(c->k.owner),
      .base = str_dup(c->origin.base),
      .base_revision = str_dup(c->origin.revision),
      .source = str_dup(c->origin.source),
  };
  const struct clone_addresses *a = c->spec->t.addresses;
  add_hardware(&c->spec->t, &o);
  add_identity(c, &o);
  if (a) {
    strings_copy(&o.addresses, &a->addresses);
    strings_copy(&o.nameservers, &a->nameservers);
    o.gateway = str_dup(a->gateway);
  }
  if (read_keys(c, &o.ssh_keys, err) == 0 && read_user_data(c, &o.user_data, err) == 0) {
    *ret = o;
    return 0;
  }
  table_release(&clone_order_table, &o);
  return -1;
}
