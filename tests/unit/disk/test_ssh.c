// SPDX-License-Identifier: Apache-2.0
// Disks on another host, through a real sshd on loopback: read, written, refused, and nothing left
// on the other side, whichever way it ends.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/command.h"
#include "base/str.h"
#include "tests/unit/disk/help.h"

#define SIZE (24 * MIB)
static const uint64_t data[][2] = {{0, 5 * MIB}, {12 * MIB, 65536}, {20 * MIB, 4 * MIB}, {0, 0}};

static struct command_child sshd;
static char *known_hosts, *key_text;
static int port;
static char user[64];

// ---- the server -----------------------------------------------------------------------------

static int free_port(void)
{
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t length = sizeof(a);
  assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &length), 0);
  close(fd);
  return ntohs(a.sin_port);
}

static bool answers(void)
{
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in a = {.sin_family = AF_INET,
                          .sin_port = htons((uint16_t)port),
                          .sin_addr = {htonl(INADDR_LOOPBACK)}};
  bool ok = connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
  close(fd);
  return ok;
}

static void start_sshd(const char *extra)
{
  char config[2048];
  port = free_port();
  snprintf(config, sizeof(config),
           "Port %d\nListenAddress 127.0.0.1\nHostKey %s/hostkey\nAuthorizedKeysFile %s/key.pub\n"
           "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\n"
           "PermitRootLogin yes\n%s",
           port, help_folder(), help_folder(), extra);
  const char *path = help_path("sshd_config");
  help_write_file(path, config, strlen(config));
  const char *const argv[] = {"/usr/sbin/sshd", "-D", "-e", "-f", path, NULL};
  struct command_start c = {.argv = argv};
  struct err err = ERR_INIT;
  assert_int_equal(command_start(&c, &sshd, &err), 0);
  int64_t deadline_ms = clock_ms() + 10000;
  while (!answers()) {
    struct pollfd p = {.fd = sshd.errors, .events = 0};
    poll(&p, 1, 20);
    assert_true(clock_ms() < deadline_ms);
  }
  size_t length;
  char *host_key = (char *)help_read_file(help_path("hostkey.pub"), &length);
  host_key[length] = '\0';
  free(known_hosts);
  known_hosts = str_printf("[127.0.0.1]:%d %s", port, host_key);
  free(host_key);
}

static void stop_sshd(void)
{
  struct command_result r;
  command_reap(&sshd, true, &r);
}

static int setup(void **state)
{
  (void)state;
  if (geteuid() == 0)
    mkdir("/run/sshd", 0755);
  snprintf(user, sizeof(user), "%s", getpwuid(geteuid())->pw_name);
  run_ok("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", help_path("key"));
  run_ok("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", help_path("hostkey"));
  size_t length;
  key_text = (char *)help_read_file(help_path("key"), &length);
  key_text[length] = '\0';
  start_sshd("");
  return 0;
}

static int teardown(void **state)
{
  stop_sshd();
  free(known_hosts);
  free(key_text);
  return help_cleanup(state);
}

static struct reach ssh_reach(const char *path, int format)
{
  struct reach r = {.kind = REACH_SSH, .format = format, .port = port};
  r.path = str_dup(path);
  r.host = str_dup("127.0.0.1");
  r.user = str_dup(user);
  r.known_hosts = str_dup(known_hosts);
  secret_set_string(&r.ssh_key, key_text);
  return r;
}

static void ssh_reach_release(struct reach *r)
{
  free(r->path);
  free(r->host);
  free(r->user);
  free(r->known_hosts);
  secret_release(&r->ssh_key);
}

// No qemu-nbd has this path among its arguments any more.
static void nobody_serves(const char *path)
{
  int64_t deadline_ms = clock_ms() + 5000;
  const char *const argv[] = {"pgrep", "-f", path, NULL};
  struct command c = {.argv = argv, .timeout_ms = 5000};
  for (;;) {
    struct command_result r;
    struct err err = ERR_INIT;
    assert_int_equal(command_run(&c, &r, &err), 0);
    bool gone = r.exit_status == 1;
    command_result_release(&r);
    if (gone)
      return;
    assert_true(clock_ms() < deadline_ms);
  }
}

