// SPDX-License-Identifier: Apache-2.0
// The clone verbs of a provider: bases that machines are cloned from, clones of them, and what can
// be done with one. A machine is a VM or a container; nobody above this seam asks which. A provider
// has all of them (struct clone_ops in its provider_ops) or none.
//
// Same rules as in provider.h: calls run on the provider's thread and are waited for; each may be
// repeated after a crash, and finds by the owner mark what an earlier one made. Long work is begun
// by the verb and looked after by calling it again: it answers at once with done false until it is
// done. Nothing is changed or removed without our mark on it; a foreign machine of the wanted name
// is ERR_EXISTS. Copy-on-write is never assumed: `mode` of a clone is read back from the platform
// (origin, backing chain), and a linked clone that cannot be had is ERR_UNSUPPORTED, never a copy.
//
// Ids are of the platform's choosing or ours, but known before anything is made: base_plan() and
// clone_plan() say what goes into the ledger. Removal is provider_remove() of provider.h with
// those entries (kinds "Base" and "Clone"): ERR_BUSY means that it is under way, ask again.
#pragma once

#include "providers/feed.h"
#include "providers/provider.h"

enum clone_mode { CLONE_LINKED, CLONE_PREFER_LINKED, CLONE_REFLINK, CLONE_FULL };
extern const char *const clone_mode_names[]; // "Linked", "PreferLinked", "Reflink", "Full", NULL

#define CLONE_SSH_KEYS_MAX   64
#define CLONE_ADDRESSES_MAX  16
#define CLONE_ARGV_MAX       256
#define CLONE_FILE_BYTES_MAX (64ll << 20) // of push and pull

// A base to be registered. Exactly one of vm, template_ and image is set, or server and alias.
struct base_order {
  char *name;        // what it is called on the platform: "NAME-UIDHEAD"
  char *uid, *owner; // of the CloneBase; mark
  char *vm;          // machine there, name or id: copied, or taken as it is (convert)
  bool convert;
  char *template_; // "template": an image or template there already, used as it is
  char *server, *alias, *fingerprint; // an image that the platform downloads
  char *image;                        // an object of a store, for people: "STORE/PATH"
  int image_format;                   // enum feed_format, as it begins; of base_check() only
  int64_t image_bytes;                // its length; of base_check() only
  struct feed_source *source;         // its bytes, for base_make(), which takes a reference when it
                                      // begins; borrowed, and no part of the table
  char *storage;                      // pool or folder; NULL = the provider's default
  int64_t cpus, memory_bytes;         // of machines from a template; 0 = the platform's default
};
extern const struct table base_order_table;

struct base_seen {
  bool done;      // it can be cloned from
  char *id;       // what clones name
  char *name;     // for people
  char *owner;    // mark; NULL = a template of somebody else's
  char *revision; // identity of the content: another one means that somebody changed it
  int64_t bytes;  // what it takes, -1 = unknown
  int64_t percent;
  bool is_template; // was there before, is not ours to remove
  bool running;     // somebody started it: no more clones
};
extern const struct table base_seen_table;

struct clone_nic {
  char *network; // name at the platform
  char *mac;     // "52:54:00:0a:0b:0c"
};

struct clone_disk {
  char *name;         // NULL = the first one
  int64_t size_bytes; // grows to; smaller than the base's is refused
};

// A clone to be made. Whatever is set here acts, or clone_check() refuses it.
struct clone_order {
  char *name;          // what it is called on the platform
  char *uid, *owner;   // of the Clone; mark
  char *base;          // id of the base
  char *base_revision; // that it must have; NULL = any
  char *source;        // instead of base: id of a machine (another clone, or a VM)
  int mode;            // enum clone_mode
  char *storage;
  int64_t cpus, memory_bytes; // 0 = as the base
  struct list disks;          // of struct clone_disk
  struct list nics;           // of struct clone_nic; empty = as the base, with these MACs anew
  // Identity: no two clones agree in any of it.
  char *hostname;
  char *machine_id;         // 32 hexadecimal digits; also instance-id of cloud-init and UUID
  struct strings addresses; // fixed ones of the first card: "10.0.0.7/24"
  char *gateway;            // NULL = none
  struct strings nameservers;
  struct strings ssh_keys; // public keys of the first user (root where there is no cloud-init)
  char *user_data;         // of cloud-init; may hold secrets: never logged, never in argv
};
extern const struct table clone_order_table;

