// SPDX-License-Identifier: Apache-2.0
// Small files (configurations, tokens, certificates) read whole into a secret: their bytes are
// wiped when released, whatever they turn out to be. Works with the ..data links that kubelet swaps
// under mounted files, because a file is opened by name each time.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/secret.h"

#define KUBE_FILE_MAX_BYTES (1u << 20)

// Replaces *ret. ERR_LIMIT when longer than KUBE_FILE_MAX_BYTES, else the error of open or read.
int kube_file_read(const char *path, struct secret *ret, struct err *err);
// As above without white space at the end; an empty file is ERR_INVALID.
int kube_file_read_token(const char *path, struct secret *ret, struct err *err);
// Decodes base64 with or without line breaks. ERR_INVALID otherwise. what: for the message.
int kube_base64_decode(const char *text, const char *what, struct secret *ret, struct err *err);
