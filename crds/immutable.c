// SPDX-License-Identifier: Apache-2.0
// What of a spec may never change. The API server says the same by transition rules (CEL).
#include "base/cleanup.h"
#include "base/str.h"
#include "crds/immutable_internal.h"

const struct immutable object_immutables[] = {
    {OBJECT_VM_MIGRATION, "source", "source cannot be changed: make a new VMMigration"},
    {OBJECT_VM_MIGRATION, "target", "target cannot be changed: make a new VMMigration"},
    {OBJECT_VM_MIGRATION, "via", "via cannot be changed: make a new VMMigration"},
    {OBJECT_VM_MIGRATION, "mode", "mode cannot be changed: make a new VMMigration"},
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
