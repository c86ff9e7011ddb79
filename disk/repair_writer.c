// SPDX-License-Identifier: Apache-2.0
// The writer that the engine lays a repaired image into: compares, and later hands on.
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "disk/repair_internal.h"

#define PART_MAX_BYTES (5ull << 30) // S3 takes no more; other menders take anything

struct repair_lane {
  struct repair *repair;
  void *reader_lane, *mender_lane;
  uint8_t *stored, *wanted; // REPAIR_STEP_BYTES each
};

// ---- lanes ----------------------------------------------------------------------------------

static void lane_close(struct object_writer *w, void *lane)
{
  struct repair *r = (struct repair *)w;
  struct repair_lane *l = lane;
  if (r->mender && l->mender_lane)
    object_write_lane_close(r->mender, l->mender_lane);
  if (r->stored && l->reader_lane)
    object_lane_close(r->stored, l->reader_lane);
  free(l->stored);
  free(l->wanted);
  free(l);
}

static int lane_open(struct object_writer *w, void **ret_lane, struct err *err)
{
  struct repair *r = (struct repair *)w;
  struct repair_lane *l = calloc(1, sizeof(*l));
  if (!l)
    return err_set(err, ERR_NO_MEMORY, "no memory for a lane");
  l->repair = r;
  l->stored = malloc(REPAIR_STEP_BYTES);
  l->wanted = malloc(REPAIR_STEP_BYTES);
  int failed = !l->stored || !l->wanted ? err_set(err, ERR_NO_MEMORY, "no memory for a lane")
               : r->mender              ? object_write_lane_open(r->mender, &l->mender_lane, err)
                                        : object_lane_open(r->stored, &l->reader_lane, err);
  if (failed) {
    lane_close(w, l);
    return -1;
  }
  *ret_lane = l;
  return 0;
}

// ---- what differs ---------------------------------------------------------------------------

static int add_run(struct repair_part *p, uint64_t offset, uint64_t length, struct err *err)
{
  struct repair_run *last = p->run_count ? &p->runs[p->run_count - 1] : NULL;
  if (last && (last->offset + last->length == offset || p->run_count == REPAIR_RUNS_MAX)) {
    last->length = offset + length - last->offset;
    return 0;
  }
  struct repair_run *more = realloc(p->runs, (p->run_count + 1) * sizeof(*more));
  if (!more)
    return err_set(err, ERR_NO_MEMORY, "no memory for the places of the damage");
  p->runs = more;
  p->runs[p->run_count++] = (struct repair_run){offset, length};
  return 0;
}

// Both steps begin at a stored offset; the second may be shorter, where the object ends.
static int compare_step(struct repair_part *p, const uint8_t *wanted, size_t length,
                        const uint8_t *stored, size_t there, uint64_t offset, uint64_t *differing,
                        struct err *err)
{
  for (size_t at = 0; at < length; at += REPAIR_BLOCK_BYTES) {
    size_t n = length - at < REPAIR_BLOCK_BYTES ? length - at : REPAIR_BLOCK_BYTES;
    size_t here = at >= there ? 0 : there - at < n ? there - at : n;
    bool same = memcmp(wanted + at, stored + at, here) == 0;
    *differing += same ? 0 : here;
    if ((!same || here < n) && add_run(p, offset + at, n, err) != 0)
      return -1;
  }
  return 0;
}

static const uint8_t *step_of(struct repair_lane *l, const struct object_body *b, uint64_t at,
                              size_t length, struct err *err)
{
  if (b->bytes)
    return (const uint8_t *)b->bytes + at;
  return object_body_read(b, at, l->wanted, length, err) == 0 ? l->wanted : NULL;
}

static size_t step_bytes(const struct object_body *b, uint64_t at)
{
  return b->length - at < REPAIR_STEP_BYTES ? (size_t)(b->length - at) : REPAIR_STEP_BYTES;
}

static int compare_body(struct repair_lane *l, struct repair_part *p, const struct object_body *b,
                        uint64_t *differing, struct err *err)
{
  struct object_reader *stored = l->repair->stored;
  for (uint64_t at = 0; at < b->length;) {
    size_t n = step_bytes(b, at);
    uint64_t from = p->offset + at;
    uint64_t left = from < stored->size_bytes ? stored->size_bytes - from : 0;
    size_t there = left < n ? (size_t)left : n;
    const uint8_t *wanted = step_of(l, b, at, n, err);
    if (!wanted ||
        (there && object_read(stored, l->reader_lane, l->stored, there, from, err) != 0) ||
        compare_step(p, wanted, n, l->stored, there, from, differing, err) != 0)
      return -1;
    at += n;
  }
  return 0;
}

static void md_free(EVP_MD_CTX **md)
{
  EVP_MD_CTX_free(*md);
}

static int hash_body(struct repair_lane *l, const struct object_body *b,
                     uint8_t ret[REPAIR_HASH_BYTES], struct err *err)
{
  EVP_MD_CTX *md CLEANUP(md_free) = EVP_MD_CTX_new();
  if (!md || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1)
    return err_set(err, ERR_NO_MEMORY, "no memory for a SHA-256");
  for (uint64_t at = 0; at < b->length;) {
    size_t n = step_bytes(b, at);
    const uint8_t *wanted = step_of(l, b, at, n, err);
    if (!wanted)
      return -1;
    EVP_DigestUpdate(md, wanted, n);
    at += n;
  }
  EVP_DigestFinal_ex(md, ret, NULL);
  return 0;
}

// ---- comparing ------------------------------------------------------------------------------

