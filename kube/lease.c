// SPDX-License-Identifier: Apache-2.0
#include "kube/lease.h"

#include <signal.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "kube/object.h"

#define CALL_MAX_MS    5000
#define RELEASE_MS     2000
#define DURATION_MAX_S 3600
#define CREATE_WAIT_MS 100

static const struct kube_resource leases = {"coordination.k8s.io", "v1", "leases", "Lease"};

struct lease {
  struct kube *kube;
  struct loop *loop;
  struct lease_settings settings; // strings are copies
  struct lease_callbacks callbacks;
  pthread_t thread;
  // of the thread alone
  struct json_object *record; // the Lease as last seen or written; NULL = none yet
  char *seen;                 // its spec as text
  int64_t seen_ms;            // when that text was new to us
  bool leads;
  // shared
  pthread_mutex_t mutex;
  pthread_cond_t wake;
  bool stopping;
  int64_t held_until_ms; // 0 = not ours
  int letters;           // on their way to the loop; the last one frees what lease_stop() left
  bool over;
};

struct letter {
  struct lease *lease;
  void (*tell)(struct lease *l, const struct err *err);
  struct err err;
};

// ---- telling the loop -----------------------------------------------------------------------

static void lease_destroy(struct lease *l)
{
  pthread_cond_destroy(&l->wake);
  pthread_mutex_destroy(&l->mutex);
  json_object_put(l->record);
  free(l->seen);
  free((char *)l->settings.ns);
  free((char *)l->settings.name);
  free((char *)l->settings.identity);
  free(l);
}

static void on_letter(void *arg)
{
  struct letter *letter = arg;
  struct lease *l = letter->lease;
  bool last;
  if (!l->over)
    letter->tell(l, &letter->err);
  {
    LOCK_FOR_SCOPE(&l->mutex);
    last = --l->letters == 0 && l->over;
  }
  free(letter);
  if (last)
    lease_destroy(l);
}

static void post(struct lease *l, void (*tell)(struct lease *l, const struct err *err),
                 const struct err *err)
{
  struct letter *letter = calloc(1, sizeof(*letter));
  if (!letter)
    abort(); // who leads must not be a matter of luck
  letter->lease = l;
  letter->tell = tell;
  if (err)
    letter->err = *err;
  {
    LOCK_FOR_SCOPE(&l->mutex);
    l->letters++;
  }
  loop_post(l->loop, on_letter, letter);
}

static void tell_leading(struct lease *l, const struct err *err)
{
  (void)err;
  l->callbacks.leading(l->callbacks.arg);
}

static void tell_lost(struct lease *l, const struct err *err)
{
  l->callbacks.lost(l->callbacks.arg, err);
}

static void tell_trouble(struct lease *l, const struct err *err)
{
  if (l->callbacks.trouble)
    l->callbacks.trouble(l->callbacks.arg, err);
}

// ---- the record -----------------------------------------------------------------------------

static void take_record(struct lease *l, struct json_object *record)
{
  json_object_put(l->record);
  l->record = record;
  const char *spec =
      json_object_to_json_string_ext(object_at(record, "spec", NULL), JSON_C_TO_STRING_PLAIN);
  if (str_eq(spec, l->seen))
    return;
  free(l->seen);
  l->seen = str_dup(spec);
  l->seen_ms = clock_ms();
}

static int call(struct lease *l, const char *method, struct json_object *body, int64_t timeout_ms,
                struct err *err)
{
  bool creates = str_eq(method, "POST");
  struct kube_call c = {.method = method,
                        .resource = &leases,
                        .ns = l->settings.ns,
                        .name = creates ? NULL : l->settings.name,
                        .query = body ? "fieldManager=" KUBE_FIELD_MANAGER : NULL,
                        .body = body,
                        .timeout_ms = timeout_ms,
                        .unlimited = true};
  struct json_object *record;
  if (kube_perform(l->kube, &c, &record, NULL, err) != 0)
    return -1;
  take_record(l, record);
  return 0;
}

static void set_time(struct json_object *spec, const char *name)
{
  char now[40];
  object_set_string(spec, name, clock_rfc3339_micro(clock_wall_ms(), now));
}

