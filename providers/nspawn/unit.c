// SPDX-License-Identifier: Apache-2.0
// On a host whose init is systemd, a container is a transient service in machine.slice, with limits
// that systemd keeps, and is registered with systemd-machined. Everything by D-Bus
// (org.freedesktop.systemd1(5)).
#include <stdio.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include "base/clock.h"
#include "base/str.h"
#include "providers/nspawn/host_internal.h"

#define MANAGER         "org.freedesktop.systemd1"
#define CALL_US         10000000
#define START_MS        8000
#define TASKS_MAX       16384
#define PROGRAM         "/usr/bin/systemd-nspawn"
#define UNIT_FLAGS      "fail" // never instead of one that is there

#define cleanup_bus     CLEANUP(sd_bus_flush_close_unrefp)
#define cleanup_message CLEANUP(sd_bus_message_unrefp)
#define cleanup_fault   CLEANUP(sd_bus_error_free)

bool ns_systemd_runs(void)
{
  return sd_booted() > 0;
}

char *ns_unit_name(const struct host *h, const char *name)
{
  return str_printf("drover-%08x-%s.service", (unsigned)h->tag, name);
}

static int fault(struct err *err, int number, const sd_bus_error *e, const char *what)
{
  if (e && sd_bus_error_has_name(e, SD_BUS_ERROR_ACCESS_DENIED))
    return err_set(err, ERR_DENIED, "%s: %s", what, e->message);
  if (e && e->message)
    return err_set(err, ERR_IO, "%s: %s", what, e->message);
  return err_errno(err, -number, "%s", what);
}

static int open_bus(sd_bus **ret, struct err *err)
{
  int r = sd_bus_open_system(ret);
  if (r < 0)
    return err_set(err, ERR_UNREACHABLE, "no connection to systemd's D-Bus: %s", strerror(-r));
  sd_bus_set_method_call_timeout(*ret, CALL_US);
  return 0;
}

// ---- the call ----------------------------------------------------------------------------------

// "a(sasb)": one command, whose failure is one.
static int add_command(sd_bus_message *m, const char *const *argv)
{
  int r = sd_bus_message_open_container(m, 'r', "sv");
  r = r < 0 ? r : sd_bus_message_append(m, "s", "ExecStart");
  r = r < 0 ? r : sd_bus_message_open_container(m, 'v', "a(sasb)");
  r = r < 0 ? r : sd_bus_message_open_container(m, 'a', "(sasb)");
  r = r < 0 ? r : sd_bus_message_open_container(m, 'r', "sasb");
  r = r < 0 ? r : sd_bus_message_append(m, "s", PROGRAM);
  r = r < 0 ? r : sd_bus_message_append_strv(m, (char **)argv);
  r = r < 0 ? r : sd_bus_message_append(m, "b", 0);
  for (int i = 0; i < 4 && r >= 0; i++)
    r = sd_bus_message_close_container(m);
  return r;
}

static int add_limits(sd_bus_message *m, const struct record *rec)
{
  int r = 0;
  if (rec->cpus)
    r = sd_bus_message_append(m, "(sv)", "CPUQuotaPerSecUSec", "t",
                              (uint64_t)rec->cpus * UINT64_C(1000000));
  if (r >= 0 && rec->memory_bytes)
    r = sd_bus_message_append(m, "(sv)", "MemoryMax", "t", (uint64_t)rec->memory_bytes);
  return r;
}

static int fill(sd_bus_message *m, const char *unit, const struct record *rec,
                const char *const *argv)
{
  int r = sd_bus_message_append(m, "ss", unit, UNIT_FLAGS);
  r = r < 0 ? r : sd_bus_message_open_container(m, 'a', "(sv)");
  r = r < 0
          ? r
          : sd_bus_message_append(m, "(sv)(sv)(sv)(sv)(sv)(sv)(sv)", "Description", "s", rec->name,
                                  "Type", "s", "exec", "Slice", "s", "machine.slice", "Delegate",
                                  "b", 1, "KillMode", "s", "mixed", "CollectMode", "s",
                                  "inactive-or-failed", "TasksMax", "t", (uint64_t)TASKS_MAX);
  r = r < 0 ? r
            : sd_bus_message_append(m, "(sv)", "Environment", "as", 1,
                                    "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1");
  r = r < 0 ? r : add_limits(m, rec);
  r = r < 0 ? r : add_command(m, argv);
  r = r < 0 ? r : sd_bus_message_close_container(m);
  return r < 0 ? r : sd_bus_message_append(m, "a(sa(sv))", 0);
}

static int start(sd_bus *bus, const char *unit, const struct record *rec, const char *const *argv,
                 sd_bus_error *e)
{
  sd_bus_message *m cleanup_message = NULL;
  sd_bus_message *reply cleanup_message = NULL;
  int r = sd_bus_message_new_method_call(bus, &m, MANAGER, "/org/freedesktop/systemd1",
                                         MANAGER ".Manager", "StartTransientUnit");
  r = r < 0 ? r : fill(m, unit, rec, argv);
  return r < 0 ? r : sd_bus_call(bus, m, CALL_US, e, &reply);
}

// ---- its pid -----------------------------------------------------------------------------------

static pid_t main_pid(sd_bus *bus, const char *unit)
{
  sd_bus_error e cleanup_fault = SD_BUS_ERROR_NULL;
  cleanup_free char *path = NULL;
  uint32_t pid = 0;
  if (sd_bus_path_encode("/org/freedesktop/systemd1/unit", unit, &path) < 0 ||
      sd_bus_get_property_trivial(bus, MANAGER, path, MANAGER ".Service", "MainPID", &e, 'u',
                                  &pid) < 0)
    return 0;
  return (pid_t)pid;
}

pid_t ns_unit_pid(const struct host *h, const char *name)
{
  sd_bus *bus cleanup_bus = NULL;
  cleanup_free char *unit = ns_unit_name(h, name);
  return unit && open_bus(&bus, NULL) == 0 ? main_pid(bus, unit) : 0;
}

static void pause_a_bit(void)
{
  struct timespec t = {.tv_nsec = 5000000};
  nanosleep(&t, NULL);
}

int ns_unit_start(const struct host *h, const struct record *r, const char *const *argv, pid_t *ret,
                  struct err *err)
{
  sd_bus *bus cleanup_bus = NULL;
  cleanup_free char *unit = ns_unit_name(h, r->name);
  if (!unit)
    return ns_no_memory(err);
  if (open_bus(&bus, err) != 0)
    return -1;
  for (int64_t end_ms = clock_ms() + START_MS;; pause_a_bit()) { // the one before may be going
    sd_bus_error e cleanup_fault = SD_BUS_ERROR_NULL;
    int number = start(bus, unit, r, argv, &e);
    if (number >= 0)
      break;
    if (!sd_bus_error_has_name(&e, MANAGER ".UnitExists") || clock_ms() > end_ms)
      return fault(err, number, &e, "start a service of systemd");
  }
  for (int64_t end_ms = clock_ms() + START_MS; clock_ms() < end_ms; pause_a_bit())
    if ((*ret = main_pid(bus, unit)) != 0)
      return 0;
  return err_set(err, ERR_IO, "%s ended at once: journalctl -u %s", unit, unit);
}
