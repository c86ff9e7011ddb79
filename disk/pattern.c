// SPDX-License-Identifier: Apache-2.0
// Reproducible data. The disk is cut into blocks of 64 KiB; whether a block holds data, and what
// each of its 8-byte words is, follows from seed, block and word number alone (splitmix64, Steele
// et al. 2014), little-endian, so any range can be made by any lane without state.
#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "disk/open.h"

#define BLOCK_BYTES 65536u

struct pattern {
  struct source source;
  uint64_t seed;
  unsigned percent;
};

static uint64_t mix(uint64_t x)
{
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

static uint64_t block_key(const struct pattern *p, uint64_t block)
{
  return mix(p->seed ^ mix(block));
}

static bool has_data(const struct pattern *p, uint64_t block)
{
  return block_key(p, block) % 100 < p->percent;
}

static void fill(const struct pattern *p, uint64_t block, char *into, size_t from, size_t length)
{
  uint64_t key = block_key(p, block);
  while (length) {
    uint64_t word = htole64(mix(key + from / 8));
    size_t skip = from % 8;
    size_t n = 8 - skip < length ? 8 - skip : length;
    memcpy(into, (const char *)&word + skip, n);
    into += n;
    from += n;
    length -= n;
  }
}

static int pattern_read(struct source *s, void *lane, void *into, size_t length, uint64_t offset,
                        struct err *err)
{
  (void)lane, (void)err;
  const struct pattern *p = (const struct pattern *)s;
  char *at = into;
  while (length) {
    uint64_t block = offset / BLOCK_BYTES;
    size_t from = offset % BLOCK_BYTES;
    size_t n = BLOCK_BYTES - from < length ? BLOCK_BYTES - from : length;
    if (has_data(p, block))
      fill(p, block, at, from, n);
    else
      memset(at, 0, n);
    at += n;
    offset += n;
    length -= n;
  }
  return 0;
}

static int pattern_extents(struct source *s, struct extents *ret, struct err *err)
{
  const struct pattern *p = (const struct pattern *)s;
  for (uint64_t at = 0; at < s->size_bytes; at += BLOCK_BYTES) {
    uint64_t left = s->size_bytes - at;
    uint64_t n = left < BLOCK_BYTES ? left : BLOCK_BYTES;
    if (extents_add(ret, at, n, has_data(p, at / BLOCK_BYTES)) != 0)
      return err_set(err, ERR_NO_MEMORY, "no memory for the extent map");
  }
  return 0;
}

static void pattern_free(struct source *s)
{
  free(s);
}

static const struct source_ops pattern_ops = {
    .name = "pattern", .extents = pattern_extents, .read = pattern_read, .free = pattern_free};

int source_open_pattern(uint64_t size_bytes, uint64_t seed, int data_percent, struct source **ret,
                        struct err *err)
{
  if (data_percent < 0 || data_percent > 100)
    return err_set(err, ERR_INVALID, "pattern: data is a percentage from 0 to 100");
  if (size_bytes > LIMIT_DISK_BYTES)
    return err_set(err, ERR_LIMIT, "pattern: the size is over the limit of %lld bytes",
                   LIMIT_DISK_BYTES);
  struct pattern *p = calloc(1, sizeof(*p));
  if (!p)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  p->source = (struct source){
      .ops = &pattern_ops, .size_bytes = size_bytes, .exact_map = true, .tells_changes = true};
  snprintf(p->source.identity, sizeof(p->source.identity), "pattern:%" PRIu64 ":%" PRIu64 ":%d",
           size_bytes, seed, data_percent);
  p->seed = seed;
  p->percent = (unsigned)data_percent;
  *ret = &p->source;
  return 0;
}
