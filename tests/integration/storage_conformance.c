// SPDX-License-Identifier: Apache-2.0
// The same checks for every kind of store, against a real server. run-storage starts the servers
// and says what to expect:
//
//   storage_conformance STORE.json suite               everything a store must do
//   storage_conformance STORE.json refuse KIND TEXT    a probe fails with that kind and sentence
//   storage_conformance STORE.json full MIB KIND       an object of MIB does not fit
//   storage_conformance STORE.json noranges            reading by ranges is refused clearly
//   storage_conformance STORE.json leave               leaves unfinished uploads, as a crash would
//   storage_conformance STORE.json clear               ... and removes them
//   storage_conformance STORE.json restart COMMAND...  the server restarts between two parts: what
//   it
//                                                      may have lost must not be committed
//
// STORE.json: {"store":{...},"secrets":{"accessKeyId":..},"allowed":["CIDR"],"atomic":true}. atomic
// false: the store has no way to hide an object before commit. Everything happens below the folder
// "conformance", which must be empty and is empty in the end.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/command.h"
#include "base/str.h"
#include "net/http.h"
#include "storage/storage.h"

#define FOLDER      "conformance"
#define OWNER       "installation/ns/name \"x\"/uid-1"
#define IMAGE_BYTES ((20u << 20) + 12345)
#define LIST_MAX    1000
#define LANES       3

static struct settings {
  struct storage_config config;
  struct address_filter *allowed;
  bool atomic;
} settings;

static struct storage *store;
static struct storage_lane *lane;

// ---- setting up ----

static char *read_file(const char *path)
{
  cleanup_fclose FILE *f = fopen(path, "re");
  struct buf b CLEANUP(buf_release) = BUF_INIT(1u << 20);
  char chunk[4096];
  for (size_t n; f && (n = fread(chunk, 1, sizeof(chunk), f)) > 0;)
    buf_add(&b, chunk, n);
  return f ? buf_take(&b) : NULL;
}

static void read_secrets(struct json_object *json)
{
  static const struct {
    const char *name;
    struct secret *into;
  } rows[] = {
      {"password", &settings.config.password},
      {"token", &settings.config.token},
      {"accessKeyId", &settings.config.access_key_id},
      {"secretAccessKey", &settings.config.secret_access_key},
      {"sessionToken", &settings.config.session_token},
  };
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
    struct json_object *value = NULL;
    if (json_object_object_get_ex(json, rows[i].name, &value))
      secret_set_string(rows[i].into, json_object_get_string(value));
  }
}

static int read_settings(const char *path, struct err *err)
{
  char *text cleanup_free = read_file(path);
  struct json_object *json = text ? json_tokener_parse(text) : NULL, *part = NULL;
  if (!json || !json_object_object_get_ex(json, "store", &part))
    return err_set(err, ERR_INVALID, "%s is not a description of a store", path);
  int result = table_decode(&storage_config_table, part, "store", &settings.config, err);
  if (result == 0 && json_object_object_get_ex(json, "secrets", &part))
    read_secrets(part);
  settings.atomic =
      !json_object_object_get_ex(json, "atomic", &part) || json_object_get_boolean(part);
  if (result == 0 && json_object_object_get_ex(json, "allowed", &part)) {
    const char *cidr = json_object_get_string(json_object_array_get_idx(part, 0));
    settings.allowed = address_filter_new(&cidr, 1, err);
    result = settings.allowed ? 0 : -1;
  }
  json_object_put(json);
  return result;
}

static int open_store(struct err *err)
{
  if (storage_open(&settings.config, settings.allowed, &store, err) < 0)
    return -1;
  return storage_lane_new(store, &lane, err);
}

static void close_store(void)
{
  storage_lane_free(lane);
  storage_free(store);
  storage_config_release(&settings.config);
  address_filter_free(settings.allowed);
}

// ---- asserting ----

