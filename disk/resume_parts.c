// SPDX-License-Identifier: Apache-2.0
// Going on with uploads: which parts the far side has already, told by their bytes.
#include <endian.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disk/copy_packed_internal.h"

// Of the bytes and of their place: when an earlier part came out longer than last time, the same
// bytes belong elsewhere.
static bool sum_of(const struct room *r, uint8_t ret[CHECKPOINT_HASH_BYTES])
{
  struct {
    uint64_t place;
    uint8_t md[CHECKPOINT_HASH_BYTES];
  } both = {.place = htole64(r->offset)};
  return EVP_Digest(r->bytes, r->length, both.md, NULL, EVP_sha256(), NULL) == 1 &&
         EVP_Digest(&both, sizeof(both), ret, NULL, EVP_sha256(), NULL) == 1;
}

bool resume_part_is_stored(const struct copy *c, uint64_t part, const void *bytes, size_t length)
{
  struct object_writer *w = c->job->object;
  char tag[OBJECT_TAG_BYTES], hex[33];
  uint8_t md[EVP_MAX_MD_SIZE];
  uint64_t there = 0;
  if (!c->resume.going_on || !w->ops->part_tag ||
      !w->ops->part_tag(w, (uint32_t)part, tag, &there) || there != length || strlen(tag) != 32 ||
      EVP_Digest(bytes, length, md, NULL, EVP_md5(), NULL) != 1)
    return false;
  for (int i = 0; i < 16; i++)
    snprintf(hex + 2 * i, 3, "%02x", md[i]);
  return memcmp(tag, hex, 32) == 0;
}

// ---- packed objects -------------------------------------------------------------------------

int resume_expect_parts(struct copy *c, uint64_t count, struct err *err)
{
  struct resume *r = &c->resume;
  if (!r->checkpoint)
    return 0;
  r->part_sums = calloc(count, CHECKPOINT_HASH_BYTES);
  r->part_count = count;
  return r->part_sums ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for the list of parts");
}

int resume_take_sum(struct resume *r, uint64_t part, const uint8_t *sum, struct err *err)
{
  if (part >= r->part_count)
    return err_set(err, ERR_CORRUPT, "it names a part beyond the end of the object");
  memcpy(r->part_sums + part * CHECKPOINT_HASH_BYTES, sum, CHECKPOINT_HASH_BYTES);
  return 0;
}

// Where the far side tells what it has, that counts; elsewhere what was written down.
bool resume_packed_part_is_there(const struct copy *c, const struct room *p)
{
  const struct resume *r = &c->resume;
  const struct object_writer *w = c->job->object;
  uint8_t sum[CHECKPOINT_HASH_BYTES];
  if (!r->going_on)
    return false;
  if (w->ops->part_tag)
    return resume_part_is_stored(c, p->number, p->bytes, p->length);
  return resume_is_done(r, p->number) && p->number < r->part_count &&
         p->offset + p->length <= w->there_bytes && sum_of(p, sum) &&
         memcmp(sum, r->part_sums + p->number * (size_t)CHECKPOINT_HASH_BYTES, sizeof(sum)) == 0;
}

void resume_packed_part_begin(struct copy *c, uint64_t part)
{
  if (c->resume.checkpoint)
    checkpoint_note_started(c->resume.checkpoint, part + 1);
}

int resume_packed_part_done(struct lane *l, const struct room *r, bool sent, struct err *err)
{
  struct copy *c = l->copy;
  struct checkpoint_batch *b = &l->notes.batch;
  uint8_t sum[CHECKPOINT_HASH_BYTES];
  bool summed = !c->job->object->ops->part_tag;
  if (!c->resume.checkpoint)
    return 0;
  // A part that is held to the end was not under way when those behind it were.
  bool held = r->number == 0 && c->pack->late_header_bytes > 0;
  if (!held || !sent)
    resume_count(c, r->number, r->data_bytes, sent);
  if (atomic_load(&c->resume.broken))
    return 0;
  if (summed && !sum_of(r, sum))
    return err_set(err, ERR_NO_MEMORY, "no memory for a SHA-256");
  if (checkpoint_batch_unit(b, r->number, r->data_bytes, summed, err) != 0 ||
      (summed && checkpoint_batch_hash(b, r->number, sum, err) != 0))
    return -1;
  return resume_write_down_some(l, r->data_bytes, err);
}
