// SPDX-License-Identifier: Apache-2.0
// Writing one object. Up to S3_SINGLE_MAX bytes it is kept in memory and is one PUT, made by
// commit; above that it is a multipart upload, which can be resumed by its state "NONCE:UPLOADID".
// begin, commit and abort use a connection of their own each.
//
// A mender is the same writer, some of whose parts the server copies from the object that is there.
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "storage/s3/s3_internal.h"
#include "storage/xml_internal.h"

// https://developers.cloudflare.com/r2/objects/multipart-objects: all parts but the last have one
// size
#define R2_HOST  ".r2.cloudflarestorage.com"
#define S3_XMLNS "http://s3.amazonaws.com/doc/2006-03-01/"

struct sent_part {
  char etag[S3_ETAG_BYTES]; // "" = not there
  uint64_t length;
};

struct s3_writer {
  struct web_writer web;
  struct s3 *s3;
  char *key, *owner;
  bool overwrite;
  char *mends; // menders: ETag of the object that is there
  char nonce[S3_NONCE_BYTES];
  char upload_id[S3_UPLOAD_ID_MAX]; // "" while there is none
  char state[S3_NONCE_BYTES + S3_UPLOAD_ID_MAX];
  char *small;          // single PUT: the bytes
  pthread_mutex_t lock; // guards parts
  struct sent_part *parts;
  size_t part_capacity;
};

static void doc_free(struct web_xml_doc **d)
{
  web_xml_doc_free(*d);
}

static bool is_single(const struct s3_writer *w)
{
  return w->small != NULL;
}

// ---- parts ----

static int note_part(struct s3_writer *w, uint32_t number, uint64_t length, const char *etag,
                     struct err *err)
{
  LOCK_FOR_SCOPE(&w->lock);
  if (number >= w->part_capacity) {
    size_t capacity = w->part_capacity ? w->part_capacity : 64;
    while (capacity <= number)
      capacity *= 2;
    struct sent_part *parts = realloc(w->parts, capacity * sizeof(*parts));
    if (!parts)
      return err_set(err, ERR_NO_MEMORY, "no memory for the list of parts");
    memset(parts + w->part_capacity, 0, (capacity - w->part_capacity) * sizeof(*parts));
    w->parts = parts;
    w->part_capacity = capacity;
  }
  snprintf(w->parts[number].etag, S3_ETAG_BYTES, "%s", etag);
  w->parts[number].length = length;
  return 0;
}

static int note_found_part(void *arg, uint32_t number, uint64_t length, const char *etag,
                           struct err *err)
{
  return etag[0] ? note_part(arg, number, length, etag, err) : 0;
}

static int writer_write_part(struct object_writer *base, void *lane, uint32_t number,
                             uint64_t offset, const struct object_body *body, struct err *err)
{
  struct s3_writer *w = (struct s3_writer *)base;
  if (is_single(w))
    return object_body_read(body, 0, w->small + offset, (size_t)body->length, err);
  char etag[S3_ETAG_BYTES];
  if (s3_upload_part(w->s3, lane, w->key, w->upload_id, number, body, etag, err) < 0)
    return -1;
  return note_part(w, number, body->length, etag, err);
}

static int writer_keep_part(struct object_writer *base, void *lane, uint32_t number,
                            uint64_t offset, uint64_t length, struct err *err)
{
  struct s3_writer *w = (struct s3_writer *)base;
  char etag[S3_ETAG_BYTES];
  if (is_single(w))
    return s3_get_range(w->s3, lane, w->key, w->mends, w->small + offset, (size_t)length, offset,
                        err);
  if (s3_upload_copy(w->s3, lane, w->key, w->upload_id, number, w->mends, offset, length, etag,
                     err) < 0)
    return -1;
  return note_part(w, number, length, etag, err);
}

// ---- begin ----

