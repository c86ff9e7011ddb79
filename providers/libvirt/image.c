// SPDX-License-Identifier: Apache-2.0
#include "providers/libvirt/image_internal.h"

#include <string.h>

#include "base/limits.h"
#include "base/str.h"

#define CHAIN_MAX             64
#define EXT_BACKING_FORMAT    0xe2792acau
#define EXT_EXTERNAL_DATA     0x44415441u
#define INCOMPATIBLE_DATA_BIT (1u << 2)

void qcow2_head_release(struct qcow2_head *q)
{
  free(q->backing_path);
  free(q->backing_format);
  *q = (struct qcow2_head){0};
}

void backing_release(struct list *backing)
{
  for (size_t i = 0; i < backing->count; i++)
    free(((struct reach_backing *)backing->items)[i].path);
  free(backing->items);
  *backing = (struct list){0};
}

static uint64_t big_endian(const uint8_t *at, size_t length)
{
  uint64_t value = 0;
  for (size_t i = 0; i < length; i++)
    value = value << 8 | at[i];
  return value;
}

static int truncated(struct err *err)
{
  return err_set(err, ERR_CORRUPT, "a damaged or hostile qcow2 header");
}

// Extensions: type and length of 4 bytes each, data padded to 8; type 0 ends them.
static int read_extensions(const uint8_t *bytes, size_t length, size_t at, struct qcow2_head *ret,
                           struct err *err)
{
  while (at + 8 <= length) {
    uint64_t type = big_endian(bytes + at, 4);
    uint64_t size = big_endian(bytes + at + 4, 4);
    at += 8;
    if (type == 0)
      return 0;
    if (size > length - at)
      return truncated(err);
    if (type == EXT_EXTERNAL_DATA)
      ret->external_data = true;
    if (type == EXT_BACKING_FORMAT && !ret->backing_format)
      ret->backing_format = strndup((const char *)bytes + at, size);
    at += (size + 7) / 8 * 8;
  }
  return 0;
}

static int read_backing_path(const uint8_t *bytes, size_t length, struct qcow2_head *ret,
                             struct err *err)
{
  uint64_t offset = big_endian(bytes + 8, 8);
  uint64_t size = big_endian(bytes + 16, 4);
  if (offset == 0 || size == 0)
    return 0;
  if (size > 1023 || offset > length || size > length - offset ||
      memchr(bytes + offset, '\0', size))
    return truncated(err);
  ret->backing_path = strndup((const char *)bytes + offset, size);
  return ret->backing_path ? 0 : err_set(err, ERR_NO_MEMORY, "out of memory");
}

int qcow2_head_read(const void *head, size_t length, struct qcow2_head *ret, struct err *err)
{
  const uint8_t *bytes = head;
  if (length < 104 || memcmp(bytes, "QFI\xfb", 4) != 0)
    return err_set(err, ERR_CORRUPT, "not a qcow2 image");
  uint64_t version = big_endian(bytes + 4, 4);
  uint64_t size = big_endian(bytes + 24, 8);
  if (version < 2 || version > 3 || size > LIMIT_DISK_BYTES)
    return truncated(err);
  ret->size_bytes = (int64_t)size;
  ret->encrypted = big_endian(bytes + 32, 4) != 0;
  uint64_t head_length = 72;
  if (version == 3) {
    head_length = big_endian(bytes + 100, 4);
    ret->external_data = (big_endian(bytes + 72, 8) & INCOMPATIBLE_DATA_BIT) != 0;
    if (head_length < 104 || head_length > length)
      return truncated(err);
  }
  if (read_extensions(bytes, length, head_length, ret, err) != 0)
    return -1;
  return read_backing_path(bytes, length, ret, err);
}

// ---- paths -------------------------------------------------------------------------------------

// "/a/./b/../c" -> "/a/c", in place.
static void normalise(char *path)
{
  char *out = path;
  for (char *at = path; *at;) {
    size_t length = strcspn(at + 1, "/") + 1; // at[0] is a slash
    if (length == 3 && at[1] == '.' && at[2] == '.') {
      while (out > path && *--out != '/')
        ;
    } else if (length > 1 && !(length == 2 && at[1] == '.')) {
      memmove(out, at, length);
      out += length;
    }
    at += length;
  }
  *out = '\0';
}

char *backing_resolve(const char *image, const char *backing, struct err *err)
{
  const char *file = str_after(backing, "file:");
  const char *name = file ? file : backing;
  if (name[strcspn(name, ":/")] == ':') {
    err_set(err, ERR_UNSUPPORTED, "%s leads to '%.100s', which is not a file", image, backing);
    return NULL;
  }
  const char *slash = strrchr(image, '/');
  char *path = name[0] == '/'
                   ? str_dup(name)
                   : str_printf("%.*s/%s", slash ? (int)(slash - image) : 0, image, name);
  if (path)
    normalise(path);
  else
    err_set(err, ERR_NO_MEMORY, "out of memory");
  return path;
}

