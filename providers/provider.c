// SPDX-License-Identifier: Apache-2.0
// The wrappers: each makes a job with copies of its arguments, runs it on the provider's thread and
// moves the results out.
#include "providers/provider.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "providers/libvirt/libvirt.h"
#include "providers/lxd/lxd.h"
#include "providers/nspawn/nspawn.h"
#include "providers/provider_internal.h"

static const struct provider_ops *const kinds[] = {&libvirt_ops, &lxd_ops, &nspawn_ops};

const char *const *provider_types(void)
{
  static const char *names[ARRAY_SIZE(kinds) + 1];
  for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
    names[i] = kinds[i]->type;
  return names;
}

static int unknown_type(const char *type, struct err *err)
{
  struct buf known CLEANUP(buf_release) = BUF_INIT(1024);
  for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
    buf_printf(&known, "%s%s", i ? ", " : "", kinds[i]->type);
  return err_set(err, ERR_UNSUPPORTED, "provider type '%s' is not known; there is: %s",
                 type ? type : "", buf_str(&known));
}

static int open_lane(const struct provider_ops *ops, const struct provider_config *config,
                     const struct address_filter *allowed, struct provider **ret, struct err *err)
{
  struct provider *p = calloc(1, sizeof(*p));
  if (!p)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  if (provider_config_copy(config, &p->config, err) != 0) {
    free(p);
    return -1;
  }
  if (p->config.deadline_ms == 0)
    p->config.deadline_ms = PROVIDER_DEADLINE_MS;
  p->ops = ops;
  p->allowed = allowed;
  p->references = 1;
  pthread_mutex_init(&p->mutex, NULL);
  connection_cond_init(&p->ended);
  *ret = p;
  return 0;
}

// A lane costs nothing before it is used.
int provider_open_ops(const struct provider_ops *ops, const struct provider_config *config,
                      const struct address_filter *allowed, struct provider **ret, struct err *err)
{
  struct provider *p;
  if (open_lane(ops, config, allowed, &p, err) != 0)
    return -1;
  size_t wanted = ops->lanes ? ops->lanes - 1 : 0;
  for (; p->lane_count < wanted && p->lane_count < ARRAY_SIZE(p->lanes); p->lane_count++)
    if (open_lane(ops, config, allowed, &p->lanes[p->lane_count], err) != 0) {
      provider_close(p);
      return -1;
    }
  *ret = p;
  return 0;
}

struct provider *provider_lane(struct provider *p, const char *id)
{
  uint32_t hash = 2166136261u; // FNV-1a
  for (; id && *id; id++)
    hash = (hash ^ (uint8_t)*id) * 16777619u;
  size_t at = id ? hash % (p->lane_count + 1) : 0;
  return at ? p->lanes[at - 1] : p;
}

int provider_open(const struct provider_config *config, const struct address_filter *allowed,
                  struct provider **ret, struct err *err)
{
  if (str_empty(config->endpoint))
    return err_set(err, ERR_INVALID, "a provider needs an endpoint");
  for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
    if (str_eq(kinds[i]->type, config->type))
      return provider_open_ops(kinds[i], config, allowed, ret, err);
  return unknown_type(config->type, err);
}

void provider_close(struct provider *p)
{
  if (!p)
    return;
  for (size_t i = 0; i < p->lane_count; i++)
    provider_close(p->lanes[i]);
  connection_end(p);
  provider_unref(p);
}

void job_release(struct job *job)
{
  if (job->out_release)
    job->out_release(job);
  if (job->extra)
    job->extra_free(job->extra);
  free(job->text);
  vm_release(&job->vm);
  vm_target_release(&job->target);
  owned_release(&job->owned);
  for (size_t i = 0; i < job->disk_count; i++)
    owned_release(&job->disks[i]);
  free(job->disks);
}

// ---- arguments ---------------------------------------------------------------------------------

// What a wrapper passes: NULL and 0 where a verb has no such argument.
struct call {
  job_fn run;
  const char *what;
  void (*out_release)(struct job *job);
  const char *text;
  int number;
  bool flag;
  size_t index;
  const struct vm *vm;
  const struct vm_target *target;
  const struct owned *owned;
  const struct owned *disks; // one for each disk of target
};

