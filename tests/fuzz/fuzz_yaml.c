// SPDX-License-Identifier: Apache-2.0
// Manifests that people write: YAML, and what it must be as an object of ours.
#include "base/yaml.h"
#include "crds/manifest.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  struct err err = ERR_INIT;
  char *text = fuzz_text(data, size);
  struct yaml_reader *r = yaml_open(text, size, &err);
  MUST(r || err.message[0]);
  struct json_object *json = NULL;
  int line = 0, more = 0;
  while (r && (more = yaml_next(r, &json, &line, &err)) > 0) {
    bool ignore = false;
    struct err fault = ERR_INIT;
    MUST(line >= 1);
    MUST(!json || manifest_check(json, &ignore, &fault) == 0 || fault.message[0]);
    json_object_put(json);
    json = NULL;
  }
  MUST(more == 0 || err.message[0]);
  yaml_close(r);
  free(text);
  return 0;
}
