// SPDX-License-Identifier: Apache-2.0
#include "base/pattern.h"

#include <regex.h>
#include <stddef.h>
#include <string.h>

#include "base/cleanup.h"

#define PATTERNS_MAX 128 // further ones work, compiled each time

struct entry {
  const char *pattern;
  regex_t regex;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; // guards what follows
static struct entry entries[PATTERNS_MAX];
static size_t entry_count;

// Entries never change or go once they are there, so what this returns may be used without the
// lock (regexec() takes one of its own). NULL: no room.
static const regex_t *compiled(const char *pattern)
{
  LOCK_FOR_SCOPE(&mutex);
  for (size_t i = 0; i < entry_count; i++)
    if (entries[i].pattern == pattern || strcmp(entries[i].pattern, pattern) == 0)
      return &entries[i].regex;
  struct entry *e = &entries[entry_count];
  if (entry_count == PATTERNS_MAX || regcomp(&e->regex, pattern, REG_EXTENDED | REG_NOSUB) != 0)
    return NULL;
  e->pattern = pattern;
  entry_count++;
  return &e->regex;
}

static bool match_once(const char *pattern, const char *text)
{
  regex_t regex;
  if (regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB) != 0)
    return false;
  bool match = regexec(&regex, text, 0, NULL, 0) == 0;
  regfree(&regex);
  return match;
}

bool pattern_matches(const char *pattern, const char *text)
{
  if (!text)
    return false;
  const regex_t *regex = compiled(pattern);
  return regex ? regexec(regex, text, 0, NULL, 0) == 0 : match_once(pattern, text);
}
