/* Reads topics below md/ from shared memory: the newest value of each, then every new message. */
#include <millrace/local.h>
#include <stdio.h>

int main(int argc, char** argv) {
  char error[256];
  millrace_reader_options options;
  millrace_reader_options_init(&options);
  if (argc > 1) options.socket = argv[1];
  options.start = MILLRACE_LATEST;
  millrace_reader* reader = millrace_reader_open("md/#", &options, error, sizeof error);
  if (!reader) return fprintf(stderr, "%s\n", error), 1;
  for (millrace_message m;;) {
    if (millrace_reader_next(reader, &m, -1) != MILLRACE_MESSAGE) continue;
    printf("%.*s %.*s\n", (int)m.topic_bytes, m.topic, (int)m.payload_bytes, (char*)m.payload);
  }
}
