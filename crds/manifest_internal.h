// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "crds/manifest.h"

// Takes json over, also when it fails.
int manifests_add(struct manifests *m, struct json_object *json, const char *file, size_t line,
                  struct err *err);
// What a plain (unquoted) YAML scalar is; *ret NULL for null.
int manifest_plain_scalar(const char *text, size_t length, struct json_object **ret,
                          struct err *err);
