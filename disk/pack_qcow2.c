// SPDX-License-Identifier: Apache-2.0
// qcow2 laid down head last: data clusters in the order of the disk, those that are zeros left out;
// after the last cluster of 512 MiB of the disk their L2 table, after each 2 GiB that are stored
// the refcounts of them; at the end the L1 table, the refcount table and the last refcounts. Only
// then the header can say where those lie, so the first cluster is written last.
//
// With zstd, clusters are compressed each by itself and lie side by side at any byte, so several
// share a cluster of the file, whose refcount is their number. What does not become smaller is
// stored as it is, on a cluster boundary: of each chunk such clusters come first, so that there is
// at most one gap in 4 MiB.
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "disk/copy.h"
#include "disk/pack_internal.h"
#include "disk/qcow2_internal.h"

#define LEVEL            3                        // as QEMU: a twentieth smaller than at 1
#define COMPRESSED_MAX   (CLUSTER - CLUSTER / 16) // to save less is not worth to unpack it each time
#define SECTOR           512u
#define COMPRESSED       (1ull << 62)
#define SECTORS_SHIFT    (62 - (CLUSTER_BITS - 8))
#define CHUNKS_PER_TABLE (TABLE_ENTRIES / BLOCKS_PER_CHUNK)
#define WINDOW           3 // refcount blocks: a chunk or the end touches no more

// At the start of packed.bytes: how many bytes each block of the chunk takes.
struct lengths {
  uint32_t of[BLOCKS_PER_CHUNK]; // 0 = it is zeros; CLUSTER = as it is; else compressed
};

// Then room for what may come before the clusters: the gap, an L2 table, a refcount block.
#define FRONT_ROOM  (3 * CLUSTER)
#define CLUSTERS_AT (sizeof(struct lengths) + FRONT_ROOM)

struct qcow2_pack {
  struct pack pack;
  struct qcow2_head head;
  uint8_t *l1;         // as it is stored; in order
  uint8_t l2[CLUSTER]; // of l2_number; in order
  uint64_t l2_number;
  bool l2_open;                        // has entries and is not laid down yet
  uint64_t *blocks;                    // refcount blocks laid down: their offsets
  uint64_t block;                      // how many: the first one that is not
  uint16_t counts[WINDOW * REFCOUNTS]; // refcounts from that one on
  struct pack_end end;
};

// ---- clusters -------------------------------------------------------------------------------

static int plain_lane_open(struct pack *base, void **ret_lane, struct err *err)
{
  (void)base, (void)err;
  *ret_lane = NULL;
  return 0;
}

static void plain_lane_close(struct pack *base, void *lane)
{
  (void)base, (void)lane;
}

static int zstd_lane_open(struct pack *base, void **ret_lane, struct err *err)
{
  (void)base;
  ZSTD_CCtx *z = ZSTD_createCCtx();
  if (!z || ZSTD_isError(ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, LEVEL))) {
    ZSTD_freeCCtx(z);
    return err_set(err, ERR_NO_MEMORY, "no memory for a compressor");
  }
  *ret_lane = z;
  return 0;
}

static void zstd_lane_close(struct pack *base, void *lane)
{
  (void)base;
  ZSTD_freeCCtx(lane);
}

static struct lengths *begin_data(struct packed *k)
{
  struct lengths *l = (struct lengths *)k->bytes;
  memset(l, 0, sizeof(*l));
  k->start = CLUSTERS_AT;
  return l;
}

static void put_plain(struct lengths *l, uint64_t blocks, const uint8_t *chunk, uint8_t *into)
{
  for (uint64_t left = blocks; left; left &= left - 1, into += CLUSTER) {
    int n = __builtin_ctzll(left);
    memcpy(into, chunk + (size_t)n * CLUSTER, CLUSTER);
    l->of[n] = CLUSTER;
  }
}

