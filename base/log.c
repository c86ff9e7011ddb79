// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"

#define LINE_MAX_BYTES  (256u << 10)
#define VALUE_MAX_BYTES 4096 // longer ones are cut: a line is for reading

static enum log_format out_format = LOG_FORMAT_TEXT;
static enum log_level out_level = LOG_LEVEL_INFO;
static const char *const level_names[] = {"debug", "info", "warning", "error"};
static _Thread_local struct log_context *innermost;

void log_init(enum log_format format, enum log_level least)
{
  out_format = format;
  out_level = least;
}

// A value stands bare when nothing in it could be misread; otherwise as a JSON string.
static void add_text_value(struct buf *line, const char *value)
{
  if (*value && !strpbrk(value, " \t\r\n\"'=\\")) {
    buf_adds(line, value);
    return;
  }
  struct json_object *quoted = json_object_new_string(value);
  buf_adds(line, json_object_to_json_string_ext(quoted, JSON_C_TO_STRING_NOSLASHESCAPE));
  json_object_put(quoted);
}

struct fields {
  struct buf text;
  struct json_object *json;
};

// Cuts a copy of a long value, not in the middle of a character.
static const char *shortened(const char *value, char b[VALUE_MAX_BYTES])
{
  size_t n = strnlen(value, VALUE_MAX_BYTES);
  if (n < VALUE_MAX_BYTES)
    return value;
  for (n -= 4; n > 0 && (value[n] & 0xc0) == 0x80;)
    n--;
  memcpy(b, value, n);
  strcpy(b + n, "...");
  return b;
}

static void add_field(struct fields *f, const char *key, const char *value)
{
  char b[VALUE_MAX_BYTES];
  if (!value)
    return;
  value = shortened(value, b);
  if (f->json) {
    json_object_object_add(f->json, key, json_object_new_string(value));
    return;
  }
  buf_printf(&f->text, " %s=", key);
  add_text_value(&f->text, value);
}

static void add_context(struct fields *f, const struct log_context *c)
{
  if (!c)
    return;
  add_context(f, c->outer);
  add_field(f, c->key, c->value);
}

static void write_line(struct buf *line)
{
  buf_addc(line, '\n');
  // One write a line: lines of several threads and processes do not mix.
  ssize_t written = write(STDERR_FILENO, buf_str(line), line->length);
  (void)written;
}

static void start(struct fields *f, enum log_level level, const char *message)
{
  char now[40];
  clock_rfc3339_micro(clock_wall_ms(), now);
  if (out_format == LOG_FORMAT_JSON) {
    f->json = json_object_new_object();
    add_field(f, "time", now);
    add_field(f, "level", level_names[level]);
    add_field(f, "msg", message); // "message" is what errors are logged under
    return;
  }
  buf_printf(&f->text, "%s %-7s %s", now, level_names[level], message);
}

void log_line(enum log_level level, const char *message, ...)
{
  if (level < out_level)
    return;
  struct fields f = {.text = BUF_INIT(LINE_MAX_BYTES)};
  start(&f, level, message);
  add_context(&f, innermost);
  va_list args;
  va_start(args, message);
  for (const char *key; (key = va_arg(args, const char *));)
    add_field(&f, key, va_arg(args, const char *));
  va_end(args);
  if (f.json) {
    buf_adds(&f.text, json_object_to_json_string_ext(f.json, JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(f.json);
  }
  write_line(&f.text);
  buf_release(&f.text);
}

void log_context_push(struct log_context *c, const char *key, const char *format, ...)
{
  c->outer = innermost;
  c->key = key;
  va_list args;
  va_start(args, format);
  vsnprintf(c->value, sizeof(c->value), format, args);
  va_end(args);
  innermost = c;
}

void log_context_pop(struct log_context *c)
{
  innermost = c->outer;
}
