// SPDX-License-Identifier: Apache-2.0
// The S3 store, folder-private. https://docs.aws.amazon.com/AmazonS3/latest/API/
//
//   sign.c     Signature Version 4
//   open.c     endpoint, bucket, credentials
//   request.c  one signed request, its retries, what S3's error codes mean
//   answers.c  what the XML of an answer says
//   body.c     digests of a body, and which of them goes along
//   object.c   stat, ranges, list, remove, put
//   upload.c   multipart: begin, parts, complete, abort, list
//   writer.c   the object_writer on it
//   ops.c      the row of the registry
#pragma once

#include "storage/s3/sign_internal.h"
#include "storage/storage_internal.h"
#include "storage/web_internal.h"

#define S3_OWNER_HEADER "x-amz-meta-drover-owner"
#define S3_UPLOAD_HEADER                                                                           \
  "x-amz-meta-drover-upload"   // tells our object from another one of that name
#define S3_PARTS_MAX     10000 // limits of S3: "multipart upload limits"
#define S3_PART_MIN      (5ll << 20)
#define S3_PART_MAX      (5ll << 30)
#define S3_OBJECT_MAX    (5ll << 40)
#define S3_SINGLE_MAX    S3_PART_MIN // up to here an object is one PUT
#define S3_NONCE_BYTES   33          // 32 hex digits and NUL
#define S3_ETAG_BYTES    128
#define S3_UPLOAD_ID_MAX 1024
#define S3_QUERY_MAX     8
#define S3_HEADERS_MAX   10
#define S3_LIST_PAGE     1000
#define S3_PAGES_MAX     100000

struct s3 {
  struct web_store web;
  const struct storage_config *config;
  const char *region; // borrowed from config
  char *origin;       // "https://host:port", with the bucket in virtual-host style
  char *host;         // the Host header
  char *base_path;    // "/" or "/bucket/"
  bool tls;
  bool anonymous;                 // no credentials: requests are not signed
  atomic_bool no_conditional_put; // the server does not know If-None-Match on writes
  atomic_bool no_if_match;        // ... nor If-Match
};

int s3_open(const struct storage_config *c, const struct address_filter *allowed, void **ret,
            struct err *err);
void s3_close(void *store);

// ---- requests ----

struct s3_call {
  const char *method;
  const char *what; // for messages: "writing part 3 of x"
  const char *key;  // NULL: the bucket itself
  struct s3_query query[S3_QUERY_MAX];
  size_t query_count;
  struct http_header headers[S3_HEADERS_MAX]; // beside Host, x-amz-date, x-amz-content-sha256
  size_t header_count;
  const char *payload_hash; // NULL: no body
  const struct object_body *body;
  struct web_range *range; // the answer goes there; NULL: it is kept
  bool slow;               // the server may think for minutes
};

struct s3_answer {
  struct http_response http;
  char code[64]; // S3's word for the error ("NoSuchKey"), "" when it said none
};

void s3_call_query(struct s3_call *c, const char *name, const char *value);
void s3_call_header(struct s3_call *c, const char *name, const char *value);
// One attempt. Status codes other than 2xx are errors; *ret is filled in then as well, so that
// callers can look at the code. Always release it.
int s3_attempt(const struct s3 *s3, struct web_lane *lane, const struct s3_call *c,
               struct s3_answer *ret, struct err *err);
// With retries. *ret is of the last attempt.
int s3_request(const struct s3 *s3, struct web_lane *lane, const struct s3_call *c,
               struct s3_answer *ret, struct err *err);
void s3_answer_release(struct s3_answer *a);
// Sets the error for an <Error> document (also inside a 200) or a status without one.
int s3_answer_error(const struct s3 *s3, const struct s3_call *c, struct s3_answer *a,
                    struct err *err);

// ---- bodies ----

struct s3_digests {
  char sha256[S3_HEX_BYTES]; // or S3_UNSIGNED
  char md5_hex[33];          // "" when not computed
  char md5_base64[25];
};

// Over TLS: MD5, and the payload stays out of the signature. Else: SHA-256 in the signature. both:
// MD5 in any case.
int s3_digest(const struct s3 *s3, const struct object_body *body, bool both,
              struct s3_digests *ret, struct err *err);
