// SPDX-License-Identifier: Apache-2.0
#include "disk/digest_internal.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "disk/copy.h"

#define PREFIX     "merkle-sha256-4m:"
#define LEVELS_MAX 64

static const uint8_t unset[DIGEST_BYTES];
static uint8_t zero_chunk_leaf[DIGEST_BYTES];
static pthread_once_t zero_chunk_once = PTHREAD_ONCE_INIT;

// H(prefix a b); the parts may be empty. OpenSSL fails here only without memory, which hash()
// cannot go on without.
static void hash(EVP_MD_CTX *ctx, uint8_t prefix, const void *a, size_t a_length, const void *b,
                 size_t b_length, uint8_t ret[DIGEST_BYTES])
{
  if (EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1 || EVP_DigestUpdate(ctx, &prefix, 1) != 1 ||
      EVP_DigestUpdate(ctx, a, a_length) != 1 || EVP_DigestUpdate(ctx, b, b_length) != 1 ||
      EVP_DigestFinal_ex(ctx, ret, NULL) != 1)
    abort();
}

static EVP_MD_CTX *context(void)
{
  EVP_MD_CTX *ctx = EVP_MD_CTX_new();
  if (!ctx)
    abort();
  return ctx;
}

static void hash_zeros(uint64_t length, uint8_t ret[DIGEST_BYTES])
{
  static const char zeros[65536];
  const uint8_t leaf = 0;
  EVP_MD_CTX *ctx = context();
  bool ok = EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 && EVP_DigestUpdate(ctx, &leaf, 1) == 1;
  for (uint64_t left = length; ok && left;) {
    size_t n = left < sizeof(zeros) ? (size_t)left : sizeof(zeros);
    ok = EVP_DigestUpdate(ctx, zeros, n) == 1;
    left -= n;
  }
  if (!ok || EVP_DigestFinal_ex(ctx, ret, NULL) != 1)
    abort();
  EVP_MD_CTX_free(ctx);
}

static void make_zero_chunk_leaf(void)
{
  hash_zeros(COPY_CHUNK_BYTES, zero_chunk_leaf);
}

int digest_init(struct digest *d, uint64_t size_bytes, struct err *err)
{
  d->size_bytes = (size_bytes + 511) & ~511ull;
  d->count = (d->size_bytes + COPY_CHUNK_BYTES - 1) / COPY_CHUNK_BYTES;
  d->leaves = calloc(d->count ? d->count : 1, DIGEST_BYTES);
  return d->leaves ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for the hashes of all chunks");
}

void digest_release(struct digest *d)
{
  free(d->leaves);
  *d = (struct digest){0};
}

static uint64_t chunk_length(const struct digest *d, uint64_t chunk)
{
  uint64_t left = d->size_bytes - chunk * COPY_CHUNK_BYTES;
  return left < COPY_CHUNK_BYTES ? left : COPY_CHUNK_BYTES;
}

void digest_leaf_of(const struct digest *d, uint64_t chunk, const void *data, size_t length,
                    uint8_t ret[DIGEST_BYTES])
{
  static const char padding[512];
  EVP_MD_CTX *ctx = context();
  hash(ctx, 0, data, length, padding, (size_t)chunk_length(d, chunk) - length, ret);
  EVP_MD_CTX_free(ctx);
}

bool digest_leaf(struct digest *d, uint64_t chunk, const void *data, size_t length)
{
  uint8_t fresh[DIGEST_BYTES];
  digest_leaf_of(d, chunk, data, length, fresh);
  uint8_t *leaf = d->leaves + chunk * DIGEST_BYTES;
  bool same = memcmp(leaf, unset, DIGEST_BYTES) == 0 || memcmp(leaf, fresh, DIGEST_BYTES) == 0;
  memcpy(leaf, fresh, DIGEST_BYTES);
  return same;
}

// ---- the root -------------------------------------------------------------------------------

// Complete subtrees from left to right, as a binary counter: level n holds 2^n leaves. Joined from
// the right at the end, this is the split at the largest power of two that RFC 9162 asks for.
struct tree {
  EVP_MD_CTX *ctx;
  uint8_t node[LEVELS_MAX][DIGEST_BYTES];
  uint8_t zero[LEVELS_MAX][DIGEST_BYTES]; // subtree of zero chunks, per level
  int zero_levels;
  uint64_t count; // bit n set: node[n] is in use
};

