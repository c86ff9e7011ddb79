// SPDX-License-Identifier: Apache-2.0
#include "base/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"

#define STAT_BYTES 1024
#define ENV_MAX    32

// ---- who it is ---------------------------------------------------------------------------------

// /proc/PID/stat from the state on: what stands before may hold any byte (the program's name).
static bool read_stat(pid_t pid, char b[STAT_BYTES], char **ret_state)
{
  char path[64];
  snprintf(path, sizeof(path), "/proc/%d/stat", pid);
  cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t got = fd < 0 ? -1 : read(fd, b, STAT_BYTES - 1);
  if (got <= 0)
    return false;
  b[got] = '\0';
  char *end = strrchr(b, ')');
  *ret_state = end && end[1] == ' ' ? end + 2 : NULL;
  return *ret_state != NULL;
}

int64_t launch_start_ticks(pid_t pid)
{
  char b[STAT_BYTES], *at;
  if (pid <= 0 || !read_stat(pid, b, &at) || *at == 'Z' || *at == 'X')
    return 0;
  for (int field = 3; field < 22 && at; field++)
    at = (at = strchr(at, ' ')) ? at + 1 : NULL;
  return at ? strtoll(at, NULL, 10) : 0;
}

bool launch_alive(const struct launched *p)
{
  if (p->pid <= 0)
    return false;
  waitpid(p->pid, NULL, WNOHANG); // ECHILD when it is no child of ours
  return p->start_ticks != 0 && launch_start_ticks(p->pid) == p->start_ticks;
}

int launch_signal(const struct launched *p, int number, struct err *err)
{
  cleanup_close int fd = p->pid > 0 ? pidfd_open(p->pid, 0) : -1;
  if (fd < 0 || !launch_alive(p)) // the descriptor is of whoever has the pid now: then compare
    return 0;
  if (pidfd_send_signal(fd, number, NULL, 0) != 0 && errno != ESRCH)
    return err_errno(err, errno, "signal %d to process %d", number, p->pid);
  return 0;
}

// ---- starting ----------------------------------------------------------------------------------

// After fork: only async-signal-safe calls.
static int join_all(const char *const *join)
{
  char digits[24], *at = digits + sizeof(digits);
  for (pid_t pid = getpid(); pid > 0; pid /= 10)
    *--at = (char)('0' + pid % 10);
  size_t length = (size_t)(digits + sizeof(digits) - at);
  for (; join && *join; join++) {
    int fd = open(*join, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, at, length) != (ssize_t)length)
      return -1;
    close(fd);
  }
  return 0;
}

static void child_main(const struct launch *l, const char *const *env, int log, int report)
{
  struct sigaction plain = {.sa_handler = SIG_DFL};
  sigset_t none;
  setsid();
  int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (join_all(l->join) == 0 && null >= 0 && dup2(null, 0) == 0 && dup2(log, 1) == 1 &&
      dup2(log, 2) == 2 && (report == 3 || dup3(report, 3, O_CLOEXEC) >= 0)) {
    report = 3;
    close_range(4, ~0u, 0);
    for (int s = 1; s < NSIG; s++)
      sigaction(s, &plain, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execvpe(l->argv[0], (char *const *)l->argv, (char *const *)env);
  }
  int number = errno;
  ssize_t written = write(report, &number, sizeof(number));
  (void)written;
  _exit(127);
}

static pid_t fork_child(const struct launch *l, const char *const *env, int log, int report)
{
  pid_t pid = fork();
  if (pid == 0)
    child_main(l, env, log, report);
  return pid;
}

static int outcome(const struct launch *l, pid_t pid, int report, struct err *err)
{
  int number = 0;
  ssize_t got;
  do
    got = read(report, &number, sizeof(number));
  while (got < 0 && errno == EINTR);
  if (got <= 0)
    return 0;
  waitpid(pid, NULL, 0);
  if (number == ENOENT)
    return err_set(err, ERR_NOT_FOUND, "program '%s' is not installed", l->argv[0]);
  return err_errno(err, number, "run %s", l->argv[0]);
}

int launch(const struct launch *l, struct launched *ret, struct err *err)
{
  const char *env[ENV_MAX + 1] = {"LANG=C.UTF-8"};
  const char *path = getenv("PATH");
  cleanup_free char *path_env = str_printf(
      "PATH=%s", path ? path : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  size_t n = 1;
  env[n++] = path_env;
  for (const char *const *e = l->env; e && *e && n < ENV_MAX; e++)
    env[n++] = *e;
  cleanup_close int log =
      open(l->log_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
  int report[2];
  if (log < 0 || pipe2(report, O_CLOEXEC) != 0)
    return err_errno(err, errno, "open %s", l->log_path);
  cleanup_close int report_in = report[0];
  cleanup_close int report_out = report[1];
  pid_t pid = fork_child(l, env, log, report_out);
  if (pid < 0)
    return err_errno(err, errno, "fork for %s", l->argv[0]);
  close(TAKE_FD(report_out));
  if (outcome(l, pid, report_in, err) != 0)
    return -1;
  *ret = (struct launched){.pid = pid, .start_ticks = launch_start_ticks(pid)};
  return 0;
}
