// SPDX-License-Identifier: Apache-2.0
// What stands against a Clone, before it is made: of one that is, and of one that only might be.
#include "base/cleanup.h"
#include "base/str.h"
#include "controller/clone_internal.h"

static int check_order(struct cloning *c, struct provider *p, const struct clone_order *order,
                       struct findings *f, struct err *err)
{
  const struct provider_spec *spec = provider_access_spec(&c->k.access);
  const struct clone_nic *nics = order->nics.items;
  int rc = scope_check(spec, SCOPE_VM_NAMES, order->name, err);
  if (rc == 0 && c->spec->vm)
    rc = scope_check_machine(spec, p, c->spec->vm->name, err);
  if (rc == 0 && order->storage)
    rc = storage_check(c->k.m, spec, order->storage, err);
  for (size_t i = 0; rc == 0 && i < order->nics.count; i++)
    rc = network_check(spec, nics[i].network, err);
  return rc == 0 ? provider_clone_check(p, order, f, err) : -1;
}

int cloning_check(struct cloning *c, struct err *err)
{
  struct clone_order order = {0};
  struct findings f CLEANUP(findings_release) = {0};
  struct provider *p;
  if (cloning_provider(c, &p, err) != 0 || cloning_order(c, &order, err) != 0)
    return -1;
  int rc = check_order(c, p, &order, &f, err);
  table_release(&clone_order_table, &order);
  return rc == 0 && keeping_take_findings(&c->k, &f, err) ? 0 : -1;
}

static int try_it(struct cloning *c, struct err *err)
{
  if (cloning_resolve(c, err) != 0)
    return -1;
  if (!c->origin.ready)
    return err_set(err, ERR_BUSY, "%s", c->origin.why);
  return cloning_check(c, err);
}

int cloning_try(struct manager *m, struct object *o, struct err *err)
{
  struct cloning c = {.spec = o->spec, .st = o->status};
  keeping_init_unsaved(&c.k, m, o);
  c.k.preflight = &c.st->preflight;
  int rc = try_it(&c, err);
  origin_release(&c.origin);
  keeping_release(&c.k);
  return rc;
}
