// SPDX-License-Identifier: Apache-2.0
#include "disk/part_plan_internal.h"

#define STEPS      20 // so many sizes at most, each for as many parts
#define SIZE_BYTES (1ull << 20)

uint64_t part_plan_size(const struct part_plan *p, uint32_t number)
{
  if (number == 0)
    return p->first_bytes;
  uint32_t step = p->step_parts ? number / p->step_parts : 0;
  uint64_t size = step <= STEPS ? p->base_bytes << step : p->top_bytes;
  return size < p->top_bytes ? size : p->top_bytes;
}

uint64_t part_plan_offset(const struct part_plan *p, uint32_t number)
{
  if (number == 0)
    return 0;
  uint64_t sum = p->first_bytes;
  for (uint32_t at = 1; at < number;) {
    uint64_t size = part_plan_size(p, at);
    uint32_t end = number;
    if (p->step_parts && size < p->top_bytes) // of this size there are no more than a step
      end = (at / p->step_parts + 1) * p->step_parts;
    end = end < number ? end : number;
    sum += (end - at) * size;
    at = end;
  }
  return sum;
}

uint64_t part_plan_count(const struct part_plan *p, uint64_t length_bytes)
{
  uint64_t low = length_bytes > 0, high = p->count_max ? p->count_max : UINT32_MAX;
  if (part_plan_offset(p, (uint32_t)high) < length_bytes)
    return UINT64_MAX;
  while (low < high) {
    uint64_t middle = low + (high - low) / 2;
    if (part_plan_offset(p, (uint32_t)middle) < length_bytes)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

static bool holds(const struct part_plan *p, uint64_t bytes)
{
  return part_plan_offset(p, p->count_max) >= bytes;
}

// The smallest top with which all has its place; it is known that `most` is enough.
static void lower_top(struct part_plan *p, uint64_t bound_bytes, uint64_t most)
{
  uint64_t low = p->base_bytes / SIZE_BYTES, high = most / SIZE_BYTES;
  while (low < high) {
    uint64_t middle = low + (high - low) / 2;
    p->top_bytes = middle * SIZE_BYTES;
    if (holds(p, bound_bytes))
      high = middle;
    else
      low = middle + 1;
  }
  p->top_bytes = high * SIZE_BYTES;
}

static bool make_equal(struct part_plan *p, const struct part_plan_rules *r, uint64_t most)
{
  uint64_t size = (r->bound_bytes + r->count_max - 1) / r->count_max;
  size = (size + SIZE_BYTES - 1) / SIZE_BYTES * SIZE_BYTES;
  p->step_parts = 0;
  p->first_bytes = p->base_bytes = p->top_bytes = size;
  return size <= most;
}

bool part_plan_make(struct part_plan *p, const struct part_plan_rules *r)
{
  uint64_t most = PART_HELD_MAX_BYTES;
  if (r->part_max_bytes && r->part_max_bytes < most)
    most = r->part_max_bytes / SIZE_BYTES * SIZE_BYTES;
  *p = (struct part_plan){.first_bytes = r->first_bytes ? r->first_bytes : r->base_bytes,
                          .base_bytes = r->base_bytes,
                          .top_bytes = r->base_bytes,
                          .count_max = r->count_max};
  if (r->count_max == 0 || holds(p, r->bound_bytes))
    return r->base_bytes <= most;
  if (r->equal)
    return make_equal(p, r, most);
  p->step_parts = r->count_max / STEPS ? r->count_max / STEPS : 1;
  for (p->base_bytes = r->base_bytes; p->base_bytes <= most; p->base_bytes *= 2) {
    p->top_bytes = most;
    if (!r->first_bytes)
      p->first_bytes = p->base_bytes;
    if (holds(p, r->bound_bytes)) {
      lower_top(p, r->bound_bytes, most);
      return true;
    }
  }
  return false;
}
