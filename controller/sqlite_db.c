// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "controller/sqlite_internal.h"

#define BUSY_TIMEOUT_MS 10000
#define VALUE_MAX_BYTES (8 * LIMIT_MANIFEST_BYTES)

static const struct {
  int code;
  enum err_kind kind;
  const char *hint;
} code_kinds[] = {
    {SQLITE_BUSY, ERR_BUSY, "another process holds it"},
    {SQLITE_LOCKED, ERR_BUSY, "another process holds it"},
    {SQLITE_FULL, ERR_NO_SPACE, "the file system is full"},
    {SQLITE_READONLY, ERR_DENIED, "it may not be written"},
    {SQLITE_CANTOPEN, ERR_DENIED, "it cannot be opened"},
    {SQLITE_PERM, ERR_DENIED, "it cannot be opened"},
    {SQLITE_AUTH, ERR_DENIED, "it cannot be opened"},
    {SQLITE_CORRUPT, ERR_CORRUPT, "the file is damaged; restore it from a copy, or move it away"},
    {SQLITE_NOTADB, ERR_CORRUPT, "it is not an SQLite file"},
    {SQLITE_TOOBIG, ERR_LIMIT, "an object is too large"},
    {SQLITE_NOMEM, ERR_NO_MEMORY, "no memory"},
    {SQLITE_IOERR, ERR_IO, "reading or writing failed"},
};

static int set_err(struct sqlite_db *db, int code, struct err *err)
{
  const char *detail = db->handle ? sqlite3_errmsg(db->handle) : sqlite3_errstr(code);
  for (size_t i = 0; i < ARRAY_SIZE(code_kinds); i++)
    if ((code & 0xff) == code_kinds[i].code)
      return err_set(err, code_kinds[i].kind, "state file %s: %s (%s)", db->path,
                     code_kinds[i].hint, detail);
  return err_set(err, ERR_INTERNAL, "state file %s: %s (SQLite code %d)", db->path, detail, code);
}

int sqlite_err(struct sqlite_db *db, int code, struct err *err)
{
  struct err failed = ERR_INIT;
  set_err(db, code, &failed);
  if (err)
    *err = failed;
  db->trouble = failed;
  return -1;
}

// Synchronous NORMAL: the file is consistent after a power cut; commits that must be in it are
// synced by ourselves (sqlite_db_settle). Secure delete: what a Secret held is overwritten, not
// only unlinked.
static const char *const pragmas[] = {
    "PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL", "PRAGMA secure_delete = ON",
    "PRAGMA foreign_keys = ON",  "PRAGMA trusted_schema = OFF", "PRAGMA wal_autocheckpoint = 500",
};

int sqlite_db_open(struct sqlite_db *db, const char *path, bool query_only, struct err *err)
{
  *db = (struct sqlite_db){.path = path, .wal_fd = -1};
  pthread_mutex_init(&db->mutex, NULL);
  pthread_mutex_init(&db->sync_mutex, NULL);
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  int code = sqlite3_open_v2(path, &db->handle, flags, NULL);
  if (code != SQLITE_OK) {
    sqlite_err(db, code, err);
    sqlite_db_close(db);
    return -1;
  }
  sqlite3_busy_timeout(db->handle, BUSY_TIMEOUT_MS);
  sqlite3_limit(db->handle, SQLITE_LIMIT_LENGTH, VALUE_MAX_BYTES);
  sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
  int rc = 0;
  for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(pragmas); i++)
    rc = sqlite_exec(db, pragmas[i], NO_ARGS, err);
  if (rc == 0 && query_only)
    rc = sqlite_exec(db, "PRAGMA query_only = ON", NO_ARGS, err);
  if (rc != 0)
    sqlite_db_close(db);
  return rc;
}

void sqlite_db_close(struct sqlite_db *db)
{
  if (!db->path)
    return;
  for (size_t i = 0; i < SQLITE_STATEMENTS; i++)
    sqlite3_finalize(db->statements[i].stmt);
  sqlite3_close(db->handle);
  if (db->wal_fd >= 0)
    close(db->wal_fd);
  pthread_mutex_destroy(&db->sync_mutex);
  pthread_mutex_destroy(&db->mutex);
  *db = (struct sqlite_db){0};
}

// ---- queries --------------------------------------------------------------------------------

static int bind(sqlite3_stmt *stmt, int index, const struct sqlite_arg *a)
{
  switch (a->type) {
  case SQLITE_ARG_TEXT:
    return sqlite3_bind_text(stmt, index, a->bytes, -1, SQLITE_STATIC);
  case SQLITE_ARG_BLOB: // a NULL pointer would become NULL rather than an empty value
    return sqlite3_bind_blob64(stmt, index, a->bytes ? a->bytes : "", a->length, SQLITE_STATIC);
  case SQLITE_ARG_INT:
    return sqlite3_bind_int64(stmt, index, a->number);
  case SQLITE_ARG_END:
    break;
  }
  return SQLITE_MISUSE;
}

static struct sqlite_statement *place_of(struct sqlite_db *db, const char *sql)
{
  uint64_t hash = (uint64_t)(uintptr_t)sql * 11400714819323198485u;
  return &db->statements[hash >> 32 & (SQLITE_STATEMENTS - 1)];
}

