// SPDX-License-Identifier: Apache-2.0
// The embedded object store behaves as the API server does where runners can see it.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

#include "tests/unit/controller/store_help.h"

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

static void test_create_and_get(void **state)
{
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  assert_int_equal(apply(s, VMM("one", "")), APPLIED_CREATED);
  struct object *o cleanup_crd = get(s, "one");
  assert_null(o->invalid);
  assert_int_equal(o->meta.generation, 1);
  assert_int_equal(strlen(o->meta.uid), 36);
  assert_string_equal(o->meta.ns, "default");
  assert_non_null(o->meta.creation_timestamp);
  const struct vmmigration_spec *spec = o->spec;
  assert_string_equal(spec->source.vm->name, "web");
  assert_int_equal(spec->retry.limit, 5); // a default of the schema
}

static void test_two_uids_differ(void **state)
{
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  apply(s, VMM("one", ""));
  apply(s, VMM("two", ""));
  struct object *one cleanup_crd = get(s, "one");
  struct object *two cleanup_crd = get(s, "two");
  assert_string_not_equal(one->meta.uid, two->meta.uid);
}

static void test_generation_counts_changes_of_spec(void **state)
{
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  static const struct {
    const char *yaml;
    enum store_applied what;
    int64_t generation;
  } steps[] = {
      {VMM("one", ""), APPLIED_CREATED, 1},
      {VMM("one", ""), APPLIED_UNCHANGED, 1},
      {VMM("one", "  retry: {limit: 7}\n"), APPLIED_CONFIGURED, 2},
      {VMM("one", "  retry: {limit: 5}\n"), APPLIED_CONFIGURED, 3},
      // Saying the default is no change of what is meant.
      {VMM("one", ""), APPLIED_CONFIGURED, 3},
      {"apiVersion: drover.dev/v1alpha1\nkind: VMMigration\n"
       "metadata: {name: one, labels: {team: x}, annotations: {a: b}}\nspec:\n"
       "  source: {vm: {providerRef: {name: a}, name: web}}\n"
       "  target: {vm: {providerRef: {name: b}, name: web}}\n",
       APPLIED_CONFIGURED, 3},
  };
  for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
    assert_int_equal(apply(s, steps[i].yaml), steps[i].what);
    struct object *o cleanup_crd = get(s, "one");
    if (o->meta.generation != steps[i].generation)
      fail_msg("step %zu: generation %d", i, (int)o->meta.generation);
  }
}

// What somebody else set stays; what the manifest no longer says goes.
static void test_apply_merges_three_ways(void **state)
{
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  struct err err = ERR_INIT;
  apply(s, VMM("one", "  retry: {limit: 7, maxDelay: 1m}\n"));
  struct object_key key = {OBJECT_VM_MIGRATION, "default", "one"};
  const char *text = "{spec: {cancel: true}, metadata: {annotations: {drover.dev/retry: x}}}";
  struct json_object *patch cleanup_object = yaml_parse(text, strlen(text), &err);
  assert_ok(store_sqlite_patch(s, &key, patch, &err), &err);
  apply(s, VMM("one", "  retry: {maxDelay: 1m}\n"));
  struct object *o cleanup_crd = get(s, "one");
  const struct vmmigration_spec *spec = o->spec;
  assert_true(spec->cancel);
  assert_int_equal(spec->retry.limit, 5);
  assert_int_equal(spec->retry.max_delay_ms, 60000);
  assert_string_equal(object_annotation(o, "drover.dev/retry"), "x");
  assert_int_equal(o->meta.generation, 3);
}

static void test_apply_keeps_status(void **state)
{
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  struct err err = ERR_INIT;
  apply(s, VMM("one", ""));
  struct object *o cleanup_crd = get(s, "one");
  set_phase(o, "Queued");
  assert_ok(s->ops->put_status(s, o, &err), &err);
  apply(s, VMM("one", "  suspend: true\n"));
  struct object *now cleanup_crd = get(s, "one");
  assert_string_equal(((struct vmmigration_status *)now->status)->phase, "Queued");
}

