// SPDX-License-Identifier: Apache-2.0
#include "net/stream.h"

#include <assert.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/str.h"
#include "net/http_internal.h"

#define RECEIVE_BYTES (16l << 10) // lines are short and many streams are open

// A stream goes through: waiting (opened, not yet with curl, so that one may be opened from any
// callback), running (with curl), and over (done is called, then it is freed).
struct stream {
  struct stream *next;
  struct streams *owner;
  CURL *easy;
  struct http_transfer transfer;
  struct http_response response; // headers, and the body when it is no 2xx
  struct buf line;               // what has come of a line so far
  struct stream_callbacks callbacks;
  char *url;
  char *method;
  int64_t deadline_ms; // of the whole answer; 0 = none
  int64_t idle_timeout_ms, active_ms;
  bool running;
  bool cancelled;
  bool faulty; // fault says why we ended it
  struct err fault;
};

struct socket_watch {
  struct streams *owner;
  curl_socket_t fd;
  struct loop_watch *watch;
};

struct streams {
  struct loop *loop;
  CURLM *multi;
  struct loop_timer *curl_timer; // when curl wants to be called
  struct loop_timer *look_timer; // when a stream starts, is cancelled, or may run out of time
  struct stream *streams;
};

// ---- the end of a stream --------------------------------------------------------------------

static void stream_free(struct stream *s)
{
  if (s->easy)
    curl_easy_cleanup(s->easy);
  http_transfer_clear(&s->transfer);
  http_response_release(&s->response);
  buf_release(&s->line);
  free(s->url);
  free(s->method);
  free(s);
}

static void end(struct stream *s, CURLcode code)
{
  struct streams *owner = s->owner;
  struct stream **at = &owner->streams;
  while (*at != s)
    at = &(*at)->next;
  *at = s->next;
  struct err err = ERR_INIT;
  bool failed = true;
  char what[400], origin[300];
  snprintf(what, sizeof(what), "%s %s", s->method, http_origin_text(s->url, origin));
  curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &s->response.status);
  if (s->cancelled)
    err_set(&err, ERR_CANCELLED, "cancelled");
  else if (s->faulty)
    err = s->fault;
  else if (code != CURLE_OK)
    http_curl_error(s->easy, &s->transfer, code, s->url, &err);
  else if (s->response.status / 100 != 2)
    http_status_error(&s->response, what, &err);
  else
    failed = false;
  if (s->running)
    curl_multi_remove_handle(owner->multi, s->easy);
  s->callbacks.done(s->callbacks.arg, s->response.status, buf_str(&s->response.body),
                    s->response.retry_after_ms, failed ? &err : NULL);
  stream_free(s);
}

static void look_soon(struct streams *s)
{
  loop_timer_start(s->look_timer, 0);
}

static void collect_finished(struct streams *s)
{
  int left;
  for (CURLMsg *m; (m = curl_multi_info_read(s->multi, &left));) {
    if (m->msg != CURLMSG_DONE)
      continue;
    struct stream *stream;
    CURLcode code = m->data.result;
    curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&stream);
    end(stream, code);
  }
}

// ---- curl's callbacks about one stream ------------------------------------------------------

static size_t fail(struct stream *s, enum err_kind kind, const char *message)
{
  char origin[300];
  s->faulty = true;
  err_set(&s->fault, kind, "%s %s: %s", s->method, http_origin_text(s->url, origin), message);
  return 0;
}

static size_t on_header(char *line, size_t size, size_t count, void *arg)
{
  struct stream *s = arg;
  s->active_ms = clock_ms();
  if (!http_headers_add(&s->response.headers, line, size * count))
    return fail(s, ERR_LIMIT, "too many headers");
  s->response.retry_after_ms =
      http_retry_after_ms(http_response_header(&s->response, "Retry-After"), clock_wall_ms());
  return size * count;
}

