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
//   storage_conformance STORE.json list MAX            lists the store; says how many, or the error
//   storage_conformance STORE.json restart COMMAND...  the server restarts between two parts: what
//                                                      it may have lost must not be committed
//
// STORE.json: {"store":{...},"secrets":{"accessKeyId":..},"allowed":["CIDR"],"atomic":true}. atomic
// false: the store has no way to hide an object before commit. Everything happens below the folder
// "conformance", which must be empty and is empty in the end.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/command.h"
#include "base/str.h"
#include "net/http.h"
#include "tests/integration/storage_bench.h"

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
  struct part parts[PARTS_MAX];
  void *part_lane = NULL;
  if (open_store(&err) < 0 || storage_writer(store, FOLDER "/big", OWNER, true, &w, &err) < 0)
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

static int run_list(size_t max)
{
  struct err err = ERR_INIT;
  struct strings names CLEANUP(strings_release) = {0};
  if (open_store(&err) < 0 || storage_list(lane, "", max, &names, &err) < 0) {
    printf("%s: %s\n", err_reason(err.kind), err.message);
    return 3;
  }
  printf("%zu objects\n", names.count);
  return 0;
}

// The command restarts the server while bytes that were not yet settled lie there.
static int run_restart(const char *const *argv)
{
  struct err err = ERR_INIT;
  struct object_writer *w = NULL;
  struct part parts[PARTS_MAX];
  void *part_lane = NULL;
  struct command c = {.argv = argv, .timeout_ms = 60000};
  struct command_result done = {0};
  if (open_store(&err) < 0 ||
      storage_writer(store, FOLDER "/restarted", OWNER, true, &w, &err) < 0 ||
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
    fprintf(stderr, "usage: %s STORE.json suite|refuse|full|noranges|leave|clear|list ... %s\n",
            argv[0], err.message);
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
  else if (str_eq(mode, "list") && argc == 4)
    status = run_list((size_t)atoll(argv[3]));
  else if (str_eq(mode, "restart") && argc > 3)
    status = run_restart((const char *const *)argv + 3);
  else if (str_eq(mode, "suite") && open_store(&err) == 0)
    status = run_suite();
  if (status == 2)
    fprintf(stderr, "%s\n", err.message[0] ? err.message : "unknown mode");
  close_store();
  return status;
}
