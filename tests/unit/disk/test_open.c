// SPDX-License-Identifier: Apache-2.0
// Images made by real qemu-img are read with the content that QEMU sees, whatever their format, and
// whether their bytes are local or come from a store.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/command.h"
#include "base/str.h"
#include "tests/unit/disk/help.h"

#define SIZE (48 * MIB)

static char expected[128]; // digest of the content of all images below
static const char *raw;

// Data, zeros inside data, and holes.
static int make_raw(void **state)
{
  (void)state;
  static const uint64_t data[][2] = {
      {0, 5 * MIB}, {20 * MIB + 4096, 9 * MIB}, {47 * MIB, MIB}, {0, 0}};
  struct memory_source *m = memory_source_new(SIZE, data);
  memset(m->bytes + 22 * MIB, 0, 3 * MIB);
  raw = help_path("content.raw");
  help_write_file(raw, m->bytes, SIZE);
  run_ok("fallocate", "--dig-holes", raw);
  help_python_digest(raw, expected);
  source_free(&m->source);
  return 0;
}

// ---- a store in memory ----------------------------------------------------------------------

struct remote {
  struct object_reader reader;
  uint8_t *bytes;
  _Atomic uint64_t read_bytes;
  _Atomic int lanes;
};

static int remote_lane_open(struct object_reader *r, void **ret_lane, struct err *err)
{
  (void)err;
  atomic_fetch_add(&((struct remote *)r)->lanes, 1);
  *ret_lane = r;
  return 0;
}

static void remote_lane_close(struct object_reader *r, void *lane)
{
  assert_ptr_equal(lane, r);
  atomic_fetch_sub(&((struct remote *)r)->lanes, 1);
}

static int remote_read(struct object_reader *r, void *lane, void *into, size_t length,
                       uint64_t offset, struct err *err)
{
  (void)lane, (void)err;
  struct remote *m = (struct remote *)r;
  memcpy(into, m->bytes + offset, length);
  atomic_fetch_add(&m->read_bytes, length);
  return 0;
}

static int remotes; // not freed yet

static void remote_free(struct object_reader *r)
{
  struct remote *m = (struct remote *)r;
  assert_int_equal(m->lanes, 0);
  free(m->bytes);
  free(m);
  remotes--;
}

static const struct object_reader_ops remote_ops = {.name = "remote",
                                                    .lane_open = remote_lane_open,
                                                    .lane_close = remote_lane_close,
                                                    .read = remote_read,
                                                    .free = remote_free};

static struct remote *remote_new(const char *path)
{
  struct remote *m = calloc(1, sizeof(*m));
  size_t length;
  m->bytes = help_read_file(path, &length);
  m->reader = (struct object_reader){.ops = &remote_ops, .size_bytes = length};
  remotes++;
  return m;
}

// A store that does not answer: qemu-img waits for our server, our server for the store.
static pthread_mutex_t hang_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t hang_changed = PTHREAD_COND_INITIALIZER;
static bool hang, interrupted, hanging;

static void wait_while_hanging(void)
{
  pthread_mutex_lock(&hang_lock);
  while (hang && !interrupted) {
    hanging = true;
    pthread_cond_broadcast(&hang_changed);
    pthread_cond_wait(&hang_changed, &hang_lock);
  }
  pthread_mutex_unlock(&hang_lock);
}

static int hanging_read(struct object_reader *r, void *lane, void *into, size_t length,
                        uint64_t offset, struct err *err)
{
  wait_while_hanging();
  return remote_read(r, lane, into, length, offset, err);
}

static void hanging_interrupt(struct object_reader *r)
{
  (void)r;
  pthread_mutex_lock(&hang_lock);
  interrupted = true;
  pthread_cond_broadcast(&hang_changed);
  pthread_mutex_unlock(&hang_lock);
}

static const struct object_reader_ops hanging_ops = {.name = "hanging",
                                                     .lane_open = remote_lane_open,
                                                     .lane_close = remote_lane_close,
                                                     .read = hanging_read,
                                                     .interrupt = hanging_interrupt,
                                                     .free = remote_free};

// ---- checks ---------------------------------------------------------------------------------

static void check_source(struct source *s, uint64_t size, const char *digest)
{
  struct tally tally = {0};
  struct copy_result r;
  struct err err = ERR_INIT;
  assert_int_equal(s->size_bytes, size);
  if (digest_source(s, 3, &tally, &r, &err) != 0)
    fail_msg("%s", err.message);
  assert_string_equal(r.content_digest, digest);
  copy_result_release(&r);
  source_free(s);
}

