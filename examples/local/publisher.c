/* Publishes the lines of standard input to one topic: publisher SOCKET TOPIC. */
#include <millrace/local.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char** argv) {
  char error[256], line[4096];
  if (argc != 3) return 2;
  millrace_publisher* publisher = millrace_publisher_open(argv[1], NULL, error, sizeof error);
  if (!publisher) return fprintf(stderr, "%s\n", error), 1;
  while (fgets(line, sizeof line, stdin)) {
    const size_t bytes = strcspn(line, "\n");
    while (millrace_publish(publisher, argv[2], line, bytes, 0, 0) == MILLRACE_FULL) {
      millrace_drain(publisher, -1); /* the ring is full: wait until the server has emptied it */
    }
  }
  const int done = millrace_drain(publisher, -1) && millrace_publisher_refused(publisher) == 0;
  millrace_publisher_close(publisher);
  return done ? 0 : 1;
}
