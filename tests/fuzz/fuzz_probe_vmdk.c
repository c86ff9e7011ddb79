// SPDX-License-Identifier: Apache-2.0
// The header and descriptor of a vmdk image.
#include "tests/fuzz/probe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  static const int formats[] = {DISK_FORMAT_VMDK};
  fuzz_probe(data, size, formats, sizeof(formats) / sizeof(formats[0]));
  return 0;
}
