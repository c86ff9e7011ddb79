// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <nfsc/libnfs-raw-nfs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "storage/nfs/nfs_internal.h"

#define WHAT_BYTES      (LIMIT_PATH_BYTES + 64)
#define NFS_FOLDERS_MAX 10000 // folders in a list

// ---- store ----

static void describe(const struct storage_config *c, struct buf *into)
{
  buf_printf(into, "nfs %s:%s", c->server ? c->server : "(none)",
             c->export_path ? c->export_path : "(none)");
}

static int store_open(const struct storage_config *c, const struct address_filter *allowed,
                      void **ret, struct err *err)
{
  if (str_empty(c->server) || strpbrk(c->server, "/?@ "))
    return err_set(err, ERR_INVALID, "server must be a host name or an address");
  if (str_empty(c->export_path) || c->export_path[0] != '/')
    return err_set(err, ERR_INVALID, "export must be an absolute path, as the server exports it");
  if (c->version != 0 && c->version != 3)
    return err_set(err, ERR_UNSUPPORTED,
                   "only NFS version 3 can be used: the NFS library here cannot write with "
                   "version %lld",
                   (long long)c->version);
  struct nfs_store *s = calloc(1, sizeof(*s));
  if (!s)
    return err_set(err, ERR_NO_MEMORY, "no memory for a store");
  *s = (struct nfs_store){.config = c, .allowed = allowed};
  *ret = s;
  return 0;
}

static int lane_open(void *store, void **ret_lane, struct err *err)
{
  struct nfs_lane *l = NULL;
  if (nfs_lane_new(store, &l, err) < 0)
    return -1;
  *ret_lane = l;
  return 0;
}

static void lane_close(void *store, void *lane)
{
  (void)store;
  nfs_lane_free(lane);
}

static void interrupt(void *store, void *lane)
{
  (void)store;
  nfs_lane_interrupt(lane);
}

char *nfs_path(const char *key, struct err *err)
{
  char *path = str_printf("/%s", key);
  if (!path)
    err_set(err, ERR_NO_MEMORY, "no memory for a path");
  return path;
}

// ---- single calls, repeated when the connection breaks ----

struct simple {
  struct nfs_lane *lane;
  const char *key, *what;
  int (*start)(struct nfs_context *nfs, const char *path, nfs_cb done, void *call);
  void *into;
  size_t into_length;
};

static int simple_once(void *arg, struct err *err)
{
  struct simple *s = arg;
  struct nfs_call call = {.into = s->into, .into_length = s->into_length};
  char *path cleanup_free = nfs_path(s->key, err);
  if (!path || nfs_lane_connect(s->lane, err) < 0)
    return -1;
  return nfs_finish(s->lane, &call, s->start(s->lane->nfs, path, nfs_done, &call), s->what, err);
}

static int simple(struct nfs_lane *l, const char *key, const char *verb,
                  int (*start)(struct nfs_context *nfs, const char *path, nfs_cb done, void *call),
                  void *into, size_t into_length, struct err *err)
{
  char what[WHAT_BYTES];
  snprintf(what, sizeof(what), "%s '%s'", verb, key);
  struct simple s = {l, key, what, start, into, into_length};
  return storage_retry(&l->stop, simple_once, &s, err);
}

int nfs_stat_path(struct nfs_lane *l, const char *key, struct nfs_stat_64 *ret, struct err *err)
{
  return simple(l, key, "object", nfs_stat64_async, ret, sizeof(*ret), err);
}

int nfs_unlink_path(struct nfs_lane *l, const char *key, struct err *err)
{
  struct err failure = ERR_INIT;
  if (simple(l, key, "removing", nfs_unlink_async, NULL, 0, &failure) == 0 ||
      failure.kind == ERR_NOT_FOUND)
    return 0;
  if (err)
    *err = failure;
  return -1;
}

void nfs_prune_parents(struct nfs_lane *l, const char *key)
{
  char *copy cleanup_free = str_dup(key);
  size_t keep = l->store->config->prefix ? strlen(l->store->config->prefix) : 0;
  while (copy) {
    char *slash = strrchr(copy, '/');
    if (!slash || (size_t)(slash - copy) <= keep)
      return;
    *slash = '\0';
    if (simple(l, copy, "removing", nfs_rmdir_async, NULL, 0, NULL) < 0)
      return;
  }
}

// ---- calls of the store ----

static bool is_folder(const struct nfs_stat_64 *st)
{
  return S_ISDIR(st->nfs_mode);
}

static int check(void *store, void *lane, struct err *err)
{
  struct nfs_stat_64 st;
  (void)store;
  if (nfs_stat_path(lane, "", &st, err) < 0)
    return -1;
  return is_folder(&st) ? 0 : err_set(err, ERR_INVALID, "what is exported is not a folder");
}

