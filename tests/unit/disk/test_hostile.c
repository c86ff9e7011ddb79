// SPDX-License-Identifier: Apache-2.0
// Images from strangers: each row is refused, with the right kind, before QEMU opens anything.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "tests/unit/disk/help.h"

static void refused(const char *path, int format, const struct list *backing, enum err_kind kind,
                    const char *words)
{
  struct reach reach = {.kind = REACH_FILE, .format = format, .path = (char *)(uintptr_t)path};
  if (backing)
    reach.backing = *backing;
  struct source *s = NULL;
  struct extents e = {0};
  struct err err = ERR_INIT;
  int failed = source_open_reach(&reach, &s, &err);
  if (!failed)
    failed = source_extents(s, &e, &err);
  if (!failed)
    fail_msg("%s was opened", path);
  assert_int_equal(err.kind, kind);
  if (!strstr(err.message, words))
    fail_msg("'%s' is not in '%s'", words, err.message);
  source_free(s);
  extents_release(&e);
}

static const char *fresh_qcow2(const char *name)
{
  const char *path = help_path(name);
  run_ok("qemu-img", "create", "-q", "-f", "qcow2", path, "10M");
  run_ok("qemu-io", "-f", "qcow2", "-c", "write -P 1 0 1M", path);
  return path;
}

static void patch(const char *path, off_t at, const void *bytes, size_t length)
{
  int fd = open(path, O_WRONLY);
  assert_true(fd >= 0);
  assert_int_equal(pwrite(fd, bytes, length, at), (ssize_t)length);
  close(fd);
}

// ---- qcow2 that leads elsewhere -------------------------------------------------------------

static void backing_names(void **state)
{
  (void)state;
  static const char *const names[] = {
      "/etc/passwd",
      "../../../../../etc/passwd",
      "json:{\"driver\":\"file\",\"filename\":\"/etc/passwd\"}",
      "http://127.0.0.1:1/x",
      "nbd://127.0.0.1:1/x",
      "nbd:unix:/run/x.sock",
      "file:/etc/passwd",
      "fat:rw:/etc",
      "/proc/self/environ",
  };
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    const char *path = help_path("backing.qcow2");
    run_ok("rm", "-f", path);
    run_ok("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", names[i], "-F", "raw", path,
           "10M");
    refused(path, DISK_FORMAT_QCOW2, NULL, ERR_CORRUPT, "not part of this disk");
    refused(path, DISK_FORMAT_ANY, NULL, ERR_CORRUPT, "not part of this disk");
    struct reach_backing other = {.path = (char *)(uintptr_t)help_path("other"),
                                  .format = DISK_FORMAT_RAW};
    help_write_file(other.path, "x", 1);
    struct list list = {.items = &other, .count = 1};
    refused(path, DISK_FORMAT_QCOW2, &list, ERR_CORRUPT, "not part of this disk");
  }
}

// The chain is followed to its end: the second member leads where nobody allowed.
static void deeper_in_the_chain(void **state)
{
  (void)state;
  const char *base = help_path("deep-base.qcow2");
  const char *top = help_path("deep-top.qcow2");
  run_ok("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", base,
         "10M");
  run_ok("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", base, "-F", "qcow2", top, "10M");
  struct reach_backing below = {.path = (char *)(uintptr_t)base, .format = DISK_FORMAT_QCOW2};
  struct list list = {.items = &below, .count = 1};
  refused(top, DISK_FORMAT_QCOW2, &list, ERR_CORRUPT, "/etc/passwd");
}

static void external_data_files(void **state)
{
  (void)state;
  const char *path = help_path("data.qcow2");
  const char *data = help_path("data.bin");
  char option[200];
  snprintf(option, sizeof(option), "data_file=%s", data);
  run_ok("qemu-img", "create", "-q", "-f", "qcow2", "-o", option, path, "10M");
  refused(path, DISK_FORMAT_QCOW2, NULL, ERR_CORRUPT, "data in another file");
  snprintf(option, sizeof(option), "data_file=%s,data_file_raw=on", data);
  run_ok("qemu-img", "create", "-q", "-f", "qcow2", "-o", option, path, "10M");
  refused(path, DISK_FORMAT_QCOW2, NULL, ERR_CORRUPT, "data in another file");
}

static void encrypted(void **state)
{
  (void)state;
  const char *path = help_path("luks.qcow2");
  run_ok("qemu-img", "create", "-q", "-f", "qcow2", "--object", "secret,id=s,data=abc", "-o",
         "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", path, "10M");
  refused(path, DISK_FORMAT_QCOW2, NULL, ERR_UNSUPPORTED, "encrypted");
}