// The record with us as holder; yours. What others wrote into its metadata stays.
static struct json_object *claim(const struct lease *l)
{
  struct json_object *o = NULL;
  if (l->record)
    json_object_deep_copy(l->record, &o, NULL);
  if (!o) {
    struct json_object *metadata = json_object_new_object();
    o = json_object_new_object();
    object_set_string(o, "apiVersion", "coordination.k8s.io/v1");
    object_set_string(o, "kind", "Lease");
    object_set_string(metadata, "namespace", l->settings.ns);
    object_set_string(metadata, "name", l->settings.name);
    json_object_object_add(o, "metadata", metadata);
  }
  struct json_object *spec = object_at(o, "spec", NULL);
  if (!spec) {
    spec = json_object_new_object();
    json_object_object_add(o, "spec", spec);
  }
  if (!str_eq(object_string(spec, "holderIdentity", NULL), l->settings.identity)) {
    int64_t transitions = object_int(spec, "leaseTransitions", NULL);
    json_object_object_add(spec, "leaseTransitions",
                           json_object_new_int64(l->record ? transitions + 1 : 0));
    object_set_string(spec, "holderIdentity", l->settings.identity);
    set_time(spec, "acquireTime");
  }
  json_object_object_add(spec, "leaseDurationSeconds",
                         json_object_new_int64((l->settings.duration_ms + 999) / 1000));
  set_time(spec, "renewTime");
  return o;
}

// How long the holder has left, by what we have seen; 0 = the lease is free.
static int64_t others_left_ms(const struct lease *l)
{
  const char *holder = object_string(l->record, "spec", "holderIdentity", NULL);
  int64_t duration_s = object_int(l->record, "spec", "leaseDurationSeconds", NULL);
  if (!*holder || str_eq(holder, l->settings.identity))
    return 0;
  int64_t duration_ms =
      duration_s > 0 && duration_s <= DURATION_MAX_S ? duration_s * 1000 : l->settings.duration_ms;
  int64_t left_ms = l->seen_ms + duration_ms - clock_ms();
  return left_ms > 0 ? left_ms : 0;
}

// ---- holding it -----------------------------------------------------------------------------

static void set_held_until(struct lease *l, int64_t until_ms)
{
  LOCK_FOR_SCOPE(&l->mutex);
  l->held_until_ms = until_ms;
}

static int64_t held_until(struct lease *l)
{
  LOCK_FOR_SCOPE(&l->mutex);
  return l->held_until_ms;
}

bool lease_is_held(struct lease *l)
{
  return clock_ms() < held_until(l);
}

static int write_claim(struct lease *l, int64_t timeout_ms, struct err *err)
{
  struct json_object *o cleanup_object = claim(l);
  int64_t sent_ms = clock_ms();
  if (call(l, l->record ? "PUT" : "POST", o, timeout_ms, err) != 0)
    return -1;
  set_held_until(l, sent_ms + l->settings.renew_deadline_ms);
  return 0;
}

static int look(struct lease *l, int64_t timeout_ms, struct err *err)
{
  struct err why = ERR_INIT;
  if (call(l, "GET", NULL, timeout_ms, &why) == 0)
    return 0;
  if (why.kind == ERR_NOT_FOUND) {
    json_object_put(TAKE(l->record));
    return 0;
  }
  *err = why;
  return -1;
}

// One try. 0: ours now. 1: somebody else's, *ret_wait_ms at most until it may be free.
static int try_once(struct lease *l, int64_t timeout_ms, int64_t *ret_wait_ms, struct err *err)
{
  struct err why = ERR_INIT;
  // A holder knows its record: one request, and a look only when that was refused.
  if (l->leads) {
    if (write_claim(l, timeout_ms, &why) == 0)
      return 0;
    if (why.kind != ERR_CONFLICT && why.kind != ERR_NOT_FOUND) {
      *err = why;
      return -1;
    }
  }
  if (look(l, timeout_ms, err) != 0)
    return -1;
  *ret_wait_ms = others_left_ms(l);
  if (*ret_wait_ms > 0)
    return 1;
  if (write_claim(l, timeout_ms, &why) == 0)
    return 0;
  *ret_wait_ms = CREATE_WAIT_MS;
  if (why.kind == ERR_CONFLICT || why.kind == ERR_EXISTS)
    return 1; // somebody was faster
  *err = why;
  return -1;
}

// ---- the thread -----------------------------------------------------------------------------

// False when it is time to stop.
static bool pause_for(struct lease *l, int64_t delay_ms)
{
  int64_t until_ms = clock_ms() + delay_ms;
  struct timespec until = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};
  LOCK_FOR_SCOPE(&l->mutex);
  while (!l->stopping && clock_ms() < until_ms)
    pthread_cond_timedwait(&l->wake, &l->mutex, &until);
  return !l->stopping;
}

static void stand(struct lease *l)
{
  int64_t wait_ms;
  do {
    struct err err = ERR_INIT;
    // Spread, so that a crowd of candidates does not ask at the same moment.
    int64_t retry_ms =
        l->settings.retry_ms + (int64_t)clock_random((uint64_t)l->settings.retry_ms / 5 + 1);
    wait_ms = retry_ms;
    int outcome = try_once(l, CALL_MAX_MS, &wait_ms, &err);
    if (outcome == 0) {
      l->leads = true;
      post(l, tell_leading, NULL);
      return;
    }
    if (outcome < 0)
      post(l, tell_trouble, &err);
    if (outcome < 0 || wait_ms > retry_ms)
      wait_ms = retry_ms;
  } while (pause_for(l, wait_ms));
}

