// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "disk/nbd_internal.h"

#define CONNECT_MS   15000
#define HANDSHAKE_MS 30000
#define DEAD_PEER_MS 60000
#define SLOTS        40           // connections of one hub: lanes and a few
#define LOOK_MS      100          // how often a handshake looks whether to stop
#define STATUS_BYTES (1ull << 30) // asked for in one request; answers stay small
#define DEFAULT_PORT 10809
#define MAP_CONTEXT  LIBNBD_CONTEXT_BASE_ALLOCATION

struct nbd_hub {
  char *socket_path, *host, *export_name;
  int64_t port;
  char name[300];
  const struct nbd_tls *tls;
  struct nbd_keeper keeper;
  pthread_mutex_t lock;
  int fds[SLOTS]; // of open connections, -1 = free; owned by libnbd
  bool interrupted;
};

void nbd_hub_free(struct nbd_hub *h)
{
  if (h->keeper.free)
    h->keeper.free(h->keeper.arg);
  free(h->socket_path);
  free(h->host);
  free(h->export_name);
  pthread_mutex_destroy(&h->lock);
  free(h);
}

int nbd_hub_new(const struct nbd_address *a, struct nbd_keeper keeper, struct nbd_hub **ret,
                struct err *err)
{
  struct nbd_hub *h = calloc(1, sizeof(*h));
  if (!h) {
    if (keeper.free)
      keeper.free(keeper.arg);
    return err_set(err, ERR_NO_MEMORY, "no memory");
  }
  pthread_mutex_init(&h->lock, NULL);
  memset(h->fds, 0xff, sizeof(h->fds));
  h->keeper = keeper;
  h->tls = a->tls;
  h->socket_path = str_dup(a->socket_path);
  h->host = str_dup(a->host);
  h->port = a->port ? a->port : DEFAULT_PORT;
  h->export_name = str_dup(a->export_name ? a->export_name : "");
  if (a->socket_path)
    snprintf(h->name, sizeof(h->name), "NBD server at %.250s", a->socket_path);
  else
    snprintf(h->name, sizeof(h->name), "NBD server %.200s:%" PRId64, a->host ? a->host : "",
             h->port);
  *ret = h;
  return 0;
}

const char *nbd_hub_name(const struct nbd_hub *h)
{
  return h->name;
}

const char *nbd_hub_socket(const struct nbd_hub *h)
{
  return h->socket_path;
}

void nbd_hub_interrupt(struct nbd_hub *h)
{
  LOCK_FOR_SCOPE(&h->lock);
  h->interrupted = true;
  for (int i = 0; i < SLOTS; i++)
    if (h->fds[i] >= 0)
      shutdown(h->fds[i], SHUT_RDWR);
}

int nbd_hub_error(const struct nbd_hub *h, const char *doing, struct err *err)
{
  int number = nbd_get_errno();
  enum err_kind kind = number ? err_kind_of_errno(number) : ERR_UNREACHABLE;
  if (number == ENOTCONN || number == ESHUTDOWN || number == ECONNRESET || number == EPIPE)
    kind = ERR_UNREACHABLE;
  const char *text = nbd_get_error();
  return err_set(err, kind, "%s: %s: %.400s", h->name, doing, text ? text : "failed");
}

// ---- connecting -----------------------------------------------------------------------------

static int register_fd(struct nbd_hub *h, int fd, int *ret_slot, struct err *err)
{
  LOCK_FOR_SCOPE(&h->lock);
  if (h->interrupted)
    return err_set(err, ERR_CANCELLED, "stopped");
  for (int i = 0; i < SLOTS; i++)
    if (h->fds[i] < 0) {
      h->fds[i] = fd;
      *ret_slot = i;
      return 0;
    }
  return err_set(err, ERR_LIMIT, "too many connections to the %s", h->name);
}

static int connect_unix(const struct nbd_hub *h, struct err *err)
{
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  if (strlen(h->socket_path) >= sizeof(a.sun_path))
    return err_set(err, ERR_INVALID, "the socket path %s is too long", h->socket_path);
  strcpy(a.sun_path, h->socket_path);
  cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0) {
    int number = errno;
    return err_set(err, number == EACCES ? ERR_DENIED : ERR_UNREACHABLE, "%s: %s", h->name,
                   strerror(number));
  }
  return TAKE_FD(fd);
}

