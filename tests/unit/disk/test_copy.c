// SPDX-License-Identifier: Apache-2.0
// The engine: what arrives, in which parts, how fast, and how it stops.
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "disk/copy_internal.h"
#include "tests/unit/disk/help.h"

static const uint64_t mixed[][2] = {
    {0, 3 * MIB}, {10 * MIB, 65536}, {17 * MIB, 30 * MIB}, {60 * MIB, 3 * MIB}, {0, 0}};
#define MIXED_BYTES      (64 * MIB + 512)
#define MIXED_DATA_BYTES (36 * MIB + 65536)

static int run(struct memory_source *s, struct target *t, struct object_writer *w,
               struct copy_options options, struct tally *tally, struct copy_result *r,
               struct err *err)
{
  struct copy_job job = {.source = &s->source, .target = t, .object = w, .options = options};
  return copy_run(&job, tally, r, err);
}

// ---- targets --------------------------------------------------------------------------------

static void to_target(uint64_t target_bytes, bool zeroed, struct copy_options options,
                      uint64_t *ret_written)
{
  struct memory_source *s = memory_source_new(MIXED_BYTES, mixed);
  memset(s->bytes + 20 * MIB, 0, 5 * MIB); // zeros inside data
  struct memory_target *t = memory_target_new(target_bytes);
  t->target.zeroed = zeroed;
  if (zeroed)
    memset(t->bytes, 0, target_bytes);
  struct tally tally = {0};
  struct copy_result r;
  struct err err = ERR_INIT;
  if (run(s, &t->target, NULL, options, &tally, &r, &err) != 0)
    fail_msg("%s", err.message);
  assert_memory_equal(t->bytes, s->bytes, MIXED_BYTES);
  for (uint64_t i = MIXED_BYTES; i < target_bytes; i++)
    assert_int_equal(t->bytes[i], 0);
  assert_true(t->finished);
  assert_int_equal(tally.transferred_bytes, MIXED_DATA_BYTES);
  assert_int_equal(s->read_bytes, MIXED_DATA_BYTES); // holes are not read
  assert_int_equal(tally.phase, COPY_DONE);
  *ret_written = t->written_bytes;
  copy_result_release(&r);
  target_free(&t->target);
  source_free(&s->source);
}

static void targets_get_the_disk_and_no_more(void **state)
{
  (void)state;
  uint64_t written;
  to_target(MIXED_BYTES, false, (struct copy_options){0}, &written);
  assert_true(written <= MIXED_DATA_BYTES - 5 * MIB + 4 * 65536);
  to_target(MIXED_BYTES, true, (struct copy_options){.lanes = 1}, &written);
  assert_true(written <= MIXED_DATA_BYTES - 5 * MIB + 4 * 65536);
  to_target(80 * MIB, false, (struct copy_options){.lanes = 16}, &written);
  to_target(MIXED_BYTES, true, (struct copy_options){.no_sparse = true}, &written);
  assert_int_equal(written, MIXED_BYTES);
}

static void read_back_finds_damage(void **state)
{
  (void)state;
  uint64_t written;
  struct copy_options options = {.verify = COPY_VERIFY_READBACK};
  to_target(72 * MIB, false, options, &written);
  struct memory_source *s = memory_source_new(MIXED_BYTES, mixed);
  struct memory_target *t = memory_target_new(MIXED_BYTES);
  t->damage_at = 33 * MIB;
  struct tally tally = {0};
  struct copy_result r;
  struct err err = ERR_INIT;
  assert_int_equal(run(s, &t->target, NULL, options, &tally, &r, &err), -1);
  assert_int_equal(err.kind, ERR_MISMATCH);
  assert_non_null(strstr(err.message, "reading back"));
  assert_non_null(r.chunk_hashes); // to look for the place with
  copy_result_release(&r);
  target_free(&t->target);
  source_free(&s->source);
}

static void first_error_wins(void **state)
{
  (void)state;
  struct memory_source *s = memory_source_new(MIXED_BYTES, mixed);
  struct memory_target *t = memory_target_new(MIXED_BYTES);
  t->fail_at = 30 * MIB;
  struct tally tally = {0};
  struct copy_result r;
  struct err err = ERR_INIT;
  assert_int_equal(run(s, &t->target, NULL, (struct copy_options){0}, &tally, &r, &err), -1);
  assert_int_equal(err.kind, ERR_NO_SPACE);
  assert_false(t->finished);
  target_free(&t->target);
  source_free(&s->source);
}

static void small_targets_are_refused(void **state)
{
  (void)state;
  struct memory_source *s = memory_source_new(MIXED_BYTES, mixed);
  struct memory_target *t = memory_target_new(MIXED_BYTES - 512);
  struct tally tally = {0};
  struct copy_result r;
  struct err err = ERR_INIT;
  assert_int_equal(run(s, &t->target, NULL, (struct copy_options){0}, &tally, &r, &err), -1);
  assert_int_equal(err.kind, ERR_NO_SPACE);
  assert_int_equal(t->written_bytes, 0);
  target_free(&t->target);
  source_free(&s->source);
}

