// nacelle-oci: the OCI runtime command line, a drop-in for runc. This file is the global options
// and the table of verbs; each verb has a file of its own.
#include <fcntl.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/text.h"
#include "cli/nacelle_oci/command.h"
#include "oci/documents.h"

namespace nacelle::oci_cli {
namespace {

struct Verb {
  std::string_view name;
  Result<int> (*run)(const Context&);
  std::string_view summary;
  std::string_view usage;
};

constexpr Verb verbs[] = {
    {"create", run_create, "create a container", "create [OPTIONS] CONTAINER"},
    {"start", run_start, "start a created container", "start CONTAINER"},
    {"run", run_run, "create and start a container", "run [OPTIONS] CONTAINER"},
    {"exec", run_exec, "execute a new process inside a container",
     "exec [OPTIONS] CONTAINER COMMAND [ARGUMENT...]"},
    {"state", run_state, "print the state of a container", "state CONTAINER"},
    {"list", run_list, "list the containers under --root", "list [OPTIONS]"},
    {"ps", run_ps, "show the processes of a container", "ps [OPTIONS] CONTAINER [PS OPTION...]"},
    {"kill", run_kill, "send a signal to a container", "kill [OPTIONS] CONTAINER [SIGNAL]"},
    {"delete", run_delete, "delete what a container holds", "delete [OPTIONS] CONTAINER"},
    {"pause", run_pause, "suspend all processes of a container", "pause CONTAINER"},
    {"resume", run_resume, "resume a paused container", "resume CONTAINER"},
    {"update", run_update, "change the limits of a running container",
     "update [OPTIONS] CONTAINER"},
    {"events", run_events, "print counters and out-of-memory kills of a container",
     "events [OPTIONS] CONTAINER"},
    {"spec", run_spec, "write a starter config.json", "spec [OPTIONS]"},
    {"features", run_features, "print what this runtime supports", "features"},
};

void print_usage() {
  std::string text =
      "nacelle-oci: an OCI runtime\n\n"
      "usage: nacelle-oci [global options] VERB [options] [operands]\n\nverbs:\n";
  for (const Verb& verb : verbs) {
    text += cat("  ", verb.name, std::string(12 - verb.name.size(), ' '), verb.summary, "\n");
  }
  text +=
      "\nglobal options:\n"
      "  --root DIR           where container state is kept (default /run/nacelle-oci)\n"
      "  --log FILE           append errors and warnings to FILE\n"
      "  --log-format FORMAT  text or json (default text)\n"
      "  --debug              log debug messages too\n"
      "  --systemd-cgroup     not supported yet\n"
      "  --rootless WHAT      only false and auto are supported yet\n"
      "  -v, --version        print the version\n"
      "  -h, --help           print this\n\n"
      "`nacelle-oci VERB --help` says more; what runc has too means the same here.\n";
  std::fputs(text.c_str(), stdout);
}

void print_version() {
  std::printf("nacelle-oci version %s\nspec: %s\n", NACELLE_VERSION,
              std::string(oci::oci_version).c_str());
}

enum class Next { RunVerb, Done };

// Reads the options before the verb; `first` becomes the index of the verb.
Result<Next> parse_globals(int argc, char** argv, Globals& globals, int& first) {
  constexpr option long_options[] = {{"root", required_argument, nullptr, 'r'},
                                     {"log", required_argument, nullptr, 'l'},
                                     {"log-format", required_argument, nullptr, 'f'},
                                     {"debug", no_argument, nullptr, 'd'},
                                     {"systemd-cgroup", no_argument, nullptr, 's'},
                                     {"rootless", required_argument, nullptr, 'o'},
                                     {"criu", required_argument, nullptr, 'c'},
                                     {"version", no_argument, nullptr, 'v'},
                                     {"help", no_argument, nullptr, 'h'},
                                     {nullptr, 0, nullptr, 0}};
  opterr = 0;
  while (true) {
    const int option = ::getopt_long(argc, argv, "+:vh", long_options, nullptr);
    if (option < 0) break;
    const std::string_view value = optarg == nullptr ? "" : optarg;
    switch (option) {
      case 'r': globals.root = value; break;
      case 'l': globals.log_path = value; break;
      case 'f':
        if (value != "json" && value != "text") {
          return fail(Kind::Invalid, cat("--log-format: '", value, "': must be text or json"));
        }
        globals.log_json = value == "json";
        break;
      case 'd': globals.debug = true; break;
      case 's':
        return fail(Kind::Unsupported,
                    "--systemd-cgroup: the systemd cgroup driver is not supported yet");
      case 'o':
        if (value == "true")
          return fail(Kind::Unsupported, "--rootless: rootless use is not supported yet");
        break;
      case 'c': break;  // accepted and unused, as by runc since 1.1
      case 'v': print_version(); return Next::Done;
      case 'h': print_usage(); return Next::Done;
      default:
        return fail(Kind::Invalid, cat("unknown or incomplete option '", argv[optind - 1], "'"));
    }
  }
  first = optind;
  return Next::RunVerb;
}

// A start touches some forty pages of heap. Asked for at once they cost the kernel a third of what
// it charges for forty page faults; and nothing is given back before the end, which is near.
void prepare_heap() {
  constexpr size_t heap_bytes = 192u << 10;
  ::mallopt(M_TOP_PAD, heap_bytes);
  ::mallopt(M_TRIM_THRESHOLD, 64 << 20);
  ::mallopt(M_MMAP_THRESHOLD, 16 << 20);
  void* first = std::malloc(1);
  const uintptr_t page = 4096;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(first) + page) & ~(page - 1);
  constexpr int populate_write = 23;  // MADV_POPULATE_WRITE, 5.14
  ::madvise(reinterpret_cast<void*>(begin), heap_bytes - page, populate_write);
  std::free(first);
}

Result<int> run_verb(const Context& context) {
  const std::string_view name = context.arguments[0];
  if (name == "help" || name == "h") {
    print_usage();
    return exit_ok;
  }
  for (const Verb& verb : verbs) {
    if (verb.name != name) continue;
    const std::string_view first = context.arguments.size() > 1 ? context.arguments[1] : "";
    const bool needs_root =
        name != "spec" && name != "features" && first != "--help" && first != "-h";
    if (needs_root && ::geteuid() != 0) {
      return fail(Kind::Denied, "must be run as root: rootless use is not supported yet");
    }
    if (name == "run" || name == "create") prepare_heap();
    return verb.run(context);
  }
  return fail(Kind::Invalid, cat("unknown verb '", name, "'; see nacelle-oci --help"));
}

// What this process itself cost, without the container's: for bench/startup.
void write_rusage() {
  const char* path = std::getenv("NACELLE_RUSAGE_FILE");
  if (path == nullptr) return;
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto microseconds = [](const timeval& time) {
    return time.tv_sec * 1'000'000 + time.tv_usec;
  };
  const std::string line =
      cat(microseconds(usage.ru_utime), " ", microseconds(usage.ru_stime), "\n");
  const int fd = ::open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) return;
  (void)!::write(fd, line.data(), line.size());
  ::close(fd);
}

