// SPDX-License-Identifier: Apache-2.0
// Inside of a layout, for those that implement one.
#pragma once

#include "disk/layout_internal.h"

struct layout_ops {
  struct piece (*piece)(const struct layout *l, uint64_t offset);
  uint64_t (*skip_holes)(const struct layout *l, uint64_t offset); // NULL: there are none
  void (*metadata)(const struct layout *l, const struct piece *p,
                   void *into); // NULL: there is none
  void (*free)(struct layout *l);
};

struct layout {
  const struct layout_ops *ops;
  const struct extents *map;
  uint64_t guest_bytes, stored_bytes;
};
