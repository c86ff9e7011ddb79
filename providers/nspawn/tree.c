// SPDX-License-Identifier: Apache-2.0
// Questions about whole trees.
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "providers/nspawn/host_internal.h"

#define EXTENTS_AT_ONCE 256

typedef int (*entry_fn)(void *arg, const FTSENT *e);

static int by_name(const FTSENT **a, const FTSENT **b)
{
  return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int walk(const char *path, entry_fn fn, void *arg, struct err *err)
{
  char *roots[] = {(char *)path, NULL};
  FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
  if (!fts)
    return err_errno(err, errno, "walk %s", path);
  int failed = 0;
  errno = 0;
  for (FTSENT *e; !failed && (e = fts_read(fts));) {
    if (e->fts_info == FTS_DNR || e->fts_info == FTS_ERR || e->fts_info == FTS_NS)
      failed = err_errno(err, e->fts_errno, "walk %s", e->fts_path);
    else if (e->fts_info != FTS_DP && fn(arg, e) != 0)
      failed = err_errno(err, errno ? errno : EIO, "read %s", e->fts_path);
  }
  fts_close(fts);
  return failed;
}

struct digest {
  EVP_MD_CTX *ctx;
  size_t skip; // of every path: what leads to the root
};

// Change times tell of writes that put size and modification time back.
static int digest_entry(void *arg, const FTSENT *e)
{
  struct digest *d = arg;
  const struct stat *s = e->fts_statp;
  const char *path = e->fts_path + d->skip;
  char line[192];
  if (e->fts_level == 0)
    return 0; // the root's own time changes when it is renamed or marked
  int n =
      snprintf(line, sizeof(line), "%o %u %u %lld %lld.%09ld %llx", s->st_mode, s->st_uid,
               s->st_gid, S_ISDIR(s->st_mode) ? 0ll : (long long)s->st_size,
               (long long)s->st_ctim.tv_sec, s->st_ctim.tv_nsec, (unsigned long long)s->st_rdev);
  return EVP_DigestUpdate(d->ctx, path, strlen(path) + 1) == 1 &&
                 EVP_DigestUpdate(d->ctx, line, (size_t)n + 1) == 1
             ? 0
             : -1;
}

int ns_tree_revision(const char *path, char ret[65], struct err *err)
{
  unsigned char sum[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  struct digest d = {.ctx = EVP_MD_CTX_new(), .skip = strlen(path)};
  int failed = d.ctx && EVP_DigestInit_ex(d.ctx, EVP_sha256(), NULL) == 1 ? 0 : ns_no_memory(err);
  if (!failed)
    failed = walk(path, digest_entry, &d, err);
  if (!failed && EVP_DigestFinal_ex(d.ctx, sum, &length) != 1)
    failed = err_set(err, ERR_INTERNAL, "no digest of %s", path);
  EVP_MD_CTX_free(d.ctx);
  for (unsigned i = 0; !failed && i < 32; i++)
    sprintf(ret + 2 * i, "%02x", sum[i]);
  return failed;
}

static int add_blocks(void *arg, const FTSENT *e)
{
  int64_t *sum = arg;
  if (e->fts_statp->st_nlink < 2 || S_ISDIR(e->fts_statp->st_mode))
    *sum += (int64_t)e->fts_statp->st_blocks * 512;
  else
    *sum += (int64_t)e->fts_statp->st_blocks * 512 / (int64_t)e->fts_statp->st_nlink;
  return 0;
}

int ns_tree_bytes(const char *path, int64_t *ret, struct err *err)
{
  *ret = 0;
  return walk(path, add_blocks, ret, err);
}

// Length of a file's extents that nothing else uses.
static int own_extents(int fd, struct fiemap *map, int64_t *sum)
{
  for (uint64_t at = 0;;) {
    memset(map, 0, sizeof(*map));
    map->fm_start = at;
    map->fm_length = FIEMAP_MAX_OFFSET - at;
    map->fm_flags = FIEMAP_FLAG_SYNC;
    map->fm_extent_count = EXTENTS_AT_ONCE;
    if (ioctl(fd, FS_IOC_FIEMAP, map) != 0)
      return -1;
    const struct fiemap_extent *e = map->fm_extents;
    for (uint32_t i = 0; i < map->fm_mapped_extents; i++, e++) {
      if (!(e->fe_flags & FIEMAP_EXTENT_SHARED))
        *sum += (int64_t)e->fe_length;
      at = e->fe_logical + e->fe_length;
      if (e->fe_flags & FIEMAP_EXTENT_LAST)
        return 0;
    }
    if (map->fm_mapped_extents == 0)
      return 0;
  }
}

struct own {
  struct fiemap *map;
  int64_t bytes;
};

static int add_own(void *arg, const FTSENT *e)
{
  struct own *own = arg;
  if (!S_ISREG(e->fts_statp->st_mode) || e->fts_statp->st_blocks == 0)
    return 0;
  cleanup_close int fd = open(e->fts_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  return fd < 0 ? -1 : own_extents(fd, own->map, &own->bytes);
}

int ns_tree_own_bytes(const char *path, int64_t *ret, struct err *err)
{
  cleanup_free struct fiemap *map =
      malloc(sizeof(*map) + EXTENTS_AT_ONCE * sizeof(struct fiemap_extent));
  struct own own = {.map = map};
  if (!map)
    return ns_no_memory(err);
  int failed = walk(path, add_own, &own, err);
  *ret = own.bytes;
  return failed;
}

int ns_tree_immutable(const char *path, bool on)
{
  cleanup_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  int flags = 0;
  if (fd < 0 || ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0)
    return -1;
  flags = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
  return ioctl(fd, FS_IOC_SETFLAGS, &flags);
}
