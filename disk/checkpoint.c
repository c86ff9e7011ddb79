// SPDX-License-Identifier: Apache-2.0
#include "disk/checkpoint_internal.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "disk/fd_internal.h"

#define OPEN_TRIES 20

DEFINE_CLEANUP(checkpoint_close, struct checkpoint *)

// ---- opening --------------------------------------------------------------------------------

// Whoever has a lock on a file that has lost its name has none.
static bool is_named(const struct checkpoint *c)
{
  struct stat ours, named;
  return fstat(c->fd, &ours) == 0 && lstat(c->path, &named) == 0 && ours.st_ino == named.st_ino &&
         ours.st_dev == named.st_dev;
}

// 1: locked, 0: its name is gone meanwhile, -1: error.
static int open_once(struct checkpoint *c, int flags, struct err *err)
{
  struct stat st;
  c->fd = open(c->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | flags, 0600);
  if (c->fd < 0)
    return err_errno(err, errno, "open the checkpoint %s", c->path);
  if (fstat(c->fd, &st) != 0)
    return err_errno(err, errno, "stat the checkpoint %s", c->path);
  if (!S_ISREG(st.st_mode))
    return err_set(err, ERR_INVALID, "the checkpoint %s is not a regular file", c->path);
  if (flock(c->fd, LOCK_EX | LOCK_NB) != 0)
    return err_set(err, ERR_BUSY, "another copy is working with the checkpoint %s", c->path);
  c->locked = true;
  c->foreign = st.st_uid != geteuid() || (st.st_mode & 022);
  c->size_bytes = (uint64_t)st.st_size;
  if (is_named(c))
    return 1;
  close(TAKE_FD(c->fd));
  c->locked = false;
  return 0;
}

static struct checkpoint *checkpoint_new(const char *path)
{
  struct checkpoint *c = calloc(1, sizeof(*c));
  if (!c)
    return NULL;
  c->fd = -1;
  c->path = str_dup(path);
  pthread_mutex_init(&c->lock, NULL);
  if (c->path)
    return c;
  checkpoint_close(c);
  return NULL;
}

static int open_locked(struct checkpoint *c, int flags, struct err *err)
{
  for (int tries = 0; tries < OPEN_TRIES; tries++) {
    int rc = open_once(c, flags, err);
    if (rc)
      return rc < 0 ? -1 : 0;
  }
  return err_set(err, ERR_BUSY, "the checkpoint %s comes and goes", c->path);
}

int checkpoint_open(const char *path, struct checkpoint **ret, struct err *err)
{
  struct checkpoint *c CLEANUP(checkpoint_close_p) = checkpoint_new(path);
  if (!c)
    return err_set(err, ERR_NO_MEMORY, "no memory for a checkpoint");
  if (open_locked(c, O_CREAT, err) != 0 || checkpoint_examine(c, err) != 0)
    return -1;
  *ret = TAKE(c);
  return 0;
}

void checkpoint_close(struct checkpoint *c)
{
  if (!c)
    return;
  // A file in which nothing was ever written is no use to anybody.
  struct stat st;
  if (c->locked && !c->removed && fstat(c->fd, &st) == 0 && st.st_size == 0 && is_named(c))
    unlink(c->path);
  if (c->fd >= 0)
    close(c->fd);
  checkpoint_subject_release(&c->subject);
  pthread_mutex_destroy(&c->lock);
  free(c->path);
  free(c);
}

int checkpoint_remove(struct checkpoint *c, struct err *err)
{
  LOCK_FOR_SCOPE(&c->lock);
  c->removed = true;
  if (unlink(c->path) != 0 && errno != ENOENT)
    return err_errno(err, errno, "remove the checkpoint %s", c->path);
  return 0;
}

int checkpoint_remove_path(const char *path, struct err *err)
{
  struct checkpoint *c CLEANUP(checkpoint_close_p) = checkpoint_new(path);
  struct err failure = ERR_INIT;
  if (!c)
    return err_set(err, ERR_NO_MEMORY, "no memory for a checkpoint");
  if (open_locked(c, 0, &failure) == 0)
    return checkpoint_remove(c, err);
  if (failure.kind == ERR_NOT_FOUND)
    return 0;
  if (err)
    *err = failure;
  return -1;
}

