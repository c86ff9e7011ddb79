// SPDX-License-Identifier: Apache-2.0
// Raw files and block devices that exist already, as targets.
#pragma once

#include "disk/target.h"

int target_open_file(const char *path, struct target **ret, struct err *err);
