// SPDX-License-Identifier: Apache-2.0
#include "disk/copy.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/str.h"
#include "disk/copy_internal.h"

const char *const copy_verify_names[] = {"Stored", "ReadBack", "None", NULL};

// ---- preparing ------------------------------------------------------------------------------

int copy_lanes(int asked, int64_t round_trip_ms, uint64_t lane_bytes)
{
  if (asked > 0)
    return asked < COPY_LANES_MAX ? asked : COPY_LANES_MAX;
  uint64_t fit = COPY_MEMORY_BYTES / lane_bytes;
  if (round_trip_ms < COPY_FAR_MS || fit < COPY_LANES_DEFAULT)
    return COPY_LANES_DEFAULT;
  return fit < COPY_LANES_MAX ? (int)fit : COPY_LANES_MAX;
}

int copy_setup(struct copy *c, struct source *s, struct tally *tally, int lanes, struct err *err)
{
  *c = (struct copy){.source = s, .tally = tally, .size_bytes = s->size_bytes, .sparse = true};
  c->counter = &tally->transferred_bytes;
  c->crew = &c->own_crew;
  c->crew->tally = tally;
  c->crew->lanes = copy_lanes(lanes, s->round_trip_ms, COPY_CHUNK_BYTES + s->lane_bytes);
  c->crew->spread_ms = s->round_trip_ms < COPY_FAR_MS ? 0 : COPY_SPREAD * s->round_trip_ms;
  c->crew->arg = c;
  if (source_extents(s, &c->map, err) != 0)
    return -1;
  c->out_map = c->map;
  pthread_mutex_init(&c->lock, NULL);
  atomic_store(&tally->total_bytes, s->size_bytes);
  atomic_store(&tally->data_bytes, extents_data_bytes(&c->map, 0, s->size_bytes));
  return 0;
}

void copy_release(struct copy *c)
{
  if (c->out_map.items != c->map.items)
    extents_release(&c->out_map);
  extents_release(&c->map);
  digest_release(&c->digest);
  layout_free(c->layout);
  pack_free(c->pack);
  sha_turn_free(c->sha);
  resume_release(&c->resume);
  pthread_mutex_destroy(&c->lock);
}

int copy_fill_result(struct copy *c, struct copy_result *ret, struct err *err)
{
  ret->size_bytes = c->size_bytes;
  ret->data_bytes = atomic_load(&c->tally->data_bytes);
  if (!c->hashing)
    return 0;
  if (digest_text(&c->digest, ret->content_digest, err) != 0)
    return -1;
  ret->chunk_hashes = c->digest.leaves;
  ret->chunk_count = c->digest.count;
  c->digest.leaves = NULL;
  return 0;
}

static int prepare_options(struct copy *c, const struct copy_options *o, struct err *err)
{
  c->crew->stall_timeout_ms = o->stall_timeout_ms;
  c->hashing = o->verify != COPY_VERIFY_NONE || o->expected_digest;
  if (c->hashing && digest_init(&c->digest, c->size_bytes, err) != 0)
    return -1;
  if (!o->no_sparse)
    return 0;
  c->sparse = false;
  c->out_map = (struct extents){0};
  if (extents_add(&c->out_map, 0, c->size_bytes, true) != 0)
    return err_set(err, ERR_NO_MEMORY, "no memory for the extent map");
  return 0;
}

// Its head comes last.
static int check_compressed(const struct copy *c, struct err *err)
{
  const struct object_writer *w = c->job->object;
  if (w->any_length && !w->ordered)
    return 0;
  return err_set(err, ERR_UNSUPPORTED,
                 "a compressed qcow2 cannot be written there (%s): its head must be known before "
                 "the first byte; use qcow2, not compressed",
                 w->ops->name);
}

static int prepare_pack(struct copy *c, const struct copy_options *o, struct err *err)
{
  const char *name = disk_format_names[o->format];
  if (o->format != DISK_FORMAT_RAW_ZST && o->format != DISK_FORMAT_VMDK)
    return err_set(err, ERR_UNSUPPORTED,
                   "images are written as raw, qcow2, vmdk or raw.zst, not as '%s'", name);
  if (!c->job->object->any_length)
    return err_set(err, ERR_UNSUPPORTED,
                   "%s cannot be written there (%s): its length must be known before the first "
                   "byte; use format raw or qcow2",
                   name, c->job->object->ops->name);
  if (o->format == DISK_FORMAT_VMDK)
    return pack_new_vmdk(&c->out_map, c->size_bytes, &o->vmdk, &c->pack, err);
  return pack_new_raw_zst(&c->out_map, c->size_bytes, &c->pack, err);
}