void nfs_identity(const struct nfs_stat_64 *st, char *ret, size_t size)
{
  snprintf(ret, size, "nfs:%" PRIu64 ":%" PRIu64 ":%" PRIu64 ".%09" PRIu64, st->nfs_size,
           st->nfs_ino, st->nfs_mtime, st->nfs_mtime_nsec);
}

static void fill_stat(const struct nfs_stat_64 *st, struct storage_stat *ret)
{
  *ret = (struct storage_stat){.size_bytes = st->nfs_size,
                               .modified_wall_ms =
                                   (int64_t)(st->nfs_mtime * 1000 + st->nfs_mtime_nsec / 1000000)};
  nfs_identity(st, ret->identity, sizeof(ret->identity));
}

static int stat_object(void *store, void *lane, const char *key, struct storage_stat *ret,
                       struct err *err)
{
  struct nfs_stat_64 st;
  (void)store;
  if (nfs_stat_path(lane, key, &st, err) < 0)
    return -1;
  if (is_folder(&st))
    return err_set(err, ERR_NOT_FOUND, "'%s' is a folder", key);
  fill_stat(&st, ret);
  return 0;
}

static int remove_object(void *store, void *lane, const char *key, struct err *err)
{
  (void)store;
  if (nfs_unlink_path(lane, key, err) < 0)
    return -1;
  nfs_prune_parents(lane, key);
  return 0;
}

static int remove_partial(void *store, void *lane, const char *key, const char *owner,
                          struct err *err)
{
  char *partial cleanup_free = storage_partial_key(key, owner);
  return partial ? remove_object(store, lane, partial, err)
                 : err_set(err, ERR_NO_MEMORY, "no memory for a name");
}

static int free_bytes(void *store, void *lane, int64_t *ret, struct err *err)
{
  struct nfs_statvfs_64 v;
  (void)store;
  if (simple(lane, "", "free space of", nfs_statvfs64_async, &v, sizeof(v), err) < 0)
    return -1;
  *ret = (int64_t)(v.f_bavail * (v.f_frsize ? v.f_frsize : v.f_bsize));
  return 0;
}

static int put(void *store, void *lane, const char *key, const void *data, size_t length,
               const char *owner, bool only_new, struct err *err)
{
  struct object_writer *w = NULL;
  (void)lane;
  if (nfs_writer(store, key, owner, !only_new, &w, err) < 0)
    return -1;
  return storage_write_whole(w, data, length, err);
}

// ---- ranges ----

struct range_call {
  struct nfs_lane *lane;
  const char *key, *identity, *what;
  char *into;
  size_t length;
  uint64_t offset;
};

int nfs_close_file(struct nfs_lane *l, const char *what, struct err *err)
{
  struct nfs_call call = {0};
  if (!l->nfs || !l->file)
    return 0;
  struct nfsfh *old = TAKE(l->file);
  return nfs_finish(l, &call, nfs_close_async(l->nfs, old, nfs_done, &call), what, err);
}

int nfs_open_file(struct nfs_lane *l, const char *key, int flags, const char *what, struct err *err)
{
  struct nfs_call call = {0};
  char *path cleanup_free = nfs_path(key, err);
  if (!path || nfs_close_file(l, what, err) < 0 || nfs_lane_connect(l, err) < 0)
    return -1;
  if (nfs_finish(l, &call, nfs_open2_async(l->nfs, path, flags, NFS_FILE_MODE, nfs_done, &call),
                 what, err) < 0)
    return -1;
  l->file = call.data;
  return 0;
}

// The bytes and the attributes are asked for together: the latter tell whether it is the same file.
static int read_chunk(struct range_call *g, size_t at, size_t length, struct err *err)
{
  struct nfs_lane *l = g->lane;
  struct nfs_stat_64 st = {0};
  struct storage_stat now;
  struct nfs_call bytes = {.into = g->into + at, .into_length = length};
  struct nfs_call attributes = {.into = &st, .into_length = sizeof(st)};
  int first = nfs_pread_async(l->nfs, l->file, g->offset + at, length, nfs_done, &bytes);
  int second = first < 0 ? -1 : nfs_fstat64_async(l->nfs, l->file, nfs_done, &attributes);
  if (second < 0)
    return nfs_wait(l, &attributes, -1, g->what, err);
  // Both must have ended before this frame does: a lane that is dropped ends them as well.
  if (nfs_wait(l, &bytes, 0, g->what, err) < 0 || nfs_wait(l, &attributes, 0, g->what, err) < 0)
    return -1;
  if (bytes.status < 0 || attributes.status < 0)
    return nfs_failed(l, bytes.status < 0 ? &bytes : &attributes, g->what, err);
  fill_stat(&st, &now);
  if (!str_empty(g->identity) && !str_eq(now.identity, g->identity))
    return err_set(err, ERR_CHANGED, "%s: the object is not the same any more", g->what);
  if ((size_t)bytes.status != length)
    return err_set(err, ERR_CHANGED, "%s: the object became shorter", g->what);
  return 0;
}

