// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/unit.h"

#include <endian.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "mover/manifest.h"

#define HASH_BYTES 32

// Leaf hash of `length` bytes of the same value.
static void leaf(uint8_t value, size_t length, uint8_t hash[HASH_BYTES])
{
  uint8_t *bytes cleanup_free = malloc(length + 1);
  memset(bytes, value, length + 1);
  bytes[0] = 0;
  EVP_Digest(bytes, length + 1, hash, NULL, EVP_sha256(), NULL);
}

// Four chunks: data, a hole (nobody read it), zeros that were read, and a short one of data.
static void test_chunks(void **state)
{
  (void)state;
  uint8_t hashes[4 * HASH_BYTES] = {0};
  leaf(7, COPY_CHUNK_BYTES, hashes);
  leaf(0, COPY_CHUNK_BYTES, hashes + 2 * HASH_BYTES);
  leaf(9, 1024, hashes + 3 * HASH_BYTES);
  struct copy_result r = {
      .size_bytes = 3 * COPY_CHUNK_BYTES + 1000, .chunk_hashes = hashes, .chunk_count = 4};
  uint8_t *bytes cleanup_free = NULL;
  size_t length = 0;
  struct err err = ERR_INIT;
  assert_ok(chunks_encode(&r, &bytes, &length, &err), &err);
  assert_int_equal(length, 40 + 1 + 2 * HASH_BYTES);
  assert_memory_equal(bytes, "DROVERCK\1\0\0\0\0\0\x40\0", 16);
  uint64_t numbers[3];
  memcpy(numbers, bytes + 16, sizeof numbers);
  assert_int_equal(le64toh(numbers[0]), 3 * COPY_CHUNK_BYTES + 1024);
  assert_int_equal(le64toh(numbers[1]), 4);
  assert_int_equal(le64toh(numbers[2]), 2);
  assert_int_equal(bytes[40], 0x9); // the first and the fourth
  assert_memory_equal(bytes + 41, hashes, HASH_BYTES);
  assert_memory_equal(bytes + 41 + HASH_BYTES, hashes + 3 * HASH_BYTES, HASH_BYTES);
}

static void test_a_short_chunk_of_zeros(void **state)
{
  (void)state;
  uint8_t hashes[HASH_BYTES];
  leaf(0, 1024, hashes);
  struct copy_result r = {.size_bytes = 1000, .chunk_hashes = hashes, .chunk_count = 1};
  uint8_t *bytes cleanup_free = NULL;
  size_t length = 0;
  struct err err = ERR_INIT;
  assert_ok(chunks_encode(&r, &bytes, &length, &err), &err);
  assert_int_equal(length, 41);
  assert_int_equal(bytes[40], 0);
}

static void test_manifest(void **state)
{
  (void)state;
  struct copy_result r = {.size_bytes = 4096, .data_bytes = 512, .stored_bytes = 327680};
  strcpy(r.layout, "forward");
  strcpy(r.content_digest, "merkle-sha256-4m:4096:"
                           "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
  char *text cleanup_free = manifest_encode(&r, "home/ns/web/1", DISK_FORMAT_QCOW2);
  struct image_manifest m;
  struct err err = ERR_INIT;
  assert_ok(table_decode_text(&image_manifest_table, text, "manifest", &m, &err), &err);
  assert_string_equal(m.owner, "home/ns/web/1");
  assert_string_equal(m.format, "qcow2");
  assert_string_equal(m.layout, "forward");
  assert_string_equal(m.content_digest, r.content_digest);
  assert_null(m.object_sha256);
  assert_int_equal(m.size_bytes, 4096);
  assert_int_equal(m.data_bytes, 512);
  assert_int_equal(m.stored_bytes, 327680);
  assert_non_null(m.created_at);
  table_release(&image_manifest_table, &m);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_chunks),
      cmocka_unit_test(test_a_short_chunk_of_zeros),
      cmocka_unit_test(test_manifest),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
