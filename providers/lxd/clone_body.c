// SPDX-License-Identifier: Apache-2.0
// The request that makes a clone. What is not said in it the daemon takes from the source, devices
// and config alike; so what must not come along is said to be something else.
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "providers/lxd/lxd_internal.h"

struct making {
  struct lxd *l;
  const struct lxd_from *from;
  const struct clone_order *order;
  struct json_object *devices, *config; // of the request, borrowed
};

static struct json_object *device_copy(struct json_object *device)
{
  struct json_object *copy = NULL;
  return json_object_deep_copy(device, &copy, NULL) == 0 ? copy : NULL;
}

// ---- devices -----------------------------------------------------------------------------------

static int add_root(struct making *m, struct err *err)
{
  const char *name = "root";
  struct json_object *old = lxd_root_of(m->from->devices, &name);
  struct json_object *root = old ? device_copy(old) : json_object_new_object();
  if (!root)
    return lxd_no_memory(err);
  json_object_object_add(m->devices, name, root);
  lxd_put(root, "type", "disk");
  lxd_put(root, "path", "/");
  lxd_put(root, "pool", m->order->storage ? m->order->storage : m->from->pool);
  const struct clone_disk *disks = m->order->disks.items;
  if (m->order->disks.count)
    lxd_put_number(root, "size", disks[0].size_bytes);
  return 0;
}

// A managed network by its name; a bridge that the daemon only sees as a parent.
static int network_device(struct lxd *l, const char *network, struct json_object **ret,
                          struct err *err)
{
  cleanup_json struct json_object *seen = NULL;
  if (lxd_network(l, network, &seen, err) != 0)
    return -1;
  *ret = json_object_new_object();
  lxd_put(*ret, "type", "nic");
  if (lxd_true(seen, "managed")) {
    lxd_put(*ret, "network", network);
  } else {
    lxd_put(*ret, "nictype", "bridged");
    lxd_put(*ret, "parent", network);
  }
  return 0;
}

static int add_nic(struct making *m, const struct clone_nic *n, size_t i, struct err *err)
{
  const char *network = str_empty(n->network) ? m->l->default_network : n->network;
  cleanup_free char *name = str_printf("eth%zu", i);
  char mac[CLONE_MAC_BYTES];
  struct json_object *device;
  clone_mac(m->order, i, mac);
  if (!network)
    return err_set(err, ERR_INVALID, "card %zu names no network, and the provider has no default",
                   i + 1);
  if (!name || network_device(m->l, network, &device, err) != 0)
    return -1;
  json_object_object_add(m->devices, name, device);
  lxd_put(device, "name", name);
  lxd_put(device, "hwaddr", str_empty(n->mac) ? mac : n->mac);
  return 0;
}

// Those of the base: with addresses anew, or not at all where the order names its own.
static int inherit_nics(struct making *m, struct err *err)
{
  size_t i = 0;
  json_object_object_foreach(m->from->devices, name, device)
  {
    if (!lxd_is_nic(device))
      continue;
    struct json_object *mine =
        m->order->nics.count ? json_object_new_object() : device_copy(device);
    char mac[CLONE_MAC_BYTES];
    clone_mac(m->order, i++, mac);
    if (!mine)
      return lxd_no_memory(err);
    json_object_object_add(m->devices, name, mine);
    if (m->order->nics.count)
      lxd_put(mine, "type", "none");
    else
      lxd_put(mine, "hwaddr", mac);
  }
  return 0;
}

static int add_nics(struct making *m, struct err *err)
{
  const struct clone_nic *nics = m->order->nics.items;
  if (inherit_nics(m, err) != 0)
    return -1;
  for (size_t i = 0; i < m->order->nics.count; i++)
    if (add_nic(m, &nics[i], i, err) != 0)
      return -1;
  return 0;
}

// ---- config ------------------------------------------------------------------------------------

static struct json_object *texts(const struct strings *s)
{
  struct json_object *list = json_object_new_array();
  for (size_t i = 0; i < s->count; i++)
    json_object_array_add(list, json_object_new_string(s->items[i]));
  return list;
}

// JSON is YAML, as cloud-init and the daemon read it, except for the escaped slash.
static const char *text_of(struct json_object *document)
{
  return json_object_to_json_string_ext(document, JSON_C_TO_STRING_NOSLASHESCAPE);
}

static void put_document(struct making *m, const char *key, const char *head,
                         struct json_object *document)
{
  cleanup_free char *text = str_printf("%s%s\n", head, text_of(document));
  lxd_put(m->config, key, text);
  json_object_put(document);
}

// Under the user's own data, which is merged over it.
static void put_vendor_data(struct making *m)
{
  struct json_object *v = json_object_new_object();
  lxd_put(v, "hostname", m->order->hostname ? m->order->hostname : m->order->name);
  if (m->order->ssh_keys.count)
    json_object_object_add(v, "ssh_authorized_keys", texts(&m->order->ssh_keys));
  put_document(m, "cloud-init.vendor-data", "#cloud-config\n", v);
}

