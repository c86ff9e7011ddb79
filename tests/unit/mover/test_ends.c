// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "mover/ends.h"
#include "mover/url.h"

static char folder[] = "/tmp/drover-ends-XXXXXX";

static void write_file(const char *name, const char *text)
{
  FILE *f cleanup_fclose = fopen(name, "we");
  assert_non_null(f);
  fputs(text, f);
}

// What came out, as one line; or "! message".
static char *said(const char *text, const struct mover_end_options *o)
{
  struct mover_end e CLEANUP(mover_end_release) = {0};
  struct err err = ERR_INIT;
  if (mover_end_parse(text, o, &e, &err))
    return str_printf("! %s: %s", err_reason(err.kind), err.message);
  if (e.null)
    return str_dup("null");
  if (e.pattern)
    return str_printf("pattern %lld %lld %lld", (long long)e.pattern->size_bytes,
                      (long long)e.pattern->seed, (long long)e.pattern->data_percent);
  if (e.reach) {
    const struct reach *r = e.reach;
    return str_printf("%s path=%s host=%s:%lld user=%s export=%s %s%s%s%s",
                      reach_kind_names[r->kind], r->path ? r->path : "-", r->host ? r->host : "-",
                      (long long)r->port, r->user ? r->user : "-",
                      r->export_name ? r->export_name : "-", disk_format_names[r->format],
                      r->create ? " create" : "", e.replace ? " replace" : "",
                      r->tls ? " tls" : "");
  }
  const struct storage_config *c = &e.object->store;
  return str_printf(
      "%s %s%s%s%s%s key=%s %s%s%s", storage_type_names[c->type], c->endpoint ? c->endpoint : "",
      c->bucket ? " " : "", c->bucket ? c->bucket : "", c->server ? c->server : "",
      c->export_path ? c->export_path : "", e.object->key, disk_format_names[e.object->format],
      e.object->overwrite ? " overwrite" : "", c->path_style ? " path" : "");
}

struct row {
  const char *text, *said;
};

static void check_rows(const struct row *rows, size_t count, const struct mover_end_options *o)
{
  for (size_t i = 0; i < count; i++) {
    char *answer cleanup_free = said(rows[i].text, o);
    if (!str_glob(rows[i].said, answer))
      fail_msg("%s: %s\nexpected: %s", rows[i].text, answer, rows[i].said);
  }
}

static void test_sources(void **state)
{
  (void)state;
  static const struct row rows[] = {
      {"a.qcow2", "file path=/tmp/drover-ends-*/a.qcow2 host=-:0 user=- export=- qcow2"},
      {"file:a.img", "file path=/tmp/*/a.img host=-:0 user=- export=- "},
      {"./odd://name", "file path=/tmp/*/./odd://name *"},
      {"missing.raw", "! NotFound: missing.raw: No such file or directory"},
      {".", "! InvalidSpec: . is a folder, not an image"},
      {"", "! InvalidSpec: '': the path is empty"},
      {"nbd://h:10809/disk", "nbd path=- host=h:10809 user=- export=disk raw"},
      {"nbd://[::1]/", "nbd path=- host=::1:0 user=- export= raw"},
      {"nbd://h", "nbd path=- host=h:0 user=- export= raw"},
      {"nbd+unix:///vda?socket=/run/s", "nbd path=/run/s host=-:0 user=- export=vda raw"},
      {"nbd+unix:///vda", "! InvalidSpec: *write nbd+unix:///EXPORT?socket=PATH"},
      {"nbds://h/x", "nbd path=- host=h:0 user=- export=x raw tls"},
      {"nbd://h/x?y=1", "! InvalidSpec: 'y' is not understood in the query of a nbd URL"},
      {"s3://b/k/x.qcow2", "s3 https://s3.us-east-1.amazonaws.com b key=k/x.qcow2 qcow2"},
      {"S3://b/a%20b", "s3 https://s3.us-east-1.amazonaws.com b key=a b "},
      {"s3://b", "! InvalidSpec: 's3://b' names a folder, not an image"},
      {"s3://b/k/", "! InvalidSpec: *names a folder*"},
      {"s3://b:80/k", "! InvalidSpec: *--s3-endpoint"},
      {"http://h:81/a/b.raw", "http http://h:81 key=a/b.raw raw"},
      {"https://[::1]:4/b", "http https://[[]::1]:4 key=b "},
      {"https://h/b?X-Amz-Signature=1", "! Unsupported: URLs with a query*"},
      {"https://u:p@h/b", "! InvalidSpec: the URL has a password in it*"},
      {"https://u@h/b", "! InvalidSpec: *--credentials*"},
      {"nfs://s/exp/a.qcow2", "nfs s/exp key=a.qcow2 qcow2"},
      {"nfs://s/exp/a/b.raw", "nfs s/exp/a key=b.raw raw"},
      {"nfs://s/exp//a/b.raw?nfsport=2049&uid=0", "nfs s/exp key=a/b.raw raw"},
      {"nfs://s/exp/b.raw?nfsport=x", "! InvalidSpec: *nfsport is not a number"},
      {"nfs://s", "! InvalidSpec: *write nfs://SERVER/EXPORT/PATH"},
      {"ssh://root@kvm1:2222/x/y.qcow2", "ssh path=/x/y.qcow2 host=kvm1:2222 user=root * qcow2"},
      {"ssh://root:pw@kvm1/x", "! InvalidSpec: the URL has a password*"},
      {"ssh://kvm1", "! InvalidSpec: *names no file"},
      {"null:", "null"},
      {"pattern:1Gi", "pattern 1073741824 0 100"},
      {"pattern:1M,seed=7,data=30", "pattern 1000000 7 30"},
      {"pattern:1M,data=101", "! InvalidSpec: *not 'data=101'"},
      {"pattern:1M,speed=9", "! InvalidSpec: *not 'speed=9'"},
      {"pattern:lots", "! InvalidSpec: *'lots' is not a size*"},
      {"pattern:65Ti", "! InvalidSpec: *64 TiB"},
      {"gopher://h/x", "! InvalidSpec: 'gopher://' is not known; ends are*"},
      {"s3://b/k%0", "! InvalidSpec: the URL has a malformed path"},
      {"s3://b/k%00", "! InvalidSpec: the URL has a malformed path"},
      {"s3://b/k#x", "! InvalidSpec: the URL has a '#'*"},
      {"nbd://h:0/x", "! InvalidSpec: the URL has a port*"},
      {"nbd://h:70000/x", "! InvalidSpec: the URL has a port*"},
      {"nbd://[::1/x", "! InvalidSpec: the URL has a '[[]' without*"},
  };
  check_rows(rows, ARRAY_SIZE(rows), &(struct mover_end_options){0});
}