static void test_stale_status_conflicts(void **state)
{
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  struct err err = ERR_INIT;
  apply(s, VMM("one", ""));
  struct object *mine cleanup_crd = get(s, "one");
  struct object *theirs cleanup_crd = get(s, "one");
  set_phase(theirs, "Queued");
  assert_ok(s->ops->put_status(s, theirs, &err), &err);
  set_phase(mine, "Failed");
  assert_int_equal(s->ops->put_status(s, mine, &err), -1);
  assert_int_equal(err.kind, ERR_CONFLICT);
  // The one that won knows its new version and may go on.
  set_phase(theirs, "Preflight");
  assert_ok(s->ops->put_status(s, theirs, &err), &err);
  struct object *now cleanup_crd = get(s, "one");
  assert_string_equal(((struct vmmigration_status *)now->status)->phase, "Preflight");
  assert_string_equal(now->meta.resource_version, theirs->meta.resource_version);
}

static void test_same_status_writes_nothing(void **state)
{
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  struct err err = ERR_INIT;
  apply(s, VMM("one", ""));
  struct object *o cleanup_crd = get(s, "one");
  set_phase(o, "Queued");
  assert_ok(s->ops->put_status(s, o, &err), &err);
  cleanup_free char *version = str_dup(o->meta.resource_version);
  assert_ok(s->ops->put_status(s, o, &err), &err);
  assert_string_equal(version, o->meta.resource_version);
}

static void test_versions_count_up(void **state)
{
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  struct err err = ERR_INIT;
  int64_t last = 0;
  static const char *const phases[] = {"Queued", "Preflight", "Failed"};
  apply(s, VMM("one", ""));
  struct object *o cleanup_crd = get(s, "one");
  for (size_t i = 0; i < ARRAY_SIZE(phases); i++) {
    set_phase(o, phases[i]);
    assert_ok(s->ops->put_status(s, o, &err), &err);
    int64_t version;
    assert_true(str_int64(o->meta.resource_version, &version));
    assert_true(version > last);
    last = version;
  }
}

static void test_finalizer_holds_a_deleted_object(void **state)
{
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  struct err err = ERR_INIT;
  apply(s, VMM("one", ""));
  struct object *o cleanup_crd = get(s, "one");
  assert_ok(s->ops->set_finalizer(s, o, CRDS_FINALIZER, true, &err), &err);
  assert_true(object_has_finalizer(o, CRDS_FINALIZER));
  assert_ok(s->ops->remove(s, o, &err), &err);
  struct object *dying cleanup_crd = get(s, "one");
  assert_non_null(dying->meta.deletion_timestamp);
  assert_int_equal(dying->meta.generation, 2);
  // What was read before the deletion is stale now.
  assert_int_equal(s->ops->set_finalizer(s, o, CRDS_FINALIZER, false, &err), -1);
  assert_int_equal(err.kind, ERR_CONFLICT);
  // A new manifest does not bring it back, and nobody adds another finalizer.
  assert_int_equal(apply_text(s, VMM("one", ""), &(struct store_applied_object){0}, &err), -1);
  assert_contains(err.message, "is being deleted");
  assert_int_equal(s->ops->set_finalizer(s, dying, "x/y", true, &err), -1);
  assert_ok(s->ops->set_finalizer(s, dying, CRDS_FINALIZER, false, &err), &err);
  assert_false(is_there(s, "one"));
}

static void test_without_finalizer_it_goes_at_once(void **state)
{
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  struct err err = ERR_INIT;
  apply(s, VMM("one", ""));
  struct object *o cleanup_crd = get(s, "one");
  assert_ok(s->ops->remove(s, o, &err), &err);
  assert_false(is_there(s, "one"));
  assert_int_equal(s->ops->put_status(s, o, &err), -1);
  assert_int_equal(err.kind, ERR_NOT_FOUND);
  // Another object of that name is not the one that was meant.
  apply(s, VMM("one", ""));
  assert_int_equal(s->ops->remove(s, o, &err), -1);
  assert_int_equal(err.kind, ERR_CONFLICT);
  assert_true(is_there(s, "one"));
}

