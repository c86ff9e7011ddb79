// SPDX-License-Identifier: Apache-2.0
#include "mover/session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/limits.h"

#define GRACE_MS     1500 // the promise is 2 s from cancel to end, on a busy machine as well
#define INTERRUPT_MS 100  // what was about to hang when first interrupted is interrupted again

struct control {
  int64_t bytes_per_second; // -1 = not said
  bool cancel;
};

static const struct field control_fields[] = {
    {"bytesPerSecond", FIELD_INT, offsetof(struct control, bytes_per_second), .fallback = "-1",
     .min = -1, .max = INT64_MAX, .help = "new limit, 0 = none"},
    {"cancel", FIELD_BOOL, offsetof(struct control, cancel), .help = "stop"},
};

static const struct table control_table = TABLE(struct control, control_fields);

struct listener {
  struct session *session;
  int signal_fd, input_fd; // -1 = not listened to
  struct buf line;
  int64_t cancelled_ms; // 0 = not
};

// ---- for the work ---------------------------------------------------------------------------

int session_enter(struct session *s, void (*fn)(void *arg), void *arg, struct err *err)
{
  LOCK_FOR_SCOPE(&s->lock);
  if (s->tally.cancel)
    return err_set(err, ERR_CANCELLED, "cancelled");
  s->interrupt = fn;
  s->interrupt_arg = arg;
  return 0;
}

void session_leave(struct session *s)
{
  LOCK_FOR_SCOPE(&s->lock);
  s->interrupt = NULL;
}

static void *work_thread(void *arg)
{
  struct session *s = arg;
  s->rc = s->work(s, &s->err);
  uint64_t one = 1;
  ssize_t n = write(s->done_fd, &one, sizeof one);
  (void)n;
  return NULL;
}

// ---- listening ------------------------------------------------------------------------------

static void cancel(struct listener *l)
{
  struct session *s = l->session;
  if (!l->cancelled_ms)
    l->cancelled_ms = clock_ms();
  report_hurry(&s->report);
  LOCK_FOR_SCOPE(&s->lock);
  s->tally.cancel = true;
  if (s->interrupt)
    s->interrupt(s->interrupt_arg);
}

static void take_line(struct listener *l, const char *line)
{
  struct control c;
  struct err err = ERR_INIT;
  if (table_decode_text(&control_table, line, "control", &c, &err)) {
    report_warning(&l->session->report, "standard input: %s", err.message);
    return;
  }
  if (c.bytes_per_second >= 0)
    atomic_store(&l->session->tally.limit_bytes_per_s, c.bytes_per_second);
  if (c.cancel)
    cancel(l);
}

static void read_input(struct listener *l)
{
  char chunk[4096];
  ssize_t n = read(l->input_fd, chunk, sizeof chunk);
  if (n < 0 && (errno == EAGAIN || errno == EINTR))
    return;
  if (n > 0)
    buf_add(&l->line, chunk, (size_t)n);
  if (n <= 0 || !buf_ok(&l->line)) { // the parent is gone, or is none of ours
    l->input_fd = -1;
    cancel(l);
    return;
  }
  char *newline;
  while (l->line.length && (newline = memchr(l->line.data, '\n', l->line.length))) {
    *newline = 0;
    take_line(l, l->line.data);
    buf_drop_front(&l->line, (size_t)(newline - l->line.data) + 1);
  }
}

static void read_signal(struct listener *l)
{
  struct signalfd_siginfo info;
  if (read(l->signal_fd, &info, sizeof info) == sizeof info)
    cancel(l);
}

// The far side hangs so that even interrupting did not help. Children die with this process, and
// nothing has its final name.
static void give_up(struct listener *l)
{
  struct err err = ERR_INIT;
  err_set(&err, ERR_CANCELLED,
          "cancelled; the far side did not answer in time, so an unfinished "
          "upload may be left there under its owner mark");
  report_error(&l->session->report, &err);
  _exit(3);
}

