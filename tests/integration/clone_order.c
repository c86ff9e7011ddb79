// SPDX-License-Identifier: Apache-2.0
// What a clone can be told to be. Each thing either acts, which is seen from inside, or is refused
// by clone_check(); and what makes no sense is refused everywhere.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/integration/clone_bench.h"

#define KEY    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0conformance0conformance0conformance00 cf@drover"
#define MAC    "52:54:00:cf:01:02"
#define MARKER "conformance-user-data"

// ---- what may be asked for ---------------------------------------------------------------------

static void ask_cpus(struct clone_order *c)
{
  c->cpus = settings.cpus ? settings.cpus : 1;
}

static void ask_memory(struct clone_order *c)
{
  c->memory_bytes = settings.memory_bytes ? settings.memory_bytes : 256 << 20;
}

static void ask_disk(struct clone_order *c)
{
  struct clone_disk *d = list_add(&c->disks, sizeof(*d), 0);
  d->size_bytes = settings.disk_bytes ? settings.disk_bytes : 64ll << 30;
}

static void ask_nic(struct clone_order *c)
{
  struct clone_nic *n = list_add(&c->nics, sizeof(*n), 0);
  n->network = str_dup(settings.provider.network);
  n->mac = str_dup(MAC);
}

static void ask_address(struct clone_order *c)
{
  strings_add(&c->addresses, settings.address ? settings.address : "10.213.7.9/24");
  c->gateway = str_dup(settings.gateway);
}

static void ask_nameserver(struct clone_order *c)
{
  ask_address(c);
  strings_add(&c->nameservers, "10.213.7.53");
}

static void ask_ssh_key(struct clone_order *c)
{
  strings_add(&c->ssh_keys, KEY);
}

static void ask_user_data(struct clone_order *c)
{
  c->user_data = str_dup("#cloud-config\nfinal_message: " MARKER "\n");
}

static bool has_text(const char *answer, const char *text)
{
  return strstr(answer, text) != NULL;
}

static bool sees_cpus(const char *answer)
{
  return atoll(answer) == (settings.cpus ? settings.cpus : 1);
}

static bool sees_memory(const char *answer) // a kernel keeps some for itself
{
  int64_t wanted = settings.memory_bytes ? settings.memory_bytes : 256 << 20;
  return atoll(answer) <= wanted && atoll(answer) >= wanted / 2;
}

static bool sees_disk(const char *answer)
{
  int64_t wanted = settings.disk_bytes ? settings.disk_bytes : 64ll << 30;
  return atoll(answer) >= wanted / 10 * 9;
}

static bool sees_mac(const char *answer)
{
  return has_text(answer, MAC);
}

static bool sees_address(const char *answer)
{
  return has_text(answer, settings.address ? settings.address : "10.213.7.9/24");
}

static bool sees_key(const char *answer)
{
  return has_text(answer, KEY);
}

static bool sees_user_data(const char *answer)
{
  return has_text(answer, MARKER);
}

static const struct template_case {
  const char *name; // in `refuses` of the description: clone_check() says no
  void (*ask)(struct clone_order *c);
  const struct strings *question; // asked inside when it is not refused
  bool (*sees)(const char *answer);
  const struct strings *outside; // the same, asked on this host
} template_cases[] = {
    {"cpus", ask_cpus, &settings.guest.cpus, sees_cpus, &settings.host.cpus},
    {"memory", ask_memory, &settings.guest.memory, sees_memory, &settings.host.memory},
    {"disks", ask_disk, &settings.guest.disk, sees_disk},
    {"nics", ask_nic, &settings.guest.macs, sees_mac},
    {"addresses", ask_address, &settings.guest.addresses, sees_address},
    {"nameservers", ask_nameserver, NULL, NULL},
    {"sshKeys", ask_ssh_key, &settings.guest.ssh_keys, sees_key},
    {"userData", ask_user_data, &settings.guest.user_data, sees_user_data},
};

static bool soon_seen(const struct template_case *t, const char *id)
{
  for (int i = 0; i < 100; i++) { // a network comes up after the machine
    struct exec_order order = {.argv = *t->question, .timeout_ms = 20000};
    struct exec_result r cleanup_result = {0};
    OK(provider_exec(provider, id, &order, &r, err));
    if (r.exit_status == 0 && t->sees(r.output))
      return true;
    if (i == 99)
      printf("    %s: inside it is: %s%s\n", t->name, r.output, r.errors);
    free(shell(id, "sleep 0.3"));
  }
  return false;
}

