// SPDX-License-Identifier: Apache-2.0
#include "disk/ssh_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/command.h"
#include "base/runtime_folder.h"
#include "base/str.h"
#include "disk/image_internal.h"

#define START_MS     45000
#define SCRIPT_MAX   (128u << 10)
#define OUTPUT_MAX   (64u << 10)
#define READY        "drover-ready"
#define STATED       "drover-file:"
#define EXIT_NO_QEMU 92
#define EXIT_SSH     255
#define ARGS_MAX     (64 + 2 * CHAIN_MAX)

// Arguments: folder, r or w, format, paths. No single quote, backslash or exclamation mark in it:
// it must pass through whatever login shell there is. --fork returns when the server listens, or
// fails with its message.
static const char remote_script[] =
    "trap \"\" HUP PIPE; d=$1; m=$2; f=$3; shift 3; umask 077; "
    "command -v qemu-nbd >/dev/null 2>&1 || exit 92; "
    "mkdir \"$d\" || exit 91; n=0; s=0; "
    "for p in \"$@\"; do "
    "if [ $m = r ]; then qemu-nbd --fork --pid-file=\"$d/$n.pid\" --read-only --format=raw "
    "--persistent --shared=40 --socket=\"$d/$n\" -- \"$p\" </dev/null || s=$?; "
    "stat -L -c " STATED "%f:%s:%d:%i:%.9Y:%.9Z -- \"$p\" 2>/dev/null || echo " STATED "; "
    "else qemu-nbd --fork --pid-file=\"$d/$n.pid\" --format=$f --discard=unmap "
    "--detect-zeroes=off --cache=writeback --persistent --shared=40 --socket=\"$d/$n\" -- \"$p\" "
    "</dev/null || s=$?; fi; "
    "[ $s = 0 ] || break; n=$((n+1)); done; "
    "if [ $s = 0 ]; then echo " READY "; cat >/dev/null; fi; "
    "for i in \"$d\"/*.pid; do [ -f \"$i\" ] && kill $(cat \"$i\"); done; rm -rf \"$d\"; exit $s";

struct ssh_tunnel {
  _Atomic int references;
  char *dir;
  struct command_child child; // pid 0 = none
  char remote_dir[64];
  char *sockets[CHAIN_MAX];
  char *forwards[CHAIN_MAX];
  char *identities[CHAIN_MAX]; // for reading: NULL where the host does not tell when a file changes
  size_t count;
  int key_fd, hosts_fd; // memory files, only until the connection stands
  char host[300];
};

// ---- the command line -----------------------------------------------------------------------

static void add_quoted(struct buf *b, const char *text)
{
  buf_addc(b, '\'');
  for (; *text; text++)
    if (*text == '\'')
      buf_adds(b, "'\\''");
    else
      buf_addc(b, *text);
  buf_addc(b, '\'');
}

static char *remote_command(const struct ssh_tunnel *t, const struct reach *r,
                            const char *const *paths, bool write)
{
  struct buf b CLEANUP(buf_release) = BUF_INIT(SCRIPT_MAX);
  buf_adds(&b, "exec sh -c ");
  add_quoted(&b, remote_script);
  buf_printf(&b, " drover %s %s %s", t->remote_dir, write ? "w" : "r",
             disk_format_names[r->format == DISK_FORMAT_ANY ? DISK_FORMAT_RAW : r->format]);
  for (size_t i = 0; i < t->count; i++) {
    buf_addc(&b, ' ');
    add_quoted(&b, paths[i]);
  }
  return buf_take(&b);
}

struct args {
  const char *items[ARGS_MAX];
  char *owned[16];
  size_t count, owned_count;
  bool failed;
};

static void arg(struct args *a, const char *text)
{
  if (a->count + 1 < ARGS_MAX)
    a->items[a->count++] = text;
  else
    a->failed = true;
}

static void option(struct args *a, const char *text)
{
  arg(a, "-o");
  arg(a, text);
}

static void arg_owned(struct args *a, char *text)
{
  if (!text || a->owned_count == ARRAY_SIZE(a->owned)) {
    free(text);
    a->failed = true;
    return;
  }
  a->owned[a->owned_count++] = text;
  arg(a, text);
}

static void args_release(struct args *a)
{
  while (a->owned_count)
    free(a->owned[--a->owned_count]);
}

