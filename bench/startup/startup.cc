// Measures container starts: the same bundle through nacelle-oci, crun, runc and the kernel floor,
// in one run, interleaved, so that what the machine does meanwhile happens to all of them.
#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>

#include "fixture.h"
#include "report.h"
#include "spawn.h"

namespace nacelle::startup {
namespace {

constexpr int failures_max = 5;          // of one runtime in one operation, then it is left out
constexpr double census_wait_us = 5e6;   // the kernel takes namespaces down in its own time
constexpr double live_tolerance = 1.10;  // "the same median", on a machine that is not quiet
constexpr double busy_share_max = 0.10;  // above it a machine is not called quiet
constexpr double peak_memory_kib_max = 3 * 1024;

struct Options {
  std::string nacelle, floor, peak;
  std::string sid = "/var/cache/nacelle/peers/sid";
  std::string rootfs = "/var/cache/nacelle/rootfs/busybox";
  std::string config = NACELLE_STARTUP_CONFIG;
  std::string svg;
  std::string only;
  int rounds = 200;
  int live = 500;
  int leaks = 1000;
  int settle_us = 2000;
  int quiet_s = 0;
  bool smoke = false;
  bool strict = false;
};

// One runtime with runc's command line.
struct Runtime {
  std::string name;
  std::string path;   // inside the fixture
  std::string state;  // --root
};

std::vector<std::string> command(const Runtime& runtime, const std::vector<std::string>& words) {
  std::vector<std::string> all = {runtime.path, "--root", runtime.state};
  all.insert(all.end(), words.begin(), words.end());
  return all;
}

class Bench {
 public:
  Bench(const Options& options, std::vector<Runtime> runtimes, bool floor, int svg_fd)
      : options_(options), runtimes_(std::move(runtimes)), floor_(floor), svg_fd_(svg_fd) {}

  int run_all();

 private:
  void measure_runs();
  void measure_lifecycles();
  void measure_lifecycle(const Runtime& runtime);
  void measure_own_cpu();
  void measure_peak_memory();
  void measure_parallel();
  void run_in_parallel(const Runtime& runtime, int at_once);
  void measure_with_many_live(const Runtime& runtime);
  void measure_leaks(const Runtime& runtime);
  std::vector<Target> targets() const;
  Target ratio_target(const std::string& what, const std::string& operation,
                      const std::string& reference, double limit) const;

  // Runs and files the sample; what fails is shown, counted, and after a few times left out.
  bool measure(const std::string& operation, const std::string& who,
               const std::vector<std::string>& words, double* sum = nullptr);
  std::string next_id() { return "bench-" + std::to_string(++ids_); }
  void settle() {
    reap_orphans();
    usleep(static_cast<useconds_t>(options_.settle_us));
  }
  std::vector<std::string> run_command(const Runtime& runtime) {
    return command(runtime, {"run", "--bundle", true_bundle, next_id()});
  }
  std::vector<std::string> floor_command() {
    return {"/tmp/bin/floor", std::string(true_bundle) + "/rootfs", "/sys/fs/cgroup/" + next_id()};
  }
  bool start_sleeper(const Runtime& runtime, const std::string& id, double* created,
                     double* started);
  void end_sleeper(const Runtime& runtime, const std::string& id);
  const Runtime* ours() const;
  const Runtime* subject() const { return ours() ? ours() : runtimes_.data(); }

