// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/str.h"
#include "net/http_internal.h"

// One request on its way. `fault` is what a callback found; curl only hears "abort".
struct call {
  struct http_session *session;
  const struct http_request *request;
  struct http_response *response;
  uint64_t sent; // bytes of the body handed to curl
  int64_t started_ms, active_ms;
  curl_off_t moved_bytes; // as last seen, in both directions
  bool head_seen;         // by request->head
  bool enough;            // of an error's body: the transfer was ended by us
  bool faulty;
  struct err fault;
};

static bool cancelled(const struct call *call)
{
  const volatile bool *cancel = call->request->cancel;
  return (cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED)) ||
         atomic_load(&call->session->interrupted);
}

static bool is_success(CURL *easy)
{
  long status = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  return status / 100 == 2;
}

static bool is_open(const struct http_request *r)
{
  return r->body_length == HTTP_LENGTH_OPEN;
}

// ---- callbacks ----

static size_t on_header(char *line, size_t size, size_t count, void *arg)
{
  struct call *call = arg;
  if (http_headers_add(&call->response->headers, line, size * count))
    return size * count;
  call->faulty = true;
  err_set(&call->fault, ERR_LIMIT, "the answer has more than %u bytes of headers",
          LIMIT_HTTP_HEADER_BYTES);
  return 0;
}

static size_t keep_error(struct call *call, const void *data, size_t length)
{
  struct buf *body = &call->response->body;
  size_t room = body->max - body->length;
  buf_add(body, data, length < room ? length : room);
  call->enough = length > room;
  return call->enough ? 0 : length;
}

static size_t keep_body(struct call *call, const void *data, size_t length)
{
  struct buf *body = &call->response->body;
  buf_add(body, data, length);
  if (buf_ok(body))
    return length;
  call->faulty = true;
  err_set(&call->fault, ERR_LIMIT, "the answer is longer than %zu bytes", body->max);
  return 0;
}

static int show_head(struct call *call)
{
  const struct http_request *r = call->request;
  if (call->head_seen || !r->head)
    return 0;
  call->head_seen = true;
  curl_easy_getinfo(call->session->easy, CURLINFO_RESPONSE_CODE, &call->response->status);
  return r->head(r->sink_arg, call->response, &call->fault);
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
  struct call *call = arg;
  size_t length = size * count;
  struct buf *body = &call->response->body;
  if (!is_success(call->session->easy)) {
    body->max = HTTP_ERROR_BODY_MAX;
    return keep_error(call, data, length);
  }
  if (!call->request->sink)
    return keep_body(call, data, length);
  if (cancelled(call))
    return 0;
  if (show_head(call) == 0 &&
      call->request->sink(call->request->sink_arg, data, length, &call->fault) == 0)
    return length;
  call->faulty = true;
  return 0;
}

static int read_request_body(struct call *call, void *into, size_t *length)
{
  const struct http_request *r = call->request;
  if (is_open(r))
    return r->read_some(r->read_arg, call->sent, into, *length, length, &call->fault);
  uint64_t left = r->body_length - call->sent;
  if (*length > left)
    *length = (size_t)left;
  if (*length && !r->body)
    return r->read_body(r->read_arg, call->sent, into, *length, &call->fault);
  if (*length)
    memcpy(into, (const char *)r->body + call->sent, *length);
  return 0;
}

static size_t on_read(char *into, size_t size, size_t count, void *arg)
{
  struct call *call = arg;
  size_t length = size * count;
  if (cancelled(call))
    return CURL_READFUNC_ABORT;
  if (read_request_body(call, into, &length) < 0) {
    call->faulty = true;
    return CURL_READFUNC_ABORT;
  }
  call->sent += length;
  call->active_ms = clock_ms(); // a slow reader of ours is not an idle peer
  return length;
}

static int on_seek(void *arg, curl_off_t offset, int origin)
{
  struct call *call = arg;
  if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > call->request->body_length)
    return CURL_SEEKFUNC_FAIL;
  call->sent = (uint64_t)offset;
  return CURL_SEEKFUNC_OK;
}

// ---- one request ----

