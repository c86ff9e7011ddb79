// SPDX-License-Identifier: Apache-2.0
// What lies beside an image in a store: KEY.manifest.json (struct image_manifest) and KEY.chunks,
// the leaf hashes of its content, so that a damaged chunk can be named without a second copy.
//
// KEY.chunks, all numbers little endian:
//     8 bytes   "DROVERCK"
//     u32       version, 1
//     u32       chunk size, bytes (4 MiB)
//     u64       guest-visible size rounded up to 512, bytes
//     u64       number of chunks N
//     u64       number of chunks that are not zero
//     ceil(N/8) one bit a chunk, lowest bit first: 1 = not zero
//     32 x n    hashes of the chunks that are not zero, in order (RFC 9162 leaf hashes)
#pragma once

#include "disk/copy.h"
#include "mover/mover.h"

#define MANIFEST_SUFFIX ".manifest.json"
#define CHUNKS_SUFFIX   ".chunks"

// Yours: free(). r must have chunk_hashes.
int chunks_encode(const struct copy_result *r, uint8_t **ret, size_t *ret_length, struct err *err);
char *manifest_encode(const struct copy_result *r, const char *owner, int format); // NULL: memory

// Writes both beside `key`; what it wrote before a failure is removed again.
int manifest_put(struct storage_lane *l, const char *key, const struct copy_result *r,
                 const char *owner, int format, bool overwrite, struct err *err);
// 0 and *ret; ERR_NOT_FOUND when there is none.
int manifest_get(struct storage_lane *l, const char *key, struct image_manifest *ret,
                 struct err *err);
// 1: *ret_offset is the guest offset of the first chunk whose hash is not what KEY.chunks says; 0:
// all are as it says; -1: ERR_NOT_FOUND, or ERR_CORRUPT when it is damaged itself or of another
// image. r must have chunk_hashes.
int manifest_find_difference(struct storage_lane *l, const char *key, const struct copy_result *r,
                             uint64_t *ret_offset, struct err *err);
// The same with the bytes of KEY.chunks.
int chunks_compare(const uint8_t *bytes, size_t length, const struct copy_result *r,
                   uint64_t *ret_offset, struct err *err);
// Removes what an earlier attempt of the same owner left when it was killed between the manifest
// and the commit of the image. Only where the image itself is known not to be there.
int manifest_clear_own(struct storage_lane *l, const char *key, const char *owner, struct err *err);
// Best effort: after a failure.
void manifest_remove(struct storage_lane *l, const char *key);
