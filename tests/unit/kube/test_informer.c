// SPDX-License-Identifier: Apache-2.0
// Informers against a server that misbehaves. Each scenario is a list of requests that must come,
// in that order, with the answer to each, and what the callbacks must have said in the end:
//   +a1   object "a" at version 1      -a:u1   object "a" with uid u1 gone     S   synced
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "kube/informer.h"
#include "kube/object.h"
#include "net/http.h"
#include "tests/fakes/http_server.h"

#define DEADLINE_MS 20000

#define OBJ(name, uid, version)                                                                    \
  "{\"metadata\":{\"namespace\":\"n\",\"name\":\"" name "\",\"uid\":\"" uid                        \
  "\",\"resourceVersion\":\"" version "\",\"managedFields\":[{\"manager\":\"x\"}]}}"
#define LIST(version, next, items)                                                                 \
  "{\"metadata\":{\"resourceVersion\":\"" version "\",\"continue\":\"" next                        \
  "\"},\"items\":[" items "]}"
#define EVENT(type, object) "{\"type\":\"" type "\",\"object\":" object "}\n"
#define BOOKMARK(version)   EVENT("BOOKMARK", "{\"metadata\":{\"resourceVersion\":\"" version "\"}}")
#define STATUS(code, reason)                                                                       \
  "{\"kind\":\"Status\",\"status\":\"Failure\",\"code\":" code ",\"reason\":\"" reason             \
  "\",\"message\":\"said so\"}"

enum answer {
  ANSWER_WHOLE,  // with its length
  ANSWER_ENDING, // a stream that ends as it should
  ANSWER_CUT,    // a stream whose connection breaks
  ANSWER_OPEN,   // a stream that stays open
  ANSWER_MUTE,   // nothing at all, for ever
  ANSWER_HANG_UP // the connection is closed instead of an answer
};

struct step {
  const char *want; // in the target of the request
  enum answer how;
  const char *status; // NULL = 200 OK
  const char *headers;
  const char *body;
};

#define STEPS_MAX 12

struct scenario {
  const char *name;
  struct step steps[STEPS_MAX];
  const char *said;
  int page;         // 0 = 2
  int64_t least_ms; // it must have taken so long
};

