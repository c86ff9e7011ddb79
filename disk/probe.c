// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "disk/probe_internal.h"

int probe_corrupt(struct err *err, const char *format, ...)
{
  char text[400];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof(text), format, args);
  va_end(args);
  return err_set(err, ERR_CORRUPT, "the image is damaged or hostile: %s", text);
}

int probe_read(const struct probe *p, void *into, size_t length, uint64_t offset, struct err *err)
{
  uint64_t size = p->reader->size_bytes;
  if (offset > size || length > size - offset)
    return probe_corrupt(err, "it is truncated (%" PRIu64 " bytes)", size);
  return object_read(p->reader, p->lane, into, length, offset, err);
}

int probe_size(const struct probe *p, uint64_t size_bytes, struct err *err)
{
  if (size_bytes > LIMIT_DISK_BYTES)
    return probe_corrupt(err, "it claims to be a disk of %" PRIu64 " bytes", size_bytes);
  p->info->size_bytes = size_bytes;
  return 0;
}

void image_info_release(struct image_info *i)
{
  free(i->backing_path);
  *i = (struct image_info){0};
}

// ---- which format ---------------------------------------------------------------------------

static const struct {
  int format;
  uint32_t offset, length;
  const char *bytes;
} magics[] = {
    {DISK_FORMAT_QCOW2, 0, 4, "QFI\xfb"},
    {DISK_FORMAT_VMDK, 0, 4, "KDMV"},
    {DISK_FORMAT_VMDK, 0, 4, "COWD"},
    {DISK_FORMAT_VMDK, 0, 21, "# Disk DescriptorFile"},
    {DISK_FORMAT_VHDX, 0, 8, "vhdxfile"},
    {DISK_FORMAT_VDI, 64, 4, "\x7f\x10\xda\xbe"},
    {DISK_FORMAT_RAW_ZST, 0, 4, "\x28\xb5\x2f\xfd"},
    {DISK_FORMAT_RAW_ZST, 0, 4, "\x50\x2a\x4d\x18"}, // an empty disk: map and table
    {DISK_FORMAT_RAW_ZST, 0, 4, "\x5e\x2a\x4d\x18"}, // of somebody else: the table
};

#define MAGIC_ROOM 128

static int detect(const struct probe *p, int *ret_format, struct err *err)
{
  char head[MAGIC_ROOM] = {0};
  uint64_t size = p->reader->size_bytes;
  if (probe_read(p, head, size < MAGIC_ROOM ? (size_t)size : MAGIC_ROOM, 0, err) != 0)
    return -1;
  *ret_format = DISK_FORMAT_RAW;
  for (size_t i = 0; i < ARRAY_SIZE(magics); i++)
    if (memcmp(head + magics[i].offset, magics[i].bytes, magics[i].length) == 0) {
      *ret_format = magics[i].format;
      break;
    }
  return 0;
}

static int probe_raw(const struct probe *p, struct err *err)
{
  return probe_size(p, p->reader->size_bytes, err);
}

static int (*const probes[])(const struct probe *, struct err *) = {
    [DISK_FORMAT_RAW] = probe_raw,   [DISK_FORMAT_QCOW2] = probe_qcow2,
    [DISK_FORMAT_VMDK] = probe_vmdk, [DISK_FORMAT_RAW_ZST] = probe_raw_zst,
    [DISK_FORMAT_VHDX] = probe_vhdx, [DISK_FORMAT_VDI] = probe_vdi,
};

static int check_claim(const struct probe *p, int claimed, struct err *err)
{
  int found;
  if (detect(p, &found, err) != 0)
    return -1;
  if (claimed == DISK_FORMAT_ANY)
    p->info->format = found;
  else if (claimed != DISK_FORMAT_RAW && claimed != found)
    return probe_corrupt(err, "it should be %s, but looks like %s", disk_format_names[claimed],
                         disk_format_names[found]);
  return probes[p->info->format](p, err);
}

int image_probe(struct object_reader *r, int format, struct image_info *ret, struct err *err)
{
  *ret = (struct image_info){.format = format, .stored_bytes = r->size_bytes};
  struct probe p = {.reader = r, .info = ret};
  if (object_lane_open(r, &p.lane, err) != 0)
    return -1;
  int failed = check_claim(&p, format, err);
  if (p.lane)
    object_lane_close(r, p.lane);
  if (failed)
    image_info_release(ret);
  return failed;
}
