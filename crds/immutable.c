// SPDX-License-Identifier: Apache-2.0
// What of a spec may never change. The API server says the same by transition rules (CEL).
#include "base/cleanup.h"
#include "base/str.h"
#include "crds/immutable_internal.h"

#define FIXED(kind, kind_name, field)                                                              \
  {                                                                                                \
    kind, field, field " cannot be changed: make a new " kind_name                                 \
  }

const struct immutable object_immutables[] = {
    FIXED(OBJECT_VM_MIGRATION, "VMMigration", "source"),
    FIXED(OBJECT_VM_MIGRATION, "VMMigration", "target"),
    FIXED(OBJECT_VM_MIGRATION, "VMMigration", "via"),
    FIXED(OBJECT_VM_MIGRATION, "VMMigration", "mode"),
    FIXED(OBJECT_CLONE_BASE, "CloneBase", "providerRef"),
    FIXED(OBJECT_CLONE_BASE, "CloneBase", "vm"),
    FIXED(OBJECT_CLONE_BASE, "CloneBase", "image"),
    FIXED(OBJECT_CLONE_BASE, "CloneBase", "template"),
    FIXED(OBJECT_CLONE_BASE, "CloneBase", "cpus"),
    FIXED(OBJECT_CLONE_BASE, "CloneBase", "memory"),
    FIXED(OBJECT_CLONE_BASE, "CloneBase", "storage"),
    FIXED(OBJECT_CLONE, "Clone", "baseRef"),
    FIXED(OBJECT_CLONE, "Clone", "sourceRef"),
    FIXED(OBJECT_CLONE, "Clone", "vm"),
    FIXED(OBJECT_CLONE, "Clone", "id"),
    FIXED(OBJECT_CLONE, "Clone", "cloneMode"),
    FIXED(OBJECT_CLONE, "Clone", "storage"),
    FIXED(OBJECT_CLONE, "Clone", "cpus"),
    FIXED(OBJECT_CLONE, "Clone", "memory"),
    FIXED(OBJECT_CLONE, "Clone", "disks"),
    FIXED(OBJECT_CLONE, "Clone", "networks"),
    FIXED(OBJECT_CLONE, "Clone", "hostname"),
    FIXED(OBJECT_CLONE, "Clone", "addresses"),
    FIXED(OBJECT_CLONE, "Clone", "sshKeysSecretRef"),
    FIXED(OBJECT_CLONE, "Clone", "userDataSecretRef"),
    FIXED(OBJECT_CLONE, "Clone", "postStart"),
    FIXED(OBJECT_CLONE, "Clone", "readiness"),
    FIXED(OBJECT_CLONE_SET, "CloneSet", "selector"),
    FIXED(OBJECT_CLONE_SET, "CloneSet", "nameTemplate"),
    {OBJECT_KIND_COUNT, NULL, NULL},
};

static const struct field *field_named(const struct table *t, const char *name)
{
  for (size_t i = 0; i < t->field_count; i++)
    if (str_eq(t->fields[i].name, name))
      return &t->fields[i];
  return NULL;
}

int object_check_update(const struct object *before, const struct object *after, struct err *err)
{
  const struct table *spec = object_kind_info(before->kind)->spec;
  for (const struct immutable *i = object_immutables; i->field; i++) {
    if (i->kind != before->kind)
      continue;
    // A table of one field compares that field.
    const struct table one = {spec->name, spec->size, field_named(spec, i->field), 1, NULL};
    if (!table_equal(&one, before->spec, after->spec))
      return err_set(err, ERR_INVALID, "spec: %s", i->message);
  }
  return 0;
}
