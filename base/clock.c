// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/str.h"

static int64_t read_ms(clockid_t id)
{
  struct timespec t;
  clock_gettime(id, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t clock_ms(void)
{
  return read_ms(CLOCK_MONOTONIC);
}

int64_t clock_wall_ms(void)
{
  return read_ms(CLOCK_REALTIME);
}

static size_t format_seconds(int64_t wall_ms, char *b, size_t size)
{
  time_t seconds = wall_ms / 1000;
  struct tm tm;
  gmtime_r(&seconds, &tm);
  return strftime(b, size, "%Y-%m-%dT%H:%M:%S", &tm);
}

char *clock_rfc3339(int64_t wall_ms, char b[32])
{
  size_t n = format_seconds(wall_ms, b, 30);
  strcpy(b + n, "Z");
  return b;
}

char *clock_rfc3339_micro(int64_t wall_ms, char b[40])
{
  size_t n = format_seconds(wall_ms, b, 30);
  snprintf(b + n, 40 - n, ".%03d000Z", (int)(wall_ms % 1000));
  return b;
}

// "Z" or "+02:00".
static bool parse_zone(const char *s, int64_t *ret_east_minutes)
{
  int hours, minutes, length = 0;
  *ret_east_minutes = 0;
  if (strcmp(s, "Z") == 0 || strcmp(s, "z") == 0)
    return true;
  if ((*s != '+' && *s != '-') || sscanf(s + 1, "%2d:%2d%n", &hours, &minutes, &length) != 2 ||
      length != 5 || s[6])
    return false;
  *ret_east_minutes = (hours * 60 + minutes) * (*s == '-' ? -1 : 1);
  return true;
}

bool clock_parse_rfc3339(const char *s, int64_t *ret_wall_ms)
{
  struct tm tm = {0};
  const char *rest = s ? strptime(s, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
  if (!rest)
    return false;
  int64_t ms = 0;
  if (*rest == '.') {
    int64_t scale = 100;
    for (rest++; isdigit((unsigned char)*rest); rest++, scale /= 10)
      ms += (*rest - '0') * scale;
  }
  int64_t east_minutes;
  if (!parse_zone(rest, &east_minutes))
    return false;
  *ret_wall_ms = ((int64_t)timegm(&tm) - east_minutes * 60) * 1000 + ms;
  return true;
}

int64_t clock_time_of(const char *rfc3339)
{
  int64_t ms = 0;
  return clock_parse_rfc3339(rfc3339, &ms) ? ms : 0;
}

bool clock_passed(const char *since, int64_t after_ms, int64_t now_wall_ms)
{
  int64_t then_ms = clock_time_of(since);
  return then_ms > 0 && after_ms >= 0 && now_wall_ms >= then_ms + after_ms;
}

uint64_t clock_random(uint64_t bound)
{
  uint64_t value = 0;
  if (getrandom(&value, sizeof(value), 0) != sizeof(value))
    value = (uint64_t)read_ms(CLOCK_MONOTONIC) * 2654435761u;
  return bound ? value % bound : 0;
}

void clock_set(char **field, int64_t wall_ms)
{
  char text[32];
  str_set(field, clock_rfc3339(wall_ms, text));
}

void clock_set_micro(char **field, int64_t wall_ms)
{
  char text[40];
  str_set(field, clock_rfc3339_micro(wall_ms, text));
}
