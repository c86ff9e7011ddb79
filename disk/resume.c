// SPDX-License-Identifier: Apache-2.0
// Deciding whether a copy goes on with what an earlier one left: the source, the plan and the
// target must be what they were.
#include "disk/resume_internal.h"

#include <endian.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "disk/copy_internal.h"

#define PLAN_VERSION   3 // another number whenever the same copy is cut into units differently
#define SAMPLES        16
#define SAMPLE_BYTES   65536
#define TARGET_SAMPLES 8

static void say(const struct copy *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void say(const struct copy *c, const char *format, ...)
{
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof(text), format, args);
  va_end(args);
  if (c->job->warn)
    c->job->warn(c->job->warn_arg, text);
}

// ---- what it is about -----------------------------------------------------------------------

static char *hex_of(EVP_MD_CTX *ctx)
{
  struct buf hex CLEANUP(buf_release) = BUF_INIT(0);
  unsigned char md[EVP_MAX_MD_SIZE];
  if (EVP_DigestFinal_ex(ctx, md, NULL) != 1)
    return NULL;
  buf_add_hex(&hex, md, CHECKPOINT_HASH_BYTES);
  return buf_take(&hex);
}

static void md_free(EVP_MD_CTX **ctx)
{
  EVP_MD_CTX_free(*ctx);
}

static EVP_MD_CTX *md_new(void)
{
  EVP_MD_CTX *ctx = EVP_MD_CTX_new();
  if (ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1)
    return ctx;
  EVP_MD_CTX_free(ctx);
  return NULL;
}

static char *map_digest(const struct extents *map)
{
  EVP_MD_CTX *ctx CLEANUP(md_free) = md_new();
  for (size_t i = 0; ctx && i < map->count; i++) {
    uint64_t row[3] = {htole64(map->items[i].offset), htole64(map->items[i].length),
                       map->items[i].data};
    EVP_DigestUpdate(ctx, row, sizeof(row));
  }
  return ctx ? hex_of(ctx) : NULL;
}

// Guest offset of the n-th byte of data.
static uint64_t data_at(const struct extents *map, uint64_t n, uint64_t *ret_left)
{
  for (size_t i = 0; i < map->count; i++) {
    const struct extent *x = &map->items[i];
    if (!x->data)
      continue;
    if (n < x->length) {
      *ret_left = x->length - n;
      return x->offset + n;
    }
    n -= x->length;
  }
  *ret_left = 0;
  return 0;
}

static int sample_lane(struct copy *c, void *lane, EVP_MD_CTX *ctx, struct err *err)
{
  cleanup_free uint8_t *bytes = aligned_alloc(4096, SAMPLE_BYTES);
  uint64_t data = extents_data_bytes(&c->map, 0, c->size_bytes);
  if (!bytes)
    return err_set(err, ERR_NO_MEMORY, "no memory for a sample");
  for (uint64_t i = 0; i < SAMPLES; i++) {
    uint64_t left = 0;
    uint64_t at = data_at(&c->map, data / SAMPLES * i / SAMPLE_BYTES * SAMPLE_BYTES, &left);
    size_t n = left < SAMPLE_BYTES ? (size_t)left : SAMPLE_BYTES;
    if (n && source_read(c->source, lane, bytes, n, at, err) != 0)
      return -1;
    EVP_DigestUpdate(ctx, bytes, n);
  }
  return 0;
}

static int sample_digest(struct copy *c, char **ret, struct err *err)
{
  EVP_MD_CTX *ctx CLEANUP(md_free) = md_new();
  void *lane;
  if (!ctx)
    return err_set(err, ERR_NO_MEMORY, "no memory for a sample");
  if (source_lane_open(c->source, &lane, err) != 0)
    return -1;
  int failed = sample_lane(c, lane, ctx, err);
  source_lane_close(c->source, lane);
  if (failed)
    return err_prefix(err, "sample of the source");
  *ret = hex_of(ctx);
  return 0;
}

// What is laid down; one format may be in several ways, whose parts are not the same.
static char *format_text(const struct copy *c)
{
  const char *name = c->job->object ? disk_format_names[c->job->options.format] : "";
  bool late = c->pack && c->pack->late_header_bytes;
  return late ? str_printf("%s %s", name, c->pack->ops->layout) : str_dup(name);
}

static int make_subject(struct copy *c, struct checkpoint_subject *s, struct err *err)
{
  const struct copy_job *job = c->job;
  *s = (struct checkpoint_subject){
      .version = PLAN_VERSION,
      .size_bytes = (int64_t)c->size_bytes,
      .source = str_dup(c->source->identity),
      .map = map_digest(&c->map),
      .format = format_text(c),
      .target = str_dup(job->target_name ? job->target_name : ""),
      .no_sparse = job->options.no_sparse,
      .hashed = c->hashing,
      .sha256 = c->sha != NULL,
  };
  if (!c->resume.compare && sample_digest(c, &s->sample, err) != 0)
    return -1;
  if (c->resume.compare)
    s->sample = str_dup("-");
  bool whole = s->source && s->map && s->format && s->target && s->sample;
  return whole ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for a checkpoint");
}

