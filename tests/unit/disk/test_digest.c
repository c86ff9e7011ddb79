// SPDX-License-Identifier: Apache-2.0
// The content digest is what anybody can recompute, whatever end the content lies at.
#include <stdlib.h>
#include <string.h>

#include "disk/digest_internal.h"
#include "tests/unit/disk/help.h"

static void digest_of(struct source *s, char ret[128])
{
  struct tally tally = {0};
  struct copy_result r;
  struct err err = ERR_INIT;
  if (digest_source(s, 3, &tally, &r, &err) != 0)
    fail_msg("%s", err.message);
  memcpy(ret, r.content_digest, 128);
  copy_result_release(&r);
}

static void same_as_python(uint64_t size, const uint64_t (*data)[2])
{
  struct memory_source *m = memory_source_new(size, data);
  const char *path = help_path("digest.raw");
  help_write_file(path, m->bytes, size);
  char ours[128], theirs[128];
  digest_of(&m->source, ours);
  help_python_digest(path, theirs);
  assert_string_equal(ours, theirs);
  source_free(&m->source);
}

static void recomputed_by_python(void **state)
{
  (void)state;
  static const uint64_t some[][2] = {{0, 100000}, {9 * MIB, 3 * MIB + 77}, {0, 0}};
  static const uint64_t small[][2] = {{0, 700}, {0, 0}};
  static const uint64_t none[][2] = {{0, 0}};
  same_as_python(28 * MIB, some);
  same_as_python(13 * MIB, some);
  same_as_python(12 * MIB + 77, some);
  same_as_python(700, small);
  same_as_python(4 * MIB, none);
  same_as_python(25 * MIB + 1, none);
  same_as_python(0, none);
}

static void known_vectors(void **state)
{
  (void)state;
  // RFC 9162 2.1.1: the hash of an empty list is SHA-256 of nothing.
  char text[128];
  struct source *s;
  struct err err = ERR_INIT;
  assert_int_equal(source_open_null(&s, &err), 0);
  digest_of(s, text);
  assert_string_equal(text, "merkle-sha256-4m:0:"
                            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  source_free(s);
}

static void zeros_inside_data_are_zeros(void **state)
{
  (void)state;
  static const uint64_t all[][2] = {{0, 8 * MIB}, {0, 0}};
  static const uint64_t half[][2] = {{0, 4 * MIB}, {0, 0}};
  struct memory_source *a = memory_source_new(8 * MIB, all);
  struct memory_source *b = memory_source_new(8 * MIB, half);
  memset(a->bytes + 4 * MIB, 0, 4 * MIB);
  memcpy(a->bytes, b->bytes, 4 * MIB);
  char x[128], y[128];
  digest_of(&a->source, x);
  digest_of(&b->source, y);
  assert_string_equal(x, y);
  source_free(&a->source);
  source_free(&b->source);
}

static void verify_finds_a_flipped_bit(void **state)
{
  (void)state;
  static const uint64_t data[][2] = {{0, 9 * MIB}, {0, 0}};
  struct memory_source *m = memory_source_new(9 * MIB, data);
  char text[128];
  digest_of(&m->source, text);
  struct tally tally = {0};
  struct err err = ERR_INIT;
  assert_int_equal(digest_verify(&m->source, text, 2, &tally, &err), 0);
  assert_int_equal(tally.verified_bytes, 9 * MIB);
  m->bytes[9 * MIB - 1] ^= 1;
  assert_int_equal(digest_verify(&m->source, text, 2, &tally, &err), -1);
  assert_int_equal(err.kind, ERR_MISMATCH);
  source_free(&m->source);
}

// A target may be larger than the disk it received: its rest must be zeros.
static void verify_of_a_larger_disk(void **state)
{
  (void)state;
  static const uint64_t data[][2] = {{0, 5 * MIB}, {0, 0}};
  static const uint64_t more[][2] = {{0, 9 * MIB}, {0, 0}};
  struct memory_source *m = memory_source_new(5 * MIB, data);
  struct memory_source *n = memory_source_new(9 * MIB, more);
  char text[128];
  digest_of(&m->source, text);
  memset(n->bytes, 0, 9 * MIB);
  memcpy(n->bytes, m->bytes, 5 * MIB);
  struct tally tally = {0};
  struct err err = ERR_INIT;
  assert_int_equal(digest_verify(&n->source, text, 2, &tally, &err), 0);
  n->bytes[5 * MIB + 5] = 1;
  assert_int_equal(digest_verify(&n->source, text, 2, &tally, &err), -1);
  assert_int_equal(err.kind, ERR_MISMATCH);
  n->bytes[5 * MIB + 5] = 0;
  n->bytes[8 * MIB + 5] = 1;
  assert_int_equal(digest_verify(&n->source, text, 2, &tally, &err), -1);
  assert_non_null(strstr(err.message, "beyond the end"));
  source_free(&m->source);
  source_free(&n->source);
}

static void malformed_digests_are_refused(void **state)
{
  (void)state;
  static const char *const bad[] = {"", "sha256:00", "merkle-sha256-4m:", "merkle-sha256-4m:12:zz",
                                    "merkle-sha256-4m:-1:00"};
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    uint64_t size;
    assert_false(digest_text_size(bad[i], &size));
  }
}

static void compare_names_the_first_difference(void **state)
{
  (void)state;
  static const uint64_t data[][2] = {{MIB, 20 * MIB}, {0, 0}};
  struct memory_source *a = memory_source_new(32 * MIB, data);
  struct memory_source *b = memory_source_new(40 * MIB, data);
  struct tally tally = {0};
  struct err err = ERR_INIT;
  uint64_t offset = 0;
  assert_int_equal(compare_sources(&a->source, &b->source, 4, &tally, &offset, &err), 0);
  b->bytes[20 * MIB] ^= 1;
  b->bytes[9 * MIB + 3] ^= 1;
  assert_int_equal(compare_sources(&a->source, &b->source, 4, &tally, &offset, &err), 1);
  assert_int_equal(offset, 9 * MIB + 3);
  source_free(&a->source);
  source_free(&b->source);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(recomputed_by_python),
      cmocka_unit_test(known_vectors),
      cmocka_unit_test(zeros_inside_data_are_zeros),
      cmocka_unit_test(verify_finds_a_flipped_bit),
      cmocka_unit_test(verify_of_a_larger_disk),
      cmocka_unit_test(malformed_digests_are_refused),
      cmocka_unit_test(compare_names_the_first_difference),
  };
  return cmocka_run_group_tests_name("disk/digest", tests, NULL, help_cleanup);
}
