// SPDX-License-Identifier: Apache-2.0
#include "providers/feed.h"

#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define HEAD_BYTES 1024
#define TAR_END    1024 // two blocks of zeros end a tar archive

const char *const feed_format_names[] = {"other",   "tar",      "tar.gz",     "tar.xz",
                                         "tar.zst", "squashfs", "disk image", NULL};

struct feed {
  struct feed_source *source;
  struct feed_work work;
  void *arg;
  pthread_t thread;
  pthread_mutex_t mutex; // guards what follows, up to the empty line
  pthread_cond_t changed;
  bool over;
  int result;
  struct err err;

  atomic_bool stopped;
  atomic_uint_least64_t done_bytes, size_bytes;

  char *window; // of the thread alone, as all below
  uint64_t window_offset;
  size_t window_length;
  EVP_MD_CTX *digest;
  uint64_t hashed_bytes;
};

// ---- sources -----------------------------------------------------------------------------------

struct feed_source *feed_source_ref(struct feed_source *s)
{
  atomic_fetch_add(&s->references, 1);
  return s;
}

void feed_source_unref(struct feed_source *s)
{
  if (s && atomic_fetch_sub(&s->references, 1) == 1)
    s->ops->free(s);
}

// ---- what it is --------------------------------------------------------------------------------

struct magic {
  size_t offset, length;
  const char *bytes;
  enum feed_format format;
};

// Of their specifications: RFC 1952, .xz 1.1.0, RFC 8878, POSIX pax ("ustar", NUL or space after
// it), squashfs 4.0; and of disks.
static const struct magic magics[] = {
    {0, 2, "\x1f\x8b", FEED_TAR_GZIP},
    {0, 6, "\xfd\x37\x7a\x58\x5a\x00", FEED_TAR_XZ},
    {0, 4, "\x28\xb5\x2f\xfd", FEED_TAR_ZSTD},
    {0, 4, "hsqs", FEED_SQUASHFS},
    {257, 5, "ustar", FEED_TAR},
    {0, 4, "QFI\xfb", FEED_DISK},
    {0, 4, "KDMV", FEED_DISK},
    {0, 8, "conectix", FEED_DISK},
    {0, 8, "vhdxfile", FEED_DISK},
    {510, 2, "\x55\xaa", FEED_DISK},
};

static enum feed_format format_of(const char *head, size_t length)
{
  for (size_t i = 0; i < ARRAY_SIZE(magics); i++) {
    const struct magic *m = &magics[i];
    if (m->offset + m->length <= length && memcmp(head + m->offset, m->bytes, m->length) == 0)
      return m->format;
  }
  return FEED_OTHER;
}

// Compressed ones tell by themselves that bytes are missing. Of this one tar would not: an archive
// that was cut between two of its files looks whole to it.
static int check_tar_end(struct feed_source *s, struct err *err)
{
  char end[TAR_END] = {0};
  static const char zeros[TAR_END];
  if (s->size_bytes < TAR_END || s->size_bytes % 512 != 0)
    return err_set(err, ERR_CORRUPT, "the tar archive is truncated: it has %llu bytes",
                   (unsigned long long)s->size_bytes);
  if (s->ops->read(s, end, TAR_END, s->size_bytes - TAR_END, err) != 0)
    return -1;
  return memcmp(end, zeros, TAR_END) == 0
             ? 0
             : err_set(err, ERR_CORRUPT, "the tar archive is truncated: its end is missing");
}

int feed_source_look(struct feed_source *s, enum feed_format *ret, struct err *err)
{
  char head[HEAD_BYTES];
  if (s->ops->open(s, err) != 0)
    return -1;
  size_t length = s->size_bytes < HEAD_BYTES ? (size_t)s->size_bytes : HEAD_BYTES;
  if (length > 0 && s->ops->read(s, head, length, 0, err) != 0)
    return -1;
  *ret = format_of(head, length);
  return *ret == FEED_TAR ? check_tar_end(s, err) : 0;
}

// ---- the thread --------------------------------------------------------------------------------

int feed_open(struct feed *f, enum feed_format *ret_format, uint64_t *ret_size, struct err *err)
{
  if (feed_source_look(f->source, ret_format, err) != 0)
    return -1;
  *ret_size = f->source->size_bytes;
  atomic_store(&f->size_bytes, f->source->size_bytes);
  return 0;
}

static int load_window(struct feed *f, uint64_t offset, struct err *err)
{
  uint64_t left = f->source->size_bytes - offset;
  size_t length = left < FEED_WINDOW_BYTES ? (size_t)left : FEED_WINDOW_BYTES;
  if (offset == 0) {
    f->hashed_bytes = 0;
    if (EVP_DigestInit_ex(f->digest, EVP_sha256(), NULL) != 1)
      return err_set(err, ERR_INTERNAL, "SHA-256 is not available");
  }
  if (offset != f->hashed_bytes)
    return err_set(err, ERR_INTERNAL, "an image was not read in order");
  f->window_length = 0;
  if (f->source->ops->read(f->source, f->window, length, offset, err) != 0)
    return -1;
  if (EVP_DigestUpdate(f->digest, f->window, length) != 1)
    return err_set(err, ERR_INTERNAL, "SHA-256 failed");
  f->window_offset = offset;
  f->window_length = length;
  f->hashed_bytes = offset + length;
  return 0;
}

