// SPDX-License-Identifier: Apache-2.0
#include "disk/split_vmdk_internal.h"

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "disk/fd_internal.h"
#include "disk/image_internal.h"
#include "disk/places_internal.h"
#include "disk/probe_internal.h"
#include "disk/vmdk_internal.h"

#define MAGIC          "# Disk DescriptorFile"
#define DESCRIPTOR_MAX (64u << 10)
#define GRAINS_MAX     (1u << 24) // of one extent: 1 TiB in grains of 64 KiB
#define TABLE_ENTRIES  VMDK_TABLE_ENTRIES
#define TABLES_MAX     (GRAINS_MAX / TABLE_ENTRIES)

struct split {
  struct chain chain; // the descriptor, then the extents
  struct places places;
  struct object_reader *const *readers;
  const char *const *paths;
  size_t count, next; // of the files that are allowed
};

struct extent_line {
  char access[16], type[16], name[256];
  unsigned long long sectors, offset_sectors;
};

bool split_vmdk_is_descriptor(struct object_reader *r)
{
  char head[sizeof(MAGIC)] = "";
  void *lane;
  if (r->size_bytes < sizeof(MAGIC) || r->size_bytes > DESCRIPTOR_MAX ||
      object_lane_open(r, &lane, NULL) != 0)
    return false;
  int failed = object_read(r, lane, head, sizeof(MAGIC) - 1, 0, NULL);
  object_lane_close(r, lane);
  return !failed && str_eq(head, MAGIC);
}

static int read_at(struct object_reader *r, void *into, size_t length, uint64_t offset,
                   struct err *err)
{
  void *lane;
  if (offset > r->size_bytes || length > r->size_bytes - offset)
    return probe_corrupt(err, "an extent keeps its tables behind its end");
  if (object_lane_open(r, &lane, err) != 0)
    return -1;
  int failed = length ? object_read(r, lane, into, length, offset, err) : 0;
  object_lane_close(r, lane);
  return failed;
}

// ---- places ---------------------------------------------------------------------------------

static int add(struct split *s, int kind, size_t file, uint64_t offset, uint64_t length,
               struct err *err)
{
  struct place p = {
      .length = length, .offset = offset, .depth = (uint16_t)file, .kind = (uint16_t)kind};
  if (length == 0)
    return 0;
  if (length > LIMIT_DISK_BYTES - s->places.size_bytes)
    return probe_corrupt(err, "its extents are larger together than a disk can be");
  if (kind == PLACE_FILE && (offset > s->chain.readers[file]->size_bytes ||
                             length > s->chain.readers[file]->size_bytes - offset))
    return err_set(err, ERR_CORRUPT,
                   "an extent is truncated: it has %" PRIu64 " bytes, but keeps data at %" PRIu64,
                   s->chain.readers[file]->size_bytes, offset);
  return places_add(&s->places, &p, err);
}

// ---- flat extents ---------------------------------------------------------------------------

// Holes of local files are known.
static int place_flat(struct split *s, size_t file, const struct extent_line *line, struct err *err)
{
  struct extents map CLEANUP(extents_release) = {0};
  uint64_t from = line->offset_sectors * VMDK_SECTOR, to = from + line->sectors * VMDK_SECTOR;
  struct object_reader *r = s->chain.readers[file];
  int fd = object_reader_file_fd(r);
  if (fd < 0 || to > r->size_bytes || fd_extents(fd, to, &map) != 0)
    return add(s, PLACE_FILE, file, from, to - from, err);
  for (size_t i = 0; i < map.count; i++) {
    const struct extent *x = &map.items[i];
    uint64_t start = x->offset > from ? x->offset : from, end = x->offset + x->length;
    int kind = x->data ? PLACE_FILE : PLACE_ZERO;
    if (end > start && add(s, kind, file, start, end - start, err) != 0)
      return -1;
  }
  return 0;
}

// ---- sparse extents -------------------------------------------------------------------------

struct sparse {
  struct split *split;
  size_t file;
  uint64_t left; // guest bytes that are still to be placed
  uint64_t grain_bytes;
  bool zero_grains; // an entry of 1 is a grain of zeros
};

