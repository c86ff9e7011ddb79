// SPDX-License-Identifier: Apache-2.0
// WebDAV's lists: only folders below the one that was asked for are gone into, and there is an end
// to what is named.
#include "base/str.h"
#include "storage/http/dav_internal.h"
#include "tests/fuzz/fuzz.h"

#define NAMES_MAX 50

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  static char base[] = "https://example.net/base", path[] = "/base";
  struct dav dav = {.base = base, .path = path};
  struct strings names = {0};
  struct dav_walk w = {.dav = &dav, .names = &names, .max = NAMES_MAX};
  struct err err = ERR_INIT;
  char *copy = malloc(size ? size : 1);
  MUST(copy);
  memcpy(copy, data, size);
  const struct buf xml = {.data = copy, .length = size};
  MUST(dav_read_list(&w, "a/", &xml, &err) == 0 || err.message[0]);
  MUST(names.count <= NAMES_MAX && w.folders.count <= DAV_FOLDERS_MAX);
  for (size_t i = 0; i < w.folders.count; i++)
    MUST(str_starts(w.folders.items[i], "a/") && str_ends(w.folders.items[i], "/"));
  strings_release(&names);
  strings_release(&w.folders);
  free(copy);
  return 0;
}