static int finish_connect(int fd)
{
  struct pollfd p = {.fd = fd, .events = POLLOUT};
  int64_t deadline_ms = clock_ms() + CONNECT_MS;
  for (;;) {
    int64_t left = deadline_ms - clock_ms();
    if (left <= 0)
      return ETIMEDOUT;
    if (poll(&p, 1, (int)left) > 0)
      break;
  }
  int number = 0;
  socklen_t length = sizeof(number);
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &length);
  return number;
}

static void set_options(int fd)
{
  int on = 1;
  unsigned dead_ms = DEAD_PEER_MS;
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_ms, sizeof(dead_ms));
}

static int try_address(const struct addrinfo *a, int *ret_fd)
{
  cleanup_close int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0)
    return errno;
  int number = connect(fd, a->ai_addr, a->ai_addrlen) == 0 ? 0 : errno;
  if (number == EINPROGRESS)
    number = finish_connect(fd);
  if (number)
    return number;
  set_options(fd);
  *ret_fd = TAKE_FD(fd);
  return 0;
}

static int connect_tcp(const struct nbd_hub *h, struct err *err)
{
  char port[16];
  snprintf(port, sizeof(port), "%" PRId64, h->port);
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
  struct addrinfo *list = NULL;
  int why = getaddrinfo(h->host, port, &hints, &list);
  if (why)
    return err_set(err, ERR_UNREACHABLE, "%s: %s", h->name, gai_strerror(why));
  int number = ENOENT;
  int fd = -1;
  for (const struct addrinfo *a = list; a && number; a = a->ai_next)
    number = try_address(a, &fd);
  freeaddrinfo(list);
  if (number == ETIMEDOUT)
    return err_set(err, ERR_TIMEOUT, "%s: no answer", h->name);
  if (number)
    return err_set(err, ERR_UNREACHABLE, "%s: %s", h->name, strerror(number));
  return fd;
}

static int handshake_error(const struct nbd_hub *h, struct err *err)
{
  const char *text = nbd_get_error();
  return nbd_tls_explain(h->tls, h->name, text ? text : "", err)
             ? -1
             : nbd_hub_error(h, "handshake", err);
}

static bool interrupted(struct nbd_hub *h)
{
  LOCK_FOR_SCOPE(&h->lock);
  return h->interrupted;
}

static int wait_handshake(struct nbd_hub *h, struct nbd_handle *nbd, struct err *err)
{
  int64_t deadline_ms = clock_ms() + HANDSHAKE_MS;
  while (nbd_aio_is_connecting(nbd)) {
    if (nbd_poll(nbd, LOOK_MS) < 0)
      return handshake_error(h, err);
    if (clock_ms() > deadline_ms)
      return err_set(err, ERR_TIMEOUT, "%s: no answer in the handshake", h->name);
    if (interrupted(h))
      return err_set(err, ERR_CANCELLED, "stopped");
  }
  return nbd_aio_is_ready(nbd) ? 0 : handshake_error(h, err);
}

// libnbd owns the socket from here on.
static int handshake(struct nbd_hub *h, struct nbd_lane *lane, int fd, bool map, struct err *err)
{
  if (nbd_set_export_name(lane->nbd, h->export_name) != 0 ||
      (map && nbd_add_meta_context(lane->nbd, MAP_CONTEXT) != 0) ||
      nbd_aio_connect_socket(lane->nbd, fd) != 0)
    return nbd_hub_error(h, "handshake", err);
  return wait_handshake(h, lane->nbd, err);
}

static int connect_socket(struct nbd_hub *h, struct nbd_lane *lane, bool map, struct err *err)
{
  int fd = h->socket_path ? connect_unix(h, err) : connect_tcp(h, err);
  if (fd < 0)
    return -1;
  if (register_fd(h, fd, &lane->slot, err) != 0) {
    close(fd);
    return -1;
  }
  return handshake(h, lane, fd, map, err);
}

