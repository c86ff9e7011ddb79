// SPDX-License-Identifier: Apache-2.0
#include "providers/libvirt/endpoint_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"

#define CONNECT_TIMEOUT_MS 5000
#define FORMS                                                                                      \
  "qemu:///system, unix:///PATH, qemu+ssh://[USER@]HOST[:PORT]/system or "                         \
  "qemu+tls://HOST[:PORT]/system"

static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

// Only letters, digits and `more`; does not begin with '-', which programs would take for an
// option.
static bool made_of(const char *text, const char *more, size_t max)
{
  char accepted[128];
  snprintf(accepted, sizeof(accepted), "%s%s", letters, more);
  return !str_empty(text) && text[0] != '-' && strlen(text) <= max &&
         text[strspn(text, accepted)] == '\0';
}

bool endpoint_host_ok(const char *host)
{
  return made_of(host, ".-_:", LIMIT_NAME_BYTES) && strcspn(host, letters) < strlen(host);
}

bool endpoint_user_ok(const char *user)
{
  return made_of(user, "._-@\\", 64) && !strchr(user, '@') && !strchr(user, '\\');
}

void endpoint_release(struct endpoint *e)
{
  free(e->socket);
  free(e->user);
  free(e->host);
  *e = (struct endpoint){0};
}

static int parse_port(const char *text, struct endpoint *e, const char *whole, struct err *err)
{
  if (str_int64(text, &e->port) && e->port >= 1 && e->port <= 65535)
    return 0;
  return err_set(err, ERR_INVALID, "endpoint '%s': the port is a number from 1 to 65535", whole);
}

// HOST, HOST:PORT, [IPv6], [IPv6]:PORT
static int parse_host(char *text, struct endpoint *e, const char *whole, struct err *err)
{
  char *end = text[0] == '[' ? strchr(text, ']') : NULL;
  char *colon = end ? (end[1] == ':' ? end + 1 : NULL) : strchr(text, ':');
  if (colon) {
    *colon = '\0';
    if (parse_port(colon + 1, e, whole, err) != 0)
      return -1;
  }
  if (end)
    *end = '\0';
  e->host = str_dup(end ? text + 1 : text);
  if (endpoint_host_ok(e->host) && (!end || !end[1] || colon))
    return 0;
  return err_set(err, ERR_INVALID, "endpoint '%s': the host is a name or an address", whole);
}

static int parse_remote(const char *rest, struct endpoint *e, const char *whole, struct err *err)
{
  if (!str_ends(rest, "/system"))
    return err_set(err, ERR_INVALID, "endpoint '%s' is not one of " FORMS, whole);
  cleanup_free char *authority = strndup(rest, strlen(rest) - strlen("/system"));
  char *at = authority ? strchr(authority, '@') : NULL;
  if (at) {
    *at = '\0';
    e->user = str_dup(authority);
    if (e->transport != ENDPOINT_SSH || !endpoint_user_ok(e->user))
      return err_set(err, ERR_INVALID,
                     "endpoint '%s': a user name, of letters and digits, belongs "
                     "to qemu+ssh",
                     whole);
  }
  return parse_host(at ? at + 1 : authority, e, whole, err);
}

static int parse_socket(const char *path, struct endpoint *e, const char *whole, struct err *err)
{
  if (path[0] != '/' || !made_of(path, "/._-+@,:=~", 107) || strstr(path, "/../"))
    return err_set(err, ERR_INVALID,
                   "endpoint '%s': the path of a socket is absolute, without "
                   "query and special characters, and at most 107 bytes",
                   whole);
  e->socket = str_dup(path);
  return 0;
}

static int parse(const char *text, struct endpoint *e, struct err *err)
{
  const char *rest;
  if (str_eq(text, "qemu:///system"))
    return 0;
  if ((rest = str_after(text, "unix://")))
    return parse_socket(rest, e, text, err);
  if ((rest = str_after(text, "qemu+ssh://"))) {
    e->transport = ENDPOINT_SSH;
    e->port = 22;
    return parse_remote(rest, e, text, err);
  }
  if ((rest = str_after(text, "qemu+tls://"))) {
    e->transport = ENDPOINT_TLS;
    e->port = 16514;
    return parse_remote(rest, e, text, err);
  }
  return err_set(err, ERR_INVALID, "endpoint '%s' is not one of " FORMS, text);
}

int endpoint_parse(const char *text, struct endpoint *ret, struct err *err)
{
  *ret = (struct endpoint){0};
  if (parse(text ? text : "", ret, err) == 0)
    return 0;
  endpoint_release(ret);
  return -1;
}

// ---- addresses ---------------------------------------------------------------------------------

static int try_connect(const struct addrinfo *a)
{
  cleanup_close int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return errno;
  if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
    return 0;
  if (errno != EINPROGRESS)
    return errno;
  struct pollfd p = {.fd = fd, .events = POLLOUT};
  int ready;
  do
    ready = poll(&p, 1, CONNECT_TIMEOUT_MS);
  while (ready < 0 && errno == EINTR);
  if (ready <= 0)
    return ETIMEDOUT;
  int number = 0;
  socklen_t length = sizeof(number);
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &length);
  return number;
}

static int choose(const struct addrinfo *list, const struct address_filter *allowed,
                  const char *host, int64_t port, char ret[ENDPOINT_ADDRESS_MAX], struct err *err)
{
  int number = 0;
  for (const struct addrinfo *a = list; a; a = a->ai_next) {
    if (allowed && !address_filter_allows(allowed, a->ai_addr))
      continue;
    number = try_connect(a);
    if (number == 0 && getnameinfo(a->ai_addr, a->ai_addrlen, ret, ENDPOINT_ADDRESS_MAX, NULL, 0,
                                   NI_NUMERICHOST) == 0)
      return 0;
  }
  if (number == 0)
    return err_set(err, ERR_DENIED, "%s has no address within --allowed-endpoints", host);
  return err_set(err, ERR_UNREACHABLE, "connect to %s port %lld: %s", host, (long long)port,
                 strerror(number));
}

int endpoint_resolve(const char *host, int64_t port, const struct address_filter *allowed,
                     char ret[ENDPOINT_ADDRESS_MAX], struct err *err)
{
  char service[16];
  snprintf(service, sizeof(service), "%lld", (long long)port);
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
  struct addrinfo *list = NULL;
  int failed = getaddrinfo(host, service, &hints, &list);
  if (failed)
    return err_set(err, ERR_UNREACHABLE, "no address for %s: %s", host, gai_strerror(failed));
  int result = choose(list, allowed, host, port, ret, err);
  freeaddrinfo(list);
  return result;
}
