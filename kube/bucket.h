// SPDX-License-Identifier: Apache-2.0
// A token bucket: `burst` at once, then `per_s` a second. Plain arithmetic on a time that the
// caller gives (monotonic milliseconds); not locked.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct bucket {
  double per_s, burst;
  double tokens; // may be negative: those who wait have taken theirs already
  int64_t filled_ms;
};

void bucket_init(struct bucket *b, double per_s, double burst, int64_t now_ms); // full
// Takes one token and returns for how many milliseconds the taker has to wait before it acts.
int64_t bucket_take(struct bucket *b, int64_t now_ms);
// Takes one token if there is one.
bool bucket_try(struct bucket *b, int64_t now_ms);
