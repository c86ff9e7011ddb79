// SPDX-License-Identifier: Apache-2.0
// The list of fields that may not change, for object_check_update() and for the test that compares
// it with crds/*.yaml.
#pragma once

#include "crds/object.h"

struct immutable {
  enum object_kind kind;
  const char *field; // of spec; NULL ends the list
  const char *message;
};

extern const struct immutable object_immutables[];
