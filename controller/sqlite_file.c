// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "controller/store_sqlite_internal.h"

#define APPLICATION_ID 0x64727672 // "drvr", in the file's header: see sqlite.org/fileformat
#define SCHEMA_VERSION 2
#define SET_VERSION    "PRAGMA user_version = 2"

// ---- the file -------------------------------------------------------------------------------

char *store_sqlite_default_path(void)
{
  const char *state = getenv("XDG_STATE_HOME");
  const char *home = getenv("HOME");
  if (state && state[0] == '/')
    return str_printf("%s/drover/state.db", state);
  return str_empty(home) ? NULL : str_printf("%s/.local/state/drover/state.db", home);
}

// The folders above, private to the user as the XDG specification wants them.
static int make_folders(const char *path, struct err *err)
{
  cleanup_free char *folder = str_dup(path);
  if (!folder)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  for (char *slash = strchr(folder + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = '\0';
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
      return err_errno(err, errno, "state file %s: folder %s", path, folder);
    *slash = '/';
  }
  return 0;
}

// SQLite would create it with the umask's mode; its -wal and -shm take over the mode of the file.
int sqlite_create_file(const char *path, struct err *err)
{
  if (make_folders(path, err) != 0)
    return -1;
  cleanup_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0)
    return err_errno(err, errno, "state file %s", path);
  struct stat st;
  if (fstat(fd, &st) != 0)
    return err_errno(err, errno, "state file %s", path);
  if (!S_ISREG(st.st_mode))
    return err_set(err, ERR_INVALID, "state file %s is not a regular file", path);
  if (st.st_mode & 0077 && fchmod(fd, 0600) != 0)
    return err_errno(err, errno, "state file %s may hold Secrets and is open to others; mode 0600",
                     path);
  return 0;
}

// ---- the lock -------------------------------------------------------------------------------

// The lock belongs to the open file description: it goes when the process ends in whatever way, and
// children do not inherit it (O_CLOEXEC).
static int try_lock(int fd)
{
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  return fcntl(fd, F_OFD_SETLK, &lock);
}

static int64_t read_pid(int fd)
{
  char text[32] = "";
  int64_t pid = 0;
  if (pread(fd, text, sizeof(text) - 1, 0) < 0)
    return 0;
  text[strcspn(text, "\n")] = '\0';
  return str_int64(text, &pid) && pid > 0 ? pid : 0;
}

int sqlite_lock(const char *path, int *ret_fd, struct err *err)
{
  cleanup_free char *lock_path = str_printf("%s.lock", path);
  if (!lock_path)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  cleanup_close int fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0)
    return err_errno(err, errno, "lock %s", lock_path);
  if (try_lock(fd) != 0) {
    if (errno != EAGAIN && errno != EACCES)
      return err_errno(err, errno, "lock %s", lock_path);
    return err_set(err, ERR_BUSY,
                   "state file %s is in use by process %" PRId64
                   "; wait for it, stop it, or name another file with --state",
                   path, read_pid(fd));
  }
  char text[32];
  int length = snprintf(text, sizeof(text), "%d\n", (int)getpid());
  if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)length, 0) != length)
    return err_errno(err, errno, "lock %s", lock_path);
  *ret_fd = TAKE_FD(fd);
  return 0;
}

int64_t store_sqlite_runner(const char *path)
{
  cleanup_free char *lock_path = str_printf("%s.lock", path);
  cleanup_close int fd = lock_path ? open(lock_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW) : -1;
  if (fd < 0)
    return 0;
  // Asking with F_OFD_GETLK takes nothing, so that a `drover run` that starts now is not disturbed.
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  if (fcntl(fd, F_OFD_GETLK, &lock) != 0 || lock.l_type == F_UNLCK)
    return 0;
  return read_pid(fd);
}

// ---- the schema -----------------------------------------------------------------------------

