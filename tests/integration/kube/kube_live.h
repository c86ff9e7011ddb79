// SPDX-License-Identifier: Apache-2.0
// What the programs of run-kube share: a client from $KUBECONFIG, and checks that end the program
// with a sentence. Each prints what it does, one line a step; exit status 0 means that all held.
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "kube/client.h"
#include "kube/object.h"

extern const struct kube_resource things;

#define CHECK(condition)                                                                           \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      printf("%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                        \
      exit(1);                                                                                     \
    }                                                                                              \
  } while (0)

// The call must succeed; it may use &err.
#define MUST(call)                                                                                 \
  do {                                                                                             \
    struct err err = ERR_INIT;                                                                     \
    if ((call) != 0) {                                                                             \
      printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #call, err.message);                           \
      exit(1);                                                                                     \
    }                                                                                              \
  } while (0)

// The call must fail with this kind, and its message must hold this text.
#define MUST_FAIL(call, wanted_kind, text)                                                         \
  do {                                                                                             \
    struct err err = ERR_INIT;                                                                     \
    int result = (call);                                                                           \
    live_expect(result, &err, wanted_kind, text, #call, __LINE__);                                 \
  } while (0)

void live_expect(int result, const struct err *err, enum err_kind kind, const char *text,
                 const char *what, int line);
struct kube *live_client(void);
struct json_object *live_thing(const char *name, int size);

int live_calls(void);
int live_watch(void);
int live_poll(int seconds);
int live_store(void);
int live_lease(const char *identity);
