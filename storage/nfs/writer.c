// SPDX-License-Identifier: Apache-2.0
// Writing: all lanes write into one temporary file, which commit renames. The server may hold what
// was written in memory until COMMIT (RFC 1813 section 3.3.21), and loses it when it restarts; then
// it also loses the connection. So every lane ends with an fsync on the connection that it wrote
// through, and when that connection broke before, the object is in doubt and commit refuses it.
//
// A mender is the same writer whose "temporary" file is the object itself.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "storage/nfs/nfs_internal.h"

#define BEGIN_TRIES 5

#define WHAT_BYTES  (LIMIT_PATH_BYTES + 64)

struct nfs_writer {
  struct object_writer base;
  const struct nfs_store *store;
  char *key, *partial;
  char what[WHAT_BYTES];
  bool overwrite;
  char *identity;                   // menders: of the object when it was looked at
  uint64_t inode;                   // of the temporary file
  char earlier[OBJECT_STATE_BYTES]; // to go on with
  char state[OBJECT_STATE_BYTES];
  struct object_file_state is;
  struct lane_set lanes;
  pthread_mutex_t lock; // guards doubt
  bool in_doubt;
  struct err doubt;
};

struct write_lane {
  struct nfs_writer *writer;
  struct nfs_lane *nfs;
  unsigned opened_at; // nfs->broken when its file was opened
  bool dirty;
  char *buffer; // for bodies that are not in memory
};

static void interrupt_lane(void *lane)
{
  nfs_lane_interrupt(((struct write_lane *)lane)->nfs);
}

static void doubt(struct nfs_writer *w, const struct err *why)
{
  LOCK_FOR_SCOPE(&w->lock);
  if (w->in_doubt)
    return;
  w->in_doubt = true;
  w->doubt = *why;
}

// ---- lanes ----

static int lane_open(struct object_writer *base, void **ret_lane, struct err *err)
{
  struct nfs_writer *w = (struct nfs_writer *)base;
  struct write_lane *l = calloc(1, sizeof(*l));
  if (!l)
    return err_set(err, ERR_NO_MEMORY, "no memory for a connection");
  l->writer = w;
  if (nfs_lane_new(w->store, &l->nfs, err) < 0 || lane_set_add(&w->lanes, l, err) < 0) {
    nfs_lane_free(l->nfs);
    free(l);
    return -1;
  }
  *ret_lane = l;
  return 0;
}

// To the server's disk, over the connection that the bytes went through.
static int flush(struct write_lane *l, struct err *err)
{
  struct err failure = ERR_INIT;
  struct nfs_call call = {0};
  if (!l->dirty)
    return 0;
  l->dirty = false;
  if (l->nfs->broken != l->opened_at)
    err_set(&failure, ERR_UNREACHABLE,
            "%s: the connection broke before the data was safe on the server; it must be written "
            "again",
            l->writer->what);
  else if (nfs_finish(l->nfs, &call, nfs_fsync_async(l->nfs->nfs, l->nfs->file, nfs_done, &call),
                      l->writer->what, &failure) == 0)
    return 0;
  doubt(l->writer, &failure);
  if (err)
    *err = failure;
  return -1;
}

static void lane_close(struct object_writer *base, void *arg)
{
  struct write_lane *l = arg;
  flush(l, NULL);
  lane_set_remove(&((struct nfs_writer *)base)->lanes, l);
  nfs_lane_free(l->nfs);
  free(l->buffer);
  free(l);
}

static int ensure_file(struct write_lane *l, struct err *err)
{
  if (l->nfs->file && l->nfs->broken == l->opened_at)
    return 0;
  flush(l, NULL); // what went before is in doubt
  if (nfs_open_file(l->nfs, l->writer->partial, O_WRONLY, l->writer->what, err) < 0)
    return -1;
  l->opened_at = l->nfs->broken;
  return 0;
}

static int write_chunk(struct write_lane *l, const void *bytes, size_t length, uint64_t offset,
                       struct err *err)
{
  struct nfs_call call = {0};
  const char *what = l->writer->what;
  l->dirty = true;
  if (nfs_finish(
          l->nfs, &call,
          nfs_pwrite_async(l->nfs->nfs, l->nfs->file, offset, length, bytes, nfs_done, &call), what,
          err) < 0)
    return -1;
  if ((size_t)call.status == length)
    return 0;
  return err_set(err, ERR_PROTOCOL, "%s: the server took %d of %zu bytes", what, call.status,
                 length);
}