// Where nobody knows before which clusters are zeros, they are left out as they are found, unless
// the writer wants to know the length, or the parts of a full disk could not be held. Where parts
// must be equal there is no other way: forward, they end with a cluster of the disk.
static int prepare_qcow2(struct copy *c, const struct copy_options *o, struct err *err)
{
  const struct object_writer *w = c->job->object;
  if (o->compress && check_compressed(c, err) != 0)
    return -1;
  bool guessed = !c->source->exact_map && c->sparse && w->any_length && !w->ordered;
  bool wanted = o->compress || (w->equal_parts && w->any_length);
  if ((wanted || guessed) &&
      pack_new_qcow2(&c->out_map, c->size_bytes, o->compress, &c->pack, err) != 0)
    return -1;
  if (c->pack && (wanted || copy_packed_fits(w, c->pack)))
    return 0;
  pack_free(c->pack);
  c->pack = NULL;
  return layout_new_qcow2(&c->out_map, c->size_bytes, &c->layout, err);
}

// Of a stored object. Where it is packed, copy_packed.c shares lanes and memory out.
static void prepare_lanes(struct copy *c, int asked)
{
  const struct object_writer *w = c->job->object;
  struct crew *crew = c->crew;
  int64_t far_ms = c->source->round_trip_ms;
  uint64_t held = COPY_CHUNK_BYTES;
  if (w->ordered) // one connection, whatever they are
    held *= 2;
  else if (!copy_is_direct(c))
    held += COPY_PART_BYTES;
  if (!w->ordered && w->round_trip_ms > far_ms)
    far_ms = w->round_trip_ms;
  crew->lanes = copy_lanes(asked, far_ms, held + c->source->lane_bytes);
  crew->spread_ms = far_ms < COPY_FAR_MS ? 0 : COPY_SPREAD * far_ms;
}

static int prepare_layout(struct copy *c, const struct copy_options *o, struct err *err)
{
  int failed = 0;
  if (o->compress && o->format != DISK_FORMAT_QCOW2)
    return err_set(err, ERR_INVALID, "only a qcow2 is compressed on request, not %s",
                   disk_format_names[o->format]);
  if (o->format == DISK_FORMAT_RAW)
    failed = layout_new_raw(&c->out_map, c->size_bytes, &c->layout, err);
  else if (o->format == DISK_FORMAT_QCOW2)
    failed = prepare_qcow2(c, o, err);
  else
    failed = prepare_pack(c, o, err);
  bool in_order = !c->pack || c->pack->late_header_bytes == 0;
  if (!failed && o->object_sha256 && in_order)
    failed = sha_turn_new(c->crew, &c->sha, err);
  return failed;
}

// ---- moving ---------------------------------------------------------------------------------

static void interrupt_ends(void *copy)
{
  const struct copy *c = copy;
  source_interrupt(c->source);
  if (c->job->target)
    target_interrupt(c->job->target);
  if (c->job->object)
    object_writer_interrupt(c->job->object);
}

static void wake_lanes(void *copy)
{
  const struct copy *c = copy;
  if (c->sha)
    sha_turn_wake(c->sha);
}

static int run_lanes(struct copy *c, int (*lane)(void *, int, struct err *), struct err *err)
{
  c->crew->lane = lane;
  c->crew->interrupt = interrupt_ends;
  c->crew->wake = wake_lanes;
  return crew_run(c->crew, err);
}

static int write_empty_part(struct object_writer *w, struct err *err)
{
  void *lane;
  if (object_write_lane_open(w, &lane, err) != 0)
    return -1;
  struct object_body nothing = object_body_bytes("", 0);
  int failed = object_write_part(w, lane, 0, 0, &nothing, err);
  object_write_lane_close(w, lane);
  return failed;
}

static int move_object(struct copy *c, struct err *err)
{
  struct object_writer *w = c->job->object;
  if (c->pack)
    return copy_packed_run(c, err);
  uint64_t stored = c->stored_bytes = layout_stored_bytes(c->layout);
  if (resume_prepare(c, err) != 0 || object_begin(w, stored, err) != 0)
    return -1;
  if (stored == 0)
    return w->stored ? 0 : write_empty_part(w, err);
  if (!copy_is_direct(c) && copy_plan_parts(c, err) != 0)
    return -1;
  if (resume_begin(c, err) != 0)
    return -1;
  if (copy_is_direct(c))
    return run_lanes(c, copy_direct_lane, err);
  if (w->ordered || w->parts_max == 1)
    return copy_window_run(c, err);
  return run_lanes(c, copy_parts_lane, err);
}

