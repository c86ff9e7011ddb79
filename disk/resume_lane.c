// SPDX-License-Identifier: Apache-2.0
// Writing down what is finished, while lanes work. Each lane writes for itself: what it sent goes
// to disk over its own connection first, where that is needed, so no lane waits for another.
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "disk/copy_internal.h"

#define MARK_EVERY_MS 10000

void resume_unit_begin(struct lane *l)
{
  l->notes.count = 0;
}

int resume_note(struct lane *l, uint64_t chunk, struct err *err)
{
  struct lane_notes *n = &l->notes;
  if (!l->copy->resume.checkpoint || !l->copy->hashing)
    return 0;
  for (size_t i = n->count; i > 0 && n->chunks[i - 1] >= chunk; i--)
    if (n->chunks[i - 1] == chunk)
      return 0; // read again
  if (n->count == n->capacity) {
    size_t capacity = n->capacity ? 2 * n->capacity : 16;
    uint64_t *more = realloc(n->chunks, capacity * sizeof(*more));
    if (!more)
      return err_set(err, ERR_NO_MEMORY, "no memory for a checkpoint");
    n->chunks = more;
    n->capacity = capacity;
  }
  n->chunks[n->count++] = chunk;
  return 0;
}

static int flush(struct lane *l, struct err *err)
{
  const struct copy_job *job = l->copy->job;
  return job->object ? object_flush(job->object, l->out_lane, err)
                     : target_flush(job->target, l->out_lane, err);
}

static bool outlives_us(const struct copy *c)
{
  return c->job->object ? c->job->object->outlives_us : c->job->target->outlives_us;
}

// The copy itself goes on: only an interruption of it would cost more.
static void give_up_checkpoint(struct copy *c, const struct err *why)
{
  if (atomic_exchange(&c->resume.broken, true) || !c->job->warn)
    return;
  c->job->warn(c->job->warn_arg, why->message);
}

// Once in a while, by one lane: what is written down so far counts even when this host is started
// anew. Ends that were flushed before each frame are safe already.
static int mark(struct lane *l, struct err *err)
{
  struct copy *c = l->copy;
  struct resume *r = &c->resume;
  int64_t now = clock_ms();
  int64_t then = atomic_load(&r->marked_ms);
  if (now - then < MARK_EVERY_MS || !atomic_compare_exchange_strong(&r->marked_ms, &then, now))
    return 0;
  uint64_t length = checkpoint_length(r->checkpoint);
  if (outlives_us(c) && flush(l, err) != 0)
    return -1;
  struct err failure = ERR_INIT;
  if (checkpoint_mark(r->checkpoint, length, &failure) != 0)
    give_up_checkpoint(c, &failure);
  return 0;
}

static int write_down(struct lane *l, struct err *err)
{
  struct copy *c = l->copy;
  struct resume *r = &c->resume;
  struct lane_notes *n = &l->notes;
  uint8_t sha[SHA_STATE_BYTES];
  struct err failure = ERR_INIT;
  if (n->batch.length == 0)
    return 0;
  n->bytes = 0;
  if (!outlives_us(c) && flush(l, err) != 0)
    return -1;
  crew_moved(c->crew);
  if (c->sha)
    sha_turn_save(c->sha, sha);
  if (checkpoint_append(r->checkpoint, &n->batch, c->sha ? sha : NULL, &failure) != 0)
    give_up_checkpoint(c, &failure);
  return mark(l, err);
}

static bool has_hash(const struct copy *c, uint64_t chunk)
{
  static const uint8_t unset[DIGEST_BYTES];
  return memcmp(c->digest.leaves + chunk * DIGEST_BYTES, unset, DIGEST_BYTES) != 0;
}

// How many hashes of the unit are written down. Over an old one zeros must be said as well.
static bool is_said(const struct copy *c, uint64_t chunk)
{
  return c->resume.compare || has_hash(c, chunk);
}

