// SPDX-License-Identifier: Apache-2.0
// Connecting to a libvirt, and what every verb asks of it.
#include "providers/libvirt/clone_internal.h"

#include <signal.h>
#include <string.h>

#include "base/buf.h"
#include "base/runtime_folder.h"
#include "base/str.h"
#include "providers/libvirt/ssh_internal.h"

#define KEEPALIVE_INTERVAL_S 5
#define KEEPALIVE_COUNT      3

// ---- libvirt's event loop: one for the process, before any connection is opened ----------------

static void *run_events(void *arg)
{
  (void)arg;
  for (;;)
    virEventRunDefaultImpl();
  return NULL;
}

static void be_silent(void *arg, virErrorPtr error)
{
  (void)arg;
  (void)error;
}

static int events_failed;

static void start_events(void)
{
  sigset_t all, before;
  pthread_t thread;
  sigfillset(&all);
  xmlInitParser();
  virInitialize();
  virSetErrorFunc(NULL, be_silent);
  events_failed = virEventRegisterDefaultImpl();
  pthread_sigmask(SIG_SETMASK, &all, &before);
  if (!events_failed)
    events_failed = pthread_create(&thread, NULL, run_events, NULL);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (!events_failed)
    pthread_detach(thread);
}

// ---- opening -----------------------------------------------------------------------------------

// In the endpoint, in the secret, or as for the data path; NULL: root.
static const char *endpoint_user(const struct host *h)
{
  if (h->endpoint.user)
    return h->endpoint.user;
  return str_empty(h->config->username) ? h->config->ssh_user : h->config->username;
}

static int set_up_data(struct host *h, const struct address_filter *allowed, struct err *err)
{
  const struct provider_config *c = h->config;
  bool remote = h->endpoint.transport != ENDPOINT_LOCAL;
  if (!c->ssh_host && !remote)
    return 0; // DATA_LOCAL
  h->data = DATA_NONE;
  if (!c->ssh_host && h->endpoint.transport == ENDPOINT_TLS && secret_empty(&c->ssh_key))
    return 0;
  h->data = DATA_SSH;
  bool same = h->endpoint.transport == ENDPOINT_SSH;
  h->data_host = str_dup(c->ssh_host ? c->ssh_host : h->endpoint.host);
  h->data_user = str_dup(c->ssh_user ? c->ssh_user : same ? endpoint_user(h) : NULL);
  h->data_port = c->ssh_port ? c->ssh_port : same && !c->ssh_host ? h->endpoint.port : 22;
  if (!endpoint_host_ok(h->data_host))
    return err_set(err, ERR_INVALID, "ssh.host '%s' is not a name or an address", c->ssh_host);
  const char *user = same ? endpoint_user(h) : NULL;
  if ((h->data_user && !endpoint_user_ok(h->data_user)) || (user && !endpoint_user_ok(user)))
    return err_set(err, ERR_INVALID, "the user for ssh is a plain name of letters and digits");
  return endpoint_resolve(h->data_host, h->data_port, allowed, h->data_address, err);
}

static int write_files(struct host *h, const char *address, struct err *err)
{
  if (h->endpoint.transport == ENDPOINT_LOCAL && h->data != DATA_SSH)
    return 0;
  if (runtime_folder_new(&h->dir, err) != 0)
    return -1;
  struct ssh_end ends[2];
  size_t count = 0;
  if (h->endpoint.transport == ENDPOINT_SSH)
    ends[count++] =
        (struct ssh_end){"control", h->endpoint.host, address, h->endpoint.port, endpoint_user(h)};
  if (h->data == DATA_SSH)
    ends[count++] =
        (struct ssh_end){"data", h->data_host, h->data_address, h->data_port, h->data_user};
  if (count > 0 && ssh_write(h->config, h->dir, ends, count, err) != 0)
    return -1;
  return h->endpoint.transport == ENDPOINT_TLS ? pki_write(h->config, h->dir, err) : 0;
}

// Parameters are made by us only. no_tty: ssh must not ask. For TLS the name stands in the URI,
// because libvirt compares it with the certificate.
char *host_uri(const struct host *h)
{
  struct buf b CLEANUP(buf_release) = BUF_INIT(8192);
  const char *bracket = h->endpoint.host && strchr(h->endpoint.host, ':') ? "[" : "";
  switch (h->endpoint.transport) {
  case ENDPOINT_LOCAL:
    if (!h->endpoint.socket)
      return str_dup("qemu:///system");
    buf_adds(&b, "qemu+unix:///system?socket=");
    buf_add_escaped(&b, h->endpoint.socket, "/");
    break;
  case ENDPOINT_SSH:
    buf_adds(&b, "qemu+ssh://control/system?no_tty=1&command=");
    buf_add_escaped(&b, h->dir, "/");
    buf_adds(&b, "/ssh");
    break;
  case ENDPOINT_TLS:
    buf_printf(&b, "qemu+tls://%s%s%s:%lld/system?pkipath=", bracket, h->endpoint.host,
               *bracket ? "]" : "", (long long)h->endpoint.port);
    buf_add_escaped(&b, h->dir, "/");
    if (h->config->insecure_skip_verify)
      buf_adds(&b, "&no_verify=1");
  }
  return buf_take(&b);
}

// libvirt resolves the name again when it connects, so a name server could answer otherwise then:
// where addresses are restricted, TLS endpoints must be addresses.
static int check_address(const struct host *h, const struct address_filter *allowed,
                         char address[ENDPOINT_ADDRESS_MAX], struct err *err)
{
  address[0] = '\0';
  if (h->endpoint.transport == ENDPOINT_LOCAL)
    return 0;
  if (endpoint_resolve(h->endpoint.host, h->endpoint.port, allowed, address, err) != 0)
    return -1;
  if (h->endpoint.transport == ENDPOINT_TLS && allowed && !str_eq(address, h->endpoint.host))
    return err_set(err, ERR_DENIED,
                   "with --allowed-endpoints a qemu+tls endpoint names the host "
                   "by its address (here %s), which its certificate must list",
                   address);
  return 0;
}

