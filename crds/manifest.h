// SPDX-License-Identifier: Apache-2.0
// Manifests: YAML (several documents to a file) or JSON, files or folders, as people give them to
// `drover run -f`. What comes out are JSON objects of the kinds that drover knows, each already
// checked against its table, and where each stood, for messages.
//
// YAML is read by base/yaml.h, as Kubernetes reads it and within its limits.
//
// Kinds: those of drover, Secret and ConfigMap of v1, List of v1 (its items). A Namespace is left
// out, with a note. Anything else is an error.
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/field.h"

#define MANIFEST_COUNT_MAX 10000 // objects in all files of one call

struct manifest {
  struct json_object *json;
  char *file;
  size_t line; // that the document begins on, from 1
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

// Is this an object that drover can take? See above. *ret_ignore: fine, but to be left out.
int manifest_check(struct json_object *json, bool *ret_ignore, struct err *err);
