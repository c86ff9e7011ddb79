// SPDX-License-Identifier: Apache-2.0
#include "base/command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/str.h"

#define FDS_MAX 8
#define ENV_MAX 512

static command_fake_fn fake;
static void *fake_arg;

void command_set_fake(command_fake_fn fn, void *arg)
{
  fake = fn;
  fake_arg = arg;
}

// ---- starting -------------------------------------------------------------------------------

struct plan {
  const struct command_start *c;
  const char *env[ENV_MAX + 1];
  char *path_env, *home_env;
  int in, out, errs; // the child's ends
  int report;        // exec failure goes through here
  pid_t parent;
};

static void plan_env(struct plan *p)
{
  size_t n = 0;
  const char *path = getenv("PATH");
  const char *home = getenv("HOME");
  p->path_env = str_printf(
      "PATH=%s", path ? path : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  p->home_env = str_printf("HOME=%s", home ? home : "/");
  p->env[n++] = p->path_env;
  p->env[n++] = p->home_env;
  p->env[n++] = "LANG=C.UTF-8";
  for (const char *const *e = p->c->env; e && *e && n < ENV_MAX; e++)
    p->env[n++] = *e;
  p->env[n] = NULL;
}

static void child_signals(void)
{
  struct sigaction plain = {.sa_handler = SIG_DFL};
  for (int s = 1; s < NSIG; s++)
    sigaction(s, &plain, NULL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

// Two rounds, because a wanted number may be in use by another wanted descriptor.
static int child_fds(const struct plan *p)
{
  int from[FDS_MAX + 4];
  int count = 0;
  from[count++] = p->in;
  from[count++] = p->out;
  from[count++] = p->errs;
  for (size_t i = 0; i < p->c->fd_count; i++)
    from[count++] = p->c->fds[i];
  from[count++] = p->report;
  for (int i = 0; i < count; i++)
    if ((from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, 3 + FDS_MAX + 1)) < 0)
      return -1;
  for (int i = 0; i < count; i++)
    if (dup2(from[i], i) < 0)
      return -1;
  fcntl(count - 1, F_SETFD, FD_CLOEXEC);
  close_range((unsigned)count, ~0u, 0);
  return count - 1;
}

// After fork in a process with threads: only async-signal-safe calls from here to exec.
static void child_main(struct plan *p)
{
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != p->parent)
    _exit(127);
  int report = child_fds(p);
  if (report >= 0) {
    child_signals();
    execvpe(p->c->argv[0], (char *const *)p->c->argv, (char *const *)p->env);
  }
  int number = errno;
  ssize_t written = write(report >= 0 ? report : p->report, &number, sizeof(number));
  (void)written;
  _exit(127);
}

static int make_pipe(bool wanted, int fallback_flags, int pair[2], struct err *err)
{
  if (wanted) {
    if (pipe2(pair, O_CLOEXEC) == 0)
      return 0;
    return err_errno(err, errno, "pipe for a child process");
  }
  int fd = open("/dev/null", fallback_flags | O_CLOEXEC);
  if (fd < 0)
    return err_errno(err, errno, "open /dev/null");
  pair[0] = fallback_flags == O_RDONLY ? fd : -1;
  pair[1] = fallback_flags == O_RDONLY ? -1 : fd;
  return 0;
}

static int exec_outcome(const struct plan *p, pid_t pid, int report_fd, struct err *err)
{
  int number = 0;
  ssize_t got;
  do
    got = read(report_fd, &number, sizeof(number));
  while (got < 0 && errno == EINTR);
  if (got <= 0)
    return 0;
  waitpid(pid, NULL, 0);
  if (number == ENOENT)
    return err_set(err, ERR_NOT_FOUND, "program '%s' is not installed", p->c->argv[0]);
  return err_errno(err, number, "run %s", p->c->argv[0]);
}

static int spawn(struct plan *p, struct command_child *ret, struct err *err)
{
  int report[2];
  if (pipe2(report, O_CLOEXEC) != 0)
    return err_errno(err, errno, "pipe for a child process");
  cleanup_close int report_in = report[0];
  cleanup_close int report_out = report[1];
  p->report = report_out;
  p->parent = getpid();
  pid_t pid = fork();
  if (pid == 0)
    child_main(p);
  if (pid < 0)
    return err_errno(err, errno, "fork for %s", p->c->argv[0]);
  close(TAKE_FD(report_out));
  if (exec_outcome(p, pid, report_in, err) != 0)
    return -1;
  ret->pid = pid;
  return 0;
}

int command_start(const struct command_start *c, struct command_child *ret, struct err *err)
{
  int in[2] = {-1, -1}, out[2] = {-1, -1}, errs[2] = {-1, -1};
  struct plan p = {.c = c};
  int failed = c->fd_count > FDS_MAX ? err_set(err, ERR_LIMIT, "too many descriptors for a child")
                                     : make_pipe(c->want_input, O_RDONLY, in, err);
  if (!failed)
    failed = make_pipe(true, 0, out, err);
  if (!failed && !c->share_errors)
    failed = make_pipe(true, 0, errs, err);
  if (!failed) {
    p.in = in[0];
    p.out = out[1];
    p.errs = c->share_errors ? STDERR_FILENO : errs[1];
    plan_env(&p);
    failed = spawn(&p, ret, err);
    free(p.path_env);
    free(p.home_env);
  }
  int ours[] = {in[1], out[0], errs[0]};
  int theirs[] = {in[0], out[1], errs[1]};
  for (size_t i = 0; i < ARRAY_SIZE(theirs); i++) {
    if (theirs[i] >= 0)
      close(theirs[i]);
    if (failed && ours[i] >= 0)
      close(ours[i]);
  }
  if (failed)
    return -1;
  ret->input = in[1];
  ret->output = out[0];
  ret->errors = errs[0];
  return 0;
}

static void close_pipe(int *fd)
{
  if (*fd >= 0)
    close(*fd);
  *fd = -1;
}

void command_reap(struct command_child *child, bool kill_first, struct command_result *ret)
{
  close_pipe(&child->input);
  if (kill_first)
    kill(-child->pid, SIGKILL);
  int status = 0;
  while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
    ;
  close_pipe(&child->output);
  close_pipe(&child->errors);
  ret->exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  ret->signal_number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

// ---- running to the end ---------------------------------------------------------------------

struct run {
  const struct command *c;
  struct command_child child;
  struct buf output, errors;
  int process; // pidfd of the child
  bool ended;
  size_t fed;
  int64_t deadline_ms; // 0 = none
};

static void feed(struct run *r)
{
  ssize_t n =
      write(r->child.input, (const char *)r->c->input + r->fed, r->c->input_length - r->fed);
  if (n > 0)
    r->fed += (size_t)n;
  bool gone = n < 0 && errno != EAGAIN && errno != EINTR; // the child may not want it all
  if (gone || r->fed == r->c->input_length)
    close_pipe(&r->child.input);
}

static void drain(int *fd, struct buf *into)
{
  char chunk[65536];
  ssize_t n = read(*fd, chunk, sizeof(chunk));
  if (n > 0)
    buf_add(into, chunk, (size_t)n);
  else if (n == 0 || (errno != EAGAIN && errno != EINTR))
    close_pipe(fd);
}

static int wait_a_bit(struct run *r, struct pollfd *fds)
{
  fds[0] = (struct pollfd){.fd = r->child.output, .events = POLLIN};
  fds[1] = (struct pollfd){.fd = r->child.errors, .events = POLLIN};
  fds[2] = (struct pollfd){.fd = r->child.input, .events = POLLOUT};
  // Its end matters once nothing can come any more; asked earlier, it would make poll spin.
  bool silent = r->child.output < 0 && r->child.errors < 0;
  fds[3] = (struct pollfd){.fd = silent ? r->process : -1, .events = POLLIN};
  int64_t wait_ms = r->c->cancel ? 50 : -1;
  if (r->deadline_ms) {
    int64_t left = r->deadline_ms - clock_ms();
    if (left < 0)
      left = 0;
    wait_ms = wait_ms < 0 || left < wait_ms ? left : wait_ms;
  }
  return poll(fds, 4, (int)wait_ms);
}

static int check_limits(struct run *r, struct err *err)
{
  const char *name = r->c->argv[0];
  if (r->c->cancel && __atomic_load_n(r->c->cancel, __ATOMIC_RELAXED))
    return err_set(err, ERR_CANCELLED, "%s was stopped", name);
  if (r->deadline_ms && clock_ms() >= r->deadline_ms)
    return err_set(err, ERR_TIMEOUT, "%s did not end within %lld ms", name,
                   (long long)r->c->timeout_ms);
  if (!buf_ok(&r->output) || !buf_ok(&r->errors))
    return err_set(err, ERR_LIMIT, "%s printed more than the limit", name);
  return 0;
}

static int pump(struct run *r, struct err *err)
{
  while (!r->ended) {
    struct pollfd fds[4];
    int ready = wait_a_bit(r, fds);
    if (ready > 0 && fds[0].revents)
      drain(&r->child.output, &r->output);
    if (ready > 0 && fds[1].revents)
      drain(&r->child.errors, &r->errors);
    if (ready > 0 && fds[2].revents)
      feed(r);
    r->ended = ready > 0 && fds[3].revents;
    if (!r->ended && check_limits(r, err) != 0)
      return -1;
  }
  return 0;
}

static int start_run(struct run *r, struct err *err)
{
  const struct command *c = r->c;
  struct command_start start = {.argv = c->argv, .env = c->env, .want_input = c->input != NULL};
  if (command_start(&start, &r->child, err) != 0)
    return -1;
  r->process = pidfd_open(r->child.pid, 0);
  if (r->process < 0) {
    int number = errno;
    struct command_result ended;
    command_reap(&r->child, true, &ended);
    return err_errno(err, number, "watch %s", c->argv[0]);
  }
  if (r->child.input >= 0)
    fcntl(r->child.input, F_SETFL, O_NONBLOCK);
  if (r->child.input >= 0 && c->input_length == 0)
    close_pipe(&r->child.input);
  r->deadline_ms = c->timeout_ms ? clock_ms() + c->timeout_ms : 0;
  return 0;
}

int command_run(const struct command *c, struct command_result *ret, struct err *err)
{
  *ret = (struct command_result){0};
  if (fake)
    return fake(fake_arg, c, ret, err);
  size_t max = c->output_max ? c->output_max : LIMIT_COMMAND_OUTPUT_BYTES;
  struct run r = {.c = c, .output = BUF_INIT(max), .errors = BUF_INIT(max)};
  if (start_run(&r, err) != 0)
    return -1;
  int failed = pump(&r, err);
  command_reap(&r.child, failed, ret);
  close(r.process);
  if (failed) {
    buf_release(&r.output);
    buf_release(&r.errors);
    return -1;
  }
  ret->output_length = r.output.length;
  ret->errors_length = r.errors.length;
  ret->output = buf_take(&r.output);
  ret->errors = buf_take(&r.errors);
  return 0;
}

static const char *last_line(char *text)
{
  size_t n = strlen(text);
  while (n && (text[n - 1] == '\n' || text[n - 1] == ' '))
    text[--n] = '\0';
  const char *newline = strrchr(text, '\n');
  return newline ? newline + 1 : text;
}

int command_check(const struct command *c, struct command_result *ret, struct err *err)
{
  if (command_run(c, ret, err) != 0)
    return -1;
  if (ret->exit_status == 0)
    return 0;
  if (ret->signal_number)
    err_set(err, ERR_IO, "%s was ended by signal %d", c->argv[0], ret->signal_number);
  else
    err_set(err, ERR_IO, "%s failed with status %d: %.400s", c->argv[0], ret->exit_status,
            ret->errors ? last_line(ret->errors) : "");
  command_result_release(ret);
  return -1;
}

void command_result_release(struct command_result *r)
{
  free(r->output);
  free(r->errors);
  *r = (struct command_result){0};
}
