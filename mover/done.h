// SPDX-License-Identifier: Apache-2.0
// The last line of a copy, for people or as JSON.
#pragma once

#include "disk/repair.h"
#include "mover/session.h"

// format: enum disk_format of what is stored, ANY for ends that store no image. found: of a repair,
// else NULL.
void done_say(struct session *s, const struct copy_result *r, int format,
              const struct repair_found *found);
