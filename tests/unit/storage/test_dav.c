// SPDX-License-Identifier: Apache-2.0
// HTTP servers that nginx is not: without MOVE, full and saying so, with lost answers, hostile
// lists.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "net/http.h"
#include "storage/storage.h"
#include "tests/fakes/http_server.h"

struct bench {
  struct fake_http *server;
  struct storage *store;
  struct storage_lane *lane;
  struct err err;
  const char *mood;
  char log[4096]; // "METHOD target\n" of each request
  char content[64], place[256];
  bool there, folder;
  int moves;
};

static bool is(const struct bench *b, const char *mood)
{
  return str_eq(b->mood, mood);
}

static void answer_head(struct bench *b, struct fake_http_connection *c, const char *target)
{
  if (str_eq(target, "/base/")) {
    fake_http_answer(c, "403 Forbidden", NULL, NULL);
    return;
  }
  if (!b->there || !str_eq(target, b->place)) {
    fake_http_answer(c, "404 Not Found", NULL, NULL);
    return;
  }
  char *head cleanup_free =
      str_printf("HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nETag: W/\"1\"\r\n\r\n",
                 is(b, "swallows") ? strlen(b->content) - 1 : strlen(b->content));
  fake_http_write(c, head, strlen(head));
}

static void answer_put(struct bench *b, struct fake_http_connection *c,
                       const struct fake_http_request *r)
{
  if (is(b, "full")) {
    fake_http_answer(c, "507 Insufficient Storage", NULL, "");
  } else if (is(b, "wants length") && r->chunked) {
    fake_http_answer(c, "411 Length Required", NULL, "");
  } else if (is(b, "no folder") && !b->folder) {
    fake_http_answer(c, "409 Conflict", NULL, "");
  } else {
    bool dropped = is(b, "drops chunks") && r->chunked;
    snprintf(b->content, sizeof(b->content), "%s", dropped ? "" : r->body);
    snprintf(b->place, sizeof(b->place), "%s", r->target);
    b->there = true;
    fake_http_answer(c, "201 Created", NULL, "");
  }
}

static void answer_move(struct bench *b, struct fake_http_connection *c,
                        const struct fake_http_request *r)
{
  char to[256];
  b->moves++;
  if (!str_eq(r->target, b->place)) {
    fake_http_answer(c, "404 Not Found", NULL, "");
    return;
  }
  fake_http_header(r, "Destination", to, sizeof(to));
  snprintf(b->place, sizeof(b->place), "%s", strstr(to, "/base"));
  if (is(b, "lost move"))
    fake_http_close(c);
  else
    fake_http_answer(c, "204 No Content", NULL, "");
}

#define RESPONSE(href, kind)                                                                       \
  "<d:response><d:href>" href "</d:href><d:propstat><d:prop><d:resourcetype>" kind                 \
  "</d:resourcetype></d:prop></d:propstat></d:response>"
#define FOLDER_KIND "<d:collection/>"

static void answer_list(struct bench *b, struct fake_http_connection *c, const char *target)
{
  static const char hostile[] = "<d:multistatus xmlns:d=\"DAV:\">" RESPONSE("/base/", FOLDER_KIND)
      RESPONSE("http://other/base/good", "") RESPONSE("/etc/passwd", "")
          RESPONSE("/base/../../etc/shadow", "") RESPONSE("/base/a%00b", "")
              RESPONSE("/base/%2e%2e/x", "") RESPONSE("/base/deep/er/", FOLDER_KIND)
                  RESPONSE("/base/sub/", FOLDER_KIND)
                      RESPONSE("/base/.x.part", "") "</d:multistatus>";
  static const char below[] = "<d:multistatus xmlns:d=\"DAV:\">" RESPONSE("/base/", FOLDER_KIND)
      RESPONSE("/base/sub/", FOLDER_KIND) RESPONSE("/base/sub/%41", "") "</d:multistatus>";
  if (is(b, "no lists"))
    fake_http_answer(c, "405 Method Not Allowed", NULL, "");
  else
    fake_http_answer(c, "207 Multi-Status", NULL, str_eq(target, "/base/") ? hostile : below);
}

static void answer_get(struct bench *b, struct fake_http_connection *c,
                       const struct fake_http_request *r)
{
  char range[64];
  unsigned first = 0, last = 0;
  sscanf(fake_http_header(r, "Range", range, sizeof(range)), "bytes=%u-%u", &first, &last);
  char *head cleanup_free = str_printf("ETag: W/\"%d\"\r\nContent-Range: bytes %u-%u/%zu\r\n",
                                       is(b, "changed") ? 2 : 1, first, last, strlen(b->content));
  char *body cleanup_free = str_printf("%.*s", (int)(last - first + 1), b->content + first);
  if (is(b, "ignores ranges"))
    fake_http_answer(c, "200 OK", "ETag: W/\"1\"\r\n", b->content);
  else
    fake_http_answer(c, "206 Partial Content", head, body);
}

