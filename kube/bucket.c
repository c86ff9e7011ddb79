// SPDX-License-Identifier: Apache-2.0
#include "kube/bucket.h"

void bucket_init(struct bucket *b, double per_s, double burst, int64_t now_ms)
{
  *b = (struct bucket){.per_s = per_s, .burst = burst, .tokens = burst, .filled_ms = now_ms};
}

static void fill(struct bucket *b, int64_t now_ms)
{
  if (now_ms > b->filled_ms) {
    b->tokens += (double)(now_ms - b->filled_ms) / 1000 * b->per_s;
    b->filled_ms = now_ms;
  }
  if (b->tokens > b->burst)
    b->tokens = b->burst;
}

int64_t bucket_take(struct bucket *b, int64_t now_ms)
{
  fill(b, now_ms);
  b->tokens -= 1;
  return b->tokens >= 0 ? 0 : (int64_t)(-b->tokens / b->per_s * 1000) + 1;
}

bool bucket_try(struct bucket *b, int64_t now_ms)
{
  fill(b, now_ms);
  if (b->tokens < 1)
    return false;
  b->tokens -= 1;
  return true;
}
