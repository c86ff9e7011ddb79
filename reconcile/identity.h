// SPDX-License-Identifier: Apache-2.0
// What makes a clone somebody of its own, from its uid alone: the same after every restart. Each
// part is cut from SHA-256 of a purpose and the uid, so that no part tells another. Pure, no
// allocation, any thread.
//
// How sure is "never the same for two"? machine_id and uuid have 122 bits: sure. A MAC has 40: two
// of 10,000 agree with a chance of 1 in 20,000.
#pragma once

struct identity {
  char machine_id[33]; // 32 hexadecimal digits, as /etc/machine-id wants them (v4 UUID bits set)
  char uuid[37];       // the same as a UUID: SMBIOS, instance-id of cloud-init
};

void identity_of(const char *uid, struct identity *ret);
// MAC of card number `nic`: "52:xx:xx:xx:xx:xx", unicast and locally administered (52 is also what
// QEMU's own begin with).
void identity_mac(const char *uid, unsigned nic, char ret[18]);