#define OK(call)                                                                                   \
  do {                                                                                             \
    struct err e_ = ERR_INIT, *err = &e_;                                                          \
    if ((call) != 0)                                                                               \
      fail_msg("%s: %s: %s", #call, err_reason(e_.kind), e_.message);                              \
  } while (0)

#define FAILS(expected, call)                                                                      \
  do {                                                                                             \
    struct err e_ = ERR_INIT, *err = &e_;                                                          \
    if ((call) == 0)                                                                               \
      fail_msg("%s succeeded", #call);                                                             \
    if (e_.kind != (expected))                                                                     \
      fail_msg("%s: %s: %s", #call, err_reason(e_.kind), e_.message);                              \
  } while (0)

static void expect_listed(size_t count)
{
  struct strings names CLEANUP(strings_release) = {0};
  struct err err = ERR_INIT;
  int result = storage_list(lane, FOLDER, LIST_MAX, &names, &err);
  if (result < 0 && err.kind == ERR_UNSUPPORTED)
    return; // a store without lists
  if (result < 0)
    fail_msg("list: %s: %s", err_reason(err.kind), err.message);
  if (names.count != count)
    fail_msg("%zu objects are listed instead of %zu (first: %s)", names.count, count,
             names.count ? names.items[0] : "none");
}

static void expect_content(const char *key, const char *text)
{
  char *data = NULL;
  size_t length = 0;
  OK(storage_get(lane, key, 1 << 20, &data, &length, err));
  assert_int_equal(length, strlen(text));
  assert_string_equal(data, text);
  free(data);
}

static void put(const char *key, const char *text)
{
  OK(storage_put(lane, key, text, strlen(text), OWNER, false, err));
}

static void drop(const char *key)
{
  OK(storage_remove(lane, key, err));
}

// ---- small objects ----

static void test_probe(void **state)
{
  (void)state;
  OK(storage_probe(lane, false, NULL, err));
  OK(storage_probe(lane, true, OWNER, err));
  OK(storage_probe(lane, true, OWNER, err));
  expect_listed(0);
}

static void test_names(void **state)
{
  (void)state;
  static const char *const names[] = {
      FOLDER "/plain.json",      FOLDER "/with blank",         FOLDER "/quote\"apostrophe'",
      FOLDER "/plus+percent%25", FOLDER "/a&b=c?d#e;f",        FOLDER "/snow\xe2\x98\x83man",
      FOLDER "/<tag>&amp;",      FOLDER "/deep/er/and/deeper", FOLDER "/~tilde!*'()",
      FOLDER "/back\\slash",
  };
  for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
    struct storage_stat stat;
    put(names[i], names[i]);
    OK(storage_stat(lane, names[i], &stat, err));
    assert_int_equal(stat.size_bytes, strlen(names[i]));
    assert_true(stat.identity[0] != '\0');
    if (storage_keeps_owner(store))
      assert_string_equal(stat.owner, OWNER);
    int64_t age_ms = clock_wall_ms() - stat.modified_wall_ms;
    assert_true(stat.modified_wall_ms == 0 || (age_ms > -60000 && age_ms < 600000));
  }
  struct strings listed CLEANUP(strings_release) = {0};
  struct err failure = ERR_INIT;
  if (storage_list(lane, FOLDER, LIST_MAX, &listed, &failure) == 0) {
    assert_int_equal(listed.count, ARRAY_SIZE(names));
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
      assert_true(strings_has(&listed, names[i]));
    for (size_t i = 1; i < listed.count; i++)
      assert_true(strcmp(listed.items[i - 1], listed.items[i]) < 0);
  } else {
    assert_int_equal(failure.kind, ERR_UNSUPPORTED);
  }
  for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
    expect_content(names[i], names[i]);
    drop(names[i]);
  }
  expect_listed(0);
}

static void test_empty_object(void **state)
{
  (void)state;
  put(FOLDER "/empty", "");
  expect_content(FOLDER "/empty", "");
  drop(FOLDER "/empty");
}

static void test_list_limits(void **state)
{
  (void)state;
  struct strings names = {0};
  struct err failure = ERR_INIT;
  if (storage_list(lane, FOLDER "/none/at/all", LIST_MAX, &names, &failure) < 0) {
    assert_int_equal(failure.kind, ERR_UNSUPPORTED);
    return;
  }
  assert_int_equal(names.count, 0);
  put(FOLDER "/a/1", "1");
  put(FOLDER "/a/2", "2");
  put(FOLDER "/ab", "3");
  FAILS(ERR_LIMIT, storage_list(lane, FOLDER, 2, &names, err));
  OK(storage_list(lane, FOLDER "/a", 2, &names, err)); // not "ab"
  assert_int_equal(names.count, 2);
  strings_release(&names);
  drop(FOLDER "/a/1"), drop(FOLDER "/a/2"), drop(FOLDER "/ab");
}

static void test_missing_objects(void **state)
{
  (void)state;
  struct storage_stat stat;
  struct object_reader *reader;
  char *data;
  size_t length;
  FAILS(ERR_NOT_FOUND, storage_stat(lane, FOLDER "/missing", &stat, err));
  FAILS(ERR_NOT_FOUND, storage_stat(lane, FOLDER "/missing/below", &stat, err));
  FAILS(ERR_NOT_FOUND, storage_get(lane, FOLDER "/missing", 10, &data, &length, err));
  FAILS(ERR_NOT_FOUND, storage_reader(store, FOLDER "/missing", &reader, err));
  drop(FOLDER "/missing");
  OK(storage_remove_partial(lane, FOLDER "/missing", OWNER, err));
}

static void test_only_new_and_overwrite(void **state)
{
  (void)state;
  OK(storage_put(lane, FOLDER "/new", "first", 5, OWNER, true, err));
  FAILS(ERR_EXISTS, storage_put(lane, FOLDER "/new", "second", 6, OWNER, true, err));
  expect_content(FOLDER "/new", "first");
  put(FOLDER "/new", "third, and longer");
  expect_content(FOLDER "/new", "third, and longer");
  char *data;
  size_t length;
  FAILS(ERR_LIMIT, storage_get(lane, FOLDER "/new", 4, &data, &length, err));
  drop(FOLDER "/new");
  expect_listed(0);
}

static void test_free_bytes(void **state)
{
  (void)state;
  int64_t bytes = -2;
  OK(storage_free_bytes(lane, &bytes, err));
  assert_true(bytes == -1 || bytes > 0);
}

static void test_keys_and_read_only(void **state)
{
  (void)state;
  struct storage_stat stat;
  FAILS(ERR_INVALID, storage_stat(lane, FOLDER "/../x", &stat, err));
  FAILS(ERR_INVALID, storage_put(lane, "/absolute", "x", 1, OWNER, false, err));
  struct storage *fixed;
  struct storage_lane *other;
  struct object_writer *w;
  settings.config.read_only = true;
  OK(storage_open(&settings.config, settings.allowed, &fixed, err));
  settings.config.read_only = false;
  OK(storage_lane_new(fixed, &other, err));
  OK(storage_probe(other, false, NULL, err));
  FAILS(ERR_DENIED, storage_probe(other, true, OWNER, err));
  FAILS(ERR_DENIED, storage_put(other, FOLDER "/x", "x", 1, OWNER, false, err));
  FAILS(ERR_DENIED, storage_remove(other, FOLDER "/x", err));
  FAILS(ERR_DENIED, storage_remove_partial(other, FOLDER "/x", OWNER, err));
  FAILS(ERR_DENIED, storage_writer(fixed, FOLDER "/x", OWNER, true, NULL, &w, err));
  storage_lane_free(other);
  storage_free(fixed);
}

// ---- images ----

static unsigned char pattern(uint64_t at)
{
  uint64_t x = at / 8 * 0x9e3779b97f4a7c15u;
  return (unsigned char)(x >> (at % 8 * 8));
}

static void fill(unsigned char *into, size_t length, uint64_t offset)
{
  for (size_t i = 0; i < length; i++)
    into[i] = pattern(offset + i);
}

struct part {
  uint32_t number;
  uint64_t offset, length;
};

// Reads the pattern by ranges, as a body that is not in memory.
static int read_body(void *arg, uint64_t offset, void *into, size_t length, struct err *err)
{
  (void)err;
  fill(into, length, ((struct part *)arg)->offset + offset);
  return 0;
}

static int write_part(struct object_writer *w, void *part_lane, struct part p, bool in_memory,
                      struct err *err)
{
  struct object_body body = {.length = p.length, .read = read_body, .arg = &p};
  unsigned char *bytes cleanup_free = in_memory ? malloc((size_t)p.length + 1) : NULL;
  if (bytes) {
    fill(bytes, (size_t)p.length, p.offset);
    body = object_body_bytes(bytes, (size_t)p.length);
  }
  return object_write_part(w, part_lane, p.number, p.offset, &body, err);
}

// The parts of an image of `size` bytes as the writer wants them.
static size_t lay_out(const struct object_writer *w, uint64_t size, struct part *parts)
{
  uint64_t step = w->parts_max == 1 ? size : 6u << 20;
  assert_true(step >= w->part_min_bytes || step == size);
  size_t count = 0;
  for (uint64_t at = 0; at < size || count == 0; at += step) {
    uint64_t length = size - at < step ? size - at : step;
    parts[count] = (struct part){(uint32_t)count, at, length};
    count++;
    if (size == 0)
      break;
  }
  return count;
}

struct lane_job {
  struct object_writer *writer;
  struct object_reader *reader;
  struct part *parts;
  size_t first, count; // every LANES-th from `first`, backwards where order does not matter
  struct err err;
  int result;
};

static void *write_lane(void *arg)
{
  struct lane_job *j = arg;
  void *part_lane = NULL;
  j->result = object_write_lane_open(j->writer, &part_lane, &j->err);
  if (j->result < 0)
    return NULL;
  for (size_t i = j->count; i-- > 0 && j->result == 0;)
    if (i % LANES == j->first)
      j->result = write_part(j->writer, part_lane, j->parts[i], i % 2 == 0, &j->err);
  object_write_lane_close(j->writer, part_lane);
  return NULL;
}

static void run_lanes(struct lane_job *model, void *(*fn)(void *))
{
  struct lane_job jobs[LANES];
  pthread_t threads[LANES];
  for (size_t i = 0; i < LANES; i++) {
    jobs[i] = *model;
    jobs[i].first = i;
    assert_int_equal(pthread_create(&threads[i], NULL, fn, &jobs[i]), 0);
  }
  for (size_t i = 0; i < LANES; i++)
    pthread_join(threads[i], NULL);
  for (size_t i = 0; i < LANES; i++)
    if (jobs[i].result < 0)
      fail_msg("lane %zu: %s: %s", i, err_reason(jobs[i].err.kind), jobs[i].err.message);
}

static void write_in_order(struct object_writer *w, const struct part *parts, size_t count)
{
  void *part_lane = NULL;
  OK(object_write_lane_open(w, &part_lane, err));
  for (size_t i = 0; i < count; i++)
    OK(write_part(w, part_lane, parts[i], i % 2 == 1, err));
  object_write_lane_close(w, part_lane);
}

static void write_all(struct object_writer *w, uint64_t size)
{
  struct part parts[64];
  OK(object_begin(w, size, err));
  size_t count = lay_out(w, size, parts);
  if (w->ordered || count == 1) {
    write_in_order(w, parts, count);
  } else {
    struct lane_job model = {.writer = w, .parts = parts, .count = count};
    run_lanes(&model, write_lane);
  }
}

static void *read_lane(void *arg)
{
  struct lane_job *j = arg;
  static const size_t step = 3000001; // no round number
  unsigned char *bytes cleanup_free = malloc(step), *wanted cleanup_free = malloc(step);
  void *part_lane = NULL;
  j->result = object_lane_open(j->reader, &part_lane, &j->err);
  if (j->result < 0)
    return NULL;
  for (uint64_t at = j->first * step; at < j->reader->size_bytes && j->result == 0;
       at += LANES * step) {
    uint64_t left = j->reader->size_bytes - at;
    size_t n = left < step ? (size_t)left : step;
    j->result = object_read(j->reader, part_lane, bytes, n, at, &j->err);
    fill(wanted, n, at);
    if (j->result == 0 && memcmp(bytes, wanted, n) != 0)
      j->result = err_set(&j->err, ERR_MISMATCH, "wrong bytes between %" PRIu64 " and %" PRIu64, at,
                          at + n);
  }
  object_lane_close(j->reader, part_lane);
  return NULL;
}

static void expect_image(const char *key, uint64_t size)
{
  struct object_reader *r;
  OK(storage_reader(store, key, &r, err));
  assert_int_equal(r->size_bytes, size);
  struct lane_job model = {.reader = r};
  run_lanes(&model, read_lane);
  object_reader_free(r);
}

static struct object_writer *writer(const char *key, bool overwrite, const char *upload_state)
{
  struct object_writer *w = NULL;
  OK(storage_writer(store, key, OWNER, overwrite, upload_state, &w, err));
  return w;
}

static void expect_invisible(const char *key)
{
  struct storage_stat stat;
  if (!settings.atomic)
    return;
  FAILS(ERR_NOT_FOUND, storage_stat(lane, key, &stat, err));
  expect_listed(0);
}

static void test_image(void **state)
{
  (void)state;
  static const uint64_t sizes[] = {0, 1, 5u << 20, (5u << 20) + 1, IMAGE_BYTES};
  for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
    struct object_writer *w = writer(FOLDER "/image", false, NULL);
    struct storage_stat stat;
    write_all(w, sizes[i]);
    expect_invisible(FOLDER "/image");
    OK(object_commit(w, err));
    if (settings.config.type != STORAGE_FILE)
      OK(w->ops->commit(w, err)); // the answer to the first one was lost
    object_writer_free(w);
    OK(storage_stat(lane, FOLDER "/image", &stat, err));
    assert_int_equal(stat.size_bytes, sizes[i]);
    if (storage_keeps_owner(store))
      assert_string_equal(stat.owner, OWNER);
    expect_listed(1);
    if (sizes[i])
      expect_image(FOLDER "/image", sizes[i]);
    drop(FOLDER "/image");
    expect_listed(0);
  }
}

