// SPDX-License-Identifier: Apache-2.0
// crds_same MANIFEST SERVER: MANIFEST as drover reads it, and what an API server made of it. Both
// must have the same defaults: the decoded structs are equal, and so is the JSON of both specs.
#include <stdio.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "crds/manifest.h"
#include "crds/object.h"

static struct object *read_object(const char *path, struct json_object **ret_json)
{
  struct err err = ERR_INIT;
  struct manifests m CLEANUP(manifests_release) = {0};
  struct object *o = NULL;
  if (manifests_read(path, &m, &err) || object_decode_strict(m.items[0].json, &o, &err)) {
    fprintf(stderr, "%s: %s\n", path, err.message);
    exit(2);
  }
  *ret_json = json_object_get(m.items[0].json);
  return o;
}

static int same_json(const struct object *o, struct json_object *server)
{
  struct json_object *ours = table_encode(object_kind_info(o->kind)->spec, o->spec);
  struct json_object *theirs = json_object_object_get(server, "spec");
  int result = 0;
  if (!json_object_equal(ours, theirs)) {
    fprintf(stderr, "here:   %s\nserver: %s\n", json_object_to_json_string(ours),
            json_object_to_json_string(theirs));
    result = 1;
  }
  json_object_put(ours);
  return result;
}

int main(int argc, char **argv)
{
  if (argc != 3)
    return 2;
  struct json_object *json[2];
  struct object *ours = read_object(argv[1], &json[0]);
  struct object *theirs = read_object(argv[2], &json[1]);
  const struct object_kind_info *kind = object_kind_info(ours->kind);
  int result = same_json(ours, json[1]);
  if (!table_equal(kind->spec, ours->spec, theirs->spec) ||
      !table_equal(kind->status, ours->status, theirs->status)) {
    fprintf(stderr, "the decoded objects differ\n");
    result = 1;
  }
  for (int i = 0; i < 2; i++)
    json_object_put(json[i]);
  object_free(ours);
  object_free(theirs);
  return result;
}
