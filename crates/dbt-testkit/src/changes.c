/* Runs a program, and does something to it at one of the calls by which it changes files: the call is
 * not made, and fails, or the program is ended before it.
 *
 *   changes REPORT NUMBER[+] changes|looks kill|ERROR signal|program PLACE... -- PROGRAM ARGUMENT...
 *
 * NUMBER says which one, from 1, of all threads and children together in the order in which they come;
 * 0 is none, and with a `+` all from there on fail. Where `looks` is said, those are counted that open a
 * file only to read it, or a directory. Writes count where the file's name begins with one of the PLACEs,
 * and not those to connections and among threads. With `signal` nothing is counted before SIGUSR1 comes;
 * with `program` it is what programs do whose own files are at one of the PLACEs, from their first call:
 * not what others do that they start, or become. SIGTERM ends the program as a power cut would. REPORT
 * gets a line for each call at which something was done, or with 0 for each that was counted, and in the
 * end how many there were.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

#include "traced.h"

static const int onward = PTRACE_CONT;

/* The calls that change files, and the argument that is the file: it tells which of them are meant. Those
 * that are given a path are meant always, and an opening as it is done. */
enum { PATH = -1, PATHAT = -2, OPEN = -3, OPENAT = -4, OPENAT2 = -5 };
static const struct call {
	long number;
	const char *name;
	int file;
} calls[] = {
	{SYS_write, "write", 0},
	{SYS_writev, "writev", 0},
	{SYS_pwrite64, "pwrite64", 0},
	{SYS_pwritev, "pwritev", 0},
	{SYS_pwritev2, "pwritev2", 0},
	{SYS_sendfile, "sendfile", 0},
	{SYS_splice, "splice", 2},
	{SYS_copy_file_range, "copy_file_range", 2},
	{SYS_ftruncate, "ftruncate", 0},
	{SYS_fallocate, "fallocate", 0},
	{SYS_fsync, "fsync", 0},
	{SYS_fdatasync, "fdatasync", 0},
	{SYS_sync_file_range, "sync_file_range", 0},
	{SYS_fchmod, "fchmod", 0},
	{SYS_fchmodat, "fchmodat", PATHAT},
	{SYS_utimensat, "utimensat", PATHAT},
	{SYS_mkdirat, "mkdirat", PATHAT},
	{SYS_linkat, "linkat", PATHAT},
	{SYS_symlinkat, "symlinkat", PATH},
	{SYS_unlinkat, "unlinkat", PATHAT},
	{SYS_renameat2, "renameat2", PATHAT},
#ifdef SYS_renameat
	{SYS_renameat, "renameat", PATHAT},
#endif
	{SYS_openat, "openat", OPENAT},
	{SYS_openat2, "openat2", OPENAT2},
#ifdef SYS_open
	{SYS_open, "open", OPEN},
	{SYS_creat, "creat", PATH},
	{SYS_chmod, "chmod", PATH},
	{SYS_mkdir, "mkdir", PATH},
	{SYS_rmdir, "rmdir", PATH},
	{SYS_link, "link", PATH},
	{SYS_symlink, "symlink", PATH},
	{SYS_unlink, "unlink", PATH},
	{SYS_rename, "rename", PATH},
	{SYS_truncate, "truncate", PATH},
#endif
};
enum { CALLS = sizeof calls / sizeof *calls };

static const struct {
	const char *name;
	int number;
} errors[] = {
	{"ENOSPC", ENOSPC},
	{"EDQUOT", EDQUOT},
	{"EIO", EIO},
	{"EROFS", EROFS},
	{"EMFILE", EMFILE},
	{"EINTR", EINTR},
	{"EACCES", EACCES},
	{"EPERM", EPERM},
	{"EMLINK", EMLINK},
	{"EXDEV", EXDEV},
	{"EINVAL", EINVAL},
	{"EOPNOTSUPP", EOPNOTSUPP},
};

static volatile sig_atomic_t counting;
static volatile pid_t child;
static long wanted, seen;
static int lasts, looks, by_program, error;

static void begin(int signal) {
	(void)signal;
	counting = 1;
}

static void end(int signal) {
	(void)signal;
	if (child) kill(child, SIGKILL);
}

/* Has the system stop the program at these calls, and at no others. */
static void only_at_calls(void) {
	struct sock_filter code[2 * CALLS + 2] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	};
	int length = 1;
	for (int i = 0; i < CALLS; i++) {
		code[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i].number, 0, 1);
		code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
	}
	code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = {(unsigned short)length, code};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) fail("no new rights");
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) fail("filter");
}

