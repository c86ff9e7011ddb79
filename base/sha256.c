// SPDX-License-Identifier: Apache-2.0
#include "base/sha256.h"

#include <openssl/evp.h>
#include <stdlib.h>

void sha256_of(const void *bytes, size_t length, unsigned char ret[SHA256_BYTES])
{
  if (EVP_Digest(bytes, length, ret, NULL, EVP_sha256(), NULL) != 1)
    abort();
}