// ---- before the end begins ------------------------------------------------------------------

// What an earlier copy to the same place left is of no use, and only it can be found by its state.
static void give_up_old(struct copy *c, const struct checkpoint_subject *then)
{
  struct object_writer *w = c->job->object;
  if (!w || !str_eq(then->target, c->job->target_name))
    return;
  struct err failure = ERR_INIT;
  object_resume(w, then->state);
  if (object_abort(w, &failure) != 0)
    say(c, "what an earlier copy left unfinished could not be removed: %s", failure.message);
}

int resume_prepare(struct copy *c, struct err *err)
{
  const struct copy_job *job = c->job;
  struct resume *r = &c->resume;
  r->checkpoint = job->checkpoint;
  if (!r->checkpoint)
    return 0;
  r->packed = c->pack != NULL;
  r->compare = r->packed || !c->source->tells_changes;
  if (make_subject(c, &r->subject, err) != 0)
    return -1;
  const char *damage = checkpoint_damage(r->checkpoint);
  const struct checkpoint_subject *then = checkpoint_found(r->checkpoint);
  if (damage)
    say(c, "checkpoint: %s", damage);
  if (!then)
    return 0;
  const char *differs = checkpoint_subject_differs(then, &r->subject);
  if (differs) {
    say(c, "the checkpoint is not used: %s", differs);
    give_up_old(c, then);
    checkpoint_ignore(r->checkpoint);
    return 0;
  }
  r->going_on = true;
  if (job->object)
    object_resume(job->object, then->state);
  else
    target_resume(job->target, then->state);
  return 0;
}

// ---- what is finished -----------------------------------------------------------------------

bool resume_is_done(const struct resume *r, uint64_t unit)
{
  return unit < r->done_capacity && r->done[unit / 64] >> (unit % 64) & 1;
}

static int set_done(struct resume *r, uint64_t unit, struct err *err)
{
  if (unit >= r->done_capacity) {
    uint64_t capacity = r->done_capacity ? r->done_capacity : 4096;
    while (capacity <= unit)
      capacity *= 2;
    uint64_t *more = realloc(r->done, capacity / 8);
    if (!more)
      return err_set(err, ERR_NO_MEMORY, "no memory for what is finished");
    memset((uint8_t *)more + r->done_capacity / 8, 0, (capacity - r->done_capacity) / 8);
    r->done = more;
    r->done_capacity = capacity;
  }
  r->done[unit / 64] |= 1ull << (unit % 64);
  r->done_count++;
  return 0;
}

// What the far side says counts.
static bool part_is_there(const struct copy *c, uint64_t unit)
{
  struct object_writer *w = c->job->object;
  char tag[OBJECT_TAG_BYTES];
  uint64_t length = 0;
  if (!w || !w->ops->part_tag || w->stored || c->resume.packed)
    return true;
  return unit < c->resume.part_count && w->ops->part_tag(w, (uint32_t)unit, tag, &length) &&
         length == c->resume.part_lengths[unit];
}

static int take_unit(void *copy, uint64_t unit, uint64_t data_bytes, struct err *err)
{
  struct copy *c = copy;
  if (data_bytes > c->size_bytes)
    return err_set(err, ERR_CORRUPT, "it has moved more than there is");
  if (resume_is_done(&c->resume, unit) || !part_is_there(c, unit))
    return 0;
  if (!c->resume.compare) {
    atomic_fetch_add(&c->tally->resumed_bytes, data_bytes);
    atomic_fetch_add(c->counter, data_bytes);
  }
  return set_done(&c->resume, unit, err);
}

static int take_hash(void *copy, uint64_t chunk, const uint8_t *hash, struct err *err)
{
  struct copy *c = copy;
  if (c->resume.packed)
    return resume_take_sum(&c->resume, chunk, hash, err);
  if (!c->hashing || chunk >= c->digest.count)
    return err_set(err, ERR_CORRUPT, "it names a place beyond the end of the disk");
  uint8_t *leaves = c->resume.compare ? c->resume.then : c->digest.leaves;
  memcpy(leaves + chunk * DIGEST_BYTES, hash, DIGEST_BYTES);
  return 0;
}

// With compare all is read again, and hashed from the start.
static int take_sha(void *copy, const uint8_t *state, struct err *err)
{
  const struct copy *c = copy;
  if (c->sha && !c->resume.compare && !sha_turn_load(c->sha, state))
    return err_set(err, ERR_CORRUPT, "it holds no state of a SHA-256");
  return 0;
}