// Version 2, for the first card.
static void put_network_config(struct making *m)
{
  const struct clone_order *c = m->order;
  struct json_object *root = json_object_new_object(), *cards = json_object_new_object();
  struct json_object *card = json_object_new_object();
  json_object_object_add(root, "version", json_object_new_int(2));
  json_object_object_add(root, "ethernets", cards);
  json_object_object_add(cards, "eth0", card);
  json_object_object_add(card, "addresses", texts(&c->addresses));
  if (!str_empty(c->gateway)) {
    struct json_object *routes = json_object_new_array(), *route = json_object_new_object();
    lxd_put(route, "to", strchr(c->gateway, ':') ? "::/0" : "0.0.0.0/0");
    lxd_put(route, "via", c->gateway);
    json_object_array_add(routes, route);
    json_object_object_add(card, "routes", routes);
  }
  if (c->nameservers.count) {
    struct json_object *servers = json_object_new_object();
    json_object_object_add(servers, "addresses", texts(&c->nameservers));
    json_object_object_add(card, "nameservers", servers);
  }
  put_document(m, "cloud-init.network-config", "", root);
}

// The daemon calls a container by the name of the instance; another name is liblxc's to give. What
// goes into raw.lxc is obeyed on the host, as root: so it is looked at here, whoever checked it.
static int put_hostname(struct making *m, struct err *err)
{
  const char *wanted = m->order->hostname;
  if (m->from->vm || !wanted || str_eq(wanted, m->order->name))
    return 0;
  if (!lxd_host_name_ok(wanted))
    return err_set(err, ERR_INVALID, "'%.80s' is no host name", wanted);
  const char *raw = m->from->raw_lxc;
  cleanup_free char *text =
      str_printf("%s%slxc.uts.name = %s", raw ? raw : "", raw ? "\n" : "", wanted);
  lxd_put(m->config, "raw.lxc", text);
  return text ? 0 : lxd_no_memory(err);
}

static int add_config(struct making *m, struct err *err)
{
  const struct clone_order *c = m->order;
  lxd_put(m->config, LXD_CONFIG_OWNER, c->owner);
  lxd_put(m->config, LXD_CONFIG_KIND, "Clone");
  lxd_put(m->config, LXD_CONFIG_STATE, "making");
  lxd_put(m->config, LXD_CONFIG_BASE, m->from->id);
  lxd_put(m->config, LXD_CONFIG_POOL, m->from->pool);
  lxd_put(m->config, LXD_CONFIG_TAKEN, "");
  // Another clone may have been changed since it was looked at.
  const char *inside = m->from->snapshot ? lxd_config(m->from->json, LXD_CONFIG_INSIDE) : NULL;
  lxd_put(m->config, LXD_CONFIG_INSIDE, inside ? inside : "");
  lxd_put(m->config, LXD_CONFIG_GUARD, "false");
  if (c->cpus)
    lxd_put_number(m->config, "limits.cpu", c->cpus);
  if (c->memory_bytes)
    lxd_put_number(m->config, "limits.memory", c->memory_bytes);
  put_vendor_data(m);
  lxd_put(m->config, "cloud-init.user-data", c->user_data);
  if (c->addresses.count)
    put_network_config(m);
  return put_hostname(m, err);
}

static void add_source(struct json_object *body, const struct lxd_from *from)
{
  struct json_object *source = json_object_new_object();
  json_object_object_add(body, "source", source);
  lxd_put(source, "type", from->image ? "image" : "copy");
  if (from->image) {
    lxd_put(source, "fingerprint", from->id);
    return;
  }
  cleanup_free char *name =
      from->snapshot ? str_printf("%s/%s", from->id, LXD_SNAPSHOT) : str_dup(from->id);
  lxd_put(source, "source", name);
  json_object_object_add(source, "instance_only", json_object_new_boolean(true));
}

int lxd_clone_body(struct lxd *l, const struct lxd_from *from, const struct clone_order *c,
                   struct json_object **ret, struct err *err)
{
  cleanup_json struct json_object *body = json_object_new_object();
  struct making m = {l, from, c, json_object_new_object(), json_object_new_object()};
  json_object_object_add(body, "devices", m.devices);
  json_object_object_add(body, "config", m.config);
  lxd_put(body, "name", c->name);
  lxd_put(body, "type", from->vm ? "virtual-machine" : "container");
  json_object_object_add(body, "profiles", json_object_get(from->profiles));
  add_source(body, from);
  if (add_root(&m, err) != 0 || add_nics(&m, err) != 0 || add_config(&m, err) != 0)
    return -1;
  *ret = TAKE(body);
  return 0;
}
