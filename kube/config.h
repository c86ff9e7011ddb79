// SPDX-License-Identifier: Apache-2.0
// Which cluster, and as whom: read from kubeconfig files or from what a pod finds mounted.
//
// kube_config_load() looks, in this order: the path given; the files of $KUBECONFIG (colon
// separated, merged: the first file that names something wins, files that are not there are
// skipped); the pod's service account, unless a context is named; ~/.kube/config. Paths in a file
// are relative to that file. YAML and JSON are read alike. What we cannot do (auth-provider,
// removed from Kubernetes in 1.26; SOCKS proxies) is an error, never ignored.
//
// A config is a plain value of the one who loads it: kube_config_release(). Secrets in it are wiped
// then. Tokens and certificates that are files stay paths: kube/credentials.h reads them again when
// they change.
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/secret.h"

// A program that hands out credentials (client.authentication.k8s.io).
struct kube_exec {
  char *command;      // absolute, or looked up in PATH; NULL = none
  char **args;        // NULL-terminated
  char **env;         // "NAME=value", NULL-terminated
  char *api_version;  // client.authentication.k8s.io/v1 or v1beta1
  char *install_hint; // what to tell when the command is missing; may be NULL
  bool provide_cluster_info;
  char *cluster_extension; // JSON for spec.cluster.config; may be NULL
};

struct kube_config {
  char *context;        // its name, "" in a cluster
  char *server;         // "https://10.0.0.1:6443", no slash at the end
  char *namespace_name; // of the context, or of the pod; never NULL
  // the server's certificate
  char *ca_pem;          // NULL = the system's authorities
  char *tls_server_name; // name in its certificate when that is not the host of `server`
  bool insecure;
  char *proxy_url; // http:// or https://; NULL = none
  // the user: any of these
  char *client_cert_file, *client_key_file;
  char *client_cert_pem;
  struct secret client_key_pem;
  struct secret token;
  char *token_file; // wins over token
  char *username;
  struct secret password;
  struct kube_exec exec;
  char *as_user, *as_uid; // impersonation
  char **as_groups;       // NULL-terminated
};

// path: one kubeconfig, NULL = look as said above. context: NULL = the current one of the files.
// On an error *ret needs no release.
int kube_config_load(const char *path, const char *context, struct kube_config *ret,
                     struct err *err);
// From the pod's mount: KUBERNETES_SERVICE_HOST and _PORT, and token, ca.crt and namespace in
// `folder` (NULL = /var/run/secrets/kubernetes.io/serviceaccount).
int kube_config_in_cluster(const char *folder, struct kube_config *ret, struct err *err);
void kube_config_release(struct kube_config *c);
