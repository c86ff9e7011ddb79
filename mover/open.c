// SPDX-License-Identifier: Apache-2.0
#include "mover/open.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "mover/manifest.h"

#define HASH_STEP_BYTES (4u << 20)

void open_end_release(struct open_end *o)
{
  source_free(o->source);
  if (o->reader)
    object_reader_free(o->reader);
  target_free(o->target);
  if (o->writer)
    object_writer_free(o->writer);
  if (o->lane)
    storage_lane_free(o->lane);
  if (o->storage)
    storage_free(o->storage);
  if (o->allowed)
    address_filter_free(o->allowed);
  *o = (struct open_end){0};
}

// ---- stores ---------------------------------------------------------------------------------

static void interrupt_lane(void *lane)
{
  storage_lane_interrupt(lane);
}

static void interrupt_reader(void *reader)
{
  object_interrupt(reader);
}

int open_lane_enter(struct session *s, struct open_end *o, struct err *err)
{
  return session_enter(s, interrupt_lane, o->lane, err);
}

static int renew(void *end, struct storage_config *fresh, struct err *err)
{
  const struct open_end *o = end;
  return mover_spec_renew(o->spec, o->object, fresh, err);
}

// o stays where it is for as long as the store lives.
int open_store(struct session *s, const struct mover_object *object, struct open_end *o,
               struct err *err)
{
  const struct strings *cidrs = &s->spec->allowed_endpoints;
  o->allowed = address_filter_new((const char *const *)cidrs->items, cidrs->count, err);
  if (!o->allowed)
    return -1;
  if (storage_open(&object->store, o->allowed, &o->storage, err))
    return -1;
  o->spec = s->spec;
  o->object = object;
  storage_renew_with(o->storage, renew, o);
  return storage_lane_new(o->storage, &o->lane, err);
}

static int check_manifest(const struct image_manifest *m, const struct mover_object *object,
                          struct open_end *o, struct err *err)
{
  if (m->stored_bytes != (int64_t)o->reader->size_bytes)
    return err_set(err, ERR_CORRUPT,
                   "'%s' has %lld bytes, its manifest says %lld: truncated, or replaced without "
                   "its manifest",
                   object->key, (long long)o->reader->size_bytes, (long long)m->stored_bytes);
  if (object->format && !str_eq(m->format, disk_format_names[object->format]))
    return err_set(err, ERR_INVALID, "'%s' is %s, as its manifest says, and not %s", object->key,
                   m->format, disk_format_names[object->format]);
  snprintf(o->expected_digest, sizeof o->expected_digest, "%s",
           m->content_digest ? m->content_digest : "");
  return 0;
}

static int obey_manifest(const struct mover_object *object, struct open_end *o, struct err *err)
{
  struct image_manifest m = {0};
  struct err fault = ERR_INIT;
  if (manifest_get(o->lane, object->key, &m, &fault)) {
    if (fault.kind == ERR_NOT_FOUND)
      return 0;
    *err = fault;
    return -1;
  }
  int rc = check_manifest(&m, object, o, err);
  table_release(&image_manifest_table, &m);
  return rc;
}

static int read_object(struct session *s, const struct mover_object *object, struct open_end *o,
                       struct err *err)
{
  if (open_store(s, object, o, err) || open_lane_enter(s, o, err))
    return -1;
  int rc = storage_lane_reader(o->lane, object->key, &o->reader, err);
  if (rc == 0 && object->manifest)
    rc = obey_manifest(object, o, err);
  session_leave(s);
  return rc;
}

// ---- sources --------------------------------------------------------------------------------

int open_reader(struct session *s, const struct mover_end *e, struct open_end *ret, struct err *err)
{
  if (e->object)
    return read_object(s, e->object, ret, err);
  if (e->reach && e->reach->kind == REACH_FILE)
    return object_reader_file(e->reach->path, &ret->reader, err);
  return 0;
}

static int hash_lane(struct session *s, struct object_reader *r, void *lane, EVP_MD_CTX *md,
                     struct err *err)
{
  char *block cleanup_free = malloc(HASH_STEP_BYTES);
  if (!block)
    return err_set(err, ERR_NO_MEMORY, "no memory to hash the source");
  for (uint64_t at = 0; at < r->size_bytes;) {
    uint64_t left = r->size_bytes - at;
    size_t n = left < HASH_STEP_BYTES ? (size_t)left : HASH_STEP_BYTES;
    if (s->tally.cancel)
      return err_set(err, ERR_CANCELLED, "cancelled");
    if (object_read(r, lane, block, n, at, err))
      return -1;
    EVP_DigestUpdate(md, block, n);
    at += n;
    atomic_store(&s->tally.verified_bytes, at);
  }
  return 0;
}

static int hash_reader(struct session *s, struct object_reader *r, uint8_t hash[32],
                       struct err *err)
{
  void *lane;
  EVP_MD_CTX *md = EVP_MD_CTX_new();
  int rc = -1;
  if (!md || !EVP_DigestInit_ex(md, EVP_sha256(), NULL))
    err_set(err, ERR_NO_MEMORY, "no memory to hash the source");
  else if (object_lane_open(r, &lane, err) == 0) {
    rc = hash_lane(s, r, lane, md, err);
    object_lane_close(r, lane);
  }
  if (rc == 0)
    EVP_DigestFinal_ex(md, hash, NULL);
  EVP_MD_CTX_free(md);
  return rc;
}

