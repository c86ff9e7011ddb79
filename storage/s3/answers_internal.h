// SPDX-License-Identifier: Apache-2.0
// What the XML of S3's answers says (https://docs.aws.amazon.com/AmazonS3/latest/API/). Pure: bytes
// in, values out, so that any bytes can be tried. Everything comes from a server that is not
// trusted: too much of it is an error, control characters do not get into messages, and what makes
// no sense is ERR_PROTOCOL.
#pragma once

#include "base/buf.h"
#include "base/field.h"
#include "storage/s3/s3_internal.h"

struct s3_error {
  char code[64], message[200], region[64]; // "" = not said
};
void s3_read_error(const struct buf *xml, struct s3_error *ret); // another document: all ""

// One page of ListObjectsV2.
struct s3_page {
  struct strings *names; // added to
  size_t max;            // more in all: ERR_LIMIT
  char *next;            // continuation token, yours; NULL: that was all
};
int s3_read_page(const struct buf *xml, struct s3_page *p, struct err *err);

int s3_read_upload_id(const struct buf *xml, char id[S3_UPLOAD_ID_MAX], struct err *err);
// Of a part that the server copied. False: the document is no CopyPartResult with an ETag.
bool s3_read_copied_etag(const struct buf *xml, char etag[S3_ETAG_BYTES]);

// One page of ListParts; fn is called for each part.
struct s3_parts_page {
  int (*fn)(void *arg, uint32_t number, uint64_t length, const char *etag, struct err *err);
  void *arg;
  char marker[32]; // "" when that was all
};
int s3_read_parts(const struct buf *xml, struct s3_parts_page *p, struct err *err);

// ListMultipartUploads: the ids of those of this very key.
int s3_read_uploads(const struct buf *xml, const char *key, struct strings *ids, struct err *err);
