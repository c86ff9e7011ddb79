// SPDX-License-Identifier: Apache-2.0
// What the files of this folder share. Everything runs on the provider's thread with one handle.
//
//   connect.c    endpoint, HTTP client, the daemon's own facts
//   rest.c       one call: JSON in, JSON out, errors as our kinds
//   json.c       members of answers, by name
//   operation.c  what the daemon does in the background
//   instance.c   an instance as the API shows it: marks, root disk, cards, what it takes
//   pool.c       storage pools: what they can, what is free
//   notes.c      what the daemon has said a moment ago
//   files.c      files inside an instance
//   probe.c      the daemon and what is on it
//   from.c       what a clone is made of
//   base.c       bases; base_check.c what stands against them; upload.c images brought to them
//   clone.c      clones; clone_body.c the request that makes one; clone_check.c; identity.c;
//                host_key.c
//   exec.c       commands, files and the console of an instance
//   power.c      power, snapshots, removal
//   machine.c    what the seam asks of VMs
//
// Facts are those of LXD's REST API, version 1.0
// (https://documentation.ubuntu.com/lxd/latest/api/), checked against LXD 5.0.2. Incus answers the
// same calls; where it differs the code says so.
#pragma once

#include <json-c/json.h>

#include "base/buf.h"
#include "net/http.h"
#include "providers/clone.h"
#include "providers/lxd/lxd.h"

#define LXD_OPERATIONS_MAX  4096 // remembered ones
#define LXD_UPLOADS_MAX     8    // at a time
#define LXD_NAME_MAX        63   // of an instance
#define LXD_ABSENT_MAX      16
#define LXD_SNAPSHOT        "drover"
#define LXD_BRIEF_MS        1000 // waited for the end of an operation, where
#define LXD_ALONE_MS        2000 // none was begun for so long: nobody stands behind it
#define LXD_PATH_MAX        4096
#define LXD_LISTING_MAX     (64u << 20) // bytes of an answer that lists instances
#define LXD_GUEST_STOP_S    30
#define LXD_TRUST           "lxc config trust add; Incus: incus config trust add-certificate"
#define LXD_CONFIG_OWNER    "user.drover.owner"
#define LXD_CONFIG_KIND     "user.drover.kind"      // "Base" or "Clone"
#define LXD_CONFIG_STATE    "user.drover.state"     // "making", then "made"
#define LXD_CONFIG_BASE     "user.drover.base"      // what a clone was made of
#define LXD_CONFIG_POOL     "user.drover.base-pool" // where that lay
#define LXD_CONFIG_INSIDE   "user.drover.inside"    // see identity.c
#define LXD_CONFIG_TAKEN    "user.drover.converted" // "true": was somebody's before
#define LXD_CONFIG_IMAGE    "user.drover.image"     // fingerprint of what was uploaded for it
#define LXD_CONFIG_GUARD    "security.protection.delete"
#define LXD_CONFIG_TEMPLATE "volatile.apply_template" // set once the storage of a new one is whole

struct lxd_begun { // an operation of ours, the last one on its instance
  char *instance, *id;
};

struct lxd_pool {
  char *name, *driver;
  bool links; // copies within it share their content
  bool sizes; // a size of the root disk is enforced
  int64_t free_bytes, capacity_bytes;
  bool active;
};

struct lxd_absent { // an instance that was not there
  char name[LXD_NAME_MAX + 1];
  int64_t seen_ms;
};

struct lxd_upload {       // an image on its way (upload.c)
  char *instance, *owner; // of the base; NULL = free slot
  struct feed *feed;
  struct carry *work; // its own; only read once it is over
};

struct lxd {
  struct http_client *client;
  struct http_session *session;
  char *endpoint; // as given, for messages
  char *origin;   // "https://host:8443", or "http://lxd" with a socket
  char *socket;   // path; NULL = HTTPS
  char *default_storage, *default_network;
  int64_t call_ms; // most that one call may take
  bool incus;
  struct lxd_begun *begun;
  size_t begun_count;
  struct lxd_upload uploads[LXD_UPLOADS_MAX];
  int64_t begun_ms; // when the last one was begun
  bool alone;       // and none shortly before
  // ---- notes.c
  struct lxd_absent absent[LXD_ABSENT_MAX];
  size_t absent_next;
  struct lxd_pool pool;
  int64_t pool_ms; // when that was read
  struct {
    char *fingerprint, *inside;
  } image;
};

int lxd_open(const struct provider_config *c, const struct address_filter *allowed, void **ret,
             struct err *err);
