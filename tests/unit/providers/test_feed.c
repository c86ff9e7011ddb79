// SPDX-License-Identifier: Apache-2.0
// Feeds: what an object is, bytes in order through one window, the digest, and an end at any time.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/sha256.h"
#include "base/str.h"
#include "providers/feed.h"
#include "tests/unit/unit.h"

struct memory {
  struct feed_source base;
  const char *bytes;
  uint64_t fail_at; // reads beyond fail; 0 = none do
  uint64_t most;    // in one read
  bool hangs;       // reads wait until they are interrupted
  atomic_bool interrupted;
  bool *gone;
};

static int memory_open(struct feed_source *s, struct err *err)
{
  struct memory *m = (struct memory *)s;
  return m->bytes ? 0 : err_set(err, ERR_NOT_FOUND, "there is no such object");
}

static int memory_read(struct feed_source *s, void *into, size_t length, uint64_t offset,
                       struct err *err)
{
  struct memory *m = (struct memory *)s;
  struct timespec moment = {.tv_nsec = 1000000};
  while (m->hangs && !m->interrupted)
    nanosleep(&moment, NULL);
  if (m->interrupted)
    return err_set(err, ERR_CANCELLED, "interrupted");
  if (m->fail_at && offset + length > m->fail_at)
    return err_set(err, ERR_UNREACHABLE, "the store is gone");
  assert_true(offset + length <= s->size_bytes);
  m->most = length > m->most ? length : m->most;
  memcpy(into, m->bytes + offset, length);
  return 0;
}

static void memory_interrupt(struct feed_source *s)
{
  ((struct memory *)s)->interrupted = true;
}

static void memory_free(struct feed_source *s)
{
  *((struct memory *)s)->gone = true;
}

static void memory_init(struct memory *m, const char *bytes, size_t length, bool *gone)
{
  static const struct feed_source_ops ops = {memory_open, memory_read, memory_interrupt,
                                             memory_free};
  *m = (struct memory){.base = {.ops = &ops, .size_bytes = length}, .bytes = bytes, .gone = gone};
  atomic_init(&m->base.references, 1);
  *gone = false;
}

// ---- what it is --------------------------------------------------------------------------------

static void test_formats(void **state)
{
  (void)state;
  static const struct {
    size_t offset;
    const char *bytes;
    size_t length;
    enum feed_format format;
  } rows[] = {
      {0, "\x1f\x8b", 2, FEED_TAR_GZIP},
      {0, "\xfd\x37zXZ\0", 6, FEED_TAR_XZ},
      {0, "\x28\xb5\x2f\xfd", 4, FEED_TAR_ZSTD},
      {0, "hsqs", 4, FEED_SQUASHFS},
      {257, "ustar\0", 6, FEED_TAR},
      {257, "ustar  ", 7, FEED_TAR},
      {0, "QFI\xfb", 4, FEED_DISK},
      {510, "\x55\xaa", 2, FEED_DISK},
      {0, "KDMV", 4, FEED_DISK},
      {0, "hello", 5, FEED_OTHER},
      {256, "ustar", 5, FEED_OTHER},
  };
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
    char bytes[4096] = {0};
    struct memory m;
    bool gone;
    enum feed_format format = FEED_FORMAT_COUNT;
    struct err err = ERR_INIT;
    memcpy(bytes + rows[i].offset, rows[i].bytes, rows[i].length);
    memory_init(&m, bytes, sizeof(bytes), &gone);
    assert_int_equal(feed_source_look(&m.base, &format, &err), 0);
    assert_int_equal(format, rows[i].format);
  }
}

static void test_short(void **state)
{
  (void)state;
  struct memory m;
  bool gone;
  enum feed_format format = FEED_FORMAT_COUNT;
  struct err err = ERR_INIT;
  memory_init(&m, "", 0, &gone);
  assert_int_equal(feed_source_look(&m.base, &format, &err), 0);
  assert_int_equal(format, FEED_OTHER);
  memory_init(&m, "\x1f", 1, &gone);
  assert_int_equal(feed_source_look(&m.base, &format, &err), 0);
  assert_int_equal(format, FEED_OTHER);
}

static void test_cut_tar(void **state)
{
  (void)state;
  char bytes[4096] = {0};
  struct memory m;
  bool gone;
  enum feed_format format;
  struct err err = ERR_INIT;
  memcpy(bytes + 257, "ustar", 5);
  bytes[4000] = 'x'; // no end of two blocks of zeros
  memory_init(&m, bytes, sizeof(bytes), &gone);
  assert_int_equal(feed_source_look(&m.base, &format, &err), -1);
  assert_int_equal(err.kind, ERR_CORRUPT);
  memory_init(&m, bytes, 3900, &gone); // no block
  assert_int_equal(feed_source_look(&m.base, &format, &err), -1);
  assert_int_equal(err.kind, ERR_CORRUPT);
}

// ---- the thread --------------------------------------------------------------------------------

struct reading {
  size_t step;       // bytes asked for at a time
  uint64_t again_at; // begins anew there, once; 0 = does not
  uint64_t stop_at;  // the rest is left to feed_digest(); 0 = reads all
  char *got;         // what was read, in its place
  char digest[FEED_DIGEST_TEXT];
  bool freed;
};

