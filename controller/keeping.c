// SPDX-License-Identifier: Apache-2.0
#include "controller/keeping.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/str.h"
#include "reconcile/migration.h"

#define INITIAL_DELAY_MS 500
#define MAX_DELAY_MS     60000
#define FAILED_RETRY_MS  60000
#define OWNED_MAX        64
#define FINDINGS_MAX     64
#define FAR_NAME_MAX     63
#define UID_HEAD         8

DEFINE_CLEANUP(object_free, struct object *)

// ---- life -----------------------------------------------------------------------------------

void keeping_hash(const char *text, size_t digits, char *ret)
{
  unsigned char digest[EVP_MAX_MD_SIZE] = {0};
  struct buf hex CLEANUP(buf_release) = BUF_INIT(2 * EVP_MAX_MD_SIZE + 1);
  EVP_Digest(text, strlen(text), digest, NULL, EVP_sha256(), NULL);
  buf_add_hex(&hex, digest, 32);
  snprintf(ret, digits + 1, "%s", buf_str(&hex));
}

static void make_mark(struct keeping *k)
{
  char hash[17];
  struct json_object *spec = table_encode(object_kind_info(k->o->kind)->spec, k->o->spec);
  keeping_hash(spec ? json_object_to_json_string_ext(spec, JSON_C_TO_STRING_PLAIN) : "", 16, hash);
  json_object_put(spec);
  snprintf(k->owner, sizeof(k->owner), "%s/%s/%s/%s/%s", k->m->installation, k->key.ns, k->key.name,
           k->o->meta.uid, hash);
}

bool keeping_mark_is_of(const char *mark, const struct object *o)
{
  const char *rest = mark ? strchr(mark, '/') : NULL;
  cleanup_free char *object = str_printf("/%s/%s/%s/", o->meta.ns, o->meta.name, o->meta.uid);
  return rest && object && str_starts(rest, object);
}

int keeping_init(struct keeping *k, struct manager *m, const struct object_key *key,
                 struct err *err)
{
  struct object *o CLEANUP(object_free_p) = NULL;
  *k = (struct keeping){.m = m, .key = *key, .now_ms = clock_wall_ms()};
  if (m->store->ops->get(m->store, key, &o, err) != 0 || object_copy(o, &k->before, err) != 0)
    return -1;
  k->o = TAKE(o);
  make_mark(k);
  return 0;
}

void keeping_init_unsaved(struct keeping *k, struct manager *m, struct object *o)
{
  *k = (struct keeping){.m = m, .key = object_key_of(o), .now_ms = clock_wall_ms(), .o = o};
  make_mark(k);
}

void keeping_release(struct keeping *k)
{
  if (k->m)
    provider_access_release(k->m, &k->access);
  object_free(k->o);
  object_free(k->before);
}

int64_t keeping_save(struct keeping *k, int64_t after_ms)
{
  struct err err = ERR_INIT;
  *k->observed_generation = k->o->meta.generation;
  if (table_equal(object_kind_info(k->o->kind)->status, k->before->status, k->o->status))
    return after_ms;
  if (k->m->store->ops->put_status(k->m->store, k->o, &err) == 0) {
    object_free(k->before);
    k->before = NULL;
    if (object_copy(k->o, &k->before, &err) == 0)
      return after_ms;
  }
  if (err.kind == ERR_CONFLICT)
    return 0;
  if (err.kind == ERR_NOT_FOUND)
    return -1;
  log_error("status not written", "message", err.message, NULL);
  return 1000;
}

bool keeping_note(struct keeping *k, int64_t *ret_after_ms)
{
  struct err err = ERR_INIT;
  *ret_after_ms = 0;
  if (keeping_save(k, 1) != 1)
    return false;
  if (k->m->store->ops->settle(k->m->store, &err) == 0)
    return true;
  log_error("status not written", "message", err.message, NULL);
  *ret_after_ms = 1000;
  return false;
}

// ---- names ----------------------------------------------------------------------------------

char *keeping_far_name(const struct object *o)
{
  char name[FAR_NAME_MAX + 1];
  snprintf(name, sizeof(name) - UID_HEAD - 1, "%s", o->meta.name);
  for (char *c = name; *c; c++)
    if (*c == '.')
      *c = '-';
  return str_printf("%s-%.*s", name, UID_HEAD, o->meta.uid);
}

// ---- conditions -----------------------------------------------------------------------------

static void condition(struct keeping *k, const char *type, bool on, const char *reason,
                      const char *message)
{
  condition_set(k->conditions, type, on ? CONDITION_TRUE : CONDITION_FALSE, reason, message,
                k->o->meta.generation, k->now_ms);
}

static bool tells_something_new(const struct keeping *k, bool ready, const char *reason)
{
  const struct condition *was = condition_find(k->conditions, "Ready");
  return !was || (was->status == CONDITION_TRUE) != ready || !str_eq(was->reason, reason);
}

void keeping_say(struct keeping *k, const char *phase, bool ready, bool stalled, const char *reason,
                 const char *message)
{
  bool news = tells_something_new(k, ready, reason);
  if (!message)
    message = "";
  if (k->phase)
    str_set(k->phase, phase);
  condition(k, "Ready", ready, reason, message);
  condition(k, "Reconciling", !ready && !stalled, reason, message);
  condition(k, "Stalled", stalled, reason, message);
  if (!news)
    return;
  bool bad = stalled || k->err.kind != ERR_NONE;
  k->m->store->ops->event(k->m->store, k->o, bad ? "Warning" : "Normal", reason, message);
  log_info(reason, "phase", phase, "message", message, NULL);
}

