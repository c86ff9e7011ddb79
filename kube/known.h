// SPDX-License-Identifier: Apache-2.0
// The memory of an informer: which objects exist, at which version. A few dozen bytes an object
// beside its name. For one thread.
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct known_set;

enum known_change {
  KNOWN_NEW,       // was not there
  KNOWN_CHANGED,   // another version
  KNOWN_SAME,      // the very same version
  KNOWN_REPLACED,  // another object under the same name: the old one is gone
  KNOWN_NO_MEMORY, // nothing was changed
};

typedef void (*known_gone_fn)(void *arg, const char *ns, const char *name, const char *uid);

struct known_set *known_new(void);
void known_free(struct known_set *k); // NULL allowed
size_t known_count(const struct known_set *k);
// Notes that an object exists now. Before KNOWN_REPLACED is returned, gone is called for the old
// one.
enum known_change known_put(struct known_set *k, const char *ns, const char *name, const char *uid,
                            const char *version, known_gone_fn gone, void *arg);
// Forgets it; gone is called if it was known.
void known_remove(struct known_set *k, const char *ns, const char *name, known_gone_fn gone,
                  void *arg);
// A full list: known_begin(), known_put() for each, known_sweep() forgets what was not put since.
void known_begin(struct known_set *k);
void known_sweep(struct known_set *k, known_gone_fn gone, void *arg);
