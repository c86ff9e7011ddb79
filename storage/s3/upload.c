// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "storage/s3/answers_internal.h"
#include "storage/s3/s3_internal.h"
#include "storage/xml_internal.h"

static void doc_free(struct web_xml_doc **d)
{
  web_xml_doc_free(*d);
}

#define ANSWER(name)  struct s3_answer name CLEANUP(s3_answer_release) = {0}
#define WHAT_BYTES    (LIMIT_PATH_BYTES + 64)
#define ABORT_ROUNDS  10  // until an upload is gone, or a page of them
#define ABORT_WAIT_MS 100 // more with each round

static bool is_gone(const struct s3_answer *a)
{
  // Ceph says NoSuchKey where Amazon says NoSuchUpload.
  return str_eq(a->code, "NoSuchUpload") || str_eq(a->code, "NoSuchKey");
}

int s3_upload_create(const struct s3 *s3, struct web_lane *lane, const char *key, const char *owner,
                     const char *nonce, char upload_id[S3_UPLOAD_ID_MAX], struct err *err)
{
  char what[WHAT_BYTES];
  char *escaped cleanup_free = s3_escape_owner(owner);
  snprintf(what, sizeof(what), "beginning to write '%s'", key);
  struct s3_call c = {.method = "POST", .key = key, .what = what};
  ANSWER(a);
  if (!escaped)
    return err_set(err, ERR_NO_MEMORY, "no memory for a request");
  s3_call_query(&c, "uploads", "");
  s3_call_header(&c, "Content-Type", "application/octet-stream");
  s3_call_header(&c, S3_UPLOAD_HEADER, nonce);
  if (escaped[0])
    s3_call_header(&c, S3_OWNER_HEADER, escaped);
  if (s3_request(s3, lane, &c, &a, err) < 0)
    return -1;
  return s3_read_upload_id(&a.http.body, upload_id, err) < 0 ? err_prefix(err, "%s", what) : 0;
}

// ---- parts ----

struct part_call {
  const struct s3 *s3;
  struct web_lane *lane;
  const struct s3_call *call;
  const struct s3_digests *digests;
  char *etag;
};

static int part_once(void *arg, struct err *err)
{
  struct part_call *p = arg;
  ANSWER(a);
  if (s3_attempt(p->s3, p->lane, p->call, &a, err) < 0)
    return -1;
  if (!s3_etag(&a.http, p->etag))
    return err_set(err, ERR_PROTOCOL, "%s: the server gives no ETag", p->call->what);
  return s3_check_etag(&a.http, p->etag, p->digests, err) < 0 ? err_prefix(err, "%s", p->call->what)
                                                              : 0;
}

int s3_upload_part(const struct s3 *s3, struct web_lane *lane, const char *key,
                   const char *upload_id, uint32_t number, const struct object_body *body,
                   char etag[S3_ETAG_BYTES], struct err *err)
{
  struct s3_digests d;
  char what[WHAT_BYTES], text[16];
  snprintf(what, sizeof(what), "writing part %u of '%s'", number + 1, key);
  snprintf(text, sizeof(text), "%u", number + 1);
  struct s3_call c = {.method = "PUT", .key = key, .what = what};
  s3_call_query(&c, "partNumber", text);
  s3_call_query(&c, "uploadId", upload_id);
  if (s3_digest(s3, body, false, &d, err) < 0)
    return -1;
  s3_call_body(&c, body, &d);
  struct part_call p = {s3, lane, &c, &d, etag};
  return storage_retry(&lane->stop, part_once, &p, err);
}

// ---- parts that the server copies ----

struct copy_call {
  const struct s3 *s3;
  struct web_lane *lane;
  const struct s3_call *call;
  char *etag;
};

// As with completing: 200 is sent before the server knows how it ends.
static int copy_once(void *arg, struct err *err)
{
  struct copy_call *p = arg;
  ANSWER(a);
  if (s3_attempt(p->s3, p->lane, p->call, &a, err) < 0) {
    if (a.http.status == 412)
      return err_set(err, ERR_CHANGED, "%s: the object is not the same any more", p->call->what);
    if (a.http.status == 501)
      return err_set(err, ERR_UNSUPPORTED,
                     "%s: the server cannot copy parts of objects: copy the image again with "
                     "--overwrite",
                     p->call->what);
    return -1;
  }
  if (s3_read_copied_etag(&a.http.body, p->etag))
    return 0;
  s3_answer_error(p->s3, p->call, &a, err);
  if (a.code[0] == '\0')
    return err_set(err, ERR_PROTOCOL, "%s: the answer makes no sense", p->call->what);
  if (err && err->kind == ERR_INVALID)
    err->kind = ERR_PROTOCOL; // an unknown code in a 200: try again
  return -1;
}

