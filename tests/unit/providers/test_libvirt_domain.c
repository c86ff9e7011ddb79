// SPDX-License-Identifier: Apache-2.0
// Domain XML -> description -> JSON, and description -> domain XML, against golden files. With
// GOLDEN_UPDATE set the files are written instead; look at the difference before committing it.
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "providers/libvirt/build_internal.h"
#include "tests/unit/unit.h"

static char *read_golden(const char *name)
{
  cleanup_free char *path = str_printf(GOLDEN "/%s", name);
  cleanup_fclose FILE *f = fopen(path, "r");
  if (!f)
    fail_msg("no %s", path);
  char *text = calloc(1, 1 << 16);
  size_t length = fread(text, 1, (1 << 16) - 1, f);
  assert_true(length > 0 && length < (1 << 16) - 1);
  return text;
}

static void compare(const char *name, const char *text)
{
  cleanup_free char *path = str_printf(GOLDEN "/%s", name);
  if (getenv("GOLDEN_UPDATE")) {
    cleanup_fclose FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    return;
  }
  cleanup_free char *golden = read_golden(name);
  if (strcmp(golden, text) != 0)
    fail_msg("%s differs; now it is:\n%s", name, text);
}

static void describe(const char *name, struct vm *ret)
{
  cleanup_free char *file = str_printf("%s.xml", name);
  cleanup_free char *text = read_golden(file);
  struct xml x CLEANUP(xml_release) = {0};
  struct err err = ERR_INIT;
  *ret = (struct vm){0};
  assert_ok(xml_parse(&x, text, name, &err), &err);
  assert_ok(domain_describe(&x, ret, &err), &err);
}

static void test_describe(void **state)
{
  (void)state;
  static const char *const names[] = {"windows", "linux"};
  for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
    struct vm vm CLEANUP(vm_release);
    describe(names[i], &vm);
    struct json_object *json = table_encode(&vm_table, &vm);
    cleanup_free char *text =
        str_printf("%s\n", json_object_to_json_string_ext(
                               json, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(json);
    cleanup_free char *file = str_printf("%s.json", names[i]);
    compare(file, text);
  }
}

static void test_disk_sources(void **state)
{
  (void)state;
  cleanup_free char *text = read_golden("linux.xml");
  cleanup_free char *other = read_golden("windows.xml");
  struct xml x CLEANUP(xml_release) = {0}, w CLEANUP(xml_release) = {0};
  struct err err = ERR_INIT;
  assert_ok(xml_parse(&x, text, "linux", &err), &err);
  assert_ok(xml_parse(&w, other, "windows", &err), &err);
  struct disk_source s CLEANUP(disk_source_release) = {0};
  assert_ok(domain_disk_source(&x, "hda", &s, &err), &err);
  assert_true(s.chain_known);
  assert_int_equal(s.backing.count, 2);
  assert_string_equal(((struct reach_backing *)s.backing.items)[1].path, "/srv/root.raw");
  disk_source_release(&s);
  assert_ok(domain_disk_source(&w, "vda", &s, &err), &err);
  assert_string_equal(s.protocol, "rbd");
  disk_source_release(&s);
  assert_ok(domain_disk_source(&w, "nvram", &s, &err), &err);
  assert_string_equal(s.path, "/var/lib/libvirt/qemu/nvram/win_VARS.fd");
  disk_source_release(&s);
  assert_int_equal(domain_disk_source(&x, "nvram", &s, &err), -1);
  assert_int_equal(err.kind, ERR_NOT_FOUND);
  assert_true(domain_uses_path(&x, "/srv/root.raw"));
  assert_false(domain_writes_path(&x, "/srv/root.raw"));
  assert_true(domain_writes_path(&w, "/var/lib/libvirt/qemu/nvram/win_VARS.fd"));
  assert_true(domain_writes_path(&w, "/dev/vg0/win"));
}

// ---- building ----------------------------------------------------------------------------------

struct made {
  char *xml;
  struct strings adapted;
};

static void made_free(struct made *m)
{
  free(m->xml);
  strings_release(&m->adapted);
}

static int build(const struct vm *vm, const char *caps_file, const struct target_disk *how,
                 struct made *ret, struct err *err)
{
  static const struct build_disk places[] = {
      {"/pool/a-1", false}, {"/dev/vg/b-2", true}, {"/pool/c-3", false}, {"/pool/n.fd", false}};
  cleanup_free char *text = read_golden(caps_file);
  struct caps caps = {0};
  assert_ok(xml_parse(&caps.xml, text, "caps", err), err);
  struct vm_target t = {.vm = *vm,
                        .disks = {(void *)(uintptr_t)how, vm->disks.count},
                        .owner = "i/ns/n/5bd3a7e0-0000-4000-8000-000000000000/h",
                        .uid = "5bd3a7e0-0000-4000-8000-000000000000"};
  struct build b = {&t, &caps, places, "default", &ret->adapted};
  int failed = domain_build(&b, &ret->xml, err);
  xml_release(&caps.xml);
  return failed;
}

static const struct target_disk usual[] = {{NULL, DISK_FORMAT_QCOW2, false},
                                           {NULL, DISK_FORMAT_RAW, false},
                                           {NULL, DISK_FORMAT_QCOW2, false},
                                           {NULL, DISK_FORMAT_RAW, false}};

static void test_build(void **state)
{
  (void)state;
  static const struct {
    const char *name, *caps, *golden;
  } cases[] = {{"linux", "caps-q35-tcg.xml", "linux-on-q35-tcg.xml"},
               {"windows", "caps-q35-kvm.xml", "windows-on-q35-kvm.xml"}};
  for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
    struct vm vm CLEANUP(vm_release);
    struct made made CLEANUP(made_free) = {0};
    struct err err = ERR_INIT;
    describe(cases[i].name, &vm);
    assert_ok(build(&vm, cases[i].caps, usual, &made, &err), &err);
    cleanup_free char *whole = str_dup(made.xml);
    for (size_t n = 0; n < made.adapted.count; n++) {
      char *longer = str_printf("%s<!-- %s -->\n", whole, made.adapted.items[n]);
      free(whole);
      whole = longer;
    }
    compare(cases[i].golden, whole);
  }
}

