// SPDX-License-Identifier: Apache-2.0
// NBD ends against real qemu-nbd, and our server against real qemu-img.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/command.h"
#include "base/str.h"
#include "disk/nbd_serve_internal.h"
#include "disk/qemu_internal.h"
#include "tests/unit/disk/help.h"

#define SIZE (24 * MIB)
static const uint64_t data[][2] = {{0, 5 * MIB}, {12 * MIB, 65536}, {20 * MIB, 4 * MIB}, {0, 0}};

struct server {
  struct command_child child;
  const char *socket_path;
};

static void start_server(struct server *s, const char *path, const char *format, const char *mode)
{
  static int number;
  char name[32];
  snprintf(name, sizeof(name), "socket%d", number++);
  s->socket_path = help_path(name);
  const char *const argv[] = {"qemu-nbd", mode, "-f",           format, "-t", "-e",
                              "20",       "-k", s->socket_path, path,   NULL};
  struct command_start c = {.argv = argv};
  struct err err = ERR_INIT;
  assert_int_equal(command_start(&c, &s->child, &err), 0);
  if (qemu_wait_socket(s->socket_path, s->child.errors, 10000, NULL, &err) != 0)
    fail_msg("%s", err.message);
}

static void stop_server(struct server *s)
{
  struct command_result r;
  command_reap(&s->child, true, &r);
}

static struct reach reach_of(const struct server *s)
{
  return (struct reach){.kind = REACH_NBD, .path = (char *)(uintptr_t)s->socket_path};
}

static void write_through_nbd(const char *format, bool dirty)
{
  struct memory_source *m = memory_source_new(SIZE, data);
  const char *path = help_path("target");
  run_ok("qemu-img", "create", "-q", "-f", format, path, "30M");
  if (dirty)
    run_ok("qemu-io", "-f", format, "-c", "write -P 0xaa 0 30M", path);
  struct server server;
  start_server(&server, path, format, "--discard=unmap");
  struct reach reach = reach_of(&server);
  struct target *t;
  struct object_writer *w;
  struct err err = ERR_INIT;
  assert_int_equal(target_open_reach(&reach, "o", &t, &w, &err), 0);
  struct tally tally = {0};
  struct copy_result r;
  struct copy_job job = {
      .source = &m->source, .target = t, .options = {.verify = COPY_VERIFY_READBACK}};
  if (copy_run(&job, &tally, &r, &err) != 0)
    fail_msg("%s", err.message);
  assert_int_equal(t->zeroed, !dirty);
  target_free(t);
  stop_server(&server);
  const char *flat = help_path("target.raw");
  run_ok("qemu-img", "convert", "-f", format, "-O", "raw", path, flat);
  size_t length;
  uint8_t *bytes = help_read_file(flat, &length);
  assert_int_equal(length, 30 * MIB);
  assert_memory_equal(bytes, m->bytes, SIZE);
  for (size_t i = SIZE; i < length; i++)
    assert_int_equal(bytes[i], 0);
  free(bytes);
  copy_result_release(&r);
  source_free(&m->source);
}

static void targets(void **state)
{
  (void)state;
  write_through_nbd("raw", false);
  write_through_nbd("raw", true);
  write_through_nbd("qcow2", false);
  write_through_nbd("qcow2", true);
}

