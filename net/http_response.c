// SPDX-License-Identifier: Apache-2.0
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/str.h"
#include "net/http_internal.h"

// Lines are kept one after the other, each with its NUL, so that a value can be handed out as it
// lies there.
bool http_headers_add(struct buf *headers, const char *line, size_t length)
{
  if (length >= 5 && memcmp(line, "HTTP/", 5) == 0)
    buf_clear(headers); // what an interim answer (100) said does not count
  while (length && isspace((unsigned char)line[length - 1]))
    length--;
  if (length == 0 || memchr(line, '\0', length))
    return true;
  buf_add(headers, line, length);
  buf_addc(headers, '\0');
  return buf_ok(headers);
}

const char *http_response_header(const struct http_response *r, const char *name)
{
  size_t name_length = strlen(name);
  const char *found = NULL;
  if (!r->headers.data)
    return NULL;
  const char *end = r->headers.data + r->headers.length;
  for (const char *line = r->headers.data; line < end; line += strlen(line) + 1)
    if (strncasecmp(line, name, name_length) == 0 && line[name_length] == ':') {
      found = line + name_length + 1;
      found += strspn(found, " \t");
    }
  return found;
}

void http_response_release(struct http_response *r)
{
  buf_release(&r->body);
  buf_release(&r->headers);
  *r = (struct http_response){0};
}

int64_t http_retry_after_ms(const char *value, int64_t now_wall_ms)
{
  int64_t seconds = 0;
  if (str_empty(value))
    return 0;
  if (!str_int64(value, &seconds)) {
    time_t when = curl_getdate(value, NULL);
    if (when < 0)
      return 0;
    seconds = (int64_t)when - now_wall_ms / 1000;
  }
  if (seconds <= 0)
    return 0;
  if (seconds > HTTP_RETRY_AFTER_MAX_MS / 1000)
    return HTTP_RETRY_AFTER_MAX_MS;
  return seconds * 1000;
}

static const struct status_row {
  long first, last;
  enum err_kind kind;
  const char *sentence;
} status_rows[] = {
    {300, 399, ERR_INVALID, "the server sends us to another address, which is not followed"},
    {401, 401, ERR_AUTH, "the server refuses the credentials"},
    {403, 403, ERR_DENIED, "the server does not allow it"},
    {404, 404, ERR_NOT_FOUND, "not found"},
    {410, 410, ERR_NOT_FOUND, "gone"},
    {408, 408, ERR_TIMEOUT, "the server gave up waiting"},
    {409, 409, ERR_CONFLICT, "conflict"},
    {412, 412, ERR_CONFLICT, "a precondition does not hold"},
    {413, 413, ERR_NO_SPACE, "too large for the server"},
    {423, 423, ERR_BUSY, "locked"},
    {429, 429, ERR_THROTTLED, "the server asks us to slow down"},
    {503, 503, ERR_THROTTLED, "the server is not available or asks us to slow down"},
    {507, 507, ERR_NO_SPACE, "no space left on the server"},
    {400, 499, ERR_INVALID, "the server refuses the request"},
    {500, 599, ERR_PROTOCOL, "the server failed"},
    {0, 999, ERR_PROTOCOL, "the answer makes no sense"},
};

int http_status_error(const struct http_response *r, const char *what, struct err *err)
{
  const struct status_row *row = status_rows;
  while (row->first != 0 && (r->status < row->first || r->status > row->last))
    row++;
  const char *location = r->status / 100 == 3 ? http_response_header(r, "Location") : NULL;
  char origin[300] = "";
  if (location && strstr(location, "://"))
    http_origin_text(location, origin);
  else if (location)
    snprintf(origin, sizeof(origin), "another path there");
  err_set(err, row->kind, "%s: %s (HTTP %ld%s%s)", what, row->sentence, r->status,
          location ? " to " : "", origin);
  if (err)
    err->retry_after_ms = (long)r->retry_after_ms;
  return -1;
}