const struct checkpoint_subject *checkpoint_found(const struct checkpoint *c)
{
  return c->found ? &c->subject : NULL;
}

void checkpoint_ignore(struct checkpoint *c)
{
  c->found = false;
  c->damage[0] = '\0';
}

bool checkpoint_begun(const struct checkpoint *c)
{
  return c->found || c->begun;
}

const char *checkpoint_damage(const struct checkpoint *c)
{
  return c->damage[0] ? c->damage : NULL;
}

uint64_t checkpoint_started(const struct checkpoint *c)
{
  return c->started;
}

uint64_t checkpoint_resent(const struct checkpoint *c)
{
  return c->resent;
}

// ---- writing --------------------------------------------------------------------------------

static int write_frame(struct checkpoint *c, uint32_t type, const void *payload, size_t length,
                       struct err *err)
{
  cleanup_free uint8_t *frame = malloc(FRAME_HEAD_BYTES + length + FRAME_SUM_BYTES);
  uint8_t sum[FRAME_SUM_BYTES];
  if (!frame)
    return err_set(err, ERR_NO_MEMORY, "no memory for a checkpoint");
  uint32_t head[2] = {htole32(type), htole32((uint32_t)length)};
  memcpy(frame, head, sizeof(head));
  if (length)
    memcpy(frame + FRAME_HEAD_BYTES, payload, length);
  checkpoint_sum(c->sum, frame, FRAME_HEAD_BYTES + length, sum);
  memcpy(frame + FRAME_HEAD_BYTES + length, sum, FRAME_SUM_BYTES);
  size_t whole = FRAME_HEAD_BYTES + length + FRAME_SUM_BYTES;
  if (c->end + whole > CHECKPOINT_FILE_BYTES)
    return err_set(err, ERR_LIMIT, "the checkpoint %s gets too large", c->path);
  if (fd_write_all(c->fd, frame, whole, c->end, c->path, err) != 0)
    return -1;
  memcpy(c->sum, sum, sizeof(c->sum));
  c->end += whole;
  return 0;
}

static void write_number(const struct checkpoint *c, off_t at, uint64_t number)
{
  uint64_t little = htole64(number);
  ssize_t n = pwrite(c->fd, &little, sizeof(little), at);
  (void)n; // it is for counting only
}

static int write_boot(struct checkpoint *c, struct err *err)
{
  char boot[BOOT_TEXT_BYTES];
  checkpoint_boot(boot);
  return write_frame(c, FRAME_BOOT, boot, strlen(boot), err);
}

static int write_mark(struct checkpoint *c, uint64_t length, struct err *err)
{
  uint64_t little = htole64(length);
  if (write_frame(c, FRAME_MARK, &little, sizeof(little), err) != 0)
    return -1;
  return fdatasync(c->fd) == 0 ? 0 : err_errno(err, errno, "fdatasync %s", c->path);
}

int checkpoint_start(struct checkpoint *c, const struct checkpoint_subject *s, struct err *err)
{
  LOCK_FOR_SCOPE(&c->lock);
  static const char head[FILE_HEAD_BYTES] = FILE_MAGIC;
  struct json_object *tree = table_encode(&checkpoint_subject_table, s);
  cleanup_free char *text =
      tree ? str_dup(json_object_to_json_string_ext(tree, JSON_C_TO_STRING_PLAIN)) : NULL;
  json_object_put(tree);
  if (!text)
    return err_set(err, ERR_NO_MEMORY, "no memory for a checkpoint");
  c->found = false;
  c->end = FILE_HEAD_BYTES;
  c->started = c->noted = c->resent = 0;
  memset(c->sum, 0, sizeof(c->sum));
  if (ftruncate(c->fd, 0) != 0 || fchmod(c->fd, 0600) != 0)
    return err_errno(err, errno, "empty the checkpoint %s", c->path);
  if (fd_write_all(c->fd, head, sizeof(head), 0, c->path, err) != 0 ||
      write_frame(c, FRAME_SUBJECT, text, strlen(text), err) != 0 || write_boot(c, err) != 0 ||
      write_mark(c, c->end, err) != 0)
    return -1;
  c->begun = true;
  return fd_sync_folder_of(c->path, err);
}

