// SPDX-License-Identifier: Apache-2.0
// What the files of this folder share: a host is a folder whose subfolders are machines, and beside
// them ".drover", which only root may enter and no container sees:
//
//   NAME                     root file system of a machine or base; mount point of an overlay clone
//   .drover/records/NAME     what drover made or began to make: owner mark, base, mode (JSON)
//   .drover/parts/NAME       a root file system under construction; renamed to NAME when complete
//   .drover/overlays/NAME    upper and work folder of an overlay clone
//   .drover/snapshots/NAME/  snapshots of a clone
//   .drover/trash/NAME/      what is being removed
//   .drover/locks/NAME       flock: one process changes a machine at a time
//   .drover/run/NAME.pid     pid of its systemd-nspawn; NAME.log: what that printed
//
// The record is written before anything else is made and goes after everything else is gone; so a
// folder without a record is somebody else's. All of it runs on the provider's thread.
#pragma once

#include "base/cleanup.h"
#include "base/command.h"
#include "providers/clone.h"

#define NSPAWN_NAME_MAX   63 // a machine name is a host name
#define NSPAWN_TASKS_MAX  64
#define NSPAWN_IMAGES_MAX 8 // unpacked at a time

enum fs_kind { FS_OTHER, FS_BTRFS };

// A program at work for a machine; it dies with this process.
struct task {
  char *name; // of the machine; NULL = free slot
  struct command_child child;
  int lock;
  bool copies; // else it removes
};

struct image_task { // an image that is being unpacked (image.c)
  char *name;       // of the base; NULL = free slot
  struct feed *feed;
  struct unpack *work; // its own; only read once it is over
  int lock;            // the machine's
};

struct host {
  char *folder, *endpoint;
  char *network; // bridge of cards that name none; NULL = connected to nothing
  enum fs_kind fs;
  bool overlay, reflink; // the file system can
  int tag;               // of the folder, in names that all folders of a host share
  struct task tasks[NSPAWN_TASKS_MAX];
  struct image_task images[NSPAWN_IMAGES_MAX];
};

// ---- host.c: paths, names, locks ----

bool ns_name_ok(const char *name);
// FOLDER/NAME. Yours; NULL: no memory.
char *ns_machine_path(const struct host *h, const char *name);
// FOLDER/.drover/PART/NAME.
char *ns_own_path(const struct host *h, const char *part, const char *name);
bool ns_folder_there(const char *path);
// Held until the descriptor is closed. ERR_BUSY: another process is at work on it.
int ns_machine_lock(const struct host *h, const char *name, int *ret_fd, struct err *err);
// Reads, or replaces at once, a small file of ours. ERR_NOT_FOUND.
int ns_file_read(const char *path, size_t max, char **ret, struct err *err);
int ns_file_replace(const char *path, const char *text, int mode, bool lasting, struct err *err);
// Renames only if nothing is there.
int ns_rename_new(const char *from, const char *to, struct err *err);
// Runs a program to its end, at most 15 s; input may be NULL.
int ns_run_program(const char *const *argv, const char *input, struct err *err);
int ns_no_memory(struct err *err);

// ---- task.c ----

enum task_state { TASK_NONE, TASK_RUNS, TASK_DONE, TASK_FAILED };
// Starts argv for a machine; takes the lock over. fd >= 0 becomes its descriptor 3: a copy from
// there; else it is a removal, and nothing is there when it is over: NONE, or FAILED.
int ns_task_start(struct host *h, const char *name, const char *const *argv, int fd, int *lock,
                  struct err *err);
// DONE and FAILED are told once; FAILED fills err.
enum task_state ns_task_look(struct host *h, const char *name, struct err *err);
// Waits a little; RUNS when it is not over then.
enum task_state ns_task_wait(struct host *h, const char *name, int64_t patience_ms,
                             struct err *err);
void ns_tasks_end(struct host *h);

// ---- image.c: root file systems from archives ----

// What stands against it, by what is known of it.
int ns_image_check(const struct host *h, const struct base_order *b, struct findings *f);
// Begins to unpack it into parts/NAME, an empty folder; takes the lock over.
int ns_image_start(struct host *h, const char *name, struct feed_source *source, int *lock,
                   struct err *err);
// As ns_task_wait(); DONE gives its SHA-256, RUNS how far it is. At the end the lock is yours.
enum task_state ns_image_wait(struct host *h, const char *name, int64_t patience_ms,
                              int64_t *ret_percent, char ret_digest[FEED_DIGEST_TEXT], int *lock,
                              struct err *err);
// Ends it; the lock is yours. Nothing of that name: nothing.
void ns_image_cancel(struct host *h, const char *name, int *lock);
void ns_images_end(struct host *h);

// ---- record.c ----

