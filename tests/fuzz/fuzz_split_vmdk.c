// SPDX-License-Identifier: Apache-2.0
// A vmdk descriptor and the tables of a sparse extent: two bytes say how long the descriptor is,
// its text follows, and what is left is the extent, which is called "e".
#include "base/limits.h"
#include "disk/source.h"
#include "disk/split_vmdk_internal.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  if (size < 2)
    return 0;
  size_t length = (size_t)data[0] << 8 | data[1];
  if (length > size - 2)
    length = size - 2;
  struct fuzz_reader descriptor = fuzz_reader(data + 2, length);
  struct fuzz_reader extent = fuzz_reader(data + 2 + length, size - 2 - length);
  struct object_reader *readers[] = {&descriptor.base, &extent.base};
  const char *const paths[] = {"/f/d.vmdk", "/f/e"};
  struct source *s;
  struct extents map = {0};
  struct err err = ERR_INIT;
  if (source_open_split_vmdk(readers, paths, 2, &s, &err) != 0) {
    MUST((err.kind == ERR_CORRUPT || err.kind == ERR_UNSUPPORTED || err.kind == ERR_LIMIT) &&
         err.message[0]);
    return 0;
  }
  MUST(s->size_bytes > 0 && s->size_bytes <= LIMIT_DISK_BYTES);
  if (source_extents(s, &map, &err) == 0)
    extents_release(&map);
  source_free(s);
  return 0;
}
