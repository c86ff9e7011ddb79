// SPDX-License-Identifier: Apache-2.0
// Reading the table of a raw.zst image, and the map of its blocks where it has one. Both are data
// from a stranger: every number is checked against the length of the image.
#include <endian.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "disk/copy.h"
#include "disk/zst_internal.h"

#define TABLE_STEP_BYTES (1u << 20)

// ---- the table ------------------------------------------------------------------------------

static uint32_t get_u32(const uint8_t *at)
{
  uint32_t le;
  memcpy(&le, at, sizeof(le));
  return le32toh(le);
}

struct table_shape {
  uint64_t at; // of the skippable frame
  uint32_t count, entry_bytes;
};

static int read_footer(const struct probe *p, struct table_shape *ret, struct err *err)
{
  uint8_t footer[ZST_FOOTER_BYTES], header[ZST_HEADER_BYTES];
  uint64_t size = p->reader->size_bytes;
  if (size < ZST_HEADER_BYTES + ZST_FOOTER_BYTES)
    return probe_corrupt(err, "it is truncated (%" PRIu64 " bytes)", size);
  if (probe_read(p, footer, sizeof(footer), size - sizeof(footer), err) != 0)
    return -1;
  if (get_u32(footer + 5) != ZST_SEEKABLE_MAGIC)
    return err_set(err, ERR_UNSUPPORTED,
                   "this .zst is truncated or not in the seekable format (it has no table at its "
                   "end); decompress it with 'zstd -d' first");
  ret->count = get_u32(footer);
  ret->entry_bytes = ZST_ENTRY_BYTES + (footer[4] & ZST_HAS_CHECKSUMS ? ZST_CHECKSUM_BYTES : 0);
  uint64_t bytes = (uint64_t)ret->count * ret->entry_bytes + ZST_FOOTER_BYTES;
  if (footer[4] & ZST_RESERVED || ret->count > ZST_FRAMES_MAX || bytes + ZST_HEADER_BYTES > size)
    return probe_corrupt(err, "its seek table claims %" PRIu32 " frames", ret->count);
  ret->at = size - bytes - ZST_HEADER_BYTES;
  if (probe_read(p, header, sizeof(header), ret->at, err) != 0)
    return -1;
  if (get_u32(header) != ZST_SKIPPABLE_MAGIC || get_u32(header + 4) != bytes)
    return probe_corrupt(err, "its seek table does not begin where its end says");
  return 0;
}

static int add_frame(struct zst_table *t, const uint8_t *entry, struct err *err)
{
  uint32_t stored = get_u32(entry), holds = get_u32(entry + 4);
  struct zst_frame *f = &t->frames[t->count];
  if (holds > ZST_FRAME_MAX_BYTES || stored > ZSTD_compressBound(ZST_FRAME_MAX_BYTES))
    return probe_corrupt(err,
                         "its frame %" PRIu32 " has %" PRIu32 " bytes and holds %" PRIu32
                         "; at most %u are read",
                         t->count, stored, holds, ZST_FRAME_MAX_BYTES);
  f[1].stored_at = f->stored_at + stored;
  f[1].disk_at = f->disk_at + holds;
  t->count++;
  return 0;
}

static int read_entries(const struct probe *p, const struct table_shape *shape, struct zst_table *t,
                        struct err *err)
{
  uint32_t a_step = TABLE_STEP_BYTES / shape->entry_bytes;
  cleanup_free uint8_t *step = malloc((size_t)a_step * shape->entry_bytes);
  if (!step)
    return err_set(err, ERR_NO_MEMORY, "no memory for the seek table");
  uint64_t at = shape->at + ZST_HEADER_BYTES;
  while (t->count < shape->count) {
    uint32_t left = shape->count - t->count, n = left < a_step ? left : a_step;
    if (probe_read(p, step, (size_t)n * shape->entry_bytes, at, err) != 0)
      return -1;
    for (uint32_t i = 0; i < n; i++)
      if (add_frame(t, step + (size_t)i * shape->entry_bytes, err) != 0)
        return -1;
    at += (uint64_t)n * shape->entry_bytes;
  }
  return 0;
}

