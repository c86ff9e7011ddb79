// SPDX-License-Identifier: Apache-2.0
// A store keeps objects under keys ("folder/name", no leading slash, no "." or ".." segments). One
// vtable, one folder per kind: s3/ http/ nfs/ file/. Callers use the wrappers, which check
// arguments and answers the same way for all (bounds, part sizes, keys) and never call an op that
// is NULL.
//
// A store is immutable once opened and may be shared by threads; each thread works through a lane
// of its own (its connections). Reading and writing of images goes through the object interfaces of
// disk/object.h, which storage_reader() and storage_writer() hand out.
//
// Keys: at most LIMIT_PATH_BYTES of UTF-8 (with the prefix), segments of at most 255 bytes, no
// control characters, and no segment that ends in ".part": those are uploads that are not finished.
//
// Owner: an object that drover writes carries a mark (S3: x-amz-meta-drover-owner; NFS and file:
// the temporary name; all: the manifest beside it). stat() gives it back where the store can keep
// it.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/field.h"
#include "base/secret.h"
#include "disk/object.h"
#include "net/address.h"

enum storage_type { STORAGE_S3, STORAGE_HTTP, STORAGE_NFS, STORAGE_FILE };
extern const char *const storage_type_names[]; // "s3", "http", "nfs", "file", NULL

// Everything needed to open one: what an ImageStore says with its secrets read. Plain data.
struct storage_config {
  int type;          // enum storage_type
  char *endpoint;    // S3: "https://host:port"; HTTP: base URL without credentials or query
  char *bucket;      // S3
  char *region;      // S3; NULL = us-east-1
  bool path_style;   // S3
  char *server;      // NFS
  char *export_path; // NFS
  char *path;        // FILE: absolute folder
  char *prefix;      // put before every key, "" or "a/b"; NFS: path below the export
  int64_t uid, gid;  // NFS
  int64_t version;   // NFS: 3
  int64_t nfs_port, mount_port; // NFS: 0 = ask the portmapper
  bool read_only;
  char *ca_pem;
  char *fingerprint_sha256;
  bool insecure_skip_verify;
  char *username;                                                // HTTP basic
  struct secret password;                                        // HTTP basic
  struct secret token;                                           // HTTP bearer
  struct secret access_key_id, secret_access_key, session_token; // S3
};

extern const struct table storage_config_table; // secrets are not encoded
void storage_config_release(struct storage_config *c);
int storage_config_copy(const struct storage_config *from, struct storage_config *to,
                        struct err *err);

struct storage_stat {
  uint64_t size_bytes;
  int64_t modified_wall_ms; // 0 = unknown
  char identity[160];       // etag, or mtime and size
  char owner[200];          // "" = none or not kept
};

struct storage;
struct storage_lane;

// Puts what are the credentials now (those that a config holds) into *fresh, which is empty but for
// its type. Called by any thread of the store, by one at a time.
typedef int (*storage_renew_fn)(void *arg, struct storage_config *fresh, struct err *err);

// allowed may be NULL (everything); it must outlive the store. No request is made yet. The config
// is copied. ERR_INVALID: something is missing in it; ERR_UNSUPPORTED: NFS 4.
int storage_open(const struct storage_config *c, const struct address_filter *allowed,
                 struct storage **ret, struct err *err);
void storage_free(struct storage *s);
// Where to ask again when the server says that the credentials are not good any more (S3: expired
// token, unknown key; HTTP: 401). A request that failed for that reason is made once more when
// others came. Before the first lane; arg must outlive the store. Without it such an error is
// final, and for kinds that have no credentials it is never called.
void storage_renew_with(struct storage *s, storage_renew_fn fn, void *arg);
const char *storage_describe(const struct storage *s); // "s3 bucket b at https://...": for messages
bool storage_keeps_owner(const struct storage *s);     // stat() gives the owner mark back
// Takes objects whose length is only known when they are written (object_settle): what compressed
// formats need. UNKNOWN (HTTP servers differ): storage_probe() with write finds out; who does not
// wait for that tries it, and may get ERR_UNSUPPORTED.
enum storage_answer { STORAGE_YES, STORAGE_NO, STORAGE_UNKNOWN };
enum storage_answer storage_takes_any_length(const struct storage *s);
// An object is written from its first byte to its last, in one go (HTTP PUT).
bool storage_is_ordered(const struct storage *s);

int storage_lane_new(struct storage *s, struct storage_lane **ret, struct err *err);
void storage_lane_free(struct storage_lane *l);
// Ends calls that hang in this lane, from any thread (ERR_CANCELLED); the lane is only good for
// freeing then.
void storage_lane_interrupt(struct storage_lane *l);

// Reachable, credentials good, bucket or folder there. With write: a probe object (its name carries
// `owner`) is written, read by range and removed.
int storage_probe(struct storage_lane *l, bool write, const char *owner, struct err *err);
// Where that object is, for who cleans up after a crash. Yours; NULL: no memory.
char *storage_probe_key(const char *owner);
int storage_stat(struct storage_lane *l, const char *key, struct storage_stat *ret,
                 struct err *err); // ERR_NOT_FOUND
