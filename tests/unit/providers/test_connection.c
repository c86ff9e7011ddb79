// SPDX-License-Identifier: Apache-2.0
// The connection thread, with a far side that hangs as long as the test wants.
#include <pthread.h>
#include <stdatomic.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "providers/provider_internal.h"
#include "tests/unit/unit.h"

#define DEADLINE_MS 200

static atomic_int opened, closed, hanging;
static atomic_bool hang;  // power() hangs
static atomic_bool alive; // what alive() says

static int fake_open(const struct provider_config *c, const struct address_filter *allowed,
                     void **ret, struct err *err)
{
  (void)allowed;
  if (str_eq(c->username, "nobody"))
    return err_set(err, ERR_AUTH, "refused");
  *ret = &opened;
  opened++;
  return 0;
}

static void fake_close(void *h)
{
  (void)h;
  closed++;
}

static bool fake_alive(void *h)
{
  (void)h;
  return alive;
}

static int fake_power(void *h, const char *vm_id, enum power_action action, struct err *err)
{
  (void)h;
  (void)action;
  if (str_eq(vm_id, "broken"))
    return err_set(err, ERR_BUSY, "locked");
  if (!hang)
    return 0;
  hanging++;
  while (hang) {
    struct timespec pause = {.tv_nsec = 1000000};
    nanosleep(&pause, NULL);
  }
  hanging--;
  return 0;
}

static int fake_find_vm(void *h, const char *name, struct vm *ret, struct err *err)
{
  (void)h;
  ret->name = str_dup(name);
  ret->id = str_dup("id");
  if (str_eq(name, "half"))
    return err_set(err, ERR_PROTOCOL, "half a description");
  return 0;
}

static int fake_finish(void *h, const struct vm_target *t, const struct owned *disks,
                       const struct owned *vm, struct vm_made *ret, struct err *err)
{
  (void)h;
  (void)err;
  ret->id = str_dup(vm->id);
  ret->name = str_printf("%s:%s:%s", t->vm.name, disks[0].id, disks[1].id);
  return strings_add(&ret->adapted, "sentence");
}

static int fake_remove(void *h, const struct owned *o, const char *owner, struct err *err)
{
  (void)owner;
  return str_eq(o->id, "web") ? fake_power(h, o->id, POWER_OFF, err) : 0;
}

static const struct provider_ops ops = {
    .type = "Fake",
    .open = fake_open,
    .close = fake_close,
    .alive = fake_alive,
    .power = fake_power,
    .find_vm = fake_find_vm,
    .target_finish = fake_finish,
    .no_disks = "a Fake has no disks",
};

static const struct provider_ops wide_ops = {
    .type = "Wide",
    .lanes = 3,
    .open = fake_open,
    .close = fake_close,
    .alive = fake_alive,
    .remove = fake_remove,
    .no_disks = "a Wide has no disks",
};

static struct provider *make_of(const struct provider_ops *kind, char *username)
{
  struct provider_config c = {
      .type = "Fake", .endpoint = "fake://x", .username = username, .deadline_ms = DEADLINE_MS};
  struct provider *p;
  struct err err = ERR_INIT;
  assert_ok(provider_open_ops(kind, &c, NULL, &p, &err), &err);
  return p;
}

static struct provider *make(char *username)
{
  return make_of(&ops, username);
}

static int reset(void **state)
{
  (void)state;
  opened = closed = hanging = 0;
  hang = false;
  alive = true;
  return 0;
}

static void test_results_and_errors_come_back(void **state)
{
  (void)state;
  struct provider *p = make(NULL);
  struct err err = ERR_INIT;
  struct vm vm;
  assert_ok(provider_find_vm(p, "web", &vm, &err), &err);
  assert_string_equal(vm.name, "web");
  vm_release(&vm);
  assert_int_equal(provider_find_vm(p, "half", &vm, &err), -1);
  assert_int_equal(err.kind, ERR_PROTOCOL);
  assert_int_equal(provider_power(p, "broken", POWER_ON, &err), -1);
  assert_int_equal(err.kind, ERR_BUSY);
  assert_int_equal(provider_power(p, "broken", POWER_ON, NULL), -1);
  assert_int_equal(opened, 1);
  alive = false; // the next call connects again
  assert_ok(provider_power(p, "x", POWER_ON, &err), &err);
  assert_int_equal(opened, 2);
  provider_close(p);
  assert_int_equal(closed, 2);
}

