// SPDX-License-Identifier: Apache-2.0
// AWS Signature Version 4 in the Authorization header, by
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html . Pure: the time is
// an argument. Everything passed in is signed.
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/secret.h"
#include "net/http.h"

#define S3_AMZ_DATE_BYTES     17 // "20130524T000000Z" and NUL
#define S3_HEX_BYTES          65 // SHA-256 in hex and NUL
#define S3_UNSIGNED           "UNSIGNED-PAYLOAD"
#define S3_SIGNED_HEADERS_MAX 24

struct s3_credentials {
  struct secret key_id, key; // borrowed by the caller's struct, not owned here
  const char *region, *service;
};

struct s3_to_sign {
  const char *method;
  const char *path;                  // percent-encoded, begins with '/'
  const char *query;                 // canonical: sorted, encoded, every name with '='; "" for none
  const struct http_header *headers; // with Host and all x-amz-*; any order; ends with NULL name
  const char *payload_hash;          // hex, or S3_UNSIGNED
  const char *amz_date;
};

char *s3_amz_date(int64_t wall_ms, char b[S3_AMZ_DATE_BYTES]);
void s3_sha256_hex(const void *data, size_t length, char b[S3_HEX_BYTES]);
// Appends the value of the Authorization header. -1: too many headers or no memory.
int s3_sign(const struct s3_credentials *c, const struct s3_to_sign *r, struct buf *into);

// A canonical query string from names and values (raw), which it sorts.
struct s3_query {
  const char *name, *value;
};
void s3_query_text(struct s3_query *items, size_t count, struct buf *into);
