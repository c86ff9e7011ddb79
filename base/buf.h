// SPDX-License-Identifier: Apache-2.0
// A growing byte string with a maximum. Always NUL-terminated. Overflow and lack of memory are
// sticky: adders may be called without a check each, and buf_ok() (or buf_take) tells at the end.
//
//     struct buf b CLEANUP(buf_release) = BUF_INIT(LIMIT_HTTP_BODY_BYTES);
//     buf_printf(&b, "%s/%s", folder, name);
//     char *path = buf_take(&b);                   // NULL when it did not fit
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct buf {
  char *data; // NULL while empty; use buf_str() for a C string
  size_t length;
  size_t capacity;
  size_t max; // most bytes it may hold; 0 = BUF_DEFAULT_MAX
  bool failed;
};

#define BUF_DEFAULT_MAX (16u << 20)
#define BUF_INIT(limit)                                                                            \
  {                                                                                                \
    .max = (limit)                                                                                 \
  }

void buf_release(struct buf *b);
void buf_clear(struct buf *b); // empty again, memory kept, failure forgotten
void buf_add(struct buf *b, const void *data, size_t length);
void buf_adds(struct buf *b, const char *text);
void buf_addc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));
// Percent-encodes everything but RFC 3986 unreserved characters and those in `keep`.
void buf_add_escaped(struct buf *b, const char *text, const char *keep);
void buf_add_hex(struct buf *b, const void *data, size_t length); // lower case
bool buf_ok(const struct buf *b);
const char *buf_str(const struct buf *b); // "" while empty; owned by b
char *buf_take(struct buf *b);            // malloc'ed string, yours; NULL after a failure
void buf_drop_front(struct buf *b, size_t length);
