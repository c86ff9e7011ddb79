// SPDX-License-Identifier: Apache-2.0
// `drover copy --repair`: an image that is there and damaged gets back what is not as it should be.
//
// What it should be is told by its manifest, where one lies beside it: a source with another
// content is no way to repair it, and is refused before a byte is written. Without a manifest an
// image of which more than half is different is taken for another one, unless the caller said what
// digest must come out.
#pragma once

#include "mover/session.h"

int repair_work(struct session *s, struct err *err); // for session_run()