static void join(struct tree *t, const uint8_t *left, const uint8_t *right, uint8_t *ret)
{
  hash(t->ctx, 1, left, DIGEST_BYTES, right, DIGEST_BYTES, ret);
}

static bool is_zero_subtree(const struct tree *t, int level, const uint8_t *node)
{
  return level < t->zero_levels && memcmp(t->zero[level], node, DIGEST_BYTES) == 0;
}

static void zero_subtrees(struct tree *t, uint64_t leaves)
{
  memcpy(t->zero[0], zero_chunk_leaf, DIGEST_BYTES);
  t->zero_levels = 1;
  for (uint64_t n = 2; n <= leaves && n; n *= 2, t->zero_levels++)
    join(t, t->zero[t->zero_levels - 1], t->zero[t->zero_levels - 1], t->zero[t->zero_levels]);
}

static void add_leaf(struct tree *t, const uint8_t *leaf)
{
  uint8_t carry[DIGEST_BYTES];
  memcpy(carry, leaf, DIGEST_BYTES);
  int level = 0;
  for (; t->count >> level & 1; level++) {
    bool zeros = is_zero_subtree(t, level, carry) && is_zero_subtree(t, level, t->node[level]) &&
                 level + 1 < t->zero_levels;
    if (zeros)
      memcpy(carry, t->zero[level + 1], DIGEST_BYTES);
    else
      join(t, t->node[level], carry, carry);
  }
  memcpy(t->node[level], carry, DIGEST_BYTES);
  t->count++;
}

static void fold(struct tree *t, uint8_t root[DIGEST_BYTES])
{
  bool first = true;
  for (int level = 0; level < LEVELS_MAX; level++) {
    if (!(t->count >> level & 1))
      continue;
    if (first)
      memcpy(root, t->node[level], DIGEST_BYTES);
    else
      join(t, t->node[level], root, root);
    first = false;
  }
}

static void root_of(const struct digest *d, uint8_t root[DIGEST_BYTES])
{
  if (d->count == 0) {
    EVP_Digest("", 0, root, NULL, EVP_sha256(), NULL);
    return;
  }
  pthread_once(&zero_chunk_once, make_zero_chunk_leaf);
  struct tree t = {.ctx = context()};
  zero_subtrees(&t, d->count);
  uint8_t last_zero[DIGEST_BYTES];
  hash_zeros(chunk_length(d, d->count - 1), last_zero);
  for (uint64_t i = 0; i < d->count; i++) {
    const uint8_t *leaf = d->leaves + i * DIGEST_BYTES;
    if (memcmp(leaf, unset, DIGEST_BYTES) == 0)
      leaf = i + 1 == d->count ? last_zero : zero_chunk_leaf;
    add_leaf(&t, leaf);
  }
  fold(&t, root);
  EVP_MD_CTX_free(t.ctx);
}

int digest_text(const struct digest *d, char ret[DIGEST_TEXT_BYTES], struct err *err)
{
  uint8_t root[DIGEST_BYTES];
  root_of(d, root);
  int n = snprintf(ret, DIGEST_TEXT_BYTES, PREFIX "%" PRIu64 ":", d->size_bytes);
  if (n < 0 || n + 2 * DIGEST_BYTES >= DIGEST_TEXT_BYTES)
    return err_set(err, ERR_INTERNAL, "the digest text does not fit");
  for (int i = 0; i < DIGEST_BYTES; i++)
    snprintf(ret + n + 2 * i, 3, "%02x", root[i]);
  return 0;
}

bool digest_text_size(const char *text, uint64_t *ret_bytes)
{
  const char *at = str_after(text, PREFIX);
  if (!at || *at < '0' || *at > '9')
    return false;
  char *end;
  *ret_bytes = strtoull(at, &end, 10);
  return *end == ':' && strspn(end + 1, "0123456789abcdef") == 2 * (size_t)DIGEST_BYTES &&
         end[1 + 2 * DIGEST_BYTES] == '\0';
}
