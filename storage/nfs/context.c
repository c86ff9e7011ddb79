// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <netdb.h>
#include <nfsc/libnfs-raw-nfs.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "storage/nfs/nfs_internal.h"

int nfs_lane_new(const struct nfs_store *s, struct nfs_lane **ret, struct err *err)
{
  struct nfs_lane *l = calloc(1, sizeof(*l));
  if (!l)
    return err_set(err, ERR_NO_MEMORY, "no memory for a connection");
  l->store = s;
  stop_init(&l->stop);
  *ret = l;
  return 0;
}

// Calls that libnfs still knows are ended by it with an error, so their structs must still be
// there.
void nfs_lane_drop(struct nfs_lane *l)
{
  struct nfs_call closing = {0};
  if (l->nfs && l->file) // or its struct leaks; what it says to the server is lost
    nfs_close_async(l->nfs, l->file, nfs_done, &closing);
  if (l->nfs)
    nfs_destroy_context(l->nfs);
  l->nfs = NULL;
  l->file = NULL;
  free(l->file_key);
  l->file_key = NULL;
}

void nfs_lane_free(struct nfs_lane *l)
{
  if (!l)
    return;
  nfs_lane_drop(l);
  stop_release(&l->stop);
  free(l);
}

void nfs_lane_interrupt(void *lane)
{
  stop_set(&((struct nfs_lane *)lane)->stop);
}

// ---- calls ----

// libnfs says EFAULT for everything that a server answers to READ and WRITE; its text has the
// number: "NFS: Write failed with NFS3ERR_NOSPC(-28)".
static int status_of_text(const char *text)
{
  const char *at = strstr(text, "NFS3ERR_");
  const char *number = at ? strstr(at, "(-") : NULL;
  int status = number ? atoi(number + 1) : 0;
  return status < 0 ? status : -EFAULT;
}

void nfs_done(int status, struct nfs_context *nfs, void *data, void *arg)
{
  struct nfs_call *c = arg;
  c->done = true;
  c->status = status;
  if (status < 0) { // data is not always a string then
    const char *text = nfs_get_error(nfs);
    snprintf(c->text, sizeof(c->text), "%s", text ? text : "");
    c->status = status == -EFAULT ? status_of_text(c->text) : status;
    return;
  }
  c->data = data;
  if (c->into && data) {
    size_t length = status > 0 ? (size_t)status : c->into_length; // read: the count
    memcpy(c->into, data, length < c->into_length ? length : c->into_length);
  }
}

static int lost(struct nfs_lane *l, enum err_kind kind, const char *what, const char *why,
                struct err *err)
{
  char text[160];
  snprintf(text, sizeof(text), "%s", why);
  l->broken++;
  nfs_lane_drop(l);
  return err_set(err, kind, "%s: %s", what, text);
}

int nfs_wait(struct nfs_lane *l, struct nfs_call *c, int started, const char *what, struct err *err)
{
  if (started < 0)
    return lost(l, ERR_UNREACHABLE, what, nfs_get_error(l->nfs), err);
  int64_t deadline_ms = clock_ms() + NFS_CALL_TIMEOUT_MS;
  while (!c->done) {
    if (stop_is_set(&l->stop))
      return lost(l, ERR_CANCELLED, what, "cancelled", err);
    if (clock_ms() >= deadline_ms)
      return lost(l, ERR_TIMEOUT, what, "the server does not answer", err);
    struct pollfd p = {.fd = nfs_get_fd(l->nfs), .events = (short)nfs_which_events(l->nfs)};
    if (poll(&p, 1, NFS_LOOK_EVERY_MS) < 0 && errno != EINTR)
      return lost(l, ERR_IO, what, strerror(errno), err);
    if (nfs_service(l->nfs, p.revents) < 0 && !c->done)
      return lost(l, ERR_UNREACHABLE, what, nfs_get_error(l->nfs), err);
  }
  return 0;
}

static const struct status_row {
  int number;
  enum err_kind kind;
  const char *sentence;
} rows[] = {
    {ENOENT, ERR_NOT_FOUND, "does not exist"},
    {ENOTDIR, ERR_NOT_FOUND, "does not exist (a file is where a folder should be)"},
    {EROFS, ERR_DENIED, "the export is read only: export it with rw"},
    {ENOSPC, ERR_NO_SPACE, "no space left on the server: make room there"},
    {EDQUOT, ERR_NO_SPACE, "the quota on the server is reached"},
    {ESTALE, ERR_CHANGED, "the file is not there any more"},
    {EEXIST, ERR_EXISTS, "exists already"},
    {EIO, ERR_PROTOCOL, "the server has an input/output error"},
    {ENAMETOOLONG, ERR_INVALID, "the name is too long for the server"},
};

int nfs_status_error(const struct nfs_lane *l, const struct nfs_call *c, const char *what,
                     struct err *err)
{
  const struct storage_config *config = l->store->config;
  if (c->status == -EACCES || c->status == -EPERM)
    return err_set(err, ERR_DENIED,
                   "%s: the server does not allow it to uid %lld gid %lld: check the owner of the "
                   "folder and the options of the export (root_squash), or set uid and gid",
                   what, (long long)config->uid, (long long)config->gid);
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
    if (c->status == -rows[i].number)
      return err_set(err, rows[i].kind, "%s: %s", what, rows[i].sentence);
  enum err_kind kind = err_kind_of_errno(-c->status);
  return err_set(err, kind, "%s: %s (%s)", what, strerror(-c->status), c->text);
}

