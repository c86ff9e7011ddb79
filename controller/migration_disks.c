// SPDX-License-Identifier: Apache-2.0
// The disks of a migration, each on its way: one leg straight through, or two with a store between.
//
//     Pending ──► Transferring ──► Done                       straight, export, import, conversion
//     Pending ──► Staging ──► Staged ──► Restoring ──► Done   via a store
//
// A disk whose mover is gone (the controller was killed, an error that may go away) begins its leg
// again, and goes on from the checkpoint of that leg; a finished leg never runs again. Movers
// report; this file turns reports into status.
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "controller/checkpoints.h"
#include "controller/migration_internal.h"

#define MOVERS_PER_MIGRATION 4

DEFINE_CLEANUP(storage_free, struct storage *)
DEFINE_CLEANUP(storage_lane_free, struct storage_lane *)

enum leg { LEG_NONE, LEG_WHOLE, LEG_STAGE, LEG_RESTORE };

static const struct disk_phase {
  const char *phase;
  enum leg leg;      // whose mover runs now
  bool begins;       // nothing runs: the next leg is to be started
  const char *after; // phase once that leg is done
} disk_phases[] = {
    {"Pending", LEG_NONE, true, NULL},         {"Transferring", LEG_WHOLE, false, "Done"},
    {"Staging", LEG_STAGE, false, "Staged"},   {"Staged", LEG_NONE, true, NULL},
    {"Restoring", LEG_RESTORE, false, "Done"}, {"Done", LEG_NONE, false, NULL},
};

static const struct disk_phase *phase_of(const struct migration_disk_status *d)
{
  for (size_t i = 0; i < ARRAY_SIZE(disk_phases); i++)
    if (str_eq(d->phase, disk_phases[i].phase))
      return &disk_phases[i];
  return &disk_phases[0];
}

static char *mover_id(const struct run *r, const struct migration_disk_status *d, enum leg leg)
{
  return str_printf("%s%s/%d", r->movers, d->name, (int)leg);
}

// ---- observing ------------------------------------------------------------------------------

static void take_report(struct migration_disk_status *d, const struct mover_report *report)
{
  if (report->state == MOVER_NONE)
    return;
  if (report->data_bytes > 0) // not known yet at the start of a leg
    d->data_bytes = report->data_bytes;
  d->transferred_bytes = report->transferred_bytes;
  d->verified_bytes = report->verified_bytes;
  d->resent_bytes = report->resent_bytes;
  d->bytes_per_second = report->state == MOVER_RUNNING ? report->bytes_per_second : 0;
}

// What is read here is what is stored: a leg that status calls done needs no checkpoint any more.
static void drop_checkpoints(const struct run *r, const struct migration_disk_status *d)
{
  const char *uid = r->o->meta.uid;
  bool done = str_eq(d->phase, "Done");
  if (done) {
    checkpoints_remove(r->m, uid, d->name, LEG_WHOLE);
    checkpoints_remove(r->m, uid, d->name, LEG_RESTORE);
  }
  if (done || str_eq(d->phase, "Staged") || str_eq(d->phase, "Restoring"))
    checkpoints_remove(r->m, uid, d->name, LEG_STAGE);
}

static bool disk_observe(struct run *r, struct migration_disk_status *d, size_t running,
                         bool *ret_verifying)
{
  const struct disk_phase *phase = phase_of(d);
  *ret_verifying = false;
  if (phase->begins)
    return running < MOVERS_PER_MIGRATION;
  if (phase->leg == LEG_NONE)
    return false;
  cleanup_free char *id = mover_id(r, d, phase->leg);
  struct mover_report report;
  movers_report(r->m->movers, id, &report);
  take_report(d, &report);
  *ret_verifying = report.state == MOVER_RUNNING && report.verifying;
  return report.state != MOVER_RUNNING;
}

static void pass_limit(struct run *r, size_t running);

void disks_observe(struct run *r, struct disks_seen *ret)
{
  struct migration_disk_status *disks = r->st->disks.items;
  size_t running = movers_running(r->m->movers, r->movers);
  size_t done = 0, verifying_count = 0;
  *ret = (struct disks_seen){0};
  for (size_t i = 0; i < r->st->disks.count; i++) {
    bool verifying;
    drop_checkpoints(r, &disks[i]);
    ret->ready = disk_observe(r, &disks[i], running, &verifying) || ret->ready;
    verifying_count += verifying;
    done += str_eq(disks[i].phase, "Done");
  }
  ret->all_done = done == r->st->disks.count;
  ret->verifying = running > 0 && verifying_count == running;
  pass_limit(r, running);
}

// ---- limits ---------------------------------------------------------------------------------

