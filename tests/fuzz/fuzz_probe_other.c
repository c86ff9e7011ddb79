// SPDX-License-Identifier: Apache-2.0
// The headers of vhdx and vdi images, and finding out which format an image has.
#include "tests/fuzz/probe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  static const int formats[] = {DISK_FORMAT_ANY, DISK_FORMAT_VHDX, DISK_FORMAT_VDI};
  fuzz_probe(data, size, formats, sizeof(formats) / sizeof(formats[0]));
  return 0;
}
