// SPDX-License-Identifier: Apache-2.0
#include "mover/report.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"

#define JSON_INTERVAL_MS  500
#define BAR_INTERVAL_MS   100
#define PLAIN_INTERVAL_MS 5000
#define COLUMNS_DEFAULT   80
#define LOOK_MS           100
#define PATIENCE_MS       500 // from a cancel on, for who does not read

const char *const mover_progress_names[] = {"auto", "bar", "json", "none", NULL};

static const char *const phase_names[] = {"preparing", "transferring", "verifying", "done"};

void report_init(struct report *r, const struct mover_spec *s, const struct mover_talk *talk,
                 const char *command)
{
  *r = (struct report){.style = talk->progress,
                       .json_result = talk->json_result || talk->progress == TALK_JSON,
                       .attempt = s->attempt,
                       .disk = s->disk,
                       .command = command,
                       .last_phase = -1};
  pthread_mutex_init(&r->lock, NULL);
  if (r->style == TALK_AUTO)
    r->style = isatty(STDERR_FILENO) ? TALK_BAR : TALK_PLAIN;
}

int report_interval_ms(const struct report *r)
{
  return r->style == TALK_BAR ? BAR_INTERVAL_MS : JSON_INTERVAL_MS;
}

void report_hurry(struct report *r)
{
  int64_t not_yet = 0;
  atomic_compare_exchange_strong(&r->hurry_ms, &not_yet, clock_ms());
}

static bool out_of_patience(struct report *r)
{
  int64_t since_ms = atomic_load(&r->hurry_ms);
  return since_ms && clock_ms() - since_ms > PATIENCE_MS;
}

// Whoever reads may have stopped reading (a full pipe, a terminal that is held), and that must not
// keep us from ending. A pipe that is ready takes PIPE_BUF bytes at once. may_drop: only when
// somebody reads.
static void put(struct report *r, int fd, const char *text, bool may_drop)
{
  size_t length = strlen(text);
  for (size_t at = 0; at < length;) {
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    bool first = may_drop && at == 0;
    if (poll(&p, 1, first ? 0 : LOOK_MS) <= 0) {
      if (first || out_of_patience(r)) {
        r->broken = r->broken || (!first && fd == STDOUT_FILENO);
        return;
      }
      continue;
    }
    ssize_t n = write(fd, text + at, length - at < PIPE_BUF ? length - at : PIPE_BUF);
    if (n < 0 && errno != EINTR && errno != EAGAIN) {
      r->broken = r->broken || fd == STDOUT_FILENO;
      return;
    }
    at += n > 0 ? (size_t)n : 0;
  }
}

static void add(struct json_object *o, const char *name, struct json_object *value)
{
  json_object_object_add(o, name, value);
}

// One line of standard output: {"type":..., "attempt":..., fields...}. Takes fields over.
static void say_json(struct report *r, const char *type, struct json_object *fields, bool may_drop)
{
  struct json_object *line = json_object_new_object();
  add(line, "type", json_object_new_string(type));
  if (r->attempt)
    add(line, "attempt", json_object_new_int64(r->attempt));
  json_object_object_foreach(fields, name, value)
  {
    add(line, name, json_object_get(value));
  }
  json_object_put(fields);
  char *text cleanup_free =
      str_printf("%s\n", json_object_to_json_string_ext(line, JSON_C_TO_STRING_PLAIN));
  if (text)
    put(r, STDOUT_FILENO, text, may_drop);
  json_object_put(line);
}

static void say_json_progress(struct report *r, const struct progress *p, bool may_drop)
{
  const struct {
    const char *name;
    uint64_t value;
  } numbers[] = {
      {"totalBytes", p->total_bytes},
      {"dataBytes", p->data_bytes},
      {"transferredBytes", p->transferred_bytes},
      {"verifiedBytes", p->verified_bytes},
      {"resentBytes", p->resent_bytes},
      {"resumedBytes", p->resumed_bytes},
  };
  struct json_object *o = json_object_new_object();
  add(o, "phase", json_object_new_string(phase_names[p->phase]));
  for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
    add(o, numbers[i].name, json_object_new_int64((int64_t)numbers[i].value));
  if (p->bytes_per_s >= 1)
    add(o, "bytesPerSecond", json_object_new_int64((int64_t)p->bytes_per_s));
  if (p->eta_s >= 0)
    add(o, "etaSeconds", json_object_new_int64(p->eta_s));
  say_json(r, "progress", o, may_drop);
}

