/* A store of keys and values, and its client, by the name it is called by. Understands the one-line
 * form of Redis' commands PING, SET, GET and SAVE, one client at a time. */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { port = 6379, keys_max = 64, word_max = 64, line_max = 256 };

static char keys[keys_max][word_max], values[keys_max][word_max];
static int count;

static int find(const char* key) {
  for (int at = 0; at < count; ++at)
    if (strcmp(keys[at], key) == 0) return at;
  return -1;
}

static const char* set(const char* key, const char* value) {
  int at = find(key);
  if (at < 0 && count == keys_max) return "-ERR full";
  if (at < 0) strcpy(keys[at = count++], key);
  strcpy(values[at], value);
  return "+OK";
}

static const char* save(void) {
  FILE* dump = fopen("dump.rdb", "w");
  if (dump == NULL) return "-ERR dump.rdb";
  for (int at = 0; at < count; ++at) fprintf(dump, "%s %s\n", keys[at], values[at]);
  fclose(dump);
  return "+OK";
}

static const char* answer(const char* line) {
  char verb[word_max] = "", key[word_max] = "", value[word_max] = "";
  sscanf(line, "%63s %63s %63s", verb, key, value);
  if (strcasecmp(verb, "ping") == 0) return "+PONG";
  if (strcasecmp(verb, "set") == 0) return set(key, value);
  if (strcasecmp(verb, "get") == 0) return find(key) < 0 ? "$-1" : values[find(key)];
  if (strcasecmp(verb, "save") == 0) return save();
  return "-ERR unknown command";
}

static int fail(const char* what) {
  perror(what);
  return 1;
}

static void talk(int client) {
  char line[line_max];
  FILE* input = fdopen(client, "r");
  while (fgets(line, sizeof line, input) != NULL) dprintf(client, "%s\r\n", answer(line));
  fclose(input);
}

static int serve(struct sockaddr_in* here) {
  int listener = socket(AF_INET, SOCK_STREAM, 0), client, one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, (struct sockaddr*)here, sizeof *here) < 0) return fail("bind");
  listen(listener, 16);
  printf("Ready to accept connections as %d\n", (int)getuid());
  fflush(stdout);
  while ((client = accept(listener, NULL, NULL)) >= 0) talk(client);
  return fail("accept");
}

static int ask(struct sockaddr_in* there, int argc, char** argv) {
  char line[line_max] = "";
  int server = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(server, (struct sockaddr*)there, sizeof *there) < 0) return fail("Could not connect");
  for (int at = 1; at < argc; ++at) {
    strncat(line, argv[at], word_max);
    strcat(line, at + 1 < argc ? " " : "\r\n");
  }
  write(server, line, strlen(line));
  ssize_t got = read(server, line, sizeof line - 1);
  return write(1, line, got > 0 ? got : 0) <= 0;
}

int main(int argc, char** argv) {
  struct sockaddr_in address = {0};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (argc > 1 && strcmp(argv[1], "--version") == 0) return puts("Redis server v=" VERSION) < 0;
  const char* name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
  return strcmp(name, "redis-cli") == 0 ? ask(&address, argc, argv) : serve(&address);
}
