// SPDX-License-Identifier: Apache-2.0
// What the conformance tests of clone verbs work with: the provider of the command line, one base
// and a few clones of it that are made when a test first asks for them, and assertions that show
// the error. The description (a JSON file) says what the platform has and can; nothing here knows
// which platform it is. One provider per process; all of it for the main thread. bench_end()
// removes whatever was made, also after a failed test.
#pragma once

#include "base/str.h"
#include "providers/clone.h"
#include "tests/integration/expect.h"

#define BENCH_CLONES 3 // that run side by side

struct bench_provider {
  char *type, *endpoint, *username;
  char *password_file, *client_cert_file, *client_key_file, *ca_file; // secrets only by file
  char *fingerprint;
  char *storage, *network;
  bool insecure_skip_verify;
  int64_t deadline_ms;
};

// Commands on this host, argv; the first "{name}" in each word is replaced.
struct bench_host {
  struct strings foreign_make;   // a machine {name} that is not drover's
  struct strings foreign_show;   // prints what must not change about it
  struct strings foreign_remove; // takes it away again
  struct strings base_change;    // changes the content of base {name}; may be refused (status != 0)
  struct strings cpus, memory;   // print the limit of the running {name}; memory in bytes
};

// Commands inside a clone, argv; an empty one is not asked.
struct bench_guest {
  struct strings hostname, machine_id, macs, host_keys; // print it
  struct strings addresses, ssh_keys, user_data;        // print it
  struct strings cpus, memory, disk;                    // print a number; of bytes
  char *folder;                                         // that a test may write to
};

struct bench_settings {
  struct bench_provider provider;
  struct base_order base; // where it is from; name, uid and owner are filled in
  struct strings modes;   // that the storage can: "Linked", "Reflink", "Full"
  struct strings refuses; // what clone_check() refuses: see template_cases in clone_order.c
  struct bench_host host;
  struct bench_guest guest;
  bool runs;               // clones can be started here
  bool no_shutdown;        // the guest does not act on POWER_GUEST_SHUTDOWN
  bool no_exec;            // nothing inside runs commands
  bool no_snapshots;       // snapshot verbs are ERR_UNSUPPORTED
  bool no_source;          // clones of clones are ERR_UNSUPPORTED
  bool release;            // the base is given back in the end, not removed
  int64_t boot_ms;         // until a clone answers; 0 = 60 s
  int64_t linked_bytes;    // most that a fresh linked clone takes; 0 = 1 MiB
  char *address, *gateway; // a fixed address that a clone can be given: "10.9.0.7/24"
  int64_t cpus, memory_bytes, disk_bytes; // that a clone can be given
  int64_t image_delay_ms;                 // before each read of the image of the base
};

extern struct bench_settings settings;
extern struct provider *provider;

int bench_read(const char *path, struct err *err);
int bench_open(struct err *err); // opens `provider`
void bench_reopen(void);         // as after a crash: a new connection, nothing remembered
void bench_close(void);

bool can_mode(int mode);
int default_mode(void); // the first that the storage can

// ---- orders ----

// An order for the base of this run; the same each time. Release with table_release().
void base_order_make(struct base_order *b);
// The same for an object of which only the uid is known (`base UID` of clone_conformance).
void base_order_of(const char *name, const char *uid, struct base_order *b);
// Opens what b->image names, a local file (clone_image.c), as its source.
void bench_image(struct base_order *b);
// An order for clone number n of this run: a name, an identity and a mark that only it has.
void clone_order_make(unsigned n, struct clone_order *c);
// The same for an object of which only the uid is known (`make UID` of clone_conformance).
void clone_order_of(const char *name, const char *uid, struct clone_order *c);
void clone_order_release(struct clone_order *c);
void base_order_release(struct base_order *b);
#define cleanup_order   CLEANUP(clone_order_release)
#define cleanup_base    CLEANUP(base_order_release)
#define cleanup_owned   CLEANUP(owned_release)
#define cleanup_seen    CLEANUP(clone_seen_release)
#define cleanup_bseen   CLEANUP(base_seen_release)
#define cleanup_found   CLEANUP(findings_release)
#define cleanup_result  CLEANUP(exec_result_release)
#define cleanup_strings CLEANUP(strings_release)

// ---- verbs, with patience ----

// base_make() and clone_make() until they are done.
int base_complete(const struct base_order *b, const struct owned *o, struct base_seen *ret,
                  struct err *err);
int clone_complete(const struct clone_order *c, const struct owned *o, struct clone_seen *ret,
                   struct err *err);
int remove_complete(const struct owned *o, const char *owner, struct err *err);
// Polls clone_get() until its power is `power` and, with `answers`, something inside answers.
void wait_power(const char *id, int power, bool answers);
void power_on(const char *id);          // and waits until it answers
void power_off(const char *id);         // and waits until it is off
bool is_there(const char *id);          // clone_get() finds it
bool refused(const struct findings *f); // an ERROR is among them

// ---- what tests share ----

struct bench_clone {
  struct clone_order order;
  struct owned owned;
  struct clone_seen seen; // as made
  bool made;
};

const struct owned *the_base(void); // made when first asked for
const struct base_seen *the_base_seen(void);
struct bench_clone *the_clone(unsigned n); // made when first asked for, off
struct bench_clone *running_clone(unsigned n);
void clone_drop(struct bench_clone *c);
void bench_remember(const struct owned *o, const char *owner); // to be removed in the end
int bench_end(void); // removes all of it; the number of things that stayed

// ---- inside and on the host ----

// Runs argv inside and returns its output without the line end (yours); fails the test when the
// exit status is not 0.
char *inside(const char *id, const struct strings *argv);
char *shell(const char *id, const char *script);
void words(struct strings *s, const char *const *argv); // fills it
// Runs a host command with {name} replaced; output is yours, NULL when its status is not 0.
char *on_host(const struct strings *argv, const char *name);
bool machine_listed(const char *name, struct machine_seen *ret); // ret may be NULL; release it

// In this order: what needs nothing to run, what is inside, what orders ask for, how it all ends.
extern const struct CMUnitTest base_tests[], guest_tests[], order_tests[], end_tests[];
extern const size_t base_tests_count, guest_tests_count, order_tests_count, end_tests_count;
