// SPDX-License-Identifier: Apache-2.0
// What the tests of disk/ share: a temporary folder, ends that live in memory, and real qemu-img.
// Functions fail the running cmocka test when something goes wrong.
#pragma once

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "disk/copy.h"
#include "disk/open.h"

#define MIB (1ull << 20)

// A folder of this test program, made at first use and removed by help_cleanup() (group teardown).
const char *help_folder(void);
// "FOLDER/name"; valid until the test program ends.
const char *help_path(const char *name);
int help_cleanup(void **state);

// Runs argv (NULL-terminated list); returns the exit status, and standard output when wanted.
int help_run(char **ret_output, const char *first, ...);
#define run_ok(...) assert_int_equal(help_run(NULL, __VA_ARGS__, (char *)NULL), 0)

// A source in memory: `bytes` with the given data extents (pairs offset, length; ends with length
// 0). block: reads hang until interrupted.
struct memory_source {
  struct source source;
  uint8_t *bytes;
  const uint64_t (*data)[2];
  _Atomic uint64_t reads, read_bytes;
};
struct memory_source *memory_source_new(uint64_t size_bytes, const uint64_t (*data)[2]);

// A target in memory.
struct memory_target {
  struct target target;
  uint8_t *bytes;
  _Atomic uint64_t written_bytes, zeroed_bytes;
  bool hang;          // writes hang until interrupted
  uint64_t fail_at;   // a write at this offset or beyond fails with ERR_NO_SPACE; 0 = never
  uint64_t damage_at; // this byte is another one when it is read back; 0 = none
  bool finished;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool interrupted;
  _Atomic int hanging;
};
struct memory_target *memory_target_new(uint64_t size_bytes);

// An object in memory; set limits in .writer before use.
struct memory_writer {
  struct object_writer writer;
  uint8_t *bytes;
  uint64_t length;
  _Atomic uint32_t parts;
  _Atomic int lanes; // that were opened
  _Atomic uint64_t largest_part;
  _Atomic uint32_t last_part; // number of the one that came last
  int restart_at_mib; // an ordered writer starts its body over once, when it has read so much
  size_t step;        // bytes per read of a body; 0 = whole
  bool was_in_memory; // last part came with .bytes
  bool committed;
  bool hang; // parts hang until interrupted
  _Atomic bool hanging, interrupted;
};
struct memory_writer *memory_writer_new(void);

// Copies. help_copy() fails the test when the copy fails. o: with the format.
void help_copy(struct source *s, struct object_writer *w, const struct copy_options *o,
               struct copy_result *ret);
void help_copy_to_file(struct source *s, const char *path, const struct copy_options *o,
                       struct copy_result *ret);
// The copy fails with that kind, and all of the words (NULL at the end) are in the message.
void help_copy_refused(struct source *s, struct object_writer *w, const struct copy_options *o,
                       enum err_kind kind, ...);
// Of a packed format: the same bytes come out in a file, in parts of whatever size, and with any
// number of lanes. first_is_last: the first part is the last to come.
void help_same_in_parts(const struct copy_options *o, bool exact_map, bool first_is_last);

// Fills with something that is neither zero nor repetitive.
void help_fill(uint8_t *at, size_t length, uint64_t seed);
void help_write_file(const char *path, const void *bytes, size_t length);
uint8_t *help_read_file(const char *path, size_t *ret_length);
// A source of a local image, opened by looking; and the content digest of all of it.
struct source *help_open(const char *path);
void help_read_digest(const char *path, char ret[128]);
// Content digest of a raw file, computed by the Python program in docs/disk.md.
void help_python_digest(const char *path, char ret[128]);
