// SPDX-License-Identifier: Apache-2.0
// Scope-bound cleanup. A variable declared with one of these words is released when its block ends,
// in whatever way it ends; TAKE() hands its value over instead. All of them accept an empty value
// (NULL, or -1 for descriptors), so declare and initialise in one line.
#pragma once

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(function) __attribute__((cleanup(function)))

static inline void cleanup_free_(void *p)
{
  free(*(void **)p);
}

static inline void cleanup_close_(const int *fd)
{
  if (*fd >= 0)
    close(*fd);
}

static inline void cleanup_fclose_(FILE **f)
{
  if (*f)
    fclose(*f);
}

static inline void cleanup_unlock_(pthread_mutex_t **m)
{
  pthread_mutex_unlock(*m);
}

static inline pthread_mutex_t *cleanup_lock_(pthread_mutex_t *m)
{
  pthread_mutex_lock(m);
  return m;
}

#define cleanup_free   CLEANUP(cleanup_free_)
#define cleanup_close  CLEANUP(cleanup_close_)
#define cleanup_fclose CLEANUP(cleanup_fclose_)

// TAKE(p): the value of the pointer p, which is NULL afterwards: ownership moves to the reader.
#define TAKE(p)                                                                                    \
  ({                                                                                               \
    __typeof__(p) take_ = (p);                                                                     \
    (p) = NULL;                                                                                    \
    take_;                                                                                         \
  })

// TAKE_FD(fd): the same for a descriptor.
#define TAKE_FD(fd)                                                                                \
  ({                                                                                               \
    int take_ = (fd);                                                                              \
    (fd) = -1;                                                                                     \
    take_;                                                                                         \
  })

// DEFINE_CLEANUP(S_free, struct S *): defines S_free_p for CLEANUP(S_free_p) on a pointer variable.
#define DEFINE_CLEANUP(function, type)                                                             \
  static inline void function##_p(type *p)                                                         \
  {                                                                                                \
    if (*p)                                                                                        \
      function(*p);                                                                                \
  }

// LOCK_FOR_SCOPE(&mutex): held until the block ends.
#define LOCK_CAT_(a, b) a##b
#define LOCK_NAME_(n)   LOCK_CAT_(lock_, n)
#define LOCK_FOR_SCOPE(mutex)                                                                      \
  CLEANUP(cleanup_unlock_)                                                                         \
  pthread_mutex_t *LOCK_NAME_(__LINE__) __attribute__((unused)) = cleanup_lock_(mutex)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
