// SPDX-License-Identifier: Apache-2.0
#include "kube/transport_internal.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"

#define SESSION_BUFFER_BYTES (16u << 10) // objects are small, and every worker has a session

struct pooled {
  struct pooled *next;
  struct http_session *http;
  bool busy;
};

struct transport {
  struct transport *next;
  struct http_client *client;
  uint64_t certificate; // of the identity it was made for
  unsigned users;
  struct pooled *sessions;
};

// ---- the way --------------------------------------------------------------------------------

// curl takes the name to verify from the URL: so the URL gets the certificate's name, and where to
// connect is said aside.
int kube_way_init(struct kube *k, struct err *err)
{
  const struct kube_config *c = &k->config;
  if (!c->tls_server_name) {
    k->base_url = str_dup(c->server);
    return k->base_url ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for a Kubernetes client");
  }
  const char *host = strstr(c->server, "://") + 3;
  size_t length = strcspn(host, "/");
  const char *bracket = memchr(host, ']', length);
  const char *colon =
      memchr(bracket ? bracket : host, ':', length - (bracket ? bracket - host : 0));
  const char *port = str_starts(c->server, "https") ? ":443" : ":80";
  cleanup_free char *own_port =
      colon ? str_printf("%.*s", (int)(host + length - colon), colon) : str_dup(port);
  k->host_header = str_printf("%.*s", (int)length, host);
  k->connect_to = colon ? str_dup(k->host_header) : str_printf("%s%s", k->host_header, port);
  k->base_url = str_printf("%.*s%s%s%s", (int)(host - c->server), c->server, c->tls_server_name,
                           own_port, host + length);
  if (k->base_url && k->connect_to && k->host_header && own_port)
    return 0;
  return err_set(err, ERR_NO_MEMORY, "no memory for a Kubernetes client");
}

// ---- transports -----------------------------------------------------------------------------

static void transport_free(struct transport *t)
{
  while (t->sessions) {
    struct pooled *s = t->sessions;
    t->sessions = s->next;
    http_session_free(s->http);
    free(s);
  }
  http_client_free(t->client);
  free(t);
}

static struct transport *transport_new(const struct kube *k, const struct identity *i,
                                       struct err *err)
{
  struct http_settings settings = {
      .tls = {.ca_pem = k->config.ca_pem,
              .insecure = k->config.insecure,
              .client_cert_pem = i->cert_pem,
              .client_key_pem = i->cert_pem ? &i->key_pem : NULL},
      .user_agent = k->user_agent,
      .buffer_bytes = SESSION_BUFFER_BYTES,
      .connect_to = k->connect_to,
      .proxy = k->config.proxy_url,
  };
  struct transport *t = calloc(1, sizeof(*t));
  if (!t) {
    err_set(err, ERR_NO_MEMORY, "no memory for a Kubernetes client");
    return NULL;
  }
  t->certificate = i->certificate;
  t->client = http_client_new(&settings, err);
  if (t->client)
    return t;
  free(t);
  return NULL;
}

// Those that nobody uses, but the newest.
static void drop_old(struct kube *k)
{
  struct transport **at = k->transports ? &k->transports->next : &k->transports;
  while (*at) {
    struct transport *t = *at;
    if (t->users) {
      at = &t->next;
      continue;
    }
    *at = t->next;
    transport_free(t);
  }
}

void kube_transports_free(struct kube *k)
{
  while (k->transports) {
    struct transport *t = k->transports;
    k->transports = t->next;
    transport_free(t);
  }
}

void kube_transports_interrupt(struct kube *k)
{
  for (struct transport *t = k->transports; t; t = t->next)
    for (struct pooled *s = t->sessions; s; s = s->next)
      http_session_interrupt(s->http);
}

// ---- links ----------------------------------------------------------------------------------

static void add_header(struct kube_link *link, const char *name, const char *value)
{
  if (value && link->header_count < LINK_HEADERS_MAX - 1)
    link->headers[link->header_count++] = (struct http_header){name, value};
}

int kube_link_open(struct kube *k, uint64_t refused, struct kube_link *ret, struct err *err)
{
  *ret = (struct kube_link){0};
  if (credentials_get(k->credentials, refused, &ret->identity, err) != 0)
    return -1;
  add_header(ret, "Host", k->host_header);
  add_header(ret, "Impersonate-User", k->config.as_user);
  add_header(ret, "Impersonate-Uid", k->config.as_uid);
  for (char **group = k->config.as_groups; group && *group; group++)
    add_header(ret, "Impersonate-Group", *group);
  LOCK_FOR_SCOPE(&k->mutex);
  struct transport *t = k->transports;
  // A slow thread may come with an identity older than the newest transport: then it is used, too.
  if (!t || t->certificate < ret->identity.certificate) {
    t = transport_new(k, &ret->identity, err);
    if (!t) {
      identity_release(&ret->identity);
      return -1;
    }
    t->next = k->transports;
    k->transports = t;
    drop_old(k);
  }
  t->users++;
  ret->transport = t;
  return 0;
}

void kube_link_close(struct kube *k, struct kube_link *link)
{
  identity_release(&link->identity);
  if (!link->transport)
    return;
  LOCK_FOR_SCOPE(&k->mutex);
  link->transport->users--;
  link->transport = NULL;
  drop_old(k);
}

struct http_client *kube_link_client(const struct kube_link *link)
{
  return link->transport->client;
}

void kube_link_authorize(const struct kube *k, const struct kube_link *link,
                         struct http_request *request)
{
  request->headers = link->headers;
  if (!secret_empty(&link->identity.bearer)) {
    request->bearer = &link->identity.bearer;
  } else if (k->config.username) {
    request->basic_user = k->config.username;
    request->basic_password = &k->config.password;
  }
}

// ---- sessions -------------------------------------------------------------------------------

static struct pooled *session_take(struct kube *k, struct transport *t, struct err *err)
{
  LOCK_FOR_SCOPE(&k->mutex);
  if (k->interrupted) {
    err_set(err, ERR_CANCELLED, "shutting down");
    return NULL;
  }
  struct pooled *s = t->sessions;
  while (s && s->busy)
    s = s->next;
  if (!s) {
    struct http_session *http = http_session_new(t->client, err);
    s = http ? calloc(1, sizeof(*s)) : NULL;
    if (!s) {
      http_session_free(http);
      return NULL;
    }
    *s = (struct pooled){.next = t->sessions, .http = http};
    t->sessions = s;
  }
  s->busy = true;
  return s;
}

int kube_link_perform(struct kube *k, struct kube_link *link, struct http_request *request,
                      struct http_response *ret, struct err *err)
{
  struct pooled *s = session_take(k, link->transport, err);
  if (!s)
    return -1;
  int result = http_perform(s->http, request, ret, err);
  LOCK_FOR_SCOPE(&k->mutex);
  s->busy = false;
  return result;
}
