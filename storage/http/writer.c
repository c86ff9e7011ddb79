// SPDX-License-Identifier: Apache-2.0
// Writing: PUT under a temporary name, then MOVE, where the server has MOVE. Where it has not, PUT
// goes to the name itself: then the object is visible as soon as the server shows it, which may be
// before commit. Where the length is not known before (compressed images) the body goes out in
// chunks: whether the server takes that, the store's probe finds out.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "storage/http/dav_internal.h"

#define RESPONSE(name)  struct http_response name CLEANUP(http_response_release) = {0}
#define WHAT_BYTES      (LIMIT_PATH_BYTES + 64)

#define DROP_TIMEOUT_MS 1000

// One object on its way: shared by put and the writer.
struct dav_object {
  struct dav *dav;
  char *key, *partial; // partial NULL: the server has no MOVE
  bool only_new;
  bool sent;                // something may lie under the name that was written to
  struct storage_stat stat; // of what was sent
};

// ---- what the server can do ----

static bool names_move(const struct http_response *r)
{
  const char *dav = http_response_header(r, "DAV");
  const char *allow = http_response_header(r, "Allow");
  return (dav && strchr(dav, '1')) || (dav && strchr(dav, '2')) || (allow && strstr(allow, "MOVE"));
}

// Asked once for each store.
static bool server_moves(struct dav *d, struct web_lane *lane)
{
  int known = atomic_load(&d->moves);
  if (known != DAV_MOVES_UNKNOWN)
    return known == DAV_MOVES;
  struct dav_call c = {.method = "OPTIONS", .key = "", .what = "asking what the server can do"};
  RESPONSE(r);
  struct err ignored = ERR_INIT;
  if (dav_request(d, lane, &c, &r, &ignored) < 0 && r.status == 0)
    return false; // no answer: the next call will tell why; nothing is remembered
  bool moves = r.status / 100 == 2 && names_move(&r);
  atomic_store(&d->moves, moves ? DAV_MOVES : DAV_MOVES_NOT);
  return moves;
}

static int make_folders(struct dav *d, struct web_lane *lane, const char *key, struct err *err)
{
  for (const char *slash = strchr(key, '/'); slash; slash = strchr(slash + 1, '/')) {
    char *folder cleanup_free = str_printf("%.*s/", (int)(slash - key), key);
    struct dav_call c = {.method = "MKCOL", .key = folder, .what = "making a folder"};
    RESPONSE(r);
    if (!folder)
      return err_set(err, ERR_NO_MEMORY, "no memory for a name");
    struct err failure = ERR_INIT;
    bool there = dav_request(d, lane, &c, &r, &failure) == 0 || r.status == 405 ||
                 r.status == 409 || r.status / 100 == 3; // exists already, each in its own words
    if (!there) {
      if (err)
        *err = failure;
      return -1;
    }
  }
  return 0;
}

// ---- sending ----

static bool is_open(const struct object_body *body)
{
  return body->length == OBJECT_LENGTH_OPEN;
}

static int put_to(struct dav_object *o, struct web_lane *lane, const char *name,
                  const struct object_body *body, struct err *err)
{
  char what[WHAT_BYTES];
  snprintf(what, sizeof(what), "writing '%s'", o->key);
  struct dav_call c = {.method = "PUT", .key = name, .what = what, .body = body};
  RESPONSE(r);
  dav_call_header(&c, "Content-Type", "application/octet-stream");
  if (o->only_new && !o->partial)
    dav_call_header(&c, "If-None-Match", "*");
  struct err failure = ERR_INIT;
  o->sent = true;
  if (is_open(body)) // it may not be sent twice: what a PUT may need is made before
    make_folders(o->dav, lane, name, NULL);
  if (dav_request(o->dav, lane, &c, &r, &failure) == 0)
    return 0;
  if ((r.status != 409 && r.status != 404) || !strchr(name, '/')) {
    if (err)
      *err = failure;
    return -1;
  }
  if (make_folders(o->dav, lane, name, err) < 0)
    return -1;
  return dav_request(o->dav, lane, &c, &r, err);
}

static int check_new(struct dav_object *o, struct web_lane *lane, struct err *err)
{
  struct storage_stat stat;
  struct err failure = ERR_INIT;
  if (!o->only_new)
    return 0;
  if (dav_stat(o->dav, lane, o->key, &stat, &failure) == 0)
    return err_set(err, ERR_EXISTS, "object '%s' exists already", o->key);
  if (failure.kind == ERR_NOT_FOUND)
    return 0;
  if (err)
    *err = failure;
  return -1;
}