static void test_targets(void **state)
{
  (void)state;
  static const struct row rows[] = {
      {"new.qcow2", "file path=/tmp/*/new.qcow2 host=-:0 user=- export=- qcow2 create"},
      {"new.img", "file * raw create"},
      {"new.vmdk", "file * vmdk create"},
      {"new", "! InvalidSpec: 'new' does not say its format*--format raw or --format qcow2"},
      {"new.vhdx", "! Unsupported: vhdx cannot be written; formats that can: raw, qcow2, vmdk, *"},
      {"a.qcow2", "! AlreadyExists: a.qcow2 exists; --overwrite replaces it"},
      {"pattern:1M", "! InvalidSpec: 'pattern:1M' can only be read"},
      {"s3://b/k", "! InvalidSpec: 's3://b/k' does not say its format*"},
      {"nbd://h/x", "nbd * raw"},
      {"null:", "null"},
  };
  check_rows(rows, ARRAY_SIZE(rows), &(struct mover_end_options){.target = true});
  static const struct row over[] = {
      {"a.qcow2", "file * qcow2 create replace"},
      {"s3://b/k.raw", "s3 * raw overwrite"},
  };
  check_rows(over, ARRAY_SIZE(over),
             &(struct mover_end_options){.target = true, .overwrite = true});
  static const struct row as_raw[] = {
      {"new.qcow2", "file * raw create"}, // said beats the suffix
      {"s3://b/k", "s3 * raw"},
  };
  check_rows(as_raw, ARRAY_SIZE(as_raw),
             &(struct mover_end_options){.target = true, .format = DISK_FORMAT_RAW});
}

static void test_backing(void **state)
{
  (void)state;
  const char *items[] = {"base.img,format=raw", "/x/lower.qcow2"};
  struct mover_end_options o = {.backing = {items, 2}};
  struct mover_end e CLEANUP(mover_end_release) = {0};
  struct err err = ERR_INIT;
  assert_int_equal(mover_end_parse("a.qcow2", &o, &e, &err), 0);
  const struct reach_backing *b = e.reach->backing.items;
  assert_int_equal(e.reach->backing.count, 2);
  assert_true(str_ends(b[0].path, "/base.img"));
  assert_int_equal(b[0].format, DISK_FORMAT_RAW);
  assert_string_equal(b[1].path, "/x/lower.qcow2");
  assert_int_equal(b[1].format, DISK_FORMAT_QCOW2);
  items[0] = "base.img,format=rar";
  mover_end_release(&e);
  assert_int_equal(mover_end_parse("a.qcow2", &o, &e, &err), -1);
  assert_string_equal(err.message, "--backing base.img,format=rar: no such format");
}