// Gives away each whole line; a rest without a newline waits, and is dropped if the answer ends: it
// was cut off.
static size_t take_lines(struct stream *s, const char *data, size_t length)
{
  const char *at = data, *stop = data + length;
  for (const char *newline; (newline = memchr(at, '\n', (size_t)(stop - at)));) {
    const char *text = at;
    size_t text_length = (size_t)(newline - at);
    if (s->line.length) {
      buf_add(&s->line, at, text_length);
      if (!buf_ok(&s->line))
        return fail(s, ERR_LIMIT, "a line is too long");
      text = buf_str(&s->line);
      text_length = s->line.length;
    } else if (text_length > s->line.max) {
      return fail(s, ERR_LIMIT, "a line is too long");
    }
    s->callbacks.line(s->callbacks.arg, text, text_length);
    buf_clear(&s->line);
    if (s->cancelled)
      return 0;
    at = newline + 1;
  }
  buf_add(&s->line, at, (size_t)(stop - at));
  return buf_ok(&s->line) ? length : fail(s, ERR_LIMIT, "a line is too long");
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
  struct stream *s = arg;
  size_t length = size * count;
  long status = 0;
  s->active_ms = clock_ms();
  if (s->cancelled)
    return 0;
  curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &status);
  if (status / 100 == 2)
    return take_lines(s, data, length);
  size_t room = s->response.body.max - s->response.body.length;
  buf_add(&s->response.body, data, length < room ? length : room);
  return length;
}

// ---- curl's sockets and timer on the loop ---------------------------------------------------

static void on_socket_ready(void *arg, int events)
{
  struct socket_watch *w = arg;
  struct streams *s = w->owner;
  int running, bits = 0;
  if (events & LOOP_READABLE)
    bits |= CURL_CSELECT_IN;
  if (events & LOOP_WRITABLE)
    bits |= CURL_CSELECT_OUT;
  curl_multi_socket_action(s->multi, w->fd, bits, &running); // may free w
  collect_finished(s);
}

static int drop_watch(struct streams *s, curl_socket_t fd, struct socket_watch *w)
{
  curl_multi_assign(s->multi, fd, NULL);
  if (w)
    loop_watch_free(w->watch);
  free(w);
  return 0;
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *assigned)
{
  struct streams *s = arg;
  struct socket_watch *w = assigned;
  (void)easy;
  if (what == CURL_POLL_REMOVE)
    return drop_watch(s, fd, w);
  if (!w) {
    w = calloc(1, sizeof(*w));
    if (!w)
      return -1;
    *w = (struct socket_watch){.owner = s, .fd = fd};
    w->watch = loop_watch_new(s->loop, fd, on_socket_ready, w);
    if (!w->watch) {
      free(w);
      return -1;
    }
    curl_multi_assign(s->multi, fd, w);
  }
  int events = what == CURL_POLL_IN    ? LOOP_READABLE
               : what == CURL_POLL_OUT ? LOOP_WRITABLE
                                       : LOOP_READABLE | LOOP_WRITABLE;
  return loop_watch_set(w->watch, events);
}

static int on_curl_timer(CURLM *multi, long delay_ms, void *arg)
{
  struct streams *s = arg;
  (void)multi;
  if (delay_ms < 0)
    loop_timer_stop(s->curl_timer);
  else
    loop_timer_start(s->curl_timer, delay_ms);
  return 0;
}

static void on_timer_due(void *arg)
{
  struct streams *s = arg;
  int running;
  curl_multi_socket_action(s->multi, CURL_SOCKET_TIMEOUT, 0, &running);
  collect_finished(s);
}

// ---- looking after streams ------------------------------------------------------------------

static bool out_of_time(struct stream *s, int64_t now_ms)
{
  if (s->deadline_ms && now_ms >= s->deadline_ms)
    fail(s, ERR_TIMEOUT, "not done in time");
  else if (now_ms - s->active_ms >= s->idle_timeout_ms)
    fail(s, ERR_TIMEOUT, "nothing received for too long");
  return s->faulty;
}

// Ends or starts one stream that needs it; true when there may be another.
static bool look_at_one(struct streams *owner, int64_t now_ms)
{
  for (struct stream *s = owner->streams; s; s = s->next) {
    if (s->cancelled || out_of_time(s, now_ms)) {
      end(s, CURLE_OK);
      return true; // the list may be another now
    }
    if (s->running)
      continue;
    s->running = curl_multi_add_handle(owner->multi, s->easy) == CURLM_OK;
    if (!s->running) {
      fail(s, ERR_INTERNAL, "libcurl did not take the request");
      end(s, CURLE_OK);
      return true;
    }
  }
  return false;
}

