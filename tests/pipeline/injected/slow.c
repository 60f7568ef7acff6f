/* LD_PRELOAD: a slow file system. While the file $SLOW exists, each operation on a file waits some
 * milliseconds first, at random up to the number that the file holds: as over a network. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void wait_some(void) {
    static FILE *(*real_fopen)(const char *, const char *);
    const char *name = getenv("SLOW");
    if (name == NULL || access(name, F_OK) != 0) return;
    if (real_fopen == NULL) real_fopen = REAL(fopen);
    int most = 0;
    FILE *file = real_fopen(name, "r");
    if (file == NULL) return;
    if (fscanf(file, "%d", &most) != 1) most = 0;
    fclose(file);
    struct timespec now, pause;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long wait = most > 0 ? (now.tv_nsec / 1000 * 7919 + getpid()) % (most * 1000L) : 0;
    pause.tv_sec = wait / 1000000;
    pause.tv_nsec = wait % 1000000 * 1000;
    nanosleep(&pause, NULL);
}

static int watched(const char *path) {
    const char *folder = getenv("SLOW_FOLDER");
    if (folder == NULL) return 0;
    char here[4096];
    if (path[0] != '/') path = getcwd(here, sizeof here) ? here : "";
    return strncmp(path, folder, strlen(folder)) == 0;
}

static void wait_for(int descriptor) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return;
    path[length] = 0;
    if (path[0] == '/' && watched(path)) wait_some();
}

#define OPEN(name)                                          \
    int name(const char *path, int flags, ...) {            \
        va_list more;                                       \
        va_start(more, flags);                              \
        mode_t mode = va_arg(more, mode_t);                 \
        va_end(more);                                       \
        if (watched(path)) wait_some();                     \
        return REAL(name)(path, flags, mode);               \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                        \
    int name(int folder, const char *path, int flags, ...) {\
        va_list more;                                       \
        va_start(more, flags);                              \
        mode_t mode = va_arg(more, mode_t);                 \
        va_end(more);                                       \
        if (watched(path)) wait_some();                     \
        return REAL(name)(folder, path, flags, mode);       \
    }
OPENAT(openat)
OPENAT(openat64)

FILE *fopen(const char *path, const char *mode) {
    if (watched(path)) wait_some();
    return REAL(fopen)(path, mode);
}

int rename(const char *from, const char *to) {
    if (watched(to)) wait_some();
    return REAL(rename)(from, to);
}

int mkdir(const char *path, mode_t mode) {
    if (watched(path)) wait_some();
    return REAL(mkdir)(path, mode);
}

ssize_t write(int descriptor, const void *bytes, size_t count) {
    if (descriptor > 2) wait_for(descriptor);
    return REAL(write)(descriptor, bytes, count);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off64_t offset) {
    wait_for(descriptor);
    return REAL(pwrite64)(descriptor, bytes, count, offset);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t offset) {
    wait_for(descriptor);
    return REAL(pwrite)(descriptor, bytes, count, offset);
}

int fsync(int descriptor) {
    wait_for(descriptor);
    return REAL(fsync)(descriptor);
}
