// SPDX-License-Identifier: Apache-2.0
// Lanes that lay down a packed object (pack_internal.h). Each takes the next chunk, or the next run
// of zeros, reads and packs it, waits for its turn, and appends it to the part that is filled: what
// is stored stands in the order of the disk. Other lanes send the parts that are full; there are
// more of these where the store is far away. Where the header is only known at the end, the first
// part is held until then.
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "disk/copy_packed_internal.h"
#include "disk/pack_internal.h"

#define PIECE_BYTES      (2ull << 20)  // of one body
#define STREAM_BYTES     (34ull << 20) // of it that is held
#define NEAR_BYTES       (32ull << 20) // of parts that are held, where the store is near
#define PACKERS_FAR      3             // a long link is no faster than what so many pack
#define PART_SMALL_BYTES (64ull << 20) // larger ones are made only where nothing else can be

enum item_kind { ITEM_HEADER, ITEM_DATA, ITEM_ZEROS, ITEM_TRAILER };

struct item {
  enum item_kind kind;
  uint64_t sequence;
  uint64_t chunk, count;
};

struct packing_lane {
  struct packing *packing;
  struct lane lane;
  void *pack_lane;
  struct packed packed;
};

// ---- the plan -------------------------------------------------------------------------------

static bool take_chunks(struct packing *k, struct item *ret)
{
  const struct copy *c = k->copy;
  uint64_t from = k->next_chunk * COPY_CHUNK_BYTES, data;
  if (k->next_chunk >= k->chunks)
    return false;
  if (!chunk_next(c, &from, &data))
    data = k->chunks;
  uint64_t zeros = data - k->next_chunk;
  if (zeros && k->pack->ops->zeros) {
    *ret = (struct item){.kind = ITEM_ZEROS, .chunk = k->next_chunk};
    ret->count = zeros < k->pack->zeros_max ? zeros : k->pack->zeros_max;
  } else if (data < k->chunks) {
    *ret = (struct item){.kind = ITEM_DATA, .chunk = data, .count = 1};
  } else {
    return false;
  }
  k->next_chunk = ret->chunk + ret->count;
  return true;
}

static bool take(struct packing *k, struct item *ret)
{
  if (!k->far_out)
    crew_pace(k->copy->crew);
  LOCK_FOR_SCOPE(&k->copy->lock);
  if (!k->header_taken) {
    k->header_taken = true;
    *ret = (struct item){.kind = ITEM_HEADER};
  } else if (!take_chunks(k, ret)) {
    if (k->trailer_taken)
      return false;
    k->trailer_taken = true;
    *ret = (struct item){.kind = ITEM_TRAILER};
  }
  ret->sequence = k->sequence++;
  return true;
}

// ---- turns ----------------------------------------------------------------------------------

bool packed_stopped(const struct packing *k)
{
  return crew_stopped(k->copy->crew);
}

static int wait_turn(struct packing *k, uint64_t sequence, struct err *err)
{
  LOCK_FOR_SCOPE(&k->lock);
  while (k->turn != sequence && !packed_stopped(k))
    pthread_cond_wait(&k->changed, &k->lock);
  return packed_stopped(k) ? err_set(err, ERR_CANCELLED, "stopped") : 0;
}

static void pass_turn(struct packing *k)
{
  LOCK_FOR_SCOPE(&k->lock);
  k->turn++;
  pthread_cond_broadcast(&k->changed);
}

// ---- parts ----------------------------------------------------------------------------------

static bool is_late(const struct packing *k)
{
  return k->pack->late_header_bytes > 0;
}

// A full room is offered when more comes, so that the last one is still here when the length is
// known.
static struct room *room_to_fill(struct packing *k, struct err *err)
{
  struct room *r = k->filling;
  if (r && r->length < r->full_bytes)
    return r;
  k->filling = NULL;
  if (r && r != &k->head)
    packed_offer(k, r);
  return packed_room(k, err);
}