static int write_part(struct object_writer *base, void *arg, uint32_t number, uint64_t offset,
                      const struct object_body *body, struct err *err)
{
  struct write_lane *l = arg;
  (void)base, (void)number;
  if (ensure_file(l, err) < 0)
    return -1;
  if (!body->bytes && !l->buffer && !(l->buffer = malloc(NFS_CHUNK_BYTES)))
    return err_set(err, ERR_NO_MEMORY, "no memory for a part");
  for (uint64_t at = 0; at < body->length;) {
    size_t n = body->length - at < NFS_CHUNK_BYTES ? (size_t)(body->length - at) : NFS_CHUNK_BYTES;
    const char *bytes = body->bytes ? (const char *)body->bytes + at : l->buffer;
    if ((!body->bytes && object_body_read(body, at, l->buffer, n, err) < 0) ||
        write_chunk(l, bytes, n, offset + at, err) < 0)
      return -1;
    at += n;
  }
  return 0;
}

// ---- begin ----

typedef int (*control_fn)(struct nfs_writer *w, struct nfs_lane *l, struct err *err);

// Runs fn with a connection of its own.
static int with_lane(struct nfs_writer *w, control_fn fn, struct err *err)
{
  struct nfs_lane *l = NULL;
  if (nfs_lane_new(w->store, &l, err) < 0)
    return -1;
  int result = nfs_lane_connect(l, err);
  if (result == 0)
    result = fn(w, l, err);
  nfs_lane_free(l);
  return result;
}

static int make_parents(struct nfs_writer *w, struct nfs_lane *l, struct err *err)
{
  for (const char *slash = strchr(w->key, '/'); slash; slash = strchr(slash + 1, '/')) {
    char *path cleanup_free = str_printf("/%.*s", (int)(slash - w->key), w->key);
    struct nfs_call call = {0};
    if (!path)
      return err_set(err, ERR_NO_MEMORY, "no memory for a path");
    if (nfs_wait(l, &call, nfs_mkdir2_async(l->nfs, path, NFS_FOLDER_MODE, nfs_done, &call),
                 w->what, err) < 0)
      return -1;
    if (call.status < 0 && call.status != -EEXIST)
      return nfs_failed(l, &call, w->what, err);
  }
  return 0;
}

static int check_new(struct nfs_writer *w, struct nfs_lane *l, struct err *err)
{
  struct nfs_stat_64 st;
  struct err failure = ERR_INIT;
  if (w->overwrite)
    return 0;
  if (nfs_stat_path(l, w->key, &st, &failure) == 0)
    return err_set(err, ERR_EXISTS, "object '%s' exists already", w->key);
  if (failure.kind == ERR_NOT_FOUND)
    return 0;
  if (err)
    *err = failure;
  return -1;
}

// Inode numbers are used again. The time of the last access is that when the file was made, for
// nobody reads it.
static void look_at(struct nfs_writer *w, const struct nfs_stat_64 *st, uint64_t begun_bytes)
{
  w->inode = st->nfs_ino;
  w->is = (struct object_file_state){.begun_bytes = begun_bytes, .length_bytes = st->nfs_size};
  snprintf(w->is.file, sizeof(w->is.file), "nfs:%" PRIu64 ":%" PRIu64 ".%09" PRIu64, st->nfs_ino,
           st->nfs_atime, st->nfs_atime_nsec);
  snprintf(w->is.changed, sizeof(w->is.changed), "%" PRIu64 ".%09" PRIu64, st->nfs_mtime,
           st->nfs_mtime_nsec);
}

static int set_length(struct nfs_writer *w, struct nfs_lane *l, uint64_t size_bytes,
                      struct err *err)
{
  struct nfs_call call = {0};
  return nfs_finish(l, &call, nfs_ftruncate_async(l->nfs, l->file, size_bytes, nfs_done, &call),
                    w->what, err);
}

static int create_file(struct nfs_writer *w, struct nfs_lane *l, struct err *err)
{
  struct nfs_stat_64 st = {0};
  struct nfs_call looking = {.into = &st, .into_length = sizeof(st)};
  if (nfs_unlink_path(l, w->partial, err) < 0 || // of an earlier try
      nfs_open_file(l, w->partial, O_CREAT | O_EXCL | O_WRONLY, w->what, err) < 0 ||
      set_length(w, l, w->base.size_bytes, err) < 0 ||
      nfs_finish(l, &looking, nfs_fstat64_async(l->nfs, l->file, nfs_done, &looking), w->what,
                 err) < 0)
    return -1;
  look_at(w, &st, w->base.size_bytes);
  w->is.changed[0] = '\0';
  return nfs_close_file(l, w->what, err);
}