// ---- broken headers -------------------------------------------------------------------------

static void broken_headers(void **state)
{
  (void)state;
  static const struct {
    const char *name;
    off_t at;
    size_t length;
    unsigned char bytes[8];
    enum err_kind kind;
    const char *words;
  } rows[] = {
      {"version", 4, 4, {0, 0, 0, 9}, ERR_UNSUPPORTED, "version 9"},
      {"cluster bits small", 20, 4, {0, 0, 0, 2}, ERR_CORRUPT, "cluster size"},
      {"cluster bits large", 20, 4, {0, 0, 0, 63}, ERR_CORRUPT, "cluster size"},
      {"size", 24, 8, {0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, ERR_CORRUPT, "L1 table"},
      {"size zero bits", 24, 8, {0, 0x10, 0, 0, 0, 0, 0, 0}, ERR_CORRUPT, "L1 table"},
      {"l1 size", 36, 4, {0x7f, 0xff, 0xff, 0xff}, ERR_CORRUPT, "L1 table"},
      {"l1 small", 36, 4, {0, 0, 0, 0}, ERR_CORRUPT, "too small"},
      {"l1 offset far", 40, 8, {0, 0xff, 0, 0, 0, 0, 0, 0}, ERR_CORRUPT, "beyond the end"},
      {"l1 offset odd", 40, 8, {0, 0, 0, 0, 0, 3, 0, 1}, ERR_CORRUPT, "not aligned"},
      {"refcount clusters", 56, 4, {0xff, 0xff, 0xff, 0xff}, ERR_CORRUPT, "refcount table"},
      {"refcount offset",
       48,
       8,
       {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0},
       ERR_CORRUPT,
       "refcount"},
      {"snapshots", 60, 4, {0xff, 0xff, 0xff, 0xff}, ERR_CORRUPT, "snapshots"},
      {"feature", 72, 8, {0, 0, 0, 0, 0, 0, 1, 0}, ERR_UNSUPPORTED, "not known"},
      {"corrupt bit", 72, 8, {0, 0, 0, 0, 0, 0, 0, 2}, ERR_CORRUPT, "marked as corrupt"},
      {"data file bit", 72, 8, {0, 0, 0, 0, 0, 0, 0, 4}, ERR_CORRUPT, "another file"},
      {"refcount order", 96, 4, {0, 0, 0, 40}, ERR_CORRUPT, "refcount order"},
      {"header length", 100, 4, {0xff, 0xff, 0xff, 0xf0}, ERR_CORRUPT, "header length"},
      {"header short", 100, 4, {0, 0, 0, 8}, ERR_CORRUPT, "header length"},
      {"backing name length", 8, 8, {0, 0, 0, 0, 0, 0, 0xff, 0xff}, ERR_CORRUPT, "backing file"},
      {"backing far", 8, 8, {0, 0, 0, 0, 0xff, 0, 0, 0}, ERR_CORRUPT, "backing file name"},
      {"magic", 0, 4, {'Q', 'F', 'I', 0}, ERR_CORRUPT, "looks like raw"},
  };
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    const char *path = fresh_qcow2("broken.qcow2");
    if (str_starts(rows[i].name, "backing name"))
      patch(path, 16, "\xff\xff\xff\xff", 4);
    patch(path, rows[i].at, rows[i].bytes, rows[i].length);
    refused(path, DISK_FORMAT_QCOW2, NULL, rows[i].kind, rows[i].words);
  }
}

static void truncated(void **state)
{
  (void)state;
  const char *path = fresh_qcow2("cut.qcow2");
  run_ok("truncate", "-s", "700K", path);
  refused(path, DISK_FORMAT_QCOW2, NULL, ERR_CORRUPT, "truncated");
  run_ok("truncate", "-s", "50", path);
  refused(path, DISK_FORMAT_QCOW2, NULL, ERR_CORRUPT, "truncated");
  run_ok("truncate", "-s", "2", path);
  refused(path, DISK_FORMAT_QCOW2, NULL, ERR_CORRUPT, "looks like raw");
  run_ok("truncate", "-s", "0", path);
  refused(path, DISK_FORMAT_QCOW2, NULL, ERR_CORRUPT, "looks like raw");
}

// ---- other formats --------------------------------------------------------------------------

