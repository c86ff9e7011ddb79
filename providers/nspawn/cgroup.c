// SPDX-License-Identifier: Apache-2.0
// Control groups: every machine gets groups of its own, "drover/TAG-NAME" in each hierarchy, in
// which its systemd-nspawn starts. Limits by the unified hierarchy (v2), or by the controllers of
// v1 where the host still has those. Where systemd is the host's init all groups are systemd's, and
// a container's is that of its service (unit.c).
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/str.h"
#include "providers/nspawn/host_internal.h"

#define ROOT      "/sys/fs/cgroup"
#define PERIOD_US 100000

static const char *const v1_hierarchies[] = {ROOT "/memory", ROOT "/cpu", ROOT "/systemd",
                                             ROOT "/unified", NULL};
static const char *const v2_hierarchies[] = {ROOT, NULL};

static bool is_unified(void)
{
  struct statfs s;
  return statfs(ROOT, &s) == 0 && s.f_type == CGROUP2_SUPER_MAGIC;
}

static const char *const *hierarchies(void)
{
  return is_unified() ? v2_hierarchies : v1_hierarchies;
}

static char *group_path(const struct host *h, const char *hierarchy, const char *name)
{
  if (!ns_systemd_runs())
    return str_printf("%s/drover/%08x-%s", hierarchy, (unsigned)h->tag, name);
  cleanup_free char *unit = ns_unit_name(h, name);
  return unit ? str_printf("%s/machine.slice/%s", hierarchy, unit) : NULL;
}

static int write_value(const char *folder, const char *file, const char *value)
{
  cleanup_free char *path = str_printf("%s/%s", folder, file);
  cleanup_close int fd = path ? open(path, O_WRONLY | O_CLOEXEC) : -1;
  size_t length = strlen(value);
  return fd >= 0 && write(fd, value, length) == (ssize_t)length ? 0 : -1;
}

// The folder of all groups; on v2 its children get the controllers.
static bool make_parent(const char *hierarchy)
{
  cleanup_free char *path = str_printf("%s/drover", hierarchy);
  if (!path || (mkdir(path, 0755) != 0 && errno != EEXIST))
    return false;
  if (!is_unified())
    return true;
  return write_value(ROOT, "cgroup.subtree_control", "+memory +cpu") == 0 &&
         write_value(path, "cgroup.subtree_control", "+memory +cpu") == 0;
}

// Which controllers systemd has to give.
static bool systemd_limits(void)
{
  char *text cleanup_free = NULL;
  return is_unified() && ns_file_read(ROOT "/cgroup.controllers", 1024, &text, NULL) == 0 &&
         strstr(text, "memory") && (str_starts(text, "cpu ") || strstr(text, " cpu "));
}

bool ns_cgroup_can_limit(void)
{
  if (ns_systemd_runs())
    return systemd_limits();
  if (is_unified())
    return make_parent(ROOT);
  return make_parent(ROOT "/memory") && make_parent(ROOT "/cpu");
}

static int set_limits(const char *group, const char *hierarchy, const struct record *r)
{
  char cpu[64], quota[32], memory[32];
  snprintf(quota, sizeof(quota), "%lld", (long long)r->cpus * PERIOD_US);
  snprintf(cpu, sizeof(cpu), "%lld %d", (long long)r->cpus * PERIOD_US, PERIOD_US);
  snprintf(memory, sizeof(memory), "%lld", (long long)r->memory_bytes);
  bool unified = is_unified();
  if (r->cpus && (unified || str_ends(hierarchy, "/cpu")) &&
      write_value(group, unified ? "cpu.max" : "cpu.cfs_quota_us", unified ? cpu : quota) != 0)
    return -1;
  if (r->memory_bytes && (unified || str_ends(hierarchy, "/memory")) &&
      write_value(group, unified ? "memory.max" : "memory.limit_in_bytes", memory) != 0)
    return -1;
  return 0;
}

int ns_cgroup_make(const struct host *h, const struct record *r, struct strings *join,
                   struct err *err)
{
  if (ns_systemd_runs())
    return 0;
  for (const char *const *hierarchy = hierarchies(); *hierarchy; hierarchy++) {
    cleanup_free char *group = group_path(h, *hierarchy, r->name);
    cleanup_free char *procs = group ? str_printf("%s/cgroup.procs", group) : NULL;
    if (!procs)
      return ns_no_memory(err);
    if (!ns_folder_there(*hierarchy))
      continue;
    bool there = make_parent(*hierarchy) && (mkdir(group, 0755) == 0 || errno == EEXIST);
    if (!there && (r->cpus || r->memory_bytes))
      return err_errno(err, errno, "make the control group %s", group);
    if (there && set_limits(group, *hierarchy, r) != 0)
      return err_errno(err, errno, "set limits of %s", group);
    if (there && strings_add(join, procs) != 0)
      return ns_no_memory(err);
  }
  return 0;
}

int64_t ns_cgroup_memory(const struct host *h, const char *name)
{
  bool unified = is_unified();
  cleanup_free char *group = group_path(h, unified ? ROOT : ROOT "/memory", name);
  cleanup_free char *path =
      group ? str_printf("%s/%s", group, unified ? "memory.current" : "memory.usage_in_bytes")
            : NULL;
  char *text cleanup_free = NULL;
  if (!path || ns_file_read(path, 64, &text, NULL) != 0)
    return -1;
  return strtoll(text, NULL, 10);
}

static void remove_group(const char *path, int depth)
{
  DIR *dir = depth < 32 ? opendir(path) : NULL;
  for (struct dirent *e; dir && (e = readdir(dir));) {
    cleanup_free char *inner = str_printf("%s/%s", path, e->d_name);
    if (inner && e->d_type == DT_DIR && e->d_name[0] != '.')
      remove_group(inner, depth + 1);
  }
  if (dir)
    closedir(dir);
  rmdir(path);
}

void ns_cgroup_remove(const struct host *h, const char *name)
{
  if (ns_systemd_runs())
    return;
  for (const char *const *hierarchy = hierarchies(); *hierarchy; hierarchy++) {
    cleanup_free char *group = group_path(h, *hierarchy, name);
    if (group)
      remove_group(group, 0);
  }
}