static int job_copy_disks(struct job *job, const struct owned *disks, size_t count, struct err *err)
{
  job->disks = calloc(count + 1, sizeof(*job->disks));
  if (!job->disks)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  for (; job->disk_count < count; job->disk_count++)
    if (table_copy(&owned_table, &disks[job->disk_count], &job->disks[job->disk_count], err) != 0)
      return -1;
  return 0;
}

static int job_fill(struct job *job, const struct call *call, struct err *err)
{
  job->out_release = call->out_release;
  job->number = call->number;
  job->flag = call->flag;
  job->index = call->index;
  if (call->text && !(job->text = str_dup(call->text)))
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  if (call->vm && vm_copy(call->vm, &job->vm, err) != 0)
    return -1;
  if (call->target && vm_target_copy(call->target, &job->target, err) != 0)
    return -1;
  if (call->owned && table_copy(&owned_table, call->owned, &job->owned, err) != 0)
    return -1;
  return call->disks ? job_copy_disks(job, call->disks, call->target->vm.disks.count, err) : 0;
}

// On success the caller owns *ret until job_unref().
static int call_run(struct provider *p, const struct call *call, struct job **ret, struct err *err)
{
  struct job *job = job_new(call->run, call->what);
  if (!job)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  if (job_fill(job, call, err) != 0 || connection_run(p, job, err) != 0) {
    job_unref(job);
    return -1;
  }
  *ret = job;
  return 0;
}

// For verbs without a result.
static int call_plain(struct provider *p, const struct call *call, struct err *err)
{
  struct job *job;
  if (call_run(p, call, &job, err) != 0)
    return -1;
  job_unref(job);
  return 0;
}

// For verbs with one: moves it out.
#define CALL_MOVE(p, call, field, ret, err)                                                        \
  ({                                                                                               \
    struct job *job_;                                                                              \
    int failed_ = call_run((p), (call), &job_, (err));                                             \
    if (!failed_) {                                                                                \
      *(ret) = job_->out.field;                                                                    \
      job_->out_release = NULL;                                                                    \
      job_unref(job_);                                                                             \
    }                                                                                              \
    failed_;                                                                                       \
  })

#define OUT_RELEASE(name, function, field)                                                         \
  static void name(struct job *job)                                                                \
  {                                                                                                \
    function(&job->out.field);                                                                     \
  }
OUT_RELEASE(release_info, provider_info_release, info)
OUT_RELEASE(release_vm, vm_release, vm)
OUT_RELEASE(release_findings, findings_release, findings)
OUT_RELEASE(release_reach, reach_release, reach)
OUT_RELEASE(release_owned, owned_release, owned)
OUT_RELEASE(release_made, vm_made_release, made)

// ---- on the provider's thread ------------------------------------------------------------------

// Verbs about the disks of VMs, on a platform that has none: its `no_disks` says so.
static int cannot(const struct provider_ops *ops, struct err *err)
{
  return err_set(err, ERR_UNSUPPORTED, "%s", ops->no_disks);
}

#define RUN(name, ...)                                                                             \
  static int run_##name(const struct provider_ops *ops, void *h, struct job *job, struct err *err) \
  {                                                                                                \
    return ops->name ? ops->name(h, __VA_ARGS__, err) : cannot(ops, err);                          \
  }
RUN(probe, &job->out.info)
RUN(find_vm, job->text, &job->out.vm)
RUN(power, job->text, (enum power_action)job->number)
RUN(power_state, job->text, &job->out.power)
RUN(set_autostart, job->text, job->flag)
RUN(delete_vm, &job->vm)
RUN(check_source, &job->vm, &job->out.findings)
RUN(source_open, &job->vm, job->text, &job->out.reach)
RUN(source_release, &job->vm, job->text)
RUN(check_target, &job->target, &job->out.findings)
RUN(target_plan, &job->target, job->index, &job->out.owned)
RUN(target_prepare, &job->target, job->index, &job->owned, &job->out.reach)
RUN(target_disk_done, &job->target, job->index, &job->owned)
RUN(target_plan_vm, &job->target, &job->out.owned)
RUN(target_finish, &job->target, job->disks, &job->owned, &job->out.made)
RUN(remove, &job->owned, job->text)

// ---- the verbs ---------------------------------------------------------------------------------

