// SPDX-License-Identifier: Apache-2.0
// Lanes that lay down a packed object (pack_internal.h). Each takes the next chunk, or the next run
// of zeros, reads and packs it, waits for its turn, and appends it to the part that is filled: what
// is stored stands in the order of the disk. Parts are filled in one of a few rooms, and whoever
// fills one sends it while others go on filling the next. Where the header is only known at the
// end, the first part is as small as the writer allows, and held until then.
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "disk/copy_packed_internal.h"
#include "disk/pack_internal.h"

#define PART_BYTES     (8ull << 20)
#define PIECE_BYTES    (2ull << 20) // of one body
#define PART_MAX_BYTES (64ull << 20)
#define ROOMS_BYTES    (48ull << 20)

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
  k->unwritten++;
  pthread_cond_broadcast(&k->changed);
}

static void written(struct packing *k)
{
  LOCK_FOR_SCOPE(&k->lock);
  k->unwritten--;
  pthread_cond_broadcast(&k->changed);
}

static int wait_all_written(struct packing *k, struct err *err)
{
  LOCK_FOR_SCOPE(&k->lock);
  while (k->unwritten && !packed_stopped(k))
    pthread_cond_wait(&k->changed, &k->lock);
  return packed_stopped(k) ? err_set(err, ERR_CANCELLED, "stopped") : 0;
}

// ---- parts ----------------------------------------------------------------------------------

static bool is_late(const struct packing *k)
{
  return k->pack->late_header_bytes > 0;
}

static struct room *idle_room(struct packing *k)
{
  if (k->stream)
    return packed_stream_idle(k);
  for (int i = 0; i < k->room_count; i++)
    if (!k->rooms[i].busy)
      return &k->rooms[i];
  return NULL;
}

// The room that is filled now; waits until one has been sent when there is none.
static struct room *room_to_fill(struct packing *k, struct err *err)
{
  if (k->filling)
    return k->filling;
  LOCK_FOR_SCOPE(&k->lock);
  struct room *r = k->parts == 0 && is_late(k) ? &k->head : NULL;
  while (!r && !(r = idle_room(k)) && !packed_stopped(k))
    pthread_cond_wait(&k->changed, &k->lock);
  if (!r) {
    err_set(err, ERR_CANCELLED, "stopped");
    return NULL;
  }
  r->busy = true;
  r->length = 0;
  r->offset = k->tail;
  r->data_bytes = 0;
  r->number = k->parts++;
  resume_packed_part_begin(k->copy, r->number);
  k->filling = r;
  return r;
}

static int write_room(struct packing_lane *l, const struct room *r, struct err *err)
{
  struct copy *c = l->packing->copy;
  struct object_body body = object_body_bytes(r->bytes, r->length);
  bool there = resume_packed_part_is_there(c, r->number, r->bytes, r->length);
  if (!there &&
      object_write_part(c->job->object, l->lane.out_lane, r->number, r->offset, &body, err) != 0)
    return -1;
  return resume_packed_part_done(&l->lane, r->number, r->bytes, r->length, r->data_bytes, !there,
                                 err);
}

static int send_room(struct packing_lane *l, struct room *r, struct err *err)
{
  struct packing *k = l->packing;
  if (k->stream) {
    packed_stream_offer(k, r);
    return 0;
  }
  if (write_room(l, r, err) != 0)
    return -1;
  crew_moved(k->copy->crew);
  LOCK_FOR_SCOPE(&k->lock);
  r->busy = false;
  pthread_cond_broadcast(&k->changed);
  return 0;
}