static const struct {
  const char *yaml, *sentence;
} refused[] = {
    {"{apiVersion: drover.dev/v1alpha1, kind: VMMigration, metadata: {name: Web}, spec: {}}",
     "metadata.name must be lower case"},
    {"{apiVersion: drover.dev/v1alpha1, kind: VMMigration, metadata: {name: a/b}, spec: {}}",
     "metadata.name must be lower case"},
    {"{apiVersion: drover.dev/v1alpha1, kind: VMMigration, metadata: {name: a..b}, spec: {}}",
     "metadata.name must be lower case"},
    {"{apiVersion: drover.dev/v1alpha1, kind: VMMigration, metadata: {}, spec: {}}",
     "metadata.name is missing"},
    {"{apiVersion: drover.dev/v1alpha1, kind: VMMigration, metadata: {name: a, namespace: A_b}}",
     "namespace 'A_b'"},
    {"{apiVersion: drover.dev/v1alpha1, kind: VMMigration, metadata: {name: a}, spec: {}}", "spec"},
    {"{apiVersion: drover.dev/v1alpha1, kind: VMMigration, metadata: {name: a}, spec: [1]}",
     "spec: must be a map"},
    {VMM("a", "  colour: red\n"), "colour"},
    {"{apiVersion: drover.dev/v1alpha1, kind: VMMigration,"
     " metadata: {name: a, labels: {x: 'a b'}}, spec: {}}",
     "is not a label value"},
    {"{apiVersion: drover.dev/v1alpha1, kind: VMMigration,"
     " metadata: {name: a, annotations: {x: 1}}, spec: {}}",
     "must be a string"},
    {"{apiVersion: drover.dev/v2, kind: VMMigration, metadata: {name: a}, spec: {}}",
     "not a kind that drover knows"},
    {"{apiVersion: v1, kind: Pod, metadata: {name: a}}", "not a kind that drover knows"},
    {"{apiVersion: v1, kind: Secret, metadata: {name: a}, data: {x: '%%%'}}", "is not base64"},
    {"{apiVersion: v1, kind: Secret, metadata: {name: a}, stringData: {x: 5}}", "must be a string"},
    {"{apiVersion: v1, kind: Secret, metadata: {name: a}, immutable: true}",
     "immutable: not known"},
    {"{apiVersion: v2, kind: Secret, metadata: {name: a}}", "is not v1"},
};

static void test_wrong_manifests_are_refused(void **state)
{
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
    struct err err = ERR_INIT;
    struct store_applied_object applied;
    if (apply_text(s, refused[i].yaml, &applied, &err) == 0)
      fail_msg("accepted: %s", refused[i].yaml);
    assert_contains(err.message, refused[i].sentence);
    assert_int_equal(err_retryable(err.kind), false);
  }
  for (int kind = 0; kind < OBJECT_KIND_COUNT; kind++) {
    struct object_key *keys cleanup_free = NULL;
    size_t count = 9;
    struct err err = ERR_INIT;
    assert_ok(s->ops->list(s, (enum object_kind)kind, NULL, &keys, &count, &err), &err);
    assert_int_equal(count, 0);
  }
}

static void test_immutable_fields(void **state)
{
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  struct err err = ERR_INIT;
  struct store_applied_object applied;
  apply(s, VMM("one", ""));
  assert_int_equal(apply_text(s, VMM("one", "  via: {storeRef: {name: s}}\n"), &applied, &err), -1);
  assert_int_equal(err.kind, ERR_INVALID);
  assert_contains(err.message, "via");
  struct object *o cleanup_crd = get(s, "one");
  assert_null(((struct vmmigration_spec *)o->spec)->via);
}

