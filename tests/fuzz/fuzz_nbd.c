// SPDX-License-Identifier: Apache-2.0
// What a client sends to the NBD server that gives QEMU the bytes of an image. All of it is sent at
// once; the server must hang up when it ends, and never read beyond the image.
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "disk/nbd_serve_internal.h"
#include "tests/fuzz/fuzz.h"

#define IMAGE_BYTES 70000u

static struct nbd_server *server;
static struct fuzz_reader reader;

static void stop(void)
{
  nbd_server_free(server);
}

static void start(void)
{
  static uint8_t image[IMAGE_BYTES];
  struct err err = ERR_INIT;
  reader = fuzz_reader(image, sizeof(image));
  MUST(nbd_server_start(&reader.base, &server, &err) == 0);
  atexit(stop);
}

static int connected(void)
{
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  snprintf(a.sun_path, sizeof(a.sun_path), "%s", nbd_server_socket(server));
  MUST(fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
  return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  static char room[1 << 20];
  if (!server)
    start();
  int fd = connected();
  struct timeval most = {.tv_sec = 10};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most));
  for (size_t sent = 0; sent < size;) { // what the server does not want any more may be refused
    ssize_t n = send(fd, data + sent, size - sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) // libFuzzer's alarm
      continue;
    if (n <= 0)
      break;
    sent += (size_t)n;
  }
  shutdown(fd, SHUT_WR);
  ssize_t n;
  while ((n = recv(fd, room, sizeof(room), 0)) > 0 || (n < 0 && errno == EINTR))
    ;
  MUST(n == 0 || errno == ECONNRESET);
  close(fd);
  MUST(nbd_server_fault(server, NULL) == 0);
  return 0;
}
