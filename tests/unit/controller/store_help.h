// SPDX-License-Identifier: Apache-2.0
// Helpers of the tests of the embedded object store: a folder of one's own, manifests from YAML.
#pragma once

#include <stdlib.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "base/yaml.h"
#include "controller/store_sqlite.h"
#include "crds/vmmigration.h"
#include "kube/object.h"
#include "tests/unit/unit.h"

DEFINE_CLEANUP(object_free, struct object *)
DEFINE_CLEANUP(store_free, struct object_store *)
#define cleanup_store CLEANUP(store_free_p)
#define cleanup_crd   CLEANUP(object_free_p)

#define VMM(name, more)                                                                            \
  "apiVersion: drover.dev/v1alpha1\nkind: VMMigration\nmetadata: {name: " name "}\nspec:\n"        \
  "  source: {vm: {providerRef: {name: a}, name: web}}\n"                                          \
  "  target: {vm: {providerRef: {name: b}, name: web}}\n" more

#define SECRET(name, value)                                                                        \
  "apiVersion: v1\nkind: Secret\nmetadata: {name: " name "}\nstringData: {password: " value "}\n"

struct place {
  char folder[64];
  char path[96];
};

static inline struct place *place_new(void)
{
  struct place *p = calloc(1, sizeof(*p));
  strcpy(p->folder, "/tmp/drover-store-XXXXXX");
  if (!mkdtemp(p->folder))
    abort();
  snprintf(p->path, sizeof(p->path), "%s/deep/state.db", p->folder);
  return p;
}

static inline void place_free(struct place *p)
{
  static const char *const names[] = {"state.db", "state.db-wal", "state.db-shm", "state.db.lock"};
  for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
    char path[160];
    snprintf(path, sizeof(path), "%s/deep/%s", p->folder, names[i]);
    unlink(path);
  }
  char deep[96];
  snprintf(deep, sizeof(deep), "%s/deep", p->folder);
  rmdir(deep);
  rmdir(p->folder);
  free(p);
}

static inline struct object_store *open_store(const struct place *p, enum store_sqlite_mode mode)
{
  struct err err = ERR_INIT;
  struct object_store *s = NULL;
  assert_ok(store_sqlite_open(p->path, mode, &s, &err), &err);
  return s;
}

static inline int apply_text(struct object_store *s, const char *yaml,
                             struct store_applied_object *ret, struct err *err)
{
  struct json_object *json cleanup_object = yaml_parse(yaml, strlen(yaml), err);
  return json ? store_sqlite_apply(s, json, "default", ret, err) : -1;
}

static inline enum store_applied apply(struct object_store *s, const char *yaml)
{
  struct err err = ERR_INIT;
  struct store_applied_object applied;
  assert_ok(apply_text(s, yaml, &applied, &err), &err);
  return applied.what;
}

static inline struct object *get(struct object_store *s, const char *name)
{
  struct err err = ERR_INIT;
  struct object *o = NULL;
  assert_ok(store_get(s, OBJECT_VM_MIGRATION, "default", name, &o, &err), &err);
  return o;
}

static inline bool is_there(struct object_store *s, const char *name)
{
  struct object *o cleanup_crd = NULL;
  return store_get(s, OBJECT_VM_MIGRATION, "default", name, &o, NULL) == 0;
}

static inline void set_phase(struct object *o, const char *phase)
{
  struct vmmigration_status *st = o->status;
  free(st->phase);
  st->phase = str_dup(phase);
}