enum record_state { RECORD_MAKING, RECORD_DONE, RECORD_REMOVING };
struct record {
  char *kind; // "Base" or "Clone"
  char *name, *owner, *uid;
  int state;
  char *base, *source;
  int mode;             // enum clone_mode: as found after it was made
  char *vm;             // of a base; or:
  char *image, *digest; // the object it was unpacked from, and its SHA-256
  bool convert;
  int64_t cpus, memory_bytes;
  char *hostname, *gateway;
  struct strings macs, networks; // of its cards, in order; "" = no network
  struct strings addresses;
  struct strings lineage; // btrfs: uuids of snapshots it was rolled back to, linked to its base
  int64_t since;          // btrfs: transaction that made it: what is newer is its own
  int64_t bytes;          // of a copy, when it was made; -1 = unknown
  char *place;            // which folder it is, by what no guest can change; NULL until placed
};
#define cleanup_record CLEANUP(ns_record_release)
void ns_record_release(struct record *r);
int ns_record_load(const struct host *h, const char *name, struct record *ret, struct err *err);
int ns_record_save(const struct host *h, const struct record *r, struct err *err);
int ns_record_remove(const struct host *h, const char *name, struct err *err);
// Names of all records.
int ns_record_names(const struct host *h, struct strings *ret, struct err *err);
// A record of that kind that is complete; ERR_NOT_FOUND, ERR_BUSY while it is made.
int ns_record_done(const struct host *h, const char *name, const char *kind, struct record *ret,
                   struct err *err);

// ---- btrfs.c ----

struct subvolume {
  char uuid[37], parent[37]; // parent: "" = none
  int64_t made, changed;     // transactions
  bool read_only;
};
bool ns_is_subvolume(const char *path);
int ns_subvolume_look(const char *path, struct subvolume *ret, struct err *err);
int ns_subvolume_snapshot(const char *from, const char *to, bool read_only, struct err *err);
int ns_subvolume_create(const char *path, struct err *err);
int ns_subvolume_read_only(const char *path, bool on, struct err *err);
// ERR_BUSY when there are others inside.
int ns_subvolume_remove(const char *path, struct err *err);
// What was written into it since that transaction.
int ns_subvolume_bytes(const char *path, int64_t since, int64_t *ret, struct err *err);

// ---- overlay.c ----

// Root of an overlay clone, mounted nowhere: gone with the descriptor.
int ns_overlay_open(const struct host *h, const char *name, const char *base, int *ret_fd,
                    struct err *err);
int ns_overlay_mount(const struct host *h, const char *name, const char *base, struct err *err);
int ns_overlay_unmount(const struct host *h, const char *name, struct err *err);
bool ns_overlay_works(const struct host *h); // tries it
bool ns_reflink_works(const struct host *h);
bool ns_is_mount_point(const char *path);

// ---- tree.c ----

// Identity of a tree's content: path, kind, size, owner and change time of every entry.
int ns_tree_revision(const char *path, char ret[65], struct err *err);
int ns_tree_bytes(const char *path, int64_t *ret, struct err *err); // blocks
int ns_tree_own_bytes(const char *path, int64_t *ret,
                      struct err *err);           // blocks shared with no other
int ns_tree_immutable(const char *path, bool on); // the top folder; -1 where there is no such thing

// ---- root.c: files of a machine, whose links never lead out of it ----

// Root of a machine as its own processes see it, or of one that is off.
int ns_root_open(const struct host *h, const struct record *r, int *ret_fd, struct err *err);
int ns_root_read(int root, const char *path, size_t max, void **ret, size_t *ret_length,
                 struct err *err);
// Replaces it in one step; makes no folders.
int ns_root_write(int root, const char *path, const void *bytes, size_t length, int mode,
                  struct err *err);
int ns_root_folder(int root, const char *path, int mode, struct err *err); // makes it if need be
int ns_root_unlink(int root, const char *path, struct err *err);           // gone already: 0
bool ns_root_has(int root, const char *path);
// fn for every name in a folder; none when it is not there.
int ns_root_each(int root, const char *path, int (*fn)(int root, const char *path, struct err *err),
                 struct err *err);

// ---- identity.c ----

int ns_identity_write(const struct host *h, int root, const struct clone_order *c, struct err *err);

// ---- cgroup.c ----

bool ns_cgroup_can_limit(void);
// Makes the groups of a machine and sets its limits; join: files to write the pid to (NULL at the
// end), for struct launch.
int ns_cgroup_make(const struct host *h, const struct record *r, struct strings *join,
                   struct err *err);
int64_t ns_cgroup_memory(const struct host *h, const char *name); // in use; -1 = unknown
void ns_cgroup_remove(const struct host *h, const char *name);

// ---- network.c ----

char *ns_network_namespace(const struct host *h, const char *name); // its name; yours
int ns_network_make(const struct host *h, const struct record *r, struct err *err);
int ns_network_remove(const struct host *h, const char *name, struct err *err);
int ns_network_addresses(const struct host *h, const char *name, struct strings *ret,
                         struct err *err);