// ---- stopping -------------------------------------------------------------------------------

struct hanging {
  struct copy_job job;
  struct tally tally;
  struct err err;
  int failed;
};

static void *hanging_main(void *arg)
{
  struct hanging *h = arg;
  struct copy_result r;
  h->failed = copy_run(&h->job, &h->tally, &r, &h->err);
  return NULL;
}

static void cancel_ends_a_hanging_target(void **state)
{
  (void)state;
  struct memory_source *s = memory_source_new(MIXED_BYTES, mixed);
  struct memory_target *t = memory_target_new(MIXED_BYTES);
  t->hang = true;
  t->target.zeroed = true;
  struct hanging h = {.job = {.source = &s->source, .target = &t->target}, .err = ERR_INIT};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, hanging_main, &h), 0);
  int64_t deadline_ms = clock_ms() + 10000;
  while (atomic_load(&t->hanging) == 0)
    assert_true(clock_ms() < deadline_ms);
  int64_t start_ms = clock_ms();
  copy_interrupt(&h.job, &h.tally);
  pthread_join(thread, NULL);
  assert_true(clock_ms() - start_ms < 2000);
  assert_int_equal(h.failed, -1);
  assert_int_equal(h.err.kind, ERR_CANCELLED);
  target_free(&t->target);
  source_free(&s->source);
}

// All the ways to write an object.
static void cancel_ends_a_hanging_writer(void **state)
{
  (void)state;
  static const struct {
    int format;
    bool holes;
    uint32_t parts_max;
  } ways[] = {{DISK_FORMAT_QCOW2, true, 0},        {DISK_FORMAT_QCOW2, false, 0},
              {DISK_FORMAT_QCOW2, false, 1},       {DISK_FORMAT_RAW_ZST, true, 0},
              {DISK_FORMAT_RAW_ZST, false, 10000}, {DISK_FORMAT_VMDK, true, 0},
              {DISK_FORMAT_VMDK, false, 10000}};
  for (size_t way = 0; way < ARRAY_SIZE(ways); way++) {
    struct memory_source *s = memory_source_new(MIXED_BYTES, mixed);
    struct memory_writer *w = memory_writer_new();
    w->hang = true;
    w->writer.holes = ways[way].holes;
    w->writer.parts_max = ways[way].parts_max;
    struct hanging h = {.job = {.source = &s->source,
                                .object = &w->writer,
                                .options = {.format = ways[way].format, .object_sha256 = true}},
                        .err = ERR_INIT};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, hanging_main, &h), 0);
    int64_t deadline_ms = clock_ms() + 10000;
    while (!atomic_load(&w->hanging))
      assert_true(clock_ms() < deadline_ms);
    int64_t start_ms = clock_ms();
    copy_interrupt(&h.job, &h.tally);
    pthread_join(thread, NULL);
    assert_true(clock_ms() - start_ms < 2000);
    assert_int_equal(h.failed, -1);
    assert_int_equal(h.err.kind, ERR_CANCELLED);
    assert_false(w->committed);
    object_writer_free(&w->writer);
    source_free(&s->source);
  }
}

static void a_stall_is_a_time_out(void **state)
{
  (void)state;
  struct memory_source *s = memory_source_new(MIXED_BYTES, mixed);
  struct memory_target *t = memory_target_new(MIXED_BYTES);
  t->hang = true;
  t->target.zeroed = true;
  struct tally tally = {0};
  struct copy_result r;
  struct err err = ERR_INIT;
  struct copy_options options = {.stall_timeout_ms = 300};
  assert_int_equal(run(s, &t->target, NULL, options, &tally, &r, &err), -1);
  assert_int_equal(err.kind, ERR_TIMEOUT);
  target_free(&t->target);
  source_free(&s->source);
}

static void *raise_limit(void *arg)
{
  struct tally *tally = arg;
  int64_t until_ms = clock_ms() + 10000;
  while (atomic_load(&tally->transferred_bytes) < 8 * MIB && clock_ms() < until_ms)
    ;
  atomic_store(&tally->limit_bytes_per_s, 0);
  return NULL;
}