static int move(struct copy *c, struct err *err)
{
  struct target *t = c->job->target;
  if (!t)
    return move_object(c, err);
  if (resume_prepare(c, err) != 0 || target_begin(t, c->size_bytes, &c->out_map, err) != 0 ||
      resume_begin(c, err) != 0)
    return -1;
  return run_lanes(c, copy_target_lane, err);
}

// ---- finishing ------------------------------------------------------------------------------

static int check_digest(const char *expected, const char *found, struct err *err)
{
  if (!expected || str_eq(expected, found))
    return 0;
  return err_set(err, ERR_MISMATCH, "the content is not what it should be: expected %s, found %s",
                 expected, found);
}

static int finish_object(struct copy *c, struct copy_result *ret, struct err *err)
{
  const struct copy_job *job = c->job;
  ret->stored_bytes = c->stored_bytes;
  snprintf(ret->layout, sizeof(ret->layout), "%s", c->pack ? c->pack->ops->layout : "forward");
  if (c->sha)
    sha_turn_text(c->sha, ret->stored_bytes, ret->object_sha256);
  if (job->before_commit && job->before_commit(job->before_commit_arg, ret, err) != 0)
    return -1;
  return resume_seal(c, err) != 0 ? -1 : object_commit(job->object, err);
}

static int read_back(struct copy *c, const struct copy_result *r, struct err *err)
{
  struct source *s;
  atomic_store(&c->tally->phase, COPY_VERIFYING);
  if (target_reopen(c->job->target, &s, err) != 0)
    return -1;
  int failed = digest_verify(s, r->content_digest, c->job->options.lanes, c->tally, err);
  source_free(s);
  return failed ? err_prefix(err, "reading back") : 0;
}

static int finish_target(struct copy *c, struct copy_result *ret, struct err *err)
{
  if (target_finish(c->job->target, err) != 0)
    return -1;
  ret->stored_bytes = c->job->target->size_bytes;
  return c->job->options.verify == COPY_VERIFY_READBACK ? read_back(c, ret, err) : 0;
}

static int run(struct copy *c, struct copy_result *ret, struct err *err)
{
  const struct copy_job *job = c->job;
  if (prepare_options(c, &job->options, err) != 0)
    return -1;
  if (job->object && prepare_layout(c, &job->options, err) != 0)
    return -1;
  if (job->object)
    prepare_lanes(c, job->options.lanes);
  c->counter = job->options.compares ? &c->tally->verified_bytes : c->counter;
  atomic_store(&c->tally->phase, job->options.compares ? COPY_VERIFYING : COPY_TRANSFERRING);
  if (move(c, err) != 0 || copy_fill_result(c, ret, err) != 0 ||
      check_digest(job->options.expected_digest, ret->content_digest, err) != 0)
    return -1;
  if (tally_cancelled(c->tally))
    return err_set(err, ERR_CANCELLED, "stopped on request");
  return job->target ? finish_target(c, ret, err) : finish_object(c, ret, err);
}

int copy_run(const struct copy_job *job, struct tally *tally, struct copy_result *ret,
             struct err *err)
{
  *ret = (struct copy_result){0};
  if (!job->source || !job->target == !job->object)
    return err_set(err, ERR_INTERNAL, "a copy has one source and one end to write to");
  if (job->target && job->options.compress)
    return err_set(err, ERR_UNSUPPORTED,
                   "a disk that is there already is not compressed, only a new image is");
  int64_t start_ms = clock_ms();
  atomic_store(&tally->phase, COPY_PREPARING);
  struct copy c;
  int failed = copy_setup(&c, job->source, tally, job->options.lanes, err);
  if (!failed) {
    c.job = job;
    failed = run(&c, ret, err);
    copy_release(&c);
  }
  ret->elapsed_ms = clock_ms() - start_ms;
  if (failed && (!err || err->kind != ERR_MISMATCH))
    copy_result_release(ret);
  if (failed && tally_cancelled(tally))
    return err_set(err, ERR_CANCELLED, "stopped on request");
  if (!failed)
    atomic_store(&tally->phase, COPY_DONE);
  return failed;
}

void copy_interrupt(const struct copy_job *job, struct tally *tally)
{
  __atomic_store_n(&tally->cancel, true, __ATOMIC_RELAXED);
  source_interrupt(job->source);
  if (job->target)
    target_interrupt(job->target);
  if (job->object)
    object_writer_interrupt(job->object);
}

void copy_result_release(struct copy_result *r)
{
  free(r->chunk_hashes);
  *r = (struct copy_result){0};
}
