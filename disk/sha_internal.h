// SPDX-License-Identifier: Apache-2.0
// The plain SHA-256 of a stored object whose pieces are prepared by several lanes at once: each
// lane waits for the turn of its item of the plan (sequence numbers from 0, none missing), hashes,
// and passes the turn on. What lies between two items was a hole and is hashed as zeros.
//
// A hash can be taken up again from a state that was written down, in another process: OpenSSL's
// SHA256_CTX, which its newer interface does not give out. Only sha.c knows of it.
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "disk/crew_internal.h"

struct sha_turn;

int sha_turn_new(const struct crew *crew, struct sha_turn **ret, struct err *err);
void sha_turn_free(struct sha_turn *t); // NULL allowed
void sha_turn_wake(struct sha_turn *t); // the crew has stopped
// Waits for the turn of `sequence`. ERR_CANCELLED when the crew stops. A second call of the same
// sequence returns at once.
int sha_turn_wait(struct sha_turn *t, uint64_t sequence, struct err *err);
// During the turn: bytes at a stored offset, in rising order.
void sha_turn_add(struct sha_turn *t, uint64_t offset, const void *data, size_t length);
void sha_turn_pass(struct sha_turn *t);
// The state after the last turn that was passed; from any lane at any time.
#define SHA_STATE_BYTES 128
void sha_turn_save(struct sha_turn *t, uint8_t ret[SHA_STATE_BYTES]);
// Before the lanes begin: goes on from a saved state. Items before it have been hashed and
// get no turn (sha_turn_over). False: it is no state.
bool sha_turn_load(struct sha_turn *t, const uint8_t state[SHA_STATE_BYTES]);
void sha_turn_reset(struct sha_turn *t); // as new, after a load
// Whether an item was hashed before that state was saved.
bool sha_turn_over(const struct sha_turn *t, uint64_t sequence);
// After all lanes: the hex text over stored_bytes.
void sha_turn_text(struct sha_turn *t, uint64_t stored_bytes, char ret[65]);