int checkpoint_resume(struct checkpoint *c, struct err *err)
{
  LOCK_FOR_SCOPE(&c->lock);
  c->noted = c->started;
  if (ftruncate(c->fd, (off_t)c->end) != 0)
    return err_errno(err, errno, "cut the checkpoint %s", c->path);
  if (!c->rebooted)
    return 0;
  // What counted before the mark is durable; the next start of the host must know.
  return write_boot(c, err) != 0 ? -1 : write_mark(c, c->end, err);
}

int checkpoint_append(struct checkpoint *c, struct checkpoint_batch *b,
                      const uint8_t sha[CHECKPOINT_SHA_BYTES], struct err *err)
{
  LOCK_FOR_SCOPE(&c->lock);
  int failed = 0;
  if (sha)
    failed = write_frame(c, FRAME_SHA, sha, CHECKPOINT_SHA_BYTES, err);
  if (!failed)
    failed = write_frame(c, FRAME_UNITS, b->bytes, b->length, err);
  b->length = 0;
  b->data_bytes = 0;
  return failed;
}

void checkpoint_note_started(struct checkpoint *c, uint64_t unit)
{
  LOCK_FOR_SCOPE(&c->lock);
  if (unit <= c->noted)
    return;
  write_number(c, FILE_STARTED_AT, unit);
  c->noted = unit;
}

void checkpoint_note_resent(struct checkpoint *c, uint64_t bytes)
{
  LOCK_FOR_SCOPE(&c->lock);
  write_number(c, FILE_RESENT_AT, bytes);
}

uint64_t checkpoint_length(struct checkpoint *c)
{
  LOCK_FOR_SCOPE(&c->lock);
  return c->end;
}

int checkpoint_mark(struct checkpoint *c, uint64_t length, struct err *err)
{
  LOCK_FOR_SCOPE(&c->lock);
  return write_mark(c, length, err);
}

int checkpoint_note_state(struct checkpoint *c, const char *state, bool durable, struct err *err)
{
  LOCK_FOR_SCOPE(&c->lock);
  if (write_frame(c, FRAME_STATE, state, strlen(state), err) != 0)
    return -1;
  return durable ? write_mark(c, c->end, err) : 0;
}

// ---- batches --------------------------------------------------------------------------------

void checkpoint_batch_release(struct checkpoint_batch *b)
{
  free(b->bytes);
  *b = (struct checkpoint_batch){0};
}

static int batch_add(struct checkpoint_batch *b, const void *bytes, size_t length, struct err *err)
{
  if (b->length + length > FRAME_BYTES_MAX)
    return err_set(err, ERR_LIMIT, "too much in one frame of a checkpoint");
  if (b->length + length > b->capacity) {
    size_t capacity = b->capacity ? 2 * b->capacity : 4096;
    while (capacity < b->length + length)
      capacity *= 2;
    uint8_t *more = realloc(b->bytes, capacity);
    if (!more)
      return err_set(err, ERR_NO_MEMORY, "no memory for a checkpoint");
    b->bytes = more;
    b->capacity = capacity;
  }
  memcpy(b->bytes + b->length, bytes, length);
  b->length += length;
  return 0;
}

int checkpoint_batch_unit(struct checkpoint_batch *b, uint64_t unit, uint64_t data_bytes,
                          uint32_t hash_count, struct err *err)
{
  struct unit_record r = {htole64(unit), htole64(data_bytes), htole32(hash_count)};
  b->data_bytes += data_bytes;
  return batch_add(b, &r, sizeof(r), err);
}

int checkpoint_batch_hash(struct checkpoint_batch *b, uint64_t chunk, const uint8_t *hash,
                          struct err *err)
{
  struct hash_record r = {.chunk = htole64(chunk)};
  memcpy(r.hash, hash, sizeof(r.hash));
  return batch_add(b, &r, sizeof(r), err);
}
