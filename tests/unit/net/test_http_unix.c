// SPDX-License-Identifier: Apache-2.0
// HTTP over a unix socket: whatever the URL names, and no matter which networks are allowed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "net/http.h"

struct bench {
  char folder[64], path[100];
  int listener;
  pthread_t thread;
  char seen[256]; // the first line
};

// Answers each connection once.
static void *serve(void *arg)
{
  static const char answer[] =
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
  struct bench *b = arg;
  for (int fd; (fd = accept(b->listener, NULL, NULL)) >= 0; close(fd)) {
    char text[2048] = "";
    if (read(fd, text, sizeof(text) - 1) > 0)
      snprintf(b->seen, sizeof(b->seen), "%.*s", (int)strcspn(text, "\r"), text);
    if (write(fd, answer, sizeof(answer) - 1) < 0)
      perror("write");
  }
  return NULL;
}

static int start(void **state)
{
  static struct bench b;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strcpy(b.folder, "/tmp/drover-unix.XXXXXX");
  if (!mkdtemp(b.folder))
    return -1;
  snprintf(b.path, sizeof(b.path), "%s/socket", b.folder);
  strcpy(address.sun_path, b.path);
  b.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  *state = &b;
  if (bind(b.listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
      listen(b.listener, 8) != 0)
    return -1;
  return pthread_create(&b.thread, NULL, serve, &b);
}

static int stop(void **state)
{
  struct bench *b = *state;
  shutdown(b->listener, SHUT_RDWR);
  pthread_join(b->thread, NULL);
  close(b->listener);
  unlink(b->path);
  return rmdir(b->folder);
}

static int get(const char *path, const struct address_filter *allowed, struct http_response *ret,
               struct err *err)
{
  struct http_settings settings = {.unix_socket = path, .allowed = allowed};
  struct http_request request = {.method = "GET", .url = "http://anything.invalid/1.0?x=1"};
  struct http_client *client = http_client_new(&settings, err);
  struct http_session *session = http_session_new(client, err);
  int failed = http_perform(session, &request, ret, err);
  http_session_free(session);
  http_client_free(client);
  return failed;
}

static void test_by_socket(void **state)
{
  struct bench *b = *state;
  struct http_response r;
  struct err err = ERR_INIT;
  assert_int_equal(get(b->path, NULL, &r, &err), 0);
  assert_int_equal(r.status, 200);
  assert_string_equal(buf_str(&r.body), "hello");
  assert_string_equal(b->seen, "GET /1.0?x=1 HTTP/1.1");
  http_response_release(&r);
}

static void test_filter_is_of_networks(void **state)
{
  struct bench *b = *state;
  const char *one = "192.0.2.1";
  struct address_filter *filter = address_filter_new(&one, 1, NULL);
  struct http_response r;
  struct err err = ERR_INIT;
  assert_int_equal(get(b->path, filter, &r, &err), 0);
  http_response_release(&r);
  address_filter_free(filter);
}

static void test_no_socket(void **state)
{
  (void)state;
  struct http_response r;
  struct err err = ERR_INIT;
  assert_int_equal(get("/tmp/drover-there-is-no-such-socket", NULL, &r, &err), -1);
  assert_int_equal(err.kind, ERR_UNREACHABLE);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_by_socket),
      cmocka_unit_test(test_filter_is_of_networks),
      cmocka_unit_test(test_no_socket),
  };
  http_global_init();
  return cmocka_run_group_tests(tests, start, stop);
}
