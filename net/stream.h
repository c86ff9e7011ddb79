// SPDX-License-Identifier: Apache-2.0
// Long-lived answers read line by line on the loop (Kubernetes watches), on libcurl's multi
// interface. One streams object per loop; a stream is one request. Callbacks run on the loop, never
// inside stream_open() or stream_cancel(), and may call both; `done` comes exactly once, also after
// stream_cancel() (then no `line` comes any more). What follows the last newline of an answer was
// cut off by somebody, and is dropped.
//
// Each stream has a connection of its own. Time-outs: nothing received for the idle time-out
// (ERR_TIMEOUT), or not done within total_timeout_ms.
#pragma once

#include "base/loop.h"
#include "net/http.h"

struct streams;
struct stream;

struct stream_callbacks {
  // One line without its newline. Over line_max: the stream ends with ERR_LIMIT.
  void (*line)(void *arg, const char *line, size_t length);
  // err is NULL when the answer ended normally with a 2xx. status is 0 when none came. The stream
  // is freed after this returns. body: start of an answer that was not 2xx.
  void (*done)(void *arg, long status, const char *body, int64_t retry_after_ms,
               const struct err *err);
  void *arg;
};

struct streams *streams_new(struct loop *loop);
void streams_free(struct streams *s); // ends all streams (done: ERR_CANCELLED), then frees
// request: method, url, headers, bearer, basic_*, total_timeout_ms, idle_timeout_ms (0 = the
// client's) count; the client must outlive the stream. Not from a callback: streams_free().
// NULL when it cannot start (done is not called then).
struct stream *stream_open(struct streams *s, struct http_client *client,
                           const struct http_request *request, size_t line_max,
                           const struct stream_callbacks *callbacks, struct err *err);
void stream_cancel(struct stream *s);
