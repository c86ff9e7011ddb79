// SPDX-License-Identifier: Apache-2.0
// What the kinds of stores share. Not for other folders.
//
//   storage.c   the wrappers
//   config.c    struct storage_config: table, copy
//   key.c       which keys are allowed, names of temporary and probe objects
//   reader.c    an object_reader on get_range; a whole object through a writer
//   stop.c      waiting that can be interrupted; retry with backoff
//   keys.c      credentials that may be replaced while they are used
//   web.c       what S3 and HTTP share: client, ranged answers; web_lanes.c: their connections
//   xml.c       libxml2, tamed
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "storage/storage.h"

// The kinds, by enum storage_type.
extern const struct storage_ops storage_s3_ops, storage_http_ops, storage_nfs_ops, storage_file_ops;

struct storage {
  const struct storage_ops *ops;
  void *state; // of the kind
  struct storage_config config;
  char *description;
};

struct storage_lane {
  struct storage *store;
  void *state; // of the kind
};

// ---- keys ----

#define STORAGE_SEGMENT_BYTES_MAX 255
#define STORAGE_PARTIAL_SUFFIX    ".part"
#define STORAGE_HASH_TEXT         17 // 16 hex digits and NUL

int storage_key_check(const char *key, struct err *err);
// "prefix/key", or one of them when the other is empty; yours; NULL: no memory.
char *storage_key_join(const char *prefix, const char *key);
// The first 16 hex digits of the SHA-256 of the owner mark.
char *storage_owner_hash(const char *owner, char b[STORAGE_HASH_TEXT]);
// "folder/.name.HASH.part" for "folder/name": where unfinished bytes of that owner lie.
char *storage_partial_key(const char *key, const char *owner);
bool storage_key_is_partial(const char *key);

// ---- config.c ----

// Credentials alone: the secrets and the user name. `to` keeps the rest of what it has.
int storage_credentials_copy(const struct storage_config *from, struct storage_config *to,
                             struct err *err);
bool storage_credentials_equal(const struct storage_config *a, const struct storage_config *b);

// ---- keys.c ----

// The credentials in use, shared by all lanes of a store. A request takes a copy and its number;
// the lane that first hears that they have expired gets new ones for all.
struct storage_keys {
  pthread_mutex_t lock;
  struct storage_config now; // nothing but credentials
  unsigned number;           // rises with each renewal
  storage_renew_fn renew;    // NULL: there is nowhere to get others
  void *arg;
};

int storage_keys_new(const struct storage_config *c, struct storage_keys **ret, struct err *err);
void storage_keys_free(struct storage_keys *k); // NULL allowed
// *ret is overwritten; storage_config_release() it.
int storage_keys_take(struct storage_keys *k, struct storage_config *ret, unsigned *ret_number,
                      struct err *err);
// True: there are others now than those of that number.
bool storage_keys_renew(struct storage_keys *k, unsigned number);

// ---- reader.c ----

int storage_range_reader(struct storage *s, const char *key, const struct storage_stat *stat,
                         struct object_reader **ret, struct err *err);

// A small object through a writer, from begin to commit; aborted after an error. Frees w.
int storage_write_whole(struct object_writer *w, const void *data, size_t length, struct err *err);

// ---- stop.c ----

// A flag that one thread waits for and another sets.
struct stop {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool set;
};

void stop_init(struct stop *s);
void stop_release(struct stop *s);
void stop_set(struct stop *s);
bool stop_is_set(struct stop *s);
bool stop_wait(struct stop *s, int64_t delay_ms); // true: it was set meanwhile

#define RETRY_ATTEMPTS_MAX  5
#define RETRY_FIRST_MS      200
#define RETRY_LONGEST_MS    8000
#define RETRY_GIVE_UP_MS    40000 // no third attempt when the first one began so long ago
#define RETRY_AFTER_HEED_MS 30000 // a server that asks for more time gets it from the caller

// Runs `once` until it succeeds, fails finally, or has failed too often; waits between with
// backoff, jitter and what the far side asked for. Every attempt must be repeatable.
int storage_retry(struct stop *stop, int (*once)(void *arg, struct err *err), void *arg,
                  struct err *err);

// A set of lanes that can be interrupted together, for readers and writers with many lanes.
struct lane_set {
  pthread_mutex_t lock;
  void **lanes;
  size_t count, capacity;
  bool interrupted;
  void (*interrupt)(void *lane);
};

void lane_set_init(struct lane_set *s, void (*interrupt)(void *lane));
void lane_set_release(struct lane_set *s);
int lane_set_add(struct lane_set *s, void *lane, struct err *err); // ERR_CANCELLED once interrupted
void lane_set_remove(struct lane_set *s, void *lane);
void lane_set_interrupt(struct lane_set *s);
