// SPDX-License-Identifier: Apache-2.0
// The runner of Provider: probes, says what is there, and waits for dependents before it goes.
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/str.h"
#include "controller/access.h"
#include "controller/lasting.h"
#include "crds/provider.h"

#define PROBE_INTERVAL_MS (5 * 60 * 1000)

static void clear_storages(struct list *l)
{
  struct provider_storage_status *items = l->items;
  for (size_t i = 0; i < l->count; i++) {
    free(items[i].name);
    free(items[i].type);
  }
  free(items);
  *l = (struct list){0};
}

static void take_info(struct provider_status *st, const struct provider_info *info)
{
  const struct provider_storage *storages = info->storages.items;
  str_set(&st->version, info->version);
  str_set(&st->host, info->host);
  strings_copy(&st->capabilities, &info->capabilities);
  strings_copy(&st->inventory.networks, &info->networks);
  st->inventory.vms = (int64_t)info->vms.count;
  clear_storages(&st->inventory.storages);
  for (size_t i = 0; i < info->storages.count; i++) {
    struct provider_storage_status *s = list_add(&st->inventory.storages, sizeof(*s), 256);
    if (s)
      *s = (struct provider_storage_status){strdup(storages[i].name),
                                            storages[i].type ? strdup(storages[i].type) : NULL,
                                            storages[i].free_bytes, storages[i].capacity_bytes};
  }
}

static int probe(struct manager *m, struct object *o, struct err *err)
{
  struct provider_access access = {0};
  struct provider_info info = {0};
  if (provider_access_own(m, o, &access, err) != 0)
    return -1;
  int failed = provider_probe(access.handle, &info, err);
  if (!failed)
    take_info(o->status, &info);
  provider_info_release(&info);
  provider_access_release(m, &access);
  return failed;
}

static void view(struct lasting *l)
{
  struct provider_status *st = l->o->status;
  const struct provider_spec *spec = l->o->spec;
  l->conditions = &st->conditions;
  l->observed_generation = &st->observed_generation;
  l->dependents = &st->dependents;
  l->suspended = spec->suspend;
  l->patient = true;
  l->interval_ms = PROBE_INTERVAL_MS;
}

static const struct lasting_kind kind = {"provider", view, probe};

int64_t provider_step(struct manager *m, const struct object_key *key)
{
  return lasting_step(m, key, &kind);
}
