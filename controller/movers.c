// SPDX-License-Identifier: Apache-2.0
#include "controller/movers.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/command.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/str.h"

#define STOP_GRACE_MS 2000

struct mover {
  struct mover *next;
  struct movers *all;
  char *id;
  struct object_key owner;
  struct command_child child;
  struct mover_report report; // guarded by movers.mutex
  bool stopping;              // guarded by movers.mutex
  enum mover_state said;      // its last word; it becomes report.state once the process is gone
  // The loop's alone.
  struct loop_watch *watch;
  struct loop_timer *kill_timer;
  struct buf line;
};

struct movers {
  struct loop *loop;
  char *program;
  void (*changed)(void *arg, const struct object_key *key);
  void *arg;
  pthread_mutex_t mutex; // guards the list and what is said above
  struct mover *first;
};

struct movers *movers_new(struct loop *loop, const char *program,
                          void (*changed)(void *arg, const struct object_key *key), void *arg)
{
  struct movers *m = calloc(1, sizeof(*m));
  if (!m)
    return NULL;
  m->loop = loop;
  m->program = str_dup(program);
  m->changed = changed;
  m->arg = arg;
  pthread_mutex_init(&m->mutex, NULL);
  return m;
}

// ---- lines ----------------------------------------------------------------------------------

static int64_t number(struct json_object *o, const char *name, int64_t fallback)
{
  struct json_object *value = json_object_object_get(o, name);
  return value ? json_object_get_int64(value) : fallback;
}

static const char *text(struct json_object *o, const char *name)
{
  const char *value = json_object_get_string(json_object_object_get(o, name));
  return value ? value : "";
}

static void on_progress(struct mover *mv, struct json_object *o)
{
  struct mover_report *r = &mv->report;
  int64_t before = r->transferred_bytes + r->verified_bytes;
  r->verifying = str_eq(text(o, "phase"), "verifying");
  r->total_bytes = number(o, "totalBytes", 0);
  r->data_bytes = number(o, "dataBytes", 0);
  r->transferred_bytes = number(o, "transferredBytes", 0);
  r->verified_bytes = number(o, "verifiedBytes", 0);
  r->resent_bytes = number(o, "resentBytes", 0);
  r->bytes_per_second = number(o, "bytesPerSecond", 0);
  r->eta_seconds = number(o, "etaSeconds", -1);
  if (r->transferred_bytes + r->verified_bytes != before)
    r->moved_wall_ms = clock_wall_ms();
}

static void on_done(struct mover *mv, struct json_object *o)
{
  struct mover_report *r = &mv->report;
  mv->said = MOVER_DONE;
  r->total_bytes = number(o, "sizeBytes", 0);
  r->data_bytes = number(o, "dataBytes", 0);
  r->transferred_bytes = r->data_bytes;
  r->stored_bytes = number(o, "storedBytes", 0);
  r->resent_bytes = number(o, "resentBytes", r->resent_bytes);
  r->eta_seconds = 0;
  snprintf(r->content_digest, sizeof(r->content_digest), "%s", text(o, "contentDigest"));
  snprintf(r->object_sha256, sizeof(r->object_sha256), "%s", text(o, "objectSha256"));
  snprintf(r->format, sizeof(r->format), "%s", text(o, "format"));
}

static void on_error(struct mover *mv, struct json_object *o)
{
  mv->said = MOVER_FAILED;
  err_set(&mv->report.err, err_kind_of_reason(text(o, "kind")), "%s", text(o, "message"));
}

static void on_warning(struct mover *mv, struct json_object *o)
{
  log_warning("mover", "id", mv->id, "message", text(o, "message"), NULL);
}

static const struct {
  const char *type;
  void (*take)(struct mover *mv, struct json_object *o);
} line_types[] = {
    {"progress", on_progress}, {"warning", on_warning}, {"done", on_done}, {"error", on_error}};

static void take_line(struct mover *mv, const char *line)
{
  struct json_object *o = json_tokener_parse(line);
  const char *type = o ? text(o, "type") : "";
  LOCK_FOR_SCOPE(&mv->all->mutex);
  for (size_t i = 0; i < ARRAY_SIZE(line_types); i++)
    if (str_eq(type, line_types[i].type) && mv->said == MOVER_NONE)
      line_types[i].take(mv, o);
  json_object_put(o);
}

static void take_lines(struct mover *mv)
{
  char *newline;
  while (mv->line.length && (newline = memchr(mv->line.data, '\n', mv->line.length))) {
    *newline = '\0';
    take_line(mv, mv->line.data);
    buf_drop_front(&mv->line, (size_t)(newline - mv->line.data) + 1);
  }
}

