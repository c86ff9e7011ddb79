// SPDX-License-Identifier: Apache-2.0
#include "providers/libvirt/domain_internal.h"

#include <string.h>

#include "base/limits.h"
#include "base/str.h"

#define NO_MEMORY(err) err_set((err), ERR_NO_MEMORY, "out of memory")

int name_index(const char *const *names, const char *word)
{
  for (int i = 0; word && names[i]; i++)
    if (strcmp(names[i], word) == 0)
      return i;
  return -1;
}

int disk_format_of(const char *name)
{
  int format = str_empty(name) ? DISK_FORMAT_RAW : name_index(disk_format_names, name);
  return format > DISK_FORMAT_ANY ? format : -1;
}

// "pc-q35-7.2", "pc-q35-rhel9.2.0", "pc-i440fx-jammy", "virt-7.2": the version follows the family.
char *machine_family(const char *machine)
{
  static const struct {
    const char *prefix, *family;
  } families[] = {{"pc-q35", "q35"},     {"pc-i440fx", "pc"},    {"pc-", "pc"},
                  {"virt-", "virt"},     {"microvm", "microvm"}, {"s390-ccw", "s390-ccw-virtio"},
                  {"pseries", "pseries"}};
  for (size_t i = 0; i < ARRAY_SIZE(families); i++)
    if (str_starts(machine, families[i].prefix))
      return str_dup(families[i].family);
  return str_dup(machine);
}

// ---- disks -------------------------------------------------------------------------------------

void disk_source_release(struct disk_source *s)
{
  free(s->type);
  free(s->path);
  free(s->pool);
  free(s->volume);
  free(s->protocol);
  free(s->format_name);
  for (size_t i = 0; i < s->backing.count; i++)
    free(((struct reach_backing *)s->backing.items)[i].path);
  free(s->backing.items);
  *s = (struct disk_source){0};
}

// <backingStore> nests; an empty one says that the chain ends there.
static int read_backing(const struct xml *x, xmlNodePtr node, struct disk_source *s,
                        struct err *err)
{
  for (;;) {
    cleanup_nodes xmlXPathObjectPtr next = xml_find(x, node, "backingStore");
    if (xml_count(next) == 0)
      return 0;
    node = xml_node(next, 0);
    if (!xml_has(x, node, "source")) {
      s->chain_known = true;
      return 0;
    }
    cleanup_free char *path = xml_get(x, node, "source/@file | source/@dev");
    cleanup_free char *format = xml_get(x, node, "format/@type");
    struct reach_backing *b =
        path ? list_add(&s->backing, sizeof(*b), 200) : NULL; // QEMU's limit of a chain
    if (!b)
      return err_set(err, ERR_UNSUPPORTED, "the backing chain leads to something other than files");
    b->path = TAKE(path);
    b->format = disk_format_of(format);
  }
}

static int read_source(const struct xml *x, xmlNodePtr disk, struct disk_source *s, struct err *err)
{
  s->type = xml_get(x, disk, "@type");
  s->path = xml_get(x, disk, "source/@file | source/@dev");
  s->pool = xml_get(x, disk, "source/@pool");
  s->volume = xml_get(x, disk, "source/@volume");
  s->protocol = xml_get(x, disk, "source/@protocol");
  s->format_name = xml_get(x, disk, "driver/@type");
  s->format = disk_format_of(s->format_name);
  s->encrypted = xml_has(x, disk, "encryption | source/encryption");
  s->shared = xml_has(x, disk, "shareable");
  s->transient = xml_has(x, disk, "transient");
  return read_backing(x, disk, s, err);
}

static int nvram_source(const struct xml *x, struct disk_source *s, struct err *err)
{
  s->path = xml_get(x, NULL, "/domain/os/nvram/source/@file");
  if (!s->path)
    s->path = xml_get(x, NULL, "/domain/os/nvram/text()[normalize-space()]");
  if (!s->path)
    return err_set(err, ERR_NOT_FOUND, "the VM has no NVRAM file");
  s->type = str_dup("file");
  s->format_name = xml_get(x, NULL, "/domain/os/nvram/@format");
  s->format = disk_format_of(s->format_name);
  s->chain_known = true;
  return 0;
}

int domain_disk_source(const struct xml *x, const char *name, struct disk_source *ret,
                       struct err *err)
{
  *ret = (struct disk_source){0};
  if (str_eq(name, "nvram"))
    return nvram_source(x, ret, err);
  cleanup_nodes xmlXPathObjectPtr disks = xml_find(x, NULL, "/domain/devices/disk");
  for (size_t i = 0; i < xml_count(disks); i++)
    if (xml_is(x, xml_node(disks, i), "target/@dev", name))
      return read_source(x, xml_node(disks, i), ret, err);
  return err_set(err, ERR_NOT_FOUND, "the VM has no disk '%s'", name);
}

// <os><boot dev='hd'/> means the first disk; with several entries their order counts.
static int64_t legacy_boot_order(const struct xml *x, const char *device)
{
  cleanup_nodes xmlXPathObjectPtr boots = xml_find(x, NULL, "/domain/os/boot");
  for (size_t i = 0; i < xml_count(boots); i++)
    if (xml_is(x, xml_node(boots, i), "@dev", device))
      return (int64_t)i + 1;
  return 0;
}

