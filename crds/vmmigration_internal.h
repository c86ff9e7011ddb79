// SPDX-License-Identifier: Apache-2.0
// The ends of a migration have tables in a file of their own.
#pragma once

#include "crds/vmmigration.h"

extern const struct table migration_source_table, migration_target_table;
