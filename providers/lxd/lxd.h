// SPDX-License-Identifier: Apache-2.0
// The provider of LXD and Incus: system containers, and VMs by the same calls, through the REST API
// at unix:///PATH (the daemon's socket) or https://HOST[:PORT] (a client certificate that the
// daemon trusts). It keeps clones; it moves no disks, for the API has no way to read or write one.
//
// A handle holds one HTTP session and no state that matters: what is under way is found again by
// the names of instances and the marks in their config. Threads and life: see providers/provider.h.
#pragma once

#include "providers/provider.h"

extern const struct provider_ops lxd_ops;
