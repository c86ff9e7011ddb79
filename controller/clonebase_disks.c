// SPDX-License-Identifier: Apache-2.0
// The VMMigration that brings the disks of a CloneBase.
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "controller/clonebase_internal.h"
#include "providers/clone.h"
#include "reconcile/base.h"
#include "reconcile/migration.h"

DEFINE_CLEANUP(object_free, struct object *)

int basing_provider(struct basing *b, struct provider **ret, struct err *err)
{
  if (!b->k.access.handle && provider_access(b->k.m, b->k.key.ns, &b->spec->provider,
                                             PROVIDER_CLONE, &b->k.access, err) != 0)
    return -1;
  *ret = b->k.access.handle;
  return 0;
}

// ---- the migration that brings disks --------------------------------------------------------

bool basing_needs_disks(const struct basing *b)
{
  return (b->spec->image && !b->takes_images) ||
         (b->spec->vm && b->spec->vm->take == BASE_COPY && !b->copies_itself);
}

static void migration_name(const struct basing *b, char ret[254])
{
  snprintf(ret, 254, "%.240s-base", b->k.key.name);
}

static bool is_ours(const struct basing *b, const struct object *o)
{
  const struct object_owner *owners = o->meta.owners.items;
  return o->meta.owners.count > 0 && str_eq(owners[0].uid, b->k.o->meta.uid);
}

static void take_migration(struct basing *b, const struct object *o)
{
  const struct vmmigration_status *st = o->status;
  str_set(&b->machine, st->result.vm ? st->result.vm->id : NULL);
  str_set(&b->percent, st->summary.progress);
  if (!str_eq(st->phase, migration_phase_names[PHASE_FAILED]))
    return;
  const struct condition *failed = condition_find(&st->conditions, "Failed");
  err_set(&b->unreachable, ERR_INVALID,
          "VMMigration %s/%s failed: %.500s; mend that and ask it for a retry%s", o->meta.ns,
          o->meta.name, failed && failed->message ? failed->message : "",
          b->spec->image
              ? ", or make a new CloneBase (cpus, memory and image.firmware are those of "
                "its target)"
              : "");
}

uint64_t basing_look_at_migration(struct basing *b)
{
  struct object *o CLEANUP(object_free_p) = NULL;
  struct err failed = ERR_INIT;
  char name[254];
  migration_name(b, name);
  if (store_get(b->k.m->store, OBJECT_VM_MIGRATION, b->k.key.ns, name, &o, &failed) != 0) {
    if (failed.kind != ERR_NOT_FOUND)
      b->k.err = failed;
    return 0;
  }
  if (!is_ours(b, o)) {
    err_set(&b->k.err, ERR_EXISTS, "VMMigration %s/%s is there and is not of this CloneBase",
            b->k.key.ns, name);
    return 0;
  }
  take_migration(b, o);
  const struct vmmigration_status *st = o->status;
  return BASE_FACT(DISKS_ASKED) |
         bit(str_eq(st->phase, migration_phase_names[PHASE_SUCCEEDED]), BASE_FACT(DISKS_DONE)) |
         bit(str_eq(st->phase, migration_phase_names[PHASE_FAILED]) ||
                 str_eq(st->phase, migration_phase_names[PHASE_CANCELLED]),
             BASE_FACT(DISKS_BAD));
}

static struct json_object *reference(const struct ref *ref, const char *ns)
{
  struct json_object *json = json_object_new_object();
  json_object_object_add(json, "name", json_object_new_string(ref->name));
  json_object_object_add(json, "namespace", json_object_new_string(ref->ns ? ref->ns : ns));
  return json;
}

static void add_text(struct json_object *to, const char *name, const char *value)
{
  if (value)
    json_object_object_add(to, name, json_object_new_string(value));
}

static struct json_object *migration_source(const struct basing *b)
{
  struct json_object *source = json_object_new_object();
  struct json_object *what = json_object_new_object();
  if (b->spec->image) {
    json_object_object_add(what, "storeRef", reference(&b->spec->image->store, b->k.key.ns));
    add_text(what, "path", b->spec->image->path);
    json_object_object_add(source, "image", what);
    return source;
  }
  json_object_object_add(what, "providerRef", reference(&b->spec->provider, b->k.key.ns));
  add_text(what, "name", b->spec->vm->name);
  add_text(what, "id", b->spec->vm->id);
  json_object_object_add(source, "vm", what);
  return source;
}