static void look(void *arg)
{
  struct streams *owner = arg;
  int64_t now_ms = clock_ms(), next_ms = INT64_MAX;
  while (look_at_one(owner, now_ms))
    ;
  for (struct stream *s = owner->streams; s; s = s->next) {
    int64_t idle_ms = s->active_ms + s->idle_timeout_ms;
    int64_t due_ms = s->deadline_ms && s->deadline_ms < idle_ms ? s->deadline_ms : idle_ms;
    // What was opened or cancelled by a callback just now comes at once.
    due_ms = s->cancelled || !s->running ? now_ms : due_ms;
    next_ms = due_ms < next_ms ? due_ms : next_ms;
  }
  if (next_ms != INT64_MAX)
    loop_timer_start(owner->look_timer, next_ms - now_ms);
}

// ---- life -----------------------------------------------------------------------------------

struct streams *streams_new(struct loop *loop)
{
  struct streams *s = calloc(1, sizeof(*s));
  if (!s)
    return NULL;
  s->loop = loop;
  s->multi = curl_multi_init();
  s->curl_timer = loop_timer_new(loop, on_timer_due, s);
  s->look_timer = loop_timer_new(loop, look, s);
  if (!s->multi || !s->curl_timer || !s->look_timer) {
    streams_free(s);
    return NULL;
  }
  curl_multi_setopt(s->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
  curl_multi_setopt(s->multi, CURLMOPT_SOCKETDATA, s);
  curl_multi_setopt(s->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
  curl_multi_setopt(s->multi, CURLMOPT_TIMERDATA, s);
  return s;
}

void streams_free(struct streams *s)
{
  if (!s)
    return;
  while (s->streams) {
    s->streams->cancelled = true;
    end(s->streams, CURLE_OK);
  }
  if (s->multi) {
    curl_multi_setopt(s->multi, CURLMOPT_TIMERFUNCTION, NULL);
    curl_multi_cleanup(s->multi);
  }
  loop_timer_free(s->curl_timer);
  loop_timer_free(s->look_timer);
  free(s);
}

static int set_options(struct stream *s, struct http_client *client,
                       const struct http_request *request, struct err *err)
{
  if (http_options_client(s->easy, client, &s->transfer, err) != 0 ||
      http_options_request(s->easy, &s->transfer, request, err) != 0)
    return -1;
  CURL *e = s->easy;
  int failed = curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header) != CURLE_OK;
  failed |= curl_easy_setopt(e, CURLOPT_HEADERDATA, s) != CURLE_OK;
  failed |= curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body) != CURLE_OK;
  failed |= curl_easy_setopt(e, CURLOPT_WRITEDATA, s) != CURLE_OK;
  failed |= curl_easy_setopt(e, CURLOPT_PRIVATE, s) != CURLE_OK;
  failed |= curl_easy_setopt(e, CURLOPT_BUFFERSIZE, RECEIVE_BYTES) != CURLE_OK;
  // A connection of its own: never one that somebody else's pinning or certificate has opened, and
  // never one that died while it was idle.
  failed |= curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L) != CURLE_OK;
  failed |= curl_easy_setopt(e, CURLOPT_FORBID_REUSE, 1L) != CURLE_OK;
  return failed ? err_set(err, ERR_INTERNAL, "libcurl refused an option (%s)", curl_version()) : 0;
}

struct stream *stream_open(struct streams *owner, struct http_client *client,
                           const struct http_request *request, size_t line_max,
                           const struct stream_callbacks *callbacks, struct err *err)
{
  assert(callbacks->line && callbacks->done);
  struct stream *s = calloc(1, sizeof(*s));
  if (s) {
    s->easy = curl_easy_init();
    s->url = str_dup(request->url);
    s->method = str_dup(request->method);
  }
  if (!s || !s->easy || !s->url || !s->method) {
    if (s)
      stream_free(s);
    err_set(err, ERR_NO_MEMORY, "no memory for a stream");
    return NULL;
  }
  int64_t now_ms = clock_ms();
  s->owner = owner;
  s->callbacks = *callbacks;
  s->line.max = line_max;
  s->response.body.max = HTTP_ERROR_BODY_MAX;
  s->response.headers.max = LIMIT_HTTP_HEADER_BYTES;
  s->active_ms = now_ms;
  s->idle_timeout_ms =
      request->idle_timeout_ms ? request->idle_timeout_ms : client->idle_timeout_ms;
  s->deadline_ms = request->total_timeout_ms ? now_ms + request->total_timeout_ms : 0;
  if (set_options(s, client, request, err) != 0) {
    stream_free(s);
    return NULL;
  }
  s->next = owner->streams;
  owner->streams = s;
  look_soon(owner);
  return s;
}

void stream_cancel(struct stream *s)
{
  s->cancelled = true;
  look_soon(s->owner);
}
