// SPDX-License-Identifier: Apache-2.0
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "disk/image_internal.h"

void chain_release(struct chain *c)
{
  for (size_t i = 0; i < c->count; i++)
    object_reader_free(c->readers[i]);
  *c = (struct chain){0};
}

// The file that a backing name means: relative names start at the folder of the image. Purely by
// text, then by what the file system says where both exist.
bool image_is_file(const char *name, const char *folder_of, const char *allowed)
{
  if (!folder_of || !allowed)
    return false;
  cleanup_free char *copy = str_dup(folder_of);
  cleanup_free char *full =
      *name == '/' || !copy ? str_dup(name) : str_printf("%s/%s", dirname(copy), name);
  if (str_eq(full, allowed))
    return true;
  cleanup_free char *a = full ? realpath(full, NULL) : NULL;
  cleanup_free char *b = realpath(allowed, NULL);
  return a && str_eq(a, b);
}

int image_allowed(const struct image_info *i, const char *folder_of,
                  const struct reach_backing *next, struct err *err)
{
  if (i->encrypted)
    return err_set(err, ERR_UNSUPPORTED,
                   "encrypted images cannot be read: decrypt it first "
                   "(qemu-img convert)");
  if (i->has_data_file)
    return err_set(err, ERR_CORRUPT,
                   "the image keeps its data in another file, which is not "
                   "followed: convert it to a plain qcow2 first");
  if (!i->backing_path)
    return 0;
  if (next && next->path && image_is_file(i->backing_path, folder_of, next->path))
    return 0;
  return err_set(err, ERR_CORRUPT,
                 "the image leads to another file, '%.200s', which is not part of this disk",
                 i->backing_path);
}

static int chain_add(struct chain *c, struct object_reader *r, int format, const char *path,
                     const struct reach_backing *next, bool *ret_more, struct err *err)
{
  struct image_info info;
  if (image_probe(r, format, &info, err) != 0)
    return -1;
  int failed = image_allowed(&info, path, next, err);
  if (!failed && info.format == DISK_FORMAT_RAW_ZST && c->count > 1)
    failed = err_set(err, ERR_UNSUPPORTED, "a raw.zst image cannot be a backing file");
  *ret_more = info.backing_path != NULL;
  if (!failed) {
    size_t i = c->count - 1;
    c->formats[i] = info.format;
    c->cluster_bytes[i] = info.cluster_bytes;
    if (i == 0)
      c->size_bytes = info.size_bytes;
  }
  image_info_release(&info);
  return failed;
}

int chain_open(struct object_reader *const *readers, const int *formats, const char *const *paths,
               size_t count, struct chain *ret, struct err *err)
{
  *ret = (struct chain){0};
  int failed =
      count <= CHAIN_MAX ? 0 : err_set(err, ERR_LIMIT, "more than %d images in a chain", CHAIN_MAX);
  bool more = true;
  for (size_t i = 0; i < count; i++) {
    if (failed || !more) { // a file that was allowed but is not led to
      object_reader_free(readers[i]);
      continue;
    }
    struct reach_backing next = {0};
    if (i + 1 < count)
      next.path = (char *)(uintptr_t)paths[i + 1];
    ret->readers[ret->count++] = readers[i];
    failed = chain_add(ret, readers[i], formats[i], paths[i], &next, &more, err);
  }
  if (failed)
    chain_release(ret);
  return failed;
}
