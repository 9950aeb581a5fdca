/* Runs a program, and lets one of its writes, or each, take fewer bytes than it is asked to: the
 * system really writes those, and says how many they were, as it may whenever it likes.
 *
 *   short_writes REPORT NUMBER KEEP PLACE... -- PROGRAM ARGUMENT...
 *
 * NUMBER says which one, from 1, in the order in which threads and children happen to come; 0 is
 * none, and `every` each. KEEP is what it takes: `none`, `one`, `half` or `most`, which is all but
 * one byte. A write that would take nothing is left alone unless that is what KEEP says: no program
 * can go on as ever behind it. Only what goes to a file whose name begins with one of the PLACEs
 * counts; sockets and files in memory have names, too. REPORT gets a line for each write that was
 * short, with what was asked, what was left of that and what the system said, one for each call that
 * writes and that nothing here can shorten, and in the end how many writes there were.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <sys/stat.h>

#include "traced.h"

static const int onward = PTRACE_SYSCALL;

/* The calls that write, and which of their arguments are the file, the length, and the file that
 * the bytes come from: a program may ask for more than that has. */
static const struct call {
	long number;
	const char *name;
	int file, length, from;
} calls[] = {
	{SYS_write, "write", 0, 2, -1},
	{SYS_pwrite64, "pwrite64", 0, 2, -1},
	{SYS_sendto, "sendto", 0, 2, -1},
	{SYS_sendfile, "sendfile", 0, 3, 1},
	{SYS_copy_file_range, "copy_file_range", 2, 4, 0},
};

/* The calls that write, too, and whose lengths stand in memory, or that take no bytes from there: none
 * of them is shortened, so that whoever believes that every write was has to hear of them. The file
 * of each. */
static const struct other {
	long number;
	const char *name;
	int file;
} others[] = {
	{SYS_writev, "writev", 0},
	{SYS_pwritev, "pwritev", 0},
	{SYS_pwritev2, "pwritev2", 0},
	{SYS_sendmsg, "sendmsg", 0},
	{SYS_sendmmsg, "sendmmsg", 0},
	{SYS_vmsplice, "vmsplice", 0},
	{SYS_tee, "tee", 1},
	{SYS_splice, "splice", 2},
	{SYS_io_uring_enter, "io_uring_enter", -1},
};

/* Threads that are in a call, and what is to be put back when they leave it. */
enum { THREADS = 1024 };
static struct thread {
	pid_t id;
	const struct call *shortened;
	word was, asked, left;
	char name[PATH_MAX];
} threads[THREADS];

static const char *which, *keep;
static long seen;

static struct thread *thread_of(pid_t id) {
	struct thread *free = NULL;
	for (int i = 0; i < THREADS; i++) {
		if (threads[i].id == id) return &threads[i];
		if (!free && !threads[i].id) free = &threads[i];
	}
	if (!free) fail("too many threads");
	memset(free, 0, sizeof *free);
	free->id = id;
	return free;
}

static word left_of(word asked) {
	word left = !strcmp(keep, "none") ? 0 : !strcmp(keep, "one") ? 1 : !strcmp(keep, "half") ? asked / 2 : asked - 1;
	if (left >= asked) left = asked - 1;
	/* If none ever took a byte, the program could never end. */
	if (!left && !strcmp(which, "every")) left = 1;
	return left || !strcmp(keep, "none") ? left : asked;
}

static void enter(struct thread *thread) {
	registers r;
	thread->shortened = NULL;
	if (!read_registers(thread->id, &r)) return;
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		const struct other *call = &others[i];
		if (call->number != number(&r)) continue;
		if (call->file < 0) strcpy(thread->name, "-");
		else if (!is_named(opened(thread->id, *argument(&r, call->file)), thread->name)) return;
		fprintf(report, "other %s %s\n", call->name, thread->name);
		return;
	}
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
		const struct call *call = &calls[i];
		if (call->number != number(&r)) continue;
		word was = *argument(&r, call->length), asked = was;
		struct stat from;
		if (call->from >= 0 && !stat(opened(thread->id, *argument(&r, call->from)), &from) && S_ISREG(from.st_mode) &&
			(word)from.st_size < asked)
			asked = (word)from.st_size;
		if (!asked || !is_named(opened(thread->id, *argument(&r, call->file)), thread->name)) return;
		seen++;
		if (strcmp(which, "every") && atol(which) != seen) return;
		word left = left_of(asked);
		if (left == asked) return;
		thread->shortened = call;
		thread->was = was;
		thread->asked = asked;
		thread->left = left;
		*argument(&r, call->length) = left;
		write_registers(thread->id, &r);
		return;
	}
}

static void leave(struct thread *thread) {
	const struct call *call = thread->shortened;
	registers r;
	if (!call || !read_registers(thread->id, &r)) return;
	thread->shortened = NULL;
	/* The program may rely on what it has put there. */
	*argument(&r, call->length) = thread->was;
	write_registers(thread->id, &r);
	fprintf(report, "short %s %llu %llu %ld %s\n", call->name, thread->asked, thread->left,
		(long)*answer(&r), thread->name);
}

static void at_call(pid_t id) {
	struct __ptrace_syscall_info call = {0};
	if (ptrace(PTRACE_GET_SYSCALL_INFO, id, sizeof call, &call) <= 0) return;
	if (call.op == PTRACE_SYSCALL_INFO_ENTRY) enter(thread_of(id));
	else leave(thread_of(id));
}

static void gone(pid_t id) { thread_of(id)->id = 0; }

static void nothing(void) {}

int main(int count, char **words) {
	int end = 4;
	while (end < count && strcmp(words[end], "--")) end++;
	if (end + 1 >= count) {
		fprintf(stderr, "usage: short_writes REPORT NUMBER|every none|one|half|most PLACE... -- PROGRAM...\n");
		return 125;
	}
	report = fopen(words[1], "we");
	if (!report) fail(words[1]);
	which = words[2];
	keep = words[3];
	places = words + 4;
	places_count = end - 4;
	int outcome = follow(start(words + end + 1, nothing));
	fprintf(report, "of %ld\n", seen);
	if (fclose(report)) fail("report");
	return end_as(outcome);
}
