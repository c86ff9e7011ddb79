// SPDX-License-Identifier: Apache-2.0
// Numbers, quantities of bytes, durations.
#include "base/str.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  char *text = fuzz_text(data, size);
  int64_t number = 0, bytes = 0, ms = 0, again = 0;
  char b[48];
  if (str_int64(text, &number)) {
    snprintf(b, sizeof(b), "%lld", (long long)number);
    MUST(str_int64(b, &again) && again == number);
  }
  if (str_bytes(text, &bytes)) {
    MUST(bytes >= 0);
    snprintf(b, sizeof(b), "%lld", (long long)bytes);
    MUST(str_bytes(b, &again) && again == bytes);
  }
  if (str_duration(text, &ms)) {
    MUST(ms >= 0);
    MUST(str_duration(str_duration_text(ms, b), &again) && again == ms);
  }
  free(text);
  return 0;
}
