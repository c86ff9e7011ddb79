// SPDX-License-Identifier: Apache-2.0
// Objects that drover makes itself: in the embedded store, and what the cache of the Kubernetes
// store makes of a create that the watch overtakes, or that overtakes the watch.
#include <sqlite3.h>

#include "controller/kube_cache.h"
#include "crds/cloneset.h"
#include "tests/unit/controller/store_help.h"

#define CLONE_TEXT                                                                                 \
  "{\"apiVersion\":\"drover.dev/v1alpha1\",\"kind\":\"Clone\",\"metadata\":{\"namespace\":"        \
  "\"default\",\"name\":\"web-0\",\"labels\":{\"drover.dev/set\":\"web\"},\"annotations\":"        \
  "{\"a\":\"b\"},\"finalizers\":[\"drover.dev/cleanup\"],\"ownerReferences\":[{\"apiVersion\":"    \
  "\"drover.dev/v1alpha1\",\"kind\":\"CloneSet\",\"name\":\"web\",\"uid\":\"u-1\","                \
  "\"controller\":true}]},\"spec\":{\"baseRef\":{\"name\":\"debian\"},\"cpus\":2}}"

static int set_up(void **state)
{
  *state = place_new();
  return 0;
}

static int tear_down(void **state)
{
  place_free(*state);
  return 0;
}

static struct object *decode(const char *text)
{
  struct err err = ERR_INIT;
  struct object *o = NULL;
  struct json_object *json cleanup_object = json_tokener_parse(text);
  assert_non_null(json);
  assert_ok(object_decode(json, &o, &err), &err);
  return o;
}

static struct object *get_clone(struct object_store *s)
{
  struct err err = ERR_INIT;
  struct object *o = NULL;
  assert_ok(store_get(s, OBJECT_CLONE, "default", "web-0", &o, &err), &err);
  return o;
}

// ---- the embedded store ---------------------------------------------------------------------

static void check_clone(const struct object *o)
{
  const struct clone_spec *spec = o->spec;
  const struct object_owner *owner = o->meta.owners.items;
  assert_null(o->invalid);
  assert_string_equal(strings_map_get(&o->meta.labels, CRDS_LABEL_SET), "web");
  assert_string_equal(object_annotation(o, "a"), "b");
  assert_true(object_has_finalizer(o, CRDS_FINALIZER));
  assert_int_equal(o->meta.owners.count, 1);
  assert_string_equal(owner->api_version, CRDS_API_VERSION);
  assert_string_equal(owner->kind, "CloneSet");
  assert_string_equal(owner->name, "web");
  assert_string_equal(owner->uid, "u-1");
  assert_true(owner->controller);
  assert_string_equal(spec->base->name, "debian");
  assert_int_equal(spec->t.cpus, 2);
  assert_int_equal(spec->t.readiness.timeout_ms, 300000);
  assert_int_equal(((const struct clone_status *)o->status)->observed_generation, -1);
}

static void test_create(void **state)
{
  struct err err = ERR_INIT;
  struct object *mine cleanup_crd = decode(CLONE_TEXT);
  {
    struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
    assert_ok(s->ops->create(s, mine, &err), &err);
    assert_int_equal(strlen(mine->meta.uid), 36);
    assert_int_equal(mine->meta.generation, 1);
    // What create() says is enough to go on with.
    ((struct clone_status *)mine->status)->phase = str_dup("Pending");
    assert_ok(s->ops->put_status(s, mine, &err), &err);
  }
  struct object_store *again cleanup_store = open_store(*state, STORE_RUN);
  struct object *o cleanup_crd = get_clone(again);
  assert_string_equal(o->meta.uid, mine->meta.uid);
  assert_string_equal(o->meta.resource_version, mine->meta.resource_version);
  assert_string_equal(((struct clone_status *)o->status)->phase, "Pending");
  free(TAKE(((struct clone_status *)o->status)->phase));
  check_clone(o);
}

