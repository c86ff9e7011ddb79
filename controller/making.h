// SPDX-License-Identifier: Apache-2.0
// How many clones are being made on a provider at once (its limits.clones): counted in this
// process, by uid. What was begun before a restart is entered again when it is looked at.
#pragma once

#include "controller/controller_internal.h"

// False: the limit is reached. Entering twice counts once.
bool making_enter(struct manager *m, const char *provider_uid, const char *clone_uid,
                  int64_t limit);
void making_leave(struct manager *m, const char *clone_uid);
void making_free(struct manager *m);