static void forget(struct copy *c)
{
  struct resume *r = &c->resume;
  r->going_on = false;
  r->done_count = 0;
  if (r->done)
    memset(r->done, 0, r->done_capacity / 8);
  if (c->hashing)
    memset(c->digest.leaves, 0, c->digest.count * DIGEST_BYTES);
  if (r->part_sums)
    memset(r->part_sums, 0, r->part_count * CHECKPOINT_HASH_BYTES);
  if (c->sha)
    sha_turn_reset(c->sha);
  atomic_store(&c->tally->resumed_bytes, 0);
  atomic_store(c->counter, 0);
}

static int list_parts(struct copy *c, struct err *err)
{
  struct resume *r = &c->resume;
  const struct object_writer *w = c->job->object;
  if (!w || !w->ops->part_tag || r->packed)
    return 0;
  uint64_t stored = layout_stored_bytes(c->layout);
  r->part_lengths = calloc(w->parts_max ? w->parts_max : 1, sizeof(*r->part_lengths));
  if (!r->part_lengths)
    return err_set(err, ERR_NO_MEMORY, "no memory for the list of parts");
  for (uint64_t at = 0; at < stored && r->part_count < w->parts_max; r->part_count++) {
    uint64_t end = part_end(c, at);
    r->part_lengths[r->part_count] = end - at;
    at = end;
  }
  return 0;
}

static int load(struct copy *c, struct err *err)
{
  struct resume *r = &c->resume;
  const struct checkpoint_sink sink = {c, take_unit, take_hash, take_sha};
  if (r->compare && !r->packed && !(r->then = calloc(c->digest.count + 1, DIGEST_BYTES)))
    return err_set(err, ERR_NO_MEMORY, "no memory for the hashes of all chunks");
  if (list_parts(c, err) != 0)
    return -1;
  struct err failure = ERR_INIT;
  r->dirty = r->compare;
  if (checkpoint_load(r->checkpoint, &sink, &failure) == 0)
    return 0;
  if (failure.kind != ERR_CORRUPT) {
    *err = failure;
    return -1;
  }
  say(c, "the checkpoint is not used: %s", failure.message);
  forget(c);
  r->dirty = true;
  return 0;
}

// ---- the target is what it was --------------------------------------------------------------

static int same_chunk(const struct copy *c, struct source *s, void *lane, uint64_t chunk,
                      uint8_t *bytes, struct err *err)
{
  struct digest one = {.size_bytes = c->digest.size_bytes, .count = c->digest.count};
  uint64_t start = chunk * COPY_CHUNK_BYTES;
  uint64_t left = c->size_bytes - start;
  size_t n = left < COPY_CHUNK_BYTES ? (size_t)left : COPY_CHUNK_BYTES;
  uint8_t leaf[DIGEST_BYTES];
  if (source_read(s, lane, bytes, n, start, err) != 0)
    return -1;
  digest_leaf_of(&one, chunk, bytes, n, leaf);
  const uint8_t *leaves = c->resume.compare ? c->resume.then : c->digest.leaves;
  return memcmp(leaf, leaves + chunk * DIGEST_BYTES, DIGEST_BYTES) == 0;
}

// 1: every sample is what was written there, 0: one is not, -1: error.
static int sample_target(const struct copy *c, struct source *s, struct err *err)
{
  static const uint8_t unset[DIGEST_BYTES];
  cleanup_free uint8_t *bytes = aligned_alloc(4096, COPY_CHUNK_BYTES);
  const uint8_t *leaves = c->resume.compare ? c->resume.then : c->digest.leaves;
  uint64_t step = c->digest.count / TARGET_SAMPLES + 1;
  void *lane;
  if (!bytes)
    return err_set(err, ERR_NO_MEMORY, "no memory for a sample");
  if (source_lane_open(s, &lane, err) != 0)
    return -1;
  int same = 1;
  for (uint64_t at = 0; same > 0 && at < c->digest.count; at += step) {
    uint64_t chunk = at;
    while (chunk < c->digest.count && chunk < at + step &&
           memcmp(leaves + chunk * DIGEST_BYTES, unset, DIGEST_BYTES) == 0)
      chunk++;
    if (chunk < c->digest.count && chunk < at + step)
      same = same_chunk(c, s, lane, chunk, bytes, err);
  }
  source_lane_close(s, lane);
  return same;
}

