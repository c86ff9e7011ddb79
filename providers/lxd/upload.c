// SPDX-License-Identifier: Apache-2.0
// An image of a store, brought to the daemon: POST /1.0/images with the unified archive as its body
// (metadata.yaml beside rootfs), on a connection of its own. The daemon calls an image by the
// SHA-256 of those bytes; ours of what was sent must be the same. Its properties bear our mark, so
// that one that a killed process left is found. A body that breaks off leaves nothing there: the
// daemon looks at an image only once it has all of it. As soon as the base is made of it, the image
// goes again; one that was there before (the same bytes, without our mark) is used, and stays.
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "providers/lxd/lxd_internal.h"

#define PROPERTY   "drover.owner"
#define UNPACK_MS  1800000 // that the daemon may take to look at it
#define TAKING_MAX 16

struct carry {   // of the feed's thread
  struct lxd at; // the same daemon with a session of its own; all else is borrowed, or its copy
  char *owner;
  char fingerprint[FEED_DIGEST_TEXT];
};

int lxd_upload_check(const struct base_order *b, struct findings *f, struct err *err)
{
  bool takes = b->image_format >= FEED_TAR && b->image_format <= FEED_SQUASHFS;
  int failed = takes ? findings_add(f, "BaseImage", FINDING_OK, NULL, "%s is a %s", b->image,
                                    feed_format_names[b->image_format])
                     : findings_add(f, "BaseImage", FINDING_ERROR, NULL,
                                    "%s is no image that LXD takes (%s): that is one archive with "
                                    "metadata.yaml and rootfs in it, as `lxc image export` writes",
                                    b->image, feed_format_names[b->image_format]);
  return failed ? lxd_no_memory(err) : 0;
}

// ---- on the feed's thread ----------------------------------------------------------------------

static int give(void *arg, uint64_t offset, void *into, size_t length, struct err *err)
{
  return feed_read(arg, into, length, offset, err);
}

static char *properties_of(const char *owner)
{
  struct buf b = BUF_INIT(LXD_PATH_MAX);
  buf_adds(&b, PROPERTY "=");
  buf_add_escaped(&b, owner, "");
  char *text = buf_take(&b);
  buf_release(&b);
  return text;
}

// Incus reads headers of its own name.
static int post(struct feed *f, struct carry *c, uint64_t size, struct http_response *ret,
                struct err *err)
{
  cleanup_free char *url = str_printf("%s/1.0/images", c->at.origin);
  cleanup_free char *properties = properties_of(c->owner);
  if (!url || !properties)
    return lxd_no_memory(err);
  const struct http_header headers[] = {{"Content-Type", "application/octet-stream"},
                                        {"X-LXD-public", "false"},
                                        {"X-LXD-properties", properties},
                                        {"X-Incus-public", "false"},
                                        {"X-Incus-properties", properties},
                                        {NULL, NULL}};
  struct http_request request = {.method = "POST",
                                 .url = url,
                                 .headers = headers,
                                 .body_length = size,
                                 .read_body = give,
                                 .read_arg = f,
                                 .no_redirects = true};
  return http_perform(c->at.session, &request, ret, err);
}

static int send_image(struct feed *f, struct carry *c, uint64_t size, char **ret_operation,
                      struct err *err)
{
  struct http_response response CLEANUP(http_response_release) = {0};
  if (post(f, c, size, &response, err) != 0)
    return -1;
  if (response.status / 100 != 2)
    return lxd_status_error(&response, "POST /1.0/images", err);
  cleanup_json struct json_object *answer = json_tokener_parse(buf_str(&response.body));
  const char *id = str_after(lxd_text(answer, "operation"), "/1.0/operations/");
  if (str_empty(id))
    return err_set(err, ERR_PROTOCOL, "POST /1.0/images: the answer names no operation");
  *ret_operation = str_dup(id);
  return *ret_operation ? 0 : lxd_no_memory(err);
}

// What the daemon says of an image that it could not read has no kind of its own.
static int refused(const struct err *failed, struct err *err)
{
  bool call = str_starts(failed->message, "GET "); // it is the daemon that does not answer
  if (call && failed->kind == ERR_NOT_FOUND)
    return err_set(err, ERR_UNREACHABLE, "the daemon was restarted while it took the image");
  if (call || (failed->kind != ERR_PROTOCOL && failed->kind != ERR_INVALID &&
               failed->kind != ERR_NOT_FOUND)) {
    if (err)
      *err = *failed;
    return -1;
  }
  return err_set(err, ERR_CORRUPT, "LXD cannot read the image: %s", failed->message);
}

