// SPDX-License-Identifier: Apache-2.0
#include "mover/manifest.h"

#include <endian.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/str.h"

#define CHUNKS_VERSION 1
#define HASH_BYTES     32

static const struct field manifest_fields[] = {
    {"layoutVersion", FIELD_INT, offsetof(struct image_manifest, layout_version), .required = true,
     .min = 1, .max = 1, .help = "1"},
    {"owner", FIELD_STRING, offsetof(struct image_manifest, owner), .max = 199,
     .help = "who made the image"},
    {"format", FIELD_STRING, offsetof(struct image_manifest, format), .required = true, .max = 32,
     .help = "format of the image"},
    {"layout", FIELD_STRING, offsetof(struct image_manifest, layout), .max = 15,
     .help = "how the format was laid down"},
    {"contentDigest", FIELD_STRING, offsetof(struct image_manifest, content_digest), .max = 127,
     .pattern = "^merkle-sha256-4m:[0-9]+:[0-9a-f]{64}$", .help = "digest of the guest's content"},
    {"objectSha256", FIELD_STRING, offsetof(struct image_manifest, object_sha256), .max = 64,
     .pattern = "^[0-9a-f]{64}$", .help = "SHA-256 of the stored bytes"},
    {"sizeBytes", FIELD_INT, offsetof(struct image_manifest, size_bytes), .required = true,
     .min = 0, .max = LIMIT_DISK_BYTES, .help = "guest-visible size, bytes"},
    {"dataBytes", FIELD_INT, offsetof(struct image_manifest, data_bytes), .min = 0,
     .max = LIMIT_DISK_BYTES, .help = "data in it, bytes"},
    {"storedBytes", FIELD_INT, offsetof(struct image_manifest, stored_bytes), .required = true,
     .min = 0, .max = 2 * LIMIT_DISK_BYTES, .help = "length of the object, bytes"},
    {"createdAt", FIELD_STRING, offsetof(struct image_manifest, created_at), .max = 40,
     .help = "when it was written"},
};

const struct table image_manifest_table = TABLE(struct image_manifest, manifest_fields);

struct chunks_header {
  char magic[8];
  uint32_t version, chunk_bytes;
  uint64_t size_bytes, count, data_count;
} __attribute__((packed));

// Leaf hash of `length` zeros.
static int zero_hash(uint64_t length, uint8_t hash[HASH_BYTES])
{
  uint8_t *zeros cleanup_free = calloc(1, length + 1); // the leaf's 0x00 comes first
  return zeros && EVP_Digest(zeros, length + 1, hash, NULL, EVP_sha256(), NULL) ? 0 : -1;
}

// A chunk that nobody read, because the map calls it a hole, has 32 zero bytes for its hash.
static bool is_zero(const struct copy_result *r, uint64_t i, const uint8_t whole[HASH_BYTES],
                    const uint8_t last[HASH_BYTES])
{
  static const uint8_t hole[HASH_BYTES];
  const uint8_t *expected = i + 1 == r->chunk_count ? last : whole;
  const uint8_t *hash = r->chunk_hashes + i * HASH_BYTES;
  return memcmp(hash, expected, HASH_BYTES) == 0 || memcmp(hash, hole, HASH_BYTES) == 0;
}

int chunks_encode(const struct copy_result *r, uint8_t **ret, size_t *ret_length, struct err *err)
{
  uint8_t whole[HASH_BYTES], last[HASH_BYTES];
  uint64_t size = (r->size_bytes + 511) / 512 * 512;
  uint64_t rest = size % COPY_CHUNK_BYTES;
  size_t map_bytes = (r->chunk_count + 7) / 8;
  size_t head = sizeof(struct chunks_header) + map_bytes;
  uint8_t *bytes cleanup_free = calloc(1, head + r->chunk_count * HASH_BYTES);
  if (!bytes || zero_hash(COPY_CHUNK_BYTES, whole) ||
      zero_hash(rest ? rest : COPY_CHUNK_BYTES, last))
    return err_set(err, ERR_NO_MEMORY, "no memory for chunk hashes");
  uint64_t data_count = 0;
  for (uint64_t i = 0; i < r->chunk_count; i++) {
    if (is_zero(r, i, whole, last))
      continue;
    bytes[sizeof(struct chunks_header) + i / 8] |= (uint8_t)(1u << (i % 8));
    memcpy(bytes + head + data_count++ * HASH_BYTES, r->chunk_hashes + i * HASH_BYTES, HASH_BYTES);
  }
  struct chunks_header header = {.version = htole32(CHUNKS_VERSION),
                                 .chunk_bytes = htole32(COPY_CHUNK_BYTES),
                                 .size_bytes = htole64(size),
                                 .count = htole64(r->chunk_count),
                                 .data_count = htole64(data_count)};
  memcpy(header.magic, "DROVERCK", sizeof header.magic);
  memcpy(bytes, &header, sizeof header);
  *ret = TAKE(bytes);
  *ret_length = head + data_count * HASH_BYTES;
  return 0;
}

