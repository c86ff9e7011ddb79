// SPDX-License-Identifier: Apache-2.0
// Disks of a vmdk descriptor and extents in other files: read as QEMU reads them when each file was
// allowed, and no file opened that was not.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "tests/unit/disk/help.h"

#define DISK "4300M" // three extents of at most 2 GiB

static char expected[128];

static void allow(struct list *l, const char *path)
{
  struct reach_backing *b = list_add(l, sizeof(*b), 64);
  assert_non_null(b);
  b->path = str_dup(path);
  b->format = DISK_FORMAT_ANY;
}

static void forget(struct list *l)
{
  for (size_t i = 0; i < l->count; i++)
    free(((struct reach_backing *)l->items)[i].path);
  free(l->items);
  *l = (struct list){0};
}

static int open_split(const char *path, const struct list *allowed, struct source **ret,
                      struct err *err)
{
  struct reach reach = {.kind = REACH_FILE, .path = (char *)(uintptr_t)path, .backing = *allowed};
  return source_open_reach(&reach, ret, err);
}

static void refused(const char *path, const struct list *allowed, enum err_kind kind,
                    const char *says)
{
  struct source *s;
  struct err err = ERR_INIT;
  assert_int_equal(open_split(path, allowed, &s, &err), -1);
  if (err.kind != kind || !strstr(err.message, says))
    fail_msg("%s: %s", err_reason(err.kind), err.message);
}

static void allow_all(struct list *l, const char *stem, char letter, int count)
{
  char name[64];
  for (int i = 1; i <= count; i++) {
    snprintf(name, sizeof(name), letter ? "%s-%c%03d.vmdk" : "%s-flat.vmdk", stem, letter, i);
    allow(l, help_path(name));
  }
}

static void check(const char *stem, char letter, int count)
{
  struct list allowed = {0};
  struct source *s;
  struct tally tally = {0};
  struct copy_result r;
  struct err err = ERR_INIT;
  char name[64];
  snprintf(name, sizeof(name), "%s.vmdk", stem);
  allow_all(&allowed, stem, letter, count);
  if (open_split(help_path(name), &allowed, &s, &err) != 0 ||
      digest_source(s, 2, &tally, &r, &err) != 0)
    fail_msg("%s", err.message);
  assert_string_equal(r.content_digest, expected);
  assert_true(tally.data_bytes < 200 * MIB); // holes are known
  copy_result_release(&r);
  source_free(s);
  forget(&allowed);
}

static const char *make(const char *stem, const char *subformat)
{
  char name[64], option[64];
  snprintf(name, sizeof(name), "%s.vmdk", stem);
  snprintf(option, sizeof(option), "subformat=%s", subformat);
  const char *path = help_path(name);
  run_ok("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", option, help_path("disk.raw"),
         path);
  return path;
}

static void each_kind_is_read(void **state)
{
  (void)state;
  const char *raw = help_path("disk.raw");
  run_ok("qemu-img", "create", "-q", "-f", "raw", raw, DISK);
  run_ok("qemu-io", "-f", "raw", "-c", "write -P 7 1M 3M", "-c", "write -P 8 2046M 4M", "-c",
         "write -P 9 4294M 6M", "-c", "write -P 5 3000000k 4k", raw);
  help_read_digest(raw, expected);
  make("sparse", "twoGbMaxExtentSparse");
  check("sparse", 's', 3);
  make("flat", "twoGbMaxExtentFlat");
  check("flat", 'f', 3);
  make("mono", "monolithicFlat");
  check("mono", 0, 1);
}

static void only_what_was_allowed_is_opened(void **state)
{
  (void)state;
  struct list allowed = {0};
  const char *path = help_path("sparse.vmdk");
  refused(path, &allowed, ERR_CORRUPT, "sparse-s001.vmdk");
  allow(&allowed, help_path("sparse-s002.vmdk"));
  refused(path, &allowed, ERR_CORRUPT, "sparse-s001.vmdk"); // not in that order
  forget(&allowed);
  allow_all(&allowed, "sparse", 's', 2);
  refused(path, &allowed, ERR_CORRUPT, "sparse-s003.vmdk");
  forget(&allowed);
  static const char *const doors[] = {"/etc/passwd", "../../../../etc/passwd",
                                      "http://127.0.0.1:1/x", "json:{}", "sparse-s001.vmdk"};
  for (size_t i = 0; i < ARRAY_SIZE(doors); i++) {
    char text[512];
    snprintf(text, sizeof(text),
             "# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\n"
             "createType=\"monolithicFlat\"\nRW 8 FLAT \"%s\" 0\n",
             doors[i]);
    const char *door = help_path("door.vmdk");
    help_write_file(door, text, strlen(text));
    allow(&allowed, help_path("disk.raw"));
    refused(door, &allowed, ERR_CORRUPT, "other files");
    forget(&allowed);
  }
}

