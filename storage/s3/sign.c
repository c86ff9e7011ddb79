// SPDX-License-Identifier: Apache-2.0
#include "storage/s3/sign_internal.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/str.h"

#define ALGORITHM "AWS4-HMAC-SHA256"

char *s3_amz_date(int64_t wall_ms, char b[S3_AMZ_DATE_BYTES])
{
  time_t seconds = (time_t)(wall_ms / 1000);
  struct tm tm;
  gmtime_r(&seconds, &tm);
  strftime(b, S3_AMZ_DATE_BYTES, "%Y%m%dT%H%M%SZ", &tm);
  return b;
}

static void to_hex(const unsigned char digest[SHA256_DIGEST_LENGTH], char b[S3_HEX_BYTES])
{
  static const char digits[] = "0123456789abcdef";
  for (int i = 0; i < SHA256_DIGEST_LENGTH; i++) {
    b[i * 2] = digits[digest[i] >> 4];
    b[i * 2 + 1] = digits[digest[i] & 15];
  }
  b[S3_HEX_BYTES - 1] = '\0';
}

void s3_sha256_hex(const void *data, size_t length, char b[S3_HEX_BYTES])
{
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(length ? data : (const void *)"", length, digest);
  to_hex(digest, b);
}

static void hmac(const void *key, size_t key_length, const char *text,
                 unsigned char out[SHA256_DIGEST_LENGTH])
{
  HMAC(EVP_sha256(), key, (int)key_length, (const unsigned char *)text, strlen(text), out, NULL);
}

static void signing_key(const struct s3_credentials *c, const char *day,
                        unsigned char key[SHA256_DIGEST_LENGTH])
{
  char *first = str_printf("AWS4%s", secret_reveal(&c->key));
  hmac(first ? first : "", first ? strlen(first) : 0, day, key);
  secret_free_string(first);
  hmac(key, SHA256_DIGEST_LENGTH, c->region, key);
  hmac(key, SHA256_DIGEST_LENGTH, c->service, key);
  hmac(key, SHA256_DIGEST_LENGTH, "aws4_request", key);
}

static int by_name(const void *a, const void *b)
{
  const struct http_header *left = a, *right = b;
  return strcasecmp(left->name, right->name);
}

// Runs of blanks count as one, those at the ends not at all.
static void add_trimmed(struct buf *into, const char *value)
{
  bool gap = false, begun = false;
  for (; *value; value++) {
    if (isspace((unsigned char)*value)) {
      gap = begun;
      continue;
    }
    if (gap)
      buf_addc(into, ' ');
    buf_addc(into, *value);
    gap = false;
    begun = true;
  }
}

static void add_lower(struct buf *into, const char *name)
{
  for (; *name; name++)
    buf_addc(into, (char)tolower((unsigned char)*name));
}

static void add_signed_names(struct buf *into, const struct http_header *sorted, size_t count)
{
  for (size_t i = 0; i < count; i++) {
    if (i)
      buf_addc(into, ';');
    add_lower(into, sorted[i].name);
  }
}

static void canonical_request(const struct s3_to_sign *r, const struct http_header *sorted,
                              size_t count, struct buf *into)
{
  buf_printf(into, "%s\n%s\n%s\n", r->method, r->path, r->query);
  for (size_t i = 0; i < count; i++) {
    add_lower(into, sorted[i].name);
    buf_addc(into, ':');
    add_trimmed(into, sorted[i].value);
    buf_addc(into, '\n');
  }
  buf_addc(into, '\n');
  add_signed_names(into, sorted, count);
  buf_printf(into, "\n%s", r->payload_hash);
}

int s3_sign(const struct s3_credentials *c, const struct s3_to_sign *r, struct buf *into)
{
  struct http_header sorted[S3_SIGNED_HEADERS_MAX];
  size_t count = 0;
  for (; r->headers[count].name; count++) {
    if (count == S3_SIGNED_HEADERS_MAX)
      return -1;
    sorted[count] = r->headers[count];
  }
  qsort(sorted, count, sizeof(sorted[0]), by_name);

  struct buf canonical CLEANUP(buf_release) = BUF_INIT(0);
  struct buf text CLEANUP(buf_release) = BUF_INIT(0);
  char day[9], hash[S3_HEX_BYTES], signature[S3_HEX_BYTES];
  unsigned char key[SHA256_DIGEST_LENGTH];
  memcpy(day, r->amz_date, 8);
  day[8] = '\0';
  canonical_request(r, sorted, count, &canonical);
  s3_sha256_hex(canonical.data, canonical.length, hash);
  buf_printf(&text, ALGORITHM "\n%s\n%s/%s/%s/aws4_request\n%s", r->amz_date, day, c->region,
             c->service, hash);
  if (!buf_ok(&canonical) || !buf_ok(&text))
    return -1;
  signing_key(c, day, key);
  hmac(key, sizeof(key), buf_str(&text), key);
  to_hex(key, signature);
  explicit_bzero(key, sizeof(key));

  buf_printf(into, ALGORITHM " Credential=%s/%s/%s/%s/aws4_request,SignedHeaders=",
             secret_reveal(&c->key_id), day, c->region, c->service);
  add_signed_names(into, sorted, count);
  buf_printf(into, ",Signature=%s", signature);
  return buf_ok(into) ? 0 : -1;
}

static int by_query_name(const void *a, const void *b)
{
  const struct s3_query *left = a, *right = b;
  int order = strcmp(left->name, right->name);
  return order ? order : strcmp(left->value, right->value);
}

void s3_query_text(struct s3_query *items, size_t count, struct buf *into)
{
  qsort(items, count, sizeof(items[0]), by_query_name);
  for (size_t i = 0; i < count; i++) {
    if (i)
      buf_addc(into, '&');
    buf_add_escaped(into, items[i].name, "");
    buf_addc(into, '=');
    buf_add_escaped(into, items[i].value, "");
  }
}