void lxd_close(void *h);
bool lxd_alive(void *h);

// ---- rest.c ----

// "/1.0/instances/NAME" + rest; the name is escaped, rest is not. NULL: no memory.
char *lxd_instance_path(const char *name, const char *rest);
// One call. body (borrowed) may be NULL. *ret (yours; may be NULL) is the `metadata` of the answer;
// *ret_operation (may be NULL) the id of the operation that it began, or NULL when it was done at
// once.
int lxd_call(struct lxd *l, const char *method, const char *path, struct json_object *body,
             struct json_object **ret, char **ret_operation, struct err *err);
int lxd_get(struct lxd *l, const char *path, struct json_object **ret, struct err *err);
// PATCH of an instance; consumes body.
int lxd_patch(struct lxd *l, const char *name, struct json_object *body, struct err *err);
// The kind that words of the daemon stand for, or `fallback`.
enum err_kind lxd_kind_of_text(const char *text, enum err_kind fallback);
// Sets the error of an answer that is not 2xx. Returns -1.
int lxd_status_error(const struct http_response *r, const char *what, struct err *err);
int lxd_no_memory(struct err *err);

// ---- json.c: NULL and 0 for what is missing or of another type ----

struct json_object *lxd_member(struct json_object *o, const char *key);
const char *lxd_text(struct json_object *o, const char *key);
int64_t lxd_number(struct json_object *o, const char *key, int64_t fallback);
bool lxd_true(struct json_object *o, const char *key);
void lxd_put(struct json_object *o, const char *key, const char *value);    // NULL: left out
void lxd_put_number(struct json_object *o, const char *key, int64_t value); // as a string
void lxd_json_release(struct json_object **o);
#define cleanup_json CLEANUP(lxd_json_release)

// ---- operation.c ----

struct lxd_progress {
  bool running;
  bool good; // it has succeeded; neither: there is none, or the daemon has forgotten it
  int64_t percent;
};

// Notes that `id` works on the instance (NULL: nothing does). Takes id.
int lxd_begin(struct lxd *l, const char *instance, char *id, struct err *err);
// Is one noted for it?
bool lxd_is_begun(const struct lxd *l, const char *instance);
// What has become of the one we noted for the instance: running, or over and forgotten. When it
// failed: -1 with its error. None noted: not running.
int lxd_settle(struct lxd *l, const char *instance, struct lxd_progress *ret, struct err *err);
// As lxd_settle, but waits for it for a moment, unless many are being begun.
int lxd_settle_new(struct lxd *l, const char *instance, struct lxd_progress *ret, struct err *err);
// The same right after lxd_begin(): where many are being begun it is not asked for at all.
int lxd_settle_begun(struct lxd *l, const char *instance, struct lxd_progress *ret,
                     struct err *err);
// Is there one of anybody's on it that is not a command running inside?
int lxd_busy(struct lxd *l, const char *instance, bool *ret, struct err *err);
// The one that is: its id and description; both NULL when there is none.
int lxd_working(struct lxd *l, const char *instance, char **ret_id, char **ret_what,
                struct err *err);
// Waits until there is none: the end of a change comes a moment after it can be seen. ERR_BUSY.
int lxd_idle(struct lxd *l, const char *instance, struct err *err);
// Waits until the operation is over. ERR_TIMEOUT when it is not within wait_ms. *ret (may be NULL)
// its metadata, also with an error when the operation failed.
int lxd_wait(struct lxd *l, const char *id, int64_t wait_ms, struct json_object **ret,
             struct err *err);
// ---- instance.c ----

// Of letters, digits and dashes, at most LXD_NAME_MAX.
bool lxd_name_ok(const char *name);
int lxd_name_check(const char *name, struct err *err);
// The whole answer with state and snapshots; ERR_NOT_FOUND. *ret is yours.
int lxd_instance(struct lxd *l, const char *name, struct json_object **ret, struct err *err);
// Without state and snapshots, for which the daemon asks the storage by programs: far cheaper.
int lxd_instance_brief(struct lxd *l, const char *name, struct json_object **ret, struct err *err);
// As those above; *ret is NULL, and that is no error, when there is none.
int lxd_instance_if(struct lxd *l, const char *name, struct json_object **ret, struct err *err);
int lxd_instance_brief_if(struct lxd *l, const char *name, struct json_object **ret,
                          struct err *err);