static void check_local(const char *path, int format, struct list *backing)
{
  struct err err = ERR_INIT;
  struct reach reach = {.kind = REACH_FILE, .format = format, .path = (char *)(uintptr_t)path};
  if (backing)
    reach.backing = *backing;
  struct source *s;
  if (source_open_reach(&reach, &s, &err) != 0)
    fail_msg("%s", err.message);
  check_source(s, SIZE, expected);
}

static void check_remote(const char *path, int format)
{
  struct err err = ERR_INIT;
  struct source *s;
  if (source_open_image(&remote_new(path)->reader, format, NULL, &s, &err) != 0)
    fail_msg("%s", err.message);
  check_source(s, SIZE, expected);
  assert_int_equal(remotes, 0);
}

static void all_ways(const char *path, int format)
{
  check_local(path, format, NULL);
  check_local(path, DISK_FORMAT_ANY, NULL);
  check_remote(path, format);
}

static const char *convert(const char *format, const char *options)
{
  const char *path = help_path(format);
  if (options)
    run_ok("qemu-img", "convert", "-f", "raw", "-O", format, "-o", options, raw, path);
  else
    run_ok("qemu-img", "convert", "-f", "raw", "-O", format, raw, path);
  return path;
}

// ---- tests ----------------------------------------------------------------------------------

static void plain_images(void **state)
{
  (void)state;
  all_ways(raw, DISK_FORMAT_RAW);
  all_ways(convert("qcow2", NULL), DISK_FORMAT_QCOW2);
  all_ways(convert("qcow2", "compat=0.10"), DISK_FORMAT_QCOW2);
  all_ways(convert("qcow2", "cluster_size=4096"), DISK_FORMAT_QCOW2);
  all_ways(convert("qcow2", "extended_l2=on,cluster_size=128k"), DISK_FORMAT_QCOW2);
  all_ways(convert("vmdk", NULL), DISK_FORMAT_VMDK);
  all_ways(convert("vdi", NULL), DISK_FORMAT_VDI);
}

