// SPDX-License-Identifier: Apache-2.0
// delay_proxy PORT HOST:PORT DELAY_MS MBIT [WINDOW_KIB]: a long link, for kernels without netem.
//
// Takes connections on 127.0.0.1:PORT and passes them on. What goes either way arrives DELAY_MS
// later, and all connections together get MBIT megabits a second each way. A connection has no more
// than its window on the way without an answer, as TCP: it begins with 10 packets, grows by what is
// acknowledged (slow start; nothing is lost here, so it never shrinks), and ends at WINDOW_KIB
// (4096, what Linux's default buffers come to). Making a connection takes a round trip. One thread;
// ends with SIGTERM.
#define _GNU_SOURCE // ppoll, accept4
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 256
#define BLOCK_BYTES     (128u << 10)
#define FIRST_WINDOW    14600

struct block {
  struct block *next;
  int64_t due_us; // at the far end
  size_t length, done;
  unsigned char data[];
};

struct ack {
  struct ack *next;
  int64_t due_us;
  size_t length;
};

struct queue {
  void *first, *last;
};

// One direction of a connection.
struct flow {
  int from, to;
  int64_t ready_us;          // nothing leaves before: the handshake
  struct queue blocks, acks; // of struct block, struct ack
  size_t under_way, window;  // bytes not acknowledged, and how many may be
  bool ended, shut, stuffed; // `from` has ended; `to` was told; `to` takes nothing now
};

struct connection {
  bool used;
  struct flow flows[2]; // there, back
};

static struct connection connections[CONNECTIONS_MAX];
static int64_t delay_us, free_us[2]; // when each direction of the link is free again
static double bytes_per_us;
static size_t window_max = 4096u << 10;

