// SPDX-License-Identifier: Apache-2.0
// SQLite in the words of this house: queries with typed arguments, write transactions that roll
// back when their scope ends early, errors with kinds. Knows nothing of objects.
//
// One connection, one mutex: a transaction or a read holds it from begin to end.
//
// Every commit survives the end of this process, however it ends: it is in the kernel's hands. A
// power cut may take the last of them, always from the end: what is left is the file as it was a
// moment ago. sqlite_write_commit() returns when that cannot happen any more to this commit, and so
// to none before it; threads that wait for that share one fdatasync. sqlite_write_commit_soon()
// does not wait: for what is found out again (conditions, events, finalizers), or waited for later
// (sqlite_db_settle).
//
//     struct sqlite_write w CLEANUP(sqlite_write_end) = {0};
//     if (sqlite_write_begin(&w, db, err) != 0 ||
//         sqlite_exec(db, "DELETE FROM t WHERE a = ?", ARGS(ARG_TEXT(a)), err) != 0)
//       return -1;
//     return sqlite_write_commit(&w, err);
#pragma once

#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SQLITE_STATEMENTS 128 // kept ready; there are some forty in all

struct sqlite_db {
  sqlite3 *handle;
  pthread_mutex_t mutex;
  const char *path; // for messages; borrowed
  // Compiled once, kept at a place that the address of their text (a literal) tells.
  struct sqlite_statement {
    const char *sql; // NULL: none
    sqlite3_stmt *stmt;
    bool open;
  } statements[SQLITE_STATEMENTS];
  struct err trouble; // why the last write was not possible; ERR_NONE after one that was
  _Atomic uint64_t commits;
  pthread_mutex_t sync_mutex; // guards what follows; taken without `mutex`
  uint64_t synced;            // so many of the commits are on the disk
  int wal_fd;                 // of the write-ahead log; -1: not opened yet
};

struct sqlite_arg {
  enum { SQLITE_ARG_END, SQLITE_ARG_TEXT, SQLITE_ARG_INT, SQLITE_ARG_BLOB } type;
  const void *bytes; // TEXT (NULL = NULL) and BLOB: borrowed until the query is closed
  size_t length;     // BLOB
  int64_t number;    // INT
};
#define ARG_TEXT(text)                                                                             \
  {                                                                                                \
    .type = SQLITE_ARG_TEXT, .bytes = (text)                                                       \
  }
#define ARG_INT(value)                                                                             \
  {                                                                                                \
    .type = SQLITE_ARG_INT, .number = (value)                                                      \
  }
#define ARG_BLOB(data, size)                                                                       \
  {                                                                                                \
    .type = SQLITE_ARG_BLOB, .bytes = (data), .length = (size)                                     \
  }
#define ARGS(...)                                                                                  \
  (const struct sqlite_arg[])                                                                      \
  {                                                                                                \
    __VA_ARGS__,                                                                                   \
    {                                                                                              \
      .type = SQLITE_ARG_END                                                                       \
    }                                                                                              \
  }
#define NO_ARGS                                                                                    \
  (const struct sqlite_arg[])                                                                      \
  {                                                                                                \
    {                                                                                              \
      .type = SQLITE_ARG_END                                                                       \
    }                                                                                              \
  }

// The file must exist (sqlite_create_file). query_only refuses every write.
int sqlite_db_open(struct sqlite_db *db, const char *path, bool query_only, struct err *err);
void sqlite_db_close(struct sqlite_db *db);
// All that was committed so far is on the disk afterwards. The caller holds no mutex of db.
int sqlite_db_settle(struct sqlite_db *db, struct err *err);
// err for the result code of an SQLite call, with what SQLite says about it.
int sqlite_err(struct sqlite_db *db, int code, struct err *err);

// An open query; the caller holds db->mutex (or a write) until sqlite_close_query().
struct sqlite_query {
  struct sqlite_db *db;
  sqlite3_stmt *stmt;
  struct sqlite_statement *kept; // NULL: of this query alone
};
// sql: a literal, or another text that stays.
int sqlite_open_query(struct sqlite_query *q, struct sqlite_db *db, const char *sql,
                      const struct sqlite_arg *args, struct err *err);
// 1: there is a row; 0: no more; -1: error.
int sqlite_next(struct sqlite_query *q, struct err *err);
void sqlite_close_query(struct sqlite_query *q);
const char *sqlite_text(struct sqlite_query *q, int column); // "" for NULL; until the next call
int64_t sqlite_int(struct sqlite_query *q, int column);

// A statement without rows of interest. Returns 0; sqlite_changed() tells how many rows it changed.
int sqlite_exec(struct sqlite_db *db, const char *sql, const struct sqlite_arg *args,
                struct err *err);
int sqlite_changed(struct sqlite_db *db);
// The first column of the first row, or `fallback`.
int sqlite_number(struct sqlite_db *db, const char *sql, const struct sqlite_arg *args,
                  int64_t fallback, int64_t *ret, struct err *err);

struct sqlite_write {
  struct sqlite_db *db; // NULL: none open
};
int sqlite_write_begin(struct sqlite_write *w, struct sqlite_db *db, struct err *err);
int sqlite_write_commit(struct sqlite_write *w, struct err *err);
int sqlite_write_commit_soon(struct sqlite_write *w, struct err *err);
void sqlite_write_end(struct sqlite_write *w); // rolls back what was not committed
