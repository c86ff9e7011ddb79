// SPDX-License-Identifier: Apache-2.0
#define OPENSSL_SUPPRESS_DEPRECATED // the only interface with a state that can be kept
#include "disk/sha_internal.h"

#include <endian.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

// After a turn: little endian, as it is kept.
struct saved {
  uint64_t turn, offset;
  uint32_t h[8], low, high, pending;
  uint8_t data[SHA256_CBLOCK];
} __attribute__((packed));

_Static_assert(sizeof(struct saved) <= SHA_STATE_BYTES, "a state fits");

struct sha_turn {
  const struct crew *crew;
  pthread_mutex_t lock;
  pthread_cond_t passed;
  uint64_t turn;   // sequence number whose turn it is
  uint64_t offset; // hashed so far; only for whose turn it is
  SHA256_CTX ctx;
  uint64_t from; // items before were hashed by an earlier process; set before lanes begin
  struct saved saved;
};

// With the lock, or before there are lanes.
static void keep(struct sha_turn *t)
{
  struct saved *s = &t->saved;
  *s = (struct saved){.turn = htole64(t->turn),
                      .offset = htole64(t->offset),
                      .low = htole32(t->ctx.Nl),
                      .high = htole32(t->ctx.Nh),
                      .pending = htole32(t->ctx.num)};
  for (int i = 0; i < 8; i++)
    s->h[i] = htole32(t->ctx.h[i]);
  memcpy(s->data, t->ctx.data, t->ctx.num);
}

int sha_turn_new(const struct crew *crew, struct sha_turn **ret, struct err *err)
{
  struct sha_turn *t = calloc(1, sizeof(*t));
  if (!t || SHA256_Init(&t->ctx) != 1) {
    free(t);
    return err_set(err, ERR_NO_MEMORY, "no memory for a SHA-256");
  }
  t->crew = crew;
  keep(t);
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
  if (SHA256_Update(&t->ctx, data, length) != 1)
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
  keep(t);
  pthread_cond_broadcast(&t->passed);
}

void sha_turn_save(struct sha_turn *t, uint8_t ret[SHA_STATE_BYTES])
{
  LOCK_FOR_SCOPE(&t->lock);
  memset(ret, 0, SHA_STATE_BYTES);
  memcpy(ret, &t->saved, sizeof(t->saved));
}

// OpenSSL believes what is in its state: a count of pending bytes that is too large would make it
// write beyond its end.
bool sha_turn_load(struct sha_turn *t, const uint8_t state[SHA_STATE_BYTES])
{
  struct saved s;
  memcpy(&s, state, sizeof(s));
  uint64_t offset = le64toh(s.offset);
  uint64_t bits = (uint64_t)le32toh(s.high) << 32 | le32toh(s.low);
  uint32_t pending = le32toh(s.pending);
  if (pending >= SHA256_CBLOCK || pending != offset % SHA256_CBLOCK || bits != offset * 8)
    return false;
  t->from = t->turn = le64toh(s.turn);
  t->offset = offset;
  t->ctx.Nl = le32toh(s.low);
  t->ctx.Nh = le32toh(s.high);
  t->ctx.num = pending;
  for (int i = 0; i < 8; i++)
    t->ctx.h[i] = le32toh(s.h[i]);
  memcpy(t->ctx.data, s.data, sizeof(s.data));
  keep(t);
  return true;
}

void sha_turn_reset(struct sha_turn *t)
{
  t->from = t->turn = t->offset = 0;
  SHA256_Init(&t->ctx);
  keep(t);
}

bool sha_turn_over(const struct sha_turn *t, uint64_t sequence)
{
  return sequence < t->from;
}

void sha_turn_text(struct sha_turn *t, uint64_t stored_bytes, char ret[65])
{
  fill_gap(t, stored_bytes);
  unsigned char md[32];
  if (SHA256_Final(md, &t->ctx) != 1)
    abort();
  for (int i = 0; i < 32; i++)
    snprintf(ret + 2 * i, 3, "%02x", md[i]);
}
