// SPDX-License-Identifier: Apache-2.0
// VMDK sparse extents with an embedded descriptor: monolithicSparse and streamOptimized (VMware,
// Virtual Disk Format 5.0). Descriptors of their own: split_vmdk.c. Embedded ones that lead to
// other files (FLAT and VMFS extents, parents, an embedded descriptor in place of a disk: capacity
// 0) are refused: QEMU would open those files whatever the block graph says.
#include <ctype.h>
#include <endian.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "disk/probe_internal.h"
#include "disk/vmdk_internal.h"

#define DESCRIPTOR_MAX (64u << 10)

static const char *const types_allowed[] = {"monolithicSparse", "streamOptimized"};

bool vmdk_value(const char *line, const char *name, char ret[VMDK_VALUE_BYTES])
{
  size_t n = strlen(name);
  while (*line == ' ' || *line == '\t')
    line++;
  if (strncasecmp(line, name, n) != 0)
    return false;
  for (line += n; *line == ' ' || *line == '\t'; line++)
    ;
  if (*line++ != '=')
    return false;
  line += strspn(line, " \t\"");
  snprintf(ret, VMDK_VALUE_BYTES, "%.*s", (int)strcspn(line, "\"\r\n"), line);
  return true;
}

// "RW 204800 SPARSE "name.vmdk"": the third word says what kind of file it is.
static bool is_extent(const char *line, char type[32])
{
  char access[16];
  unsigned long long sectors;
  if (sscanf(line, " %15s %llu %31s", access, &sectors, type) != 3)
    return false;
  return str_eq(access, "RW") || str_eq(access, "RDONLY") || str_eq(access, "NOACCESS");
}

int vmdk_check_parent(const char *line, struct err *err)
{
  char value[VMDK_VALUE_BYTES];
  if (vmdk_value(line, "parentCID", value) && strcasecmp(value, "ffffffff") != 0)
    return probe_corrupt(err, "it needs a parent disk, which is not followed");
  if (vmdk_value(line, "parentFileNameHint", value) && *value)
    return probe_corrupt(err, "it names a parent disk (%.80s)", value);
  return 0;
}

static int check_line(const char *line, int *extents, struct err *err)
{
  char value[VMDK_VALUE_BYTES];
  if (is_extent(line, value)) {
    if (!str_eq(value, "SPARSE") || ++*extents > 1)
      return probe_corrupt(err, "its descriptor leads to other files (%.80s)", line);
    return 0;
  }
  if (vmdk_check_parent(line, err) != 0)
    return -1;
  if (!vmdk_value(line, "createType", value))
    return 0;
  for (size_t i = 0; i < ARRAY_SIZE(types_allowed); i++)
    if (str_eq(value, types_allowed[i]))
      return 0;
  return probe_corrupt(err, "a vmdk of type '%.40s' leads to other files", value);
}

static int check_descriptor(char *text, struct err *err)
{
  int extents = 0;
  char *rest = text;
  for (char *line; (line = strsep(&rest, "\n"));) {
    line[strcspn(line, "\r")] = '\0';
    if (check_line(line, &extents, err) != 0)
      return -1;
  }
  return 0;
}

static int read_descriptor(const struct probe *p, const struct vmdk_header *h, struct err *err)
{
  uint64_t at = le64toh(h->descriptor_at);
  uint64_t sectors = le64toh(h->descriptor_sectors);
  if (at == 0)
    return probe_corrupt(err, "an extent without its descriptor");
  if (sectors > DESCRIPTOR_MAX / VMDK_SECTOR || at > p->reader->size_bytes / VMDK_SECTOR)
    return probe_corrupt(err, "descriptor of %" PRIu64 " sectors", sectors);
  cleanup_free char *text = calloc(1, sectors * VMDK_SECTOR + 1);
  if (!text)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  if (probe_read(p, text, sectors * VMDK_SECTOR, at * VMDK_SECTOR, err) != 0)
    return -1;
  return check_descriptor(text, err);
}

static int check_sizes(const struct vmdk_header *h, struct err *err)
{
  uint64_t grain = le64toh(h->grain_sectors);
  uint64_t capacity = le64toh(h->capacity);
  if (capacity == 0)
    return probe_corrupt(err, "a descriptor in place of a disk");
  if (capacity > UINT64_MAX / VMDK_SECTOR)
    return probe_corrupt(err, "a capacity of %" PRIu64 " sectors", capacity);
  if (grain < 1 || grain > VMDK_GRAIN_SECTORS_MAX || (grain & (grain - 1)))
    return probe_corrupt(err, "grains of %" PRIu64 " sectors", grain);
  if (le32toh(h->entries) == 0 || le32toh(h->entries) > VMDK_TABLE_ENTRIES)
    return probe_corrupt(err, "grain tables of %u entries", le32toh(h->entries));
  if (le32toh(h->version) < 1 || le32toh(h->version) > 3)
    return err_set(err, ERR_UNSUPPORTED, "vmdk version %u is not known", le32toh(h->version));
  return 0;
}

int probe_vmdk(const struct probe *p, struct err *err)
{
  struct vmdk_header h;
  char magic[4];
  if (probe_read(p, magic, sizeof(magic), 0, err) != 0)
    return -1;
  if (memcmp(magic, "COWD", 4) == 0)
    return err_set(err, ERR_UNSUPPORTED, "vmdk images of old ESX servers (COWD) cannot be read");
  if (memcmp(magic, "KDMV", 4) != 0)
    return probe_corrupt(err, "a vmdk descriptor that leads to other files: they must be listed, "
                              "in order");
  if (probe_read(p, &h, sizeof(h), 0, err) != 0 || check_sizes(&h, err) != 0)
    return -1;
  p->info->compressed = le32toh(h.flags) & VMDK_FLAG_COMPRESSED;
  if (probe_size(p, le64toh(h.capacity) * VMDK_SECTOR, err) != 0)
    return -1;
  return read_descriptor(p, &h, err);
}