static void answer(void *arg, struct fake_http_connection *c, const struct fake_http_request *r)
{
  struct bench *b = arg;
  size_t used = strlen(b->log);
  snprintf(b->log + used, sizeof(b->log) - used, "%s %s\n", r->method, r->target);
  if (str_eq(r->method, "OPTIONS") && is(b, "plain"))
    fake_http_answer(c, "405 Method Not Allowed", NULL, "");
  else if (str_eq(r->method, "OPTIONS"))
    fake_http_answer(c, "200 OK", "Allow: GET,HEAD,PUT,MOVE\r\n", "");
  else if (str_eq(r->method, "HEAD"))
    answer_head(b, c, r->target);
  else if (str_eq(r->method, "PUT"))
    answer_put(b, c, r);
  else if (str_eq(r->method, "MOVE"))
    answer_move(b, c, r);
  else if (str_eq(r->method, "MKCOL"))
    b->folder = true, fake_http_answer(c, "201 Created", NULL, "");
  else if (str_eq(r->method, "DELETE"))
    b->there = false, fake_http_answer(c, "204 No Content", NULL, "");
  else if (str_eq(r->method, "PROPFIND"))
    answer_list(b, c, r->target);
  else
    answer_get(b, c, r);
}

static int set_up(void **state)
{
  struct bench *b = calloc(1, sizeof(*b));
  *state = b;
  b->mood = "";
  b->server = fake_http_new(answer, b, NULL);
  char *url cleanup_free = str_printf("%s/base/", fake_http_url(b->server));
  struct storage_config c = {.type = STORAGE_HTTP, .endpoint = url};
  return storage_open(&c, NULL, &b->store, &b->err) < 0
             ? -1
             : storage_lane_new(b->store, &b->lane, &b->err);
}

static int tear_down(void **state)
{
  struct bench *b = *state;
  storage_lane_free(b->lane);
  storage_free(b->store);
  fake_http_free(b->server);
  free(b);
  return 0;
}

static void expect(struct bench *b, int result, enum err_kind kind, const char *text)
{
  fake_http_sync(b->server);
  if (result != (kind == ERR_NONE ? 0 : -1) || b->err.kind != kind || !strstr(b->err.message, text))
    fail_msg("%s: %d %s '%s' instead of %s '%s'", b->mood, result, err_reason(b->err.kind),
             b->err.message, err_reason(kind), text);
}

static int put(struct bench *b, const char *mood, bool only_new)
{
  b->mood = mood;
  b->err = (struct err)ERR_INIT;
  fake_http_sync(b->server);
  return storage_put(b->lane, "f/key", "content", 7, "owner", only_new, &b->err);
}

static void test_put_and_move(void **state)
{
  struct bench *b = *state;
  expect(b, put(b, "", false), ERR_NONE, "");
  assert_string_equal(b->place, "/base/f/key");
  assert_non_null(strstr(b->log, "PUT /base/f/.key."));
  assert_null(strstr(b->log, "PUT /base/f/key\n"));
}

static void test_server_without_move(void **state)
{
  struct bench *b = *state;
  expect(b, put(b, "plain", true), ERR_NONE, "");
  assert_non_null(strstr(b->log, "PUT /base/f/key\n"));
  assert_int_equal(b->moves, 0);
  expect(b, put(b, "plain", true), ERR_EXISTS, "exists already");
}

static void test_lost_answer_to_move(void **state)
{
  struct bench *b = *state;
  expect(b, put(b, "lost move", true), ERR_NONE, "");
  assert_int_equal(b->moves, 2);
  assert_string_equal(b->place, "/base/f/key");
}

static void test_folders_are_made(void **state)
{
  struct bench *b = *state;
  expect(b, put(b, "no folder", false), ERR_NONE, "");
  assert_non_null(strstr(b->log, "MKCOL /base/f/\n"));
}

static void test_full_and_swallowed(void **state)
{
  struct bench *b = *state;
  expect(b, put(b, "full", false), ERR_NO_SPACE, "no space left");
  expect(b, put(b, "swallows", false), ERR_CORRUPT, "6 bytes on the server, 7 were sent");
  assert_false(b->there); // what was wrong is removed again
}

static int read_middle(struct bench *b, const char *mood, char into[4])
{
  struct object_reader *r = NULL;
  void *lane = NULL;
  b->mood = mood;
  b->err = (struct err)ERR_INIT;
  fake_http_sync(b->server);
  int result = storage_reader(b->store, "f/key", &r, &b->err);
  if (result == 0)
    result = object_lane_open(r, &lane, &b->err);
  if (result == 0)
    result = object_read(r, lane, into, 3, 2, &b->err);
  if (lane)
    object_lane_close(r, lane);
  object_reader_free(r);
  return result;
}

