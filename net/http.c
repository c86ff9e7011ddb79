// SPDX-License-Identifier: Apache-2.0
#include "net/http.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "net/http_internal.h"

DEFINE_CLEANUP(http_client_free, struct http_client *)
DEFINE_CLEANUP(http_session_free, struct http_session *)

static void start_curl(void)
{
  curl_global_init(CURL_GLOBAL_DEFAULT);
}

void http_global_init(void)
{
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  signal(SIGPIPE, SIG_IGN);
  pthread_once(&once, start_curl);
}

static int connection_way(const struct http_settings *s, struct http_client *c)
{
  c->proxy = str_dup(s->proxy);
  c->unix_socket = str_dup(s->unix_socket);
  if (!c->unix_socket != !s->unix_socket)
    return -1;
  if (!s->connect_to)
    return !c->proxy == !s->proxy ? 0 : -1;
  cleanup_free char *rule = str_printf("::%s", s->connect_to); // whatever the URL says
  c->connect_to = rule ? curl_slist_append(NULL, rule) : NULL;
  return c->connect_to && !c->proxy == !s->proxy ? 0 : -1;
}

struct http_client *http_client_new(const struct http_settings *s, struct err *err)
{
  http_global_init();
  struct http_client *c CLEANUP(http_client_free_p) = calloc(1, sizeof(*c));
  if (!c)
    return err_set(err, ERR_NO_MEMORY, "no memory for an HTTP client"), NULL;
  c->connect_timeout_ms = s->connect_timeout_ms ? s->connect_timeout_ms : HTTP_CONNECT_TIMEOUT_MS;
  c->idle_timeout_ms = s->idle_timeout_ms ? s->idle_timeout_ms : HTTP_IDLE_TIMEOUT_MS;
  c->buffer_bytes = s->buffer_bytes ? s->buffer_bytes : HTTP_TRANSFER_CHUNK;
  c->allowed = s->allowed;
  c->user_agent = str_dup(s->user_agent ? s->user_agent : "drover/" DROVER_VERSION);
  if (!c->user_agent)
    return err_set(err, ERR_NO_MEMORY, "no memory for an HTTP client"), NULL;
  if (connection_way(s, c) < 0)
    return err_set(err, ERR_NO_MEMORY, "no memory for an HTTP client"), NULL;
  if (http_tls_read(&s->tls, c, err) < 0)
    return NULL;
  return TAKE(c);
}

void http_client_free(struct http_client *c)
{
  if (!c)
    return;
  free(c->ca_pem);
  free(c->client_cert_pem);
  secret_release(&c->client_key_pem);
  free(c->user_agent);
  free(c->proxy);
  free(c->unix_socket);
  curl_slist_free_all(c->connect_to);
  free(c);
}

struct http_session *http_session_new(struct http_client *c, struct err *err)
{
  struct http_session *s CLEANUP(http_session_free_p) = calloc(1, sizeof(*s));
  if (s) {
    s->client = c;
    s->easy = curl_easy_init();
    s->multi = curl_multi_init();
  }
  if (!s || !s->easy || !s->multi)
    return err_set(err, ERR_NO_MEMORY, "no memory for an HTTP session"), NULL;
  curl_multi_setopt(s->multi, CURLMOPT_MAXCONNECTS, 2L);
  return TAKE(s);
}

int64_t http_client_round_trip_ms(const struct http_client *c)
{
  return atomic_load(&c->round_trip_us) / 1000;
}

void http_session_free(struct http_session *s)
{
  if (!s)
    return;
  curl_easy_cleanup(s->easy);
  curl_multi_cleanup(s->multi);
  http_transfer_clear(&s->transfer);
  free(s);
}

void http_session_interrupt(struct http_session *s)
{
  atomic_store(&s->interrupted, true);
  curl_multi_wakeup(s->multi);
}
