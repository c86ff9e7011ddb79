// SPDX-License-Identifier: Apache-2.0
// drover controller: the operator, on a Kubernetes API server.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/options.h"
#include "base/runtime_folder.h"
#include "base/str.h"
#include "controller/commands.h"
#include "controller/manager.h"
#include "crds/object.h"
#include "kube/client.h"
#include "kube/lease.h"

#define LEASE_NAME "drover-controller"

struct arguments {
  const char *kubeconfig, *context, *lease_namespace, *checkpoints;
  struct option_values namespaces, allow_local, allowed_endpoints;
  bool leader_elect, verbose;
  int log_format;
};

static const char *const log_formats[] = {"text", "json", NULL};

static const struct option rows[] = {
    {"kubeconfig", 0, OPTION_STRING, offsetof(struct arguments, kubeconfig), .argument = "FILE",
     .help = "cluster and credentials; default: $KUBECONFIG, the pod's own, ~/.kube/config"},
    {"context", 0, OPTION_STRING, offsetof(struct arguments, context), .argument = "NAME",
     .help = "context of the kubeconfig; default: its current one"},
    {"namespace", 'n', OPTION_LIST, offsetof(struct arguments, namespaces), .argument = "NAME",
     .help = "look after this namespace only; may be repeated; default: all"},
    {"leader-elect", 0, OPTION_FLAG, offsetof(struct arguments, leader_elect),
     .help = "work only while holding the Lease drover-controller"},
    {"lease-namespace", 0, OPTION_STRING, offsetof(struct arguments, lease_namespace),
     .argument = "NAME",
     .help = "where that Lease lies; default: the namespace of the context or the pod"},
    {"allow-local", 0, OPTION_LIST, offsetof(struct arguments, allow_local), .argument = "PATH",
     .help =
         "manifests may name local sockets and folders below PATH; may be repeated; default: none"},
    {"allowed-endpoints", 0, OPTION_LIST, offsetof(struct arguments, allowed_endpoints),
     .argument = "CIDR",
     .help = "connect only to addresses in CIDR; may be repeated; default: all"},
    {"checkpoints", 0, OPTION_STRING, offsetof(struct arguments, checkpoints), .argument = "DIR",
     .help = "where movers note what they have finished; default: checkpoints in "
             "$DROVER_RUNTIME_DIR, else /run/drover"},
    {"log-format", 0, OPTION_CHOICE, offsetof(struct arguments, log_format), .argument = "FORMAT",
     .help = "text or json", .choices = log_formats},
    {"verbose", 'v', OPTION_FLAG, offsetof(struct arguments, verbose), .help = "log more"},
};

static const struct options options = {
    .name = "controller",
    .usage = "[options]",
    .summary = "Runs the operator: watches Providers, ImageStores and VMMigrations through the\n"
               "Kubernetes API and works on them until it is stopped.",
    OPTIONS_ROWS(rows),
    .examples = "  drover controller --kubeconfig ~/.kube/config\n"
                "  drover controller --leader-elect --allowed-endpoints 10.0.0.0/8\n"};

struct program {
  const struct arguments *arguments;
  struct loop *loop;
  struct manager *manager;
  struct err err; // why it ended, kind ERR_NONE: it was asked to
};

static void on_stop(void *arg)
{
  struct program *p = arg;
  loop_stop(p->loop);
}

static void begin(void *arg)
{
  struct program *p = arg;
  log_info("at work", NULL);
  if (manager_start(p->manager, &p->err) != 0)
    loop_stop(p->loop);
}

static void on_lost(void *arg, const struct err *err)
{
  struct program *p = arg;
  err_set(&p->err, err->kind, "the lease is lost: %s", err->message);
  loop_stop(p->loop);
}

static void on_trouble(void *arg, const struct err *err)
{
  (void)arg;
  log_warning("lease", "message", err->message, NULL);
}

static int check_served(struct kube *kube, struct err *err)
{
  struct kube_resource resources[OBJECT_KIND_COUNT];
  struct kube_wanted wanted[OBJECT_KIND_COUNT];
  for (int i = 0; i < OBJECT_KIND_COUNT; i++) {
    const struct object_kind_info *info = object_kind_info(i);
    resources[i] = (struct kube_resource){CRDS_GROUP, CRDS_VERSION, info->plural, info->kind};
    wanted[i] = (struct kube_wanted){&resources[i], true};
  }
  return kube_check_served(kube, wanted, OBJECT_KIND_COUNT, "kubectl apply -f crds/", err);
}

