// SPDX-License-Identifier: Apache-2.0
// A root file system from an archive of a store: tar unpacks what a feed hands it, into a part. The
// archive may be hostile: GNU tar strips leading slashes, refuses "..", and makes links that lead
// up or to an absolute path only after everything else, so nothing is written outside of the part.
// Device nodes, owners, permissions, xattrs and ACLs are kept as they are: a root file system has
// them.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/str.h"
#include "providers/nspawn/host_internal.h"

#define BLOCK_BYTES (256u << 10) // handed over at once
#define LOOK_MS     100          // at whether it is wanted still
#define SAID_BYTES  2048

struct unpack {   // of the feed's thread
  int part, lock; // the folder; held as long as anybody writes
  char digest[FEED_DIGEST_TEXT];
  struct command_child tar;
  char said[SAID_BYTES + 1]; // how its standard error begins
  size_t said_length;
};

static const char *const options[FEED_FORMAT_COUNT] = {
    [FEED_TAR] = "--no-auto-compress",
    [FEED_TAR_GZIP] = "--gzip",
    [FEED_TAR_XZ] = "--xz",
    [FEED_TAR_ZSTD] = "--zstd",
};

// ---- before ------------------------------------------------------------------------------------

#define NO_ARCHIVE                                                                                 \
  "a base here is made of a root file system in a tar archive, plain or in gzip, xz or zstd"

int ns_image_check(const struct host *h, const struct base_order *b, struct findings *f)
{
  struct statvfs s;
  char need[32], have[32];
  if (!options[b->image_format])
    return findings_add(f, "Image", FINDING_ERROR, NULL, "%s is no such archive (%s): " NO_ARCHIVE,
                        b->image, feed_format_names[b->image_format]);
  if (statvfs(h->folder, &s) != 0)
    return 0;
  int64_t room = (int64_t)s.f_bavail * (int64_t)s.f_frsize;
  if (b->image_bytes <= room) // and more, once it is unpacked: nobody knows how much
    return findings_add(f, "Image", FINDING_OK, NULL, "%s is a %s", b->image,
                        feed_format_names[b->image_format]);
  return findings_add(f, "Space", FINDING_ERROR, "Make room.", "the image alone has %s, and %s %s",
                      str_human_bytes((double)b->image_bytes, need), h->folder,
                      str_human_bytes((double)room, have));
}

// ---- tar ---------------------------------------------------------------------------------------

static int start_tar(struct unpack *u, enum feed_format format, struct err *err)
{
  const char *argv[] = {"tar",
                        "--extract",
                        "--file=-",
                        options[format],
                        "--directory=/proc/self/fd/3",
                        "--numeric-owner",
                        "--same-owner",
                        "--preserve-permissions",
                        "--xattrs",
                        "--xattrs-include=*",
                        "--acls",
                        "--warning=no-timestamp",
                        "--warning=no-unknown-keyword",
                        NULL};
  int fds[] = {u->part, u->lock};
  struct command_start start = {.argv = argv, .want_input = true, .fds = fds, .fd_count = 2};
  if (command_start(&start, &u->tar, err) != 0)
    return -1;
  fcntl(u->tar.input, F_SETFL, O_NONBLOCK);
  fcntl(u->tar.errors, F_SETFL, O_NONBLOCK);
  return 0;
}

// Takes what it says, so that it never waits for us; false at the end.
static bool hear(struct unpack *u)
{
  char more[512];
  ssize_t n = read(u->tar.errors, more, sizeof(more));
  if (n <= 0)
    return n < 0 && (errno == EAGAIN || errno == EINTR);
  size_t room = SAID_BYTES - u->said_length, take = (size_t)n < room ? (size_t)n : room;
  memcpy(u->said + u->said_length, more, take);
  u->said_length += take;
  return true;
}