// During the turn. data_bytes: what of the disk is in these bytes; counts for the part in which
// they begin.
static int append(struct packing *k, const uint8_t *bytes, size_t length, uint64_t data_bytes,
                  struct err *err)
{
  if (length > k->limit_bytes - k->tail)
    return err_set(err, ERR_LIMIT,
                   "the packed image would be longer than %llu bytes, which is all that "
                   "can be stored there",
                   (unsigned long long)k->limit_bytes);
  if (k->copy->sha && length)
    sha_turn_add(k->copy->sha, k->tail, bytes, length);
  while (length) {
    struct room *r = room_to_fill(k, err);
    if (!r)
      return -1;
    size_t left = r->full_bytes - r->length;
    size_t n = left < length ? left : length;
    memcpy(r->bytes + r->length, bytes, n);
    r->length += n;
    r->data_bytes += data_bytes;
    k->tail += n;
    bytes += n;
    length -= n;
    data_bytes = 0;
  }
  return 0;
}

// ---- items ----------------------------------------------------------------------------------

static uint64_t all_blocks(size_t length)
{
  size_t blocks = (length + BLOCK_BYTES - 1) / BLOCK_BYTES;
  return blocks < 64 ? (1ull << blocks) - 1 : UINT64_MAX;
}

static int pack_item(struct packing_lane *l, const struct item *item, uint64_t *ret_data_bytes,
                     struct err *err)
{
  const struct copy *c = l->packing->copy;
  struct pack *p = l->packing->pack;
  *ret_data_bytes = 0;
  resume_unit_begin(&l->lane);
  l->packed.chunk = item->chunk;
  l->packed.count = item->count;
  l->packed.nonzero = 0;
  l->packed.start = 0;
  l->packed.length = 0;
  if (item->kind == ITEM_DATA && chunk_read(&l->lane, item->chunk, l->lane.chunk,
                                            &l->packed.nonzero, ret_data_bytes, err) != 0)
    return -1;
  uint64_t left = c->size_bytes - item->chunk * COPY_CHUNK_BYTES;
  size_t length = left < COPY_CHUNK_BYTES ? (size_t)left : COPY_CHUNK_BYTES;
  if (item->kind == ITEM_DATA && !c->sparse)
    l->packed.nonzero = all_blocks(length);
  if (l->packed.nonzero == 0) {
    if (p->ops->zeros)
      p->ops->zeros(p, &l->packed);
    return 0;
  }
  return p->ops->data(p, l->pack_lane, l->lane.chunk, length, &l->packed, err);
}

static int lay_chunks(struct packing_lane *l, const struct item *item, struct err *err)
{
  struct packing *k = l->packing;
  uint64_t data_bytes;
  if (pack_item(l, item, &data_bytes, err) != 0 || wait_turn(k, item->sequence, err) != 0 ||
      k->pack->ops->place(k->pack, &l->packed, k->tail, err) != 0 ||
      append(k, l->packed.bytes + l->packed.start, l->packed.length, data_bytes, err) != 0)
    return -1;
  pass_turn(k);
  copy_moved(k->copy, data_bytes);
  return 0;
}

static int lay_header(struct packing_lane *l, const struct item *item, struct err *err)
{
  struct packing *k = l->packing;
  struct pack *p = k->pack;
  size_t n = p->late_header_bytes;
  if (wait_turn(k, item->sequence, err) != 0)
    return -1;
  memset(l->packed.bytes, 0, n);
  if (p->ops->header && !is_late(k))
    n = p->ops->header(p, l->packed.bytes);
  if (append(k, l->packed.bytes, n, 0, err) != 0)
    return -1;
  pass_turn(k);
  return 0;
}

// The last part may be shorter than others, which its writer can only see once the length is told;
// and that is not before all others are there.
static int send_last(struct packing *k, struct err *err)
{
  struct object_writer *w = k->copy->job->object;
  if (!k->stream && packed_wait_sent(k, err) != 0)
    return -1;
  if (object_settle(w, k->tail, err) != 0)
    return -1;
  resume_settled(k->copy);
  if (k->filling && k->filling != &k->head)
    packed_offer(k, k->filling);
  if (is_late(k)) {
    if (packed_wait_sent(k, err) != 0)
      return -1;
    k->pack->ops->header(k->pack, k->head.bytes);
    packed_offer(k, &k->head);
  }
  packed_end(k);
  return 0;
}

