// SPDX-License-Identifier: Apache-2.0
// What clones are made of: the XML derived from a base against golden files (GOLDEN_UPDATE writes
// them; look at the difference before committing it), overlays, seeds, identity, marks.
#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"
#include "providers/libvirt/derive_internal.h"
#include "providers/libvirt/image_internal.h"
#include "tests/unit/unit.h"

#define UUID "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
#define ID   "0f1e2d3c4b5a69788796a5b4c3d2e1f0"

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

static struct clone_order order(void)
{
  return (struct clone_order){.name = "web-7", .uid = UUID, .hostname = "web-7", .machine_id = ID};
}

static int derive(const char *base, const char *base_name, const struct clone_order *c,
                  const struct derive *with, char **ret, struct err *err)
{
  cleanup_free char *file = str_printf("%s.xml", base);
  cleanup_free char *text = read_golden(file);
  struct xml x CLEANUP(xml_release) = {0};
  struct mark mark = {.owner = "inst/ns/web-7/" UUID "/00",
                      .kind = MARK_CLONE,
                      .base = "11111111-2222-3333-4444-555555555555",
                      .revision = "abc",
                      .mode = "Linked"};
  struct derive d = *with;
  d.name = c->name;
  d.uuid = UUID;
  d.base_name = base_name;
  d.mark = &mark;
  d.order = c;
  assert_ok(xml_parse(&x, text, base, err), err);
  return derive_domain(&d, &x, ret, err);
}

static void test_derive_plain(void **state)
{
  (void)state;
  struct derive_disk disks[] = {{"hda", "/pool/web-7-hda.qcow2", DISK_FORMAT_QCOW2,
                                 "/var/lib/libvirt/images/web-1.qcow2", DISK_FORMAT_QCOW2},
                                {"vda", "/pool/web-7-vda.raw", DISK_FORMAT_RAW, NULL, 0}};
  struct derive with = {.disks = disks, .disk_count = 2, .seed = "/pool/web-7-seed.iso"};
  struct clone_order c = order();
  cleanup_free char *text = NULL;
  struct err err = ERR_INIT;
  assert_ok(derive("linux", "web-1", &c, &with, &text, &err), &err);
  compare("clone-of-linux.xml", text);
}

static void test_derive_rich(void **state)
{
  (void)state;
  struct derive_disk disks[] = {
      {"vda", "/pool/web-7-vda.qcow2", DISK_FORMAT_QCOW2, "/pool/golden.qcow2", DISK_FORMAT_QCOW2},
      {"vdb", "/pool/web-7-vdb.qcow2", DISK_FORMAT_QCOW2, "/pool/data.raw", DISK_FORMAT_RAW}};
  struct derive with = {.disks = disks,
                        .disk_count = 2,
                        .nvram = "/pool/web-7-nvram.fd",
                        .seed = "/pool/web-7-seed.iso"};
  struct clone_nic nics[] = {{.network = "bridge:br1"},
                             {.network = "user"},
                             {.network = "a&b", .mac = "02:00:00:00:00:01"}};
  struct clone_order c = order();
  c.cpus = 3;
  c.memory_bytes = 2ll << 30;
  c.nics = (struct list){nics, ARRAY_SIZE(nics)};
  cleanup_free char *text = NULL;
  struct err err = ERR_INIT;
  assert_ok(derive("rich", "golden", &c, &with, &text, &err), &err);
  compare("clone-of-rich.xml", text);
}

static void test_derive_refuses(void **state)
{
  (void)state;
  struct clone_order c = order();
  struct derive_disk gone = {"vdz", "/pool/x", DISK_FORMAT_QCOW2, NULL, 0};
  struct derive with = {.disks = &gone, .disk_count = 1};
  struct err err = ERR_INIT;
  cleanup_free char *text = NULL;
  assert_int_equal(derive("rich", "golden", &c, &with, &text, &err), -1);
  assert_int_equal(err.kind, ERR_CHANGED);
  struct clone_nic nics[3] = {{.mac = NULL}};
  c.nics = (struct list){nics, 3};
  with.disk_count = 0;
  assert_int_equal(derive("rich", "golden", &c, &with, &text, &err), -1);
  assert_contains(err.message, "network card 3");
}

