// SPDX-License-Identifier: Apache-2.0
// Signature Version 4: lines of the input are method, path, names and values of the query and of
// headers. What is signed must not depend on the order they come in.
#include <strings.h>

#include "base/str.h"
#include "storage/s3/sign_internal.h"
#include "tests/fuzz/fuzz.h"

#define PAIRS_MAX 8

struct input {
  char *lines[2 + 2 * PAIRS_MAX];
  size_t count;
};

static void split(char *text, struct input *in)
{
  for (char *line;
       in->count < sizeof(in->lines) / sizeof(in->lines[0]) && (line = strsep(&text, "\n"));)
    in->lines[in->count++] = line;
}

static void sign(const struct input *in, bool backwards, struct buf *into)
{
  struct s3_credentials c = {.region = "us-east-1", .service = "s3"};
  struct s3_query query[PAIRS_MAX];
  struct http_header headers[PAIRS_MAX + 1] = {0};
  struct buf text = BUF_INIT(0);
  size_t pairs = in->count < 2 ? 0 : (in->count - 2) / 2;
  for (size_t i = 0; i < pairs; i++) {
    size_t at = 2 + 2 * (backwards ? pairs - 1 - i : i);
    query[i] = (struct s3_query){in->lines[at], in->lines[at + 1]};
    headers[i] = (struct http_header){in->lines[at], in->lines[at + 1]};
  }
  MUST(secret_set_string(&c.key_id, "AKFUZZ") == 0 && secret_set_string(&c.key, "secret") == 0);
  s3_query_text(query, pairs, &text);
  struct s3_to_sign r = {.method = in->count ? in->lines[0] : "GET",
                         .path = in->count > 1 ? in->lines[1] : "/",
                         .query = buf_str(&text),
                         .headers = headers,
                         .payload_hash = S3_UNSIGNED,
                         .amz_date = "20130524T000000Z"};
  MUST(s3_sign(&c, &r, into) == 0);
  buf_release(&text);
  secret_release(&c.key_id);
  secret_release(&c.key);
}

// The order of headers of one name is theirs to keep.
static bool names_differ(const struct input *in)
{
  for (size_t i = 2; i + 1 < in->count; i += 2)
    for (size_t j = i + 2; j + 1 < in->count; j += 2)
      if (strcasecmp(in->lines[i], in->lines[j]) == 0)
        return false;
  return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  char *text = fuzz_text(data, size);
  struct input in = {0};
  struct buf one = BUF_INIT(0), other = BUF_INIT(0);
  split(text, &in);
  sign(&in, false, &one);
  sign(&in, true, &other);
  MUST(!names_differ(&in) || str_eq(buf_str(&one), buf_str(&other)));
  buf_release(&one);
  buf_release(&other);
  free(text);
  return 0;
}