static void add_identity(struct args *a, const struct ssh_tunnel *t, const struct reach *r)
{
  if (t->key_fd >= 0) {
    arg(a, "-F");
    arg(a, "/dev/null");
    arg(a, "-i");
    arg_owned(a, str_printf("/proc/%d/fd/%d", (int)getpid(), t->key_fd));
    option(a, "IdentitiesOnly=yes");
    option(a, "IdentityAgent=none");
  }
  if (r->insecure_host_key) {
    option(a, "StrictHostKeyChecking=no");
    option(a, "UserKnownHostsFile=/dev/null");
    option(a, "GlobalKnownHostsFile=/dev/null");
    return;
  }
  option(a, "StrictHostKeyChecking=yes");
  if (t->hosts_fd < 0)
    return;
  option(a, "GlobalKnownHostsFile=/dev/null");
  arg(a, "-o");
  arg_owned(a, str_printf("UserKnownHostsFile=/proc/%d/fd/%d", (int)getpid(), t->hosts_fd));
}

// The connection goes to an address that was checked, the host key belongs to the name; a port
// other than 22 is part of that name in known_hosts.
static void add_address(struct args *a, const struct reach *r)
{
  if (str_empty(r->address))
    return;
  arg(a, "-o");
  arg_owned(a, str_printf("HostName=%s", r->address));
  arg(a, "-o");
  arg_owned(a, r->port == 0 || r->port == 22
                   ? str_printf("HostKeyAlias=%s", r->host)
                   : str_printf("HostKeyAlias=[%s]:%lld", r->host, (long long)r->port));
}

static void add_options(struct args *a, const struct reach *r)
{
  static const char *const options[] = {"BatchMode=yes",
                                        "ConnectTimeout=15",
                                        "ServerAliveInterval=5",
                                        "ServerAliveCountMax=4",
                                        "ExitOnForwardFailure=yes",
                                        "ControlMaster=no",
                                        "ControlPath=none",
                                        "LogLevel=ERROR",
                                        "Compression=no",
                                        "ForwardAgent=no",
                                        "ForwardX11=no",
                                        "PermitLocalCommand=no",
                                        "RequestTTY=no",
                                        "Ciphers=^aes128-gcm@openssh.com"};
  for (size_t i = 0; i < ARRAY_SIZE(options); i++)
    option(a, options[i]);
  add_address(a, r);
  if (r->port) {
    arg(a, "-p");
    arg_owned(a, str_printf("%lld", (long long)r->port));
  }
  if (!str_empty(r->user)) {
    arg(a, "-l");
    arg(a, r->user);
  }
}

static int start_ssh(struct ssh_tunnel *t, const struct reach *r, const char *const *paths,
                     bool write, struct err *err)
{
  struct args a CLEANUP(args_release) = {0};
  arg(&a, "ssh");
  add_identity(&a, t, r);
  add_options(&a, r);
  for (size_t i = 0; i < t->count; i++) {
    arg(&a, "-L");
    arg(&a, t->forwards[i]);
  }
  arg(&a, "--");
  arg(&a, r->host);
  arg_owned(&a, remote_command(t, r, paths, write));
  if (a.failed)
    return err_set(err, ERR_LIMIT, "too many or too long paths for ssh");
  // People's own agent, when the manifest brings no key.
  cleanup_free char *agent = t->key_fd < 0 && getenv("SSH_AUTH_SOCK")
                                 ? str_printf("SSH_AUTH_SOCK=%s", getenv("SSH_AUTH_SOCK"))
                                 : NULL;
  const char *env[] = {agent, NULL};
  struct command_start c = {.argv = a.items, .env = env, .want_input = true};
  if (command_start(&c, &t->child, err) == 0)
    return 0;
  t->child.pid = 0;
  return -1;
}

// ---- secrets in memory files ----------------------------------------------------------------

static int memory_file(const char *name, const char *bytes, size_t length, bool end_line,
                       struct err *err)
{
  cleanup_close int fd = memfd_create(name, MFD_CLOEXEC);
  if (fd < 0 || fchmod(fd, 0600) != 0)
    return err_errno(err, errno, "memory file for ssh");
  for (size_t done = 0; done < length;) {
    ssize_t n = write(fd, bytes + done, length - done);
    if (n < 0)
      return err_errno(err, errno, "memory file for ssh");
    done += (size_t)n;
  }
  // OpenSSH refuses a private key whose last line does not end.
  if (end_line && length && bytes[length - 1] != '\n' && write(fd, "\n", 1) != 1)
    return err_errno(err, errno, "memory file for ssh");
  return TAKE_FD(fd);
}