#define SET(easy, option, value) failed |= curl_easy_setopt(easy, option, value) != CURLE_OK

static bool sends_body(const struct http_request *r)
{
  return r->body_length > 0 || str_eq(r->method, "PUT") || str_eq(r->method, "POST") ||
         str_eq(r->method, "PATCH");
}

static int call_options(struct call *call, struct err *err)
{
  CURL *easy = call->session->easy;
  const struct http_request *r = call->request;
  int failed = 0;
  SET(easy, CURLOPT_HEADERFUNCTION, on_header);
  SET(easy, CURLOPT_HEADERDATA, call);
  SET(easy, CURLOPT_WRITEFUNCTION, on_body);
  SET(easy, CURLOPT_WRITEDATA, call);
  if (sends_body(r)) {
    SET(easy, CURLOPT_UPLOAD, 1L);
    SET(easy, CURLOPT_READFUNCTION, on_read);
    SET(easy, CURLOPT_READDATA, call);
    SET(easy, CURLOPT_SEEKFUNCTION, on_seek);
    SET(easy, CURLOPT_SEEKDATA, call);
    // -1: curl sends chunks, as HTTP/1.1 has them.
    SET(easy, CURLOPT_INFILESIZE_LARGE, is_open(r) ? -1 : (curl_off_t)r->body_length);
  }
  if (failed)
    return err_set(err, ERR_INTERNAL, "libcurl refused an option (%s)", curl_version());
  return 0;
}

static void note_activity(struct call *call, int64_t now_ms)
{
  curl_off_t up = 0, down = 0, ready_us = 0;
  curl_easy_getinfo(call->session->easy, CURLINFO_SIZE_UPLOAD_T, &up);
  curl_easy_getinfo(call->session->easy, CURLINFO_SIZE_DOWNLOAD_T, &down);
  curl_easy_getinfo(call->session->easy, CURLINFO_PRETRANSFER_TIME_T, &ready_us);
  if (up + down != call->moved_bytes || ready_us == 0) // connecting has a time-out of its own
    call->active_ms = now_ms;
  call->moved_bytes = up + down;
}

// Cancel and the time-outs that curl does not know. 0: go on.
static int look(struct call *call, struct err *err)
{
  const struct http_request *r = call->request;
  int64_t now_ms = clock_ms();
  int64_t idle_ms =
      r->idle_timeout_ms ? r->idle_timeout_ms : call->session->client->idle_timeout_ms;
  char origin[300];
  if (cancelled(call))
    return err_set(err, ERR_CANCELLED, "cancelled");
  note_activity(call, now_ms);
  if (r->total_timeout_ms && now_ms - call->started_ms >= r->total_timeout_ms)
    return err_set(err, ERR_TIMEOUT, "%s: not done within %lld ms",
                   http_origin_text(r->url, origin), (long long)r->total_timeout_ms);
  if (now_ms - call->active_ms >= idle_ms)
    return err_set(err, ERR_TIMEOUT, "%s: nothing sent or received for %lld ms",
                   http_origin_text(r->url, origin), (long long)idle_ms);
  return 0;
}

static CURLcode result_of(CURLM *multi)
{
  int left = 0;
  for (CURLMsg *m; (m = curl_multi_info_read(multi, &left));)
    if (m->msg == CURLMSG_DONE)
      return m->data.result;
  return CURLE_RECV_ERROR;
}

// Runs the prepared handle to its end. The multi interface, not curl_easy_perform(), because that
// one looks up only once a second and cannot be woken.
static int run(struct call *call, const char *url, struct err *err)
{
  struct http_session *s = call->session;
  if (curl_multi_add_handle(s->multi, s->easy) != CURLM_OK)
    return err_set(err, ERR_INTERNAL, "libcurl refused a request");
  int running = 1, stop = 0;
  while (stop == 0 && running) {
    if (curl_multi_perform(s->multi, &running) != CURLM_OK)
      stop = err_set(err, ERR_INTERNAL, "libcurl failed in the middle of a request");
    if (running && stop == 0)
      stop = look(call, err);
    if (running && stop == 0)
      curl_multi_poll(s->multi, NULL, 0, HTTP_LOOK_EVERY_MS, NULL);
  }
  CURLcode code = stop == 0 && !call->enough ? result_of(s->multi) : CURLE_OK;
  if (stop == 0 && code != CURLE_OK && !call->faulty && !cancelled(call))
    http_curl_error(s->easy, &s->transfer, code, url, err);
  curl_multi_remove_handle(s->multi, s->easy);
  if (stop < 0 || code == CURLE_OK)
    return stop;
  if (call->faulty && err)
    *err = call->fault;
  else if (cancelled(call))
    err_set(err, ERR_CANCELLED, "cancelled");
  return -1;
}