static void test_verbs_that_are_not_there(void **state)
{
  (void)state;
  struct provider *p = make(NULL);
  struct err err = ERR_INIT;
  struct vm vm = {0};
  struct reach reach;
  assert_int_equal(provider_source_open(p, &vm, "vda", &reach, &err), -1);
  assert_int_equal(err.kind, ERR_UNSUPPORTED);
  assert_string_equal(err.message, "a Fake has no disks");
  provider_close(p);
}

static void test_arguments_are_copied_whole(void **state)
{
  (void)state;
  struct provider *p = make(NULL);
  struct vm_disk disks[2] = {{.name = "vda"}, {.name = "vdb"}};
  struct target_disk how[2] = {{.storage = "default"}, {.storage = "fast"}};
  struct vm_target t = {
      .vm = {.name = "m", .disks = {disks, 2}}, .disks = {how, 2}, .owner = "o", .uid = "u"};
  struct owned owned[2] = {{"Volume", "/a", "p"}, {"Volume", "/b", "p"}};
  struct owned vm = {"VM", "uuid", "h"};
  struct vm_made made;
  struct err err = ERR_INIT;
  assert_ok(provider_target_finish(p, &t, owned, &vm, &made, &err), &err);
  assert_string_equal(made.name, "m:/a:/b");
  assert_int_equal(made.adapted.count, 1);
  vm_made_release(&made);
  provider_close(p);
}

static void test_refused_connection(void **state)
{
  (void)state;
  struct provider *p = make("nobody");
  struct err err = ERR_INIT;
  assert_int_equal(provider_power(p, "x", POWER_ON, &err), -1);
  assert_int_equal(err.kind, ERR_AUTH);
  provider_close(p);
  assert_int_equal(closed, 0);
}

static void test_a_hanging_call_meets_its_deadline(void **state)
{
  (void)state;
  struct provider *p = make(NULL), *other = make(NULL);
  struct err err = ERR_INIT;
  hang = true;
  int64_t start_ms = clock_ms();
  assert_int_equal(provider_power(p, "x", POWER_ON, &err), -1);
  assert_int_equal(err.kind, ERR_TIMEOUT);
  assert_in_range(clock_ms() - start_ms, DEADLINE_MS, DEADLINE_MS * 10);
  // At once, until a deadline has passed.
  start_ms = clock_ms();
  struct vm vm;
  assert_int_equal(provider_find_vm(p, "web", &vm, &err), -1);
  assert_int_equal(err.kind, ERR_TIMEOUT);
  assert_true(err.retry_after_ms > 0);
  assert_true(clock_ms() - start_ms < DEADLINE_MS);
  // Others do not notice.
  assert_ok(provider_find_vm(other, "web", &vm, &err), &err);
  vm_release(&vm);
  provider_close(other);
  // Then there is a new connection.
  assert_soon(provider_find_vm(p, "web", &vm, NULL) == 0);
  vm_release(&vm);
  assert_int_equal(opened, 3);
  hang = false;
  assert_soon(hanging == 0);
  provider_close(p);
  assert_soon(closed == 3);
}

static void test_at_most_three_hang(void **state)
{
  (void)state;
  struct provider *p = make(NULL);
  struct err err = ERR_INIT;
  hang = true;
  assert_soon((provider_power(p, "x", POWER_ON, NULL), hanging == PROVIDER_WEDGED_MAX));
  for (int i = 0; i < 3; i++) {
    struct timespec pause = {.tv_nsec = DEADLINE_MS * 1000000};
    nanosleep(&pause, NULL); // longer than the pause before a replacement
    assert_int_equal(provider_power(p, "x", POWER_ON, &err), -1);
    assert_int_equal(err.kind, ERR_TIMEOUT);
    assert_contains(err.message, "still hang");
    assert_int_equal(hanging, PROVIDER_WEDGED_MAX);
  }
  hang = false; // they come back: it works at once
  assert_soon(hanging == 0);
  assert_soon(provider_power(p, "x", POWER_ON, NULL) == 0);
  provider_close(p);
  assert_soon(closed == 4);
}

