// SPDX-License-Identifier: Apache-2.0
#include "controller/making.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/str.h"

struct making {
  struct making *next;
  char *provider_uid, *clone_uid;
};

bool making_enter(struct manager *m, const char *provider_uid, const char *clone_uid, int64_t limit)
{
  LOCK_FOR_SCOPE(&m->mutex);
  int64_t count = 0;
  for (const struct making *e = m->making; e; e = e->next) {
    if (str_eq(e->clone_uid, clone_uid))
      return true;
    count += str_eq(e->provider_uid, provider_uid);
  }
  struct making *e = count < limit ? calloc(1, sizeof(*e)) : NULL;
  if (!e)
    return false;
  *e = (struct making){m->making, str_dup(provider_uid), str_dup(clone_uid)};
  m->making = e;
  return true;
}

static void drop(struct making **at)
{
  struct making *e = *at;
  *at = e->next;
  free(e->provider_uid);
  free(e->clone_uid);
  free(e);
}

void making_leave(struct manager *m, const char *clone_uid)
{
  LOCK_FOR_SCOPE(&m->mutex);
  for (struct making **at = &m->making; *at; at = &(*at)->next)
    if (str_eq((*at)->clone_uid, clone_uid)) {
      drop(at);
      return;
    }
}

void making_free(struct manager *m)
{
  while (m->making)
    drop(&m->making);
}
