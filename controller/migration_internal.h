// SPDX-License-Identifier: Apache-2.0
// One step of a VMMigration, as its files see it. A struct run lives for one step: the object as
// read, what has been resolved so far (providers and stores are opened when first asked for), and
// the error of the last action. Status is changed in memory by actions and written by run_save().
#pragma once

#include "controller/access.h"
#include "controller/image_layout.h"
#include "crds/vmmigration.h"
#include "reconcile/migration.h"

struct run {
  struct manager *m;
  struct object_key key;
  struct object *o;
  const struct vmmigration_spec *spec; // of o
  struct vmmigration_status *st;       // of o
  struct object *before;               // as read or last written: what has changed since
  int64_t now_ms;                      // wall clock
  char owner[512];                     // mark
  char movers[512];                    // prefix of the ids of its movers
  enum migration_phase phase;
  struct err err; // of the last action; kind ERR_NONE: it worked
  bool ended;     // the last action made it final, or let it go

  // Opened when first asked for.
  struct provider_access source, target;
  struct vm vm; // what is moved, from memory.vm
  bool vm_loaded;
};

// migration_run.c
int run_save(struct run *r, struct err *err); // writes status when it changed

// migration_context.c
enum migration_phase run_phase(const struct vmmigration_status *st);
int run_init(struct run *r, struct manager *m, const struct object_key *key, struct err *err);
void run_release(struct run *r); // also of one whose init failed
int run_source(struct run *r, struct provider **ret, struct err *err);
int run_target(struct run *r, struct provider **ret, struct err *err);
int run_store_lane(struct run *r, const struct ref *ref, bool write, struct storage **ret_store,
                   struct storage_lane **ret_lane, struct err *err);
int run_vm(struct run *r, const struct vm **ret, struct err *err);

// migration_facts.c
uint64_t run_observe(struct run *r);
uint64_t
run_observe_wishes(const struct run *r); // of the object alone: deletion, cancel, suspend, time
bool run_takes_back(const struct run *r, const struct owned_status *o);

// migration_status.c
void status_phase(struct run *r, enum migration_phase phase, const char *reason,
                  const char *message);
void status_outcome(struct run *r, enum migration_phase outcome, const char *reason,
                    const char *message);
void status_finished(struct run *r); // conditions of the final phase
void status_progress(struct run *r); // progress, summary and percent from disks[]
struct owned_status *status_own(struct run *r, const char *kind, const char *id, const char *where,
                                const char *role, const char *disk);
struct owned_status *status_find_owned(const struct run *r, const char *role, const char *disk,
                                       const char *kind);
void status_disown(struct run *r, const struct owned_status *o);

// migration_plan.c
int plan_target(struct run *r, const struct vm *vm, struct vm_target *ret, struct err *err);
void plan_check_scope(struct run *r, const struct vm_target *t, struct findings *f);
const char *plan_target_name(const struct run *r,
                             const struct vm *vm); // NULL: neither spec nor image says
int plan_object_format(const struct run *r, const struct vm_disk *d); // for an image or staging
char *plan_staging_path(const struct run *r);
int act_plan(struct run *r, struct err *err);

// migration_preflight.c, migration_image.c
int act_preflight(struct run *r, struct err *err);
int describe_source_image(struct run *r, struct vm *ret, struct findings *f, struct err *err);
int check_target_image(struct run *r, const struct vm *vm, struct findings *f,
                       bool *ret_made_before, struct err *err);
int probe_store(struct run *r, const struct ref *ref, const char *role, struct storage_lane *lane,
                struct err *err);
int check_store_space(const struct vm *vm, struct storage_lane *lane, const char *check,
                      struct findings *f, struct err *err);

// migration_disks.c
struct disks_seen {
  bool all_done, ready, verifying;
};
void disks_observe(struct run *r, struct disks_seen *ret);
int act_transfer(struct run *r, struct err *err);

// migration_finish.c
int act_shut_down(struct run *r, struct err *err);
int act_create(struct run *r, struct err *err);
int act_power_on(struct run *r, struct err *err);
int act_source_after(struct run *r, struct err *err);
int act_restore_source(struct run *r, struct err *err);
int act_remove_staged(struct run *r, struct err *err);
int act_undo(struct run *r, struct err *err);
int act_succeed(struct run *r, struct err *err);
void set_result_vm(struct run *r, const char *id, const char *name);
void add_result_images(struct run *r, const struct image *image); // of spec.target.image
