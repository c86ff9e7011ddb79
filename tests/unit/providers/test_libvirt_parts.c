// SPDX-License-Identifier: Apache-2.0
// The small parts of the libvirt provider: endpoints, names, errors, quoting, headers.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "providers/libvirt/build_internal.h"
#include "providers/libvirt/host_internal.h"
#include "providers/libvirt/image_internal.h"
#include "tests/unit/unit.h"

static void test_endpoints(void **state)
{
  (void)state;
  struct endpoint e CLEANUP(endpoint_release) = {0};
  struct err err = ERR_INIT;
  assert_ok(endpoint_parse("qemu:///system", &e, &err), &err);
  assert_int_equal(e.transport, ENDPOINT_LOCAL);
  assert_ok(endpoint_parse("unix:///run/x/sock", &e, &err), &err);
  assert_string_equal(e.socket, "/run/x/sock");
  endpoint_release(&e);
  assert_ok(endpoint_parse("qemu+ssh://u@h.example:2222/system", &e, &err), &err);
  assert_string_equal(e.user, "u");
  assert_string_equal(e.host, "h.example");
  assert_int_equal(e.port, 2222);
  endpoint_release(&e);
  assert_ok(endpoint_parse("qemu+tls://[2001:db8::1]/system", &e, &err), &err);
  assert_string_equal(e.host, "2001:db8::1");
  assert_int_equal(e.port, 16514);
}

static void test_bad_endpoints(void **state)
{
  (void)state;
  static const char *const bad[] = {"",
                                    "qemu:///session",
                                    "qemu:///system?socket=/x",
                                    "test:///default",
                                    "qemu+tcp://h/system",
                                    "qemu+ssh://h/system?command=/bin/sh",
                                    "qemu+ssh://h",
                                    "qemu+ssh:///system",
                                    "qemu+ssh://-oProxyCommand=x/system",
                                    "qemu+ssh://-x@h/system",
                                    "qemu+ssh://u:p@h/system",
                                    "qemu+ssh://h:0/system",
                                    "qemu+ssh://h:70000/system",
                                    "qemu+ssh://h:x/system",
                                    "qemu+ssh://h h/system",
                                    "qemu+ssh://h\n/system",
                                    "qemu+tls://u@h/system",
                                    "qemu+tls://[::1/system",
                                    "qemu+tls://[::1]x/system",
                                    "unix://rel",
                                    "unix:///a?b",
                                    "unix:///a#b",
                                    "unix:///a/../b",
                                    "unix:///a%2e",
                                    "qemu+ssh://h/system/../x",
                                    "qemu+ssh://.../system"};
  for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
    struct endpoint e;
    struct err err = ERR_INIT;
    if (endpoint_parse(bad[i], &e, &err) == 0)
      fail_msg("'%s' was accepted", bad[i]);
    assert_int_equal(err.kind, ERR_INVALID);
  }
}

static void test_error_kinds(void **state)
{
  (void)state;
  static const struct {
    int code;
    const char *message;
    enum err_kind kind;
  } cases[] = {
      {VIR_ERR_NO_DOMAIN, "Domain not found", ERR_NOT_FOUND},
      {VIR_ERR_SYSTEM_ERROR, "Cannot recv data: Host key verification failed.: reset", ERR_TLS},
      {VIR_ERR_SYSTEM_ERROR, "root@h: Permission denied (publickey).: Connection reset by peer",
       ERR_AUTH},
      {VIR_ERR_SYSTEM_ERROR, "cannot write: No space left on device", ERR_NO_SPACE},
      {VIR_ERR_SYSTEM_ERROR, "unable to connect: Connection refused", ERR_UNREACHABLE},
      {VIR_ERR_SYSTEM_ERROR, "Unable to read TLS confirmation: Input/output error", ERR_AUTH},
      {VIR_ERR_AUTH_FAILED, "authentication failed", ERR_AUTH},
      {VIR_ERR_OPERATION_INVALID, "domain is running", ERR_BUSY},
      {VIR_ERR_RPC, "what", ERR_PROTOCOL},
      {99999, "what", ERR_PROTOCOL},
      {VIR_ERR_INTERNAL_ERROR, NULL, ERR_PROTOCOL},
  };
  for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
    assert_int_equal(host_error_kind(cases[i].code, cases[i].message), cases[i].kind);
}

static void test_names(void **state)
{
  (void)state;
  char uuid[BUILD_UUID_BYTES], again[BUILD_UUID_BYTES], mac[BUILD_MAC_BYTES], uid8[9];
  struct err err = ERR_INIT;
  build_uuid("0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", uuid);
  build_uuid("0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", again);
  assert_string_equal(uuid, again);
  assert_int_equal(strlen(uuid), 36);
  assert_int_equal(uuid[14], '5');
  assert_non_null(strchr("89ab", uuid[19]));
  build_uuid("0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f1", again);
  assert_string_not_equal(uuid, again);
  build_mac("u", 0, mac);
  assert_int_equal(strlen(mac), 17);
  assert_true(str_starts(mac, "52:54:00:"));
  assert_ok(build_uid8("0f-1e/2d.3c4b5a", uid8, &err), &err);
  assert_string_equal(uid8, "0f1e2d3c");
  assert_int_equal(build_uid8("0f1e2d3", uid8, &err), -1);
  assert_int_equal(build_uid8("../../../", uid8, &err), -1);

  static const char *const words[][2] = {{"web-1.a_b", "web-1.a_b"},
                                         {"../x", "_._x"},
                                         {"-rf", "_rf"},
                                         {"a/b c'\"", "a_b_c__"},
                                         {"\xc3\xbc", "__"}};
  for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
    cleanup_free char *word = build_file_word(words[i][0]);
    assert_string_equal(word, words[i][1]);
  }
  static const char *const bad[] = {"", " ", "a/b", "a\nb", "\xff", ".", "..", "a\x7f"};
  for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
    assert_int_equal(build_name_ok(bad[i], &err), -1);
  assert_ok(build_name_ok("O'Brien & \"x\"", &err), &err);
}