static word flags_of(pid_t id, registers *r, int how) {
	if (how != OPENAT2) return *argument(r, how == OPEN ? 1 : 2);
	struct open_how asked = {0};
	struct iovec here = {&asked, sizeof asked}, there = {(void *)*argument(r, 2), sizeof asked};
	if (process_vm_readv(id, &here, 1, &there, 1, 0) != sizeof asked) return 0;
	return asked.flags;
}

/* Says whether a process runs one of the programs that are meant. */
static int is_at_place(pid_t id) {
	char link[64], name[PATH_MAX];
	snprintf(link, sizeof link, "/proc/%d/exe", (int)id);
	return is_named(link, name);
}

/* Copies a text out of the program; it may end with the page that it is in. */
static void copy_text(pid_t id, word from, char *text) {
	size_t most = PATH_MAX - 1, first = PATH_MAX - from % PATH_MAX;
	if (first > most) first = most;
	struct iovec here = {text, most};
	struct iovec there[] = {{(void *)from, first}, {(void *)(from + first), most - first}};
	ssize_t length = process_vm_readv(id, &here, 1, there, 2, 0);
	text[length < 0 ? 0 : length] = 0;
}

/* Copies the path that a call is given, for people. Where it has none, it is about an open file. */
static void copy_path(pid_t id, registers *r, const struct call *call, char *name) {
	word path = *argument(r, call->file == PATH || call->file == OPEN ? 0 : 1);
	if (path) copy_text(id, path, name);
	else is_named(opened(id, *argument(r, 0)), name);
}

/* Says whether a call is one of those that are counted, and which file it is about. */
static int is_counted(pid_t id, registers *r, const struct call *call, char *name) {
	if (by_program ? !is_at_place(id) : !counting) return 0;
	if (call->file >= 0) return !looks && is_named(opened(id, *argument(r, call->file)), name);
	copy_path(id, r, call, name);
	if (call->file > OPEN) return !looks;
	word flags = flags_of(id, r, call->file);
	if ((flags & O_TMPFILE) == O_TMPFILE) strncat(name, "/ O_TMPFILE", PATH_MAX - strlen(name) - 1);
	int changes = (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC);
	return looks ? !changes : changes;
}

/* Ends the program, and the child of it that makes the call. */
static void end_all(pid_t id) {
	kill(child, SIGKILL);
	kill(id, SIGKILL);
}

static void leave_out(pid_t id, registers *r) {
	*answer(r) = (word)-error;
#if defined(__x86_64__)
	r->orig_rax = (word)-1;
#else
	int none = -1;
	struct iovec at = {&none, sizeof none};
	if (ptrace(PTRACE_SETREGSET, id, NT_ARM_SYSTEM_CALL, &at) && errno != ESRCH) fail("leave out");
#endif
	write_registers(id, r);
}

static void at_call(pid_t id) {
	char name[PATH_MAX];
	registers r;
	if (!read_registers(id, &r)) return;
	for (int i = 0; i < CALLS; i++) {
		const struct call *call = &calls[i];
		if (call->number != number(&r)) continue;
		if (!is_counted(id, &r, call, name)) return;
		seen++;
		if (!wanted) fprintf(report, "counted %ld %s %s\n", seen, call->name, name);
		if (!wanted || (lasts ? seen < wanted : seen != wanted)) return;
		fprintf(report, "done %ld %s %s\n", seen, call->name, name);
		if (error) leave_out(id, &r);
		else end_all(id);
		return;
	}
}

static void gone(pid_t id) { (void)id; }

static int number_of(const char *name) {
	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
		if (!strcmp(errors[i].name, name)) return errors[i].number;
	return 0;
}

int main(int count, char **words) {
	int last = 6;
	while (last < count && strcmp(words[last], "--")) last++;
	int is_usage = last + 1 < count;
	if (is_usage) {
		lasts = !!strchr(words[2], '+');
		wanted = atol(words[2]);
		looks = !strcmp(words[3], "looks");
		error = number_of(words[4]);
		by_program = !strcmp(words[5], "program");
		is_usage = (looks || !strcmp(words[3], "changes")) && (error || !strcmp(words[4], "kill")) &&
			(by_program || !strcmp(words[5], "signal"));
	}
	if (!is_usage) {
		fprintf(stderr, "usage: changes REPORT NUMBER[+] changes|looks kill|ERROR signal|program PLACE... -- PROGRAM...\n");
		return 125;
	}
	report = fopen(words[1], "we");
	if (!report) fail(words[1]);
	places = words + 6;
	places_count = last - 6;
	sigaction(SIGUSR1, &(struct sigaction){.sa_handler = begin}, NULL);
	sigaction(SIGTERM, &(struct sigaction){.sa_handler = end}, NULL);
	child = start(words + last + 1, only_at_calls);
	int outcome = follow(child);
	fprintf(report, "of %ld\n", seen);
	if (fclose(report)) fail("report");
	return end_as(outcome);
}
