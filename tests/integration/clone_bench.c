// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/clone_bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/clock.h"
#include "base/command.h"
#include "base/limits.h"

#define MAKE_MS         600000 // a download of a base may take that long
#define REMEMBERED_MAX  64
#define DEFAULT_BOOT_MS 60000
#define DEFAULT_LINKED  (1 << 20)

struct bench_settings settings;
struct provider *provider;

// ---- the description ---------------------------------------------------------------------------

#define TEXT(s, json, member)   FIELD_ROW(STRING, json, s, member)
#define NUMBER(s, json, member) FIELD_ROW(INT, json, s, member)
#define FLAG(s, json, member)   FIELD_ROW(BOOL, json, s, member)
#define WORDS(s, json, member)  FIELD_ROW(STRINGS, json, s, member)
#define PART(s, json, member, its)                                                                 \
  {                                                                                                \
    .name = (json), .type = FIELD_OBJECT, .offset = offsetof(struct s, member), .table = (its)     \
  }

// clang-format off
static const struct field provider_fields[] = {
    TEXT(bench_provider, "type", type), TEXT(bench_provider, "endpoint", endpoint),
    TEXT(bench_provider, "username", username), TEXT(bench_provider, "passwordFile", password_file),
    TEXT(bench_provider, "clientCertFile", client_cert_file),
    TEXT(bench_provider, "clientKeyFile", client_key_file),
    TEXT(bench_provider, "caFile", ca_file), TEXT(bench_provider, "fingerprint", fingerprint),
    TEXT(bench_provider, "storage", storage), TEXT(bench_provider, "network", network),
    FLAG(bench_provider, "insecureSkipVerify", insecure_skip_verify),
    NUMBER(bench_provider, "deadlineMs", deadline_ms),
};
static const struct table provider_table = TABLE(struct bench_provider, provider_fields);
static const struct field host_fields[] = {
    WORDS(bench_host, "foreignMake", foreign_make), WORDS(bench_host, "foreignShow", foreign_show),
    WORDS(bench_host, "foreignRemove", foreign_remove),
    WORDS(bench_host, "baseChange", base_change), WORDS(bench_host, "cpus", cpus),
    WORDS(bench_host, "memory", memory),
};
static const struct table host_table = TABLE(struct bench_host, host_fields);
static const struct field guest_fields[] = {
    WORDS(bench_guest, "hostname", hostname), WORDS(bench_guest, "machineID", machine_id),
    WORDS(bench_guest, "macs", macs), WORDS(bench_guest, "hostKeys", host_keys),
    WORDS(bench_guest, "addresses", addresses), WORDS(bench_guest, "sshKeys", ssh_keys),
    WORDS(bench_guest, "userData", user_data), WORDS(bench_guest, "cpus", cpus),
    WORDS(bench_guest, "memory", memory), WORDS(bench_guest, "disk", disk),
    TEXT(bench_guest, "folder", folder),
};
static const struct table guest_table = TABLE(struct bench_guest, guest_fields);
static const struct field settings_fields[] = {
    PART(bench_settings, "provider", provider, &provider_table),
    PART(bench_settings, "base", base, &base_order_table),
    WORDS(bench_settings, "modes", modes), WORDS(bench_settings, "refuses", refuses),
    PART(bench_settings, "host", host, &host_table),
    PART(bench_settings, "guest", guest, &guest_table),
    FLAG(bench_settings, "runs", runs), FLAG(bench_settings, "noShutdown", no_shutdown),
    FLAG(bench_settings, "noExec", no_exec), FLAG(bench_settings, "noSnapshots", no_snapshots),
    FLAG(bench_settings, "noSource", no_source), FLAG(bench_settings, "release", release), NUMBER(bench_settings, "bootMs", boot_ms),
    NUMBER(bench_settings, "linkedBytes", linked_bytes), TEXT(bench_settings, "address", address),
    TEXT(bench_settings, "gateway", gateway), NUMBER(bench_settings, "cpus", cpus),
    NUMBER(bench_settings, "memoryBytes", memory_bytes),
    NUMBER(bench_settings, "diskBytes", disk_bytes),
    NUMBER(bench_settings, "imageDelayMs", image_delay_ms),
};
// clang-format on
static const struct table settings_table = TABLE(struct bench_settings, settings_fields);

static int read_text(const char *path, char **ret, struct err *err)
{
  cleanup_fclose FILE *f = fopen(path, "re");
  cleanup_free char *text = calloc(1, LIMIT_MANIFEST_BYTES + 1);
  if (!f || !text)
    return err_errno(err, errno, "open %s", path);
  size_t length = fread(text, 1, LIMIT_MANIFEST_BYTES, f);
  text[length] = '\0';
  *ret = TAKE(text);
  return 0;
}