static int64_t lesser(int64_t a, int64_t b)
{
  return a <= 0 ? b : b <= 0 ? a : a < b ? a : b;
}

// spec.transfer.bytesPerSecond is of the whole migration; its movers share it.
static int64_t limit_for_each(const struct run *r, size_t movers)
{
  int64_t limit = r->spec->transfer.bytes_per_second;
  if (r->source.object)
    limit = lesser(limit, provider_access_spec(&r->source)->limits.bytes_per_second);
  if (r->target.object)
    limit = lesser(limit, provider_access_spec(&r->target)->limits.bytes_per_second);
  return movers > 1 ? limit / (int64_t)movers : limit;
}

// Said again each time: a mover that has it already does nothing.
static void pass_limit(struct run *r, size_t running)
{
  const struct migration_disk_status *disks = r->st->disks.items;
  int64_t limit = limit_for_each(r, running);
  for (size_t i = 0; i < r->st->disks.count; i++) {
    enum leg leg = phase_of(&disks[i])->leg;
    if (leg == LEG_NONE)
      continue;
    cleanup_free char *id = mover_id(r, &disks[i], leg);
    movers_limit(r->m->movers, id, limit);
  }
}

// ---- the two ends of a leg ------------------------------------------------------------------

static int end_object(struct run *r, const struct ref *store, bool write, const char *key,
                      int format, struct mover_end *ret, struct err *err)
{
  struct mover_object *o = calloc(1, sizeof(*o));
  if (!o)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  ret->object = o;
  o->key = str_dup(key);
  o->format = format;
  o->manifest = true;
  return store_access(r->m, r->key.ns, store, write, &o->store, err);
}

static struct reach *new_reach(struct mover_end *end)
{
  end->reach = calloc(1, sizeof(*end->reach));
  return end->reach;
}

static int source_vm_end(struct run *r, const char *disk, struct mover_end *ret, struct err *err)
{
  const struct vm *vm;
  struct provider *p;
  if (run_vm(r, &vm, err) != 0 || run_source(r, &p, err) != 0)
    return -1;
  // Preflight has looked, but the Provider may have been changed since.
  if (scope_check(provider_access_spec(&r->source), SCOPE_VM_NAMES, vm->name, err) != 0)
    return -1;
  if (!new_reach(ret))
    return err_set(err, ERR_NO_MEMORY, "no memory");
  return provider_source_open(p, vm, disk, ret->reach, err);
}

static int source_image_end(struct run *r, const char *disk, struct mover_end *ret, struct err *err)
{
  const struct vm *vm;
  if (run_vm(r, &vm, err) != 0)
    return -1;
  const struct vm_disk *d = vm_disk_named(vm, disk);
  if (!d || !d->path)
    return err_set(err, ERR_INTERNAL, "disk %s has no object", disk);
  return end_object(r, &r->spec->source.image->store, false, d->path, d->format, ret, err);
}

static struct owned owned_view(const struct owned_status *o)
{
  return (struct owned){o->kind, o->id, o->where};
}

static size_t disk_number(const struct vm *vm, const char *disk)
{
  size_t i = 0;
  while (i < vm->disks.count && !str_eq(vm_disk_at(vm, i)->name, disk))
    i++;
  return i;
}

static int target_vm_end(struct run *r, const char *disk, struct mover_end *ret, struct err *err)
{
  const struct vm *vm;
  struct provider *p;
  struct vm_target t CLEANUP(vm_target_release);
  const struct owned_status *o = status_find_owned(r, "target", disk, "Volume");
  if (!o)
    return err_set(err, ERR_INTERNAL, "disk %s is not in the ledger", disk);
  if (run_vm(r, &vm, err) != 0 || plan_target(r, vm, &t, err) != 0 || run_target(r, &p, err) != 0)
    return -1;
  if (!new_reach(ret))
    return err_set(err, ERR_NO_MEMORY, "no memory");
  struct owned view = owned_view(o);
  // Its name bears our uid, and the provider has seen that nobody uses it: what is there is of an
  // earlier life of ours, which ended between the last byte and the word about it in status.
  ret->replace = true;
  return provider_target_prepare(p, &t, disk_number(vm, disk), &view, ret->reach, err);
}

static int object_end(struct run *r, const char *role, const struct ref *store, const char *disk,
                      bool write, struct mover_end *ret, struct err *err)
{
  const struct vm *vm;
  const struct owned_status *o = status_find_owned(r, role, disk, "Object");
  if (!o)
    return err_set(err, ERR_INTERNAL, "disk %s is not in the ledger", disk);
  if (run_vm(r, &vm, err) != 0)
    return -1;
  int format = plan_object_format(r, vm_disk_named(vm, disk));
  if (end_object(r, store, write, o->id, format, ret, err) != 0)
    return -1;
  // Preflight has refused what is foreign; what is there now is from an earlier try of ours.
  ret->object->overwrite = write;
  return 0;
}

