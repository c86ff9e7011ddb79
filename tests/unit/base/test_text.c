// SPDX-License-Identifier: Apache-2.0
// Strings, buffers, clocks, errors and secrets.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/pattern.h"
#include "base/secret.h"
#include "base/str.h"
#include "tests/unit/unit.h"

// ---- str ------------------------------------------------------------------------------------

static void compares(void **state)
{
  (void)state;
  assert_true(str_eq(NULL, NULL) && str_eq("a", "a"));
  assert_false(str_eq(NULL, "") || str_eq("a", NULL) || str_eq("a", "b"));
  assert_true(str_empty(NULL) && str_empty("") && !str_empty(" "));
  assert_true(str_starts("abc", "ab") && str_starts("abc", "") && !str_starts("a", "ab"));
  assert_true(!str_starts(NULL, "a") && !str_ends(NULL, "a") && !str_after(NULL, "a"));
  assert_true(str_ends("abc", "bc") && str_ends("abc", "") && !str_ends("c", "bc"));
  assert_string_equal(str_after("nbd://x", "nbd://"), "x");
  assert_true(str_glob("web-*", "web-1/a") && str_glob("?[ab]", "xb") && !str_glob("web", "web1"));
  assert_int_equal(str_distance("provderRef", "providerRef"), 1);
  assert_int_equal(str_distance("Memory", "memory"), 0);
  assert_int_equal(str_distance("", "abc"), 3);
  assert_int_equal(str_distance("kitten", "sitting"), 3);
  char large[100];
  memset(large, 'x', sizeof(large) - 1);
  large[99] = '\0';
  assert_true(str_distance(large, "x") >= 64);
  assert_null(str_dup(NULL));
}

#define BAD INT64_MIN

static const struct {
  const char *text;
  int64_t number, bytes, duration_ms; // BAD = refused
} numbers[] = {
    {"0", 0, 0, 0},
    {"4096", 4096, 4096, BAD},
    {"-5", -5, BAD, BAD},
    {" 5", BAD, BAD, BAD},
    {"5 ", BAD, BAD, BAD},
    {"", BAD, BAD, BAD},
    {"9223372036854775807", INT64_MAX, INT64_MAX, BAD},
    {"9223372036854775808", BAD, BAD, BAD},
    {"200M", BAD, 200000000, BAD},
    {"1.5Gi", BAD, 1610612736, BAD},
    {"2Ti", BAD, 2199023255552, BAD},
    {"9000P", BAD, 9000000000000000000, BAD},
    {"10000P", BAD, BAD, BAD},
    {"2GB", BAD, BAD, BAD},
    {"90s", BAD, BAD, 90000},
    {"1h2m3s", BAD, BAD, 3723000},
    {"500ms", BAD, BAD, 500},
    {"1.5h", BAD, BAD, 5400000},
    {"1h 2m", BAD, BAD, BAD},
    {"-1s", BAD, BAD, BAD},
    {"s", BAD, BAD, BAD},
    {"90", 90, 90, BAD},
    {"99999999999999999h", BAD, BAD, BAD},
};

static void reads_numbers(void **state)
{
  (void)state;
  for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
    int64_t value;
    const char *text = numbers[i].text;
    if ((str_int64(text, &value) ? value : BAD) != numbers[i].number)
      fail_msg("number '%s'", text);
    if ((str_bytes(text, &value) ? value : BAD) != numbers[i].bytes)
      fail_msg("bytes '%s'", text);
    if ((str_duration(text, &value) ? value : BAD) != numbers[i].duration_ms)
      fail_msg("duration '%s'", text);
  }
}

static void writes_for_people(void **state)
{
  (void)state;
  char b[48];
  assert_string_equal(str_human_bytes(0, b), "0 B");
  assert_string_equal(str_human_bytes(999, b), "999 B");
  assert_string_equal(str_human_bytes(1500, b), "1.5 kB");
  assert_string_equal(str_human_bytes(118e6, b), "118 MB");
  assert_string_equal(str_human_bytes(999999, b), "1.0 MB");
  assert_string_equal(str_human_bytes(5e18, b), "5000 PB");
  assert_string_equal(str_human_duration(3, b), "3s");
  assert_string_equal(str_human_duration(372, b), "6m12s");
  assert_string_equal(str_human_duration(7500, b), "2h5m");
  static const int64_t durations_ms[] = {0, 1, 999, 1000, 61000, 5400000, 86400000, 3723004};
  for (size_t i = 0; i < ARRAY_SIZE(durations_ms); i++) {
    int64_t again_ms;
    assert_true(str_duration(str_duration_text(durations_ms[i], b), &again_ms));
    assert_int_equal(again_ms, durations_ms[i]);
  }
  assert_string_equal(str_duration_text(3723004, b), "1h2m3s4ms");
}

