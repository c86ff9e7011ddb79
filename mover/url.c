// SPDX-License-Identifier: Apache-2.0
#include "mover/url.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"

#define URL_BYTES_MAX       4096
#define URL_QUERY_PAIRS_MAX 16

void url_release(struct url *u)
{
  free(u->scheme);
  free(u->user);
  free(u->host);
  free(u->path);
  strings_release(&u->query);
  *u = (struct url){0};
}

static int hex_digit(char c)
{
  if (c >= '0' && c <= '9')
    return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// The byte at *at, which may be an escape; *at moves on. -1: malformed, or a byte no name should
// hold.
static int decode_byte(const char **at, const char *end)
{
  int c = (unsigned char)*(*at)++;
  if (c == '%') {
    if (end - *at < 2 || hex_digit((*at)[0]) < 0 || hex_digit((*at)[1]) < 0)
      return -1;
    c = hex_digit((*at)[0]) * 16 + hex_digit((*at)[1]);
    *at += 2;
  }
  return c < 0x20 || c == 0x7f ? -1 : c;
}

static char *decode(const char *from, const char *end)
{
  char *text cleanup_free = calloc(1, (size_t)(end - from) + 1);
  for (size_t n = 0; text && from < end; n++) {
    int c = decode_byte(&from, end);
    if (c < 0)
      return NULL;
    text[n] = (char)c;
  }
  return TAKE(text);
}

static int wrong(const char *what, struct err *err)
{
  return err_set(err, ERR_INVALID, "the URL has %s", what);
}

static int parse_host(const char *from, const char *end, struct url *u, struct err *err)
{
  const char *host_end = end;
  const char *colon = NULL;
  if (from < end && *from == '[') {
    host_end = memchr(from, ']', (size_t)(end - from));
    if (!host_end)
      return wrong("a '[' without ']'", err);
    from++;
    colon = host_end + 1 < end ? host_end + 1 : NULL;
  } else {
    colon = memchr(from, ':', (size_t)(end - from));
    host_end = colon ? colon : end;
  }
  u->host = decode(from, host_end);
  if (!u->host)
    return wrong("a malformed host name", err);
  if (!colon)
    return 0;
  char *port cleanup_free = strndup(colon + 1, (size_t)(end - colon - 1));
  if (*colon != ':' || !str_int64(port, &u->port) || u->port < 1 || u->port > 65535)
    return wrong("a port that is not a number from 1 to 65535", err);
  return 0;
}

static int parse_authority(const char *from, const char *end, struct url *u, struct err *err)
{
  const char *at = memchr(from, '@', (size_t)(end - from));
  if (at && memchr(from, ':', (size_t)(at - from)))
    return wrong("a password in it, where other users and logs can see it; "
                 "use --credentials FILE or the usual variables",
                 err);
  if (at) {
    u->user = decode(from, at);
    if (!u->user || !*u->user)
      return wrong("a malformed user name", err);
    from = at + 1;
  }
  return parse_host(from, end, u, err);
}

static int parse_query(const char *from, struct url *u, struct err *err)
{
  for (size_t pairs = 0; *from; pairs++) {
    const char *end = from + strcspn(from, "&");
    const char *equals = memchr(from, '=', (size_t)(end - from));
    char *name cleanup_free = equals ? decode(from, equals) : NULL;
    char *value cleanup_free = equals ? decode(equals + 1, end) : NULL;
    if (!name || !value || pairs == URL_QUERY_PAIRS_MAX)
      return wrong("a malformed query", err);
    if (strings_map_get(&u->query, name))
      return wrong("a name twice in its query", err);
    if (strings_map_set(&u->query, name, value))
      return err_set(err, ERR_NO_MEMORY, "no memory for a URL");
    from = *end ? end + 1 : end;
  }
  return 0;
}

static int parse(const char *text, struct url *u, struct err *err)
{
  const char *colon = strstr(text, "://");
  if (strlen(text) > URL_BYTES_MAX || !colon)
    return err_set(err, ERR_INVALID, "not a URL of at most %d bytes", URL_BYTES_MAX);
  if (strchr(text, '#'))
    return wrong("a '#': write it as %23", err);
  u->scheme = strndup(text, (size_t)(colon - text));
  for (char *c = u->scheme; c && *c; c++)
    *c = (char)tolower(*c);
  const char *authority = colon + 3;
  const char *path = authority + strcspn(authority, "/?");
  const char *query = path + strcspn(path, "?");
  if (parse_authority(authority, path, u, err))
    return -1;
  u->path = decode(path, query);
  if (!u->path)
    return wrong("a malformed path", err);
  return *query ? parse_query(query + 1, u, err) : 0;
}

int url_parse(const char *text, struct url *ret, struct err *err)
{
  struct url u CLEANUP(url_release) = {0};
  if (parse(text, &u, err))
    return -1;
  *ret = u;
  u = (struct url){0};
  return 0;
}
