// SPDX-License-Identifier: Apache-2.0
// URLs of the command line.
#include "mover/url.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  char *text = fuzz_text(data, size);
  struct url u;
  struct err err = ERR_INIT;
  if (url_parse(text, &u, &err) == 0) {
    MUST(u.scheme && u.host && u.path && u.port >= 0 && u.port <= 65535);
    MUST(u.path[0] == '/' || u.path[0] == '\0');
    for (const char *p = u.path; *p; p++)
      MUST((unsigned char)*p >= 0x20 && *p != 0x7f);
    url_release(&u);
  } else {
    MUST(err.kind == ERR_INVALID && err.message[0]);
  }
  free(text);
  return 0;
}
