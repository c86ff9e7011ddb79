// SPDX-License-Identifier: Apache-2.0
// Runs that only read: the digest of a disk, a disk against a digest, a disk against a disk.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "disk/copy_internal.h"

static void interrupt_source(void *copy)
{
  source_interrupt(((struct copy *)copy)->source);
}

// ---- digest ---------------------------------------------------------------------------------

static bool take(struct copy *c, uint64_t *ret_chunk)
{
  crew_pace(c->crew);
  LOCK_FOR_SCOPE(&c->lock);
  return chunk_next(c, &c->next, ret_chunk);
}

// What a digest does not cover must be zeros.
static int check_beyond(struct lane *l, uint64_t chunk, struct err *err)
{
  struct copy *c = l->copy;
  uint64_t start = chunk * COPY_CHUNK_BYTES;
  size_t covered = 0;
  if (start < c->digest.size_bytes) {
    uint64_t left = c->digest.size_bytes - start;
    covered = left < COPY_CHUNK_BYTES ? (size_t)left : COPY_CHUNK_BYTES;
    digest_leaf(&c->digest, chunk, l->chunk, covered);
  }
  for (size_t i = covered; i < COPY_CHUNK_BYTES; i++)
    if (l->chunk[i])
      return err_set(err, ERR_MISMATCH, "byte %" PRIu64 ", beyond the end of the disk, is not zero",
                     start + i);
  return 0;
}

static int read_lane(void *copy, int index, struct err *err)
{
  (void)index;
  struct copy *c = copy;
  struct lane l;
  if (lane_open(c, &l, err) != 0)
    return -1;
  int failed = 0;
  uint64_t chunk;
  while (!failed && !crew_stopped(c->crew) && take(c, &chunk)) {
    uint64_t nonzero, data_bytes;
    failed = chunk_read(&l, chunk, l.chunk, &nonzero, &data_bytes, err);
    if (!failed && !c->hashing && nonzero)
      failed = check_beyond(&l, chunk, err);
    if (!failed)
      copy_moved(c, data_bytes);
  }
  lane_close(&l);
  return failed;
}

static int run_reading(struct copy *c, struct err *err)
{
  c->crew->lane = read_lane;
  c->crew->interrupt = interrupt_source;
  return crew_run(c->crew, err);
}

int digest_source(struct source *s, int lanes, struct tally *tally, struct copy_result *ret,
                  struct err *err)
{
  *ret = (struct copy_result){0};
  int64_t start_ms = clock_ms();
  struct copy c;
  if (copy_setup(&c, s, tally, lanes, err) != 0)
    return -1;
  atomic_store(&tally->phase, COPY_TRANSFERRING);
  c.hashing = true;
  int failed = digest_init(&c.digest, c.size_bytes, err);
  if (!failed)
    failed = run_reading(&c, err);
  if (!failed)
    failed = copy_fill_result(&c, ret, err);
  ret->elapsed_ms = clock_ms() - start_ms;
  copy_release(&c);
  if (!failed)
    atomic_store(&tally->phase, COPY_DONE);
  return failed;
}

int digest_verify(struct source *s, const char *expected_digest, int lanes, struct tally *tally,
                  struct err *err)
{
  uint64_t size_bytes;
  if (!digest_text_size(expected_digest, &size_bytes))
    return err_set(err, ERR_INVALID, "'%.120s' is not a content digest", expected_digest);
  if (((s->size_bytes + 511) & ~511ull) < size_bytes)
    return err_set(err, ERR_MISMATCH, "the disk has %" PRIu64 " bytes, the digest says %" PRIu64,
                   s->size_bytes, size_bytes);
  struct copy c;
  if (copy_setup(&c, s, tally, lanes, err) != 0)
    return -1;
  c.counter = &tally->verified_bytes;
  char found[DIGEST_TEXT_BYTES];
  int failed = digest_init(&c.digest, size_bytes, err);
  if (!failed)
    failed = run_reading(&c, err);
  if (!failed)
    failed = digest_text(&c.digest, found, err);
  copy_release(&c);
  if (failed || str_eq(found, expected_digest))
    return failed;
  return err_set(err, ERR_MISMATCH, "the content differs: expected %s, found %s", expected_digest,
                 found);
}

// ---- two disks ------------------------------------------------------------------------------

struct compare {
  struct copy a, b; // the crew is a's
  uint64_t chunk_count;
  _Atomic uint64_t first; // lowest differing offset; UINT64_MAX = none
};

