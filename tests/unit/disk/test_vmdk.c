// SPDX-License-Identifier: Apache-2.0
// vmdk streamOptimized: QEMU takes what we lay down, and so does a reader of another hand
// (vmdk_stream.py) that gets it through a pipe and looks at every byte of its structure.
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "disk/pack_internal.h"
#include "tests/unit/disk/help.h"

#define SECTOR 512ull
#define GRAIN  65536ull

struct told { // by the reader
  int64_t capacity, grains, tables;
  char adapter[16], heads[16], cylinders[16], hardware[16];
};

static int64_t number(struct json_object *o, const char *key)
{
  return json_object_get_int64(json_object_object_get(o, key));
}

static void text(struct json_object *o, const char *key, char ret[16])
{
  snprintf(ret, 16, "%s", json_object_get_string(json_object_object_get(o, key)));
}

static bool stream_is_good(const char *path, const char *raw, struct told *ret)
{
  char *output;
  int status = help_run(&output, "sh", "-c", "cat \"$0\" | python3 " READER " \"$1\"", path, raw,
                        (char *)NULL);
  struct json_object *o = status == 0 ? json_tokener_parse(output) : NULL;
  free(output);
  if (!o)
    return false;
  ret->capacity = number(o, "capacity");
  ret->grains = number(o, "grains");
  ret->tables = number(o, "tables");
  text(o, "ddb.adapterType", ret->adapter);
  text(o, "ddb.geometry.heads", ret->heads);
  text(o, "ddb.geometry.cylinders", ret->cylinders);
  text(o, "ddb.virtualHWVersion", ret->hardware);
  json_object_put(o);
  return true;
}

// ---- good ones ------------------------------------------------------------------------------

static const struct copy_options plain = {.format = DISK_FORMAT_VMDK, .object_sha256 = true};

static void image_is_good(const char *path, const struct copy_result *r, struct told *ret)
{
  const char *raw = help_path("stream.raw"), *converted = help_path("converted.raw");
  char digest[128];
  run_ok("qemu-img", "check", "-q", "-f", "vmdk", path);
  assert_true(stream_is_good(path, raw, ret));
  help_python_digest(raw, digest);
  assert_string_equal(r->content_digest, digest);
  help_read_digest(path, digest);
  assert_string_equal(r->content_digest, digest);
  run_ok("qemu-img", "convert", "-f", "vmdk", "-O", "raw", path, converted);
  run_ok("cmp", raw, converted);
  char *sha;
  assert_int_equal(help_run(&sha, "sha256sum", path, (char *)NULL), 0);
  assert_memory_equal(sha, r->object_sha256, 64);
  free(sha);
}

static void good_image(uint64_t size, const uint64_t (*data)[2], int64_t grains, int64_t tables)
{
  struct memory_source *m = memory_source_new(size, data);
  const char *path = help_path("image.vmdk");
  struct copy_result r;
  struct told told;
  help_copy_to_file(&m->source, path, &plain, &r);
  assert_string_equal(r.layout, "packed");
  image_is_good(path, &r, &told);
  assert_int_equal(told.capacity, (size + SECTOR - 1) / SECTOR);
  assert_int_equal(told.grains, grains);
  assert_int_equal(told.tables, tables);
  copy_result_release(&r);
  source_free(&m->source);
}

static void plain_disks(void **state)
{
  (void)state;
  static const uint64_t data[][2] = {{0, 3 * MIB}, {10 * MIB, 65536}, {17 * MIB, 9 * MIB}, {0, 0}};
  static const uint64_t far[][2] = {
      {32 * MIB - 1, 2}, {70 * MIB, 65536}, {95 * MIB, MIB}, {160 * MIB, 512}, {0, 0}};
  good_image(32 * MIB, data, 48 + 1 + 144, 1);
  good_image(26 * MIB, data, 48 + 1 + 144, 1);
  good_image(192 * MIB, far, 2 + 1 + 16 + 1, 4); // no table between 96 and 160 MiB
}

static void odd_sizes_and_edges(void **state)
{
  (void)state;
  static const uint64_t edges[][2] = {
      {1, 1}, {65535, 2}, {4 * MIB - 512, 1024}, {9 * MIB, 999}, {0, 0}};
  static const uint64_t tiny[][2] = {{0, 1000}, {0, 0}};
  static const uint64_t none[][2] = {{0, 0}};
  good_image(9 * MIB + 999, edges, 5, 1);
  good_image(9 * MIB + 999 + 70000, edges, 5, 1);
  good_image(1000, tiny, 1, 1);
  good_image(5 * MIB, none, 0, 0);
  good_image(400 * MIB + 1, none, 0, 0);
}