int feed_read(struct feed *f, void *into, size_t length, uint64_t offset, struct err *err)
{
  if (offset > f->source->size_bytes || length > f->source->size_bytes - offset)
    return err_set(err, ERR_INTERNAL, "an image was read beyond its end");
  for (char *to = into; length > 0;) {
    if (feed_stopped(f))
      return err_set(err, ERR_CANCELLED, "the image is not wanted any more");
    if (offset < f->window_offset || offset >= f->window_offset + f->window_length) {
      if (load_window(f, offset, err) != 0)
        return -1;
    }
    size_t at = (size_t)(offset - f->window_offset), there = f->window_length - at;
    size_t n = length < there ? length : there;
    memcpy(to, f->window + at, n);
    to += n;
    offset += n;
    length -= n;
    atomic_store(&f->done_bytes, offset);
  }
  return 0;
}

int feed_digest(struct feed *f, char ret[FEED_DIGEST_TEXT], struct err *err)
{
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  if (f->source->size_bytes == 0 && load_window(f, 0, err) != 0)
    return -1;
  while (f->hashed_bytes < f->source->size_bytes) {
    if (feed_stopped(f))
      return err_set(err, ERR_CANCELLED, "the image is not wanted any more");
    if (load_window(f, f->hashed_bytes, err) != 0)
      return -1;
  }
  if (EVP_DigestFinal_ex(f->digest, bytes, &length) != 1 || length * 2 + 1 != FEED_DIGEST_TEXT)
    return err_set(err, ERR_INTERNAL, "SHA-256 failed");
  for (unsigned i = 0; i < length; i++)
    snprintf(ret + i * 2, 3, "%02x", bytes[i]);
  return 0;
}

static void *feed_main(void *arg)
{
  struct feed *f = arg;
  struct err failed = ERR_INIT;
  int result = f->work.run(f, f->arg, &failed);
  LOCK_FOR_SCOPE(&f->mutex);
  f->result = result;
  f->err = failed;
  f->over = true;
  pthread_cond_broadcast(&f->changed);
  return NULL;
}

// ---- from outside ------------------------------------------------------------------------------

static void release(struct feed *f)
{
  f->work.free(f->arg);
  feed_source_unref(f->source);
  EVP_MD_CTX_free(f->digest);
  free(f->window);
  pthread_cond_destroy(&f->changed);
  pthread_mutex_destroy(&f->mutex);
  free(f);
}

static void cond_init(pthread_cond_t *cond)
{
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(cond, &attributes);
  pthread_condattr_destroy(&attributes);
}

static int start_thread(struct feed *f)
{
  sigset_t all, before; // signals are the loop's business
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int failed = pthread_create(&f->thread, NULL, feed_main, f);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (!failed)
    pthread_setname_np(f->thread, "feed");
  return failed;
}

int feed_start(struct feed_source *s, const struct feed_work *work, void *arg, struct feed **ret,
               struct err *err)
{
  struct feed *f = calloc(1, sizeof(*f));
  if (!f) {
    work->free(arg);
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  }
  f->source = feed_source_ref(s);
  f->work = *work;
  f->arg = arg;
  f->window = malloc(FEED_WINDOW_BYTES);
  f->digest = EVP_MD_CTX_new();
  pthread_mutex_init(&f->mutex, NULL);
  cond_init(&f->changed);
  if (!f->window || !f->digest || start_thread(f) != 0) {
    release(f);
    return err_set(err, ERR_NO_MEMORY, "no memory or no thread to bring an image");
  }
  *ret = f;
  return 0;
}

enum feed_state feed_wait(struct feed *f, int64_t patience_ms, struct err *err)
{
  int64_t until_ms = clock_ms() + patience_ms;
  struct timespec t = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};
  LOCK_FOR_SCOPE(&f->mutex);
  while (!f->over && pthread_cond_timedwait(&f->changed, &f->mutex, &t) != ETIMEDOUT)
    continue;
  if (!f->over)
    return FEED_RUNS;
  if (f->result != 0 && err)
    *err = f->err;
  return f->result == 0 ? FEED_DONE : FEED_FAILED;
}

int64_t feed_percent(struct feed *f)
{
  uint64_t size = atomic_load(&f->size_bytes), done = atomic_load(&f->done_bytes);
  int64_t percent = size ? (int64_t)((double)done * 100 / (double)size) : 0;
  return percent > 99 ? 99 : percent;
}

bool feed_stopped(struct feed *f)
{
  return atomic_load(&f->stopped);
}

void feed_free(struct feed *f)
{
  if (!f)
    return;
  atomic_store(&f->stopped, true);
  if (feed_wait(f, 0, NULL) == FEED_RUNS) {
    f->source->ops->interrupt(f->source);
    if (f->work.stop)
      f->work.stop(f->arg);
  }
  pthread_join(f->thread, NULL);
  release(f);
}
