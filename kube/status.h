// SPDX-License-Identifier: Apache-2.0
// What an API server says when it refuses: a metav1.Status object (reason, message, details with
// causes and retryAfterSeconds), turned into our errors. The table of reasons is in status.c.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct json_object;

// Sets the error for an HTTP status and its body, which may be no Status at all (a proxy's page,
// the "404 page not found" of an API that is not served). what: "PUT vmmigrations ns/name".
// retry_after_ms: from the header, 0 = none. Returns -1.
int kube_status_error(long http_status, const char *body, size_t length, int64_t retry_after_ms,
                      const char *what, struct err *err);
// The same from a Status that came in a watch.
int kube_status_object_error(struct json_object *status, const char *what, struct err *err);
// True for 410 and the reasons Expired and Gone: the resourceVersion or continue token is too old.
bool kube_status_expired(long http_status, struct json_object *status);
