// SPDX-License-Identifier: Apache-2.0
// The content digest merkle-sha256-4m: the Merkle tree hash of RFC 9162 section 2.1.1 with SHA-256
// (leaf = H(0x00 data), node = H(0x01 left right)) over chunks of 4 MiB, the last one shorter, the
// size rounded up to 512 bytes with zeros.
//
// Leaves are set by lanes in any order, each chunk by one lane at a time; the root is taken by one
// thread when all lanes have ended. A leaf that was never set is a chunk of zeros: 32 zero bytes
// in the array, so that an empty disk costs no memory and no hashing.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define DIGEST_BYTES      32
#define DIGEST_TEXT_BYTES 128

struct digest {
  uint8_t *leaves; // DIGEST_BYTES each
  uint64_t count;
  uint64_t size_bytes; // rounded up
};

int digest_init(struct digest *d, uint64_t size_bytes, struct err *err);
void digest_release(struct digest *d);
// data: `length` bytes of the chunk (what is missing up to the rounded size counts as zeros). False
// when the chunk had another hash before: its content changed between two reads.
bool digest_leaf(struct digest *d, uint64_t chunk, const void *data, size_t length);
// The hash alone, of a disk with that size; leaves are not touched.
void digest_leaf_of(const struct digest *d, uint64_t chunk, const void *data, size_t length,
                    uint8_t ret[DIGEST_BYTES]);
// "merkle-sha256-4m:SIZE:HEX".
int digest_text(const struct digest *d, char ret[DIGEST_TEXT_BYTES], struct err *err);
// The SIZE of such a text. False when it is malformed.
bool digest_text_size(const char *text, uint64_t *ret_bytes);