static void clear_bar(struct report *r)
{
  if (r->bar_shown)
    put(r, STDERR_FILENO, "\r\033[K", true);
  r->bar_shown = false;
}

static void show_bar(struct report *r, const struct progress *p)
{
  struct winsize size;
  bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  struct buf line CLEANUP(buf_release) = BUF_INIT(1024);
  progress_bar(p, known ? size.ws_col : COLUMNS_DEFAULT, &line);
  char *text cleanup_free = str_printf("\r%s\033[K", buf_str(&line));
  if (text)
    put(r, STDERR_FILENO, text, true);
  r->bar_shown = true;
}

static void show_plain(struct report *r, const struct progress *p)
{
  struct buf line CLEANUP(buf_release) = BUF_INIT(1024);
  progress_text(p, &line);
  buf_addc(&line, '\n');
  put(r, STDERR_FILENO, buf_str(&line), true);
}

static void look_and_say(struct report *r, const struct tally *t, bool now, int64_t now_ms,
                         const int *intervals)
{
  struct progress p = progress_look(t, &r->meter, now_ms);
  if (r->style == TALK_NONE)
    return;
  if (!now && now_ms - r->last_ms < intervals[r->style])
    return;
  r->last_ms = now_ms;
  r->last_phase = p.phase;
  if (r->style == TALK_JSON)
    say_json_progress(r, &p, !now);
  else if (r->style == TALK_BAR)
    show_bar(r, &p);
  else
    show_plain(r, &p);
}

void report_progress(struct report *r, const struct tally *t, bool now)
{
  static const int intervals[] = {[TALK_BAR] = BAR_INTERVAL_MS,
                                  [TALK_JSON] = JSON_INTERVAL_MS,
                                  [TALK_PLAIN] = PLAIN_INTERVAL_MS};
  int64_t now_ms = clock_ms();
  // Whoever holds it may wait for a reader.
  if (now ? pthread_mutex_lock(&r->lock) : pthread_mutex_trylock(&r->lock))
    return;
  look_and_say(r, t, now, now_ms, intervals);
  pthread_mutex_unlock(&r->lock);
}

void report_warning(struct report *r, const char *format, ...)
{
  va_list args;
  va_start(args, format);
  struct buf text CLEANUP(buf_release) = BUF_INIT(ERR_MESSAGE_MAX);
  buf_vprintf(&text, format, args);
  va_end(args);
  LOCK_FOR_SCOPE(&r->lock);
  if (r->style == TALK_JSON) {
    struct json_object *o = json_object_new_object();
    add(o, "message", json_object_new_string(buf_str(&text)));
    say_json(r, "warning", o, false);
    return;
  }
  clear_bar(r);
  char *line cleanup_free = str_printf("drover %s: warning: %s\n", r->command, buf_str(&text));
  if (line)
    put(r, STDERR_FILENO, line, false);
}

void report_error(struct report *r, const struct err *e)
{
  LOCK_FOR_SCOPE(&r->lock);
  clear_bar(r);
  struct buf text CLEANUP(buf_release) = BUF_INIT(2 * ERR_MESSAGE_MAX);
  if (r->disk)
    buf_printf(&text, "disk %s: ", r->disk);
  buf_adds(&text, e->message);
  if (r->json_result) {
    struct json_object *o = json_object_new_object();
    add(o, "kind", json_object_new_string(err_reason(e->kind)));
    add(o, "retryable", json_object_new_boolean(err_retryable(e->kind)));
    if (e->retry_after_ms > 0)
      add(o, "retryAfterMs", json_object_new_int64(e->retry_after_ms));
    add(o, "message", json_object_new_string(buf_str(&text)));
    say_json(r, "error", o, false);
  } else {
    char *line cleanup_free = str_printf("drover %s: %s\n", r->command, buf_str(&text));
    if (line)
      put(r, STDERR_FILENO, line, false);
  }
}

void report_result(struct report *r, struct json_object *fields, const char *text)
{
  LOCK_FOR_SCOPE(&r->lock);
  clear_bar(r);
  if (r->json_result) {
    say_json(r, "done", fields, false);
    return;
  }
  json_object_put(fields);
  put(r, STDOUT_FILENO, text, false);
}
