// SPDX-License-Identifier: Apache-2.0
#include "providers/libvirt/build_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/str.h"

#define NVRAM_4M_BYTES 540672 // variable store that goes with the 4 MiB builds of OVMF

static int no_memory(struct err *err)
{
  return err_set(err, ERR_NO_MEMORY, "out of memory");
}

static void adapt(const struct build *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void adapt(const struct build *b, const char *format, ...)
{
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof(text), format, args);
  va_end(args);
  if (!strings_has(b->adapted, text))
    strings_add(b->adapted, text);
}

// ---- firmware ----------------------------------------------------------------------------------

bool build_wants_uefi(const struct caps *caps, const struct vm *vm)
{
  cleanup_free char *machine = xml_get(&caps->xml, NULL, "/domainCapabilities/machine");
  return vm->firmware == VM_FIRMWARE_UEFI ||
         (vm->firmware == VM_FIRMWARE_ANY && machine && str_starts(machine, "virt"));
}

static const struct vm_disk *nvram_disk(const struct vm *vm)
{
  for (size_t i = 0; i < vm->disks.count; i++)
    if (vm_disk_at(vm, i)->role == VM_DISK_ROLE_NVRAM)
      return vm_disk_at(vm, i);
  return NULL;
}

// By the names that distributions give them: OVMF_CODE_4M.secboot.fd, OVMF_CODE.ms.fd,
// edk2-x86_64-secure-code.fd, OVMF_CODE_4M.snakeoil.fd.
static bool loader_is_secure(const char *path)
{
  return strstr(path, "secboot") || strstr(path, "secure") || strstr(path, ".ms.") ||
         strstr(path, "snakeoil");
}

// 0 = does not do; more is better. The variable store must fit the firmware's size.
static int loader_score(const char *path, const struct vm *vm)
{
  const struct vm_disk *nvram = nvram_disk(vm);
  bool large = strstr(path, "4M") || strstr(path, "edk2-");
  if (str_ends(path, ".qcow2") || loader_is_secure(path) != vm->secure_boot)
    return 0;
  if (nvram && nvram->capacity_bytes > 0)
    return large == (nvram->capacity_bytes >= NVRAM_4M_BYTES) ? 2 : 0;
  return large ? 2 : 1;
}

int build_loader(const struct caps *caps, const struct vm *vm, char **ret, struct err *err)
{
  cleanup_nodes xmlXPathObjectPtr values =
      xml_find(&caps->xml, NULL, "/domainCapabilities/os/loader[@supported='yes']/value");
  int best = 0;
  for (size_t i = 0; i < xml_count(values); i++) {
    cleanup_free char *path = xml_get(&caps->xml, xml_node(values, i), ".");
    int score = path ? loader_score(path, vm) : 0;
    if (score <= best)
      continue;
    best = score;
    free(*ret);
    *ret = TAKE(path);
  }
  if (best > 0)
    return 0;
  return err_set(err, ERR_UNSUPPORTED, "the target offers no UEFI firmware %s%s",
                 vm->secure_boot ? "with Secure Boot" : "without Secure Boot",
                 nvram_disk(vm) ? " that fits the VM's NVRAM" : "");
}

static int add_nvram(const struct build *b, xmlNodePtr os, struct err *err)
{
  const struct vm *vm = &b->target->vm;
  for (size_t i = 0; i < vm->disks.count; i++)
    if (vm_disk_at(vm, i)->role == VM_DISK_ROLE_NVRAM)
      return xml_add(os, "nvram", b->disks[i].path, NULL) ? 0 : no_memory(err);
  return 0; // libvirt makes a fresh one from its template, and names it
}

