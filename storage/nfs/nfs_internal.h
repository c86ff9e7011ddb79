// SPDX-License-Identifier: Apache-2.0
// The NFS store, folder-private: version 3 through libnfs (RFC 1813). (Version 4 reads, but cannot
// write, with the libnfs of Debian 12.)
//
//   context.c   a lane: connect and mount, one call with time-out and interrupt, errors
//   exports.c   whether an export exists
//   nfs.c       the store: open, stat, ranges, list, remove
//   writer.c    the object_writer
//
// A lane is one libnfs context, which is not thread-safe: all calls of it come from the lane's
// thread, and an interrupt only sets a flag that the waiting loop looks at. A lane that failed in
// the middle drops its context and connects again at the next call.
#pragma once

#include <nfsc/libnfs.h>

#include "storage/storage_internal.h"

#define NFS_CALL_TIMEOUT_MS 30000
#define NFS_LOOK_EVERY_MS   100
#define NFS_CHUNK_BYTES     (4u << 20) // libnfs cuts it into calls of the server's size
#define NFS_FOLDER_MODE     0755
#define NFS_FILE_MODE       0644

struct nfs_store {
  const struct storage_config *config;
  const struct address_filter *allowed;
};

struct nfs_lane {
  const struct nfs_store *store;
  struct nfs_context *nfs; // NULL: not connected
  struct stop stop;
  unsigned broken; // how often a connection was lost
  // The one open file; valid with this context only, which closes it.
  struct nfsfh *file;
  char *file_key; // reading: key and identity, for a name may come to mean another file
};

// One call under way: libnfs calls nfs_done() with it.
struct nfs_call {
  bool done;
  int status; // >= 0, or -errno
  void *data; // what outlives the callback: a file, a folder
  void *into; // where to copy what does not: struct nfs_stat_64, bytes read
  size_t into_length;
  char text[160]; // what libnfs said about an error
};

int nfs_lane_new(const struct nfs_store *s, struct nfs_lane **ret, struct err *err);
void nfs_lane_free(struct nfs_lane *l); // NULL allowed
void nfs_lane_interrupt(void *lane);
// Whether that server exports the store's path: 1, 0, or -1 when it does not tell.
int nfs_is_exported(struct nfs_lane *l, const char *address);
int nfs_lane_connect(struct nfs_lane *l, struct err *err); // nothing to do when connected
void nfs_lane_drop(struct nfs_lane *l);

void nfs_done(int status, struct nfs_context *nfs, void *data, void *call); // an nfs_cb
// Waits for a call that was queued (started: what nfs_..._async() returned). 0 when it was
// answered, with whatever status; -1: time-out, interrupt, connection lost.
int nfs_wait(struct nfs_lane *l, struct nfs_call *c, int started, const char *what,
             struct err *err);
// The same, and a status below 0 is an error too: "what: sentence".
int nfs_finish(struct nfs_lane *l, struct nfs_call *c, int started, const char *what,
               struct err *err);
// The error for a status below 0; the connection is dropped when it means that it broke.
int nfs_failed(struct nfs_lane *l, const struct nfs_call *c, const char *what, struct err *err);
int nfs_status_error(const struct nfs_lane *l, const struct nfs_call *c, const char *what,
                     struct err *err);

char *nfs_path(const char *key, struct err *err); // "/key", yours
// Makes l->file that file, connecting when needed; flags as of open(), mode for O_CREAT.
int nfs_open_file(struct nfs_lane *l, const char *key, int flags, const char *what,
                  struct err *err);
int nfs_close_file(struct nfs_lane *l, const char *what, struct err *err); // none open: 0
int nfs_stat_path(struct nfs_lane *l, const char *key, struct nfs_stat_64 *ret, struct err *err);
int nfs_unlink_path(struct nfs_lane *l, const char *key, struct err *err); // gone already: 0
// Folders above the key that became empty go, up to the prefix.
void nfs_prune_parents(struct nfs_lane *l, const char *key);

int nfs_writer(void *store, const char *key, const char *owner, bool overwrite,
               struct object_writer **ret, struct err *err);
int nfs_mender(void *store, const char *key, const char *owner, const char *identity,
               struct object_writer **ret, struct err *err);
void nfs_identity(const struct nfs_stat_64 *st, char *ret, size_t size); // of storage_stat