int provider_probe(struct provider *p, struct provider_info *ret, struct err *err)
{
  struct call call = {.run = run_probe, .what = "probe", .out_release = release_info};
  return CALL_MOVE(p, &call, info, ret, err);
}

int provider_find_vm(struct provider *p, const char *name_or_id, struct vm *ret, struct err *err)
{
  struct call call = {run_find_vm, "describe a VM", release_vm, .text = name_or_id};
  return CALL_MOVE(p, &call, vm, ret, err);
}

int provider_power(struct provider *p, const char *vm_id, enum power_action action, struct err *err)
{
  struct call call = {run_power, "change power", .text = vm_id, .number = (int)action};
  return call_plain(p, &call, err);
}

int provider_power_state(struct provider *p, const char *vm_id, enum vm_power *ret, struct err *err)
{
  struct call call = {run_power_state, "read power state", .text = vm_id};
  return CALL_MOVE(p, &call, power, ret, err);
}

int provider_set_autostart(struct provider *p, const char *vm_id, bool on, struct err *err)
{
  struct call call = {run_set_autostart, "set autostart", .text = vm_id, .flag = on};
  return call_plain(p, &call, err);
}

int provider_delete_vm(struct provider *p, const struct vm *vm, struct err *err)
{
  struct call call = {run_delete_vm, "delete a VM", .vm = vm};
  return call_plain(p, &call, err);
}

int provider_check_source(struct provider *p, const struct vm *vm, struct findings *f,
                          struct err *err)
{
  struct call call = {run_check_source, "check the source", release_findings, .vm = vm};
  struct findings found;
  if (CALL_MOVE(p, &call, findings, &found, err) != 0)
    return -1;
  return findings_append(f, &found, err);
}

int provider_source_open(struct provider *p, const struct vm *vm, const char *disk,
                         struct reach *ret, struct err *err)
{
  struct call call = {run_source_open, "open a disk", release_reach, .vm = vm, .text = disk};
  return CALL_MOVE(p, &call, reach, ret, err);
}

int provider_source_release(struct provider *p, const struct vm *vm, const char *disk,
                            struct err *err)
{
  struct call call = {run_source_release, "release a disk", .vm = vm, .text = disk};
  return call_plain(p, &call, err);
}

int provider_check_target(struct provider *p, const struct vm_target *t, struct findings *f,
                          struct err *err)
{
  struct call call = {run_check_target, "check the target", release_findings, .target = t};
  struct findings found;
  if (CALL_MOVE(p, &call, findings, &found, err) != 0)
    return -1;
  return findings_append(f, &found, err);
}

int provider_target_plan(struct provider *p, const struct vm_target *t, size_t i, struct owned *ret,
                         struct err *err)
{
  struct call call = {run_target_plan, "plan a disk", release_owned, .target = t, .index = i};
  return CALL_MOVE(p, &call, owned, ret, err);
}

int provider_target_prepare(struct provider *p, const struct vm_target *t, size_t i,
                            const struct owned *o, struct reach *ret, struct err *err)
{
  struct call call = {run_target_prepare, "prepare a disk", release_reach,
                      .target = t,        .index = i,       .owned = o};
  return CALL_MOVE(p, &call, reach, ret, err);
}

int provider_target_disk_done(struct provider *p, const struct vm_target *t, size_t i,
                              const struct owned *o, struct err *err)
{
  struct call call = {run_target_disk_done, "complete a disk", .target = t, .index = i, .owned = o};
  return call_plain(p, &call, err);
}

int provider_target_plan_vm(struct provider *p, const struct vm_target *t, struct owned *ret,
                            struct err *err)
{
  struct call call = {run_target_plan_vm, "plan a VM", release_owned, .target = t};
  return CALL_MOVE(p, &call, owned, ret, err);
}

int provider_target_finish(struct provider *p, const struct vm_target *t, const struct owned *disks,
                           const struct owned *vm, struct vm_made *ret, struct err *err)
{
  struct call call = {run_target_finish, "define a VM",  release_made,
                      .target = t,       .disks = disks, .owned = vm};
  return CALL_MOVE(p, &call, made, ret, err);
}

int provider_remove(struct provider *p, const struct owned *o, const char *owner, struct err *err)
{
  struct call call = {run_remove, "remove", .owned = o, .text = owner};
  return call_plain(str_eq(o->kind, "Clone") ? provider_lane(p, o->id) : p, &call, err);
}