static void test_endpoint(void **state)
{
  (void)state;
  static const struct row row[] = {{"s3://b/k", "s3 http://127.0.0.1:9000 b key=k  path"}};
  check_rows(row, 1, &(struct mover_end_options){.s3_endpoint = "http://127.0.0.1:9000"});
  setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9000", 1);
  check_rows(row, 1, &(struct mover_end_options){0});
  unsetenv("AWS_ENDPOINT_URL_S3");
  static const struct row region[] = {{"s3://b/k", "s3 https://s3.eu-1.amazonaws.com b key=k "}};
  setenv("AWS_REGION", "eu-1", 1);
  check_rows(region, 1, &(struct mover_end_options){0});
  unsetenv("AWS_REGION");
}

// "ID/SECRET/TOKEN", or the error.
static char *credentials(const char *file)
{
  struct storage_config c CLEANUP(storage_config_release) = {.type = STORAGE_S3};
  struct err err = ERR_INIT;
  if (mover_credentials(file, &c, &err))
    return str_dup(err.message);
  return str_printf("%s/%s/%s", secret_reveal(&c.access_key_id),
                    secret_reveal(&c.secret_access_key), secret_reveal(&c.session_token));
}

static void expect_credentials(const char *file, const char *expected)
{
  char *found cleanup_free = credentials(file);
  assert_string_equal(found, expected);
}

static void test_credentials(void **state)
{
  (void)state;
  expect_credentials(NULL, "//"); // nothing anywhere: anonymous
  mkdir(".aws", 0700);
  write_file(".aws/credentials", "# comment\n[default]\naws_access_key_id = home\n"
                                 "aws_secret_access_key=s1\nregion = eu\n\n[work]\n"
                                 "aws_access_key_id=work\naws_secret_access_key = a=b \n"
                                 "aws_session_token=t\n");
  expect_credentials(NULL, "home/s1/");
  setenv("AWS_PROFILE", "work", 1);
  expect_credentials(NULL, "work/a=b/t");
  setenv("AWS_PROFILE", "none", 1);
  char *error cleanup_free = credentials(NULL);
  assert_true(str_ends(error, "/.aws/credentials has no profile 'none'"));
  unsetenv("AWS_PROFILE");
  setenv("AWS_ACCESS_KEY_ID", "var", 1);
  setenv("AWS_SECRET_ACCESS_KEY", "s2", 1);
  expect_credentials(NULL, "var/s2/");
  write_file("own", "aws_access_key_id=own\naws_secret_access_key=s3\n");
  expect_credentials("own", "own/s3/");
  unsetenv("AWS_ACCESS_KEY_ID");
  unsetenv("AWS_SECRET_ACCESS_KEY");
  write_file("shared", "[default]\naws_access_key_id=shared\n");
  setenv("AWS_SHARED_CREDENTIALS_FILE", "shared", 1);
  expect_credentials(NULL, "shared//");
  unsetenv("AWS_SHARED_CREDENTIALS_FILE");
  expect_credentials("nowhere", "open credentials file nowhere: No such file or directory");
}

static void test_http_credentials(void **state)
{
  (void)state;
  write_file("web", "username = joe\npassword = p w\ntoken=t\n");
  struct storage_config c CLEANUP(storage_config_release) = {.type = STORAGE_HTTP};
  struct err err = ERR_INIT;
  assert_int_equal(mover_credentials("web", &c, &err), 0);
  assert_string_equal(c.username, "joe");
  assert_string_equal(secret_reveal(&c.password), "p w");
  assert_string_equal(secret_reveal(&c.token), "t");
}

static int set_up(void **state)
{
  (void)state;
  static const char *const variables[] = {
      "AWS_PROFILE",       "AWS_ACCESS_KEY_ID",   "AWS_SECRET_ACCESS_KEY",
      "AWS_SESSION_TOKEN", "AWS_REGION",          "AWS_DEFAULT_REGION",
      "AWS_ENDPOINT_URL",  "AWS_ENDPOINT_URL_S3", "AWS_SHARED_CREDENTIALS_FILE"};
  for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
    unsetenv(variables[i]);
  if (!mkdtemp(folder) || chdir(folder))
    return -1;
  setenv("HOME", folder, 1);
  mkdir("odd:", 0700);
  write_file("a.qcow2", "");
  write_file("a.img", "");
  write_file("odd:/name", "");
  return 0;
}

static int tear_down(void **state)
{
  (void)state;
  static const char *const names[] = {"a.qcow2", "a.img", "odd:/name",        "odd:", "own",
                                      "shared",  "web",   ".aws/credentials", ".aws"};
  for (size_t i = 0; i < ARRAY_SIZE(names); i++)
    remove(names[i]);
  return chdir("/") ? -1 : rmdir(folder);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_sources),     cmocka_unit_test(test_targets),
      cmocka_unit_test(test_backing),     cmocka_unit_test(test_endpoint),
      cmocka_unit_test(test_credentials), cmocka_unit_test(test_http_credentials),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