// During the turn. data_bytes: what of the disk is in these bytes. ret_full: a room that is full
// now and is the caller's to send, or NULL.
static int append(struct packing_lane *l, const uint8_t *bytes, size_t length, uint64_t data_bytes,
                  struct room **ret_full, struct err *err)
{
  struct packing *k = l->packing;
  *ret_full = NULL;
  if (length == 0)
    return 0;
  struct room *r = room_to_fill(k, err);
  if (!r)
    return -1;
  memcpy(r->bytes + r->length, bytes, length);
  r->length += length;
  r->data_bytes += data_bytes;
  if (r->length >= r->full_bytes) {
    *ret_full = r == &k->head ? NULL : r;
    k->filling = NULL;
  }
  if (k->copy->sha)
    sha_turn_add(k->copy->sha, k->tail, bytes, length);
  k->tail += length;
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
  struct room *full;
  if (pack_item(l, item, &data_bytes, err) != 0 || wait_turn(k, item->sequence, err) != 0)
    return -1;
  if (k->pack->ops->place(k->pack, &l->packed, k->tail, err) != 0 ||
      append(l, l->packed.bytes + l->packed.start, l->packed.length, data_bytes, &full, err) != 0)
    return -1;
  pass_turn(k);
  if (full && send_room(l, full, err) != 0)
    return -1;
  written(k);
  copy_moved(k->copy, data_bytes);
  return 0;
}

// Header and trailer are written within the turn.
static int lay_bytes(struct packing_lane *l, size_t length, struct err *err)
{
  struct room *full;
  if (append(l, l->packed.bytes, length, 0, &full, err) != 0)
    return -1;
  return full ? send_room(l, full, err) : 0;
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
  if (lay_bytes(l, n, err) != 0)
    return -1;
  pass_turn(k);
  written(k);
  return 0;
}

static int send_head(struct packing_lane *l, struct err *err)
{
  struct packing *k = l->packing;
  k->pack->ops->header(k->pack, k->head.bytes);
  return send_room(l, &k->head, err);
}

// The last part may be shorter than others, which its writer can only see once the end is known.
static int lay_trailer(struct packing_lane *l, const struct item *item, struct err *err)
{
  struct packing *k = l->packing;
  if (wait_turn(k, item->sequence, err) != 0)
    return -1;
  uint64_t offset = k->tail;
  size_t n = 0;
  do
    if (k->pack->ops->trailer(k->pack, offset, l->packed.bytes, &n, err) != 0 ||
        lay_bytes(l, n, err) != 0)
      return -1;
  while (n);
  if (wait_all_written(k, err) != 0 || object_settle(k->copy->job->object, k->tail, err) != 0)
    return -1;
  int failed = k->filling && k->filling != &k->head ? send_room(l, k->filling, err) : 0;
  packed_stream_end(k);
  return !failed && is_late(k) ? send_head(l, err) : failed;
}

static int (*const lay[])(struct packing_lane *, const struct item *, struct err *) = {
    [ITEM_HEADER] = lay_header,
    [ITEM_DATA] = lay_chunks,
    [ITEM_ZEROS] = lay_chunks,
    [ITEM_TRAILER] = lay_trailer,
};

// ---- lanes ----------------------------------------------------------------------------------

