// SPDX-License-Identifier: Apache-2.0
// vmdk, streamOptimized (VMware, Virtual Disk Format 5.0): header and descriptor, then grains of
// 64 KiB in the order of the disk, each deflated by itself with its place before it; after the last
// grain of a table that table; at the end the directory of the tables, the header again, which now
// knows where the directory lies, and the end of the stream. Whoever reads it never has to go back.
// Grains of zeros, and tables without a grain, are not there at all.
#include <endian.h>
#include <inttypes.h>
#include <libdeflate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disk/copy.h"
#include "disk/layout_internal.h"
#include "disk/pack_internal.h"

#define SECTOR            512u
#define GRAIN_BYTES       BLOCK_BYTES
#define GRAIN_SECTORS     (GRAIN_BYTES / SECTOR)
#define GRAINS_PER_CHUNK  (COPY_CHUNK_BYTES / GRAIN_BYTES)
#define TABLE_ENTRIES     512u // the only number that VMware's programs take
#define TABLE_SECTORS     (TABLE_ENTRIES * 4 / SECTOR)
#define TABLE_ROOM        ((1 + TABLE_SECTORS) * SECTOR) // with its marker
#define CHUNKS_PER_TABLE  (TABLE_ENTRIES / GRAINS_PER_CHUNK)
#define DESCRIPTOR_SECTOR 1
#define DESCRIPTOR_BYTES  (20 * SECTOR)
#define OVERHEAD_SECTORS  128u // before the first grain
#define VERSION           3    // ESXi takes no lower one for this type
// Line ends can be checked, grains are compressed, grains and tables carry markers.
#define FLAGS            (1u | 1u << 16 | 1u << 17)
#define DEFLATE          1
#define DIRECTORY_AT_END UINT64_MAX
// Of libdeflate: the fastest that comes out no larger than zlib at its default level, which takes
// three times as long.
#define LEVEL        5
#define CAPACITY_MAX (62ull << 40)           // the largest disk of vSphere
#define STORED_MAX   ((1ull << 32) * SECTOR) // tables count sectors in 32 bits

enum marker_type { MARKER_END, MARKER_TABLE, MARKER_DIRECTORY, MARKER_FOOTER };

struct sparse_header {
  char magic[4];
  uint32_t version, flags;
  uint64_t capacity, grain_sectors, descriptor_at, descriptor_sectors;
  uint32_t table_entries;
  uint64_t redundant_at, directory_at, overhead;
  uint8_t unclean;
  char line_ends[4];
  uint16_t compression;
  uint8_t unused[433];
} __attribute__((packed));
_Static_assert(sizeof(struct sparse_header) == SECTOR, "one sector");

// Before a grain: where it belongs, and how long it is. Before anything else the sectors that
// follow, a length of 0, and a type.
struct grain_marker {
  uint64_t sector;
  uint32_t length;
} __attribute__((packed));

struct marker {
  uint64_t sectors;
  uint32_t zero, type;
  uint8_t unused[496];
} __attribute__((packed));
_Static_assert(sizeof(struct marker) == SECTOR, "one sector");

struct vmdk_pack {
  struct pack pack;
  uint64_t capacity; // sectors
  uint32_t tables, content_id;
  struct vmdk_options options;
  size_t grain_room;
  uint32_t *directory; // by table: the sector where it lies, 0 = it has no grains; in order
  uint32_t table[TABLE_ENTRIES], table_number;
  bool table_open; // has grains and is not laid down yet
  struct pack_end end;
};

const char *const vmdk_adapter_names[] = {"", "lsilogic", "buslogic", "ide", NULL};

static size_t to_sectors(size_t bytes)
{
  return (bytes + SECTOR - 1) / SECTOR * SECTOR;
}

// ---- grains ---------------------------------------------------------------------------------

static int lane_open(struct pack *base, void **ret_lane, struct err *err)
{
  (void)base;
  *ret_lane = libdeflate_alloc_compressor(LEVEL);
  return *ret_lane ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for a compressor");
}

static void lane_close(struct pack *base, void *lane)
{
  (void)base;
  libdeflate_free_compressor(lane);
}