static bool take_pair(struct compare *m, uint64_t *ret_chunk)
{
  LOCK_FOR_SCOPE(&m->a.lock);
  uint64_t next_a = m->a.next;
  uint64_t next_b = m->a.next;
  uint64_t chunk_a = UINT64_MAX;
  uint64_t chunk_b = UINT64_MAX;
  chunk_next(&m->a, &next_a, &chunk_a);
  chunk_next(&m->b, &next_b, &chunk_b);
  *ret_chunk = chunk_a < chunk_b ? chunk_a : chunk_b;
  if (*ret_chunk == UINT64_MAX || *ret_chunk * COPY_CHUNK_BYTES > atomic_load(&m->first))
    return false;
  m->a.next = (*ret_chunk + 1) * COPY_CHUNK_BYTES;
  return true;
}

static int load_or_zero(struct lane *l, uint64_t chunk, struct err *err)
{
  struct copy *c = l->copy;
  uint64_t nonzero, data_bytes;
  if (chunk * COPY_CHUNK_BYTES >= c->size_bytes) {
    memset(l->chunk, 0, COPY_CHUNK_BYTES);
    return 0;
  }
  if (chunk_read(l, chunk, l->chunk, &nonzero, &data_bytes, err) != 0)
    return -1;
  atomic_fetch_add(&c->tally->transferred_bytes, data_bytes);
  return 0;
}

static void note_difference(struct compare *m, uint64_t chunk, const uint8_t *a, const uint8_t *b)
{
  size_t i = 0;
  while (a[i] == b[i])
    i++;
  uint64_t offset = chunk * COPY_CHUNK_BYTES + i;
  uint64_t before = atomic_load(&m->first);
  while (offset < before && !atomic_compare_exchange_weak(&m->first, &before, offset))
    ;
}

static int compare_chunks(struct compare *m, struct lane *a, struct lane *b, struct err *err)
{
  uint64_t chunk;
  while (!crew_stopped(m->a.crew) && take_pair(m, &chunk)) {
    if (load_or_zero(a, chunk, err) != 0 || load_or_zero(b, chunk, err) != 0)
      return -1;
    if (memcmp(a->chunk, b->chunk, COPY_CHUNK_BYTES) != 0)
      note_difference(m, chunk, a->chunk, b->chunk);
    crew_moved(m->a.crew);
  }
  return 0;
}

static int compare_lane(void *compare, int index, struct err *err)
{
  (void)index;
  struct compare *m = compare;
  struct lane a, b;
  if (lane_open(&m->a, &a, err) != 0)
    return -1;
  int failed = lane_open(&m->b, &b, err);
  if (!failed) {
    failed = compare_chunks(m, &a, &b, err);
    lane_close(&b);
  }
  lane_close(&a);
  return failed;
}

static void interrupt_both(void *compare)
{
  struct compare *m = compare;
  source_interrupt(m->a.source);
  source_interrupt(m->b.source);
}

static int compare_run(struct compare *m, struct tally *tally, struct err *err)
{
  uint64_t both = extents_data_bytes(&m->a.map, 0, m->a.size_bytes) +
                  extents_data_bytes(&m->b.map, 0, m->b.size_bytes);
  atomic_store(&tally->data_bytes, both);
  atomic_store(&tally->phase, COPY_TRANSFERRING);
  atomic_store(&m->first, UINT64_MAX);
  m->a.crew->lane = compare_lane;
  m->a.crew->interrupt = interrupt_both;
  m->a.crew->arg = m;
  m->b.crew = m->a.crew;
  return crew_run(m->a.crew, err);
}

int compare_sources(struct source *a, struct source *b, int lanes, struct tally *tally,
                    uint64_t *ret_offset, struct err *err)
{
  struct compare *m CLEANUP(cleanup_free_) = calloc(1, sizeof(*m));
  if (!m)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  if (copy_setup(&m->a, a, tally, lanes, err) != 0)
    return -1;
  int failed = copy_setup(&m->b, b, tally, lanes, err);
  if (!failed) {
    int64_t far_ms = a->round_trip_ms > b->round_trip_ms ? a->round_trip_ms : b->round_trip_ms;
    m->a.crew->lanes =
        copy_lanes(lanes, far_ms, 2 * COPY_CHUNK_BYTES + a->lane_bytes + b->lane_bytes);
    failed = compare_run(m, tally, err);
    copy_release(&m->b);
  }
  copy_release(&m->a);
  if (failed)
    return -1;
  *ret_offset = atomic_load(&m->first);
  atomic_store(&tally->phase, COPY_DONE);
  return *ret_offset == UINT64_MAX ? 0 : 1;
}