// clang-format off
static const struct scenario scenarios[] = {
    {.name = "a list of two pages, then a watch",
     .steps = {{.want = "limit=2", .how = ANSWER_WHOLE, .body = LIST("5", "tok%2F1", OBJ("a", "u1", "1") "," OBJ("b", "u2", "2"))},
      {.want = "continue=tok%252F1", .how = ANSWER_WHOLE, .body = LIST("5", "", OBJ("c", "u3", "3"))},
      {.want = "resourceVersion=5", .how = ANSWER_OPEN, .body = EVENT("MODIFIED", OBJ("a", "u1", "6")) EVENT("DELETED", OBJ("b", "u2", "7"))}},
     .said = "+a1 +b2 +c3 S +a6 -b:u2 "},
    {.name = "nothing there",
     .steps = {{.want = "limit=2", .how = ANSWER_WHOLE, .body = "{\"metadata\":{\"resourceVersion\":\"5\"},\"items\":null}"},
      {.want = "resourceVersion=5", .how = ANSWER_OPEN, .body = EVENT("ADDED", OBJ("a", "u1", "6"))}},
     .said = "S +a6 "},
    {.name = "a watch that ends goes on after the last event",
     .steps = {{.want = "limit", .how = ANSWER_WHOLE, .body = LIST("5", "", "")},
      {.want = "resourceVersion=5", .how = ANSWER_ENDING, .body = EVENT("ADDED", OBJ("a", "u1", "6"))},
      {.want = "resourceVersion=6", .how = ANSWER_OPEN, .body = EVENT("MODIFIED", OBJ("a", "u1", "7"))}},
     .said = "S +a6 +a7 "},
    {.name = "and after the last bookmark",
     .steps = {{.want = "limit", .how = ANSWER_WHOLE, .body = LIST("5", "", OBJ("a", "u1", "1"))},
      {.want = "resourceVersion=5", .how = ANSWER_CUT, .body = BOOKMARK("60")},
      {.want = "resourceVersion=60", .how = ANSWER_OPEN, .body = EVENT("MODIFIED", OBJ("a", "u1", "61"))}},
     .said = "+a1 S +a61 "},
    {.name = "a line cut off in the middle is asked for again",
     .steps = {{.want = "limit", .how = ANSWER_WHOLE, .body = LIST("5", "", "")},
      {.want = "resourceVersion=5", .how = ANSWER_CUT, .body = EVENT("ADDED", OBJ("a", "u1", "6")) "{\"type\":\"ADDED\",\"object\":{\"meta"},
      {.want = "resourceVersion=6", .how = ANSWER_OPEN, .body = EVENT("ADDED", OBJ("b", "u2", "7"))}},
     .said = "S +a6 +b7 "},
    {.name = "a line that is no JSON is not skipped",
     .steps = {{.want = "limit", .how = ANSWER_WHOLE, .body = LIST("5", "", "")},
      {.want = "resourceVersion=5", .how = ANSWER_OPEN, .body = EVENT("ADDED", OBJ("a", "u1", "6")) "{\"type\"\n" EVENT("ADDED", OBJ("c", "u3", "8"))},
      {.want = "resourceVersion=6", .how = ANSWER_OPEN, .body = EVENT("ADDED", OBJ("b", "u2", "7")) EVENT("ADDED", OBJ("c", "u3", "8"))}},
     .said = "S +a6 +b7 +c8 "},
    {.name = "an object without a version is not taken",
     .steps = {{.want = "limit", .how = ANSWER_WHOLE, .body = LIST("5", "", "")},
      {.want = "resourceVersion=5", .how = ANSWER_OPEN, .body = EVENT("ADDED", "{\"metadata\":{\"name\":\"x\"}}")},
      {.want = "resourceVersion=5", .how = ANSWER_OPEN, .body = EVENT("ADDED", OBJ("b", "u2", "7"))}},
     .said = "S +b7 "},
    {.name = "410 as an event: listed anew, the vanished is deleted, the same is not repeated",
     .steps = {{.want = "limit", .how = ANSWER_WHOLE, .body = LIST("5", "", OBJ("a", "u1", "1") "," OBJ("b", "u2", "2"))},
      {.want = "resourceVersion=5", .how = ANSWER_OPEN, .body = EVENT("ERROR", STATUS("410", "Expired"))},
      {.want = "limit", .how = ANSWER_WHOLE, .body = LIST("90", "", OBJ("b", "u2", "2") "," OBJ("c", "u3", "80"))},
      {.want = "resourceVersion=90", .how = ANSWER_OPEN, .body = EVENT("MODIFIED", OBJ("b", "u2", "91"))}},
     .said = "+a1 +b2 S +c80 -a:u1 +b91 "},
    {.name = "410 as a status",
     .steps = {{.want = "limit", .how = ANSWER_WHOLE, .body = LIST("5", "", OBJ("a", "u1", "1"))},
      {.want = "resourceVersion=5", .how = ANSWER_WHOLE, .status = "410 Gone", .body = STATUS("410", "Expired")},
      {.want = "limit", .how = ANSWER_WHOLE, .body = LIST("90", "", "")},
      {.want = "resourceVersion=90", .how = ANSWER_OPEN, .body = EVENT("ADDED", OBJ("b", "u2", "91"))}},
     .said = "+a1 S -a:u1 +b91 "},
    {.name = "410 in the middle of a list: from the beginning",
     .steps = {{.want = "limit", .how = ANSWER_WHOLE, .body = LIST("5", "t", OBJ("a", "u1", "1") "," OBJ("b", "u2", "2"))},
      {.want = "continue=t", .how = ANSWER_WHOLE, .status = "410 Gone", .body = STATUS("410", "Expired")},
      {.want = "limit=2", .how = ANSWER_WHOLE, .body = LIST("9", "", OBJ("b", "u2", "2"))},
      {.want = "resourceVersion=9", .how = ANSWER_OPEN, .body = EVENT("ADDED", OBJ("c", "u3", "10"))}},
     .said = "+a1 +b2 -a:u1 S +c10 "},
    {.name = "a broken connection in the middle of a list: the same page again",
     .steps = {{.want = "limit", .how = ANSWER_WHOLE, .body = LIST("5", "t", OBJ("a", "u1", "1"))},
      {.want = "continue=t", .how = ANSWER_HANG_UP},
      {.want = "continue=t", .how = ANSWER_WHOLE, .body = LIST("5", "", OBJ("b", "u2", "2"))},
      {.want = "resourceVersion=5", .how = ANSWER_OPEN, .body = BOOKMARK("6")}},
     .said = "+a1 +b2 S "},
    {.name = "deleted and made again while nobody looked",
     .steps = {{.want = "limit", .how = ANSWER_WHOLE, .body = LIST("5", "", OBJ("a", "u1", "1"))},
      {.want = "resourceVersion=5", .how = ANSWER_OPEN, .body = EVENT("ERROR", STATUS("410", "Gone"))},
      {.want = "limit", .how = ANSWER_WHOLE, .body = LIST("9", "", OBJ("a", "u2", "8"))},
      {.want = "resourceVersion=9", .how = ANSWER_OPEN, .body = BOOKMARK("10")}},
     .said = "+a1 S -a:u1 +a8 "},
    {.name = "429 with Retry-After",
     .steps = {{.want = "limit", .how = ANSWER_WHOLE, .status = "429 Too Many Requests", .headers = "Retry-After: 1\r\n", .body = STATUS("429", "TooManyRequests")},
      {.want = "limit", .how = ANSWER_WHOLE, .body = LIST("5", "", "")},
      {.want = "resourceVersion=5", .how = ANSWER_WHOLE, .status = "429 Too Many Requests", .headers = "Retry-After: 1\r\n", .body = "slow down"},
      {.want = "resourceVersion=5", .how = ANSWER_OPEN, .body = EVENT("ADDED", OBJ("a", "u1", "6"))}},
     .said = "S +a6 ", .least_ms = 1900},
    {.name = "500, garbage, and a hang-up before the list",
     .steps = {{.want = "limit", .how = ANSWER_WHOLE, .status = "500 Internal Server Error", .body = STATUS("500", "InternalError")},
      {.want = "limit", .how = ANSWER_WHOLE, .body = "<html>hello</html>"},
      {.want = "limit", .how = ANSWER_WHOLE, .body = "{\"items\":{}}"},
      {.want = "limit", .how = ANSWER_HANG_UP},
      {.want = "limit", .how = ANSWER_WHOLE, .body = LIST("5", "", OBJ("a", "u1", "1"))},
      {.want = "resourceVersion=5", .how = ANSWER_OPEN, .body = BOOKMARK("6")}},
     .said = "+a1 S "},
    {.name = "a watch that stays mute is given up",
     .steps = {{.want = "limit", .how = ANSWER_WHOLE, .body = LIST("5", "", "")},
      {.want = "resourceVersion=5", .how = ANSWER_MUTE},
      {.want = "resourceVersion=5", .how = ANSWER_OPEN, .body = EVENT("ADDED", OBJ("a", "u1", "6"))}},
     .said = "S +a6 ", .least_ms = 1000},
    {.name = "so is one that says nothing any more",
     .steps = {{.want = "limit", .how = ANSWER_WHOLE, .body = LIST("5", "", "")},
      {.want = "resourceVersion=5", .how = ANSWER_OPEN, .body = EVENT("ADDED", OBJ("a", "u1", "6"))},
      {.want = "resourceVersion=6", .how = ANSWER_OPEN, .body = EVENT("MODIFIED", OBJ("a", "u1", "7"))}},
     .said = "S +a6 +a7 ", .least_ms = 1000},
    {.name = "a watch that fails again and again leads to a list",
     .steps = {{.want = "limit", .how = ANSWER_WHOLE, .body = LIST("5", "", OBJ("a", "u1", "1"))},
      {.want = "resourceVersion=5", .how = ANSWER_HANG_UP},
      {.want = "resourceVersion=5", .how = ANSWER_HANG_UP},
      {.want = "resourceVersion=5", .how = ANSWER_HANG_UP},
      {.want = "resourceVersion=5", .how = ANSWER_HANG_UP},
      {.want = "resourceVersion=5", .how = ANSWER_HANG_UP},
      {.want = "resourceVersion=5", .how = ANSWER_HANG_UP},
      {.want = "limit", .how = ANSWER_WHOLE, .body = LIST("7", "", "")},
      {.want = "resourceVersion=7", .how = ANSWER_OPEN, .body = BOOKMARK("8")}},
     .said = "+a1 S -a:u1 "},
    {.name = "an answer that is too long is asked for in smaller pages",
     .steps = {{.want = "limit=4", .how = ANSWER_WHOLE, .body = "HUGE"},
      {.want = "limit=2", .how = ANSWER_WHOLE, .body = LIST("5", "t", OBJ("a", "u1", "1") "," OBJ("b", "u2", "2"))},
      {.want = "continue=t", .how = ANSWER_WHOLE, .body = LIST("5", "", OBJ("c", "u3", "3"))},
      {.want = "resourceVersion=5", .how = ANSWER_OPEN, .body = BOOKMARK("6")}},
     .said = "+a1 +b2 +c3 S ", .page = 4},
};
// clang-format on