// What cannot be said in a vmdk becomes the smallest disk that can.
static void nothing_at_all(void **state)
{
  (void)state;
  static const uint64_t none[][2] = {{0, 0}};
  struct memory_source *m = memory_source_new(0, none);
  const char *path = help_path("nothing.vmdk");
  struct copy_result r;
  struct told told;
  help_copy_to_file(&m->source, path, &plain, &r);
  run_ok("qemu-img", "check", "-q", "-f", "vmdk", path);
  assert_true(stream_is_good(path, help_path("nothing.raw"), &told));
  assert_int_equal(told.capacity, 1);
  struct source *s = help_open(path);
  struct tally tally = {0};
  struct err err = ERR_INIT;
  assert_int_equal(digest_verify(s, r.content_digest, 0, &tally, &err), 0);
  source_free(s);
  copy_result_release(&r);
  source_free(&m->source);
}

// Called data, and zeros all the same.
static void zeros_in_data_leave_no_trace(void **state)
{
  (void)state;
  static const uint64_t all[][2] = {{0, 40 * MIB}, {0, 0}};
  struct memory_source *m = memory_source_new(40 * MIB, all);
  memset(m->bytes, 0, 40 * MIB);
  m->bytes[5 * MIB] = 1;
  const char *path = help_path("zeros.vmdk");
  static const struct copy_options all_of_it = {
      .format = DISK_FORMAT_VMDK, .object_sha256 = true, .no_sparse = true};
  for (int written = 0; written < 2; written++) {
    struct copy_result r;
    struct told told;
    help_copy_to_file(&m->source, path, written ? &all_of_it : &plain, &r);
    image_is_good(path, &r, &told);
    assert_int_equal(told.grains, written ? 640 : 1);
    assert_int_equal(told.tables, written ? 2 : 1);
    copy_result_release(&r);
  }
  source_free(&m->source);
}

static void parts_make_the_same_object(void **state)
{
  (void)state;
  help_same_in_parts(&plain, true, false);
}

static void what_it_says_about_itself(void **state)
{
  (void)state;
  static const struct {
    struct vmdk_options options;
    const char *adapter, *heads, *cylinders, *hardware;
  } rows[] = {
      {{0, 0}, "lsilogic", "255", "25", "13"},
      {{VMDK_LSILOGIC, 21}, "lsilogic", "255", "25", "21"},
      {{VMDK_BUSLOGIC, 4}, "buslogic", "255", "25", "4"},
      {{VMDK_IDE, 99}, "ide", "16", "391", "99"},
  };
  static const uint64_t data[][2] = {{0, 1000}, {0, 0}};
  struct memory_source *m = memory_source_new(192 * MIB, data);
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
    const char *path = help_path("says.vmdk");
    struct copy_options o = {.format = DISK_FORMAT_VMDK, .vmdk = rows[i].options};
    struct copy_result r;
    struct told told;
    help_copy_to_file(&m->source, path, &o, &r);
    assert_true(stream_is_good(path, help_path("says.raw"), &told));
    assert_string_equal(told.adapter, rows[i].adapter);
    assert_string_equal(told.heads, rows[i].heads);
    assert_string_equal(told.cylinders, rows[i].cylinders);
    assert_string_equal(told.hardware, rows[i].hardware);
    copy_result_release(&r);
  }
  source_free(&m->source);
}

// ---- large ----------------------------------------------------------------------------------

static void an_empty_tebibyte(void **state)
{
  (void)state;
  const char *raw = help_path("far.raw"), *path = help_path("far.vmdk");
  run_ok("truncate", "-s", "1T", raw);
  struct source *s = help_open(raw);
  struct copy_result r;
  int64_t start_ms = clock_ms();
  help_copy_to_file(s, path, &plain, &r);
  assert_true(clock_ms() - start_ms < 5000);
  source_free(s);
  assert_true(r.stored_bytes < MIB);
  char digest[128];
  help_read_digest(path, digest);
  assert_string_equal(r.content_digest, digest);
  copy_result_release(&r);
}

// QEMU looks at each of the 134 million grains, and takes a minute: only the stream is read.
static void a_few_blocks_in_eight_tebibytes(void **state)
{
  (void)state;
  const char *raw = help_path("wide.raw"), *path = help_path("wide.vmdk");
  run_ok("truncate", "-s", "8T", raw);
  run_ok("sh", "-c",
         "for at in 0 1 9000000 33554431 33554432 134217727; do "
         "printf 'here %d' $at | dd of=\"$0\" bs=65536 seek=$at conv=notrunc status=none; done",
         raw);
  struct source *s = help_open(raw);
  struct copy_result r;
  struct told told;
  help_copy_to_file(s, path, &plain, &r);
  source_free(s);
  const char *stream = help_path("stream.raw");
  assert_true(stream_is_good(path, stream, &told));
  assert_int_equal(told.grains, 6);
  assert_int_equal(told.tables, 5);
  char digest[128];
  help_read_digest(stream, digest);
  assert_string_equal(r.content_digest, digest);
  copy_result_release(&r);
}

// ---- limits ---------------------------------------------------------------------------------

static void too_large_a_disk(void **state)
{
  (void)state;
  struct extents map = {0};
  struct vmdk_options o = {0};
  struct pack *p;
  struct err err = ERR_INIT;
  assert_int_equal(pack_new_vmdk(&map, 62ull << 40, &o, &p, &err), 0);
  pack_free(p);
  assert_int_equal(pack_new_vmdk(&map, (62ull << 40) + 1, &o, &p, &err), -1);
  assert_int_equal(err.kind, ERR_LIMIT);
  assert_non_null(strstr(err.message, "use qcow2"));
}

