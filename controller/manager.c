// SPDX-License-Identifier: Apache-2.0
#include "controller/manager.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "controller/access.h"
#include "controller/checkpoints.h"
#include "controller/controller_internal.h"
#include "controller/making.h"
#include "controller/migration_internal.h"

#define DEFAULT_WORKERS  8
#define STEPS_UNTIL_TRIM 1000

static int64_t (*const runners[OBJECT_KIND_COUNT])(struct manager *m,
                                                   const struct object_key *key) = {
    [OBJECT_PROVIDER] = provider_step,
    [OBJECT_IMAGE_STORE] = imagestore_step,
    [OBJECT_VM_MIGRATION] = migration_step,
    [OBJECT_CLONE_BASE] = clonebase_step,
    [OBJECT_CLONE] = clone_step,
    [OBJECT_CLONE_SET] = cloneset_step,
};

// ---- when what was probed -------------------------------------------------------------------

struct probe_note {
  struct probe_note *next;
  char *uid;
  int64_t generation;
  int64_t due_ms; // monotonic
};

static struct probe_note *find_note(struct manager *m, const char *uid)
{
  struct probe_note *n = m->probes;
  while (n && !str_eq(n->uid, uid))
    n = n->next;
  return n;
}

void manager_note_probe(struct manager *m, const struct object *o, int64_t next_ms)
{
  LOCK_FOR_SCOPE(&m->mutex);
  struct probe_note *n = find_note(m, o->meta.uid);
  if (!n) {
    n = calloc(1, sizeof(*n));
    if (!n)
      return;
    n->uid = str_dup(o->meta.uid);
    n->next = m->probes;
    m->probes = n;
  }
  n->generation = o->meta.generation;
  n->due_ms = clock_ms() + next_ms;
}

bool manager_probed_lately(struct manager *m, const struct object *o, int64_t *ret_wait_ms)
{
  LOCK_FOR_SCOPE(&m->mutex);
  const struct probe_note *n = find_note(m, o->meta.uid);
  if (!n || n->generation != o->meta.generation)
    return false;
  *ret_wait_ms = n->due_ms - clock_ms();
  return *ret_wait_ms > 0;
}

bool manager_has_probed(struct manager *m, const struct object *o)
{
  LOCK_FOR_SCOPE(&m->mutex);
  const struct probe_note *n = find_note(m, o->meta.uid);
  return n && n->generation == o->meta.generation;
}

static void free_notes(struct manager *m)
{
  while (m->probes) {
    struct probe_note *n = m->probes;
    m->probes = n->next;
    free(n->uid);
    free(n);
  }
}

// ---- events ---------------------------------------------------------------------------------

static void tell(struct manager *m, const struct object_key *key)
{
  if (m->on_change)
    m->on_change(m->on_change_arg, key);
}

static void on_changed(void *arg, const struct object_key *key)
{
  struct manager *m = arg;
  queue_add(m->queue, key, 0);
  tell(m, key);
}

static void on_told(void *arg, const struct object_key *key)
{
  tell(arg, key);
}

static void on_synced(void *arg)
{
  struct manager *m = arg;
  queue_hold(m->queue, false);
}

static void on_failed(void *arg, const struct err *err)
{
  struct manager *m = arg;
  log_error("the object store cannot go on", "message", err->message, NULL);
  loop_stop(m->loop);
}

int set_cleanup_finalizer(struct manager *m, struct object *o, bool present, struct err *err)
{
  struct err failed = ERR_INIT;
  if (m->store->ops->set_finalizer(m->store, o, CRDS_FINALIZER, present, &failed) == 0 ||
      (failed.kind == ERR_NOT_FOUND && !present))
    return 0;
  *err = failed;
  return -1;
}

// Each thread has a heap of its own, which keeps what its steps once took.
static void give_memory_back(struct manager *m)
{
#ifdef __GLIBC__
  if (atomic_fetch_add(&m->steps, 1) % STEPS_UNTIL_TRIM == STEPS_UNTIL_TRIM - 1)
    malloc_trim(0);
#endif
}

static int64_t step(void *arg, const struct object_key *key)
{
  int64_t after_ms = runners[key->kind](arg, key);
  give_memory_back(arg);
  return after_ms;
}

// ---- life -----------------------------------------------------------------------------------

static int take_options(struct manager *m, const struct manager_options *options, struct err *err)
{
  m->any_local = !options->allow_local;
  m->far_objects = options->far_objects;
  for (size_t i = 0; options->allow_local && i < options->allow_local->count; i++)
    strings_add(&m->allow_local, options->allow_local->items[i]);
  const struct strings *cidrs = options->allowed_endpoints;
  for (size_t i = 0; cidrs && i < cidrs->count; i++)
    strings_add(&m->allowed_cidrs, cidrs->items[i]);
  if (m->allowed_cidrs.count) {
    m->allowed = address_filter_new((const char *const *)m->allowed_cidrs.items,
                                    m->allowed_cidrs.count, err);
    if (!m->allowed)
      return -1;
  }
  m->checkpoints = str_dup(options->checkpoints);
  m->program = str_dup(options->program);
  m->workers = options->workers ? options->workers : DEFAULT_WORKERS;
  return 0;
}

struct manager *manager_new(struct object_store *store, struct loop *loop,
                            const struct manager_options *options, struct err *err)
{
  struct manager *m = calloc(1, sizeof(*m));
  if (!m) {
    err_set(err, ERR_NO_MEMORY, "no memory");
    return NULL;
  }
  m->store = store;
  m->loop = loop;
  pthread_mutex_init(&m->mutex, NULL);
  if (take_options(m, options, err) != 0) {
    manager_free(m);
    return NULL;
  }
  m->providers = provider_cache_new();
  m->movers = movers_new(loop, m->program, on_changed, m);
  if (m->providers && m->movers)
    return m;
  err_set(err, ERR_NO_MEMORY, "no memory");
  manager_free(m);
  return NULL;
}

int manager_start(struct manager *m, struct err *err)
{
  if (m->store->ops->installation(m->store, m->installation, err) != 0)
    return -1;
  m->started_ms = clock_wall_ms();
  m->queue = queue_new(m->workers, step, m);
  if (!m->queue)
    return err_set(err, ERR_NO_MEMORY, "worker threads could not be started");
  // A step looks through all objects of other kinds: until they have been told it would have to ask
  // the server for them, each step for all.
  queue_hold(m->queue, true);
  struct object_events events = {.changed = on_changed,
                                 .deleted = on_changed,
                                 .told = on_told,
                                 .synced = on_synced,
                                 .failed = on_failed,
                                 .arg = m};
  return m->store->ops->start(m->store, m->loop, &events, err);
}

void manager_on_change(struct manager *m, void (*fn)(void *arg, const struct object_key *key),
                       void *arg)
{
  m->on_change = fn;
  m->on_change_arg = arg;
}

// Steps end first; with their threads the movers that they started die, and are reaped then.
void manager_free(struct manager *m)
{
  if (!m)
    return;
  if (m->queue) {
    m->store->ops->stop(m->store);
    queue_free(m->queue);
  }
  movers_free(m->movers);
  provider_cache_free(m->providers);
  address_filter_free(m->allowed);
  free_notes(m);
  making_free(m);
  strings_release(&m->allow_local);
  strings_release(&m->allowed_cidrs);
  checkpoints_end(m);
  free(m->program);
  free(m->checkpoints);
  pthread_mutex_destroy(&m->mutex);
  free(m);
}