static void test_holes(void **state)
{
  (void)state;
  struct object_writer *w = writer(FOLDER "/sparse", true, NULL);
  if (w->holes) {
    struct part p = {.offset = 9u << 20, .length = 1000};
    void *part_lane = NULL;
    OK(object_begin(w, 30u << 20, err));
    OK(object_write_lane_open(w, &part_lane, err));
    OK(write_part(w, part_lane, p, true, err));
    object_write_lane_close(w, part_lane);
    OK(object_commit(w, err));
    struct object_reader *r;
    unsigned char bytes[3000];
    OK(storage_reader(store, FOLDER "/sparse", &r, err));
    assert_int_equal(r->size_bytes, 30u << 20);
    OK(object_lane_open(r, &part_lane, err));
    OK(object_read(r, part_lane, bytes, sizeof(bytes), p.offset - 1000, err));
    for (size_t i = 0; i < sizeof(bytes); i++)
      assert_int_equal(bytes[i], i < 1000 || i >= 2000 ? 0 : pattern(p.offset + i - 1000));
    object_lane_close(r, part_lane);
    object_reader_free(r);
    drop(FOLDER "/sparse");
  }
  object_writer_free(w);
}

static void test_abort(void **state)
{
  (void)state;
  struct part parts[64];
  struct object_writer *w = writer(FOLDER "/aborted", true, NULL);
  OK(object_begin(w, IMAGE_BYTES, err));
  size_t count = lay_out(w, IMAGE_BYTES, parts);
  write_in_order(w, parts, count > 2 ? 2 : count);
  expect_invisible(FOLDER "/aborted");
  OK(object_abort(w, err));
  object_writer_free(w);
  expect_listed(0);
  w = writer(FOLDER "/aborted", true, NULL); // before begin there is nothing to undo
  object_writer_free(w);
}