void s3_call_body(struct s3_call *c, const struct object_body *body, const struct s3_digests *d);
// The ETag of an answer, without quotes; false when there is none.
bool s3_etag(const struct http_response *r, char b[S3_ETAG_BYTES]);
// ERR_PROTOCOL when the ETag is an MD5 and not ours.
int s3_check_etag(const struct http_response *r, const char *etag, const struct s3_digests *d,
                  struct err *err);
void s3_nonce(char b[S3_NONCE_BYTES]);
char *s3_escape_owner(const char *owner); // for the header; yours

// ---- objects ----

struct s3_head {
  struct storage_stat stat;
  char nonce[S3_NONCE_BYTES]; // "" when it is not from us
};

int s3_head(const struct s3 *s3, struct web_lane *lane, const char *key, struct s3_head *ret,
            struct err *err);
int s3_check(void *store, void *lane, struct err *err);
int s3_stat(void *store, void *lane, const char *key, struct storage_stat *ret, struct err *err);
int s3_list(void *store, void *lane, const char *folder, size_t max, struct strings *ret,
            struct err *err);
int s3_remove(void *store, void *lane, const char *key, struct err *err);
int s3_get_range(void *store, void *lane, const char *key, const char *identity, void *into,
                 size_t length, uint64_t offset, struct err *err);
int s3_put(void *store, void *lane, const char *key, const void *data, size_t length,
           const char *owner, bool only_new, struct err *err);
// ERR_EXISTS when the key is there and is not what carries this nonce.
int s3_put_object(struct s3 *s3, struct web_lane *lane, const char *key,
                  const struct object_body *body, const char *owner, const char *nonce,
                  bool only_new, struct err *err);
// After a conditional write failed or its answer was lost: 1 the object is there and ours, 0 it is
// not there, -1 error (ERR_EXISTS: somebody else's).
int s3_is_ours(const struct s3 *s3, struct web_lane *lane, const char *key, const char *nonce,
               uint64_t size_bytes, struct err *err);

// ---- multipart uploads ----

int s3_upload_create(const struct s3 *s3, struct web_lane *lane, const char *key, const char *owner,
                     const char *nonce, char upload_id[S3_UPLOAD_ID_MAX], struct err *err);
int s3_upload_part(const struct s3 *s3, struct web_lane *lane, const char *key,
                   const char *upload_id, uint32_t number, const struct object_body *body,
                   char etag[S3_ETAG_BYTES], struct err *err);
// fn is called for each part there. ERR_NOT_FOUND: no such upload.
int s3_upload_parts(const struct s3 *s3, struct web_lane *lane, const char *key,
                    const char *upload_id,
                    int (*fn)(void *arg, uint32_t number, uint64_t length, const char *etag,
                              struct err *err),
                    void *arg, struct err *err);
// A part that the server itself copies from the object of that name, as long as it has that ETag
// (from_etag; ERR_CHANGED). A 200 may hold an error.
int s3_upload_copy(const struct s3 *s3, struct web_lane *lane, const char *key,
                   const char *upload_id, uint32_t number, const char *from_etag, uint64_t offset,
                   uint64_t length, char etag[S3_ETAG_BYTES], struct err *err);

// What an object is completed under: nothing of that name, or the one with that ETag, or any.
struct s3_condition {
  bool only_new;
  const char *etag; // NULL: any
};
// xml: the body of the request. ERR_NOT_FOUND: the upload is gone (maybe because an earlier try
// succeeded); ERR_CONFLICT: the condition does not hold. Servers that do not know conditions are
// asked without.
int s3_upload_complete(struct s3 *s3, struct web_lane *lane, const char *key, const char *upload_id,
                       const struct buf *xml, struct s3_condition condition, struct err *err);
int s3_upload_abort(const struct s3 *s3, struct web_lane *lane, const char *key,
                    const char *upload_id, struct err *err); // gone already: 0
int s3_remove_partial(void *store, void *lane, const char *key, const char *owner, struct err *err);

int s3_writer(void *store, const char *key, const char *owner, bool overwrite,
              struct object_writer **ret, struct err *err);
int s3_mender(void *store, const char *key, const char *owner, const char *identity,
              struct object_writer **ret, struct err *err);
