// SPDX-License-Identifier: Apache-2.0
#include "controller/image_layout.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"

static const struct field image_disk_fields[] = {
    {"name", FIELD_STRING, offsetof(struct image_disk, name), .required = true, .max = 64},
    {"object", FIELD_STRING, offsetof(struct image_disk, object), .required = true, .max = 255},
    {"format", FIELD_STRING, offsetof(struct image_disk, format), .required = true, .max = 16},
    {"contentDigest", FIELD_STRING, offsetof(struct image_disk, content_digest), .max = 128},
    {"objectSha256", FIELD_STRING, offsetof(struct image_disk, object_sha256), .max = 64},
    {"sizeBytes", FIELD_INT, offsetof(struct image_disk, size_bytes), .max = LIMIT_DISK_BYTES},
};
static const struct table image_disk_table = TABLE(struct image_disk, image_disk_fields);

static const struct field image_fields[] = {
    {"layoutVersion", FIELD_INT, offsetof(struct image, layout_version), .required = true, .min = 1,
     .max = 1},
    {"owner", FIELD_STRING, offsetof(struct image, owner), .max = 1024},
    {"vm", FIELD_OBJECT, offsetof(struct image, vm), .table = &vm_json_table, .required = true},
    {"disks", FIELD_LIST, offsetof(struct image, disks), .table = &image_disk_table,
     .required = true, .min = 1, .max = LIMIT_DISKS},
};
const struct table image_table = TABLE(struct image, image_fields);

void image_release(struct image *i)
{
  vm_release(&i->vm); // in memory it has members that vm.json leaves out
  table_release(&image_table, i);
}

const struct image_disk *image_disk_named(const struct image *i, const char *name)
{
  const struct image_disk *disks = i->disks.items;
  for (size_t n = 0; n < i->disks.count; n++)
    if (str_eq(disks[n].name, name))
      return &disks[n];
  return NULL;
}

char *image_key(const char *path, const char *name)
{
  return str_empty(path) ? str_dup(name) : str_printf("%s/%s", path, name);
}

char *image_object_name(const struct vm_disk *d, size_t number, int format)
{
  if (d->role == VM_DISK_ROLE_NVRAM)
    return str_dup("nvram.raw");
  return str_printf("disk-%zu.%s", number, disk_format_names[format]);
}

int image_read(struct storage_lane *l, const char *path, struct image *ret, struct err *err)
{
  cleanup_free char *key = image_key(path, IMAGE_VM_JSON);
  cleanup_free char *text = NULL;
  size_t length;
  if (storage_get(l, key, LIMIT_VM_JSON_BYTES, &text, &length, err) != 0)
    return -1;
  struct err why = ERR_INIT;
  if (table_decode_text(&image_table, text, "image", ret, &why) != 0)
    return err_set(err, ERR_CORRUPT, "%s is not a description of layout 1: %s", key, why.message);
  return 0;
}

int image_write(struct storage_lane *l, const char *path, const struct image *i, struct err *err)
{
  cleanup_free char *key = image_key(path, IMAGE_VM_JSON);
  struct json_object *json = table_encode(&image_table, i);
  if (!json)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  const char *text = json_object_to_json_string_ext(json, JSON_C_TO_STRING_PRETTY);
  int failed = storage_put(l, key, text, strlen(text), i->owner, false, err);
  json_object_put(json);
  return failed;
}

// The part of a mark from its field number `from` (0 = installation) to the end of number `to`.
static const char *mark_part(const char *mark, int from, int to, size_t *ret_length)
{
  const char *start = mark;
  for (; start && from > 0; from--, to--) {
    start = strchr(start, '/');
    start = start ? start + 1 : NULL;
  }
  const char *end = start;
  for (; end && to >= 0; to--) {
    end = strchr(end, '/');
    if (!end)
      break;
    if (to > 0)
      end++;
  }
  *ret_length = !start ? 0 : end ? (size_t)(end - start) : strlen(start);
  return start;
}

static bool same_part(const char *a, const char *b, int from, int to)
{
  size_t n, m;
  if (!a || !b)
    return false;
  const char *x = mark_part(a, from, to, &n);
  const char *y = mark_part(b, from, to, &m);
  return x && y && n > 0 && n == m && memcmp(x, y, n) == 0;
}

bool owner_same_object(const char *a, const char *b)
{
  return same_part(a, b, 0, 3);
}

bool owner_same_manifest(const char *a, const char *b)
{
  return same_part(a, b, 1, 2) && same_part(a, b, 4, 4);
}

static int read_manifest(struct storage_lane *l, const char *key, struct image_manifest *ret,
                         struct err *err)
{
  cleanup_free char *text = NULL;
  size_t length;
  if (storage_get(l, key, LIMIT_MANIFEST_BYTES, &text, &length, err) != 0)
    return -1;
  return table_decode_text(&image_manifest_table, text, "manifest", ret, err);
}

int image_object_holder(struct storage_lane *l, const char *key, const char *owner,
                        enum image_holder *ret, struct err *err)
{
  cleanup_free char *manifest_key = str_printf("%s.manifest.json", key);
  struct image_manifest manifest = {0};
  struct storage_stat there;
  struct err failed = ERR_INIT;
  *ret = HELD_BY_NOBODY;
  if (storage_stat(l, key, &there, &failed) != 0)
    return failed.kind == ERR_NOT_FOUND ? 0 : err_set(err, failed.kind, "%s", failed.message);
  bool found = read_manifest(l, manifest_key, &manifest, &failed) == 0;
  if (!found && failed.kind != ERR_NOT_FOUND && err_retryable(failed.kind))
    return err_set(err, failed.kind, "%s: %s", manifest_key, failed.message);
  const char *mark = found && !str_empty(manifest.owner) ? manifest.owner : there.owner;
  *ret = owner_same_object(mark, owner) ? HELD_BY_US
         : str_empty(mark)              ? HELD_BY_OTHERS
                                        : HELD_BY_DROVER;
  table_release(&image_manifest_table, &manifest);
  return 0;
}

static int remove_all(struct storage_lane *l, const char *key, const char *manifest_key,
                      struct err *err)
{
  cleanup_free char *chunks_key = str_printf("%s.chunks", key);
  // The manifest bears the mark, so it goes last: a crash in between leaves what proves the rest
  // ours.
  if (storage_remove(l, key, err) != 0 || storage_remove(l, chunks_key, err) != 0)
    return -1;
  return storage_remove(l, manifest_key, err);
}

int image_object_remove(struct storage_lane *l, const char *key, const char *owner, struct err *err)
{
  cleanup_free char *manifest_key = str_printf("%s.manifest.json", key);
  struct image_manifest manifest = {0};
  struct err failed = ERR_INIT;
  if (storage_remove_partial(l, key, owner, err) != 0)
    return -1;
  bool found = read_manifest(l, manifest_key, &manifest, &failed) == 0;
  if (!found && failed.kind != ERR_NOT_FOUND)
    return err_set(err, failed.kind, "%s: %s", manifest_key, failed.message);
  bool ours = found && owner_same_object(manifest.owner, owner);
  table_release(&image_manifest_table, &manifest);
  if (ours)
    return remove_all(l, key, manifest_key, err);
  struct storage_stat there;
  failed = (struct err)ERR_INIT;
  if (storage_stat(l, key, &there, &failed) != 0)
    return failed.kind == ERR_NOT_FOUND ? 0 : err_set(err, failed.kind, "%s", failed.message);
  return err_set(err, ERR_EXISTS, "%s does not bear the mark of this migration; it is left alone",
                 key);
}