// A writer that is interrupted: its lanes end, and it can still be aborted.
static void test_interrupt_of_a_writer(void **state)
{
  (void)state;
  struct part parts[64];
  void *part_lane = NULL;
  struct object_writer *w = writer(FOLDER "/interrupted", true, NULL);
  OK(object_begin(w, IMAGE_BYTES, err));
  lay_out(w, IMAGE_BYTES, parts);
  OK(object_write_lane_open(w, &part_lane, err));
  object_writer_interrupt(w);
  if (settings.config.type != STORAGE_FILE) // calls on local files do not hang
    FAILS(ERR_CANCELLED, write_part(w, part_lane, parts[0], true, err));
  object_write_lane_close(w, part_lane);
  OK(object_abort(w, err));
  object_writer_free(w);
  expect_listed(0);
}

// The process died: neither commit nor abort. The next one cleans up by key and owner.
static void leave_unfinished(const char *key)
{
  struct part parts[64];
  struct object_writer *w = writer(key, true, NULL);
  OK(object_begin(w, IMAGE_BYTES, err));
  size_t count = lay_out(w, IMAGE_BYTES, parts);
  write_in_order(w, parts, count > 2 ? 2 : count);
  object_writer_free(w);
}

static void test_remove_partial(void **state)
{
  (void)state;
  leave_unfinished(FOLDER "/killed");
  expect_invisible(FOLDER "/killed");
  OK(storage_remove_partial(lane, FOLDER "/killed", OWNER, err));
  OK(storage_remove_partial(lane, FOLDER "/killed", OWNER, err));
  if (!settings.atomic)
    drop(FOLDER "/killed");
  expect_listed(0);
}

