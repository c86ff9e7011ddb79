// SPDX-License-Identifier: Apache-2.0
// The ends of a migration have tables in a file of their own; its ledger and what preflight found
// stand in the status of other kinds, too.
#pragma once

#include "crds/vmmigration.h"

extern const struct table migration_source_table, migration_target_table;
extern const struct table owned_status_table, preflight_finding_table;