// With TLS libnbd makes the connection: it verifies the name of the host only when it was the one
// to look it up.
static int connect_tls(struct nbd_hub *h, struct nbd_lane *lane, bool map, struct err *err)
{
  char port[16];
  snprintf(port, sizeof(port), "%" PRId64, h->port);
  if (nbd_tls_require(h->tls, lane->nbd, err) != 0)
    return -1;
  if (nbd_set_export_name(lane->nbd, h->export_name) != 0 ||
      (map && nbd_add_meta_context(lane->nbd, MAP_CONTEXT) != 0) ||
      nbd_aio_connect_tcp(lane->nbd, h->host, port) != 0)
    return handshake_error(h, err);
  if (wait_handshake(h, lane->nbd, err) != 0)
    return -1;
  int fd = nbd_aio_get_fd(lane->nbd);
  set_options(fd);
  return register_fd(h, fd, &lane->slot, err);
}

int nbd_hub_connect(struct nbd_hub *h, bool map, struct nbd_lane **ret, struct err *err)
{
  struct nbd_lane *lane = calloc(1, sizeof(*lane));
  if (!lane)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  lane->slot = -1;
  lane->nbd = nbd_create();
  if (!lane->nbd) {
    free(lane);
    return err_set(err, ERR_NO_MEMORY, "no memory for a connection");
  }
  int failed = h->tls ? connect_tls(h, lane, map, err) : connect_socket(h, lane, map, err);
  if (failed) {
    nbd_hub_close(h, lane);
    return -1;
  }
  *ret = lane;
  return 0;
}

void nbd_hub_close(struct nbd_hub *h, struct nbd_lane *lane)
{
  bool alive;
  {
    LOCK_FOR_SCOPE(&h->lock);
    alive = !h->interrupted;
    if (lane->slot >= 0)
      h->fds[lane->slot] = -1; // before libnbd closes it: the number may be reused at once
  }
  if (alive && nbd_aio_is_ready(lane->nbd))
    nbd_aio_disconnect(lane->nbd, 0);
  nbd_close(lane->nbd);
  free(lane);
}

// ---- the map --------------------------------------------------------------------------------

struct map_state {
  struct extents *extents;
  uint64_t at, end;
  bool broken;
};

static int add_status(void *arg, const char *context, uint64_t offset, uint32_t *entries,
                      size_t count, int *error)
{
  (void)error;
  struct map_state *m = arg;
  if (!str_eq(context, MAP_CONTEXT))
    return 0;
  m->broken = m->broken || offset != m->at;
  for (size_t i = 0; i + 1 < count && m->at < m->end; i += 2) {
    uint64_t left = m->end - m->at;
    uint64_t length = entries[i] < left ? entries[i] : left;
    bool data = !(entries[i + 1] & LIBNBD_STATE_ZERO);
    if (extents_add(m->extents, m->at, length, data) != 0)
      m->broken = true;
    m->at += length;
  }
  return 0;
}

static int read_map(struct nbd_hub *h, struct nbd_handle *nbd, struct map_state *m, struct err *err)
{
  while (m->at < m->end) {
    uint64_t before = m->at;
    uint64_t left = m->end - m->at;
    nbd_extent_callback callback = {.callback = add_status, .user_data = m};
    if (nbd_block_status(nbd, left < STATUS_BYTES ? left : STATUS_BYTES, m->at, callback, 0) != 0)
      return nbd_hub_error(h, "extent map", err);
    if (m->broken || m->at == before)
      return err_set(err, ERR_PROTOCOL, "%s: its extent map makes no sense", h->name);
  }
  return 0;
}

int nbd_hub_extents(struct nbd_hub *h, uint64_t size_bytes, struct extents *ret, bool *ret_exact,
                    struct err *err)
{
  struct nbd_lane *lane;
  if (nbd_hub_connect(h, true, &lane, err) != 0)
    return -1;
  struct map_state m = {.extents = ret, .end = size_bytes};
  *ret_exact = nbd_can_meta_context(lane->nbd, MAP_CONTEXT) == 1;
  int failed = 0;
  if (*ret_exact)
    failed = read_map(h, lane->nbd, &m, err);
  else if (extents_add(ret, 0, size_bytes, true) != 0)
    failed = err_set(err, ERR_NO_MEMORY, "no memory for the extent map");
  nbd_hub_close(h, lane);
  return failed;
}