static void sources_show_their_holes(void **state)
{
  (void)state;
  struct memory_source *m = memory_source_new(SIZE, data);
  const char *raw = help_path("source.raw");
  const char *path = help_path("source.qcow2");
  help_write_file(raw, m->bytes, SIZE);
  run_ok("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path);
  struct server server;
  start_server(&server, path, "qcow2", "--read-only");
  struct reach reach = reach_of(&server);
  struct source *s;
  struct err err = ERR_INIT;
  if (source_open_reach(&reach, &s, &err) != 0)
    fail_msg("%s", err.message);
  struct extents e;
  assert_int_equal(source_extents(s, &e, &err), 0);
  assert_int_equal(extents_data_bytes(&e, 0, SIZE), 9 * MIB + 65536);
  extents_release(&e);
  uint64_t offset;
  struct tally tally = {0};
  assert_int_equal(compare_sources(s, &m->source, 4, &tally, &offset, &err), 0);
  source_free(s);
  // Writing to what is offered for reading only.
  struct target *t;
  struct object_writer *w;
  assert_int_equal(target_open_reach(&reach, "o", &t, &w, &err), 0);
  assert_int_equal(target_begin(t, SIZE, NULL, &err), -1);
  assert_int_equal(err.kind, ERR_DENIED);
  target_free(t);
  stop_server(&server);
  source_free(&m->source);
}

static void nobody_there(void **state)
{
  (void)state;
  struct reach reach = {.kind = REACH_NBD, .path = (char *)(uintptr_t) "/nonexistent/socket"};
  struct source *s;
  struct err err = ERR_INIT;
  assert_int_equal(source_open_reach(&reach, &s, &err), -1);
  assert_int_equal(err.kind, ERR_UNREACHABLE);
  // A port that is bound but not listened on refuses connections.
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t length = sizeof(a);
  assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &length), 0);
  reach = (struct reach){
      .kind = REACH_NBD, .host = (char *)(uintptr_t) "127.0.0.1", .port = ntohs(a.sin_port)};
  assert_int_equal(source_open_reach(&reach, &s, &err), -1);
  assert_int_equal(err.kind, ERR_UNREACHABLE);
  close(fd);
}

static void a_server_that_dies(void **state)
{
  (void)state;
  struct memory_source *m = memory_source_new(SIZE, data);
  const char *path = help_path("dying.raw");
  help_write_file(path, m->bytes, SIZE);
  struct server server;
  start_server(&server, path, "raw", "--read-only");
  struct reach reach = reach_of(&server);
  struct source *s;
  struct err err = ERR_INIT;
  assert_int_equal(source_open_reach(&reach, &s, &err), 0);
  void *lane;
  char byte;
  assert_int_equal(source_lane_open(s, &lane, &err), 0);
  assert_int_equal(source_read(s, lane, &byte, 1, 0, &err), 0);
  stop_server(&server);
  assert_int_equal(source_read(s, lane, &byte, 1, 0, &err), -1);
  assert_int_equal(err.kind, ERR_UNREACHABLE);
  source_lane_close(s, lane);
  source_free(s);
  source_free(&m->source);
}

struct hanging_copy {
  const struct copy_job *job;
  struct tally *tally;
  _Atomic bool started;
  enum err_kind kind;
};

static void *hanging_copy_main(void *arg)
{
  struct hanging_copy *h = arg;
  struct copy_result r;
  struct err err = ERR_INIT;
  atomic_store(&h->started, true);
  copy_run(h->job, h->tally, &r, &err);
  h->kind = err.kind;
  return NULL;
}

// A server that is there, but does not answer any more.
static void cancel_ends_a_server_that_hangs(void **state)
{
  (void)state;
  struct memory_source *m = memory_source_new(SIZE, data);
  const char *path = help_path("hanging.raw");
  help_write_file(path, m->bytes, SIZE);
  struct server server;
  start_server(&server, path, "raw", "--read-only");
  struct reach reach = reach_of(&server);
  struct source *s;
  struct target *t;
  struct err err = ERR_INIT;
  assert_int_equal(source_open_reach(&reach, &s, &err), 0);
  assert_int_equal(target_open_null(&t, &err), 0);
  kill(server.child.pid, SIGSTOP);
  static struct tally tally;
  struct copy_job job = {.source = s, .target = t};
  struct hanging_copy h = {.job = &job, .tally = &tally};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, hanging_copy_main, &h), 0);
  while (!atomic_load(&h.started))
    ;
  int64_t start_ms = clock_ms();
  copy_interrupt(&job, &tally);
  pthread_join(thread, NULL);
  assert_true(clock_ms() - start_ms < 2000);
  assert_int_equal(h.kind, ERR_CANCELLED);
  target_free(t);
  source_free(s);
  stop_server(&server);
  source_free(&m->source);
}

