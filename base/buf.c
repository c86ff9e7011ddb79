// SPDX-License-Identifier: Apache-2.0
#include "base/buf.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_release(struct buf *b)
{
  free(b->data);
  *b = (struct buf){.max = b->max};
}

void buf_clear(struct buf *b)
{
  b->length = 0;
  b->failed = false;
  if (b->data)
    b->data[0] = '\0';
}

static size_t limit(const struct buf *b)
{
  return b->max ? b->max : BUF_DEFAULT_MAX;
}

// Room for `more` bytes and the NUL.
static bool reserve(struct buf *b, size_t more)
{
  if (b->failed || more > limit(b) - b->length)
    return !(b->failed = true);
  size_t need = b->length + more + 1;
  if (need <= b->capacity)
    return true;
  size_t capacity = b->capacity ? b->capacity : 64;
  while (capacity < need)
    capacity *= 2;
  char *data = realloc(b->data, capacity);
  if (!data)
    return !(b->failed = true);
  b->data = data;
  b->capacity = capacity;
  return true;
}

void buf_add(struct buf *b, const void *data, size_t length)
{
  if (!reserve(b, length))
    return;
  if (length)
    memcpy(b->data + b->length, data, length);
  b->length += length;
  b->data[b->length] = '\0';
}

void buf_adds(struct buf *b, const char *text)
{
  buf_add(b, text, strlen(text));
}

void buf_addc(struct buf *b, char c)
{
  buf_add(b, &c, 1);
}

void buf_vprintf(struct buf *b, const char *format, va_list args)
{
  va_list again;
  va_copy(again, args);
  int length = vsnprintf(NULL, 0, format, again);
  va_end(again);
  if (length < 0) {
    b->failed = true;
    return;
  }
  if (!reserve(b, (size_t)length))
    return;
  vsnprintf(b->data + b->length, (size_t)length + 1, format, args);
  b->length += (size_t)length;
}

void buf_printf(struct buf *b, const char *format, ...)
{
  va_list args;
  va_start(args, format);
  buf_vprintf(b, format, args);
  va_end(args);
}

void buf_add_escaped(struct buf *b, const char *text, const char *keep)
{
  for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
    if (isalnum(*c) || strchr("-._~", *c) || strchr(keep, *c))
      buf_addc(b, (char)*c);
    else
      buf_printf(b, "%%%02X", *c);
  }
}

void buf_add_hex(struct buf *b, const void *data, size_t length)
{
  static const char digits[] = "0123456789abcdef";
  const uint8_t *bytes = data;
  for (size_t i = 0; i < length; i++) {
    char pair[2] = {digits[bytes[i] >> 4], digits[bytes[i] & 15]};
    buf_add(b, pair, 2);
  }
}

bool buf_ok(const struct buf *b)
{
  return !b->failed;
}

const char *buf_str(const struct buf *b)
{
  return b->data ? b->data : "";
}

char *buf_take(struct buf *b)
{
  if (!b->data)
    buf_add(b, "", 0);
  if (b->failed)
    return NULL;
  char *data = b->data;
  *b = (struct buf){.max = b->max};
  return data;
}

void buf_drop_front(struct buf *b, size_t length)
{
  if (length >= b->length) {
    buf_clear(b);
    return;
  }
  memmove(b->data, b->data + length, b->length - length + 1);
  b->length -= length;
}
