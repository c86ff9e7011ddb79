// SPDX-License-Identifier: Apache-2.0
// qcow2 laid down head last, with zstd clusters and without: QEMU finds no fault in it, counts its
// references and sees the disk that was there.
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "disk/pack_internal.h"
#include "tests/unit/disk/help.h"

#define CLUSTER 65536ull

static const struct copy_options zstd = {
    .format = DISK_FORMAT_QCOW2, .compress = true, .object_sha256 = true};
static const struct copy_options asked = {.format = DISK_FORMAT_QCOW2, .object_sha256 = true};
static const struct {
  const struct copy_options *options;
  const char *layout;
} ways[] = {{&zstd, "head-last+zstd"}, {&asked, "head-last"}};

// Nothing that a compressor could do anything with.
static void fill_dense(uint8_t *at, size_t length, uint64_t seed)
{
  uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
  for (size_t i = 0; i < length; i += sizeof(x)) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    uint64_t word = x * 0x2545f4914f6cdd1du;
    memcpy(at + i, &word, length - i < sizeof(word) ? length - i : sizeof(word));
  }
}

static void fill_text(uint8_t *at, size_t length, uint64_t seed)
{
  for (size_t i = 0; i < length; i++)
    at[i] = (uint8_t) "to be or not to be, that is "[(i + seed + i / 977) % 28];
}

// ---- good ones ------------------------------------------------------------------------------

static void image_is_good(const char *path, const struct copy_result *r)
{
  const char *raw = help_path("converted.raw");
  char digest[128];
  run_ok("qemu-img", "check", "-q", "-f", "qcow2", path);
  run_ok("qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, raw);
  help_python_digest(raw, digest);
  assert_string_equal(r->content_digest, digest);
  help_read_digest(path, digest);
  assert_string_equal(r->content_digest, digest);
  size_t length;
  uint8_t *bytes = help_read_file(path, &length);
  assert_int_equal(length, r->stored_bytes);
  assert_int_equal(length % CLUSTER, 0);
  free(bytes);
}

// Stored bytes of both ways.
static void good_disk(struct memory_source *m, uint64_t ret_stored[2])
{
  const char *path = help_path("image.qcow2");
  m->source.exact_map = false;
  for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
    struct copy_result r;
    help_copy_to_file(&m->source, path, ways[i].options, &r);
    assert_string_equal(r.layout, ways[i].layout);
    assert_string_equal(r.object_sha256, ""); // its first bytes come last
    image_is_good(path, &r);
    ret_stored[i] = r.stored_bytes;
    copy_result_release(&r);
  }
}

static void good_image(uint64_t size, const uint64_t (*data)[2], uint64_t clusters)
{
  struct memory_source *m = memory_source_new(size, data);
  uint64_t stored[2];
  good_disk(m, stored);
  assert_int_equal(stored[1], clusters * CLUSTER);
  source_free(&m->source);
}

static void plain_disks(void **state)
{
  (void)state;
  static const uint64_t data[][2] = {{0, 3 * MIB}, {10 * MIB, 65536}, {17 * MIB, 9 * MIB}, {0, 0}};
  static const uint64_t far[][2] = {
      {512 * MIB - 1, 2}, {1100 * MIB, 65536}, {1536 * MIB - 65536, 65536}, {0, 0}};
  good_image(32 * MIB, data, 48 + 1 + 144 + 5); // header, L2, L1, refcounts and their table
  good_image(26 * MIB, data, 48 + 1 + 144 + 5);
  good_image(1600 * MIB, far, 2 + 2 + 4 + 3); // three L2 tables
}

static void odd_sizes_and_edges(void **state)
{
  (void)state;
  static const uint64_t edges[][2] = {
      {1, 1}, {65535, 2}, {4 * MIB - 512, 1024}, {9 * MIB, 999}, {0, 0}};
  static const uint64_t tiny[][2] = {{0, 1000}, {0, 0}};
  static const uint64_t none[][2] = {{0, 0}};
  good_image(9 * MIB + 999, edges, 5 + 5);
  good_image(9 * MIB + 999 + 70000, edges, 5 + 5);
  good_image(1000, tiny, 1 + 5);
  good_image(5 * MIB, none, 4);
  good_image(400 * MIB + 1, none, 4);
  good_image(0, none, 4);
}

