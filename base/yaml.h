// SPDX-License-Identifier: Apache-2.0
// YAML (and JSON, which is tried first) into json-c trees, by libyaml. Scalars become what kubectl
// makes of them (YAML 1.1 as sigs.k8s.io/yaml resolves it, measured with 1.34): yes/no/on/off/y/n
// are booleans, 0755 is octal, 1_000 and 1e3 are whole numbers, dates stay strings; anchors,
// aliases and merge keys work. Several documents in one text are read one by one.
//
// Safe with hostile input: nesting, size, the number of values and the bytes of their text are
// limited, aliases count as often as they are used (no billion laughs), a key given twice and
// values that JSON does not have
// (.inf, .nan, maps as keys) are errors. Messages begin with the line: "line 12: ...".
//
// A reader belongs to one thread; the text must outlive it.
#pragma once

#include <json-c/json.h>
#include <stddef.h>

#include "base/err.h"

#define YAML_MAX_BYTES  (16u << 20) // of a whole text, and of one document with aliases expanded
#define YAML_MAX_DEPTH  64          // nested maps and lists
#define YAML_MAX_VALUES 200000      // of one document, keys included, aliases expanded

struct yaml_reader;

// ERR_LIMIT when the text is too long.
struct yaml_reader *yaml_open(const char *text, size_t length, struct err *err);
void yaml_close(struct yaml_reader *r); // NULL allowed
// 1: *ret is the next document (yours: json_object_put; NULL for an empty or null one) and
// *ret_line, which may be NULL, the line it begins on, counted from 1. 0: no more. -1: ERR_INVALID
// or ERR_LIMIT; the reader must not be asked again.
int yaml_next(struct yaml_reader *r, struct json_object **ret, int *ret_line, struct err *err);

// The one document of a text; nothing, or more than one, is ERR_INVALID.
struct json_object *yaml_parse(const char *text, size_t length, struct err *err);

struct buf;
// The other way, in yaml_write.c: block style, as kubectl prints it; strings that would be read as
// something else are quoted.
int yaml_write(struct json_object *json, struct buf *to, struct err *err);