struct clone_seen {
  bool done; // creation is over; false: under way
  char *id, *name;
  char *owner;          // mark; NULL = not ours
  char *base;           // id of the base as the platform tells it, NULL = it has none (any more)
  int mode;             // CLONE_LINKED, CLONE_REFLINK or CLONE_FULL, as read back
  int power;            // enum vm_power
  int64_t bytes;        // that it takes beside its base, -1 = unknown
  int64_t memory_bytes; // in use, -1 = unknown
  struct strings addresses;
  bool agent; // something inside answers (guest agent; a container whose init runs)
};
extern const struct table clone_seen_table;

struct machine_seen { // a line of `drover list`
  char *id, *name;
  char *kind;  // "VM", "Container", "Template", "Base", "Clone"
  char *owner; // mark, NULL = not ours
  int power;   // enum vm_power
};
extern const struct table machine_seen_table;

struct machines {
  struct list items; // of struct machine_seen
};

struct exec_order {
  struct strings argv; // program and arguments, as they are: no shell in between
  char *input;         // standard input, NULL = none
  int64_t timeout_ms;  // 0 = 60 s; the connection is busy meanwhile unless the platform can wait
};

struct exec_result {
  int64_t exit_status;   // of the command; 128 + N when signal N ended it
  char *output, *errors; // at most LIMIT_COMMAND_OUTPUT_BYTES each
  bool cut;              // there was more
};
void base_seen_release(struct base_seen *b);
void clone_seen_release(struct clone_seen *c);
void machines_release(struct machines *m);
void exec_result_release(struct exec_result *r);

#define CLONE_MAC_BYTES 18
// MAC of card number `nic` when the order gives none: "52:xx:xx:xx:xx:xx", unicast and locally
// administered (52 is also what QEMU's own begin with), 40 bits of SHA-256 of machine_id (or uid)
// and the number. Always the same for one clone; two of 10,000 agree with a chance of 1 in 20,000.
void clone_mac(const struct clone_order *c, size_t nic, char ret[CLONE_MAC_BYTES]);

bool provider_can_clone(const struct provider *p);
// Whether base_make() copies a machine by itself; else disks must be brought by who asks.
bool provider_copies_machines(const struct provider *p);
// Whether base_make() takes an image as a stream of bytes; else its disks must be brought.
bool provider_takes_images(const struct provider *p);

// What stands against this base: no such machine, it runs (and may not be stopped), no space.
int provider_base_check(struct provider *p, const struct base_order *b, struct findings *f,
                        struct err *err);
// What it will be on the platform. Changes nothing. For a template, kind is "Template".
int provider_base_plan(struct provider *p, const struct base_order *b, struct owned *ret,
                       struct err *err);
// Begins to make it, or says how far it is; done: as base_get. Call it until it is done.
int provider_base_make(struct provider *p, const struct base_order *b, const struct owned *o,
                       struct base_seen *ret, struct err *err);
// ERR_NOT_FOUND when it is gone.
int provider_base_get(struct provider *p, const struct owned *o, struct base_seen *ret,
                      struct err *err);

// Gives a base back to whoever had it: without our mark, as it was before it was guarded, to be
// started and changed again. One that is gone, or never was ours, is left as it is: 0.
int provider_base_release(struct provider *p, const struct owned *o, const char *owner,
                          struct err *err);

// What stands against this clone: a mode that the storage cannot, template values that the
// platform cannot or that are out of range, no space, a network that is missing.
int provider_clone_check(struct provider *p, const struct clone_order *c, struct findings *f,
                         struct err *err);