// tombstones: objects that are gone, for the process that runs the file to hear of it.
// meta.version is the last resource version that was given out: each write takes the next.
static const char *const schema[] = {
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID",
    "CREATE TABLE objects (kind TEXT NOT NULL, ns TEXT NOT NULL, name TEXT NOT NULL,"
    " uid TEXT NOT NULL, version INTEGER NOT NULL UNIQUE, generation INTEGER NOT NULL,"
    " created TEXT NOT NULL, deleted TEXT NOT NULL, labels TEXT NOT NULL,"
    " annotations TEXT NOT NULL, finalizers TEXT NOT NULL, spec TEXT NOT NULL,"
    " status TEXT NOT NULL, applied TEXT NOT NULL, owners TEXT NOT NULL DEFAULT '[]',"
    " PRIMARY KEY (kind, ns, name)) STRICT, WITHOUT ROWID",
    "CREATE TABLE tombstones (version INTEGER PRIMARY KEY, kind TEXT NOT NULL, ns TEXT NOT NULL,"
    " name TEXT NOT NULL) STRICT",
    "CREATE TABLE maps (kind TEXT NOT NULL, ns TEXT NOT NULL, name TEXT NOT NULL,"
    " version INTEGER NOT NULL, PRIMARY KEY (kind, ns, name)) STRICT, WITHOUT ROWID",
    "CREATE TABLE map_items (kind TEXT NOT NULL, ns TEXT NOT NULL, name TEXT NOT NULL,"
    " key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (kind, ns, name, key),"
    " FOREIGN KEY (kind, ns, name) REFERENCES maps ON DELETE CASCADE) STRICT, WITHOUT ROWID",
    "CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL,"
    " ns TEXT NOT NULL, name TEXT NOT NULL, uid TEXT NOT NULL, type TEXT NOT NULL,"
    " reason TEXT NOT NULL, message TEXT NOT NULL, count INTEGER NOT NULL,"
    " first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL) STRICT",
    "CREATE INDEX events_of ON events (kind, ns, name)",
    "INSERT INTO meta VALUES ('version', 0)",
    SET_VERSION,
    "PRAGMA application_id = 1685223026",
};
_Static_assert(APPLICATION_ID == 1685223026 && SCHEMA_VERSION == 2, "as in the schema's pragmas");

// From each version to the next, the first from version 1.
static const char *const upgrades[] = {
    "ALTER TABLE objects ADD COLUMN owners TEXT NOT NULL DEFAULT '[]'",
};
_Static_assert(ARRAY_SIZE(upgrades) == SCHEMA_VERSION - 1, "a step to each version");

void sqlite_new_uid(char ret[40])
{
  unsigned char b[16];
  if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b))
    abort(); // cannot happen: 16 bytes are never cut short, and the kernel has the call
  b[6] = (unsigned char)((b[6] & 0x0f) | 0x40); // RFC 9562: version 4,
  b[8] = (unsigned char)((b[8] & 0x3f) | 0x80); // variant 10
  snprintf(ret, 40, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
           b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
           b[15]);
}

static int create_schema(struct sqlite_db *db, struct err *err)
{
  for (size_t i = 0; i < ARRAY_SIZE(schema); i++)
    if (sqlite_exec(db, schema[i], NO_ARGS, err) != 0)
      return -1;
  char installation[40];
  sqlite_new_uid(installation);
  return sqlite_exec(db, "INSERT INTO meta VALUES ('installation', ?)",
                     ARGS(ARG_TEXT(installation)), err);
}

static int upgrade_schema(struct sqlite_db *db, int64_t version, struct err *err)
{
  for (; version < SCHEMA_VERSION; version++)
    if (sqlite_exec(db, upgrades[version - 1], NO_ARGS, err) != 0)
      return -1;
  return sqlite_exec(db, SET_VERSION, NO_ARGS, err);
}

static int check_schema(struct sqlite_db *db, int64_t *ret_version, struct err *err)
{
  int64_t application = 0;
  int64_t tables = 0;
  if (sqlite_number(db, "PRAGMA application_id", NO_ARGS, 0, &application, err) != 0 ||
      sqlite_number(db, "PRAGMA user_version", NO_ARGS, 0, ret_version, err) != 0 ||
      sqlite_number(db, "SELECT count(*) FROM sqlite_schema", NO_ARGS, 0, &tables, err) != 0)
    return -1;
  if (tables > 0 && application != APPLICATION_ID)
    return err_set(err, ERR_UNSUPPORTED, "%s is an SQLite file, but not one of drover", db->path);
  if (*ret_version > SCHEMA_VERSION)
    return err_set(err, ERR_UNSUPPORTED,
                   "state file %s was written by a newer drover (schema %" PRId64
                   ", this one knows %d)",
                   db->path, *ret_version, SCHEMA_VERSION);
  return 0;
}

// Those who do not run the file leave its schema alone.
static int check_readable(struct sqlite_db *db, int64_t version, struct err *err)
{
  if (version == 0)
    return err_set(err, ERR_NOT_FOUND, "state file %s is empty", db->path);
  if (version < SCHEMA_VERSION)
    return err_set(
        err, ERR_UNSUPPORTED,
        "state file %s was written by an older drover; 'drover run' with it brings it up "
        "to date",
        db->path);
  return 0;
}

int sqlite_schema(struct sqlite_db *db, bool write, struct err *err)
{
  int64_t version = 0;
  if (!write) {
    if (check_schema(db, &version, err) != 0)
      return -1;
    return check_readable(db, version, err);
  }
  struct sqlite_write w CLEANUP(sqlite_write_end) = {0};
  if (sqlite_write_begin(&w, db, err) != 0 || check_schema(db, &version, err) != 0)
    return -1;
  if (version == SCHEMA_VERSION)
    return 0;
  if (version == 0 ? create_schema(db, err) : upgrade_schema(db, version, err))
    return -1;
  return sqlite_write_commit(&w, err);
}