static int read_all(struct feed *f, void *arg, struct err *err)
{
  struct reading *r = arg;
  enum feed_format format;
  uint64_t size;
  if (feed_open(f, &format, &size, err) != 0)
    return -1;
  for (uint64_t at = 0; at < (r->stop_at ? r->stop_at : size);) {
    size_t n = size - at < r->step ? (size_t)(size - at) : r->step;
    if (feed_read(f, r->got + at, n, at, err) != 0)
      return -1;
    at += n;
    if (r->again_at && at >= r->again_at)
      at = r->again_at = 0;
  }
  return feed_digest(f, r->digest, err);
}

static void forget(void *arg)
{
  ((struct reading *)arg)->freed = true;
}

static const struct feed_work work = {read_all, NULL, forget};

static char *pattern(size_t length)
{
  char *bytes = malloc(length);
  assert_non_null(bytes);
  for (size_t i = 0; i < length; i++)
    bytes[i] = (char)(i * 2654435761u >> 13);
  return bytes;
}

#define LARGE (2 * (size_t)FEED_WINDOW_BYTES + 12345)

static void check_read(struct reading *r)
{
  cleanup_free char *bytes = pattern(LARGE);
  cleanup_free char *got = calloc(1, LARGE);
  unsigned char digest[SHA256_BYTES];
  char text[FEED_DIGEST_TEXT];
  struct memory m;
  bool gone;
  struct feed *f = NULL;
  struct err err = ERR_INIT;
  uint64_t read_bytes = r->stop_at ? r->stop_at : LARGE;
  memory_init(&m, bytes, LARGE, &gone);
  r->got = got;
  assert_int_equal(feed_start(&m.base, &work, r, &f, &err), 0);
  feed_source_unref(&m.base);
  assert_false(gone);
  assert_int_equal(feed_wait(f, 60000, &err), FEED_DONE);
  assert_true(feed_percent(f) <= 99);
  feed_free(f);
  assert_true(gone && r->freed);
  assert_memory_equal(got, bytes, read_bytes);
  assert_true(m.most <= FEED_WINDOW_BYTES);
  sha256_of(bytes, LARGE, digest);
  for (size_t i = 0; i < SHA256_BYTES; i++)
    snprintf(text + 2 * i, 3, "%02x", digest[i]);
  assert_string_equal(r->digest, text);
}

static void test_read(void **state)
{
  (void)state;
  check_read(&(struct reading){.step = 100001});
  check_read(&(struct reading){.step = LARGE});
}

static void test_read_again(void **state)
{
  (void)state;
  check_read(&(struct reading){.step = 65536, .again_at = FEED_WINDOW_BYTES + 70000});
  check_read(&(struct reading){.step = 65536, .again_at = 70000});
}

static void test_digest_of_the_rest(void **state)
{
  (void)state;
  check_read(&(struct reading){.step = 1000, .stop_at = 5000});
}

static void test_fails(void **state)
{
  (void)state;
  cleanup_free char *bytes = pattern(LARGE);
  cleanup_free char *got = calloc(1, LARGE);
  struct reading r = {.step = 65536, .got = got};
  struct memory m;
  bool gone;
  struct feed *f = NULL;
  struct err err = ERR_INIT;
  memory_init(&m, bytes, LARGE, &gone);
  m.fail_at = FEED_WINDOW_BYTES + 1;
  assert_int_equal(feed_start(&m.base, &work, &r, &f, &err), 0);
  assert_int_equal(feed_wait(f, 60000, &err), FEED_FAILED);
  assert_int_equal(err.kind, ERR_UNREACHABLE);
  assert_int_equal(feed_wait(f, 0, &err), FEED_FAILED); // said each time
  feed_free(f);
  assert_string_equal(r.digest, "");
}

static void test_no_object(void **state)
{
  (void)state;
  struct reading r = {.step = 1};
  struct memory m;
  bool gone;
  struct feed *f = NULL;
  struct err err = ERR_INIT;
  memory_init(&m, NULL, 0, &gone);
  assert_int_equal(feed_start(&m.base, &work, &r, &f, &err), 0);
  assert_int_equal(feed_wait(f, 60000, &err), FEED_FAILED);
  assert_int_equal(err.kind, ERR_NOT_FOUND);
  feed_free(f);
}

static void test_ended(void **state)
{
  (void)state;
  char bytes[4096] = {0};
  char got[4096];
  struct reading r = {.step = 1, .got = got};
  struct memory m;
  bool gone;
  struct feed *f = NULL;
  struct err err = ERR_INIT;
  memory_init(&m, bytes, sizeof(bytes), &gone);
  m.hangs = true;
  assert_int_equal(feed_start(&m.base, &work, &r, &f, &err), 0);
  feed_source_unref(&m.base);
  assert_int_equal(feed_wait(f, 20, &err), FEED_RUNS);
  feed_free(f); // would hang here
  assert_true(gone && r.freed);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_formats),    cmocka_unit_test(test_short),
      cmocka_unit_test(test_cut_tar),    cmocka_unit_test(test_read),
      cmocka_unit_test(test_read_again), cmocka_unit_test(test_digest_of_the_rest),
      cmocka_unit_test(test_fails),      cmocka_unit_test(test_no_object),
      cmocka_unit_test(test_ended),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
