// SPDX-License-Identifier: Apache-2.0
// raw.zst: one zstd frame a chunk, in order, zeros too (so that `zstd -d` gives the whole disk),
// then the map of blocks and the seek table.
#include <endian.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "disk/copy.h"
#include "disk/pack_internal.h"
#include "disk/zst_internal.h"

struct zst_pack {
  struct pack pack;
  uint64_t size_bytes, chunks;
  uint32_t *frame_bytes; // a chunk; in order
  uint64_t *blocks;      // a chunk; in order: blocks with anything but zeros
  uint8_t zero_frame[ZST_ZERO_FRAME_BYTES], last_zero_frame[ZST_ZERO_FRAME_BYTES];
  size_t zero_frame_bytes, last_zero_frame_bytes; // last: of the last chunk, which may be shorter
  uint8_t *end;                                   // map and table, once they are made
  size_t end_bytes, end_given;
};

static ZSTD_CCtx *new_context(void)
{
  ZSTD_CCtx *z = ZSTD_createCCtx();
  if (z && (ZSTD_isError(ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, ZST_LEVEL)) ||
            ZSTD_isError(ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, 1)))) {
    ZSTD_freeCCtx(z);
    return NULL;
  }
  return z;
}

size_t zst_zero_frame(size_t length, uint8_t ret[ZST_ZERO_FRAME_BYTES])
{
  ZSTD_CCtx *z = new_context();
  void *zeros = calloc(1, length ? length : 1);
  size_t n = z && zeros ? ZSTD_compress2(z, ret, ZST_ZERO_FRAME_BYTES, zeros, length) : 0;
  if (!n || ZSTD_isError(n))
    abort(); // no memory
  free(zeros);
  ZSTD_freeCCtx(z);
  return n;
}

static size_t chunk_bytes(const struct zst_pack *p, uint64_t chunk)
{
  uint64_t left = p->size_bytes - chunk * COPY_CHUNK_BYTES;
  return left < COPY_CHUNK_BYTES ? (size_t)left : COPY_CHUNK_BYTES;
}

// ---- frames ---------------------------------------------------------------------------------

static int lane_open(struct pack *base, void **ret_lane, struct err *err)
{
  (void)base;
  *ret_lane = new_context();
  return *ret_lane ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for a compressor");
}

static void lane_close(struct pack *base, void *lane)
{
  (void)base;
  ZSTD_freeCCtx(lane);
}

static int data(struct pack *base, void *lane, const uint8_t *chunk, size_t length,
                struct packed *k, struct err *err)
{
  size_t n = ZSTD_compress2(lane, k->bytes, base->room_bytes, chunk, length);
  if (ZSTD_isError(n))
    return err_set(err, ERR_INTERNAL, "zstd: %s", ZSTD_getErrorName(n));
  k->length = n;
  return 0;
}

static bool is_last(const struct zst_pack *p, uint64_t chunk)
{
  return chunk + 1 == p->chunks;
}

static void zeros(struct pack *base, struct packed *k)
{
  const struct zst_pack *p = (const struct zst_pack *)base;
  k->length = 0;
  for (uint64_t i = 0; i < k->count; i++) {
    bool last = is_last(p, k->chunk + i);
    size_t n = last ? p->last_zero_frame_bytes : p->zero_frame_bytes;
    memcpy(k->bytes + k->length, last ? p->last_zero_frame : p->zero_frame, n);
    k->length += n;
  }
}

static int place(struct pack *base, struct packed *k, uint64_t offset, struct err *err)
{
  (void)offset, (void)err;
  struct zst_pack *p = (struct zst_pack *)base;
  uint32_t *at = p->frame_bytes + k->chunk;
  for (uint64_t i = 0; i + 1 < k->count; i++)
    at[i] = (uint32_t)p->zero_frame_bytes;
  size_t before = (k->count - 1) * p->zero_frame_bytes;
  at[k->count - 1] = (uint32_t)(k->length - before);
  p->blocks[k->chunk] = k->nonzero;
  return 0;
}

// ---- map and table --------------------------------------------------------------------------

static uint8_t *put_u32(uint8_t *at, uint64_t value)
{
  uint32_t le = htole32((uint32_t)value);
  memcpy(at, &le, sizeof(le));
  return at + sizeof(le);
}

static uint8_t *put_u64(uint8_t *at, uint64_t value)
{
  uint64_t le = htole64(value);
  memcpy(at, &le, sizeof(le));
  return at + sizeof(le);
}

static size_t map_bytes(uint64_t chunks)
{
  return ZST_MAP_HEAD_BYTES + chunks * sizeof(uint64_t) + ZST_MAP_SUM_BYTES;
}

static size_t table_bytes(uint64_t chunks)
{
  return (chunks + 1) * ZST_ENTRY_BYTES + ZST_FOOTER_BYTES;
}

static size_t end_bytes(uint64_t chunks)
{
  return ZST_HEADER_BYTES + map_bytes(chunks) + ZST_HEADER_BYTES + table_bytes(chunks);
}