static int connect_to(struct host *h, struct err *err)
{
  cleanup_free char *uri = host_uri(h);
  if (!uri)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  h->conn = virConnectOpen(uri);
  if (!h->conn)
    return host_fail(err, "connect to %s", h->config->endpoint);
  virConnectSetKeepAlive(h->conn, KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT);
  return 0;
}

int host_open(const struct provider_config *config, const struct address_filter *allowed,
              void **ret, struct err *err)
{
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, start_events);
  if (events_failed)
    return err_set(err, ERR_INTERNAL, "libvirt's event loop could not be started");
  struct host *h = calloc(1, sizeof(*h));
  if (!h)
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  h->config = config;
  char address[ENDPOINT_ADDRESS_MAX];
  if (endpoint_parse(config->endpoint, &h->endpoint, err) != 0 ||
      check_address(h, allowed, address, err) != 0 || set_up_data(h, allowed, err) != 0 ||
      write_files(h, address, err) != 0 || connect_to(h, err) != 0) {
    host_close(h);
    return -1;
  }
  *ret = h;
  return 0;
}

void host_close(void *handle)
{
  struct host *h = handle;
  copy_job_end(h, NULL);
  if (h->conn)
    virConnectClose(h->conn);
  runtime_folder_remove(h->dir);
  endpoint_release(&h->endpoint);
  free(h->data_host);
  free(h->data_user);
  free(h);
}

bool host_alive(void *handle)
{
  struct host *h = handle;
  return virConnectIsAlive(h->conn) == 1;
}

// ---- domains -----------------------------------------------------------------------------------

virDomainPtr host_domain(struct host *h, const char *name_or_id, struct err *err)
{
  virDomainPtr domain = virDomainLookupByUUIDString(h->conn, name_or_id);
  if (!domain)
    domain = virDomainLookupByName(h->conn, name_or_id);
  if (!domain && host_last_error_is(VIR_ERR_NO_DOMAIN))
    err_set(err, ERR_NOT_FOUND, "there is no VM '%s' on %s", name_or_id, h->config->endpoint);
  else if (!domain)
    host_fail(err, "look up the VM '%s'", name_or_id);
  return domain;
}

int host_domain_xml(virDomainPtr domain, struct xml *ret, struct err *err)
{
  unsigned flags = virDomainIsPersistent(domain) == 1 ? VIR_DOMAIN_XML_INACTIVE : 0;
  cleanup_free char *text = virDomainGetXMLDesc(domain, flags);
  if (!text)
    return host_fail(err, "read the definition of '%s'", virDomainGetName(domain));
  return xml_parse(ret, text, virDomainGetName(domain), err);
}

int host_power(virDomainPtr domain, enum vm_power *ret, struct err *err)
{
  static const enum vm_power powers[] = {
      [VIR_DOMAIN_NOSTATE] = VM_POWER_UNKNOWN, [VIR_DOMAIN_RUNNING] = VM_POWER_ON,
      [VIR_DOMAIN_BLOCKED] = VM_POWER_ON,      [VIR_DOMAIN_PAUSED] = VM_POWER_PAUSED,
      [VIR_DOMAIN_SHUTDOWN] = VM_POWER_ON,     [VIR_DOMAIN_SHUTOFF] = VM_POWER_OFF,
      [VIR_DOMAIN_CRASHED] = VM_POWER_OFF,     [VIR_DOMAIN_PMSUSPENDED] = VM_POWER_PAUSED,
  };
  int state = VIR_DOMAIN_NOSTATE;
  if (virDomainGetState(domain, &state, NULL, 0) != 0)
    return host_fail(err, "read the state of '%s'", virDomainGetName(domain));
  *ret = state >= 0 && (size_t)state < ARRAY_SIZE(powers) ? powers[state] : VM_POWER_UNKNOWN;
  return 0;
}

static const struct clone_ops clone_verbs = {
    .base_check = host_base_check,
    .base_plan = host_base_plan,
    .base_make = host_base_make,
    .base_get = host_base_get,
    .base_release = host_base_release,
    .clone_check = host_clone_check,
    .clone_plan = host_clone_plan,
    .clone_make = host_clone_make,
    .clone_get = host_clone_get,
    .clone_power = host_clone_power,
    .machines = host_machines,
    .exec = host_exec,
    .push = host_push,
    .pull = host_pull,
    .snapshot = host_snapshot,
    .rollback = host_rollback,
    .snapshots = host_snapshots,
    .snapshot_remove = host_snapshot_remove,
    .console = host_console,
};

const struct provider_ops libvirt_ops = {
    .type = "Libvirt",
    .open = host_open,
    .close = host_close,
    .alive = host_alive,
    .probe = host_probe,
    .find_vm = host_find_vm,
    .power = host_set_power,
    .power_state = host_power_state,
    .set_autostart = host_set_autostart,
    .delete_vm = host_delete_vm,
    .check_source = host_check_source,
    .source_open = host_source_open,
    .source_release = host_source_release,
    .check_target = host_check_target,
    .target_plan = host_target_plan,
    .target_prepare = host_target_prepare,
    .target_disk_done = host_target_disk_done,
    .target_plan_vm = host_target_plan_vm,
    .target_finish = host_target_finish,
    .remove = host_remove,
    .clones = &clone_verbs,
};
