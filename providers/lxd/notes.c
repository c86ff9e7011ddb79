// SPDX-License-Identifier: Apache-2.0
// What the daemon has said a moment ago, so that it is not asked the same again within one clone.
// Nothing rests on a note: an instance that is there after all makes the daemon refuse the request
// that would make it, and it is looked at then.
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "providers/lxd/lxd_internal.h"

#define FRESH_MS 1000

// ---- instances that are not there --------------------------------------------------------------

void lxd_absent_note(struct lxd *l, const char *name)
{
  struct lxd_absent *a = &l->absent[l->absent_next++ % LXD_ABSENT_MAX];
  snprintf(a->name, sizeof(a->name), "%s", name);
  a->seen_ms = clock_ms();
}

bool lxd_absent_take(struct lxd *l, const char *name)
{
  bool lately = false;
  for (size_t i = 0; i < LXD_ABSENT_MAX; i++) {
    struct lxd_absent *a = &l->absent[i];
    if (!str_eq(a->name, name))
      continue;
    lately |= clock_ms() - a->seen_ms < FRESH_MS;
    a->name[0] = '\0';
  }
  return lately;
}

// ---- pools -------------------------------------------------------------------------------------

int lxd_pool_kind(struct lxd *l, const char *name, const struct lxd_pool **ret, struct err *err)
{
  struct lxd_pool p = {0};
  if (!str_eq(l->pool.name, name) || clock_ms() - l->pool_ms >= FRESH_MS) {
    if (lxd_pool(l, name, &p, err) != 0)
      return -1;
    lxd_pool_release(&l->pool);
    l->pool = p;
    l->pool_ms = clock_ms();
  }
  *ret = &l->pool;
  return 0;
}

// ---- images ------------------------------------------------------------------------------------

// Of no age: another content is another fingerprint.
const char *lxd_image_inside(const struct lxd *l, const char *fingerprint)
{
  return str_eq(l->image.fingerprint, fingerprint) ? l->image.inside : NULL;
}

void lxd_image_inside_note(struct lxd *l, const char *fingerprint, const char *inside)
{
  str_set(&l->image.fingerprint, fingerprint);
  str_set(&l->image.inside, inside);
}

void lxd_notes_release(struct lxd *l)
{
  lxd_pool_release(&l->pool);
  free(l->image.fingerprint);
  free(l->image.inside);
}
