// SPDX-License-Identifier: Apache-2.0
// kube_live calls | watch | poll SECONDS | lease IDENTITY | store: parts of
// tests/integration/run-kube.
#include "kube_live.h"

#include <string.h>

#include "base/str.h"
#include "net/http.h"

const struct kube_resource things = {"test.drover.dev", "v1", "things", "Thing"};

void live_expect(int result, const struct err *err, enum err_kind kind, const char *text,
                 const char *what, int line)
{
  if (result == 0)
    printf("line %d: %s did not fail\n", line, what);
  else if (err->kind != kind || !strstr(err->message, text))
    printf("line %d: %s: %s: %s\n", line, what, err_reason(err->kind), err->message);
  else
    return;
  exit(1);
}

struct kube *live_client(void)
{
  struct kube_config config;
  MUST(kube_config_load(NULL, NULL, &config, &err));
  // live_calls.c looks whether the budget holds calls up.
  const struct kube_settings slow = {.per_s = 50, .burst = 100};
  struct kube *k = kube_new(&config, &slow, NULL);
  CHECK(k);
  return k;
}

struct json_object *live_thing(const char *name, int size)
{
  struct json_object *o = json_object_new_object();
  struct json_object *metadata = json_object_new_object();
  struct json_object *spec = json_object_new_object();
  object_set_string(o, "apiVersion", "test.drover.dev/v1");
  object_set_string(o, "kind", "Thing");
  object_set_string(metadata, "name", name);
  object_set_string(metadata, "namespace", "default");
  json_object_object_add(spec, "size", json_object_new_int(size));
  json_object_object_add(o, "metadata", metadata);
  json_object_object_add(o, "spec", spec);
  return o;
}

int main(int argc, char **argv)
{
  const char *part = argc > 1 ? argv[1] : "";
  setvbuf(stdout, NULL, _IOLBF, 0);
  http_global_init();
  if (str_eq(part, "calls"))
    return live_calls();
  if (str_eq(part, "watch"))
    return live_watch();
  if (str_eq(part, "poll") && argc > 2)
    return live_poll(atoi(argv[2]));
  if (str_eq(part, "lease") && argc > 2)
    return live_lease(argv[2]);
  if (str_eq(part, "store"))
    return live_store();
  fprintf(stderr, "usage: kube_live calls | watch | poll SECONDS | lease IDENTITY | store\n");
  return 2;
}