static const struct vm plain = {
    .name = "m", .memory_bytes = 1 << 28, .cpus = 1, .machine = "q35", .arch = "x86_64"};

static void test_hostile_words_stay_words(void **state)
{
  (void)state;
  struct vm_disk disk = {
      .name = "vda", .bus = VM_BUS_VIRTIO, .serial = "'/><source file='/etc/shadow'/>"};
  struct vm_nic nic = {.mac = "'/><x", .model = "]]>", .network = "bridge:\"><hostdev/>"};
  struct vm vm = plain;
  vm.name = "<name>&lt;' \"";
  vm.smbios_serial = "</entry><entry name='uuid'>";
  vm.disks = (struct list){&disk, 1};
  vm.nics = (struct list){&nic, 1};
  struct made made CLEANUP(made_free) = {0};
  struct err err = ERR_INIT;
  assert_ok(build(&vm, "caps-q35-tcg.xml", usual, &made, &err), &err);
  struct xml x CLEANUP(xml_release) = {0};
  assert_ok(xml_parse(&x, made.xml, "built", &err), &err);
  assert_true(xml_is(&x, NULL, "/domain/name", vm.name));
  assert_true(xml_is(&x, NULL, "//disk/serial", disk.serial));
  assert_true(xml_is(&x, NULL, "//interface/source/@bridge", "\"><hostdev/>"));
  assert_true(xml_is(&x, NULL, "//system/entry", vm.smbios_serial));
  assert_false(xml_has(&x, NULL, "//hostdev"));
  assert_false(xml_has(&x, NULL, "//source[@file='/etc/shadow']"));
  assert_true(xml_is(&x, NULL, "/domain/metadata/drover:owner",
                     "i/ns/n/5bd3a7e0-0000-4000-8000-000000000000/h"));
}

