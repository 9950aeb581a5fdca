/* What the programs here have in common that follow another one, with all its threads and children,
 * from one system call to the next. Each says how threads go on, and looks at those that stand at a
 * call.
 */
#include <elf.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct user_regs_struct registers;
typedef unsigned long long word;
#if defined(__x86_64__)
static inline word *argument(registers *r, int index) {
	word *all[] = {&r->rdi, &r->rsi, &r->rdx, &r->r10, &r->r8, &r->r9};
	return all[index];
}
static inline long number(registers *r) { return (long)r->orig_rax; }
static inline word *answer(registers *r) { return &r->rax; }
#elif defined(__aarch64__)
static inline word *argument(registers *r, int index) { return &r->regs[index]; }
static inline long number(registers *r) { return (long)r->regs[8]; }
static inline word *answer(registers *r) { return &r->regs[0]; }
#else
#error "where are the arguments of a system call on this processor?"
#endif

/* To the next call (PTRACE_SYSCALL), or to one that a filter is about (PTRACE_CONT). */
static const int onward;
/* Looks at a thread at the beginning or the end of a call. */
static void at_call(pid_t id);
/* Forgets a thread. */
static void gone(pid_t id);

static FILE *report;
static char **places;
static int places_count;

static inline void fail(const char *what) {
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
	exit(125);
}

static inline const char *opened(pid_t id, word file) {
	static char link[64];
	snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)id, (int)file);
	return link;
}

/* Says whether the name that a link of the system gives begins with one of the places. */
static inline int is_named(const char *link, char *name) {
	ssize_t length = readlink(link, name, PATH_MAX - 1);
	if (length < 0) return 0;
	name[length] = 0;
	for (int i = 0; i < places_count; i++)
		if (!strncmp(name, places[i], strlen(places[i]))) return 1;
	return 0;
}

static inline int read_registers(pid_t id, registers *r) {
	struct iovec at = {r, sizeof *r};
	return !ptrace(PTRACE_GETREGSET, id, NT_PRSTATUS, &at);
}

static inline void write_registers(pid_t id, registers *r) {
	struct iovec at = {r, sizeof *r};
	if (ptrace(PTRACE_SETREGSET, id, NT_PRSTATUS, &at) && errno != ESRCH) fail("set registers");
}

static inline void go_on(pid_t id, int how, int with) {
	/* It may have been ended in this moment. */
	if (ptrace(how, id, 0, with) && errno != ESRCH) fail("go on");
}

static inline void stopped(pid_t id, int status) {
	int signal = WSTOPSIG(status), event = status >> 16;
	if (signal == (SIGTRAP | 0x80) || event == PTRACE_EVENT_SECCOMP) {
		at_call(id);
		return go_on(id, onward, 0);
	}
	if (event == PTRACE_EVENT_STOP) {
		int stays = signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
		return go_on(id, stays ? PTRACE_LISTEN : onward, 0);
	}
	go_on(id, onward, event ? 0 : signal);
}

/* Starts a program, which first prepares itself. */
static inline pid_t start(char **words, void (*prepare)(void)) {
	int gate[2];
	char byte;
	if (pipe(gate)) fail("pipe");
	pid_t child = fork();
	if (child < 0) fail("fork");
	if (!child) {
		close(gate[1]);
		if (read(gate[0], &byte, 1) != 1) _exit(125);
		close(gate[0]);
		prepare();
		execvp(words[0], words);
		fail(words[0]);
	}
	close(gate[0]);
	long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
		PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL;
	if (ptrace(PTRACE_SEIZE, child, 0, options)) fail("seize");
	if (ptrace(PTRACE_INTERRUPT, child, 0, 0)) fail("interrupt");
	int status;
	if (waitpid(child, &status, __WALL) != child || !WIFSTOPPED(status)) fail("wait");
	/* It waits in a call for what comes now. */
	go_on(child, onward, 0);
	if (write(gate[1], "", 1) != 1) fail("begin");
	close(gate[1]);
	return child;
}

/* Follows a program until nothing is left of it, and returns what came of it. */
static inline int follow(pid_t child) {
	int status, outcome = 0;
	pid_t id;
	while ((id = waitpid(-1, &status, __WALL)) > 0 || errno == EINTR) {
		if (id <= 0) continue;
		if (WIFSTOPPED(status)) {
			stopped(id, status);
			continue;
		}
		gone(id);
		if (id == child) outcome = status;
	}
	return outcome;
}

/* Ends as the program did. */
static inline int end_as(int outcome) {
	if (!WIFSIGNALED(outcome)) return WEXITSTATUS(outcome);
	/* Without a second picture of it. */
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	signal(WTERMSIG(outcome), SIG_DFL);
	raise(WTERMSIG(outcome));
	return 125;
}
