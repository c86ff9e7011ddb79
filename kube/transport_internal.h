// SPDX-License-Identifier: Apache-2.0
// Below kube/client.h: the way to the API server. A transport is an http_client made for one client
// certificate, with the sessions that are idle on it; when the certificate changes, a new transport
// takes its place and the old one goes with its last user. A link is the right to use one now:
// transport, identity, headers. Opening one may run an exec plug-in, so never on the loop; using
// and closing it is for any thread.
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "kube/bucket.h"
#include "kube/client.h"
#include "kube/credentials.h"
#include "net/http.h"

#define LINK_HEADERS_MAX 40

struct transport;

struct kube {
  struct kube_config config;
  struct credentials *credentials;
  char *base_url;    // as config.server, but with the host that stands in the certificate
  char *connect_to;  // "host:port" where that differs; else NULL
  char *host_header; // what Host says then
  char *user_agent;
  pthread_mutex_t mutex; // guards what follows
  pthread_cond_t turn;   // monotonic; those who wait for the budget
  struct bucket all, status;
  struct transport *transports; // newest first; only it gets new users
  bool interrupted;
};

struct kube_link {
  struct transport *transport;
  struct identity identity;
  struct http_header headers[LINK_HEADERS_MAX]; // impersonation and Host; ends with a NULL name
  size_t header_count;
};

// Opens a link; refused as for credentials_get().
int kube_link_open(struct kube *k, uint64_t refused, struct kube_link *ret, struct err *err);
void kube_link_close(struct kube *k, struct kube_link *link); // also a zeroed one
// Splits config.server for tls-server-name.
int kube_way_init(struct kube *k, struct err *err);
void kube_transports_free(struct kube *k);
void kube_transports_interrupt(struct kube *k); // k->mutex is held
// One blocking request on a connection of the link. The response is yours.
int kube_link_perform(struct kube *k, struct kube_link *link, struct http_request *request,
                      struct http_response *ret, struct err *err);
struct http_client *kube_link_client(const struct kube_link *link);
// What to put into a request: bearer, basic user, headers.
void kube_link_authorize(const struct kube *k, const struct kube_link *link,
                         struct http_request *request);
// "https://host:port/apis/..." of a call; yours. NULL: no memory or a name that cannot be.
char *kube_url(const struct kube *k, const struct kube_call *call, struct err *err);
