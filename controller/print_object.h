// SPDX-License-Identifier: Apache-2.0
// Objects as people and programs read them: tables with the printer columns of the
// CustomResourceDefinitions, JSON, YAML, and a page of everything (describe). Pure: objects come in
// as JSON trees, the clock as a number, text goes to a FILE.
#pragma once

#include <json-c/json.h>
#include <stdint.h>
#include <stdio.h>

#include "crds/object.h"

// One printer column, as in crds/*.yaml (additionalPrinterColumns).
struct print_column {
  const char *name; // "PHASE"
  const char *path; // ".status.phase"
  bool age;         // a time stamp, shown as age ("date")
  bool wide;        // only with -o wide ("priority: 1")
};
// Of a kind, without NAME and NAMESPACE; *ret_count of them.
const struct print_column *print_columns(enum object_kind kind, size_t *ret_count);

enum print_format { PRINT_TABLE, PRINT_WIDE, PRINT_JSON, PRINT_YAML };

struct print_options {
  int format;      // enum print_format
  bool namespaces; // a NAMESPACE column
  bool list;       // JSON and YAML: a List even of one
  int64_t now_wall_ms;
};

// objects: a JSON array of whole objects of the kind, borrowed. For JSON and YAML one List, or the
// object itself.
int print_objects(enum object_kind kind, struct json_object *objects,
                  const struct print_options *options, FILE *to, struct err *err);

// events: a JSON array of {type, reason, message, count, last} in order, may be empty.
int print_description(struct json_object *object, struct json_object *events, int64_t now_wall_ms,
                      FILE *to, struct err *err);

// status.preflight as a small table; nothing when it is empty. object: a whole one.
void print_preflight(struct json_object *object, int indent, FILE *to);
