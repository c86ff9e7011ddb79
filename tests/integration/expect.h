// SPDX-License-Identifier: Apache-2.0
// Calls that end in `err` in a cmocka test: they succeed, or fail with that kind. What went wrong
// is shown. `err` is the macro's own.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"

#define OK(call)                                                                                   \
  do {                                                                                             \
    struct err e_ = ERR_INIT, *err = &e_;                                                          \
    if ((call) != 0)                                                                               \
      fail_msg("%s: %s: %s", #call, err_reason(e_.kind), e_.message);                              \
  } while (0)

#define FAILS(expected, call)                                                                      \
  do {                                                                                             \
    struct err e_ = ERR_INIT, *err = &e_;                                                          \
    if ((call) == 0)                                                                               \
      fail_msg("%s succeeded", #call);                                                             \
    if (e_.kind != (expected))                                                                     \
      fail_msg("%s: %s: %s", #call, err_reason(e_.kind), e_.message);                              \
  } while (0)
