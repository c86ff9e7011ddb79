// SPDX-License-Identifier: Apache-2.0
// raw.zst: what we lay down is an ordinary .zst, and any range of it can be read; images of others,
// damaged ones and those that lie.
#include <endian.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "disk/zst_internal.h"
#include "tests/unit/disk/help.h"

#define CHUNK COPY_CHUNK_BYTES

static const struct copy_options zst = {.format = DISK_FORMAT_RAW_ZST, .object_sha256 = true};

// Reads all of it. The kind of the error; ERR_NONE: it is whole.
static enum err_kind read_fails(const char *path, struct err *err)
{
  struct reach reach = {
      .kind = REACH_FILE, .format = DISK_FORMAT_RAW_ZST, .path = (char *)(uintptr_t)path};
  struct source *s;
  struct copy_result r;
  struct tally tally = {0};
  *err = (struct err)ERR_INIT;
  if (source_open_reach(&reach, &s, err) != 0)
    return err->kind;
  int failed = digest_source(s, 0, &tally, &r, err);
  if (!failed)
    copy_result_release(&r);
  source_free(s);
  return failed ? err->kind : ERR_NONE;
}

// ---- good ones ------------------------------------------------------------------------------

static void good_image(uint64_t size, const uint64_t (*data)[2])
{
  struct memory_source *m = memory_source_new(size, data);
  const char *path = help_path("image.raw.zst"), *raw = help_path("image.raw");
  struct copy_result r;
  help_copy_to_file(&m->source, path, &zst, &r);
  run_ok("zstd", "-t", "-q", path);
  run_ok("zstd", "-d", "-q", "-f", path, "-o", raw);
  char by_python[128], by_us[128];
  help_python_digest(raw, by_python);
  assert_string_equal(r.content_digest, by_python);
  help_read_digest(path, by_us);
  assert_string_equal(r.content_digest, by_us);
  char *sha;
  assert_int_equal(help_run(&sha, "sha256sum", path, (char *)NULL), 0);
  assert_memory_equal(sha, r.object_sha256, 64);
  free(sha);
  copy_result_release(&r);
  source_free(&m->source);
}

static void plain_disks(void **state)
{
  (void)state;
  static const uint64_t data[][2] = {{0, 3 * MIB}, {10 * MIB, 65536}, {17 * MIB, 9 * MIB}, {0, 0}};
  good_image(32 * MIB, data);
  good_image(26 * MIB, data);
}

static void odd_sizes_and_edges(void **state)
{
  (void)state;
  static const uint64_t edges[][2] = {
      {1, 1}, {65535, 2}, {4 * MIB - 512, 1024}, {9 * MIB, 999}, {0, 0}};
  static const uint64_t tiny[][2] = {{0, 1000}, {0, 0}};
  static const uint64_t none[][2] = {{0, 0}};
  good_image(9 * MIB + 999, edges);
  good_image(1000, tiny);
  good_image(5 * MIB, none);
  good_image(400 * MIB + 1, none);
  good_image(0, none);
}

// Holes smaller than a chunk are holes again.
static void holes_stay_holes(void **state)
{
  (void)state;
  static const uint64_t data[][2] = {{65536, 131072}, {3 * MIB, 65536}, {70 * MIB, 65536}, {0, 0}};
  struct memory_source *m = memory_source_new(80 * MIB, data);
  const char *path = help_path("holes.raw.zst");
  struct copy_result r;
  help_copy_to_file(&m->source, path, &zst, &r);
  copy_result_release(&r);
  struct source *s = help_open(path);
  struct extents before = {0}, after = {0};
  struct err err = ERR_INIT;
  assert_int_equal(source_extents(&m->source, &before, &err), 0);
  assert_int_equal(source_extents(s, &after, &err), 0);
  assert_int_equal(before.count, after.count);
  for (size_t i = 0; i < before.count; i++) {
    assert_int_equal(before.items[i].offset, after.items[i].offset);
    assert_int_equal(before.items[i].data, after.items[i].data);
  }
  extents_release(&before);
  extents_release(&after);
  source_free(s);
  source_free(&m->source);
}