static void *call_power(void *p)
{
  struct err *err = calloc(1, sizeof(*err));
  provider_power(p, "x", POWER_ON, err);
  return err;
}

static void test_those_in_the_queue_fail_with_it(void **state)
{
  (void)state;
  struct provider *p = make(NULL);
  pthread_t threads[4];
  hang = true;
  for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
    assert_int_equal(pthread_create(&threads[i], NULL, call_power, p), 0);
  for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
    struct err *err;
    pthread_join(threads[i], (void **)&err);
    assert_int_equal(err->kind, ERR_TIMEOUT);
    free(err);
  }
  assert_in_range(hanging, 1, PROVIDER_WEDGED_MAX);
  hang = false;
  assert_soon(hanging == 0);
  provider_close(p);
  assert_soon(opened == closed);
}

static void test_close_leaves_a_wedged_thread_behind(void **state)
{
  (void)state;
  struct provider *p = make(NULL);
  hang = true;
  assert_int_equal(provider_power(p, "x", POWER_ON, NULL), -1);
  int64_t start_ms = clock_ms();
  provider_close(p);
  assert_true(clock_ms() - start_ms < DEADLINE_MS);
  hang = false;
  assert_soon(closed == 1);
}

static void test_unknown_types(void **state)
{
  (void)state;
  struct provider_config c = {.type = "Hyper9000", .endpoint = "x"};
  struct provider *p;
  struct err err = ERR_INIT;
  assert_int_equal(provider_open(&c, NULL, &p, &err), -1);
  assert_int_equal(err.kind, ERR_UNSUPPORTED);
  assert_string_equal(provider_types()[0], "Libvirt");
  for (const char *const *type = provider_types(); *type; type++)
    assert_non_null(strstr(err.message, *type));
}

static void *remove_web(void *arg)
{
  struct owned o = {"Clone", "web", "h"};
  struct err err = ERR_INIT;
  assert_int_equal(provider_remove(arg, &o, "mark", &err), 0);
  return NULL;
}

// One clone keeps its lane; what another one waits for holds up nobody but its own.
static void test_lanes_work_side_by_side(void **state)
{
  (void)state;
  struct provider *p = make_of(&wide_ops, NULL);
  p->config.deadline_ms = p->lanes[0]->config.deadline_ms = p->lanes[1]->config.deadline_ms = 5000;
  char other[16] = "a";
  pthread_t thread;
  assert_int_equal(p->lane_count, 2);
  assert_ptr_equal(provider_lane(p, NULL), p);
  assert_ptr_equal(provider_lane(p, "web"), provider_lane(p, "web"));
  while (provider_lane(p, other) == provider_lane(p, "web"))
    other[0]++;
  struct owned o = {"Clone", other, "h"};
  struct err err = ERR_INIT;
  hang = true;
  assert_int_equal(pthread_create(&thread, NULL, remove_web, p), 0);
  assert_soon(hanging == 1);
  assert_ok(provider_remove(p, &o, "mark", &err), &err);
  assert_int_equal(hanging, 1);
  hang = false;
  pthread_join(thread, NULL);
  assert_int_equal(opened, 2);
  provider_close(p);
  assert_int_equal(closed, 2);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(test_results_and_errors_come_back, reset),
      cmocka_unit_test_setup(test_arguments_are_copied_whole, reset),
      cmocka_unit_test_setup(test_refused_connection, reset),
      cmocka_unit_test_setup(test_a_hanging_call_meets_its_deadline, reset),
      cmocka_unit_test_setup(test_at_most_three_hang, reset),
      cmocka_unit_test_setup(test_those_in_the_queue_fail_with_it, reset),
      cmocka_unit_test_setup(test_close_leaves_a_wedged_thread_behind, reset),
      cmocka_unit_test_setup(test_lanes_work_side_by_side, reset),
      cmocka_unit_test_setup(test_unknown_types, reset),
      cmocka_unit_test_setup(test_verbs_that_are_not_there, reset),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
