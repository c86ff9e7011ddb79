// SPDX-License-Identifier: Apache-2.0
// Everything that a store must do.
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "tests/integration/storage_bench.h"

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
  FAILS(ERR_DENIED, storage_writer(fixed, FOLDER "/x", OWNER, true, &w, err));
  storage_lane_free(other);
  storage_free(fixed);
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
  struct part parts[PARTS_MAX];
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
  struct part parts[PARTS_MAX];
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
  struct part parts[PARTS_MAX];
  struct object_writer *w = writer(FOLDER "/resumed", false, NULL);
  OK(object_begin(w, IMAGE_BYTES, err));
  char *token cleanup_free = str_dup(object_state(w));
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
  assert_string_equal(object_state(w), token);
  write_in_order(w, parts + 2, count - 2);
  OK(object_commit(w, err));
  object_writer_free(w);
  expect_image(FOLDER "/resumed", IMAGE_BYTES);
  drop(FOLDER "/resumed");

  w = writer(FOLDER "/resumed", false, token); // that upload is over: a new one begins
  write_all(w, IMAGE_BYTES);
  assert_string_not_equal(object_state(w), token);
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

int run_suite(void)
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
