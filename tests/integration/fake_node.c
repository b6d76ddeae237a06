/* A server's `node` for tests: a tree of processes that behaves badly, as the environment says.
 *
 *   WIDTH, DEPTH   each process has WIDTH children, DEPTH levels deep
 *   RESPAWN        a child that dies is replaced by its parent, with all below it
 *   CHURN          a leaf ends by itself within that many ms
 *   IGNORE         SIGTERM is ignored by those that have children
 *   HANDLER        on SIGTERM: fork once more, and live on for a second
 *   LISTEN         a file for the TCP port of 127.0.0.1 that the first process serves
 *   TOOL           a program that the first process starts
 *   BECOME_ROOT    all user ids become 0, which needs a setuid program
 *   THREAD         the first process' main thread ends and another one lives on
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int number(const char *name) {
    const char *value = getenv(name);
    return value ? atoi(value) : 0;
}

static void on_term(int signum) {
    (void)signum;
    if (fork() == 0) {
        signal(SIGTERM, SIG_IGN);
        for (;;) pause();
    }
    sleep(1);
    _exit(0);
}

static void live(int depth);

static void spawn(int depth) {
    pid_t pid = fork();
    if (pid == 0) live(depth);
    if (pid < 0) usleep(1000);
}

static void live(int depth) {
    signal(SIGTERM, number("IGNORE") && depth ? SIG_IGN : number("HANDLER") ? on_term : SIG_DFL);
    if (!depth && number("CHURN")) {
        usleep((getpid() * 7919u % number("CHURN")) * 1000 + 1000);
        _exit(0);
    }
    for (int i = 0; depth && i < number("WIDTH"); i++) spawn(depth - 1);
    for (;;) {
        if (wait(NULL) > 0 && number("RESPAWN")) spawn(depth - 1);
        else if (errno == ECHILD) pause();
    }
}

static void *serve(void *unused) {
    (void)unused;
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof place;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&place, length) || listen(listener, 8)) exit(1);
    if (getsockname(listener, (struct sockaddr *)&place, &length)) exit(1);
    FILE *file = fopen(getenv("LISTEN"), "w");
    if (!file) exit(1);
    fprintf(file, "%d\n", ntohs(place.sin_port));
    fclose(file);
    for (;;) accept(listener, NULL, NULL);
}

static void *rest(void *unused) {
    (void)unused;
    for (;;) pause();
    return NULL;
}

int main(void) {
    pthread_t thread;
    if (number("BECOME_ROOT") && setresuid(0, 0, 0) == 0) return pause();
    if (getenv("TOOL") && fork() == 0) {
        putenv("BECOME_ROOT=1");
        execl(getenv("TOOL"), getenv("TOOL"), NULL);
        _exit(1);
    }
    if (getenv("LISTEN")) pthread_create(&thread, NULL, serve, NULL);
    if (number("THREAD")) {
        pthread_create(&thread, NULL, rest, NULL);
        pthread_exit(NULL);
    }
    live(number("DEPTH"));
}
