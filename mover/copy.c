// SPDX-License-Identifier: Apache-2.0
// The copy itself, from both ends closed to the final name.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "mover/done.h"
#include "mover/manifest.h"
#include "mover/open.h"
#include "mover/repair.h"

struct copying {
  struct session *session;
  struct open_end source, target;
  struct copy_job job;
  struct copy_result result;
  bool manifest_written;
  struct checkpoint *checkpoint; // NULL: none
  bool begun;                    // bytes may have been moved
  char *target_name;
};

static void copying_release(struct copying *c)
{
  checkpoint_close(c->checkpoint);
  free(c->target_name);
  open_end_release(&c->source);
  open_end_release(&c->target);
  copy_result_release(&c->result);
}

static void interrupt_copy(void *arg)
{
  struct copying *c = arg;
  copy_interrupt(&c->job, &c->session->tally);
}

static void interrupt_source(void *source)
{
  source_interrupt(source);
}

static const struct mover_object *target_object(const struct copying *c)
{
  return c->session->spec->target.object;
}

// ---- reading back ---------------------------------------------------------------------------

static int verify_again(struct copying *c, const char *expected, struct source *again,
                        struct err *err)
{
  struct session *s = c->session;
  atomic_store(&s->tally.phase, COPY_VERIFYING);
  if (session_enter(s, interrupt_source, again, err))
    return -1;
  int rc = digest_verify(again, expected, (int)s->spec->lanes, &s->tally, err);
  session_leave(s);
  return rc;
}

static int read_back(struct copying *c, struct object_reader *reader, const char *expected,
                     struct err *err)
{
  struct source *again = NULL;
  int rc = source_open_image(reader, c->target.format, NULL, &again, err);
  if (rc == 0)
    rc = verify_again(c, expected, again, err);
  source_free(again);
  return rc ? err_prefix(err, "reading back") : 0;
}

// A local file can be read while it still has its temporary name.
static int read_back_file(struct copying *c, const char *expected, struct err *err)
{
  const struct mover_spec *spec = c->session->spec;
  const char *path = spec->target.reach->path;
  char *part cleanup_free =
      c->target.writer->stored ? str_dup(path) : object_part_path(path, spec->owner);
  struct object_reader *reader;
  if (!part)
    return err_set(err, ERR_NO_MEMORY, "no memory for a path");
  // A packed image gets its length from the commit only, and readers look for its end.
  if (!c->target.writer->stored && truncate(part, (off_t)c->target.writer->size_bytes) != 0)
    return err_errno(err, errno, "set the length of %s", part);
  if (object_reader_file(part, &reader, err))
    return -1;
  return read_back(c, reader, expected, err);
}

// An object can only be read once it has its name; clean_up() takes a wrong one away again.
static int read_back_object(struct copying *c, struct err *err)
{
  const char *key = target_object(c)->key;
  struct object_reader *reader;
  if (open_lane_enter(c->session, &c->target, err))
    return -1;
  int rc = storage_lane_reader(c->target.lane, key, &reader, err);
  session_leave(c->session);
  return rc ? rc : read_back(c, reader, c->result.content_digest, err);
}

// ---- the end of a copy ----------------------------------------------------------------------

static int write_manifest(struct copying *c, const struct copy_result *r, struct err *err)
{
  const struct mover_object *object = target_object(c);
  if (open_lane_enter(c->session, &c->target, err))
    return -1;
  int rc = manifest_put(c->target.lane, object->key, r, c->session->spec->owner, object->format,
                        object->overwrite, err);
  session_leave(c->session);
  c->manifest_written = rc == 0;
  return rc;
}

// All bytes are there, and the object has no name yet. copy_run() holds the session's interrupt
// until here, and takes it again afterwards.
static int before_commit(void *arg, const struct copy_result *r, struct err *err)
{
  struct copying *c = arg;
  const struct mover_spec *spec = c->session->spec;
  int rc = 0;
  if (spec->verify == COPY_VERIFY_READBACK && c->target.writer && spec->target.reach)
    rc = read_back_file(c, r->content_digest, err);
  if (rc == 0 && target_object(c) && target_object(c)->manifest)
    rc = write_manifest(c, r, err);
  if (rc == 0)
    rc = session_enter(c->session, interrupt_copy, c, err);
  return rc;
}