static void test_writer_of_a_taken_name(void **state)
{
  (void)state;
  struct err failure = ERR_INIT;
  put(FOLDER "/taken", "mine");
  struct object_writer *w = writer(FOLDER "/taken", false, NULL);
  int result = object_begin(w, 10, &failure);
  if (result == 0) {
    struct part p = {.length = 10};
    write_in_order(w, &p, 1);
    result = object_commit(w, &failure);
  }
  assert_int_equal(result, -1);
  assert_int_equal(failure.kind, ERR_EXISTS);
  if (w->begun)
    OK(object_abort(w, err));
  object_writer_free(w);
  expect_content(FOLDER "/taken", "mine");

  w = writer(FOLDER "/taken", true, NULL);
  write_all(w, IMAGE_BYTES);
  OK(object_commit(w, err));
  object_writer_free(w);
  expect_image(FOLDER "/taken", IMAGE_BYTES);
  drop(FOLDER "/taken");
  expect_listed(0);
}

static void test_name_taken_meanwhile(void **state)
{
  (void)state;
  if (!settings.atomic)
    skip();
  static const uint64_t sizes[] = {1000, IMAGE_BYTES};
  for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
    struct object_writer *w = writer(FOLDER "/race", false, NULL);
    write_all(w, sizes[i]);
    OK(storage_put(lane, FOLDER "/race", "the other one was faster", 24, "another", false, err));
    FAILS(ERR_EXISTS, object_commit(w, err));
    OK(object_abort(w, err));
    object_writer_free(w);
    expect_content(FOLDER "/race", "the other one was faster");
    drop(FOLDER "/race");
    expect_listed(0);
  }
}

