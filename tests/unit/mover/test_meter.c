// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/unit.h"

#include <math.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "mover/report.h"

static void test_steady_speed(void **state)
{
  (void)state;
  struct meter m = {0};
  assert_true(meter_rate(&m) == 0);
  assert_int_equal(meter_eta_s(&m, 100), -1);
  for (int i = 0; i <= 4; i++)
    meter_update(&m, 1000 + i * 500, (uint64_t)i * 50);
  assert_true(fabs(meter_rate(&m) - 100) < 0.001); // right from the first seconds on
  assert_int_equal(meter_eta_s(&m, 1000), 10);
}

static void test_a_pause_is_smoothed(void **state)
{
  (void)state;
  struct meter m = {0};
  for (int i = 0; i <= 40; i++)
    meter_update(&m, 1000 + i * 500, (uint64_t)i * 500);
  meter_update(&m, 1000 + 41 * 500, 40 * 500); // half a second without a byte
  assert_true(meter_rate(&m) > 850 && meter_rate(&m) < 950);
  for (int i = 42; i <= 200; i++)
    meter_update(&m, 1000 + i * 500, 40 * 500);
  assert_true(meter_rate(&m) < 1);
  assert_int_equal(meter_eta_s(&m, 1000), -1); // stands still: no promise
}

static void test_counting_anew(void **state)
{
  (void)state;
  struct meter m = {0};
  meter_update(&m, 1000, 1 << 30);
  meter_update(&m, 2000, 5);
  assert_true(meter_rate(&m) == 0);
  meter_update(&m, 3000, 105);
  assert_true(fabs(meter_rate(&m) - 100) < 0.001);
}

static void test_text(void **state)
{
  (void)state;
  static const struct {
    struct progress p;
    const char *text;
  } rows[] = {
      {{.phase = COPY_PREPARING}, "preparing"},
      {{.phase = COPY_TRANSFERRING,
        .data_bytes = 2000000,
        .transferred_bytes = 999999,
        .eta_s = -1},
       " 49%  1.0 MB of 2.0 MB"},
      {{.phase = COPY_TRANSFERRING,
        .data_bytes = 2000000,
        .transferred_bytes = 1000000,
        .bytes_per_s = 500000,
        .eta_s = 2},
       " 50%  1.0 MB of 2.0 MB  500 kB/s  eta 2s"},
      {{.phase = COPY_VERIFYING,
        .data_bytes = 2000000,
        .transferred_bytes = 2000000,
        .verified_bytes = 500000,
        .eta_s = -1},
       "verifying   25%  500 kB of 2.0 MB"},
      {{.phase = COPY_DONE, .data_bytes = 0, .eta_s = -1}, "100%  0 B of 0 B"},
  };
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
    struct buf b CLEANUP(buf_release) = BUF_INIT(512);
    progress_text(&rows[i].p, &b);
    assert_string_equal(buf_str(&b), rows[i].text);
  }
}

static void test_bar(void **state)
{
  (void)state;
  struct progress p = {
      .phase = COPY_TRANSFERRING, .data_bytes = 2000000, .transferred_bytes = 1000000, .eta_s = -1};
  struct buf b CLEANUP(buf_release) = BUF_INIT(512);
  progress_bar(&p, 100, &b);
  assert_string_equal(buf_str(&b), "[===============>              ]   50%  1.0 MB of 2.0 MB");
  for (int columns = 1; columns < 120; columns++) { // never wider than the terminal
    buf_clear(&b);
    progress_bar(&p, columns, &b);
    assert_true((int)b.length < columns || columns == 1);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_steady_speed),  cmocka_unit_test(test_a_pause_is_smoothed),
      cmocka_unit_test(test_counting_anew), cmocka_unit_test(test_text),
      cmocka_unit_test(test_bar),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
