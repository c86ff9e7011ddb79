// SPDX-License-Identifier: Apache-2.0
// Mending a stored image: what is found to differ, what is sent, and what is left alone.
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "disk/repair.h"
#include "tests/unit/disk/help.h"

#define DISK_BYTES (36 * MIB + 512)
#define SPANS_MAX  256

static const uint64_t mixed[][2] = {{0, 11 * MIB}, {12 * MIB, 65536}, {17 * MIB, 18 * MIB}, {0, 0}};

// ---- the object, before and after -----------------------------------------------------------

struct memory_reader {
  struct object_reader reader;
  const uint8_t *bytes;
};

static int reader_read(struct object_reader *r, void *lane, void *into, size_t length,
                       uint64_t offset, struct err *err)
{
  (void)lane, (void)err;
  assert_true(length > 0);
  memcpy(into, ((struct memory_reader *)r)->bytes + offset, length);
  return 0;
}

static void reader_free(struct object_reader *r)
{
  (void)r;
}

static const struct object_reader_ops reader_ops = {
    .name = "memory", .read = reader_read, .free = reader_free};

// Every byte of the new object comes from one place, once.
struct mender {
  struct object_writer writer;
  const uint8_t *old;
  uint8_t *bytes;
  struct span {
    uint64_t offset, length;
  } spans[SPANS_MAX];
  _Atomic uint64_t written, kept;
  _Atomic int parts;
  bool committed;
};

static int mender_begin(struct object_writer *w, uint64_t size_bytes, struct err *err)
{
  (void)w, (void)size_bytes, (void)err;
  return 0;
}

static void note_span(struct mender *m, uint64_t offset, uint64_t length)
{
  int i = m->parts++;
  assert_true(i < SPANS_MAX);
  m->spans[i] = (struct span){offset, length};
}

static int by_offset(const void *a, const void *b)
{
  const struct span *x = a, *y = b;
  return x->offset < y->offset ? -1 : x->offset > y->offset;
}

// Nothing comes twice; and all of it once, where the object is a new one.
static void check_spans(struct mender *m, uint64_t length, bool in_place)
{
  uint64_t end = 0;
  qsort(m->spans, (size_t)m->parts, sizeof(m->spans[0]), by_offset);
  for (int i = 0; i < m->parts; i++) {
    assert_true(in_place ? m->spans[i].offset >= end : m->spans[i].offset == end);
    end = m->spans[i].offset + m->spans[i].length;
  }
  assert_true(in_place ? end <= length : end == length);
}

static int mender_write(struct object_writer *w, void *lane, uint32_t number, uint64_t offset,
                        const struct object_body *body, struct err *err)
{
  struct mender *m = (struct mender *)w;
  (void)lane, (void)number;
  m->written += body->length;
  note_span(m, offset, body->length);
  return object_body_read(body, 0, m->bytes + offset, (size_t)body->length, err);
}

static int mender_keep(struct object_writer *w, void *lane, uint32_t number, uint64_t offset,
                       uint64_t length, struct err *err)
{
  struct mender *m = (struct mender *)w;
  (void)lane, (void)number, (void)err;
  m->kept += length;
  note_span(m, offset, length);
  memcpy(m->bytes + offset, m->old + offset, length);
  return 0;
}

static int mender_commit(struct object_writer *w, struct err *err)
{
  (void)err;
  ((struct mender *)w)->committed = true;
  return 0;
}

static void mender_free(struct object_writer *w)
{
  struct mender *m = (struct mender *)w;
  free(m->bytes);
}

static const struct object_writer_ops keeping = {.name = "keeping",
                                                 .begin = mender_begin,
                                                 .write_part = mender_write,
                                                 .keep_part = mender_keep,
                                                 .commit = mender_commit,
                                                 .free = mender_free};
static const struct object_writer_ops placing = {.name = "placing",
                                                 .begin = mender_begin,
                                                 .write_part = mender_write,
                                                 .commit = mender_commit,
                                                 .free = mender_free};

static struct mender mender_of(const uint8_t *old, uint64_t old_bytes, uint64_t new_bytes,
                               bool in_place)
{
  struct mender m = {.old = old};
  m.writer = (struct object_writer){.ops = in_place ? &placing : &keeping, .in_place = in_place};
  if (!in_place)
    m.writer.part_min_bytes = 5 * MIB;
  m.bytes = calloc(1, new_bytes + 1);
  assert_non_null(m.bytes);
  if (in_place)
    memcpy(m.bytes, old, old_bytes < new_bytes ? old_bytes : new_bytes);
  return m;
}

// ---- one case -------------------------------------------------------------------------------

struct image {
  struct memory_source *source;
  struct memory_writer *object;
  struct copy_options options;
  uint64_t part_min_bytes; // of the mender
};