static int plain_data(struct pack *base, void *lane, const uint8_t *chunk, size_t length,
                      struct packed *k, struct err *err)
{
  (void)base, (void)lane, (void)length, (void)err;
  struct lengths *l = begin_data(k);
  put_plain(l, k->nonzero, chunk, k->bytes + k->start);
  k->length = (size_t)__builtin_popcountll(k->nonzero) * CLUSTER;
  return 0;
}

static int zstd_data(struct pack *base, void *lane, const uint8_t *chunk, size_t length,
                     struct packed *k, struct err *err)
{
  (void)base, (void)length;
  struct lengths *l = begin_data(k);
  uint8_t *into = k->bytes + k->start;
  uint64_t plain = 0;
  size_t packed = 0;
  for (uint64_t left = k->nonzero; left; left &= left - 1) {
    int block = __builtin_ctzll(left);
    size_t n = ZSTD_compress2(lane, into + packed, COMPRESSED_MAX, chunk + (size_t)block * CLUSTER,
                              CLUSTER);
    if (ZSTD_isError(n) && ZSTD_getErrorCode(n) != ZSTD_error_dstSize_tooSmall)
      return err_set(err, ERR_INTERNAL, "zstd: %s", ZSTD_getErrorName(n));
    plain |= (uint64_t)ZSTD_isError(n) << block;
    if (ZSTD_isError(n))
      continue;
    l->of[block] = (uint32_t)n;
    packed += n;
  }
  size_t before = (size_t)__builtin_popcountll(plain) * CLUSTER;
  memmove(into + before, into, packed);
  put_plain(l, plain, chunk, into);
  k->length = before + packed;
  return 0;
}

// ---- tables ---------------------------------------------------------------------------------

static size_t gap_before(uint64_t offset)
{
  return (CLUSTER - offset % CLUSTER) % CLUSTER;
}

static void count(struct qcow2_pack *p, uint64_t offset, uint64_t length)
{
  uint64_t from = p->block * REFCOUNTS;
  for (uint64_t c = offset / CLUSTER; c * CLUSTER < offset + length; c++)
    p->counts[c - from]++;
}

// The open L2 table, at a stored offset.
static uint8_t *put_l2(struct qcow2_pack *p, uint64_t offset, uint8_t *at)
{
  count(p, offset, CLUSTER);
  memcpy(at, p->l2, CLUSTER);
  memset(p->l2, 0, CLUSTER);
  qcow2_put64(p->l1, p->l2_number, offset | COPIED);
  p->l2_open = false;
  return at + CLUSTER;
}

// The first refcount block that is not laid down; it must have been counted itself.
static uint8_t *put_block(struct qcow2_pack *p, uint64_t offset, uint8_t *at)
{
  for (size_t i = 0; i < REFCOUNTS; i++) {
    uint16_t big = htobe16(p->counts[i]);
    memcpy(at + i * sizeof(big), &big, sizeof(big));
  }
  size_t rest = (WINDOW - 1) * REFCOUNTS;
  memmove(p->counts, p->counts + REFCOUNTS, rest * sizeof(*p->counts));
  memset(p->counts + rest, 0, REFCOUNTS * sizeof(*p->counts));
  p->blocks[p->block++] = offset;
  return at + CLUSTER;
}

// Nothing that comes from here on touches its clusters.
static bool block_is_full(const struct qcow2_pack *p, uint64_t offset)
{
  return offset / CLUSTER >= (p->block + 1) * REFCOUNTS;
}

// The length is told in the sectors that are touched beyond the first.
static uint64_t compressed_entry(uint64_t offset, uint32_t length)
{
  uint64_t more = (offset + length - 1) / SECTOR - offset / SECTOR;
  return offset | more << SECTORS_SHIFT | COMPRESSED;
}

