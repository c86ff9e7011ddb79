// SPDX-License-Identifier: Apache-2.0
// Lanes that write guest bytes to a target.
#include "base/cleanup.h"
#include "disk/copy_internal.h"

// A range to be zeroed is cut, so that progress shows and several lanes share it.
#define ZERO_STEP_BYTES (256ull << 20)

struct item {
  bool hole;
  uint64_t sequence;
  uint64_t offset, length; // hole
  uint64_t chunk;          // data
};

static uint64_t smaller(uint64_t a, uint64_t b)
{
  return a < b ? a : b;
}

// Everything before the next chunk with data is a hole, also what the target has beyond the disk.
static bool take_next(struct copy *c, struct item *ret)
{
  const struct target *t = c->job->target;
  uint64_t next = c->next;
  uint64_t chunk = 0;
  bool data = chunk_next(c, &next, &chunk);
  uint64_t hole_end = data ? chunk * COPY_CHUNK_BYTES : t->size_bytes;
  if (c->next < hole_end && !t->zeroed) {
    uint64_t length = smaller(hole_end - c->next, ZERO_STEP_BYTES);
    *ret = (struct item){.hole = true, .offset = c->next, .length = length};
    c->next += length;
    return true;
  }
  *ret = (struct item){.chunk = chunk};
  c->next = next;
  return data;
}

static bool take(struct copy *c, struct item *ret)
{
  crew_pace(c->crew);
  LOCK_FOR_SCOPE(&c->lock);
  do {
    if (!take_next(c, ret))
      return false;
    ret->sequence = c->next_sequence++;
  } while (resume_skip(c, ret->sequence));
  return true;
}

// Runs of equal bits: written, or zeroed where the target may hold something else.
static int write_chunk(struct lane *l, uint64_t chunk, uint64_t blocks, struct err *err)
{
  struct target *t = l->copy->job->target;
  uint64_t start = chunk * COPY_CHUNK_BYTES;
  // Also what the target has beyond a disk that ends within this chunk: zeros.
  uint64_t length = smaller(t->size_bytes - start, COPY_CHUNK_BYTES);
  for (uint64_t at = 0; at < length;) {
    bool data = blocks >> (at / BLOCK_BYTES) & 1;
    uint64_t run_end = at;
    do
      run_end += BLOCK_BYTES;
    while (run_end < length && (blocks >> (run_end / BLOCK_BYTES) & 1) == data);
    run_end = smaller(run_end, length);
    int failed = 0;
    if (data)
      failed = target_write(t, l->out_lane, l->chunk + at, run_end - at, start + at, err);
    else if (!t->zeroed)
      failed = target_zero(t, l->out_lane, run_end - at, start + at, err);
    if (failed)
      return -1;
    crew_moved(l->copy->crew);
    at = run_end;
  }
  return 0;
}

static int do_item(struct lane *l, const struct item *item, struct err *err)
{
  struct copy *c = l->copy;
  resume_unit_begin(l);
  if (item->hole) {
    if (target_zero(c->job->target, l->out_lane, item->length, item->offset, err) != 0)
      return -1;
    crew_moved(c->crew);
    return resume_unit_done(l, item->sequence, 0, true, err);
  }
  uint64_t nonzero, data_bytes;
  if (chunk_read(l, item->chunk, l->chunk, &nonzero, &data_bytes, err) != 0)
    return -1;
  bool same = resume_same(l, item->sequence);
  if (!same && (resume_undo(l, item->sequence, err) != 0 ||
                write_chunk(l, item->chunk, c->sparse ? nonzero : UINT64_MAX, err) != 0))
    return -1;
  copy_moved(c, data_bytes);
  return resume_unit_done(l, item->sequence, data_bytes, !same, err);
}

int copy_target_lane(void *copy, int index, struct err *err)
{
  (void)index;
  struct copy *c = copy;
  struct lane l;
  if (lane_open(c, &l, err) != 0)
    return -1;
  int failed = 0;
  struct item item;
  while (!failed && !crew_stopped(c->crew) && take(c, &item))
    failed = do_item(&l, &item, err);
  if (!failed)
    failed = resume_lane_end(&l, err);
  lane_close(&l);
  return failed;
}