int bench_read(const char *path, struct err *err)
{
  char *text cleanup_free = NULL;
  if (read_text(path, &text, err) != 0 ||
      table_decode_text(&settings_table, text, "description", &settings, err) != 0)
    return -1;
  if (settings.boot_ms == 0)
    settings.boot_ms = DEFAULT_BOOT_MS;
  if (settings.linked_bytes == 0)
    settings.linked_bytes = DEFAULT_LINKED;
  if (!settings.guest.folder)
    settings.guest.folder = str_dup("/var/tmp");
  return settings.modes.count ? 0 : err_set(err, ERR_INVALID, "modes: none is given");
}

static int read_secret(const char *path, struct secret *ret, struct err *err)
{
  char *text = NULL;
  if (!path)
    return 0;
  if (read_text(path, &text, err) != 0)
    return -1;
  int failed = secret_set_string(ret, text);
  secret_free_string(text);
  return failed ? err_set(err, ERR_LIMIT, "%s is too long", path) : 0;
}

int bench_open(struct err *err)
{
  struct bench_provider *p = &settings.provider;
  struct provider_config c CLEANUP(provider_config_release) = {0};
  c.type = str_dup(p->type);
  c.endpoint = str_dup(p->endpoint);
  c.username = str_dup(p->username);
  c.fingerprint_sha256 = str_dup(p->fingerprint);
  c.default_storage = str_dup(p->storage);
  c.default_network = str_dup(p->network);
  c.insecure_skip_verify = p->insecure_skip_verify;
  c.deadline_ms = p->deadline_ms;
  if (read_secret(p->password_file, &c.password, err) != 0 ||
      read_secret(p->client_cert_file, &c.client_cert_pem, err) != 0 ||
      read_secret(p->client_key_file, &c.client_key_pem, err) != 0 ||
      (p->ca_file && read_text(p->ca_file, &c.ca_pem, err) != 0))
    return -1;
  return provider_open(&c, NULL, &provider, err);
}

void bench_reopen(void)
{
  provider_close(provider);
  provider = NULL;
  OK(bench_open(err));
}

void bench_close(void)
{
  provider_close(provider);
  provider = NULL;
  table_release(&settings_table, &settings);
}

bool can_mode(int mode)
{
  return strings_has(&settings.modes, clone_mode_names[mode]);
}

int default_mode(void)
{
  for (int i = 0; clone_mode_names[i]; i++)
    if (str_eq(clone_mode_names[i], settings.modes.items[0]))
      return i;
  fail_msg("modes: '%s' is none", settings.modes.items[0]);
  return 0;
}

// ---- orders ------------------------------------------------------------------------------------

// Six digits that tell this run from others on the same platform.
static const char *run_tag(void)
{
  static char tag[7];
  if (!tag[0])
    snprintf(tag, sizeof(tag), "%06x", (unsigned)clock_random(1u << 24));
  return tag;
}

static char *mark_of(const char *kind, const char *name, const char *uid)
{
  return str_printf("conformance/%s/%s/%s/0badcafe", kind, name, uid);
}

void base_order_of(const char *name, const char *uid, struct base_order *b)
{
  OK(table_copy(&base_order_table, &settings.base, b, err));
  b->name = str_dup(name);
  b->uid = str_dup(uid);
  b->owner = mark_of("bases", name, uid);
  if (b->image)
    bench_image(b);
}

void base_order_make(struct base_order *b)
{
  cleanup_free char *name = str_printf("cf-base-%s", run_tag());
  cleanup_free char *uid = str_printf("%s00-0000-4000-8000-00000000ba5e", run_tag());
  base_order_of(name, uid, b);
}

