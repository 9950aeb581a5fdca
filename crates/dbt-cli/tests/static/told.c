/* A program for Windows that says how it was started, and how it was interrupted. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

static volatile LONG interrupted = 0;

static BOOL WINAPI note(DWORD event) {
    if (event != CTRL_BREAK_EVENT && event != CTRL_C_EVENT) return FALSE;
    InterlockedExchange(&interrupted, 1);
    return TRUE;
}

int main(int count, char **words) {
    if (count > 1 && strcmp(words[1], "exit") == 0) {
        ExitProcess((UINT)strtoul(words[2], NULL, 0));
    }
    if (count > 1 && strcmp(words[1], "interrupt") == 0) {
        /* Everybody at this console is interrupted: this program, and who waits for it. */
        SetConsoleCtrlHandler(note, TRUE);
        if (!GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0)) {
            printf("no console: %lu\n", GetLastError());
            return 3;
        }
        for (int i = 0; i < 2000 && !interrupted; i++) Sleep(5);
        /* Long enough for the other one to have ended, if it would. */
        Sleep(200);
        printf("interrupted: %ld\n", interrupted);
        fflush(stdout);
        return interrupted ? 42 : 4;
    }
    if (count > 1 && strcmp(words[1], "wait") == 0) {
        printf("waiting\n");
        fflush(stdout);
        while (getchar() != EOF) continue;
        return 9;
    }
    printf("%s\n", GetCommandLineA());
    for (int i = 1; i < count; i++) printf("[%s]\n", words[i]);
    const char *variable = getenv("TOLD");
    printf("TOLD=%s\n", variable ? variable : "");
    return 7;
}