int provider_clone_plan(struct provider *p, const struct clone_order *c, struct owned *ret,
                        struct err *err);
// Begins to make it, powered off, or says how far it is. A machine half made by a killed call is
// completed or made anew.
int provider_clone_make(struct provider *p, const struct clone_order *c, const struct owned *o,
                        struct clone_seen *ret, struct err *err);
// By id, ours or not. ERR_NOT_FOUND only when the platform answers and says so.
int provider_clone_get(struct provider *p, const char *id, struct clone_seen *ret, struct err *err);
// Begins it; already so: 0. Poll with clone_get.
int provider_clone_power(struct provider *p, const char *id, enum power_action action,
                         struct err *err);
// All machines, bases and templates there.
int provider_machines(struct provider *p, struct machines *ret, struct err *err);

// Runs a command inside. ERR_UNSUPPORTED where nothing inside could (no agent), ERR_BUSY when the
// machine does not run, ERR_NOT_FOUND when there is no such program.
int provider_exec(struct provider *p, const char *id, const struct exec_order *e,
                  struct exec_result *ret, struct err *err);
// Writes or reads one regular file inside, at most CLONE_FILE_BYTES_MAX. mode: permission bits.
int provider_push(struct provider *p, const char *id, const char *path, int mode, const void *bytes,
                  size_t length, struct err *err);
int provider_pull(struct provider *p, const char *id, const char *path, void **ret,
                  size_t *ret_length, struct err *err);
// name: [a-z0-9-]. Taking one that is there: 0 when it is ours and newer than the call's clone.
int provider_snapshot(struct provider *p, const char *id, const char *name, struct err *err);
int provider_rollback(struct provider *p, const char *id, const char *name, struct err *err);
int provider_snapshots(struct provider *p, const char *id, struct strings *ret, struct err *err);
int provider_snapshot_remove(struct provider *p, const char *id, const char *name, struct err *err);
// A program (argv, no secret in it) that attaches the caller's terminal to the machine's console.
int provider_console(struct provider *p, const char *id, struct strings *ret, struct err *err);

// The ops of one kind of provider; each as its wrapper above says.
struct clone_ops {
  bool copies_machines; // base_make() with vm and without convert
  bool takes_images;    // base_make() with image
  int (*base_check)(void *h, const struct base_order *b, struct findings *f, struct err *err);
  int (*base_plan)(void *h, const struct base_order *b, struct owned *ret, struct err *err);
  int (*base_make)(void *h, const struct base_order *b, const struct owned *o,
                   struct base_seen *ret, struct err *err);
  int (*base_get)(void *h, const struct owned *o, struct base_seen *ret, struct err *err);
  int (*base_release)(void *h, const struct owned *o, const char *owner, struct err *err);
  int (*clone_check)(void *h, const struct clone_order *c, struct findings *f, struct err *err);
  int (*clone_plan)(void *h, const struct clone_order *c, struct owned *ret, struct err *err);
  int (*clone_make)(void *h, const struct clone_order *c, const struct owned *o,
                    struct clone_seen *ret, struct err *err);
  int (*clone_get)(void *h, const char *id, struct clone_seen *ret, struct err *err);
  int (*clone_power)(void *h, const char *id, enum power_action action, struct err *err);
  int (*machines)(void *h, struct machines *ret, struct err *err);
  int (*exec)(void *h, const char *id, const struct exec_order *e, struct exec_result *ret,
              struct err *err);
  int (*push)(void *h, const char *id, const char *path, int mode, const void *bytes, size_t length,
              struct err *err);
  int (*pull)(void *h, const char *id, const char *path, void **ret, size_t *ret_length,
              struct err *err);
  int (*snapshot)(void *h, const char *id, const char *name, struct err *err);
  int (*rollback)(void *h, const char *id, const char *name, struct err *err);
  int (*snapshots)(void *h, const char *id, struct strings *ret, struct err *err);
  int (*snapshot_remove)(void *h, const char *id, const char *name, struct err *err);
  int (*console)(void *h, const char *id, struct strings *ret, struct err *err);
};
