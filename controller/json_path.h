// SPDX-License-Identifier: Apache-2.0
// The part of JSONPath that printer columns use: ".spec.type",
// ".status.conditions[?(@.type==\"Ready\")].status",
// ".status.result.images[0].path", dots in names as "\.". So that a column of our tables and the
// same column of a CustomResourceDefinition are one string.
#pragma once

#include <json-c/json.h>

// What the path leads to, owned by json; NULL: nothing is there, or the path is not of that form.
struct json_object *json_path(struct json_object *json, const char *path);
