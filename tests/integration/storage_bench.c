// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "tests/integration/storage_bench.h"

struct settings settings;
struct storage *store;
struct storage_lane *lane;

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

int read_settings(const char *path, struct err *err)
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

int open_store(struct err *err)
{
  if (storage_open(&settings.config, settings.allowed, &store, err) < 0)
    return -1;
  return storage_lane_new(store, &lane, err);
}

void close_store(void)
{
  storage_lane_free(lane);
  storage_free(store);
  storage_config_release(&settings.config);
  address_filter_free(settings.allowed);
}

// ---- asserting ----

void expect_listed(size_t count)
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

void expect_content(const char *key, const char *text)
{
  char *data = NULL;
  size_t length = 0;
  OK(storage_get(lane, key, 1 << 20, &data, &length, err));
  assert_int_equal(length, strlen(text));
  assert_string_equal(data, text);
  free(data);
}

void put(const char *key, const char *text)
{
  OK(storage_put(lane, key, text, strlen(text), OWNER, false, err));
}

void drop(const char *key)
{
  OK(storage_remove(lane, key, err));
}

// ---- images ----

unsigned char pattern(uint64_t at)
{
  uint64_t x = at / 8 * 0x9e3779b97f4a7c15u;
  return (unsigned char)(x >> (at % 8 * 8));
}

static void fill(unsigned char *into, size_t length, uint64_t offset)
{
  for (size_t i = 0; i < length; i++)
    into[i] = pattern(offset + i);
}

// Reads the pattern by ranges, as a body that is not in memory.
static int read_body(void *arg, uint64_t offset, void *into, size_t length, struct err *err)
{
  (void)err;
  fill(into, length, ((struct part *)arg)->offset + offset);
  return 0;
}

int write_part(struct object_writer *w, void *part_lane, struct part p, bool in_memory,
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
size_t lay_out(const struct object_writer *w, uint64_t size, struct part *parts)
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

void write_in_order(struct object_writer *w, const struct part *parts, size_t count)
{
  void *part_lane = NULL;
  OK(object_write_lane_open(w, &part_lane, err));
  for (size_t i = 0; i < count; i++)
    OK(write_part(w, part_lane, parts[i], i % 2 == 1, err));
  object_write_lane_close(w, part_lane);
}

void write_all(struct object_writer *w, uint64_t size)
{
  struct part parts[PARTS_MAX];
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

void expect_image(const char *key, uint64_t size)
{
  struct object_reader *r;
  OK(storage_reader(store, key, &r, err));
  assert_int_equal(r->size_bytes, size);
  struct lane_job model = {.reader = r};
  run_lanes(&model, read_lane);
  object_reader_free(r);
}

struct object_writer *writer(const char *key, bool overwrite, const char *upload_state)
{
  struct object_writer *w = NULL;
  OK(storage_writer(store, key, OWNER, overwrite, &w, err));
  if (upload_state)
    object_resume(w, upload_state);
  return w;
}

void expect_invisible(const char *key)
{
  struct storage_stat stat;
  if (!settings.atomic)
    return;
  FAILS(ERR_NOT_FOUND, storage_stat(lane, key, &stat, err));
  expect_listed(0);
}

// The process died: neither commit nor abort. The next one cleans up by key and owner.
void leave_unfinished(const char *key)
{
  struct part parts[PARTS_MAX];
  struct object_writer *w = writer(key, true, NULL);
  OK(object_begin(w, IMAGE_BYTES, err));
  size_t count = lay_out(w, IMAGE_BYTES, parts);
  write_in_order(w, parts, count > 2 ? 2 : count);
  object_writer_free(w);
}
