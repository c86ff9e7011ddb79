// SPDX-License-Identifier: Apache-2.0
#include "providers/libvirt/derive_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

static int no_memory(struct err *err)
{
  return err_set(err, ERR_NO_MEMORY, "out of memory");
}

int derive_uuid(const char *machine_id, char ret[BUILD_UUID_BYTES], struct err *err)
{
  size_t digits = 0;
  for (const char *c = machine_id ? machine_id : ""; *c; c++)
    digits = isxdigit((unsigned char)*c) ? digits + 1 : 33;
  if (digits != 32)
    return err_set(err, ERR_INVALID, "a machine id has 32 hexadecimal digits");
  size_t at = 0;
  for (size_t i = 0; i < 32; i++) {
    if (i == 8 || i == 12 || i == 16 || i == 20)
      ret[at++] = '-';
    ret[at++] = (char)tolower((unsigned char)machine_id[i]);
  }
  ret[at] = '\0';
  return 0;
}

// ---- identity ----------------------------------------------------------------------------------

static int put_child(const struct xml *x, xmlNodePtr domain, const char *name, const char *value)
{
  cleanup_nodes xmlXPathObjectPtr found = xml_find(x, domain, name);
  if (xml_count(found) == 0)
    return xml_add(domain, name, value, NULL) ? 0 : -1;
  xml_put(xml_node(found, 0), value);
  return 0;
}

static int put_mark(const struct derive *d, const struct xml *x, xmlNodePtr domain)
{
  xml_drop(x, NULL, "/domain/metadata/drover:*");
  cleanup_nodes xmlXPathObjectPtr found = xml_find(x, domain, "metadata");
  xmlNodePtr metadata =
      xml_count(found) ? xml_node(found, 0) : xml_add(domain, "metadata", NULL, NULL);
  return metadata && mark_add(metadata, d->mark) ? 0 : -1;
}

// What firmware tells of the machine. A serial number that is an instruction to cloud-init
// ("ds=nocloud...") stays.
static void put_serials(const struct derive *d, const struct xml *x)
{
  cleanup_nodes xmlXPathObjectPtr serials =
      xml_find(x, NULL, "/domain/sysinfo/*/entry[@name='serial'][not(starts-with(., 'ds='))]");
  for (size_t i = 0; i < xml_count(serials); i++)
    xml_put(xml_node(serials, i), d->order->machine_id);
  cleanup_nodes xmlXPathObjectPtr uuids =
      xml_find(x, NULL, "/domain/sysinfo/*/entry[@name='uuid']");
  for (size_t i = 0; i < xml_count(uuids); i++)
    xml_put(xml_node(uuids, i), d->uuid);
}

static int put_identity(const struct derive *d, const struct xml *x, xmlNodePtr domain,
                        struct err *err)
{
  bool had_genid = xml_has(x, domain, "genid");
  xml_drop(x, domain, "genid"); // libvirt makes one
  if (put_child(x, domain, "name", d->name) != 0 || put_child(x, domain, "uuid", d->uuid) != 0 ||
      put_mark(d, x, domain) != 0 || (had_genid && !xml_add(domain, "genid", NULL, NULL)))
    return no_memory(err);
  put_serials(d, x);
  return 0;
}

// ---- hardware ----------------------------------------------------------------------------------

int derive_hardware_ok(const struct xml *x, const struct clone_order *c, struct err *err)
{
  bool cells = xml_has(x, NULL, "/domain/cpu/numa");
  if (c->cpus > 0 && (cells || xml_has(x, NULL, "/domain/cputune/vcpupin")))
    return err_set(err, ERR_UNSUPPORTED,
                   "the base pins its CPUs or shares them among NUMA cells: their number cannot be "
                   "changed");
  if (c->memory_bytes > 0 && (cells || xml_has(x, NULL, "/domain/devices/memory")))
    return err_set(err, ERR_UNSUPPORTED,
                   "the base has NUMA cells or memory modules: the amount of its memory cannot be "
                   "changed");
  return 0;
}

static int put_hardware(const struct clone_order *c, const struct xml *x, xmlNodePtr domain,
                        struct err *err)
{
  if (derive_hardware_ok(x, c, err) != 0)
    return -1;
  char digits[24];
  if (c->cpus > 0 && c->cpus != xml_int(x, domain, "vcpu", 0)) {
    snprintf(digits, sizeof(digits), "%lld", (long long)c->cpus);
    xml_drop(x, domain, "cpu/topology | vcpus | vcpu/@current");
    if (put_child(x, domain, "vcpu", digits) != 0)
      return no_memory(err);
  }
  if (c->memory_bytes > 0) {
    xml_drop(x, domain, "memory | currentMemory");
    if (!xml_add_int(domain, "memory", c->memory_bytes, "unit", "b", NULL))
      return no_memory(err);
  }
  return 0;
}

static int put_nvram(const struct derive *d, const struct xml *x, struct err *err)
{
  cleanup_nodes xmlXPathObjectPtr found = xml_find(x, NULL, "/domain/os/nvram");
  if (xml_count(found) == 0)
    return 0;
  xmlNodePtr node = xml_node(found, 0);
  if (!d->nvram) { // never started: libvirt names a new one
    xml_drop(x, NULL, "/domain/os/nvram");
    return 0;
  }
  xml_put(node, d->nvram);
  xml_drop(x, node, "@type");
  return xml_is(x, NULL, "/domain/os/nvram", d->nvram) ? 0 : no_memory(err);
}

int derive_domain(const struct derive *d, struct xml *x, char **ret, struct err *err)
{
  cleanup_nodes xmlXPathObjectPtr found = xml_find(x, NULL, "/domain");
  xmlNodePtr domain = xml_node(found, 0);
  if (!domain)
    return err_set(err, ERR_PROTOCOL, "the definition of the base is no domain");
  if (put_identity(d, x, domain, err) != 0 || put_hardware(d->order, x, domain, err) != 0 ||
      put_nvram(d, x, err) != 0 || derive_devices(d, x, err) != 0 || derive_nics(d, x, err) != 0)
    return -1;
  *ret = xml_text(x->doc);
  return *ret ? 0 : no_memory(err);
}
