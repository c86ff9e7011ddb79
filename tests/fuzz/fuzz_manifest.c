// SPDX-License-Identifier: Apache-2.0
// The manifest beside an image.
#include "base/str.h"
#include "mover/manifest.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  char *text = fuzz_text(data, size);
  struct image_manifest m = {0}, again = {0};
  struct err err = ERR_INIT;
  if (table_decode_text(&image_manifest_table, text, "manifest", &m, &err) == 0) {
    struct json_object *tree = table_encode(&image_manifest_table, &m);
    MUST(tree && table_decode(&image_manifest_table, tree, "manifest", &again, &err) == 0);
    MUST(table_equal(&image_manifest_table, &m, &again));
    json_object_put(tree);
    table_release(&image_manifest_table, &again);
    table_release(&image_manifest_table, &m);
  } else {
    MUST(err.kind == ERR_INVALID && err.message[0]);
  }
  free(text);
  return 0;
}
