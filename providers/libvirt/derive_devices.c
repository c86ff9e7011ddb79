// SPDX-License-Identifier: Apache-2.0
// Disks, and devices that two machines cannot share: files, sockets, ports.
#include "providers/libvirt/derive_internal.h"

#include <string.h>

#include "base/str.h"

static int no_memory(struct err *err)
{
  return err_set(err, ERR_NO_MEMORY, "out of memory");
}

// ---- disks -------------------------------------------------------------------------------------

static xmlNodePtr disk_named(const struct xml *x, const char *target)
{
  cleanup_nodes xmlXPathObjectPtr disks = xml_find(x, NULL, "/domain/devices/disk");
  for (size_t i = 0; i < xml_count(disks); i++)
    if (xml_is(x, xml_node(disks, i), "target/@dev", target))
      return xml_node(disks, i);
  return NULL;
}

static int put_format(const struct xml *x, xmlNodePtr disk, const char *format)
{
  cleanup_nodes xmlXPathObjectPtr found = xml_find(x, disk, "driver");
  if (xml_count(found) == 0)
    return xml_add(disk, "driver", NULL, "name", "qemu", "type", format, NULL) ? 0 : -1;
  return xmlSetProp(xml_node(found, 0), BAD_CAST "type", BAD_CAST format) ? 0 : -1;
}

// Only the next image is named; libvirt reads on from there.
static int put_backing(const struct derive_disk *d, xmlNodePtr disk)
{
  if (!d->backing_path)
    return 0;
  xmlNodePtr backing = xml_add(disk, "backingStore", NULL, "type", "file", NULL);
  return xml_add(backing, "format", NULL, "type", disk_format_names[d->backing_format], NULL) &&
                 xml_add(backing, "source", NULL, "file", d->backing_path, NULL)
             ? 0
             : -1;
}

static int put_disk(const struct derive_disk *d, const struct xml *x, struct err *err)
{
  xmlNodePtr disk = disk_named(x, d->target);
  if (!disk)
    return err_set(err, ERR_CHANGED, "the base has no disk '%s' any more", d->target);
  xml_drop(x, disk, "source | backingStore | mirror");
  return xmlSetProp(disk, BAD_CAST "type", BAD_CAST "file") &&
                 put_format(x, disk, disk_format_names[d->format]) == 0 &&
                 xml_add(disk, "source", NULL, "file", d->path, NULL) && put_backing(d, disk) == 0
             ? 0
             : no_memory(err);
}

// ---- the seed ----------------------------------------------------------------------------------

static bool target_used(const struct xml *x, const char *target)
{
  cleanup_nodes xmlXPathObjectPtr all = xml_find(x, NULL, "/domain/devices/disk/target");
  for (size_t i = 0; i < xml_count(all); i++)
    if (xml_is(x, xml_node(all, i), "@dev", target))
      return true;
  return false;
}

// The guest has a driver for the bus that it boots from, and maybe for no other (cloud kernels know
// no SATA). IDE and SATA have no read-only disks, but CD-ROM drives.
static const struct seed_bus {
  const char *bus, *device;
  const char *prefix, *letters;
} seed_buses[] = {
    {"virtio", "disk", "vd", "abcdefghijklmnopqrstuvwxyz"},
    {"scsi", "disk", "sd", "abcdefghijklmnopqrstuvwxyz"},
    {"ide", "cdrom", "hd", "abcd"},
    {"sata", "cdrom", "sd", "abcdefghijklmnopqrstuvwxyz"},
};

static const struct seed_bus *choose_bus(const struct xml *x)
{
  cleanup_free char *bus =
      xml_get(x, NULL, "/domain/devices/disk[not(@device) or @device='disk']/target/@bus");
  for (size_t i = 0; i < ARRAY_SIZE(seed_buses); i++)
    if (str_eq(bus, seed_buses[i].bus))
      return &seed_buses[i];
  return &seed_buses[ARRAY_SIZE(seed_buses) - 1];
}