// "NONCE:UPLOADID" of an earlier writer; anything else is no state.
static void take_state(struct s3_writer *w, const char *state)
{
  const char *colon = strchr(state, ':');
  if (!colon || colon - state != S3_NONCE_BYTES - 1 || str_empty(colon + 1) ||
      strlen(state) >= sizeof(w->state))
    return;
  snprintf(w->state, sizeof(w->state), "%s", state);
  memcpy(w->nonce, state, S3_NONCE_BYTES - 1);
  snprintf(w->upload_id, sizeof(w->upload_id), "%s", colon + 1);
}

// The upload is gone: because it was completed, and nobody noted that?
static int look_whether_stored(struct s3_writer *w, struct web_lane *lane, struct err *err)
{
  struct err failure = ERR_INIT;
  int there = s3_is_ours(w->s3, lane, w->key, w->nonce, w->web.base.size_bytes, &failure);
  w->upload_id[0] = '\0';
  if (there >= 0 || failure.kind == ERR_EXISTS) {
    w->web.base.stored = there == 1;
    return there == 1;
  }
  if (err)
    *err = failure;
  return -1;
}

// 1: what an earlier writer left is still there, and its parts are known now; 0: start over; -1:
// error.
static int resume(struct s3_writer *w, struct web_lane *lane, struct err *err)
{
  if (!w->upload_id[0])
    return 0;
  struct err failure = ERR_INIT;
  int result = 1;
  if (s3_upload_parts(w->s3, lane, w->key, w->upload_id, note_found_part, w, &failure) < 0) {
    if (failure.kind != ERR_NOT_FOUND && failure.kind != ERR_INVALID) {
      if (err)
        *err = failure;
      return -1;
    }
    result = look_whether_stored(w, lane, err);
  }
  w->web.base.resumed = result == 1;
  return result;
}

static int check_mended(struct s3_writer *w, struct web_lane *lane, struct err *err)
{
  struct s3_head head;
  if (!w->mends)
    return 0;
  if (s3_head(w->s3, lane, w->key, &head, err) < 0)
    return -1;
  return str_eq(head.stat.identity, w->mends)
             ? 0
             : err_set(err, ERR_CHANGED, "'%s' was replaced meanwhile", w->key);
}

static int begin_multipart(struct s3_writer *w, struct err *err)
{
  struct web_lane *lane = NULL;
  if (web_writer_open_lane(&w->web, &lane, err) < 0)
    return -1;
  int result = resume(w, lane, err);
  if (result == 0) {
    s3_nonce(w->nonce);
    result = s3_upload_create(w->s3, lane, w->key, w->owner, w->nonce, w->upload_id, err);
  }
  web_writer_close_lane(&w->web, lane);
  if (result < 0)
    return -1;
  snprintf(w->state, sizeof(w->state), "%s:%s", w->nonce, w->upload_id);
  return 0;
}

static int writer_begin(struct object_writer *base, uint64_t size_bytes, struct err *err)
{
  struct s3_writer *w = (struct s3_writer *)base;
  if (size_bytes > S3_OBJECT_MAX)
    return err_set(err, ERR_LIMIT, "'%s' would have %" PRIu64 " bytes, and S3 takes 5 TiB at most",
                   w->key, size_bytes);
  base->size_bytes = size_bytes;
  if (size_bytes > S3_SINGLE_MAX)
    return begin_multipart(w, err);
  base->parts_max = 1;
  base->part_min_bytes = 0;
  s3_nonce(w->nonce);
  w->state[0] = w->upload_id[0] = '\0';
  w->small = malloc(size_bytes ? (size_t)size_bytes : 1);
  return w->small ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for '%s'", w->key);
}

// ---- commit ----