// A caller may have closed these; a descriptor of ours in their place would get what is printed.
void fill_standard_streams() {
  for (int fd = 0; fd <= STDERR_FILENO; ++fd) {
    if (::fcntl(fd, F_GETFD) < 0) (void)!::open("/dev/null", O_RDWR);
  }
}

int run_main(int argc, char** argv) {
  // CVE-2016-9962, CVE-2019-5736: no process of a container may look into this one.
  ::prctl(PR_SET_DUMPABLE, 0);
  fill_standard_streams();
  Globals globals;
  const Log log(globals);
  int first = argc;
  const Result<Next> next = parse_globals(argc, argv, globals, first);
  if (!next) {
    log.error(next.error().message());
    return exit_failed;
  }
  if (*next == Next::Done) return exit_ok;
  if (first == argc) {
    print_usage();
    return exit_ok;
  }
  const Context context{globals, log, {argv + first, static_cast<size_t>(argc - first)}};
  const Result<int> status = run_verb(context);
  if (status) return *status;
  log.error(status.error().message());
  return std::string_view(argv[first]) == "exec" ? exit_exec_failed : exit_failed;
}

}  // namespace

VerbText text_of_verb(std::string_view name) {
  for (const Verb& verb : verbs) {
    if (verb.name == name) return {verb.usage, verb.summary};
  }
  return {};
}

}  // namespace nacelle::oci_cli

int main(int argc, char** argv) {
  const int status = nacelle::oci_cli::run_main(argc, argv);
  nacelle::oci_cli::write_rusage();
  std::fflush(stdout);
  // Nothing of ours waits for static destructors.
  ::_exit(status);
}