static int64_t now_us(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void *put(struct queue *q, size_t bytes)
{
  struct block *b = calloc(1, bytes); // blocks and acks both begin with `next`
  if (!b)
    abort();
  if (q->last)
    ((struct block *)q->last)->next = b;
  else
    q->first = b;
  q->last = b;
  return b;
}

static void drop_first(struct queue *q)
{
  struct block *b = q->first;
  q->first = b->next;
  if (!q->first)
    q->last = NULL;
  free(b);
}

static void end_connection(struct connection *c)
{
  for (int way = 0; way < 2; way++) {
    while (c->flows[way].blocks.first)
      drop_first(&c->flows[way].blocks);
    while (c->flows[way].acks.first)
      drop_first(&c->flows[way].acks);
    close(c->flows[way].from);
  }
  *c = (struct connection){0};
}

static bool wants_more(const struct flow *f)
{
  return !f->ended && f->under_way < f->window;
}

// False: the connection is broken.
static bool take(struct flow *f, int way, int64_t now)
{
  static unsigned char data[BLOCK_BYTES];
  size_t room = f->window - f->under_way;
  ssize_t n = recv(f->from, data, room < sizeof(data) ? room : sizeof(data), MSG_DONTWAIT);
  if (n < 0)
    return errno == EAGAIN || errno == EINTR;
  f->ended = n == 0;
  if (n == 0)
    return true;
  int64_t start = now > f->ready_us ? now : f->ready_us;
  start = start > free_us[way] ? start : free_us[way];
  free_us[way] = start + (int64_t)((double)n / bytes_per_us);
  struct block *b = put(&f->blocks, sizeof(*b) + (size_t)n);
  b->due_us = free_us[way] + delay_us;
  b->length = (size_t)n;
  memcpy(b->data, data, b->length);
  f->under_way += b->length;
  return true;
}

static bool deliver(struct flow *f, int64_t now)
{
  struct block *b;
  f->stuffed = false;
  while ((b = f->blocks.first) && b->due_us <= now) {
    ssize_t n = send(f->to, b->data + b->done, b->length - b->done, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
      return false;
    f->stuffed = n < 0;
    if (n < 0)
      return true;
    struct ack *a = put(&f->acks, sizeof(*a));
    a->due_us = now + delay_us;
    a->length = (size_t)n;
    b->done += (size_t)n;
    if (b->done == b->length)
      drop_first(&f->blocks);
  }
  if (f->ended && !b && !f->shut) {
    shutdown(f->to, SHUT_WR);
    f->shut = true;
  }
  return true;
}

static void acknowledge(struct flow *f, int64_t now)
{
  struct ack *a;
  while ((a = f->acks.first) && a->due_us <= now) {
    f->under_way -= a->length;
    f->window = f->window + a->length < window_max ? f->window + a->length : window_max;
    drop_first(&f->acks);
  }
}

static void open_connection(int client, const struct sockaddr *to, socklen_t length)
{
  int on = 1, server = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct connection *c = connections;
  while (c < connections + CONNECTIONS_MAX && c->used)
    c++;
  if (c == connections + CONNECTIONS_MAX || server < 0 || connect(server, to, length) != 0) {
    close(client);
    if (server >= 0)
      close(server);
    return;
  }
  setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  *c = (struct connection){.used = true};
  c->flows[0] = (struct flow){.from = client, .to = server, .window = FIRST_WINDOW};
  c->flows[1] = (struct flow){.from = server, .to = client, .window = FIRST_WINDOW};
  c->flows[0].ready_us = now_us() + 2 * delay_us;
}

static int64_t earlier(int64_t a, const struct queue *q)
{
  const struct block *b = q->first;
  int64_t due = b ? b->due_us : INT64_MAX;
  return due < a ? due : a;
}

static int64_t next_event(void)
{
  int64_t next = INT64_MAX;
  for (struct connection *c = connections; c < connections + CONNECTIONS_MAX; c++)
    for (int way = 0; way < 2 && c->used; way++) {
      const struct flow *f = &c->flows[way];
      const struct ack *a = f->acks.first;
      next = a && a->due_us < next ? a->due_us : next;
      next = f->stuffed ? next : earlier(next, &f->blocks);
    }
  return next;
}

static void serve(struct connection *c, int64_t now)
{
  for (int way = 0; way < 2; way++) {
    struct flow *f = &c->flows[way];
    acknowledge(f, now);
    if (!deliver(f, now) || (wants_more(f) && !take(f, way, now))) {
      end_connection(c);
      return;
    }
  }
  if (c->flows[0].shut && c->flows[1].shut)
    end_connection(c);
}

static int watch(struct pollfd *p)
{
  int count = 0;
  for (struct connection *c = connections; c < connections + CONNECTIONS_MAX; c++)
    for (int way = 0; way < 2 && c->used; way++) {
      const struct flow *f = &c->flows[way], *other = &c->flows[!way];
      int events = (wants_more(f) ? POLLIN : 0) | (other->stuffed ? POLLOUT : 0);
      if (events)
        p[count++] = (struct pollfd){.fd = f->from, .events = (short)events};
    }
  return count;
}

static int listen_at(int port)
{
  int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in a = {.sin_family = AF_INET,
                          .sin_port = htons((uint16_t)port),
                          .sin_addr = {htonl(INADDR_LOOPBACK)}};
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0 || listen(fd, 64) != 0) {
    perror("delay_proxy");
    exit(1);
  }
  return fd;
}

static struct addrinfo *look_up(char *host_port)
{
  char *colon = strrchr(host_port, ':');
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
  if (colon)
    *colon = '\0';
  if (!colon || getaddrinfo(host_port, colon + 1, &hints, &found) != 0) {
    fprintf(stderr, "delay_proxy: no such host\n");
    exit(2);
  }
  return found;
}

int main(int argc, char **argv)
{
  static struct pollfd fds[1 + 2 * CONNECTIONS_MAX];
  if (argc < 5) {
    fprintf(stderr, "usage: delay_proxy PORT HOST:PORT DELAY_MS MBIT [WINDOW_KIB]\n");
    return 2;
  }
  struct addrinfo *to = look_up(argv[2]);
  delay_us = atoll(argv[3]) * 1000;
  bytes_per_us = atof(argv[4]) / 8;
  if (argc > 5)
    window_max = (size_t)atoll(argv[5]) << 10;
  fds[0] = (struct pollfd){.fd = listen_at(atoi(argv[1])), .events = POLLIN};
  for (;;) {
    int64_t left_us = next_event() - now_us();
    struct timespec wait = {.tv_sec = left_us / 1000000, .tv_nsec = left_us % 1000000 * 1000};
    if (left_us < 0)
      wait = (struct timespec){0};
    else if (left_us > 1000000)
      wait = (struct timespec){.tv_sec = 1};
    if (ppoll(fds, 1 + (nfds_t)watch(fds + 1), &wait, NULL) < 0 && errno != EINTR)
      return 1;
    int client = fds[0].revents ? accept4(fds[0].fd, NULL, NULL, SOCK_CLOEXEC) : -1;
    if (client >= 0)
      open_connection(client, to->ai_addr, to->ai_addrlen);
    int64_t now = now_us();
    for (struct connection *c = connections; c < connections + CONNECTIONS_MAX; c++)
      if (c->used)
        serve(c, now);
  }
}
