// SPDX-License-Identifier: Apache-2.0
// A provider answers questions about a virtualization platform, changes it by small verbs, and says
// how a mover reaches a disk. It never moves bytes. One vtable (struct provider_ops), one folder
// per kind; the controller calls the wrappers below and never asks for the type: what a provider
// can do is data.
//
// Threads: each struct provider has one thread of its own with a queue; every call below is run
// there and waited for: at most `deadline_ms` of its config in the queue, and at most that while it
// runs. A call that does not come back in time gives ERR_TIMEOUT and is left to itself; from then
// on calls fail at once until it returns after all, or one deadline has passed, when the next call
// gets a new connection (at most 3 may hang at a time). So one dead host stops nobody else. Calls
// may be made from any thread; arguments are copied, results moved out. A kind may have several
// such threads (`lanes` of its ops): verbs about one clone always take the same, others the first.
//
// Idempotence: every verb may be repeated after a crash; the second call finds by the owner mark
// what the first one made. Nothing is removed without seeing our mark on it.
//
// Owner mark: "INSTALLATION/NAMESPACE/NAME/UID/SPECHASH".
#pragma once

#include "base/secret.h"
#include "disk/reach.h"
#include "net/address.h"
#include "providers/vm.h"

struct provider;
struct clone_ops;

struct provider_config {
  char *type; // "Libvirt"
  char *endpoint;
  char *username;
  struct secret password;
  struct secret client_cert_pem, client_key_pem; // TLS
  char *ca_pem;
  char *fingerprint_sha256;
  bool insecure_skip_verify;
  char *ssh_host; // data path; NULL = as the endpoint
  int64_t ssh_port;
  char *ssh_user;
  struct secret ssh_key;
  char *known_hosts;
  bool insecure_host_key;
  char *default_storage, *default_network; // NULL = none
  int64_t deadline_ms;                     // 0 = 15 s
};
void provider_config_release(struct provider_config *c);

struct provider_storage {
  char *name, *type;                  // "default", "dir"
  char *path;                         // of a folder pool, else NULL
  int64_t free_bytes, capacity_bytes; // -1 = unknown
  bool active;
};

struct provider_info {
  char *version;               // "QEMU 7.2.22, libvirt 9.0.0"
  char *host;                  // its own name
  struct strings capabilities; // "Export", "Import", "DirectRead", "UEFI", ...
  struct list storages;        // of struct provider_storage
  struct strings networks;
  struct strings vms; // names
};
void provider_info_release(struct provider_info *i);

enum finding_severity { FINDING_OK, FINDING_WARNING, FINDING_ERROR };
extern const char *const finding_severity_names[]; // "OK", "Warning", "Error", NULL

struct finding {
  char *check;      // "TargetSpace"
  int severity;     // enum finding_severity
  char *message;    // what is so
  char *suggestion; // what to do; NULL for OK
};
struct findings {
  struct finding *items;
  size_t count;
};
void findings_release(struct findings *f);
// suggestion may be NULL. Returns -1 only without memory.
int findings_add(struct findings *f, const char *check, int severity, const char *suggestion,
                 const char *format, ...) __attribute__((format(printf, 5, 6)));

// One line of the ledger: written to status before the thing is made.
struct owned {
  char *kind;  // "Volume", "VM", "Object", ...
  char *id;    // what the far side knows it by
  char *where; // pool, store; of a VM: the endpoint of its provider
};
extern const struct table owned_table;
void owned_release(struct owned *o);
// Do two marks name the same object (all but the spec hash agree)? False for NULL and malformed
// ones.
bool owner_same(const char *a, const char *b);
// The UID in a mark, copied: yours. NULL when malformed (or no memory).
char *owner_uid(const char *owner);

struct target_disk {
  char *storage; // pool name or absolute folder; NULL = the provider's default
  int format;    // enum disk_format
  bool thick;    // space taken at once
};

// A VM to be made: `vm` is what it shall be (already merged with what the user asked for).
struct vm_target {
  struct vm vm; // vm.name is the new name; networks are names at the target; empty MAC = a new one
  struct list disks; // of struct target_disk, one for each of vm.disks
  char *owner;       // mark, as above
  char *uid;         // of the object: part of every name that is made
};
void vm_target_release(struct vm_target *t);

struct vm_made {
  char *id, *name;
  struct strings adapted; // sentences: what had to be other than described
};
void vm_made_release(struct vm_made *m);

enum power_action { POWER_ON, POWER_OFF, POWER_GUEST_SHUTDOWN };

// config is copied. allowed may be NULL and must outlive the provider. Nothing is connected yet.
int provider_open(const struct provider_config *config, const struct address_filter *allowed,
                  struct provider **ret, struct err *err);
void provider_close(
    struct provider *p); // NULL allowed; a wedged thread is left behind, not waited for
// Types that are built, for messages: "Libvirt".
const char *const *provider_types(void);

