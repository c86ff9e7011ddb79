// SPDX-License-Identifier: Apache-2.0
// Manifests: YAML (several documents to a file) or JSON, files or folders, as people give them to
// `drover run -f`. What comes out are JSON objects of the kinds that drover knows, each already
// checked against its table, and where each stood, for messages.
//
// YAML is read as Kubernetes reads it: `yes` and `on` are true, 010 is 8, dates are text. Anchors,
// aliases and merge keys work within bounds, so that a file of a few lines cannot become gigabytes.
// A key that stands twice is an error.
//
// Kinds: those of drover, Secret and ConfigMap of v1, List of v1 (its items). A Namespace is left
// out, with a note. Anything else is an error.
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/field.h"

#define MANIFEST_FILE_BYTES (16u << 20) // one file
#define MANIFEST_COUNT_MAX  10000       // objects in all files of one call
#define MANIFEST_DEPTH_MAX  64          // of nested lists and maps
#define MANIFEST_NODES_MAX  100000      // of one document, each use of an alias counted

struct manifest {
  struct json_object *json;
  char *file;
  size_t line; // of the document's first line, from 1
};

struct manifests {
  struct manifest *items;
  size_t count;
  struct strings notes; // for people: "a.yaml:3: Namespace x is left out ..."
};

// Adds what path holds: a file, a folder (its *.yaml, *.yml and *.json in order of name, not those
// of folders in it), or "-" for standard input. *ret must be initialised and keeps what it had;
// after an error it may hold some of the objects. Messages begin with FILE:LINE.
int manifests_read(const char *path, struct manifests *ret, struct err *err);
void manifests_release(struct manifests *m);

// Documents of YAML text as they stand, of any kind or none. name is what messages begin with.
int manifests_parse_yaml(const char *text, size_t length, const char *name, struct manifests *ret,
                         struct err *err);
// The same for JSON text: any number of values, one after the other.
int manifests_parse_json(const char *text, size_t length, const char *name, struct manifests *ret,
                         struct err *err);
// Is this an object that drover can take? See above. *ret_ignore: fine, but to be left out.
int manifest_check(struct json_object *json, bool *ret_ignore, struct err *err);