static void test_hardware(void **state)
{
  (void)state;
  static const struct {
    const char *xml;
    int64_t cpus, memory_bytes;
    bool ok;
  } cases[] = {{"<domain><cpu><numa/></cpu></domain>", 0, 0, true},
               {"<domain><cpu><numa/></cpu></domain>", 2, 0, false},
               {"<domain><cpu><numa/></cpu></domain>", 0, 1, false},
               {"<domain><cputune><vcpupin/></cputune></domain>", 2, 0, false},
               {"<domain><devices><memory/></devices></domain>", 0, 1, false},
               {"<domain/>", 2, 1, true}};
  for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
    struct xml x CLEANUP(xml_release) = {0};
    struct clone_order c = {.cpus = cases[i].cpus, .memory_bytes = cases[i].memory_bytes};
    struct err err = ERR_INIT;
    assert_ok(xml_parse(&x, cases[i].xml, "case", &err), &err);
    if ((derive_hardware_ok(&x, &c, &err) == 0) != cases[i].ok)
      fail_msg("case %zu", i);
  }
}

static void test_identity(void **state)
{
  (void)state;
  char uuid[BUILD_UUID_BYTES], mac[BUILD_MAC_BYTES], again[BUILD_MAC_BYTES];
  struct err err = ERR_INIT;
  assert_ok(derive_uuid("0F1E2D3C4B5A69788796A5B4C3D2E1F0", uuid, &err), &err);
  assert_string_equal(uuid, UUID);
  static const char *const no_ids[] = {NULL,   "",   "12ab",
                                       ID "0", UUID, "0f1e2d3c4b5a69788796a5b4c3d2e1fg"};
  for (size_t i = 0; i < ARRAY_SIZE(no_ids); i++)
    assert_int_equal(derive_uuid(no_ids[i], uuid, &err), -1);
  struct clone_order c = order();
  assert_ok(derive_mac(&c, 0, mac, &err), &err);
  assert_ok(derive_mac(&c, 0, again, &err), &err);
  assert_string_equal(mac, again);
  assert_ok(derive_mac(&c, 1, again, &err), &err);
  assert_string_not_equal(mac, again);
  assert_memory_equal(mac, "52:", 3);
  static char *const no_macs[] = {"52:54:00:0a:0b", "52:54:00:0a:0b:0g", "53:54:00:0a:0b:0c",
                                  "52-54-00-0a-0b-0c", "52:54:00:0a:0b:0c:0d"};
  for (size_t i = 0; i < ARRAY_SIZE(no_macs); i++) {
    struct clone_nic nic = {.mac = no_macs[i]};
    c.nics = (struct list){&nic, 1};
    if (derive_mac(&c, 0, mac, &err) == 0)
      fail_msg("%s was accepted", no_macs[i]);
  }
}

static void test_overlay(void **state)
{
  (void)state;
  static const int64_t sizes[] = {512, 1 << 20, 20ll << 30, 64ll << 40};
  for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
    struct buf b CLEANUP(buf_release) = {0};
    struct qcow2_head q CLEANUP(qcow2_head_release) = {0};
    struct err err = ERR_INIT;
    assert_ok(overlay_bytes("/pool/it's base.raw", DISK_FORMAT_RAW, sizes[i], &b, &err), &err);
    assert_int_equal(b.length % 65536, 0);
    assert_ok(qcow2_head_read(b.data, b.length, &q, &err), &err);
    assert_int_equal(q.size_bytes, sizes[i]);
    assert_string_equal(q.backing_path, "/pool/it's base.raw");
    assert_string_equal(q.backing_format, "raw");
    assert_false(q.encrypted || q.external_data);
  }
  struct buf b CLEANUP(buf_release) = {0};
  struct err err = ERR_INIT;
  char path[1100];
  memset(path, 'x', sizeof(path));
  path[sizeof(path) - 1] = '\0';
  assert_int_equal(overlay_bytes(path, DISK_FORMAT_RAW, 512, &b, &err), -1);
  assert_int_equal(err.kind, ERR_LIMIT);
  assert_int_equal(overlay_bytes("/x", DISK_FORMAT_RAW, 0, &b, &err), -1);
  assert_int_equal(overlay_bytes("/x", DISK_FORMAT_RAW, (64ll << 40) + 512, &b, &err), -1);
}