// What compresses, what does not and zeros, cluster by cluster: a cluster of the file is shared by
// many, and those that are stored as they are cost no more than one gap a chunk.
static void mixtures(void **state)
{
  (void)state;
  static const uint64_t all[][2] = {{0, 24 * MIB}, {0, 0}};
  struct memory_source *m = memory_source_new(24 * MIB, all);
  uint64_t counts[3] = {0}, stored[2];
  for (uint64_t at = 0; at < 24 * MIB; at += CLUSTER) {
    uint64_t kind = (at / CLUSTER * 7 + at / MIB) % 3;
    counts[kind]++;
    if (kind == 0)
      memset(m->bytes + at, 0, CLUSTER);
    else
      (kind == 1 ? fill_dense : fill_text)(m->bytes + at, CLUSTER, at);
  }
  good_disk(m, stored);
  assert_int_equal(stored[1], (counts[1] + counts[2] + 5) * CLUSTER);
  assert_true(stored[0] <= (counts[1] + 6 + 6) * CLUSTER); // six chunks
  assert_true(stored[0] >= (counts[1] + 6) * CLUSTER);
  source_free(&m->source);
}

static void zeros_in_data_leave_no_trace(void **state)
{
  (void)state;
  static const uint64_t all[][2] = {{0, 40 * MIB}, {0, 0}};
  struct memory_source *m = memory_source_new(40 * MIB, all);
  memset(m->bytes, 0, 40 * MIB);
  m->bytes[5 * MIB] = 1;
  uint64_t stored[2];
  good_disk(m, stored);
  assert_int_equal(stored[0], 6 * CLUSTER);
  assert_int_equal(stored[1], 6 * CLUSTER);
  source_free(&m->source);
}

// Zeros that are to be there are there, and forward, for then their place is known.
static void zeros_are_written_out(void **state)
{
  (void)state;
  static const uint64_t none[][2] = {{0, 0}};
  struct memory_source *m = memory_source_new(8 * MIB, none);
  const char *path = help_path("full.qcow2");
  m->source.exact_map = false;
  for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
    struct copy_options o = *ways[i].options;
    struct copy_result r;
    char *map;
    o.no_sparse = true;
    help_copy_to_file(&m->source, path, &o, &r);
    assert_string_equal(r.layout, o.compress ? "head-last+zstd" : "forward");
    image_is_good(path, &r);
    assert_int_equal(
        help_run(&map, "qemu-img", "map", "--output=json", "-f", "qcow2", path, (char *)NULL), 0);
    assert_non_null(strstr(map, "\"length\": 8388608"));
    assert_non_null(strstr(map, "\"data\": true"));
    free(map);
    copy_result_release(&r);
  }
  source_free(&m->source);
}

static void parts_make_the_same_object(void **state)
{
  (void)state;
  help_same_in_parts(&zstd, true, true);
  help_same_in_parts(&asked, false, true);
}

// ---- large ----------------------------------------------------------------------------------

static const uint64_t places[] = {0, 1, 9000000, 33554431, 33554432, 134217727}; // clusters

static int wide_extents(struct source *s, struct extents *ret, struct err *err)
{
  (void)err;
  uint64_t at = 0;
  for (size_t i = 0; i < ARRAY_SIZE(places) && places[i] * CLUSTER < s->size_bytes; i++) {
    extents_add(ret, at, places[i] * CLUSTER - at, false);
    extents_add(ret, places[i] * CLUSTER, CLUSTER, true);
    at = (places[i] + 1) * CLUSTER;
  }
  extents_add(ret, at, s->size_bytes - at, false);
  return 0;
}

static int wide_read(struct source *s, void *lane, void *into, size_t length, uint64_t offset,
                     struct err *err)
{
  (void)s, (void)lane, (void)err;
  help_fill(into, length, offset);
  return 0;
}

static const struct source_ops wide_ops = {
    .name = "wide", .extents = wide_extents, .read = wide_read};

static void nearly_empty(uint64_t size_bytes, uint64_t most_bytes)
{
  const char *path = help_path("wide.qcow2");
  struct source s = {.ops = &wide_ops, .size_bytes = size_bytes};
  for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
    struct copy_result r;
    char digest[128];
    int64_t start_ms = clock_ms();
    help_copy_to_file(&s, path, ways[i].options, &r);
    assert_true(clock_ms() - start_ms < 10000);
    assert_string_equal(r.layout, ways[i].layout);
    assert_true(r.stored_bytes <= most_bytes);
    run_ok("qemu-img", "check", "-q", "-f", "qcow2", path);
    help_read_digest(path, digest);
    assert_string_equal(r.content_digest, digest);
    copy_result_release(&r);
  }
}

static void a_nearly_empty_tebibyte(void **state)
{
  (void)state;
  nearly_empty(1ull << 40, MIB);
}

static void a_few_blocks_in_eight_tebibytes(void **state)
{
  (void)state;
  nearly_empty(8ull << 40, 2 * MIB);
}