const char *lxd_config(struct json_object *instance, const char *key); // NULL when empty
bool lxd_is_vm(struct json_object *instance);
bool lxd_is_running(struct json_object *instance);
int lxd_power_of(struct json_object *instance); // enum vm_power
// The root disk among all its devices, borrowed; *ret_name (may be NULL) what it is called.
struct json_object *lxd_root(struct json_object *instance, const char **ret_name);
struct json_object *lxd_root_of(struct json_object *devices, const char **ret_name);
const char *lxd_root_pool(struct json_object *instance);
int64_t lxd_root_usage(struct json_object *instance); // -1 = the pool does not tell
int lxd_copy_owned(struct owned *ret, const char *kind, const char *id, const char *where,
                   struct err *err);
// The snapshot of that name, borrowed; NULL: none.
struct json_object *lxd_snapshot_of(struct json_object *instance, const char *name);
bool lxd_is_nic(struct json_object *device);

// ---- pool.c ----

void lxd_pool_release(struct lxd_pool *p);
int lxd_pool(struct lxd *l, const char *name, struct lxd_pool *ret, struct err *err);
int lxd_pool_of_json(struct json_object *o, struct lxd_pool *ret, struct err *err); // no free space
int lxd_pool_space(struct lxd *l, struct lxd_pool *p, struct err *err);
// The pool of a base that says none: the provider's default, or that of the default profile; yours.
int lxd_pool_default(struct lxd *l, char **ret, struct err *err);

// ---- notes.c ----

// An instance of that name was not there.
void lxd_absent_note(struct lxd *l, const char *name);
// Was that seen a moment ago? Once only.
bool lxd_absent_take(struct lxd *l, const char *name);
// As lxd_pool(), perhaps as it was a moment ago. *ret is borrowed until the next call.
int lxd_pool_kind(struct lxd *l, const char *name, const struct lxd_pool **ret, struct err *err);
// What lxd_inside() says of an image; NULL: not known. Borrowed.
const char *lxd_image_inside(const struct lxd *l, const char *fingerprint);
void lxd_image_inside_note(struct lxd *l, const char *fingerprint, const char *inside);
void lxd_notes_release(struct lxd *l);

// ---- files.c ----

enum lxd_file { LXD_FILE, LXD_DIRECTORY, LXD_LINK, LXD_OTHER };
// bytes may be NULL for a folder, which may be there already.
int lxd_file_put(struct lxd *l, const char *name, const char *path, enum lxd_file type, int mode,
                 const void *bytes, size_t length, struct err *err);
// *ret (may be NULL) is yours; a folder gives its names as JSON.
int lxd_file_get(struct lxd *l, const char *name, const char *path, enum lxd_file *ret_type,
                 struct buf *ret, size_t max, struct err *err);
int lxd_file_remove(struct lxd *l, const char *name, const char *path, struct err *err);

// ---- host_key.c ----

struct lxd_host_key { // as in sshd's files; empty: none
  char private[4096], public[1024];
};
int lxd_host_key_new(const char *name, struct lxd_host_key *ret, struct err *err);
void lxd_host_key_release(struct lxd_host_key *k); // wipes

// ---- identity.c ----

// What is inside a stopped container and matters for its copies: words, space between; yours.
int lxd_inside(struct lxd *l, const char *name, bool vm, char **ret, struct err *err);
#define LXD_INSIDE_CLOUD_INIT "cloud-init"
bool lxd_inside_has(const char *inside, const char *word);
// Gives a new clone, a container that has never been started, its identity.
// key: an empty one is made where it is needed.
int lxd_identify(struct lxd *l, const char *inside, const struct lxd_host_key *key,
                 const struct clone_order *c, struct err *err);
// Does a copy of what has this inside get a host key of ours?
bool lxd_needs_host_key(const char *inside);

// ---- upload.c ----

// What stands against an image, by what is known of it.
int lxd_upload_check(const struct base_order *b, struct findings *f, struct err *err);
// Brings the image of a base to the daemon, or says how far it is: *ret_fingerprint (yours) is NULL
// until it is there. One that an earlier call of this object brought is taken.
int lxd_upload(struct lxd *l, const struct base_order *b, char **ret_fingerprint,
               int64_t *ret_percent, struct err *err);
// Ends what is on its way for that base, and removes the images that bear its mark. there: so is
// its instance, for which the image came whole; else ERR_BUSY while the daemon is taking one that
// may be it.
int lxd_upload_drop(struct lxd *l, const char *instance, const char *owner, bool there,
                    struct err *err);
void lxd_uploads_end(struct lxd *l);

// ---- from.c ----

