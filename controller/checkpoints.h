// SPDX-License-Identifier: Apache-2.0
// Where the movers note what they have finished (disk/checkpoint.h): one file for each leg of each
// disk of each migration, in one folder that outlives the process: beside the state file of `drover
// run`, or below the runtime folder of the controller. A file goes when status says that its leg is
// done, or when what was made for the disk is taken back; never before, so that a mover that is
// started again does not send again. Without a folder movers start over. Any thread.
#pragma once

#include "controller/controller_internal.h"

// Its path, the folder made if need be. Yours; NULL: there is none (said in the log).
char *checkpoints_path(const struct manager *m, const char *uid, const char *disk, int leg);
// leg 0: of all legs; disk NULL: of all disks. A mover that still works on one keeps it.
void checkpoints_remove(const struct manager *m, const char *uid, const char *disk, int leg);
// The folder goes when it is empty. Once no mover is started any more: each wants to find it.
void checkpoints_end(const struct manager *m);