static struct image image_new(int format, bool compress, int lanes)
{
  struct image i = {.source = memory_source_new(DISK_BYTES, mixed),
                    .object = memory_writer_new(),
                    .options = {.format = format, .compress = compress, .lanes = lanes}};
  struct tally tally = {0};
  struct copy_result r;
  struct err err = ERR_INIT;
  struct copy_job job = {
      .source = &i.source->source, .object = &i.object->writer, .options = i.options};
  if (copy_run(&job, &tally, &r, &err) != 0)
    fail_msg("%s", err.message);
  i.object->length = r.stored_bytes;
  copy_result_release(&r);
  return i;
}

static void image_release(struct image *i)
{
  object_writer_free(&i->object->writer);
  source_free(&i->source->source);
}

// Compares `bad` with what it should be.
static struct repair *compare(const struct image *i, const uint8_t *bad, uint64_t length,
                              struct repair_found *ret, struct err *err)
{
  struct memory_reader r = {{.ops = &reader_ops, .size_bytes = length}, bad};
  struct repair *repair;
  struct tally tally = {0};
  struct copy_result result;
  const struct object_writer limits = {.part_min_bytes = i->part_min_bytes, .parts_max = 10000};
  assert_int_equal(repair_new(&i->source->source, &i->options, &limits, &repair, err), 0);
  if (repair_compare(repair, &r.reader, &tally, &result, ret, err) != 0) {
    copy_result_release(&result); // a mismatch leaves its hashes
    repair_free(repair);
    return NULL;
  }
  assert_int_equal(result.stored_bytes, i->object->length);
  assert_int_equal(tally.transferred_bytes, 0); // comparing moves nothing
  assert_true(tally.verified_bytes > 0);
  copy_result_release(&result);
  return repair;
}

static void mend(const struct image *i, const uint8_t *bad, uint64_t length, bool in_place,
                 uint64_t most_bytes)
{
  struct err err = ERR_INIT;
  struct repair_found found;
  struct tally tally = {0};
  struct repair *repair = compare(i, bad, length, &found, &err);
  uint64_t good = i->object->length;
  if (!repair)
    fail_msg("%s", err.message);
  assert_true(found.bad_parts > 0 && found.bad_parts < found.parts);
  assert_int_equal(found.missing_bytes, length < good ? good - length : 0);
  struct mender m = mender_of(bad, length, good, in_place);
  if (repair_mend(repair, &m.writer, &tally, &err) != 0)
    fail_msg("%s", err.message);
  assert_true(m.committed);
  assert_memory_equal(m.bytes, i->object->bytes, good);
  assert_int_equal(tally.resent_bytes, m.written);
  assert_true(m.written <= most_bytes);
  check_spans(&m, good, in_place);
  if (in_place)
    assert_int_equal(m.kept, 0);
  else
    assert_int_equal(m.kept + m.written, good);
  object_writer_free(&m.writer);
  repair_free(repair);
}

static void damages(int format, bool compress, int lanes)
{
  struct image i = image_new(format, compress, lanes);
  uint64_t length = i.object->length;
  uint8_t *bad = malloc(length);
  assert_non_null(bad);
  const uint64_t places[] = {0, length / 2 + 77, length - 1};
  for (size_t p = 0; p < ARRAY_SIZE(places); p++) {
    memcpy(bad, i.object->bytes, length);
    bad[places[p]] ^= 0x10;
    i.part_min_bytes = 5 * MIB;
    mend(&i, bad, length, false, 13 * MIB); // the part that it lies in
    i.part_min_bytes = 0;
    mend(&i, bad, length, true, 65536); // the block
  }
  memcpy(bad, i.object->bytes, length);
  i.part_min_bytes = 5 * MIB;
  mend(&i, bad, length - 10 * MIB, false, 26 * MIB);
  i.part_min_bytes = 0;
  mend(&i, bad, length - 10 * MIB, true, 10 * MIB + 65536);
  free(bad);
  image_release(&i);
}

static void every_format_is_mended(void **state)
{
  (void)state;
  damages(DISK_FORMAT_RAW, false, 4);
  damages(DISK_FORMAT_QCOW2, false, 1);
  damages(DISK_FORMAT_RAW_ZST, false, 3);
  damages(DISK_FORMAT_VMDK, false, 4);
  damages(DISK_FORMAT_QCOW2, true, 4); // its head comes last
}

// So many lanes that no part is held whole: bodies are read, and read again.
static void streamed_parts_are_mended(void **state)
{
  (void)state;
  damages(DISK_FORMAT_QCOW2, false, 16);
}