// FNV-1a, twice with other starts: spreads a uid over 32 digits; the run tag in it makes it unique.
static uint64_t spread(const char *text, uint64_t start)
{
  uint64_t h = UINT64_C(0xcbf29ce484222325) ^ start;
  for (; *text; text++)
    h = (h ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
  return h ^ (h >> 29);
}

void clone_order_of(const char *name, const char *uid, struct clone_order *c)
{
  *c = (struct clone_order){.mode = default_mode()};
  uint64_t a = spread(uid, 0), b = spread(uid, 77);
  a = (a & ~UINT64_C(0xf000)) | UINT64_C(0x4000); // as a UUID of version 4
  b = (b & ~(UINT64_C(3) << 62)) | (UINT64_C(1) << 63);
  c->name = str_dup(name);
  c->uid = str_dup(uid);
  c->owner = mark_of("clones", name, uid);
  c->base = str_dup(the_base_seen()->id);
  c->hostname = str_dup(name);
  c->machine_id = str_printf("%016llx%016llx", (unsigned long long)a, (unsigned long long)b);
}

void clone_order_make(unsigned n, struct clone_order *c)
{
  cleanup_free char *name = str_printf("cf-%s-%u", run_tag(), n);
  cleanup_free char *uid = str_printf("%s%02x-0000-4000-8000-0000000000%02x", run_tag(), n, n);
  clone_order_of(name, uid, c);
}

void clone_order_release(struct clone_order *c)
{
  table_release(&clone_order_table, c);
}

void base_order_release(struct base_order *b)
{
  feed_source_unref(b->source);
  table_release(&base_order_table, b);
}

// ---- verbs, with patience ----------------------------------------------------------------------

static void pause_ms(long ms)
{
  struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
  nanosleep(&t, NULL);
}

int base_complete(const struct base_order *b, const struct owned *o, struct base_seen *ret,
                  struct err *err)
{
  for (int64_t end_ms = clock_ms() + MAKE_MS; clock_ms() < end_ms; pause_ms(50)) {
    struct err failure = ERR_INIT;
    if (provider_base_make(provider, b, o, ret, &failure) != 0) {
      if (failure.kind == ERR_BUSY)
        continue;
      return err_set(err, failure.kind, "%s", failure.message);
    }
    if (ret->done)
      return 0;
    base_seen_release(ret);
  }
  return err_set(err, ERR_TIMEOUT, "the base is not made within %d s", MAKE_MS / 1000);
}

int clone_complete(const struct clone_order *c, const struct owned *o, struct clone_seen *ret,
                   struct err *err)
{
  for (int64_t end_ms = clock_ms() + MAKE_MS; clock_ms() < end_ms; pause_ms(20)) {
    struct err failure = ERR_INIT;
    if (provider_clone_make(provider, c, o, ret, &failure) != 0) {
      if (failure.kind == ERR_BUSY)
        continue;
      return err_set(err, failure.kind, "%s", failure.message);
    }
    if (ret->done)
      return 0;
    clone_seen_release(ret);
  }
  return err_set(err, ERR_TIMEOUT, "the clone is not made within %d s", MAKE_MS / 1000);
}

int remove_complete(const struct owned *o, const char *owner, struct err *err)
{
  struct err failure = ERR_INIT;
  for (int64_t end_ms = clock_ms() + DEFAULT_BOOT_MS; clock_ms() < end_ms; pause_ms(50)) {
    failure = (struct err)ERR_INIT;
    if (provider_remove(provider, o, owner, &failure) == 0)
      return 0;
    if (failure.kind != ERR_BUSY)
      break;
  }
  return err_set(err, failure.kind, "%s", failure.message);
}

void wait_power(const char *id, int power, bool answers)
{
  struct clone_seen seen cleanup_seen = {0};
  for (int64_t end_ms = clock_ms() + settings.boot_ms; clock_ms() < end_ms; pause_ms(100)) {
    clone_seen_release(&seen);
    OK(provider_clone_get(provider, id, &seen, err));
    if (seen.power == power && (!answers || settings.no_exec || seen.agent))
      return;
  }
  fail_msg("%s: power is %s, something answers: %d, after %lld ms", id, vm_power_names[seen.power],
           seen.agent, (long long)settings.boot_ms);
}

void power_on(const char *id)
{
  OK(provider_clone_power(provider, id, POWER_ON, err));
  wait_power(id, VM_POWER_ON, true);
}

void power_off(const char *id)
{
  OK(provider_clone_power(provider, id, POWER_OFF, err));
  wait_power(id, VM_POWER_OFF, false);
}

bool is_there(const char *id)
{
  struct clone_seen seen cleanup_seen = {0};
  struct err err = ERR_INIT;
  if (provider_clone_get(provider, id, &seen, &err) == 0)
    return true;
  if (err.kind != ERR_NOT_FOUND)
    fail_msg("%s: %s", err_reason(err.kind), err.message);
  return false;
}

bool refused(const struct findings *f)
{
  for (size_t i = 0; i < f->count; i++)
    if (f->items[i].severity == FINDING_ERROR)
      return true;
  return false;
}

// ---- what tests share --------------------------------------------------------------------------

static struct {
  struct owned owned;
  char *owner;
} remembered[REMEMBERED_MAX];
static size_t remembered_count;
static struct base_order base_order;
static struct owned base_owned;
static struct base_seen base_seen;
static struct bench_clone clones[BENCH_CLONES];

void bench_remember(const struct owned *o, const char *owner)
{
  assert_true(remembered_count < REMEMBERED_MAX);
  OK(table_copy(&owned_table, o, &remembered[remembered_count].owned, err));
  remembered[remembered_count++].owner = str_dup(owner);
}

const struct owned *the_base(void)
{
  if (base_seen.done)
    return &base_owned;
  base_order_release(&base_order);
  owned_release(&base_owned);
  base_order_make(&base_order);
  OK(provider_base_plan(provider, &base_order, &base_owned, err));
  if (str_eq(base_owned.kind, "Base"))
    bench_remember(&base_owned, base_order.owner);
  OK(base_complete(&base_order, &base_owned, &base_seen, err));
  return &base_owned;
}

const struct base_seen *the_base_seen(void)
{
  the_base();
  return &base_seen;
}

struct bench_clone *the_clone(unsigned n)
{
  assert_true(n < BENCH_CLONES);
  struct bench_clone *c = &clones[n];
  if (c->made)
    return c;
  clone_order_make(n, &c->order);
  OK(provider_clone_plan(provider, &c->order, &c->owned, err));
  bench_remember(&c->owned, c->order.owner);
  OK(clone_complete(&c->order, &c->owned, &c->seen, err));
  c->made = true;
  return c;
}

struct bench_clone *running_clone(unsigned n)
{
  struct bench_clone *c = the_clone(n);
  power_on(c->seen.id);
  return c;
}

void clone_drop(struct bench_clone *c)
{
  clone_order_release(&c->order);
  owned_release(&c->owned);
  clone_seen_release(&c->seen);
  *c = (struct bench_clone){0};
}

static bool take_away(const struct owned *o, const char *owner)
{
  struct err err = ERR_INIT;
  struct err ignored = ERR_INIT;
  if (str_eq(o->kind, "Clone"))
    provider_clone_power(provider, o->id, POWER_OFF, &ignored);
  bool given_back = settings.release && str_eq(o->kind, "Base");
  if ((given_back ? provider_base_release(provider, o, owner, &err)
                  : remove_complete(o, owner, &err)) == 0)
    return true;
  printf("left behind: %s %s: %s\n", o->kind, o->id, err.message);
  return false;
}

int bench_end(void)
{
  int left = 0;
  while (remembered_count > 0) { // the base was the first
    remembered_count--;
    left += !take_away(&remembered[remembered_count].owned, remembered[remembered_count].owner);
    owned_release(&remembered[remembered_count].owned);
    free(remembered[remembered_count].owner);
  }
  for (unsigned i = 0; i < BENCH_CLONES; i++)
    clone_drop(&clones[i]);
  base_order_release(&base_order);
  owned_release(&base_owned);
  base_seen_release(&base_seen);
  return left;
}

// ---- inside and on the host --------------------------------------------------------------------

void words(struct strings *s, const char *const *argv)
{
  for (; *argv; argv++)
    assert_int_equal(strings_add(s, *argv), 0);
}

static char *without_line_end(char *text)
{
  size_t length = text ? strlen(text) : 0;
  while (length > 0 && text[length - 1] == '\n')
    text[--length] = '\0';
  return text;
}

char *inside(const char *id, const struct strings *argv)
{
  struct exec_order order = {.argv = *argv, .timeout_ms = 20000};
  struct exec_result result cleanup_result = {0};
  OK(provider_exec(provider, id, &order, &result, err));
  if (result.exit_status != 0)
    fail_msg("%s ends with %lld: %s", argv->items[0], (long long)result.exit_status, result.errors);
  return without_line_end(TAKE(result.output));
}

char *shell(const char *id, const char *script)
{
  struct strings argv cleanup_strings = {0};
  words(&argv, (const char *const[]){"sh", "-c", script, NULL});
  return inside(id, &argv);
}

static char *with_name(const char *word, const char *name)
{
  const char *at = strstr(word, "{name}");
  if (!at)
    return str_dup(word);
  return str_printf("%.*s%s%s", (int)(at - word), word, name, at + strlen("{name}"));
}

char *on_host(const struct strings *argv, const char *name)
{
  char *list[CLONE_ARGV_MAX + 1] = {NULL};
  for (size_t i = 0; i < argv->count && i < CLONE_ARGV_MAX; i++)
    list[i] = with_name(argv->items[i], name);
  struct command c = {.argv = (const char *const *)list, .timeout_ms = 120000};
  struct command_result done = {0};
  OK(command_run(&c, &done, err));
  char *output = done.exit_status == 0 ? TAKE(done.output) : NULL;
  if (!output)
    printf("    %s: %s\n", list[0], done.errors ? done.errors : "");
  command_result_release(&done);
  for (size_t i = 0; list[i]; i++)
    free(list[i]);
  return output;
}

bool machine_listed(const char *name, struct machine_seen *ret)
{
  struct machines all CLEANUP(machines_release) = {0};
  OK(provider_machines(provider, &all, err));
  for (size_t i = 0; i < all.items.count; i++) {
    const struct machine_seen *m = &((const struct machine_seen *)all.items.items)[i];
    if (!str_eq(m->name, name))
      continue;
    if (ret)
      OK(table_copy(&machine_seen_table, m, ret, err));
    return true;
  }
  return false;
}