static int check_header(const uint8_t *bytes, size_t length, const struct copy_result *r,
                        uint64_t *ret_data_count, struct err *err)
{
  struct chunks_header h;
  size_t head = sizeof h + (r->chunk_count + 7) / 8;
  if (length < head)
    return err_set(err, ERR_CORRUPT, "the chunk hashes are cut short");
  memcpy(&h, bytes, sizeof h);
  if (memcmp(h.magic, "DROVERCK", sizeof h.magic) != 0 || le32toh(h.version) != CHUNKS_VERSION ||
      le32toh(h.chunk_bytes) != COPY_CHUNK_BYTES || le64toh(h.count) != r->chunk_count ||
      le64toh(h.size_bytes) != (r->size_bytes + 511) / 512 * 512)
    return err_set(err, ERR_CORRUPT, "the chunk hashes are not of this image");
  *ret_data_count = le64toh(h.data_count);
  if (*ret_data_count > r->chunk_count || length != head + *ret_data_count * HASH_BYTES)
    return err_set(err, ERR_CORRUPT, "the chunk hashes are cut short");
  return 0;
}

int chunks_compare(const uint8_t *bytes, size_t length, const struct copy_result *r,
                   uint64_t *ret_offset, struct err *err)
{
  uint8_t whole[HASH_BYTES], last[HASH_BYTES];
  uint64_t rest = (r->size_bytes + 511) / 512 * 512 % COPY_CHUNK_BYTES, data_count = 0, used = 0;
  if (check_header(bytes, length, r, &data_count, err))
    return -1;
  if (zero_hash(COPY_CHUNK_BYTES, whole) || zero_hash(rest ? rest : COPY_CHUNK_BYTES, last))
    return err_set(err, ERR_NO_MEMORY, "no memory for chunk hashes");
  const uint8_t *map = bytes + sizeof(struct chunks_header);
  const uint8_t *hashes = map + (r->chunk_count + 7) / 8;
  for (uint64_t i = 0; i < r->chunk_count; i++) {
    bool data = map[i / 8] >> (i % 8) & 1;
    if (data && used == data_count)
      return err_set(err, ERR_CORRUPT, "the chunk hashes are against themselves");
    bool same =
        data ? memcmp(hashes + used * HASH_BYTES, r->chunk_hashes + i * HASH_BYTES, HASH_BYTES) == 0
             : is_zero(r, i, whole, last);
    used += data;
    if (same)
      continue;
    *ret_offset = i * COPY_CHUNK_BYTES;
    return 1;
  }
  return 0;
}

char *manifest_encode(const struct copy_result *r, const char *owner, int format)
{
  char now[32];
  struct image_manifest m = {
      .layout_version = 1,
      .owner = (char *)owner,
      .format = (char *)disk_format_names[format],
      .layout = (char *)(r->layout[0] ? r->layout : NULL),
      .content_digest = (char *)(r->content_digest[0] ? r->content_digest : NULL),
      .object_sha256 = (char *)(r->object_sha256[0] ? r->object_sha256 : NULL),
      .size_bytes = (int64_t)r->size_bytes,
      .data_bytes = (int64_t)r->data_bytes,
      .stored_bytes = (int64_t)r->stored_bytes,
      .created_at = clock_rfc3339(clock_wall_ms(), now),
  };
  struct json_object *tree = table_encode(&image_manifest_table, &m);
  char *text = tree ? str_dup(json_object_to_json_string_ext(tree, JSON_C_TO_STRING_PRETTY)) : NULL;
  json_object_put(tree);
  return text;
}

