// SPDX-License-Identifier: Apache-2.0
// Who we are at this moment. A config says where credentials come from; this keeps them fresh:
//
//   token file        read again once a minute, and when the server refused the token
//   certificate file  looked at once a minute, read again when it changed
//   exec plug-in      run when first needed, again when expirationTimestamp has passed, or when the
//                     server refused what it gave (client.authentication.k8s.io v1 and v1beta1)
//
// One object per client, used by any thread; getting an identity may block for as long as a
// plug-in runs (others wait for the same run), so never on the loop.
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "base/secret.h"
#include "kube/config.h"

#define CREDENTIALS_READ_AGAIN_MS   60000
#define CREDENTIALS_EXEC_TIMEOUT_MS 60000

struct credentials;

struct identity {
  struct secret bearer; // empty = none
  char *cert_pem;       // NULL = none
  struct secret key_pem;
  uint64_t certificate; // counts changes of the certificate: when it differs, connect anew
  uint64_t version;     // counts changes of anything
};

struct credentials *credentials_new(const struct kube_config *config); // config must outlive it
void credentials_free(struct credentials *c);                          // NULL allowed
// The present identity, yours to release. refused: the version that the server answered 401 to
// (0 = none); if nobody has renewed it meanwhile, it is renewed now. ERR_AUTH when a plug-in fails
// or gives nothing; errors of reading files, unless an older value is still there.
int credentials_get(struct credentials *c, uint64_t refused, struct identity *ret, struct err *err);
void identity_release(struct identity *i);

// exec.c: one run of the plug-in. Fills *ret and, from expirationTimestamp, *ret_expires_wall_ms
// (0 = none said).
int kube_exec_run(const struct kube_config *config, struct identity *ret,
                  int64_t *ret_expires_wall_ms, struct err *err);