static int describe_disk(const struct xml *x, xmlNodePtr node, struct vm *vm, struct err *err)
{
  struct vm_disk *disk = list_add(&vm->disks, sizeof(*disk), LIMIT_DISKS);
  if (!disk)
    return err_set(err, ERR_LIMIT, "more than %d disks", LIMIT_DISKS);
  struct disk_source source CLEANUP(disk_source_release) = {0};
  struct err ignored = ERR_INIT; // a chain that we cannot follow is check_source's to report
  read_source(x, node, &source, &ignored);
  cleanup_free char *bus = xml_get(x, node, "target/@bus");
  int known = name_index(vm_bus_names, bus);
  disk->name = xml_get(x, node, "target/@dev");
  disk->bus = known > 0 ? known : VM_BUS_ANY;
  disk->boot_order = xml_int(x, node, "boot/@order", 0);
  disk->serial = xml_get(x, node, "serial");
  disk->read_only = xml_has(x, node, "readonly");
  disk->format = source.format >= 0 ? source.format : DISK_FORMAT_ANY;
  disk->path = TAKE(source.path);
  disk->storage = TAKE(source.pool);
  return disk->name ? 0 : NO_MEMORY(err);
}

static int describe_nvram(const struct xml *x, struct vm *vm, struct err *err)
{
  struct disk_source source CLEANUP(disk_source_release) = {0};
  struct err none = ERR_INIT;
  if (vm->firmware != VM_FIRMWARE_UEFI || nvram_source(x, &source, &none) != 0)
    return 0;
  struct vm_disk *disk = list_add(&vm->disks, sizeof(*disk), LIMIT_DISKS);
  if (!disk)
    return err_set(err, ERR_LIMIT, "more than %d disks", LIMIT_DISKS);
  disk->name = str_dup("nvram");
  disk->role = VM_DISK_ROLE_NVRAM;
  disk->format = source.format >= 0 ? source.format : DISK_FORMAT_ANY;
  disk->path = TAKE(source.path);
  return disk->name ? 0 : NO_MEMORY(err);
}

static int describe_disks(const struct xml *x, struct vm *vm, struct err *err)
{
  cleanup_nodes xmlXPathObjectPtr disks =
      xml_find(x, NULL, "/domain/devices/disk[not(@device) or @device='disk']");
  int64_t first_order = legacy_boot_order(x, "hd");
  for (size_t i = 0; i < xml_count(disks); i++)
    if (describe_disk(x, xml_node(disks, i), vm, err) != 0)
      return -1;
  if (first_order > 0 && vm->disks.count > 0)
    ((struct vm_disk *)vm->disks.items)[0].boot_order = first_order;
  return describe_nvram(x, vm, err);
}

// ---- network cards -----------------------------------------------------------------------------

static char *nic_network(const struct xml *x, xmlNodePtr node)
{
  static const struct {
    const char *type, *attribute, *prefix;
  } kinds[] = {{"network", "source/@network", ""},
               {"bridge", "source/@bridge", "bridge:"},
               {"direct", "source/@dev", "direct:"}};
  cleanup_free char *type = xml_get(x, node, "@type");
  for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
    if (!str_eq(type, kinds[i].type))
      continue;
    cleanup_free char *name = xml_get(x, node, kinds[i].attribute);
    return str_printf("%s%s", kinds[i].prefix, name ? name : "");
  }
  return str_dup(type ? type : "");
}

static int describe_nics(const struct xml *x, struct vm *vm, struct err *err)
{
  cleanup_nodes xmlXPathObjectPtr nics =
      xml_find(x, NULL, "/domain/devices/interface[not(@type='hostdev')]");
  int64_t first_order = legacy_boot_order(x, "network");
  for (size_t i = 0; i < xml_count(nics); i++) {
    xmlNodePtr node = xml_node(nics, i);
    struct vm_nic *nic = list_add(&vm->nics, sizeof(*nic), LIMIT_NICS);
    if (!nic)
      return err_set(err, ERR_LIMIT, "more than %d network cards", LIMIT_NICS);
    nic->mac = xml_get(x, node, "mac/@address");
    nic->model = xml_get(x, node, "model/@type");
    nic->network = nic_network(x, node);
    nic->boot_order = xml_int(x, node, "boot/@order", i == 0 ? first_order : 0);
  }
  return 0;
}

// ---- the machine -------------------------------------------------------------------------------

static void describe_cpu(const struct xml *x, struct vm *vm)
{
  cleanup_free char *mode = xml_get(x, NULL, "/domain/cpu/@mode");
  vm->cpus = xml_int(x, NULL, "/domain/vcpu/@current", xml_int(x, NULL, "/domain/vcpu", 1));
  vm->cpu_cores = xml_int(x, NULL, "/domain/cpu/topology/@cores", 0);
  vm->cpu_threads = xml_int(x, NULL, "/domain/cpu/topology/@threads", 0);
  if (str_eq(mode, "host-model") || str_eq(mode, "host-passthrough"))
    vm->cpu_model = TAKE(mode);
  else if (!str_eq(mode, "maximum"))
    vm->cpu_model = xml_get(x, NULL, "/domain/cpu/model");
}

