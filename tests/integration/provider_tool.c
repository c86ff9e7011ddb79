// SPDX-License-Identifier: Apache-2.0
// provider_tool [OPTIONS] ENDPOINT VERB [ARGUMENTS]: one verb of the provider's seam, for the
// scripts beside it. Prints JSON or lines; a failure is "error REASON: message" on standard error,
// status 1.
//
//   --ssh-key F --known-hosts F --any-host-key --ca F --cert F --key F --insecure  credentials
//   --ssh-host H --ssh-port N --allowed CIDR --storage S --deadline-ms N
//
//   probe | find NAME | describe NAME | check-source NAME | source-open NAME DISK
//   power NAME on|off|shutdown | state NAME | autostart NAME on|off | delete NAME
//   check-target FILE | plan FILE I | prepare FILE I | done FILE I | plan-vm FILE | finish FILE
//   remove KIND ID WHERE OWNER
//   base-check FILE | base-make FILE | clone-check FILE | clone-make FILE | clone-drop FILE
//   clone-get ID | console ID
//   clones FILE N: so many of them, which differ in name and identity; prints the milliseconds
//
// FILE: {"vm": {...}, "disks": [{"storage", "format", "thick"}], "owner", "uid"}; of bases and
// clones: the order, with the names of its table in providers/clone.c.
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "providers/clone.h"

struct tool {
  struct provider *p;
  char **args; // of the verb
  struct err err;
};

// ---- output and input --------------------------------------------------------------------------