// There is one of these bytes already: whose it is does not matter.
static int take_existing(struct carry *c, const struct err *failed, struct err *err)
{
  cleanup_json struct json_object *image = NULL;
  if (failed->kind != ERR_EXISTS)
    return refused(failed, err);
  return lxd_image(&c->at, c->fingerprint, &image, err);
}

static int carry_run(struct feed *f, void *arg, struct err *err)
{
  struct carry *c = arg;
  struct err failed = ERR_INIT;
  enum feed_format format;
  uint64_t size;
  cleanup_free char *operation = NULL;
  cleanup_json struct json_object *metadata = NULL;
  if (feed_open(f, &format, &size, err) != 0)
    return -1;
  if (format < FEED_TAR || format > FEED_SQUASHFS)
    return err_set(err, ERR_CORRUPT, "it is no image that LXD takes (%s)",
                   feed_format_names[format]);
  if (send_image(f, c, size, &operation, err) != 0 || feed_digest(f, c->fingerprint, err) != 0)
    return -1;
  if (lxd_wait(&c->at, operation, UNPACK_MS, &metadata, &failed) != 0)
    return take_existing(c, &failed, err);
  const char *fingerprint = lxd_text(metadata, "fingerprint");
  if (str_eq(fingerprint, c->fingerprint))
    return 0;
  return err_set(err, ERR_MISMATCH, "what arrived is not what was sent: %.64s instead of %s",
                 fingerprint ? fingerprint : "nothing", c->fingerprint);
}

static void carry_stop(void *arg)
{
  struct carry *c = arg;
  http_session_interrupt(c->at.session);
}

static void carry_free(void *arg)
{
  struct carry *c = arg;
  http_session_free(c->at.session);
  free(c->at.endpoint);
  free(c->at.origin);
  free(c->owner);
  free(c);
}

static const struct feed_work carrying = {carry_run, carry_stop, carry_free};

// ---- what the daemon has -----------------------------------------------------------------------

static bool is_of(struct json_object *image, const char *owner)
{
  return owner_same(lxd_text(lxd_member(image, "properties"), PROPERTY), owner);
}

// The fingerprints of images that bear that mark.
static int find_marked(struct lxd *l, const char *owner, struct strings *ret, struct err *err)
{
  cleanup_json struct json_object *all = NULL;
  if (lxd_get(l, "/1.0/images?recursion=1", &all, err) != 0)
    return -1;
  size_t count = json_object_is_type(all, json_type_array) ? json_object_array_length(all) : 0;
  for (size_t i = 0; i < count; i++) {
    struct json_object *image = json_object_array_get_idx(all, i);
    const char *fingerprint = lxd_text(image, "fingerprint");
    if (is_of(image, owner) && lxd_is_fingerprint(fingerprint) &&
        strings_add(ret, fingerprint) != 0)
      return lxd_no_memory(err);
  }
  return 0;
}

static int remove_image(struct lxd *l, const char *fingerprint, struct err *err)
{
  cleanup_free char *path = str_printf("/1.0/images/%s", fingerprint);
  cleanup_free char *operation = NULL;
  struct err failed = ERR_INIT;
  if (!path)
    return lxd_no_memory(err);
  if (lxd_call(l, "DELETE", path, NULL, NULL, &operation, &failed) == 0 &&
      (!operation || lxd_wait(l, operation, l->call_ms / 2, NULL, &failed) == 0))
    return 0;
  if (failed.kind == ERR_NOT_FOUND) // meanwhile, or the operation is over and forgotten
    return 0;
  return failed.kind == ERR_TIMEOUT ? err_set(err, ERR_BUSY, "an image is being removed")
                                    : err_set(err, failed.kind, "%s", failed.message);
}

// An image that it has received and not looked at yet has no name: after a crash it may be ours.
static int check_taking(struct lxd *l, struct err *err)
{
  cleanup_json struct json_object *states = NULL;
  if (lxd_get(l, "/1.0/operations?recursion=1", &states, err) != 0)
    return -1;
  struct json_object *running = lxd_member(states, "running");
  size_t count =
      json_object_is_type(running, json_type_array) ? json_object_array_length(running) : 0;
  for (size_t i = 0; i < count; i++)
    if (str_eq(lxd_text(json_object_array_get_idx(running, i), "description"), "Downloading image"))
      return err_set(err, ERR_BUSY, "the daemon is taking an image, which may be this one");
  return 0;
}

