// SPDX-License-Identifier: Apache-2.0
// Announces changes: of this process at once (poke), of others by polling PRAGMA data_version,
// which SQLite changes whenever another connection has committed. A scan reads what has a version
// beyond the last one that was announced; tombstones stand for what is gone.
//
// The watch is counted: a letter on its way to the loop may outlive the store.
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "controller/store_sqlite_internal.h"

#define POLL_MS    250
#define SCAN_BATCH 500

struct sqlite_watch {
  struct store_sqlite *store; // NULL once stopped; the loop's alone
  struct loop *loop;
  struct object_events events;
  struct loop_timer *timer;
  int64_t data_version, seen_version; // the loop's alone
  bool announced_all;
  int letters; // on their way; guarded by mutex
  bool stopped;
  pthread_mutex_t mutex;
};

struct change {
  struct object_key key;
  bool gone, told;
};

static void watch_free(struct sqlite_watch *w)
{
  pthread_mutex_destroy(&w->mutex);
  free(w);
}

// ---- scanning -------------------------------------------------------------------------------

static bool wanted(const struct store_sqlite *s, const struct object_key *key)
{
  if (!s->has_only || key->kind != OBJECT_VM_MIGRATION)
    return true;
  for (size_t i = 0; i < s->only_count; i++)
    if (s->only[i].kind == key->kind && str_eq(s->only[i].ns, key->ns) &&
        str_eq(s->only[i].name, key->name))
      return true;
  return false;
}

static int read_change(const struct store_sqlite *s, struct sqlite_query *q, struct change *ret)
{
  int64_t version = sqlite_int(q, 0);
  enum object_kind kind;
  if (!object_kind_named(sqlite_text(q, 1), &kind))
    return -1; // of a kind that a newer drover knows
  ret->gone = sqlite_int(q, 4) != 0;
  ret->told = s->own_writes[version % OWN_WRITES] == version;
  return object_key_set(&ret->key, kind, sqlite_text(q, 2), sqlite_text(q, 3), NULL);
}

// Up to SCAN_BATCH changes beyond *seen, which moves on; -1: error.
static int read_changes(struct store_sqlite *s, int64_t *seen, struct change *ret, size_t *ret_rows,
                        struct err *err)
{
  LOCK_FOR_SCOPE(&s->db.mutex);
  struct sqlite_query q CLEANUP(sqlite_close_query) = {0};
  if (sqlite_open_query(&q, &s->db,
                        "SELECT version, kind, ns, name, 0 FROM objects WHERE version > ?1 UNION"
                        " ALL SELECT version, kind, ns, name, 1 FROM tombstones WHERE version > ?1"
                        " ORDER BY version LIMIT ?2",
                        ARGS(ARG_INT(*seen), ARG_INT(SCAN_BATCH)), err) != 0)
    return -1;
  int more;
  int count = 0;
  *ret_rows = 0;
  while ((more = sqlite_next(&q, err)) == 1) {
    *seen = sqlite_int(&q, 0);
    ++*ret_rows;
    count += read_change(s, &q, &ret[count]) == 0;
  }
  return more < 0 ? -1 : count;
}

static void fail(struct sqlite_watch *w, const struct err *err)
{
  if (w->store)
    w->events.failed(w->events.arg, err);
}

static void scan(struct sqlite_watch *w)
{
  cleanup_free struct change *changes = calloc(SCAN_BATCH, sizeof(*changes));
  size_t rows = SCAN_BATCH;
  while (changes && w->store && rows == SCAN_BATCH) {
    struct err err = ERR_INIT;
    int count = read_changes(w->store, &w->seen_version, changes, &rows, &err);
    if (count < 0) {
      if (!err_retryable(err.kind))
        fail(w, &err);
      return; // the next poll tries again
    }
    for (int i = 0; i < count && w->store; i++) {
      if (!wanted(w->store, &changes[i].key))
        continue;
      void (*fn)(void *, const struct object_key *) = changes[i].gone   ? w->events.deleted
                                                      : changes[i].told ? w->events.told
                                                                        : w->events.changed;
      fn(w->events.arg, &changes[i].key);
    }
  }
  if (w->store && changes && !w->announced_all) {
    w->announced_all = true;
    if (w->events.synced)
      w->events.synced(w->events.arg);
  }
}