static void test_patch_only_what_may_be_patched(void **state)
{
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  apply(s, VMM("one", ""));
  static const char *const wrong[] = {"{status: {phase: Succeeded}}", "{metadata: {uid: x}}",
                                      "{metadata: {finalizers: []}}", "{kind: Provider}",
                                      "{spec: {colour: red}}",        "[]",
                                      "{spec: {mode: Warm}}",         "{spec: 1}"};
  for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
    struct err err = ERR_INIT;
    struct json_object *patch cleanup_object = yaml_parse(wrong[i], strlen(wrong[i]), &err);
    struct object_key key = {OBJECT_VM_MIGRATION, "default", "one"};
    if (store_sqlite_patch(s, &key, patch, &err) == 0)
      fail_msg("accepted: %s", wrong[i]);
    assert_int_equal(err.kind, ERR_INVALID);
  }
  struct object *o cleanup_crd = get(s, "one");
  assert_int_equal(o->meta.generation, 1);
}

static void test_secrets_and_configs(void **state)
{
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  struct err err = ERR_INIT;
  assert_int_equal(apply(s, SECRET("s", "hunter2")), APPLIED_CREATED);
  assert_int_equal(apply(s, SECRET("s", "hunter2")), APPLIED_UNCHANGED);
  assert_int_equal(apply(s, SECRET("s", "hunter3")), APPLIED_CONFIGURED);
  apply(s, "{apiVersion: v1, kind: Secret, metadata: {name: b, namespace: other},"
           " data: {k: AAEC, t: b2xk}, stringData: {t: new}}");
  apply(s, "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {ca.crt: text}}");
  struct secret_map m CLEANUP(secret_map_release) = {0};
  assert_ok(s->ops->get_secret(s, "default", "s", &m, &err), &err);
  assert_string_equal(secret_reveal(secret_map_get(&m, "password")), "hunter3");
  assert_null(secret_map_get(&m, "username"));
  struct secret_map b CLEANUP(secret_map_release) = {0};
  assert_ok(s->ops->get_secret(s, "other", "b", &b, &err), &err);
  assert_int_equal(secret_map_get(&b, "k")->length, 3);
  assert_memory_equal(secret_reveal(secret_map_get(&b, "k")), "\0\1\2", 3);
  assert_string_equal(secret_reveal(secret_map_get(&b, "t")), "new");
  char *text cleanup_free = NULL;
  assert_ok(s->ops->get_config(s, "default", "c", "ca.crt", &text, &err), &err);
  assert_string_equal(text, "text");
}

static void test_missing_secrets_are_named(void **state)
{
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  struct err err = ERR_INIT;
  struct secret_map m = {0};
  char *text = NULL;
  apply(s, SECRET("s", "x"));
  apply(s, "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: b}}");
  assert_int_equal(s->ops->get_secret(s, "other", "s", &m, &err), -1);
  assert_int_equal(err.kind, ERR_NOT_FOUND);
  assert_contains(err.message, "Secret 's' in namespace 'other'");
  assert_int_equal(s->ops->get_config(s, "default", "c", "ca.crt", &text, &err), -1);
  assert_contains(err.message, "has no key 'ca.crt'");
  assert_ok(store_sqlite_remove_map(s, "Secret", "default", "s", &err), &err);
  assert_int_equal(s->ops->get_secret(s, "default", "s", &m, &err), -1);
  assert_int_equal(store_sqlite_remove_map(s, "Secret", "default", "s", &err), -1);
}

static void test_namespace_labels(void **state)
{
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  struct err err = ERR_INIT;
  apply(s, "{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {team: x, area: z}}}");
  struct strings labels CLEANUP(strings_release) = {0};
  assert_ok(s->ops->namespace_labels(s, "a", &labels, &err), &err);
  assert_string_equal(strings_map_get(&labels, "team"), "x");
  assert_string_equal(strings_map_get(&labels, "area"), "z");
  assert_string_equal(strings_map_get(&labels, "kubernetes.io/metadata.name"), "a");
  struct strings none CLEANUP(strings_release) = {0};
  assert_ok(s->ops->namespace_labels(s, "never-seen", &none, &err), &err);
  assert_int_equal(none.count, 2);
}

