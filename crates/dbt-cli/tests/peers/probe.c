/* Prints everything about its own process that could betray who started it. */
#define _GNU_SOURCE
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <unistd.h>

extern char **environ;

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void link_of(const char *name, const char *path) {
    char target[PATH_MAX];
    ssize_t length = readlink(path, target, sizeof target);
    printf("%s %.*s\n", name, length < 0 ? 0 : (int)length, target);
}

static void lines_of(const char *path, const char *const *prefixes) {
    char line[4096];
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        for (const char *const *prefix = prefixes; *prefix; prefix++)
            if (strncmp(line, *prefix, strlen(*prefix)) == 0)
                fputs(line, stdout);
    if (file)
        fclose(file);
}

static void descriptors(void) {
    DIR *directory = opendir("/proc/self/fd");
    for (struct dirent *entry; directory && (entry = readdir(directory));)
        if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(directory))
            printf("descriptor %s\n", entry->d_name);
    if (directory)
        closedir(directory);
}

int main(int count, char **arguments) {
    static const char *const status[] = {"Name:",   "Umask:",  "Groups:", "SigPnd:",  "ShdPnd:",
                                         "SigBlk:", "SigIgn:", "SigCgt:", "CapInh:",  "CapPrm:",
                                         "CapEff:", "CapAmb:", "Seccomp:", "NoNewPrivs:", "Threads:",
                                         NULL};
    static const char *const everything[] = {"", NULL};
    int size = 0;

    for (int i = 0; i < count; i++)
        printf("argument %s\n", arguments[i]);
    printf("execfn %s\n", (const char *)getauxval(AT_EXECFN));
    printf("secure %lu\n", getauxval(AT_SECURE));
    printf("parent %d, group of its own: %d\n", getppid(), getpgrp() == getpid());
    link_of("exe", "/proc/self/exe");
    link_of("directory", "/proc/self/cwd");
    lines_of("/proc/self/status", status);
    lines_of("/proc/self/limits", everything);
    lines_of("/proc/self/timerslack_ns", everything);
    lines_of("/proc/self/oom_score_adj", everything);
    descriptors();
    while (environ[size])
        size++;
    qsort(environ, size, sizeof *environ, by_text);
    for (int i = 0; i < size; i++)
        printf("variable %s\n", environ[i]);
    return 0;
}
