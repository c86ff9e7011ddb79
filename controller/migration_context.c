// SPDX-License-Identifier: Apache-2.0
// What a run holds: the object, its mark, and the far sides that were opened so far.
#include <openssl/evp.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/str.h"
#include "controller/migration_internal.h"

enum migration_phase run_phase(const struct vmmigration_status *st)
{
  for (int p = 0; p < PHASE_COUNT; p++)
    if (str_eq(st->phase, migration_phase_names[p]))
      return p;
  return PHASE_PENDING;
}

int run_source(struct run *r, struct provider **ret, struct err *err)
{
  if (!r->source.handle && provider_access(r->m, r->key.ns, &r->spec->source.vm->provider,
                                           PROVIDER_EXPORT, &r->source, err) != 0)
    return -1;
  *ret = r->source.handle;
  return 0;
}

// What is written into the ledger is at the endpoint that the Provider had then. Going on, or
// taking back, at another one would leave that behind unseen.
static int same_endpoint(struct run *r, struct err *err)
{
  const struct owned_status *vm = status_find_owned(r, "target", NULL, "VM");
  const char *now = provider_access_spec(&r->target)->endpoint;
  if (!vm || str_eq(vm->where, now))
    return 0;
  return err_set(err, ERR_INVALID,
                 "Provider %s pointed to %s when this migration began, and points to %s now; set "
                 "it back until this one has ended, or make another Provider",
                 r->spec->target.vm->provider.name, vm->where, now);
}

int run_target(struct run *r, struct provider **ret, struct err *err)
{
  if (!r->target.handle && provider_access(r->m, r->key.ns, &r->spec->target.vm->provider,
                                           PROVIDER_IMPORT, &r->target, err) != 0)
    return -1;
  if (same_endpoint(r, err) != 0)
    return -1;
  *ret = r->target.handle;
  return 0;
}

int run_store_lane(struct run *r, const struct ref *ref, bool write, struct storage **ret_store,
                   struct storage_lane **ret_lane, struct err *err)
{
  struct storage_config config CLEANUP(storage_config_release) = {0};
  struct storage *store;
  if (store_access(r->m, r->key.ns, ref, write, &config, err) != 0 ||
      storage_open(&config, r->m->allowed, &store, err) != 0)
    return -1;
  if (storage_lane_new(store, ret_lane, err) != 0) {
    storage_free(store);
    return -1;
  }
  *ret_store = store;
  return 0;
}

int run_vm(struct run *r, const struct vm **ret, struct err *err)
{
  if (!r->vm_loaded) {
    if (!r->st->memory.vm)
      return err_set(err, ERR_INTERNAL, "status.runner.vm is missing");
    if (table_decode_text(&vm_table, r->st->memory.vm, "status.runner.vm", &r->vm, err) != 0)
      return -1;
    r->vm_loaded = true;
  }
  *ret = &r->vm;
  return 0;
}

void run_release(struct run *r)
{
  provider_access_release(r->m, &r->source);
  provider_access_release(r->m, &r->target);
  if (r->vm_loaded)
    vm_release(&r->vm);
  object_free(r->before);
  object_free(r->o);
}

// Of what may not change: the same manifest in another cluster has the same hash.
static int spec_hash(const struct vmmigration_spec *spec, char ret[17], struct err *err)
{
  static const char *const parts[] = {"source", "target", "via", "mode"};
  struct json_object *json = table_encode(&vmmigration_spec_table, spec);
  struct buf text CLEANUP(buf_release) = BUF_INIT(LIMIT_MANIFEST_BYTES);
  for (size_t i = 0; json && i < ARRAY_SIZE(parts); i++) {
    struct json_object *part = json_object_object_get(json, parts[i]);
    buf_adds(&text, part ? json_object_to_json_string_ext(part, JSON_C_TO_STRING_PLAIN) : "-");
    buf_addc(&text, '\n');
  }
  json_object_put(json);
  unsigned char digest[EVP_MAX_MD_SIZE];
  if (!buf_ok(&text) ||
      EVP_Digest(buf_str(&text), text.length, digest, NULL, EVP_sha256(), NULL) != 1)
    return err_set(err, ERR_INTERNAL, "spec could not be hashed");
  struct buf hex CLEANUP(buf_release) = BUF_INIT(64);
  buf_add_hex(&hex, digest, 8);
  snprintf(ret, 17, "%s", buf_str(&hex));
  return 0;
}

static int make_mark(struct run *r, struct err *err)
{
  char hash[17];
  if (spec_hash(r->spec, hash, err) != 0)
    return -1;
  snprintf(r->owner, sizeof(r->owner), "%s/%s/%s/%s/%s", r->m->installation, r->key.ns, r->key.name,
           r->o->meta.uid, hash);
  snprintf(r->movers, sizeof(r->movers), "%s/%s/%s/", r->key.ns, r->key.name, r->o->meta.uid);
  return 0;
}

int run_init(struct run *r, struct manager *m, const struct object_key *key, struct err *err)
{
  *r = (struct run){.m = m, .key = *key, .now_ms = clock_wall_ms()};
  if (m->store->ops->get(m->store, key, &r->o, err) != 0)
    return -1;
  r->spec = r->o->spec;
  r->st = r->o->status;
  r->phase = run_phase(r->st);
  if (object_copy(r->o, &r->before, err) != 0)
    return -1;
  return make_mark(r, err);
}
