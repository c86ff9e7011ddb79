// SPDX-License-Identifier: Apache-2.0
// Runs of file bytes: which places one request fetches, and that what it brings is right.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/cleanup.h"
#include "disk/ahead_internal.h"
#include "disk/copy.h"

#define K 1024ull

static const struct {
  const char *sentence;
  struct place places[4];
  size_t count, index;
  uint64_t from, end;
} runs[] = {
    {"places side by side make one run",
     {{0, 64 * K, 1000, 0, PLACE_FILE},
      {64 * K, 64 * K, 0, 0, PLACE_ZERO},
      {128 * K, 64 * K, 1000 + 64 * K, 0, PLACE_FILE}},
     3,
     0,
     0,
     1000 + 128 * K},
    {"from the middle of a place", {{0, 64 * K, 1000, 0, PLACE_FILE}}, 1, 0, 4 * K, 1000 + 64 * K},
    {"a small gap is read over",
     {{0, 64 * K, 0, 0, PLACE_FILE}, {64 * K, 64 * K, 128 * K, 0, PLACE_FILE}},
     2,
     0,
     0,
     192 * K},
    {"a large gap ends it",
     {{0, 64 * K, 0, 0, PLACE_FILE}, {64 * K, 64 * K, 129 * K, 0, PLACE_FILE}},
     2,
     0,
     0,
     64 * K},
    {"so does a place further down in the file",
     {{0, 64 * K, 512 * K, 0, PLACE_FILE}, {64 * K, 64 * K, 0, 0, PLACE_FILE}},
     2,
     0,
     0,
     576 * K},
    {"another file of the chain ends it",
     {{0, 64 * K, 0, 0, PLACE_FILE}, {64 * K, 64 * K, 64 * K, 1, PLACE_FILE}},
     2,
     0,
     0,
     64 * K},
    {"what only QEMU can read ends it",
     {{0, 64 * K, 0, 0, PLACE_FILE}, {64 * K, 64 * K, 64 * K, 0, PLACE_QEMU}},
     2,
     0,
     0,
     64 * K},
    {"it ends with the chunk",
     {{0, 2 * COPY_CHUNK_BYTES, 0, 0, PLACE_FILE}},
     1,
     0,
     0,
     COPY_CHUNK_BYTES},
};

static void test_runs(void **state)
{
  (void)state;
  for (size_t i = 0; i < ARRAY_SIZE(runs); i++) {
    struct places l = {.items = (struct place *)runs[i].places, .count = runs[i].count};
    uint64_t end = ahead_run_end(&l, runs[i].index, runs[i].from);
    if (end != runs[i].end)
      fail_msg("%s: %llu instead of %llu", runs[i].sentence, (unsigned long long)end,
               (unsigned long long)runs[i].end);
  }
}

struct counting {
  struct object_reader reader;
  size_t requests;
};

static uint8_t byte_at(uint64_t offset)
{
  return (uint8_t)(offset * 31 + (offset >> 8));
}

static int counting_read(struct object_reader *r, void *lane, void *into, size_t length,
                         uint64_t offset, struct err *err)
{
  (void)lane;
  (void)err;
  ((struct counting *)r)->requests++;
  for (size_t i = 0; i < length; i++)
    ((uint8_t *)into)[i] = byte_at(offset + i);
  return 0;
}

static int counting_lane(struct object_reader *r, void **ret_lane, struct err *err)
{
  (void)err;
  *ret_lane = r;
  return 0;
}

static void counting_close(struct object_reader *r, void *lane)
{
  (void)r;
  (void)lane;
}

static const struct object_reader_ops counting_ops = {.name = "counting",
                                                      .lane_open = counting_lane,
                                                      .lane_close = counting_close,
                                                      .read = counting_read};

static void check_read(struct ahead *a, struct counting *c, uint64_t at, uint64_t run_end)
{
  uint8_t got[4096];
  struct err err = ERR_INIT;
  assert_int_equal(ahead_read(a, &c->reader, c, 0, got, sizeof(got), at, run_end, &err), 0);
  for (size_t i = 0; i < sizeof(got); i++)
    assert_int_equal(got[i], byte_at(at + i));
}

static void test_one_request_for_a_run(void **state)
{
  (void)state;
  struct counting c = {.reader = {.ops = &counting_ops, .size_bytes = 1 << 20}};
  struct ahead a = {0};
  for (uint64_t at = 8192; at < 65536; at += 8192)
    check_read(&a, &c, at, 65536);
  assert_int_equal(c.requests, 1);
  check_read(&a, &c, 4096, 8192); // before it, and nothing to gain: read as it is
  assert_int_equal(c.requests, 2);
  check_read(&a, &c, 16384, 65536); // still at hand
  assert_int_equal(c.requests, 2);
  ahead_release(&a);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_runs),
      cmocka_unit_test(test_one_request_for_a_run),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
