// SPDX-License-Identifier: Apache-2.0
// Fixed vectors: a machine that is made anew after an upgrade of drover must be who it was.
#include "tests/unit/unit.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/sha256.h"
#include "reconcile/identity.h"

#define UID "0b8f6f0e-6a3c-4a52-9d59-0d1e6f3f2a11"

enum { CLONES = 10000, ROW = 40 };

static void test_sha256(void **state)
{
  (void)state;
  // FIPS 180-4, example "abc"
  static const unsigned char abc[SHA256_BYTES] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea,
                                                  0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
                                                  0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c,
                                                  0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
  unsigned char seen[SHA256_BYTES];
  sha256_of("abc", 3, seen);
  assert_memory_equal(seen, abc, SHA256_BYTES);
}

static void test_vectors(void **state)
{
  (void)state;
  struct identity id;
  identity_of(UID, &id);
  assert_string_equal(id.machine_id, "ce40877c293d4448ba3e638b22e82bf9");
  assert_string_equal(id.uuid, "ce40877c-293d-4448-ba3e-638b22e82bf9");
  char mac[18];
  identity_mac(UID, 0, mac);
  assert_string_equal(mac, "52:15:a1:83:6b:29");
  identity_mac(UID, 1, mac);
  assert_string_equal(mac, "52:21:c7:0a:7c:dc");
}

static int compare(const void *a, const void *b)
{
  return strcmp(a, b);
}

static void assert_all_differ(char (*rows)[ROW])
{
  qsort(rows, CLONES, ROW, compare);
  for (size_t i = 1; i < CLONES; i++)
    if (strcmp(rows[i - 1], rows[i]) == 0)
      fail_msg("two are %s", rows[i]);
}

static void test_no_two_agree(void **state)
{
  (void)state;
  cleanup_free char(*ids)[ROW] = calloc(CLONES, ROW);
  cleanup_free char(*macs)[ROW] = calloc(CLONES, ROW);
  for (unsigned i = 0; i < CLONES; i++) {
    char uid[ROW];
    snprintf(uid, sizeof(uid), "00000000-0000-4000-8000-%012x", i);
    struct identity id;
    identity_of(uid, &id);
    snprintf(ids[i], ROW, "%s", id.uuid);
    identity_mac(uid, i % 3, macs[i]);
    assert_int_equal(id.uuid[14], '4');
    assert_non_null(strchr("89ab", id.uuid[19]));
    assert_int_equal(strlen(id.machine_id), 32);
    assert_int_equal(strlen(macs[i]), 17);
  }
  assert_all_differ(ids);
  assert_all_differ(macs);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_sha256),
      cmocka_unit_test(test_vectors),
      cmocka_unit_test(test_no_two_agree),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
