// SPDX-License-Identifier: Apache-2.0
// How packed objects are cut into parts: sizes by number, and copies that are really cut like that.
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "disk/copy_internal.h"
#include "disk/part_plan_internal.h"
#include "tests/unit/disk/help.h"

#define GIB (1024 * MIB)
#define TIB (1024 * GIB)

static const struct part_plan_rules s3 = {
    .base_bytes = 8 * MIB, .count_max = 10000, .part_max_bytes = 5 * GIB};

static struct part_plan plan_of(uint64_t bound_bytes, bool equal)
{
  struct part_plan p;
  struct part_plan_rules r = s3;
  r.bound_bytes = bound_bytes;
  r.equal = equal;
  assert_true(part_plan_make(&p, &r));
  return p;
}

// Parts follow each other without a gap, never become smaller, and all of the object has a place.
static void check_plan(const struct part_plan *p, uint64_t bound_bytes)
{
  uint64_t at = 0;
  for (uint32_t n = 0; n < p->count_max; n++) {
    assert_int_equal(part_plan_offset(p, n), at);
    uint64_t size = part_plan_size(p, n);
    assert_true(size >= 5 * MIB && size <= p->top_bytes && size % MIB == 0);
    assert_true(n == 0 || size >= part_plan_size(p, n - 1));
    at += size;
    if (n % 97 && n % 500)
      continue;
    assert_int_equal(part_plan_count(p, at), n + 1);
    assert_int_equal(part_plan_count(p, at - size + 1), n + 1);
  }
  assert_true(at >= bound_bytes);
  assert_true(part_plan_count(p, at + 1) == UINT64_MAX);
  assert_int_equal(part_plan_count(p, 0), 0);
}

static void sizes_grow_with_the_number(void **state)
{
  (void)state;
  static const struct {
    uint64_t bound_bytes, top_bytes;
  } rows[] = {{1, 8 * MIB},          {80000 * MIB, 8 * MIB}, {80001 * MIB, 9 * MIB},
              {500 * GIB, 57 * MIB}, {TIB, 124 * MIB},       {5 * TIB, 729 * MIB}};
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
    struct part_plan p = plan_of(rows[i].bound_bytes, false);
    check_plan(&p, rows[i].bound_bytes);
    assert_int_equal(p.top_bytes, rows[i].top_bytes);
    // However large it may become, what is small stays in small parts.
    assert_int_equal(part_plan_size(&p, 499), 8 * MIB);
  }
}

static void all_of_one_size_where_the_store_wants_it(void **state)
{
  (void)state;
  static const uint64_t bounds[] = {1, 80000 * MIB, 80001 * MIB, TIB, 5 * TIB};
  for (size_t i = 0; i < ARRAY_SIZE(bounds); i++) {
    struct part_plan p = plan_of(bounds[i], true);
    check_plan(&p, bounds[i]);
    assert_int_equal(part_plan_size(&p, 0), part_plan_size(&p, 9999));
  }
}

static void a_first_part_of_its_own(void **state)
{
  (void)state;
  struct part_plan p;
  struct part_plan_rules r = {.bound_bytes = TIB, .base_bytes = 8 * MIB, .first_bytes = 65536};
  assert_true(part_plan_make(&p, &r));
  assert_int_equal(part_plan_size(&p, 0), 65536);
  assert_int_equal(part_plan_size(&p, 100000), 8 * MIB);
  assert_int_equal(part_plan_offset(&p, 3), 65536 + 16 * MIB);
  assert_int_equal(part_plan_count(&p, 65537), 2);
}

static void few_parts(void **state)
{
  (void)state;
  for (uint32_t count = 1; count < 60; count += 1 + count / 8)
    for (uint64_t bound = MIB; bound < GIB; bound = bound * 5 + 12345) {
      struct part_plan p;
      struct part_plan_rules r = {.bound_bytes = bound, .base_bytes = 5 * MIB, .count_max = count};
      bool fits = part_plan_make(&p, &r);
      assert_true(fits || bound / count > PART_HELD_MAX_BYTES / 4);
      if (fits)
        check_plan(&p, bound);
    }
}

static void what_cannot_be_held_is_refused(void **state)
{
  (void)state;
  struct part_plan p;
  struct part_plan_rules r = s3;
  r.bound_bytes = 20 * TIB;
  assert_false(part_plan_make(&p, &r));
  r.equal = true;
  assert_false(part_plan_make(&p, &r));
  r = s3;
  r.bound_bytes = TIB;
  r.part_max_bytes = 64 * MIB;
  assert_false(part_plan_make(&p, &r));
}

// ---- copies ---------------------------------------------------------------------------------

static struct memory_writer *store(uint32_t parts_max, bool equal)
{
  struct memory_writer *w = memory_writer_new();
  w->writer.part_min_bytes = 64 * 1024;
  w->writer.parts_max = parts_max;
  w->writer.equal_parts = equal;
  return w;
}

