// SPDX-License-Identifier: Apache-2.0
// What makes a clone somebody of its own, from its uid alone: the same after every restart, and
// never the same for two.
#pragma once

struct identity {
  char machine_id[33]; // 32 hexadecimal digits, as /etc/machine-id wants them (v4 UUID bits set)
  char uuid[37];       // the same as a UUID: SMBIOS, instance-id of cloud-init
  char mac_seed[7];    // 6 hexadecimal digits
};

void identity_of(const char *uid, struct identity *ret);
// MAC of card number `nic`: "52:54:00:xx:xx:xx", locally administered.
void identity_mac(const char *uid, unsigned nic, char ret[18]);
