// SPDX-License-Identifier: Apache-2.0
// From references in manifests to providers and stores that may be used, and the place where every
// rule about that is enforced: allowedNamespaces, allow, scope, --allow-local, --allowed-endpoints.
// Secrets are read from the namespace of the object that names them, and from nowhere else.
//
// Errors are sentences about the manifest: which reference, what is wrong, what to do.
// ERR_NOT_FOUND and ERR_DENIED are final; an API that does not answer is retryable.
#pragma once

#include "controller/controller_internal.h"
#include "crds/imagestore.h"
#include "crds/provider.h"

// A provider for use: the handle is shared and stays alive until released, also when the Provider
// object changes meanwhile.
struct provider_access {
  struct object *object; // the Provider; its spec is struct provider_spec
  struct provider *handle;
  struct provider_entry *entry;
};

// need: enum provider_allow, or -1 for nothing but reading.
int provider_access(struct manager *m, const char *from_ns, const struct ref *ref, int need,
                    struct provider_access *ret, struct err *err);
// The same for a Provider object that is at hand (its own runner).
int provider_access_own(struct manager *m, const struct object *o, struct provider_access *ret,
                        struct err *err);
void provider_access_release(struct manager *m, struct provider_access *a);
const struct provider_spec *provider_access_spec(const struct provider_access *a);

enum scope_list { SCOPE_STORAGES, SCOPE_NETWORKS, SCOPE_VM_NAMES };
// ERR_DENIED when the provider's scope does not hold that name. A NULL name passes.
int scope_check(const struct provider_spec *spec, enum scope_list list, const char *name,
                struct err *err);
// The same of a machine that is there, by the name that it has, whether it was named or given by
// its id. One that is not there passes: whoever needs it finds that out.
struct provider;
int scope_check_machine(const struct provider_spec *spec, struct provider *p,
                        const char *name_or_id, struct err *err);

// The same for where disks and cards go, `wish` being what the object says (NULL: the Provider's
// default counts). A folder on a host that is this one must also be below --allow-local.
int storage_check(struct manager *m, const struct provider_spec *spec, const char *wish,
                  struct err *err);
int network_check(const struct provider_spec *spec, const char *wish, struct err *err);

#define STAGING_FOLDER "drover-staging" // in stores

// Settings of a store with its secrets. A store of another namespace keeps ours under a prefix.
int store_access(struct manager *m, const char *from_ns, const struct ref *ref, bool write,
                 struct storage_config *ret, struct err *err);
int store_access_own(struct manager *m, const struct object *o, struct storage_config *ret,
                     struct err *err);

struct provider_cache *provider_cache_new(void);
void provider_cache_free(struct provider_cache *c); // when no access is left