// Keys below a folder, recursive, sorted, at most `max` (more: ERR_LIMIT). HTTP without PROPFIND:
// ERR_UNSUPPORTED.
int storage_list(struct storage_lane *l, const char *folder, size_t max, struct strings *ret,
                 struct err *err);
int storage_remove(struct storage_lane *l, const char *key, struct err *err); // gone already: 0
// Removes what an interrupted upload of that key by that owner left (temporary names; S3: every
// multipart upload of the key, for S3 does not say who began one). Nothing there: 0.
int storage_remove_partial(struct storage_lane *l, const char *key, const char *owner,
                           struct err *err);
// Free bytes, or -1 where the store cannot say.
int storage_free_bytes(struct storage_lane *l, int64_t *ret_bytes, struct err *err);

// Small objects whole (vm.json, manifests). get: more than max is ERR_LIMIT; *ret_data is yours and
// NUL-terminated. put: atomic; `only_new`: ERR_EXISTS when the key is there (S3: If-None-Match
// where the server knows it, else looked at before).
int storage_get(struct storage_lane *l, const char *key, size_t max, char **ret_data,
                size_t *ret_length, struct err *err);
int storage_put(struct storage_lane *l, const char *key, const void *data, size_t length,
                const char *owner, bool only_new, struct err *err);

// One object for reading by ranges from many lanes (each lane of the reader has its own
// connection). The store must outlive it. ERR_CHANGED when the object changes between reads
// (If-Match).
int storage_reader(struct storage *s, const char *key, struct object_reader **ret, struct err *err);
// The same, and the first look at the object goes through that lane: it can be interrupted there.
int storage_lane_reader(struct storage_lane *l, const char *key, struct object_reader **ret,
                        struct err *err);
// One object for writing; object_resume() before its begin goes on with what an earlier one left.
// overwrite false: commit fails with ERR_EXISTS when the key came to be meanwhile, where the store
// can tell.
int storage_writer(struct storage *s, const char *key, const char *owner, bool overwrite,
                   struct object_writer **ret, struct err *err);
// An object that is there, for mending (object.h): parts of it are written, and the rest stays as
// it is. identity: of a reader of it; ERR_CHANGED when it is another one by now. NFS and file: in
// place. S3: a new object, whose good parts the server copies from the old one, takes its name at
// commit. HTTP: ERR_UNSUPPORTED.
int storage_mender(struct storage *s, const char *key, const char *owner, const char *identity,
                   struct object_writer **ret, struct err *err);

// The ops of one kind of store. Keys are checked and hold the prefix. `open` may keep c as long as
// the store lives.
struct storage_keys;
struct storage_ops {
  const char *name;
  bool keeps_owner, ordered;
  enum storage_answer (*takes_any_length)(const void *store); // NULL: yes
  // A message for people, without secrets.
  void (*describe)(const struct storage_config *c, struct buf *into);
  int (*open)(const struct storage_config *c, const struct address_filter *allowed, void **ret,
              struct err *err);
  void (*close)(void *store);
  struct storage_keys *(*keys)(void *store); // NULL: it has no credentials
  // How long a small request takes, as far as it was seen; 0 = not known. NULL: near.
  int64_t (*round_trip_ms)(const void *store);
  int (*lane_open)(void *store, void **ret_lane, struct err *err);
  void (*lane_close)(void *store, void *lane);
  void (*interrupt)(void *store, void *lane);
  int (*check)(void *store, void *lane, struct err *err); // reachable, allowed, bucket there
  int (*stat)(void *store, void *lane, const char *key, struct storage_stat *ret, struct err *err);
  int (*list)(void *store, void *lane, const char *folder, size_t max, struct strings *ret,
              struct err *err);
  int (*remove)(void *store, void *lane, const char *key, struct err *err);
  int (*remove_partial)(void *store, void *lane, const char *key, const char *owner,
                        struct err *err);
  int (*free_bytes)(void *store, void *lane, int64_t *ret, struct err *err); // NULL: cannot say
  int (*get_range)(void *store, void *lane, const char *key, const char *identity, void *into,
                   size_t length, uint64_t offset, struct err *err);
  int (*put)(void *store, void *lane, const char *key, const void *data, size_t length,
             const char *owner, bool only_new, struct err *err);
  // As put, of a probe object, which also finds out what the server can do. NULL: put.
  int (*put_probe)(void *store, void *lane, const char *key, const void *data, size_t length,
                   const char *owner, struct err *err);
  // NULL: reading goes through get_range.
  int (*reader)(void *store, const char *key, struct object_reader **ret, struct err *err);
  int (*writer)(void *store, const char *key, const char *owner, bool overwrite,
                struct object_writer **ret, struct err *err);
  // NULL: objects can only be written whole.
  int (*mender)(void *store, const char *key, const char *owner, const char *identity,
                struct object_writer **ret, struct err *err);
};
