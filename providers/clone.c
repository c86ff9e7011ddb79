// SPDX-License-Identifier: Apache-2.0
// The wrappers of the clone verbs, as in provider.c: a job with copies of the arguments, run on the
// provider's thread; results are moved out.
#include "providers/clone.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/sha256.h"
#include "base/str.h"
#include "providers/provider_internal.h"

#define EXEC_TIMEOUT_MS 60000

const char *const clone_mode_names[] = {"Linked", "PreferLinked", "Reflink", "Full", NULL};

// ---- plain data --------------------------------------------------------------------------------

#define TEXT(s, json, member)    FIELD_ROW(STRING, json, s, member)
#define NUMBER(s, json, member)  FIELD_ROW(INT, json, s, member)
#define FLAG(s, json, member)    FIELD_ROW(BOOL, json, s, member)
#define STRINGS(s, json, member) FIELD_ROW(STRINGS, json, s, member)

// clang-format off
static const struct field base_order_fields[] = {
    TEXT(base_order, "name", name), TEXT(base_order, "uid", uid), TEXT(base_order, "owner", owner),
    TEXT(base_order, "vm", vm), FLAG(base_order, "convert", convert),
    TEXT(base_order, "template", template_), TEXT(base_order, "server", server),
    TEXT(base_order, "alias", alias), TEXT(base_order, "fingerprint", fingerprint),
    TEXT(base_order, "image", image),
    {"imageFormat", FIELD_ENUM, offsetof(struct base_order, image_format), .names = feed_format_names},
    NUMBER(base_order, "imageBytes", image_bytes),
    TEXT(base_order, "storage", storage), NUMBER(base_order, "cpus", cpus),
    NUMBER(base_order, "memoryBytes", memory_bytes),
};
static const struct field base_seen_fields[] = {
    FLAG(base_seen, "done", done), TEXT(base_seen, "id", id), TEXT(base_seen, "name", name),
    TEXT(base_seen, "owner", owner), TEXT(base_seen, "revision", revision),
    NUMBER(base_seen, "bytes", bytes), NUMBER(base_seen, "percent", percent),
    FLAG(base_seen, "isTemplate", is_template), FLAG(base_seen, "running", running),
};
static const struct field nic_fields[] = {
    TEXT(clone_nic, "network", network), TEXT(clone_nic, "mac", mac),
};
static const struct table nic_table = TABLE(struct clone_nic, nic_fields);
static const struct field disk_fields[] = {
    TEXT(clone_disk, "name", name), NUMBER(clone_disk, "sizeBytes", size_bytes),
};
static const struct table disk_table = TABLE(struct clone_disk, disk_fields);
static const struct field clone_order_fields[] = {
    TEXT(clone_order, "name", name), TEXT(clone_order, "uid", uid),
    TEXT(clone_order, "owner", owner), TEXT(clone_order, "base", base),
    TEXT(clone_order, "baseRevision", base_revision), TEXT(clone_order, "source", source),
    {"mode", FIELD_ENUM, offsetof(struct clone_order, mode), .names = clone_mode_names},
    TEXT(clone_order, "storage", storage), NUMBER(clone_order, "cpus", cpus),
    NUMBER(clone_order, "memoryBytes", memory_bytes),
    {"disks", FIELD_LIST, offsetof(struct clone_order, disks), .table = &disk_table},
    {"nics", FIELD_LIST, offsetof(struct clone_order, nics), .table = &nic_table},
    TEXT(clone_order, "hostname", hostname), TEXT(clone_order, "machineID", machine_id), STRINGS(clone_order, "addresses", addresses),
    TEXT(clone_order, "gateway", gateway), STRINGS(clone_order, "nameservers", nameservers),
    STRINGS(clone_order, "sshKeys", ssh_keys),
    {"userData", FIELD_STRING, offsetof(struct clone_order, user_data), .secret = true},
};
static const struct field clone_seen_fields[] = {
    FLAG(clone_seen, "done", done), TEXT(clone_seen, "id", id), TEXT(clone_seen, "name", name),
    TEXT(clone_seen, "owner", owner), TEXT(clone_seen, "base", base),
    {"mode", FIELD_ENUM, offsetof(struct clone_seen, mode), .names = clone_mode_names},
    {"power", FIELD_ENUM, offsetof(struct clone_seen, power), .names = vm_power_names},
    NUMBER(clone_seen, "bytes", bytes), NUMBER(clone_seen, "memoryBytes", memory_bytes),
    STRINGS(clone_seen, "addresses", addresses), FLAG(clone_seen, "agent", agent),
};
static const struct field machine_fields[] = {
    TEXT(machine_seen, "id", id), TEXT(machine_seen, "name", name),
    TEXT(machine_seen, "kind", kind), TEXT(machine_seen, "owner", owner),
    {"power", FIELD_ENUM, offsetof(struct machine_seen, power), .names = vm_power_names},
};
static const struct field exec_order_fields[] = {
    STRINGS(exec_order, "argv", argv),
    {"input", FIELD_STRING, offsetof(struct exec_order, input), .secret = true},
    NUMBER(exec_order, "timeoutMs", timeout_ms),
};
// clang-format on
const struct table base_order_table = TABLE(struct base_order, base_order_fields);
const struct table base_seen_table = TABLE(struct base_seen, base_seen_fields);
const struct table clone_order_table = TABLE(struct clone_order, clone_order_fields);
const struct table clone_seen_table = TABLE(struct clone_seen, clone_seen_fields);
const struct table machine_seen_table = TABLE(struct machine_seen, machine_fields);
static const struct table exec_order_table = TABLE(struct exec_order, exec_order_fields);
static const struct field machines_fields[] = {
    {"items", FIELD_LIST, offsetof(struct machines, items), .table = &machine_seen_table},
};
static const struct table machines_table = TABLE(struct machines, machines_fields);

