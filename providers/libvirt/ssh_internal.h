// SPDX-License-Identifier: Apache-2.0
// What goes into a private folder so that ssh finds key, known hosts and the checked address, and
// the folder of certificates for TLS.
#pragma once

#include "providers/libvirt/host_internal.h"

struct ssh_end {
  const char *alias;   // word that stands for it on ssh's command line
  const char *host;    // as people wrote it: host keys are looked up by it
  const char *address; // the checked one, connected to
  int64_t port;
  const char *user; // may be NULL: root
};

// Writes key, known_hosts, config and the program "ssh" (for libvirt, which knows no -F).
int ssh_write(const struct provider_config *config, const char *dir, const struct ssh_end *ends,
              size_t count, struct err *err);
int pki_write(const struct provider_config *config, const char *dir, struct err *err);
