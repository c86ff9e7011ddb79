// SPDX-License-Identifier: Apache-2.0
// qcow2 version 3 laid down forward: header, refcount table and blocks, L1, L2 tables, then the
// data clusters in guest order. All of it follows from the extent map; tables are generated when
// their piece is read and never held.
#include <stdlib.h>
#include <string.h>

#include "disk/copy.h"
#include "disk/layout_type_internal.h"
#include "disk/qcow2_internal.h"

struct run { // of allocated guest clusters
  uint64_t start, count;
  uint64_t rank; // allocated clusters before it
};

struct qcow2 {
  struct layout layout;
  struct run *runs;
  size_t run_count;
  uint64_t data_clusters;
  uint32_t *l2_of_l1; // L1 index -> number of its L2 table + 1; 0 = none
  uint32_t *l1_of_l2;
  uint64_t l1_size, l2_count;
  // in clusters, in this order after the header
  uint64_t table_clusters, block_clusters, l1_clusters;
  uint64_t table_at, blocks_at, l1_at, l2_at, data_at; // cluster numbers
  uint64_t total_clusters;
};

// ---- what lies where ------------------------------------------------------------------------

static int make_runs(struct qcow2 *q, struct err *err)
{
  const struct extents *map = q->layout.map;
  q->runs = calloc(map->count ? map->count : 1, sizeof(*q->runs));
  if (!q->runs)
    return err_set(err, ERR_NO_MEMORY, "no memory for the layout");
  for (size_t i = 0; i < map->count; i++) {
    const struct extent *x = &map->items[i];
    if (!x->data)
      continue;
    uint64_t first = x->offset / CLUSTER;
    uint64_t end = CLUSTERS_OF(x->offset + x->length);
    struct run *last = q->run_count ? &q->runs[q->run_count - 1] : NULL;
    uint64_t last_end = last ? last->start + last->count : 0;
    if (last && first <= last_end)
      last->count = end - last->start;
    else
      q->runs[q->run_count++] = (struct run){.start = first, .count = end - first};
  }
  for (size_t i = 0; i < q->run_count; i++) {
    q->runs[i].rank = q->data_clusters;
    q->data_clusters += q->runs[i].count;
  }
  return 0;
}

static int number_l2_tables(struct qcow2 *q, struct err *err)
{
  q->l1_size = qcow2_l1_size(q->layout.guest_bytes);
  q->l2_of_l1 = calloc(q->l1_size, sizeof(*q->l2_of_l1));
  q->l1_of_l2 = calloc(q->l1_size, sizeof(*q->l1_of_l2));
  if (!q->l2_of_l1 || !q->l1_of_l2)
    return err_set(err, ERR_NO_MEMORY, "no memory for the layout");
  for (size_t i = 0; i < q->run_count; i++) {
    uint64_t last = (q->runs[i].start + q->runs[i].count - 1) / TABLE_ENTRIES;
    for (uint64_t l1 = q->runs[i].start / TABLE_ENTRIES; l1 <= last; l1++) {
      if (q->l2_of_l1[l1])
        continue;
      q->l1_of_l2[q->l2_count] = (uint32_t)l1;
      q->l2_of_l1[l1] = (uint32_t)++q->l2_count;
    }
  }
  return 0;
}

// Refcount structures count themselves: grow them until they hold.
static void place(struct qcow2 *q)
{
  q->l1_clusters = CLUSTERS_OF(q->l1_size * 8);
  uint64_t fixed = 1 + q->l1_clusters + q->l2_count + q->data_clusters;
  q->table_clusters = q->block_clusters = 1;
  for (;;) {
    q->total_clusters = fixed + q->table_clusters + q->block_clusters;
    uint64_t blocks = DIVIDE_UP(q->total_clusters, REFCOUNTS);
    uint64_t tables = DIVIDE_UP(blocks, TABLE_ENTRIES);
    if (blocks <= q->block_clusters && tables <= q->table_clusters)
      break;
    q->block_clusters = blocks > q->block_clusters ? blocks : q->block_clusters;
    q->table_clusters = tables > q->table_clusters ? tables : q->table_clusters;
  }
  q->table_at = 1;
  q->blocks_at = q->table_at + q->table_clusters;
  q->l1_at = q->blocks_at + q->block_clusters;
  q->l2_at = q->l1_at + q->l1_clusters;
  q->data_at = q->l2_at + q->l2_count;
  q->layout.stored_bytes = q->total_clusters * CLUSTER;
}