static void test_shell_quote(void **state)
{
  (void)state;
  const char *argv[] = {"printf", "%s|", "a b", "it's", "$(touch x)", "`x`", "\\", "-n", "", NULL};
  cleanup_free char *line = shell_quote(argv);
  const char *sh[] = {"sh", "-c", line, NULL};
  struct command c = {.argv = sh, .timeout_ms = 5000};
  struct command_result r CLEANUP(command_result_release) = {0};
  struct err err = ERR_INIT;
  assert_ok(command_run(&c, &r, &err), &err);
  assert_string_equal(r.output, "a b|it's|$(touch x)|`x`|\\|-n||");
}

// ---- images ------------------------------------------------------------------------------------

static void put(unsigned char *at, uint64_t value, size_t length)
{
  for (size_t i = 0; i < length; i++)
    at[i] = (unsigned char)(value >> (8 * (length - 1 - i)));
}

static void make_head(unsigned char b[512], const char *backing)
{
  memset(b, 0, 512);
  memcpy(b, "QFI\xfb", 4);
  put(b + 4, 3, 4);
  put(b + 8, 200, 8);
  put(b + 16, strlen(backing), 4);
  put(b + 20, 16, 4);
  put(b + 24, 1 << 20, 8);
  put(b + 100, 104, 4);
  put(b + 104, 0xe2792aca, 4);
  put(b + 108, 3, 4);
  memcpy(b + 112, "raw", 3);
  memcpy(b + 200, backing, strlen(backing));
}

static void test_qcow2_head(void **state)
{
  (void)state;
  unsigned char b[512];
  struct err err = ERR_INIT;
  struct qcow2_head q CLEANUP(qcow2_head_release) = {0};
  make_head(b, "base.raw");
  assert_ok(qcow2_head_read(b, sizeof(b), &q, &err), &err);
  assert_string_equal(q.backing_path, "base.raw");
  assert_string_equal(q.backing_format, "raw");
  assert_int_equal(q.size_bytes, 1 << 20);
  assert_false(q.encrypted || q.external_data);
  qcow2_head_release(&q);
  put(b + 72, 4, 8);
  put(b + 32, 2, 4);
  assert_ok(qcow2_head_read(b, sizeof(b), &q, &err), &err);
  assert_true(q.encrypted && q.external_data);
}

static void test_hostile_heads(void **state)
{
  (void)state;
  static const struct {
    size_t at, length;
    uint64_t value;
  } changes[] = {
      {0, 4, 0},
      {4, 4, 1},
      {4, 4, 9},
      {8, 8, 511},
      {8, 8, UINT64_MAX},
      {16, 4, 1024},
      {16, 4, 0xffffffff},
      {24, 8, UINT64_MAX},
      {100, 4, 72},
      {100, 4, 0xfffffff0},
      {108, 4, 0xffffffff},
      {108, 4, 500},
  };
  for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
    unsigned char b[512];
    struct err err = ERR_INIT;
    struct qcow2_head q = {0};
    make_head(b, "base.raw");
    put(b + changes[i].at, changes[i].value, changes[i].length);
    if (qcow2_head_read(b, sizeof(b), &q, &err) == 0)
      fail_msg("change %zu was accepted", i);
    assert_int_equal(err.kind, ERR_CORRUPT);
    qcow2_head_release(&q);
  }
  unsigned char b[512];
  make_head(b, "base.raw");
  for (size_t length = 0; length < 208; length++) { // cut anywhere: no read beyond the end
    struct qcow2_head q = {0};
    char *exact = malloc(length + 1);
    memcpy(exact, b, length);
    struct err err = ERR_INIT;
    assert_int_equal(qcow2_head_read(exact, length, &q, &err), -1);
    qcow2_head_release(&q);
    free(exact);
  }
}

static void test_backing_paths(void **state)
{
  (void)state;
  static const char *const cases[][3] = {
      {"/p/top.qcow2", "base.raw", "/p/base.raw"},
      {"/p/q/top.qcow2", "../base.raw", "/p/base.raw"},
      {"/p/top", "./a//b/../c", "/p/a/c"},
      {"/p/top", "../../../etc/shadow", "/etc/shadow"},
      {"/p/top", "/abs/x", "/abs/x"},
      {"/p/top", "file:/abs/x", "/abs/x"},
      {"/top", "base", "/base"},
      {"/p/top", "a/b:c", "/p/a/b:c"},
      {"/p/top", "nbd://h/x", NULL},
      {"/p/top", "json:{\"driver\":\"file\"}", NULL},
      {"/p/top", "fat:/etc", NULL},
  };
  for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
    struct err err = ERR_INIT;
    cleanup_free char *path = backing_resolve(cases[i][0], cases[i][1], &err);
    if (!str_eq(path, cases[i][2]))
      fail_msg("%s from %s is %s", cases[i][1], cases[i][0], path ? path : "refused");
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_endpoints),     cmocka_unit_test(test_bad_endpoints),
      cmocka_unit_test(test_error_kinds),   cmocka_unit_test(test_names),
      cmocka_unit_test(test_shell_quote),   cmocka_unit_test(test_qcow2_head),
      cmocka_unit_test(test_hostile_heads), cmocka_unit_test(test_backing_paths),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