static int add_unit(struct lane *l, uint64_t unit, uint64_t data_bytes, struct err *err)
{
  const struct copy *c = l->copy;
  struct lane_notes *n = &l->notes;
  uint32_t count = 0;
  for (size_t i = 0; i < n->count; i++)
    count += is_said(c, n->chunks[i]);
  if (checkpoint_batch_unit(&n->batch, unit, data_bytes, count, err) != 0)
    return -1;
  for (size_t i = 0; i < n->count; i++) {
    uint64_t chunk = n->chunks[i];
    if (is_said(c, chunk) &&
        checkpoint_batch_hash(&n->batch, chunk, c->digest.leaves + chunk * DIGEST_BYTES, err) != 0)
      return -1;
  }
  return 0;
}

void resume_count(struct copy *c, uint64_t unit, uint64_t data_bytes, bool sent)
{
  if (!sent) {
    atomic_fetch_add(&c->tally->resumed_bytes, data_bytes);
  } else if (unit < c->resume.started) {
    atomic_fetch_add(&c->tally->resent_bytes, data_bytes);
    checkpoint_note_resent(c->resume.checkpoint, atomic_load(&c->tally->resent_bytes));
  }
}

int resume_write_down_some(struct lane *l, uint64_t data_bytes, struct err *err)
{
  // Zeros cost little, but not nothing.
  l->notes.bytes += data_bytes ? data_bytes : BLOCK_BYTES;
  return l->notes.bytes >= l->copy->resume.batch_bytes ? write_down(l, err) : 0;
}

int resume_unit_done(struct lane *l, uint64_t unit, uint64_t data_bytes, bool sent, struct err *err)
{
  struct copy *c = l->copy;
  if (!c->resume.checkpoint)
    return 0;
  resume_count(c, unit, data_bytes, sent);
  if (atomic_load(&c->resume.broken))
    return 0;
  return add_unit(l, unit, data_bytes, err) != 0 ? -1 : resume_write_down_some(l, data_bytes, err);
}

// Otherwise a source that changes and changes back, with a kill at each time, would make a half
// written unit pass for a finished one.
int resume_undo(struct lane *l, uint64_t unit, struct err *err)
{
  struct copy *c = l->copy;
  static const uint8_t nothing[DIGEST_BYTES] = "not finished";
  struct checkpoint_batch b CLEANUP(checkpoint_batch_release) = {0};
  struct lane_notes *n = &l->notes;
  if (!c->resume.going_on || !c->resume.compare || atomic_load(&c->resume.broken))
    return 0;
  if (checkpoint_batch_unit(&b, unit, 0, (uint32_t)n->count, err) != 0)
    return -1;
  for (size_t i = 0; i < n->count; i++)
    if (checkpoint_batch_hash(&b, n->chunks[i], nothing, err) != 0)
      return -1;
  struct err failure = ERR_INIT;
  if (checkpoint_append(c->resume.checkpoint, &b, NULL, &failure) != 0)
    give_up_checkpoint(c, &failure);
  return 0;
}

int resume_lane_end(struct lane *l, struct err *err)
{
  struct copy *c = l->copy;
  if (!c->resume.checkpoint || atomic_load(&c->resume.broken))
    return 0;
  // What stopped the crew may hang here as well.
  return crew_stopped(c->crew) && !outlives_us(c) ? 0 : write_down(l, err);
}

// Where an object has the same state from begin to commit there is nothing to say.
static void note_state(struct copy *c, bool durable)
{
  struct object_writer *w = c->job->object;
  const char *state = w->ops->seal && !w->stored ? object_state(w) : NULL;
  struct err failure = ERR_INIT;
  if (c->resume.checkpoint && state && !atomic_load(&c->resume.broken) &&
      checkpoint_note_state(c->resume.checkpoint, state, durable, &failure) != 0)
    give_up_checkpoint(c, &failure);
}

void resume_settled(struct copy *c)
{
  note_state(c, false);
}

int resume_seal(struct copy *c, struct err *err)
{
  if (!c->resume.checkpoint)
    return 0;
  if (object_seal(c->job->object, err) != 0)
    return -1;
  note_state(c, true);
  return 0;
}

void resume_lane_release(struct lane *l)
{
  free(l->notes.chunks);
  checkpoint_batch_release(&l->notes.batch);
}