// First run that ends after the guest cluster.
static size_t run_after(const struct qcow2 *q, uint64_t cluster)
{
  size_t low = 0;
  size_t high = q->run_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (q->runs[middle].start + q->runs[middle].count <= cluster)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

static size_t run_of_rank(const struct qcow2 *q, uint64_t rank)
{
  size_t low = 0;
  size_t high = q->run_count;
  while (high - low > 1) {
    size_t middle = low + (high - low) / 2;
    if (q->runs[middle].rank <= rank)
      low = middle;
    else
      high = middle;
  }
  return low;
}

static struct piece data_piece(const struct qcow2 *q, uint64_t rank)
{
  const struct run *r = &q->runs[run_of_rank(q, rank)];
  struct piece p = {.data = true};
  p.chunk = (r->start + (rank - r->rank)) / BLOCKS_PER_CHUNK;
  uint64_t from = p.chunk * BLOCKS_PER_CHUNK;
  uint64_t to = from + BLOCKS_PER_CHUNK;
  bool first = true;
  for (size_t i = run_after(q, from); i < q->run_count && q->runs[i].start < to; i++) {
    const struct run *x = &q->runs[i];
    uint64_t start = x->start > from ? x->start : from;
    uint64_t end = x->start + x->count < to ? x->start + x->count : to;
    if (first)
      p.offset = (q->data_at + x->rank + (start - x->start)) * CLUSTER;
    first = false;
    for (uint64_t c = start; c < end; c++)
      p.blocks |= 1ull << (c - from);
  }
  p.length = (uint64_t)__builtin_popcountll(p.blocks) * CLUSTER;
  return p;
}

static struct piece qcow2_piece(const struct layout *l, uint64_t offset)
{
  const struct qcow2 *q = (const struct qcow2 *)l;
  uint64_t data_at = q->data_at * CLUSTER;
  if (offset >= data_at)
    return data_piece(q, offset / CLUSTER - q->data_at);
  struct piece p = {.offset = offset / COPY_CHUNK_BYTES * COPY_CHUNK_BYTES};
  p.length = data_at - p.offset < COPY_CHUNK_BYTES ? data_at - p.offset : COPY_CHUNK_BYTES;
  return p;
}

// ---- metadata -------------------------------------------------------------------------------

static void fill_head(const struct qcow2 *q, uint8_t *into)
{
  const struct qcow2_head h = {.guest_bytes = q->layout.guest_bytes,
                               .l1_size = q->l1_size,
                               .l1_offset = q->l1_at * CLUSTER,
                               .refs_offset = q->table_at * CLUSTER,
                               .refs_clusters = q->table_clusters};
  qcow2_put_head(&h, into);
}

static void fill_refcount_table(const struct qcow2 *q, uint64_t n, uint8_t *into)
{
  for (uint64_t i = 0; i < TABLE_ENTRIES; i++) {
    uint64_t block = n * TABLE_ENTRIES + i;
    if (block < q->block_clusters)
      qcow2_put64(into, i, (q->blocks_at + block) * CLUSTER);
  }
}

static void fill_refcount_block(const struct qcow2 *q, uint64_t n, uint8_t *into)
{
  for (uint64_t i = 0; i < REFCOUNTS && n * REFCOUNTS + i < q->total_clusters; i++)
    into[i * 2 + 1] = 1;
}

static void fill_l1(const struct qcow2 *q, uint64_t n, uint8_t *into)
{
  for (uint64_t i = 0; i < TABLE_ENTRIES; i++) {
    uint64_t l1 = n * TABLE_ENTRIES + i;
    if (l1 < q->l1_size && q->l2_of_l1[l1])
      qcow2_put64(into, i, (q->l2_at + q->l2_of_l1[l1] - 1) * CLUSTER | COPIED);
  }
}

static void fill_l2(const struct qcow2 *q, uint64_t n, uint8_t *into)
{
  uint64_t from = (uint64_t)q->l1_of_l2[n] * TABLE_ENTRIES;
  uint64_t to = from + TABLE_ENTRIES;
  for (size_t i = run_after(q, from); i < q->run_count && q->runs[i].start < to; i++) {
    const struct run *r = &q->runs[i];
    uint64_t start = r->start > from ? r->start : from;
    uint64_t end = r->start + r->count < to ? r->start + r->count : to;
    for (uint64_t c = start; c < end; c++)
      qcow2_put64(into, c - from, (q->data_at + r->rank + (c - r->start)) * CLUSTER | COPIED);
  }
}

static void fill_cluster(const struct qcow2 *q, uint64_t cluster, uint8_t *into)
{
  memset(into, 0, CLUSTER);
  if (cluster >= q->l2_at)
    fill_l2(q, cluster - q->l2_at, into);
  else if (cluster >= q->l1_at)
    fill_l1(q, cluster - q->l1_at, into);
  else if (cluster >= q->blocks_at)
    fill_refcount_block(q, cluster - q->blocks_at, into);
  else if (cluster >= q->table_at)
    fill_refcount_table(q, cluster - q->table_at, into);
  else
    fill_head(q, into);
}

static void qcow2_metadata(const struct layout *l, const struct piece *p, void *into)
{
  const struct qcow2 *q = (const struct qcow2 *)l;
  for (uint64_t done = 0; done < p->length; done += CLUSTER)
    fill_cluster(q, (p->offset + done) / CLUSTER, (uint8_t *)into + done);
}

static void qcow2_free(struct layout *l)
{
  struct qcow2 *q = (struct qcow2 *)l;
  free(q->runs);
  free(q->l2_of_l1);
  free(q->l1_of_l2);
  free(q);
}

static const struct layout_ops qcow2_ops = {
    .piece = qcow2_piece, .metadata = qcow2_metadata, .free = qcow2_free};

int layout_new_qcow2(const struct extents *map, uint64_t guest_bytes, struct layout **ret,
                     struct err *err)
{
  struct qcow2 *q = calloc(1, sizeof(*q));
  if (!q)
    return err_set(err, ERR_NO_MEMORY, "no memory for the layout");
  q->layout = (struct layout){.ops = &qcow2_ops, .map = map, .guest_bytes = guest_bytes};
  if (make_runs(q, err) != 0 || number_l2_tables(q, err) != 0) {
    qcow2_free(&q->layout);
    return -1;
  }
  place(q);
  *ret = &q->layout;
  return 0;
}