static void test_resume(void **state)
{
  (void)state;
  struct part parts[64];
  struct object_writer *w = writer(FOLDER "/resumed", false, NULL);
  OK(object_begin(w, IMAGE_BYTES, err));
  char *token cleanup_free = str_dup(storage_writer_state(w));
  if (!token) {
    OK(object_abort(w, err));
    object_writer_free(w);
    skip();
  }
  size_t count = lay_out(w, IMAGE_BYTES, parts);
  write_in_order(w, parts, 2);
  object_writer_free(w);

  w = writer(FOLDER "/resumed", false, token);
  OK(object_begin(w, IMAGE_BYTES, err));
  assert_string_equal(storage_writer_state(w), token);
  write_in_order(w, parts + 2, count - 2);
  OK(object_commit(w, err));
  object_writer_free(w);
  expect_image(FOLDER "/resumed", IMAGE_BYTES);
  drop(FOLDER "/resumed");

  w = writer(FOLDER "/resumed", false, token); // that upload is over: a new one begins
  write_all(w, IMAGE_BYTES);
  assert_string_not_equal(storage_writer_state(w), token);
  OK(object_commit(w, err));
  object_writer_free(w);
  expect_image(FOLDER "/resumed", IMAGE_BYTES);
  drop(FOLDER "/resumed");
  expect_listed(0);
}