static int check_header(const struct vmdk_header *h, const struct extent_line *line,
                        struct err *err)
{
  uint64_t grain = le64toh(h->grain_sectors), capacity = le64toh(h->capacity);
  if (memcmp(&h->magic, "KDMV", 4) != 0 || le32toh(h->version) < 1 || le32toh(h->version) > 3)
    return probe_corrupt(err, "'%.80s' is no sparse extent", line->name);
  if (le32toh(h->flags) & VMDK_FLAG_COMPRESSED)
    return probe_corrupt(err, "'%.80s' is compressed, which an extent is not", line->name);
  if (grain < 1 || grain > VMDK_GRAIN_SECTORS_MAX || (grain & (grain - 1)) ||
      le32toh(h->entries) != TABLE_ENTRIES)
    return probe_corrupt(err, "grains of %" PRIu64 " sectors, tables of %u entries", grain,
                         le32toh(h->entries));
  if (capacity < line->sectors || line->sectors / grain >= GRAINS_MAX)
    return probe_corrupt(err, "'%.80s' of %" PRIu64 " sectors", line->name, capacity);
  return 0;
}

static int place_grain(struct sparse *x, uint32_t entry, struct err *err)
{
  uint64_t n = x->left < x->grain_bytes ? x->left : x->grain_bytes;
  x->left -= n;
  if (entry == 0 || (entry == 1 && x->zero_grains))
    return add(x->split, PLACE_ZERO, x->file, 0, n, err);
  return add(x->split, PLACE_FILE, x->file, (uint64_t)entry * VMDK_SECTOR, n, err);
}

static int place_table(struct sparse *x, uint32_t sector, struct err *err)
{
  uint32_t entries[TABLE_ENTRIES] = {0};
  struct object_reader *r = x->split->chain.readers[x->file];
  uint64_t covers = x->grain_bytes * TABLE_ENTRIES;
  if (sector == 0) {
    uint64_t n = x->left < covers ? x->left : covers;
    x->left -= n;
    return add(x->split, PLACE_ZERO, x->file, 0, n, err);
  }
  if (read_at(r, entries, sizeof(entries), (uint64_t)sector * VMDK_SECTOR, err) != 0)
    return -1;
  for (size_t i = 0; i < TABLE_ENTRIES && x->left; i++)
    if (place_grain(x, le32toh(entries[i]), err) != 0)
      return -1;
  return 0;
}

static int place_sparse(struct split *s, size_t file, const struct extent_line *line,
                        struct err *err)
{
  struct vmdk_header h;
  struct object_reader *r = s->chain.readers[file];
  if (read_at(r, &h, sizeof(h), 0, err) != 0 || check_header(&h, line, err) != 0)
    return -1;
  struct sparse x = {.split = s,
                     .file = file,
                     .left = line->sectors * VMDK_SECTOR,
                     .grain_bytes = le64toh(h.grain_sectors) * VMDK_SECTOR,
                     .zero_grains = le32toh(h.flags) & VMDK_FLAG_ZERO_GRAINS};
  uint64_t covers = x.grain_bytes * TABLE_ENTRIES, tables = (x.left + covers - 1) / covers;
  cleanup_free uint32_t *directory = calloc(tables + 1, sizeof(*directory));
  if (tables > TABLES_MAX || le64toh(h.directory_at) > r->size_bytes / VMDK_SECTOR)
    return probe_corrupt(err, "'%.80s' has no directory of its grains", line->name);
  if (!directory)
    return err_set(err, ERR_NO_MEMORY, "no memory for a directory of grains");
  if (read_at(r, directory, tables * sizeof(*directory), le64toh(h.directory_at) * VMDK_SECTOR,
              err) != 0)
    return -1;
  for (uint64_t i = 0; i < tables; i++)
    if (place_table(&x, le32toh(directory[i]), err) != 0)
      return -1;
  return 0;
}

// ---- the descriptor -------------------------------------------------------------------------

