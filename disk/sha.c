// SPDX-License-Identifier: Apache-2.0
#include "disk/sha_internal.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"

struct sha_turn {
  const struct crew *crew;
  pthread_mutex_t lock;
  pthread_cond_t passed;
  uint64_t turn;   // sequence number whose turn it is
  uint64_t offset; // hashed so far; only for whose turn it is
  EVP_MD_CTX *ctx;
};

int sha_turn_new(const struct crew *crew, struct sha_turn **ret, struct err *err)
{
  struct sha_turn *t = calloc(1, sizeof(*t));
  EVP_MD_CTX *ctx = EVP_MD_CTX_new();
  if (!t || !ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1) {
    free(t);
    EVP_MD_CTX_free(ctx);
    return err_set(err, ERR_NO_MEMORY, "no memory for a SHA-256");
  }
  t->crew = crew;
  t->ctx = ctx;
  pthread_mutex_init(&t->lock, NULL);
  cond_init_monotonic(&t->passed);
  *ret = t;
  return 0;
}

void sha_turn_free(struct sha_turn *t)
{
  if (!t)
    return;
  pthread_cond_destroy(&t->passed);
  pthread_mutex_destroy(&t->lock);
  EVP_MD_CTX_free(t->ctx);
  free(t);
}

void sha_turn_wake(struct sha_turn *t)
{
  LOCK_FOR_SCOPE(&t->lock);
  pthread_cond_broadcast(&t->passed);
}

int sha_turn_wait(struct sha_turn *t, uint64_t sequence, struct err *err)
{
  LOCK_FOR_SCOPE(&t->lock);
  while (t->turn != sequence) {
    if (crew_stopped(t->crew))
      return err_set(err, ERR_CANCELLED, "stopped");
    pthread_cond_wait(&t->passed, &t->lock);
  }
  return 0;
}

static void update(struct sha_turn *t, const void *data, size_t length)
{
  if (EVP_DigestUpdate(t->ctx, data, length) != 1)
    abort();
  t->offset += length;
}

static void fill_gap(struct sha_turn *t, uint64_t offset)
{
  static const char zeros[65536];
  while (t->offset < offset) {
    uint64_t left = offset - t->offset;
    update(t, zeros, left < sizeof(zeros) ? (size_t)left : sizeof(zeros));
  }
}

void sha_turn_add(struct sha_turn *t, uint64_t offset, const void *data, size_t length)
{
  fill_gap(t, offset);
  update(t, data, length);
}

void sha_turn_pass(struct sha_turn *t)
{
  LOCK_FOR_SCOPE(&t->lock);
  t->turn++;
  pthread_cond_broadcast(&t->passed);
}

void sha_turn_text(struct sha_turn *t, uint64_t stored_bytes, char ret[65])
{
  fill_gap(t, stored_bytes);
  unsigned char md[32];
  if (EVP_DigestFinal_ex(t->ctx, md, NULL) != 1)
    abort();
  for (int i = 0; i < 32; i++)
    snprintf(ret + 2 * i, 3, "%02x", md[i]);
}
