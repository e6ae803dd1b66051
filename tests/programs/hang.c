/* Preloaded into a program, makes a file system hang: what syncs something below the folder HANG_IN waits while the file
 * HANG_WHILE exists, and what looks at it by its path, while HANG_STAT_WHILE does. Whatever waits makes a file beside it
 * first, called like it with `.reached` behind. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void wait_for(const char *path, const char *variable) {
    const char *folder = getenv("HANG_IN"), *file = getenv(variable);
    if (!folder || !file) return;
    size_t length = strlen(folder);
    if (strncmp(path, folder, length) != 0 || (path[length] != '/' && path[length] != 0)) return;
    if (access(file, F_OK) != 0) return;
    char reached[4096];
    snprintf(reached, sizeof reached, "%s.reached", file);
    int made = open(reached, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (made >= 0) close(made);
    while (access(file, F_OK) == 0) usleep(1000);
}

static void wait_for_file(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return;
    path[size] = 0;
    wait_for(path, "HANG_WHILE");
}

int fsync(int fd) {
    wait_for_file(fd);
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}

int fdatasync(int fd) {
    wait_for_file(fd);
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}

int statx(int dir, const char *restrict path, int flags, unsigned mask, struct statx *restrict found) {
    typedef int (*Statx)(int, const char *, int, unsigned, struct statx *);
    wait_for(path, "HANG_STAT_WHILE");
    return ((Statx)dlsym(RTLD_NEXT, "statx"))(dir, path, flags, mask, found);
}
