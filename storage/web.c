// SPDX-License-Identifier: Apache-2.0
#include "storage/web_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/str.h"

int web_client_new(const struct storage_config *c, const struct address_filter *allowed,
                   struct http_client **ret, struct err *err)
{
  struct http_settings settings = {
      .tls = {.ca_pem = c->ca_pem,
              .fingerprint_sha256 = c->fingerprint_sha256,
              .insecure = c->insecure_skip_verify},
      .allowed = allowed,
  };
  struct http_client *client = http_client_new(&settings, err);
  if (!client)
    return -1;
  *ret = client;
  return 0;
}

void web_shown_url(const char *url, struct buf *into)
{
  if (strchr(url, '@'))
    buf_adds(into, "(a URL with credentials)");
  else
    buf_add(into, url, strcspn(url, "?#"));
}

static int hex_value(char c)
{
  const char *digits = "0123456789abcdef0123456789ABCDEF";
  const char *at = c ? strchr(digits, c) : NULL;
  return at ? (int)((at - digits) % 16) : -1;
}

bool web_unescape(const char *text, char *b, size_t size)
{
  size_t n = 0;
  bool good = true;
  for (; *text && n + 1 < size; text++) {
    int high = text[0] == '%' ? hex_value(text[1]) : -1;
    int low = high >= 0 ? hex_value(text[2]) : -1;
    bool decoded = low >= 0 && high + low > 0;
    good &= decoded || text[0] != '%';
    b[n++] = decoded ? (char)(high * 16 + low) : *text;
    text += decoded ? 2 : 0;
  }
  b[n] = '\0';
  return good;
}

// ---- ranges ----

char *web_range_text(const struct web_range *r, char b[64])
{
  snprintf(b, 64, "bytes=%" PRIu64 "-%" PRIu64, r->offset + r->got, r->offset + r->length - 1);
  return b;
}

static int no_ranges(struct err *err)
{
  return err_set(err, ERR_UNSUPPORTED,
                 "the server ignores byte ranges (it sent more than was asked for), but images are "
                 "read by ranges: turn ranges on there, or use another store");
}

int web_range_sink(void *range, const void *data, size_t length, struct err *err)
{
  struct web_range *r = range;
  if (length > r->length - r->got)
    return no_ranges(err);
  memcpy(r->into + r->got, data, length);
  r->got += length;
  return 0;
}

// "bytes 5-9/100"
static bool parse_content_range(const char *text, uint64_t *ret_first, uint64_t *ret_total)
{
  uint64_t last = 0;
  return text &&
         sscanf(text, "bytes %" SCNu64 "-%" SCNu64 "/%" SCNu64, ret_first, &last, ret_total) == 3;
}

int web_range_check(struct web_range *r, size_t asked, const struct http_response *response,
                    uint64_t *ret_total_bytes, struct err *err)
{
  uint64_t first = 0, total = 0;
  if (response->status == 206) {
    if (!parse_content_range(http_response_header(response, "Content-Range"), &first, &total)) {
      r->got = asked;
      return err_set(err, ERR_PROTOCOL, "the server sent a part without saying which");
    }
  } else {
    total = r->got - asked; // all of it, from the start
  }
  if (first != r->offset + asked) {
    r->got = asked;
    return response->status == 206
               ? err_set(err, ERR_PROTOCOL, "the server sent another part than was asked for")
               : no_ranges(err);
  }
  *ret_total_bytes = total;
  if (r->got == r->length)
    return 0;
  if (total < r->offset + r->length)
    return err_set(err, ERR_CHANGED, "the object became shorter while it was read");
  return err_set(err, ERR_UNREACHABLE, "the answer ended before all bytes were there");
}

bool web_content_length(const struct http_response *r, uint64_t *ret)
{
  int64_t length = 0;
  const char *text = http_response_header(r, "Content-Length");
  if (!text || !str_int64(text, &length) || length < 0)
    return false;
  *ret = (uint64_t)length;
  return true;
}

int64_t web_date_ms(const char *date)
{
  struct tm tm = {0};
  if (!date || !strptime(date, "%a, %d %b %Y %H:%M:%S GMT", &tm))
    return 0;
  return (int64_t)timegm(&tm) * 1000;
}

int web_read_body(void *body, uint64_t offset, void *into, size_t length, struct err *err)
{
  return object_body_read(body, offset, into, length, err);
}