// ---- events ---------------------------------------------------------------------------------

struct seen {
  size_t rows;
  int64_t last_count;
  char last[64];
};

static void see(void *arg, const struct store_event *event)
{
  struct seen *seen = arg;
  seen->rows++;
  seen->last_count = event->count;
  snprintf(seen->last, sizeof(seen->last), "%s %s %s", event->type, event->reason, event->message);
}

static void test_events_are_counted(void **state)
{
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  struct err err = ERR_INIT;
  apply(s, VMM("one", ""));
  struct object *o cleanup_crd = get(s, "one");
  struct object_key key = object_key_of(o);
  s->ops->event(s, o, "Normal", "Queued", "waiting");
  for (int i = 0; i < 5; i++)
    s->ops->event(s, o, "Warning", "Unreachable", "no route");
  struct seen seen = {0};
  assert_ok(store_sqlite_events(s, &key, see, &seen, &err), &err);
  assert_int_equal(seen.rows, 2);
  assert_int_equal(seen.last_count, 5);
  assert_string_equal(seen.last, "Warning Unreachable no route");
  // A flood is cut, not written.
  int64_t before_ms = clock_ms();
  for (int i = 0; i < 700; i++) {
    char text[32];
    snprintf(text, sizeof(text), "number %d", i);
    s->ops->event(s, o, "Normal", "Flood", text);
  }
  seen = (struct seen){0};
  assert_ok(store_sqlite_events(s, &key, see, &seen, &err), &err);
  int64_t most = 502 + (clock_ms() - before_ms + 1000) * 25 / 1000;
  assert_in_range(seen.rows, 490, most);
}

// ---- the file -------------------------------------------------------------------------------

static unsigned mode_of(const char *path)
{
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  return st.st_mode & 0777;
}

static void test_only_the_owner_may_read(void **state)
{
  const struct place *p = *state;
  static const char *const names[] = {"", "-wal", "-shm", ".lock"};
  {
    struct object_store *s cleanup_store = open_store(p, STORE_RUN);
    apply(s, SECRET("s", "hunter2"));
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
      cleanup_free char *path = str_printf("%s%s", p->path, names[i]);
      assert_int_equal(mode_of(path), 0600);
    }
  }
  chmod(p->path, 0644);
  store_free(open_store(p, STORE_RUN));
  assert_int_equal(mode_of(p->path), 0600);
}

static bool file_holds(const char *path, const char *text)
{
  FILE *f cleanup_fclose = fopen(path, "r");
  static char content[4 << 20];
  size_t length = f ? fread(content, 1, sizeof(content), f) : 0;
  return memmem(content, length, text, strlen(text)) != NULL;
}

// Not even in free pages of the file.
static void test_a_removed_secret_is_overwritten(void **state)
{
  const struct place *p = *state;
  struct err err = ERR_INIT;
  {
    struct object_store *s cleanup_store = open_store(p, STORE_RUN);
    apply(s, SECRET("s", "hunter2-hunter2-hunter2"));
  }
  assert_true(file_holds(p->path, "hunter2-hunter2"));
  {
    struct object_store *s cleanup_store = open_store(p, STORE_RUN);
    assert_ok(store_sqlite_remove_map(s, "Secret", "default", "s", &err), &err);
  }
  assert_false(file_holds(p->path, "hunter2-hunter2"));
}