// One whose place is taken by a query that is open has none.
static int prepare(struct sqlite_query *q, const char *sql)
{
  struct sqlite_statement *s = place_of(q->db, sql);
  if (s->open)
    return sqlite3_prepare_v2(q->db->handle, sql, -1, &q->stmt, NULL);
  if (s->sql != sql) {
    sqlite3_finalize(s->stmt);
    *s = (struct sqlite_statement){0};
    int code =
        sqlite3_prepare_v3(q->db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &s->stmt, NULL);
    if (code != SQLITE_OK)
      return code;
    s->sql = sql;
  }
  s->open = true;
  q->kept = s;
  q->stmt = s->stmt;
  return SQLITE_OK;
}

int sqlite_open_query(struct sqlite_query *q, struct sqlite_db *db, const char *sql,
                      const struct sqlite_arg *args, struct err *err)
{
  *q = (struct sqlite_query){.db = db};
  int code = prepare(q, sql);
  for (int i = 0; code == SQLITE_OK && args[i].type != SQLITE_ARG_END; i++)
    code = bind(q->stmt, i + 1, &args[i]);
  if (code == SQLITE_OK)
    return 0;
  sqlite_err(db, code, err);
  sqlite_close_query(q);
  return -1;
}

int sqlite_next(struct sqlite_query *q, struct err *err)
{
  int code = sqlite3_step(q->stmt);
  if (code == SQLITE_ROW)
    return 1;
  return code == SQLITE_DONE ? 0 : sqlite_err(q->db, code, err);
}

void sqlite_close_query(struct sqlite_query *q)
{
  if (q->kept) {
    sqlite3_reset(q->stmt);
    sqlite3_clear_bindings(q->stmt); // they were borrowed
    q->kept->open = false;
  } else {
    sqlite3_finalize(q->stmt);
  }
  q->kept = NULL;
  q->stmt = NULL;
}

const char *sqlite_text(struct sqlite_query *q, int column)
{
  const char *text = (const char *)sqlite3_column_text(q->stmt, column);
  return text ? text : "";
}

int64_t sqlite_int(struct sqlite_query *q, int column)
{
  return sqlite3_column_int64(q->stmt, column);
}

int sqlite_exec(struct sqlite_db *db, const char *sql, const struct sqlite_arg *args,
                struct err *err)
{
  struct sqlite_query q CLEANUP(sqlite_close_query) = {0};
  if (sqlite_open_query(&q, db, sql, args, err) != 0)
    return -1;
  int more = 1;
  while (more == 1)
    more = sqlite_next(&q, err);
  return more;
}

int sqlite_changed(struct sqlite_db *db)
{
  return sqlite3_changes(db->handle);
}

int sqlite_number(struct sqlite_db *db, const char *sql, const struct sqlite_arg *args,
                  int64_t fallback, int64_t *ret, struct err *err)
{
  struct sqlite_query q CLEANUP(sqlite_close_query) = {0};
  if (sqlite_open_query(&q, db, sql, args, err) != 0)
    return -1;
  int more = sqlite_next(&q, err);
  if (more < 0)
    return -1;
  *ret = more ? sqlite_int(&q, 0) : fallback;
  return 0;
}

// ---- write transactions -----------------------------------------------------------------------

// IMMEDIATE, so that the time-out for busy files works: a transaction that reads first and writes
// then cannot wait for another writer.
int sqlite_write_begin(struct sqlite_write *w, struct sqlite_db *db, struct err *err)
{
  pthread_mutex_lock(&db->mutex);
  if (sqlite_exec(db, "BEGIN IMMEDIATE", NO_ARGS, err) != 0) {
    pthread_mutex_unlock(&db->mutex);
    return -1;
  }
  w->db = db;
  return 0;
}

int sqlite_write_commit_soon(struct sqlite_write *w, struct err *err)
{
  if (sqlite_exec(w->db, "COMMIT", NO_ARGS, err) != 0)
    return -1;
  w->db->trouble.kind = ERR_NONE;
  atomic_fetch_add(&w->db->commits, 1);
  pthread_mutex_unlock(&w->db->mutex);
  w->db = NULL;
  return 0;
}

// The log stays the same file for as long as this connection is open, which has read from it. What
// a checkpoint has moved out of it since was synced by the checkpoint.
static int sync_log(struct sqlite_db *db, struct err *err)
{
  cleanup_free char *path = str_printf("%s-wal", db->path);
  if (db->wal_fd < 0 && path)
    db->wal_fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (db->wal_fd >= 0 && fdatasync(db->wal_fd) == 0)
    return 0;
  return path ? err_errno(err, errno, "state file %s: sync its log", db->path)
              : err_set(err, ERR_NO_MEMORY, "no memory");
}

// Whoever waits for the mutex meanwhile finds its commit synced with those of the others.
int sqlite_db_settle(struct sqlite_db *db, struct err *err)
{
  uint64_t mine = atomic_load(&db->commits);
  LOCK_FOR_SCOPE(&db->sync_mutex);
  uint64_t all = atomic_load(&db->commits);
  if (db->synced >= mine)
    return 0;
  if (sync_log(db, err) != 0)
    return -1;
  db->synced = all;
  return 0;
}

int sqlite_write_commit(struct sqlite_write *w, struct err *err)
{
  struct sqlite_db *db = w->db;
  return sqlite_write_commit_soon(w, err) == 0 ? sqlite_db_settle(db, err) : -1;
}

void sqlite_write_end(struct sqlite_write *w)
{
  if (!w->db)
    return;
  // SQLite may have rolled back by itself (disk full); then there is nothing left to undo.
  if (!sqlite3_get_autocommit(w->db->handle))
    sqlite_exec(w->db, "ROLLBACK", NO_ARGS, NULL);
  pthread_mutex_unlock(&w->db->mutex);
  w->db = NULL;
}
