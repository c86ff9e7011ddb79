// SPDX-License-Identifier: Apache-2.0
// What every cmocka program needs, and assertions that say more than true or false.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/err.h"

#define assert_ok(call, err)                                                                       \
  do {                                                                                             \
    if (call)                                                                                      \
      fail_msg("%s failed: %s", #call, (err)->message);                                            \
  } while (0)

#define assert_contains(text, part)                                                                \
  do {                                                                                             \
    const char *text_ = (text);                                                                    \
    if (!text_ || !strstr(text_, (part)))                                                          \
      fail_msg("'%s' does not contain '%s'", text_ ? text_ : "(null)", (part));                    \
  } while (0)

// Polls until the condition holds; fails after ten seconds.
#define assert_soon(condition)                                                                     \
  do {                                                                                             \
    int64_t deadline_ms_ = clock_ms() + 10000;                                                     \
    while (!(condition)) {                                                                         \
      if (clock_ms() > deadline_ms_)                                                               \
        fail_msg("not within ten seconds: %s", #condition);                                        \
      struct timespec pause_ = {.tv_nsec = 2000000};                                               \
      nanosleep(&pause_, NULL);                                                                    \
    }                                                                                              \
  } while (0)
