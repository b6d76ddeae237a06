/* A stand-in for VS Code's closed command line program, code-<commit>.
 *
 * As the real one's `command-shell` does it listens on a TCP port (or, told
 * --on-socket, on a unix socket), starts the server on a unix socket as its child,
 * stands between the two, and ends with the process of --parent-process-id: the server
 * stays. The real one speaks msgpack RPC with its client, in which the client also says
 * what --require-token asks for; this one copies bytes, and asks for no token. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONNECT_ATTEMPTS 300
#define CONNECT_PAUSE_US 100000
#define LINGER_POLLS 100
#define LINGER_PAUSE_US 10000
#define PARENT_POLL_MS 1000

static struct sockaddr_un backend = {.sun_family = AF_UNIX};
static struct sockaddr_un frontend = {.sun_family = AF_UNIX};

struct pair {
	int from, to, *open;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* Copy one way, then end the connection. To close at once would reset it, and the
 * server would lose a goodbye it has not read: let the other way end by itself first. */
static void *copy(void *argument)
{
	struct pair *way = argument;
	char buffer[65536];
	ssize_t got;

	while ((got = read(way->from, buffer, sizeof buffer)) > 0) {
		ssize_t put = 0;
		while (put < got) {
			ssize_t sent = send(way->to, buffer + put, got - put, MSG_NOSIGNAL);
			if (sent <= 0)
				break;
			put += sent;
		}
		if (put < got)
			break;
	}
	shutdown(way->to, SHUT_WR);
	for (int i = 0; i < LINGER_POLLS && __atomic_load_n(way->open, __ATOMIC_ACQUIRE) > 1; i++)
		usleep(LINGER_PAUSE_US);
	shutdown(way->from, SHUT_RDWR);
	shutdown(way->to, SHUT_RDWR);
	if (__atomic_sub_fetch(way->open, 1, __ATOMIC_ACQ_REL) == 0) {
		close(way->from);
		close(way->to);
		free(way->open);
	}
	free(way);
	return NULL;
}

static void start_copying(int from, int to, int *open)
{
	pthread_t thread;
	struct pair *way = malloc(sizeof *way);

	*way = (struct pair){from, to, open};
	if (pthread_create(&thread, NULL, copy, way) != 0)
		die("pthread_create");
	pthread_detach(thread);
}

/* The server needs a second or two before it listens. */
static int connect_backend(void)
{
	for (int i = 0; i < CONNECT_ATTEMPTS; i++) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(fd, (struct sockaddr *)&backend, sizeof backend) == 0)
			return fd;
		close(fd);
		usleep(CONNECT_PAUSE_US);
	}
	return -1;
}

static void *serve(void *argument)
{
	int client = (int)(long)argument, server = connect_backend();

	if (server < 0) {
		close(client);
		return NULL;
	}
	int *open = malloc(sizeof *open);
	*open = 2;
	start_copying(client, server, open);
	start_copying(server, client, open);
	return NULL;
}

static void start_server(const char *data_dir, const char *commit, char *grace)
{
	char launcher[4096], socket_path[160];

	snprintf(launcher, sizeof launcher, "%s/servers/Stable-%s/server/bin/code-server", data_dir,
		 commit);
	snprintf(socket_path, sizeof socket_path, "--socket-path=%s", backend.sun_path);
	if (fork() != 0)
		return;
	execlp("sh", "sh", launcher, "--connection-token=remotessh",
	       "--accept-server-license-terms", "--start-server", "--enable-remote-auto-shutdown",
	       socket_path, grace, (char *)NULL);
	die("sh");
}

static int listen_on_port(const char *host, int *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t size = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
		fprintf(stderr, "not an IPv4 address: %s\n", host);
		exit(2);
	}
	if (bind(fd, (struct sockaddr *)&address, size) != 0 || listen(fd, 64) != 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &size) != 0)
		die("listen");
	*port = ntohs(address.sin_port);
	return fd;
}

static int listen_on_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	mode_t mask = umask(0077);

	if (bind(fd, (struct sockaddr *)&frontend, sizeof frontend) != 0 || listen(fd, 64) != 0)
		die("listen");
	umask(mask);
	return fd;
}

/* Each of the two sockets has a name of its own, as short as the real one's. */
static void name_socket(struct sockaddr_un *address)
{
	char uuid[37] = "";
	FILE *random = fopen("/proc/sys/kernel/random/uuid", "r");

	if (!random || fscanf(random, "%36s", uuid) != 1)
		die("uuid");
	fclose(random);
	snprintf(address->sun_path, sizeof address->sun_path, "/tmp/code-%s", uuid);
}

/* The value of an option given as `--name value` or `--name=value`. */
static char *option(int argc, char **argv, const char *name)
{
	size_t length = strlen(name);

	for (int i = 2; i < argc; i++) {
		if (strncmp(argv[i], name, length) != 0)
			continue;
		if (argv[i][length] == '=')
			return argv[i] + length + 1;
		if (argv[i][length] == '\0' && i + 1 < argc)
			return argv[i + 1];
	}
	return NULL;
}

static int given(int argc, char **argv, const char *name)
{
	for (int i = 2; i < argc; i++)
		if (strcmp(argv[i], name) == 0)
			return 1;
	return 0;
}

static void accept_client(int listener)
{
	pthread_t thread;
	int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (client < 0)
		return;
	if (pthread_create(&thread, NULL, serve, (void *)(long)client) != 0)
		die("pthread_create");
	pthread_detach(thread);
}

/* Serve until the process *parent* is gone; without one, for ever. */
static void run(int listener, pid_t parent)
{
	struct pollfd waiting = {.fd = listener, .events = POLLIN};

	while (parent == 0 || kill(parent, 0) == 0 || errno == EPERM)
		if (poll(&waiting, 1, PARENT_POLL_MS) > 0)
			accept_client(listener);
	if (frontend.sun_path[0])
		unlink(frontend.sun_path);
}

int main(int argc, char **argv)
{
	const char *commit = strstr(argv[0], "/code-");
	const char *data_dir = option(argc, argv, "--cli-data-dir");
	const char *parent = option(argc, argv, "--parent-process-id");
	const char *seconds = option(argc, argv, "--reconnection-grace-time");
	const char *host = option(argc, argv, "--on-host");
	char grace[64];
	int port = 0, listener;

	if (argc < 2 || strcmp(argv[1], "command-shell") != 0 || !data_dir || !commit) {
		fprintf(stderr, "usage: /PATH/code-COMMIT command-shell --cli-data-dir DIR ...\n");
		return 2;
	}
	name_socket(&backend);
	if (given(argc, argv, "--on-socket")) {
		name_socket(&frontend);
		listener = listen_on_socket();
	} else {
		host = host ? host : "127.0.0.1";
		listener = listen_on_port(host, &port);
	}
	/* Not SIG_IGN: the launcher would inherit that, and wait for its node in vain. */
	sigaction(SIGCHLD, &(struct sigaction){.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT}, NULL);
	snprintf(grace, sizeof grace, "--reconnection-grace-time=%s", seconds ? seconds : "");
	start_server(data_dir, commit + strlen("/code-"), seconds ? grace : NULL);
	if (frontend.sun_path[0])
		printf("Listening on %s\n", frontend.sun_path);
	else
		printf("Listening on %s:%d\n", host, port);
	fflush(stdout);
	run(listener, parent ? atoi(parent) : 0);
	return 0;
}