static void test_object_changes_under_a_reader(void **state)
{
  (void)state;
  struct object_reader *r;
  void *part_lane = NULL;
  char byte;
  put(FOLDER "/changing", "one two three");
  OK(storage_reader(store, FOLDER "/changing", &r, err));
  OK(object_lane_open(r, &part_lane, err));
  OK(object_read(r, part_lane, &byte, 1, 4, err));
  assert_int_equal(byte, 't');
  put(FOLDER "/changing", "one two three four");
  struct err failure = ERR_INIT;
  int result = object_read(r, part_lane, &byte, 1, 4, &failure);
  // A local reader holds on to the file that it opened, which is as good.
  if (r->local_path)
    assert_int_equal(result, 0);
  else
    assert_int_equal(failure.kind, ERR_CHANGED);
  drop(FOLDER "/changing");
  failure = (struct err)ERR_INIT;
  result = object_read(r, part_lane, &byte, 1, 4, &failure);
  assert_true(r->local_path ? result == 0
                            : failure.kind == ERR_NOT_FOUND || failure.kind == ERR_CHANGED);
  object_lane_close(r, part_lane);
  object_reader_free(r);
}

static void test_interrupt_of_a_reader(void **state)
{
  (void)state;
  struct object_reader *r;
  void *part_lane = NULL;
  char byte;
  put(FOLDER "/read", "bytes");
  OK(storage_reader(store, FOLDER "/read", &r, err));
  OK(object_lane_open(r, &part_lane, err));
  OK(object_read(r, part_lane, &byte, 1, 0, err));
  object_interrupt(r);
  if (!r->local_path)
    FAILS(ERR_CANCELLED, object_read(r, part_lane, &byte, 1, 0, err));
  object_lane_close(r, part_lane);
  object_reader_free(r);
  drop(FOLDER "/read");
}

static int run_suite(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_probe),
      cmocka_unit_test(test_names),
      cmocka_unit_test(test_empty_object),
      cmocka_unit_test(test_list_limits),
      cmocka_unit_test(test_missing_objects),
      cmocka_unit_test(test_only_new_and_overwrite),
      cmocka_unit_test(test_free_bytes),
      cmocka_unit_test(test_keys_and_read_only),
      cmocka_unit_test(test_image),
      cmocka_unit_test(test_holes),
      cmocka_unit_test(test_abort),
      cmocka_unit_test(test_interrupt_of_a_writer),
      cmocka_unit_test(test_remove_partial),
      cmocka_unit_test(test_writer_of_a_taken_name),
      cmocka_unit_test(test_name_taken_meanwhile),
      cmocka_unit_test(test_resume),
      cmocka_unit_test(test_object_changes_under_a_reader),
      cmocka_unit_test(test_interrupt_of_a_reader),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

// ---- what must fail ----

static int expect_error(int result, const struct err *err, const char *kind, const char *text)
{
  if (result == 0) {
    printf("FAILED: it succeeded instead of %s\n", kind);
    return 1;
  }
  if (!str_eq(err_reason(err->kind), kind) || !strstr(err->message, text)) {
    printf("FAILED: got %s: %s\n  instead of %s: ...%s...\n", err_reason(err->kind), err->message,
           kind, text);
    return 1;
  }
  printf("ok: %s: %s\n", kind, err->message);
  return 0;
}

static int run_refuse(const char *kind, const char *text)
{
  struct err err = ERR_INIT;
  int result = open_store(&err);
  if (result == 0)
    result = storage_probe(lane, !settings.config.read_only, OWNER, &err);
  return expect_error(result, &err, kind, text);
}

// Nothing is left of what did not fit.
static int run_full(uint64_t size, const char *kind)
{
  struct err err = ERR_INIT;
  struct object_writer *w = NULL;
  struct part parts[64];
  void *part_lane = NULL;
  if (open_store(&err) < 0 || storage_writer(store, FOLDER "/big", OWNER, true, NULL, &w, &err) < 0)
    return expect_error(-1, &err, kind, "");
  int result = object_begin(w, size, &err);
  if (result == 0)
    result = object_write_lane_open(w, &part_lane, &err);
  if (result == 0) {
    size_t count = lay_out(w, size, parts);
    for (size_t i = 0; i < count && result == 0; i++)
      result = write_part(w, part_lane, parts[i], true, &err);
    object_write_lane_close(w, part_lane);
    if (result == 0)
      result = object_commit(w, &err);
  }
  int failed = expect_error(result, &err, kind, "");
  struct err failure = ERR_INIT;
  struct strings names CLEANUP(strings_release) = {0};
  if (object_abort(w, &failure) < 0 || storage_list(lane, FOLDER, 10, &names, &failure) < 0 ||
      names.count > 0) {
    printf("FAILED: cleaning up: %s (%zu objects left)\n", failure.message, names.count);
    failed = 1;
  }
  object_writer_free(w);
  return failed;
}