static const struct {
  bool final;
  bool (*is_earlier)(const struct object_file_state *found, const char *earlier);
} places[] = {{true, object_file_state_is_whole}, {false, object_file_state_is_part}};

// 1: what an earlier writer left is there, under one name or the other; 0: it is not; -1: error.
static int find_earlier(struct nfs_writer *w, struct nfs_lane *l, struct err *err)
{
  for (size_t i = 0; w->earlier[0] && i < ARRAY_SIZE(places); i++) {
    struct nfs_stat_64 st;
    struct err failure = ERR_INIT;
    if (nfs_stat_path(l, places[i].final ? w->key : w->partial, &st, &failure) < 0) {
      if (failure.kind == ERR_NOT_FOUND)
        continue;
      *err = failure;
      return -1;
    }
    look_at(w, &st, w->base.size_bytes);
    if (!places[i].is_earlier(&w->is, w->earlier))
      continue;
    w->base.resumed = true;
    w->base.stored = places[i].final;
    w->base.there_bytes = st.nfs_size;
    return 1;
  }
  return 0;
}

// A folder that was just made can be pruned by another one's clean-up before our file is in it.
static int begin_with(struct nfs_writer *w, struct nfs_lane *l, struct err *err)
{
  struct err failure = ERR_INIT;
  int found = find_earlier(w, l, &failure);
  if (found) {
    w->is.changed[0] = '\0';
    if (found < 0 && err)
      *err = failure;
    return found < 0 ? -1 : 0;
  }
  if (check_new(w, l, err) < 0)
    return -1;
  for (int tries = 0; tries < BEGIN_TRIES; tries++) {
    failure = (struct err)ERR_INIT;
    if (make_parents(w, l, &failure) == 0 && create_file(w, l, &failure) == 0)
      return 0;
    if (failure.kind != ERR_NOT_FOUND)
      break;
  }
  if (err)
    *err = failure;
  return -1;
}

static int writer_begin(struct object_writer *base, uint64_t size_bytes, struct err *err)
{
  base->size_bytes = size_bytes;
  return with_lane((struct nfs_writer *)base, begin_with, err);
}

// ---- commit ----

// Whether the final name already is the file that we wrote: the answer to an earlier try was lost.
static bool is_there(struct nfs_writer *w, struct nfs_lane *l)
{
  struct nfs_stat_64 st;
  return nfs_stat_path(l, w->key, &st, NULL) == 0 && st.nfs_ino == w->inode &&
         st.nfs_size == w->base.size_bytes;
}

static int rename_file(struct nfs_writer *w, struct nfs_lane *l, const char *from, const char *to,
                       struct err *err)
{
  struct nfs_call call = {0};
  return nfs_finish(l, &call, nfs_rename_async(l->nfs, from, to, nfs_done, &call), w->what, err);
}

// A hard link fails when the name is taken, which a rename does not.
static int link_file(struct nfs_writer *w, struct nfs_lane *l, const char *from, const char *to,
                     struct err *err)
{
  struct nfs_call call = {0};
  if (nfs_wait(l, &call, nfs_link_async(l->nfs, from, to, nfs_done, &call), w->what, err) < 0)
    return -1;
  if (call.status == 0)
    return nfs_unlink_path(l, w->partial, err);
  if (call.status == -EEXIST)
    return err_set(err, ERR_EXISTS, "object '%s' exists already", w->key);
  if (call.status == -ENOENT)
    return nfs_failed(l, &call, w->what, err);
  // A server without hard links: look first, then rename.
  return check_new(w, l, err) < 0 ? -1 : rename_file(w, l, from, to, err);
}

// Where the length is told at the end, the most that it could come to was set at the beginning.
static int cut(struct nfs_writer *w, struct nfs_lane *l)
{
  struct err ignored = ERR_INIT; // commit looks at what is there
  if (nfs_open_file(l, w->partial, O_WRONLY, w->what, &ignored) < 0)
    return -1;
  int failed = set_length(w, l, w->base.size_bytes, &ignored);
  return nfs_close_file(l, w->what, &ignored) < 0 ? -1 : failed;
}