// A disk of which each cluster begins with its number, and nothing else is in it.
static int numbered_read(struct source *s, void *lane, void *into, size_t length, uint64_t offset,
                         struct err *err)
{
  (void)s, (void)lane, (void)err;
  memset(into, 0, length);
  for (size_t at = 0; at < length; at += CLUSTER)
    memcpy((uint8_t *)into + at, &(uint64_t){offset + at + 1}, sizeof(uint64_t));
  return 0;
}

// An image of such a disk in memory: of clusters that hold only a number that is kept, of the
// others everything.
struct thin {
  uint64_t *numbers; // by cluster of the image
  uint8_t **whole;   // NULL: it has a number
  uint64_t clusters;
};

struct thin_writer {
  struct object_writer writer;
  struct thin *thin;
};

struct thin_reader {
  struct object_reader reader;
  const struct thin *thin;
};

static int thin_begin(struct object_writer *w, uint64_t size_bytes, struct err *err)
{
  (void)err;
  struct thin *t = ((struct thin_writer *)w)->thin;
  t->numbers = calloc(size_bytes / CLUSTER, sizeof(*t->numbers));
  t->whole = calloc(size_bytes / CLUSTER, sizeof(*t->whole));
  return 0;
}

static int thin_write_part(struct object_writer *w, void *lane, uint32_t number, uint64_t offset,
                           const struct object_body *body, struct err *err)
{
  (void)lane, (void)number, (void)err;
  static const uint8_t zeros[CLUSTER];
  struct thin *t = ((struct thin_writer *)w)->thin;
  for (size_t at = 0; at < body->length; at += CLUSTER) {
    const uint8_t *from = (const uint8_t *)body->bytes + at;
    uint64_t n = (offset + at) / CLUSTER;
    memcpy(&t->numbers[n], from, sizeof(*t->numbers));
    if (memcmp(from + sizeof(*t->numbers), zeros, CLUSTER - sizeof(*t->numbers)) == 0)
      continue;
    t->whole[n] = malloc(CLUSTER);
    memcpy(t->whole[n], from, CLUSTER);
  }
  return 0;
}

static int thin_commit(struct object_writer *w, struct err *err)
{
  (void)err;
  ((struct thin_writer *)w)->thin->clusters = w->size_bytes / CLUSTER;
  return 0;
}

static void thin_cluster(const struct thin *t, uint64_t n, uint8_t into[CLUSTER])
{
  memset(into, 0, CLUSTER);
  if (t->whole[n])
    memcpy(into, t->whole[n], CLUSTER);
  else
    memcpy(into, &t->numbers[n], sizeof(*t->numbers));
}

static int thin_read(struct object_reader *r, void *lane, void *into, size_t length,
                     uint64_t offset, struct err *err)
{
  (void)lane, (void)err;
  uint8_t cluster[CLUSTER];
  for (size_t done = 0; done < length;) {
    uint64_t at = offset + done, in = at % CLUSTER;
    size_t n = length - done < CLUSTER - in ? length - done : (size_t)(CLUSTER - in);
    thin_cluster(((struct thin_reader *)r)->thin, at / CLUSTER, cluster);
    memcpy((uint8_t *)into + done, cluster + in, n);
    done += n;
  }
  return 0;
}

static void thin_reader_free(struct object_reader *r)
{
  (void)r;
}

static uint64_t big64(const uint8_t *at)
{
  uint64_t big;
  memcpy(&big, at, sizeof(big));
  return be64toh(big);
}

// All clusters of the image are used once, and no others are.
static void refcounts_are_right(const struct thin *t)
{
  uint8_t head[CLUSTER], table[CLUSTER], block[CLUSTER];
  thin_cluster(t, 0, head);
  thin_cluster(t, big64(head + 48) / CLUSTER, table);
  uint64_t blocks = (t->clusters + CLUSTER / 2 - 1) / (CLUSTER / 2);
  assert_true(blocks > 2);
  assert_int_equal(big64(table + blocks * 8), 0);
  for (uint64_t i = 0; i < blocks; i++) {
    thin_cluster(t, big64(table + i * 8) / CLUSTER, block);
    for (uint64_t n = 0; n < CLUSTER / 2; n++)
      assert_int_equal(block[2 * n] << 8 | block[2 * n + 1], i * CLUSTER / 2 + n < t->clusters);
  }
}

static void content_is_right(const struct thin *t, const char *digest)
{
  static const struct object_reader_ops ops = {
      .name = "thin", .read = thin_read, .free = thin_reader_free};
  struct thin_reader r = {.reader = {.ops = &ops, .size_bytes = t->clusters * CLUSTER}, .thin = t};
  struct source *s;
  struct tally tally = {0};
  struct err err = ERR_INIT;
  assert_int_equal(source_open_image(&r.reader, DISK_FORMAT_QCOW2, NULL, &s, &err), 0);
  if (digest_verify(s, digest, 0, &tally, &err) != 0)
    fail_msg("%s", err.message);
  source_free(s);
}

