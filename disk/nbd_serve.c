// SPDX-License-Identifier: Apache-2.0
#include "disk/nbd_serve_internal.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/runtime_folder.h"

#define CONNECTIONS_MAX 32
#define REQUEST_BYTES   (4u << 20)
#define OPTION_BYTES    4096u
#define MAGIC_INIT      0x4e42444d41474943ull // "NBDMAGIC"
#define MAGIC_OPTION    0x49484156454f5054ull // "IHAVEOPT"
#define MAGIC_REPLY     0x0003e889045565a9ull
#define MAGIC_REQUEST   0x25609513u
#define MAGIC_SIMPLE    0x67446698u

enum { FLAG_FIXED_NEWSTYLE = 1, FLAG_NO_ZEROES = 2 };
enum { EXPORT_HAS_FLAGS = 1, EXPORT_READ_ONLY = 2, EXPORT_FLUSH = 4, EXPORT_MULTI_CONN = 256 };
enum { OPT_EXPORT_NAME = 1, OPT_ABORT = 2, OPT_INFO = 6, OPT_GO = 7 };
enum { INFO_EXPORT = 0, INFO_BLOCK_SIZE = 3 };
#define REP_ACK       1u
#define REP_INFO      3u
#define REP_ERR_UNSUP 0x80000001u

enum { CMD_READ = 0, CMD_WRITE = 1, CMD_DISC = 2, CMD_FLUSH = 3 };
enum { NBD_EPERM = 1, NBD_EIO = 5, NBD_EINVAL = 22 };

struct connection {
  struct nbd_server *server;
  int fd; // -1 = free
  pthread_t thread;
  bool ended; // the thread waits to be joined
};

struct nbd_server {
  struct object_reader *reader;
  char *dir;
  char socket_path[RUNTIME_FOLDER_MAX + 8];
  int listener;
  pthread_t acceptor;
  pthread_mutex_t lock;
  bool stopping;
  struct err fault; // the first of the reader
  struct connection connections[CONNECTIONS_MAX];
};

// ---- bytes ----------------------------------------------------------------------------------

