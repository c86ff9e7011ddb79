// SPDX-License-Identifier: Apache-2.0
// Every call of kube/client.h against a real API server.
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "kube/event.h"
#include "kube_live.h"

#define OBJECTS 250

static const struct kube_resource nothing = {"test.drover.dev", "v1", "nothings", "Nothing"};
static const struct kube_resource nowhere = {"nowhere.drover.dev", "v1", "things", "Thing"};
static const struct kube_resource configmaps = {"", "v1", "configmaps", "ConfigMap"};
static const struct kube_resource event_resource = {"", "v1", "events", "Event"};

static void discovery(struct kube *k)
{
  char version[64];
  struct kube_wanted good[] = {{&things, true}, {&configmaps, false}};
  struct kube_wanted bad[] = {{&things, true}, {&nothing, false}};
  struct kube_wanted absent[] = {{&nowhere, false}};
  struct kube_wanted no_status[] = {{&configmaps, true}};
  struct json_object *o;
  MUST(kube_server_version(k, version, &err));
  printf("server %s\n", version);
  CHECK(version[0] == 'v');
  MUST(kube_check_served(k, good, 2, "apply it", &err));
  MUST_FAIL(kube_check_served(k, bad, 2, "apply it", &err), ERR_NOT_FOUND,
            "does not serve nothings in test.drover.dev/v1: apply it");
  MUST_FAIL(kube_check_served(k, absent, 1, "apply it", &err), ERR_NOT_FOUND, "nowhere.drover.dev");
  MUST_FAIL(kube_check_served(k, no_status, 1, "x", &err), ERR_NOT_FOUND, "configmaps/status");
  // A missing API is not a missing object.
  MUST_FAIL(kube_get(k, &nothing, "default", "x", &o, &err), ERR_PROTOCOL, "does not serve");
}

static void one_object(struct kube *k)
{
  struct json_object *o cleanup_object = live_thing("one", 5);
  struct json_object *made cleanup_object = NULL;
  struct json_object *got cleanup_object = NULL;
  struct json_object *newer cleanup_object = NULL;
  MUST(kube_create(k, &things, "default", o, &made, &err));
  MUST_FAIL(kube_create(k, &things, "default", o, NULL, &err), ERR_EXISTS, "already exists");
  MUST(kube_get(k, &things, "default", "one", &got, &err));
  CHECK(str_eq(object_uid(got), object_uid(made)) && *object_uid(got));
  CHECK(object_int(got, "spec", "size", NULL) == 5);
  CHECK(!object_at(got, "metadata", "managedFields", NULL));
  MUST_FAIL(kube_get(k, &things, "default", "two", &newer, &err), ERR_NOT_FOUND, "two");
  MUST_FAIL(kube_get(k, &things, "default", "../x", &newer, &err), ERR_INVALID, "cannot be");

  json_object_object_add(object_at(got, "spec", NULL), "size", json_object_new_int(6));
  MUST(kube_update(k, &things, got, &newer, &err));
  CHECK(object_int(newer, "spec", "size", NULL) == 6);
  MUST_FAIL(kube_update(k, &things, got, NULL, &err), ERR_CONFLICT, "modified");
  json_object_object_add(object_at(newer, "spec", NULL), "size", json_object_new_int(101));
  MUST_FAIL(kube_update(k, &things, newer, NULL, &err), ERR_INVALID, "spec.size: ");
}

static void status(struct kube *k)
{
  struct json_object *got cleanup_object = NULL;
  struct json_object *newer cleanup_object = NULL;
  struct json_object *blind cleanup_object = live_thing("one", 1);
  MUST(kube_get(k, &things, "default", "one", &got, &err));
  struct json_object *s = json_object_new_object();
  object_set_string(s, "phase", "Ready");
  json_object_object_add(got, "status", s);
  json_object_object_add(object_at(got, "spec", NULL), "size", json_object_new_int(99));
  MUST(kube_update_status(k, &things, got, &newer, &err));
  CHECK(str_eq(object_string(newer, "status", "phase", NULL), "Ready"));
  CHECK(object_int(newer, "spec", "size", NULL) == 6); // spec is not status's to change
  MUST_FAIL(kube_update_status(k, &things, got, NULL, &err), ERR_CONFLICT, "modified");
  MUST_FAIL(kube_update_status(k, &things, blind, NULL, &err), ERR_INTERNAL, "resourceVersion");
}

static struct json_object *parse(const char *text)
{
  struct json_object *o = object_parse(text, strlen(text));
  CHECK(o);
  return o;
}

static void patches(struct kube *k)
{
  struct json_object *merge cleanup_object = parse("{\"spec\":{\"note\":\"merged\"}}");
  struct json_object *json cleanup_object =
      parse("[{\"op\":\"replace\",\"path\":\"/spec/note\",\"value\":\"json\"}]");
  struct json_object *stale cleanup_object =
      parse("{\"metadata\":{\"resourceVersion\":\"1\"},\"spec\":{\"note\":\"stale\"}}");
  struct json_object *apply cleanup_object =
      parse("{\"apiVersion\":\"test.drover.dev/v1\",\"kind\":\"Thing\",\"metadata\":{\"name\":"
            "\"applied\",\"namespace\":\"default\"},\"spec\":{\"size\":3}}");
  struct json_object *a cleanup_object = NULL;
  struct json_object *b cleanup_object = NULL;
  struct json_object *c cleanup_object = NULL;
  MUST(kube_patch(k, &things, "default", "one", NULL, KUBE_PATCH_MERGE, merge, &a, &err));
  CHECK(str_eq(object_string(a, "spec", "note", NULL), "merged"));
  MUST(kube_patch(k, &things, "default", "one", NULL, KUBE_PATCH_JSON, json, &b, &err));
  CHECK(str_eq(object_string(b, "spec", "note", NULL), "json"));
  MUST_FAIL(kube_patch(k, &things, "default", "one", NULL, KUBE_PATCH_MERGE, stale, NULL, &err),
            ERR_CONFLICT, "modified");
  MUST(kube_patch(k, &things, "default", "applied", NULL, KUBE_PATCH_APPLY, apply, &c, &err));
  CHECK(object_int(c, "spec", "size", NULL) == 3);
  MUST(kube_patch(k, &things, "default", "applied", NULL, KUBE_PATCH_APPLY, apply, NULL, &err));
}