static void test_foreign_and_newer_files(void **state)
{
  const struct place *p = *state;
  struct err err = ERR_INIT;
  struct object_store *s = NULL;
  assert_int_equal(store_sqlite_open(p->path, STORE_READ, &s, &err), -1);
  assert_int_equal(err.kind, ERR_NOT_FOUND);
  store_free(open_store(p, STORE_RUN));
  cleanup_close int fd = open(p->path, O_RDWR);
  unsigned char version[4];
  assert_int_equal(pread(fd, version, 4, 60), 4); // user_version in the header of the file
  assert_int_equal(version[3], 2);
  assert_int_equal(pwrite(fd, "\0\0\0\x63", 4, 60), 4);
  assert_int_equal(store_sqlite_open(p->path, STORE_RUN, &s, &err), -1);
  assert_int_equal(err.kind, ERR_UNSUPPORTED);
  assert_contains(err.message, "newer drover");
  assert_int_equal(pwrite(fd, "\0\0\0\x02", 4, 60), 4);
  assert_int_equal(pwrite(fd, "\0\0\0\x01", 4, 68), 4); // application_id
  assert_int_equal(store_sqlite_open(p->path, STORE_RUN, &s, &err), -1);
  assert_contains(err.message, "not one of drover");
  assert_int_equal(ftruncate(fd, 0), 0);
  assert_int_equal(pwrite(fd, "not a database at all, but text that is long enough", 51, 0), 51);
  assert_int_equal(store_sqlite_open(p->path, STORE_RUN, &s, &err), -1);
  assert_int_equal(err.kind, ERR_CORRUPT);
}

// No room: the write fails whole, is told, and works again when there is room.
static void test_no_room(void **state)
{
  struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
  struct err err = ERR_INIT;
  struct store_applied_object applied;
  struct rlimit all, little = {4096, 0};
  apply(s, VMM("one", ""));
  assert_false(store_sqlite_trouble(s, &err));
  signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &all), 0);
  little.rlim_max = all.rlim_max;
  setrlimit(RLIMIT_FSIZE, &little);
  int rc = apply_text(s, VMM("two", ""), &applied, &err);
  setrlimit(RLIMIT_FSIZE, &all);
  assert_int_equal(rc, -1);
  assert_contains(err.message, "state file");
  struct err trouble = ERR_INIT;
  assert_true(store_sqlite_trouble(s, &trouble));
  assert_string_equal(trouble.message, err.message);
  assert_false(is_there(s, "two"));
  assert_int_equal(apply(s, VMM("two", "")), APPLIED_CREATED);
  assert_false(store_sqlite_trouble(s, &trouble));
}

static void test_reopened_it_is_the_same(void **state)
{
  char first[64], second[64];
  struct err err = ERR_INIT;
  {
    struct object_store *s cleanup_store = open_store(*state, STORE_RUN);
    apply(s, VMM("one", ""));
    assert_ok(s->ops->installation(s, first, &err), &err);
  }
  struct object_store *s cleanup_store = open_store(*state, STORE_READ);
  assert_true(is_there(s, "one"));
  assert_ok(s->ops->installation(s, second, &err), &err);
  assert_string_equal(first, second);
  assert_int_equal(strlen(first), 36);
  struct store_applied_object applied;
  assert_int_equal(apply_text(s, VMM("two", ""), &applied, &err), -1);
  assert_int_equal(err.kind, ERR_DENIED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
  const struct CMUnitTest tests[] = {
      TEST(test_create_and_get),
      TEST(test_two_uids_differ),
      TEST(test_generation_counts_changes_of_spec),
      TEST(test_apply_merges_three_ways),
      TEST(test_apply_keeps_status),
      TEST(test_stale_status_conflicts),
      TEST(test_same_status_writes_nothing),
      TEST(test_versions_count_up),
      TEST(test_finalizer_holds_a_deleted_object),
      TEST(test_without_finalizer_it_goes_at_once),
      TEST(test_wrong_manifests_are_refused),
      TEST(test_immutable_fields),
      TEST(test_patch_only_what_may_be_patched),
      TEST(test_secrets_and_configs),
      TEST(test_missing_secrets_are_named),
      TEST(test_namespace_labels),
      TEST(test_events_are_counted),
      TEST(test_only_the_owner_may_read),
      TEST(test_a_removed_secret_is_overwritten),
      TEST(test_foreign_and_newer_files),
      TEST(test_no_room),
      TEST(test_reopened_it_is_the_same),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