void base_seen_release(struct base_seen *b)
{
  table_release(&base_seen_table, b);
}

void clone_seen_release(struct clone_seen *c)
{
  table_release(&clone_seen_table, c);
}

void machines_release(struct machines *m)
{
  table_release(&machines_table, m);
}

void exec_result_release(struct exec_result *r)
{
  free(r->output);
  free(r->errors);
  *r = (struct exec_result){0};
}

void clone_mac(const struct clone_order *c, size_t nic, char ret[CLONE_MAC_BYTES])
{
  unsigned char h[SHA256_BYTES];
  char text[256];
  int length = snprintf(text, sizeof(text), "mac %zu %.200s", nic,
                        str_empty(c->machine_id) ? (c->uid ? c->uid : "") : c->machine_id);
  sha256_of(text, (size_t)length, h);
  snprintf(ret, CLONE_MAC_BYTES, "52:%02x:%02x:%02x:%02x:%02x", h[0], h[1], h[2], h[3], h[4]);
}

// ---- arguments and results ---------------------------------------------------------------------

struct clone_call {
  // arguments
  const struct table *order_table;
  void *order;
  struct feed_source *source; // of a base_order
  char *text;                 // path or name
  void *bytes;
  size_t length;
  // results
  struct findings findings;
  struct owned owned;
  struct base_seen base;
  struct clone_seen clone;
  struct machines machines;
  struct exec_result result;
  struct strings strings;
};

static void call_free(void *arg)
{
  struct clone_call *c = arg;
  if (c->order)
    table_release(c->order_table, c->order);
  free(c->order);
  feed_source_unref(c->source);
  free(c->text);
  if (c->bytes)
    explicit_bzero(c->bytes, c->length); // a file may hold secrets
  free(c->bytes);
  findings_release(&c->findings);
  owned_release(&c->owned);
  base_seen_release(&c->base);
  clone_seen_release(&c->clone);
  machines_release(&c->machines);
  exec_result_release(&c->result);
  strings_release(&c->strings);
  free(c);
}

// What a wrapper passes; NULL and 0 where a verb has no such argument.
struct given {
  job_fn run;
  const char *what;
  const struct table *order_table;
  const void *order;
  const struct owned *owned;
  struct feed_source *source;
  const char *id, *text;
  int number;
  const void *bytes;
  size_t length;
  int64_t extra_ms;
};

static int fill(struct job *job, const struct given *g, struct err *err)
{
  struct clone_call *c = calloc(1, sizeof(*c));
  if (!c)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  job->extra = c;
  job->extra_free = call_free;
  job->extra_ms = g->extra_ms;
  job->number = g->number;
  c->order_table = g->order_table;
  c->order = g->order ? calloc(1, g->order_table->size) : NULL;
  c->bytes = g->bytes ? malloc(g->length + 1) : NULL;
  c->text = str_dup(g->text);
  job->text = str_dup(g->id);
  if ((g->order && !c->order) || (g->bytes && !c->bytes) || (g->text && !c->text) ||
      (g->id && !job->text))
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  if (g->bytes)
    memcpy(c->bytes, g->bytes, g->length);
  c->length = g->length;
  c->source = g->source ? feed_source_ref(g->source) : NULL;
  if (g->order && table_copy(g->order_table, g->order, c->order, err) != 0)
    return -1;
  return g->owned ? table_copy(&owned_table, g->owned, &job->owned, err) : 0;
}

bool provider_can_clone(const struct provider *p)
{
  return p->ops->clones != NULL;
}