static int add_os(const struct build *b, xmlNodePtr domain, struct err *err)
{
  const struct vm *vm = &b->target->vm;
  const struct xml *caps = &b->caps->xml;
  cleanup_free char *machine = xml_get(caps, NULL, "/domainCapabilities/machine");
  cleanup_free char *arch = xml_get(caps, NULL, "/domainCapabilities/arch");
  cleanup_free char *family = machine ? machine_family(machine) : NULL;
  xmlNodePtr os = xml_add(domain, "os", NULL, NULL);
  if (!family || !xml_add(os, "type", "hvm", "arch", arch, "machine", machine, NULL))
    return no_memory(err);
  if (vm->machine && !str_eq(family, vm->machine))
    adapt(b, "The machine type is %s, because the target has no '%s'.", machine, vm->machine);
  if (build_wants_uefi(b->caps, vm)) {
    cleanup_free char *loader = NULL;
    if (build_loader(b->caps, vm, &loader, err) != 0)
      return -1;
    if (!xml_add(os, "loader", loader, "readonly", "yes", "type", "pflash", "secure",
                 vm->secure_boot ? "yes" : NULL, NULL) ||
        add_nvram(b, os, err) != 0)
      return no_memory(err);
  }
  return !vm->smbios_serial || xml_add(os, "smbios", NULL, "mode", "sysinfo", NULL)
             ? 0
             : no_memory(err);
}

// ---- processor ---------------------------------------------------------------------------------

static bool caps_cpu_mode(const struct build *b, const char *mode)
{
  cleanup_free char *path = str_printf("/domainCapabilities/cpu/mode[@name='%s'][@supported='yes']",
                                       mode); // words of our own
  return path && xml_has(&b->caps->xml, NULL, path);
}

static bool caps_cpu_model(const struct build *b, const char *model)
{
  cleanup_nodes xmlXPathObjectPtr models = xml_find(
      &b->caps->xml, NULL, "/domainCapabilities/cpu/mode[@name='custom']/model[@usable!='no']");
  for (size_t i = 0; i < xml_count(models); i++)
    if (xml_is(&b->caps->xml, xml_node(models, i), ".", model))
      return true;
  return false;
}

static xmlNodePtr add_cpu_model(const struct build *b, xmlNodePtr domain)
{
  const char *model = b->target->vm.cpu_model;
  bool is_mode = str_eq(model, "host-model") || str_eq(model, "host-passthrough");
  if (is_mode && caps_cpu_mode(b, model))
    return xml_add(domain, "cpu", NULL, "mode", model, NULL);
  if (model && !is_mode && caps_cpu_model(b, model)) {
    xmlNodePtr cpu = xml_add(domain, "cpu", NULL, "mode", "custom", "match", "exact", NULL);
    return xml_add(cpu, "model", model, "fallback", "forbid", NULL) ? cpu : NULL;
  }
  // Emulated, the host's model says nothing; "maximum" is all that QEMU can do.
  bool kvm = xml_is(&b->caps->xml, NULL, "/domainCapabilities/domain", "kvm");
  const char *instead = kvm && caps_cpu_mode(b, "host-model") ? "host-model" : "maximum";
  if (model)
    adapt(b, "The CPU model is %s, because the target does not offer '%s'.", instead, model);
  return xml_add(domain, "cpu", NULL, "mode", instead, NULL);
}

static int add_cpu(const struct build *b, xmlNodePtr domain, struct err *err)
{
  const struct vm *vm = &b->target->vm;
  int64_t cpus = vm->cpus > 0 ? vm->cpus : 1;
  if (!xml_add_int(domain, "vcpu", cpus, "placement", "static", NULL))
    return no_memory(err);
  xmlNodePtr cpu = add_cpu_model(b, domain);
  int64_t threads = vm->cpu_threads > 0 ? vm->cpu_threads : 1;
  int64_t per_socket = vm->cpu_cores * threads;
  if (!cpu || per_socket <= 0)
    return cpu ? 0 : no_memory(err);
  if (cpus % per_socket != 0) {
    adapt(b, "Each CPU has a socket of its own: %lld do not fill sockets of %lld.", (long long)cpus,
          (long long)per_socket);
    return 0;
  }
  char text[3][24];
  snprintf(text[0], sizeof(text[0]), "%lld", (long long)(cpus / per_socket));
  snprintf(text[1], sizeof(text[1]), "%lld", (long long)vm->cpu_cores);
  snprintf(text[2], sizeof(text[2]), "%lld", (long long)threads);
  return xml_add(cpu, "topology", NULL, "sockets", text[0], "cores", text[1], "threads", text[2],
                 NULL)
             ? 0
             : no_memory(err);
}

// ---- the rest of the machine -------------------------------------------------------------------

