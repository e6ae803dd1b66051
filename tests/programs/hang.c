/* Preloaded into a program, makes a file system hang: what syncs something below the folder HANG_IN waits while the file
 * HANG_WHILE exists. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void wait_for(int fd) {
    const char *folder = getenv("HANG_IN"), *file = getenv("HANG_WHILE");
    char link[64], path[4096];
    if (!folder || !file) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return;
    path[size] = 0;
    size_t length = strlen(folder);
    if (strncmp(path, folder, length) != 0 || (path[length] != '/' && path[length] != 0)) return;
    while (access(file, F_OK) == 0) usleep(1000);
}

int fsync(int fd) {
    wait_for(fd);
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}

int fdatasync(int fd) {
    wait_for(fd);
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
