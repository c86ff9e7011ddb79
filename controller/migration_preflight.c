// SPDX-License-Identifier: Apache-2.0
// Every check before any change. Findings stand in status.preflight; an error among them fails the
// migration before anything was touched. Far sides that do not answer are hiccups, not findings.
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "controller/migration_internal.h"

// An error of a kind that a person must mend becomes a finding; one that may pass by itself stays.
static int as_finding(struct findings *f, const char *check, const char *suggestion,
                      const struct err *failed, struct err *err)
{
  if (err_retryable(failed->kind)) {
    *err = *failed;
    return -1;
  }
  findings_add(f, check, FINDING_ERROR, suggestion, "%s", failed->message);
  return 0;
}

// ---- source ---------------------------------------------------------------------------------

static int choose_disks(const struct run *r, struct vm *vm, struct findings *f)
{
  const struct strings *wanted = &r->spec->source.vm->disks;
  struct vm_disk *disks = vm->disks.items;
  for (size_t i = 0; i < wanted->count; i++)
    if (!vm_disk_named(vm, wanted->items[i]))
      findings_add(f, "SourceDisks", FINDING_ERROR, "name disks as status of a dry run lists them",
                   "spec.source.vm.disks[%zu]: VM '%s' has no disk '%s'", i, vm->name,
                   wanted->items[i]);
  if (wanted->count == 0)
    return 0;
  size_t kept = 0;
  for (size_t i = 0; i < vm->disks.count; i++) {
    bool keep = disks[i].role == VM_DISK_ROLE_NVRAM || strings_has(wanted, disks[i].name);
    struct vm_disk swap = disks[kept];
    if (!keep)
      continue;
    disks[kept++] = disks[i];
    disks[i] = swap;
  }
  // What is not wanted is at the end now.
  for (size_t i = kept; i < vm->disks.count; i++) {
    cleanup_free char *text =
        str_printf("disk %s (not named in spec.source.vm.disks)", disks[i].name);
    strings_add(&vm->left_behind, text);
    table_release(&vm_disk_table, &disks[i]);
  }
  vm->disks.count = kept;
  return 0;
}

static void say_what_stays(const struct vm *vm, struct findings *f)
{
  for (size_t i = 0; i < vm->left_behind.count; i++)
    findings_add(f, "LeftBehind", FINDING_WARNING, NULL, "does not move: %s",
                 vm->left_behind.items[i]);
  if (vm->tpm)
    findings_add(f, "TPM", FINDING_WARNING, "have recovery keys of the guest's disks at hand",
                 "the VM has a TPM %s; its state does not move", vm->tpm);
}

static size_t disks_proper(const struct vm *vm)
{
  size_t count = 0;
  for (size_t i = 0; i < vm->disks.count; i++)
    count += vm_disk_at(vm, i)->role == VM_DISK_ROLE_DISK;
  return count;
}

static void check_power(const struct run *r, const struct vm *vm, struct findings *f)
{
  if (vm->power != VM_POWER_OFF && r->spec->shutdown.policy == SHUTDOWN_NEVER)
    findings_add(f, "SourcePower", FINDING_ERROR,
                 "shut the VM down, or set spec.shutdown.policy to Guest or Force",
                 "VM '%s' runs, and spec.shutdown.policy is Never", vm->name);
}

// Found out now, and not when all has been moved.
static void check_delete(const struct run *r, struct findings *f)
{
  struct provider_access access = {0};
  struct err failed = ERR_INIT;
  if (r->spec->source_after.action != SOURCE_DELETE)
    return;
  if (provider_access(r->m, r->key.ns, &r->spec->source.vm->provider, PROVIDER_DELETE_SOURCE,
                      &access, &failed) != 0)
    findings_add(f, "SourceDelete", FINDING_ERROR, "or choose another spec.sourceAfter.action",
                 "%s", failed.message);
  provider_access_release(r->m, &access);
}

static void remember_power(struct run *r, const struct vm *vm)
{
  struct migration_memory *memory = &r->st->memory;
  str_set(&memory->source_id, vm->id);
  if (memory->source_touched)
    return; // a retry: what we did ourselves is not how it was before
  str_set(&memory->source_power, vm->power == VM_POWER_OFF ? "Off" : "On");
  memory->source_autostart = vm->autostart;
}

static int describe_source_vm(struct run *r, struct vm *ret, struct findings *f, struct err *err)
{
  const struct migration_source_vm *s = r->spec->source.vm;
  struct provider *p;
  struct err failed = ERR_INIT;
  if (run_source(r, &p, &failed) != 0)
    return as_finding(f, "SourceProvider", "see the message", &failed, err);
  const char *name = s->name ? s->name : s->id;
  if (provider_find_vm(p, name, ret, &failed) != 0)
    return as_finding(f, "SourceVM", "check spec.source.vm against the VMs of the provider",
                      &failed, err);
  // By the name that it has, whether it was named or given by its id.
  if (scope_check(provider_access_spec(&r->source), SCOPE_VM_NAMES, ret->name, &failed) != 0) {
    vm_release(ret);
    return as_finding(f, "SourceScope", "widen the provider's scope, or choose another VM", &failed,
                      err);
  }
  check_delete(r, f);
  choose_disks(r, ret, f);
  check_power(r, ret, f);
  remember_power(r, ret);
  return provider_check_source(p, ret, f, err);
}

