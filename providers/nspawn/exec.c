// SPDX-License-Identifier: Apache-2.0
// Commands and files inside a machine. Commands by nsenter into the namespaces of its init; output
// beyond the limit is read and dropped, so that nothing inside waits for us.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/str.h"
#include "providers/nspawn/host_internal.h"

#define WORDS_BEFORE   8
#define NOT_FOUND_CODE 127 // nsenter could not run the program

struct session {
  const struct exec_order *order;
  struct command_child child;
  struct buf output, errors;
  size_t fed;
  bool cut;
};

static void drain(int *fd, struct buf *into, bool *cut)
{
  char chunk[65536];
  ssize_t n = read(*fd, chunk, sizeof(chunk));
  size_t room = LIMIT_COMMAND_OUTPUT_BYTES - into->length;
  if (n > 0) {
    *cut |= (size_t)n > room;
    buf_add(into, chunk, (size_t)n > room ? room : (size_t)n);
  } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
    close(TAKE_FD(*fd));
  }
}

static void feed(struct session *s)
{
  const char *rest = s->order->input + s->fed;
  size_t left = strlen(rest);
  ssize_t n = left ? write(s->child.input, rest, left) : 0;
  if (n > 0)
    s->fed += (size_t)n;
  bool gone = n < 0 && errno != EAGAIN && errno != EINTR;
  if (gone || (size_t)(n > 0 ? n : 0) == left)
    close(TAKE_FD(s->child.input));
}

// Until the command has ended; what it left running in the background may keep its pipes.
static int pump(struct session *s, int process, int64_t deadline_ms, struct err *err)
{
  for (bool ended = false; !ended;) {
    struct pollfd fds[] = {{.fd = s->child.output, .events = POLLIN},
                           {.fd = s->child.errors, .events = POLLIN},
                           {.fd = s->child.input, .events = POLLOUT},
                           {.fd = process, .events = POLLIN}};
    int64_t left_ms = deadline_ms - clock_ms();
    if (left_ms <= 0)
      return err_set(err, ERR_TIMEOUT, "'%s' did not end within %lld ms", s->order->argv.items[0],
                     (long long)s->order->timeout_ms);
    poll(fds, ARRAY_SIZE(fds), (int)(left_ms > 1000000 ? 1000000 : left_ms));
    if (fds[0].revents)
      drain(&s->child.output, &s->output, &s->cut);
    if (fds[1].revents)
      drain(&s->child.errors, &s->errors, &s->cut);
    if (fds[2].revents)
      feed(s);
    ended = fds[3].revents && !(fds[0].revents & POLLIN) && !(fds[1].revents & POLLIN);
  }
  return 0;
}

static int converse(struct session *s, struct command_result *done, struct err *err)
{
  cleanup_close int process = pidfd_open(s->child.pid, 0);
  int fds[] = {s->child.input, s->child.output, s->child.errors};
  for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
    if (fds[i] >= 0)
      fcntl(fds[i], F_SETFL, O_NONBLOCK);
  int failed = process < 0 ? err_errno(err, errno, "watch nsenter")
                           : pump(s, process, clock_ms() + s->order->timeout_ms, err);
  command_reap(&s->child, failed, done);
  return failed;
}

static int result_of(struct session *s, const struct command_result *done, struct exec_result *ret,
                     struct err *err)
{
  const char *name = s->order->argv.items[0];
  cleanup_free char *missing = str_printf("nsenter: failed to execute %s: ", name);
  if (done->exit_status == NOT_FOUND_CODE && missing && str_starts(buf_str(&s->errors), missing) &&
      s->output.length == 0)
    return err_set(err, ERR_NOT_FOUND, "there is no program '%s' inside", name);
  ret->exit_status = done->signal_number ? 128 + done->signal_number : done->exit_status;
  ret->output = str_dup(buf_str(&s->output));
  ret->errors = str_dup(buf_str(&s->errors));
  ret->cut = s->cut;
  return ret->output && ret->errors ? 0 : ns_no_memory(err);
}