// Returns its length in whole sectors; 0: it did not fit, which the room rules out.
static size_t put_grain(const struct vmdk_pack *p, void *lane, uint64_t sector,
                        const uint8_t *grain, size_t length, uint8_t *into)
{
  struct grain_marker m = {.sector = htole64(sector)};
  size_t n =
      libdeflate_zlib_compress(lane, grain, length, into + sizeof(m), p->grain_room - sizeof(m));
  if (n == 0)
    return 0;
  m.length = htole32((uint32_t)n);
  memcpy(into, &m, sizeof(m));
  size_t stored = to_sectors(sizeof(m) + n);
  memset(into + sizeof(m) + n, 0, stored - sizeof(m) - n);
  return stored;
}

static int data(struct pack *base, void *lane, const uint8_t *chunk, size_t length,
                struct packed *k, struct err *err)
{
  const struct vmdk_pack *p = (const struct vmdk_pack *)base;
  uint64_t first = k->chunk * (COPY_CHUNK_BYTES / SECTOR);
  size_t whole = to_sectors(length); // the last grain ends with the disk
  k->start = TABLE_ROOM;
  for (uint64_t left = k->nonzero; left; left &= left - 1) {
    size_t at = (size_t)__builtin_ctzll(left) * GRAIN_BYTES;
    size_t n = whole - at < GRAIN_BYTES ? whole - at : GRAIN_BYTES;
    size_t stored =
        put_grain(p, lane, first + at / SECTOR, chunk + at, n, k->bytes + k->start + k->length);
    if (!stored)
      return err_set(err, ERR_INTERNAL, "deflate: a grain became too long");
    k->length += stored;
  }
  return 0;
}

// ---- tables ---------------------------------------------------------------------------------

static uint8_t *put_marker(uint8_t *at, enum marker_type type, uint64_t sectors)
{
  struct marker m = {.sectors = htole64(sectors), .type = htole32(type)};
  memcpy(at, &m, sizeof(m));
  return at + sizeof(m);
}

// The open table, at a stored offset.
static uint8_t *put_table(struct vmdk_pack *p, uint64_t offset, uint8_t *at)
{
  at = put_marker(at, MARKER_TABLE, TABLE_SECTORS);
  memcpy(at, p->table, sizeof(p->table));
  p->directory[p->table_number] = htole32((uint32_t)(offset / SECTOR) + 1);
  memset(p->table, 0, sizeof(p->table));
  p->table_open = false;
  return at + sizeof(p->table);
}

static void note_grains(struct vmdk_pack *p, const struct packed *k, size_t from, uint64_t offset)
{
  const uint8_t *end = k->bytes + k->start + k->length;
  const uint8_t *first = k->bytes + k->start + from;
  struct grain_marker m;
  for (const uint8_t *at = first; at < end; at += to_sectors(sizeof(m) + le32toh(m.length))) {
    memcpy(&m, at, sizeof(m));
    uint64_t grain = le64toh(m.sector) / GRAIN_SECTORS;
    uint64_t sector = (offset + from + (uint64_t)(at - first)) / SECTOR;
    p->table[grain % TABLE_ENTRIES] = htole32((uint32_t)sector);
  }
}

static int check_end(uint64_t offset, struct err *err)
{
  if (offset < STORED_MAX)
    return 0;
  return err_set(err, ERR_LIMIT,
                 "the disk holds more than a vmdk of this type can (%llu bytes stored); use qcow2",
                 STORED_MAX);
}

static int place(struct pack *base, struct packed *k, uint64_t offset, struct err *err)
{
  struct vmdk_pack *p = (struct vmdk_pack *)base;
  uint32_t number = (uint32_t)(k->chunk / CHUNKS_PER_TABLE);
  size_t front = 0;
  if (k->length == 0)
    return 0;
  if (check_end(offset + k->length + 2ull * TABLE_ROOM, err) != 0)
    return -1;
  if (p->table_open && number != p->table_number) {
    put_table(p, offset, k->bytes);
    front = TABLE_ROOM;
    k->start = 0;
    k->length += front;
  }
  p->table_number = number;
  p->table_open = true;
  note_grains(p, k, front, offset);
  return 0;
}