// ---- our server -----------------------------------------------------------------------------

static void our_server_feeds_qemu(void **state)
{
  (void)state;
  struct memory_source *m = memory_source_new(SIZE, data);
  const char *raw = help_path("served.raw");
  help_write_file(raw, m->bytes, SIZE);
  struct object_reader *r;
  struct nbd_server *server;
  struct err err = ERR_INIT;
  assert_int_equal(object_reader_file(raw, &r, &err), 0);
  assert_int_equal(nbd_server_start(r, &server, &err), 0);
  char uri[200];
  snprintf(uri, sizeof(uri), "nbd+unix:///?socket=%s", nbd_server_socket(server));
  run_ok("qemu-img", "compare", "-f", "raw", "-F", "raw", uri, raw);
  run_ok("nbdinfo", uri);
  const char *copy = help_path("served.copy");
  run_ok("nbdcopy", "--connections=4", uri, copy);
  run_ok("cmp", raw, copy);
  // Reading only.
  assert_int_not_equal(
      help_run(NULL, "qemu-io", "-f", "raw", "-c", "write 0 512", uri, (char *)NULL), 0);
  nbd_server_free(server);
  object_reader_free(r);
  source_free(&m->source);
}

static int connect_raw(const struct nbd_server *server)
{
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  snprintf(a.sun_path, sizeof(a.sun_path), "%s", nbd_server_socket(server));
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
  return fd;
}

// Nonsense ends the connection, and only that one.
static void our_server_survives_nonsense(void **state)
{
  (void)state;
  const char *raw = help_path("nonsense.raw");
  help_write_file(raw, "hello", 5);
  struct object_reader *r;
  struct nbd_server *server;
  struct err err = ERR_INIT;
  assert_int_equal(object_reader_file(raw, &r, &err), 0);
  assert_int_equal(nbd_server_start(r, &server, &err), 0);
  static const char huge_option[] = "\0\0\0\3IHAVEOPT\0\0\0\7\xff\xff\xff\xff";
  static const char no_magic[] = "\0\0\0\3XXXXXXXX\0\0\0\7\0\0\0\0";
  static const char bad_request[] = "\0\0\0\3IHAVEOPT\0\0\0\1\0\0\0\0garbage garbage garbage garb";
  static const struct {
    const char *bytes;
    size_t length;
  } rows[] = {{huge_option, sizeof(huge_option) - 1},
              {no_magic, sizeof(no_magic) - 1},
              {bad_request, sizeof(bad_request) - 1}};
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    int fd = connect_raw(server);
    assert_int_equal(send(fd, rows[i].bytes, rows[i].length, MSG_NOSIGNAL), rows[i].length);
    char buffer[512];
    while (recv(fd, buffer, sizeof(buffer), 0) > 0)
      ;
    close(fd);
  }
  int idle = connect_raw(server); // never says a word: must not hold up the end
  char uri[200];
  snprintf(uri, sizeof(uri), "nbd+unix:///?socket=%s", nbd_server_socket(server));
  run_ok("nbdinfo", "--size", uri);
  nbd_server_free(server);
  close(idle);
  object_reader_free(r);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(targets),
      cmocka_unit_test(sources_show_their_holes),
      cmocka_unit_test(nobody_there),
      cmocka_unit_test(a_server_that_dies),
      cmocka_unit_test(cancel_ends_a_server_that_hangs),
      cmocka_unit_test(our_server_feeds_qemu),
      cmocka_unit_test(our_server_survives_nonsense),
  };
  return cmocka_run_group_tests_name("disk/nbd", tests, NULL, help_cleanup);
}