static struct json_object *migration_target(const struct basing *b)
{
  static const char *const firmwares[] = {"", "BIOS", "UEFI"};
  struct json_object *target = json_object_new_object();
  struct json_object *vm = json_object_new_object();
  cleanup_free char *name = keeping_far_name(b->k.o);
  json_object_object_add(vm, "providerRef", reference(&b->spec->provider, b->k.key.ns));
  add_text(vm, "name", name);
  add_text(vm, "storage", b->spec->storage);
  add_text(vm, "powerState", "Off");
  if (b->spec->cpus)
    json_object_object_add(vm, "cpus", json_object_new_int64(b->spec->cpus));
  if (b->spec->memory_bytes)
    json_object_object_add(vm, "memory", json_object_new_int64(b->spec->memory_bytes));
  if (b->spec->image && b->spec->image->firmware)
    add_text(vm, "firmware", firmwares[b->spec->image->firmware]);
  json_object_object_add(target, "vm", vm);
  return target;
}

static struct json_object *policy(const char *name, const char *value)
{
  struct json_object *json = json_object_new_object();
  add_text(json, name, value);
  return json;
}

static struct json_object *migration_json(const struct basing *b, const char *name)
{
  static const char *const shutdowns[] = {"Guest", "Force", "Never"};
  struct json_object *json = json_object_new_object();
  struct json_object *meta = json_object_new_object();
  struct json_object *spec = json_object_new_object();
  add_text(json, "apiVersion", CRDS_API_VERSION);
  add_text(json, "kind", "VMMigration");
  add_text(meta, "namespace", b->k.key.ns);
  add_text(meta, "name", name);
  json_object_object_add(json, "metadata", meta);
  json_object_object_add(spec, "source", migration_source(b));
  json_object_object_add(spec, "target", migration_target(b));
  if (b->spec->vm) {
    json_object_object_add(spec, "shutdown",
                           policy("policy", shutdowns[b->spec->vm->shutdown.policy]));
    json_object_object_add(spec, "sourceAfter", policy("action", "Restore"));
  }
  json_object_object_add(json, "spec", spec);
  return json;
}

static void add_owner(const struct basing *b, struct object *o)
{
  struct object_owner *owner = list_add(&o->meta.owners, sizeof(*owner), 1);
  if (owner)
    *owner = (struct object_owner){str_dup(CRDS_API_VERSION), str_dup("CloneBase"),
                                   str_dup(b->k.key.name), str_dup(b->k.o->meta.uid), true};
}

int basing_ask_disks(struct basing *b, struct err *err)
{
  struct object *o CLEANUP(object_free_p) = NULL;
  char name[254];
  migration_name(b, name);
  struct json_object *json = migration_json(b, name);
  int rc = object_decode_strict(json, &o, err);
  json_object_put(json);
  if (rc != 0)
    return -1;
  add_owner(b, o);
  str_set(&b->st->memory.migration, name);
  return b->k.m->store->ops->create(b->k.m->store, o, err);
}

// What the VMMigration made, and nobody registered: it bears that one's mark.
static int delete_unregistered(struct basing *b, const struct object *migration, struct err *err)
{
  struct vm vm CLEANUP(vm_release) = {0};
  struct provider *p;
  struct err failed = ERR_INIT;
  cleanup_free char *mark = str_printf("%s/%s/%s/%s/", b->k.m->installation, migration->meta.ns,
                                       migration->meta.name, migration->meta.uid);
  take_migration(b, migration);
  if (!b->machine || b->st->memory.made)
    return 0;
  if (basing_provider(b, &p, err) != 0)
    return -1;
  if (provider_find_vm(p, b->machine, &vm, &failed) != 0) {
    if (failed.kind == ERR_NOT_FOUND)
      return 0;
    *err = failed;
    return -1;
  }
  return owner_same(vm.owner, mark) ? provider_delete_vm(p, &vm, err) : 0;
}

int basing_remove_finalizer(struct basing *b, struct err *err)
{
  struct object *migration CLEANUP(object_free_p) = NULL;
  struct object_store *store = b->k.m->store;
  struct err gone = ERR_INIT;
  const char *name = b->st->memory.migration;
  if (name && store_get(store, OBJECT_VM_MIGRATION, b->k.key.ns, name, &migration, &gone) == 0 &&
      is_ours(b, migration)) {
    if (delete_unregistered(b, migration, err) != 0 ||
        (!migration->meta.deletion_timestamp && store->ops->remove(store, migration, err) != 0))
      return -1;
    // It may have to take something back, and this base waits for it; `drover delete` leaves
    // migrations asleep that nobody named.
    keeping_nudge(&b->k, OBJECT_VM_MIGRATION, NULL, name, 0);
    return 0;
  }
  return set_cleanup_finalizer(b->k.m, b->k.o, false, err);
}
