// SPDX-License-Identifier: Apache-2.0
// Virtual machines of libvirt's QEMU driver: on this host by its socket, on another through ssh or
// TLS. What providers/provider.c knows of this folder is this table; docs/providers/libvirt.md is
// the page for users.
#pragma once

#include "providers/provider.h"

extern const struct provider_ops libvirt_ops;
