// SPDX-License-Identifier: Apache-2.0
// The runner of ImageStore: probes (a small object is written, read by range, removed), and waits
// for dependents before it goes.
#include <stdio.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "controller/access.h"
#include "controller/lasting.h"
#include "crds/imagestore.h"

static int probe_lane(struct manager *m, struct storage *store, const struct object *o,
                      struct err *err)
{
  const struct imagestore_spec *spec = o->spec;
  struct imagestore_status *st = o->status;
  struct storage_lane *lane;
  char owner[512], now[32];
  if (storage_lane_new(store, &lane, err) != 0)
    return -1;
  snprintf(owner, sizeof(owner), "%s/%s/%s/%s", m->installation, o->meta.ns, o->meta.name,
           o->meta.uid);
  int failed = storage_probe(lane, spec->access == STORE_READ_WRITE, owner, err);
  struct err unknown = ERR_INIT;
  int64_t free_bytes = 0;
  if (!failed && storage_free_bytes(lane, &free_bytes, &unknown) == 0)
    st->free_bytes = free_bytes > 0 ? free_bytes : 0;
  storage_lane_free(lane);
  str_set(&st->location, storage_describe(store));
  str_set(&st->last_probe_time, clock_rfc3339(clock_wall_ms(), now));
  return failed;
}

static int probe(struct manager *m, struct object *o, struct err *err)
{
  struct storage_config config CLEANUP(storage_config_release) = {0};
  struct storage *store;
  if (store_access_own(m, o, &config, err) != 0 ||
      storage_open(&config, m->allowed, &store, err) != 0)
    return -1;
  int failed = probe_lane(m, store, o, err);
  storage_free(store);
  return failed;
}

static void view(struct lasting *l)
{
  struct imagestore_status *st = l->o->status;
  const struct imagestore_spec *spec = l->o->spec;
  l->conditions = &st->conditions;
  l->observed_generation = &st->observed_generation;
  l->dependents = &st->dependents;
  l->suspended = spec->suspend;
  l->interval_ms = spec->probe_interval_ms;
}

static const struct lasting_kind kind = {"imagestore", view, probe};

int64_t imagestore_step(struct manager *m, const struct object_key *key)
{
  return lasting_step(m, key, &kind);
}

bool imagestores_probed(struct manager *m)
{
  return lasting_all_probed(m, OBJECT_IMAGE_STORE, &kind);
}
