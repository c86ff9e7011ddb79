// SPDX-License-Identifier: Apache-2.0
// What S3 answers: errors, lists of objects, of parts and of uploads, upload ids. The first byte
// says which.
#include "storage/s3/answers_internal.h"
#include "tests/fuzz/fuzz.h"

#define NAMES_MAX 50

static int note_part(void *arg, uint32_t number, uint64_t length, const char *etag, struct err *err)
{
  (void)err;
  MUST(number < S3_PARTS_MAX && length <= INT64_MAX && strlen(etag) < S3_ETAG_BYTES);
  ++*(size_t *)arg;
  return 0;
}

static void read_error(const struct buf *xml)
{
  struct s3_error e;
  s3_read_error(xml, &e);
  for (const char *p = e.message; *p; p++)
    MUST((unsigned char)*p >= 0x20);
}

static void read_page(const struct buf *xml)
{
  struct strings names = {0};
  struct s3_page page = {.names = &names, .max = NAMES_MAX};
  struct err err = ERR_INIT;
  MUST(s3_read_page(xml, &page, &err) == 0 || err.message[0]);
  MUST(names.count <= NAMES_MAX);
  strings_release(&names);
  free(page.next);
}

static void read_parts(const struct buf *xml)
{
  size_t count = 0;
  struct s3_parts_page page = {.fn = note_part, .arg = &count};
  struct err err = ERR_INIT;
  MUST(s3_read_parts(xml, &page, &err) == 0 || err.message[0]);
}

static void read_uploads(const struct buf *xml)
{
  struct strings ids = {0};
  struct err err = ERR_INIT;
  MUST(s3_read_uploads(xml, "key", &ids, &err) == 0 || err.message[0]);
  strings_release(&ids);
}

static void read_upload_id(const struct buf *xml)
{
  char id[S3_UPLOAD_ID_MAX] = "";
  struct err err = ERR_INIT;
  if (s3_read_upload_id(xml, id, &err) == 0)
    MUST(id[0] && memchr(id, '\0', sizeof(id)));
}

static void read_copied_etag(const struct buf *xml)
{
  char etag[S3_ETAG_BYTES] = "";
  if (s3_read_copied_etag(xml, etag))
    MUST(etag[0] && memchr(etag, '\0', sizeof(etag)));
}

static void (*const readers[])(const struct buf *xml) = {
    read_error, read_page, read_parts, read_uploads, read_upload_id, read_copied_etag};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  if (size == 0)
    return 0;
  char *copy = malloc(size); // its own allocation: reads beyond it show
  MUST(copy);
  memcpy(copy, data + 1, size - 1);
  const struct buf xml = {.data = copy, .length = size - 1};
  readers[data[0] % (sizeof(readers) / sizeof(readers[0]))](&xml);
  free(copy);
  return 0;
}
