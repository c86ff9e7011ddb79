// SPDX-License-Identifier: Apache-2.0
// The headers of an answer: how they are kept and found, Content-Range, Content-Length,
// Retry-After, dates, escapes, and whether a part is taken for the one that was asked for.
#include "net/http_internal.h"
#include "storage/web_internal.h"
#include "tests/fuzz/fuzz.h"

#define ASKED_OFFSET 5u
#define ASKED_LENGTH 10u

static void check_values(const struct http_response *r)
{
  static const int64_t now_ms = 1700000000000;
  uint64_t length = 0;
  const char *after = http_response_header(r, "Retry-After");
  int64_t wait_ms = http_retry_after_ms(after, now_ms);
  MUST(wait_ms >= 0 && wait_ms <= HTTP_RETRY_AFTER_MAX_MS);
  if (web_content_length(r, &length))
    MUST(length <= INT64_MAX);
  web_date_ms(http_response_header(r, "Last-Modified"));
  const char *etag = http_response_header(r, "ETag");
  char b[64];
  if (etag) {
    web_unescape(etag, b, sizeof(b));
    MUST(memchr(b, '\0', sizeof(b)));
  }
}

static void check_range(struct http_response *r)
{
  char room[ASKED_LENGTH], text[64];
  struct web_range range = {.into = room, .length = sizeof(room), .offset = ASKED_OFFSET};
  struct err err = ERR_INIT;
  web_range_text(&range, text);
  if (web_range_head(&range, r, &err) < 0) {
    MUST(err.kind != ERR_NONE && err.message[0]);
    return;
  }
  MUST(r->status == 206); // a whole object cannot be what was asked for: it begins elsewhere
  MUST(range.promised >= 1 && range.promised <= ASKED_LENGTH);
  MUST(range.total_bytes >= ASKED_OFFSET + range.promised);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  struct http_response r = {.headers.max = 4096};
  for (size_t at = 0; at < size;) {
    const uint8_t *end = memchr(data + at, '\n', size - at);
    size_t length = end ? (size_t)(end - data) - at + 1 : size - at;
    http_headers_add(&r.headers, (const char *)data + at, length);
    at += length;
  }
  check_values(&r);
  for (r.status = 200; r.status <= 206; r.status += 6)
    check_range(&r);
  http_response_release(&r);
  return 0;
}
