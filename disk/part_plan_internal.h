// SPDX-License-Identifier: Apache-2.0
// How an object is cut into parts whose bytes are only known as they are made (packed formats): the
// size of a part follows from its number, from what the writer takes and from the longest object
// that may come out. So the same disk makes the same parts, whatever it is written to and however
// often it is begun, and which part is which can be told without a list.
//
// A part is held in memory while it is sent. So all are as small as their number allows; where it
// does not allow the smallest size for all, the first of them are small all the same and later ones
// twice as large, again and again up to the top: how much memory is taken depends on what is really
// stored. S3 takes 10,000 parts of 5 MiB to 5 GiB each and objects of 5 TiB; with parts of 8 MiB
// first, 78 GiB need nothing larger, 1 TiB parts of 124 MiB, 5 TiB of 729 MiB.
//
// A value without pointers; nothing is to be released.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define PART_HELD_MAX_BYTES (1ull << 30) // larger ones are not held

struct part_plan {
  uint64_t first_bytes; // part 0
  uint64_t base_bytes;  // then so many ...
  uint64_t top_bytes;   // ... and never more
  uint32_t step_parts;  // of one size, before the next is twice as large; 0 = all are base
  uint32_t count_max;   // 0 = any
};

// base_bytes: the smallest that is wanted. first_bytes: of part 0, or 0 where it is as the others.
// count_max, part_max_bytes: what the writer takes, 0 = any. equal: it wants all of one size, but
// the last. False: the parts of an object of bound_bytes would be larger than PART_HELD_MAX_BYTES
// or part_max_bytes.
struct part_plan_rules {
  uint64_t bound_bytes, base_bytes, first_bytes, part_max_bytes;
  uint32_t count_max;
  bool equal;
};
bool part_plan_make(struct part_plan *p, const struct part_plan_rules *r);
uint64_t part_plan_size(const struct part_plan *p, uint32_t number);
// Of all parts before this one.
uint64_t part_plan_offset(const struct part_plan *p, uint32_t number);
// How many parts an object of so many bytes has; UINT64_MAX: more than there may be.
uint64_t part_plan_count(const struct part_plan *p, uint64_t length_bytes);