// ---- header, descriptor, end ----------------------------------------------------------------

static void put_header(const struct vmdk_pack *p, uint64_t directory_at, uint8_t *into)
{
  struct sparse_header h = {
      .magic = {'K', 'D', 'M', 'V'},
      .version = htole32(VERSION),
      .flags = htole32(FLAGS),
      .capacity = htole64(p->capacity),
      .grain_sectors = htole64(GRAIN_SECTORS),
      .descriptor_at = htole64(DESCRIPTOR_SECTOR),
      .descriptor_sectors = htole64(DESCRIPTOR_BYTES / SECTOR),
      .table_entries = htole32(TABLE_ENTRIES),
      .directory_at = htole64(directory_at),
      .overhead = htole64(OVERHEAD_SECTORS),
      .line_ends = {'\n', ' ', '\r', '\n'},
      .compression = htole16(DEFLATE),
  };
  memcpy(into, &h, sizeof(h));
}

// The geometry is what BIOSes make of disks; nobody has needed it for decades, but it belongs here.
// All of it fits into one sector: there are importers that read no further (govmomi's).
static void put_descriptor(const struct vmdk_pack *p, char *into)
{
  bool ide = p->options.adapter == VMDK_IDE;
  uint64_t heads = ide ? 16 : 255, most = ide ? 16383 : 65535;
  uint64_t cylinders = (p->capacity + heads * 63 - 1) / (heads * 63);
  snprintf(into, DESCRIPTOR_BYTES,
           "# Disk DescriptorFile\n"
           "version=1\n"
           "encoding=\"UTF-8\"\n"
           "CID=%08" PRIx32 "\n"
           "parentCID=ffffffff\n"
           "createType=\"streamOptimized\"\n"
           "\n"
           "# Extent description\n"
           "RW %" PRIu64 " SPARSE \"disk.vmdk\"\n"
           "\n"
           "# The Disk Data Base\n"
           "#DDB\n"
           "\n"
           "ddb.adapterType = \"%s\"\n"
           "ddb.geometry.cylinders = \"%" PRIu64 "\"\n"
           "ddb.geometry.heads = \"%" PRIu64 "\"\n"
           "ddb.geometry.sectors = \"63\"\n"
           "ddb.virtualHWVersion = \"%" PRId64 "\"\n",
           p->content_id, p->capacity, vmdk_adapter_names[p->options.adapter],
           cylinders < most ? cylinders : most, heads, p->options.hardware_version);
}

static size_t header(struct pack *base, uint8_t *into)
{
  const struct vmdk_pack *p = (const struct vmdk_pack *)base;
  memset(into, 0, (size_t)OVERHEAD_SECTORS * SECTOR);
  put_header(p, DIRECTORY_AT_END, into);
  put_descriptor(p, (char *)into + DESCRIPTOR_SECTOR * SECTOR);
  return (size_t)OVERHEAD_SECTORS * SECTOR;
}

static size_t directory_bytes(const struct vmdk_pack *p)
{
  return to_sectors(p->tables * sizeof(*p->directory));
}

// Last table, directory, footer and end of the stream, each with its marker.
static size_t end_bytes(const struct vmdk_pack *p)
{
  return TABLE_ROOM + SECTOR + directory_bytes(p) + 3 * SECTOR;
}

static int make_end(struct vmdk_pack *p, uint64_t offset, struct err *err)
{
  if (check_end(offset + end_bytes(p), err) != 0)
    return -1;
  p->end.bytes = calloc(1, end_bytes(p));
  if (!p->end.bytes)
    return err_set(err, ERR_NO_MEMORY, "no memory for the grain directory");
  uint8_t *at = p->end.bytes;
  if (p->table_open)
    at = put_table(p, offset, at);
  at = put_marker(at, MARKER_DIRECTORY, directory_bytes(p) / SECTOR);
  uint64_t directory_at = (offset + (uint64_t)(at - p->end.bytes)) / SECTOR;
  memcpy(at, p->directory, p->tables * sizeof(*p->directory));
  at = put_marker(at + directory_bytes(p), MARKER_FOOTER, 1);
  put_header(p, directory_at, at);
  at = put_marker(at + SECTOR, MARKER_END, 0);
  p->end.length = (size_t)(at - p->end.bytes);
  return 0;
}