static int put_one(struct storage_lane *l, const char *key, const char *suffix, const void *data,
                   size_t length, const char *owner, bool overwrite, struct err *err)
{
  char *name cleanup_free = str_printf("%s%s", key, suffix);
  if (!name)
    return err_set(err, ERR_NO_MEMORY, "no memory for a key");
  return storage_put(l, name, data, length, owner, !overwrite, err);
}

static void remove_one(struct storage_lane *l, const char *key, const char *suffix)
{
  char *name cleanup_free = str_printf("%s%s", key, suffix);
  if (name)
    storage_remove(l, name, NULL);
}

void manifest_remove(struct storage_lane *l, const char *key)
{
  remove_one(l, key, CHUNKS_SUFFIX); // the manifest last: it says whose they are
  remove_one(l, key, MANIFEST_SUFFIX);
}

static int put_chunks(struct storage_lane *l, const char *key, const struct copy_result *r,
                      const char *owner, bool overwrite, struct err *err)
{
  if (!r->chunk_hashes)
    return 0;
  uint8_t *chunks cleanup_free = NULL;
  size_t length;
  if (chunks_encode(r, &chunks, &length, err))
    return -1;
  return put_one(l, key, CHUNKS_SUFFIX, chunks, length, owner, overwrite, err);
}

int manifest_put(struct storage_lane *l, const char *key, const struct copy_result *r,
                 const char *owner, int format, bool overwrite, struct err *err)
{
  char *text cleanup_free = manifest_encode(r, owner, format);
  if (!text)
    return err_set(err, ERR_NO_MEMORY, "no memory for a manifest");
  if (put_one(l, key, MANIFEST_SUFFIX, text, strlen(text), owner, overwrite, err))
    return err_prefix(err, "manifest of '%s'", key);
  if (put_chunks(l, key, r, owner, overwrite, err)) {
    remove_one(l, key, MANIFEST_SUFFIX);
    return err_prefix(err, "chunk hashes of '%s'", key);
  }
  return 0;
}

int manifest_get(struct storage_lane *l, const char *key, struct image_manifest *ret,
                 struct err *err)
{
  char *name cleanup_free = str_printf("%s%s", key, MANIFEST_SUFFIX);
  char *text cleanup_free = NULL;
  size_t length = 0;
  if (!name)
    return err_set(err, ERR_NO_MEMORY, "no memory for a key");
  if (storage_get(l, name, LIMIT_MANIFEST_BYTES, &text, &length, err))
    return -1;
  struct err fault = ERR_INIT;
  if (strlen(text) != length ||
      table_decode_text(&image_manifest_table, text, "manifest", ret, &fault))
    return err_set(err, ERR_CORRUPT, "'%s' is not a manifest of drover: %s", name, fault.message);
  return 0;
}

int manifest_find_difference(struct storage_lane *l, const char *key, const struct copy_result *r,
                             uint64_t *ret_offset, struct err *err)
{
  char *name cleanup_free = str_printf("%s%s", key, CHUNKS_SUFFIX);
  char *bytes cleanup_free = NULL;
  size_t length = 0, max = sizeof(struct chunks_header) + r->chunk_count * (HASH_BYTES + 1) + 1;
  if (!name)
    return err_set(err, ERR_NO_MEMORY, "no memory for a key");
  if (storage_get(l, name, max, &bytes, &length, err))
    return -1;
  return chunks_compare((const uint8_t *)bytes, length, r, ret_offset, err);
}

int manifest_clear_own(struct storage_lane *l, const char *key, const char *owner, struct err *err)
{
  struct image_manifest m = {0};
  struct err fault = ERR_INIT;
  if (manifest_get(l, key, &m, &fault)) {
    if (fault.kind == ERR_NOT_FOUND || fault.kind == ERR_CORRUPT)
      return 0; // a foreign one is found again when ours is written
    *err = fault;
    return -1;
  }
  if (str_eq(m.owner, owner))
    manifest_remove(l, key);
  table_release(&image_manifest_table, &m);
  return 0;
}