int s3_upload_copy(const struct s3 *s3, struct web_lane *lane, const char *key,
                   const char *upload_id, uint32_t number, const char *from_etag, uint64_t offset,
                   uint64_t length, char etag[S3_ETAG_BYTES], struct err *err)
{
  char what[WHAT_BYTES], text[16], range[64], quoted[S3_ETAG_BYTES + 3];
  struct buf from CLEANUP(buf_release) = BUF_INIT(0);
  snprintf(what, sizeof(what), "keeping part %u of '%s'", number + 1, key);
  snprintf(text, sizeof(text), "%u", number + 1);
  snprintf(range, sizeof(range), "bytes=%" PRIu64 "-%" PRIu64, offset, offset + length - 1);
  snprintf(quoted, sizeof(quoted), "\"%s\"", from_etag);
  buf_printf(&from, "/%s/", s3->config->bucket);
  buf_add_escaped(&from, key, "/");
  if (!buf_ok(&from))
    return err_set(err, ERR_NO_MEMORY, "no memory for a request");
  struct s3_call c = {.method = "PUT", .key = key, .what = what, .slow = true};
  s3_call_query(&c, "partNumber", text);
  s3_call_query(&c, "uploadId", upload_id);
  s3_call_header(&c, "x-amz-copy-source", buf_str(&from));
  s3_call_header(&c, "x-amz-copy-source-if-match", quoted);
  s3_call_header(&c, "x-amz-copy-source-range", range);
  struct copy_call p = {s3, lane, &c, etag};
  return storage_retry(&lane->stop, copy_once, &p, err);
}

int s3_upload_parts(const struct s3 *s3, struct web_lane *lane, const char *key,
                    const char *upload_id,
                    int (*fn)(void *arg, uint32_t number, uint64_t length, const char *etag,
                              struct err *err),
                    void *arg, struct err *err)
{
  struct s3_parts_page page = {.fn = fn, .arg = arg};
  char what[WHAT_BYTES], marker[32];
  snprintf(what, sizeof(what), "listing the parts of '%s'", key);
  for (int pages = 0; pages < S3_PARTS_MAX; pages++) {
    struct s3_call c = {.method = "GET", .key = key, .what = what};
    ANSWER(a);
    memcpy(marker, page.marker, sizeof(marker));
    s3_call_query(&c, "uploadId", upload_id);
    if (marker[0])
      s3_call_query(&c, "part-number-marker", marker);
    if (s3_request(s3, lane, &c, &a, err) < 0)
      return is_gone(&a) ? err_set(err, ERR_NOT_FOUND, "%s: no such upload", what) : -1;
    if (s3_read_parts(&a.http.body, &page, err) < 0)
      return err_prefix(err, "%s", what);
    if (!page.marker[0])
      return 0;
    if (str_eq(page.marker, marker))
      break;
  }
  return err_set(err, ERR_PROTOCOL, "%s: the list does not end", what);
}

// ---- the end of an upload ----

struct complete_call {
  struct s3 *s3;
  struct web_lane *lane;
  const struct s3_call *call;
};

// S3 may answer 200, think for minutes, and then send an error in the body.
static int complete_once(void *arg, struct err *err)
{
  struct complete_call *p = arg;
  ANSWER(a);
  if (s3_attempt(p->s3, p->lane, p->call, &a, err) < 0)
    return is_gone(&a) ? err_set(err, ERR_NOT_FOUND, "%s: the upload is gone", p->call->what) : -1;
  struct web_xml_doc *doc CLEANUP(doc_free) =
      web_xml_parse(a.http.body.data, a.http.body.length, err);
  if (!doc)
    return err_prefix(err, "%s", p->call->what);
  if (web_xml_is(web_xml_root(doc), "CompleteMultipartUploadResult"))
    return 0;
  s3_answer_error(p->s3, p->call, &a, err);
  if (a.code[0] == '\0')
    return err_set(err, ERR_PROTOCOL, "%s: the answer makes no sense", p->call->what);
  if (err && a.http.status / 100 == 2 && err->kind == ERR_INVALID)
    err->kind = ERR_PROTOCOL; // an unknown code in a 200: try again
  return -1;
}