static bool send_all(int fd, const void *data, size_t length)
{
  const char *at = data;
  while (length) {
    ssize_t n = send(fd, at, length, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return false;
    at += n;
    length -= (size_t)n;
  }
  return true;
}

static bool receive_all(int fd, void *into, size_t length)
{
  char *at = into;
  while (length) {
    ssize_t n = recv(fd, at, length, 0);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return false;
    at += n;
    length -= (size_t)n;
  }
  return true;
}

// ---- handshake ------------------------------------------------------------------------------

struct greeting {
  uint64_t init, option;
  uint16_t flags;
} __attribute__((packed));

struct option {
  uint64_t magic;
  uint32_t number, length;
} __attribute__((packed));

struct option_reply {
  uint64_t magic;
  uint32_t number, type, length;
} __attribute__((packed));

struct export_info {
  uint64_t size;
  uint16_t flags;
} __attribute__((packed));

struct info_export {
  uint16_t type;
  struct export_info info;
} __attribute__((packed));

struct info_block_size {
  uint16_t type;
  uint32_t least, preferred, most;
} __attribute__((packed));

static struct export_info export_info(const struct nbd_server *s)
{
  return (struct export_info){
      .size = htobe64(s->reader->size_bytes),
      .flags = htobe16(EXPORT_HAS_FLAGS | EXPORT_READ_ONLY | EXPORT_FLUSH | EXPORT_MULTI_CONN)};
}

static bool reply(int fd, uint32_t number, uint32_t type, const void *data, uint32_t length)
{
  struct option_reply r = {htobe64(MAGIC_REPLY), htobe32(number), htobe32(type), htobe32(length)};
  return send_all(fd, &r, sizeof(r)) && send_all(fd, data, length);
}

static bool reply_info(const struct nbd_server *s, int fd, uint32_t number)
{
  struct info_export e = {.type = htobe16(INFO_EXPORT), .info = export_info(s)};
  struct info_block_size b = {htobe16(INFO_BLOCK_SIZE), htobe32(1), htobe32(65536),
                              htobe32(REQUEST_BYTES)};
  return reply(fd, number, REP_INFO, &e, sizeof(e)) && reply(fd, number, REP_INFO, &b, sizeof(b)) &&
         reply(fd, number, REP_ACK, NULL, 0);
}

static bool export_name_reply(const struct nbd_server *s, int fd, bool no_zeroes)
{
  static const char zeros[124];
  struct export_info info = export_info(s);
  return send_all(fd, &info, sizeof(info)) && (no_zeroes || send_all(fd, zeros, sizeof(zeros)));
}

enum next { NEXT_OPTION, NEXT_TRANSMISSION, NEXT_END };

static enum next answer(const struct nbd_server *s, int fd, uint32_t number, bool no_zeroes)
{
  switch (number) {
  case OPT_EXPORT_NAME:
    return export_name_reply(s, fd, no_zeroes) ? NEXT_TRANSMISSION : NEXT_END;
  case OPT_GO:
    return reply_info(s, fd, number) ? NEXT_TRANSMISSION : NEXT_END;
  case OPT_INFO:
    return reply_info(s, fd, number) ? NEXT_OPTION : NEXT_END;
  case OPT_ABORT:
    reply(fd, number, REP_ACK, NULL, 0);
    return NEXT_END;
  default:
    return reply(fd, number, REP_ERR_UNSUP, NULL, 0) ? NEXT_OPTION : NEXT_END;
  }
}

// True when the client may send requests. Any export name is ours: there is one.
static bool handshake(const struct nbd_server *s, int fd)
{
  struct greeting g = {htobe64(MAGIC_INIT), htobe64(MAGIC_OPTION),
                       htobe16(FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES)};
  uint32_t client_flags;
  if (!send_all(fd, &g, sizeof(g)) || !receive_all(fd, &client_flags, sizeof(client_flags)))
    return false;
  bool no_zeroes = be32toh(client_flags) & FLAG_NO_ZEROES;
  enum next next = NEXT_OPTION;
  while (next == NEXT_OPTION) {
    struct option o;
    char data[OPTION_BYTES];
    if (!receive_all(fd, &o, sizeof(o)) || be64toh(o.magic) != MAGIC_OPTION ||
        be32toh(o.length) > OPTION_BYTES || !receive_all(fd, data, be32toh(o.length)))
      return false;
    next = answer(s, fd, be32toh(o.number), no_zeroes);
  }
  return next == NEXT_TRANSMISSION;
}

// ---- requests -------------------------------------------------------------------------------

struct request {
  uint32_t magic;
  uint16_t flags, type;
  uint64_t cookie, offset;
  uint32_t length;
} __attribute__((packed));

struct simple_reply {
  uint32_t magic, error;
  uint64_t cookie;
} __attribute__((packed));

struct reader_lane {
  void *lane;
  char *room; // simple_reply and REQUEST_BYTES
};

static void note_fault(struct nbd_server *s, const struct err *err)
{
  LOCK_FOR_SCOPE(&s->lock);
  if (s->fault.kind == ERR_NONE)
    s->fault = *err;
}

int nbd_server_fault(struct nbd_server *s, struct err *err)
{
  LOCK_FOR_SCOPE(&s->lock);
  if (s->fault.kind == ERR_NONE)
    return 0;
  if (err)
    *err = s->fault;
  return -1;
}

static uint32_t read_request(struct nbd_server *s, struct reader_lane *l, uint64_t offset,
                             uint32_t length)
{
  uint64_t size = s->reader->size_bytes;
  if (length == 0 || length > REQUEST_BYTES || offset > size || length > size - offset)
    return NBD_EINVAL;
  struct err err = ERR_INIT;
  char *into = l->room + sizeof(struct simple_reply);
  if (object_read(s->reader, l->lane, into, length, offset, &err) == 0)
    return 0;
  note_fault(s, &err);
  return NBD_EIO;
}

static bool serve_request(struct nbd_server *s, int fd, struct reader_lane *l)
{
  struct request r;
  if (!receive_all(fd, &r, sizeof(r)) || be32toh(r.magic) != MAGIC_REQUEST)
    return false;
  uint32_t length = 0;
  uint32_t error = NBD_EINVAL;
  switch (be16toh(r.type)) {
  case CMD_READ:
    error = read_request(s, l, be64toh(r.offset), be32toh(r.length));
    length = error ? 0 : be32toh(r.length);
    break;
  case CMD_FLUSH:
    error = 0;
    break;
  case CMD_WRITE: // its payload cannot be told from the next request safely: end
  case CMD_DISC:
    return false;
  default:
    break;
  }
  struct simple_reply reply = {htobe32(MAGIC_SIMPLE), htobe32(error), r.cookie};
  memcpy(l->room, &reply, sizeof(reply));
  return send_all(fd, l->room, sizeof(reply) + length);
}

static void serve(struct nbd_server *s, int fd)
{
  struct reader_lane l = {0};
  struct err err = ERR_INIT;
  if (!handshake(s, fd))
    return;
  if (object_lane_open(s->reader, &l.lane, &err) != 0) {
    note_fault(s, &err);
    return;
  }
  l.room = malloc(sizeof(struct simple_reply) + REQUEST_BYTES);
  while (l.room && serve_request(s, fd, &l))
    ;
  free(l.room);
  if (l.lane)
    object_lane_close(s->reader, l.lane);
}

// ---- threads --------------------------------------------------------------------------------

static void *connection_main(void *arg)
{
  struct connection *c = arg;
  serve(c->server, c->fd);
  LOCK_FOR_SCOPE(&c->server->lock);
  shutdown(c->fd, SHUT_RDWR);
  c->ended = true;
  return NULL;
}

static void join_ended(struct nbd_server *s)
{
  for (int i = 0; i < CONNECTIONS_MAX; i++) {
    struct connection *c = &s->connections[i];
    if (c->fd < 0 || !c->ended)
      continue;
    pthread_join(c->thread, NULL); // it holds no lock any more
    close(c->fd);
    *c = (struct connection){.fd = -1};
  }
}

static bool start_connection(struct nbd_server *s, int fd)
{
  LOCK_FOR_SCOPE(&s->lock);
  join_ended(s);
  for (int i = 0; i < CONNECTIONS_MAX && !s->stopping; i++) {
    struct connection *c = &s->connections[i];
    if (c->fd >= 0)
      continue;
    *c = (struct connection){.server = s, .fd = fd};
    if (pthread_create(&c->thread, NULL, connection_main, c) == 0)
      return true;
    c->fd = -1;
    return false;
  }
  return false;
}

static void *acceptor_main(void *arg)
{
  struct nbd_server *s = arg;
  for (;;) {
    int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
      continue;
    if (fd < 0)
      return NULL; // nbd_server_free() shut the listener down
    if (!start_connection(s, fd))
      close(fd);
  }
}

static int listen_at(struct nbd_server *s, struct err *err)
{
  if (runtime_folder_new(&s->dir, err) != 0)
    return -1;
  snprintf(s->socket_path, sizeof(s->socket_path), "%s/object", s->dir);
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  snprintf(a.sun_path, sizeof(a.sun_path), "%s", s->socket_path);
  s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (s->listener < 0 || bind(s->listener, (struct sockaddr *)&a, sizeof(a)) != 0 ||
      listen(s->listener, 16) != 0)
    return err_errno(err, errno, "listen on %s", s->socket_path);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int number = pthread_create(&s->acceptor, NULL, acceptor_main, s);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return number ? err_errno(err, number, "start a thread") : 0;
}

static void release(struct nbd_server *s)
{
  if (s->listener >= 0)
    close(s->listener);
  runtime_folder_remove(s->dir);
  pthread_mutex_destroy(&s->lock);
  free(s);
}

int nbd_server_start(struct object_reader *r, struct nbd_server **ret, struct err *err)
{
  struct nbd_server *s = calloc(1, sizeof(*s));
  if (!s)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  s->reader = r;
  s->listener = -1;
  pthread_mutex_init(&s->lock, NULL);
  for (int i = 0; i < CONNECTIONS_MAX; i++)
    s->connections[i].fd = -1;
  if (listen_at(s, err) != 0) {
    release(s);
    return -1;
  }
  *ret = s;
  return 0;
}

const char *nbd_server_socket(const struct nbd_server *s)
{
  return s->socket_path;
}

void nbd_server_free(struct nbd_server *s)
{
  if (!s)
    return;
  {
    LOCK_FOR_SCOPE(&s->lock);
    s->stopping = true;
    for (int i = 0; i < CONNECTIONS_MAX; i++)
      if (s->connections[i].fd >= 0)
        shutdown(s->connections[i].fd, SHUT_RDWR);
  }
  shutdown(s->listener, SHUT_RDWR);
  pthread_join(s->acceptor, NULL);
  for (int i = 0; i < CONNECTIONS_MAX; i++)
    if (s->connections[i].fd >= 0) {
      pthread_join(s->connections[i].thread, NULL);
      close(s->connections[i].fd);
    }
  release(s);
}