static int make_files(struct ssh_tunnel *t, const struct reach *r, struct err *err)
{
  if (!secret_empty(&r->ssh_key)) {
    t->key_fd = memory_file("key", secret_reveal(&r->ssh_key), r->ssh_key.length, true, err);
    if (t->key_fd < 0)
      return -1;
  }
  if (!r->known_hosts)
    return 0;
  t->hosts_fd = memory_file("known-hosts", r->known_hosts, strlen(r->known_hosts), true, err);
  return t->hosts_fd < 0 ? -1 : 0;
}

static void forget_files(struct ssh_tunnel *t)
{
  if (t->key_fd >= 0)
    close(TAKE_FD(t->key_fd));
  if (t->hosts_fd >= 0)
    close(TAKE_FD(t->hosts_fd));
}

// ---- waiting --------------------------------------------------------------------------------

static const struct {
  const char *words;
  enum err_kind kind;
  const char *advice;
} ssh_errors[] = {
    {"Host key verification failed", ERR_TLS, "; put the host's key into knownHosts"},
    {"REMOTE HOST IDENTIFICATION HAS CHANGED", ERR_TLS, ""},
    {"Permission denied (", ERR_AUTH, "; check user and key"},
    {"invalid format", ERR_AUTH, "; the private key cannot be read"},
    {"error in libcrypto", ERR_AUTH, "; the private key cannot be read"},
    {"Too many authentication failures", ERR_AUTH, ""},
    {"Failed to get", ERR_BUSY, " (in use by a running virtual machine? shut it down first)"},
    {"No such file", ERR_NOT_FOUND, ""},
    {"No space left", ERR_NO_SPACE, ""},
    {"Permission denied", ERR_DENIED, ""},
};

static int ssh_error(const struct ssh_tunnel *t, int status, char *text, struct err *err)
{
  if (status == EXIT_NO_QEMU)
    return err_set(err, ERR_UNSUPPORTED, "qemu-nbd is not installed on %s (package qemu-utils)",
                   t->host);
  size_t n = strlen(text);
  while (n && (text[n - 1] == '\n' || text[n - 1] == '\r'))
    text[--n] = '\0';
  for (size_t i = 0; i < ARRAY_SIZE(ssh_errors); i++)
    if (strstr(text, ssh_errors[i].words))
      return err_set(err, ssh_errors[i].kind, "ssh %s: %.400s%s", t->host, text,
                     ssh_errors[i].advice);
  return err_set(err, status == EXIT_SSH ? ERR_UNREACHABLE : ERR_IO, "ssh %s: %.400s", t->host,
                 *text ? text : "the connection ended");
}

static bool drain(int fd, struct buf *into)
{
  char bytes[4096];
  ssize_t n = read(fd, bytes, sizeof(bytes));
  if (n > 0)
    buf_add(into, bytes, (size_t)n);
  return n > 0 || (n < 0 && errno == EINTR);
}

static int give_up(struct ssh_tunnel *t, struct buf *errors, struct err *err)
{
  while (drain(t->child.errors, errors))
    ;
  struct command_result r = {0};
  command_reap(&t->child, false, &r);
  t->child.pid = 0;
  cleanup_free char *text = str_dup(buf_str(errors));
  return ssh_error(t, r.exit_status, text ? text : (char[]){""}, err);
}

// A regular file (the type is in the leading digit of the mode) with times finer than a second, as
// GNU stat tells them. Writing to a device leaves its times alone.
static bool tells_changes(const char *stated)
{
  const char *dot = strrchr(stated, '.');
  return stated[0] == '8' && strcspn(stated, ":") == 4 && dot && strlen(dot) == 10;
}

static void take_identities(struct ssh_tunnel *t, const char *output)
{
  const char *at = output;
  for (size_t i = 0; i < t->count && (at = strstr(at, STATED)); i++) {
    at += strlen(STATED);
    cleanup_free char *stated = strndup(at, strcspn(at, "\r\n"));
    if (stated && strlen(stated) < 120 && tells_changes(stated))
      t->identities[i] = str_printf("ssh:%s", stated);
  }
}

// Until the script says that all servers listen. What a login shell prints before is skipped.
static int wait_ready(struct ssh_tunnel *t, struct err *err)
{
  struct buf output CLEANUP(buf_release) = BUF_INIT(OUTPUT_MAX);
  struct buf errors CLEANUP(buf_release) = BUF_INIT(OUTPUT_MAX);
  int64_t deadline_ms = clock_ms() + START_MS;
  while (!strstr(buf_str(&output), READY)) {
    struct pollfd fds[] = {{.fd = t->child.output, .events = POLLIN},
                           {.fd = t->child.errors, .events = POLLIN}};
    int64_t left = deadline_ms - clock_ms();
    if (left <= 0)
      return err_set(err, ERR_TIMEOUT, "ssh %s: no answer within %d s", t->host, START_MS / 1000);
    if (poll(fds, 2, (int)left) <= 0)
      continue;
    if (fds[1].revents && !drain(t->child.errors, &errors))
      return give_up(t, &errors, err);
    if (fds[0].revents && !drain(t->child.output, &output))
      return give_up(t, &errors, err);
  }
  take_identities(t, buf_str(&output));
  return 0;
}

