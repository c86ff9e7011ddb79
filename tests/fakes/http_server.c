// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/http_server.h"

#include <arpa/inet.h>
#include <assert.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"

#define CONNECTIONS_MAX 256

struct fake_http_connection {
  struct fake_http *server;
  int fd;
  SSL *ssl;
  bool closing;
  pthread_t thread;
};

struct fake_http {
  fake_http_fn fn;
  void *arg;
  int fd;
  char url[64];
  pthread_t thread;
  pthread_mutex_t lock; // guards connections
  struct fake_http_connection *connections[CONNECTIONS_MAX];
  size_t count;
  SSL_CTX *tls;
  atomic_uint order; // see fake_http_sync()
  char *cert_pem, *key_pem;
  char fingerprint[32 * 3 + 1];
};

// ---- certificate ----

static char *pem_text(BIO *bio)
{
  char *data;
  long length = BIO_get_mem_data(bio, &data);
  char *text = strndup(data, (size_t)length);
  BIO_free(bio);
  return text;
}

static void make_certificate(struct fake_http *s, X509 **ret_cert, EVP_PKEY **ret_key)
{
  EVP_PKEY *key = EVP_EC_gen("P-256");
  X509 *x = X509_new();
  X509_set_version(x, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
  X509_gmtime_adj(X509_getm_notBefore(x), -3600);
  X509_gmtime_adj(X509_getm_notAfter(x), 3600);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                             (const unsigned char *)"drover test", -1, -1, 0);
  X509_set_issuer_name(x, X509_get_subject_name(x));
  X509_set_pubkey(x, key);
  X509_EXTENSION *san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1");
  X509_add_ext(x, san, -1);
  X509_EXTENSION_free(san);
  X509_sign(x, key, EVP_sha256());

  BIO *bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(bio, x);
  s->cert_pem = pem_text(bio);
  bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
  s->key_pem = pem_text(bio);
  unsigned char digest[32];
  X509_digest(x, EVP_sha256(), digest, NULL);
  for (int i = 0; i < 32; i++)
    sprintf(s->fingerprint + i * 3, "%02X%s", digest[i], i < 31 ? ":" : "");
  *ret_cert = x;
  *ret_key = key;
}

static void start_tls(struct fake_http *s, bool want_client_certificate)
{
  X509 *cert;
  EVP_PKEY *key;
  make_certificate(s, &cert, &key);
  s->tls = SSL_CTX_new(TLS_server_method());
  SSL_CTX_use_certificate(s->tls, cert);
  SSL_CTX_use_PrivateKey(s->tls, key);
  if (want_client_certificate) {
    X509_STORE_add_cert(SSL_CTX_get_cert_store(s->tls), cert);
    SSL_CTX_set_verify(s->tls, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
  }
  X509_free(cert);
  EVP_PKEY_free(key);
}

// ---- connections ----

static ssize_t receive(struct fake_http_connection *c, void *into, size_t length)
{
  return c->ssl ? SSL_read(c->ssl, into, (int)length) : recv(c->fd, into, length, 0);
}

void fake_http_sync(struct fake_http *s)
{
  atomic_fetch_add(&s->order, 1);
}

void fake_http_write(struct fake_http_connection *c, const void *data, size_t length)
{
  const char *p = data;
  fake_http_sync(c->server);
  while (length) {
    ssize_t n = c->ssl ? SSL_write(c->ssl, p, (int)length) : send(c->fd, p, length, MSG_NOSIGNAL);
    if (n <= 0)
      return;
    p += n;
    length -= (size_t)n;
  }
}

void fake_http_answer(struct fake_http_connection *c, const char *status, const char *headers,
                      const char *body)
{
  struct buf b CLEANUP(buf_release) = BUF_INIT(0);
  buf_printf(&b, "HTTP/1.1 %s\r\n%sContent-Length: %zu\r\n\r\n%s", status, headers ? headers : "",
             body ? strlen(body) : 0, body ? body : "");
  fake_http_write(c, b.data, b.length);
}

void fake_http_close(struct fake_http_connection *c)
{
  c->closing = true;
}

void fake_http_wait_gone(struct fake_http_connection *c)
{
  struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};
  poll(&p, 1, 60000);
  c->closing = true;
}

const char *fake_http_header(const struct fake_http_request *r, const char *name, char *b,
                             size_t size)
{
  size_t length = strlen(name);
  b[0] = '\0';
  for (const char *line = r->headers; line && *line;) {
    const char *end = strstr(line, "\r\n");
    if (strncasecmp(line, name, length) == 0 && line[length] == ':') {
      const char *value = line + length + 1 + strspn(line + length + 1, " ");
      snprintf(b, size, "%.*s", (int)(end - value), value);
      return b;
    }
    line = end ? end + 2 : NULL;
  }
  return b;
}

// Reads until `b` holds at least `want` bytes.
static bool fill(struct fake_http_connection *c, struct buf *b, size_t want)
{
  char chunk[65536];
  while (b->length < want) {
    ssize_t n = receive(c, chunk, sizeof(chunk));
    if (n <= 0)
      return false;
    buf_add(b, chunk, (size_t)n);
  }
  return true;
}