// size_bytes: how long the body was; looked at after it was sent.
static int object_send(struct dav_object *o, struct web_lane *lane, const struct object_body *body,
                       const uint64_t *size_bytes, struct err *err)
{
  const char *name = o->partial ? o->partial : o->key;
  if (check_new(o, lane, err) < 0 || put_to(o, lane, name, body, err) < 0)
    return -1;
  if (dav_stat(o->dav, lane, name, &o->stat, err) < 0)
    return err_prefix(err, "after writing it");
  if (o->stat.size_bytes == *size_bytes)
    return 0;
  return err_set(err, ERR_CORRUPT,
                 "'%s' has %" PRIu64 " bytes on the server, %" PRIu64 " were sent%s", o->key,
                 o->stat.size_bytes, *size_bytes,
                 is_open(body) ? ": it may not know bodies without a Content-Length, which "
                                 "compressed images need; use format raw or qcow2"
                               : "");
}

// ---- moving ----

struct move_call {
  struct dav_object *object;
  struct web_lane *lane;
  const struct dav_call *call;
};

// After a lost answer the temporary name is gone and the final one is what we sent.
static bool moved_before(const struct move_call *m)
{
  struct storage_stat now;
  const struct storage_stat *sent = &m->object->stat;
  return dav_stat(m->object->dav, m->lane, m->object->key, &now, NULL) == 0 &&
         now.size_bytes == sent->size_bytes &&
         (str_eq(now.identity, sent->identity) || now.modified_wall_ms == sent->modified_wall_ms);
}

static int move_once(void *arg, struct err *err)
{
  struct move_call *m = arg;
  RESPONSE(r);
  if (dav_attempt(m->object->dav, m->lane, m->call, &r, err) == 0)
    return 0;
  if ((r.status == 404 || r.status == 412) && moved_before(m)) {
    struct storage_stat left;
    if (r.status == 404 || dav_stat(m->object->dav, m->lane, m->object->partial, &left, NULL) < 0)
      return 0;
  }
  if (r.status == 412)
    return err_set(err, ERR_EXISTS, "object '%s' exists already", m->object->key);
  return -1;
}

static int object_finish(struct dav_object *o, struct web_lane *lane, struct err *err)
{
  char what[WHAT_BYTES];
  if (!o->partial)
    return 0;
  char *to cleanup_free = dav_url(o->dav, o->key);
  snprintf(what, sizeof(what), "giving '%s' its name", o->key);
  struct dav_call c = {.method = "MOVE", .key = o->partial, .what = what};
  if (!to)
    return err_set(err, ERR_NO_MEMORY, "no memory for a name");
  dav_call_header(&c, "Destination", to);
  dav_call_header(&c, "Overwrite", o->only_new ? "F" : "T");
  struct move_call m = {o, lane, &c};
  return storage_retry(&lane->stop, move_once, &m, err);
}

static int object_drop(struct dav_object *o, struct web_lane *lane, struct err *err)
{
  if (!o->sent)
    return 0;
  if (dav_remove(o->dav, lane, o->partial ? o->partial : o->key, err) < 0)
    return -1;
  o->sent = false;
  return 0;
}

static int object_start(struct dav_object *o, struct web_lane *lane, const char *owner,
                        struct err *err)
{
  if (o->partial || !server_moves(o->dav, lane))
    return 0;
  o->partial = storage_partial_key(o->key, owner);
  return o->partial ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for a name");
}

// A lane that was interrupted does no more calls: then one try over a connection of its own, which
// whoever interrupted it need not wait for long.
static void drop_anyway(struct dav_object *o, struct web_lane *lane)
{
  struct web_lane *fresh = NULL;
  struct dav_call c = {.method = "DELETE",
                       .key = o->partial,
                       .what = "removing a temporary object",
                       .total_timeout_ms = DROP_TIMEOUT_MS};
  RESPONSE(r);
  if (!stop_is_set(&lane->stop)) {
    object_drop(o, lane, NULL);
    return;
  }
  if (!o->sent || web_lane_new(o->dav->web.client, &fresh, NULL) < 0)
    return;
  dav_attempt(o->dav, fresh, &c, &r, NULL);
  web_lane_free(fresh);
}

static int put_body(void *store, struct web_lane *lane, const char *key,
                    const struct object_body *body, uint64_t length, const char *owner,
                    bool only_new, struct err *err)
{
  struct dav_object o = {.dav = store, .key = str_dup(key), .only_new = only_new};
  int result = o.key ? object_start(&o, lane, owner, err)
                     : err_set(err, ERR_NO_MEMORY, "no memory for a name");
  if (result == 0)
    result = object_send(&o, lane, body, &length, err);
  if (result == 0)
    result = object_finish(&o, lane, err);
  if (result < 0 && o.partial)
    drop_anyway(&o, lane);
  free(o.key);
  free(o.partial);
  return result;
}

int dav_put(void *store, void *lane, const char *key, const void *data, size_t length,
            const char *owner, bool only_new, struct err *err)
{
  struct object_body body = object_body_bytes(data, length);
  return put_body(store, lane, key, &body, length, owner, only_new, err);
}

// ---- the probe ----

struct open_bytes {
  const char *bytes;
  size_t length;
};

