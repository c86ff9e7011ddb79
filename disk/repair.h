// SPDX-License-Identifier: Apache-2.0
// Mending a stored image that is damaged or cut short, by sending again what is not as it should
// be. The plan of a copy is deterministic: from the same source come the same parts, so the bytes
// of each can be made again and compared with those that are stored.
//
// Life: repair_new(); repair_compare() makes the whole image once more, writes nothing, and finds
// what differs; the caller decides by what was found; repair_mend() makes and writes the parts that
// differ, through a mender (object.h): in place, or as a new object whose good parts are kept from
// the old one. A source that changed between the two is noticed before a byte of it is written.
//
// One thread; repair_interrupt() from any. Source, reader and mender stay the caller's.
#pragma once

#include "disk/copy.h"

struct repair;

struct repair_found {
  uint64_t stored_bytes;  // of the object as it is now
  uint64_t planned_bytes; // as it should be
  uint64_t parts, bad_parts;
  uint64_t differing_bytes; // of what is there, in blocks of 64 KiB
  uint64_t missing_bytes;   // behind its end
};

// options: those of the copy that the object was made by. mender: not begun; parts are cut within
// its limits. source must outlive the repair.
int repair_new(struct source *source, const struct copy_options *options,
               const struct object_writer *mender, struct repair **ret, struct err *err);
void repair_free(struct repair *r); // NULL allowed
// *ret: as of the copy that makes the image anew (stored_bytes as planned); copy_result_release().
int repair_compare(struct repair *r, struct object_reader *stored, struct tally *tally,
                   struct copy_result *ret, struct repair_found *ret_found, struct err *err);
// After repair_compare(), once. Counts tally->resent_bytes: what was sent of the object. After an
// error object_abort() is the caller's.
int repair_mend(struct repair *r, struct object_writer *mender, struct tally *tally,
                struct err *err);
void repair_interrupt(struct repair *r, struct tally *tally);