// ---- looked after ------------------------------------------------------------------------------

static struct lxd_upload *slot_of(struct lxd *l, const char *instance)
{
  for (size_t i = 0; i < LXD_UPLOADS_MAX; i++)
    if (l->uploads[i].instance ? str_eq(l->uploads[i].instance, instance) : !instance)
      return &l->uploads[i];
  return NULL;
}

static void slot_free(struct lxd_upload *u)
{
  feed_free(u->feed);
  free(u->instance);
  free(u->owner);
  *u = (struct lxd_upload){0};
}

void lxd_uploads_end(struct lxd *l)
{
  for (size_t i = 0; i < LXD_UPLOADS_MAX; i++)
    if (l->uploads[i].instance)
      slot_free(&l->uploads[i]);
}

static struct carry *carry_new(const struct lxd *l, const char *owner, struct err *err)
{
  struct carry *c = calloc(1, sizeof(*c));
  if (!c) {
    lxd_no_memory(err);
    return NULL;
  }
  c->at = (struct lxd){.client = l->client, .call_ms = l->call_ms, .incus = l->incus};
  c->at.endpoint = str_dup(l->endpoint);
  c->at.origin = str_dup(l->origin);
  c->owner = str_dup(owner);
  c->at.session = http_session_new(l->client, err);
  if (c->at.session && c->at.endpoint && c->at.origin && c->owner)
    return c;
  if (c->at.session)
    lxd_no_memory(err);
  carry_free(c);
  return NULL;
}

static int start(struct lxd *l, const struct base_order *b, struct err *err)
{
  struct lxd_upload *u = slot_of(l, NULL);
  if (!u)
    return err_set(err, ERR_BUSY, "%d images are brought to %s already", LXD_UPLOADS_MAX,
                   l->endpoint);
  if (!b->source)
    return err_set(err, ERR_INTERNAL, "nobody brings '%s'", b->image);
  struct carry *c = carry_new(l, b->owner, err);
  if (!c || feed_start(b->source, &carrying, c, &u->feed, err) != 0)
    return -1;
  u->work = c;
  u->instance = str_dup(b->name);
  u->owner = str_dup(b->owner);
  if (u->instance && u->owner)
    return 0;
  slot_free(u);
  return lxd_no_memory(err);
}

// Nothing is known of one here: an earlier process may have brought it.
static int find_or_start(struct lxd *l, const struct base_order *b, char **ret_fingerprint,
                         struct err *err)
{
  struct strings found CLEANUP(strings_release) = {0};
  if (find_marked(l, b->owner, &found, err) != 0)
    return -1;
  if (found.count == 0)
    return start(l, b, err);
  *ret_fingerprint = str_dup(found.items[0]);
  return *ret_fingerprint ? 0 : lxd_no_memory(err);
}

int lxd_upload(struct lxd *l, const struct base_order *b, char **ret_fingerprint,
               int64_t *ret_percent, struct err *err)
{
  struct lxd_upload *u = slot_of(l, b->name);
  *ret_fingerprint = NULL;
  if (!u)
    return find_or_start(l, b, ret_fingerprint, err);
  enum feed_state state = feed_wait(u->feed, 0, err);
  *ret_percent = feed_percent(u->feed);
  if (state == FEED_RUNS)
    return 0;
  if (state == FEED_DONE)
    *ret_fingerprint = str_dup(u->work->fingerprint);
  slot_free(u);
  return state == FEED_FAILED ? -1 : *ret_fingerprint ? 0 : lxd_no_memory(err);
}

int lxd_upload_drop(struct lxd *l, const char *instance, const char *owner, bool there,
                    struct err *err)
{
  struct strings found CLEANUP(strings_release) = {0};
  struct lxd_upload *u = slot_of(l, instance);
  if (u && owner_same(u->owner, owner))
    slot_free(u);
  if ((!there && check_taking(l, err) != 0) || find_marked(l, owner, &found, err) != 0)
    return -1;
  for (size_t i = 0; i < found.count; i++)
    if (remove_image(l, found.items[i], err) != 0)
      return -1;
  return 0;
}