// ---- target ---------------------------------------------------------------------------------

static int check_wishes(const struct run *r, const struct vm *vm, struct findings *f)
{
  const struct migration_target_disk *wishes = r->spec->target.vm->disks.items;
  for (size_t i = 0; i < r->spec->target.vm->disks.count; i++)
    if (!vm_disk_named(vm, wishes[i].source))
      findings_add(f, "TargetDisks", FINDING_ERROR, "use a name that the source has",
                   "spec.target.vm.disks[%zu].source: there is no disk '%s' in the source", i,
                   wishes[i].source);
  return 0;
}

static void check_hardware(const struct vm *vm, struct findings *f)
{
  if (str_empty(vm->name))
    findings_add(f, "TargetName", FINDING_ERROR, "set spec.target.vm.name",
                 "the image does not say what the machine is called");
  if (vm->cpus < 1 || vm->memory_bytes < 1 || vm->firmware == VM_FIRMWARE_ANY)
    findings_add(f, "Hardware", FINDING_ERROR, "set spec.target.vm.cpus, memory and firmware",
                 "the image does not say what the machine is");
}

// Ours from the same manifest, perhaps in another cluster: there is nothing left to do.
static int look_for_product(struct run *r, struct provider *p, const char *name,
                            bool *ret_made_before, struct err *err)
{
  struct vm there CLEANUP(vm_release) = {0};
  struct err failed = ERR_INIT;
  if (str_empty(name))
    return 0;
  if (provider_find_vm(p, name, &there, &failed) != 0) {
    if (failed.kind == ERR_NOT_FOUND)
      return 0;
    *err = failed;
    return -1;
  }
  if (!owner_same_manifest(there.owner, r->owner) || owner_same_object(there.owner, r->owner))
    return 0;
  *ret_made_before = true;
  set_result_vm(r, there.id, there.name);
  return 0;
}

static int check_target_vm(struct run *r, const struct vm *vm, struct findings *f,
                           bool *ret_made_before, struct err *err)
{
  struct provider *p;
  struct err failed = ERR_INIT;
  if (run_target(r, &p, &failed) != 0)
    return as_finding(f, "TargetProvider", "see the message", &failed, err);
  if (look_for_product(r, p, plan_target_name(r, vm), ret_made_before, err) != 0)
    return -1;
  if (*ret_made_before || !vm->disks.count)
    return 0;
  struct vm_target t CLEANUP(vm_target_release) = {0};
  if (plan_target(r, vm, &t, err) != 0)
    return -1;
  check_hardware(&t.vm, f);
  check_wishes(r, vm, f);
  plan_check_scope(r, &t, f);
  return str_empty(t.vm.name) ? 0 : provider_check_target(p, &t, f, err);
}

// ---- a store on the way ---------------------------------------------------------------------

// In the ledger while it is there: a kill now, and a cancel afterwards, must not leave it. A dry
// run writes nothing, not even a probe.
int probe_store(struct run *r, const struct ref *ref, const char *role, struct storage_lane *lane,
                struct err *err)
{
  cleanup_free char *key = storage_probe_key(r->owner);
  cleanup_free char *where = str_printf("store %s/%s", ref->ns ? ref->ns : r->key.ns, ref->name);
  if (r->spec->dry_run)
    return storage_probe(lane, false, r->owner, err);
  if (!key || !where ||
      (!status_find_owned(r, role, NULL, "Probe") &&
       !status_own(r, "Probe", key, where, role, NULL)))
    return err_set(err, ERR_NO_MEMORY, "no memory");
  if (run_save(r, err) != 0)
    return -1;
  int failed = storage_probe(lane, true, r->owner, err);
  status_disown(r, status_find_owned(r, role, NULL, "Probe"));
  return failed;
}

static int check_via(struct run *r, const struct vm *vm, struct findings *f, struct err *err)
{
  struct storage *store;
  struct storage_lane *lane;
  struct err failed = ERR_INIT;
  if (!r->spec->via)
    return 0;
  if (run_store_lane(r, &r->spec->via->store, true, &store, &lane, &failed) != 0)
    return as_finding(f, "ViaStore", "see the message", &failed, err);
  int bad = probe_store(r, &r->spec->via->store, "staged", lane, &failed);
  if (!bad)
    bad = check_store_space(vm, lane, "ViaSpace", f, &failed);
  storage_lane_free(lane);
  storage_free(store);
  if (bad)
    return as_finding(f, "ViaStore", "see the message", &failed, err);
  return 0;
}

