// SPDX-License-Identifier: Apache-2.0
#include "kube/client.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "kube/object.h"
#include "kube/status.h"
#include "kube/transport_internal.h"

// Against a loop gone wild: the API server shares itself out among its clients by its own rules
// (priority and fairness). A thousand clones that come up write some 4,000 times.
#define PER_S        200
#define BURST        400
#define STATUS_PER_S 100
#define STATUS_BURST 200
#define URL_MAX      8192

DEFINE_CLEANUP(kube_free, struct kube *)

// ---- life -----------------------------------------------------------------------------------

static void init_locks(struct kube *k, const struct kube_settings *s)
{
  static const struct kube_settings none;
  pthread_condattr_t monotonic;
  if (!s)
    s = &none;
  pthread_mutex_init(&k->mutex, NULL);
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&k->turn, &monotonic);
  pthread_condattr_destroy(&monotonic);
  int64_t now_ms = clock_ms();
  bucket_init(&k->all, s->per_s > 0 ? s->per_s : PER_S, s->burst > 0 ? s->burst : BURST, now_ms);
  bucket_init(&k->status, s->status_per_s > 0 ? s->status_per_s : STATUS_PER_S,
              s->status_burst > 0 ? s->status_burst : STATUS_BURST, now_ms);
}

struct kube *kube_new(struct kube_config *config, const struct kube_settings *settings,
                      struct err *err)
{
  struct kube *k CLEANUP(kube_free_p) = calloc(1, sizeof(*k));
  if (!k) {
    kube_config_release(config);
    err_set(err, ERR_NO_MEMORY, "no memory for a Kubernetes client");
    return NULL;
  }
  k->config = *config;
  *config = (struct kube_config){0};
  init_locks(k, settings);
  k->user_agent = str_dup(settings ? settings->user_agent : NULL);
  k->credentials = credentials_new(&k->config);
  if (!k->credentials) {
    err_set(err, ERR_NO_MEMORY, "no memory for a Kubernetes client");
    return NULL;
  }
  return kube_way_init(k, err) == 0 ? TAKE(k) : NULL;
}

void kube_free(struct kube *k)
{
  if (!k)
    return;
  kube_transports_free(k);
  credentials_free(k->credentials);
  kube_config_release(&k->config);
  free(k->base_url);
  free(k->connect_to);
  free(k->host_header);
  free(k->user_agent);
  pthread_cond_destroy(&k->turn);
  pthread_mutex_destroy(&k->mutex);
  free(k);
}

void kube_interrupt(struct kube *k)
{
  LOCK_FOR_SCOPE(&k->mutex);
  k->interrupted = true;
  kube_transports_interrupt(k);
  pthread_cond_broadcast(&k->turn);
}

const char *kube_server(const struct kube *k)
{
  return k->config.server;
}

const char *kube_namespace(const struct kube *k)
{
  return k->config.namespace_name;
}

// ---- one call -------------------------------------------------------------------------------

static void add_segment(struct buf *b, const char *text)
{
  if (str_empty(text))
    return;
  buf_addc(b, '/');
  buf_add_escaped(b, text, "");
}

// Names in Kubernetes hold neither slashes nor dots alone; escaping would not keep a server from
// walking up, so they are refused.
static bool segment_is_bad(const char *text)
{
  return text && (str_eq(text, ".") || str_eq(text, "..") || strchr(text, '/'));
}

char *kube_url(const struct kube *k, const struct kube_call *call, struct err *err)
{
  struct buf b CLEANUP(buf_release) = BUF_INIT(URL_MAX);
  const struct kube_resource *r = call->resource;
  buf_adds(&b, k->base_url);
  if (segment_is_bad(call->ns) || segment_is_bad(call->name)) {
    err_set(err, ERR_INVALID, "'%s/%s' cannot be the name of an object", call->ns ? call->ns : "",
            call->name ? call->name : "");
    return NULL;
  }
  if (r) {
    buf_adds(&b, *r->group ? "/apis" : "/api");
    add_segment(&b, r->group);
    add_segment(&b, r->version);
    if (!str_empty(call->ns)) {
      buf_adds(&b, "/namespaces");
      add_segment(&b, call->ns);
    }
    add_segment(&b, r->plural);
    add_segment(&b, call->name);
    add_segment(&b, call->subresource);
  } else {
    buf_adds(&b, call->raw_path);
  }
  if (!str_empty(call->query))
    buf_printf(&b, "?%s", call->query);
  char *url = buf_take(&b);
  if (!url)
    err_set(err, ERR_LIMIT, "a Kubernetes URL of more than %d bytes", URL_MAX);
  return url;
}