// Until the lease is lost (then false) or given up.
static bool hold(struct lease *l, struct err *err)
{
  while (pause_for(l, l->settings.retry_ms)) {
    struct err why = ERR_INIT;
    int64_t wait_ms, left_ms = held_until(l) - clock_ms();
    if (left_ms <= 0)
      return err_set(err, ERR_TIMEOUT, "the lease could not be renewed in time"), false;
    int64_t timeout_ms = left_ms < CALL_MAX_MS ? left_ms : CALL_MAX_MS;
    int outcome = try_once(l, timeout_ms, &wait_ms, &why);
    if (outcome > 0) {
      err_set(err, ERR_CONFLICT, "the lease is held by '%s' now",
              object_string(l->record, "spec", "holderIdentity", NULL));
      return false;
    }
    if (outcome < 0) {
      post(l, tell_trouble, &why);
      if (held_until(l) <= clock_ms())
        return err_set(err, ERR_TIMEOUT, "the lease could not be renewed in time: %s", why.message),
               false;
    }
  }
  return true;
}

// Best effort: without it the successor waits until the lease has run out.
static void release(struct lease *l)
{
  struct json_object *o = NULL;
  set_held_until(l, 0);
  if (!l->record || json_object_deep_copy(l->record, &o, NULL) != 0)
    return;
  struct json_object *spec = object_at(o, "spec", NULL);
  object_set_string(spec, "holderIdentity", "");
  json_object_object_add(spec, "leaseDurationSeconds", json_object_new_int64(1));
  set_time(spec, "renewTime");
  call(l, "PUT", o, RELEASE_MS, NULL);
  json_object_put(o);
}

static void *run(void *arg)
{
  struct lease *l = arg;
  struct err err = ERR_INIT;
  stand(l);
  if (!l->leads)
    return NULL;
  if (hold(l, &err)) {
    release(l);
    return NULL;
  }
  set_held_until(l, 0);
  post(l, tell_lost, &err);
  return NULL;
}

// ---- life -----------------------------------------------------------------------------------

static struct lease *lease_new(struct kube *k, struct loop *loop, const struct lease_settings *s,
                               const struct lease_callbacks *callbacks)
{
  struct lease *l = calloc(1, sizeof(*l));
  pthread_condattr_t monotonic;
  if (!l)
    return NULL;
  l->kube = k;
  l->loop = loop;
  l->callbacks = *callbacks;
  l->settings = *s;
  l->settings.ns = str_dup(s->ns);
  l->settings.name = str_dup(s->name);
  l->settings.identity = str_dup(s->identity);
  l->settings.duration_ms = s->duration_ms ? s->duration_ms : LEASE_DURATION_MS;
  l->settings.renew_deadline_ms =
      s->renew_deadline_ms ? s->renew_deadline_ms : LEASE_RENEW_DEADLINE_MS;
  l->settings.retry_ms = s->retry_ms ? s->retry_ms : LEASE_RETRY_MS;
  pthread_mutex_init(&l->mutex, NULL);
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&l->wake, &monotonic);
  pthread_condattr_destroy(&monotonic);
  return l;
}

struct lease *lease_start(struct kube *k, struct loop *loop, const struct lease_settings *settings,
                          const struct lease_callbacks *callbacks, struct err *err)
{
  struct lease *l = lease_new(k, loop, settings, callbacks);
  if (!l || !l->settings.ns || !l->settings.name || !l->settings.identity) {
    if (l)
      lease_destroy(l);
    err_set(err, ERR_NO_MEMORY, "no memory for a lease");
    return NULL;
  }
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); // signals are the loop's business
  int failed = pthread_create(&l->thread, NULL, run, l);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (!failed) {
    pthread_setname_np(l->thread, "lease");
    return l;
  }
  lease_destroy(l);
  err_errno(err, failed, "a thread for the lease");
  return NULL;
}

void lease_stop(struct lease *l)
{
  bool last;
  if (!l)
    return;
  {
    LOCK_FOR_SCOPE(&l->mutex);
    l->stopping = true;
    pthread_cond_broadcast(&l->wake);
  }
  pthread_join(l->thread, NULL);
  {
    LOCK_FOR_SCOPE(&l->mutex);
    l->over = true;
    last = l->letters == 0;
  }
  if (last)
    lease_destroy(l);
}

char *lease_identity(char b[128])
{
  char host[64] = "";
  gethostname(host, sizeof(host) - 1);
  snprintf(b, 128, "%s_%016llx", host, (unsigned long long)clock_random(UINT64_MAX));
  return b;
}