// Where only few parts may be they grow, and the object is the same.
static void few_parts_grow(void **state)
{
  (void)state;
  static const uint64_t all[][2] = {{0, 60 * MIB}, {0, 0}};
  static const struct copy_options formats[] = {{.format = DISK_FORMAT_RAW_ZST},
                                                {.format = DISK_FORMAT_VMDK},
                                                {.format = DISK_FORMAT_QCOW2, .compress = true}};
  struct memory_source *m = memory_source_new(60 * MIB, all);
  for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
    struct memory_writer *many = store(10000, false), *few = store(5, false),
                         *equal = store(5, true);
    struct copy_result r[3];
    help_copy(&m->source, &many->writer, &formats[i], &r[0]);
    help_copy(&m->source, &few->writer, &formats[i], &r[1]);
    help_copy(&m->source, &equal->writer, &formats[i], &r[2]);
    assert_int_equal(many->largest_part, 8 * MIB);
    assert_true(few->parts <= 5 && few->largest_part > 12 * MIB);
    assert_true(equal->parts <= 5 && equal->largest_part > 12 * MIB);
    assert_int_equal(few->length, many->length);
    assert_int_equal(equal->length, many->length);
    assert_memory_equal(few->bytes, many->bytes, many->length);
    assert_memory_equal(equal->bytes, many->bytes, many->length);
    for (int n = 0; n < 3; n++)
      copy_result_release(&r[n]);
    object_writer_free(&many->writer);
    object_writer_free(&few->writer);
    object_writer_free(&equal->writer);
  }
  source_free(&m->source);
}

// A plain qcow2 cannot be cut into equal parts forward.
static void equal_parts_of_a_qcow2(void **state)
{
  (void)state;
  static const uint64_t all[][2] = {{0, 30 * MIB}, {0, 0}};
  static const struct copy_options qcow2 = {.format = DISK_FORMAT_QCOW2};
  struct memory_source *m = memory_source_new(30 * MIB, all);
  struct memory_writer *w = store(10000, true);
  struct copy_result r;
  help_copy(&m->source, &w->writer, &qcow2, &r);
  assert_string_equal(r.layout, "head-last");
  assert_int_equal(w->largest_part, 8 * MIB);
  assert_int_equal(w->parts, 4);
  copy_result_release(&r);
  object_writer_free(&w->writer);
  source_free(&m->source);
}

static void what_the_store_cannot_take(void **state)
{
  (void)state;
  static const uint64_t all[][2] = {{0, 40 * MIB}, {0, 0}};
  static const struct copy_options zst = {.format = DISK_FORMAT_RAW_ZST};
  struct memory_source *m = memory_source_new(40 * MIB, all);
  struct memory_writer *w = store(10000, false);
  w->writer.object_max_bytes = 30 * MIB; // random data: what it comes to is only known on the way
  help_copy_refused(&m->source, &w->writer, &zst, ERR_LIMIT, "longer than", NULL);
  object_writer_free(&w->writer);
  memset(m->bytes, 0, 40 * MIB);
  w = store(10000, false);
  w->writer.object_max_bytes = 30 * MIB;
  struct copy_result r;
  help_copy(&m->source, &w->writer, &zst, &r);
  assert_true(r.stored_bytes < MIB);
  copy_result_release(&r);
  object_writer_free(&w->writer);
  source_free(&m->source);
}

// Parts are sent from more lanes where the store is far away, and the object is the same.
static void a_store_that_is_far_away(void **state)
{
  (void)state;
  static const uint64_t all[][2] = {{0, 100 * MIB}, {0, 0}};
  static const struct copy_options zst = {.format = DISK_FORMAT_RAW_ZST};
  struct memory_source *m = memory_source_new(100 * MIB, all);
  struct memory_writer *near = store(10000, false), *far = store(10000, false);
  struct copy_result a, b;
  far->writer.round_trip_ms = 60;
  help_copy(&m->source, &near->writer, &zst, &a);
  help_copy(&m->source, &far->writer, &zst, &b);
  assert_int_equal(near->lanes, 4);
  assert_int_equal(far->lanes, 8); // 96 MiB, less three chunks, read and packed, in parts of 8 MiB
  assert_int_equal(far->length, near->length);
  assert_memory_equal(far->bytes, near->bytes, near->length);
  copy_result_release(&a);
  copy_result_release(&b);
  object_writer_free(&near->writer);
  object_writer_free(&far->writer);
  source_free(&m->source);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sizes_grow_with_the_number),
      cmocka_unit_test(all_of_one_size_where_the_store_wants_it),
      cmocka_unit_test(a_first_part_of_its_own),
      cmocka_unit_test(few_parts),
      cmocka_unit_test(what_cannot_be_held_is_refused),
      cmocka_unit_test(few_parts_grow),
      cmocka_unit_test(equal_parts_of_a_qcow2),
      cmocka_unit_test(what_the_store_cannot_take),
      cmocka_unit_test(a_store_that_is_far_away),
  };
  return cmocka_run_group_tests_name("disk/parts", tests, NULL, help_cleanup);
}