static int parts_xml(struct s3_writer *w, struct buf *into, struct err *err)
{
  struct web_xml_doc *doc CLEANUP(doc_free) = web_xml_new("CompleteMultipartUpload", S3_XMLNS);
  uint64_t total = 0, size = w->web.base.size_bytes;
  bool full = !doc;
  // An earlier try of an object that was longer may have left more.
  for (size_t i = 0; i < w->part_capacity && w->parts[i].etag[0] && total < size && !full; i++) {
    char number[24], etag[S3_ETAG_BYTES + 3];
    snprintf(number, sizeof(number), "%zu", i + 1);
    snprintf(etag, sizeof(etag), "\"%s\"", w->parts[i].etag);
    struct web_xml_node *part = web_xml_add(doc, NULL, "Part", NULL);
    full = !part || !web_xml_add(doc, part, "PartNumber", number) ||
           !web_xml_add(doc, part, "ETag", etag);
    total += w->parts[i].length;
  }
  if (full || web_xml_write(doc, into) < 0)
    return err_set(err, ERR_NO_MEMORY, "no memory for the list of parts");
  if (total != size)
    return err_set(err, ERR_INTERNAL,
                   "commit of '%s' with parts of %" PRIu64 " bytes together instead of %" PRIu64,
                   w->key, total, size);
  return 0;
}

static int check_size(struct s3_writer *w, struct web_lane *lane, struct err *err)
{
  struct s3_head head;
  if (s3_head(w->s3, lane, w->key, &head, err) < 0)
    return -1;
  if (head.stat.size_bytes == w->web.base.size_bytes)
    return 0;
  return err_set(err, ERR_CORRUPT, "'%s' has %" PRIu64 " bytes after the upload, not %" PRIu64,
                 w->key, head.stat.size_bytes, w->web.base.size_bytes);
}

static int commit_multipart(struct s3_writer *w, struct web_lane *lane, struct err *err)
{
  struct buf xml CLEANUP(buf_release) = BUF_INIT(0);
  struct err failure = ERR_INIT;
  if (w->web.base.stored)
    return check_size(w, lane, err);
  if (!w->overwrite) {
    int there = s3_is_ours(w->s3, lane, w->key, w->nonce, w->web.base.size_bytes, err);
    if (there != 0)
      return there < 0 ? -1 : 0;
  }
  if (parts_xml(w, &xml, err) < 0)
    return -1;
  struct s3_condition condition = {.only_new = !w->overwrite, .etag = w->mends};
  if (s3_upload_complete(w->s3, lane, w->key, w->upload_id, &xml, condition, &failure) == 0)
    return check_size(w, lane, err);
  // Either the answer to an earlier try was lost, or somebody was faster.
  if (failure.kind == ERR_NOT_FOUND || failure.kind == ERR_CONFLICT) {
    struct err why = ERR_INIT;
    int there = s3_is_ours(w->s3, lane, w->key, w->nonce, w->web.base.size_bytes, &why);
    if (there == 1)
      return 0;
    if (there < 0 && (why.kind != ERR_EXISTS || !w->overwrite))
      failure = why;
    else
      failure.kind = ERR_CONFLICT; // the upload was given up by somebody: start over
  }
  if (err)
    *err = failure;
  return -1;
}

static int commit_single(struct s3_writer *w, struct web_lane *lane, struct err *err)
{
  struct object_body body = object_body_bytes(w->small, (size_t)w->web.base.size_bytes);
  return s3_put_object(w->s3, lane, w->key, &body, w->owner, w->nonce, !w->overwrite, err);
}

static int writer_commit(struct object_writer *base, struct err *err)
{
  struct s3_writer *w = (struct s3_writer *)base;
  struct web_lane *lane = NULL;
  if (web_writer_open_lane(&w->web, &lane, err) < 0)
    return -1;
  int result = check_mended(w, lane, err);
  if (result == 0)
    result = is_single(w) ? commit_single(w, lane, err) : commit_multipart(w, lane, err);
  web_writer_close_lane(&w->web, lane);
  return result;
}

// ---- the other ends ----

// Works after an interrupt as well: its connection is not in the set.
static int writer_abort(struct object_writer *base, struct err *err)
{
  struct s3_writer *w = (struct s3_writer *)base;
  struct web_lane *lane = NULL;
  if (!w->upload_id[0])
    return 0;
  if (web_lane_new(w->web.client, &lane, err) < 0)
    return -1;
  int result = s3_upload_abort(w->s3, lane, w->key, w->upload_id, err);
  web_lane_free(lane);
  if (result == 0)
    w->upload_id[0] = w->state[0] = '\0';
  return result;
}

