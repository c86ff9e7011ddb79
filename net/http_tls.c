// SPDX-License-Identifier: Apache-2.0
#include <ctype.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "net/http_internal.h"

// The verify callback has no way to a handle that surely still lives (connections outlive
// transfers), so what it saw stays with the thread that does the handshake.
static _Thread_local char refused_fingerprint[HTTP_FINGERPRINT_BYTES * 3];

const char *http_tls_refused_fingerprint(void)
{
  return refused_fingerprint;
}

void http_tls_forget_refused(void)
{
  refused_fingerprint[0] = '\0';
}

static int hex_digit(char c)
{
  return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

static bool parse_fingerprint(const char *text, unsigned char out[HTTP_FINGERPRINT_BYTES])
{
  size_t n = 0;
  for (const char *p = text; *p; n++) {
    if (n == HTTP_FINGERPRINT_BYTES || !isxdigit((unsigned char)p[0]) ||
        !isxdigit((unsigned char)p[1]))
      return false;
    out[n] = (unsigned char)(hex_digit(p[0]) * 16 + hex_digit(p[1]));
    p += 2;
    if (*p == ':' && p[1])
      p++;
  }
  return n == HTTP_FINGERPRINT_BYTES;
}

static void bio_free(BIO **b)
{
  BIO_free(*b);
}

static bool has_certificate(const char *pem)
{
  BIO *bio CLEANUP(bio_free) = BIO_new_mem_buf(pem, -1);
  X509 *x = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
  X509_free(x);
  ERR_clear_error();
  return x != NULL;
}

static int no_passphrase(char *into, int size, int writing, void *arg)
{
  (void)into, (void)size, (void)writing, (void)arg;
  return -1; // never ask the terminal
}

static bool has_key(const struct secret *pem)
{
  BIO *bio CLEANUP(bio_free) = BIO_new_mem_buf(secret_reveal(pem), -1);
  EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
  EVP_PKEY_free(key);
  ERR_clear_error();
  return key != NULL;
}

static int read_client_certificate(const struct http_tls *tls, struct http_client *c,
                                   struct err *err)
{
  if (str_empty(tls->client_cert_pem))
    return 0;
  if (!has_certificate(tls->client_cert_pem))
    return err_set(err, ERR_INVALID, "the client certificate is not a certificate in PEM form");
  if (!tls->client_key_pem || secret_empty(tls->client_key_pem))
    return err_set(err, ERR_INVALID, "there is a client certificate without its private key");
  if (!has_key(tls->client_key_pem))
    return err_set(err, ERR_INVALID,
                   "the client key is not a private key in PEM form without a passphrase");
  c->client_cert_pem = str_dup(tls->client_cert_pem);
  if (!c->client_cert_pem || secret_copy(&c->client_key_pem, tls->client_key_pem) < 0)
    return err_set(err, ERR_NO_MEMORY, "no memory for a client certificate");
  return 0;
}

int http_tls_read(const struct http_tls *tls, struct http_client *c, struct err *err)
{
  c->insecure = tls->insecure;
  if (!str_empty(tls->fingerprint_sha256)) {
    if (!parse_fingerprint(tls->fingerprint_sha256, c->fingerprint))
      return err_set(err, ERR_INVALID,
                     "the certificate fingerprint must be 64 hexadecimal digits (SHA-256), with or "
                     "without colons");
    c->pinned = true;
  }
  if (!str_empty(tls->ca_pem)) {
    if (!has_certificate(tls->ca_pem))
      return err_set(err, ERR_INVALID, "the CA bundle holds no certificate in PEM form");
    c->ca_pem = str_dup(tls->ca_pem);
    if (!c->ca_pem)
      return err_set(err, ERR_NO_MEMORY, "no memory for a CA bundle");
  }
  return read_client_certificate(tls, c, err);
}

// Takes the place of OpenSSL's chain verification: the certificate is the one, or it is not.
static int verify_pin(X509_STORE_CTX *store, void *arg)
{
  const struct http_client *c = arg;
  unsigned char seen[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  X509 *leaf = X509_STORE_CTX_get0_cert(store);
  if (!leaf || !X509_digest(leaf, EVP_sha256(), seen, &length) ||
      length != HTTP_FINGERPRINT_BYTES) {
    X509_STORE_CTX_set_error(store, X509_V_ERR_UNSPECIFIED);
    return 0;
  }
  if (CRYPTO_memcmp(seen, c->fingerprint, HTTP_FINGERPRINT_BYTES) == 0)
    return 1;
  for (size_t i = 0; i < HTTP_FINGERPRINT_BYTES; i++)
    sprintf(refused_fingerprint + i * 3, "%02x%s", seen[i],
            i + 1 < HTTP_FINGERPRINT_BYTES ? ":" : "");
  X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
  return 0;
}

static CURLcode set_pin(CURL *easy, void *ssl_context, void *arg)
{
  (void)easy;
  SSL_CTX_set_cert_verify_callback(ssl_context, verify_pin, arg);
  return CURLE_OK;
}

static int set_blob(CURL *easy, CURLoption option, const char *bytes, size_t length)
{
  struct curl_blob blob = {
      .data = (void *)(uintptr_t)bytes, .len = length, .flags = CURL_BLOB_NOCOPY};
  return curl_easy_setopt(easy, option, &blob) == CURLE_OK ? 0 : -1;
}

// curl adds its default CA file and folder to what is given, unless they are taken away.
static int only_this_ca(CURL *easy)
{
  int failed = curl_easy_setopt(easy, CURLOPT_CAINFO, NULL) != CURLE_OK;
  failed |= curl_easy_setopt(easy, CURLOPT_CAPATH, NULL) != CURLE_OK;
  return failed ? -1 : 0;
}

static int server_options(CURL *easy, const struct http_client *c)
{
  int failed = 0;
  if (c->pinned) {
    failed |= only_this_ca(easy);
    failed |= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L) != CURLE_OK;
    failed |= curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, set_pin) != CURLE_OK;
    failed |= curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, (void *)(uintptr_t)c) != CURLE_OK;
  } else if (c->insecure) {
    failed |= only_this_ca(easy);
    failed |= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L) != CURLE_OK;
    failed |= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L) != CURLE_OK;
  } else if (c->ca_pem) {
    failed |= only_this_ca(easy);
    failed |= set_blob(easy, CURLOPT_CAINFO_BLOB, c->ca_pem, strlen(c->ca_pem));
  }
  return failed ? -1 : 0;
}

int http_tls_options(CURL *easy, const struct http_client *c)
{
  int failed = server_options(easy, c);
  failed |= curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) != CURLE_OK;
  if (c->client_cert_pem) {
    failed |= curl_easy_setopt(easy, CURLOPT_SSLCERTTYPE, "PEM") != CURLE_OK;
    failed |= curl_easy_setopt(easy, CURLOPT_SSLKEYTYPE, "PEM") != CURLE_OK;
    failed |= set_blob(easy, CURLOPT_SSLCERT_BLOB, c->client_cert_pem, strlen(c->client_cert_pem));
    failed |= set_blob(easy, CURLOPT_SSLKEY_BLOB, secret_reveal(&c->client_key_pem),
                       c->client_key_pem.length);
  }
  return failed ? -1 : 0;
}