static void describe_firmware(const struct xml *x, struct vm *vm)
{
  static const char *const secure =
      "/domain/os/loader[@secure='yes'] | "
      "/domain/os/firmware/feature[@name='secure-boot'][@enabled='yes']";
  bool uefi = xml_is(x, NULL, "/domain/os/@firmware", "efi") ||
              xml_is(x, NULL, "/domain/os/loader/@type", "pflash") ||
              xml_has(x, NULL, "/domain/os/nvram");
  vm->firmware = uefi ? VM_FIRMWARE_UEFI : VM_FIRMWARE_BIOS;
  vm->secure_boot = uefi && xml_has(x, NULL, secure);
  if (xml_has(x, NULL, "/domain/devices/tpm/backend[@type='emulator']")) {
    vm->tpm = xml_get(x, NULL, "/domain/devices/tpm/backend/@version");
    if (!vm->tpm)
      vm->tpm = str_dup("2.0");
  }
}

static char *scsi_controller(const struct xml *x)
{
  cleanup_free char *model = xml_get(x, NULL, "/domain/devices/controller[@type='scsi']/@model");
  if (str_eq(model, "vmpvscsi"))
    return str_dup("pvscsi");
  return str_eq(model, "auto") ? NULL : TAKE(model);
}

static void describe_devices(const struct xml *x, struct vm *vm)
{
  vm->scsi_controller = scsi_controller(x);
  vm->clock_local = xml_is(x, NULL, "/domain/clock/@offset", "localtime");
  vm->serial_console = xml_has(x, NULL, "/domain/devices/serial");
  vm->console_log =
      xml_has(x, NULL, "/domain/devices/serial/log | /domain/devices/serial[@type='file']");
  vm->graphics = xml_has(x, NULL, "/domain/devices/graphics");
  vm->guest_agent =
      xml_has(x, NULL, "/domain/devices/channel/target[@name='org.qemu.guest_agent.0']");
  vm->rng = xml_has(x, NULL, "/domain/devices/rng");
  vm->balloon = xml_has(x, NULL, "/domain/devices/memballoon[@model!='none']");
}

int domain_describe(const struct xml *x, struct vm *ret, struct err *err)
{
  cleanup_free char *machine = xml_get(x, NULL, "/domain/os/type/@machine");
  ret->id = xml_get(x, NULL, "/domain/uuid");
  ret->name = xml_get(x, NULL, "/domain/name");
  ret->uuid = xml_get(x, NULL, "/domain/hwuuid");
  if (!ret->uuid)
    ret->uuid = xml_get(x, NULL, "/domain/uuid");
  ret->memory_bytes = xml_int(x, NULL, "/domain/memory", 0) * 1024; // written in KiB always
  ret->arch = xml_get(x, NULL, "/domain/os/type/@arch");
  ret->machine = machine_family(machine);
  ret->guest_os = xml_get(x, NULL, "/domain/metadata/osinfo:libosinfo/osinfo:os/@id");
  ret->owner = xml_get(x, NULL, "/domain/metadata/drover:owner");
  if (xml_has(x, NULL, "/domain/os/smbios[@mode='sysinfo']"))
    ret->smbios_serial = xml_get(x, NULL, "/domain/sysinfo/system/entry[@name='serial']");
  if (!ret->id || !ret->name)
    return err_set(err, ERR_PROTOCOL, "a domain without name or UUID");
  describe_cpu(x, ret);
  describe_firmware(x, ret);
  describe_devices(x, ret);
  if (describe_disks(x, ret, err) != 0 || describe_nics(x, ret, err) != 0)
    return -1;
  return domain_left_behind(x, &ret->left_behind, err);
}

static bool any_is(const struct xml *x, const char *expression, const char *path)
{
  cleanup_nodes xmlXPathObjectPtr used = xml_find(x, NULL, expression);
  for (size_t i = 0; i < xml_count(used); i++) {
    xmlChar *content = xmlNodeGetContent(xml_node(used, i));
    bool same = str_eq((const char *)content, path);
    xmlFree(content);
    if (same)
      return true;
  }
  return false;
}

bool domain_uses_path(const struct xml *x, const char *path)
{
  return any_is(x,
                "/domain/devices/disk//source/@file | /domain/devices/disk//source/@dev | "
                "/domain/os/nvram | /domain/os/nvram/source/@file | /domain/os/kernel | "
                "/domain/os/initrd | /domain/os/loader",
                path);
}

bool domain_writes_path(const struct xml *x, const char *path)
{
  return any_is(x,
                "/domain/devices/disk[not(readonly)]/source/@file | "
                "/domain/devices/disk[not(readonly)]/source/@dev | /domain/os/nvram | "
                "/domain/os/nvram/source/@file",
                path);
}