static int add_seed(const struct derive *d, const struct xml *x, struct err *err)
{
  const struct seed_bus *b = choose_bus(x);
  char target[4] = "";
  for (const char *c = b->letters; *c && !*target; c++) {
    const char name[4] = {b->prefix[0], b->prefix[1], *c};
    if (!target_used(x, name))
      memcpy(target, name, sizeof(target));
  }
  if (!*target)
    return err_set(err, ERR_UNSUPPORTED,
                   "the base has no place left for the disk that cloud-init "
                   "reads");
  cleanup_nodes xmlXPathObjectPtr devices = xml_find(x, NULL, "/domain/devices");
  xmlNodePtr disk =
      xml_add(xml_node(devices, 0), "disk", NULL, "type", "file", "device", b->device, NULL);
  return xml_add(disk, "driver", NULL, "name", "qemu", "type", "raw", NULL) &&
                 xml_add(disk, "source", NULL, "file", d->seed, NULL) &&
                 xml_add(disk, "target", NULL, "dev", target, "bus", b->bus, NULL) &&
                 xml_add(disk, "readonly", NULL, NULL)
             ? 0
             : no_memory(err);
}

// ---- what cannot be shared ---------------------------------------------------------------------

// The base's name in the last part of the path becomes the clone's; without it the clone's is
// appended.
static char *own_path(const char *path, const char *base_name, const char *name)
{
  cleanup_free char *word = build_file_word(name);
  const char *slash = strrchr(path, '/');
  const char *last = slash ? slash + 1 : path;
  const char *at = str_empty(base_name) ? NULL : strstr(last, base_name);
  if (!word)
    return NULL;
  if (!at)
    return str_printf("%s-%s", path, word);
  return str_printf("%.*s%s%s", (int)(at - path), path, word, at + strlen(base_name));
}

// Content of attributes; found by an expression that ends in one.
static int put_paths(const char *base_name, const char *name, const struct xml *x,
                     const char *expression, struct err *err)
{
  cleanup_nodes xmlXPathObjectPtr found = xml_find(x, NULL, expression);
  for (size_t i = 0; i < xml_count(found); i++) {
    xmlNodePtr attribute = xml_node(found, i);
    cleanup_free char *path = xml_get(x, attribute, ".");
    cleanup_free char *mine = path ? own_path(path, base_name, name) : NULL;
    if (!mine || !xmlSetProp(attribute->parent, attribute->name, BAD_CAST mine))
      return no_memory(err);
  }
  return 0;
}

static int put_ports(const struct xml *x, struct err *err)
{
  // Sockets and ports that libvirt chooses by itself when nothing is said.
  xml_drop(x, NULL, "/domain/devices/channel[target/@type='virtio'][@type='unix']/source");
  xml_drop(x, NULL,
           "/domain/devices/graphics/@socket | "
           "/domain/devices/graphics/listen[@type='socket']/@socket");
  cleanup_nodes xmlXPathObjectPtr fixed =
      xml_find(x, NULL, "/domain/devices/graphics[@port > 0 or @tlsPort > 0]");
  for (size_t i = 0; i < xml_count(fixed); i++) {
    xml_drop(x, xml_node(fixed, i), "@port | @tlsPort");
    if (!xmlSetProp(xml_node(fixed, i), BAD_CAST "autoport", BAD_CAST "yes"))
      return no_memory(err);
  }
  cleanup_nodes xmlXPathObjectPtr cids = xml_find(x, NULL, "/domain/devices/vsock/cid[@address]");
  for (size_t i = 0; i < xml_count(cids); i++) {
    xml_drop(x, xml_node(cids, i), "@address");
    if (!xmlSetProp(xml_node(cids, i), BAD_CAST "auto", BAD_CAST "yes"))
      return no_memory(err);
  }
  return 0;
}

int derive_devices(const struct derive *d, const struct xml *x, struct err *err)
{
  static const char *const files =
      "/domain/devices/*[@type='file' or @type='pipe'][not(self::disk)]/source/@path | "
      "/domain/devices/*[@type='unix'][self::serial or self::parallel or self::console]"
      "/source[@mode='bind']/@path | /domain/devices/*/log/@file";
  for (size_t i = 0; i < d->disk_count; i++)
    if (put_disk(&d->disks[i], x, err) != 0)
      return -1;
  xml_drop(x, NULL, "/domain/devices/disk[readonly][contains(source/@file, '-seed-')]");
  if (put_paths(d->base_name, d->name, x, files, err) != 0 || put_ports(x, err) != 0)
    return -1;
  return d->seed ? add_seed(d, x, err) : 0;
}