static uint8_t *put_map(const struct zst_pack *p, uint8_t *at)
{
  at = put_u32(at, ZST_MAP_FRAME_MAGIC);
  at = put_u32(at, map_bytes(p->chunks));
  uint8_t *start = at;
  memcpy(at, ZST_MAP_MAGIC, ZST_MAP_MAGIC_BYTES);
  at = put_u32(at + ZST_MAP_MAGIC_BYTES, ZST_MAP_VERSION);
  at = put_u32(at, BLOCK_BYTES);
  at = put_u64(at, p->chunks);
  for (uint64_t i = 0; i < p->chunks; i++)
    at = put_u64(at, p->blocks[i]);
  if (EVP_Digest(start, (size_t)(at - start), at, NULL, EVP_sha256(), NULL) != 1)
    abort();
  return at + ZST_MAP_SUM_BYTES;
}

static void put_table(const struct zst_pack *p, uint8_t *at)
{
  at = put_u32(at, ZST_SKIPPABLE_MAGIC);
  at = put_u32(at, table_bytes(p->chunks));
  for (uint64_t i = 0; i < p->chunks; i++) {
    at = put_u32(at, p->frame_bytes[i]);
    at = put_u32(at, chunk_bytes(p, i));
  }
  at = put_u32(at, ZST_HEADER_BYTES + map_bytes(p->chunks)); // the map is a frame of nothing
  at = put_u32(at, 0);
  at = put_u32(at, p->chunks + 1);
  *at++ = 0; // no checksums
  put_u32(at, ZST_SEEKABLE_MAGIC);
}

static int make_end(struct zst_pack *p, struct err *err)
{
  p->end_bytes = end_bytes(p->chunks);
  p->end = malloc(p->end_bytes);
  if (!p->end)
    return err_set(err, ERR_NO_MEMORY, "no memory for the seek table");
  put_table(p, put_map(p, p->end));
  return 0;
}

static int trailer(struct pack *base, uint64_t offset, uint8_t *into, size_t *ret_length,
                   struct err *err)
{
  (void)offset;
  struct zst_pack *p = (struct zst_pack *)base;
  if (!p->end && make_end(p, err) != 0)
    return -1;
  size_t left = p->end_bytes - p->end_given;
  *ret_length = left < base->room_bytes ? left : base->room_bytes;
  memcpy(into, p->end + p->end_given, *ret_length);
  p->end_given += *ret_length;
  return 0;
}

// ---- life -----------------------------------------------------------------------------------

static void zst_free(struct pack *base)
{
  struct zst_pack *p = (struct zst_pack *)base;
  free(p->frame_bytes);
  free(p->blocks);
  free(p->end);
  free(p);
}

static const struct pack_ops zst_ops = {.layout = "packed",
                                        .lane_open = lane_open,
                                        .lane_close = lane_close,
                                        .data = data,
                                        .zeros = zeros,
                                        .place = place,
                                        .trailer = trailer,
                                        .free = zst_free};

static void describe(struct zst_pack *p, const struct extents *map)
{
  p->zero_frame_bytes = zst_zero_frame(COPY_CHUNK_BYTES, p->zero_frame);
  if (p->chunks)
    p->last_zero_frame_bytes = zst_zero_frame(chunk_bytes(p, p->chunks - 1), p->last_zero_frame);
  p->pack = (struct pack){.ops = &zst_ops, .room_bytes = ZSTD_compressBound(COPY_CHUNK_BYTES)};
  p->pack.zeros_max = p->pack.room_bytes / ZST_ZERO_FRAME_BYTES;
  p->pack.bound_bytes = pack_data_chunks(map) * p->pack.room_bytes +
                        p->chunks * ZST_ZERO_FRAME_BYTES + end_bytes(p->chunks);
}

int pack_new_raw_zst(const struct extents *map, uint64_t guest_bytes, struct pack **ret,
                     struct err *err)
{
  uint64_t chunks = (guest_bytes + COPY_CHUNK_BYTES - 1) / COPY_CHUNK_BYTES;
  if (chunks >= ZST_FRAMES_MAX)
    return err_set(err, ERR_LIMIT,
                   "a disk of %" PRIu64 " bytes is too large for raw.zst; use qcow2", guest_bytes);
  struct zst_pack *p = calloc(1, sizeof(*p));
  if (!p)
    return err_set(err, ERR_NO_MEMORY, "no memory for the seek table");
  p->size_bytes = guest_bytes;
  p->chunks = chunks;
  p->frame_bytes = calloc(chunks + 1, sizeof(*p->frame_bytes));
  p->blocks = calloc(chunks + 1, sizeof(*p->blocks));
  if (!p->frame_bytes || !p->blocks) {
    zst_free(&p->pack);
    return err_set(err, ERR_NO_MEMORY, "no memory for the seek table");
  }
  describe(p, map);
  *ret = &p->pack;
  return 0;
}
