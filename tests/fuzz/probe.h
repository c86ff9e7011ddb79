// SPDX-License-Identifier: Apache-2.0
// What the fuzz targets of image headers (fuzz_probe_*.c) share: the input is the whole image, and
// is read as each of their formats. Either a disk of a size that is allowed comes out, or an error
// that blames the image. No state; one thread, as libFuzzer has.
#pragma once

#include "base/limits.h"
#include "disk/open.h"
#include "tests/fuzz/fuzz.h"

// formats: of enum disk_format.
static inline void fuzz_probe(const uint8_t *data, size_t size, const int *formats, size_t count)
{
  for (size_t i = 0; i < count; i++) {
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
}