static void note_clusters(struct qcow2_pack *p, const struct packed *k, uint64_t offset)
{
  const struct lengths *l = (const struct lengths *)k->bytes;
  uint64_t first = k->chunk % CHUNKS_PER_TABLE * BLOCKS_PER_CHUNK;
  for (int compressed = 0; compressed < 2; compressed++)
    for (unsigned i = 0; i < BLOCKS_PER_CHUNK; i++) {
      if (l->of[i] == 0 || (l->of[i] < CLUSTER) != compressed)
        continue;
      qcow2_put64(p->l2, first + i,
                  compressed ? compressed_entry(offset, l->of[i]) : offset | COPIED);
      count(p, offset, l->of[i]);
      offset += l->of[i];
    }
}

static bool begins_with_plain(const struct packed *k)
{
  const struct lengths *l = (const struct lengths *)k->bytes;
  for (unsigned i = 0; i < BLOCKS_PER_CHUNK; i++)
    if (l->of[i] == CLUSTER)
      return true;
  return false;
}

static int place(struct pack *base, struct packed *k, uint64_t offset, struct err *err)
{
  (void)err;
  struct qcow2_pack *p = (struct qcow2_pack *)base;
  uint64_t number = k->chunk / CHUNKS_PER_TABLE;
  if (k->length == 0)
    return 0;
  bool table = p->l2_open && number != p->l2_number;
  bool block = block_is_full(p, offset);
  size_t gap = table || block || begins_with_plain(k) ? gap_before(offset) : 0;
  size_t front = gap + ((size_t)table + block) * CLUSTER;
  uint8_t *at = k->bytes + CLUSTERS_AT - front;
  memset(at, 0, gap);
  at += gap;
  uint64_t to = offset + gap;
  if (table) {
    at = put_l2(p, to, at);
    to += CLUSTER;
  }
  if (block) {
    count(p, to, CLUSTER);
    put_block(p, to, at);
  }
  p->l2_number = number;
  p->l2_open = true;
  note_clusters(p, k, offset + front);
  k->start = CLUSTERS_AT - front;
  k->length += front;
  return 0;
}

// ---- header and end -------------------------------------------------------------------------

static size_t header(struct pack *base, uint8_t *into)
{
  qcow2_put_head(&((const struct qcow2_pack *)base)->head, into);
  return CLUSTER;
}

struct end { // in clusters
  uint64_t l2, l1, refs, blocks;
};

// Refcount structures count themselves: grow them until they hold.
static struct end plan_end(const struct qcow2_pack *p, uint64_t at)
{
  struct end e = {.l2 = p->l2_open, .l1 = CLUSTERS_OF(p->head.l1_size * 8), .refs = 1, .blocks = 1};
  for (;;) {
    uint64_t total = at / CLUSTER + e.l2 + e.l1 + e.refs + e.blocks;
    uint64_t all = DIVIDE_UP(total, REFCOUNTS);
    uint64_t blocks = all - p->block, refs = DIVIDE_UP(all, TABLE_ENTRIES);
    if (blocks <= e.blocks && refs <= e.refs)
      return e;
    e.blocks = blocks > e.blocks ? blocks : e.blocks;
    e.refs = refs > e.refs ? refs : e.refs;
  }
}

// The table names the blocks, which are laid down behind it.
static void put_refs(struct qcow2_pack *p, const struct end *e, uint64_t offset, uint8_t *at)
{
  uint8_t *block = at + e->refs * CLUSTER;
  uint64_t block_at = offset + e->refs * CLUSTER;
  count(p, offset, (e->refs + e->blocks) * CLUSTER);
  for (uint64_t i = 0; i < e->blocks; i++, block_at += CLUSTER)
    block = put_block(p, block_at, block);
  for (uint64_t i = 0; i < p->block; i++)
    qcow2_put64(at, i, p->blocks[i]);
  p->head.refs_offset = offset;
  p->head.refs_clusters = e->refs;
}

