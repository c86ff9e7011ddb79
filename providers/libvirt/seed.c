// SPDX-License-Identifier: Apache-2.0
// What cloud-init is told (https://docs.cloud-init.io, NoCloud and network config version 2). Its
// files are YAML, of which JSON is a part.
#include "providers/libvirt/derive_internal.h"

#include <json-c/json.h>
#include <string.h>

#include "base/str.h"

static struct json_object *text(const char *s)
{
  return json_object_new_string(s);
}

static struct json_object *texts(const struct strings *s)
{
  struct json_object *list = json_object_new_array();
  for (size_t i = 0; i < s->count; i++)
    json_object_array_add(list, text(s->items[i]));
  return list;
}

static char *printed(struct json_object *json)
{
  const char *s = json_object_to_json_string_ext(json, JSON_C_TO_STRING_PRETTY |
                                                           JSON_C_TO_STRING_NOSLASHESCAPE);
  char *copy = s ? str_printf("%s\n", s) : NULL;
  json_object_put(json);
  return copy;
}

bool seed_wanted(const struct clone_order *c)
{
  return c->hostname || c->addresses.count || c->ssh_keys.count || c->nameservers.count ||
         c->user_data;
}

// A new instance-id makes cloud-init run anew, with new host keys for ssh.
static char *meta_data(const struct clone_order *c)
{
  struct json_object *o = json_object_new_object();
  json_object_object_add(o, "instance-id", text(c->machine_id));
  if (c->hostname)
    json_object_object_add(o, "local-hostname", text(c->hostname));
  if (c->ssh_keys.count)
    json_object_object_add(o, "public-keys", texts(&c->ssh_keys));
  return printed(o);
}

// A base that ran has a machine-id, which all its clones would share. systemd takes the machine's
// UUID as such by itself only where /etc/machine-id is empty.
static char *vendor_data(const struct clone_order *c)
{
  struct json_object *o = json_object_new_object(), *commands = json_object_new_array();
  struct json_object *words = json_object_new_array();
  static const char script[] = "[ \"$(cat /etc/machine-id)\" = \"$1\" ] || echo \"$1\" > "
                               "/etc/machine-id";
  const char *all[] = {"cloud-init-per", "instance", "drover-machine-id", "sh", "-c",
                       script,           "drover",   c->machine_id};
  for (size_t i = 0; i < ARRAY_SIZE(all); i++)
    json_object_array_add(words, text(all[i]));
  json_object_array_add(commands, words);
  json_object_object_add(o, "bootcmd", commands);
  cleanup_free char *json = printed(o);
  return json ? str_printf("#cloud-config\n%s", json) : NULL;
}

static struct json_object *card(const struct clone_order *c, size_t i, const char *mac)
{
  struct json_object *o = json_object_new_object(), *match = json_object_new_object();
  json_object_object_add(match, "macaddress", text(mac));
  json_object_object_add(o, "match", match);
  if (i > 0 || c->addresses.count == 0) {
    json_object_object_add(o, "dhcp4", json_object_new_boolean(1));
  } else {
    json_object_object_add(o, "dhcp4", json_object_new_boolean(0));
    json_object_object_add(o, "addresses", texts(&c->addresses));
  }
  if (i == 0 && c->gateway) {
    struct json_object *routes = json_object_new_array(), *route = json_object_new_object();
    json_object_object_add(route, "to", text(strchr(c->gateway, ':') ? "::/0" : "0.0.0.0/0"));
    json_object_object_add(route, "via", text(c->gateway));
    json_object_array_add(routes, route);
    json_object_object_add(o, "routes", routes);
  }
  if (i == 0 && c->nameservers.count) {
    struct json_object *servers = json_object_new_object();
    json_object_object_add(servers, "addresses", texts(&c->nameservers));
    json_object_object_add(o, "nameservers", servers);
  }
  return o;
}

static int network_config(const struct clone_order *c, size_t nic_count, char **ret,
                          struct err *err)
{
  if (c->addresses.count == 0 && c->nameservers.count == 0)
    return 0; // what the image does by itself
  struct json_object *o = json_object_new_object(), *cards = json_object_new_object();
  json_object_object_add(o, "version", json_object_new_int(2));
  json_object_object_add(o, "ethernets", cards);
  int failed = 0;
  for (size_t i = 0; i < nic_count && !failed; i++) {
    char mac[BUILD_MAC_BYTES];
    cleanup_free char *name = str_printf("nic%zu", i);
    failed = derive_mac(c, i, mac, err);
    if (!failed && name)
      json_object_object_add(cards, name, card(c, i, mac));
  }
  *ret = printed(o);
  return failed;
}

int seed_bytes(const struct clone_order *c, size_t nic_count, struct buf *ret, struct err *err)
{
  cleanup_free char *meta = meta_data(c), *vendor = vendor_data(c), *network = NULL;
  if (network_config(c, nic_count, &network, err) != 0)
    return -1;
  struct seed_file files[4] = {{"meta-data", meta},
                               {"user-data", c->user_data ? c->user_data : "#cloud-config\n{}\n"},
                               {"vendor-data", vendor},
                               {"network-config", network}};
  if (!meta || !vendor)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  return seed_iso(files, network ? 4 : 3, ret, err);
}