// 1: it takes no more.
static int hand_over(struct feed *f, struct unpack *u, const char *bytes, size_t length,
                     struct err *err)
{
  while (length > 0) {
    struct pollfd p[] = {{.fd = u->tar.input, .events = POLLOUT},
                         {.fd = u->tar.errors, .events = POLLIN}};
    if (feed_stopped(f))
      return err_set(err, ERR_CANCELLED, "the image is not wanted any more");
    poll(p, 2, LOOK_MS);
    if (p[1].revents & POLLIN)
      hear(u);
    if (!p[0].revents)
      continue;
    ssize_t n = write(u->tar.input, bytes, length);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
      return 1;
    bytes += n > 0 ? n : 0;
    length -= n > 0 ? (size_t)n : 0;
  }
  return 0;
}

static int pump(struct feed *f, struct unpack *u, uint64_t size, struct err *err)
{
  cleanup_free char *block = malloc(BLOCK_BYTES);
  if (!block)
    return ns_no_memory(err);
  int state = 0;
  for (uint64_t at = 0; at < size && state == 0;) {
    size_t n = size - at < BLOCK_BYTES ? (size_t)(size - at) : BLOCK_BYTES;
    if (feed_read(f, block, n, at, err) != 0)
      return -1;
    state = hand_over(f, u, block, n, err);
    at += n;
  }
  close(TAKE_FD(u->tar.input));
  return state < 0 ? -1 : 0;
}

static int wait_end(struct feed *f, struct unpack *u, struct err *err)
{
  cleanup_close int end = pidfd_open(u->tar.pid, 0);
  struct pollfd p[] = {{.fd = end, .events = POLLIN}, {.fd = u->tar.errors, .events = POLLIN}};
  for (bool more = true; end >= 0;) {
    if (feed_stopped(f))
      return err_set(err, ERR_CANCELLED, "the image is not wanted any more");
    p[1].fd = more ? u->tar.errors : -1;
    poll(p, 2, LOOK_MS);
    if (p[1].revents)
      more = hear(u);
    if (p[0].revents)
      break;
  }
  while (u->said_length < SAID_BYTES && poll(&p[1], 1, 0) > 0 && hear(u))
    continue;
  return 0;
}

// Its first words say what was wrong; the last ones that something was.
static int verdict(struct unpack *u, const struct command_result *done, struct err *err)
{
  if (done->exit_status == 0)
    return 0;
  bool full = strstr(u->said, "No space left") || strstr(u->said, "Disk quota exceeded");
  bool none = strstr(u->said, "Cannot exec");
  const char *text = u->said + strspn(u->said, "\n");
  u->said[strcspn(text, "\n") + (size_t)(text - u->said)] = 0;
  if (!text[0])
    text = "tar was killed";
  if (full)
    return err_set(err, ERR_NO_SPACE, "no space is left to unpack the image: %s", text);
  if (none)
    return err_set(err, ERR_UNSUPPORTED, "a program is missing on this host: %s", text);
  return err_set(err, done->exit_status < 0 ? ERR_IO : ERR_CORRUPT,
                 "the image cannot be unpacked: %s", text);
}

static int run_tar(struct feed *f, struct unpack *u, enum feed_format format, uint64_t size,
                   struct err *err)
{
  struct command_result done = {0};
  if (start_tar(u, format, err) != 0)
    return -1;
  int failed = pump(f, u, size, err) != 0 || wait_end(f, u, err) != 0;
  command_reap(&u->tar, failed, &done);
  return failed ? -1 : verdict(u, &done, err);
}

// ---- what came out -----------------------------------------------------------------------------

