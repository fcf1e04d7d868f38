/* Greet everyone who connects and name the machine this runs on.
 *
 * usage: greeter [PORT] | greeter --version
 *
 * Each connection is sent one line, "hello from MACHINE", and then, for every line the client sends,
 * "hello LINE from MACHINE". MACHINE is what uname(2) says.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { DEFAULT_PORT = 7070, BACKLOG = 16, LINE_MAX_BYTES = 256 };

static void fail(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

static int listen_on(unsigned short port)
{
    const int on = 1;
    struct sockaddr_in address = {0};
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_ANY);
    address.sin_port = htons(port);
    if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
        fail("greeter: socket");
    if (bind(listener, (const struct sockaddr *)&address, sizeof address) < 0)
        fail("greeter: bind");
    if (listen(listener, BACKLOG) < 0)
        fail("greeter: listen");
    return listener;
}

static void greet(int connection, const char *machine)
{
    char line[LINE_MAX_BYTES];
    FILE *from = fdopen(connection, "r");
    FILE *to = fdopen(dup(connection), "w");

    if (from == NULL || to == NULL)
        fail("greeter: fdopen");
    fprintf(to, "hello from %s\n", machine);
    while (fflush(to) == 0 && fgets(line, sizeof line, from) != NULL) {
        line[strcspn(line, "\r\n")] = '\0';
        fprintf(to, "hello %s from %s\n", line, machine);
    }
}

static void stop(int signal_number)
{
    (void)signal_number;
    _exit(EXIT_SUCCESS);
}

static void serve(unsigned short port, const char *machine)
{
    int listener = listen_on(port);

    signal(SIGCHLD, SIG_IGN); /* the system reaps the children */
    printf("greeter: listening on port %u on %s\n", (unsigned)port, machine);
    fflush(stdout);
    for (;;) {
        int connection = accept(listener, NULL, NULL);

        if (connection < 0) {
            if (errno == EINTR || errno == ECONNABORTED)
                continue;
            fail("greeter: accept");
        }
        if (fork() == 0) {
            close(listener);
            greet(connection, machine);
            _exit(EXIT_SUCCESS);
        }
        close(connection);
    }
}

int main(int argc, char **argv)
{
    struct utsname system;
    long port = DEFAULT_PORT;

    if (uname(&system) < 0)
        fail("greeter: uname");
    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        printf("greeter 1.0.0 (%s)\n", system.machine);
        return EXIT_SUCCESS;
    }
    if (argc > 1)
        port = strtol(argv[1], NULL, 10);
    if (argc > 2 || port < 1 || port > 65535) {
        fprintf(stderr, "usage: greeter [PORT] | greeter --version\n");
        return EXIT_FAILURE;
    }
    signal(SIGTERM, stop); /* a container's first process dies of no signal that it doesn't handle */
    serve((unsigned short)port, system.machine);
}
