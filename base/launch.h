// SPDX-License-Identifier: Apache-2.0
// A process that outlives us: in a session of its own, not tied to the thread that starts it, its
// output in a file. For what must go on running when drover is restarted (a container's monitor);
// everything else is for base/command.h. Nobody waits for it: who asks whether it lives knows it
// by pid and start time (launch_alive), so that a pid that came to somebody else is never taken
// for it. While the starter lives the process is its child; launch_alive() takes its remains away.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct launched {
  pid_t pid;
  int64_t start_ticks; // field 22 of /proc/PID/stat: with the pid it names one process of a boot
};

struct launch {
  const char *const *argv; // looked up in PATH
  const char *const *env;  // more "NAME=value"; may be NULL
  const char *log_path;    // standard output and error, overwritten
  const char *const *join; // files that its pid is written to before it runs (cgroup.procs)
};

int launch(const struct launch *l, struct launched *ret, struct err *err);
bool launch_alive(const struct launched *p); // pid 0 never is
// What to compare later; 0 when there is no such process.
int64_t launch_start_ticks(pid_t pid);
// The signal reaches this process and no other that got its pid. Gone already: 0.
int launch_signal(const struct launched *p, int number, struct err *err);
