// SPDX-License-Identifier: Apache-2.0
// What of providers/lxd needs no daemon; the rest is for tests/integration/lxd.sh.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "providers/lxd/lxd_internal.h"

static void test_names(void **state)
{
  (void)state;
  static const struct {
    const char *name;
    bool ok;
  } rows[] = {{"a", true},    {"web-0", true}, {"Web9", true},     {"", false},
              {NULL, false},  {"9web", false}, {"-web", false},    {"web-", false},
              {"a_b", false}, {"a.b", false},  {"a/b", false},     {"../b", false},
              {"a b", false}, {"a?b", false},  {"\xc3\xa4", false}};
  char longest[LXD_NAME_MAX + 2];
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
    assert_int_equal(lxd_name_ok(rows[i].name), rows[i].ok);
  memset(longest, 'a', sizeof(longest));
  longest[LXD_NAME_MAX] = '\0';
  assert_true(lxd_name_ok(longest));
  longest[LXD_NAME_MAX] = 'a';
  longest[LXD_NAME_MAX + 1] = '\0';
  assert_false(lxd_name_ok(longest));
}

static void test_inside(void **state)
{
  (void)state;
  assert_true(lxd_inside_has("looked cloud-init", "cloud-init"));
  assert_true(lxd_inside_has("cloud-init", "cloud-init"));
  assert_true(lxd_inside_has("a cloud-init b", "cloud-init"));
  assert_false(lxd_inside_has("no-cloud-init", "cloud-init"));
  assert_false(lxd_inside_has("cloud-initx", "cloud-init"));
  assert_false(lxd_inside_has("", "cloud-init"));
  assert_false(lxd_inside_has(NULL, "cloud-init"));
}

static void test_words(void **state)
{
  (void)state;
  static const struct {
    const char *text;
    enum err_kind kind;
  } rows[] = {
      {"This \"instances\" entry already exists", ERR_EXISTS},
      {"UNIQUE constraint failed: instances.project_id, instances.name", ERR_EXISTS},
      {"Command not found", ERR_NOT_FOUND},
      {"write /x: no space left on device", ERR_NO_SPACE},
      {"Container is protected", ERR_DENIED},
      {"Instance is running", ERR_BUSY},
      {"sftp: \"open /etc: is a directory\" (SSH_FX_FAILURE)", ERR_INVALID},
      {"No root device could be found", ERR_INVALID},
      {"who knows", ERR_PROTOCOL},
      {NULL, ERR_PROTOCOL},
  };
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
    assert_int_equal(lxd_kind_of_text(rows[i].text, ERR_PROTOCOL), rows[i].kind);
}

static void test_fingerprints(void **state)
{
  (void)state;
  char text[66];
  memset(text, 'a', 65);
  text[65] = '\0';
  assert_false(lxd_is_fingerprint(text));
  text[64] = '\0';
  assert_true(lxd_is_fingerprint(text));
  text[3] = 'g';
  assert_false(lxd_is_fingerprint(text));
  assert_false(lxd_is_fingerprint(NULL));
}

static void test_json_of_wrong_types(void **state)
{
  (void)state;
  cleanup_json struct json_object *o = json_tokener_parse("{\"n\": 7, \"t\": \"x\", \"l\": [1]}");
  assert_null(lxd_text(o, "n"));
  assert_int_equal(lxd_number(o, "t", -1), -1);
  assert_int_equal(lxd_number(o, "n", -1), 7);
  assert_null(lxd_member(lxd_member(o, "l"), "x"));
  assert_null(lxd_text(NULL, "x"));
  assert_false(lxd_true(o, "n"));
}

// A note of what was not there counts once, however often it was made.
static void test_notes(void **state)
{
  (void)state;
  struct lxd l = {0};
  char name[16];
  assert_false(lxd_absent_take(&l, "a"));
  lxd_absent_note(&l, "a");
  lxd_absent_note(&l, "a");
  assert_false(lxd_absent_take(&l, "b"));
  assert_true(lxd_absent_take(&l, "a"));
  assert_false(lxd_absent_take(&l, "a"));
  lxd_absent_note(&l, "old");
  for (int i = 0; i < LXD_ABSENT_MAX; i++) {
    snprintf(name, sizeof(name), "n%d", i);
    lxd_absent_note(&l, name);
  }
  assert_false(lxd_absent_take(&l, "old"));
  assert_true(lxd_absent_take(&l, "n0"));
  assert_null(lxd_image_inside(&l, "f"));
  lxd_image_inside_note(&l, "f", "looked dbus-id");
  assert_string_equal(lxd_image_inside(&l, "f"), "looked dbus-id");
  assert_null(lxd_image_inside(&l, "g"));
  lxd_notes_release(&l);
}

static void test_host_keys(void **state)
{
  (void)state;
  assert_true(lxd_needs_host_key("looked ssh_host_rsa_key ssh_host_rsa_key.pub dbus-id"));
  assert_false(lxd_needs_host_key("looked ssh_host_rsa_key cloud-init"));
  assert_false(lxd_needs_host_key("looked dbus-id"));
  assert_false(lxd_needs_host_key(NULL));
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_names),
      cmocka_unit_test(test_inside),
      cmocka_unit_test(test_words),
      cmocka_unit_test(test_notes),
      cmocka_unit_test(test_host_keys),
      cmocka_unit_test(test_fingerprints),
      cmocka_unit_test(test_json_of_wrong_types),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
