// SPDX-License-Identifier: Apache-2.0
// The handle: one connection to one libvirt, and the way to its files: on this machine, or through
// ssh. Used by the provider's thread alone.
#pragma once

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "base/command.h"
#include "providers/libvirt/domain_internal.h"
#include "providers/libvirt/endpoint_internal.h"
#include "providers/libvirt/libvirt.h"
#include "providers/provider.h"

// Where disks are, as seen from the machine that movers run on.
enum data_path { DATA_LOCAL, DATA_SSH, DATA_NONE };

struct copy_job; // of full clones, copy_job.c

struct host {
  virConnectPtr conn;
  const struct provider_config *config; // the provider's
  struct endpoint endpoint;
  char *dir; // private folder: keys, certificates, ssh configuration; NULL for local ones
  enum data_path data;
  char *data_host, *data_user; // DATA_SSH
  int64_t data_port;
  char data_address[ENDPOINT_ADDRESS_MAX]; // DATA_SSH: the checked one
  struct copy_job *copies;                 // under way, or not yet asked about
};

int host_open(const struct provider_config *config, const struct address_filter *allowed,
              void **ret, struct err *err);
void host_close(void *h);
bool host_alive(void *h);

// Sets err from libvirt's last error: its code and text give the kind. Returns -1.
int host_fail(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool host_last_error_is(int code); // of VIR_ERR_*
// The kind for a code of libvirt's and its message; for tests, too.
enum err_kind host_error_kind(int code, const char *message);
const char *host_error_sentence(const char *message); // a clearer one, or the message itself

// A program on the machine that has the disks: here, or through ssh, where each word is quoted for
// the shell. timeout 10 s. Errors as command_run(); ssh's own failures become ERR_AUTH, ERR_TLS
// (host key), ERR_UNREACHABLE.
int host_run(struct host *h, const char *const *argv, struct command_result *ret, struct err *err);
// An exit status other than 0 is an error as well.
int host_check_run(struct host *h, const char *const *argv, struct err *err);
// The same with input, another time-out or a way to cancel it.
int host_run_command(struct host *h, const struct command *c, struct command_result *ret,
                     struct err *err);
int host_check_command(struct host *h, const struct command *c, struct err *err);
// Words as one command line for a POSIX shell; yours.
char *shell_quote(const char *const *argv);
// ERR_UNSUPPORTED, with what to do, unless disks of this host can be reached.
int host_need_data(const struct host *h, struct err *err);

struct file_facts {
  bool exists;
  bool is_block;
  int64_t size_bytes; // 0 for devices
};
int host_stat(struct host *h, const char *path, struct file_facts *ret, struct err *err);
// At most `max` first bytes; *ret is yours.
int host_read_head(struct host *h, const char *path, size_t max, char **ret, size_t *ret_length,
                   struct err *err);
int host_remove_file(struct host *h, const char *path, struct err *err); // gone already: 0

// How a mover gets at a file of this host.
int host_reach(struct host *h, const char *path, int format, int64_t size_bytes, struct reach *ret,
               struct err *err);

static inline void domain_free_(virDomainPtr *d)
{
  if (*d)
    virDomainFree(*d);
}
static inline void pool_free_(virStoragePoolPtr *p)
{
  if (*p)
    virStoragePoolFree(*p);
}
static inline void volume_free_(virStorageVolPtr *v)
{
  if (*v)
    virStorageVolFree(*v);
}
static inline void network_free_(virNetworkPtr *n)
{
  if (*n)
    virNetworkFree(*n);
}
#define cleanup_domain  CLEANUP(domain_free_)
#define cleanup_pool    CLEANUP(pool_free_)
#define cleanup_volume  CLEANUP(volume_free_)
#define cleanup_network CLEANUP(network_free_)

// By UUID, else by name. NULL with ERR_NOT_FOUND when there is none.
virDomainPtr host_domain(struct host *h, const char *name_or_id, struct err *err);
// The persistent definition (of a transient one: the live one), with what is secret left out.
int host_domain_xml(virDomainPtr domain, struct xml *ret, struct err *err);
int host_power(virDomainPtr domain, enum vm_power *ret, struct err *err);
char *host_uri(const struct host *h); // what libvirt connects to, without secrets; yours
// Path, size and chain of one disk; ERR_... when it cannot be read, whatever is known then filled
// in all the same.
int host_disk_facts(struct host *h, virDomainPtr domain, const struct xml *x, struct vm_disk *disk,
                    struct err *err);

// The verbs of struct provider_ops, by file.
int host_probe(void *h, struct provider_info *ret, struct err *err);
int host_find_vm(void *h, const char *name_or_id, struct vm *ret, struct err *err);
int host_set_power(void *h, const char *vm_id, enum power_action action, struct err *err);
int host_power_state(void *h, const char *vm_id, enum vm_power *ret, struct err *err);
int host_set_autostart(void *h, const char *vm_id, bool on, struct err *err);
int host_delete_vm(void *h, const struct vm *vm, struct err *err);
int host_check_source(void *h, const struct vm *vm, struct findings *f, struct err *err);
int host_source_open(void *h, const struct vm *vm, const char *disk, struct reach *ret,
                     struct err *err);
int host_source_release(void *h, const struct vm *vm, const char *disk, struct err *err);
int host_check_target(void *h, const struct vm_target *t, struct findings *f, struct err *err);
int host_target_plan(void *h, const struct vm_target *t, size_t i, struct owned *ret,
                     struct err *err);
int host_target_prepare(void *h, const struct vm_target *t, size_t i, const struct owned *o,
                        struct reach *ret, struct err *err);
int host_target_disk_done(void *h, const struct vm_target *t, size_t i, const struct owned *o,
                          struct err *err);
int host_target_plan_vm(void *h, const struct vm_target *t, struct owned *ret, struct err *err);
int host_target_finish(void *h, const struct vm_target *t, const struct owned *disks,
                       const struct owned *vm, struct vm_made *ret, struct err *err);
int host_remove(void *h, const struct owned *o, const char *owner, struct err *err);