// ---- tests ----------------------------------------------------------------------------------

static void check_digest(struct reach *reach, const char *raw)
{
  char expected[128];
  help_python_digest(raw, expected);
  struct source *s;
  struct err err = ERR_INIT;
  if (source_open_reach(reach, &s, &err) != 0)
    fail_msg("%s", err.message);
  struct tally tally = {0};
  if (digest_verify(s, expected, 4, &tally, &err) != 0)
    fail_msg("%s", err.message);
  assert_true(tally.data_bytes < 12 * MIB); // holes are not read
  source_free(s);
  nobody_serves(reach->path);
}

static void sources(void **state)
{
  (void)state;
  struct memory_source *m = memory_source_new(SIZE, data);
  const char *raw = help_path("it's a disk.raw"); // quoting on both sides
  const char *base = help_path("base.qcow2");
  const char *top = help_path("top.qcow2");
  const char *zlib = help_path("zlib.qcow2");
  help_write_file(raw, m->bytes, SIZE);
  run_ok("fallocate", "--dig-holes", raw);
  run_ok("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, base);
  run_ok("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, zlib);
  run_ok("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", top);
  struct reach r = ssh_reach(raw, DISK_FORMAT_RAW);
  check_digest(&r, raw);
  r.format = DISK_FORMAT_ANY;
  check_digest(&r, raw);
  ssh_reach_release(&r);
  r = ssh_reach(zlib, DISK_FORMAT_QCOW2);
  check_digest(&r, raw);
  ssh_reach_release(&r);
  r = ssh_reach(top, DISK_FORMAT_QCOW2);
  struct reach_backing below = {.path = (char *)(uintptr_t)base, .format = DISK_FORMAT_QCOW2};
  r.backing = (struct list){.items = &below, .count = 1};
  check_digest(&r, raw);
  r.backing = (struct list){0};
  struct source *s;
  struct err err = ERR_INIT;
  assert_int_equal(source_open_reach(&r, &s, &err), -1);
  assert_int_equal(err.kind, ERR_CORRUPT); // a chain that nobody allowed
  nobody_serves(top);
  ssh_reach_release(&r);
  source_free(&m->source);
}

static void targets(void **state)
{
  (void)state;
  static const int formats[] = {DISK_FORMAT_RAW, DISK_FORMAT_QCOW2};
  for (int i = 0; i < 2; i++) {
    struct memory_source *m = memory_source_new(SIZE, data);
    const char *path = help_path("target");
    const char *flat = help_path("target.flat");
    run_ok("rm", "-f", path);
    run_ok("qemu-img", "create", "-q", "-f", disk_format_names[formats[i]], path, "24M");
    struct reach r = ssh_reach(path, formats[i]);
    struct target *t;
    struct object_writer *w;
    struct err err = ERR_INIT;
    if (target_open_reach(&r, "o", &t, &w, &err) != 0)
      fail_msg("%s", err.message);
    struct tally tally = {0};
    struct copy_result result;
    struct copy_job job = {
        .source = &m->source, .target = t, .options = {.verify = COPY_VERIFY_READBACK}};
    if (copy_run(&job, &tally, &result, &err) != 0)
      fail_msg("%s", err.message);
    target_free(t);
    nobody_serves(path);
    run_ok("qemu-img", "convert", "-f", disk_format_names[formats[i]], "-O", "raw", path, flat);
    char digest[128];
    help_python_digest(flat, digest);
    assert_string_equal(digest, result.content_digest);
    copy_result_release(&result);
    ssh_reach_release(&r);
    source_free(&m->source);
  }
}

static void refused(struct reach *r, enum err_kind kind)
{
  struct source *s;
  struct err err = ERR_INIT;
  assert_int_equal(source_open_reach(r, &s, &err), -1);
  if (err.kind != kind)
    fail_msg("%s: %s", err_reason(err.kind), err.message);
  assert_null(strstr(err.message, "PRIVATE KEY"));
  ssh_reach_release(r);
}

static void clear_errors(void **state)
{
  (void)state;
  const char *path = help_path("small.raw");
  help_write_file(path, "0123456789abcdef", 16);
  struct reach r = ssh_reach("/nonexistent/disk", DISK_FORMAT_RAW);
  refused(&r, ERR_NOT_FOUND);
  r = ssh_reach("relative", DISK_FORMAT_RAW);
  refused(&r, ERR_INVALID);
  r = ssh_reach(path, DISK_FORMAT_RAW);
  free(r.host);
  r.host = str_dup("-oProxyCommand=id");
  refused(&r, ERR_INVALID);
  r = ssh_reach(path, DISK_FORMAT_RAW);
  secret_set_string(&r.ssh_key, "not a key");
  refused(&r, ERR_AUTH);
  run_ok("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", help_path("other"));
  size_t length;
  uint8_t *other = help_read_file(help_path("other"), &length);
  r = ssh_reach(path, DISK_FORMAT_RAW);
  secret_set(&r.ssh_key, other, length);
  refused(&r, ERR_AUTH);
  free(other);
  r = ssh_reach(path, DISK_FORMAT_RAW);
  free(r.known_hosts);
  r.known_hosts = str_dup("");
  refused(&r, ERR_TLS);
  r = ssh_reach(path, DISK_FORMAT_RAW);
  r.port = 1;
  refused(&r, ERR_UNREACHABLE);
  r = ssh_reach(path, DISK_FORMAT_RAW); // any host key, because the manifest says so
  free(r.known_hosts);
  r.known_hosts = NULL;
  r.insecure_host_key = true;
  struct source *s;
  struct err err = ERR_INIT;
  assert_int_equal(source_open_reach(&r, &s, &err), 0);
  source_free(s);
  ssh_reach_release(&r);
}

// kill -9 of the process that reads: the other side ends by itself.
static void a_killed_mover_leaves_nothing(void **state)
{
  (void)state;
  const char *path = help_path("orphan.raw");
  help_write_file(path, "0123456789abcdef", 16);
  int ready[2];
  assert_int_equal(pipe(ready), 0);
  pid_t pid = fork();
  if (pid == 0) {
    struct reach r = ssh_reach(path, DISK_FORMAT_RAW);
    struct source *s;
    struct err err = ERR_INIT;
    char said = source_open_reach(&r, &s, &err) == 0 ? 'y' : 'n';
    ssize_t n = write(ready[1], &said, 1);
    (void)n;
    pause();
    _exit(0);
  }
  char said = 0;
  assert_int_equal(read(ready[0], &said, 1), 1);
  assert_int_equal(said, 'y');
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
  nobody_serves(path);
  close(ready[0]);
  close(ready[1]);
}

static void hosts_without_qemu(void **state)
{
  (void)state;
  const char *bin = help_path("bin");
  assert_int_equal(mkdir(bin, 0755), 0);
  static const char *const tools[] = {"sh", "mkdir", "cat", "rm"};
  for (size_t i = 0; i < sizeof(tools) / sizeof(tools[0]); i++) {
    char from[64], to[200];
    snprintf(from, sizeof(from), "/bin/%s", tools[i]);
    snprintf(to, sizeof(to), "%s/%s", bin, tools[i]);
    assert_int_equal(symlink(from, to), 0);
  }
  char extra[300];
  snprintf(extra, sizeof(extra), "SetEnv PATH=%s\n", bin);
  stop_sshd();
  start_sshd(extra);
  const char *path = help_path("bare.raw");
  help_write_file(path, "0123456789abcdef", 16);
  struct reach r = ssh_reach(path, DISK_FORMAT_RAW);
  refused(&r, ERR_UNSUPPORTED);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sources),
      cmocka_unit_test(targets),
      cmocka_unit_test(clear_errors),
      cmocka_unit_test(a_killed_mover_leaves_nothing),
      cmocka_unit_test(hosts_without_qemu),
  };
  return cmocka_run_group_tests_name("disk/ssh", tests, setup, teardown);
}