static int leg_source(struct run *r, const char *disk, enum leg leg, struct mover_end *ret,
                      struct err *err)
{
  if (leg == LEG_RESTORE)
    return object_end(r, "staged", &r->spec->via->store, disk, false, ret, err);
  return r->spec->source.vm ? source_vm_end(r, disk, ret, err)
                            : source_image_end(r, disk, ret, err);
}

static int leg_target(struct run *r, const char *disk, enum leg leg, struct mover_end *ret,
                      struct err *err)
{
  if (leg == LEG_STAGE)
    return object_end(r, "staged", &r->spec->via->store, disk, true, ret, err);
  return r->spec->target.vm
             ? target_vm_end(r, disk, ret, err)
             : object_end(r, "target", &r->spec->target.image->store, disk, true, ret, err);
}

// ---- starting and ending legs ---------------------------------------------------------------

static const char *sha256_of_bare(const struct run *r, const char *disk)
{
  if (!r->spec->source.image)
    return NULL;
  const struct migration_image_disk *disks = r->spec->source.image->disks.items;
  for (size_t i = 0; i < r->spec->source.image->disks.count; i++) {
    char name[32];
    snprintf(name, sizeof(name), "disk-%zu", i);
    if (str_eq(name, disk))
      return disks[i].sha256;
  }
  return NULL;
}

// For people with sha256sum: of an image that stays. A volume changes as soon as the guest runs,
// and a staged object goes; the content digest is taken in any case.
static bool sha256_wanted(const struct run *r, enum leg leg)
{
  if (leg == LEG_STAGE)
    return r->spec->via->retain == RETAIN_ALWAYS;
  return r->spec->target.image != NULL;
}

// What vm.json says the disk must come out as. The manifest beside a disk says so as well, but
// could have been exchanged together with it. *ret stays NULL for bare images.
static int digest_of_layout(struct run *r, const char *disk, char **ret, struct err *err)
{
  const struct migration_source_image *s = r->spec->source.image;
  if (!s || !s->path || r->spec->transfer.verify == MIGRATE_VERIFY_NONE)
    return 0;
  struct image image CLEANUP(image_release) = {0};
  struct storage *store CLEANUP(storage_free_p) = NULL;
  struct storage_lane *lane CLEANUP(storage_lane_free_p) = NULL;
  struct err failed = ERR_INIT;
  if (run_store_lane(r, &s->store, false, &store, &lane, err) != 0)
    return -1;
  if (image_read(lane, s->path, &image, &failed) != 0) {
    if (failed.kind == ERR_NOT_FOUND)
      return 0;
    *err = failed;
    return -1;
  }
  const struct image_disk *stored = image_disk_named(&image, disk);
  if (stored && !str_empty(stored->content_digest))
    *ret = str_dup(stored->content_digest);
  return 0;
}

// Not so the NVRAM, which is raw.
static bool compress_wanted(const struct run *r, enum leg leg, const struct mover_end *target)
{
  const struct migration_target_image *image = r->spec->target.image;
  return leg != LEG_STAGE && image && image->compress && target->object &&
         target->object->format == DISK_FORMAT_QCOW2;
}

static int fill_spec(struct run *r, const struct migration_disk_status *d, enum leg leg,
                     struct mover_spec *s, struct err *err)
{
  s->version = 1;
  s->owner = str_dup(r->owner);
  s->disk = str_dup(d->name);
  s->attempt = d->attempts + 1;
  s->verify = r->spec->transfer.verify;
  s->no_object_sha256 = !sha256_wanted(r, leg);
  s->lanes = r->spec->transfer.connections;
  s->stall_timeout_ms = r->spec->transfer.stall_timeout_ms;
  if (leg == LEG_RESTORE)
    s->expected_digest = str_dup(d->content_digest);
  else
    s->expected_sha256 = str_dup(sha256_of_bare(r, d->name));
  if (leg == LEG_WHOLE && digest_of_layout(r, d->name, &s->expected_digest, err) != 0)
    return -1;
  for (size_t i = 0; i < r->m->allowed_cidrs.count; i++)
    strings_add(&s->allowed_endpoints, r->m->allowed_cidrs.items[i]);
  if (leg_source(r, d->name, leg, &s->source, err) != 0 ||
      leg_target(r, d->name, leg, &s->target, err) != 0)
    return -1;
  s->compress = compress_wanted(r, leg, &s->target);
  s->checkpoint = checkpoints_path(r->m, r->o->meta.uid, d->name, leg);
  s->bytes_per_second = limit_for_each(r, movers_running(r->m->movers, r->movers) + 1);
  return 0;
}

