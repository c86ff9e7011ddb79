// SPDX-License-Identifier: Apache-2.0
// SHA-256 of something short that is in memory: for folders that know no crypto library. What is
// long or comes in pieces is hashed with the library's own context where it flows. Any thread.
#pragma once

#include <stddef.h>

#define SHA256_BYTES 32

// Aborts when the library cannot (no memory, no SHA-256 at all): names and identities are made of
// the result, and a wrong one would make two things one.
void sha256_of(const void *bytes, size_t length, unsigned char ret[SHA256_BYTES]);
