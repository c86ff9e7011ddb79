// SPDX-License-Identifier: Apache-2.0
#include "disk/repair.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "disk/repair_internal.h"

int repair_new(struct source *source, const struct copy_options *options,
               const struct object_writer *mender, struct repair **ret, struct err *err)
{
  struct repair *r = calloc(1, sizeof(*r));
  if (!r)
    return err_set(err, ERR_NO_MEMORY, "no memory for a repair");
  r->source = source;
  r->options = *options;
  r->part_min_bytes = mender->part_min_bytes;
  r->object_max_bytes = mender->object_max_bytes;
  r->equal_parts = mender->equal_parts;
  r->parts_max = mender->parts_max ? mender->parts_max : REPAIR_PARTS_MAX;
  pthread_mutex_init(&r->lock, NULL);
  *ret = r;
  return 0;
}

void repair_free(struct repair *r)
{
  if (!r)
    return;
  for (size_t i = 0; i < r->part_count; i++)
    free(r->parts[i].runs);
  free(r->parts);
  free(r->segments);
  pthread_mutex_destroy(&r->lock);
  free(r);
}

static struct copy_job job_of(struct repair *r)
{
  repair_writer_reset(r);
  return (struct copy_job){.source = r->source, .object = &r->writer, .options = r->options};
}

// ---- comparing ------------------------------------------------------------------------------

int repair_compare(struct repair *r, struct object_reader *stored, struct tally *tally,
                   struct copy_result *ret, struct repair_found *ret_found, struct err *err)
{
  struct copy_job job = job_of(r);
  job.options.compares = true;
  r->tally = tally;
  r->stored = stored;
  int failed = copy_run(&job, tally, ret, err);
  r->stored = NULL;
  atomic_store(&tally->resent_bytes, 0); // large parts are read twice
  if (failed)
    return -1;
  r->found.parts = r->part_count;
  r->found.stored_bytes = stored->size_bytes;
  r->found.planned_bytes = ret->stored_bytes;
  if (ret->stored_bytes > stored->size_bytes)
    r->found.missing_bytes = ret->stored_bytes - stored->size_bytes;
  *ret_found = r->found;
  return 0;
}

// ---- the parts for the mender ---------------------------------------------------------------

static bool joins(const struct repair_segment *last, const struct repair_part *p)
{
  return last && last->kept && !p->run_count && last->length + p->length <= REPAIR_KEEP_BYTES_MAX;
}

static int plan_segments(struct repair *r, struct err *err)
{
  r->segments = calloc(r->part_count + 1, sizeof(*r->segments));
  if (!r->segments)
    return err_set(err, ERR_NO_MEMORY, "no memory for the list of parts");
  struct repair_segment *last = NULL;
  uint64_t end = 0;
  for (size_t i = 0; i < r->part_count; i++) {
    struct repair_part *p = &r->parts[i];
    if (!p->known || p->offset != end)
      return err_set(err, ERR_INTERNAL, "part %zu of the image was not compared", i);
    end += p->length;
    if (!r->equal_parts && joins(last, p)) {
      last->length += p->length;
    } else {
      last = &r->segments[r->segment_count++];
      *last = (struct repair_segment){p->offset, p->length, !p->run_count};
    }
    p->segment = (uint32_t)(last - r->segments);
  }
  return 0;
}

// ---- keeping --------------------------------------------------------------------------------

static const struct repair_segment *take_kept(struct repair *r)
{
  LOCK_FOR_SCOPE(&r->lock);
  while (r->next_segment < r->segment_count && !r->segments[r->next_segment].kept)
    r->next_segment++;
  return r->next_segment < r->segment_count ? &r->segments[r->next_segment++] : NULL;
}

static int keep_lane(void *repair, int index, struct err *err)
{
  (void)index;
  struct repair *r = repair;
  const struct repair_segment *s;
  void *lane;
  if (object_write_lane_open(r->mender, &lane, err) != 0)
    return -1;
  int failed = 0;
  while (!failed && !crew_stopped(r->keepers) && (s = take_kept(r))) {
    failed =
        object_keep_part(r->mender, lane, (uint32_t)(s - r->segments), s->offset, s->length, err);
    crew_moved(r->keepers);
  }
  object_write_lane_close(r->mender, lane);
  return failed;
}

static void interrupt_mender(void *repair)
{
  object_writer_interrupt(((struct repair *)repair)->mender);
}

static int keep_good_parts(struct repair *r, struct err *err)
{
  struct crew crew = {
      .tally = r->tally,
      .lanes = r->options.lanes > 0 && r->options.lanes < COPY_LANES_MAX ? r->options.lanes : 4,
      .stall_timeout_ms = r->options.stall_timeout_ms,
      .lane = keep_lane,
      .interrupt = interrupt_mender,
      .arg = r};
  if (r->mender->in_place)
    return 0;
  r->keepers = &crew;
  int failed = crew_run(&crew, err);
  r->keepers = NULL;
  return failed;
}

// ---- mending --------------------------------------------------------------------------------

// The digest was taken while comparing, and each part that is sent has its own sum.
static int send_bad_parts(struct repair *r, struct err *err)
{
  struct copy_result ignored CLEANUP(copy_result_release) = {0};
  struct copy_job job = job_of(r);
  job.options.verify = COPY_VERIFY_NONE;
  job.options.expected_digest = NULL;
  job.options.object_sha256 = false;
  return r->found.bad_parts ? copy_run(&job, r->tally, &ignored, err) : 0;
}

int repair_mend(struct repair *r, struct object_writer *mender, struct tally *tally,
                struct err *err)
{
  r->tally = tally;
  if (plan_segments(r, err) != 0)
    return -1;
  r->mender = mender;
  int failed = object_begin(mender, r->found.planned_bytes, err) != 0 ||
               send_bad_parts(r, err) != 0 || keep_good_parts(r, err) != 0 ||
               object_commit(mender, err) != 0;
  r->mender = NULL;
  atomic_store(&tally->resent_bytes, r->sent_bytes);
  return failed ? -1 : 0;
}

void repair_interrupt(struct repair *r, struct tally *tally)
{
  __atomic_store_n(&tally->cancel, true, __ATOMIC_RELAXED);
  source_interrupt(r->source);
  r->writer.ops->interrupt(&r->writer);
}
