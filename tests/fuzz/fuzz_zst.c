// SPDX-License-Identifier: Apache-2.0
// raw.zst: the table of its frames, its map of blocks, and reading it.
#include "base/limits.h"
#include "disk/image_internal.h"
#include "tests/fuzz/fuzz.h"

#define READ_BYTES (1u << 20)

static void read_some(struct source *s)
{
  static uint8_t room[READ_BYTES];
  struct extents map = {0};
  struct err err = ERR_INIT;
  void *lane = NULL;
  if (source_extents(s, &map, &err) < 0 || source_lane_open(s, &lane, &err) < 0) {
    MUST(err.message[0]);
    extents_release(&map);
    return;
  }
  const uint64_t at[] = {0, s->size_bytes / 2, s->size_bytes - s->size_bytes / 3};
  for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
    uint64_t left = s->size_bytes - at[i];
    size_t length = left < READ_BYTES ? (size_t)left : READ_BYTES;
    MUST(source_read(s, lane, room, length, at[i], &err) == 0 || err.message[0]);
  }
  source_lane_close(s, lane);
  extents_release(&map);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  struct fuzz_reader r = fuzz_reader(data, size);
  struct source *s = NULL;
  struct err err = ERR_INIT;
  if (source_open_raw_zst(&r.base, &s, &err) == 0) {
    MUST(s->size_bytes <= LIMIT_DISK_BYTES);
    read_some(s);
    source_free(s);
  } else {
    MUST(err.kind != ERR_INTERNAL && err.message[0]);
  }
  return 0;
}