static int print_json(struct json_object *json)
{
  puts(json_object_to_json_string_ext(json,
                                      JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
  json_object_put(json);
  return 0;
}

static int print_findings(struct findings *f)
{
  for (size_t i = 0; i < f->count; i++)
    printf("%s %s: %s\n", finding_severity_names[f->items[i].severity], f->items[i].check,
           f->items[i].message);
  findings_release(f);
  return 0;
}

static char *read_file(const char *path)
{
  cleanup_fclose FILE *f = fopen(path, "r");
  char *text = f ? calloc(1, 1 << 20) : NULL;
  if (!text || fread(text, 1, (1 << 20) - 1, f) == 0) {
    fprintf(stderr, "cannot read %s\n", path);
    exit(2);
  }
  return text;
}

static void read_secret(const char *path, struct secret *ret)
{
  char *text = read_file(path);
  secret_set_string(ret, text);
  secret_free_string(text);
}

static const char *json_text(struct json_object *o, const char *key)
{
  struct json_object *value;
  return json_object_object_get_ex(o, key, &value) ? json_object_get_string(value) : NULL;
}

static int read_target(struct tool *t, struct vm_target *ret)
{
  cleanup_free char *text = read_file(t->args[0]);
  struct json_object *root = json_tokener_parse(text), *vm = NULL, *disks = NULL;
  json_object_object_get_ex(root, "vm", &vm);
  json_object_object_get_ex(root, "disks", &disks);
  *ret = (struct vm_target){0};
  int failed = table_decode(&vm_table, vm, "vm", &ret->vm, &t->err);
  ret->owner = str_dup(json_text(root, "owner"));
  ret->uid = str_dup(json_text(root, "uid"));
  for (size_t i = 0; i < json_object_array_length(disks); i++) {
    struct json_object *disk = json_object_array_get_idx(disks, i), *thick = NULL;
    struct target_disk *d = list_add(&ret->disks, sizeof(*d), 64);
    d->storage = str_dup(json_text(disk, "storage"));
    for (int f = 0; disk_format_names[f]; f++)
      if (str_eq(disk_format_names[f], json_text(disk, "format")))
        d->format = f;
    d->thick = json_object_object_get_ex(disk, "thick", &thick) && json_object_get_boolean(thick);
  }
  json_object_put(root);
  return failed;
}

// ---- verbs -------------------------------------------------------------------------------------

static int do_probe(struct tool *t)
{
  struct provider_info i;
  if (provider_probe(t->p, &i, &t->err) != 0)
    return -1;
  printf("version %s\nhost %s\n", i.version, i.host);
  for (size_t n = 0; n < i.capabilities.count; n++)
    printf("capability %s\n", i.capabilities.items[n]);
  for (size_t n = 0; n < i.storages.count; n++) {
    struct provider_storage *s = (struct provider_storage *)i.storages.items + n;
    printf("storage %s %s %s active=%d free=%lld\n", s->name, s->type, s->path ? s->path : "-",
           s->active, (long long)s->free_bytes);
  }
  for (size_t n = 0; n < i.networks.count; n++)
    printf("network %s\n", i.networks.items[n]);
  for (size_t n = 0; n < i.vms.count; n++)
    printf("vm %s\n", i.vms.items[n]);
  provider_info_release(&i);
  return 0;
}

static int find_as(struct tool *t, const struct table *table)
{
  struct vm vm;
  if (provider_find_vm(t->p, t->args[0], &vm, &t->err) != 0)
    return -1;
  print_json(table_encode(table, &vm));
  vm_release(&vm);
  return 0;
}

static int do_find(struct tool *t)
{
  return find_as(t, &vm_table);
}

static int do_describe(struct tool *t)
{
  return find_as(t, &vm_json_table);
}

static int do_check_source(struct tool *t)
{
  struct vm vm CLEANUP(vm_release) = {0};
  struct findings f = {0};
  if (provider_find_vm(t->p, t->args[0], &vm, &t->err) != 0 ||
      provider_check_source(t->p, &vm, &f, &t->err) != 0)
    return -1;
  return print_findings(&f);
}

static int print_reach(struct reach *r)
{
  printf("key=%s\n", secret_empty(&r->ssh_key) ? "no" : "yes");
  print_json(table_encode(&reach_table, r));
  reach_release(r);
  return 0;
}

static int do_source_open(struct tool *t)
{
  struct vm vm CLEANUP(vm_release) = {0};
  struct reach r = {0};
  if (provider_find_vm(t->p, t->args[0], &vm, &t->err) != 0 ||
      provider_source_open(t->p, &vm, t->args[1], &r, &t->err) != 0 ||
      provider_source_release(t->p, &vm, t->args[1], &t->err) != 0)
    return -1;
  return print_reach(&r);
}

static int find_id(struct tool *t, struct vm *ret)
{
  return provider_find_vm(t->p, t->args[0], ret, &t->err);
}

static int do_power(struct tool *t)
{
  struct vm vm CLEANUP(vm_release) = {0};
  enum power_action action = str_eq(t->args[1], "on")    ? POWER_ON
                             : str_eq(t->args[1], "off") ? POWER_OFF
                                                         : POWER_GUEST_SHUTDOWN;
  return find_id(t, &vm) != 0 ? -1 : provider_power(t->p, vm.id, action, &t->err);
}

static int do_state(struct tool *t)
{
  struct vm vm CLEANUP(vm_release) = {0};
  enum vm_power power;
  if (find_id(t, &vm) != 0 || provider_power_state(t->p, vm.id, &power, &t->err) != 0)
    return -1;
  puts(vm_power_names[power]);
  return 0;
}

static int do_autostart(struct tool *t)
{
  struct vm vm CLEANUP(vm_release) = {0};
  return find_id(t, &vm) != 0
             ? -1
             : provider_set_autostart(t->p, vm.id, str_eq(t->args[1], "on"), &t->err);
}

static int do_delete(struct tool *t)
{
  struct vm vm CLEANUP(vm_release) = {0};
  return find_id(t, &vm) != 0 ? -1 : provider_delete_vm(t->p, &vm, &t->err);
}

static int do_check_target(struct tool *t)
{
  struct vm_target target CLEANUP(vm_target_release) = {0};
  struct findings f = {0};
  if (read_target(t, &target) != 0 || provider_check_target(t->p, &target, &f, &t->err) != 0)
    return -1;
  return print_findings(&f);
}

static size_t disk_argument(const struct tool *t)
{
  return strtoul(t->args[1], NULL, 10);
}

static int do_plan(struct tool *t)
{
  struct vm_target target CLEANUP(vm_target_release) = {0};
  struct owned o;
  if (read_target(t, &target) != 0 ||
      provider_target_plan(t->p, &target, disk_argument(t), &o, &t->err) != 0)
    return -1;
  printf("%s\n%s\n%s\n", o.kind, o.id, o.where);
  owned_release(&o);
  return 0;
}

static int do_prepare(struct tool *t)
{
  struct vm_target target CLEANUP(vm_target_release) = {0};
  struct owned o CLEANUP(owned_release) = {0};
  struct reach r;
  size_t i = disk_argument(t);
  if (read_target(t, &target) != 0 || provider_target_plan(t->p, &target, i, &o, &t->err) != 0 ||
      provider_target_prepare(t->p, &target, i, &o, &r, &t->err) != 0)
    return -1;
  return print_reach(&r);
}

static int do_done(struct tool *t)
{
  struct vm_target target CLEANUP(vm_target_release) = {0};
  struct owned o CLEANUP(owned_release) = {0};
  size_t i = disk_argument(t);
  if (read_target(t, &target) != 0 || provider_target_plan(t->p, &target, i, &o, &t->err) != 0)
    return -1;
  return provider_target_disk_done(t->p, &target, i, &o, &t->err);
}

static int do_plan_vm(struct tool *t)
{
  struct vm_target target CLEANUP(vm_target_release) = {0};
  struct owned o;
  if (read_target(t, &target) != 0 || provider_target_plan_vm(t->p, &target, &o, &t->err) != 0)
    return -1;
  printf("%s\n%s\n%s\n", o.kind, o.id, o.where);
  owned_release(&o);
  return 0;
}

static int do_finish(struct tool *t)
{
  struct vm_target target CLEANUP(vm_target_release) = {0};
  struct owned disks[64] = {{0}}, vm CLEANUP(owned_release) = {0};
  struct vm_made made;
  int failed = read_target(t, &target);
  for (size_t i = 0; !failed && i < target.vm.disks.count; i++)
    failed = provider_target_plan(t->p, &target, i, &disks[i], &t->err);
  if (!failed)
    failed = provider_target_plan_vm(t->p, &target, &vm, &t->err) != 0 ||
             provider_target_finish(t->p, &target, disks, &vm, &made, &t->err) != 0;
  for (size_t i = 0; i < target.vm.disks.count; i++)
    owned_release(&disks[i]);
  if (failed)
    return -1;
  printf("id %s\nname %s\n", made.id, made.name);
  for (size_t i = 0; i < made.adapted.count; i++)
    printf("adapted %s\n", made.adapted.items[i]);
  vm_made_release(&made);
  return 0;
}

static int do_remove(struct tool *t)
{
  struct owned o = {t->args[0], t->args[1], t->args[2]};
  return provider_remove(t->p, &o, t->args[3], &t->err);
}

// ---- bases and clones --------------------------------------------------------------------------

static void base_order_release(struct base_order *b)
{
  table_release(&base_order_table, b);
}

static void clone_order_release(struct clone_order *c)
{
  table_release(&clone_order_table, c);
}
#define cleanup_base  CLEANUP(base_order_release)
#define cleanup_order CLEANUP(clone_order_release)
#define cleanup_owned CLEANUP(owned_release)

static int read_order(struct tool *t, const struct table *table, void *ret)
{
  cleanup_free char *text = read_file(t->args[0]);
  return table_decode_text(table, text, "order", ret, &t->err);
}

static int do_base_check(struct tool *t)
{
  struct base_order b cleanup_base = {0};
  struct findings f = {0};
  if (read_order(t, &base_order_table, &b) != 0 || provider_base_check(t->p, &b, &f, &t->err) != 0)
    return -1;
  return print_findings(&f);
}

static int do_base_make(struct tool *t)
{
  struct base_order b cleanup_base = {0};
  struct owned o cleanup_owned = {0};
  struct base_seen seen CLEANUP(base_seen_release) = {0};
  if (read_order(t, &base_order_table, &b) != 0 || provider_base_plan(t->p, &b, &o, &t->err) != 0 ||
      provider_base_make(t->p, &b, &o, &seen, &t->err) != 0)
    return -1;
  return print_json(table_encode(&base_seen_table, &seen));
}

static int do_clone_check(struct tool *t)
{
  struct clone_order c cleanup_order = {0};
  struct findings f = {0};
  if (read_order(t, &clone_order_table, &c) != 0 ||
      provider_clone_check(t->p, &c, &f, &t->err) != 0)
    return -1;
  return print_findings(&f);
}

static int do_clone_make(struct tool *t)
{
  struct clone_order c cleanup_order = {0};
  struct owned o cleanup_owned = {0};
  struct clone_seen seen CLEANUP(clone_seen_release) = {0};
  if (read_order(t, &clone_order_table, &c) != 0 || provider_clone_plan(t->p, &c, &o, &t->err) != 0)
    return -1;
  while (!seen.done) {
    struct timespec pause = {.tv_nsec = 20000000};
    if (seen.id)
      nanosleep(&pause, NULL);
    clone_seen_release(&seen);
    if (provider_clone_make(t->p, &c, &o, &seen, &t->err) != 0)
      return -1;
  }
  return print_json(table_encode(&clone_seen_table, &seen));
}

static int do_clone_drop(struct tool *t)
{
  struct clone_order c cleanup_order = {0};
  struct owned o cleanup_owned = {0};
  if (read_order(t, &clone_order_table, &c) != 0 || provider_clone_plan(t->p, &c, &o, &t->err) != 0)
    return -1;
  return provider_remove(t->p, &o, c.owner, &t->err);
}

static int do_clone_get(struct tool *t)
{
  struct clone_seen seen CLEANUP(clone_seen_release) = {0};
  if (provider_clone_get(t->p, t->args[0], &seen, &t->err) != 0)
    return -1;
  return print_json(table_encode(&clone_seen_table, &seen));
}

static int do_console(struct tool *t)
{
  struct strings argv CLEANUP(strings_release) = {0};
  if (provider_console(t->p, t->args[0], &argv, &t->err) != 0)
    return -1;
  for (size_t i = 0; i < argv.count; i++)
    puts(argv.items[i]);
  return 0;
}

// The last eight digits of uid and machine id count, the name gets the number.
static int make_one(struct tool *t, const struct clone_order *pattern, int number)
{
  struct clone_order c cleanup_order = {0};
  struct owned o cleanup_owned = {0};
  struct clone_seen seen CLEANUP(clone_seen_release) = {0};
  char digits[9];
  if (table_copy(&clone_order_table, pattern, &c, &t->err) != 0)
    return -1;
  snprintf(digits, sizeof(digits), "%08x", (unsigned)number);
  memcpy(c.uid + strlen(c.uid) - 8, digits, 8);
  memcpy(c.machine_id + strlen(c.machine_id) - 8, digits, 8);
  free(c.name);
  c.name = str_printf("%s-%d", pattern->name, number);
  return provider_clone_plan(t->p, &c, &o, &t->err) != 0 ||
                 provider_clone_make(t->p, &c, &o, &seen, &t->err) != 0
             ? -1
             : 0;
}

static int do_clones(struct tool *t)
{
  struct clone_order c cleanup_order = {0};
  if (read_order(t, &clone_order_table, &c) != 0)
    return -1;
  int64_t before_ms = clock_ms();
  for (int i = 0; i < atoi(t->args[1]); i++)
    if (make_one(t, &c, i) != 0)
      return -1;
  printf("%lld\n", (long long)(clock_ms() - before_ms));
  return 0;
}

static const struct {
  const char *name;
  int arguments;
  int (*run)(struct tool *t);
} verbs[] = {
    {"probe", 0, do_probe},
    {"find", 1, do_find},
    {"describe", 1, do_describe},
    {"check-source", 1, do_check_source},
    {"source-open", 2, do_source_open},
    {"power", 2, do_power},
    {"state", 1, do_state},
    {"autostart", 2, do_autostart},
    {"delete", 1, do_delete},
    {"check-target", 1, do_check_target},
    {"plan", 2, do_plan},
    {"prepare", 2, do_prepare},
    {"done", 2, do_done},
    {"plan-vm", 1, do_plan_vm},
    {"finish", 1, do_finish},
    {"remove", 4, do_remove},
    {"base-check", 1, do_base_check},
    {"base-make", 1, do_base_make},
    {"clone-check", 1, do_clone_check},
    {"clone-make", 1, do_clone_make},
    {"clone-drop", 1, do_clone_drop},
    {"clone-get", 1, do_clone_get},
    {"console", 1, do_console},
    {"clones", 2, do_clones},
};

// ---- options -----------------------------------------------------------------------------------

static const struct option options[] = {
    {"ssh-key", required_argument, NULL, 'k'},
    {"known-hosts", required_argument, NULL, 'h'},
    {"any-host-key", no_argument, NULL, 'a'},
    {"ca", required_argument, NULL, 'c'},
    {"cert", required_argument, NULL, 'e'},
    {"key", required_argument, NULL, 'p'},
    {"insecure", no_argument, NULL, 'i'},
    {"ssh-host", required_argument, NULL, 's'},
    {"ssh-port", required_argument, NULL, 'P'},
    {"allowed", required_argument, NULL, 'f'},
    {"storage", required_argument, NULL, 'S'},
    {"deadline-ms", required_argument, NULL, 'd'},
    {NULL, 0, NULL, 0},
};

static void take_option(int option, struct provider_config *c, const char **ret_allowed)
{
  switch (option) {
  case 'k':
    read_secret(optarg, &c->ssh_key);
    return;
  case 'h':
    c->known_hosts = read_file(optarg);
    return;
  case 'a':
    c->insecure_host_key = true;
    return;
  case 'c':
    c->ca_pem = read_file(optarg);
    return;
  case 'e':
    read_secret(optarg, &c->client_cert_pem);
    return;
  case 'p':
    read_secret(optarg, &c->client_key_pem);
    return;
  case 'i':
    c->insecure_skip_verify = true;
    return;
  case 's':
    c->ssh_host = str_dup(optarg);
    return;
  case 'P':
    c->ssh_port = atoi(optarg);
    return;
  case 'f':
    *ret_allowed = optarg;
    return;
  case 'S':
    c->default_storage = str_dup(optarg);
    return;
  case 'd':
    c->deadline_ms = atoi(optarg);
    return;
  default:
    exit(2);
  }
}

static int run_verb(struct tool *t, const char *verb, int arguments)
{
  for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
    if (str_eq(verbs[i].name, verb) && verbs[i].arguments == arguments)
      return verbs[i].run(t);
  fprintf(stderr, "no verb '%s' with %d arguments\n", verb, arguments);
  exit(2);
}

int main(int argc, char **argv)
{
  struct provider_config config CLEANUP(provider_config_release) = {.type = str_dup("Libvirt")};
  struct tool t = {0};
  const char *allowed = NULL;
  for (int option; (option = getopt_long(argc, argv, "+", options, NULL)) >= 0;)
    take_option(option, &config, &allowed);
  if (argc - optind < 2)
    return 2;
  config.endpoint = str_dup(argv[optind]);
  t.args = argv + optind + 2;
  struct address_filter *filter = allowed ? address_filter_new(&allowed, 1, &t.err) : NULL;
  int failed = (allowed && !filter) || provider_open(&config, filter, &t.p, &t.err) != 0;
  if (!failed)
    failed = run_verb(&t, argv[optind + 1], argc - optind - 2);
  if (failed)
    fprintf(stderr, "error %s: %s\n", err_reason(t.err.kind), t.err.message);
  provider_close(t.p);
  address_filter_free(filter);
  return failed ? 1 : 0;
}