// More is stored than two refcount blocks (of 2 GiB each) describe.
static void several_refcount_blocks(void **state)
{
  (void)state;
  static const struct source_ops numbered_ops = {.name = "numbered", .read = numbered_read};
  static const struct object_writer_ops thin_ops = {
      .name = "thin", .begin = thin_begin, .write_part = thin_write_part, .commit = thin_commit};
  struct source s = {.ops = &numbered_ops, .size_bytes = 4200 * MIB};
  struct thin t = {0};
  struct thin_writer w = {.writer = {.ops = &thin_ops, .any_length = true}, .thin = &t};
  struct copy_result r;
  help_copy(&s, &w.writer, &asked, &r);
  assert_string_equal(r.layout, "head-last");
  assert_int_equal(r.stored_bytes, 4200 * MIB + (1 + 9 + 1 + 1 + 3) * CLUSTER);
  refcounts_are_right(&t);
  content_is_right(&t, r.content_digest);
  for (uint64_t i = 0; i < t.clusters; i++)
    free(t.whole[i]);
  free(t.whole);
  free(t.numbers);
  copy_result_release(&r);
}

// ---- what cannot be ---------------------------------------------------------------------------

static void compressed_where_it_cannot_be(void **state)
{
  (void)state;
  static const uint64_t all[][2] = {{0, 80 * MIB}, {0, 0}};
  struct memory_source *m = memory_source_new(80 * MIB, all);
  static const struct copy_options raw = {.format = DISK_FORMAT_RAW, .compress = true};
  struct {
    const struct copy_options *options;
    bool any_length;
    uint32_t parts_max;
    enum err_kind kind;
    const char *words;
  } rows[] = {
      {&raw, true, 0, ERR_INVALID, "only a qcow2"},
      {&zstd, false, 0, ERR_UNSUPPORTED, "use qcow2, not compressed"},
      {&zstd, true, 1, ERR_LIMIT, "use format qcow2, not compressed"},
  };
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
    struct memory_writer *w = memory_writer_new();
    w->writer.any_length = rows[i].any_length;
    w->writer.parts_max = rows[i].parts_max;
    help_copy_refused(&m->source, &w->writer, rows[i].options, rows[i].kind, rows[i].words, NULL);
    object_writer_free(&w->writer);
  }
  struct memory_target *t = memory_target_new(80 * MIB);
  struct copy_job job = {.source = &m->source, .target = &t->target, .options = zstd};
  struct copy_result r;
  struct tally tally = {0};
  struct err err = ERR_INIT;
  assert_int_equal(copy_run(&job, &tally, &r, &err), -1);
  assert_int_equal(err.kind, ERR_UNSUPPORTED);
  target_free(&t->target);
  source_free(&m->source);
}

// Nobody asked for it, so it is left where it does not fit.
static void forward_where_it_must_be(void **state)
{
  (void)state;
  static const uint64_t all[][2] = {{0, 80 * MIB}, {0, 0}};
  struct memory_source *m = memory_source_new(80 * MIB, all);
  static const struct {
    bool exact_map, any_length;
    uint32_t parts_max;
    const char *layout;
  } rows[] = {{false, true, 0, "head-last"},
              {true, true, 0, "forward"},
              {false, false, 0, "forward"},
              {false, true, 1, "forward"}}; // as one part it cannot be held
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
    struct memory_writer *w = memory_writer_new();
    struct copy_result r;
    m->source.exact_map = rows[i].exact_map;
    w->writer.any_length = rows[i].any_length;
    w->writer.parts_max = rows[i].parts_max;
    help_copy(&m->source, &w->writer, &asked, &r);
    assert_string_equal(r.layout, rows[i].layout);
    assert_int_equal(r.object_sha256[0] != '\0', str_eq(r.layout, "forward"));
    copy_result_release(&r);
    object_writer_free(&w->writer);
  }
  source_free(&m->source);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(plain_disks),
      cmocka_unit_test(odd_sizes_and_edges),
      cmocka_unit_test(mixtures),
      cmocka_unit_test(zeros_in_data_leave_no_trace),
      cmocka_unit_test(zeros_are_written_out),
      cmocka_unit_test(parts_make_the_same_object),
      cmocka_unit_test(a_nearly_empty_tebibyte),
      cmocka_unit_test(a_few_blocks_in_eight_tebibytes),
      cmocka_unit_test(several_refcount_blocks),
      cmocka_unit_test(compressed_where_it_cannot_be),
      cmocka_unit_test(forward_where_it_must_be),
  };
  return cmocka_run_group_tests(tests, NULL, help_cleanup);
}
