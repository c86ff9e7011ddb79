// SPDX-License-Identifier: Apache-2.0
// Objects that we lay down are images that QEMU accepts, with the content of the source.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "tests/unit/disk/help.h"

static void sha256_of_file(const char *path, char ret[65])
{
  char *output;
  assert_int_equal(help_run(&output, "sha256sum", path, (char *)NULL), 0);
  snprintf(ret, 65, "%.64s", output);
  free(output);
}

// Laid down by us, checked by QEMU, turned into raw by QEMU, digest by Python.
static void good_image(struct source *s, int format)
{
  const char *path = help_path("image");
  const char *raw = help_path("image.raw");
  const char *name = disk_format_names[format];
  struct copy_result r;
  help_copy_to_file(s, path, &(struct copy_options){.format = format, .object_sha256 = true}, &r);
  if (format == DISK_FORMAT_QCOW2)
    run_ok("qemu-img", "check", "-f", name, path);
  run_ok("qemu-img", "convert", "-f", name, "-O", "raw", path, raw);
  char digest[128], sha[65];
  help_python_digest(raw, digest);
  assert_string_equal(r.content_digest, digest);
  sha256_of_file(path, sha);
  assert_string_equal(r.object_sha256, sha);
  size_t length;
  uint8_t *bytes = help_read_file(path, &length);
  assert_int_equal(length, r.stored_bytes);
  free(bytes);
  copy_result_release(&r);
}

static void both(uint64_t size, const uint64_t (*data)[2])
{
  struct memory_source *m = memory_source_new(size, data);
  good_image(&m->source, DISK_FORMAT_QCOW2);
  good_image(&m->source, DISK_FORMAT_RAW);
  source_free(&m->source);
}

static void plain_disks(void **state)
{
  (void)state;
  static const uint64_t data[][2] = {{0, 3 * MIB}, {10 * MIB, 65536}, {17 * MIB, 9 * MIB}, {0, 0}};
  both(32 * MIB, data);
  both(26 * MIB, data);
}

static void odd_sizes_and_edges(void **state)
{
  (void)state;
  static const uint64_t edges[][2] = {
      {1, 1}, {65535, 2}, {4 * MIB - 512, 1024}, {9 * MIB, 999}, {0, 0}};
  static const uint64_t tiny[][2] = {{0, 1000}, {0, 0}};
  static const uint64_t none[][2] = {{0, 0}};
  both(9 * MIB + 999, edges);
  both(1000, tiny);
  both(5 * MIB, none);
  both(0, none);
}

static void zeros_in_data_are_not_written_to_files(void **state)
{
  (void)state;
  static const uint64_t all[][2] = {{0, 40 * MIB}, {0, 0}};
  struct memory_source *m = memory_source_new(40 * MIB, all);
  memset(m->bytes + MIB, 0, 38 * MIB);
  good_image(&m->source, DISK_FORMAT_RAW);
  good_image(&m->source, DISK_FORMAT_QCOW2);
  char *blocks;
  assert_int_equal(help_run(&blocks, "stat", "-c", "%b", help_path("image"), (char *)NULL), 0);
  assert_true(atol(blocks) * 512 < (long)(4 * MIB));
  free(blocks);
  source_free(&m->source);
}

// Data in every second cluster: each L2 entry differs from its neighbour.
static void fragmented(void **state)
{
  (void)state;
  struct source *s;
  struct err err = ERR_INIT;
  assert_int_equal(source_open_pattern(700 * MIB + 512, 7, 4, &s, &err), 0);
  good_image(s, DISK_FORMAT_QCOW2);
  source_free(s);
}

static const uint64_t far[][2] = {{0, 65536}, {(1ull << 40) - 65536, 65536}, {0, 0}};

static int far_extents(struct source *s, struct extents *ret, struct err *err)
{
  (void)err;
  extents_add(ret, 0, far[0][1], true);
  extents_add(ret, far[0][1], far[1][0] - far[0][1], false);
  extents_add(ret, far[1][0], s->size_bytes - far[1][0], true);
  return 0;
}

static int far_read(struct source *s, void *lane, void *into, size_t length, uint64_t offset,
                    struct err *err)
{
  (void)s, (void)lane, (void)err;
  help_fill(into, length, offset);
  return 0;
}

static const struct source_ops far_ops = {
    .name = "far", .extents = far_extents, .read = far_read, .free = NULL};

// 1 TiB with two clusters of data: 2 L2 tables, and a file of less than a MiB.
static void a_nearly_empty_tebibyte(void **state)
{
  (void)state;
  struct source s = {.ops = &far_ops, .size_bytes = 1ull << 40, .exact_map = true};
  const char *path = help_path("far.qcow2");
  struct copy_result r;
  help_copy_to_file(&s, path, &(struct copy_options){.format = DISK_FORMAT_QCOW2}, &r);
  run_ok("qemu-img", "check", "-f", "qcow2", path);
  assert_true(r.stored_bytes < MIB);
  char *map;
  assert_int_equal(help_run(&map, "qemu-img", "map", "-f", "qcow2", path, (char *)NULL), 0);
  assert_non_null(strstr(map, "0xffffff0000"));
  free(map);
  copy_result_release(&r);
}

static int full_read(struct source *s, void *lane, void *into, size_t length, uint64_t offset,
                     struct err *err)
{
  (void)s, (void)lane, (void)err;
  memset(into, 0, length);
  if (offset % (64 * MIB) == 0)
    help_fill(into, 4096, offset);
  return 0;
}

// A full map with more data than one refcount block (2 GiB) and several L2 tables describe; nearly
// all of it zeros, so that the file stays small.
static void several_refcount_blocks(void **state)
{
  (void)state;
  static const struct source_ops full_ops = {.name = "full", .read = full_read};
  struct source s = {.ops = &full_ops, .size_bytes = 4608 * MIB + 65536, .exact_map = true};
  const char *path = help_path("full.qcow2");
  struct copy_result r;
  help_copy_to_file(&s, path, &(struct copy_options){.format = DISK_FORMAT_QCOW2}, &r);
  run_ok("qemu-img", "check", "-f", "qcow2", path);
  assert_true(r.stored_bytes > 4608 * MIB);
  copy_result_release(&r);
}

static void existing_files_are_not_overwritten(void **state)
{
  (void)state;
  static const uint64_t data[][2] = {{0, 3 * MIB}, {0, 0}};
  struct memory_source *m = memory_source_new(4 * MIB, data);
  const char *path = help_path("mine");
  help_write_file(path, "mine", 4);
  struct object_writer *w;
  struct err err = ERR_INIT;
  assert_int_equal(object_writer_file(path, "a/b", false, &w, &err), 0);
  help_copy_refused(&m->source, w, &(struct copy_options){.format = DISK_FORMAT_RAW}, ERR_EXISTS,
                    NULL);
  assert_int_equal(object_abort(w, &err), 0);
  object_writer_free(w);
  size_t length;
  uint8_t *bytes = help_read_file(path, &length);
  assert_int_equal(length, 4);
  free(bytes);
  source_free(&m->source);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(plain_disks),
      cmocka_unit_test(odd_sizes_and_edges),
      cmocka_unit_test(zeros_in_data_are_not_written_to_files),
      cmocka_unit_test(fragmented),
      cmocka_unit_test(a_nearly_empty_tebibyte),
      cmocka_unit_test(several_refcount_blocks),
      cmocka_unit_test(existing_files_are_not_overwritten),
  };
  return cmocka_run_group_tests_name("disk/layout", tests, NULL, help_cleanup);
}
