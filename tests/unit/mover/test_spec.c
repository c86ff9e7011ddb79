// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/unit.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "disk/copy.h"
#include "mover/mover.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void free_secret_text(char **text)
{
  secret_free_string(*text);
}

// An ssh source and an S3 target, with a secret in every place for one.
static struct mover_spec full_spec(void)
{
  struct mover_spec s = {.version = 1,
                         .owner = str_dup("home/default/web/123"),
                         .disk = str_dup("vda"),
                         .attempt = 3,
                         .verify = COPY_VERIFY_READBACK,
                         .lanes = 8,
                         .bytes_per_second = 1000000,
                         .stall_timeout_ms = 60000,
                         .no_sparse = true,
                         .expected_digest = str_dup("merkle-sha256-4m:1024:" HEX64),
                         .expected_sha256 = str_dup(HEX64)};
  s.source.reach = calloc(1, sizeof *s.source.reach);
  *s.source.reach = (struct reach){.kind = REACH_SSH,
                                   .format = DISK_FORMAT_QCOW2,
                                   .path = str_dup("/images/web.qcow2"),
                                   .host = str_dup("kvm1"),
                                   .user = str_dup("root")};
  secret_set_string(&s.source.reach->ssh_key, "PRIVATE-KEY \"quoted\"\n");
  s.target.object = calloc(1, sizeof *s.target.object);
  *s.target.object = (struct mover_object){.key = str_dup("web/disk-0.qcow2"),
                                           .format = DISK_FORMAT_QCOW2,
                                           .overwrite = true,
                                           .manifest = true};
  struct storage_config *c = &s.target.object->store;
  c->type = STORAGE_S3;
  c->endpoint = str_dup("https://s3.example.net");
  c->bucket = str_dup("images");
  secret_set_string(&c->access_key_id, "ACCESS-KEY");
  secret_set_string(&c->secret_access_key, "SECRET-KEY");
  secret_set_string(&c->session_token, "SESSION");
  secret_set_string(&c->password, "PASSWORD");
  secret_set_string(&c->token, "BEARER");
  strings_add(&s.allowed_endpoints, "10.0.0.0/8");
  return s;
}

static void test_round_trip(void **state)
{
  (void)state;
  struct mover_spec s CLEANUP(mover_spec_release) = full_spec();
  struct mover_spec back CLEANUP(mover_spec_release) = {0};
  struct err err = ERR_INIT;
  char *text cleanup_free = NULL;
  char *secrets CLEANUP(free_secret_text) = NULL;
  assert_int_equal(mover_spec_encode(&s, &text, &secrets, &err), 0);
  if (mover_spec_decode(text, secrets, &back, &err))
    fail_msg("%s", err.message);
  assert_true(table_equal(&mover_spec_table, &s, &back));
  const struct storage_config *c = &back.target.object->store;
  assert_string_equal(secret_reveal(&back.source.reach->ssh_key), "PRIVATE-KEY \"quoted\"\n");
  assert_string_equal(secret_reveal(&c->access_key_id), "ACCESS-KEY");
  assert_string_equal(secret_reveal(&c->secret_access_key), "SECRET-KEY");
  assert_string_equal(secret_reveal(&c->session_token), "SESSION");
  assert_string_equal(secret_reveal(&c->password), "PASSWORD");
  assert_string_equal(secret_reveal(&c->token), "BEARER");
}

static void test_no_secret_in_the_first(void **state)
{
  (void)state;
  static const char *const words[] = {"PRIVATE", "ACCESS-KEY", "SECRET",
                                      "SESSION", "PASSWORD",   "BEARER"};
  struct mover_spec s CLEANUP(mover_spec_release) = full_spec();
  struct err err = ERR_INIT;
  char *text cleanup_free = NULL;
  char *secrets CLEANUP(free_secret_text) = NULL;
  assert_int_equal(mover_spec_encode(&s, &text, &secrets, &err), 0);
  for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
    assert_null(strstr(text, words[i]));
    assert_non_null(strstr(secrets, words[i]));
  }
}

#define HEAD "{\"version\":1,\"owner\":\"o\","
#define OK   HEAD "\"source\":{\"null\":true},\"target\":{\"null\":true}"
#define FILE_TARGET                                                                                \
  HEAD "\"source\":{\"null\":true},\"target\":{\"reach\":{\"kind\":\"file\",\"path\":\"/x\","      \
       "\"format\":\"raw\",\"create\":true}}"