static struct strings borrow(const struct option_values *v)
{
  return (struct strings){(char **)v->items, v->count};
}

static struct manager *make_manager(struct program *p, struct object_store *store,
                                    const char *program)
{
  struct strings local = borrow(&p->arguments->allow_local);
  struct strings cidrs = borrow(&p->arguments->allowed_endpoints);
  cleanup_free char *folder = NULL;
  const char *checkpoints = p->arguments->checkpoints;
  if (!checkpoints && runtime_folder_lasting("checkpoints", &folder, &p->err) != 0)
    return NULL;
  struct manager_options o = {.program = program,
                              .checkpoints = checkpoints ? checkpoints : folder,
                              .allow_local = &local,
                              .allowed_endpoints = &cidrs};
  return manager_new(store, p->loop, &o, &p->err);
}

static struct lease *stand(struct program *p, struct kube *kube, char identity[128])
{
  const char *ns = p->arguments->lease_namespace;
  struct lease_settings settings = {.ns = ns ? ns : kube_namespace(kube),
                                    .name = LEASE_NAME,
                                    .identity = lease_identity(identity)};
  struct lease_callbacks callbacks = {
      .leading = begin, .lost = on_lost, .trouble = on_trouble, .arg = p};
  log_info("waiting for the lease", "identity", identity, NULL);
  return lease_start(kube, p->loop, &settings, &callbacks, &p->err);
}

static void work(struct program *p, struct kube *kube)
{
  char identity[128];
  struct lease *lease = NULL;
  if (p->arguments->leader_elect) {
    lease = stand(p, kube, identity);
    if (!lease)
      return;
  } else {
    begin(p);
    if (p->err.kind != ERR_NONE)
      return;
  }
  loop_run(p->loop);
  manager_free(p->manager);
  p->manager = NULL;
  // Steps have ended: only now may a successor begin.
  lease_stop(lease);
}

// NULL-terminated; NULL = all.
static const char **namespaces_of(const struct arguments *a)
{
  const struct option_values *v = &a->namespaces;
  const char **list = v->count ? calloc(v->count + 1, sizeof(*list)) : NULL;
  for (size_t i = 0; list && i < v->count; i++)
    list[i] = v->items[i];
  return list;
}

static void run_on(struct program *p, struct kube *kube)
{
  char program[4096];
  struct object_store *store = NULL;
  const char **namespaces CLEANUP(cleanup_free_) = namespaces_of(p->arguments);
  ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
  program[n > 0 ? n : 0] = '\0';
  if (check_served(kube, &p->err) != 0 || store_kube_new(kube, namespaces, &store, &p->err) != 0)
    return;
  p->manager = make_manager(p, store, program);
  if (p->manager)
    work(p, kube);
  manager_free(p->manager);
  store_free(store);
}

static int controller(const struct arguments *a)
{
  struct program p = {.arguments = a, .loop = loop_new()};
  struct kube_config config;
  if (!p.loop)
    return EXIT_FAILED;
  loop_on_signal(p.loop, SIGTERM, on_stop, &p);
  loop_on_signal(p.loop, SIGINT, on_stop, &p);
  if (kube_config_load(a->kubeconfig, a->context, &config, &p.err) == 0) {
    struct kube *kube = kube_new(&config, NULL, &p.err);
    if (kube) {
      log_info("drover controller", "version", DROVER_VERSION, "server", kube_server(kube), NULL);
      run_on(&p, kube);
    }
    kube_free(kube);
  }
  loop_free(p.loop);
  return p.err.kind == ERR_NONE ? EXIT_DONE : command_failed("controller", &p.err);
}

int cmd_controller(int argc, char **argv)
{
  struct arguments a = {0};
  struct err err = ERR_INIT;
  int rc = options_parse(&options, argc, argv, &a, NULL, &err);
  int status = rc == OPTIONS_PARSED ? EXIT_DONE : rc < 0 ? command_failed("controller", &err) : 0;
  if (rc == OPTIONS_PARSED) {
    log_init(a.log_format == 1 ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT,
             a.verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
    status = controller(&a);
  }
  option_values_release(&a.namespaces);
  option_values_release(&a.allow_local);
  option_values_release(&a.allowed_endpoints);
  return status;
}