bool provider_copies_machines(const struct provider *p)
{
  return provider_can_clone(p) && p->ops->clones->copies_machines;
}

bool provider_takes_images(const struct provider *p)
{
  return provider_can_clone(p) && p->ops->clones->takes_images;
}

// The machine that a verb is about: NULL for those about a base, or all.
static const char *machine_of(const struct given *g)
{
  const struct clone_order *order = g->order_table == &clone_order_table ? g->order : NULL;
  return g->id ? g->id : !order ? NULL : g->owned ? g->owned->id : order->name;
}

// On success the caller owns *ret until job_unref().
static int run(struct provider *p, const struct given *g, struct job **ret, struct err *err)
{
  if (!provider_can_clone(p))
    return err_set(err, ERR_UNSUPPORTED, "%s providers keep no clones", p->ops->type);
  struct job *job = job_new(g->run, g->what);
  p = provider_lane(p, machine_of(g));
  if (!job)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  if (fill(job, g, err) != 0 || connection_run(p, job, err) != 0) {
    job_unref(job);
    return -1;
  }
  *ret = job;
  return 0;
}

static int run_plain(struct provider *p, const struct given *g, struct err *err)
{
  struct job *job;
  if (run(p, g, &job, err) != 0)
    return -1;
  job_unref(job);
  return 0;
}

#define RUN_MOVE(p, g, field, ret, err)                                                            \
  ({                                                                                               \
    struct job *job_;                                                                              \
    int failed_ = run((p), (g), &job_, (err));                                                     \
    if (!failed_) {                                                                                \
      struct clone_call *call_ = job_->extra;                                                      \
      *(ret) = call_->field;                                                                       \
      memset(&call_->field, 0, sizeof(call_->field));                                              \
      job_unref(job_);                                                                             \
    }                                                                                              \
    failed_;                                                                                       \
  })

// ---- on the provider's thread ------------------------------------------------------------------

#define RUN(name, ...)                                                                             \
  static int run_##name(const struct provider_ops *ops, void *h, struct job *job, struct err *err) \
  {                                                                                                \
    struct clone_call *c __attribute__((unused)) = job->extra;                                     \
    return ops->clones->name(h, __VA_ARGS__, err);                                                 \
  }
RUN(base_check, c->order, &c->findings)
RUN(base_plan, c->order, &c->owned)
RUN(base_get, &job->owned, &c->base)
RUN(base_release, &job->owned, c->text)
RUN(clone_check, c->order, &c->findings)
RUN(clone_plan, c->order, &c->owned)
RUN(clone_make, c->order, &job->owned, &c->clone)
RUN(clone_get, job->text, &c->clone)
RUN(clone_power, job->text, (enum power_action)job->number)
RUN(machines, &c->machines)
RUN(exec, job->text, c->order, &c->result)
RUN(push, job->text, c->text, job->number, c->bytes, c->length)
RUN(pull, job->text, c->text, &c->bytes, &c->length)
RUN(snapshot, job->text, c->text)
RUN(rollback, job->text, c->text)
RUN(snapshots, job->text, &c->strings)
RUN(snapshot_remove, job->text, c->text)
RUN(console, job->text, &c->strings)

static int run_base_make(const struct provider_ops *ops, void *h, struct job *job, struct err *err)
{
  struct clone_call *c = job->extra;
  struct base_order *b = c->order;
  b->source = c->source;
  return ops->clones->base_make(h, b, &job->owned, &c->base, err);
}

// ---- the verbs ---------------------------------------------------------------------------------

static int check(struct provider *p, const struct given *g, struct findings *f, struct err *err)
{
  struct findings found;
  if (RUN_MOVE(p, g, findings, &found, err) != 0)
    return -1;
  return findings_append(f, &found, err);
}

int provider_base_check(struct provider *p, const struct base_order *b, struct findings *f,
                        struct err *err)
{
  struct given g = {run_base_check, "check a base", &base_order_table, b};
  return check(p, &g, f, err);
}

int provider_base_plan(struct provider *p, const struct base_order *b, struct owned *ret,
                       struct err *err)
{
  struct given g = {run_base_plan, "plan a base", &base_order_table, b};
  return RUN_MOVE(p, &g, owned, ret, err);
}

int provider_base_make(struct provider *p, const struct base_order *b, const struct owned *o,
                       struct base_seen *ret, struct err *err)
{
  struct given g = {run_base_make, "make a base", &base_order_table, b, o, b->source};
  return RUN_MOVE(p, &g, base, ret, err);
}