static void parts_make_the_same_object(void **state)
{
  (void)state;
  help_same_in_parts(&zst, true, false);
}

static void too_much_for_its_parts(void **state)
{
  (void)state;
  static const uint64_t all[][2] = {{0, 80 * MIB}, {0, 0}};
  struct memory_source *m = memory_source_new(80 * MIB, all);
  struct memory_writer *w = memory_writer_new();
  w->writer.parts_max = 1;
  help_copy_refused(&m->source, &w->writer, &zst, ERR_LIMIT, "use ", "qcow2", NULL);
  object_writer_free(&w->writer);
  source_free(&m->source);
}

// Random data: as long packed as it was. An ordered writer of one part gets it as a stream.
static void stream_to(int restart_at_mib, uint64_t size, enum err_kind kind)
{
  const uint64_t all[][2] = {{0, size}, {0, 0}};
  struct memory_source *m = memory_source_new(size, all);
  struct memory_writer *w = memory_writer_new();
  w->writer.ordered = true;
  w->writer.parts_max = 1;
  w->step = 300007;
  w->restart_at_mib = restart_at_mib;
  struct tally tally = {0};
  struct copy_result r;
  struct err err = ERR_INIT;
  struct copy_job job = {.source = &m->source,
                         .object = &w->writer,
                         .options = {.format = DISK_FORMAT_RAW_ZST, .object_sha256 = true}};
  int failed = copy_run(&job, &tally, &r, &err);
  if (kind != ERR_NONE) {
    assert_int_equal(failed, -1);
    assert_int_equal(err.kind, kind);
  } else {
    if (failed)
      fail_msg("%s", err.message);
    const char *path = help_path("stream.raw.zst"), *raw = help_path("stream.raw");
    assert_int_equal(w->parts, 1);
    assert_int_equal(w->length, r.stored_bytes);
    help_write_file(path, w->bytes, w->length);
    run_ok("zstd", "-q", "-f", "-d", path, "-o", raw);
    char digest[128];
    help_read_digest(raw, digest);
    assert_string_equal(r.content_digest, digest);
  }
  copy_result_release(&r);
  object_writer_free(&w->writer);
  source_free(&m->source);
}

static void to_one_ordered_part(void **state)
{
  (void)state;
  stream_to(0, 0, ERR_NONE);
  stream_to(0, MIB + 512, ERR_NONE);
  stream_to(0, 120 * MIB, ERR_NONE);
  stream_to(3, 40 * MIB, ERR_NONE);  // starts over while all of it is still held
  stream_to(100, 120 * MIB, ERR_IO); // and when the first of it is gone
}

static void a_writer_that_needs_the_length(void **state)
{
  (void)state;
  static const uint64_t data[][2] = {{0, MIB}, {0, 0}};
  struct memory_source *m = memory_source_new(MIB, data);
  struct memory_writer *w = memory_writer_new();
  w->writer.any_length = false;
  help_copy_refused(&m->source, &w->writer, &zst, ERR_UNSUPPORTED, "use ", "qcow2", NULL);
  object_writer_free(&w->writer);
  source_free(&m->source);
}

static void an_empty_tebibyte(void **state)
{
  (void)state;
  const char *raw = help_path("far.raw"), *path = help_path("far.raw.zst");
  run_ok("truncate", "-s", "1T", raw);
  struct source *s = help_open(raw);
  struct copy_result r;
  help_copy_to_file(s, path, &zst, &r);
  source_free(s);
  assert_true(r.stored_bytes < 48 * MIB); // 4 bytes for each 128 KiB: zstd knows nothing shorter
  char digest[128];
  help_read_digest(path, digest);
  assert_string_equal(r.content_digest, digest);
  copy_result_release(&r);
}

// ---- of others ------------------------------------------------------------------------------

struct image {
  uint8_t *bytes;
  size_t length;
  uint32_t entries[64][2];
  uint32_t count;
};