static bool has_folder(int part, const char *name)
{
  struct stat s;
  return fstatat(part, name, &s, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(s.st_mode);
}

static int check_root(int part, struct err *err)
{
  if (has_folder(part, "etc") && has_folder(part, "usr"))
    return 0;
  if (has_folder(part, "rootfs"))
    return err_set(err, ERR_CORRUPT,
                   "the archive holds no root file system but an image of LXD: pack its folder "
                   "rootfs by itself");
  return err_set(err, ERR_CORRUPT,
                 "the archive holds no root file system: it has no folders etc and usr at its top");
}

static int unpack_run(struct feed *f, void *arg, struct err *err)
{
  struct unpack *u = arg;
  enum feed_format format;
  uint64_t size;
  if (feed_open(f, &format, &size, err) != 0)
    return -1;
  if (!options[format])
    return err_set(err, ERR_CORRUPT, "it is no such archive (%s): " NO_ARCHIVE,
                   feed_format_names[format]);
  if (run_tar(f, u, format, size, err) != 0 || check_root(u->part, err) != 0)
    return -1;
  // Whole also after a power failure; and what btrfs has not written yet would count as a change of
  // the base later.
  if (syncfs(u->part) != 0)
    return err_errno(err, errno, "write what was unpacked");
  return feed_digest(f, u->digest, err);
}

static void unpack_free(void *arg)
{
  struct unpack *u = arg;
  close(u->part);
  if (u->lock >= 0)
    close(u->lock);
  free(u);
}

static const struct feed_work unpacking = {unpack_run, NULL, unpack_free};

// ---- looked after ------------------------------------------------------------------------------

static struct image_task *slot_of(struct host *h, const char *name)
{
  for (size_t i = 0; i < NSPAWN_IMAGES_MAX; i++)
    if (h->images[i].name ? str_eq(h->images[i].name, name) : !name)
      return &h->images[i];
  return NULL;
}

// What unpacks may leave a child that dies a moment later with the lock in its hand: so the lock is
// handed on, not let go and taken again.
static void slot_free(struct image_task *t, int *lock)
{
  feed_free(t->feed);
  if (lock)
    *lock = TAKE_FD(t->lock);
  else
    close(t->lock);
  free(t->name);
  *t = (struct image_task){0};
}

int ns_image_start(struct host *h, const char *name, struct feed_source *source, int *lock,
                   struct err *err)
{
  struct image_task *t = slot_of(h, NULL);
  cleanup_free char *path = ns_own_path(h, "parts", name);
  cleanup_free char *copy = str_dup(name);
  struct unpack *u = calloc(1, sizeof(*u));
  if (!t || !path || !copy || !u) {
    free(u);
    return t ? ns_no_memory(err)
             : err_set(err, ERR_BUSY, "%d images are unpacked already", NSPAWN_IMAGES_MAX);
  }
  u->part = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (u->part < 0) {
    free(u);
    return err_errno(err, errno, "open %s", path);
  }
  u->lock = fcntl(*lock, F_DUPFD_CLOEXEC, 3);
  if (u->lock < 0) {
    unpack_free(u);
    return err_errno(err, errno, "keep the lock of %s", name);
  }
  if (feed_start(source, &unpacking, u, &t->feed, err) != 0)
    return -1;
  t->lock = TAKE_FD(*lock);
  t->name = TAKE(copy);
  t->work = u;
  return 0;
}

enum task_state ns_image_wait(struct host *h, const char *name, int64_t patience_ms,
                              int64_t *ret_percent, char ret_digest[FEED_DIGEST_TEXT], int *lock,
                              struct err *err)
{
  struct image_task *t = slot_of(h, name);
  if (!t)
    return TASK_NONE;
  enum feed_state state = feed_wait(t->feed, patience_ms, err);
  *ret_percent = feed_percent(t->feed);
  if (state == FEED_RUNS)
    return TASK_RUNS;
  if (state == FEED_DONE)
    memcpy(ret_digest, t->work->digest, FEED_DIGEST_TEXT);
  slot_free(t, lock);
  return state == FEED_DONE ? TASK_DONE : TASK_FAILED;
}

void ns_image_cancel(struct host *h, const char *name, int *lock)
{
  struct image_task *t = slot_of(h, name);
  if (t)
    slot_free(t, lock);
}

void ns_images_end(struct host *h)
{
  for (size_t i = 0; i < NSPAWN_IMAGES_MAX; i++)
    if (h->images[i].name)
      slot_free(&h->images[i], NULL);
}