bool ns_network_is_bridge(const char *name);

// ---- unit.c: hosts whose init is systemd ----

bool ns_systemd_runs(void);
char *ns_unit_name(const struct host *h, const char *name); // of its service; yours
// Pid of the service's systemd-nspawn; 0 when there is none.
pid_t ns_unit_pid(const struct host *h, const char *name);
int ns_unit_start(const struct host *h, const struct record *r, const char *const *argv, pid_t *ret,
                  struct err *err);

// ---- running.c ----

// Pid of its systemd-nspawn, or 0.
pid_t ns_monitor_of(const struct host *h, const char *name);
// Pid of its init, once that runs; 0 while there is none.
pid_t ns_leader_of(const struct host *h, const char *name);
// Its init runs and, if it is systemd, listens.
bool ns_answers(const struct host *h, const char *name);
// Somebody else's systemd-nspawn runs in that folder.
bool ns_folder_busy(const char *path);

// Takes away what a machine that does not run leaves: groups, network, mount.
int ns_clean_up(const struct host *h, const struct record *r, struct err *err);

// ---- part.c: how something comes to its place, and goes ----

// Moves a complete part (or another path) to its place and marks it; sets r->place.
int ns_part_place(const struct host *h, const char *from, struct record *r, struct err *err);
// It stands in its place already, put there by ns_part_place() before a crash.
bool ns_part_placed(const struct host *h, const struct record *r);
// What the folder is: NULL when there is none (or no memory). Yours.
char *ns_place_of(const char *path);
// Somebody removed the folder of this record and put another there.
bool ns_place_taken(const struct host *h, const struct record *r);
// Removes what there is of a machine, with its place or only what was begun; not the record.
// ERR_BUSY while that takes its time.
int ns_discard(struct host *h, const char *name, bool with_place, int *lock, struct err *err);
// Starts cp of a whole tree to parts/NAME; takes the lock over.
int ns_copy_start(struct host *h, const char *name, int from, int mode, int *lock, struct err *err);

// ---- base.c, make.c, seen.c, check.c, remove.c, exec.c, snapshot.c: the verbs ----

int ns_base_check(void *handle, const struct base_order *b, struct findings *f, struct err *err);
int ns_base_plan(void *handle, const struct base_order *b, struct owned *ret, struct err *err);
int ns_base_make(void *handle, const struct base_order *b, const struct owned *o,
                 struct base_seen *ret, struct err *err);
int ns_base_get(void *handle, const struct owned *o, struct base_seen *ret, struct err *err);
int ns_base_release(void *handle, const struct owned *o, const char *owner, struct err *err);
// The folder of a base that clones may be made of, and what its content is now.
#define REVISION_BYTES 160
int ns_base_look(const struct host *h, const char *id, char revision[REVISION_BYTES],
                 struct err *err);

int ns_clone_check(void *handle, const struct clone_order *c, struct findings *f, struct err *err);
int ns_clone_plan(void *handle, const struct clone_order *c, struct owned *ret, struct err *err);
int ns_clone_make(void *handle, const struct clone_order *c, const struct owned *o,
                  struct clone_seen *ret, struct err *err);
int ns_clone_get(void *handle, const char *id, struct clone_seen *ret, struct err *err);
int ns_clone_power(void *handle, const char *id, enum power_action action, struct err *err);
// How it can be made here in that mode: CLONE_LINKED, CLONE_REFLINK or CLONE_FULL. ERR_UNSUPPORTED.
int ns_clone_way(const struct host *h, const struct clone_order *c, int *ret_mode, struct err *err);
// It is an overlay (and not a btrfs snapshot).
bool ns_is_overlay(const struct host *h, const struct record *r);
// As the file system tells it. ret_linked: to its base, which is there. path: where it is now.
int ns_mode_at(const struct host *h, const struct record *r, const char *path, bool *ret_linked);
int ns_mode_of(const struct host *h, const struct record *r); // in its place

int ns_machines(void *handle, struct machines *ret, struct err *err);
int ns_remove_owned(void *handle, const struct owned *o, const char *owner, struct err *err);
int ns_exec(void *handle, const char *id, const struct exec_order *e, struct exec_result *ret,
            struct err *err);
int ns_push(void *handle, const char *id, const char *path, int mode, const void *bytes,
            size_t length, struct err *err);
int ns_pull(void *handle, const char *id, const char *path, void **ret, size_t *ret_length,
            struct err *err);
int ns_snapshot(void *handle, const char *id, const char *name, struct err *err);
int ns_rollback(void *handle, const char *id, const char *name, struct err *err);
int ns_snapshots(void *handle, const char *id, struct strings *ret, struct err *err);
int ns_snapshot_remove(void *handle, const char *id, const char *name, struct err *err);
int ns_console(void *handle, const char *id, struct strings *ret, struct err *err);