static void note_round_trip(struct http_session *s)
{
  curl_off_t sent_us = 0, answered_us = 0;
  curl_easy_getinfo(s->easy, CURLINFO_PRETRANSFER_TIME_T, &sent_us);
  curl_easy_getinfo(s->easy, CURLINFO_STARTTRANSFER_TIME_T, &answered_us);
  int64_t us = answered_us - sent_us, known = atomic_load(&s->client->round_trip_us);
  while (us > 0 && (known == 0 || us < known) &&
         !atomic_compare_exchange_weak(&s->client->round_trip_us, &known, us))
    ;
}

static int perform_once(struct call *call, const char *url, struct err *err)
{
  struct http_session *s = call->session;
  struct http_request request = *call->request;
  struct http_response *r = call->response;
  request.url = url;
  r->headers.max = LIMIT_HTTP_HEADER_BYTES;
  r->body.max = request.body_max ? request.body_max : LIMIT_HTTP_BODY_BYTES;
  call->sent = 0;
  call->active_ms = clock_ms();
  call->moved_bytes = 0;
  call->head_seen = call->enough = false;
  if (http_options_client(s->easy, s->client, &s->transfer, err) < 0 ||
      http_options_request(s->easy, &s->transfer, &request, err) < 0 ||
      call_options(call, err) < 0 || run(call, url, err) < 0)
    return -1;
  if (!sends_body(&request))
    note_round_trip(s);
  curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &r->status);
  r->retry_after_ms = http_retry_after_ms(http_response_header(r, "Retry-After"), clock_wall_ms());
  return 0;
}

// ---- redirects ----

// Where to go next, yours; NULL: this answer is the last one.
static char *redirect_target(const struct call *call, const char *url)
{
  const char *method = call->request->method;
  char *next = NULL;
  if (call->request->no_redirects || (!str_eq(method, "GET") && !str_eq(method, "HEAD")))
    return NULL;
  if (curl_easy_getinfo(call->session->easy, CURLINFO_REDIRECT_URL, &next) != CURLE_OK || !next ||
      !http_same_origin(url, next))
    return NULL;
  return http_url_without_user(next); // curl puts ours into it when Location is a path
}

static int perform(struct call *call, struct err *err)
{
  char *url cleanup_free = str_dup(call->request->url);
  for (int hops = 0;; hops++) {
    if (perform_once(call, url ? url : "", err) < 0)
      return -1;
    char *next cleanup_free = redirect_target(call, url);
    if (!next)
      return 0;
    char origin[300];
    if (hops == HTTP_REDIRECTS_MAX)
      return err_set(err, ERR_PROTOCOL, "%s: more than %d redirects", http_origin_text(url, origin),
                     HTTP_REDIRECTS_MAX);
    http_response_release(call->response);
    http_transfer_clear(&call->session->transfer);
    free(url);
    url = TAKE(next);
  }
}

int http_perform(struct http_session *s, const struct http_request *request,
                 struct http_response *ret, struct err *err)
{
  struct call call = {.session = s, .request = request, .response = ret, .started_ms = clock_ms()};
  *ret = (struct http_response){0};
  if (is_open(request) ? !request->read_some
                       : request->body_length && !request->body && !request->read_body)
    return err_set(err, ERR_INTERNAL, "a request has a body length without a body");
  int result = perform(&call, err);
  curl_easy_reset(s->easy); // no pointer into this frame, no password, stays behind
  http_transfer_clear(&s->transfer);
  if (result < 0)
    http_response_release(ret);
  return result;
}