static int run_noranges(void)
{
  struct err err = ERR_INIT;
  struct object_reader *r = NULL;
  void *part_lane = NULL;
  char byte;
  if (open_store(&err) < 0 ||
      storage_put(lane, FOLDER "/whole", "0123456789", 10, OWNER, false, &err) < 0 ||
      storage_reader(store, FOLDER "/whole", &r, &err) < 0 ||
      object_lane_open(r, &part_lane, &err) < 0)
    return expect_error(-1, &err, "Unsupported", "ranges");
  int result = object_read(r, part_lane, &byte, 1, 5, &err);
  object_lane_close(r, part_lane);
  object_reader_free(r);
  storage_remove(lane, FOLDER "/whole", NULL);
  return expect_error(result, &err, "Unsupported", "ranges");
}

static int run_partial(bool leave)
{
  struct err err = ERR_INIT;
  if (open_store(&err) < 0)
    return expect_error(-1, &err, "", "");
  if (leave)
    leave_unfinished(FOLDER "/crashed/image");
  else if (storage_remove_partial(lane, FOLDER "/crashed/image", OWNER, &err) < 0)
    return expect_error(-1, &err, "", "");
  return 0;
}

// The command restarts the server while bytes that were not yet settled lie there.
static int run_restart(const char *const *argv)
{
  struct err err = ERR_INIT;
  struct object_writer *w = NULL;
  struct part parts[64];
  void *part_lane = NULL;
  struct command c = {.argv = argv, .timeout_ms = 60000};
  struct command_result done = {0};
  if (open_store(&err) < 0 ||
      storage_writer(store, FOLDER "/restarted", OWNER, true, NULL, &w, &err) < 0 ||
      object_begin(w, IMAGE_BYTES, &err) < 0 || object_write_lane_open(w, &part_lane, &err) < 0 ||
      lay_out(w, IMAGE_BYTES, parts) != 4 || write_part(w, part_lane, parts[0], true, &err) < 0 ||
      command_check(&c, &done, &err) < 0)
    return expect_error(-1, &err, "", "");
  command_result_release(&done);
  int refused = 0; // the broken connection is noticed by a part; the lane goes on after that
  for (size_t i = 1; i < 4; i++)
    while (write_part(w, part_lane, parts[i], true, &err) < 0 && ++refused < 3)
      ;
  object_write_lane_close(w, part_lane);
  err = (struct err)ERR_INIT;
  int failed = expect_error(object_commit(w, &err), &err, "Unreachable", "must be written again");
  if (object_abort(w, &err) < 0)
    failed = expect_error(-1, &err, "", "");
  object_writer_free(w);
  return failed;
}

int main(int argc, char **argv)
{
  struct err err = ERR_INIT;
  const char *mode = argc > 2 ? argv[2] : "";
  http_global_init();
  if (argc < 3 || read_settings(argv[1], &err) < 0) {
    fprintf(stderr, "usage: %s STORE.json suite|refuse|full|noranges|leave|clear ... %s\n", argv[0],
            err.message);
    return 2;
  }
  int status = 2;
  if (str_eq(mode, "refuse") && argc == 5)
    status = run_refuse(argv[3], argv[4]);
  else if (str_eq(mode, "full") && argc == 5)
    status = run_full((uint64_t)atoll(argv[3]) << 20, argv[4]);
  else if (str_eq(mode, "noranges"))
    status = run_noranges();
  else if (str_eq(mode, "leave") || str_eq(mode, "clear"))
    status = run_partial(str_eq(mode, "leave"));
  else if (str_eq(mode, "restart") && argc > 3)
    status = run_restart((const char *const *)argv + 3);
  else if (str_eq(mode, "suite") && open_store(&err) == 0)
    status = run_suite();
  if (status == 2)
    fprintf(stderr, "%s\n", err.message[0] ? err.message : "unknown mode");
  close_store();
  return status;
}