static void test_names_are_taken_once(void **state)
{
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  struct err err = ERR_INIT;
  struct object *one cleanup_crd = decode(CLONE_TEXT);
  struct object *two cleanup_crd = decode(CLONE_TEXT);
  assert_ok(s->ops->create(s, one, &err), &err);
  assert_int_equal(s->ops->create(s, two, &err), -1);
  assert_int_equal(err.kind, ERR_EXISTS);
  assert_contains(err.message, "Clone 'web-0'");
  // One that is being deleted still has its name.
  err = (struct err)ERR_INIT;
  assert_ok(s->ops->remove(s, one, &err), &err);
  assert_int_equal(s->ops->create(s, two, &err), -1);
  assert_int_equal(err.kind, ERR_EXISTS);
  assert_contains(err.message, "being deleted");
  err = (struct err)ERR_INIT;
  struct object *dying cleanup_crd = get_clone(s);
  assert_ok(s->ops->set_finalizer(s, dying, CRDS_FINALIZER, false, &err), &err);
  assert_ok(s->ops->create(s, two, &err), &err);
  assert_string_not_equal(one->meta.uid, two->meta.uid);
}

// What was nobody's gets an owner, at the version that was read and at no other.
static void test_owners_are_written(void **state)
{
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  struct object *o cleanup_crd = decode(CLONE_TEXT);
  struct err err = ERR_INIT;
  struct list owners = o->meta.owners;
  o->meta.owners = (struct list){0};
  assert_ok(s->ops->create(s, o, &err), &err);
  struct object *one cleanup_crd = get_clone(s);
  struct object *late cleanup_crd = get_clone(s);
  assert_int_equal(one->meta.owners.count, 0);
  one->meta.owners = owners;
  assert_ok(s->ops->put_owners(s, one, &err), &err);
  struct object *after cleanup_crd = get_clone(s);
  check_clone(after);
  assert_string_equal(after->meta.resource_version, one->meta.resource_version);
  assert_int_equal(s->ops->put_owners(s, late, &err), -1);
  assert_int_equal(err.kind, ERR_CONFLICT);
}

static void test_wrong_ones_are_refused(void **state)
{
  static const struct {
    const char *from, *to, *sentence;
  } rows[] = {
      {"web-0", "Web_0", "metadata.name must be lower case"},
      {"\"default\"", "\"Default\"", "namespace 'Default'"},
      {"\"cpus\":2", "\"cpus\":2,\"vm\":{\"providerRef\":{\"name\":\"a\"},\"name\":\"x\"}",
       "exactly one of baseRef, sourceRef and vm"},
      {":\"web\"}", ":\"a b\"}", "is not a label value"},
  };
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
    struct err err = ERR_INIT;
    const char *at = strstr(CLONE_TEXT, rows[i].from);
    assert_non_null(at);
    cleanup_free char *text = str_printf("%.*s%s%s", (int)(at - CLONE_TEXT), CLONE_TEXT, rows[i].to,
                                         at + strlen(rows[i].from));
    struct json_object *json cleanup_object = json_tokener_parse(text);
    struct object *o cleanup_crd = NULL;
    assert_ok(object_decode(json, &o, &err), &err);
    assert_int_equal(s->ops->create(s, o, &err), -1);
    assert_int_equal(err.kind, ERR_INVALID);
    assert_contains(err.message, rows[i].sentence);
  }
}

// A file of the first schema: owners are added when it is run, and until then it is not read.
static void test_older_file(void **state)
{
  const struct place *p = *state;
  struct err err = ERR_INIT;
  struct object_store *s = NULL;
  {
    struct object_store *first cleanup_store = open_store(p, STORE_RUN);
    apply(first, VMM("one", ""));
  }
  sqlite3 *db = NULL;
  assert_int_equal(sqlite3_open(p->path, &db), SQLITE_OK);
  assert_int_equal(sqlite3_exec(db,
                                "ALTER TABLE objects DROP COLUMN owners; PRAGMA user_version = 1",
                                NULL, NULL, NULL),
                   SQLITE_OK);
  sqlite3_close(db);
  assert_int_equal(store_sqlite_open(p->path, STORE_READ, &s, &err), -1);
  assert_int_equal(err.kind, ERR_UNSUPPORTED);
  assert_contains(err.message, "older drover");
  struct object_store *now cleanup_store = open_store(p, STORE_RUN);
  assert_true(is_there(now, "one"));
  struct object *o cleanup_crd = decode(CLONE_TEXT);
  assert_ok(now->ops->create(now, o, &err), &err);
  struct object *back cleanup_crd = get_clone(now);
  check_clone(back);
}

// ---- the cache of the Kubernetes store ------------------------------------------------------

static struct object *of_server(const char *uid, const char *version)
{
  struct object *o = decode(CLONE_TEXT);
  o->meta.uid = str_dup(uid);
  o->meta.resource_version = str_dup(version);
  return o;
}

static const struct object_key web_0 = {OBJECT_CLONE, "default", "web-0"};

