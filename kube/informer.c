// SPDX-License-Identifier: Apache-2.0
#include "kube/informer.h"

#include <malloc.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "base/worker.h"
#include "kube/known.h"
#include "kube/object.h"
#include "kube/status.h"
#include "kube/transport_internal.h"
#include "net/stream.h"

#define FETCHERS         2
#define GOOD_WATCH_MS    5000 // a watch that lived so long was no failure
#define WATCH_TRIES      5    // failures in a row before the list is asked again
#define RECONNECT_MAX_MS 100  // spread of the reconnect after a watch has ended normally
#define QUERY_MAX        6000

struct informers {
  struct loop *loop;
  struct kube *kube;
  struct streams *streams;
  struct workers *workers;
  struct informer *informers;
  int letters; // on their way through the loop's mailbox; the last one frees what is left of us
  bool over;
  volatile bool cancel;  // ends requests of the fetchers
  pthread_mutex_t mutex; // guards what follows
  struct fetch *finished;
};

// What an informer does next when its timer fires.
enum next_step { NEXT_LIST, NEXT_WATCH };

struct informer {
  struct informer *next;
  struct informers *all;
  struct informer_settings settings; // strings are copies
  struct informer_callbacks callbacks;
  struct known_set *known;
  struct loop_timer *timer;
  enum next_step step;
  struct stream *stream;
  struct kube_link link; // held while the stream is open
  uint64_t refused;      // credentials that a watch was answered 401 to
  char *continue_token;  // of the list under way
  char *version;         // where the watch goes on
  int page;              // objects asked for at once; less after an answer that was too long
  int failures;          // in a row
  int expirations;       // in a row: versions too old as soon as they were listed
  int64_t opened_ms;     // when the watch was opened
  bool bookmarks;        // the server sends them: silence means that the connection is lost
  bool synced, expired;  // expired: the watch said so
  bool faulty;           // fault says what was wrong with a line
  struct err fault;
};

// Blocking work for a fetcher: a page of the list, or a link for a watch.
struct fetch {
  struct fetch *next;
  struct informer *informer;
  enum next_step step;
  char *continue_token;
  int page;
  uint64_t refused;
  // results
  struct kube_page result;
  struct kube_link link;
  bool failed;
  struct err err;
};

static void start_fetch(struct informer *i);

// ---- failures -------------------------------------------------------------------------------

static void go_on(struct informer *i, enum next_step step, int64_t delay_ms)
{
  i->step = step;
  loop_timer_start(i->timer, delay_ms);
}

static int64_t backoff_ms(const struct informer *i)
{
  int64_t first = i->settings.backoff_ms, most = i->settings.backoff_max_ms;
  int doublings = i->failures - 1 < 20 ? i->failures - 1 : 20;
  int64_t delay_ms = first << doublings;
  if (delay_ms > most)
    delay_ms = most;
  return delay_ms / 2 + (int64_t)clock_random((uint64_t)(delay_ms / 2 + 1));
}

static void retry(struct informer *i, enum next_step step, const struct err *err)
{
  i->failures++;
  int64_t delay_ms = backoff_ms(i);
  if (err->retry_after_ms > delay_ms)
    delay_ms = err->retry_after_ms;
  if (i->callbacks.trouble && err->kind != ERR_CANCELLED)
    i->callbacks.trouble(i->callbacks.arg, err, delay_ms);
  go_on(i, step, delay_ms);
}

// ---- objects --------------------------------------------------------------------------------

static void tell_deleted(void *arg, const char *ns, const char *name, const char *uid)
{
  struct informer *i = arg;
  i->callbacks.deleted(i->callbacks.arg, ns, name, uid);
}

static int take_object(struct informer *i, struct json_object *o, struct err *err)
{
  if (!*object_name(o) || !*object_version(o))
    return err_set(err, ERR_PROTOCOL, "an object without name or resourceVersion");
  enum known_change change = known_put(i->known, object_namespace(o), object_name(o), object_uid(o),
                                       object_version(o), tell_deleted, i);
  if (change == KNOWN_NO_MEMORY)
    return err_set(err, ERR_NO_MEMORY, "no memory for another object");
  if (change != KNOWN_SAME)
    i->callbacks.changed(i->callbacks.arg, o);
  return 0;
}

static void set_version(struct informer *i, const char *version)
{
  if (str_eq(i->version, version))
    return;
  free(i->version);
  i->version = str_dup(version);
}

// ---- list -----------------------------------------------------------------------------------

static void begin_list(struct informer *i)
{
  free(TAKE(i->continue_token));
  known_begin(i->known);
}