static void throttle_holds_and_can_be_changed(void **state)
{
  (void)state;
  static const uint64_t all[][2] = {{0, 24 * MIB}, {0, 0}};
  struct memory_source *s = memory_source_new(24 * MIB, all);
  struct memory_target *t = memory_target_new(24 * MIB);
  struct tally tally = {.limit_bytes_per_s = 20 * MIB};
  struct copy_result r;
  struct err err = ERR_INIT;
  int64_t start_ms = clock_ms();
  assert_int_equal(run(s, &t->target, NULL, (struct copy_options){0}, &tally, &r, &err), 0);
  // The last chunk passes as debt: at least 5 of 6 chunks at 20 MiB/s are paid for.
  assert_true(clock_ms() - start_ms >= 900);
  copy_result_release(&r);
  tally = (struct tally){.limit_bytes_per_s = 4 * MIB};
  pthread_t thread;
  pthread_create(&thread, NULL, raise_limit, &tally);
  start_ms = clock_ms();
  assert_int_equal(run(s, &t->target, NULL, (struct copy_options){0}, &tally, &r, &err), 0);
  pthread_join(thread, NULL);
  assert_true(clock_ms() - start_ms < 4500); // 24 MiB at 4 MiB/s would take 5 s and more
  copy_result_release(&r);
  target_free(&t->target);
  source_free(&s->source);
}

// ---- objects --------------------------------------------------------------------------------

// Through a writer with the given rules; the object must be the same as a file laid down directly.
static struct copy_result to_object(struct memory_writer *w, struct copy_options options,
                                    struct tally *tally)
{
  struct memory_source *s = memory_source_new(MIXED_BYTES, mixed);
  struct copy_result direct, r;
  struct err err = ERR_INIT;
  const char *path = help_path("direct");
  struct object_writer *f;
  assert_int_equal(object_writer_file(path, "o", true, &f, &err), 0);
  options.object_sha256 = true;
  struct tally other = {0};
  if (run(s, NULL, f, options, &other, &direct, &err) != 0)
    fail_msg("%s", err.message);
  object_writer_free(f);
  if (run(s, NULL, &w->writer, options, tally, &r, &err) != 0)
    fail_msg("%s", err.message);
  size_t length;
  uint8_t *bytes = help_read_file(path, &length);
  assert_int_equal(length, w->length);
  assert_memory_equal(bytes, w->bytes, length);
  assert_string_equal(r.content_digest, direct.content_digest);
  assert_string_equal(r.object_sha256, direct.object_sha256);
  assert_true(w->committed);
  free(bytes);
  copy_result_release(&direct);
  source_free(&s->source);
  return r;
}

static void parts_in_memory(void **state)
{
  (void)state;
  for (int format = DISK_FORMAT_RAW; format <= DISK_FORMAT_QCOW2; format++) {
    struct memory_writer *w = memory_writer_new();
    w->writer.part_min_bytes = 5 * MIB;
    w->writer.parts_max = 10000;
    struct tally tally = {0};
    struct copy_result r = to_object(w, (struct copy_options){.format = format}, &tally);
    assert_true(w->parts >= 3);
    assert_true(w->was_in_memory);
    assert_true(w->largest_part < 12 * MIB);
    assert_int_equal(tally.transferred_bytes, MIXED_DATA_BYTES);
    copy_result_release(&r);
    object_writer_free(&w->writer);
  }
}

static void few_parts_are_streamed(void **state)
{
  (void)state;
  for (int format = DISK_FORMAT_RAW; format <= DISK_FORMAT_QCOW2; format++) {
    struct memory_writer *w = memory_writer_new();
    w->writer.parts_max = 3;
    w->step = 77777;
    w->restart_at_mib = 9; // a retry reads the source again
    struct tally tally = {0};
    struct copy_result r = to_object(w, (struct copy_options){.format = format}, &tally);
    assert_true(w->parts <= 3);
    assert_false(w->was_in_memory);
    assert_true(tally.resent_bytes > 0);
    assert_int_equal(tally.transferred_bytes, MIXED_DATA_BYTES);
    copy_result_release(&r);
    object_writer_free(&w->writer);
  }
}

static void one_ordered_part(void **state)
{
  (void)state;
  for (int format = DISK_FORMAT_RAW; format <= DISK_FORMAT_QCOW2; format++) {
    for (int lanes = 1; lanes <= 16; lanes *= 4) {
      struct memory_writer *w = memory_writer_new();
      w->writer.parts_max = 1;
      w->writer.ordered = true;
      w->step = 99999;
      w->restart_at_mib = 21;
      struct tally tally = {0};
      struct copy_options options = {.format = format, .lanes = lanes};
      struct copy_result r = to_object(w, options, &tally);
      assert_int_equal(w->parts, 1);
      assert_int_equal(tally.transferred_bytes, MIXED_DATA_BYTES);
      assert_true(tally.resent_bytes > 0);
      copy_result_release(&r);
      object_writer_free(&w->writer);
    }
  }
}

