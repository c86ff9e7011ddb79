// SPDX-License-Identifier: Apache-2.0
// One step of a CloneBase, as its files see it. Lives for one step, on the worker that makes it.
//
// Disks that have to be brought from elsewhere come by a VMMigration of its own: retry, resume,
// progress and verification are that one's; what it made is then registered in place.
#pragma once

#include "controller/keeping.h"
#include "crds/clonebase.h"
#include "providers/clone.h"

struct basing {
  struct keeping k;
  const struct clonebase_spec *spec;
  struct clonebase_status *st;
  bool copies_itself; // the platform copies machines: no VMMigration needed
  bool takes_images;  // the platform takes the image as a stream: none either
  char *machine;      // what the VMMigration made
  char *percent;      // of it
  struct err unreachable;
};

// Opened at the first call; *ret lives as long as b.
int basing_provider(struct basing *b, struct provider **ret, struct err *err);

bool basing_needs_disks(const struct basing *b); // and a VMMigration brings them

// clonebase_image.c, of an image that the platform takes itself.
bool basing_streams(const struct basing *b);
// The object, not opened yet. *ret is yours: feed_source_unref().
int basing_source(struct basing *b, struct feed_source **ret, struct err *err);
// Looks at the object: fills what base_check() wants to know of it. Blocks as long as the store.
int basing_look_at_image(struct basing *b, struct base_order *order, struct findings *f,
                         struct err *err);

// Facts (BASE_FACT) of that VMMigration; takes what it made and how far it is into b.
uint64_t basing_look_at_migration(struct basing *b);
int basing_ask_disks(struct basing *b, struct err *err); // makes it
// Takes back what it made that nobody registered, and itself; then the finalizer goes.
int basing_remove_finalizer(struct basing *b, struct err *err);
