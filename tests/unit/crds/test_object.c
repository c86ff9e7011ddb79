// SPDX-License-Identifier: Apache-2.0
#include "crds/object.h"

#include "base/cleanup.h"
#include "crds/common.h"
#include "crds/imagestore.h"
#include "crds/provider.h"
#include "crds/vmmigration.h"
#include "tests/unit/unit.h"

static struct object *decode(const char *text)
{
  struct err err = ERR_INIT;
  struct object *o = NULL;
  struct json_object *json = json_tokener_parse(text);
  assert_non_null(json);
  assert_ok(object_decode(json, &o, &err), &err);
  json_object_put(json);
  return o;
}

static const char migration[] =
    "{\"apiVersion\":\"drover.dev/v1alpha1\",\"kind\":\"VMMigration\",\"metadata\":{"
    "\"name\":\"m\",\"namespace\":\"team\",\"uid\":\"u-1\",\"resourceVersion\":\"77\","
    "\"generation\":3,\"managedFields\":[{}],\"labels\":{\"b\":\"2\",\"a\":\"1\"},"
    "\"annotations\":{\"drover.dev/retry\":\"now\"},\"finalizers\":[\"drover.dev/cleanup\"]},"
    "\"spec\":{\"source\":{\"vm\":{\"providerRef\":{\"name\":\"a\"},\"name\":\"web\"}},"
    "\"target\":{\"vm\":{\"providerRef\":{\"name\":\"b\",\"namespace\":\"other\"},"
    "\"memory\":\"2Gi\",\"powerState\":\"On\"}},\"retry\":{\"limit\":0}},"
    "\"status\":{\"observedGeneration\":2,\"phase\":\"Transferring\",\"fromTheFuture\":true,"
    "\"owned\":[{\"kind\":\"Volume\",\"id\":\"x\"}],\"runner\":{\"sourcePower\":\"On\"},"
    "\"result\":{\"vm\":{\"id\":\"7\"}}}}";

static void reads_an_object_of_the_server(void **state)
{
  (void)state;
  struct object *o = decode(migration);
  const struct vmmigration_spec *spec = o->spec;
  const struct vmmigration_status *status = o->status;
  assert_null(o->invalid);
  assert_int_equal(o->kind, OBJECT_VM_MIGRATION);
  assert_string_equal(o->meta.ns, "team");
  assert_int_equal(o->meta.generation, 3);
  assert_string_equal(object_annotation(o, CRDS_ANNOTATE_RETRY), "now");
  assert_null(object_annotation(o, CRDS_ANNOTATE_ABANDON));
  assert_true(object_has_finalizer(o, CRDS_FINALIZER));
  assert_string_equal(spec->source.vm->name, "web");
  assert_null(spec->source.vm->provider.ns);
  assert_int_equal(spec->target.vm->memory_bytes, 2ll << 30);
  assert_int_equal(spec->target.vm->power_state, MIGRATE_POWER_ON);
  assert_int_equal(spec->target.vm->readiness.timeout_ms, 300000);
  assert_int_equal(spec->retry.limit, 0);
  assert_int_equal(spec->retry.initial_delay_ms, 5000);
  assert_int_equal(spec->transfer.connections, 4);
  assert_int_equal(spec->timeout_ms, FIELD_DURATION_ABSENT);
  assert_int_equal(spec->ttl_seconds_after_finished, -1);
  assert_int_equal(spec->source_after.after_ms, 0);
  assert_int_equal(status->observed_generation, 2);
  assert_int_equal(status->owned.count, 1);
  assert_string_equal(status->result.vm->id, "7");
  object_free(o);
}

static void encoding_gives_the_same_object(void **state)
{
  (void)state;
  struct err err = ERR_INIT;
  struct object *o = decode(migration);
  struct object *again = NULL;
  struct object *copy = NULL;
  struct json_object *json = object_encode(o);
  assert_ok(object_decode_strict(json, &again, &err), &err);
  assert_ok(object_copy(o, &copy, &err), &err);
  struct json_object *second = object_encode(again);
  struct json_object *third = object_encode(copy);
  assert_true(json_object_equal(json, second));
  assert_true(json_object_equal(json, third));
  json_object_put(json);
  json_object_put(second);
  json_object_put(third);
  object_free(o);
  object_free(again);
  object_free(copy);
}

