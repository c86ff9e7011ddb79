// SPDX-License-Identifier: Apache-2.0
// Structured logs: one line, one fact, keys and values; text for people, JSON for machines. Only
// controller/ logs errors; what lies below returns them. Context set by scope stands on every line
// that the same thread logs until the block ends:
//
//     LOG_CONTEXT("migration", "%s/%s", ns, name);
//     log_info("phase changed", "phase", phase, "reason", reason, NULL);
//
// Values are strings; a secret has no way in (struct secret does not convert).
#pragma once

#include "base/cleanup.h"

enum log_level {
  LOG_LEVEL_DEBUG,
  LOG_LEVEL_INFO,
  LOG_LEVEL_WARNING,
  LOG_LEVEL_ERROR,
  LOG_LEVEL_OFF
};
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

// Standard error, at info level, as text until this is called. Not while other threads log.
void log_init(enum log_format format, enum log_level least);
// Keys and values alternate and end with NULL; a NULL value is left out.
void log_line(enum log_level level, const char *message, ...) __attribute__((sentinel));

#define log_debug(...)        log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...)         log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warning(...)      log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_error(...)        log_line(LOG_LEVEL_ERROR, __VA_ARGS__)

#define LOG_CONTEXT_VALUE_MAX 320

struct log_context {
  struct log_context *outer;
  const char *key;
  char value[LOG_CONTEXT_VALUE_MAX];
};

void log_context_push(struct log_context *c, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void log_context_pop(struct log_context *c);

#define LOG_CONTEXT_NAME_(n) LOCK_CAT_(log_context_, n)
#define LOG_CONTEXT(key, ...)                                                                      \
  struct log_context LOG_CONTEXT_NAME_(__LINE__) CLEANUP(log_context_pop);                         \
  log_context_push(&LOG_CONTEXT_NAME_(__LINE__), key, __VA_ARGS__)