// The header of a condition, unless the server was found not to know it.
static bool add_condition(struct s3 *s3, struct s3_call *c, const char *quoted,
                          struct s3_condition condition)
{
  if (condition.only_new && !atomic_load(&s3->no_conditional_put))
    s3_call_header(c, "If-None-Match", "*");
  else if (condition.etag && !atomic_load(&s3->no_if_match))
    s3_call_header(c, "If-Match", quoted);
  else
    return false;
  return true;
}

int s3_upload_complete(struct s3 *s3, struct web_lane *lane, const char *key, const char *upload_id,
                       const struct buf *xml, struct s3_condition condition, struct err *err)
{
  char what[WHAT_BYTES], hash[S3_HEX_BYTES], quoted[S3_ETAG_BYTES + 3];
  struct object_body body = object_body_bytes(xml->data, xml->length);
  snprintf(what, sizeof(what), "completing '%s'", key);
  snprintf(quoted, sizeof(quoted), "\"%s\"", condition.etag ? condition.etag : "");
  s3_sha256_hex(xml->data, xml->length, hash);
  for (int tries = 0;; tries++) {
    struct s3_call c = {.method = "POST",
                        .key = key,
                        .what = what,
                        .body = &body,
                        .payload_hash = hash,
                        .slow = true};
    s3_call_query(&c, "uploadId", upload_id);
    s3_call_header(&c, "Content-Type", "application/xml");
    bool conditional = add_condition(s3, &c, quoted, condition);
    struct complete_call p = {s3, lane, &c};
    struct err failure = ERR_INIT;
    if (storage_retry(&lane->stop, complete_once, &p, &failure) == 0)
      return 0;
    if (tries == 0 && conditional && failure.kind == ERR_UNSUPPORTED) {
      atomic_store(condition.only_new ? &s3->no_conditional_put : &s3->no_if_match, true);
      continue;
    }
    if (err)
      *err = failure;
    return -1;
  }
}

int s3_upload_abort(const struct s3 *s3, struct web_lane *lane, const char *key,
                    const char *upload_id, struct err *err)
{
  char what[WHAT_BYTES];
  snprintf(what, sizeof(what), "giving up the upload of '%s'", key);
  struct s3_call c = {.method = "DELETE", .key = key, .what = what};
  ANSWER(a);
  s3_call_query(&c, "uploadId", upload_id);
  if (s3_request(s3, lane, &c, &a, err) == 0 || is_gone(&a))
    return 0;
  return -1;
}

// ---- what interrupted uploads left ----

// One page of the list, and the end of what it names. *ret_count: how many.
static int remove_page(void *store, void *lane, const char *key, size_t *ret_count, struct err *err)
{
  struct strings ids CLEANUP(strings_release) = {0};
  struct s3_call c = {.method = "GET", .what = "listing unfinished uploads"};
  ANSWER(a);
  s3_call_query(&c, "uploads", "");
  s3_call_query(&c, "prefix", key);
  if (s3_request(store, lane, &c, &a, err) < 0)
    return -1;
  if (s3_read_uploads(&a.http.body, key, &ids, err) < 0)
    return err_prefix(err, "%s", c.what);
  for (size_t i = 0; i < ids.count; i++)
    if (s3_upload_abort(store, lane, key, ids.items[i], err) < 0)
      return -1;
  *ret_count = ids.count;
  return 0;
}

// The list is sorted by key, and nothing that begins with this key comes before it: its uploads are
// on the first pages. After each round of aborts the list is read anew; a part that was on its way
// can make an abort necessary again.
int s3_remove_partial(void *store, void *lane, const char *key, const char *owner, struct err *err)
{
  (void)owner; // S3 does not tell the metadata of an upload that is not complete
  struct web_lane *l = lane;
  for (int round = 0; round < ABORT_ROUNDS; round++) {
    size_t count = 0;
    if (remove_page(store, lane, key, &count, err) < 0)
      return -1;
    if (count == 0)
      return 0;
    if (stop_wait(&l->stop, round * ABORT_WAIT_MS))
      return err_set(err, ERR_CANCELLED, "cancelled");
  }
  return err_set(
      err, ERR_PROTOCOL,
      "the server still lists unfinished uploads of '%s' after they were removed %d times", key,
      ABORT_ROUNDS);
}