static void test_buses_and_names(void **state)
{
  (void)state;
  struct vm_disk disks[4] = {{.name = "a", .bus = VM_BUS_IDE, .boot_order = 7},
                             {.name = "b", .bus = VM_BUS_SCSI, .boot_order = 3},
                             {.name = "c", .bus = VM_BUS_NVME},
                             {.name = "d", .bus = VM_BUS_ANY, .boot_order = 3}};
  struct vm vm = plain;
  vm.scsi_controller = "lsilogic";
  vm.disks = (struct list){disks, 4};
  struct made made CLEANUP(made_free) = {0};
  struct err err = ERR_INIT;
  assert_ok(build(&vm, "caps-q35-tcg.xml", usual, &made, &err), &err);
  struct xml x CLEANUP(xml_release) = {0};
  assert_ok(xml_parse(&x, made.xml, "built", &err), &err);
  assert_true(xml_is(&x, NULL, "//disk[1]/target/@bus", "sata"));
  assert_true(xml_is(&x, NULL, "//disk[1]/target/@dev", "sda"));
  assert_true(xml_is(&x, NULL, "//disk[1]/boot/@order", "3"));
  assert_true(xml_is(&x, NULL, "//disk[2]/target/@dev", "sdb"));
  assert_true(xml_is(&x, NULL, "//disk[2]/boot/@order", "1"));
  assert_true(xml_is(&x, NULL, "//disk[2]/address/@target", "0"));
  assert_true(xml_is(&x, NULL, "//disk[2]/address/@unit", "1"));
  assert_true(xml_is(&x, NULL, "//disk[3]/target/@bus", "sata"));
  assert_true(xml_is(&x, NULL, "//disk[4]/target/@dev", "vda"));
  assert_true(xml_is(&x, NULL, "//disk[4]/boot/@order", "2"));
  assert_true(xml_is(&x, NULL, "//controller[@type='scsi']/@model", "lsilogic"));
  assert_int_equal(made.adapted.count, 2);
}

static void test_firmware(void **state)
{
  (void)state;
  struct vm_disk disks[2] = {
      {.name = "vda"}, {.name = "nvram", .role = VM_DISK_ROLE_NVRAM, .capacity_bytes = 540672}};
  struct vm vm = plain;
  struct err err = ERR_INIT;
  vm.disks = (struct list){disks, 2};
  vm.firmware = VM_FIRMWARE_UEFI;
  struct made made CLEANUP(made_free) = {0}, secure CLEANUP(made_free) = {0},
                   none CLEANUP(made_free) = {0};
  assert_ok(build(&vm, "caps-q35-tcg.xml", usual, &made, &err), &err);
  assert_contains(made.xml, ">/usr/share/OVMF/OVMF_CODE_4M.fd</loader>");
  assert_contains(made.xml, "<nvram>/dev/vg/b-2</nvram>");
  vm.secure_boot = true;
  assert_ok(build(&vm, "caps-q35-tcg.xml", usual, &secure, &err), &err);
  assert_contains(secure.xml, "secure=\"yes\"");
  assert_contains(secure.xml, "<smm state=\"on\"/>");
  disks[1].capacity_bytes = 131072; // of the 2 MiB builds, which this target does not have
  assert_int_equal(build(&vm, "caps-q35-tcg.xml", usual, &none, &err), -1);
  assert_int_equal(err.kind, ERR_UNSUPPORTED);
}

static void test_no_memory_is_refused(void **state)
{
  (void)state;
  struct vm vm = plain;
  struct made made CLEANUP(made_free) = {0};
  struct err err = ERR_INIT;
  vm.memory_bytes = 0;
  assert_int_equal(build(&vm, "caps-q35-tcg.xml", usual, &made, &err), -1);
  assert_int_equal(err.kind, ERR_INVALID);
}

static void test_machines(void **state)
{
  (void)state;
  static const char *const pairs[][2] = {{"pc-q35-7.2", "q35"},
                                         {"pc-i440fx-jammy", "pc"},
                                         {"q35", "q35"},
                                         {"pc", "pc"},
                                         {"virt-7.2", "virt"},
                                         {"microvm", "microvm"},
                                         {"pseries-7.2", "pseries"}};
  for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
    cleanup_free char *family = machine_family(pairs[i][0]);
    assert_string_equal(family, pairs[i][1]);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_describe), cmocka_unit_test(test_disk_sources),
      cmocka_unit_test(test_build),    cmocka_unit_test(test_hostile_words_stay_words),
      cmocka_unit_test(test_firmware), cmocka_unit_test(test_buses_and_names),
      cmocka_unit_test(test_machines), cmocka_unit_test(test_no_memory_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