static int read_open(void *arg, uint64_t offset, void *into, size_t size, size_t *ret_length,
                     struct err *err)
{
  (void)err;
  const struct open_bytes *b = arg;
  size_t left = offset < b->length ? b->length - (size_t)offset : 0;
  *ret_length = left < size ? left : size;
  memcpy(into, b->bytes + (b->length - left), *ret_length);
  return 0;
}

static bool says_nothing_of_bodies(enum err_kind kind)
{
  return kind == ERR_TIMEOUT || kind == ERR_CANCELLED || kind == ERR_AUTH || kind == ERR_DENIED ||
         kind == ERR_TLS || kind == ERR_THROTTLED || kind == ERR_NO_SPACE;
}

int dav_put_probe(void *store, void *lane, const char *key, const void *data, size_t length,
                  const char *owner, struct err *err)
{
  struct dav *d = store;
  struct open_bytes bytes = {data, length};
  struct object_body body = {.length = OBJECT_LENGTH_OPEN, .read_some = read_open, .arg = &bytes};
  struct err failure = ERR_INIT;
  if (put_body(d, lane, key, &body, length, owner, false, &failure) == 0) {
    atomic_store(&d->open_bodies, STORAGE_YES);
    return 0;
  }
  if (says_nothing_of_bodies(failure.kind)) {
    if (err)
      *err = failure;
    return -1;
  }
  if (dav_put(store, lane, key, data, length, owner, false, err) < 0)
    return -1;
  atomic_store(&d->open_bodies, STORAGE_NO);
  return 0;
}

enum storage_answer dav_takes_any_length(const void *store)
{
  return (enum storage_answer)atomic_load(&((const struct dav *)store)->open_bodies);
}

// ---- the writer ----

struct dav_writer {
  struct web_writer web;
  struct dav_object object;
  char *owner;
};

static int writer_begin(struct object_writer *base, uint64_t size_bytes, struct err *err)
{
  struct dav_writer *w = (struct dav_writer *)base;
  struct web_lane *lane = NULL;
  (void)size_bytes;
  if (web_writer_open_lane(&w->web, &lane, err) < 0)
    return -1;
  int result = object_start(&w->object, lane, w->owner, err);
  if (result == 0)
    result = check_new(&w->object, lane, err);
  web_writer_close_lane(&w->web, lane);
  return result;
}

static int writer_write_part(struct object_writer *base, void *lane, uint32_t number,
                             uint64_t offset, const struct object_body *body, struct err *err)
{
  (void)number, (void)offset; // there is one part, and it is all
  if (!is_open(body) && body->length != base->size_bytes)
    return err_set(err, ERR_INTERNAL, "an HTTP PUT takes the whole object at once");
  return object_send(&((struct dav_writer *)base)->object, lane, body, &base->size_bytes, err);
}

static int writer_commit(struct object_writer *base, struct err *err)
{
  struct dav_writer *w = (struct dav_writer *)base;
  struct web_lane *lane = NULL;
  if (!w->object.sent)
    return err_set(err, ERR_INTERNAL, "commit of '%s' before its bytes", w->object.key);
  if (web_writer_open_lane(&w->web, &lane, err) < 0)
    return -1;
  int result = object_finish(&w->object, lane, err);
  web_writer_close_lane(&w->web, lane);
  return result;
}

static int writer_abort(struct object_writer *base, struct err *err)
{
  struct dav_writer *w = (struct dav_writer *)base;
  struct web_lane *lane = NULL;
  if (web_lane_new(w->web.client, &lane, err) < 0)
    return -1;
  int result = object_drop(&w->object, lane, err);
  web_lane_free(lane);
  return result;
}

static void writer_free(struct object_writer *base)
{
  struct dav_writer *w = (struct dav_writer *)base;
  web_writer_release(&w->web);
  free(w->object.key);
  free(w->object.partial);
  free(w->owner);
  free(w);
}

static const struct object_writer_ops writer_ops = {
    .name = "http",
    .begin = writer_begin,
    .lane_open = web_writer_lane_open,
    .lane_close = web_writer_lane_close,
    .write_part = writer_write_part,
    .commit = writer_commit,
    .abort = writer_abort,
    .interrupt = web_writer_interrupt,
    .free = writer_free,
};

int dav_writer(void *store, const char *key, const char *owner, bool overwrite,
               struct object_writer **ret, struct err *err)
{
  struct dav_writer *w = calloc(1, sizeof(*w));
  if (!w)
    return err_set(err, ERR_NO_MEMORY, "no memory for a writer");
  web_writer_init(&w->web, &writer_ops, ((struct dav *)store)->web.client);
  w->web.base.ordered = true;
  w->web.base.parts_max = 1;
  w->object = (struct dav_object){.dav = store, .key = str_dup(key), .only_new = !overwrite};
  w->owner = str_dup(owner ? owner : "");
  if (!w->object.key || !w->owner) {
    writer_free(&w->web.base);
    return err_set(err, ERR_NO_MEMORY, "no memory for a writer");
  }
  *ret = &w->web.base;
  return 0;
}