struct lxd_from {              // what a clone is made of
  struct json_object *json;    // instance or image
  struct json_object *profile; // of an image: the default one
  struct json_object *devices; // all of them by name, borrowed from the former
  struct json_object *profiles;
  char *id, *pool;
  char *revision;      // NULL: of an instance that is no base
  const char *raw_lxc; // borrowed
  bool image, vm, snapshot, running, cloud_init;
};
void lxd_from_release(struct lxd_from *f);
int lxd_from(struct lxd *l, const struct clone_order *c, struct lxd_from *ret, struct err *err);
bool lxd_is_fingerprint(const char *id);
int lxd_image(struct lxd *l, const char *name, struct json_object **ret, struct err *err);
int lxd_network(struct lxd *l, const char *name, struct json_object **ret, struct err *err);
const char *lxd_clone_pool(const struct lxd_from *from, const struct clone_order *c);
// Will it share its content with what it is made of? ERR_UNSUPPORTED when that is not the mode that
// was asked for, ERR_NOT_FOUND without the pool.
int lxd_clone_links(struct lxd *l, const struct lxd_from *from, const struct clone_order *c,
                    bool *ret, struct err *err);

// ---- clone_body.c ----

// The request that makes the clone. *ret is yours.
int lxd_clone_body(struct lxd *l, const struct lxd_from *from, const struct clone_order *c,
                   struct json_object **ret, struct err *err);

// clone.c: ERR_EXISTS when the instance does not bear the mark.
int lxd_check_mark(struct json_object *instance, const char *owner, struct err *err);
// Begins to remove an instance that was never completed, unless the daemon is at work on it.
int lxd_undo_unless_busy(struct lxd *l, const char *name, struct err *err);
// base.c: an alias, or the fingerprint; borrowed.
const char *lxd_image_name(struct json_object *image);
// clone_check.c: letters, digits and dashes, one label.
bool lxd_host_name_ok(const char *host);
// power.c: ERR_INVALID unless it is [a-z0-9-]+.
int lxd_snapshot_name_check(const char *name, struct err *err);
// For findings: with a check's name; 0, or -1 without memory.
int lxd_find(struct findings *f, const char *check, const struct err *failed, struct err *err);

// ---- the verbs ----

int lxd_probe(void *h, struct provider_info *ret, struct err *err);
int lxd_find_vm(void *h, const char *name_or_id, struct vm *ret, struct err *err);
int lxd_power_state(void *h, const char *id, enum vm_power *ret, struct err *err);
int lxd_set_autostart(void *h, const char *id, bool on, struct err *err);
int lxd_remove(void *h, const struct owned *o, const char *owner, struct err *err);

int lxd_base_check(void *h, const struct base_order *b, struct findings *f, struct err *err);
int lxd_base_plan(void *h, const struct base_order *b, struct owned *ret, struct err *err);
int lxd_base_make(void *h, const struct base_order *b, const struct owned *o, struct base_seen *ret,
                  struct err *err);
int lxd_base_get(void *h, const struct owned *o, struct base_seen *ret, struct err *err);
int lxd_base_release(void *h, const struct owned *o, const char *owner, struct err *err);
// base.c, for clone_check.c and clone.c: identity of the content; yours. NULL: it is no base.
char *lxd_revision(struct json_object *instance);
int lxd_clone_check(void *h, const struct clone_order *c, struct findings *f, struct err *err);
int lxd_clone_plan(void *h, const struct clone_order *c, struct owned *ret, struct err *err);
int lxd_clone_make(void *h, const struct clone_order *c, const struct owned *o,
                   struct clone_seen *ret, struct err *err);
int lxd_clone_get(void *h, const char *id, struct clone_seen *ret, struct err *err);
int lxd_clone_power(void *h, const char *id, enum power_action action, struct err *err);
int lxd_machines(void *h, struct machines *ret, struct err *err);
int lxd_exec(void *h, const char *id, const struct exec_order *e, struct exec_result *ret,
             struct err *err);
int lxd_push(void *h, const char *id, const char *path, int mode, const void *bytes, size_t length,
             struct err *err);
int lxd_pull(void *h, const char *id, const char *path, void **ret, size_t *ret_length,
             struct err *err);
int lxd_snapshot(void *h, const char *id, const char *name, struct err *err);
int lxd_rollback(void *h, const char *id, const char *name, struct err *err);
int lxd_snapshots(void *h, const char *id, struct strings *ret, struct err *err);
int lxd_snapshot_remove(void *h, const char *id, const char *name, struct err *err);
int lxd_console(void *h, const char *id, struct strings *ret, struct err *err);