static int make_end(struct qcow2_pack *p, uint64_t offset, struct err *err)
{
  size_t gap = gap_before(offset);
  uint64_t to = offset + gap;
  const struct end e = plan_end(p, to);
  p->end.length = gap + (e.l2 + e.l1 + e.refs + e.blocks) * CLUSTER;
  p->end.bytes = calloc(1, p->end.length);
  if (!p->end.bytes)
    return err_set(err, ERR_NO_MEMORY, "no memory for the tables of a qcow2");
  uint8_t *at = p->end.bytes + gap;
  if (p->l2_open)
    at = put_l2(p, to, at);
  to += e.l2 * CLUSTER;
  p->head.l1_offset = to;
  count(p, to, e.l1 * CLUSTER);
  memcpy(at, p->l1, p->head.l1_size * 8);
  put_refs(p, &e, to + e.l1 * CLUSTER, at + e.l1 * CLUSTER);
  return 0;
}

static int trailer(struct pack *base, uint64_t offset, uint8_t *into, size_t *ret_length,
                   struct err *err)
{
  struct qcow2_pack *p = (struct qcow2_pack *)base;
  if (!p->end.bytes && make_end(p, offset, err) != 0)
    return -1;
  *ret_length = pack_end_give(&p->end, base->room_bytes, into);
  return 0;
}

// ---- life -----------------------------------------------------------------------------------

static void qcow2_free(struct pack *base)
{
  struct qcow2_pack *p = (struct qcow2_pack *)base;
  free(p->l1);
  free(p->blocks);
  free(p->end.bytes);
  free(p);
}

static const struct pack_ops plain_ops = {.layout = "head-last",
                                          .lane_open = plain_lane_open,
                                          .lane_close = plain_lane_close,
                                          .data = plain_data,
                                          .place = place,
                                          .header = header,
                                          .trailer = trailer,
                                          .free = qcow2_free};

static const struct pack_ops zstd_ops = {.layout = "head-last+zstd",
                                         .lane_open = zstd_lane_open,
                                         .lane_close = zstd_lane_close,
                                         .data = zstd_data,
                                         .place = place,
                                         .header = header,
                                         .trailer = trailer,
                                         .free = qcow2_free};

// Refcount blocks that there may be.
static uint64_t describe(struct qcow2_pack *p, const struct extents *map)
{
  bool zstd = p->head.zstd;
  uint64_t chunks = pack_data_chunks(map), l1 = p->head.l1_size;
  uint64_t tables = chunks < l1 ? chunks : l1;
  uint64_t clusters =
      1 + chunks * (BLOCKS_PER_CHUNK + zstd) + tables * (1 + zstd) + CLUSTERS_OF(l1 * 8);
  uint64_t blocks = clusters / (REFCOUNTS - 4) + WINDOW;
  clusters += 2 * blocks + DIVIDE_UP(blocks, TABLE_ENTRIES) + 1;
  p->pack = (struct pack){.ops = zstd ? &zstd_ops : &plain_ops, .late_header_bytes = CLUSTER};
  p->pack.room_bytes = CLUSTERS_AT + COPY_CHUNK_BYTES;
  p->pack.bound_bytes = clusters * CLUSTER;
  return blocks;
}

int pack_new_qcow2(const struct extents *map, uint64_t guest_bytes, bool zstd, struct pack **ret,
                   struct err *err)
{
  struct qcow2_pack *p = calloc(1, sizeof(*p));
  if (!p)
    return err_set(err, ERR_NO_MEMORY, "no memory for the tables of a qcow2");
  p->head = (struct qcow2_head){
      .guest_bytes = guest_bytes, .l1_size = qcow2_l1_size(guest_bytes), .zstd = zstd};
  uint64_t blocks = describe(p, map);
  p->l1 = calloc(p->head.l1_size, 8);
  p->blocks = calloc(blocks, sizeof(*p->blocks));
  if (!p->l1 || !p->blocks) {
    qcow2_free(&p->pack);
    return err_set(err, ERR_NO_MEMORY, "no memory for the tables of a qcow2");
  }
  count(p, 0, CLUSTER); // the header's
  *ret = &p->pack;
  return 0;
}