static int make_room(struct repair *r, uint32_t number, struct err *err)
{
  if (number < r->part_capacity)
    return 0;
  size_t capacity = r->part_capacity ? r->part_capacity : 64;
  while (capacity <= number)
    capacity *= 2;
  struct repair_part *more = realloc(r->parts, capacity * sizeof(*more));
  if (!more)
    return err_set(err, ERR_NO_MEMORY, "no memory for the list of parts");
  memset(more + r->part_capacity, 0, (capacity - r->part_capacity) * sizeof(*more));
  r->parts = more;
  r->part_capacity = capacity;
  return 0;
}

static int note(struct repair *r, uint32_t number, const struct repair_part *p, uint64_t differing,
                struct err *err)
{
  LOCK_FOR_SCOPE(&r->lock);
  if (make_room(r, number, err) != 0)
    return -1;
  r->parts[number] = *p;
  if (r->part_count <= number)
    r->part_count = number + 1;
  r->found.bad_parts += p->run_count != 0;
  r->found.differing_bytes += differing;
  return 0;
}

static int compare_part(struct repair_lane *l, uint32_t number, uint64_t offset,
                        const struct object_body *body, struct err *err)
{
  struct repair_part p = {.offset = offset, .length = body->length, .known = true};
  uint64_t differing = 0;
  if (compare_body(l, &p, body, &differing, err) != 0 ||
      (p.run_count && hash_body(l, body, p.sha, err) != 0) ||
      note(l->repair, number, &p, differing, err) != 0) {
    free(p.runs);
    return -1;
  }
  return 0;
}

// ---- mending --------------------------------------------------------------------------------

// A range of a body.
struct slice {
  const struct object_body *body;
  uint64_t offset;
};

static int slice_read(void *arg, uint64_t offset, void *into, size_t length, struct err *err)
{
  const struct slice *s = arg;
  return object_body_read(s->body, s->offset + offset, into, length, err);
}

static int send(struct repair_lane *l, uint32_t number, uint64_t offset,
                const struct object_body *body, struct err *err)
{
  struct repair *r = l->repair;
  if (object_write_part(r->mender, l->mender_lane, number, offset, body, err) != 0)
    return -1;
  atomic_fetch_add(&r->sent_bytes, body->length);
  return 0;
}

static int send_runs(struct repair_lane *l, const struct repair_part *p,
                     const struct object_body *body, struct err *err)
{
  for (size_t i = 0; i < p->run_count; i++) {
    struct slice s = {body, p->runs[i].offset - p->offset};
    struct object_body run = {.length = p->runs[i].length,
                              .read = slice_read,
                              .arg = &s,
                              .bytes = body->bytes ? (const char *)body->bytes + s.offset : NULL};
    if (send(l, p->segment, p->runs[i].offset, &run, err) != 0)
      return -1;
  }
  return 0;
}

static int mend_part(struct repair_lane *l, uint32_t number, uint64_t offset,
                     const struct object_body *body, struct err *err)
{
  const struct repair *r = l->repair;
  uint8_t sha[REPAIR_HASH_BYTES];
  const struct repair_part *p = number < r->part_count ? &r->parts[number] : NULL;
  if (!p || p->offset != offset || p->length != body->length)
    return err_set(err, ERR_CHANGED, "the source changed while the image was being repaired");
  if (!p->run_count)
    return 0;
  if (hash_body(l, body, sha, err) != 0)
    return -1;
  if (memcmp(sha, p->sha, sizeof(sha)) != 0)
    return err_set(err, ERR_CHANGED, "the source changed while the image was being repaired");
  if (r->mender->in_place)
    return send_runs(l, p, body, err);
  return send(l, p->segment, offset, body, err);
}

// ---- the writer -----------------------------------------------------------------------------

static int writer_begin(struct object_writer *w, uint64_t size_bytes, struct err *err)
{
  (void)w, (void)size_bytes, (void)err;
  return 0;
}

static int writer_write_part(struct object_writer *w, void *lane, uint32_t number, uint64_t offset,
                             const struct object_body *body, struct err *err)
{
  const struct repair *r = (const struct repair *)w;
  return r->mender ? mend_part(lane, number, offset, body, err)
                   : compare_part(lane, number, offset, body, err);
}

// The mender is begun, committed and aborted by whoever drives all this.
static int writer_end(struct object_writer *w, struct err *err)
{
  (void)w, (void)err;
  return 0;
}

bool repair_part_is_bad(const struct repair *r, uint32_t number)
{
  return number < r->part_count && r->parts[number].run_count;
}

static bool writer_wants(struct object_writer *w, uint32_t number)
{
  const struct repair *r = (const struct repair *)w;
  return !r->mender || repair_part_is_bad(r, number);
}

static void writer_interrupt(struct object_writer *w)
{
  const struct repair *r = (const struct repair *)w;
  if (r->mender)
    object_writer_interrupt(r->mender);
  else if (r->stored)
    object_interrupt(r->stored);
}

static void writer_free(struct object_writer *w)
{
  (void)w; // part of struct repair
}

static const struct object_writer_ops repair_writer_ops = {.name = "repair",
                                                           .begin = writer_begin,
                                                           .lane_open = lane_open,
                                                           .lane_close = lane_close,
                                                           .write_part = writer_write_part,
                                                           .commit = writer_end,
                                                           .abort = writer_end,
                                                           .interrupt = writer_interrupt,
                                                           .wants = writer_wants,
                                                           .free = writer_free};

void repair_writer_reset(struct repair *r)
{
  r->writer = (struct object_writer){.ops = &repair_writer_ops,
                                     .any_length = true,
                                     .part_max_bytes = PART_MAX_BYTES,
                                     .part_min_bytes = r->part_min_bytes,
                                     .parts_max = r->parts_max,
                                     .object_max_bytes = r->object_max_bytes,
                                     .equal_parts = r->equal_parts};
}