int nfs_failed(struct nfs_lane *l, const struct nfs_call *c, const char *what, struct err *err)
{
  if (c->status == -EFAULT || c->status == -EINTR || c->status == -ETIMEDOUT ||
      c->status == -ECONNRESET)
    return lost(l, ERR_UNREACHABLE, what, c->text, err);
  return nfs_status_error(l, c, what, err);
}

int nfs_finish(struct nfs_lane *l, struct nfs_call *c, int started, const char *what,
               struct err *err)
{
  if (nfs_wait(l, c, started, what, err) < 0)
    return -1;
  return c->status < 0 ? nfs_failed(l, c, what, err) : 0;
}

// ---- connecting ----

static void addresses_free(struct addrinfo **a)
{
  if (*a)
    freeaddrinfo(*a);
}

// libnfs makes its sockets itself: it gets an address that was checked, not the name.
static int find_address(const struct nfs_store *s, char b[64], struct err *err)
{
  const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
  struct addrinfo *found CLEANUP(addresses_free) = NULL;
  int failed = getaddrinfo(s->config->server, NULL, &hints, &found);
  if (failed)
    return err_set(err, ERR_UNREACHABLE, "the host name %s cannot be resolved (%s)",
                   s->config->server, gai_strerror(failed));
  for (struct addrinfo *a = found; a; a = a->ai_next)
    if (address_filter_allows(s->allowed, a->ai_addr)) {
      address_text(a->ai_addr, b);
      return 0;
    }
  return err_set(err, ERR_DENIED,
                 "address %s of %s is not among the allowed endpoints (--allowed-endpoints)",
                 address_text(found->ai_addr, b), s->config->server);
}

// libnfs takes ports only as arguments of a URL.
static int set_ports(struct nfs_lane *l, struct err *err)
{
  const struct storage_config *c = l->store->config;
  struct buf url CLEANUP(buf_release) = BUF_INIT(0);
  buf_adds(&url, "nfs://server/?version=3");
  if (c->nfs_port)
    buf_printf(&url, "&nfsport=%lld", (long long)c->nfs_port);
  if (c->mount_port)
    buf_printf(&url, "&mountport=%lld", (long long)c->mount_port);
  struct nfs_url *parsed = nfs_parse_url_incomplete(l->nfs, buf_str(&url));
  if (!parsed)
    return err_set(err, ERR_INTERNAL, "libnfs refuses its settings: %s", nfs_get_error(l->nfs));
  nfs_destroy_url(parsed);
  return 0;
}

static int set_up(struct nfs_lane *l, struct err *err)
{
  const struct storage_config *c = l->store->config;
  l->nfs = nfs_init_context();
  if (!l->nfs)
    return err_set(err, ERR_NO_MEMORY, "no memory for a connection");
  nfs_set_version(l->nfs, NFS_V3);
  nfs_set_uid(l->nfs, (int)c->uid);
  nfs_set_gid(l->nfs, (int)c->gid);
  nfs_set_dircache(l->nfs, 0);
  nfs_set_autoreconnect(l->nfs, 0); // the writer must know when a connection was lost
  nfs_set_timeout(l->nfs, NFS_CALL_TIMEOUT_MS);
  return set_ports(l, err);
}

// What the MOUNT protocol refuses comes as an errno as well, but means the export.
static int mount_error(struct nfs_lane *l, const struct nfs_call *c, const char *address,
                       struct err *err)
{
  const struct storage_config *config = l->store->config;
  bool denied = c->status == -EACCES || c->status == -EPERM || strstr(c->text, "MNT3ERR_ACCES") ||
                strstr(c->text, "MNT3ERR_PERM");
  bool missing =
      c->status == -ENOENT || strstr(c->text, "MNT3ERR_NOENT") || strstr(c->text, "MNT3ERR_NOTDIR");
  if (missing || (denied && nfs_is_exported(l, address) == 0))
    return err_set(err, ERR_NOT_FOUND,
                   "%s does not export %s: export it there, or correct the export", config->server,
                   config->export_path);
  if (denied)
    return err_set(err, ERR_DENIED,
                   "%s does not let this machine mount %s: add it to the export's clients (a "
                   "container may need the option 'insecure' there)",
                   config->server, config->export_path);
  return err_set(err, ERR_UNREACHABLE, "no NFS connection to %s: %s", config->server,
                 c->text[0] ? c->text : strerror(-c->status));
}

int nfs_lane_connect(struct nfs_lane *l, struct err *err)
{
  const struct storage_config *c = l->store->config;
  char address[64];
  struct nfs_call call = {0};
  if (l->nfs)
    return 0;
  if (stop_is_set(&l->stop))
    return err_set(err, ERR_CANCELLED, "cancelled");
  if (find_address(l->store, address, err) < 0)
    return -1;
  int result = set_up(l, err);
  if (result == 0)
    result = nfs_wait(l, &call, nfs_mount_async(l->nfs, address, c->export_path, nfs_done, &call),
                      "connecting", err);
  if (result == 0 && call.status < 0)
    result = mount_error(l, &call, address, err);
  if (result < 0)
    nfs_lane_drop(l);
  return result;
}