static int add_identity(const struct build *b, xmlNodePtr domain, struct err *err)
{
  const struct vm *vm = &b->target->vm;
  char uuid[BUILD_UUID_BYTES];
  build_uuid(b->target->uid, uuid);
  xmlNodePtr metadata;
  if (!xml_add(domain, "name", vm->name, NULL) || !xml_add(domain, "uuid", uuid, NULL) ||
      !(metadata = xml_add(domain, "metadata", NULL, NULL)))
    return no_memory(err);
  xmlNodePtr owner = xml_add(metadata, "owner", b->target->owner, NULL);
  xmlNsPtr ns = owner ? xmlNewNs(owner, BAD_CAST XML_DROVER_NS, BAD_CAST "drover") : NULL;
  if (!ns)
    return no_memory(err);
  xmlSetNs(owner, ns);
  // libvirt 9 gives guests the domain's UUID, which is derived so that a repeat finds the domain.
  if (!str_empty(vm->uuid) && strcasecmp(vm->uuid, uuid) != 0)
    adapt(b, "The guest sees the machine UUID %s instead of %s.", uuid, vm->uuid);
  return 0;
}

static int add_memory(const struct vm *vm, xmlNodePtr domain, struct err *err)
{
  if (vm->memory_bytes <= 0)
    return err_set(err, ERR_INVALID, "VM '%s' needs an amount of memory", vm->name);
  return xml_add_int(domain, "memory", vm->memory_bytes, "unit", "b", NULL) ? 0 : no_memory(err);
}

static int add_sysinfo(const struct vm *vm, xmlNodePtr domain, struct err *err)
{
  if (!vm->smbios_serial)
    return 0;
  xmlNodePtr info = xml_add(domain, "sysinfo", NULL, "type", "smbios", NULL);
  xmlNodePtr system = xml_add(info, "system", NULL, NULL);
  return xml_add(system, "entry", vm->smbios_serial, "name", "serial", NULL) ? 0 : no_memory(err);
}

static bool is_x86(const struct build *b)
{
  cleanup_free char *arch = xml_get(&b->caps->xml, NULL, "/domainCapabilities/arch");
  return str_eq(arch, "x86_64") || str_eq(arch, "i686");
}

static int add_behaviour(const struct build *b, xmlNodePtr domain, struct err *err)
{
  const struct vm *vm = &b->target->vm;
  xmlNodePtr features = xml_add(domain, "features", NULL, NULL);
  bool ok = xml_add(features, "acpi", NULL, NULL) != NULL;
  if (is_x86(b))
    ok &= xml_add(features, "apic", NULL, NULL) != NULL;
  if (vm->secure_boot && build_wants_uefi(b->caps, vm))
    ok &= xml_add(features, "smm", NULL, "state", "on", NULL) != NULL;
  ok &=
      xml_add(domain, "clock", NULL, "offset", vm->clock_local ? "localtime" : "utc", NULL) != NULL;
  ok &= xml_add(domain, "on_poweroff", "destroy", NULL) != NULL;
  ok &= xml_add(domain, "on_reboot", "restart", NULL) != NULL;
  ok &= xml_add(domain, "on_crash", "destroy", NULL) != NULL;
  return ok ? 0 : no_memory(err);
}

int domain_build(const struct build *b, char **ret, struct err *err)
{
  xmlDocPtr doc = xmlNewDoc(BAD_CAST "1.0");
  xmlNodePtr domain = doc ? xmlNewNode(NULL, BAD_CAST "domain") : NULL;
  if (domain)
    xmlDocSetRootElement(doc, domain);
  cleanup_free char *type = xml_get(&b->caps->xml, NULL, "/domainCapabilities/domain");
  int failed =
      !domain || !type || !xmlNewProp(domain, BAD_CAST "type", BAD_CAST type) ? no_memory(err) : 0;
  if (!failed)
    failed = add_identity(b, domain, err) || add_memory(&b->target->vm, domain, err) ||
             add_cpu(b, domain, err) || add_sysinfo(&b->target->vm, domain, err) ||
             add_os(b, domain, err) || add_behaviour(b, domain, err) ||
             build_devices(b, domain, err);
  char *text = failed ? NULL : xml_text(doc);
  xmlFreeDoc(doc);
  if (failed)
    return -1;
  *ret = text;
  return text ? 0 : no_memory(err);
}
