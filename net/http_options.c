// SPDX-License-Identifier: Apache-2.0
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "net/http_internal.h"

// The one place where a socket is made: the address here is the one that is connected to.
static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
  struct http_transfer *t = arg;
  if (purpose != CURLSOCKTYPE_IPCXN)
    return CURL_SOCKET_BAD;
  // The filter is about networks; who may name a socket is the caller's business.
  bool local = t->client->unix_socket && address->family == AF_UNIX;
  if (!local && !address_filter_allows(t->client->allowed, &address->addr)) {
    address_text(&address->addr, t->refused_address);
    return CURL_SOCKET_BAD;
  }
  t->sockets_opened++;
  return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

#define SET(easy, option, value) failed |= curl_easy_setopt(easy, option, value) != CURLE_OK

static int connection_options(CURL *easy, const struct http_client *c, struct http_transfer *t)
{
  int failed = 0;
  SET(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
  SET(easy, CURLOPT_OPENSOCKETDATA, t);
  SET(easy, CURLOPT_PROXY, c->proxy ? c->proxy : "");
  SET(easy, CURLOPT_NOPROXY, c->proxy ? "" : "*");
  SET(easy, CURLOPT_CONNECT_TO, c->connect_to);
  SET(easy, CURLOPT_UNIX_SOCKET_PATH, c->unix_socket);
  SET(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  SET(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)c->connect_timeout_ms);
  SET(easy, CURLOPT_NOSIGNAL, 1L);
  SET(easy, CURLOPT_QUICK_EXIT, 1L); // a name server that hangs must not hold up a cancel
  SET(easy, CURLOPT_TCP_NODELAY, 1L);
  SET(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  SET(easy, CURLOPT_TCP_KEEPIDLE, 30L);
  SET(easy, CURLOPT_TCP_KEEPINTVL, 15L);
  // After a call that never connected curl keeps its old buffer and refuses these two: then the
  // next call is slower, and that is all.
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)c->buffer_bytes);
  curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)c->buffer_bytes);
  return failed;
}

int http_options_client(CURL *easy, const struct http_client *c, struct http_transfer *t,
                        struct err *err)
{
  curl_easy_reset(easy);
  t->client = c;
  t->curl_message[0] = t->refused_address[0] = '\0';
  t->sockets_opened = 0;
  http_tls_forget_refused();

  int failed = connection_options(easy, c, t);
  SET(easy, CURLOPT_ERRORBUFFER, t->curl_message);
  SET(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  SET(easy, CURLOPT_FOLLOWLOCATION, 0L);
  SET(easy, CURLOPT_PATH_AS_IS, 1L);
  SET(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
  SET(easy, CURLOPT_USERAGENT, c->user_agent);
  failed |= http_tls_options(easy, c);
  if (failed)
    return err_set(err, ERR_INTERNAL, "libcurl refused an option (%s)", curl_version());
  return 0;
}

static bool header_is_clean(const struct http_header *h)
{
  return !str_empty(h->name) && h->value && !strpbrk(h->name, "\r\n: ;") &&
         !strpbrk(h->value, "\r\n");
}

static int add_header(struct http_transfer *t, const char *name, const char *value, struct err *err)
{
  // curl leaves out a header without value unless it ends with a semicolon.
  char *line = str_empty(value) ? str_printf("%s;", name) : str_printf("%s: %s", name, value);
  struct curl_slist *list = line ? curl_slist_append(t->headers, line) : NULL;
  secret_free_string(line);
  if (!list)
    return err_set(err, ERR_NO_MEMORY, "no memory for request headers");
  t->headers = list;
  return 0;
}

static int add_headers(struct http_transfer *t, const struct http_request *request, struct err *err)
{
  const struct http_header *h = request->headers;
  for (size_t i = 0; h && h[i].name; i++) {
    if (i == HTTP_REQUEST_HEADERS_MAX)
      return err_set(err, ERR_LIMIT, "more than %d request headers", HTTP_REQUEST_HEADERS_MAX);
    if (!header_is_clean(&h[i]))
      return err_set(err, ERR_INVALID, "request header '%.60s' holds characters that it must not",
                     h[i].name);
    if (add_header(t, h[i].name, h[i].value, err) < 0)
      return -1;
  }
  // Without a value: curl leaves its own out.
  struct curl_slist *list = request->send_at_once ? curl_slist_append(t->headers, "Expect:") : NULL;
  if (request->send_at_once && !list)
    return err_set(err, ERR_NO_MEMORY, "no memory for request headers");
  t->headers = list ? list : t->headers;
  if (!request->bearer || secret_empty(request->bearer))
    return 0;
  if (strpbrk(secret_reveal(request->bearer), "\r\n"))
    return err_set(err, ERR_INVALID, "the bearer token holds a line break");
  char *value = str_printf("Bearer %s", secret_reveal(request->bearer));
  int result = value ? add_header(t, "Authorization", value, err)
                     : err_set(err, ERR_NO_MEMORY, "no memory for request headers");
  secret_free_string(value);
  return result;
}

static int method_options(CURL *easy, const char *method)
{
  if (str_eq(method, "HEAD"))
    return curl_easy_setopt(easy, CURLOPT_NOBODY, 1L) != CURLE_OK;
  if (str_eq(method, "GET"))
    return curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L) != CURLE_OK;
  return curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method) != CURLE_OK;
}

int http_options_request(CURL *easy, struct http_transfer *t, const struct http_request *request,
                         struct err *err)
{
  if (str_empty(request->method) || strpbrk(request->method, "\r\n ") || str_empty(request->url))
    return err_set(err, ERR_INVALID, "a request needs a method and a URL");
  if (add_headers(t, request, err) < 0)
    return -1;
  int failed = method_options(easy, request->method);
  SET(easy, CURLOPT_URL, request->url);
  SET(easy, CURLOPT_HTTPHEADER, t->headers);
  if (!str_empty(request->basic_user)) {
    SET(easy, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
    SET(easy, CURLOPT_USERNAME, request->basic_user);
    SET(easy, CURLOPT_PASSWORD,
        request->basic_password ? secret_reveal(request->basic_password) : "");
  }
  if (failed)
    return err_set(err, ERR_NO_MEMORY, "libcurl refused a request option");
  return 0;
}

void http_transfer_clear(struct http_transfer *t)
{
  for (struct curl_slist *h = t->headers; h; h = h->next)
    explicit_bzero(h->data, strlen(h->data));
  curl_slist_free_all(t->headers);
  t->headers = NULL;
}