static bool holds(struct kube_cache *c, const char *uid)
{
  bool no_memory;
  struct object *o cleanup_crd = kube_cache_get(c, &web_0, &no_memory);
  return o && str_eq(o->meta.uid, uid);
}

static bool put(struct kube_cache *c, const char *uid, const char *version)
{
  struct object *o cleanup_crd = of_server(uid, version);
  return kube_cache_put(c, o);
}

DEFINE_CLEANUP(kube_cache_free, struct kube_cache *)
#define cleanup_cache CLEANUP(kube_cache_free_p)

// Read back at once, and still a change when the watch comes to it, but only the first time.
static void test_born_before_the_watch_tells(void **state)
{
  (void)state;
  struct kube_cache *c cleanup_cache = kube_cache_new();
  struct object *o cleanup_crd = of_server("a", "7");
  struct kube_birth *b = kube_cache_expect(c, &web_0);
  assert_false(holds(c, "a"));
  kube_cache_born(c, b, o);
  assert_true(holds(c, "a"));
  assert_true(put(c, "a", "7"));
  assert_false(put(c, "a", "7"));
  assert_true(put(c, "a", "8"));
}

static void test_watch_tells_before_the_answer(void **state)
{
  (void)state;
  struct kube_cache *c cleanup_cache = kube_cache_new();
  struct object *o cleanup_crd = of_server("a", "7");
  struct kube_birth *b = kube_cache_expect(c, &web_0);
  assert_true(put(c, "a", "9"));
  kube_cache_born(c, b, o);
  assert_false(put(c, "a", "9")); // it has been told, and stays the newer one
  // Gone before the answer was read: it must not come back.
  b = kube_cache_expect(c, &web_0);
  struct kube_birth *other = kube_cache_expect(c, &web_0);
  kube_cache_remove(c, &web_0, "a");
  kube_cache_born(c, b, o);
  assert_false(holds(c, "a"));
  kube_cache_born(c, other, NULL);
  assert_false(holds(c, "a"));
}

// The watch has not told yet that the one before is gone.
static void test_born_after_another_of_its_name(void **state)
{
  (void)state;
  struct kube_cache *c cleanup_cache = kube_cache_new();
  struct object *o cleanup_crd = of_server("b", "12");
  assert_true(put(c, "a", "7"));
  struct kube_birth *b = kube_cache_expect(c, &web_0);
  kube_cache_born(c, b, o);
  assert_true(holds(c, "b"));
  kube_cache_remove(c, &web_0, "a");
  assert_true(holds(c, "b"));
  assert_true(put(c, "b", "12"));
}

static void note_uid(void *arg, const struct object *o)
{
  strings_add(arg, o->meta.uid);
}

static void test_each_is_shown(void **state)
{
  (void)state;
  struct kube_cache *c cleanup_cache = kube_cache_new();
  struct strings uids CLEANUP(strings_release) = {0};
  assert_true(put(c, "a", "7"));
  assert_true(put(c, "a", "8"));
  kube_cache_each(c, OBJECT_CLONE, "elsewhere", NULL, note_uid, &uids);
  kube_cache_each(c, OBJECT_CLONE_SET, NULL, NULL, note_uid, &uids);
  kube_cache_each(c, OBJECT_CLONE, NULL, "no such text", note_uid, &uids);
  assert_int_equal(uids.count, 0);
  kube_cache_each(c, OBJECT_CLONE, "default", "debian", note_uid, &uids);
  kube_cache_each(c, OBJECT_CLONE, NULL, NULL, note_uid, &uids);
  assert_int_equal(uids.count, 2);
  assert_string_equal(uids.items[1], "a");
  // What is written ourselves is read back at once, and an older word of the watch is no news.
  struct object *o cleanup_crd = of_server("a", "12");
  strings_map_set(&o->meta.labels, "colour", "green");
  kube_cache_written(c, o);
  assert_false(put(c, "a", "9"));
  bool no_memory;
  struct object *back cleanup_crd = kube_cache_get(c, &web_0, &no_memory);
  assert_string_equal(strings_map_get(&back->meta.labels, "colour"), "green");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_create, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_names_are_taken_once, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_owners_are_written, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_wrong_ones_are_refused, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_older_file, set_up, tear_down),
      cmocka_unit_test(test_born_before_the_watch_tells),
      cmocka_unit_test(test_watch_tells_before_the_answer),
      cmocka_unit_test(test_born_after_another_of_its_name),
      cmocka_unit_test(test_each_is_shown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