// Reads all stored bytes once, before the copy: whoever gave the sum wants nothing written when it
// is wrong.
static int check_sha256(struct session *s, struct object_reader *r, const char *expected,
                        struct err *err)
{
  uint8_t hash[32];
  atomic_store(&s->tally.phase, COPY_VERIFYING);
  atomic_store(&s->tally.total_bytes, r->size_bytes);
  atomic_store(&s->tally.data_bytes, r->size_bytes);
  if (session_enter(s, interrupt_reader, r, err))
    return -1;
  int rc = hash_reader(s, r, hash, err);
  session_leave(s);
  atomic_store(&s->tally.phase, COPY_PREPARING);
  atomic_store(&s->tally.verified_bytes, 0);
  if (rc)
    return err_prefix(err, "SHA-256 of the source");
  struct buf hex CLEANUP(buf_release) = BUF_INIT(128);
  buf_add_hex(&hex, hash, sizeof hash);
  if (!str_eq(buf_str(&hex), expected))
    return err_set(err, ERR_MISMATCH, "the source has SHA-256 %s, expected was %s", buf_str(&hex),
                   expected);
  return 0;
}

static int image_source(const struct mover_end *e, struct open_end *o, struct err *err)
{
  int format = e->object ? e->object->format : e->reach->format;
  const struct list *backing = e->reach ? &e->reach->backing : NULL;
  return source_open_image(TAKE(o->reader), format, backing, &o->source, err);
}

int open_source(struct session *s, const struct mover_end *e, const char *sha256,
                struct open_end *ret, struct err *err)
{
  if (e->null)
    return source_open_null(&ret->source, err);
  if (e->pattern)
    return source_open_pattern((uint64_t)e->pattern->size_bytes, (uint64_t)e->pattern->seed,
                               (int)e->pattern->data_percent, &ret->source, err);
  if (open_reader(s, e, ret, err))
    return -1;
  if (sha256 && !ret->reader)
    return err_set(err, ERR_UNSUPPORTED,
                   "the SHA-256 of stored bytes cannot be checked where only the disk's content "
                   "is served");
  if (sha256 && check_sha256(s, ret->reader, sha256, err))
    return -1;
  return ret->reader ? image_source(e, ret, err) : source_open_reach(e->reach, &ret->source, err);
}

// ---- targets --------------------------------------------------------------------------------

// What is foreign is left alone, and said before a byte moves; what an earlier attempt of ours left
// half done is cleared away.
static int make_room(struct session *s, const struct mover_object *object, bool keep,
                     struct open_end *o, struct err *err)
{
  struct storage_stat st;
  struct err fault = ERR_INIT;
  bool there = storage_stat(o->lane, object->key, &st, &fault) == 0;
  if (!there && fault.kind != ERR_NOT_FOUND) {
    *err = fault;
    return -1;
  }
  // It may even be the object itself, completed a moment before the end: the writer will tell.
  if (keep)
    return object->manifest && !object->overwrite
               ? manifest_clear_own(o->lane, object->key, s->spec->owner, err)
               : 0;
  if (there && !object->overwrite)
    return err_set(err, ERR_EXISTS, "'%s' exists in %s", object->key, storage_describe(o->storage));
  if (!there && object->manifest && manifest_clear_own(o->lane, object->key, s->spec->owner, err))
    return -1;
  return storage_remove_partial(o->lane, object->key, s->spec->owner, err);
}

char *open_target_name(const struct mover_end *e, const struct open_end *o)
{
  char text[256];
  if (e->object)
    return str_printf("%s, '%s'", storage_describe(o->storage), e->object->key);
  return str_dup(e->reach ? reach_text(e->reach, text) : "null:");
}

static int write_object(struct session *s, const struct mover_end *e, const char *keep,
                        struct open_end *o, struct err *err)
{
  const struct mover_object *object = e->object;
  if (open_store(s, object, o, err))
    return -1;
  char *name cleanup_free = open_target_name(e, o);
  if (open_lane_enter(s, o, err))
    return -1;
  o->format = object->format;
  int rc = make_room(s, object, keep && str_eq(keep, name), o, err);
  if (rc == 0)
    rc =
        storage_writer(o->storage, object->key, s->spec->owner, object->overwrite, &o->writer, err);
  session_leave(s);
  return rc;
}

int open_target(struct session *s, const struct mover_end *e, const char *keep,
                struct open_end *ret, struct err *err)
{
  if (e->null)
    return target_open_null(&ret->target, err);
  if (e->object)
    return write_object(s, e, keep, ret, err);
  ret->format = e->reach->format;
  if (e->reach->kind == REACH_FILE && e->reach->create)
    return object_writer_file(e->reach->path, s->spec->owner, e->replace, &ret->writer, err);
  return target_open_reach(e->reach, s->spec->owner, &ret->target, &ret->writer, err);
}