static bool done(const struct pollfd *p)
{
  return p->revents != 0;
}

// Returns when the work has ended.
static void listen_on(struct listener *l)
{
  struct session *s = l->session;
  for (;;) {
    struct pollfd fds[] = {{.fd = s->done_fd, .events = POLLIN},
                           {.fd = l->signal_fd, .events = POLLIN},
                           {.fd = l->input_fd, .events = POLLIN}};
    int wait_ms = l->cancelled_ms ? INTERRUPT_MS : report_interval_ms(&s->report);
    if (poll(fds, ARRAY_SIZE(fds), wait_ms) < 0 && errno != EINTR)
      return;
    if (done(&fds[0]))
      return;
    if (done(&fds[1]))
      read_signal(l);
    if (done(&fds[2]))
      read_input(l);
    if (l->cancelled_ms && clock_ms() - l->cancelled_ms > GRACE_MS)
      give_up(l);
    if (!l->cancelled_ms)
      report_progress(&s->report, &s->tally, false);
    if (l->cancelled_ms || s->report.broken)
      cancel(l);
  }
}

// Only a pipe or a socket has somebody at its other end whose death its end would tell.
static int control_input(const struct mover_talk *talk)
{
  struct stat st;
  bool live = talk->control && fstat(STDIN_FILENO, &st) == 0 &&
              (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode));
  return live ? STDIN_FILENO : -1;
}

// ---- the process ----------------------------------------------------------------------------

// Secrets are in memory: no core files.
static void forbid_core_files(void)
{
  struct rlimit none = {0};
  setrlimit(RLIMIT_CORE, &none);
}

// SIGTERM and SIGINT come through a descriptor: blocked here and in every thread made later.
static int open_signals(struct err *err)
{
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  struct sigaction hangup; // under nohup it stays ignored
  if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
    sigaddset(&set, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  return fd < 0 ? err_errno(err, errno, "signals") : fd;
}

static int run_threads(struct session *s, struct err *err)
{
  s->done_fd = eventfd(0, EFD_CLOEXEC);
  cleanup_close int signal_fd = open_signals(err);
  cleanup_close int done_fd = s->done_fd;
  if (done_fd < 0 || signal_fd < 0)
    return err_set(err, ERR_IO, "no descriptors for the mover");
  pthread_t thread;
  if (pthread_create(&thread, NULL, work_thread, s))
    return err_set(err, ERR_NO_MEMORY, "no thread for the mover");
  struct listener l = {.session = s,
                       .signal_fd = signal_fd,
                       .input_fd = control_input(s->talk),
                       .line = BUF_INIT(LIMIT_MOVER_LINE_BYTES)};
  listen_on(&l);
  pthread_join(thread, NULL);
  buf_release(&l.line);
  if (s->rc < 0 && s->tally.cancel) // whatever broke when it was interrupted
    return err_set(err, ERR_CANCELLED, "cancelled");
  if (s->rc < 0)
    *err = s->err;
  return s->rc;
}

int session_run(const char *command, const struct mover_spec *spec, const struct mover_talk *talk,
                int (*work)(struct session *s, struct err *err))
{
  struct session s = {.spec = spec, .talk = talk, .work = work, .lock = PTHREAD_MUTEX_INITIALIZER};
  struct err err = ERR_INIT;
  forbid_core_files();
  atomic_store(&s.tally.limit_bytes_per_s, spec->bytes_per_second);
  report_init(&s.report, spec, talk, command);
  int rc = run_threads(&s, &err);
  if (rc < 0)
    report_error(&s.report, &err);
  return rc < 0 || s.report.broken ? 3 : rc;
}

int mover_refuse(const char *command, const struct mover_spec *spec, const struct mover_talk *talk,
                 const struct err *err)
{
  struct report r;
  report_init(&r, spec, talk, command);
  report_error(&r, err);
  return err->kind == ERR_INVALID ? 2 : 3;
}