// Each refused document with the sentence that says why.
static void test_refused(void **state)
{
  (void)state;
  static const struct {
    const char *spec, *secrets, *says;
  } rows[] = {
      {OK ",\"surprise\":1}", NULL, "surprise"},
      {OK ",\"lanes\":17}", NULL, "lanes"},
      {OK ",\"bytesPerSecond\":-1}", NULL, "bytesPerSecond"},
      {OK ",\"verify\":\"Perhaps\"}", NULL, "Perhaps"},
      {OK ",\"expectedSha256\":\"abc\"}", NULL, "expectedSha256"},
      {OK ",\"expectedDigest\":\"sha256:1\"}", NULL, "expectedDigest"},
      {OK ",\"verify\":\"None\",\"expectedDigest\":\"merkle-sha256-4m:1024:" HEX64 "\"}", NULL,
       "expectedDigest cannot be checked with verify None"},
      {"{\"version\":2,\"owner\":\"o\",\"source\":{\"null\":true},\"target\":{\"null\":true}}",
       NULL, "version"},
      {"{\"version\":1,\"source\":{\"null\":true},\"target\":{\"null\":true}}", NULL, "owner"},
      {HEAD "\"source\":{},\"target\":{\"null\":true}}", NULL,
       "exactly one of reach, object, pattern and null must be set"},
      {HEAD "\"source\":{\"null\":true,\"reach\":{\"kind\":\"file\",\"path\":\"/x\"}},"
            "\"target\":{\"null\":true}}",
       NULL, "exactly one of"},
      {HEAD "\"source\":{\"null\":true},"
            "\"target\":{\"pattern\":{\"sizeBytes\":1,\"dataPercent\":1}}}",
       NULL, "target cannot be a pattern"},
      {HEAD "\"source\":{\"pattern\":{\"sizeBytes\":1,\"dataPercent\":101}},"
            "\"target\":{\"null\":true}}",
       NULL, "dataPercent"},
      {HEAD "\"source\":{\"null\":true},\"target\":{\"object\":{\"store\":{\"type\":\"s3\"},"
            "\"key\":\"k\"}}}",
       NULL, "target.object.format must be set"},
      {OK ",\"vmdkAdapter\":\"ide\"}", NULL, "are for a target of format vmdk"},
      {OK ",\"vmdkHardware\":10}", NULL, "are for a target of format vmdk"},
      {OK ",\"vmdkAdapter\":\"nvme\"}", NULL, "nvme"},
      {HEAD "\"source\":{\"null\":true},\"target\":{\"reach\":{\"kind\":\"file\",\"path\":\"/x\","
            "\"format\":\"vmdk\"}},\"vmdkHardware\":3}",
       NULL, "vmdkHardware must be 4 or more"},
      {OK ",\"compress\":true}", NULL, "a new image of format qcow2"},
      {HEAD "\"source\":{\"null\":true},\"target\":{\"reach\":{\"kind\":\"file\",\"path\":\"/x\","
            "\"format\":\"qcow2\"}},\"compress\":true}",
       NULL, "a new image of format qcow2"}, // it is there already
      {HEAD "\"source\":{\"null\":true},\"target\":{\"reach\":{\"kind\":\"file\",\"path\":\"/x\","
            "\"create\":true,\"format\":\"raw\"}},\"compress\":true}",
       NULL, "a new image of format qcow2"},
      {OK ",\"repair\":true}", NULL, "repair is for image files and objects in stores"},
      {HEAD
       "\"source\":{\"null\":true},\"target\":{\"reach\":{\"kind\":\"file\",\"path\":\"/dev/x\","
       "\"format\":\"raw\"}},\"repair\":true}",
       NULL, "repair is for image files and objects in stores"},
      {FILE_TARGET ",\"repair\":true,\"checkpoint\":\"/c\"}", NULL, "repair goes neither with"},
      {FILE_TARGET ",\"repair\":true,\"verify\":\"None\"}", NULL, "repair goes neither with"},
      {"{\"version\":1", NULL, ""},
      {"[]", NULL, ""},
      {OK "}", "[]", "secrets: not a JSON object"},
      {OK "}", "{\"source\":{}", "secrets: not a JSON object"},
      {OK "}", "{\"middle\":{}}", "secrets: neither source nor target"},
      {OK "}", "{\"source\":\"x\"}", "secrets.source: not an object"},
      {OK "}", "{\"source\":{\"token\":\"x\"}}", "an end of this kind has no such secret"},
      {HEAD "\"source\":{\"reach\":{\"kind\":\"ssh\",\"path\":\"/x\",\"host\":\"h\"}},"
            "\"target\":{\"null\":true}}",
       "{\"source\":{\"sshKey\":1}}", "secrets.source.sshKey: not a string"},
  };
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
    struct mover_spec s = {0};
    struct err err = ERR_INIT;
    if (mover_spec_decode(rows[i].spec, rows[i].secrets, &s, &err) == 0)
      fail_msg("row %zu was taken", i);
    assert_int_equal(err.kind, ERR_INVALID);
    if (!strstr(err.message, rows[i].says))
      fail_msg("row %zu says: %s", i, err.message);
  }
}

static void test_size_limits(void **state)
{
  (void)state;
  char *huge cleanup_free = malloc(LIMIT_MANIFEST_BYTES + 2);
  memset(huge, ' ', LIMIT_MANIFEST_BYTES + 1);
  huge[LIMIT_MANIFEST_BYTES + 1] = 0;
  struct mover_spec s = {0};
  struct err err = ERR_INIT;
  assert_int_equal(mover_spec_decode(huge, NULL, &s, &err), -1);
  assert_int_equal(err.kind, ERR_LIMIT);
  assert_int_equal(mover_spec_decode(OK "}", huge, &s, &err), -1);
  assert_int_equal(err.kind, ERR_LIMIT);
}

static void test_check_by_hand(void **state)
{
  (void)state;
  struct mover_spec s CLEANUP(mover_spec_release) = full_spec();
  struct err err = ERR_INIT;
  assert_int_equal(mover_spec_check(&s, &err), 0);
  s.verify = COPY_VERIFY_NONE;
  assert_int_equal(mover_spec_check(&s, &err), -1);
  assert_int_equal(err.kind, ERR_INVALID);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_no_secret_in_the_first),
      cmocka_unit_test(test_refused),       cmocka_unit_test(test_size_limits),
      cmocka_unit_test(test_check_by_hand),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
