// SPDX-License-Identifier: Apache-2.0
#include "base/cleanup.h"
#include "base/str.h"
#include "providers/provider_internal.h"
#include "tests/unit/unit.h"

static void test_owner_marks(void **state)
{
  (void)state;
  assert_true(owner_same("i/ns/n/u/h1", "i/ns/n/u/h2"));
  assert_false(owner_same("i/ns/n/u/h", "i/ns/n/v/h"));
  assert_false(owner_same("j/ns/n/u/h", "i/ns/n/u/h"));
  assert_false(owner_same("i/ns/n/u", "i/ns/n/u"));
  assert_false(owner_same(NULL, "i/ns/n/u/h"));
  assert_false(owner_same("i/ns/n/u/h", NULL));
  assert_false(owner_same("i/ns/n/uu/h", "i/ns/n/u/h"));
  cleanup_free char *uid = owner_uid("i/ns/n/abc-1/h");
  assert_string_equal(uid, "abc-1");
  assert_null(owner_uid("i/ns/n//h"));
  assert_null(owner_uid("i/ns/n"));
  assert_null(owner_uid(NULL));
}

static void test_findings(void **state)
{
  (void)state;
  struct findings all = {0}, more = {0};
  struct err err = ERR_INIT;
  assert_int_equal(findings_add(&all, "A", FINDING_OK, NULL, "%s is fine", "it"), 0);
  assert_int_equal(findings_add(&more, "B", FINDING_ERROR, "Change it.", "bad %d", 7), 0);
  assert_ok(findings_append(&all, &more, &err), &err);
  assert_int_equal(more.count, 0);
  assert_int_equal(all.count, 2);
  assert_string_equal(all.items[1].message, "bad 7");
  assert_string_equal(all.items[1].suggestion, "Change it.");
  assert_null(all.items[0].suggestion);
  findings_release(&all);
  assert_ok(findings_append(&all, &more, &err), &err);
  assert_int_equal(all.count, 0);
}

static void test_config_copy(void **state)
{
  (void)state;
  struct provider_config from = {.type = "T", .endpoint = "e", .known_hosts = "k", .ssh_port = 7};
  struct provider_config to;
  struct err err = ERR_INIT;
  secret_set_string(&from.ssh_key, "key");
  secret_set_string(&from.password, "pw");
  assert_ok(provider_config_copy(&from, &to, &err), &err);
  assert_string_equal(secret_reveal(&to.ssh_key), "key");
  assert_ptr_not_equal(secret_reveal(&to.ssh_key), secret_reveal(&from.ssh_key));
  assert_string_equal(to.endpoint, "e");
  assert_int_equal(to.ssh_port, 7);
  assert_true(secret_empty(&to.client_key_pem));
  provider_config_release(&to);
  secret_release(&from.ssh_key);
  secret_release(&from.password);
}

static void test_vm_json(void **state)
{
  (void)state;
  struct err err = ERR_INIT;
  struct vm vm;
  // What is not said is what a machine usually has.
  assert_ok(table_decode_text(&vm_json_table, "{\"name\":\"x\"}", "vm", &vm, &err), &err);
  assert_true(vm.serial_console && vm.graphics && vm.guest_agent && vm.rng && vm.balloon);
  assert_false(vm.console_log || vm.secure_boot || vm.clock_local);
  vm_release(&vm);
  static const char *const bad[] = {
      "{}",
      "{\"name\":\"\"}",
      "{\"name\":\"x\",\"path\":\"/etc/passwd\"}",
      "{\"name\":\"x\",\"owner\":\"i/ns/n/u/h\"}",
      "{\"name\":\"x\",\"disks\":[{\"name\":\"a\",\"path\":\"/etc/passwd\"}]}",
      "{\"name\":\"x\",\"nics\":[{\"mac\":\"52:54:00:00:00\"}]}",
      "{\"name\":\"x\",\"cpus\":-1}",
      "{\"name\":\"x\",\"firmware\":\"coreboot\"}",
  };
  for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
    assert_int_equal(table_decode_text(&vm_json_table, bad[i], "vm", &vm, &err), -1);
    assert_int_equal(err.kind, ERR_INVALID);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_owner_marks),
      cmocka_unit_test(test_findings),
      cmocka_unit_test(test_config_copy),
      cmocka_unit_test(test_vm_json),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