// Its init, once that runs. ERR_BUSY.
static int need_leader(const struct host *h, const char *id, pid_t *ret, struct err *err)
{
  struct clone_seen seen CLEANUP(clone_seen_release) = {0};
  if (ns_clone_get((void *)h, id, &seen, err) != 0)
    return -1;
  *ret = seen.owner ? ns_leader_of(h, id) : 0;
  if (*ret)
    return 0;
  if (!seen.owner && seen.power == VM_POWER_ON)
    return err_set(err, ERR_UNSUPPORTED, "'%s' was not started by drover", id);
  return err_set(err, ERR_BUSY, "machine '%s' does not run", id);
}

int ns_exec(void *handle, const char *id, const struct exec_order *e, struct exec_result *ret,
            struct err *err)
{
  struct session s = {.order = e,
                      .output = BUF_INIT(LIMIT_COMMAND_OUTPUT_BYTES + 1),
                      .errors = BUF_INIT(LIMIT_COMMAND_OUTPUT_BYTES + 1)};
  char leader[16];
  const char *argv[CLONE_ARGV_MAX + WORDS_BEFORE] = {"nsenter", "--target", leader, "--all",
                                                     "--root",  "--wd",     "--"};
  struct command_start start = {.argv = argv,
                                .env = (const char *const[]){"container=systemd-nspawn", NULL},
                                .want_input = e->input != NULL};
  pid_t pid;
  if (need_leader(handle, id, &pid, err) != 0)
    return -1;
  snprintf(leader, sizeof(leader), "%d", pid);
  for (size_t i = 0; i < e->argv.count && i < CLONE_ARGV_MAX; i++)
    argv[WORDS_BEFORE - 1 + i] = e->argv.items[i];
  if (command_start(&start, &s.child, err) != 0)
    return -1;
  struct command_result done = {0};
  int failed = converse(&s, &done, err);
  if (!failed)
    failed = result_of(&s, &done, ret, err);
  buf_release(&s.output);
  buf_release(&s.errors);
  return failed;
}

// ---- files -------------------------------------------------------------------------------------

static int open_machine(const struct host *h, const char *id, int *ret_fd, struct err *err)
{
  struct clone_seen seen CLEANUP(clone_seen_release) = {0};
  struct record r cleanup_record = {0};
  if (ns_clone_get((void *)h, id, &seen, err) != 0)
    return -1;
  if (!seen.owner)
    return err_set(err, ERR_DENIED, "machine '%s' is not drover's: its files are left alone", id);
  return ns_record_done(h, id, "Clone", &r, err) != 0 ? -1 : ns_root_open(h, &r, ret_fd, err);
}

int ns_push(void *handle, const char *id, const char *path, int mode, const void *bytes,
            size_t length, struct err *err)
{
  cleanup_close int root = -1;
  if (open_machine(handle, id, &root, err) != 0)
    return -1;
  return ns_root_write(root, path, bytes, length, mode, err);
}

int ns_pull(void *handle, const char *id, const char *path, void **ret, size_t *ret_length,
            struct err *err)
{
  cleanup_close int root = -1;
  if (open_machine(handle, id, &root, err) != 0)
    return -1;
  return ns_root_read(root, path, CLONE_FILE_BYTES_MAX, ret, ret_length, err);
}

int ns_console(void *handle, const char *id, struct strings *ret, struct err *err)
{
  char leader[16];
  pid_t pid;
  const char *argv[] = {"nsenter", "--target", leader,    "--all", "--root",
                        "--wd",    "--",       "/bin/sh", "-l"};
  if (need_leader(handle, id, &pid, err) != 0)
    return -1;
  snprintf(leader, sizeof(leader), "%d", pid);
  for (size_t i = 0; i < ARRAY_SIZE(argv); i++)
    if (strings_add(ret, argv[i]) != 0)
      return ns_no_memory(err);
  return 0;
}