int provider_base_get(struct provider *p, const struct owned *o, struct base_seen *ret,
                      struct err *err)
{
  struct given g = {run_base_get, "look at a base", .owned = o};
  return RUN_MOVE(p, &g, base, ret, err);
}

int provider_base_release(struct provider *p, const struct owned *o, const char *owner,
                          struct err *err)
{
  struct given g = {run_base_release, "give a base back", .owned = o, .text = owner};
  return run_plain(p, &g, err);
}

int provider_clone_check(struct provider *p, const struct clone_order *c, struct findings *f,
                         struct err *err)
{
  struct given g = {run_clone_check, "check a clone", &clone_order_table, c};
  return check(p, &g, f, err);
}

int provider_clone_plan(struct provider *p, const struct clone_order *c, struct owned *ret,
                        struct err *err)
{
  struct given g = {run_clone_plan, "plan a clone", &clone_order_table, c};
  return RUN_MOVE(p, &g, owned, ret, err);
}

int provider_clone_make(struct provider *p, const struct clone_order *c, const struct owned *o,
                        struct clone_seen *ret, struct err *err)
{
  struct given g = {run_clone_make, "make a clone", &clone_order_table, c, o};
  return RUN_MOVE(p, &g, clone, ret, err);
}

int provider_clone_get(struct provider *p, const char *id, struct clone_seen *ret, struct err *err)
{
  struct given g = {run_clone_get, "look at a clone", .id = id};
  return RUN_MOVE(p, &g, clone, ret, err);
}

int provider_clone_power(struct provider *p, const char *id, enum power_action action,
                         struct err *err)
{
  struct given g = {run_clone_power, "change power", .id = id, .number = (int)action};
  return run_plain(p, &g, err);
}

int provider_machines(struct provider *p, struct machines *ret, struct err *err)
{
  struct given g = {run_machines, "list machines"};
  return RUN_MOVE(p, &g, machines, ret, err);
}

int provider_exec(struct provider *p, const char *id, const struct exec_order *e,
                  struct exec_result *ret, struct err *err)
{
  struct exec_order order = *e;
  if (order.timeout_ms <= 0)
    order.timeout_ms = EXEC_TIMEOUT_MS;
  struct given g = {run_exec, "run a command", &exec_order_table,
                    &order,   .id = id,        .extra_ms = order.timeout_ms};
  if (order.argv.count == 0 || order.argv.count > CLONE_ARGV_MAX)
    return err_set(err, ERR_INVALID, "a command needs 1 to %d words", CLONE_ARGV_MAX);
  return RUN_MOVE(p, &g, result, ret, err);
}

int provider_push(struct provider *p, const char *id, const char *path, int mode, const void *bytes,
                  size_t length, struct err *err)
{
  struct given g = {run_push,       "write a file", .id = id,         .text = path,
                    .number = mode, .bytes = bytes, .length = length, .extra_ms = EXEC_TIMEOUT_MS};
  if (length > CLONE_FILE_BYTES_MAX)
    return err_set(err, ERR_LIMIT, "a file of %zu bytes is over the limit of %lld", length,
                   CLONE_FILE_BYTES_MAX);
  return run_plain(p, &g, err);
}

int provider_pull(struct provider *p, const char *id, const char *path, void **ret,
                  size_t *ret_length, struct err *err)
{
  struct given g = {run_pull, "read a file", .id = id, .text = path, .extra_ms = EXEC_TIMEOUT_MS};
  struct job *job;
  if (run(p, &g, &job, err) != 0)
    return -1;
  struct clone_call *c = job->extra;
  *ret = TAKE(c->bytes);
  *ret_length = c->length;
  job_unref(job);
  return 0;
}

int provider_snapshot(struct provider *p, const char *id, const char *name, struct err *err)
{
  struct given g = {run_snapshot, "take a snapshot", .id = id, .text = name};
  return run_plain(p, &g, err);
}

int provider_rollback(struct provider *p, const char *id, const char *name, struct err *err)
{
  struct given g = {run_rollback, "roll back", .id = id, .text = name};
  return run_plain(p, &g, err);
}

int provider_snapshots(struct provider *p, const char *id, struct strings *ret, struct err *err)
{
  struct given g = {run_snapshots, "list snapshots", .id = id};
  return RUN_MOVE(p, &g, strings, ret, err);
}

int provider_snapshot_remove(struct provider *p, const char *id, const char *name, struct err *err)
{
  struct given g = {run_snapshot_remove, "remove a snapshot", .id = id, .text = name};
  return run_plain(p, &g, err);
}

int provider_console(struct provider *p, const char *id, struct strings *ret, struct err *err)
{
  struct given g = {run_console, "open a console", .id = id};
  return RUN_MOVE(p, &g, strings, ret, err);
}