static void test_reading(void **state)
{
  struct bench *b = *state;
  char into[4] = "";
  expect(b, put(b, "", false), ERR_NONE, "");
  expect(b, read_middle(b, "", into), ERR_NONE, "");
  assert_string_equal(into, "nte");
  expect(b, read_middle(b, "changed", into), ERR_CHANGED, "not the same");
  expect(b, read_middle(b, "ignores ranges", into), ERR_UNSUPPORTED, "ignores byte ranges");
}

static void test_hostile_list(void **state)
{
  struct bench *b = *state;
  struct strings names CLEANUP(strings_release) = {0};
  expect(b, storage_list(b->lane, "", 10, &names, &b->err), ERR_NONE, "");
  assert_int_equal(names.count, 2);
  assert_string_equal(names.items[0], "good");
  assert_string_equal(names.items[1], "sub/A");
  // each folder once, and none that is not straight below the one asked for
  assert_string_equal(b->log, "PROPFIND /base/\nPROPFIND /base/sub/\n");
}

static void test_no_lists(void **state)
{
  struct bench *b = *state;
  struct strings names = {0};
  b->mood = "no lists";
  fake_http_sync(b->server);
  expect(b, storage_list(b->lane, "", 10, &names, &b->err), ERR_UNSUPPORTED, "PROPFIND");
}

// ---- bodies without a length ----

static enum storage_answer probed(struct bench *b, const char *mood)
{
  struct storage_config c = {.type = STORAGE_HTTP};
  c.endpoint = str_printf("%s/base", fake_http_url(b->server));
  b->mood = mood;
  b->err = (struct err)ERR_INIT;
  fake_http_sync(b->server);
  storage_lane_free(b->lane);
  storage_free(b->store); // a new one knows nothing
  assert_int_equal(storage_open(&c, NULL, &b->store, &b->err), 0);
  assert_int_equal(storage_lane_new(b->store, &b->lane, &b->err), 0);
  free(c.endpoint);
  assert_int_equal(storage_takes_any_length(b->store), STORAGE_UNKNOWN);
  expect(b, storage_probe(b->lane, true, "owner", &b->err), ERR_NONE, "");
  assert_false(b->there);
  return storage_takes_any_length(b->store);
}

static void test_probe_finds_out(void **state)
{
  struct bench *b = *state;
  assert_int_equal(probed(b, ""), STORAGE_YES);
  assert_int_equal(probed(b, "plain"), STORAGE_YES);
  assert_int_equal(probed(b, "wants length"), STORAGE_NO);
  assert_int_equal(probed(b, "drops chunks"), STORAGE_NO);
}

static int read_text(void *arg, uint64_t offset, void *into, size_t size, size_t *ret_length,
                     struct err *err)
{
  (void)err;
  const char *text = (const char *)arg + offset;
  *ret_length = strlen(text) < size ? strlen(text) : size;
  memcpy(into, text, *ret_length);
  return 0;
}

static int write_open(struct bench *b, const char *mood)
{
  struct object_writer *w = NULL;
  void *lane = NULL;
  b->mood = mood;
  b->err = (struct err)ERR_INIT;
  fake_http_sync(b->server);
  struct object_body body = {
      .length = OBJECT_LENGTH_OPEN, .read_some = read_text, .arg = (void *)(uintptr_t) "packed"};
  assert_int_equal(storage_writer(b->store, "f/key", "owner", true, &w, &b->err), 0);
  assert_true(w->any_length && w->ordered && w->parts_max == 1);
  assert_int_equal(object_begin(w, 1000, &b->err), 0);
  assert_int_equal(object_write_lane_open(w, &lane, &b->err), 0);
  assert_int_equal(object_settle(w, 6, &b->err), 0);
  int result = object_write_part(w, lane, 0, 0, &body, &b->err);
  object_write_lane_close(w, lane);
  if (result == 0)
    result = object_commit(w, &b->err);
  else
    object_abort(w, NULL);
  object_writer_free(w);
  return result;
}

static void test_open_bodies(void **state)
{
  struct bench *b = *state;
  expect(b, write_open(b, ""), ERR_NONE, "");
  assert_string_equal(b->content, "packed");
  assert_string_equal(b->place, "/base/f/key");
  assert_non_null(strstr(b->log, "MKCOL /base/f/\nPUT "));
  expect(b, write_open(b, "wants length"), ERR_UNSUPPORTED, "use format raw or qcow2");
  expect(b, write_open(b, "drops chunks"), ERR_CORRUPT, "use format raw or qcow2");
}

#define BENCH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
  const struct CMUnitTest tests[] = {
      BENCH(test_put_and_move),        BENCH(test_server_without_move),
      BENCH(test_lost_answer_to_move), BENCH(test_folders_are_made),
      BENCH(test_full_and_swallowed),  BENCH(test_reading),
      BENCH(test_hostile_list),        BENCH(test_no_lists),
      BENCH(test_probe_finds_out),     BENCH(test_open_bodies),
  };
  http_global_init();
  return cmocka_run_group_tests(tests, NULL, NULL);
}