  Options options_;
  std::vector<Runtime> runtimes_;
  bool floor_;
  int svg_fd_;
  Samples samples_{{"nacelle-oci", "nacelle-oci cold", "floor", "floor +devices", "crun", "runc"}};
  std::map<std::string, int> failures_;
  std::map<std::string, long> peak_kib_;
  std::map<std::string, Summary> own_cpu_;
  std::vector<Target> found_;  // targets that are decided where they are measured
  std::mt19937 random_{20};    // fixed: a run can be repeated
  int ids_ = 0;
};

const Runtime* Bench::ours() const {
  for (const Runtime& runtime : runtimes_) {
    if (runtime.name == "nacelle-oci") return &runtime;
  }
  return nullptr;
}

bool Bench::measure(const std::string& operation, const std::string& who,
                    const std::vector<std::string>& words, double* sum) {
  int& failures = failures_[who + " " + operation];
  if (failures >= failures_max) return false;
  Outcome outcome = run(words);
  if (!outcome.succeeded) {
    ++failures;
    std::string why = read_text(error_log);
    printf("%s %s failed: %s\n", who.c_str(), operation.c_str(), why.substr(0, 300).c_str());
    return false;
  }
  samples_.add(operation, who, outcome.microseconds);
  if (sum) *sum += outcome.microseconds;
  return true;
}

// --- run, to exit --------------------------------------------------------------------------------

void Bench::measure_runs() {
  struct Candidate {
    std::string name;
    const Runtime* runtime;  // null: the floor
    bool cold;
    bool devices;
  };
  std::vector<Candidate> candidates;
  for (const Runtime& runtime : runtimes_) {
    candidates.push_back({runtime.name, &runtime, false, false});
    if (&runtime == ours()) candidates.push_back({runtime.name + " cold", &runtime, true, false});
  }
  if (floor_) {
    candidates.push_back({"floor", nullptr, false, false});
    candidates.push_back({"floor +devices", nullptr, false, true});
  }
  for (int round = 0; round < options_.rounds; ++round) {
    std::shuffle(candidates.begin(), candidates.end(), random_);
    for (const Candidate& candidate : candidates) {
      std::vector<std::string> words;
      if (!candidate.runtime) {
        words = floor_command();
        if (candidate.devices) words.insert(words.begin() + 1, "--devices");
      } else {
        Runtime runtime = *candidate.runtime;
        if (candidate.cold) runtime.state += "-cold-" + std::to_string(round);  // no cache in it
        words = run_command(runtime);
      }
      measure("run", candidate.name, words);
      settle();
    }
  }
}

// --- create, start, state, exec, kill, delete ----------------------------------------------------

void Bench::measure_lifecycle(const Runtime& runtime) {
  const std::string id = next_id();
  const std::string pid_file = "/tmp/pid";
  const std::string& name = runtime.name;
  double both = 0;
  if (!measure("create", name,
               command(runtime, {"create", "--bundle", sleep_bundle, "--pid-file", pid_file, id}),
               &both)) {
    return;
  }
  pid_t pid = atoi(read_text(pid_file).c_str());
  if (measure("start", name, command(runtime, {"start", id}), &both)) {
    samples_.add("create+start", name, both);
  }
  measure("state", name, command(runtime, {"state", id}));
  measure("exec", name, command(runtime, {"exec", id, "true"}));
  measure("kill", name, command(runtime, {"kill", id, "KILL"}));
  // A host's init would reap it; here that is us, and delete is to find it gone.
  if (pid > 0) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
  measure("delete", name, command(runtime, {"delete", id}));
}

void Bench::measure_lifecycles() {
  std::vector<const Runtime*> order;
  for (const Runtime& runtime : runtimes_) order.push_back(&runtime);
  for (int round = 0; round < options_.rounds; ++round) {
    std::shuffle(order.begin(), order.end(), random_);
    for (const Runtime* runtime : order) {
      measure("process start", runtime->name, {runtime->path, "--version"});
      measure_lifecycle(*runtime);
      settle();
    }
  }
}

// --- own CPU time and peak memory ----------------------------------------------------------------

// The numbers in the file, whatever stands between them, are parts of one sum.
double sum_of_numbers(const std::string& text) {
  double sum = 0;
  for (size_t at = 0; at < text.size();) {
    if (text[at] < '0' || text[at] > '9') {
      ++at;
      continue;
    }
    char* end = nullptr;
    sum += strtod(text.c_str() + at, &end);
    at = static_cast<size_t>(end - text.c_str());
  }
  return sum;
}

// What wait4 reports holds the container too, so those who can say it themselves are asked.
void Bench::measure_own_cpu() {
  const std::string file = "/tmp/rusage";
  std::map<std::string, std::vector<double>> own;
  auto sample = [&](const std::string& who, const std::vector<std::string>& words) {
    unlink(file.c_str());
    bool succeeded = run(words, {"NACELLE_RUSAGE_FILE=" + file}).succeeded;
    std::string text = read_text(file);
    if (succeeded && !text.empty()) own[who].push_back(sum_of_numbers(text));
    settle();
  };
  for (int round = 0; round < options_.rounds; ++round) {
    if (floor_) sample("floor", floor_command());
    if (ours()) sample("nacelle-oci", run_command(*ours()));
  }
  for (const auto& [who, values] : own) {
    own_cpu_[who] = summarize(values);
    for (double value : values) samples_.add("own CPU of run", who, value);
  }
}

void Bench::measure_peak_memory() {
  const std::string file = "/tmp/peak";
  auto peak_of = [&](const std::vector<std::string>& words) {
    std::vector<std::string> all = {"/bin/sh", "-c", "exec /tmp/bin/peak \"$@\" 3> " + file,
                                    "peak"};
    all.insert(all.end(), words.begin(), words.end());
    bool succeeded = run(all).succeeded;
    settle();
    return succeeded ? atol(read_text(file).c_str()) : 0;
  };
  for (int i = 0; i < 5; ++i) {
    for (const Runtime& runtime : runtimes_) {
      long& peak = peak_kib_[runtime.name];
      peak = std::max(peak, peak_of(run_command(runtime)));
    }
    if (floor_) {
      long& peak = peak_kib_["floor"];
      peak = std::max(peak, peak_of(floor_command()));
    }
  }
  printf("\npeak memory of run (the larger of runtime and container):");
  for (const auto& [who, kib] : peak_kib_) printf("  %s %ld KiB", who.c_str(), kib);
  printf("\n");
}

// --- in parallel ---------------------------------------------------------------------------------

void Bench::run_in_parallel(const Runtime& runtime, int at_once) {
  const std::string operation = "run, " + std::to_string(at_once) + " at once";
  std::map<pid_t, double> running;
  int left = options_.rounds;
  int failed = 0;
  double began = now_us();
  while (left > 0 || !running.empty()) {
    while (left > 0 && running.size() < static_cast<size_t>(at_once)) {
      Spawned spawned = spawn(run_command(runtime), {});
      running[spawned.pid] = spawned.began;
      --left;
    }
    int status = 0;
    pid_t pid = waitpid(-1, &status, 0);
    auto found = running.find(pid);
    if (found == running.end()) continue;  // an orphan that came to us
    bool succeeded = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (succeeded) samples_.add(operation, runtime.name, now_us() - found->second);
    failed += !succeeded;
    running.erase(found);
  }
  double seconds = (now_us() - began) / 1e6;
  printf("%-26s %-18s %9.1f containers/s%s\n", operation.c_str(), runtime.name.c_str(),
         options_.rounds / seconds,
         failed ? (", " + std::to_string(failed) + " failed").c_str() : "");
}

void Bench::measure_parallel() {
  printf("\n");
  for (int at_once : {1, 8}) {
    for (const Runtime& runtime : runtimes_) {
      run_in_parallel(runtime, at_once);
      settle();
    }
  }
}

// --- many live containers ------------------------------------------------------------------------

bool Bench::start_sleeper(const Runtime& runtime, const std::string& id, double* created,
                          double* started) {
  Outcome create = run(command(runtime, {"create", "--bundle", sleep_bundle, id}));
  Outcome start = run(command(runtime, {"start", id}));
  *created = create.microseconds;
  *started = start.microseconds;
  return create.succeeded && start.succeeded;
}

void Bench::end_sleeper(const Runtime& runtime, const std::string& id) {
  run(command(runtime, {"delete", "--force", id}));
}

// Before, with, and after: the mean of before and after takes out what drifts meanwhile. The floor
// runs in the same rounds, so that what the kernel itself does more slowly can be told from what we
// do.
void Bench::measure_with_many_live(const Runtime& runtime) {
  const std::string what = std::to_string(options_.live) + " live";
  auto block = [&](const std::string& name) {
    const std::string operation = "create+start, " + name;
    for (int i = 0; i < std::max(options_.rounds / 2, 5); ++i) {
      const std::string id = next_id();
      double created = 0, started = 0;
      if (start_sleeper(runtime, id, &created, &started)) {
        samples_.add(operation, runtime.name, created + started);
      }
      end_sleeper(runtime, id);
      settle();
      if (floor_) measure(operation, "floor", floor_command());
      settle();
    }
  };
  block("none live");
  std::vector<std::string> live;
  int failed = 0;
  for (int i = 0; i < options_.live; ++i) {
    double created, started;
    live.push_back(next_id());
    if (!start_sleeper(runtime, live.back(), &created, &started)) ++failed;
  }
  settle();
  block(what);
  for (const std::string& id : live) end_sleeper(runtime, id);
  settle();
  block("after these");
  auto change = [&](auto figure) {
    const std::string operation = "create+start, ";
    return figure(operation + what) /
           ((figure(operation + "none live") + figure(operation + "after these")) / 2);
  };
  double plain =
      change([&](const std::string& name) { return samples_.summary(name, runtime.name).p50; });
  // Against the floor of the same round, the rest of the machine cancels out.
  double ratio = floor_ ? change([&](const std::string& name) {
    return samples_.paired_ratio(name, runtime.name, "floor");
  })
                        : plain;
  char measured[120];
  snprintf(measured, sizeof measured, "%s: x %.2f (against the floor x %.2f), %d failed",
           runtime.name.c_str(), plain, ratio, failed);
  found_.push_back({.what = what + ": create+start median the same (x 1.10)",
                    .measured = measured,
                    .known = true,
                    .met = failed == 0 && std::min(plain, ratio) <= live_tolerance});
}

// --- nothing is left -----------------------------------------------------------------------------

void Bench::measure_leaks(const Runtime& runtime) {
  run(run_command(runtime));  // what a first start makes for good, such as caches, is there now
  settle();
  usleep(100'000);
  Census before = take_census(runtime.state);
  int failed = 0;
  for (int i = 0; i < options_.leaks; ++i) {
    if (i % 2) {
      failed += !run(run_command(runtime)).succeeded;
      continue;
    }
    const std::string id = next_id();
    double created, started;
    failed += !start_sleeper(runtime, id, &created, &started);
    end_sleeper(runtime, id);
    reap_orphans();
  }
  Census after = take_census(runtime.state);
  double deadline = now_us() + census_wait_us;
  while (!(after == before) && now_us() < deadline) {
    usleep(50'000);
    after = take_census(runtime.state);
  }
  printf("\ncensus before: %s\ncensus after:  %s\n", to_text(before).c_str(),
         to_text(after).c_str());
  char measured[120];
  snprintf(measured, sizeof measured, "%s: %s, %d failed", runtime.name.c_str(),
           after == before ? "nothing left" : "differs", failed);
  found_.push_back({.what = std::to_string(options_.leaks) + " starts and stops leave nothing",
                    .measured = measured,
                    .known = true,
                    .met = after == before && failed == 0});
}

// --- what must be reached ------------------------------------------------------------------------

Target Bench::ratio_target(const std::string& what, const std::string& operation,
                           const std::string& reference, double limit) const {
  Target target{.what = what, .measured = "-"};
  if (!samples_.has(operation, "nacelle-oci") || !samples_.has(operation, reference)) return target;
  double ratio =
      samples_.summary(operation, "nacelle-oci").p50 / samples_.summary(operation, reference).p50;
  char measured[80];
  snprintf(measured, sizeof measured, "%.2f x %s (paired %.2f)", ratio, reference.c_str(),
           samples_.paired_ratio(operation, "nacelle-oci", reference));
  target.measured = measured;
  target.known = true;
  target.met = ratio <= limit;
  return target;
}

std::vector<Target> Bench::targets() const {
  std::vector<Target> all;
  all.push_back(ratio_target("run median at most 0.45 x crun's", "run", "crun", 0.45));
  all.push_back(ratio_target("run median at most 1.6 x the floor's", "run", "floor", 1.6));
  all.push_back(ratio_target("create+start at most 0.45 x crun's", "create+start", "crun", 0.45));
  all.push_back(ratio_target("exec at most 0.4 x crun's", "exec", "crun", 0.4));
  auto limit = [&](const std::string& what, bool known, double value, double most,
                   const char* unit) {
    char measured[80];
    snprintf(measured, sizeof measured, "%.3f %s", value, unit);
    all.push_back({what, known ? measured : "-", known, value <= most});
  };
  const std::string us = "nacelle-oci";
  double start = samples_.summary("start", us).p50 - samples_.summary("process start", us).p50;
  limit("start at most 0.3 ms over process start", samples_.has("start", us), start / 1e3, 0.3,
        "ms");
  limit("state under 1 ms", samples_.has("state", us), samples_.summary("state", us).p50 / 1e3, 1,
        "ms");
  bool cpu_known = own_cpu_.contains(us) && own_cpu_.contains("floor");
  double cpu = cpu_known ? own_cpu_.at(us).p50 - own_cpu_.at("floor").p50 : 0;
  limit("own CPU of run at most the floor's + 0.5 ms", cpu_known, cpu / 1e3, 0.5,
        "ms over the floor");
  bool peak_known = peak_kib_.contains(us) && peak_kib_.at(us) > 0;
  limit("peak memory at most 3 MB", peak_known,
        peak_known ? static_cast<double>(peak_kib_.at(us)) : 0, peak_memory_kib_max, "KiB");
  all.insert(all.end(), found_.begin(), found_.end());
  return all;
}

int Bench::run_all() {
  signal(SIGPIPE, SIG_IGN);
  measure_runs();
  measure_own_cpu();
  measure_lifecycles();
  if (!runtimes_.empty()) measure_parallel();
  measure_peak_memory();
  if (subject()) {
    measure_with_many_live(*subject());
    measure_leaks(*subject());
  }
  printf("\n");
  samples_.print_table();
  bool met = print_targets(targets());
  if (svg_fd_ >= 0) {
    std::string svg = samples_.to_svg("Container starts: " + std::to_string(options_.rounds) +
                                      " interleaved rounds, Docker's config.json");
    if (write(svg_fd_, svg.data(), svg.size()) < 0) printf("cannot write the plot\n");
  }
  bool failed = false;
  for (const auto& [what, count] : failures_) {
    if (count == 0) continue;
    printf("failed %d times: %s\n", count, what.c_str());
    failed |= what.starts_with("nacelle-oci") || what.starts_with("floor");
  }
  // A short run proves that everything works and leaves nothing; it is no measurement.
  if (options_.smoke) return failed || (!found_.empty() && !found_.back().met);
  return failed || (options_.strict && !met);
}

// --- options -------------------------------------------------------------------------------------

// The share of processor time that all processes of the machine used during one second.
double busy_share() {
  auto read_times = [](double* idle) {
    double all = 0;
    double times[8] = {};
    sscanf(read_text("/proc/stat").c_str(), "cpu %lf %lf %lf %lf %lf %lf %lf %lf", &times[0],
           &times[1], &times[2], &times[3], &times[4], &times[5], &times[6], &times[7]);
    for (double time : times) all += time;
    *idle = times[3] + times[4];
    return all;
  };
  double idle_before, idle_after;
  double before = read_times(&idle_before);
  usleep(1'000'000);
  double after = read_times(&idle_after);
  return after > before ? 1 - (idle_after - idle_before) / (after - before) : 0;
}

// Other work disturbs the fastest most: a ratio from a busy machine is not worth much, and is said
// so.
void describe_machine(const Options& options) {
  utsname system;
  uname(&system);
  double busy = busy_share();
  for (int waited = 0; busy > busy_share_max && waited < options.quiet_s; ++waited) {
    busy = busy_share();
  }
  printf("%s %s, %ld processors, %.0f%% busy before the first measurement%s\n", system.sysname,
         system.release, sysconf(_SC_NPROCESSORS_ONLN), busy * 100,
         busy > busy_share_max ? ": NOT QUIET, read the ratios with care" : "");
}

bool exists(const std::string& path) { return access(path.c_str(), X_OK) == 0; }

std::string own_directory() {
  char path[4096] = {};
  if (readlink("/proc/self/exe", path, sizeof path - 1) < 0) return ".";
  return std::string(path, static_cast<size_t>(strrchr(path, '/') - path));
}

constexpr const char* usage_text =
    "usage: startup [options], as root\n"
    "  --rounds N       interleaved rounds per operation (200)\n"
    "  --live N         live containers for the many-live measurement (500)\n"
    "  --leaks N        starts and stops for the census (1000)\n"
    "  --settle-us N    pause after each command, for what the kernel ends later (2000)\n"
    "  --quiet-s N      wait at most so long until the machine has nothing else to do (0)\n"
    "  --only A,B       only these of nacelle-oci, crun, runc\n"
    "  --nacelle PATH   nacelle-oci (of the same build)     --floor PATH, --peak PATH: likewise\n"
    "  --sid DIR        tree with crun and runc, made by tools/peers\n"
    "  --rootfs DIR     busybox tree, made by tools/rootfs\n"
    "  --config FILE    config.json; its process.args are replaced\n"
    "  --svg FILE       write a plot\n"
    "  --strict         exit 1 when a target is missed\n"
    "  --smoke          a few rounds: does everything work, is nothing left\n";

Options parse_options(int count, char** arguments) {
  static const option known[] = {
      {"rounds", 1, nullptr, 'r'},  {"live", 1, nullptr, 'l'},      {"leaks", 1, nullptr, 'k'},
      {"only", 1, nullptr, 'o'},    {"settle-us", 1, nullptr, 't'}, {"nacelle", 1, nullptr, 'n'},
      {"floor", 1, nullptr, 'f'},   {"peak", 1, nullptr, 'p'},      {"sid", 1, nullptr, 's'},
      {"rootfs", 1, nullptr, 'b'},  {"config", 1, nullptr, 'c'},    {"svg", 1, nullptr, 'v'},
      {"quiet-s", 1, nullptr, 'q'}, {"help", 0, nullptr, 'h'},      {"strict", 0, nullptr, 'S'},
      {"smoke", 0, nullptr, 'm'},   {nullptr, 0, nullptr, 0}};
  Options options;
  const std::string here = own_directory();
  options.floor = here + "/floor";
  options.peak = here + "/peak";
  options.nacelle = here + "/../../src/cli/nacelle_oci/nacelle-oci";
  auto number = [&](const char* text, int least) {
    char* end = nullptr;
    long value = strtol(text, &end, 10);
    if (*text == '\0' || *end != '\0' || value < least || value > 1'000'000) {
      die(std::string("not a number in range: ") + text);
    }
    return static_cast<int>(value);
  };
  for (int c; (c = getopt_long(count, arguments, "", known, nullptr)) != -1;) {
    switch (c) {
      case 'r': options.rounds = number(optarg, 1); break;
      case 'l': options.live = number(optarg, 0); break;
      case 'k': options.leaks = number(optarg, 1); break;
      case 't': options.settle_us = number(optarg, 0); break;
      case 'q': options.quiet_s = number(optarg, 0); break;
      case 'o': options.only = optarg; break;
      case 'n': options.nacelle = optarg; break;
      case 'f': options.floor = optarg; break;
      case 'p': options.peak = optarg; break;
      case 's': options.sid = optarg; break;
      case 'b': options.rootfs = optarg; break;
      case 'c': options.config = optarg; break;
      case 'v': options.svg = optarg; break;
      case 'S': options.strict = true; break;
      case 'm':
        options.smoke = true;
        options.rounds = 3;
        options.live = 5;
        options.leaks = 10;
        break;
      case 'h': fputs(usage_text, stdout); exit(0);
      default: fputs(usage_text, stderr); exit(2);
    }
  }
  if (optind != count) {
    fputs(usage_text, stderr);
    exit(2);
  }
  return options;
}

void print_version(const Runtime& runtime) {
  fflush(stdout);
  FILE* output = popen((runtime.path + " --version").c_str(), "re");
  char line[120] = {};
  if (output && fgets(line, sizeof line, output)) printf("%s: %s", runtime.name.c_str(), line);
  if (output) {
    while (fgetc(output) != EOF) {
    }
    pclose(output);
  }
}

bool wanted(const Options& options, const std::string& name) {
  return options.only.empty() ||
         ("," + options.only + ",").find("," + name + ",") != std::string::npos;
}

}  // namespace

int main_with(int count, char** arguments) {
  Options options = parse_options(count, arguments);
  if (getuid() != 0) die("needs root");
  FixtureOptions fixture;
  fixture.rootfs = options.rootfs;
  if (!exists(options.rootfs + "/bin/true")) die("no " + options.rootfs + ": run tools/rootfs");
  fixture.config = read_text(options.config);
  if (fixture.config.empty()) die("cannot read " + options.config);
  bool sid = exists(options.sid + "/usr/bin");
  fixture.root = sid ? options.sid : "/";

  std::vector<Runtime> runtimes;
  auto missing = [](const std::string& what) { printf("missing: %s\n", what.c_str()); };
  if (exists(options.nacelle)) {
    fixture.programs.emplace_back("nacelle-oci", options.nacelle);
    if (wanted(options, "nacelle-oci")) {
      runtimes.push_back({"nacelle-oci", "/tmp/bin/nacelle-oci", "/tmp/state/nacelle-oci"});
    }
  } else {
    missing("nacelle-oci at " + options.nacelle);
  }
  for (const std::string name : {"crun", "runc"}) {
    std::string found;
    for (const char* directory : {"/usr/bin/", "/usr/sbin/"}) {
      if (sid && exists(options.sid + directory + name)) found = directory + name;
    }
    if (found.empty()) {
      missing(name + " in " + options.sid + ": run tools/peers");
    } else if (wanted(options, name)) {
      runtimes.push_back({name, found, "/tmp/state/" + name});
    }
  }
  bool floor = exists(options.floor);
  if (floor) {
    fixture.programs.emplace_back("floor", options.floor);
  } else {
    missing("floor at " + options.floor);
  }
  if (!exists(options.peak)) die("no " + options.peak);
  fixture.programs.emplace_back("peak", options.peak);
  int svg = options.svg.empty()
                ? -1
                : open(options.svg.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (!options.svg.empty() && svg < 0) die("cannot write " + options.svg);
  return run_in_fixture(fixture, [&] {
    for (const Runtime& runtime : runtimes) {
      if (mkdir(runtime.state.c_str(), 0755) < 0) die("mkdir " + runtime.state);
    }
    describe_machine(options);
    for (const Runtime& runtime : runtimes) print_version(runtime);
    return Bench(options, runtimes, floor, svg).run_all();
  });
}

}  // namespace nacelle::startup

int main(int count, char** arguments) { return nacelle::startup::main_with(count, arguments); }