static void matches_patterns(void **state)
{
  (void)state;
  static char patterns[200][16]; // more than are kept
  assert_true(pattern_matches("^a+$", "aaa") && !pattern_matches("^a+$", "aab"));
  assert_false(pattern_matches("^a+$", NULL) || pattern_matches("(", "("));
  assert_false(pattern_matches("^a+$", "aa\n"));
  for (int round = 0; round < 2; round++)
    for (int i = 0; i < 200; i++) {
      snprintf(patterns[i], sizeof(patterns[i]), "^x%d$", i);
      assert_true(pattern_matches(patterns[i], patterns[i] + 1) == false);
      char text[16];
      snprintf(text, sizeof(text), "x%d", i);
      assert_true(pattern_matches(patterns[i], text));
    }
}

// ---- buf ------------------------------------------------------------------------------------

static void buffers_grow_to_their_limit(void **state)
{
  (void)state;
  struct buf b CLEANUP(buf_release) = BUF_INIT(10);
  assert_string_equal(buf_str(&b), "");
  buf_adds(&b, "12345");
  buf_printf(&b, "%d", 67890);
  assert_true(buf_ok(&b));
  assert_string_equal(buf_str(&b), "1234567890");
  buf_addc(&b, 'x');
  assert_false(buf_ok(&b));
  buf_drop_front(&b, 9);
  buf_adds(&b, "y"); // fits, but the failure stays
  assert_null(buf_take(&b));
  buf_clear(&b);
  buf_printf(&b, "%s", "12345678901");
  assert_false(buf_ok(&b));
  buf_clear(&b);
  buf_adds(&b, "again");
  char *text = buf_take(&b);
  assert_string_equal(text, "again");
  free(text);
  text = buf_take(&b);
  assert_string_equal(text, "");
  free(text);
}

static void buffers_hold_bytes(void **state)
{
  (void)state;
  struct buf b CLEANUP(buf_release) = BUF_INIT(0);
  buf_add(&b, "a\0b", 3);
  buf_add(&b, NULL, 0);
  assert_int_equal(b.length, 3);
  assert_int_equal(b.data[3], 0);
  buf_drop_front(&b, 2);
  assert_string_equal(buf_str(&b), "b");
  buf_drop_front(&b, 9);
  buf_add_escaped(&b, "a/b c~\xc3\xa4%", "/");
  assert_string_equal(buf_str(&b), "a/b%20c~%C3%A4%25");
  buf_clear(&b);
  buf_add_hex(&b, "\x00\xff\x1a", 3);
  assert_string_equal(buf_str(&b), "00ff1a");
  for (int i = 0; i < 100000; i++)
    buf_addc(&b, 'x');
  assert_true(buf_ok(&b));
  assert_int_equal(b.length, 100006);
}

// ---- clock ----------------------------------------------------------------------------------

static const struct {
  const char *text;
  int64_t ms; // BAD = refused
} times[] = {
    {"1970-01-01T00:00:00Z", 0},
    {"2026-11-21T13:49:52Z", 1795268992000},
    {"2026-11-21T13:49:52.5Z", 1795268992500},
    {"2026-11-21T13:49:52.123456Z", 1795268992123},
    {"2026-11-21T15:49:52+02:00", 1795268992000},
    {"2024-02-29T00:00:00Z", 1709164800000},
    {"2026-11-21", BAD},
    {"2026-11-21T13:49:52", BAD},
    {"2026-11-21T13:49:52Zx", BAD},
    {"2026-13-21T13:49:52Z", BAD},
    {"", BAD},
};

static void tells_what_has_gone_by(void **state)
{
  (void)state;
  static const char noted[] = "2026-11-21T13:49:52Z";
  const int64_t then_ms = 1795268992000;
  assert_int_equal(clock_time_of(noted), then_ms);
  assert_int_equal(clock_time_of(NULL), 0);
  assert_int_equal(clock_time_of("soon"), 0);
  assert_true(clock_passed(noted, 1000, then_ms + 1000));
  assert_false(clock_passed(noted, 1000, then_ms + 999));
  assert_true(clock_passed(noted, 0, then_ms));
  assert_false(clock_passed(noted, -1, then_ms + 1000)); // never
  assert_false(clock_passed(NULL, 0, then_ms));
  assert_false(clock_passed("soon", 0, then_ms));
}