static int check_stored(struct copying *c, struct err *err)
{
  const char *key = target_object(c)->key;
  struct storage_stat st;
  if (open_lane_enter(c->session, &c->target, err))
    return -1;
  int rc = storage_stat(c->target.lane, key, &st, err);
  session_leave(c->session);
  if (rc)
    return err_prefix(err, "looking at '%s' after it was stored", key);
  if (st.size_bytes != c->result.stored_bytes)
    return err_set(err, ERR_MISMATCH, "'%s' has %llu bytes in the store, %llu were written", key,
                   (unsigned long long)st.size_bytes, (unsigned long long)c->result.stored_bytes);
  return 0;
}

static int verify_stored(struct copying *c, struct err *err)
{
  int verify = c->session->spec->verify;
  if (!target_object(c) || verify == COPY_VERIFY_NONE)
    return 0;
  if (check_stored(c, err))
    return -1;
  return verify == COPY_VERIFY_READBACK ? read_back_object(c, err) : 0;
}

static void remove_object(struct copying *c, bool committed)
{
  const char *key = target_object(c)->key;
  struct storage_lane *lane; // the one we have may have been interrupted
  if (storage_lane_new(c->target.storage, &lane, NULL))
    return;
  struct err fault = ERR_INIT;
  if (committed && storage_remove(lane, key, &fault))
    report_warning(&c->session->report, "'%s' could not be removed: %s", key, fault.message);
  if (c->manifest_written)
    manifest_remove(lane, key);
  storage_lane_free(lane);
}

// Whether another try can go on with what is there: not when that itself is wrong.
static bool worth_keeping(const struct copying *c, const struct err *why)
{
  bool kept = err_retryable(why->kind) || why->kind == ERR_CANCELLED || why->kind == ERR_NO_SPACE ||
              why->kind == ERR_AUTH || why->kind == ERR_DENIED || why->kind == ERR_TLS ||
              why->kind == ERR_NOT_FOUND;
  bool visible = c->target.writer && c->target.writer->committed;
  return c->checkpoint && checkpoint_begun(c->checkpoint) && kept && why->kind != ERR_CONFLICT &&
         why->kind != ERR_INTERNAL && !(visible && why->kind == ERR_CANCELLED);
}

// Nothing of a failed copy stays, unless a checkpoint says what it is.
static void clean_up(struct copying *c, const struct err *why)
{
  struct object_writer *w = c->target.writer;
  struct err fault = ERR_INIT;
  if (worth_keeping(c, why))
    return;
  if (c->checkpoint && c->begun && checkpoint_remove(c->checkpoint, &fault))
    report_warning(&c->session->report, "%s", fault.message);
  if (w && !w->committed && object_abort(w, &fault))
    report_warning(&c->session->report, "an unfinished upload was left behind: %s", fault.message);
  if (w && target_object(c) && (w->committed || c->manifest_written))
    remove_object(c, w->committed);
}

// ---- the whole ------------------------------------------------------------------------------

static int expected_digest(struct copying *c, const char **ret, struct err *err)
{
  const struct mover_spec *spec = c->session->spec;
  const char *said = spec->expected_digest;
  const char *found = c->source.expected_digest[0] ? c->source.expected_digest : NULL;
  if (said && found && !str_eq(said, found))
    return err_set(err, ERR_MISMATCH, "the source's manifest says digest %s, expected was %s",
                   found, said);
  *ret = said ? said : spec->verify == COPY_VERIFY_NONE ? NULL : found;
  return 0;
}

static void warn(void *arg, const char *text)
{
  struct copying *c = arg;
  report_warning(&c->session->report, "%s", text);
}

static int open_checkpoint(struct copying *c, struct err *err)
{
  const struct session *s = c->session;
  if (!s->spec->checkpoint)
    return 0;
  if (checkpoint_open(s->spec->checkpoint, &c->checkpoint, err))
    return -1;
  if (s->talk->restart)
    checkpoint_ignore(c->checkpoint);
  return 0;
}

static int open_both(struct copying *c, struct err *err)
{
  const struct mover_spec *spec = c->session->spec;
  if (open_checkpoint(c, err))
    return -1;
  if (open_source(c->session, &spec->source, spec->expected_sha256, &c->source, err))
    return err_prefix(err, "source");
  const struct checkpoint_subject *found = c->checkpoint ? checkpoint_found(c->checkpoint) : NULL;
  if (open_target(c->session, &spec->target, found ? found->target : NULL, &c->target, err))
    return err_prefix(err, "target");
  c->target_name = open_target_name(&spec->target, &c->target);
  return c->target_name ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for a name");
}