static void list_failed(struct informer *i, struct fetch *f)
{
  if (f->err.kind == ERR_LIMIT && i->page > 1) {
    i->page /= 2; // big objects: the same page again, with fewer
    start_fetch(i);
    return;
  }
  if (f->result.expired)
    begin_list(i);
  retry(i, NEXT_LIST, &f->err);
}

// The trees of a page take fifty times its text, in the arenas of the fetchers, which do not shrink
// by themselves: without this a controller keeps tens of megabytes that it used for a second.
static void give_memory_back(void)
{
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

static void list_ended(struct informer *i, const char *version)
{
  give_memory_back();
  set_version(i, version);
  known_sweep(i->known, tell_deleted, i);
  i->page = i->settings.page;
  i->failures = i->expirations;
  if (!i->synced) {
    i->synced = true;
    i->callbacks.synced(i->callbacks.arg);
  }
  go_on(i, NEXT_WATCH, 0);
}

static void page_came(struct informer *i, struct fetch *f)
{
  size_t count = f->failed ? 0 : json_object_array_length(f->result.items);
  for (size_t n = 0; !f->failed && n < count; n++)
    f->failed = take_object(i, json_object_array_get_idx(f->result.items, n), &f->err) != 0;
  if (!f->failed && !f->result.next && str_empty(f->result.version))
    f->failed = err_set(&f->err, ERR_PROTOCOL, "a list without resourceVersion") != 0;
  if (f->failed) {
    list_failed(i, f);
    return;
  }
  free(i->continue_token);
  i->continue_token = TAKE(f->result.next);
  if (i->continue_token)
    start_fetch(i);
  else
    list_ended(i, f->result.version);
}

// ---- watch ----------------------------------------------------------------------------------

static void changed_event(struct informer *i, struct json_object *o, struct err *err)
{
  object_drop_managed_fields(o);
  if (take_object(i, o, err) == 0)
    set_version(i, object_version(o));
}

static void deleted_event(struct informer *i, struct json_object *o, struct err *err)
{
  if (!*object_name(o) || !*object_version(o)) {
    err_set(err, ERR_PROTOCOL, "a deleted object without name or resourceVersion");
    return;
  }
  known_remove(i->known, object_namespace(o), object_name(o), tell_deleted, i);
  set_version(i, object_version(o));
}

static void bookmark_event(struct informer *i, struct json_object *o, struct err *err)
{
  i->bookmarks = true;
  if (*object_version(o))
    set_version(i, object_version(o));
  else
    err_set(err, ERR_PROTOCOL, "a bookmark without resourceVersion");
}

static void error_event(struct informer *i, struct json_object *o, struct err *err)
{
  i->expired = kube_status_expired(0, o);
  kube_status_object_error(o, "watch", err);
}

static const struct {
  const char *type;
  void (*take)(struct informer *i, struct json_object *object, struct err *err);
} events[] = {
    {"ADDED", changed_event},     {"MODIFIED", changed_event}, {"DELETED", deleted_event},
    {"BOOKMARK", bookmark_event}, {"ERROR", error_event},
};

static void take_event(struct informer *i, const char *line, size_t length, struct err *err)
{
  struct json_object *event cleanup_object = object_parse(line, length);
  struct json_object *object = object_at(event, "object", NULL);
  const char *type = object_string(event, "type", NULL);
  if (!object) {
    err_set(err, ERR_PROTOCOL, "a watch event that is not JSON");
    return;
  }
  for (size_t n = 0; n < ARRAY_SIZE(events); n++)
    if (str_eq(events[n].type, type)) {
      events[n].take(i, object, err);
      return;
    }
  err_set(err, ERR_PROTOCOL, "a watch event of type '%.40s'", type);
}

// Nothing may be skipped: after a line that cannot be taken the watch begins again before it.
static void on_line(void *arg, const char *line, size_t length)
{
  struct informer *i = arg;
  if (i->faulty || length == 0)
    return;
  take_event(i, line, length, &i->fault);
  if (i->fault.kind == ERR_NONE)
    return;
  i->faulty = true;
  stream_cancel(i->stream);
}

static void on_done(void *arg, long status, const char *body, int64_t retry_after_ms,
                    const struct err *err)
{
  struct informer *i = arg;
  struct json_object *object cleanup_object =
      status >= 400 ? object_parse(body, strlen(body)) : NULL;
  struct err why = ERR_INIT;
  bool lived = clock_ms() - i->opened_ms >= GOOD_WATCH_MS;
  i->stream = NULL;
  i->refused = status == 401 ? i->link.identity.version : 0;
  kube_link_close(i->all->kube, &i->link);
  if (i->all->over)
    return;
  if (i->faulty)
    why = i->fault;
  else if (status >= 400)
    kube_status_error(status, body, strlen(body), retry_after_ms, "watch", &why);
  else if (err)
    why = *err;
  err_prefix(&why, "watch of %s", i->settings.resource->plural);
  if (lived)
    i->failures = i->expirations = 0;
  if (why.kind == ERR_TIMEOUT)
    i->bookmarks = false;
  if (i->expired || kube_status_expired(status, object)) {
    // No failure: it happens when nothing was heard for long.
    begin_list(i);
    i->failures = ++i->expirations;
    go_on(i, NEXT_LIST, backoff_ms(i));
  } else if (why.kind == ERR_NONE && lived) {
    go_on(i, NEXT_WATCH, (int64_t)clock_random(RECONNECT_MAX_MS));
  } else {
    if (why.kind == ERR_NONE)
      err_set(&why, ERR_UNREACHABLE, "watch of %s: ended at once", i->settings.resource->plural);
    bool again = i->failures < WATCH_TRIES;
    if (!again)
      begin_list(i);
    retry(i, again ? NEXT_WATCH : NEXT_LIST, &why);
  }
}

static void add_selector(struct buf *b, const char *name, const char *value)
{
  if (str_empty(value))
    return;
  buf_printf(b, "&%s=", name);
  buf_add_escaped(b, value, "");
}

// An API server sends no bookmarks for a resource of which it has never seen a change; then the end
// that was asked for is what must come, and a dead peer is found by TCP's keep-alive.
static int64_t idle_ms(const struct informer *i, int64_t watch_ms)
{
  if (i->settings.idle_ms)
    return i->settings.idle_ms;
  return i->bookmarks ? INFORMER_IDLE_MS : watch_ms + INFORMER_LATE_MS;
}

static int open_stream(struct informer *i, struct err *err)
{
  struct buf query CLEANUP(buf_release) = BUF_INIT(QUERY_MAX);
  int64_t watch_ms = i->settings.watch_ms + (int64_t)clock_random((uint64_t)i->settings.watch_ms);
  buf_printf(&query, "watch=1&allowWatchBookmarks=true&timeoutSeconds=%lld",
             (long long)(watch_ms + 999) / 1000);
  add_selector(&query, "resourceVersion", i->version);
  add_selector(&query, "labelSelector", i->settings.label_selector);
  add_selector(&query, "fieldSelector", i->settings.field_selector);
  struct kube_call call = {
      .resource = i->settings.resource, .ns = i->settings.ns, .query = buf_str(&query)};
  cleanup_free char *url = buf_ok(&query) ? kube_url(i->all->kube, &call, err) : NULL;
  if (!url)
    return err_set(err, ERR_LIMIT, "watch of %s: the selectors are too long",
                   i->settings.resource->plural);
  struct http_request request = {
      .method = "GET", .url = url, .idle_timeout_ms = idle_ms(i, watch_ms)};
  kube_link_authorize(i->all->kube, &i->link, &request);
  struct stream_callbacks callbacks = {.line = on_line, .done = on_done, .arg = i};
  i->faulty = i->expired = false;
  i->fault = (struct err)ERR_INIT;
  i->opened_ms = clock_ms();
  i->stream = stream_open(i->all->streams, kube_link_client(&i->link), &request,
                          INFORMER_LINE_MAX_BYTES, &callbacks, err);
  return i->stream ? 0 : -1;
}

static void link_came(struct informer *i, struct fetch *f)
{
  if (!f->failed) {
    i->link = f->link;
    f->link = (struct kube_link){0};
    if (open_stream(i, &f->err) == 0)
      return;
    kube_link_close(i->all->kube, &i->link);
  }
  retry(i, NEXT_WATCH, &f->err);
}

// ---- fetching -------------------------------------------------------------------------------

static void fetch_free(struct kube *k, struct fetch *f)
{
  kube_link_close(k, &f->link);
  kube_page_release(&f->result);
  free(f->continue_token);
  free(f);
}

static void take_fetches(struct informers *all)
{
  struct fetch *list;
  {
    LOCK_FOR_SCOPE(&all->mutex);
    list = TAKE(all->finished);
  }
  while (list) {
    struct fetch *f = list;
    list = f->next;
    if (!all->over)
      (f->step == NEXT_LIST ? page_came : link_came)(f->informer, f);
    fetch_free(all->kube, f);
  }
}

static void informers_destroy(struct informers *all)
{
  pthread_mutex_destroy(&all->mutex);
  free(all);
}

static void on_letter(void *arg)
{
  struct informers *all = arg;
  all->letters--;
  if (!all->over)
    take_fetches(all);
  else if (all->letters == 0)
    informers_destroy(all);
}

// On a fetcher. What it reads of the informer never changes.
static void fetch(void *arg)
{
  struct fetch *f = arg;
  struct informers *all = f->informer->all;
  const struct informer_settings *s = &f->informer->settings;
  if (f->step == NEXT_LIST) {
    struct kube_list_query query = {.ns = s->ns,
                                    .label_selector = s->label_selector,
                                    .field_selector = s->field_selector,
                                    .next = f->continue_token,
                                    .limit = f->page,
                                    .cancel = &all->cancel};
    f->failed = kube_list(all->kube, s->resource, &query, &f->result, &f->err) != 0;
  } else {
    f->failed = kube_link_open(all->kube, f->refused, &f->link, &f->err) != 0;
  }
  struct loop *loop = all->loop;
  {
    LOCK_FOR_SCOPE(&all->mutex);
    f->next = all->finished;
    all->finished = f;
  }
  loop_post(loop, on_letter, all);
}

static void start_fetch(struct informer *i)
{
  struct fetch *f = calloc(1, sizeof(*f));
  if (!f) {
    retry(i, i->step, &(struct err){.kind = ERR_NO_MEMORY, .message = "no memory"});
    return;
  }
  *f = (struct fetch){.informer = i, .step = i->step, .page = i->page, .refused = i->refused};
  f->continue_token = str_dup(i->continue_token);
  i->all->letters++;
  workers_put(i->all->workers, fetch, f);
}

static void on_timer(void *arg)
{
  start_fetch(arg);
}

// ---- life -----------------------------------------------------------------------------------

struct informers *informers_new(struct loop *loop, struct kube *k, struct err *err)
{
  struct informers *all = calloc(1, sizeof(*all));
  if (all) {
    pthread_mutex_init(&all->mutex, NULL);
    all->loop = loop;
    all->kube = k;
    all->streams = streams_new(loop);
    all->workers = workers_new(FETCHERS, "informer");
  }
  if (all && all->streams && all->workers)
    return all;
  informers_free(all);
  err_set(err, ERR_NO_MEMORY, "no memory or threads for informers");
  return NULL;
}

static void informer_free(struct informer *i)
{
  loop_timer_free(i->timer);
  known_free(i->known);
  free((char *)i->settings.ns);
  free((char *)i->settings.label_selector);
  free((char *)i->settings.field_selector);
  free(i->continue_token);
  free(i->version);
  free(i);
}

void informers_free(struct informers *all)
{
  if (!all)
    return;
  all->over = true;
  __atomic_store_n(&all->cancel, true, __ATOMIC_RELAXED);
  streams_free(all->streams);
  workers_free(all->workers);
  take_fetches(all);
  while (all->informers) {
    struct informer *i = all->informers;
    all->informers = i->next;
    informer_free(i);
  }
  if (all->letters == 0)
    informers_destroy(all);
}

static void set_defaults(struct informer_settings *s)
{
  s->page = s->page ? s->page : KUBE_PAGE;
  s->watch_ms = s->watch_ms ? s->watch_ms : INFORMER_WATCH_MS;
  s->backoff_ms = s->backoff_ms ? s->backoff_ms : INFORMER_BACKOFF_MS;
  s->backoff_max_ms = s->backoff_max_ms ? s->backoff_max_ms : INFORMER_BACKOFF_MAX_MS;
}

struct informer *informer_start(struct informers *all, const struct informer_settings *settings,
                                const struct informer_callbacks *callbacks, struct err *err)
{
  struct informer *i = calloc(1, sizeof(*i));
  if (i) {
    i->all = all;
    i->settings = *settings;
    i->settings.ns = str_dup(settings->ns);
    i->settings.label_selector = str_dup(settings->label_selector);
    i->settings.field_selector = str_dup(settings->field_selector);
    set_defaults(&i->settings);
    i->callbacks = *callbacks;
    i->page = i->settings.page;
    i->known = known_new();
    i->timer = loop_timer_new(all->loop, on_timer, i);
  }
  if (!i || !i->known || !i->timer) {
    if (i)
      informer_free(i);
    err_set(err, ERR_NO_MEMORY, "no memory for an informer");
    return NULL;
  }
  i->next = all->informers;
  all->informers = i;
  begin_list(i);
  go_on(i, NEXT_LIST, 0);
  return i;
}