static void put(struct image *i, const void *bytes, size_t length)
{
  i->bytes = realloc(i->bytes, i->length + length);
  assert_non_null(i->bytes);
  memcpy(i->bytes + i->length, bytes, length);
  i->length += length;
}

static void put_u32(struct image *i, uint32_t value)
{
  uint32_t le = htole32(value);
  put(i, &le, sizeof(le));
}

static void put_frame(struct image *i, const void *plain, size_t length)
{
  size_t room = ZSTD_compressBound(length);
  cleanup_free uint8_t *bytes = malloc(room);
  size_t n = ZSTD_compress(bytes, room, plain, length, 3);
  assert_false(ZSTD_isError(n));
  put(i, bytes, n);
  i->entries[i->count][0] = (uint32_t)n;
  i->entries[i->count++][1] = (uint32_t)length;
}

static void put_skippable(struct image *i)
{
  put_u32(i, 0x184d2a53);
  put_u32(i, 4);
  put(i, "mine", 4);
  i->entries[i->count][0] = 12;
  i->entries[i->count++][1] = 0;
}

static void put_table(struct image *i, bool checksums)
{
  put_u32(i, ZST_SKIPPABLE_MAGIC);
  put_u32(i, i->count * (checksums ? 12 : 8) + ZST_FOOTER_BYTES);
  for (uint32_t n = 0; n < i->count; n++) {
    put_u32(i, i->entries[n][0]);
    put_u32(i, i->entries[n][1]);
    if (checksums)
      put_u32(i, 0xdeadbeef); // nobody asks for it: the frames carry their own
  }
  put_u32(i, i->count);
  put(i, checksums ? "\x80" : "\0", 1);
  put_u32(i, ZST_SEEKABLE_MAGIC);
}

static void images_of_others(void **state)
{
  (void)state;
  static const size_t lengths[] = {100000, 1, 700001, 5 * MIB, 4 * MIB};
  for (int checksums = 0; checksums < 2; checksums++) {
    struct image image = {0};
    size_t size = 0;
    cleanup_free uint8_t *plain = malloc(16 * MIB);
    help_fill(plain, 16 * MIB, 5);
    memset(plain + MIB, 0, MIB);
    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
      put_frame(&image, plain + size, lengths[i]);
      put_skippable(&image);
      size += lengths[i];
    }
    put_table(&image, checksums);
    const char *path = help_path("others.raw.zst"), *raw = help_path("others.raw");
    help_write_file(path, image.bytes, image.length);
    help_write_file(raw, plain, size);
    char by_python[128], by_us[128];
    help_python_digest(raw, by_python);
    help_read_digest(path, by_us);
    assert_string_equal(by_us, by_python);
    free(image.bytes);
  }
}

// ---- damaged, and lies ----------------------------------------------------------------------

static void small_image(uint8_t **ret, size_t *ret_length)
{
  static const uint64_t data[][2] = {{0, 3000}, {5 * MIB, 70000}, {0, 0}};
  struct memory_source *m = memory_source_new(60 * MIB, data);
  const char *path = help_path("small.raw.zst");
  struct copy_result r;
  help_copy_to_file(&m->source, path, &zst, &r);
  copy_result_release(&r);
  source_free(&m->source);
  *ret = help_read_file(path, ret_length);
}

static void every_flipped_byte_is_found(void **state)
{
  (void)state;
  uint8_t *bytes;
  size_t length;
  small_image(&bytes, &length);
  const char *path = help_path("flipped.raw.zst");
  struct err err;
  help_write_file(path, bytes, length);
  assert_int_equal(read_fails(path, &err), ERR_NONE);
  char right[128], wrong[128];
  help_read_digest(path, right);
  // All of the frames of zeros, the map and the table; of the data every 97th byte.
  for (size_t at = 0; at < length; at += at < 73000 ? 97 : 1) {
    bytes[at] ^= (uint8_t)(1u << at % 8);
    help_write_file(path, bytes, length);
    if (read_fails(path, &err) == ERR_NONE) { // only in what zstd itself does not look at
      help_read_digest(path, wrong);
      assert_string_equal(wrong, right);
      assert_true(at >= length - 5 && at < length - 4); // unused bits of the table's descriptor
    }
    bytes[at] ^= (uint8_t)(1u << at % 8);
  }
  free(bytes);
}