static void deletion(struct kube *k)
{
  struct json_object *got cleanup_object = NULL;
  struct json_object *gone = NULL;
  MUST(kube_get(k, &things, "default", "one", &got, &err));
  struct kube_preconditions other = {.uid = "00000000-0000-0000-0000-000000000000"};
  struct kube_preconditions stale = {.version = "1"};
  struct kube_preconditions right = {.uid = object_uid(got), .version = object_version(got)};
  MUST_FAIL(kube_delete(k, &things, "default", "one", &other, &err), ERR_CONFLICT, "recondition");
  MUST_FAIL(kube_delete(k, &things, "default", "one", &stale, &err), ERR_CONFLICT, "recondition");
  MUST(kube_delete(k, &things, "default", "one", &right, &err));
  MUST_FAIL(kube_get(k, &things, "default", "one", &gone, &err), ERR_NOT_FOUND, "one");
  MUST_FAIL(kube_delete(k, &things, "default", "one", NULL, &err), ERR_NOT_FOUND, "one");
  MUST(kube_delete(k, &things, "default", "applied", NULL, &err));
}

static void many(struct kube *k)
{
  int64_t started_ms = clock_ms();
  for (int i = 0; i < OBJECTS; i++) {
    char name[32];
    snprintf(name, sizeof(name), "many-%03d", i);
    struct json_object *o cleanup_object = live_thing(name, 1 + i % 100);
    MUST(kube_create(k, &things, "default", o, NULL, &err));
  }
  // 250 calls at 50 a second after a burst of 100: the budget must have held them up.
  int64_t took_ms = clock_ms() - started_ms;
  printf("%d objects made in %lld ms\n", OBJECTS, (long long)took_ms);
  CHECK(took_ms >= (OBJECTS - 100) * 1000 / 50 * 8 / 10);

  int pages = 0, count = 0;
  cleanup_free char *next = NULL;
  do {
    struct kube_list_query query = {.ns = "default", .next = next};
    struct kube_page page;
    MUST(kube_list(k, &things, &query, &page, &err));
    count += (int)json_object_array_length(page.items);
    pages++;
    free(next);
    next = TAKE(page.next);
    CHECK(*page.version);
    kube_page_release(&page);
  } while (next);
  printf("%d objects in %d pages\n", count, pages);
  CHECK(count == OBJECTS && pages == 3);

  struct kube_list_query bad = {.ns = "default", .next = "nonsense"};
  struct kube_page page;
  MUST_FAIL(kube_list(k, &things, &bad, &page, &err), ERR_INVALID, "continue");
}

static int64_t count_of(struct kube *k, const char *reason, int *ret_events)
{
  char selector[100];
  struct kube_page page;
  snprintf(selector, sizeof(selector), "reason=%s", reason);
  struct kube_list_query query = {.ns = "default", .field_selector = selector};
  MUST(kube_list(k, &event_resource, &query, &page, &err));
  int64_t most = 0;
  *ret_events = (int)json_object_array_length(page.items);
  for (int i = 0; i < *ret_events; i++) {
    int64_t count = object_int(json_object_array_get_idx(page.items, (size_t)i), "count", NULL);
    most = count > most ? count : most;
  }
  kube_page_release(&page);
  return most;
}

static void events(struct kube *k)
{
  struct json_object *got cleanup_object = NULL;
  int listed;
  MUST(kube_get(k, &things, "default", "many-000", &got, &err));
  struct event_about about = {.api_version = "test.drover.dev/v1",
                              .kind = "Thing",
                              .ns = "default",
                              .name = "many-000",
                              .uid = object_uid(got)};
  struct events *e = events_new(k, "drover", "test", NULL);
  CHECK(e);
  for (int i = 0; i < 5; i++)
    event_send(e, &about, "Normal", "Repeated", "the very same");
  for (int i = 0; i < 14; i++) {
    char message[64];
    snprintf(message, sizeof(message), "message %d", i);
    event_send(e, &about, "Warning", "Similar", message);
  }
  for (int i = 0; i < 100; i++)
    event_send(e, &about, "Normal", "Spam", "again and again");
  events_free(e);
  CHECK(count_of(k, "Repeated", &listed) == 5 && listed == 1);
  int64_t combined = count_of(k, "Similar", &listed);
  printf("14 similar events became %d, the last %lld times\n", listed, (long long)combined);
  CHECK(combined == 4 && listed == 11);
  CHECK(count_of(k, "Spam", &listed) == 6 && listed == 1); // 25 in all
}

static void refused(struct kube *k)
{
  struct json_object *o;
  kube_interrupt(k);
  MUST_FAIL(kube_get(k, &things, "default", "many-000", &o, &err), ERR_CANCELLED, "");
}

int live_calls(void)
{
  struct kube *k = live_client();
  discovery(k);
  one_object(k);
  status(k);
  patches(k);
  deletion(k);
  many(k);
  events(k);
  refused(k);
  kube_free(k);
  printf("calls: all held\n");
  return 0;
}
