// SPDX-License-Identifier: Apache-2.0
// VHDX ([MS-VHDX] 2.2 and 2.6) and VDI headers: their size, and that they need no other file.
#include <endian.h>
#include <string.h>

#include "base/cleanup.h"
#include "disk/probe_internal.h"

// ---- vhdx -----------------------------------------------------------------------------------

#define REGION_TABLE_AT  (192u << 10)
#define REGIONS_MAX      2047
#define METADATA_ENTRIES 2047
#define ENTRY_BYTES      32
#define HAS_PARENT       (1u << 1)

static const uint8_t metadata_guid[16] = {0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
                                          0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e};
static const uint8_t parameters_guid[16] = {0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d,
                                            0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b};
static const uint8_t size_guid[16] = {0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48,
                                      0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8};

static uint16_t le16_at(const uint8_t *at)
{
  uint16_t v;
  memcpy(&v, at, sizeof(v));
  return le16toh(v);
}

static uint32_t le32_at(const uint8_t *at)
{
  uint32_t v;
  memcpy(&v, at, sizeof(v));
  return le32toh(v);
}

static uint64_t le64_at(const uint8_t *at)
{
  uint64_t v;
  memcpy(&v, at, sizeof(v));
  return le64toh(v);
}

// The entry of a table of 32-byte entries that begins with a GUID.
static int find_entry(const struct probe *p, uint64_t at, uint32_t count, const uint8_t guid[16],
                      uint8_t entry[ENTRY_BYTES], struct err *err)
{
  for (uint32_t i = 0; i < count; i++) {
    if (probe_read(p, entry, ENTRY_BYTES, at + (uint64_t)i * ENTRY_BYTES, err) != 0)
      return -1;
    if (memcmp(entry, guid, 16) == 0)
      return 0;
  }
  return probe_corrupt(err, "a part of its metadata is missing");
}

static int metadata_region(const struct probe *p, uint64_t *ret_at, struct err *err)
{
  uint8_t head[16], entry[ENTRY_BYTES];
  if (probe_read(p, head, sizeof(head), REGION_TABLE_AT, err) != 0)
    return -1;
  uint32_t count = le32_at(head + 8);
  if (memcmp(head, "regi", 4) != 0 || count > REGIONS_MAX)
    return probe_corrupt(err, "its region table is broken");
  if (find_entry(p, REGION_TABLE_AT + sizeof(head), count, metadata_guid, entry, err) != 0)
    return -1;
  *ret_at = le64_at(entry + 16);
  return 0;
}

// Up to 8 bytes of a metadata item.
static int metadata_item(const struct probe *p, uint64_t region, uint32_t count,
                         const uint8_t guid[16], uint8_t ret[8], struct err *err)
{
  uint8_t entry[ENTRY_BYTES];
  if (find_entry(p, region + 32, count, guid, entry, err) != 0)
    return -1;
  return probe_read(p, ret, 8, region + le32_at(entry + 16), err);
}

int probe_vhdx(const struct probe *p, struct err *err)
{
  uint64_t region = 0;
  uint8_t head[32], item[8];
  if (metadata_region(p, &region, err) != 0)
    return -1;
  if (region > p->reader->size_bytes)
    return probe_corrupt(err, "its metadata lies beyond the end of the file");
  if (probe_read(p, head, sizeof(head), region, err) != 0)
    return -1;
  uint32_t count = le16_at(head + 10);
  if (memcmp(head, "metadata", 8) != 0 || count > METADATA_ENTRIES)
    return probe_corrupt(err, "its metadata table is broken");
  if (metadata_item(p, region, count, parameters_guid, item, err) != 0)
    return -1;
  if (le32_at(item + 4) & HAS_PARENT)
    return probe_corrupt(err, "a differencing vhdx needs its parent disk, which is not followed");
  if (metadata_item(p, region, count, size_guid, item, err) != 0)
    return -1;
  return probe_size(p, le64_at(item), err);
}

// ---- vdi ------------------------------------------------------------------------------------

#define VDI_HEADER_BYTES 0x1b8
#define VDI_TYPE_AT      0x4c
#define VDI_SIZE_AT      0x170
#define VDI_BLOCK_AT     0x178
#define VDI_LINK_AT      0x1a8 // UUID of the snapshot below; all zeros without
enum { VDI_DYNAMIC = 1, VDI_STATIC = 2 };

int probe_vdi(const struct probe *p, struct err *err)
{
  static const uint8_t no_uuid[16];
  uint8_t h[VDI_HEADER_BYTES];
  if (probe_read(p, h, sizeof(h), 0, err) != 0)
    return -1;
  uint32_t type = le32_at(h + VDI_TYPE_AT);
  if (type != VDI_DYNAMIC && type != VDI_STATIC)
    return probe_corrupt(err, "a vdi of type %u needs other files", type);
  if (memcmp(h + VDI_LINK_AT, no_uuid, sizeof(no_uuid)) != 0)
    return probe_corrupt(err, "a vdi snapshot needs the disk below it, which is not followed");
  if (le32_at(h + VDI_BLOCK_AT) != 1u << 20)
    return err_set(err, ERR_UNSUPPORTED, "vdi blocks of %u bytes", le32_at(h + VDI_BLOCK_AT));
  return probe_size(p, le64_at(h + VDI_SIZE_AT), err);
}