// The open file is the one that this name meant when the caller saw this identity.
static int open_range(struct range_call *g, struct err *err)
{
  struct nfs_lane *l = g->lane;
  char *tag cleanup_free = str_printf("%s\n%s", g->key, g->identity ? g->identity : "");
  if (!tag)
    return err_set(err, ERR_NO_MEMORY, "no memory for a name");
  if (l->file && str_eq(l->file_key, tag))
    return 0;
  if (nfs_open_file(l, g->key, O_RDONLY, g->what, err) < 0)
    return -1;
  free(l->file_key);
  l->file_key = TAKE(tag);
  return 0;
}

static int range_once(void *arg, struct err *err)
{
  struct range_call *g = arg;
  if (open_range(g, err) < 0)
    return -1;
  for (size_t at = 0; at < g->length;) {
    size_t n = g->length - at < NFS_CHUNK_BYTES ? g->length - at : NFS_CHUNK_BYTES;
    if (read_chunk(g, at, n, err) < 0)
      return -1;
    at += n;
  }
  return 0;
}

static int get_range(void *store, void *lane, const char *key, const char *identity, void *into,
                     size_t length, uint64_t offset, struct err *err)
{
  char what[WHAT_BYTES];
  (void)store;
  snprintf(what, sizeof(what), "reading '%s'", key);
  struct range_call g = {lane, key, identity, what, into, length, offset};
  return storage_retry(&g.lane->stop, range_once, &g, err);
}

// ---- list ----

struct walk {
  struct nfs_lane *lane;
  struct strings folders; // keys, "" for the export itself
  size_t next;
  struct strings *names;
  size_t max;
};

static int take(struct walk *w, const char *folder, const struct nfsdirent *e, struct err *err)
{
  if (str_eq(e->name, ".") || str_eq(e->name, "..") || storage_key_is_partial(e->name))
    return 0;
  bool is_dir = e->type == NF3DIR;
  if (!is_dir && e->type != NF3REG)
    return 0;
  struct strings *into = is_dir ? &w->folders : w->names;
  if (into->count == (is_dir ? (size_t)NFS_FOLDERS_MAX : w->max))
    return err_set(err, ERR_LIMIT, "there are more than %zu %s", into->count,
                   is_dir ? "folders" : "objects");
  char *key cleanup_free = storage_key_join(folder, e->name);
  return key && strings_add(into, key) == 0 ? 0
                                            : err_set(err, ERR_NO_MEMORY, "no memory for a list");
}

static int list_folder(struct walk *w, const char *folder, struct err *err)
{
  struct nfs_call call = {0};
  char *path cleanup_free = nfs_path(folder, err);
  if (!path || nfs_lane_connect(w->lane, err) < 0 ||
      nfs_wait(w->lane, &call, nfs_opendir_async(w->lane->nfs, path, nfs_done, &call), "listing",
               err) < 0)
    return -1;
  if (call.status == -ENOENT || call.status == -ENOTDIR)
    return 0;
  if (call.status < 0)
    return nfs_failed(w->lane, &call, "listing", err);
  int result = 0;
  for (struct nfsdirent *e; result == 0 && (e = nfs_readdir(w->lane->nfs, call.data));)
    result = take(w, folder, e, err);
  nfs_closedir(w->lane->nfs, call.data);
  return result;
}

static int walk(struct walk *w, const char *folder, struct err *err)
{
  if (strings_add(&w->folders, folder) < 0)
    return err_set(err, ERR_NO_MEMORY, "no memory for a list");
  while (w->next < w->folders.count)
    if (list_folder(w, w->folders.items[w->next++], err) < 0)
      return -1;
  return 0;
}

static int list(void *store, void *lane, const char *folder, size_t max, struct strings *ret,
                struct err *err)
{
  struct walk w = {.lane = lane, .names = ret, .max = max};
  (void)store;
  int result = walk(&w, folder, err);
  strings_release(&w.folders);
  return result;
}

const struct storage_ops storage_nfs_ops = {
    .name = "nfs",
    .keeps_owner = false,
    .describe = describe,
    .open = store_open,
    .close = free,
    .lane_open = lane_open,
    .lane_close = lane_close,
    .interrupt = interrupt,
    .check = check,
    .stat = stat_object,
    .list = list,
    .remove = remove_object,
    .remove_partial = remove_partial,
    .free_bytes = free_bytes,
    .get_range = get_range,
    .put = put,
    .writer = nfs_writer,
    .mender = nfs_mender,
};