// ---- the end of a mover ---------------------------------------------------------------------

static void say_how_it_ended(struct mover *mv, const struct command_result *end)
{
  LOCK_FOR_SCOPE(&mv->all->mutex);
  struct mover_report *r = &mv->report;
  r->state = mv->said == MOVER_DONE ? MOVER_DONE : MOVER_FAILED;
  if (mv->said != MOVER_NONE)
    return;
  if (mv->stopping)
    err_set(&r->err, ERR_CANCELLED, "the transfer was stopped");
  else if (end->signal_number)
    err_set(&r->err, ERR_IO, "the mover was ended by signal %d", end->signal_number);
  else
    err_set(&r->err, ERR_IO, "the mover ended with status %d and said nothing", end->exit_status);
}

// Its standard output is at an end, so the process is ending as well. One that is not is killed:
// the loop must not wait for it. The status of one that is ending already does not change by that.
static void end_mover(struct mover *mv)
{
  loop_watch_free(mv->watch);
  loop_timer_free(mv->kill_timer);
  mv->watch = NULL;
  mv->kill_timer = NULL;
  struct command_result end = {0};
  command_reap(&mv->child, true, &end);
  buf_release(&mv->line);
  say_how_it_ended(mv, &end);
}

static void on_readable(void *arg, int events)
{
  (void)events;
  struct mover *mv = arg;
  char chunk[16384];
  ssize_t n = read(mv->child.output, chunk, sizeof(chunk));
  if (n < 0 && (errno == EAGAIN || errno == EINTR))
    return;
  if (n > 0) {
    buf_add(&mv->line, chunk, (size_t)n);
    take_lines(mv);
    if (!buf_ok(&mv->line)) // a line without an end: not ours to understand
      kill(mv->child.pid, SIGKILL);
  } else {
    end_mover(mv);
  }
  mv->all->changed(mv->all->arg, &mv->owner);
}

static void on_grace_over(void *arg)
{
  struct mover *mv = arg;
  kill(mv->child.pid, SIGKILL);
}

// ---- starting -------------------------------------------------------------------------------

static int memory_file(const char *name, const char *content, struct err *err)
{
  cleanup_close int fd = memfd_create(name, MFD_CLOEXEC);
  size_t length = strlen(content);
  if (fd < 0 || write(fd, content, length) != (ssize_t)length || lseek(fd, 0, SEEK_SET) != 0)
    return err_errno(err, errno, "memory for the mover's document");
  return TAKE_FD(fd);
}

static int spawn(struct movers *m, const struct mover_spec *spec, struct command_child *ret,
                 struct err *err)
{
  cleanup_free char *document = NULL;
  char *secrets CLEANUP(cleanup_free_) = NULL;
  if (mover_spec_encode(spec, &document, &secrets, err) != 0)
    return -1;
  cleanup_close int spec_fd = memory_file("mover-spec", document, err);
  cleanup_close int secrets_fd = spec_fd < 0 ? -1 : memory_file("mover-secrets", secrets, err);
  secret_free_string(TAKE(secrets));
  if (spec_fd < 0 || secrets_fd < 0)
    return -1;
  const char *argv[] = {m->program, "copy", "--spec", "/dev/fd/3", "--secrets", "/dev/fd/4", NULL};
  int fds[] = {spec_fd, secrets_fd};
  struct command_start start = {
      .argv = argv, .want_input = true, .share_errors = true, .fds = fds, .fd_count = 2};
  if (command_start(&start, ret, err) != 0)
    return -1;
  fcntl(ret->output, F_SETFL, O_NONBLOCK);
  fcntl(ret->input, F_SETFL, O_NONBLOCK);
  return 0;
}

static struct mover *find(struct movers *m, const char *id)
{
  struct mover *mv = m->first;
  while (mv && !str_eq(mv->id, id))
    mv = mv->next;
  return mv;
}

static void watch_mover(void *arg)
{
  struct mover *mv = arg;
  mv->watch = loop_watch_new(mv->all->loop, mv->child.output, on_readable, mv);
  mv->kill_timer = loop_timer_new(mv->all->loop, on_grace_over, mv);
  if (!mv->watch || !mv->kill_timer)
    abort();
  loop_watch_set(mv->watch, LOOP_READABLE);
}

static struct mover *mover_new(struct movers *m, const char *id, const struct object_key *owner)
{
  struct mover *mv = calloc(1, sizeof(*mv));
  if (!mv)
    return NULL;
  mv->all = m;
  mv->id = str_dup(id);
  mv->owner = *owner;
  mv->line.max = LIMIT_MOVER_LINE_BYTES;
  mv->next = m->first;
  m->first = mv;
  return mv;
}