static void what_is_whole_is_left_alone(void **state)
{
  (void)state;
  struct image i = image_new(DISK_FORMAT_QCOW2, false, 4);
  struct err err = ERR_INIT;
  struct repair_found found;
  uint64_t length = i.object->length;
  uint8_t *longer = calloc(1, length + 100);
  assert_non_null(longer);
  memcpy(longer, i.object->bytes, length);
  struct repair *r = compare(&i, longer, length, &found, &err);
  assert_non_null(r);
  assert_int_equal(found.bad_parts, 0);
  assert_int_equal(found.differing_bytes, 0);
  repair_free(r);
  // Something behind its end: nothing is sent, and it is cut.
  r = compare(&i, longer, length + 100, &found, &err);
  assert_non_null(r);
  assert_int_equal(found.bad_parts, 0);
  assert_int_equal(found.stored_bytes, found.planned_bytes + 100);
  struct mender m = mender_of(longer, length + 100, length, false);
  struct tally tally = {0};
  assert_int_equal(repair_mend(r, &m.writer, &tally, &err), 0);
  assert_int_equal(m.written, 0);
  assert_int_equal(m.kept, length);
  assert_int_equal(m.parts, 1); // neighbours are kept as one
  object_writer_free(&m.writer);
  repair_free(r);
  free(longer);
  image_release(&i);
}

static void a_source_that_changes_is_not_written(void **state)
{
  (void)state;
  for (int in_place = 0; in_place < 2; in_place++) {
    struct image i = image_new(DISK_FORMAT_RAW, false, 2);
    struct err err = ERR_INIT;
    struct repair_found found;
    struct tally tally = {0};
    uint8_t *bad = malloc(DISK_BYTES);
    assert_non_null(bad);
    memcpy(bad, i.object->bytes, DISK_BYTES);
    bad[30 * MIB] ^= 1;
    struct repair *r = compare(&i, bad, DISK_BYTES, &found, &err);
    assert_non_null(r);
    i.source->bytes[30 * MIB + 5] ^= 1;
    struct mender m = mender_of(bad, DISK_BYTES, DISK_BYTES, in_place);
    assert_int_equal(repair_mend(r, &m.writer, &tally, &err), -1);
    assert_int_equal(err.kind, ERR_CHANGED);
    assert_int_equal(m.written, 0);
    assert_false(m.committed);
    object_writer_free(&m.writer);
    repair_free(r);
    free(bad);
    image_release(&i);
  }
}

static void another_digest_is_refused(void **state)
{
  (void)state;
  struct image i = image_new(DISK_FORMAT_RAW, false, 2);
  struct err err = ERR_INIT;
  struct repair_found found;
  char digest[128];
  snprintf(digest, sizeof(digest), "merkle-sha256-4m:%llu:%064d", (unsigned long long)DISK_BYTES,
           7);
  i.options.expected_digest = digest;
  assert_null(compare(&i, i.object->bytes, DISK_BYTES, &found, &err));
  assert_int_equal(err.kind, ERR_MISMATCH);
  image_release(&i);
}

// ---- files ----------------------------------------------------------------------------------

static void a_file_is_mended_in_place(void **state)
{
  (void)state;
  const char *path = help_path("mended.raw");
  char bytes[3 * 65536] = {1, 2, 3};
  bytes[65536] = 1;
  help_write_file(path, bytes, sizeof(bytes));
  struct object_reader *r;
  struct object_writer *w;
  struct err err = ERR_INIT;
  assert_int_equal(object_reader_file(path, &r, &err), 0);
  assert_int_equal(object_mender_file(path, r->identity, &w, &err), 0);
  assert_int_equal(object_begin(w, 2 * 65536, &err), -1); // it is being read
  assert_int_equal(err.kind, ERR_BUSY);
  object_writer_free(w);
  assert_int_equal(object_mender_file(path, r->identity, &w, &err), 0);
  object_reader_free(r);
  assert_int_equal(object_begin(w, 2 * 65536, &err), 0);
  bytes[65536] = 0;
  struct object_body body = object_body_bytes(bytes + 65536, 65536);
  assert_int_equal(object_write_part(w, NULL, 0, 65536, &body, &err), 0);
  assert_int_equal(object_commit(w, &err), 0);
  object_writer_free(w);
  size_t length;
  uint8_t *now = help_read_file(path, &length);
  assert_int_equal(length, 2 * 65536);
  assert_memory_equal(now, bytes, length);
  free(now);
}

static void another_file_is_not_mended(void **state)
{
  (void)state;
  const char *path = help_path("other.raw");
  struct object_writer *w;
  struct err err = ERR_INIT;
  help_write_file(path, "one", 3);
  assert_int_equal(object_mender_file(path, "file:3:1:1.000000000", &w, &err), 0);
  assert_int_equal(object_begin(w, 3, &err), -1);
  assert_int_equal(err.kind, ERR_CHANGED);
  object_writer_free(w);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_format_is_mended),
      cmocka_unit_test(streamed_parts_are_mended),
      cmocka_unit_test(what_is_whole_is_left_alone),
      cmocka_unit_test(a_source_that_changes_is_not_written),
      cmocka_unit_test(another_digest_is_refused),
      cmocka_unit_test(a_file_is_mended_in_place),
      cmocka_unit_test(another_file_is_not_mended),
  };
  return cmocka_run_group_tests(tests, NULL, help_cleanup);
}