// Metadata, spec and status begin zeroed, whatever was accepted: defaults of status come too.
// What it was made of may go.
static void squeezing_gives_the_same_object(void **state)
{
  (void)state;
  struct err err = ERR_INIT;
  struct object *o = decode(migration);
  struct object *copy, *back;
  struct squeezed *squeezed;
  for (int i = 0; i < 100; i++) { // more texts than are looked through for an equal one
    char text[16];
    snprintf(text, sizeof(text), "label-%d", i);
    strings_map_set(&o->meta.labels, text, i % 2 ? "odd" : text);
  }
  o->invalid = strdup("spec: is odd");
  ((struct vmmigration_spec *)o->spec)->timeout_ms = INT64_MAX;
  ((struct vmmigration_status *)o->status)->observed_generation = INT64_MIN;
  assert_ok(object_copy(o, &copy, &err), &err);
  assert_ok(object_squeeze(o, &squeezed, &err), &err);
  object_free(o);
  assert_ok(object_unsqueeze(squeezed, &back, &err), &err);
  assert_true(table_equal(object_kind_info(copy->kind)->spec, copy->spec, back->spec));
  assert_true(table_equal(object_kind_info(copy->kind)->status, copy->status, back->status));
  struct json_object *one = object_encode(copy), *other = object_encode(back);
  assert_true(json_object_equal(one, other));
  assert_string_equal(back->invalid, "spec: is odd");
  assert_string_equal(strings_map_get(&back->meta.labels, "label-97"), "odd");
  assert_string_equal(strings_map_get(&back->meta.labels, "label-98"), "label-98");
  assert_true(squeezed_mentions(squeezed, "label-98"));
  assert_false(squeezed_mentions(squeezed, "label-100"));
  json_object_put(one);
  json_object_put(other);
  object_free(copy);
  free(back);
  free(squeezed);
}

static void a_fresh_object_has_seen_nothing(void **state)
{
  (void)state;
  struct object *o = decode("{\"apiVersion\":\"drover.dev/v1alpha1\",\"kind\":\"ImageStore\","
                            "\"metadata\":{\"name\":\"s\"},\"spec\":{\"file\":{\"path\":\"/a\"}}}");
  const struct imagestore_status *status = o->status;
  const struct imagestore_spec *spec = o->spec;
  assert_int_equal(status->observed_generation, -1);
  assert_int_equal(spec->access, STORE_READ_WRITE);
  assert_int_equal(spec->probe_interval_ms, 300000);
  assert_int_equal(spec->allowed_namespaces.from, NAMESPACES_SAME);
  object_free(o);
}

static void a_bad_spec_is_said_and_not_lost(void **state)
{
  (void)state;
  struct object *o = decode(
      "{\"apiVersion\":\"drover.dev/v1alpha1\",\"kind\":\"Provider\",\"metadata\":{\"name\":\"p\"},"
      "\"spec\":{\"type\":\"Libvirt\",\"endpoint\":\"qemu:///x\"},\"status\":{\"dependents\":4}}");
  assert_contains(o->invalid, "spec: endpoint of a Libvirt provider must be qemu:///system");
  assert_int_equal(((struct provider_status *)o->status)->dependents, 4);
  assert_int_equal(((struct provider_spec *)o->spec)->limits.transfers, 4);
  struct err err = ERR_INIT;
  struct object *copy = NULL;
  assert_ok(object_copy(o, &copy, &err), &err);
  assert_string_equal(copy->invalid, o->invalid);
  object_free(copy);
  object_free(o);
}

// A status that cannot be read is an error: taken for an empty one, its ledger would be lost.
static void a_bad_status_is_an_error(void **state)
{
  (void)state;
  struct err err = ERR_INIT;
  struct object *o = NULL;
  struct json_object *json = json_tokener_parse(
      "{\"apiVersion\":\"drover.dev/v1alpha1\",\"kind\":\"VMMigration\",\"metadata\":{\"name\":"
      "\"m\"},\"spec\":{},\"status\":{\"owned\":{}}}");
  assert_int_equal(object_decode(json, &o, &err), -1);
  assert_contains(err.message, "status.owned: must be a list");
  json_object_put(json);
}

static void finds_kinds_by_every_name(void **state)
{
  (void)state;
  static const struct {
    const char *name;
    enum object_kind kind;
  } names[] = {
      {"vmm", OBJECT_VM_MIGRATION},          {"VMMigration", OBJECT_VM_MIGRATION},
      {"vmmigrations", OBJECT_VM_MIGRATION}, {"ISTORE", OBJECT_IMAGE_STORE},
      {"imagestore", OBJECT_IMAGE_STORE},    {"dprov", OBJECT_PROVIDER},
      {"Providers", OBJECT_PROVIDER},
  };
  enum object_kind kind;
  for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
    assert_true(object_kind_named(names[i].name, &kind));
    assert_int_equal(kind, names[i].kind);
  }
  assert_false(object_kind_named("cs", &kind));
  assert_false(object_kind_named("", &kind));
  assert_false(object_kind_named(NULL, &kind));
}

