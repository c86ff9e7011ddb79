// SPDX-License-Identifier: Apache-2.0
#include "storage/web_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/str.h"

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

char *web_range_text(struct web_range *r, char b[64])
{
  r->asked = r->got;
  r->begun = false;
  snprintf(b, 64, "bytes=%" PRIu64 "-%" PRIu64, r->offset + r->got, r->offset + r->length - 1);
  return b;
}

static int no_ranges(struct err *err)
{
  return err_set(err, ERR_UNSUPPORTED,
                 "the server ignores byte ranges (it sent more than was asked for), but images are "
                 "read by ranges: turn ranges on there, or use another store");
}

bool web_content_range(const char *text, struct web_content_range *ret)
{
  static const char unit[] = "bytes ";
  const char *const ends = "-/";
  uint64_t *const numbers[] = {&ret->first, &ret->last, &ret->total};
  if (!text || strncasecmp(text, unit, strlen(unit)) != 0)
    return false;
  text += strlen(unit);
  for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
    char number[24];
    size_t digits = strspn(text, "0123456789");
    int64_t value = 0;
    if (digits == 0 || digits >= sizeof(number) || (i < 2 && text[digits] != ends[i]))
      return false;
    memcpy(number, text, digits);
    number[digits] = '\0';
    if (!str_int64(number, &value))
      return false;
    *numbers[i] = (uint64_t)value;
    text += digits + (i < 2);
  }
  return *text == '\0' && ret->first <= ret->last && ret->last < ret->total;
}

static int part_head(struct web_range *r, const struct http_response *response, struct err *err)
{
  struct web_content_range c;
  if (!web_content_range(http_response_header(response, "Content-Range"), &c))
    return err_set(err, ERR_PROTOCOL, "the server sent a part without saying which");
  if (c.first != r->offset + r->asked || c.last >= r->offset + r->length)
    return err_set(err, ERR_PROTOCOL, "the server sent another part than was asked for");
  r->promised = c.last - c.first + 1;
  r->total_bytes = c.total;
  return 0;
}

// Not 206: all of the object, from its start.
static int whole_head(struct web_range *r, const struct http_response *response, struct err *err)
{
  uint64_t length = UINT64_MAX;
  if (http_response_header(response, "Content-Length"))
    web_content_length(response, &length);
  if (r->offset + r->asked > 0 || (length != UINT64_MAX && length > r->length))
    return no_ranges(err);
  r->promised = r->total_bytes = length;
  return 0;
}

int web_range_head(void *range, const struct http_response *response, struct err *err)
{
  struct web_range *r = range;
  uint64_t length = 0;
  int failed = response->status == 206 ? part_head(r, response, err) : whole_head(r, response, err);
  if (failed)
    return -1;
  const char *encoding = http_response_header(response, "Content-Encoding");
  if (r->promised != UINT64_MAX && web_content_length(response, &length) && length != r->promised)
    return err_set(err, ERR_PROTOCOL, "the answer is not as long as its part is%s%.20s",
                   encoding ? ": the server changes what it sends, Content-Encoding: " : "",
                   encoding ? encoding : "");
  if (r->same && !r->same(r, response))
    return err_set(err, ERR_CHANGED, "the object is not the same any more");
  r->begun = true;
  return 0;
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

int web_range_check(struct web_range *r, const struct http_response *response, struct err *err)
{
  if (!r->begun && web_range_head(r, response, err) < 0) // an answer without a byte
    return -1;
  if (r->total_bytes == UINT64_MAX) {
    r->promised = r->total_bytes = r->got - r->asked;
    if (r->same && !r->same(r, response))
      return err_set(err, ERR_CHANGED, "the object is not the same any more");
  }
  if (r->got - r->asked != r->promised) {
    r->got = r->asked;
    return err_set(err, ERR_PROTOCOL, "the answer is not as long as its part is");
  }
  if (r->got == r->length)
    return 0;
  if (r->total_bytes < r->offset + r->length)
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

int web_read_some(void *body, uint64_t offset, void *into, size_t size, size_t *ret_length,
                  struct err *err)
{
  const struct object_body *b = body;
  return b->read_some(b->arg, offset, into, size, ret_length, err);
}

int web_read_body(void *body, uint64_t offset, void *into, size_t length, struct err *err)
{
  return object_body_read(body, offset, into, length, err);
}
