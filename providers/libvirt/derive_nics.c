// SPDX-License-Identifier: Apache-2.0
#include "providers/libvirt/derive_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

#define INTERFACES "/domain/devices/interface[not(@type='hostdev')]"

static int no_memory(struct err *err)
{
  return err_set(err, ERR_NO_MEMORY, "out of memory");
}

static bool hex_digits(const char *text, size_t count)
{
  for (size_t i = 0; i < count; i++)
    if (!isxdigit((unsigned char)text[i]))
      return false;
  return true;
}

static bool is_mac(const char *mac)
{
  if (strlen(mac) != 17)
    return false;
  for (size_t i = 0; i < 17; i += 3)
    if (!hex_digits(mac + i, 2) || (i < 15 && mac[i + 2] != ':'))
      return false;
  return !strchr("13579bBdDfF", mac[1]); // groups are no addresses of cards
}

static const struct clone_nic *nic_at(const struct clone_order *c, size_t i)
{
  return i < c->nics.count ? (const struct clone_nic *)c->nics.items + i : NULL;
}

int derive_mac(const struct clone_order *c, size_t i, char ret[BUILD_MAC_BYTES], struct err *err)
{
  const struct clone_nic *nic = nic_at(c, i);
  if (nic && !str_empty(nic->mac)) {
    if (!is_mac(nic->mac))
      return err_set(err, ERR_INVALID, "'%.40s' is no MAC address of a network card", nic->mac);
    snprintf(ret, BUILD_MAC_BYTES, "%s", nic->mac);
    return 0;
  }
  clone_mac(c, i, ret);
  return 0;
}

static int put_network(const struct xml *x, xmlNodePtr node, const char *network)
{
  static const struct {
    const char *prefix, *type, *attribute;
  } kinds[] = {{"bridge:", "bridge", "bridge"}, {"direct:", "direct", "dev"}};
  if (str_empty(network))
    return 0;
  xml_drop(x, node, "source | virtualport | portgroup | vlan | ip | route");
  if (str_eq(network, "user"))
    return xmlSetProp(node, BAD_CAST "type", BAD_CAST "user") ? 0 : -1;
  for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
    const char *name = str_after(network, kinds[i].prefix);
    if (name)
      return xmlSetProp(node, BAD_CAST "type", BAD_CAST kinds[i].type) &&
                     xml_add(node, "source", NULL, kinds[i].attribute, name, NULL)
                 ? 0
                 : -1;
  }
  return xmlSetProp(node, BAD_CAST "type", BAD_CAST "network") &&
                 xml_add(node, "source", NULL, "network", network, NULL)
             ? 0
             : -1;
}

static int put_nic(const struct derive *d, const struct xml *x, xmlNodePtr node, size_t i,
                   struct err *err)
{
  char mac[BUILD_MAC_BYTES];
  const struct clone_nic *nic = nic_at(d->order, i);
  if (derive_mac(d->order, i, mac, err) != 0)
    return -1;
  xml_drop(x, node, "mac | target");
  if (!xml_add(node, "mac", NULL, "address", mac, NULL) ||
      put_network(x, node, nic ? nic->network : NULL) != 0)
    return no_memory(err);
  return 0;
}

static xmlNodePtr new_nic(const struct xml *x, xmlNodePtr devices)
{
  cleanup_free char *model = xml_get(x, NULL, INTERFACES "/model/@type");
  xmlNodePtr node = xml_add(devices, "interface", NULL, "type", "network", NULL);
  return xml_add(node, "model", NULL, "type", model ? model : "virtio", NULL) ? node : NULL;
}

int derive_nics(const struct derive *d, const struct xml *x, struct err *err)
{
  cleanup_nodes xmlXPathObjectPtr there = xml_find(x, NULL, INTERFACES);
  cleanup_nodes xmlXPathObjectPtr devices = xml_find(x, NULL, "/domain/devices");
  size_t count = xml_count(there);
  size_t wanted = d->order->nics.count ? d->order->nics.count : count;
  for (size_t i = 0; i < wanted; i++) {
    xmlNodePtr node = i < count ? xml_node(there, i) : new_nic(x, xml_node(devices, 0));
    if (!node)
      return no_memory(err);
    if (i >= count && str_empty(nic_at(d->order, i)->network))
      return err_set(err, ERR_INVALID, "network card %zu, which the base lacks, needs a network",
                     i + 1);
    if (put_nic(d, x, node, i, err) != 0)
      return -1;
  }
  for (size_t i = wanted; i < count; i++)
    xml_drop(x, xml_node(there, i), ".");
  // Nodes that are gone must not be looked at when the set is freed.
  for (size_t i = wanted; i < count; i++)
    there->nodesetval->nodeTab[i] = NULL;
  return 0;
}
