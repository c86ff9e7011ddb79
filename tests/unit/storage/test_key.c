// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "storage/storage_internal.h"

static void test_good_keys(void **state)
{
  (void)state;
  static const char *const rows[] = {
      "a",
      "a/b/c",
      "with blank",
      "quote\"'",
      "snow\xe2\x98\x83man",
      "...",
      ".hidden",
      "a..b",
      "back\\slash",
      "part",
      "x.part.json",
      "\xf0\x9f\x98\x80",
      "a&b=c?d#e;f%20",
      "\xed\x9f\xbf",
      "~!*'()[]{}|^`",
  };
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
    struct err err = ERR_INIT;
    if (storage_key_check(rows[i], &err) < 0)
      fail_msg("'%s': %s", rows[i], err.message);
  }
}

static void test_bad_keys(void **state)
{
  (void)state;
  static const struct {
    const char *key, *why;
  } rows[] = {
      {"", "empty"},
      {"/a", "empty"},
      {"a/", "empty"},
      {"a//b", "empty"},
      {".", "'..'"},
      {"..", "'..'"},
      {"a/../b", "'..'"},
      {"a/.", "'..'"},
      {"a\nb", "control"},
      {"a\x7f", "control"},
      {"a\xc2\x85", "control"},
      {"a\x80", "UTF-8"},
      {"a\xff", "UTF-8"},
      {"\xc0\xae\xc0\xae/x", "UTF-8"}, // an overlong ".."
      {"\xe0\x80\xaf", "UTF-8"},       // an overlong "/"
      {"\xed\xa0\x80", "UTF-8"},       // a surrogate
      {"\xf4\x90\x80\x80", "UTF-8"},   // beyond Unicode
      {"\xe2\x98", "UTF-8"},           // cut short
      {"image.part", ".part"},
      {"x.part/image", ".part"},
  };
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
    struct err err = ERR_INIT;
    if (storage_key_check(rows[i].key, &err) == 0)
      fail_msg("row %zu is accepted", i);
    assert_int_equal(err.kind, ERR_INVALID);
    assert_non_null(strstr(err.message, rows[i].why));
    assert_null(strpbrk(err.message, "\n\x7f"));
  }
}

static void test_long_keys(void **state)
{
  (void)state;
  char key[1100];
  memset(key, 'x', sizeof(key));
  key[255] = '\0';
  assert_int_equal(storage_key_check(key, NULL), 0);
  key[255] = 'x';
  key[256] = '\0';
  assert_int_equal(storage_key_check(key, NULL), -1);
  key[256] = 'x';
  for (size_t i = 100; i < sizeof(key); i += 101)
    key[i] = '/';
  key[1024] = '\0';
  assert_int_equal(storage_key_check(key, NULL), 0);
  key[1024] = 'x';
  key[1025] = '\0';
  assert_int_equal(storage_key_check(key, NULL), -1);
}

static void test_partial_names(void **state)
{
  (void)state;
  char long_name[300] = "folder/";
  memset(long_name + 7, 'n', 255);
  char *a cleanup_free = storage_partial_key("f/image", "owner");
  char *b cleanup_free = storage_partial_key("f/image", "other");
  char *c cleanup_free = storage_partial_key("g/image", "owner");
  char *d cleanup_free = storage_partial_key(long_name, "owner");
  long_name[261] = 'm';
  char *e cleanup_free = storage_partial_key(long_name, "owner");
  assert_true(str_starts(a, "f/.image."));
  assert_true(storage_key_is_partial(a));
  assert_string_not_equal(a, b);
  assert_string_not_equal(strchr(a, '/'), strchr(c, '/'));
  assert_string_not_equal(d, e); // names that were cut do not meet
  assert_true(strlen(strchr(d, '/') + 1) <= 255);
  assert_int_equal(storage_key_check(a, NULL), -1); // no object can be called so
}

static void test_config(void **state)
{
  (void)state;
  struct storage_config c = {.type = STORAGE_NFS, .uid = 7}, copy;
  struct err err = ERR_INIT;
  c.server = str_dup("host");
  secret_set_string(&c.password, "secret");
  assert_int_equal(storage_config_copy(&c, &copy, &err), 0);
  assert_int_equal(copy.type, STORAGE_NFS);
  assert_int_equal(copy.uid, 7);
  assert_string_equal(copy.server, "host");
  assert_string_equal(secret_reveal(&copy.password), "secret");
  struct json_object *json = table_encode(&storage_config_table, &c);
  assert_null(strstr(json_object_to_json_string(json), "secret"));
  json_object_put(json);
  storage_config_release(&c);
  storage_config_release(&copy);
}

// What storage_open() refuses before any connection is made.
static void test_refused_configs(void **state)
{
  (void)state;
  static const struct {
    const char *why, *config;
  } rows[] = {
      {"no bucket", "{'type':'s3','readOnly':true}"},
      {"not the name of a bucket", "{'type':'s3','bucket':'a/..','readOnly':true}"},
      {"no credentials", "{'type':'s3','bucket':'abc'}"},
      {"must be https://", "{'type':'s3','bucket':'abc','endpoint':'ftp://x','readOnly':true}"},
      {"must be https://", "{'type':'s3','bucket':'abc','endpoint':'http://h/p','readOnly':true}"},
      {"without user name",
       "{'type':'s3','bucket':'abc','endpoint':'http://me:pw@h','readOnly':true}"},
      {"set pathStyle",
       "{'type':'s3','bucket':'abc','endpoint':'http://10.0.0.1:9000','readOnly':true}"},
      {"must be http", "{'type':'http'}"},
      {"without user name", "{'type':'http','endpoint':'http://me:pw@h/x'}"},
      {"CA bundle", "{'type':'http','endpoint':'https://h','caPem':'junk'}"},
      {"server must be", "{'type':'nfs'}"},
      {"absolute path", "{'type':'nfs','server':'h','exportPath':'x'}"},
      {"only NFS version 3", "{'type':'nfs','server':'h','exportPath':'/x','version':4}"},
      {"absolute folder", "{'type':'file','path':'x'}"},
      {"prefix", "{'type':'file','path':'/x','prefix':'../y'}"},
  };
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
    struct err err = ERR_INIT;
    struct storage *s;
    struct storage_config c;
    char *text cleanup_free = str_dup(rows[i].config);
    for (char *p = text; *p; p++)
      *p = *p == '\'' ? '"' : *p;
    if (table_decode_text(&storage_config_table, text, "store", &c, &err) < 0)
      fail_msg("row %zu: %s", i, err.message);
    if (storage_open(&c, NULL, &s, &err) == 0)
      fail_msg("row %zu is accepted", i);
    if (!strstr(err.message, rows[i].why) || strstr(err.message, "pw"))
      fail_msg("row %zu: '%s' instead of '%s'", i, err.message, rows[i].why);
    storage_config_release(&c);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_good_keys), cmocka_unit_test(test_bad_keys),
      cmocka_unit_test(test_long_keys), cmocka_unit_test(test_partial_names),
      cmocka_unit_test(test_config),    cmocka_unit_test(test_refused_configs),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
