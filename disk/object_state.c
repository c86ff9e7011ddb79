// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stdio.h>

#include "base/str.h"
#include "disk/object.h"

void object_file_state_text(const struct object_file_state *s, char ret[OBJECT_STATE_BYTES])
{
  snprintf(ret, OBJECT_STATE_BYTES, "%s:%" PRIu64 ":%" PRIu64 ":%s", s->file, s->begun_bytes,
           s->length_bytes, s->changed[0] ? s->changed : "-");
}

bool object_file_state_is_part(const struct object_file_state *found, const char *earlier)
{
  char start[OBJECT_STATE_BYTES];
  int n = snprintf(start, sizeof(start), "%s:%" PRIu64 ":", found->file, found->begun_bytes);
  if (found->length_bytes != found->begun_bytes) // cut already
    snprintf(start + n, sizeof(start) - (size_t)n, "%" PRIu64 ":", found->length_bytes);
  return str_starts(earlier, start);
}

bool object_file_state_is_whole(const struct object_file_state *found, const char *earlier)
{
  char text[OBJECT_STATE_BYTES];
  object_file_state_text(found, text);
  return str_eq(text, earlier);
}