// ---- life -----------------------------------------------------------------------------------

static int name_sockets(struct ssh_tunnel *t, size_t count, struct err *err)
{
  unsigned char random[16];
  if (getrandom(random, sizeof(random), 0) != sizeof(random))
    return err_errno(err, errno, "random bytes");
  size_t n = (size_t)snprintf(t->remote_dir, sizeof(t->remote_dir), "/tmp/drover-");
  for (size_t i = 0; i < sizeof(random); i++)
    snprintf(t->remote_dir + n + 2 * i, 3, "%02x", random[i]);
  if (runtime_folder_new(&t->dir, err) != 0)
    return -1;
  for (; t->count < count; t->count++) {
    t->sockets[t->count] = str_printf("%s/%zu", t->dir, t->count);
    t->forwards[t->count] = str_printf("%s/%zu:%s/%zu", t->dir, t->count, t->remote_dir, t->count);
    if (!t->sockets[t->count] || !t->forwards[t->count])
      return err_set(err, ERR_NO_MEMORY, "no memory");
  }
  return 0;
}

static int check_reach(const struct reach *r, const char *const *paths, size_t count,
                       struct err *err)
{
  if (str_empty(r->host) || *r->host == '-' || (r->user && *r->user == '-'))
    return err_set(err, ERR_INVALID, "'%s' is not a host name", r->host ? r->host : "");
  if (count == 0 || count > CHAIN_MAX)
    return err_set(err, ERR_LIMIT, "more than %d images in a chain", CHAIN_MAX);
  for (size_t i = 0; i < count; i++)
    if (!paths[i] || *paths[i] != '/' || strpbrk(paths[i], "\n\r"))
      return err_set(err, ERR_INVALID, "'%s' is not an absolute path", paths[i] ? paths[i] : "");
  return 0;
}

int ssh_tunnel_open(const struct reach *r, const char *const *paths, size_t count, bool write,
                    struct ssh_tunnel **ret, struct err *err)
{
  if (check_reach(r, paths, count, err) != 0)
    return -1;
  struct ssh_tunnel *t = calloc(1, sizeof(*t));
  if (!t)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  atomic_init(&t->references, 1);
  t->key_fd = t->hosts_fd = -1;
  snprintf(t->host, sizeof(t->host), "%s", r->host);
  int failed = make_files(t, r, err);
  if (!failed)
    failed = name_sockets(t, count, err);
  if (!failed)
    failed = start_ssh(t, r, paths, write, err);
  if (!failed)
    failed = wait_ready(t, err);
  forget_files(t);
  if (failed) {
    ssh_tunnel_unref(t);
    return -1;
  }
  *ret = t;
  return 0;
}

struct ssh_tunnel *ssh_tunnel_ref(struct ssh_tunnel *t)
{
  atomic_fetch_add(&t->references, 1);
  return t;
}

// The end of its standard input is what tells the other side to clean up; ssh itself is given a
// moment to deliver it.
static void end_ssh(struct ssh_tunnel *t)
{
  close(TAKE_FD(t->child.input));
  struct pollfd p = {.fd = t->child.errors, .events = POLLIN};
  int64_t deadline_ms = clock_ms() + 1500;
  char bytes[4096];
  while (clock_ms() < deadline_ms)
    if (poll(&p, 1, 100) > 0 && read(p.fd, bytes, sizeof(bytes)) <= 0)
      break;
  struct command_result r;
  command_reap(&t->child, true, &r);
}

void ssh_tunnel_unref(void *arg_)
{
  struct ssh_tunnel *t = arg_;
  if (atomic_fetch_sub(&t->references, 1) != 1)
    return;
  if (t->child.pid > 0)
    end_ssh(t);
  runtime_folder_remove(t->dir);
  for (size_t i = 0; i < CHAIN_MAX; i++) {
    free(t->sockets[i]);
    free(t->forwards[i]);
    free(t->identities[i]);
  }
  free(t);
}

const char *ssh_tunnel_identity(const struct ssh_tunnel *t, size_t index)
{
  return t->identities[index];
}

const char *ssh_tunnel_socket(const struct ssh_tunnel *t, size_t index)
{
  return t->sockets[index];
}