static void images_that_only_qemu_can_read(void **state)
{
  (void)state;
  const char *zlib = help_path("zlib.qcow2");
  run_ok("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, zlib);
  all_ways(zlib, DISK_FORMAT_QCOW2);
  const char *zstd = help_path("zstd.qcow2");
  run_ok("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", "compression_type=zstd",
         raw, zstd);
  all_ways(zstd, DISK_FORMAT_QCOW2);
  all_ways(convert("vmdk", "subformat=streamOptimized"), DISK_FORMAT_VMDK);
  all_ways(convert("vhdx", NULL), DISK_FORMAT_VHDX);
}

// Our own forward layout, read back; and only its data is read from the store.
static void our_own_layout_from_a_store(void **state)
{
  (void)state;
  const char *path = help_path("ours.qcow2");
  struct object_writer *w;
  struct source *s;
  struct err err = ERR_INIT;
  struct tally tally = {0};
  struct copy_result r;
  struct reach reach = {
      .kind = REACH_FILE, .format = DISK_FORMAT_RAW, .path = (char *)(uintptr_t)raw};
  assert_int_equal(source_open_reach(&reach, &s, &err), 0);
  assert_int_equal(object_writer_file(path, "o", true, &w, &err), 0);
  struct copy_job job = {.source = s, .object = w, .options = {.format = DISK_FORMAT_QCOW2}};
  assert_int_equal(copy_run(&job, &tally, &r, &err), 0);
  assert_string_equal(r.content_digest, expected);
  copy_result_release(&r);
  source_free(s);
  object_writer_free(w);
  struct remote *m = remote_new(path);
  assert_int_equal(source_open_image(&m->reader, DISK_FORMAT_QCOW2, NULL, &s, &err), 0);
  tally = (struct tally){0};
  assert_int_equal(digest_verify(s, expected, 2, &tally, &err), 0);
  assert_true(m->read_bytes < 20 * MIB);
  source_free(s);
}

static void backing_chains(void **state)
{
  (void)state;
  const char *base = convert("qcow2", NULL);
  const char *top = help_path("top.qcow2");
  run_ok("qemu-img", "create", "-q", "-f", "qcow2", "-b", "qcow2", "-F", "qcow2", top);
  run_ok("qemu-io", "-f", "qcow2", "-c", "write -P 7 30M 128k", top);
  const char *flat = help_path("flat.raw");
  run_ok("qemu-img", "convert", "-f", "qcow2", "-O", "raw", top, flat);
  char before[128];
  memcpy(before, expected, sizeof(before));
  help_python_digest(flat, expected);
  struct reach_backing below = {.path = (char *)(uintptr_t)base, .format = DISK_FORMAT_QCOW2};
  struct list list = {.items = &below, .count = 1};
  check_local(top, DISK_FORMAT_QCOW2, &list);
  memcpy(expected, before, sizeof(before));
  // A file that is allowed but not led to is left alone.
  below.path = (char *)(uintptr_t)top;
  check_local(base, DISK_FORMAT_QCOW2, &list);
}

static void data_at_the_unpadded_end_of_a_file(void **state)
{
  (void)state;
  const char *path = help_path("short.qcow2");
  run_ok("qemu-img", "create", "-q", "-f", "qcow2", path, "10M");
  run_ok("qemu-io", "-f", "qcow2", "-c", "write -P 5 3M 512", path);
  const char *flat = help_path("short.raw");
  run_ok("qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, flat);
  char digest[128];
  help_python_digest(flat, digest);
  struct reach reach = {.kind = REACH_FILE, .path = (char *)(uintptr_t)path};
  struct source *s;
  struct err err = ERR_INIT;
  assert_int_equal(source_open_reach(&reach, &s, &err), 0);
  check_source(s, 10 * MIB, digest);
}

// The image of a running machine: QEMU holds its lock.
static void an_image_in_use_is_busy(void **state)
{
  (void)state;
  const char *path = convert("qcow2", NULL);
  const char *const argv[] = {"qemu-io", "-f", "qcow2", path, NULL};
  struct command_start c = {.argv = argv, .want_input = true, .share_errors = true};
  struct command_child child;
  struct err err = ERR_INIT;
  assert_int_equal(command_start(&c, &child, &err), 0);
  char prompt[16];
  assert_true(read(child.output, prompt, sizeof(prompt)) > 0); // it is open
  struct reach reach = {
      .kind = REACH_FILE, .format = DISK_FORMAT_QCOW2, .path = (char *)(uintptr_t)path};
  struct source *s;
  assert_int_equal(source_open_reach(&reach, &s, &err), -1);
  assert_int_equal(err.kind, ERR_BUSY);
  assert_non_null(strstr(err.message, "in use"));
  struct target *t;
  struct object_writer *w;
  reach.format = DISK_FORMAT_RAW;
  err = (struct err)ERR_INIT;
  assert_int_equal(target_open_reach(&reach, "o", &t, &w, &err), -1);
  assert_int_equal(err.kind, ERR_BUSY);
  struct command_result r;
  command_reap(&child, true, &r);
  check_local(path, DISK_FORMAT_QCOW2, NULL);
}

static void *map_main(void *arg)
{
  struct extents e;
  static struct err err;
  int failed = source_extents(arg, &e, &err);
  if (!failed)
    extents_release(&e);
  return failed ? &err : NULL;
}

static void a_map_that_hangs_can_be_interrupted(void **state)
{
  (void)state;
  struct remote *m = remote_new(convert("qcow2", NULL));
  m->reader.ops = &hanging_ops;
  struct source *s;
  struct err err = ERR_INIT;
  assert_int_equal(source_open_image(&m->reader, DISK_FORMAT_QCOW2, NULL, &s, &err), 0);
  pthread_mutex_lock(&hang_lock);
  hang = true;
  pthread_mutex_unlock(&hang_lock);
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, map_main, s), 0);
  pthread_mutex_lock(&hang_lock);
  while (!hanging)
    pthread_cond_wait(&hang_changed, &hang_lock);
  pthread_mutex_unlock(&hang_lock);
  int64_t start_ms = clock_ms();
  source_interrupt(s);
  void *result;
  pthread_join(thread, &result);
  assert_non_null(result);
  assert_int_equal(((struct err *)result)->kind, ERR_CANCELLED);
  assert_true(clock_ms() - start_ms < 2000);
  source_free(s);
}

static void things_that_are_not_images(void **state)
{
  (void)state;
  static const struct {
    const char *path;
    enum err_kind kind;
  } rows[] = {{"/nonexistent/disk", ERR_NOT_FOUND},
              {"/dev/null", ERR_INVALID},
              {"/tmp", ERR_INVALID},
              {"relative.img", ERR_INVALID}};
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    struct reach reach = {.kind = REACH_FILE, .path = (char *)(uintptr_t)rows[i].path};
    struct source *s;
    struct err err = ERR_INIT;
    assert_int_equal(source_open_reach(&reach, &s, &err), -1);
    assert_int_equal(err.kind, rows[i].kind);
    assert_non_null(strstr(err.message, rows[i].path));
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(plain_images),
      cmocka_unit_test(images_that_only_qemu_can_read),
      cmocka_unit_test(our_own_layout_from_a_store),
      cmocka_unit_test(backing_chains),
      cmocka_unit_test(data_at_the_unpadded_end_of_a_file),
      cmocka_unit_test(an_image_in_use_is_busy),
      cmocka_unit_test(a_map_that_hangs_can_be_interrupted),
      cmocka_unit_test(things_that_are_not_images),
  };
  return cmocka_run_group_tests_name("disk/open", tests, make_raw, help_cleanup);
}
