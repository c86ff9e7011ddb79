// SPDX-License-Identifier: Apache-2.0
// What the two kinds of stores that speak HTTP share: a client made from the config, lanes of
// stores and of writers, and answers to ranged GETs. A lane belongs to one thread;
// web_lane_interrupt() alone may come from another.
#pragma once

#include "net/http.h"
#include "storage/storage_internal.h"

#define WEB_SMALL_BODY_BYTES    (64u << 10) // cheaper to send in vain than to ask first
#define WEB_THINKING_TIMEOUT_MS 600000 // calls that a server may work on for long before it answers

struct web_lane {
  struct http_session *session;
  struct stop stop;
  bool trusted; // the last body that was sent here was taken: the next one need not ask first
};

int web_lane_new(struct http_client *client, struct web_lane **ret, struct err *err);
void web_lane_free(struct web_lane *l); // NULL allowed
void web_lane_interrupt(void *lane);

// First in a store of such a kind; then these are its operations.
struct web_store {
  struct http_client *client;
  struct storage_keys *keys;
};
int web_store_open(struct web_store *s, const struct storage_config *c,
                   const struct address_filter *allowed, struct err *err);
void web_store_close(struct web_store *s); // zeroed: allowed
struct storage_keys *web_store_keys(void *store);
int64_t web_store_round_trip_ms(const void *store);
int web_store_lane_open(void *store, void **ret_lane, struct err *err);
void web_store_lane_close(void *store, void *lane);
void web_store_interrupt(void *store, void *lane);

// First in a writer of such a kind: lanes that end together when it is interrupted. The ops are
// object_writer's.
struct web_writer {
  struct object_writer base;
  struct http_client *client; // of the store
  struct lane_set lanes;
};
void web_writer_init(struct web_writer *w, const struct object_writer_ops *ops,
                     struct http_client *client);
void web_writer_release(struct web_writer *w);
// For what the writer itself asks of the server.
int web_writer_open_lane(struct web_writer *w, struct web_lane **ret, struct err *err);
void web_writer_close_lane(struct web_writer *w, struct web_lane *lane);
int web_writer_lane_open(struct object_writer *w, void **ret_lane, struct err *err);
void web_writer_lane_close(struct object_writer *w, void *lane);
void web_writer_interrupt(struct object_writer *w);

// The URL as it may be shown: nothing that could be a password, no query.
void web_shown_url(const char *url, struct buf *into);

// Percent-decoding into b, cut to fit. False when there is a NUL byte or a broken escape (which is
// copied as it stands).
bool web_unescape(const char *text, char *b, size_t size);

// "bytes 5-9/100" of RFC 9110 section 14.4; false when malformed or against itself. A total that is
// not told ("*") counts as malformed: no store leaves it out.
struct web_content_range {
  uint64_t first, last, total;
};
bool web_content_range(const char *text, struct web_content_range *ret);

// A range on its way into memory. `got` survives a broken connection: the next attempt asks for the
// rest only. Therefore nothing is taken before the head of the answer has said that it is of the
// object and the place that were asked for.
struct web_range {
  char *into;
  size_t length, got;
  uint64_t offset;
  // Whether the answer is of the object that is wanted, as far as it tells.
  bool (*same)(const struct web_range *r, const struct http_response *response);
  const char *identity; // for `same`
  // of the answer under way
  size_t asked;         // got before it
  bool begun;           // its head was good
  uint64_t promised;    // bytes that it will bring; UINT64_MAX = it does not say
  uint64_t total_bytes; // of the object; UINT64_MAX = it does not say
};

// "bytes=5-9" for what is still missing. Begins an attempt.
char *web_range_text(struct web_range *r, char b[64]);
// http_request.head and .sink, with the range as their argument. ERR_UNSUPPORTED: the server
// ignores ranges; ERR_CHANGED: it is not the same object any more.
int web_range_head(void *range, const struct http_response *response, struct err *err);
int web_range_sink(void *range, const void *data, size_t length, struct err *err);
// After a 2xx answer: all that was asked for came. ERR_UNREACHABLE when bytes are missing.
int web_range_check(struct web_range *r, const struct http_response *response, struct err *err);
// Content-Length as a number; false when absent or malformed.
bool web_content_length(const struct http_response *r, uint64_t *ret);
// RFC 1123 date, milliseconds since 1970; 0 when absent or malformed.
int64_t web_date_ms(const char *date);

_Static_assert(HTTP_LENGTH_OPEN == OBJECT_LENGTH_OPEN, "bodies are passed on as they are");
// object_body as http_request.read_some and read_body.
int web_read_some(void *body, uint64_t offset, void *into, size_t size, size_t *ret_length,
                  struct err *err);
int web_read_body(void *body, uint64_t offset, void *into, size_t length, struct err *err);
