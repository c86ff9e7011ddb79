// SPDX-License-Identifier: Apache-2.0
// Every size that somebody else chooses has a limit with a name, and this is the list of those that
// more than one folder knows.
#pragma once

#define LIMIT_DISKS                64           // disks of one VM or image
#define LIMIT_NICS                 32           // network cards of one VM
#define LIMIT_NAME_BYTES           253          // a Kubernetes object name
#define LIMIT_PATH_BYTES           1024         // a key in a store, a file on a host
#define LIMIT_DISK_BYTES           (64ll << 40) // 64 TiB of guest-visible content
#define LIMIT_MANIFEST_BYTES       (1u << 20)   // one YAML or JSON object
#define LIMIT_HTTP_BODY_BYTES      (16u << 20)  // an answer held in memory
#define LIMIT_HTTP_HEADER_BYTES    (64u << 10)
#define LIMIT_COMMAND_OUTPUT_BYTES (4u << 20)  // what is captured from a child process
#define LIMIT_VM_JSON_BYTES        (1u << 20)  // vm.json of an image
#define LIMIT_MOVER_LINE_BYTES     (64u << 10) // one line of a mover's report
