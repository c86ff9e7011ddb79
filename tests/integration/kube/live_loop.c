// SPDX-License-Identifier: Apache-2.0
// The parts that run until they are told to stop (SIGTERM): watch, poll, lease.
#include <json-c/linkhash.h>
#include <signal.h>
#include <string.h>

#include "base/clock.h"
#include "base/loop.h"
#include "base/str.h"
#include "kube/informer.h"
#include "kube/lease.h"
#include "kube_live.h"

static void on_term(void *arg)
{
  loop_stop(arg);
}

static struct loop *loop_until_term(void)
{
  struct loop *loop = loop_new();
  CHECK(loop && loop_on_signal(loop, SIGTERM, on_term, loop) == 0);
  return loop;
}

// ---- watch: keeps a table of what the callbacks said; SIGUSR1 prints it -------------------------

static void on_changed(void *arg, struct json_object *o)
{
  struct json_object *table = arg;
  char value[100];
  snprintf(value, sizeof(value), "%s/%s", object_uid(o), object_version(o));
  json_object_object_add(table, object_name(o), json_object_new_string(value));
}

static void on_deleted(void *arg, const char *ns, const char *name, const char *uid)
{
  struct json_object *table = arg;
  const char *known = object_string(table, name, NULL);
  CHECK(str_eq(ns, "default"));
  CHECK(str_starts(known, uid)); // each is deleted once, and as the one that it was
  json_object_object_del(table, name);
}

static void on_synced(void *arg)
{
  (void)arg;
  printf("synced\n");
}

static void on_trouble(void *arg, const struct err *err, int64_t again_in_ms)
{
  (void)arg;
  printf("trouble: %s: %s (again in %lld ms)\n", err_reason(err->kind), err->message,
         (long long)again_in_ms);
}

static void on_usr1(void *arg)
{
  struct json_object *table = arg;
  json_object_object_foreach(table, name, value)
  {
    printf("have %s %s\n", name, json_object_get_string(value));
  }
  printf("that is all\n");
}

int live_watch(void)
{
  struct err err = ERR_INIT;
  struct kube *k = live_client();
  struct loop *loop = loop_until_term();
  struct json_object *table = json_object_new_object();
  struct informers *all = informers_new(loop, k, &err);
  // Watches of two to four seconds: the test is over before a usual one has ended.
  struct informer_settings settings = {.resource = &things, .ns = "default", .watch_ms = 2000};
  struct informer_callbacks callbacks = {.changed = on_changed,
                                         .deleted = on_deleted,
                                         .synced = on_synced,
                                         .trouble = on_trouble,
                                         .arg = table};
  CHECK(all && informer_start(all, &settings, &callbacks, &err));
  CHECK(loop_on_signal(loop, SIGUSR1, on_usr1, table) == 0);
  loop_run(loop);
  kube_interrupt(k);
  informers_free(all);
  loop_free(loop);
  kube_free(k);
  json_object_put(table);
  return 0;
}

// ---- poll: one call after the other; every one must succeed -------------------------------------

int live_poll(int seconds)
{
  struct kube *k = live_client();
  int64_t end_ms = clock_ms() + seconds * 1000;
  int calls = 0;
  while (clock_ms() < end_ms) {
    struct kube_list_query query = {.ns = "default", .limit = 1};
    struct kube_page page;
    MUST(kube_list(k, &things, &query, &page, &err));
    kube_page_release(&page);
    if (calls++ == 0)
      printf("first call done\n");
  }
  kube_free(k);
  printf("%d calls, all answered\n", calls);
  return 0;
}

// ---- lease --------------------------------------------------------------------------------------

static void on_leading(void *arg)
{
  struct lease **lease = arg;
  CHECK(lease_is_held(*lease));
  printf("leading\n");
}

static void on_lost(void *arg, const struct err *err)
{
  struct lease **lease = arg;
  CHECK(!lease_is_held(*lease));
  printf("lost: %s\n", err->message);
}

static void on_lease_trouble(void *arg, const struct err *err)
{
  (void)arg;
  printf("trouble: %s\n", err->message);
}

int live_lease(const char *identity)
{
  struct err err = ERR_INIT;
  struct kube *k = live_client();
  struct loop *loop = loop_until_term();
  struct lease *lease = NULL;
  struct lease_settings settings = {.ns = "default", .name = "test", .identity = identity};
  struct lease_callbacks callbacks = {
      .leading = on_leading, .lost = on_lost, .trouble = on_lease_trouble, .arg = &lease};
  lease = lease_start(k, loop, &settings, &callbacks, &err);
  CHECK(lease);
  loop_run(loop);
  lease_stop(lease);
  kube_interrupt(k);
  loop_free(loop);
  kube_free(k);
  printf("stopped\n");
  return 0;
}
