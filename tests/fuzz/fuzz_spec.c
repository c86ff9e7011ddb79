// SPDX-License-Identifier: Apache-2.0
// The mover's document, and after a line of its own ("--") its secrets.
#include "base/secret.h"
#include "base/str.h"
#include "mover/mover.h"
#include "tests/fuzz/fuzz.h"

#define SPLIT "\n--\n"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  char *text = fuzz_text(data, size);
  char *secrets = strstr(text, SPLIT);
  if (secrets) {
    *secrets = '\0';
    secrets += strlen(SPLIT);
  }
  struct mover_spec s = {0}, again = {0};
  struct err err = ERR_INIT;
  char *spec = NULL, *its_secrets = NULL;
  if (mover_spec_decode(text, secrets, &s, &err) == 0) {
    MUST(mover_spec_encode(&s, &spec, &its_secrets, &err) == 0 || err.kind == ERR_LIMIT);
    if (spec && mover_spec_decode(spec, its_secrets, &again, &err) == 0) {
      MUST(table_equal(&mover_spec_table, &s, &again));
      mover_spec_release(&again);
    } else {
      MUST(!spec || err.kind == ERR_LIMIT);
    }
    secret_free_string(its_secrets);
    mover_spec_release(&s);
  } else {
    MUST(err.kind != ERR_NONE && err.kind != ERR_INTERNAL && err.message[0]);
  }
  free(spec);
  free(text);
  return 0;
}