static void an_empty_object_has_one_empty_part(void **state)
{
  (void)state;
  static const uint64_t none[][2] = {{0, 0}};
  struct memory_source *s = memory_source_new(0, none);
  struct memory_writer *w = memory_writer_new();
  w->writer.parts_max = 1;
  struct tally tally = {0};
  struct copy_result r;
  struct err err = ERR_INIT;
  struct copy_options options = {.format = DISK_FORMAT_RAW};
  assert_int_equal(run(s, NULL, &w->writer, options, &tally, &r, &err), 0);
  assert_int_equal(w->parts, 1);
  assert_true(w->committed);
  copy_result_release(&r);
  object_writer_free(&w->writer);
  source_free(&s->source);
}

static void a_wrong_digest_is_never_committed(void **state)
{
  (void)state;
  struct memory_source *s = memory_source_new(MIXED_BYTES, mixed);
  struct memory_writer *w = memory_writer_new();
  struct tally tally = {0};
  struct copy_result r;
  struct err err = ERR_INIT;
  struct copy_options options = {.format = DISK_FORMAT_RAW,
                                 .verify = COPY_VERIFY_NONE,
                                 .expected_digest = "merkle-sha256-4m:0:00"};
  assert_int_equal(run(s, NULL, &w->writer, options, &tally, &r, &err), -1);
  assert_int_equal(err.kind, ERR_MISMATCH);
  copy_result_release(&r);
  assert_false(w->committed);
  object_writer_free(&w->writer);
  source_free(&s->source);
}

static void formats_that_we_do_not_write(void **state)
{
  (void)state;
  struct memory_source *s = memory_source_new(MIXED_BYTES, mixed);
  struct memory_writer *w = memory_writer_new();
  struct tally tally = {0};
  struct copy_result r;
  struct err err = ERR_INIT;
  struct copy_options options = {.format = DISK_FORMAT_VHDX};
  assert_int_equal(run(s, NULL, &w->writer, options, &tally, &r, &err), -1);
  assert_int_equal(err.kind, ERR_UNSUPPORTED);
  object_writer_free(&w->writer);
  source_free(&s->source);
}

// ---- ends that are far away -----------------------------------------------------------------

static void far_ends_get_more_lanes(void **state)
{
  (void)state;
  assert_int_equal(copy_lanes(0, 0, 4 * MIB), COPY_LANES_DEFAULT);
  assert_int_equal(copy_lanes(0, COPY_FAR_MS - 1, 4 * MIB), COPY_LANES_DEFAULT);
  assert_int_equal(copy_lanes(0, COPY_FAR_MS, 4 * MIB), COPY_LANES_MAX);
  assert_int_equal(copy_lanes(0, 150, 12 * MIB), 8); // what they hold stays below 96 MiB
  assert_int_equal(copy_lanes(0, 150, 50 * MIB), COPY_LANES_DEFAULT);
  assert_int_equal(copy_lanes(3, 150, 4 * MIB), 3);
  assert_int_equal(copy_lanes(99, 0, 4 * MIB), COPY_LANES_MAX);
}

static void far_lanes_begin_one_after_the_other(void **state)
{
  (void)state;
  struct memory_source *s = memory_source_new(MIXED_BYTES, mixed);
  struct memory_target *t = memory_target_new(MIXED_BYTES);
  memset(t->bytes, 0, MIXED_BYTES);
  t->target.zeroed = true;
  s->source.round_trip_ms = 400;
  struct tally tally = {0};
  struct copy_result r;
  struct err err = ERR_INIT;
  if (run(s, &t->target, NULL, (struct copy_options){0}, &tally, &r, &err) != 0)
    fail_msg("%s", err.message);
  assert_memory_equal(t->bytes, s->bytes, MIXED_BYTES);
  // 11 chunks with data, and each of 16 lanes looks for one more: 800 ms / 16 between them.
  assert_true(r.elapsed_ms >= 10 * 50);
  copy_result_release(&r);
  target_free(&t->target);
  source_free(&s->source);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(targets_get_the_disk_and_no_more),
      cmocka_unit_test(read_back_finds_damage),
      cmocka_unit_test(first_error_wins),
      cmocka_unit_test(small_targets_are_refused),
      cmocka_unit_test(cancel_ends_a_hanging_target),
      cmocka_unit_test(cancel_ends_a_hanging_writer),
      cmocka_unit_test(a_stall_is_a_time_out),
      cmocka_unit_test(throttle_holds_and_can_be_changed),
      cmocka_unit_test(parts_in_memory),
      cmocka_unit_test(few_parts_are_streamed),
      cmocka_unit_test(one_ordered_part),
      cmocka_unit_test(an_empty_object_has_one_empty_part),
      cmocka_unit_test(a_wrong_digest_is_never_committed),
      cmocka_unit_test(formats_that_we_do_not_write),
      cmocka_unit_test(far_ends_get_more_lanes),
      cmocka_unit_test(far_lanes_begin_one_after_the_other),
  };
  return cmocka_run_group_tests_name("disk/copy", tests, NULL, help_cleanup);
}
