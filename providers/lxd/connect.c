// SPDX-License-Identifier: Apache-2.0
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "providers/lxd/lxd_internal.h"

#define PORT     "8443"
#define DEADLINE 15000
#define ADDRESS                                                                                    \
  "unix:///PATH (the daemon's socket, such as /var/lib/lxd/unix.socket) or https://HOST[:PORT]"

DEFINE_CLEANUP(lxd_close, struct lxd *)

// HOST, HOST:PORT or [ADDRESS]:PORT, and nothing else.
static bool host_ok(const char *host, bool *ret_port)
{
  const char *at = host;
  if (*at == '[') {
    at += strspn(at + 1, "0123456789abcdefABCDEF:.") + 1;
    if (*at++ != ']')
      return false;
  } else {
    while (isalnum((unsigned char)*at) || *at == '-' || *at == '.')
      at++;
  }
  *ret_port = *at == ':';
  int64_t port = 443;
  if (at == host || (*ret_port && (!str_int64(at + 1, &port) || port < 1 || port > 65535)))
    return false;
  return *ret_port || *at == '\0';
}

static int read_endpoint(struct lxd *l, struct err *err)
{
  const char *path = str_after(l->endpoint, "unix://"), *host = str_after(l->endpoint, "https://");
  bool port;
  if (path && path[0] == '/' && !strpbrk(path, "?#\r\n")) {
    if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
      return err_set(err, ERR_INVALID, "the socket of the endpoint '%s' has too long a path",
                     l->endpoint);
    l->socket = str_dup(path);
    l->origin = str_dup("http://lxd");
    return l->socket && l->origin ? 0 : lxd_no_memory(err);
  }
  if (!host || !host_ok(host, &port))
    return err_set(err, ERR_INVALID, "'%s' is no endpoint of an LXD provider; it is " ADDRESS,
                   l->endpoint);
  l->origin = str_printf("https://%s%s", host, port ? "" : ":" PORT);
  return l->origin ? 0 : lxd_no_memory(err);
}

static int check_socket(const struct lxd *l, struct err *err)
{
  if (!l->socket || access(l->socket, R_OK | W_OK) == 0)
    return 0;
  if (errno == EACCES)
    return err_set(err, ERR_DENIED,
                   "no permission to use %s: the user that drover runs as must be in the group of "
                   "that socket",
                   l->socket);
  return err_set(err, ERR_UNREACHABLE, "there is no socket %s: is the daemon running? (%s)",
                 l->socket, strerror(errno));
}

static int make_client(struct lxd *l, const struct provider_config *c,
                       const struct address_filter *allowed, struct err *err)
{
  cleanup_free char *cert =
      secret_empty(&c->client_cert_pem) ? NULL : str_dup(secret_reveal(&c->client_cert_pem));
  if (!l->socket && (!cert || secret_empty(&c->client_key_pem)))
    return err_set(
        err, ERR_AUTH,
        "an https:// endpoint of LXD needs a client certificate and its key (tls.crt and "
        "tls.key in the Secret of the credentials)");
  struct http_settings s = {.tls = {.ca_pem = c->ca_pem,
                                    .fingerprint_sha256 = c->fingerprint_sha256,
                                    .insecure = c->insecure_skip_verify,
                                    .client_cert_pem = cert,
                                    .client_key_pem = &c->client_key_pem},
                            .unix_socket = l->socket,
                            .connect_timeout_ms = l->call_ms,
                            .buffer_bytes = 16 << 10,
                            .allowed = allowed};
  if (l->socket)
    s.tls = (struct http_tls){0};
  l->client = http_client_new(&s, err);
  l->session = l->client ? http_session_new(l->client, err) : NULL;
  return l->session ? 0 : -1;
}

// Without trust the daemon answers this one call, and no other.
static int greet(struct lxd *l, struct err *err)
{
  cleanup_json struct json_object *server = NULL;
  if (lxd_get(l, "/1.0", &server, err) != 0)
    return -1;
  if (!str_eq(lxd_text(server, "auth"), "trusted"))
    return err_set(err, ERR_AUTH,
                   "%s does not trust the client certificate; have it added there (" LXD_TRUST ")",
                   l->endpoint);
  l->incus = str_eq(lxd_text(lxd_member(server, "environment"), "server"), "incus");
  return 0;
}

int lxd_open(const struct provider_config *c, const struct address_filter *allowed, void **ret,
             struct err *err)
{
  struct lxd *l CLEANUP(lxd_close_p) = calloc(1, sizeof(*l));
  if (!l)
    return lxd_no_memory(err);
  int64_t deadline_ms = c->deadline_ms ? c->deadline_ms : DEADLINE;
  l->call_ms = deadline_ms - deadline_ms / 4; // an error of ours rather than a connection given up
  l->endpoint = str_dup(c->endpoint);
  l->default_storage = str_empty(c->default_storage) ? NULL : str_dup(c->default_storage);
  l->default_network = str_empty(c->default_network) ? NULL : str_dup(c->default_network);
  if (!l->endpoint)
    return lxd_no_memory(err);
  if (read_endpoint(l, err) != 0 || check_socket(l, err) != 0 ||
      make_client(l, c, allowed, err) != 0 || greet(l, err) != 0)
    return -1;
  *ret = TAKE(l);
  return 0;
}

void lxd_close(void *h)
{
  struct lxd *l = h;
  lxd_uploads_end(l);
  http_session_free(l->session);
  http_client_free(l->client);
  for (size_t i = 0; i < l->begun_count; i++) {
    free(l->begun[i].instance);
    free(l->begun[i].id);
  }
  free(l->begun);
  lxd_notes_release(l);
  free(l->endpoint);
  free(l->origin);
  free(l->socket);
  free(l->default_storage);
  free(l->default_network);
  free(l);
}

bool lxd_alive(void *h)
{
  (void)h; // each call connects anew where it must
  return true;
}