// The chunks at `at` in *in become one body there (RFC 9112 section 7.1; no trailers). Its length.
static bool join_chunks(struct fake_http_connection *c, struct buf *in, size_t at, size_t *ret)
{
  struct buf body CLEANUP(buf_release) = BUF_INIT(64u << 20);
  size_t length = 1;
  for (size_t from = at; length;) {
    char *end;
    while (in->length < from || !(end = memmem(in->data + from, in->length - from, "\r\n", 2)))
      if (!fill(c, in, in->length + 1))
        return false;
    length = strtoul(in->data + from, NULL, 16);
    from = (size_t)(end - in->data) + 2;
    if (!fill(c, in, from + length + 2))
      return false;
    buf_add(&body, in->data + from, length);
    from += length + 2;
    if (length == 0)
      buf_drop_front(in, from);
  }
  *ret = body.length;
  struct buf rest CLEANUP(buf_release) = BUF_INIT(64u << 20);
  buf_add(&rest, in->data, in->length);
  buf_clear(in);
  for (size_t i = 0; i < at; i++)
    buf_addc(in, ' '); // in place of the head
  buf_add(in, body.data, body.length);
  buf_add(in, rest.data, rest.length);
  return true;
}

static bool serve_one(struct fake_http_connection *c, struct buf *in)
{
  char *end;
  if (!fill(c, in, 1))
    return false;
  if (in->data[0] == 0x16) { // a TLS handshake where none is spoken
    fake_http_answer(c, "400 Bad Request", NULL, "");
    return false;
  }
  while (!(end = in->data ? memmem(in->data, in->length, "\r\n\r\n", 4) : NULL))
    if (!fill(c, in, in->length + 1))
      return false;
  size_t head = (size_t)(end - in->data) + 4;
  char *text cleanup_free = strndup(in->data, head - 2);
  char *line_end = strstr(text, "\r\n");
  *line_end = '\0';
  char method[32], target[4096], value[64];
  assert(sscanf(text, "%31s %4095s", method, target) == 2);
  struct fake_http_request r = {.method = method, .target = target, .headers = line_end + 2};
  if (fake_http_header(&r, "Expect", value, sizeof(value))[0])
    fake_http_write(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
  r.body_length = (size_t)atoll(fake_http_header(&r, "Content-Length", value, sizeof(value)));
  r.chunked = fake_http_header(&r, "Transfer-Encoding", value, sizeof(value))[0];
  if (r.chunked ? !join_chunks(c, in, head, &r.body_length) : !fill(c, in, head + r.body_length))
    return false;
  char *body cleanup_free = calloc(1, r.body_length + 1);
  memcpy(body, in->data + head, r.body_length);
  r.body = body;
  buf_drop_front(in, head + r.body_length);
  fake_http_sync(c->server);
  c->server->fn(c->server->arg, c, &r);
  fake_http_sync(c->server);
  return !c->closing;
}

static void *connection_main(void *arg)
{
  struct fake_http_connection *c = arg;
  struct buf in CLEANUP(buf_release) = BUF_INIT(256u << 20);
  if (c->server->tls) {
    c->ssl = SSL_new(c->server->tls);
    SSL_set_fd(c->ssl, c->fd);
    if (SSL_accept(c->ssl) <= 0)
      c->closing = true;
  }
  while (!c->closing && serve_one(c, &in))
    ;
  if (c->ssl)
    SSL_shutdown(c->ssl);
  shutdown(c->fd, SHUT_RDWR);
  return NULL;
}

static void *server_main(void *arg)
{
  struct fake_http *s = arg;
  for (;;) {
    int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
      return NULL;
    LOCK_FOR_SCOPE(&s->lock);
    assert(s->count < CONNECTIONS_MAX);
    struct fake_http_connection *c = calloc(1, sizeof(*c));
    *c = (struct fake_http_connection){.server = s, .fd = fd};
    s->connections[s->count++] = c;
    pthread_create(&c->thread, NULL, connection_main, c);
  }
}

struct fake_http *fake_http_new(fake_http_fn fn, void *arg, const struct fake_http_options *o)
{
  struct fake_http *s = calloc(1, sizeof(*s));
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof(address);
  s->fn = fn;
  s->arg = arg;
  pthread_mutex_init(&s->lock, NULL);
  if (o && o->tls)
    start_tls(s, o->want_client_certificate);
  s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int failed = bind(s->fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
               listen(s->fd, 64) < 0 ||
               getsockname(s->fd, (struct sockaddr *)&address, &length) < 0;
  assert(!failed);
  (void)failed;
  snprintf(s->url, sizeof(s->url), "http%s://127.0.0.1:%u", s->tls ? "s" : "",
           ntohs(address.sin_port));
  pthread_create(&s->thread, NULL, server_main, s);
  return s;
}

void fake_http_free(struct fake_http *s)
{
  shutdown(s->fd, SHUT_RDWR);
  pthread_join(s->thread, NULL);
  for (size_t i = 0; i < s->count; i++) {
    struct fake_http_connection *c = s->connections[i];
    shutdown(c->fd, SHUT_RDWR);
    pthread_join(c->thread, NULL);
    SSL_free(c->ssl);
    close(c->fd);
    free(c);
  }
  close(s->fd);
  SSL_CTX_free(s->tls);
  free(s->cert_pem);
  free(s->key_pem);
  pthread_mutex_destroy(&s->lock);
  free(s);
}

const char *fake_http_url(const struct fake_http *s)
{
  return s->url;
}

const char *fake_http_cert_pem(const struct fake_http *s)
{
  return s->cert_pem;
}

const char *fake_http_key_pem(const struct fake_http *s)
{
  return s->key_pem;
}

const char *fake_http_fingerprint(const struct fake_http *s)
{
  return s->fingerprint;
}
