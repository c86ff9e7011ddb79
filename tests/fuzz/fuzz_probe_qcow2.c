// SPDX-License-Identifier: Apache-2.0
// The header of a qcow2 image.
#include "base/limits.h"
#include "disk/open.h"
#include "tests/fuzz/fuzz.h"

static const int formats[] = {DISK_FORMAT_QCOW2};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
    struct fuzz_reader r = fuzz_reader(data, size);
    struct image_info info;
    struct err err = ERR_INIT;
    if (image_probe(&r.base, formats[i], &info, &err) == 0) {
      MUST(info.size_bytes <= LIMIT_DISK_BYTES && info.stored_bytes == size);
      image_info_release(&info);
    } else {
      MUST((err.kind == ERR_CORRUPT || err.kind == ERR_UNSUPPORTED) && err.message[0]);
    }
  }
  return 0;
}
