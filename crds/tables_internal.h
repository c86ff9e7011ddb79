// SPDX-License-Identifier: Apache-2.0
// What the tables of the kinds share: offsets, and the patterns and limits that occur more than
// once. Patterns are read by regcomp() here and by RE2 in the API server, so they use what both
// know. The same text stands in crds/*.yaml, and a test compares them.
#pragma once

#include <stddef.h>

#include "base/limits.h"
#include "base/pattern.h"
#include "base/str.h"
#include "crds/common.h"

extern const struct table object_meta_table; // of struct object_meta: only what drover needs

#define AT(type, member)  offsetof(struct type, member)

#define NAME_PATTERN      "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
#define NAMESPACE_PATTERN "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
#define NAMESPACE_BYTES   63
// Anything in one line: names that other systems give.
#define LINE_PATTERN "^[^[:cntrl:]]+$"
#define HOST_PATTERN "^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\\[?[0-9A-Fa-f:.]+\\]?)$"
#define URL_PATTERN  "^https?://[^]/?#@[:space:][]+(/[^?#[:space:]]*)?$"

// Path rules: parts that would lead elsewhere. The first is for keys, the second for what may be
// an absolute folder.
#define BAD_KEY_PATTERN  "(^|/)[.]{0,2}(/|$)"
#define BAD_PATH_PATTERN "(^|/)[.]{1,2}(/|$)"

#define LIMIT_KEY_BYTES  512 // a path inside a store, which its prefix and the names of disks join
