// SPDX-License-Identifier: Apache-2.0
#include <ctype.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "storage/s3/s3_internal.h"

#define DIGEST_CHUNK_BYTES (1u << 20)

static void context_free(EVP_MD_CTX **c)
{
  EVP_MD_CTX_free(*c);
}

static int update(EVP_MD_CTX *md5, EVP_MD_CTX *sha, const void *data, size_t length)
{
  return (!md5 || EVP_DigestUpdate(md5, data, length)) &&
                 (!sha || EVP_DigestUpdate(sha, data, length))
             ? 0
             : -1;
}

// A body that is not in memory is read twice: now, and again when it is sent.
static int digest_body(const struct object_body *body, EVP_MD_CTX *md5, EVP_MD_CTX *sha,
                       struct err *err)
{
  int failed = 0;
  if (body->bytes || body->length == 0) {
    failed = update(md5, sha, body->bytes ? body->bytes : "", (size_t)body->length);
  } else {
    char *chunk cleanup_free = malloc(DIGEST_CHUNK_BYTES);
    if (!chunk)
      return err_set(err, ERR_NO_MEMORY, "no memory for a digest");
    for (uint64_t at = 0; at < body->length && !failed;) {
      size_t n =
          body->length - at < DIGEST_CHUNK_BYTES ? (size_t)(body->length - at) : DIGEST_CHUNK_BYTES;
      if (object_body_read(body, at, chunk, n, err) < 0)
        return -1;
      failed = update(md5, sha, chunk, n);
      at += n;
    }
  }
  return failed ? err_set(err, ERR_INTERNAL, "a digest could not be computed") : 0;
}

static void hex(const unsigned char *digest, size_t length, char *into)
{
  for (size_t i = 0; i < length; i++)
    sprintf(into + i * 2, "%02x", digest[i]);
}

int s3_digest(const struct s3 *s3, const struct object_body *body, bool both,
              struct s3_digests *ret, struct err *err)
{
  EVP_MD_CTX *md5 CLEANUP(context_free) = s3->tls || both ? EVP_MD_CTX_new() : NULL;
  EVP_MD_CTX *sha CLEANUP(context_free) = s3->tls ? NULL : EVP_MD_CTX_new();
  unsigned char digest[EVP_MAX_MD_SIZE];
  *ret = (struct s3_digests){0};
  if ((md5 && !EVP_DigestInit_ex(md5, EVP_md5(), NULL)) ||
      (sha && !EVP_DigestInit_ex(sha, EVP_sha256(), NULL)))
    return err_set(err, ERR_INTERNAL, "a digest could not be begun (is OpenSSL in FIPS mode?)");
  if (digest_body(body, md5, sha, err) < 0)
    return -1;
  memcpy(ret->sha256, S3_UNSIGNED, sizeof(S3_UNSIGNED));
  if (sha && EVP_DigestFinal_ex(sha, digest, NULL))
    hex(digest, 32, ret->sha256);
  if (md5 && EVP_DigestFinal_ex(md5, digest, NULL)) {
    hex(digest, 16, ret->md5_hex);
    EVP_EncodeBlock((unsigned char *)ret->md5_base64, digest, 16);
  }
  return 0;
}

void s3_call_body(struct s3_call *c, const struct object_body *body, const struct s3_digests *d)
{
  c->body = body;
  c->payload_hash = d->sha256;
  if (d->md5_base64[0])
    s3_call_header(c, "Content-MD5", d->md5_base64);
}

bool s3_etag(const struct http_response *r, char b[S3_ETAG_BYTES])
{
  const char *etag = http_response_header(r, "ETag");
  if (!etag)
    return false;
  if (str_starts(etag, "W/"))
    etag += 2;
  size_t quotes = etag[0] == '"' ? 1 : 0, length = strlen(etag);
  if (quotes && length >= 2 && etag[length - 1] == '"')
    length -= 2;
  if (length == 0 || length >= S3_ETAG_BYTES)
    return false;
  memcpy(b, etag + quotes, length);
  b[length] = '\0';
  return true;
}

// With KMS or customer keys the ETag is of the encrypted bytes.
static bool etag_is_md5(const struct http_response *r, const char *etag)
{
  const char *encryption = http_response_header(r, "x-amz-server-side-encryption");
  return strlen(etag) == 32 && strspn(etag, "0123456789abcdefABCDEF") == 32 &&
         (!encryption || str_eq(encryption, "AES256")) &&
         !http_response_header(r, "x-amz-server-side-encryption-customer-algorithm");
}

int s3_check_etag(const struct http_response *r, const char *etag, const struct s3_digests *d,
                  struct err *err)
{
  if (!d->md5_hex[0] || !etag_is_md5(r, etag) || strcasecmp(etag, d->md5_hex) == 0)
    return 0;
  return err_set(err, ERR_PROTOCOL, "the server kept other bytes than were sent (MD5 %s, not %s)",
                 etag, d->md5_hex);
}

void s3_nonce(char b[S3_NONCE_BYTES])
{
  unsigned char random[16];
  if (RAND_bytes(random, sizeof(random)) != 1)
    abort(); // a name that may not be unique is worse than none
  hex(random, sizeof(random), b);
}

char *s3_escape_owner(const char *owner)
{
  struct buf b CLEANUP(buf_release) = BUF_INIT(1024);
  buf_add_escaped(&b, owner ? owner : "", "/:@+");
  return b.length ? buf_take(&b) : str_dup("");
}