static int seal_with(struct nfs_writer *w, struct nfs_lane *l, struct err *err)
{
  struct nfs_stat_64 st;
  if (nfs_stat_path(l, w->partial, &st, err) < 0)
    return -1;
  if (st.nfs_ino == w->inode && st.nfs_size > w->base.size_bytes && cut(w, l) == 0 &&
      nfs_stat_path(l, w->partial, &st, err) < 0)
    return -1;
  if (st.nfs_size != w->base.size_bytes || st.nfs_ino != w->inode)
    return err_set(err, ERR_CORRUPT, "%s: the temporary file is not the one that was written",
                   w->what);
  look_at(w, &st, w->is.begun_bytes);
  return 0;
}

static int commit_with(struct nfs_writer *w, struct nfs_lane *l, struct err *err)
{
  struct err failure = ERR_INIT;
  char *from cleanup_free = nfs_path(w->partial, err);
  char *to cleanup_free = nfs_path(w->key, err);
  if (!from || !to)
    return -1;
  int result = w->is.changed[0] ? 0 : seal_with(w, l, &failure);
  if (result == 0)
    result =
        w->overwrite ? rename_file(w, l, from, to, &failure) : link_file(w, l, from, to, &failure);
  if (result == 0 || (failure.kind != ERR_CORRUPT && is_there(w, l) &&
                      nfs_unlink_path(l, w->partial, NULL) == 0)) // a link and not yet unlinked
    return 0;
  if (err)
    *err = failure;
  return -1;
}

// Of an earlier writer, which was killed before it could unlink the temporary name.
static int end_stored_with(struct nfs_writer *w, struct nfs_lane *l, struct err *err)
{
  struct nfs_stat_64 st;
  if (w->base.size_bytes != w->base.there_bytes)
    return err_set(err, ERR_CONFLICT,
                   "object '%s' was completed by an earlier copy, but its length is not the one "
                   "that it should have",
                   w->key);
  bool twin = nfs_stat_path(l, w->partial, &st, NULL) == 0 && st.nfs_ino == w->inode;
  return twin ? nfs_unlink_path(l, w->partial, err) : 0;
}

// Lanes that are still open do no call now: commit comes after the last part.
static int flush_all(struct nfs_writer *w, struct err *err)
{
  for (size_t i = 0; i < w->lanes.count; i++)
    flush(w->lanes.lanes[i], NULL);
  if (w->in_doubt && err)
    *err = w->doubt;
  return w->in_doubt ? -1 : 0;
}

static int writer_seal(struct object_writer *base, struct err *err)
{
  struct nfs_writer *w = (struct nfs_writer *)base;
  return flush_all(w, err) < 0 ? -1 : with_lane(w, seal_with, err);
}

static int writer_commit(struct object_writer *base, struct err *err)
{
  struct nfs_writer *w = (struct nfs_writer *)base;
  if (base->stored)
    return with_lane(w, end_stored_with, err);
  return flush_all(w, err) < 0 ? -1 : with_lane(w, commit_with, err);
}

// ---- the other ends ----

static int abort_with(struct nfs_writer *w, struct nfs_lane *l, struct err *err)
{
  if (nfs_unlink_path(l, w->partial, err) < 0)
    return -1;
  nfs_prune_parents(l, w->key);
  return 0;
}

static int writer_abort(struct object_writer *base, struct err *err)
{
  ((struct nfs_writer *)base)->earlier[0] = '\0';
  return with_lane((struct nfs_writer *)base, abort_with, err);
}

static void writer_resume(struct object_writer *base, const char *state)
{
  struct nfs_writer *w = (struct nfs_writer *)base;
  snprintf(w->earlier, sizeof(w->earlier), "%s", state);
}

static const char *writer_state(struct object_writer *base)
{
  struct nfs_writer *w = (struct nfs_writer *)base;
  w->is.length_bytes = base->size_bytes;
  object_file_state_text(&w->is, w->state);
  return w->state;
}

static int writer_flush(struct object_writer *base, void *lane, struct err *err)
{
  (void)base;
  return flush(lane, err);
}

static void writer_interrupt(struct object_writer *base)
{
  lane_set_interrupt(&((struct nfs_writer *)base)->lanes);
}

