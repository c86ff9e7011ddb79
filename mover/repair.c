// SPDX-License-Identifier: Apache-2.0
#include "mover/repair.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "mover/done.h"
#include "mover/manifest.h"
#include "mover/open.h"

struct repairing {
  struct session *session;
  struct open_end source, target; // target: store, lane, reader; and the mender in writer
  struct repair *repair;
  struct image_manifest manifest; // all zeros: there is none
  struct copy_result result;
  struct repair_found found;
};

static void repairing_release(struct repairing *k)
{
  repair_free(k->repair);
  open_end_release(&k->source);
  open_end_release(&k->target);
  table_release(&image_manifest_table, &k->manifest);
  copy_result_release(&k->result);
}

static const struct mover_object *target_object(const struct repairing *k)
{
  return k->session->spec->target.object;
}

static void interrupt_repair(void *arg)
{
  struct repairing *k = arg;
  repair_interrupt(k->repair, &k->session->tally);
}

static void interrupt_source(void *source)
{
  source_interrupt(source);
}

// ---- opening --------------------------------------------------------------------------------

// A damaged manifest is no manifest: it is written again.
static int read_manifest(struct repairing *k, struct err *err)
{
  const struct mover_object *object = target_object(k);
  struct err fault = ERR_INIT;
  if (!object->manifest || manifest_get(k->target.lane, object->key, &k->manifest, &fault) == 0)
    return 0;
  if (fault.kind == ERR_CORRUPT)
    report_warning(&k->session->report, "%s; it is written again", fault.message);
  if (fault.kind == ERR_NOT_FOUND || fault.kind == ERR_CORRUPT)
    return 0;
  *err = fault;
  return -1;
}

static const char *owner_of(const struct repairing *k)
{
  return str_empty(k->manifest.owner) ? k->session->spec->owner : k->manifest.owner;
}

static int open_stored_object(struct repairing *k, struct err *err)
{
  const struct mover_object *object = target_object(k);
  struct open_end *t = &k->target;
  if (open_store(k->session, object, t, err) || open_lane_enter(k->session, t, err))
    return -1;
  int rc = storage_lane_reader(t->lane, object->key, &t->reader, err);
  if (rc == 0)
    rc = read_manifest(k, err);
  if (rc == 0)
    rc = storage_mender(t->storage, object->key, owner_of(k), t->reader->identity, &t->writer, err);
  if (rc == 0) // what a repair that was killed left
    rc = storage_remove_partial(t->lane, object->key, owner_of(k), err);
  session_leave(k->session);
  return rc;
}

static int open_stored(struct repairing *k, struct err *err)
{
  const struct mover_end *e = &k->session->spec->target;
  struct open_end *t = &k->target;
  k->target.format = e->object ? e->object->format : e->reach->format;
  if (e->object)
    return open_stored_object(k, err);
  if (object_reader_file(e->reach->path, &t->reader, err))
    return -1;
  return object_mender_file(e->reach->path, t->reader->identity, &t->writer, err);
}

// What the source must hold, where anybody says that.
static const char *expected_digest(const struct repairing *k)
{
  const struct mover_spec *spec = k->session->spec;
  return spec->expected_digest                   ? spec->expected_digest
         : !str_empty(k->source.expected_digest) ? k->source.expected_digest
                                                 : NULL;
}

static int prepare(struct repairing *k, struct err *err)
{
  const struct mover_spec *spec = k->session->spec;
  if (open_source(k->session, &spec->source, spec->expected_sha256, &k->source, err))
    return err_prefix(err, "source");
  if (open_stored(k, err))
    return err_prefix(err, "target");
  struct copy_options options = {
      .format = k->target.format,
      .vmdk = {.adapter = spec->vmdk_adapter, .hardware_version = spec->vmdk_hardware},
      .verify = spec->verify,
      .lanes = (int)spec->lanes,
      .object_sha256 = !spec->no_object_sha256,
      .no_sparse = spec->no_sparse,
      .compress = spec->compress,
      .stall_timeout_ms = spec->stall_timeout_ms,
      .expected_digest = expected_digest(k),
  };
  return repair_new(k->source.source, &options, k->target.writer, &k->repair, err);
}

// ---- whether it is a damage -----------------------------------------------------------------

// Format, content, length, sum: in this order, for each sentence says more than the next.
static int check_against_manifest(const struct repairing *k, struct err *err)
{
  const struct image_manifest *m = &k->manifest;
  const struct copy_result *r = &k->result;
  const char *key = target_object(k)->key, *format = disk_format_names[k->target.format];
  if (!str_eq(m->format, format))
    return err_set(err, ERR_INVALID, "'%s' is %s, as its manifest says, and not %s", key, m->format,
                   format);
  if (m->content_digest && !str_eq(m->content_digest, r->content_digest))
    return err_set(err, ERR_MISMATCH,
                   "the source has other content (%s) than '%s' was made of (%s): that is no "
                   "damage; nothing was written. Copy it with --overwrite",
                   r->content_digest, key, m->content_digest);
  bool same =
      m->stored_bytes == (int64_t)r->stored_bytes &&
      (!m->object_sha256 || !r->object_sha256[0] || str_eq(m->object_sha256, r->object_sha256));
  if (same)
    return 0;
  return err_set(err, ERR_MISMATCH,
                 "from this source, with these options, the same content is laid out in another "
                 "way than in '%s' (other holes, or other options of the format); nothing was "
                 "written. Repair it from the source it was made of, or copy it with --overwrite",
                 key);
}