static void every_truncation_is_found(void **state)
{
  (void)state;
  uint8_t *bytes;
  size_t length;
  small_image(&bytes, &length);
  const char *path = help_path("short.raw.zst");
  struct err err;
  for (size_t n = 0; n < length; n += n < length - 400 ? 997 : 1) {
    help_write_file(path, bytes, n);
    assert_int_not_equal(read_fails(path, &err), ERR_NONE);
  }
  free(bytes);
}

// The map says that a block is empty, and the frame has data there.
static void a_map_that_lies(void **state)
{
  (void)state;
  uint8_t *bytes;
  size_t length;
  small_image(&bytes, &length);
  size_t chunks = 15, table = ZST_HEADER_BYTES + (chunks + 1) * ZST_ENTRY_BYTES + ZST_FOOTER_BYTES;
  uint8_t *sum = bytes + length - table - ZST_MAP_SUM_BYTES;
  uint8_t *body = sum - chunks * 8 - ZST_MAP_HEAD_BYTES;
  assert_memory_equal(body, ZST_MAP_MAGIC, ZST_MAP_MAGIC_BYTES);
  body[ZST_MAP_HEAD_BYTES + 8] = 2 << 4; // of chunk 1, which has two blocks from 1 MiB on
  body[ZST_MAP_HEAD_BYTES + 8 + 2] = 2;
  assert_int_equal(EVP_Digest(body, (size_t)(sum - body), sum, NULL, EVP_sha256(), NULL), 1);
  const char *path = help_path("lies.raw.zst");
  help_write_file(path, bytes, length);
  struct err err;
  assert_int_equal(read_fails(path, &err), ERR_CORRUPT);
  assert_non_null(strstr(err.message, "map of blocks"));
  free(bytes);
}

static void hostile_tables(void **state)
{
  (void)state;
  static const struct {
    uint32_t stored, holds, count;
    const char *words;
  } rows[] = {
      {0, 0, UINT32_MAX, "claims 4294967295 frames"},
      {0, 0, 5000000, "claims 5000000 frames"},
      {0, 0, 2, "does not begin where"},
      {40, 1u << 30, 1, "at most 16777216 are read"},
      {UINT32_MAX, 100, 1, "at most 16777216 are read"},
      {39, 100, 1, "together"},
  };
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
    struct image image = {0};
    uint8_t zeros[40] = {0x28, 0xb5, 0x2f, 0xfd};
    put(&image, zeros, sizeof(zeros));
    image.entries[0][0] = rows[i].stored;
    image.entries[0][1] = rows[i].holds;
    image.count = 1;
    put_table(&image, false);
    uint32_t count = htole32(rows[i].count);
    memcpy(image.bytes + image.length - ZST_FOOTER_BYTES, &count, sizeof(count));
    const char *path = help_path("hostile.raw.zst");
    help_write_file(path, image.bytes, image.length);
    struct err err;
    assert_int_equal(read_fails(path, &err), ERR_CORRUPT);
    if (!strstr(err.message, rows[i].words))
      fail_msg("'%s' is not in '%s'", rows[i].words, err.message);
    free(image.bytes);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(plain_disks),
      cmocka_unit_test(odd_sizes_and_edges),
      cmocka_unit_test(holes_stay_holes),
      cmocka_unit_test(parts_make_the_same_object),
      cmocka_unit_test(too_much_for_its_parts),
      cmocka_unit_test(to_one_ordered_part),
      cmocka_unit_test(a_writer_that_needs_the_length),
      cmocka_unit_test(an_empty_tebibyte),
      cmocka_unit_test(images_of_others),
      cmocka_unit_test(every_flipped_byte_is_found),
      cmocka_unit_test(every_truncation_is_found),
      cmocka_unit_test(a_map_that_lies),
      cmocka_unit_test(hostile_tables),
  };
  return cmocka_run_group_tests(tests, NULL, help_cleanup);
}