static void writer_resume(struct object_writer *base, const char *state)
{
  take_state((struct s3_writer *)base, state);
}

static const char *writer_state(struct object_writer *base)
{
  const struct s3_writer *w = (const struct s3_writer *)base;
  return w->state[0] && !is_single(w) ? w->state : NULL;
}

// A part that was answered is on the server's disks.
static int writer_flush(struct object_writer *base, void *lane, struct err *err)
{
  (void)base, (void)lane, (void)err;
  return 0;
}

static bool writer_part_tag(struct object_writer *base, uint32_t number,
                            char ret_tag[OBJECT_TAG_BYTES], uint64_t *ret_length)
{
  struct s3_writer *w = (struct s3_writer *)base;
  LOCK_FOR_SCOPE(&w->lock);
  if (number >= w->part_capacity || !w->parts[number].etag[0])
    return false;
  snprintf(ret_tag, OBJECT_TAG_BYTES, "%s", w->parts[number].etag);
  *ret_length = w->parts[number].length;
  return true;
}

static void writer_free(struct object_writer *base)
{
  struct s3_writer *w = (struct s3_writer *)base;
  web_writer_release(&w->web);
  pthread_mutex_destroy(&w->lock);
  free(w->parts);
  free(w->small);
  free(w->key);
  free(w->owner);
  free(w->mends);
  free(w);
}

static const struct object_writer_ops s3_writer_ops = {
    .name = "s3",
    .begin = writer_begin,
    .lane_open = web_writer_lane_open,
    .lane_close = web_writer_lane_close,
    .write_part = writer_write_part,
    .commit = writer_commit,
    .abort = writer_abort,
    .interrupt = web_writer_interrupt,
    .resume = writer_resume,
    .state = writer_state,
    .flush = writer_flush,
    .part_tag = writer_part_tag,
    .free = writer_free,
};

int s3_writer(void *store, const char *key, const char *owner, bool overwrite,
              struct object_writer **ret, struct err *err)
{
  struct s3_writer *w = calloc(1, sizeof(*w));
  if (!w)
    return err_set(err, ERR_NO_MEMORY, "no memory for a writer");
  w->s3 = store;
  web_writer_init(&w->web, &s3_writer_ops, w->s3->web.client);
  w->web.base.part_min_bytes = S3_PART_MIN;
  w->web.base.part_max_bytes = S3_PART_MAX;
  w->web.base.parts_max = S3_PARTS_MAX;
  w->web.base.object_max_bytes = S3_OBJECT_MAX;
  w->web.base.equal_parts = str_ends(w->s3->host, R2_HOST);
  w->overwrite = overwrite;
  pthread_mutex_init(&w->lock, NULL);
  w->key = str_dup(key);
  w->owner = str_dup(owner ? owner : "");
  if (!w->key || !w->owner) {
    writer_free(&w->web.base);
    return err_set(err, ERR_NO_MEMORY, "no memory for a writer");
  }
  *ret = &w->web.base;
  return 0;
}

static const struct object_writer_ops s3_mender_ops = {
    .name = "s3",
    .begin = writer_begin,
    .lane_open = web_writer_lane_open,
    .lane_close = web_writer_lane_close,
    .write_part = writer_write_part,
    .keep_part = writer_keep_part,
    .commit = writer_commit,
    .abort = writer_abort,
    .interrupt = web_writer_interrupt,
    .free = writer_free,
};

int s3_mender(void *store, const char *key, const char *owner, const char *identity,
              struct object_writer **ret, struct err *err)
{
  if (s3_writer(store, key, owner, true, ret, err) < 0)
    return -1;
  struct s3_writer *w = (struct s3_writer *)*ret;
  w->web.base.ops = &s3_mender_ops;
  w->mends = str_dup(identity);
  if (w->mends)
    return 0;
  writer_free(&w->web.base);
  return err_set(err, ERR_NO_MEMORY, "no memory for a writer");
}