static void some_fields_never_change(void **state)
{
  (void)state;
  struct err err = ERR_INIT;
  struct object *before = decode(migration);
  struct object *after = decode(migration);
  struct vmmigration_spec *spec = after->spec;
  spec->cancel = true;
  spec->transfer.bytes_per_second = 5;
  spec->timeout_ms = 9;
  assert_ok(object_check_update(before, after, &err), &err);
  spec->target.vm->cpus = 3;
  assert_int_equal(object_check_update(before, after, &err), -1);
  assert_string_equal(err.message, "spec: target cannot be changed: make a new VMMigration");
  object_free(before);
  object_free(after);
}

static void conditions_turn_only_with_status(void **state)
{
  (void)state;
  struct list conditions = {0};
  int64_t noon = 1795262400000;
  assert_true(condition_set(&conditions, "Ready", CONDITION_FALSE, "Unreachable", "no", 1, noon));
  const struct condition *c = condition_find(&conditions, "Ready");
  assert_string_equal(c->last_transition_time, "2026-11-21T12:00:00Z");
  assert_false(
      condition_set(&conditions, "Ready", CONDITION_FALSE, "Unreachable", "no", 1, noon + 5000));
  assert_true(condition_set(&conditions, "Ready", CONDITION_FALSE, "Unreachable", "still no", 2,
                            noon + 5000));
  c = condition_find(&conditions, "Ready");
  assert_string_equal(c->last_transition_time, "2026-11-21T12:00:00Z");
  assert_int_equal(c->observed_generation, 2);
  assert_true(condition_set(&conditions, "Ready", CONDITION_TRUE, "Probed", NULL, 2, noon + 9000));
  assert_true(condition_set(&conditions, "Stalled", CONDITION_FALSE, "Fine", "", 2, noon));
  c = condition_find(&conditions, "Ready");
  assert_string_equal(c->last_transition_time, "2026-11-21T12:00:09Z");
  assert_string_equal(c->message, "");
  assert_int_equal(conditions.count, 2);
  assert_null(condition_find(&conditions, "Other"));
  struct condition *items = conditions.items;
  for (size_t i = 0; i < conditions.count; i++)
    table_release(&condition_table, &items[i]);
  free(items);
}

static void refuses_what_is_no_object(void **state)
{
  (void)state;
  static const char *const texts[] = {
      "{}",
      "{\"apiVersion\":\"drover.dev/v1alpha1\",\"kind\":\"Provider\"}",
      "{\"apiVersion\":\"drover.dev/v1alpha1\",\"kind\":\"Provider\",\"metadata\":{}}",
      "{\"apiVersion\":\"drover.dev/v1alpha1\",\"kind\":\"Provider\",\"metadata\":[]}",
      "{\"apiVersion\":\"drover.dev/v1alpha1\",\"kind\":\"Provider\",\"metadata\":{\"name\":1}}",
      "{\"apiVersion\":7,\"kind\":\"Provider\",\"metadata\":{\"name\":\"x\"}}",
      "{\"apiVersion\":\"v1\",\"kind\":\"Provider\",\"metadata\":{\"name\":\"x\"}}",
      "[]",
  };
  for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
    struct err err = ERR_INIT;
    struct object *o = NULL;
    struct json_object *json = json_tokener_parse(texts[i]);
    assert_int_equal(object_decode_strict(json, &o, &err), -1);
    assert_int_equal(object_decode(json, &o, &err), -1);
    assert_int_equal(err.kind, ERR_INVALID);
    json_object_put(json);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reads_an_object_of_the_server),
      cmocka_unit_test(encoding_gives_the_same_object),
      cmocka_unit_test(squeezing_gives_the_same_object),
      cmocka_unit_test(a_fresh_object_has_seen_nothing),
      cmocka_unit_test(a_bad_spec_is_said_and_not_lost),
      cmocka_unit_test(a_bad_status_is_an_error),
      cmocka_unit_test(finds_kinds_by_every_name),
      cmocka_unit_test(some_fields_never_change),
      cmocka_unit_test(conditions_turn_only_with_status),
      cmocka_unit_test(refuses_what_is_no_object),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