static void vmdk_descriptors(void **state)
{
  (void)state;
  static const char *const texts[] = {
      "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n"
      "RW 100 FLAT \"/etc/passwd\" 0\n",
      "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"vmfs\"\n"
      "RW 100 VMFS \"/etc/shadow\"\n",
  };
  for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
    const char *path = help_path("flat.vmdk");
    help_write_file(path, texts[i], strlen(texts[i]));
    refused(path, DISK_FORMAT_VMDK, NULL, ERR_CORRUPT, "other files");
    refused(path, DISK_FORMAT_ANY, NULL, ERR_CORRUPT, "other files");
  }
  const char *flat = help_path("made.vmdk");
  run_ok("qemu-img", "create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", flat, "10M");
  refused(flat, DISK_FORMAT_VMDK, NULL, ERR_CORRUPT, "other files");
  const char *sparse = help_path("sparse.vmdk");
  run_ok("qemu-img", "create", "-q", "-f", "vmdk", sparse, "10M");
  // The descriptor inside a sparse extent lies at sector 1: make it name another file.
  char line[] = "RW 20480 FLAT \"/etc/passwd\" 0\n";
  size_t length;
  uint8_t *bytes = help_read_file(sparse, &length);
  char *at = memmem(bytes, length, "RW 20480", 8);
  assert_non_null(at);
  patch(sparse, at - (char *)bytes, line, sizeof(line) - 1);
  refused(sparse, DISK_FORMAT_VMDK, NULL, ERR_CORRUPT, "other files");
  patch(sparse, at - (char *)bytes, "RW 20480 SPARSE", 15);
  patch(sparse, 12, "\0\0\0\0\0\0\0\0", 8); // capacity 0: QEMU would follow the descriptor
  refused(sparse, DISK_FORMAT_VMDK, NULL, ERR_CORRUPT, "in place of a disk");
  free(bytes);
  const char *child = help_path("child.vmdk");
  const char *parent = help_path("parent.vmdk");
  run_ok("qemu-img", "create", "-q", "-f", "vmdk", parent, "10M");
  run_ok("qemu-img", "create", "-q", "-f", "vmdk", "-b", parent, "-F", "vmdk", child);
  refused(child, DISK_FORMAT_VMDK, NULL, ERR_CORRUPT, "parent disk");
}

static void others(void **state)
{
  (void)state;
  const char *vhdx = help_path("x.vhdx");
  run_ok("qemu-img", "create", "-q", "-f", "vhdx", vhdx, "10M");
  refused(vhdx, DISK_FORMAT_QCOW2, NULL, ERR_CORRUPT, "looks like vhdx");
  patch(vhdx, 192 << 10, "xxxx", 4);
  refused(vhdx, DISK_FORMAT_VHDX, NULL, ERR_CORRUPT, "region table");
  const char *vdi = help_path("x.vdi");
  run_ok("qemu-img", "create", "-q", "-f", "vdi", vdi, "10M");
  patch(vdi, 0x4c, "\4", 1);
  refused(vdi, DISK_FORMAT_VDI, NULL, ERR_CORRUPT, "other files");
  patch(vdi, 0x4c, "\1", 1);
  patch(vdi, 0x1a8, "\1", 1);
  refused(vdi, DISK_FORMAT_VDI, NULL, ERR_CORRUPT, "below it");
  const char *zst = help_path("x.zst");
  help_write_file(zst, "\x28\xb5\x2f\xfd garbage", 12);
  refused(zst, DISK_FORMAT_ANY, NULL, ERR_CORRUPT, "truncated");
  help_write_file(zst, "\x28\xb5\x2f\xfd garbage that is longer", 27);
  refused(zst, DISK_FORMAT_ANY, NULL, ERR_UNSUPPORTED, "not in the seekable format");
}

// A guest may write a qcow2 header into its raw disk: a disk that is called raw stays raw.
static void raw_is_never_guessed(void **state)
{
  (void)state;
  const char *path = help_path("guest.raw");
  run_ok("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", path,
         "10M");
  struct reach reach = {
      .kind = REACH_FILE, .format = DISK_FORMAT_RAW, .path = (char *)(uintptr_t)path};
  struct source *s;
  struct err err = ERR_INIT;
  assert_int_equal(source_open_reach(&reach, &s, &err), 0);
  assert_true(s->size_bytes < 10 * MIB); // the file itself, not what its header says
  source_free(s);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(backing_names),        cmocka_unit_test(deeper_in_the_chain),
      cmocka_unit_test(external_data_files),  cmocka_unit_test(encrypted),
      cmocka_unit_test(broken_headers),       cmocka_unit_test(truncated),
      cmocka_unit_test(vmdk_descriptors),     cmocka_unit_test(others),
      cmocka_unit_test(raw_is_never_guessed),
  };
  return cmocka_run_group_tests_name("disk/hostile", tests, NULL, help_cleanup);
}