// Tables count sectors in 32 bits; how much will be stored is only known on the way.
static void too_much_that_is_stored(void **state)
{
  (void)state;
  struct extents map = {0};
  struct vmdk_options o = {0};
  struct pack *p;
  void *lane;
  struct err err = ERR_INIT;
  assert_int_equal(pack_new_vmdk(&map, 4ull << 40, &o, &p, &err), 0);
  assert_int_equal(p->ops->lane_open(p, &lane, &err), 0);
  uint8_t *chunk = calloc(1, COPY_CHUNK_BYTES);
  struct packed k = {.chunk = 7, .count = 1, .nonzero = 1, .bytes = malloc(p->room_bytes)};
  assert_int_equal(p->ops->data(p, lane, chunk, COPY_CHUNK_BYTES, &k, &err), 0);
  assert_int_equal(p->ops->place(p, &k, (2ull << 40) - 8192, &err), 0);
  assert_int_equal(p->ops->place(p, &k, (2ull << 40) - 512, &err), -1);
  assert_int_equal(err.kind, ERR_LIMIT);
  size_t length;
  assert_int_equal(p->ops->trailer(p, (2ull << 40) - 512, k.bytes, &length, &err), -1);
  assert_int_equal(err.kind, ERR_LIMIT);
  free(k.bytes);
  free(chunk);
  p->ops->lane_close(p, lane);
  pack_free(p);
}

static void a_writer_that_needs_the_length(void **state)
{
  (void)state;
  static const uint64_t data[][2] = {{0, MIB}, {0, 0}};
  struct memory_source *m = memory_source_new(MIB, data);
  struct memory_writer *w = memory_writer_new();
  w->writer.any_length = false;
  help_copy_refused(&m->source, &w->writer, &plain, ERR_UNSUPPORTED, "vmdk cannot be written there",
                    NULL);
  object_writer_free(&w->writer);
  source_free(&m->source);
}

// ---- damaged --------------------------------------------------------------------------------

static bool reads_whole(const char *path, const char *digest)
{
  struct reach reach = {
      .kind = REACH_FILE, .format = DISK_FORMAT_VMDK, .path = (char *)(uintptr_t)path};
  struct source *s;
  struct tally tally = {0};
  struct err err = ERR_INIT;
  if (source_open_reach(&reach, &s, &err) != 0)
    return false;
  bool whole = digest_verify(s, digest, 1, &tally, &err) == 0;
  source_free(s);
  return whole;
}

// By whoever reads it as a disk, with the digest of the copy.
static void damage_is_found(void **state)
{
  (void)state;
  static const uint64_t data[][2] = {{0, 3000}, {40 * MIB, 70000}, {0, 0}};
  struct memory_source *m = memory_source_new(80 * MIB, data);
  const char *path = help_path("damaged.vmdk");
  struct copy_result r;
  struct told told;
  help_copy_to_file(&m->source, path, &plain, &r);
  size_t length;
  uint8_t *bytes = help_read_file(path, &length);
  size_t first = 128 * SECTOR; // the first grain, behind the head
  size_t places[] = {first + 20, first + 1500, first + 2300, length - 2 * SECTOR + 56, 0};
  assert_true(reads_whole(path, r.content_digest));
  for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
    bytes[places[i]] ^= 1;
    help_write_file(path, bytes, length);
    assert_false(reads_whole(path, r.content_digest));
    assert_false(stream_is_good(path, help_path("damaged.raw"), &told));
    bytes[places[i]] ^= 1;
  }
  size_t lengths[] = {length - 1, length - SECTOR, length - 3 * SECTOR, first + SECTOR, 100, 0};
  for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
    help_write_file(path, bytes, lengths[i]);
    // Without its last byte, which is padding, the disk is still whole; the stream is not.
    assert_int_equal(reads_whole(path, r.content_digest), i == 0);
    assert_false(stream_is_good(path, help_path("short.raw"), &told));
  }
  free(bytes);
  copy_result_release(&r);
  source_free(&m->source);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(plain_disks),
      cmocka_unit_test(odd_sizes_and_edges),
      cmocka_unit_test(nothing_at_all),
      cmocka_unit_test(zeros_in_data_leave_no_trace),
      cmocka_unit_test(parts_make_the_same_object),
      cmocka_unit_test(what_it_says_about_itself),
      cmocka_unit_test(an_empty_tebibyte),
      cmocka_unit_test(a_few_blocks_in_eight_tebibytes),
      cmocka_unit_test(too_large_a_disk),
      cmocka_unit_test(too_much_that_is_stored),
      cmocka_unit_test(a_writer_that_needs_the_length),
      cmocka_unit_test(damage_is_found),
  };
  return cmocka_run_group_tests(tests, NULL, help_cleanup);
}
