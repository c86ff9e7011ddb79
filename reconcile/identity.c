// SPDX-License-Identifier: Apache-2.0
#include "reconcile/identity.h"

#include <stdio.h>
#include <string.h>

#include "base/sha256.h"

// Both parts are digested before they are joined: no length of one can pass for the other.
static void derive(const char *purpose, unsigned number, const char *uid,
                   unsigned char ret[SHA256_BYTES])
{
  char head[64];
  snprintf(head, sizeof(head), "drover.dev/%s/%u", purpose, number);
  unsigned char both[2 * SHA256_BYTES];
  sha256_of(head, strlen(head), both);
  sha256_of(uid, strlen(uid), both + SHA256_BYTES);
  sha256_of(both, sizeof(both), ret);
}

static void hex(const unsigned char *bytes, size_t count, char *ret)
{
  for (size_t i = 0; i < count; i++)
    sprintf(ret + 2 * i, "%02x", bytes[i]);
}

void identity_of(const char *uid, struct identity *ret)
{
  unsigned char h[SHA256_BYTES];
  derive("machine", 0, uid, h);
  h[6] = (unsigned char)(0x40 | (h[6] & 0x0f)); // RFC 9562: version 4
  h[8] = (unsigned char)(0x80 | (h[8] & 0x3f)); // and its variant
  hex(h, 16, ret->machine_id);
  const char *id = ret->machine_id;
  snprintf(ret->uuid, sizeof(ret->uuid), "%.8s-%.4s-%.4s-%.4s-%.12s", id, id + 8, id + 12, id + 16,
           id + 20);
}

void identity_mac(const char *uid, unsigned nic, char ret[18])
{
  unsigned char h[SHA256_BYTES];
  derive("mac", nic, uid, h);
  snprintf(ret, 18, "52:%02x:%02x:%02x:%02x:%02x", h[0], h[1], h[2], h[3], h[4]);
}
