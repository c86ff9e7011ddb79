// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "controller/store_sqlite_internal.h"

#define EVENTS_KEPT       1000
#define EVENTS_MORE       50 // until the oldest are looked for, which reads all
#define EVENTS_BURST      500
#define EVENTS_PER_SECOND 25
#define EVENT_MESSAGE_MAX 1024 // as the API server allows
#define TEXT_(value)      #value
#define TEXT(value)       TEXT_(value)

// False: this one is dropped.
static bool take_token(struct store_sqlite *s)
{
  LOCK_FOR_SCOPE(&s->db.mutex);
  int64_t now_ms = clock_ms();
  if (!s->event_tokens_ms)
    s->event_tokens = EVENTS_BURST;
  else
    s->event_tokens += (double)(now_ms - s->event_tokens_ms) * EVENTS_PER_SECOND / 1000;
  if (s->event_tokens > EVENTS_BURST)
    s->event_tokens = EVENTS_BURST;
  s->event_tokens_ms = now_ms;
  if (s->event_tokens < 1)
    return false;
  s->event_tokens--;
  return true;
}

struct event_row {
  const struct object_key *key;
  const char *uid, *type, *reason, *message;
  int64_t now_ms;
};

static int count_again(struct sqlite_db *db, const struct event_row *e, struct err *err)
{
  return sqlite_exec(db,
                     "UPDATE events SET count = count + 1, last_ms = ? WHERE uid = ? AND kind = ?"
                     " AND ns = ? AND name = ? AND type = ? AND reason = ? AND message = ?",
                     ARGS(ARG_INT(e->now_ms), ARG_TEXT(e->uid),
                          ARG_TEXT(object_kind_info(e->key->kind)->kind), ARG_TEXT(e->key->ns),
                          ARG_TEXT(e->key->name), ARG_TEXT(e->type), ARG_TEXT(e->reason),
                          ARG_TEXT(e->message)),
                     err);
}

static int add_event(struct sqlite_db *db, const struct event_row *e, struct err *err)
{
  if (sqlite_exec(db,
                  "INSERT INTO events (kind, ns, name, uid, type, reason, message, count, first_ms,"
                  " last_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8, ?8)",
                  ARGS(ARG_TEXT(object_kind_info(e->key->kind)->kind), ARG_TEXT(e->key->ns),
                       ARG_TEXT(e->key->name), ARG_TEXT(e->uid), ARG_TEXT(e->type),
                       ARG_TEXT(e->reason), ARG_TEXT(e->message), ARG_INT(e->now_ms)),
                  err) != 0)
    return -1;
  if (sqlite3_last_insert_rowid(db->handle) % EVENTS_MORE != 0)
    return 0;
  return sqlite_exec(
      db,
      "DELETE FROM events WHERE id NOT IN"
      " (SELECT id FROM events ORDER BY last_ms DESC, id DESC LIMIT " TEXT(EVENTS_KEPT) ")",
      NO_ARGS, err);
}

static int record(struct store_sqlite *s, const struct event_row *e, struct err *err)
{
  struct sqlite_write w CLEANUP(sqlite_write_end) = {0};
  if (sqlite_write_begin(&w, &s->db, err) != 0)
    return -1;
  if (count_again(&s->db, e, err) != 0)
    return -1;
  if (sqlite_changed(&s->db) == 0 && add_event(&s->db, e, err) != 0)
    return -1;
  return sqlite_write_commit_soon(&w, err);
}

void sqlite_event(struct object_store *store, const struct object *o, const char *type,
                  const char *reason, const char *message)
{
  struct store_sqlite *s = (struct store_sqlite *)store;
  struct object_key key = object_key_of(o);
  char cut[EVENT_MESSAGE_MAX + 1];
  snprintf(cut, sizeof(cut), "%s", message ? message : "");
  struct event_row e = {.key = &key,
                        .uid = o->meta.uid ? o->meta.uid : "",
                        .type = type,
                        .reason = reason ? reason : "",
                        .message = cut,
                        .now_ms = clock_wall_ms()};
  struct err err = ERR_INIT;
  if (take_token(s) && record(s, &e, &err) != 0)
    log_warning("an event was not recorded", "reason", e.reason, "error", err.message, NULL);
}

int store_sqlite_events(struct object_store *store, const struct object_key *key, store_event_fn fn,
                        void *arg, struct err *err)
{
  struct store_sqlite *s = (struct store_sqlite *)store;
  LOCK_FOR_SCOPE(&s->db.mutex);
  struct sqlite_query q CLEANUP(sqlite_close_query) = {0};
  if (sqlite_open_query(
          &q, &s->db,
          "SELECT type, reason, message, count, first_ms, last_ms FROM events"
          " WHERE kind = ? AND ns = ? AND name = ? ORDER BY last_ms, id",
          ARGS(ARG_TEXT(object_kind_info(key->kind)->kind), ARG_TEXT(key->ns), ARG_TEXT(key->name)),
          err) != 0)
    return -1;
  int more;
  while ((more = sqlite_next(&q, err)) == 1) {
    struct store_event event = {.type = sqlite_text(&q, 0),
                                .reason = sqlite_text(&q, 1),
                                .message = sqlite_text(&q, 2),
                                .count = sqlite_int(&q, 3),
                                .first_wall_ms = sqlite_int(&q, 4),
                                .last_wall_ms = sqlite_int(&q, 5)};
    fn(arg, &event);
  }
  return more < 0 ? -1 : 0;
}