static int check_alone(const struct repairing *k, struct err *err)
{
  const struct repair_found *f = &k->found;
  if (k->session->spec->expected_digest || f->differing_bytes <= f->stored_bytes / 2)
    return 0;
  return err_set(err, ERR_MISMATCH,
                 "more than half of what is stored (%" PRIu64 " of %" PRIu64
                 " bytes) is different, and no manifest says that it is the same image: nothing "
                 "was written. With --expect DIGEST of what it should be it is repaired",
                 f->differing_bytes, f->stored_bytes);
}

static int compare(struct repairing *k, struct err *err)
{
  struct session *s = k->session;
  if (session_enter(s, interrupt_repair, k, err))
    return -1;
  int rc = repair_compare(k->repair, k->target.reader, &s->tally, &k->result, &k->found, err);
  session_leave(s);
  if (rc)
    return -1;
  return k->manifest.format ? check_against_manifest(k, err) : check_alone(k, err);
}

// ---- writing --------------------------------------------------------------------------------

static bool is_damaged(const struct repairing *k)
{
  return k->found.bad_parts || k->found.stored_bytes != k->found.planned_bytes;
}

static int mend(struct repairing *k, struct err *err)
{
  struct session *s = k->session;
  struct err fault = ERR_INIT;
  // Its lock must not stand in the way of the mender's.
  object_reader_free(TAKE(k->target.reader));
  if (session_enter(s, interrupt_repair, k, err))
    return -1;
  int rc = repair_mend(k->repair, k->target.writer, &s->tally, err);
  session_leave(s);
  if (rc && !k->target.writer->committed && object_abort(k->target.writer, &fault))
    report_warning(&s->report, "an unfinished upload was left behind: %s", fault.message);
  return rc;
}

// What lies beside the image is made again where it is missing or damaged, too.
static int mend_manifest(struct repairing *k, struct err *err)
{
  const struct mover_object *object = target_object(k);
  struct err fault = ERR_INIT;
  uint64_t offset;
  if (!object || !object->manifest)
    return 0;
  if (open_lane_enter(k->session, &k->target, err))
    return -1;
  int rc = k->manifest.content_digest
               ? manifest_find_difference(k->target.lane, object->key, &k->result, &offset, &fault)
               : 1;
  bool wrong = rc == 1 || fault.kind == ERR_NOT_FOUND || fault.kind == ERR_CORRUPT ||
               fault.kind == ERR_LIMIT;
  if (rc && wrong)
    rc = manifest_put(k->target.lane, object->key, &k->result, owner_of(k), k->target.format, true,
                      err);
  else if (rc)
    *err = fault;
  session_leave(k->session);
  return rc;
}

// ---- looking at it again --------------------------------------------------------------------

static int open_again(struct repairing *k, struct object_reader **ret, struct err *err)
{
  const struct mover_object *object = target_object(k);
  if (!object)
    return object_reader_file(k->session->spec->target.reach->path, ret, err);
  if (open_lane_enter(k->session, &k->target, err))
    return -1;
  int rc = storage_lane_reader(k->target.lane, object->key, ret, err);
  session_leave(k->session);
  return rc;
}

static int read_back(struct repairing *k, struct object_reader *reader, struct err *err)
{
  struct session *s = k->session;
  struct source *again = NULL;
  atomic_store(&s->tally.phase, COPY_VERIFYING);
  atomic_store(&s->tally.verified_bytes, 0);
  int rc = source_open_image(reader, k->target.format, NULL, &again, err);
  if (rc == 0 && (rc = session_enter(s, interrupt_source, again, err)) == 0) {
    rc = digest_verify(again, k->result.content_digest, (int)s->spec->lanes, &s->tally, err);
    session_leave(s);
  }
  source_free(again);
  return rc ? err_prefix(err, "reading back") : 0;
}

static int verify(struct repairing *k, struct err *err)
{
  struct object_reader *reader = NULL;
  // The mender of a file holds its lock.
  object_writer_free(TAKE(k->target.writer));
  if (open_again(k, &reader, err))
    return -1;
  if (reader->size_bytes != k->result.stored_bytes) {
    err_set(err, ERR_MISMATCH, "there are %" PRIu64 " bytes after the repair, and not %" PRIu64,
            reader->size_bytes, k->result.stored_bytes);
    object_reader_free(reader);
    return -1;
  }
  if (k->session->spec->verify == COPY_VERIFY_READBACK)
    return read_back(k, reader, err);
  object_reader_free(reader);
  return 0;
}

int repair_work(struct session *s, struct err *err)
{
  struct repairing k CLEANUP(repairing_release) = {.session = s};
  if (prepare(&k, err) || compare(&k, err))
    return -1;
  if ((is_damaged(&k) && mend(&k, err)) || mend_manifest(&k, err) || verify(&k, err))
    return -1;
  atomic_store(&s->tally.phase, COPY_DONE);
  report_progress(&s->report, &s->tally, true);
  done_say(s, &k.result, k.target.format, &k.found);
  return 0;
}