// ---- all together ---------------------------------------------------------------------------

static void list_findings(struct run *r, const struct findings *f)
{
  struct list *out = &r->st->preflight;
  struct preflight_finding *old = out->items;
  for (size_t i = 0; i < out->count; i++) {
    char *texts[] = {old[i].check, old[i].severity, old[i].message, old[i].suggestion};
    for (size_t t = 0; t < ARRAY_SIZE(texts); t++)
      free(texts[t]);
  }
  free(old);
  *out = (struct list){0};
  for (size_t i = 0; i < f->count; i++) {
    struct preflight_finding *p = list_add(out, sizeof(*p), 256);
    if (p)
      *p = (struct preflight_finding){
          str_dup(f->items[i].check), str_dup(finding_severity_names[f->items[i].severity]),
          str_dup(f->items[i].message), str_dup(f->items[i].suggestion)};
  }
}

static int verdict(const struct findings *f, struct err *err)
{
  const struct finding *first = NULL;
  size_t errors = 0;
  for (size_t i = 0; i < f->count; i++) {
    if (f->items[i].severity != FINDING_ERROR)
      continue;
    errors++;
    if (!first)
      first = &f->items[i];
  }
  if (!first)
    return 0;
  char more[64] = "";
  if (errors > 1)
    snprintf(more, sizeof(more), " (and %zu more in status.preflight)", errors - 1);
  return err_set(err, ERR_PREFLIGHT, "%s: %s%s%s%s", first->check, first->message,
                 first->suggestion ? "; " : "", first->suggestion ? first->suggestion : "", more);
}

static void list_disks(struct run *r, const struct vm *vm)
{
  if (r->st->disks.count)
    return; // a retry: what is done stays done
  for (size_t i = 0; i < vm->disks.count; i++) {
    const struct vm_disk *d = vm_disk_at(vm, i);
    struct migration_disk_status *s = list_add(&r->st->disks, sizeof(*s), LIMIT_DISKS);
    if (!s)
      return;
    s->name = str_dup(d->name);
    s->source = str_dup(d->path);
    s->format = str_dup(disk_format_names[d->format]);
    s->capacity_bytes = d->capacity_bytes;
    s->phase = str_dup("Pending");
  }
}

static int remember_vm(struct run *r, const struct vm *vm, struct err *err)
{
  struct json_object *json = table_encode(&vm_table, vm);
  if (!json)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  str_set(&r->st->memory.vm, json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN));
  json_object_put(json);
  if (r->vm_loaded)
    vm_release(&r->vm);
  r->vm_loaded = false;
  return 0;
}

static void name_ends(struct run *r)
{
  const struct vmmigration_spec *s = r->spec;
  cleanup_free char *from =
      s->source.vm ? str_printf("%s/%s", s->source.vm->provider.name,
                                s->source.vm->name ? s->source.vm->name : s->source.vm->id)
                   : str_printf("%s:%s", s->source.image->store.name,
                                s->source.image->path ? s->source.image->path : "(disks)");
  const char *name = s->target.vm ? s->target.vm->name : NULL;
  if (!name && s->source.vm)
    name = s->source.vm->name;
  cleanup_free char *to =
      s->target.vm ? str_printf("%s/%s", s->target.vm->provider.name, name ? name : "(its name)")
                   : str_printf("%s:%s", s->target.image->store.name, s->target.image->path);
  str_set(&r->st->summary.source, from);
  str_set(&r->st->summary.target, to);
}

static int check_all(struct run *r, struct vm *vm, struct findings *f, bool *ret_made_before,
                     struct err *err)
{
  if (r->spec->source.vm ? describe_source_vm(r, vm, f, err) : describe_source_image(r, vm, f, err))
    return -1;
  bool described = vm->disks.count > 0;
  if (described && disks_proper(vm) == 0)
    described = false;
  struct err early = ERR_INIT;
  if (!described && verdict(f, &early) == 0)
    findings_add(f, "SourceDisks", FINDING_ERROR, "there is nothing to move",
                 "the source has no disk");
  say_what_stays(vm, f);
  if (check_via(r, vm, f, err) != 0)
    return -1;
  return r->spec->target.vm ? check_target_vm(r, vm, f, ret_made_before, err)
                            : check_target_image(r, vm, f, ret_made_before, err);
}

int act_preflight(struct run *r, struct err *err)
{
  struct vm vm CLEANUP(vm_release) = {0};
  struct findings f CLEANUP(findings_release) = {0};
  bool made_before = false;
  name_ends(r);
  if (check_all(r, &vm, &f, &made_before, err) != 0)
    return -1;
  list_findings(r, &f);
  if (!made_before && verdict(&f, err) != 0)
    return -1;
  if (remember_vm(r, &vm, err) != 0)
    return -1;
  if (!made_before)
    list_disks(r, &vm);
  r->st->memory.made_before = made_before;
  r->st->memory.checked = true;
  return 0;
}