// The text of a file in the image, found by its name in the root folder (sector 20).
static const char *file_in(const struct buf *iso, const char *name)
{
  const unsigned char *root = (const unsigned char *)iso->data + 20 * 2048;
  for (size_t at = 0; at < 2048 && root[at]; at += root[at]) {
    const unsigned char *r = root + at, *found = memmem(r, r[0], name, strlen(name));
    if (found)
      return iso->data + (size_t)(r[2] | r[3] << 8) * 2048;
  }
  fail_msg("no %s", name);
  return NULL;
}

static void test_seed(void **state)
{
  (void)state;
  struct clone_order c = {.machine_id = ID};
  assert_false(seed_wanted(&c));
  c = order();
  assert_true(seed_wanted(&c));
  char *address = "10.0.0.7/24", *key = "ssh-ed25519 AAAA \"x\"", *server = "10.0.0.53";
  c.addresses = (struct strings){&address, 1};
  c.ssh_keys = (struct strings){&key, 1};
  c.nameservers = (struct strings){&server, 1};
  c.gateway = "10.0.0.1";
  c.user_data = "#cloud-config\npackages: [nginx]\n";
  struct buf iso CLEANUP(buf_release) = {0};
  struct err err = ERR_INIT;
  assert_ok(seed_bytes(&c, 2, &iso, &err), &err);
  assert_int_equal(iso.length % 2048, 0);
  assert_memory_equal(iso.data + 16 * 2048, "\1CD001\1", 7);
  assert_memory_equal(iso.data + 16 * 2048 + 40, "cidata  ", 8);
  assert_contains(file_in(&iso, "meta-data"), "\"instance-id\":\"" ID "\"");
  assert_contains(file_in(&iso, "meta-data"), "\"ssh-ed25519 AAAA \\\"x\\\"\"");
  assert_contains(file_in(&iso, "network-config"), "\"10.0.0.7/24\"");
  assert_contains(file_in(&iso, "network-config"), "\"macaddress\":\"52:99:3e:95:0b:19\"");
  assert_memory_equal(file_in(&iso, "user-data"), c.user_data, strlen(c.user_data));
  assert_memory_equal(file_in(&iso, "vendor-data"), "#cloud-config\n", 14);
  struct buf large CLEANUP(buf_release) = {0};
  cleanup_free char *much = calloc(1, SEED_BYTES_MAX + 1);
  memset(much, 'x', SEED_BYTES_MAX);
  c.user_data = much;
  assert_int_equal(seed_bytes(&c, 1, &large, &err), -1);
  assert_int_equal(err.kind, ERR_LIMIT);
}

static void test_marks(void **state)
{
  (void)state;
  struct mark m = {.owner = "a/<b>/c/" UUID "/0", .kind = MARK_BASE, .revision = "r1"};
  struct mark read CLEANUP(mark_release) = {0};
  struct xml x CLEANUP(xml_release) = {0};
  struct err err = ERR_INIT;
  xmlDocPtr doc = xmlNewDoc(BAD_CAST "1.0");
  xmlNodePtr domain = xmlNewNode(NULL, BAD_CAST "domain");
  xmlDocSetRootElement(doc, domain);
  assert_non_null(mark_add(xml_add(domain, "metadata", NULL, NULL), &m));
  cleanup_free char *text = xml_text(doc), *alone = mark_text(&m);
  xmlFreeDoc(doc);
  assert_ok(xml_parse(&x, text, "mark", &err), &err);
  mark_read(&x, &read);
  assert_string_equal(read.owner, m.owner);
  assert_string_equal(read.kind, "Base");
  assert_string_equal(read.revision, "r1");
  assert_null(read.base);
  assert_contains(alone, "a/&lt;b&gt;/c/");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_derive_plain),   cmocka_unit_test(test_derive_rich),
      cmocka_unit_test(test_derive_refuses), cmocka_unit_test(test_hardware),
      cmocka_unit_test(test_identity),       cmocka_unit_test(test_overlay),
      cmocka_unit_test(test_seed),           cmocka_unit_test(test_marks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
