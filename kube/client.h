// SPDX-License-Identifier: Apache-2.0
// The Kubernetes API: blocking calls for worker threads. Objects are json-c trees both ways; an
// answer belongs to the caller (json_object_put).
//
// One struct kube per cluster and process, shared by all threads. Connections are kept alive and
// reused; credentials renew themselves, and a call that was answered 401 is repeated once with
// fresh ones. Calls wait for their turn in our own request budget (a token bucket); writes to a
// status subresource have a second, smaller one, so that progress reports cannot crowd out work.
//
// Errors: refusals are read from metav1.Status (see kube/status.h): ERR_NOT_FOUND, ERR_EXISTS,
// ERR_CONFLICT (a precondition failed: read again), ERR_DENIED (RBAC), ERR_AUTH, ERR_INVALID with
// the paths of fields, ERR_THROTTLED with retry_after_ms, ERR_TIMEOUT, ERR_PROTOCOL (5xx, or the
// API is not served), ERR_UNREACHABLE, ERR_TLS, ERR_CANCELLED after kube_interrupt(). Nothing but
// the 401 is repeated here: the caller has a queue with backoff.
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "kube/config.h"

#define KUBE_FIELD_MANAGER    "drover"
#define KUBE_PAGE             100         // objects in one page of a list
#define KUBE_ANSWER_MAX_BYTES (16u << 20) // a longer one is ERR_LIMIT
#define KUBE_TIMEOUT_MS       30000       // of one call

struct kube;

struct kube_settings {
  double per_s, burst;               // all calls; 0 = 200 and 400
  double status_per_s, status_burst; // writes of status; 0 = 100 and 200
  const char *user_agent;            // NULL = drover/VERSION
};

// A resource as the API addresses it; group "" is the core API.
struct kube_resource {
  const char *group, *version, *plural, *kind;
};

// *config is taken over (left empty), also on failure. settings may be NULL. No request is made.
struct kube *kube_new(struct kube_config *config, const struct kube_settings *settings,
                      struct err *err);
void kube_free(struct kube *k); // no call may be under way; NULL allowed
// From any thread: calls under way and all later ones end with ERR_CANCELLED.
void kube_interrupt(struct kube *k);
const char *kube_server(const struct kube *k);
const char *kube_namespace(const struct kube *k); // of the context or the pod

// ns: NULL or "" for cluster-wide resources (and lists over all namespaces).
int kube_get(struct kube *k, const struct kube_resource *r, const char *ns, const char *name,
             struct json_object **ret, struct err *err);

struct kube_list_query {
  const char *ns;
  const char *label_selector, *field_selector; // NULL = all
  const char *version;                         // resourceVersion; NULL = the newest (a quorum read)
  const char *next;                            // page.next of the page before; NULL = the first
  int limit;                                   // 0 = KUBE_PAGE
  const volatile bool *cancel;                 // as in struct kube_call
};

struct kube_page {
  struct json_object *items; // array; managedFields are gone
  char *version;             // resourceVersion of the list: where a watch goes on
  char *next;                // NULL: this was the last page
  bool expired;              // after an error: 410, begin the list anew
};

int kube_list(struct kube *k, const struct kube_resource *r, const struct kube_list_query *q,
              struct kube_page *ret, struct err *err);
void kube_page_release(struct kube_page *p);

// ret may be NULL in all of these. The answer is the object as stored.
int kube_create(struct kube *k, const struct kube_resource *r, const char *ns,
                struct json_object *object, struct json_object **ret, struct err *err);
// Replaces; a metadata.resourceVersion in the object is the precondition (ERR_CONFLICT).
int kube_update(struct kube *k, const struct kube_resource *r, struct json_object *object,
                struct json_object **ret, struct err *err);
// The status subresource alone. An object without a resourceVersion is refused (ERR_INTERNAL):
// status is never written blindly.
int kube_update_status(struct kube *k, const struct kube_resource *r, struct json_object *object,
                       struct json_object **ret, struct err *err);

enum kube_patch_type {
  KUBE_PATCH_MERGE, // RFC 7386; metadata.resourceVersion in it is a precondition
  KUBE_PATCH_JSON,  // RFC 6902
  KUBE_PATCH_APPLY, // server-side apply as KUBE_FIELD_MANAGER, conflicts are errors
  KUBE_PATCH_APPLY_FORCE,
};

// subresource: NULL, or "status".
int kube_patch(struct kube *k, const struct kube_resource *r, const char *ns, const char *name,
               const char *subresource, enum kube_patch_type type, struct json_object *patch,
               struct json_object **ret, struct err *err);

struct kube_preconditions {
  const char *uid;         // NULL = any
  const char *version;     // NULL = any
  const char *propagation; // "Background", "Foreground", "Orphan"; NULL = the resource's default
};

// ERR_CONFLICT when a precondition does not hold. how may be NULL.
int kube_delete(struct kube *k, const struct kube_resource *r, const char *ns, const char *name,
                const struct kube_preconditions *how, struct err *err);

// Whether the cluster serves all these resources, and their status subresources where wanted.
// ERR_NOT_FOUND names what is missing and says `hint` ("kubectl apply -f crds/").
struct kube_wanted {
  const struct kube_resource *resource;
  bool status;
};
int kube_check_served(struct kube *k, const struct kube_wanted *wanted, size_t count,
                      const char *hint, struct err *err);
// gitVersion of the server, "v1.34.4".
int kube_server_version(struct kube *k, char ret[64], struct err *err);

// ---- any call: what the functions above are made of ------------------------------------------

struct kube_call {
  const char *method; // "GET"
  const struct kube_resource *resource;
  const char *raw_path; // instead of a resource: "/version"
  const char *ns, *name, *subresource;
  const char *query;           // "limit=100&watch=1", already escaped; may be NULL
  const char *content_type;    // of the body; NULL = application/json
  struct json_object *body;    // NULL = none
  int64_t timeout_ms;          // 0 = KUBE_TIMEOUT_MS
  bool unlimited;              // outside the request budget: leases must not queue
  const volatile bool *cancel; // ends this call alone; set by __atomic_store_n; may be NULL
};

// ret_status (may be NULL) is the HTTP status, 0 when no answer came.
int kube_perform(struct kube *k, const struct kube_call *call, struct json_object **ret,
                 long *ret_status, struct err *err);