static int trailer(struct pack *base, uint64_t offset, uint8_t *into, size_t *ret_length,
                   struct err *err)
{
  struct vmdk_pack *p = (struct vmdk_pack *)base;
  if (!p->end.bytes && make_end(p, offset, err) != 0)
    return -1;
  *ret_length = pack_end_give(&p->end, base->room_bytes, into);
  return 0;
}

// ---- life -----------------------------------------------------------------------------------

static void vmdk_free(struct pack *base)
{
  struct vmdk_pack *p = (struct vmdk_pack *)base;
  free(p->directory);
  free(p->end.bytes);
  free(p);
}

static const struct pack_ops vmdk_ops = {.layout = "packed",
                                         .lane_open = lane_open,
                                         .lane_close = lane_close,
                                         .data = data,
                                         .place = place,
                                         .header = header,
                                         .trailer = trailer,
                                         .free = vmdk_free};

// Changes with the disk's map, not by chance: the same copy gives the same bytes. What a real one
// is for, noticing that the parent of a delta was written to, never happens to an exported disk.
static uint32_t content_id(const struct extents *map, uint64_t size_bytes)
{
  uint32_t sum = libdeflate_crc32(0, &size_bytes, sizeof(size_bytes));
  for (size_t i = 0; i < map->count; i++) {
    uint64_t row[] = {map->items[i].offset, map->items[i].length, map->items[i].data};
    sum = libdeflate_crc32(sum, row, sizeof(row));
  }
  return sum >= UINT32_MAX - 1 ? 0 : sum; // the two largest mean that there is none
}

static void describe(struct vmdk_pack *p, const struct extents *map, const struct vmdk_options *o)
{
  p->options = *o;
  if (p->options.adapter == VMDK_ADAPTER_ANY)
    p->options.adapter = VMDK_LSILOGIC;
  if (p->options.hardware_version == 0)
    p->options.hardware_version = VMDK_HARDWARE_DEFAULT;
  p->grain_room =
      to_sectors(sizeof(struct grain_marker) + libdeflate_zlib_compress_bound(NULL, GRAIN_BYTES));
  p->pack = (struct pack){.ops = &vmdk_ops};
  p->pack.room_bytes = TABLE_ROOM + GRAINS_PER_CHUNK * p->grain_room;
  p->pack.bound_bytes = (uint64_t)OVERHEAD_SECTORS * SECTOR +
                        pack_data_chunks(map) * p->pack.room_bytes + end_bytes(p);
}

int pack_new_vmdk(const struct extents *map, uint64_t guest_bytes, const struct vmdk_options *o,
                  struct pack **ret, struct err *err)
{
  if (guest_bytes > CAPACITY_MAX)
    return err_set(err, ERR_LIMIT,
                   "a disk of %" PRIu64 " bytes is too large for a vmdk, which is of %llu bytes at "
                   "most; use qcow2",
                   guest_bytes, CAPACITY_MAX);
  struct vmdk_pack *p = calloc(1, sizeof(*p));
  if (!p)
    return err_set(err, ERR_NO_MEMORY, "no memory for the grain directory");
  // A capacity of 0 would say that there is only a descriptor.
  p->capacity = guest_bytes ? (guest_bytes + SECTOR - 1) / SECTOR : 1;
  p->tables = (uint32_t)((p->capacity + TABLE_ENTRIES * GRAIN_SECTORS - 1) /
                         (TABLE_ENTRIES * GRAIN_SECTORS));
  p->directory = calloc(p->tables, sizeof(*p->directory));
  if (!p->directory) {
    vmdk_free(&p->pack);
    return err_set(err, ERR_NO_MEMORY, "no memory for the grain directory");
  }
  p->content_id = content_id(map, guest_bytes);
  describe(p, map, o);
  *ret = &p->pack;
  return 0;
}
