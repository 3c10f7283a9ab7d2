/* In the place of the interpreter of rules: a program of an attacker's, who has broken out of the first wall.

   interpreter FOLDER VICTIM TCP UDP [stay]

   Waits for a byte, as the interpreter waits for work, then tries what the second wall must stop, and prints a line
   for each attempt: its name, and `did` or the number of the error. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void tell(const char *name, int worked) {
    if (worked)
        printf("%s did\n", name);
    else
        printf("%s %d\n", name, errno);
    fflush(stdout);
}

static void try_open(const char *name, const char *path, int flags) {
    int found = open(path, flags, 0600);
    tell(name, found >= 0);
    if (found >= 0) close(found);
}

static void try_socket(const char *name, int family, int type, const void *address, socklen_t size) {
    int end = socket(family, type, 0);
    int worked = end >= 0 && (size == 0 || connect(end, address, size) == 0);
    if (worked && type == SOCK_DGRAM && family == AF_INET) worked = send(end, "secret", 6, 0) == 6;
    tell(name, worked);
    if (end >= 0) close(end);
}

static void *idle(void *nothing) { return nothing; }

static void files(const char *folder, pid_t victim) {
    char path[4096];
    try_open("read /etc/passwd", "/etc/passwd", O_RDONLY);
    snprintf(path, sizeof path, "%s/secret", folder);
    try_open("read the node's file", path, O_RDONLY);
    tell("change a file's mode", chmod(path, 0644) == 0);
    snprintf(path, sizeof path, "%s/written-natively", folder);
    try_open("write a file", path, O_CREAT | O_WRONLY);
    snprintf(path, sizeof path, "/proc/%d/environ", victim);
    try_open("read another process's environment", path, O_RDONLY);
    snprintf(path, sizeof path, "/proc/%d/mem", victim);
    try_open("open another process's memory", path, O_RDONLY);
    snprintf(path, sizeof path, "/proc/%d/mem", getppid());
    try_open("open the cell's memory", path, O_RDWR);
    try_open("list the processes", "/proc", O_RDONLY | O_DIRECTORY);
    try_open("list the root folder", "/", O_RDONLY | O_DIRECTORY);
}

static void sockets(const char *folder, int tcp, int udp) {
    struct sockaddr_in internet = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    internet.sin_port = htons(tcp);
    try_socket("connect by TCP", AF_INET, SOCK_STREAM, &internet, sizeof internet);
    internet.sin_port = htons(udp);
    try_socket("send by UDP", AF_INET, SOCK_DGRAM, &internet, sizeof internet);
    snprintf(local.sun_path, sizeof local.sun_path, "%s/named", folder);
    try_socket("connect to a named socket", AF_UNIX, SOCK_STREAM, &local, sizeof local);
    memset(local.sun_path, 0, sizeof local.sun_path);
    snprintf(local.sun_path + 1, sizeof local.sun_path - 1, "atoll-test-%d", tcp);
    socklen_t size = sizeof local.sun_family + 1 + strlen(local.sun_path + 1);
    try_socket("connect to an abstract socket", AF_UNIX, SOCK_STREAM, &local, size);
    try_socket("open a netlink socket", AF_NETLINK, SOCK_RAW, NULL, 0);
}

static void processes(pid_t victim) {
    char buffer[8];
    struct iovec mine = {buffer, sizeof buffer}, theirs = {&victim, sizeof victim};
    struct rlimit none = {0, 0};
    pthread_t thread;
    tell("send a signal to another process", kill(victim, SIGCONT) == 0);
    tell("send a signal to the cell", kill(getppid(), SIGCONT) == 0);
    int handle = syscall(SYS_pidfd_open, victim, 0);
    tell("send a signal by descriptor", handle >= 0 && syscall(SYS_pidfd_send_signal, handle, SIGCONT, NULL, 0) == 0);
    tell("change another process's limits", prlimit(victim, RLIMIT_CORE, &none, NULL) == 0);
    /* An address that is mapped nowhere gives EFAULT, once the right to read at all has been found. */
    ssize_t got = process_vm_readv(victim, &mine, 1, &theirs, 1, 0);
    tell("read another process's memory", got > 0 || errno == EFAULT);
    tell("trace another process", ptrace(PTRACE_SEIZE, victim, NULL, NULL) == 0);
    tell("trace the cell", ptrace(PTRACE_SEIZE, getppid(), NULL, NULL) == 0);
    pid_t child = fork();
    if (child == 0) _exit(0);
    tell("fork", child > 0);
    if (child > 0) waitpid(child, NULL, 0);
    char *arguments[] = {"true", NULL};
    int refused = posix_spawn(&child, "/bin/true", NULL, NULL, arguments, arguments + 1);
    errno = refused;
    tell("start a process as the interpreter was started", refused == 0);
    if (refused == 0) waitpid(child, NULL, 0);
    int failed = pthread_create(&thread, NULL, idle, NULL);
    errno = failed;
    tell("start a thread", failed == 0);
    tell("leave the group of processes", setsid() >= 0 || setpgid(0, 0) == 0);
}

static void memory(void) {
    void *huge = mmap(NULL, 16ul << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    tell("take 16 GiB of memory", huge != MAP_FAILED);
    tell("make shared memory", shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600) >= 0);
    tell("make a message queue", msgget(IPC_PRIVATE, IPC_CREAT | 0600) >= 0);
    tell("make semaphores", semget(IPC_PRIVATE, 1, IPC_CREAT | 0600) >= 0);
    tell("make a file in memory", syscall(SYS_memfd_create, "m", 0) >= 0);
    try_open("make a file of shared memory", "/dev/shm/atoll-test-natively", O_CREAT | O_RDWR);
    unlink("/dev/shm/atoll-test-natively");
}

static void descriptors(void) {
    int found = 0;
    for (int each = 3; each < 1024; each++)
        if (fcntl(each, F_GETFD) >= 0) found++;
    errno = EBADF;
    tell("use an inherited descriptor", found > 0);
}

int main(int count, char **given) {
    char byte;
    if (count < 5 || read(0, &byte, 1) != 1) return 2;
    if (count > 5) {
        for (int each = 1; each < 32; each++) signal(each, SIG_IGN);
        puts("stays");
        fclose(stdout);
        for (;;) sleep(1000);
    }
    pid_t victim = atoi(given[2]);
    descriptors();
    files(given[1], victim);
    sockets(given[1], atoi(given[3]), atoi(given[4]));
    memory();
    processes(victim);
    char *shell[] = {"sh", "-c", "echo execute a shell did", NULL};
    char *nothing[] = {NULL};
    execve("/bin/sh", shell, nothing);
    tell("execute a shell", 0);
    return 0;
}
