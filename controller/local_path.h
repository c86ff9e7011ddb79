// SPDX-License-Identifier: Apache-2.0
// Which paths of this machine a manifest may name (--allow-local). A path counts as where it leads:
// symbolic links are followed first, on both sides, so that neither a link below an allowed folder
// nor `..` leads out of it. What does not exist yet counts as where it would be made.
//
// The answer holds for the moment: whoever may change folders below an allowed one while drover
// works can still put a link there afterwards. Allow folders that only administrators write to.
#pragma once

#include "base/err.h"
#include "base/field.h"

// ERR_DENIED, with a sentence that begins with `what`, when `path` does not lead below one of
// `allowed`.
int local_path_check(const struct strings *allowed, const char *path, const char *what,
                     struct err *err);