static void reads_and_writes_times(void **state)
{
  (void)state;
  char b[40];
  for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
    int64_t ms;
    if ((clock_parse_rfc3339(times[i].text, &ms) ? ms : BAD) != times[i].ms)
      fail_msg("time '%s'", times[i].text);
  }
  int64_t ms;
  assert_false(clock_parse_rfc3339(NULL, &ms));
  assert_string_equal(clock_rfc3339(1795268992999, b), "2026-11-21T13:49:52Z");
  assert_string_equal(clock_rfc3339_micro(1795268992007, b), "2026-11-21T13:49:52.007000Z");
  assert_true(clock_wall_ms() > 1700000000000);
  int64_t before_ms = clock_ms();
  assert_true(clock_ms() >= before_ms);
  assert_int_equal(clock_random(0), 0);
  assert_int_equal(clock_random(1), 0);
  bool differ = false;
  uint64_t first = clock_random(1u << 30);
  for (int i = 0; i < 20; i++) {
    uint64_t value = clock_random(1u << 30);
    assert_true(value < (1u << 30));
    differ |= value != first;
  }
  assert_true(differ);
}

// ---- err ------------------------------------------------------------------------------------

static void errors_carry_kind_and_context(void **state)
{
  (void)state;
  struct err err = ERR_INIT;
  assert_int_equal(err_set(NULL, ERR_IO, "nobody cares"), -1);
  assert_int_equal(err_prefix(NULL, "nobody"), -1);
  assert_int_equal(err_set(&err, ERR_NOT_FOUND, "pool '%s'", "x"), -1);
  err_prefix(&err, "target %d", 2);
  assert_string_equal(err.message, "target 2: pool 'x'");
  assert_int_equal(err.kind, ERR_NOT_FOUND);
  err_set(&err, ERR_IO, "again: %s", err.message); // an argument may be the old message
  assert_string_equal(err.message, "again: target 2: pool 'x'");
  err_errno(&err, ENOSPC, "write %s", "/x");
  assert_int_equal(err.kind, ERR_NO_SPACE);
  assert_string_equal(err.message, "write /x: No space left on device");
  char large[2 * ERR_MESSAGE_MAX];
  memset(large, 'x', sizeof(large) - 1);
  large[sizeof(large) - 1] = '\0';
  err_set(&err, ERR_IO, "%s", large);
  assert_int_equal(strlen(err.message), ERR_MESSAGE_MAX - 1);
  err_prefix(&err, "front");
  err_prefix(&err, "%s", large);
  assert_int_equal(strlen(err.message), ERR_MESSAGE_MAX - 1);
  assert_contains(err.message, "x: front: xx");
}

static void every_kind_has_a_reason_of_its_own(void **state)
{
  (void)state;
  for (int k = ERR_NONE + 1; k < ERR_KIND_COUNT; k++) {
    assert_true(strlen(err_reason(k)) > 2);
    assert_int_equal(err_kind_of_reason(err_reason(k)), k);
  }
  assert_int_equal(err_kind_of_reason("Unheard"), ERR_INTERNAL);
  assert_int_equal(err_kind_of_reason(NULL), ERR_INTERNAL);
  assert_int_equal(err_kind_of_errno(12345), ERR_IO);
  assert_false(err_retryable(ERR_NO_SPACE) || err_retryable(ERR_CANCELLED));
  assert_true(err_retryable(ERR_UNREACHABLE) && err_retryable(ERR_CONFLICT));
}

// ---- secret ---------------------------------------------------------------------------------

static void secrets_hold_and_forget(void **state)
{
  (void)state;
  struct secret a = {0};
  struct secret b = {0};
  assert_true(secret_empty(&a));
  assert_string_equal(secret_reveal(&a), "");
  assert_int_equal(secret_set(&a, "a\0b", 3), 0);
  assert_int_equal(a.length, 3);
  assert_int_equal(secret_copy(&b, &a), 0);
  assert_memory_equal(secret_reveal(&b), "a\0b", 4);
  assert_int_equal(secret_set_string(&a, "geheim"), 0);
  assert_string_equal(secret_reveal(&a), "geheim");
  assert_int_equal(secret_set(&a, secret_reveal(&a), 3), 0); // of itself
  assert_string_equal(secret_reveal(&a), "geh");
  static char large[SECRET_MAX_BYTES + 1];
  assert_int_equal(secret_set(&a, large, sizeof(large)), -1);
  assert_string_equal(secret_reveal(&a), "geh");
  assert_int_equal(secret_copy(&a, &(struct secret){0}), 0);
  assert_true(secret_empty(&a));
  secret_release(&b);
  secret_release(&b);
  secret_free_string(NULL);
  secret_free_string(strdup("geheim"));
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(compares),
      cmocka_unit_test(reads_numbers),
      cmocka_unit_test(writes_for_people),
      cmocka_unit_test(matches_patterns),
      cmocka_unit_test(buffers_grow_to_their_limit),
      cmocka_unit_test(buffers_hold_bytes),
      cmocka_unit_test(reads_and_writes_times),
      cmocka_unit_test(tells_what_has_gone_by),
      cmocka_unit_test(errors_carry_kind_and_context),
      cmocka_unit_test(every_kind_has_a_reason_of_its_own),
      cmocka_unit_test(secrets_hold_and_forget),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