// ---- the server -----------------------------------------------------------------------------

struct world {
  const struct scenario *scenario;
  struct loop *loop;
  struct loop_timer *poll;
  struct buf said;
  char trouble[ERR_MESSAGE_MAX]; // the last
  int64_t deadline_ms;
  bool done;
  pthread_mutex_t mutex; // guards what follows
  size_t step;
  char wrong[512];
};

static void write_text(struct fake_http_connection *c, const char *text)
{
  fake_http_write(c, text, strlen(text));
}

static void stream_body(struct fake_http_connection *c, const char *body)
{
  char size[32];
  write_text(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (size_t length = strlen(body), part; length; length -= part, body += part) {
    part = length < 37 ? length : 37; // chunks need not be lines
    snprintf(size, sizeof(size), "%zx\r\n", part);
    write_text(c, size);
    fake_http_write(c, body, part);
    write_text(c, "\r\n");
  }
}

static void answer_whole(struct fake_http_connection *c, const struct step *s)
{
  if (!str_eq(s->body, "HUGE")) {
    fake_http_answer(c, s->status ? s->status : "200 OK", s->headers ? s->headers : "", s->body);
    return;
  }
  cleanup_free char *head =
      str_printf("HTTP/1.1 200 OK\r\nContent-Length: %u\r\n\r\n", KUBE_ANSWER_MAX_BYTES + 1);
  cleanup_free char *huge = malloc(KUBE_ANSWER_MAX_BYTES + 1);
  memset(huge, ' ', KUBE_ANSWER_MAX_BYTES + 1);
  write_text(c, head);
  fake_http_write(c, huge, KUBE_ANSWER_MAX_BYTES + 1);
}

static void answer(struct fake_http_connection *c, const struct step *s)
{
  switch (s->how) {
  case ANSWER_WHOLE:
    answer_whole(c, s);
    return;
  case ANSWER_ENDING:
    stream_body(c, s->body);
    write_text(c, "0\r\n\r\n");
    return;
  case ANSWER_CUT:
    stream_body(c, s->body);
    break;
  case ANSWER_OPEN:
    stream_body(c, s->body);
    fake_http_wait_gone(c);
    break;
  case ANSWER_MUTE:
    fake_http_wait_gone(c);
    break;
  case ANSWER_HANG_UP:
    break;
  }
  fake_http_close(c);
}

static void serve(void *arg, struct fake_http_connection *c,
                  const struct fake_http_request *request)
{
  static const struct step extra = {.how = ANSWER_MUTE};
  struct world *w = arg;
  const struct step *s = &extra;
  {
    LOCK_FOR_SCOPE(&w->mutex);
    if (w->step < STEPS_MAX && w->scenario->steps[w->step].want)
      s = &w->scenario->steps[w->step++];
    if (s->want && !strstr(request->target, s->want) && !w->wrong[0])
      snprintf(w->wrong, sizeof(w->wrong), "request %zu wants '%s': %s", w->step, s->want,
               request->target);
  }
  answer(c, s);
}

// ---- the callbacks --------------------------------------------------------------------------

static void on_changed(void *arg, struct json_object *o)
{
  struct world *w = arg;
  assert_true(loop_is_current(w->loop));
  assert_null(object_at(o, "metadata", "managedFields", NULL));
  assert_string_equal(object_namespace(o), "n");
  buf_printf(&w->said, "+%s%s ", object_name(o), object_version(o));
}

static void on_deleted(void *arg, const char *ns, const char *name, const char *uid)
{
  struct world *w = arg;
  assert_string_equal(ns, "n");
  buf_printf(&w->said, "-%s:%s ", name, uid);
}

static void on_synced(void *arg)
{
  struct world *w = arg;
  buf_adds(&w->said, "S ");
}

static void on_trouble(void *arg, const struct err *err, int64_t again_in_ms)
{
  struct world *w = arg;
  assert_true(again_in_ms >= 0);
  snprintf(w->trouble, sizeof(w->trouble), "%s", err->message);
}

static void on_poll(void *arg)
{
  struct world *w = arg;
  bool all_asked;
  {
    LOCK_FOR_SCOPE(&w->mutex);
    all_asked = w->step == STEPS_MAX || !w->scenario->steps[w->step].want;
  }
  w->done = all_asked && str_eq(buf_str(&w->said), w->scenario->said);
  if (w->done || clock_ms() > w->deadline_ms)
    loop_stop(w->loop);
  else
    loop_timer_start(w->poll, 10);
}

static const struct kube_resource resource = {"drover.dev", "v1alpha1", "things", "Thing"};

static struct kube *client_of(struct fake_http *server)
{
  struct kube_config config = {.server = str_dup(fake_http_url(server)),
                               .namespace_name = str_dup("n")};
  struct kube *k = kube_new(&config, NULL, NULL);
  assert_non_null(k);
  return k;
}

static void run_scenario(const struct scenario *scenario)
{
  struct world w = {.scenario = scenario, .deadline_ms = clock_ms() + DEADLINE_MS};
  pthread_mutex_init(&w.mutex, NULL);
  struct fake_http *server = fake_http_new(serve, &w, NULL);
  struct kube *k = client_of(server);
  w.loop = loop_new();
  w.poll = loop_timer_new(w.loop, on_poll, &w);
  loop_timer_start(w.poll, 10);
  struct informers *all = informers_new(w.loop, k, NULL);
  struct informer_settings settings = {.resource = &resource,
                                       .page = scenario->page ? scenario->page : 2,
                                       .idle_ms = 1000,
                                       .backoff_ms = 20,
                                       .backoff_max_ms = 100};
  struct informer_callbacks callbacks = {.changed = on_changed,
                                         .deleted = on_deleted,
                                         .synced = on_synced,
                                         .trouble = on_trouble,
                                         .arg = &w};
  int64_t started_ms = clock_ms();
  assert_non_null(informer_start(all, &settings, &callbacks, NULL));
  loop_run(w.loop);
  int64_t took_ms = clock_ms() - started_ms;
  informers_free(all);
  loop_timer_free(w.poll);
  loop_free(w.loop);
  kube_free(k);
  fake_http_free(server);
  if (w.wrong[0] || !w.done)
    fail_msg("%s: %s; said '%s', not '%s'; trouble: %s", scenario->name, w.wrong, buf_str(&w.said),
             scenario->said, w.trouble);
  if (took_ms < scenario->least_ms)
    fail_msg("%s: took only %lld ms", scenario->name, (long long)took_ms);
  buf_release(&w.said);
  pthread_mutex_destroy(&w.mutex);
}

static void test_scenario(void **state)
{
  run_scenario(*state);
}

// Ends while a list and a watch are under way.
static void test_free_at_once(void **state)
{
  (void)state;
  static const struct scenario mute = {.steps = {{.want = "limit", .how = ANSWER_MUTE}}};
  struct world w = {.scenario = &mute};
  pthread_mutex_init(&w.mutex, NULL);
  struct fake_http *server = fake_http_new(serve, &w, NULL);
  struct kube *k = client_of(server);
  w.loop = loop_new();
  w.poll = loop_timer_new(w.loop, on_poll, &w);
  w.deadline_ms = clock_ms() + 100;
  loop_timer_start(w.poll, 10);
  struct informers *all = informers_new(w.loop, k, NULL);
  struct informer_callbacks callbacks = {
      .changed = on_changed, .deleted = on_deleted, .synced = on_synced, .arg = &w};
  struct informer_settings settings = {.resource = &resource};
  assert_non_null(informer_start(all, &settings, &callbacks, NULL));
  loop_run(w.loop);
  int64_t started_ms = clock_ms();
  informers_free(all);
  assert_true(clock_ms() - started_ms < 5000);
  loop_timer_free(w.poll);
  loop_free(w.loop);
  kube_free(k);
  fake_http_free(server);
  assert_int_equal(w.said.length, 0);
  pthread_mutex_destroy(&w.mutex);
}

int main(void)
{
  struct CMUnitTest tests[ARRAY_SIZE(scenarios) + 1];
  http_global_init();
  for (size_t i = 0; i < ARRAY_SIZE(scenarios); i++)
    tests[i] = (struct CMUnitTest){.name = scenarios[i].name,
                                   .test_func = test_scenario,
                                   .initial_state = (void *)(uintptr_t)&scenarios[i]};
  tests[ARRAY_SIZE(scenarios)] =
      (struct CMUnitTest){.name = "freed at once", .test_func = test_free_at_once};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
