// SPDX-License-Identifier: Apache-2.0
// The chunk hashes beside an image. The first byte says how many chunks it has.
#include "mover/manifest.h"
#include "tests/fuzz/fuzz.h"

#define CHUNKS_MAX 20u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  static uint8_t hashes[CHUNKS_MAX * 32];
  if (size == 0)
    return 0;
  struct copy_result r = {.chunk_hashes = hashes, .chunk_count = data[0] % (CHUNKS_MAX + 1)};
  r.size_bytes = r.chunk_count * COPY_CHUNK_BYTES;
  uint8_t *bytes = malloc(size);
  MUST(bytes);
  memcpy(bytes, data + 1, size - 1);
  uint64_t offset = 0;
  struct err err = ERR_INIT;
  int found = chunks_compare(bytes, size - 1, &r, &offset, &err);
  MUST(found == 0 || (found == 1 && offset < r.size_bytes) || (found < 0 && err.message[0]));
  free(bytes);
  return 0;
}
