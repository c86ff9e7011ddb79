// SPDX-License-Identifier: Apache-2.0
#include "crds/manifest.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "base/yaml.h"
#include "tests/unit/unit.h"

static char folder[] = "/tmp/drover-manifest-XXXXXX";

static void write_file(const char *name, const char *text)
{
  char path[200];
  snprintf(path, sizeof(path), "%s/%s", folder, name);
  FILE *f cleanup_fclose = fopen(path, "w");
  assert_non_null(f);
  fputs(text, f);
}

static void remove_file(const char *name)
{
  char path[200];
  snprintf(path, sizeof(path), "%s/%s", folder, name);
  assert_int_equal(unlink(path), 0);
}

static void reads_folders_in_order(void **state)
{
  (void)state;
  assert_non_null(mkdtemp(folder));
  write_file("b.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: team}\n---\n"
                       "apiVersion: drover.dev/v1alpha1\nkind: ImageStore\nmetadata: {name: s}\n"
                       "spec: {file: {path: /a}}\n");
  write_file("a.json", "{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[{\"apiVersion\":\"v1\","
                       "\"kind\":\"Secret\",\"metadata\":{\"name\":\"x\"},\"data\":{\"k\":"
                       "\"aGFsbG8=\"}},{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":"
                       "{\"name\":\"y\"},\"data\":{\"k\":\"v\"}}]}");
  write_file(".hidden.yaml", "broken: [");
  write_file("notes.txt", "broken: [");
  struct manifests m = {0};
  struct err err = ERR_INIT;
  assert_ok(manifests_read(folder, &m, &err), &err);
  assert_int_equal(m.count, 3);
  assert_true(str_ends(m.items[0].file, "/a.json"));
  assert_int_equal(m.items[2].line, 4);
  assert_int_equal(m.notes.count, 1);
  assert_contains(m.notes.items[0], "b.yaml:1: Namespace team is left out");
  manifests_release(&m);
  write_file("c.yml", "a: [");
  assert_int_equal(manifests_read(folder, &m, &err), -1);
  assert_contains(err.message, "c.yml: line ");
  manifests_release(&m);
  write_file("c.yml", "# x\napiVersion: drover.dev/v1alpha1\nkind: ImageStore\n"
                      "metadata: {name: s}\nspec: {fiel: {path: /a}}\n");
  assert_int_equal(manifests_read(folder, &m, &err), -1);
  assert_contains(err.message, "c.yml:2: spec: unknown field 'fiel', did you mean 'file'?");
  manifests_release(&m);
  static const char *const names[] = {"a.json", "b.yaml", "c.yml", ".hidden.yaml", "notes.txt"};
  for (size_t i = 0; i < ARRAY_SIZE(names); i++)
    remove_file(names[i]);
  assert_int_equal(manifests_read(folder, &m, &err), -1);
  assert_int_equal(err.kind, ERR_NOT_FOUND);
  assert_int_equal(rmdir(folder), 0);
  assert_int_equal(manifests_read(folder, &m, &err), -1);
  assert_int_equal(err.kind, ERR_NOT_FOUND);
}

static const struct {
  const char *yaml;
  const char *message;
} refused[] = {
    {"{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {password: geheim}}",
     "data.password: is not base64"},
    {"{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {pin: 1234}}",
     "stringData.pin: must be a string: quote it"},
    {"{apiVersion: v1, kind: Secret, metadata: {name: s}, stringdata: {pin: a}}",
     "unknown field 'stringdata'"},
    {"{apiVersion: v1, kind: Secret, metadata: {}, stringData: {pin: a}}",
     "metadata.name: is required"},
    {"{apiVersion: v1, kind: ConfigMap, metadata: {name: s}, data: [a]}",
     "data: must be an object"},
    {"{apiVersion: apps/v1, kind: Deployment, metadata: {name: s}}", "Deployment of apps/v1"},
    {"[1, 2]", "an object was expected"},
    {"just text", "an object was expected"},
};

static void refuses_other_things_and_keeps_secrets(void **state)
{
  (void)state;
  for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
    struct err err = ERR_INIT;
    bool ignore;
    struct json_object *json = yaml_parse(refused[i].yaml, strlen(refused[i].yaml), &err);
    assert_non_null(json);
    if (manifest_check(json, &ignore, &err) == 0)
      fail_msg("accepted: %s", refused[i].yaml);
    assert_contains(err.message, refused[i].message);
    assert_null(strstr(err.message, "geheim"));
    assert_null(strstr(err.message, "1234"));
    json_object_put(json);
  }
}

static void samples_are_fine(void **state)
{
  (void)state;
  struct manifests m = {0};
  struct err err = ERR_INIT;
  assert_ok(manifests_read(SOURCE_DIR "/deploy/samples", &m, &err), &err);
  assert_true(m.count >= 10);
  assert_int_equal(m.notes.count, 0);
  manifests_release(&m);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reads_folders_in_order),
      cmocka_unit_test(refuses_other_things_and_keeps_secrets),
      cmocka_unit_test(samples_are_fine),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
