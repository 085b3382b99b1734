/* Preloaded into an agent: the n-th call that changes something below one folder does not take place.
 *
 * The plan is a file that all processes map, so that they count together: struct plan below. Instead of the call, its
 * process is killed, or the call fails, once or from then on. What is "below the folder" is asked of the path, or of
 * /proc/self/fd for descriptors.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

struct plan {
    _Atomic long count;  /* calls so far */
    long at;             /* the call that is cut, from 1; 0: none */
    int action;          /* 0: SIGKILL; else the errno */
    int lasting;         /* every later call fails, too; of a full disk only those that need blocks */
    char root[4096];
};
static struct plan *plan;

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("EDGEPRESS_CUTS");
    int descriptor = file ? open(file, O_RDWR | O_CLOEXEC) : -1;
    if (descriptor < 0)
        return;
    void *mapped = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (mapped != MAP_FAILED)
        plan = mapped;
}

static int below(const char *path) {
    size_t length = strlen(plan->root);
    return strncmp(path, plan->root, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int descriptor_below(int descriptor) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return below(path);
}

static int path_below(int folder, const char *path) {
    if (path[0] == '/')
        return below(path);
    return folder != AT_FDCWD && descriptor_below(folder);
}

/* Whether the call is to fail, with errno set. */
static int cut(int takes_blocks) {
    long number = atomic_fetch_add(&plan->count, 1) + 1;
    if (number != plan->at && !(plan->lasting && plan->at && number > plan->at))
        return 0;
    if (plan->lasting && plan->action == ENOSPC && !takes_blocks)
        return 0;
    if (plan->action == 0) {
        kill(getpid(), SIGKILL);
        pause();
    }
    errno = plan->action;
    return 1;
}

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))
#define BY_PATH(folder, path, blocks) (plan && plan->at >= 0 && path_below(folder, path) && cut(blocks))
#define BY_DESCRIPTOR(descriptor, blocks) (plan && plan->at >= 0 && descriptor_below(descriptor) && cut(blocks))

#define OPEN(name)                                                                        \
    int name(const char *path, int flags, ...) {                                          \
        va_list rest;                                                                     \
        va_start(rest, flags);                                                            \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;           \
        va_end(rest);                                                                     \
        if (flags & (O_CREAT | O_TRUNC) && BY_PATH(AT_FDCWD, path, 0))                    \
            return -1;                                                                    \
        return REAL(int, name, const char *, int, ...)(path, flags, mode);                \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                      \
    int name(int folder, const char *path, int flags, ...) {                              \
        va_list rest;                                                                     \
        va_start(rest, flags);                                                            \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;           \
        va_end(rest);                                                                     \
        if (flags & (O_CREAT | O_TRUNC) && BY_PATH(folder, path, 0))                      \
            return -1;                                                                    \
        return REAL(int, name, int, const char *, int, ...)(folder, path, flags, mode);   \
    }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int descriptor, const void *data, size_t size) {
    if (BY_DESCRIPTOR(descriptor, 1))
        return -1;
    return REAL(ssize_t, write, int, const void *, size_t)(descriptor, data, size);
}

#define PWRITE(name, offset_type)                                                                          \
    ssize_t name(int descriptor, const void *data, size_t size, offset_type offset) {                      \
        if (BY_DESCRIPTOR(descriptor, 1))                                                                  \
            return -1;                                                                                     \
        return REAL(ssize_t, name, int, const void *, size_t, offset_type)(descriptor, data, size, offset); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define SENDFILE(name, offset_type)                                                             \
    ssize_t name(int out, int in, offset_type *offset, size_t size) {                           \
        if (BY_DESCRIPTOR(out, 1))                                                              \
            return -1;                                                                          \
        return REAL(ssize_t, name, int, int, offset_type *, size_t)(out, in, offset, size);     \
    }
SENDFILE(sendfile, off_t)
SENDFILE(sendfile64, off64_t)

ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags) {
    if (BY_DESCRIPTOR(out, 1))
        return -1;
    return REAL(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned)(in, from, out, to, size, flags);
}

#define FALLOCATE(name, offset_type)                                                                  \
    int name(int descriptor, offset_type offset, offset_type size) {                                  \
        if (BY_DESCRIPTOR(descriptor, 1))                                                             \
            return errno;                                                                             \
        return REAL(int, name, int, offset_type, offset_type)(descriptor, offset, size);              \
    }
FALLOCATE(posix_fallocate, off_t)
FALLOCATE(posix_fallocate64, off64_t)

#define ON_DESCRIPTOR(name)                                       \
    int name(int descriptor) {                                    \
        if (BY_DESCRIPTOR(descriptor, 0))                         \
            return -1;                                            \
        return REAL(int, name, int)(descriptor);                  \
    }
ON_DESCRIPTOR(fsync)
ON_DESCRIPTOR(fdatasync)

#define TRUNCATE(name, offset_type)                                             \
    int name(int descriptor, offset_type size) {                                \
        if (BY_DESCRIPTOR(descriptor, 0))                                       \
            return -1;                                                          \
        return REAL(int, name, int, offset_type)(descriptor, size);             \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

int rename(const char *from, const char *to) {
    if (BY_PATH(AT_FDCWD, to, 0))
        return -1;
    return REAL(int, rename, const char *, const char *)(from, to);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    if (BY_PATH(to_folder, to, 0))
        return -1;
    return REAL(int, renameat, int, const char *, int, const char *)(from_folder, from, to_folder, to);
}

int link(const char *from, const char *to) {
    if (BY_PATH(AT_FDCWD, to, 0))
        return -1;
    return REAL(int, link, const char *, const char *)(from, to);
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    if (BY_PATH(to_folder, to, 0))
        return -1;
    return REAL(int, linkat, int, const char *, int, const char *, int)(from_folder, from, to_folder, to, flags);
}

int symlink(const char *target, const char *path) {
    if (BY_PATH(AT_FDCWD, path, 0))
        return -1;
    return REAL(int, symlink, const char *, const char *)(target, path);
}

int symlinkat(const char *target, int folder, const char *path) {
    if (BY_PATH(folder, path, 0))
        return -1;
    return REAL(int, symlinkat, const char *, int, const char *)(target, folder, path);
}

int unlink(const char *path) {
    if (BY_PATH(AT_FDCWD, path, 0))
        return -1;
    return REAL(int, unlink, const char *)(path);
}

int unlinkat(int folder, const char *path, int flags) {
    if (BY_PATH(folder, path, 0))
        return -1;
    return REAL(int, unlinkat, int, const char *, int)(folder, path, flags);
}

int rmdir(const char *path) {
    if (BY_PATH(AT_FDCWD, path, 0))
        return -1;
    return REAL(int, rmdir, const char *)(path);
}

int mkdir(const char *path, mode_t mode) {
    if (BY_PATH(AT_FDCWD, path, 1))
        return -1;
    return REAL(int, mkdir, const char *, mode_t)(path, mode);
}

int mkdirat(int folder, const char *path, mode_t mode) {
    if (BY_PATH(folder, path, 1))
        return -1;
    return REAL(int, mkdirat, int, const char *, mode_t)(folder, path, mode);
}

int utimensat(int folder, const char *path, const struct timespec times[2], int flags) {
    if (path && BY_PATH(folder, path, 0))
        return -1;
    return REAL(int, utimensat, int, const char *, const struct timespec *, int)(folder, path, times, flags);
}