static void what_text(const struct kube_call *c, char what[400])
{
  const struct kube_resource *r = c->resource;
  if (r)
    snprintf(what, 400, "%s %s%s%s %s%s%s%s%s", c->method, r->plural, *r->group ? "." : "",
             r->group, str_empty(c->ns) ? "" : c->ns, str_empty(c->ns) || !c->name ? "" : "/",
             c->name ? c->name : "", c->subresource ? " " : "",
             c->subresource ? c->subresource : "");
  else
    snprintf(what, 400, "%s %s", c->method, c->raw_path);
}

// Each taker has its own moment; waiting is ended by kube_interrupt() alone.
static int await_turn(struct kube *k, const struct kube_call *call, struct err *err)
{
  bool writes_status = str_eq(call->subresource, "status") && !str_eq(call->method, "GET");
  LOCK_FOR_SCOPE(&k->mutex);
  int64_t now_ms = clock_ms();
  int64_t wait_ms = call->unlimited ? 0 : bucket_take(&k->all, now_ms);
  int64_t status_wait_ms = writes_status && !call->unlimited ? bucket_take(&k->status, now_ms) : 0;
  int64_t until_ms = now_ms + (wait_ms > status_wait_ms ? wait_ms : status_wait_ms);
  struct timespec until = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};
  while (!k->interrupted && clock_ms() < until_ms)
    pthread_cond_timedwait(&k->turn, &k->mutex, &until);
  return k->interrupted ? err_set(err, ERR_CANCELLED, "shutting down") : 0;
}

static int once(struct kube *k, const struct kube_call *call, const char *url, uint64_t refused,
                uint64_t *ret_version, struct http_response *ret, struct err *err)
{
  struct kube_link link = {0};
  if (kube_link_open(k, refused, &link, err) != 0)
    return -1;
  *ret_version = link.identity.version;
  if (refused && refused == *ret_version) {
    kube_link_close(k, &link);
    return 1; // nothing new to try
  }
  struct http_request request = {
      .method = call->method,
      .url = url,
      .body_max = KUBE_ANSWER_MAX_BYTES,
      .total_timeout_ms = call->timeout_ms ? call->timeout_ms : KUBE_TIMEOUT_MS,
      .cancel = call->cancel,
  };
  if (call->body) {
    size_t length;
    request.body = json_object_to_json_string_length(
        call->body, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &length);
    request.body_length = length;
    link.headers[link.header_count++] = (struct http_header){
        "Content-Type", call->content_type ? call->content_type : "application/json"};
  }
  kube_link_authorize(k, &link, &request);
  int failed = kube_link_perform(k, &link, &request, ret, err);
  kube_link_close(k, &link);
  return failed;
}

// Repeats a call that was answered 401 if the credentials have changed or can be renewed.
static int with_renewal(struct kube *k, const struct kube_call *call, const char *url,
                        struct http_response *ret, struct err *err)
{
  uint64_t version, again;
  if (once(k, call, url, 0, &version, ret, err) != 0)
    return -1;
  if (ret->status != 401)
    return 0;
  struct http_response second = {0};
  int outcome = once(k, call, url, version, &again, &second, err);
  if (outcome < 0)
    return -1;
  if (outcome == 0) {
    http_response_release(ret);
    *ret = second;
  }
  return 0;
}

static int read_answer(const struct http_response *response, const char *what,
                       struct json_object **ret, struct err *err)
{
  if (response->status / 100 != 2)
    return kube_status_error(response->status, buf_str(&response->body), response->body.length,
                             response->retry_after_ms, what, err);
  if (!ret)
    return 0;
  *ret = object_parse(buf_str(&response->body), response->body.length);
  return *ret ? 0 : err_set(err, ERR_PROTOCOL, "%s: the answer is not JSON", what);
}

int kube_perform(struct kube *k, const struct kube_call *call, struct json_object **ret,
                 long *ret_status, struct err *err)
{
  char what[400];
  struct http_response response CLEANUP(http_response_release) = {0};
  if (ret_status)
    *ret_status = 0;
  what_text(call, what);
  cleanup_free char *url = kube_url(k, call, err);
  if (!url || await_turn(k, call, err) != 0)
    return -1;
  if (with_renewal(k, call, url, &response, err) != 0)
    return err_prefix(err, "%s", what);
  if (ret_status)
    *ret_status = response.status;
  return read_answer(&response, what, ret, err);
}