static int lay_trailer(struct packing_lane *l, const struct item *item, struct err *err)
{
  struct packing *k = l->packing;
  if (wait_turn(k, item->sequence, err) != 0)
    return -1;
  uint64_t offset = k->tail;
  size_t n = 0;
  do
    if (k->pack->ops->trailer(k->pack, offset, l->packed.bytes, &n, err) != 0 ||
        append(k, l->packed.bytes, n, 0, err) != 0)
      return -1;
  while (n);
  return send_last(k, err);
}

static int (*const lay[])(struct packing_lane *, const struct item *, struct err *) = {
    [ITEM_HEADER] = lay_header,
    [ITEM_DATA] = lay_chunks,
    [ITEM_ZEROS] = lay_chunks,
    [ITEM_TRAILER] = lay_trailer,
};

// ---- lanes ----------------------------------------------------------------------------------

static int pack_lane(struct packing *k, struct err *err)
{
  struct packing_lane l = {.packing = k};
  cleanup_free uint8_t *bytes = malloc(k->pack->room_bytes);
  l.packed.bytes = bytes;
  if (!bytes)
    return err_set(err, ERR_NO_MEMORY, "no memory for a packed chunk");
  if (lane_open_source(k->copy, &l.lane, err) != 0)
    return -1;
  int failed = k->pack->ops->lane_open(k->pack, &l.pack_lane, err);
  struct item item;
  while (!failed && !packed_stopped(k) && take(k, &item))
    failed = lay[item.kind](&l, &item, err);
  if (l.pack_lane)
    k->pack->ops->lane_close(k->pack, l.pack_lane);
  lane_close(&l.lane);
  return failed;
}

static int run_lane(void *packing, int index, struct err *err)
{
  struct packing *k = packing;
  return index < k->packers ? pack_lane(k, err) : packed_send(k, err);
}

static void interrupt(void *packing)
{
  const struct packing *k = packing;
  source_interrupt(k->copy->source);
  object_writer_interrupt(k->copy->job->object);
}

static void wake(void *packing)
{
  struct packing *k = packing;
  LOCK_FOR_SCOPE(&k->lock);
  pthread_cond_broadcast(&k->changed);
}

// ---- all together ---------------------------------------------------------------------------

static uint64_t most(uint64_t a, uint64_t b)
{
  return a > b ? a : b;
}

// All of the object is one part, whose length is told by its end.
static bool is_stream(const struct object_writer *w)
{
  return w->ordered && w->parts_max == 1;
}

static uint64_t base_bytes(const struct object_writer *w)
{
  return is_stream(w) ? PIECE_BYTES : most(COPY_PART_BYTES, w->part_min_bytes);
}

// A header that comes late is in a part of its own, where parts may be so small; else in one that
// is as large as the others, which all stores take.
static bool plan_parts(const struct object_writer *w, const struct pack *p, struct part_plan *ret)
{
  struct part_plan_rules r = {.bound_bytes = p->bound_bytes,
                              .base_bytes = base_bytes(w),
                              .part_max_bytes = w->part_max_bytes,
                              .count_max = is_stream(w) ? 0 : w->parts_max,
                              .equal = w->equal_parts};
  if (w->object_max_bytes && r.bound_bytes > w->object_max_bytes)
    r.bound_bytes = w->object_max_bytes;
  if (w->part_min_bytes == 0 && w->parts_max != 1)
    r.first_bytes = p->late_header_bytes;
  if (w->parts_max == 1)
    r.part_max_bytes = PART_SMALL_BYTES;
  return part_plan_make(ret, &r);
}

