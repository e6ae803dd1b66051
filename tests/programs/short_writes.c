/* Preloaded into a program, makes one of its writes to regular files short, as a system may: half of the bytes, at least
 * one, are written, and that is what the call returns.
 *
 * SHORT_WRITE says which one, counted from 1, or `every`; SHORT_WRITE_LOG names a file that gets a line for each. With
 * SHORT_WRITE_UNTOLD, the call returns that all was written, as where a disk fails later and nobody asks it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long writes;

static size_t shortened(int fd, size_t size) {
    const char *which = getenv("SHORT_WRITE"), *log = getenv("SHORT_WRITE_LOG");
    struct stat file;
    if (!which || !log || size < 2 || fstat(fd, &file) != 0 || !S_ISREG(file.st_mode)) return size;
    long number = atomic_fetch_add(&writes, 1) + 1;
    if (strcmp(which, "every") != 0 && atol(which) != number) return size;
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (out >= 0) {
        ssize_t (*next)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
        if (next(out, "short\n", 6) != 6) abort();
        close(out);
    }
    return size / 2;
}

static ssize_t told(size_t size, ssize_t written) {
    return written > 0 && getenv("SHORT_WRITE_UNTOLD") ? (ssize_t)size : written;
}

ssize_t write(int fd, const void *bytes, size_t size) {
    ssize_t (*next)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    return told(size, next(fd, bytes, shortened(fd, size)));
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off_t at) {
    ssize_t (*next)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite64");
    return told(size, next(fd, bytes, shortened(fd, size), at));
}