static bool same_folder(const char *a, const char *b)
{
  size_t la = (size_t)(strrchr(a, '/') - a);
  size_t lb = (size_t)(strrchr(b, '/') - b);
  return la == lb && memcmp(a, b, la) == 0;
}

// Known to libvirt as a volume of an active pool?
static bool in_pool(struct host *h, const char *path)
{
  cleanup_volume virStorageVolPtr volume = virStorageVolLookupByPath(h->conn, path);
  return volume != NULL;
}

// ---- the chain ---------------------------------------------------------------------------------

static int add_backing(struct host *h, const char *image, const struct qcow2_head *q,
                       struct list *backing, struct err *err)
{
  cleanup_free char *path = backing_resolve(image, q->backing_path, err);
  if (!path)
    return -1;
  int format = q->backing_format ? disk_format_of(q->backing_format) : -1;
  if (!q->backing_format)
    return err_set(err, ERR_UNSUPPORTED,
                   "%s does not say which format its backing file %s has; "
                   "run 'qemu-img rebase -u -b %s -F FORMAT %s' on its host",
                   image, path, path, image);
  if (format != DISK_FORMAT_RAW && format != DISK_FORMAT_QCOW2)
    return err_set(err, ERR_UNSUPPORTED,
                   "the backing file %s has the format '%.40s'; raw and "
                   "qcow2 can be read",
                   path, q->backing_format);
  if (!same_folder(image, path) && !in_pool(h, path))
    return err_set(err, ERR_DENIED,
                   "%s leads to %s, which lies neither in its folder nor in a "
                   "storage pool; make that folder a pool to allow it",
                   image, path);
  struct reach_backing *b = list_add(backing, sizeof(*b), CHAIN_MAX);
  if (!b)
    return err_set(err, ERR_LIMIT, "the chain below %s is longer than %d", image, CHAIN_MAX);
  b->path = TAKE(path);
  b->format = format;
  return 0;
}

static int read_head(struct host *h, const char *path, struct qcow2_head *q, struct err *err)
{
  cleanup_free char *bytes = NULL;
  size_t length = 0;
  if (host_read_head(h, path, QCOW2_HEAD_BYTES, &bytes, &length, err) != 0)
    return -1;
  if (qcow2_head_read(bytes, length, q, err) != 0)
    return err_prefix(err, "%s", path);
  if (q->encrypted)
    return err_set(err, ERR_UNSUPPORTED, "%s is encrypted; remove the encryption first", path);
  if (q->external_data)
    return err_set(err, ERR_UNSUPPORTED, "%s keeps its data in another file; convert it first",
                   path);
  return 0;
}

static int copy_known(const struct disk_source *source, struct list *backing, struct err *err)
{
  for (size_t i = 0; i < source->backing.count; i++) {
    const struct reach_backing *from = (struct reach_backing *)source->backing.items + i;
    struct reach_backing *b = list_add(backing, sizeof(*b), CHAIN_MAX);
    if (!b || !(b->path = str_dup(from->path)))
      return err_set(err, ERR_LIMIT, "the backing chain is longer than %d", CHAIN_MAX);
    b->format = from->format;
  }
  return 0;
}

static int must_be_there(struct host *h, const char *image, const char *path, struct err *err)
{
  struct file_facts facts;
  if (host_stat(h, path, &facts, err) != 0)
    return -1;
  return facts.exists
             ? 0
             : err_set(err, ERR_NOT_FOUND, "%s needs %s, which does not exist", image, path);
}

// The definition of the VM tells the chain. That the image agrees in every step is seen when it is
// opened (disk/chain.c); what cannot end well is said now, before the VM is shut down.
static int known_chain(struct host *h, const char *image, const struct disk_source *source,
                       const struct qcow2_head *q, struct list *backing, struct err *err)
{
  if (q->backing_path && source->backing.count == 0)
    return err_set(err, ERR_DENIED,
                   "%s leads to %s, but the definition of the VM says that its chain ends there",
                   image, q->backing_path);
  if (copy_known(source, backing, err) != 0)
    return -1;
  const struct reach_backing *all = backing->items;
  for (size_t i = 0; i < backing->count; i++)
    if (must_be_there(h, image, all[i].path, err) != 0)
      return -1;
  return 0;
}

int host_chain(struct host *h, const char *path, const struct disk_source *source,
               struct list *backing, int64_t *size_bytes, struct err *err)
{
  const char *image = path;
  int format = source->format;
  for (size_t depth = 0; format == DISK_FORMAT_QCOW2; depth++) {
    struct qcow2_head q CLEANUP(qcow2_head_release) = {0};
    if (read_head(h, image, &q, err) != 0)
      return -1;
    if (depth == 0)
      *size_bytes = q.size_bytes;
    if (source->chain_known)
      return known_chain(h, image, source, &q, backing, err);
    if (!q.backing_path)
      return 0;
    if (add_backing(h, image, &q, backing, err) != 0)
      return -1;
    const struct reach_backing *last = (struct reach_backing *)backing->items + backing->count - 1;
    if (must_be_there(h, image, last->path, err) != 0)
      return -1;
    image = last->path;
    format = last->format;
  }
  return 0;
}