static int run_lane(void *packing, int index, struct err *err)
{
  struct packing *k = packing;
  if (k->stream && index == 0)
    return packed_stream_send(k, err);
  struct packing_lane l = {.packing = k};
  cleanup_free uint8_t *bytes = malloc(k->pack->room_bytes);
  l.packed.bytes = bytes;
  if (!bytes)
    return err_set(err, ERR_NO_MEMORY, "no memory for a packed chunk");
  if (lane_open(k->copy, &l.lane, err) != 0)
    return -1;
  int failed = k->pack->ops->lane_open(k->pack, &l.pack_lane, err);
  struct item item;
  while (!failed && !packed_stopped(k) && take(k, &item))
    failed = lay[item.kind](&l, &item, err);
  if (!failed)
    failed = resume_lane_end(&l.lane, err);
  if (l.pack_lane)
    k->pack->ops->lane_close(k->pack, l.pack_lane);
  lane_close(&l.lane);
  return failed;
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

// Size of the parts: so that their number is enough for the longest object that may come out. 0:
// they would be too large to be held.
static size_t part_bytes(const struct object_writer *w, const struct pack *p)
{
  uint64_t bound = p->bound_bytes, target = most(PART_BYTES, w->part_min_bytes);
  if (is_stream(w))
    return PIECE_BYTES;
  uint32_t others = p->late_header_bytes ? 2 : 1; // the last, and the first
  if (w->parts_max > others)
    target = most(target, bound / (w->parts_max - others) + 1);
  else if (w->parts_max)
    target = bound;
  uint64_t largest = target + p->room_bytes;
  bool held = target <= PART_MAX_BYTES && (!w->part_max_bytes || largest <= w->part_max_bytes);
  return held ? (size_t)target : 0;
}

bool copy_packed_fits(const struct object_writer *w, const struct pack *p)
{
  return part_bytes(w, p) > 0;
}

static int make_room(const struct packing *k, struct room *r, size_t full_bytes, struct err *err)
{
  size_t most_bytes = full_bytes + k->pack->room_bytes;
  r->full_bytes = full_bytes;
  r->bytes = aligned_alloc(4096, (most_bytes + 4095) / 4096 * 4096); // for O_DIRECT
  return r->bytes ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for parts");
}

static int make_rooms(struct packing *k, size_t target, struct err *err)
{
  const struct object_writer *w = k->copy->job->object;
  size_t head = w->parts_max == 1 ? target : most(w->part_min_bytes, k->pack->late_header_bytes);
  k->room_count = (int)(ROOMS_BYTES / (target + k->pack->room_bytes));
  k->room_count = k->room_count < 1 ? 1 : k->room_count < ROOMS_MAX ? k->room_count : ROOMS_MAX;
  if (is_late(k) && make_room(k, &k->head, head, err) != 0)
    return -1;
  for (int i = 0; i < k->room_count; i++)
    if (make_room(k, &k->rooms[i], target, err) != 0)
      return -1;
  return 0;
}

static int too_large(const struct packing *k, struct err *err)
{
  return err_set(err, ERR_LIMIT,
                 "a disk with so much data (up to %llu bytes stored) would need parts of more than "
                 "%llu bytes; use format qcow2, not compressed, whose parts need no room in memory",
                 (unsigned long long)k->pack->bound_bytes, PART_MAX_BYTES);
}

static int run(struct packing *k, struct err *err)
{
  struct copy *c = k->copy;
  size_t target = part_bytes(c->job->object, k->pack);
  if (target == 0)
    return too_large(k, err);
  if (make_rooms(k, target, err) != 0 ||
      resume_expect_parts(c, c->pack->bound_bytes / target + 3, err) != 0 ||
      resume_begin(c, err) != 0)
    return -1;
  c->crew->lanes += k->stream; // the sender
  c->crew->lane = run_lane;
  c->crew->interrupt = interrupt;
  c->crew->wake = wake;
  c->crew->arg = k;
  return crew_run(c->crew, err);
}

int copy_packed_run(struct copy *c, struct err *err)
{
  struct packing k = {.copy = c, .pack = c->pack};
  k.stream = is_stream(c->job->object);
  k.chunks = (c->size_bytes + COPY_CHUNK_BYTES - 1) / COPY_CHUNK_BYTES;
  pthread_mutex_init(&k.lock, NULL);
  cond_init_monotonic(&k.changed);
  int failed = resume_prepare(c, err) != 0 ||
               object_begin(c->job->object, c->pack->bound_bytes, err) != 0 || run(&k, err) != 0;
  c->stored_bytes = k.tail;
  for (int i = 0; i < ROOMS_MAX; i++)
    free(k.rooms[i].bytes);
  free(k.head.bytes);
  pthread_cond_destroy(&k.changed);
  pthread_mutex_destroy(&k.lock);
  return failed ? -1 : 0;
}