int movers_start(struct movers *m, const char *id, const struct object_key *owner,
                 const struct mover_spec *spec, struct err *err)
{
  LOCK_FOR_SCOPE(&m->mutex);
  struct mover *mv = find(m, id);
  if (mv && mv->report.state == MOVER_RUNNING)
    return 0;
  struct command_child child;
  if (spawn(m, spec, &child, err) != 0)
    return -1;
  if (!mv)
    mv = mover_new(m, id, owner);
  if (!mv)
    abort();
  mv->child = child;
  mv->stopping = false;
  mv->said = MOVER_NONE;
  mv->report = (struct mover_report){
      .state = MOVER_RUNNING, .eta_seconds = -1, .moved_wall_ms = clock_wall_ms()};
  loop_post(m->loop, watch_mover, mv);
  return 0;
}

// ---- asking and telling ---------------------------------------------------------------------

void movers_report(struct movers *m, const char *id, struct mover_report *ret)
{
  LOCK_FOR_SCOPE(&m->mutex);
  struct mover *mv = find(m, id);
  *ret = mv ? mv->report : (struct mover_report){.state = MOVER_NONE, .eta_seconds = -1};
}

// A pipe that is full or gone: the mover is stuck or ending, and the grace timer sees to the first.
static void tell(struct mover *mv, const char *line)
{
  ssize_t written = write(mv->child.input, line, strlen(line));
  (void)written;
}

static void start_grace(void *arg)
{
  struct mover *mv = arg;
  if (mv->kill_timer)
    loop_timer_start(mv->kill_timer, STOP_GRACE_MS);
}

static void stop_locked(struct mover *mv)
{
  if (mv->report.state != MOVER_RUNNING || mv->stopping)
    return;
  mv->stopping = true;
  tell(mv, "{\"cancel\":true}\n");
  loop_post(mv->all->loop, start_grace, mv);
}

void movers_stop_all(struct movers *m, const char *id_prefix)
{
  LOCK_FOR_SCOPE(&m->mutex);
  for (struct mover *mv = m->first; mv; mv = mv->next)
    if (str_starts(mv->id, id_prefix))
      stop_locked(mv);
}

void movers_stop(struct movers *m, const char *id)
{
  LOCK_FOR_SCOPE(&m->mutex);
  struct mover *mv = find(m, id);
  if (mv)
    stop_locked(mv);
}

void movers_limit(struct movers *m, const char *id, int64_t bytes_per_second)
{
  LOCK_FOR_SCOPE(&m->mutex);
  struct mover *mv = find(m, id);
  if (!mv || mv->report.state != MOVER_RUNNING)
    return;
  cleanup_free char *line = str_printf("{\"bytesPerSecond\":%lld}\n", (long long)bytes_per_second);
  if (line)
    tell(mv, line);
}

size_t movers_running(struct movers *m, const char *id_prefix)
{
  LOCK_FOR_SCOPE(&m->mutex);
  size_t count = 0;
  for (struct mover *mv = m->first; mv; mv = mv->next)
    count += mv->report.state == MOVER_RUNNING && str_starts(mv->id, id_prefix);
  return count;
}

static void mover_free(struct mover *mv)
{
  free(mv->id);
  free(mv);
}

static void mover_free_later(void *arg)
{
  mover_free(arg);
}

void movers_forget(struct movers *m, const char *id_prefix)
{
  LOCK_FOR_SCOPE(&m->mutex);
  struct mover **at = &m->first;
  while (*at) {
    struct mover *mv = *at;
    if (mv->report.state == MOVER_RUNNING || !str_starts(mv->id, id_prefix)) {
      at = &mv->next;
      continue;
    }
    *at = mv->next;
    // The loop may hold a letter about it, or be in its callback: it is freed there, after those.
    loop_post(m->loop, mover_free_later, mv);
  }
}

void movers_free(struct movers *m)
{
  if (!m)
    return;
  // Letters about movers that are still on their way.
  loop_run_posted(m->loop);
  for (struct mover *mv = m->first; mv; mv = mv->next)
    if (mv->watch) {
      kill(mv->child.pid, SIGKILL);
      end_mover(mv);
    }
  while (m->first) {
    struct mover *mv = m->first;
    m->first = mv->next;
    mover_free(mv);
  }
  pthread_mutex_destroy(&m->mutex);
  free(m->program);
  free(m);
}