int provider_probe(struct provider *p, struct provider_info *ret, struct err *err);
// By name or id. ERR_NOT_FOUND when there is none.
int provider_find_vm(struct provider *p, const char *name_or_id, struct vm *ret, struct err *err);
int provider_power(struct provider *p, const char *vm_id, enum power_action action,
                   struct err *err); // starts it; already so: 0
int provider_power_state(struct provider *p, const char *vm_id, enum vm_power *ret,
                         struct err *err);
int provider_set_autostart(struct provider *p, const char *vm_id, bool on, struct err *err);
// Removes a VM and the disks described in vm (sourceAfter: Delete). Refuses a running one. Repeated
// after a crash it finishes what is left.
int provider_delete_vm(struct provider *p, const struct vm *vm, struct err *err);

// What stands against reading this VM (running, snapshots, disks of other kinds, no data path).
int provider_check_source(struct provider *p, const struct vm *vm, struct findings *f,
                          struct err *err);
// How to read one disk of a VM that is off. Released with the same arguments, also after a crash.
int provider_source_open(struct provider *p, const struct vm *vm, const char *disk,
                         struct reach *ret, struct err *err);
int provider_source_release(struct provider *p, const struct vm *vm, const char *disk,
                            struct err *err);

// Name free (or ours), storage there with space for every disk, networks, firmware, machine,
// format.
int provider_check_target(struct provider *p, const struct vm_target *t, struct findings *f,
                          struct err *err);
// Where disk i will be: changes nothing. The answer goes into the ledger before target_prepare.
int provider_target_plan(struct provider *p, const struct vm_target *t, size_t i, struct owned *ret,
                         struct err *err);
// Makes room for disk i at `o` (or leaves making it to the mover: reach.create) and says how to
// write.
int provider_target_prepare(struct provider *p, const struct vm_target *t, size_t i,
                            const struct owned *o, struct reach *ret, struct err *err);
// All bytes of disk i are there: what follows on the far side (refresh of a pool, permissions).
int provider_target_disk_done(struct provider *p, const struct vm_target *t, size_t i,
                              const struct owned *o, struct err *err);
// Id that the VM will have, for the ledger: derived from the object's uid.
int provider_target_plan_vm(struct provider *p, const struct vm_target *t, struct owned *ret,
                            struct err *err);
// Defines the VM, powered off, on disks[i] for vm.disks[i]. A foreign VM of that name: ERR_EXISTS.
int provider_target_finish(struct provider *p, const struct vm_target *t, const struct owned *disks,
                           const struct owned *vm, struct vm_made *ret, struct err *err);
// Removes one ledger entry after checking the mark `owner` on it (everything up to the spec hash
// must agree). Gone already: 0. A VM that runs is ERR_BUSY: the caller powers it off first.
int provider_remove(struct provider *p, const struct owned *o, const char *owner, struct err *err);

// The ops of one kind. Called on the provider's thread only, one at a time, with a live handle.
struct provider_ops {
  const char *type;
  unsigned lanes; // connections that work side by side on different clones; 0 = one
  // Of a platform whose machines have no disks that can be moved: the sentence that is the error of
  // every verb below that is NULL. Else all are there.
  const char *no_disks;
  int (*open)(const struct provider_config *c, const struct address_filter *allowed, void **ret,
              struct err *err); // connects
  void (*close)(void *h);
  bool (*alive)(void *h); // cheap: is the connection still up
  int (*probe)(void *h, struct provider_info *ret, struct err *err);
  int (*find_vm)(void *h, const char *name_or_id, struct vm *ret, struct err *err);
  int (*power)(void *h, const char *vm_id, enum power_action action, struct err *err);
  int (*power_state)(void *h, const char *vm_id, enum vm_power *ret, struct err *err);
  int (*set_autostart)(void *h, const char *vm_id, bool on, struct err *err);
  int (*delete_vm)(void *h, const struct vm *vm, struct err *err);
  int (*check_source)(void *h, const struct vm *vm, struct findings *f, struct err *err);
  int (*source_open)(void *h, const struct vm *vm, const char *disk, struct reach *ret,
                     struct err *err);
  int (*source_release)(void *h, const struct vm *vm, const char *disk, struct err *err);
  int (*check_target)(void *h, const struct vm_target *t, struct findings *f, struct err *err);
  int (*target_plan)(void *h, const struct vm_target *t, size_t i, struct owned *ret,
                     struct err *err);
  int (*target_prepare)(void *h, const struct vm_target *t, size_t i, const struct owned *o,
                        struct reach *ret, struct err *err);
  int (*target_disk_done)(void *h, const struct vm_target *t, size_t i, const struct owned *o,
                          struct err *err);
  int (*target_plan_vm)(void *h, const struct vm_target *t, struct owned *ret, struct err *err);
  int (*target_finish)(void *h, const struct vm_target *t, const struct owned *disks,
                       const struct owned *vm, struct vm_made *ret, struct err *err);
  int (*remove)(void *h, const struct owned *o, const char *owner, struct err *err);
  const struct clone_ops *clones; // clone.h; NULL: it keeps no clones
};