// ---- the map --------------------------------------------------------------------------------

static bool sum_is_right(const uint8_t *bytes, size_t length)
{
  uint8_t sum[EVP_MAX_MD_SIZE];
  unsigned int n = 0;
  return EVP_Digest(bytes, length, sum, &n, EVP_sha256(), NULL) == 1 &&
         memcmp(sum, bytes + length, ZST_MAP_SUM_BYTES) == 0;
}

// bytes: the frame, whose length fits the number of chunks.
static int parse_map(const uint8_t *bytes, size_t length, uint32_t chunks, uint64_t *ret,
                     struct err *err)
{
  const uint8_t *at = bytes + ZST_HEADER_BYTES;
  size_t body = length - ZST_HEADER_BYTES - ZST_MAP_SUM_BYTES;
  if (get_u32(bytes + 4) != length - ZST_HEADER_BYTES || !sum_is_right(at, body) ||
      get_u32(at + 8) != ZST_MAP_VERSION || get_u32(at + 12) != BLOCK_BYTES ||
      get_u32(at + 16) != chunks || get_u32(at + 20) != 0)
    return probe_corrupt(err, "its map of blocks is not what was written");
  for (uint32_t i = 0; i < chunks; i++) {
    uint64_t le;
    memcpy(&le, at + ZST_MAP_HEAD_BYTES + (size_t)i * sizeof(le), sizeof(le));
    ret[i] = le64toh(le);
  }
  return 0;
}

// The last frame may be our map: nothing for anybody else. Then all others are chunks of ours.
static int read_map(const struct probe *p, struct zst_table *t, struct err *err)
{
  uint32_t chunks = t->count ? t->count - 1 : 0;
  const struct zst_frame *f = &t->frames[chunks];
  size_t length = ZST_HEADER_BYTES + ZST_MAP_HEAD_BYTES + (size_t)chunks * 8 + ZST_MAP_SUM_BYTES;
  if (t->count == 0 || f[1].disk_at != f->disk_at || f[1].stored_at - f->stored_at != length)
    return 0;
  cleanup_free uint8_t *bytes = malloc(length);
  uint64_t *blocks = calloc(t->count, sizeof(*blocks));
  t->blocks = blocks;
  if (!bytes || !blocks)
    return err_set(err, ERR_NO_MEMORY, "no memory for the map of blocks");
  if (probe_read(p, bytes, length, f->stored_at, err) != 0)
    return -1;
  if (get_u32(bytes) == ZST_MAP_FRAME_MAGIC &&
      memcmp(bytes + ZST_HEADER_BYTES, ZST_MAP_MAGIC, ZST_MAP_MAGIC_BYTES) == 0)
    return parse_map(bytes, length, chunks, blocks, err);
  free(t->blocks);
  t->blocks = NULL;
  return 0;
}

int zst_table_read(const struct probe *p, struct zst_table *ret, struct err *err)
{
  struct table_shape shape = {0};
  if (read_footer(p, &shape, err) != 0)
    return -1;
  ret->frames = calloc((size_t)shape.count + 1, sizeof(*ret->frames));
  if (!ret->frames)
    return err_set(err, ERR_NO_MEMORY, "no memory for the seek table");
  if (read_entries(p, &shape, ret, err) != 0)
    return -1;
  if (ret->frames[ret->count].stored_at != shape.at)
    return probe_corrupt(err,
                         "its frames have %" PRIu64 " bytes together, its seek table says %" PRIu64,
                         shape.at, ret->frames[ret->count].stored_at);
  if (probe_size(p, ret->frames[ret->count].disk_at, err) != 0)
    return -1;
  return read_map(p, ret, err);
}

void zst_table_release(struct zst_table *t)
{
  free(t->frames);
  free(t->blocks);
  *t = (struct zst_table){0};
}

int probe_raw_zst(const struct probe *p, struct err *err)
{
  struct zst_table t CLEANUP(zst_table_release) = {0};
  p->info->compressed = true;
  return zst_table_read(p, &t, err);
}