// A descriptor with one line of its own, over the extents of "sparse".
static void wrong_line(const char *line, enum err_kind kind, const char *says)
{
  char text[512];
  struct list allowed = {0};
  const char *path = help_path("wrong.vmdk");
  snprintf(text, sizeof(text),
           "# Disk DescriptorFile\nversion=1\ncreateType=\"twoGbMaxExtentSparse\"\n%s\n", line);
  help_write_file(path, text, strlen(text));
  allow_all(&allowed, "sparse", 's', 3);
  refused(path, &allowed, kind, says);
  forget(&allowed);
}

static void wrong_descriptors(void **state)
{
  (void)state;
  wrong_line("", ERR_CORRUPT, "without extents");
  wrong_line("parentCID=12345678", ERR_CORRUPT, "parent");
  wrong_line("parentFileNameHint=\"/etc/passwd\"", ERR_CORRUPT, "parent");
  wrong_line("createType=\"vmfs\"", ERR_CORRUPT, "other files");
  wrong_line("RW 18446744073709551615 SPARSE \"sparse-s001.vmdk\"", ERR_CORRUPT, "sectors");
  wrong_line("RW 137438953472 ZERO\nRW 8 ZERO", ERR_CORRUPT, "larger together");
  wrong_line("RW 8 VMFS \"sparse-s001.vmdk\"", ERR_UNSUPPORTED, "VMFS");
  wrong_line("RW 8000000 FLAT \"sparse-s001.vmdk\" 0", ERR_CORRUPT, "truncated");
  wrong_line("RW 8 FLAT \"sparse-s001.vmdk\" 99999999", ERR_CORRUPT, "truncated");
  wrong_line("RW 40000000 SPARSE \"sparse-s001.vmdk\"", ERR_CORRUPT, "sectors"); // it has less
}

static void damaged(size_t at, const char *bytes, size_t length, const char *says)
{
  struct list allowed = {0};
  size_t size;
  uint8_t *extent = help_read_file(help_path("sparse-s001.vmdk"), &size);
  const char *text = "# Disk DescriptorFile\nversion=1\ncreateType=\"twoGbMaxExtentSparse\"\n"
                     "RW 4194304 SPARSE \"bad-s001.vmdk\"\n";
  memcpy(extent + at, bytes, length);
  help_write_file(help_path("bad-s001.vmdk"), extent, size);
  help_write_file(help_path("bad.vmdk"), text, strlen(text));
  allow(&allowed, help_path("bad-s001.vmdk"));
  refused(help_path("bad.vmdk"), &allowed, ERR_CORRUPT, says);
  forget(&allowed);
  free(extent);
}

static void damaged_extents(void **state)
{
  (void)state;
  damaged(0, "QFI", 3, "no sparse extent");
  damaged(4, "\11", 1, "no sparse extent");                        // version 9
  damaged(10, "\1", 1, "compressed");                              // flags
  damaged(20, "\1\0\0\0", 4, "");                                  // then there are no tables
  damaged(20, "\3\0\0\0", 4, "grains of 3 sectors");               // no power of two
  damaged(44, "\377\377\377\177", 4, "entries");                   // entries of a table
  damaged(56, "\377\377\377\377\377\377\377\377", 8, "directory"); // its place
  damaged(56, "\377\377\0", 3, ""); // somewhere else: no tables there
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_kind_is_read),
      cmocka_unit_test(only_what_was_allowed_is_opened),
      cmocka_unit_test(wrong_descriptors),
      cmocka_unit_test(damaged_extents),
  };
  return cmocka_run_group_tests(tests, NULL, help_cleanup);
}