bool copy_packed_fits(const struct object_writer *w, const struct pack *p)
{
  struct part_plan plan;
  return plan_parts(w, p, &plan) && plan.top_bytes <= PART_SMALL_BYTES;
}

static bool is_far(int64_t round_trip_ms)
{
  return round_trip_ms >= COPY_FAR_MS;
}

static int within(uint64_t n, int least, int most_lanes)
{
  return n < (uint64_t)least ? least : n > (uint64_t)most_lanes ? most_lanes : (int)n;
}

// Packing is work for processors: more lanes than a few only help where the source is far away.
// Where the store is, parts are what is missing: all memory that is left is for them, and each has
// a sender.
static void share_memory(struct packing *k)
{
  struct copy *c = k->copy;
  const struct object_writer *w = c->job->object;
  int asked = c->job->options.lanes;
  uint64_t lane_bytes = COPY_CHUNK_BYTES + k->pack->room_bytes + c->source->lane_bytes;
  k->far_out = !k->stream && is_far(w->round_trip_ms);
  k->rooms_bytes = k->stream ? STREAM_BYTES : NEAR_BYTES;
  int fit = within((COPY_MEMORY_BYTES - k->rooms_bytes) / lane_bytes, 1, COPY_LANES_MAX);
  bool many = asked > 0 || (is_far(c->source->round_trip_ms) && !k->far_out);
  int usual = k->far_out ? PACKERS_FAR : COPY_LANES_DEFAULT;
  k->packers =
      within(asked > 0 ? (uint64_t)asked : COPY_LANES_MAX, 1, many || fit < usual ? fit : usual);
  uint64_t packing_bytes = (uint64_t)k->packers * lane_bytes;
  if (k->far_out && COPY_MEMORY_BYTES > packing_bytes + k->rooms_bytes)
    k->rooms_bytes = COPY_MEMORY_BYTES - packing_bytes;
  uint64_t rooms = k->rooms_bytes / base_bytes(w);
  k->senders = k->stream ? 1 : within(asked > 0 ? (uint64_t)asked : rooms, 1, COPY_LANES_MAX);
}

static int too_large(const struct packing *k, struct err *err)
{
  return err_set(err, ERR_LIMIT,
                 "a disk with so much data (up to %llu bytes stored) would need parts that are too "
                 "large; use format qcow2, not compressed, whose parts need no room in memory",
                 (unsigned long long)k->pack->bound_bytes);
}

static int run(struct packing *k, struct err *err)
{
  struct copy *c = k->copy;
  if (!plan_parts(c->job->object, k->pack, &k->parts))
    return too_large(k, err);
  share_memory(k);
  c->crew->lanes = k->senders; // those that write down what is finished
  if (resume_expect_parts(c, part_plan_count(&k->parts, k->limit_bytes), err) != 0 ||
      resume_begin(c, err) != 0)
    return -1;
  c->crew->lanes = k->packers + k->senders;
  c->crew->lane = run_lane;
  c->crew->interrupt = interrupt;
  c->crew->wake = wake;
  c->crew->arg = k;
  return crew_run(c->crew, err);
}

int copy_packed_run(struct copy *c, struct err *err)
{
  struct packing k = {.copy = c, .pack = c->pack};
  struct object_writer *w = c->job->object;
  k.stream = is_stream(w);
  k.limit_bytes = c->pack->bound_bytes;
  if (w->object_max_bytes && k.limit_bytes > w->object_max_bytes)
    k.limit_bytes = w->object_max_bytes;
  k.chunks = (c->size_bytes + COPY_CHUNK_BYTES - 1) / COPY_CHUNK_BYTES;
  pthread_mutex_init(&k.lock, NULL);
  cond_init_monotonic(&k.changed);
  int failed =
      resume_prepare(c, err) != 0 || object_begin(w, k.limit_bytes, err) != 0 || run(&k, err) != 0;
  c->stored_bytes = k.tail;
  packed_rooms_release(&k);
  pthread_cond_destroy(&k.changed);
  pthread_mutex_destroy(&k.lock);
  return failed ? -1 : 0;
}