// ---- trying again ---------------------------------------------------------------------------

int64_t keeping_back_off(struct keeping *k)
{
  int64_t tries = ++*k->retries;
  int64_t delay_ms =
      backoff_ms(INITIAL_DELAY_MS, MAX_DELAY_MS, tries, (uint64_t)clock_random(1 << 20));
  if (k->err.retry_after_ms > delay_ms)
    delay_ms = k->err.retry_after_ms;
  clock_set(k->next_try_time, k->now_ms + delay_ms);
  k->err = (struct err)ERR_INIT;
  return delay_ms;
}

int64_t keeping_pause(struct keeping *k)
{
  clock_set(k->next_try_time, k->now_ms + FAILED_RETRY_MS);
  return FAILED_RETRY_MS;
}

bool keeping_is_stalled(const struct keeping *k)
{
  const struct condition *c = condition_find(k->conditions, "Stalled");
  return c && c->status == CONDITION_TRUE && c->observed_generation == k->o->meta.generation;
}

int64_t keeping_backing_off_ms(const struct keeping *k)
{
  int64_t until_ms = clock_time_of(*k->next_try_time);
  // To the second, as it is written.
  bool paused_by_another =
      keeping_is_stalled(k) && until_ms - FAILED_RETRY_MS + 1000 <= k->m->started_ms;
  return until_ms > k->now_ms && !paused_by_another ? until_ms - k->now_ms : 0;
}

void keeping_begin(struct keeping *k)
{
  if (*k->observed_generation != k->o->meta.generation)
    str_set(k->next_try_time, NULL);
}

void keeping_worked(struct keeping *k)
{
  *k->retries = 0;
  str_set(k->next_try_time, NULL);
}

// ---- ledger ---------------------------------------------------------------------------------

struct owned_status *keeping_own(struct keeping *k, const struct owned *o, const char *role)
{
  struct owned_status *s = list_add(k->owned, sizeof(*s), OWNED_MAX);
  if (s)
    *s = (struct owned_status){str_dup(o->kind), str_dup(o->id), str_dup(o->where),
                               str_dup(role),    NULL,           1};
  return s;
}

struct owned_status *keeping_owned(const struct keeping *k, const char *kind)
{
  struct owned_status *all = k->owned->items;
  for (size_t i = 0; i < k->owned->count; i++)
    if (str_eq(all[i].kind, kind))
      return &all[i];
  return NULL;
}

void keeping_disown(struct keeping *k, const struct owned_status *o)
{
  struct owned_status *all = k->owned->items;
  size_t i = (size_t)(o - all);
  char *texts[] = {all[i].kind, all[i].id, all[i].where, all[i].role, all[i].disk};
  for (size_t t = 0; t < ARRAY_SIZE(texts); t++)
    free(texts[t]);
  k->owned->count--;
  memmove(&all[i], &all[i + 1], (k->owned->count - i) * sizeof(*all));
}

struct owned keeping_owned_view(const struct owned_status *o)
{
  return (struct owned){o->kind, o->id, o->where};
}

// ---- the rest -------------------------------------------------------------------------------

static void forget_findings(struct list *l)
{
  struct preflight_finding *items = l->items;
  for (size_t i = 0; i < l->count; i++) {
    free(items[i].check);
    free(items[i].severity);
    free(items[i].message);
    free(items[i].suggestion);
  }
  free(items);
  *l = (struct list){0};
}

bool keeping_take_findings(struct keeping *k, const struct findings *f, struct err *err)
{
  const struct finding *worst = NULL;
  forget_findings(k->preflight);
  for (size_t i = 0; i < f->count; i++) {
    const struct finding *item = &f->items[i];
    struct preflight_finding *to = list_add(k->preflight, sizeof(*to), FINDINGS_MAX);
    if (to)
      *to = (struct preflight_finding){str_dup(item->check),
                                       str_dup(finding_severity_names[item->severity]),
                                       str_dup(item->message), str_dup(item->suggestion)};
    if (!worst && item->severity == FINDING_ERROR)
      worst = item;
  }
  if (!worst)
    return true;
  err_set(err, ERR_INVALID, "%s: %s%s%s", worst->check, worst->message,
          worst->suggestion ? "; " : "", worst->suggestion ? worst->suggestion : "");
  return false;
}

uint64_t keeping_observe(const struct keeping *k, const struct keeping_bits *bits)
{
  uint64_t facts = 0;
  if (k->o->meta.deletion_timestamp)
    facts |= bits->deleting;
  if (object_has_finalizer(k->o, CRDS_FINALIZER))
    facts |= bits->finalizer;
  if (str_eq(object_annotation(k->o, CRDS_ANNOTATE_ABANDON), "true"))
    facts |= bits->abandon;
  if (k->err.kind != ERR_NONE)
    facts |= err_retryable(k->err.kind) ? bits->hiccup : bits->error;
  return facts;
}

void keeping_nudge(struct keeping *k, enum object_kind kind, const char *ns, const char *name,
                   int64_t delay_ms)
{
  struct object_key key;
  if (name && object_key_set(&key, kind, ns ? ns : k->key.ns, name, NULL) == 0)
    queue_add(k->m->queue, &key, delay_ms);
}
