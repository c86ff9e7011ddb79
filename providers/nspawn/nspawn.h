// SPDX-License-Identifier: Apache-2.0
// Containers of systemd-nspawn in a folder of this host. What providers/provider.c knows of this
// folder is this table; docs/providers/nspawn.md is the page for users.
#pragma once

#include "providers/provider.h"

extern const struct provider_ops nspawn_ops;