static int start_leg(struct run *r, struct migration_disk_status *d, enum leg leg,
                     const char *phase, struct err *err)
{
  cleanup_free char *id = mover_id(r, d, leg);
  struct mover_spec spec CLEANUP(mover_spec_release) = {0};
  if (fill_spec(r, d, leg, &spec, err) != 0 ||
      movers_start(r->m->movers, id, &r->key, &spec, err) != 0)
    return err_prefix(err, "disk %s", d->name);
  str_set(&d->phase, phase);
  str_set(&d->message, NULL);
  d->attempts++;
  d->transferred_bytes = d->verified_bytes = 0;
  return 0;
}

static int begin(struct run *r, struct migration_disk_status *d, struct err *err)
{
  if (str_eq(d->phase, "Staged"))
    return start_leg(r, d, LEG_RESTORE, "Restoring", err);
  if (r->spec->via)
    return start_leg(r, d, LEG_STAGE, "Staging", err);
  return start_leg(r, d, LEG_WHOLE, "Transferring", err);
}

static int tell_target(struct run *r, const char *disk, struct err *err)
{
  const struct vm *vm;
  struct provider *p;
  struct vm_target t CLEANUP(vm_target_release);
  const struct owned_status *o = status_find_owned(r, "target", disk, "Volume");
  if (!o || run_vm(r, &vm, err) != 0)
    return -1;
  if (plan_target(r, vm, &t, err) != 0 || run_target(r, &p, err) != 0)
    return -1;
  struct owned view = owned_view(o);
  return provider_target_disk_done(p, &t, disk_number(vm, disk), &view, err);
}

static int release_source(struct run *r, const char *disk, enum leg leg, struct err *err)
{
  const struct vm *vm;
  struct provider *p;
  if (leg == LEG_RESTORE || !r->spec->source.vm)
    return 0;
  if (run_vm(r, &vm, err) != 0 || run_source(r, &p, err) != 0)
    return -1;
  return provider_source_release(p, vm, disk, err);
}

static int leg_done(struct run *r, struct migration_disk_status *d, const struct disk_phase *phase,
                    const struct mover_report *report, struct err *err)
{
  bool whole = str_eq(phase->after, "Done");
  if (release_source(r, d->name, phase->leg, err) != 0 ||
      (whole && r->spec->target.vm && tell_target(r, d->name, err) != 0))
    return err_prefix(err, "disk %s", d->name);
  take_report(d, report);
  if (report->content_digest[0])
    str_set(&d->content_digest, report->content_digest);
  if (report->object_sha256[0])
    str_set(&d->object_sha256, report->object_sha256);
  if (report->format[0])
    str_set(&d->format, report->format);
  str_set(&d->phase, phase->after);
  return 0;
}

// Its mover does not run: it is done, it failed, or nobody knows of it (a new life of ours).
static int take_up(struct run *r, struct migration_disk_status *d, const struct disk_phase *phase,
                   struct err *err)
{
  cleanup_free char *id = mover_id(r, d, phase->leg);
  struct mover_report report;
  movers_report(r->m->movers, id, &report);
  if (report.state == MOVER_RUNNING)
    return 0;
  if (report.state == MOVER_DONE)
    return leg_done(r, d, phase, &report, err);
  movers_forget(r->m->movers, id);
  // Stopped by us (suspend) or of an earlier life: the leg goes on.
  if (report.state == MOVER_NONE || report.err.kind == ERR_CANCELLED)
    return start_leg(r, d, phase->leg, phase->phase, err);
  release_source(r, d->name, phase->leg, NULL);
  cleanup_free char *prefix = str_printf("disk %s: ", d->name);
  const char *bare = str_after(report.err.message, prefix); // movers name their disk, most times
  str_set(&d->message, bare ? bare : report.err.message);
  err_set(err, report.err.kind, "disk %s: %s", d->name, d->message);
  if (err)
    err->retry_after_ms = report.err.retry_after_ms;
  return -1;
}

int act_transfer(struct run *r, struct err *err)
{
  struct migration_disk_status *disks = r->st->disks.items;
  for (size_t i = 0; i < r->st->disks.count; i++) {
    const struct disk_phase *phase = phase_of(&disks[i]);
    bool room = movers_running(r->m->movers, r->movers) < MOVERS_PER_MIGRATION;
    int failed = 0;
    if (phase->begins && room)
      failed = begin(r, &disks[i], err);
    else if (phase->leg != LEG_NONE)
      failed = take_up(r, &disks[i], phase, err);
    if (failed)
      return -1;
  }
  return 0;
}
