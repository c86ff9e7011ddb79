// SPDX-License-Identifier: Apache-2.0
// The clone verbs upon a host (contract: providers/clone.h).
//
//   base    a domain that is off and that clones are made of. Registered (converted) ones bear our
//           mark and have read-only files; any other domain serves as it is, watched by revision.
//   clone   a domain of its own, with the UUID that its identity says, on files in one storage:
//           NAME-DISK-UID.FORMAT, NAME-nvram-UID.fd, NAME-seed-UID.iso. It is defined last, so what
//           is defined is complete, and what a killed call left is found by the uid in the names.
//
// Used on the provider's thread alone; copies of full clones have a thread each (copy_job.c).
#pragma once

#include "providers/libvirt/derive_internal.h"
#include "providers/libvirt/storage_internal.h"

// ---- files -------------------------------------------------------------------------------------

struct file_stamp {
  bool exists;
  int64_t size_bytes, allocated_bytes, inode, mtime_ns;
};
// Of each path, links followed; ret has room for paths->count.
int host_stamps(struct host *h, const struct strings *paths, struct file_stamp *ret,
                struct err *err);
// A new file of mode 0600 in place of what is there; zeros become holes. On the disk when it
// returns.
int host_put_file(struct host *h, const char *path, const void *bytes, size_t length,
                  struct err *err);
// A script for sh -c that runs its $0 with its words: files that it makes are for their owner
// alone.
#define HOST_PRIVATELY "umask 077; exec \"$0\" \"$@\""
// Whole copy; reflink: sharing blocks, or ERR_UNSUPPORTED.
int host_copy_file(struct host *h, const char *from, const char *to, bool reflink, struct err *err);
// Paths of the regular files in the folder whose names contain `part`.
int host_files_named(struct host *h, const char *folder, const char *part, struct strings *ret,
                     struct err *err);

// ---- bases -------------------------------------------------------------------------------------

struct base {
  virDomainPtr domain;
  struct xml x; // may hold the password of a screen
  char uuid[VIR_UUID_STRING_BUFLEN];
  struct mark mark;
  struct vm vm; // disks with path, format, size and chain
  bool active;
  char *revision;
};
void base_release(struct base *b);
// By UUID or name. ERR_UNSUPPORTED when a disk of it is not an image in a file.
int base_load(struct host *h, const char *id, struct base *ret, struct err *err);
// Off, nothing saved: ERR_BUSY with a sentence.
int base_resting(const struct base *b, struct err *err);

// ---- clones ------------------------------------------------------------------------------------

struct making {
  struct host *h;
  const struct clone_order *c;
  char uuid[BUILD_UUID_BYTES];
  struct place place;
  struct base base;
  int mode;                  // LINKED, REFLINK or FULL
  struct derive_disk *disks; // their paths are ours
  size_t disk_count;
  char *nvram, *seed; // NULL: none
};
void making_release(struct making *m);
const char *clone_storage(const struct host *h, const struct clone_order *c);
int clone_uid_ok(const char *uid, struct err *err);
// Place, base, mode and the names of all files; nothing is made.
int making_begin(struct host *h, const struct clone_order *c, struct making *ret, struct err *err);
int64_t making_disk_size(const struct making *m, size_t i); // what disk i shall have
const struct vm_disk *making_base_disk(const struct making *m, size_t i);
bool making_copies(const struct making *m); // bytes: a job does it
// 1: all are there; 0: a copy is under way; -1.
int making_files(struct making *m, struct err *err);
int clone_see(struct host *h, virDomainPtr domain, struct clone_seen *ret, struct err *err);

// Copies that take their time. 1: copied; 0: under way (begun by the first call); -1: failed, and
// forgotten.
int copy_job(struct making *m, struct err *err);
bool copy_job_runs(const struct host *h, const char *uid);
void copy_job_end(struct host *h, const char *uid); // cancels it; NULL: all

int host_remove_clone(struct host *h, const struct owned *o, const char *owner, struct err *err);
int host_remove_base(struct host *h, const struct owned *o, const char *owner, struct err *err);
// ERR_BUSY: a disk of base `uuid` is in use by another VM.
int host_base_needed(struct host *h, const struct vm *vm, const char *uuid, struct err *err);

// ---- the guest agent ---------------------------------------------------------------------------

// 1: an agent is connected; 0: none is (yet); -1 with a sentence: there is no channel
// (ERR_UNSUPPORTED), it does not run (ERR_BUSY).
int agent_state(virDomainPtr domain, struct err *err);
bool agent_pings(virDomainPtr domain);

// The verbs of struct clone_ops, by file.
int host_base_check(void *h, const struct base_order *b, struct findings *f, struct err *err);
int host_base_plan(void *h, const struct base_order *b, struct owned *ret, struct err *err);
int host_base_make(void *h, const struct base_order *b, const struct owned *o,
                   struct base_seen *ret, struct err *err);
int host_base_get(void *h, const struct owned *o, struct base_seen *ret, struct err *err);
int host_base_release(void *h, const struct owned *o, const char *owner, struct err *err);
int host_clone_check(void *h, const struct clone_order *c, struct findings *f, struct err *err);
int host_clone_plan(void *h, const struct clone_order *c, struct owned *ret, struct err *err);
int host_clone_make(void *h, const struct clone_order *c, const struct owned *o,
                    struct clone_seen *ret, struct err *err);
int host_clone_get(void *h, const char *id, struct clone_seen *ret, struct err *err);
int host_clone_power(void *h, const char *id, enum power_action action, struct err *err);
int host_machines(void *h, struct machines *ret, struct err *err);
int host_exec(void *h, const char *id, const struct exec_order *e, struct exec_result *ret,
              struct err *err);
int host_push(void *h, const char *id, const char *path, int mode, const void *bytes, size_t length,
              struct err *err);
int host_pull(void *h, const char *id, const char *path, void **ret, size_t *ret_length,
              struct err *err);
int host_snapshot(void *h, const char *id, const char *name, struct err *err);
int host_rollback(void *h, const char *id, const char *name, struct err *err);
int host_snapshots(void *h, const char *id, struct strings *ret, struct err *err);
int host_snapshot_remove(void *h, const char *id, const char *name, struct err *err);
int host_console(void *h, const char *id, struct strings *ret, struct err *err);