static void writer_free(struct object_writer *base)
{
  struct nfs_writer *w = (struct nfs_writer *)base;
  lane_set_release(&w->lanes);
  pthread_mutex_destroy(&w->lock);
  free(w->key);
  free(w->partial);
  free(w->identity);
  free(w);
}

static const struct object_writer_ops nfs_writer_ops = {
    .name = "nfs",
    .begin = writer_begin,
    .lane_open = lane_open,
    .lane_close = lane_close,
    .write_part = write_part,
    .seal = writer_seal,
    .commit = writer_commit,
    .abort = writer_abort,
    .interrupt = writer_interrupt,
    .resume = writer_resume,
    .state = writer_state,
    .flush = writer_flush,
    .free = writer_free,
};

static struct nfs_writer *new_writer(const struct nfs_store *store, const char *key, char *partial)
{
  struct nfs_writer *w = calloc(1, sizeof(*w));
  if (!w) {
    free(partial);
    return NULL;
  }
  w->store = store;
  pthread_mutex_init(&w->lock, NULL);
  lane_set_init(&w->lanes, interrupt_lane);
  snprintf(w->what, sizeof(w->what), "writing '%s'", key);
  w->key = str_dup(key);
  w->partial = partial;
  if (w->key && w->partial)
    return w;
  writer_free(&w->base);
  return NULL;
}

int nfs_writer(void *store, const char *key, const char *owner, bool overwrite,
               struct object_writer **ret, struct err *err)
{
  struct nfs_writer *w = new_writer(store, key, storage_partial_key(key, owner));
  if (!w)
    return err_set(err, ERR_NO_MEMORY, "no memory for a writer");
  w->base = (struct object_writer){.ops = &nfs_writer_ops, .holes = true};
  w->overwrite = overwrite;
  *ret = &w->base;
  return 0;
}

// ---- mending ----

static int mend_with(struct nfs_writer *w, struct nfs_lane *l, struct err *err)
{
  struct nfs_stat_64 st;
  char identity[160];
  if (nfs_stat_path(l, w->key, &st, err) < 0)
    return -1;
  nfs_identity(&st, identity, sizeof(identity));
  if (!str_eq(identity, w->identity))
    return err_set(err, ERR_CHANGED, "'%s' changed while it was compared", w->key);
  w->inode = st.nfs_ino;
  return 0;
}

static int mender_begin(struct object_writer *base, uint64_t size_bytes, struct err *err)
{
  base->size_bytes = size_bytes;
  return with_lane((struct nfs_writer *)base, mend_with, err);
}

static int end_mend_with(struct nfs_writer *w, struct nfs_lane *l, struct err *err)
{
  struct nfs_stat_64 st;
  if (nfs_stat_path(l, w->key, &st, err) < 0)
    return -1;
  if (st.nfs_size > w->base.size_bytes && cut(w, l) == 0 && nfs_stat_path(l, w->key, &st, err) < 0)
    return -1;
  if (st.nfs_ino == w->inode && st.nfs_size == w->base.size_bytes)
    return 0;
  return err_set(err, ERR_CORRUPT, "%s: the file is not the one that was written to", w->what);
}

static int mender_commit(struct object_writer *base, struct err *err)
{
  struct nfs_writer *w = (struct nfs_writer *)base;
  if (flush_all(w, err) < 0)
    return -1;
  return with_lane(w, end_mend_with, err);
}

static int mender_abort(struct object_writer *base, struct err *err)
{
  (void)base, (void)err;
  return 0;
}

static const struct object_writer_ops nfs_mender_ops = {
    .name = "nfs",
    .begin = mender_begin,
    .lane_open = lane_open,
    .lane_close = lane_close,
    .write_part = write_part,
    .commit = mender_commit,
    .abort = mender_abort,
    .interrupt = writer_interrupt,
    .free = writer_free,
};

int nfs_mender(void *store, const char *key, const char *owner, const char *identity,
               struct object_writer **ret, struct err *err)
{
  (void)owner;
  struct nfs_writer *w = new_writer(store, key, str_dup(key));
  if (w && !(w->identity = str_dup(identity))) {
    writer_free(&w->base);
    w = NULL;
  }
  if (!w)
    return err_set(err, ERR_NO_MEMORY, "no memory for a writer");
  w->base = (struct object_writer){.ops = &nfs_mender_ops, .in_place = true};
  *ret = &w->base;
  return 0;
}