// An NBD server may serve another disk today, of the same size.
static int check_target(struct copy *c, struct err *err)
{
  struct target *t = c->job->target;
  struct source *s;
  if (!t || !c->hashing || !t->ops->reopen)
    return 0;
  if (target_reopen(t, &s, err) != 0)
    return -1;
  int same = sample_target(c, s, err);
  source_free(s);
  if (same > 0)
    return 0;
  if (same < 0)
    return err_prefix(err, "sample of the target");
  say(c, "the checkpoint is not used: the target does not hold what was written there");
  forget(c);
  c->resume.dirty = true;
  return 0;
}

// ---- after the end has begun ----------------------------------------------------------------

static const char *end_state(const struct copy *c)
{
  return c->job->object ? object_state(c->job->object) : target_state(c->job->target);
}

static bool end_resumed(const struct copy *c)
{
  return c->job->object ? c->job->object->resumed : c->job->target->resumed;
}

// Why this copy cannot be gone on with later, or NULL.
static const char *no_way(const struct copy *c)
{
  if (!end_state(c))
    return "the target cannot be gone on with";
  if (c->resume.compare && !c->hashing && !c->resume.packed)
    return "the source does not tell when it changes, and nothing is hashed";
  return NULL;
}

static int start_anew(struct copy *c, struct err *err)
{
  struct resume *r = &c->resume;
  struct target *t = c->job->target;
  // That it reads as zeros where nothing is written must not be lost either.
  if (t && target_flush(t, NULL, err) != 0)
    return -1;
  r->subject.state = str_dup(end_state(c));
  if (!r->subject.state)
    return err_set(err, ERR_NO_MEMORY, "no memory for a checkpoint");
  return checkpoint_start(r->checkpoint, &r->subject, err);
}

static int go_on(struct copy *c, struct err *err)
{
  struct resume *r = &c->resume;
  if (!end_resumed(c)) {
    say(c, "the checkpoint is not used: what was begun at the target is gone");
    r->going_on = false;
    return 0;
  }
  if (load(c, err) != 0)
    return -1;
  if (r->going_on && check_target(c, err) != 0)
    return -1;
  if (r->dirty && c->job->target)
    c->job->target->zeroed = false;
  if (!r->going_on)
    return 0;
  r->started = checkpoint_started(r->checkpoint);
  atomic_store(&c->tally->resumed_resent_bytes, checkpoint_resent(r->checkpoint));
  atomic_fetch_add(&c->tally->resent_bytes, checkpoint_resent(r->checkpoint));
  return checkpoint_resume(r->checkpoint, err);
}

// A lane has written down all but so much. Parts are large, and safe when they are answered.
static uint64_t batch_bytes(const struct copy *c)
{
  const struct object_writer *w = c->job->object;
  uint64_t share = RESUME_BYTES / (uint64_t)c->crew->lanes;
  bool outlives_us = w ? w->outlives_us : c->job->target->outlives_us;
  if (w && w->ops->part_tag)
    return 1;
  if (outlives_us && share > RESUME_LANE_BYTES)
    share = RESUME_LANE_BYTES;
  return share - COPY_CHUNK_BYTES + 1; // with the unit after it, no more than its share
}

int resume_begin(struct copy *c, struct err *err)
{
  struct resume *r = &c->resume;
  if (!r->checkpoint)
    return 0;
  const char *why = no_way(c);
  if (why) {
    say(c, "no checkpoint is written, an interrupted copy starts over: %s", why);
    checkpoint_ignore(r->checkpoint);
    r->checkpoint = NULL;
    r->going_on = false;
    return 0;
  }
  r->batch_bytes = batch_bytes(c);
  r->marked_ms = clock_ms();
  if (r->going_on && go_on(c, err) != 0)
    return -1;
  return r->going_on ? 0 : start_anew(c, err);
}

void resume_release(struct resume *r)
{
  checkpoint_subject_release(&r->subject);
  free(r->done);
  free(r->then);
  free(r->part_lengths);
  free(r->part_sums);
}

bool resume_skip(struct copy *c, uint64_t unit)
{
  struct resume *r = &c->resume;
  if (!r->checkpoint)
    return false;
  if (r->going_on && !r->compare && resume_is_done(r, unit))
    return true;
  checkpoint_note_started(r->checkpoint, unit + 1);
  return false;
}

bool resume_may_be_same(const struct copy *c, uint64_t unit)
{
  return c->resume.going_on && c->resume.compare && resume_is_done(&c->resume, unit);
}

bool resume_same(const struct lane *l, uint64_t unit)
{
  const struct copy *c = l->copy;
  if (!resume_may_be_same(c, unit))
    return false;
  for (size_t i = 0; i < l->notes.count; i++) {
    uint64_t at = l->notes.chunks[i] * DIGEST_BYTES;
    if (memcmp(c->digest.leaves + at, c->resume.then + at, DIGEST_BYTES) != 0)
      return false;
  }
  return true;
}