static int prepare(struct copying *c, struct err *err)
{
  const struct mover_spec *spec = c->session->spec;
  const char *digest = NULL;
  if (open_both(c, err) || expected_digest(c, &digest, err))
    return -1;
  c->job = (struct copy_job){
      .source = c->source.source,
      .target = c->target.target,
      .object = c->target.writer,
      .options = {.format = c->target.format,
                  .vmdk = {.adapter = spec->vmdk_adapter, .hardware_version = spec->vmdk_hardware},
                  .compress = spec->compress,
                  .verify = spec->verify,
                  .lanes = (int)spec->lanes,
                  .object_sha256 = c->target.writer && spec->verify != COPY_VERIFY_NONE &&
                                   !spec->no_object_sha256,
                  .no_sparse = spec->no_sparse,
                  .stall_timeout_ms = spec->stall_timeout_ms,
                  .expected_digest = digest},
      .before_commit = before_commit,
      .before_commit_arg = c,
      .checkpoint = c->checkpoint,
      .target_name = c->target_name,
      .warn = warn,
      .warn_arg = c,
  };
  return 0;
}

// Stores keep the zeros of a raw image; the other formats leave them out.
static void warn_of_zeros(struct copying *c)
{
  const struct mover_object *object = target_object(c);
  struct extents map CLEANUP(extents_release) = {0};
  if (!object || object->format != DISK_FORMAT_RAW || !c->source.source->exact_map)
    return;
  uint64_t size = c->source.source->size_bytes;
  if (source_extents(c->source.source, &map, NULL) || size == 0)
    return;
  uint64_t data = extents_data_bytes(&map, 0, size);
  char a[32], b[32];
  if (size - data > size / 4)
    report_warning(&c->session->report,
                   "the disk has %s of data, but a raw image stores all its zeros: %s; "
                   "formats qcow2, vmdk and raw.zst do not",
                   str_human_bytes((double)data, a), str_human_bytes((double)size, b));
}

// The digest says that something is not what it should be; the chunk hashes beside the source,
// where there are some, say what.
static void name_difference(struct copying *c, struct err *err)
{
  const struct mover_object *object = c->session->spec->source.object;
  uint64_t offset = 0;
  struct err ignored = ERR_INIT;
  if (!object || !object->manifest || !c->result.chunk_hashes ||
      open_lane_enter(c->session, &c->source, &ignored))
    return;
  int found = manifest_find_difference(c->source.lane, object->key, &c->result, &offset, &ignored);
  session_leave(c->session);
  size_t length = strlen(err->message);
  if (found == 1)
    snprintf(err->message + length, sizeof err->message - length,
             "; the first difference is between offset %llu and %llu", (unsigned long long)offset,
             (unsigned long long)offset + COPY_CHUNK_BYTES);
}

static int copy_bytes(struct copying *c, struct err *err)
{
  struct session *s = c->session;
  warn_of_zeros(c);
  if (session_enter(s, interrupt_copy, c, err))
    return -1;
  c->begun = true;
  int rc = copy_run(&c->job, &s->tally, &c->result, err);
  session_leave(s);
  if (rc && err->kind == ERR_MISMATCH)
    name_difference(c, err);
  return rc ? rc : verify_stored(c, err);
}

static int copy_work(struct session *s, struct err *err)
{
  struct copying c CLEANUP(copying_release) = {.session = s};
  if (prepare(&c, err) || copy_bytes(&c, err)) {
    clean_up(&c, err);
    return -1;
  }
  atomic_store(&s->tally.phase, COPY_DONE);
  report_progress(&s->report, &s->tally, true);
  done_say(s, &c.result, c.target.writer ? c.target.format : DISK_FORMAT_ANY, NULL);
  // Last of all: killed before, the next try finds everything done.
  struct err fault = ERR_INIT;
  if (c.checkpoint && !s->talk->control && checkpoint_remove(c.checkpoint, &fault))
    report_warning(&s->report, "%s", fault.message);
  return 0;
}

int mover_copy(const struct mover_spec *s, const struct mover_talk *talk)
{
  return session_run("copy", s, talk, s->repair ? repair_work : copy_work);
}
