// SPDX-License-Identifier: Apache-2.0
// What the watches have told: every object of our kinds, squeezed, for store_kube.c. Written by the
// loop (watch) and by workers (the answer to an own write, which is newer than what the watch has
// told so far); read by all. Locked inside.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "controller/object_store.h"

struct kube_cache;

struct kube_cache *kube_cache_new(void);
void kube_cache_free(struct kube_cache *c); // NULL allowed
// From the watch; copied. False: what is here is the same or newer.
bool kube_cache_put(struct kube_cache *c, const struct object *o);
// An own write has given this object a new version. Copied, and only if the object is still here
// with the same uid: it may have been deleted meanwhile.
void kube_cache_written(struct kube_cache *c, const struct object *o);

// A create that is under way. The watch may tell of the new object, and even that it is gone,
// before the answer of the create has been read here.
struct kube_birth;
struct kube_birth *kube_cache_expect(struct kube_cache *c, const struct object_key *key);
// The create is over, b is freed (NULL allowed). o, copied, is here from now on unless it is gone
// already; the watch's first word about it counts as a change all the same. o NULL: it failed.
void kube_cache_born(struct kube_cache *c, struct kube_birth *b, const struct object *o);
// From the watch: gone, unless another with this name has taken its place.
void kube_cache_remove(struct kube_cache *c, const struct object_key *key, const char *uid);
// A copy, yours; NULL when it is not here (*ret_no_memory false) or could not be copied.
struct object *kube_cache_get(struct kube_cache *c, const struct object_key *key,
                              bool *ret_no_memory);
// Keys of a kind, in ns or (NULL) everywhere. Yours. -1: no memory.
int kube_cache_list(struct kube_cache *c, enum object_kind kind, const char *ns,
                    struct object_key **ret, size_t *ret_count);
// As struct object_store_ops says of visit(). -1: no memory.
int kube_cache_each(struct kube_cache *c, enum object_kind kind, const char *ns,
                    const char *mention, object_visit_fn fn, void *arg);