static void expect_outside(const struct template_case *t, const char *name)
{
  if (!t->outside || t->outside->count == 0)
    return;
  cleanup_free char *answer = on_host(t->outside, name);
  if (!answer || !t->sees(answer))
    fail_msg("%s: on the host it is: %s", t->name, answer ? answer : "nothing");
}

static void expect_acts(const struct template_case *t, const struct clone_order *c)
{
  struct owned o cleanup_owned = {0};
  struct clone_seen seen cleanup_seen = {0};
  OK(provider_clone_plan(provider, c, &o, err));
  bench_remember(&o, c->owner);
  OK(clone_complete(c, &o, &seen, err));
  if (settings.runs) {
    power_on(seen.id);
    bool asked = t->question && t->question->count && !settings.no_exec;
    if (asked && !soon_seen(t, seen.id))
      fail_msg("%s: it is accepted and does not act", t->name);
    expect_outside(t, c->name);
    power_off(seen.id);
  }
  OK(remove_complete(&o, c->owner, err));
}

static void test_template(void **state)
{
  (void)state;
  for (size_t i = 0; i < ARRAY_SIZE(template_cases); i++) {
    const struct template_case *t = &template_cases[i];
    struct clone_order c cleanup_order = {0};
    struct findings found cleanup_found = {0};
    bool refuses = strings_has(&settings.refuses, t->name);
    clone_order_make(40 + (unsigned)i, &c);
    t->ask(&c);
    OK(provider_clone_check(provider, &c, &found, err));
    if (refused(&found) != refuses) {
      for (size_t k = 0; k < found.count; k++)
        printf("    %s: %s\n", found.items[k].check, found.items[k].message);
      fail_msg("%s: clone_check() %s it", t->name, refuses ? "accepts" : "refuses");
    }
    if (!refuses)
      expect_acts(t, &c);
  }
}

// ---- what nobody can be ------------------------------------------------------------------------

static void ask_many_cpus(struct clone_order *c)
{
  c->cpus = 1000000;
}

static void ask_no_memory(struct clone_order *c)
{
  c->memory_bytes = 4096;
}

static void ask_much_memory(struct clone_order *c)
{
  c->memory_bytes = 1ll << 60;
}

static void ask_small_disk(struct clone_order *c)
{
  struct clone_disk *d = list_add(&c->disks, sizeof(*d), 0);
  d->size_bytes = 65536;
}

static void ask_strange_network(struct clone_order *c)
{
  struct clone_nic *n = list_add(&c->nics, sizeof(*n), 0);
  n->network = str_dup("cf-no-such-net");
}

static void ask_strange_storage(struct clone_order *c)
{
  c->storage = str_dup("cf-no-such-pool");
}

static void ask_no_address(struct clone_order *c)
{
  strings_add(&c->addresses, "10.0.0.300/24");
}

static void ask_two_lines(struct clone_order *c)
{
  strings_add(&c->ssh_keys, "ssh-ed25519 AAAA\ncommand=\"evil\" ssh-ed25519 BBBB");
}

static void ask_strange_hostname(struct clone_order *c)
{
  free(c->hostname);
  c->hostname = str_dup("no host\nname");
}

static void ask_short_machine_id(struct clone_order *c)
{
  free(c->machine_id);
  c->machine_id = str_dup("12ab");
}

static void test_wrong_template(void **state)
{
  (void)state;
  static const struct {
    const char *name;
    void (*ask)(struct clone_order *c);
  } wrong[] = {
      {"a million CPUs", ask_many_cpus},
      {"a page of memory", ask_no_memory},
      {"an exbibyte of memory", ask_much_memory},
      {"a disk smaller than the base's", ask_small_disk},
      {"a network that is not there", ask_strange_network},
      {"a pool that is not there", ask_strange_storage},
      {"no address", ask_no_address},
      {"a key of two lines", ask_two_lines},
      {"no hostname", ask_strange_hostname},
      {"no machine-id", ask_short_machine_id},
  };
  for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
    struct clone_order c cleanup_order = {0};
    struct findings found cleanup_found = {0};
    struct err failure = ERR_INIT;
    clone_order_make(60, &c);
    wrong[i].ask(&c);
    if (provider_clone_check(provider, &c, &found, &failure) == 0 && !refused(&found))
      fail_msg("%s is not refused", wrong[i].name);
    assert_false(is_there(c.name));
  }
}

const struct CMUnitTest order_tests[] = {
    cmocka_unit_test(test_template),
    cmocka_unit_test(test_wrong_template),
};
const size_t order_tests_count = ARRAY_SIZE(order_tests);