// The file that an extent names, as the next of the chain. Only one that the caller gave, and only
// in its order.
static int take_file(struct split *s, const char *name, size_t *ret, struct err *err)
{
  if (s->next >= s->count || !image_is_file(name, s->paths[0], s->paths[s->next]))
    return probe_corrupt(err,
                         "its descriptor leads to other files, next to '%.80s', which is not part "
                         "of this disk; list each of them, in order, if they belong to it",
                         name);
  *ret = s->chain.count++;
  s->chain.readers[*ret] = s->readers[s->next++];
  s->chain.formats[*ret] = DISK_FORMAT_RAW;
  return 0;
}

static int place_extent(struct split *s, const struct extent_line *line, struct err *err)
{
  size_t file = 0;
  if (line->sectors > LIMIT_DISK_BYTES / VMDK_SECTOR ||
      line->offset_sectors > LIMIT_DISK_BYTES / VMDK_SECTOR)
    return probe_corrupt(err, "an extent of %llu sectors", line->sectors);
  if (str_eq(line->type, "ZERO"))
    return add(s, PLACE_ZERO, 0, 0, line->sectors * VMDK_SECTOR, err);
  if (take_file(s, line->name, &file, err) != 0)
    return -1;
  if (str_eq(line->type, "FLAT"))
    return place_flat(s, file, line, err);
  if (str_eq(line->type, "SPARSE"))
    return place_sparse(s, file, line, err);
  return err_set(err, ERR_UNSUPPORTED, "extents of type %s cannot be read", line->type);
}

// RW 4192256 SPARSE "name-s001.vmdk", RW 4192256 FLAT "name-f001.vmdk" 0, RW 63 ZERO
static bool read_extent_line(const char *line, struct extent_line *ret)
{
  *ret = (struct extent_line){0};
  int n = sscanf(line, " %15s %llu %15s \"%255[^\"]\" %llu", ret->access, &ret->sectors, ret->type,
                 ret->name, &ret->offset_sectors);
  return n >= 3 && (str_eq(ret->access, "RW") || str_eq(ret->access, "RDONLY") ||
                    str_eq(ret->access, "NOACCESS"));
}

static int take_line(struct split *s, const char *line, struct err *err)
{
  static const char *const types[] = {"twoGbMaxExtentSparse", "twoGbMaxExtentFlat",
                                      "monolithicFlat"};
  char value[VMDK_VALUE_BYTES];
  struct extent_line extent;
  if (read_extent_line(line, &extent))
    return place_extent(s, &extent, err);
  if (vmdk_check_parent(line, err) != 0)
    return -1;
  if (!vmdk_value(line, "createType", value))
    return 0;
  for (size_t i = 0; i < ARRAY_SIZE(types); i++)
    if (str_eq(value, types[i]))
      return 0;
  return probe_corrupt(err, "a vmdk of type '%.40s' leads to other files", value);
}

static int read_descriptor(struct split *s, struct err *err)
{
  size_t length = (size_t)s->readers[0]->size_bytes;
  cleanup_free char *text = calloc(1, length + 1);
  if (!text)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  if (read_at(s->readers[0], text, length, 0, err) != 0)
    return -1;
  char *rest = text;
  for (char *line; (line = strsep(&rest, "\n"));) {
    line[strcspn(line, "\r")] = '\0';
    if (take_line(s, line, err) != 0)
      return -1;
  }
  return s->places.size_bytes ? 0 : probe_corrupt(err, "a descriptor without extents");
}

int source_open_split_vmdk(struct object_reader *const *readers, const char *const *paths,
                           size_t count, struct source **ret, struct err *err)
{
  struct split s = {.readers = readers, .paths = paths, .count = count, .next = 1};
  s.chain.readers[0] = readers[0];
  s.chain.formats[0] = DISK_FORMAT_RAW;
  s.chain.count = 1;
  int failed = read_descriptor(&s, err);
  for (size_t i = s.next; i < count; i++) // allowed, and not led to
    object_reader_free(readers[i]);
  s.chain.size_bytes = s.places.size_bytes;
  if (!failed)
    return source_open_places(&s.chain, &s.places, ret, err);
  chain_release(&s.chain);
  places_release(&s.places);
  return -1;
}