static int data_version(struct store_sqlite *s, int64_t *ret, struct err *err)
{
  LOCK_FOR_SCOPE(&s->db.mutex);
  return sqlite_number(&s->db, "PRAGMA data_version", NO_ARGS, 0, ret, err);
}

static void on_poll(void *arg)
{
  struct sqlite_watch *w = arg;
  int64_t version = w->data_version;
  struct err err = ERR_INIT;
  if (data_version(w->store, &version, &err) != 0 && !err_retryable(err.kind)) {
    fail(w, &err);
    return;
  }
  if (version != w->data_version || !w->announced_all) {
    w->data_version = version;
    scan(w);
  }
  if (w->store)
    loop_timer_start(w->timer, POLL_MS);
}

// ---- what this process wrote --------------------------------------------------------------------

static void on_letter(void *arg)
{
  struct sqlite_watch *w = arg;
  bool last;
  {
    LOCK_FOR_SCOPE(&w->mutex);
    w->letters--;
    last = w->stopped && w->letters == 0;
  }
  if (last)
    watch_free(w);
  else if (w->store)
    scan(w);
}

static void post_letter(struct sqlite_watch *w)
{
  LOCK_FOR_SCOPE(&w->mutex);
  if (w->letters > 0 || w->stopped)
    return; // one that has not been read yet will see this change too
  w->letters++;
  loop_post(w->loop, on_letter, w);
}

void sqlite_watch_poke(struct store_sqlite *s)
{
  LOCK_FOR_SCOPE(&s->db.mutex);
  if (s->watch)
    post_letter(s->watch);
}

// ---- start and stop -------------------------------------------------------------------------

static int forget_tombstones(struct store_sqlite *s, int64_t *ret_version, struct err *err)
{
  struct sqlite_write w CLEANUP(sqlite_write_end) = {0};
  if (sqlite_write_begin(&w, &s->db, err) != 0 ||
      sqlite_exec(&s->db, "DELETE FROM tombstones", NO_ARGS, err) != 0 ||
      sqlite_number(&s->db, "PRAGMA data_version", NO_ARGS, 0, ret_version, err) != 0)
    return -1;
  return sqlite_write_commit_soon(&w, err);
}

int sqlite_watch_start(struct object_store *store, struct loop *loop,
                       const struct object_events *events, struct err *err)
{
  struct store_sqlite *s = (struct store_sqlite *)store;
  if (s->mode != STORE_RUN || s->watch)
    return err_set(err, ERR_INTERNAL, "state file %s was not opened to be run", s->path);
  struct sqlite_watch *w = calloc(1, sizeof(*w));
  if (!w)
    return err_set(err, ERR_NO_MEMORY, "no memory for the object store");
  *w = (struct sqlite_watch){.store = s, .loop = loop, .events = *events};
  pthread_mutex_init(&w->mutex, NULL);
  w->timer = loop_timer_new(loop, on_poll, w);
  if (!w->timer || forget_tombstones(s, &w->data_version, err) != 0) {
    loop_timer_free(w->timer);
    watch_free(w);
    return err && err->kind ? -1 : err_set(err, ERR_NO_MEMORY, "no memory for a timer");
  }
  LOCK_FOR_SCOPE(&s->db.mutex);
  s->watch = w;
  loop_timer_start(w->timer, 0);
  return 0;
}

void sqlite_watch_stop(struct object_store *store)
{
  struct store_sqlite *s = (struct store_sqlite *)store;
  if (!s->watch)
    return;
  struct sqlite_watch *w = s->watch;
  bool last;
  {
    LOCK_FOR_SCOPE(&s->db.mutex);
    s->watch = NULL;
  }
  loop_timer_free(w->timer);
  w->store = NULL;
  {
    LOCK_FOR_SCOPE(&w->mutex);
    w->stopped = true;
    last = w->letters == 0;
  }
  if (last)
    watch_free(w);
}
