// SPDX-License-Identifier: Apache-2.0
// The two clocks: monotonic for deadlines, wall for time stamps that people and other machines
// read.
#pragma once

#include <stdbool.h>
#include <stdint.h>

int64_t clock_ms(void);      // monotonic, milliseconds
int64_t clock_wall_ms(void); // since 1970 UTC, milliseconds
// RFC 3339 in UTC to the second, as Kubernetes writes metav1.Time: "2026-11-21T13:49:52Z".
char *clock_rfc3339(int64_t wall_ms, char b[32]);
// Replaces *field with that text; what it was is freed.
void clock_set(char **field, int64_t wall_ms);
// With microseconds, as metav1.MicroTime (leases, events).
char *clock_rfc3339_micro(int64_t wall_ms, char b[40]);
void clock_set_micro(char **field, int64_t wall_ms); // as clock_set()
// Reads either form, and those with an offset from UTC ("+02:00"); false when malformed.
bool clock_parse_rfc3339(const char *s, int64_t *ret_wall_ms);
// Of a time that was noted: 0 when there is none (NULL), or it is malformed.
int64_t clock_time_of(const char *rfc3339);
// Whether after_ms (below 0: never) have gone by since a time that was noted; without one: no.
bool clock_passed(const char *since, int64_t after_ms, int64_t now_wall_ms);
// Uniform in [0, bound): for jitter, never for secrets.
uint64_t clock_random(uint64_t bound);
