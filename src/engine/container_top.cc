#include "engine/container_top.h"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "engine/container_state.h"
#include "sys/cgroup.h"
#include "sys/file.h"

namespace nacelle::engine {

namespace {

constexpr size_t proc_bytes_max = 1u << 20;
constexpr size_t names_bytes_max = 4u << 20;

struct KnownField {
  std::string_view name, title;
  TopField field;
};
constexpr KnownField known_fields[] = {
    {"pid", "PID", TopField::Pid},
    {"tgid", "TGID", TopField::Pid},
    {"ppid", "PPID", TopField::ParentPid},
    {"uid", "UID", TopField::Uid},
    {"euid", "EUID", TopField::Uid},
    {"user", "USER", TopField::User},
    {"euser", "EUSER", TopField::User},
    {"uname", "USER", TopField::User},
    {"gid", "GID", TopField::Gid},
    {"egid", "EGID", TopField::Gid},
    {"group", "GROUP", TopField::Group},
    {"egroup", "EGROUP", TopField::Group},
    {"cmd", "CMD", TopField::Command},
    {"args", "COMMAND", TopField::Command},
    {"command", "COMMAND", TopField::Command},
    {"comm", "COMMAND", TopField::Name},
    {"ucmd", "CMD", TopField::Name},
    {"ucomm", "COMMAND", TopField::Name},
    {"pcpu", "%CPU", TopField::CpuPercent},
    {"%cpu", "%CPU", TopField::CpuPercent},
    {"c", "C", TopField::CpuOld},
    {"pmem", "%MEM", TopField::MemoryPercent},
    {"%mem", "%MEM", TopField::MemoryPercent},
    {"vsz", "VSZ", TopField::VirtualKib},
    {"vsize", "VSZ", TopField::VirtualKib},
    {"rss", "RSS", TopField::ResidentKib},
    {"rssize", "RSS", TopField::ResidentKib},
    {"etime", "ELAPSED", TopField::Elapsed},
    {"time", "TIME", TopField::Time},
    {"cputime", "TIME", TopField::Time},
    {"stime", "STIME", TopField::StartTime},
    {"start", "STARTED", TopField::StartTime},
    {"start_time", "START", TopField::StartTime},
    {"tty", "TT", TopField::Terminal},
    {"tt", "TT", TopField::Terminal},
    {"tname", "TTY", TopField::Terminal},
    {"s", "S", TopField::State},
    {"state", "S", TopField::State},
    {"stat", "STAT", TopField::StateLong},
    {"ni", "NI", TopField::Nice},
    {"nice", "NI", TopField::Nice},
    {"pri", "PRI", TopField::Priority},
    {"nlwp", "NLWP", TopField::ThreadCount},
    {"thcount", "THCNT", TopField::ThreadCount},
    {"pgid", "PGID", TopField::ProcessGroup},
    {"pgrp", "PGRP", TopField::ProcessGroup},
    {"sid", "SID", TopField::Session},
    {"sess", "SESS", TopField::Session},
    {"wchan", "WCHAN", TopField::WaitChannel},
};

std::vector<TopColumn> full_format() {
  return {{"UID", TopField::User},  {"PID", TopField::Pid},         {"PPID", TopField::ParentPid},
          {"C", TopField::CpuOld},  {"STIME", TopField::StartTime}, {"TTY", TopField::Terminal},
          {"TIME", TopField::Time}, {"CMD", TopField::Command}};
}
std::vector<TopColumn> user_format() {
  return {{"USER", TopField::User},       {"PID", TopField::Pid},
          {"%CPU", TopField::CpuPercent}, {"%MEM", TopField::MemoryPercent},
          {"VSZ", TopField::VirtualKib},  {"RSS", TopField::ResidentKib},
          {"TTY", TopField::Terminal},    {"STAT", TopField::StateLong},
          {"START", TopField::StartTime}, {"TIME", TopField::Time},
          {"COMMAND", TopField::Command}};
}

Result<> add_fields(std::string_view list, std::vector<TopColumn>& columns) {
  while (!list.empty()) {
    const size_t end = list.find_first_of(", ");
    std::string_view field = list.substr(0, end);
    list = end == std::string_view::npos ? std::string_view() : list.substr(end + 1);
    if (field.empty()) continue;
    const size_t equals = field.find('=');
    const std::string_view name = field.substr(0, equals);
    const auto known = std::ranges::find(known_fields, name, &KnownField::name);
    if (known == std::end(known_fields)) {
      return fail(Kind::Invalid, cat("ps: unknown user-defined format specifier \"", name, "\""));
    }
    columns.push_back(
        {std::string(equals == std::string_view::npos ? known->title : field.substr(equals + 1)),
         known->field});
  }
  return {};
}

}  // namespace

Result<std::vector<TopColumn>> plan_top(std::string_view arguments) {
  std::vector<TopColumn> chosen;
  bool full = false, user = false;
  std::string_view rest = arguments;
  while (!rest.empty()) {
    std::string_view word = take_until(rest, ' ');
    if (word.empty()) continue;
    if (word.starts_with("--format=")) {
      TRY(add_fields(word.substr(9), chosen));
      continue;
    }
    const bool dashed = word.starts_with('-');
    if (dashed) word.remove_prefix(1);
    while (!word.empty()) {
      const char option = word.front();
      word.remove_prefix(1);
      if (option == 'o' || option == 'O') {
        const std::string_view list = word.empty() ? take_until(rest, ' ') : word;
        TRY(add_fields(list, chosen));
        word = {};
      } else if (option == 'f' && dashed) {
        full = true;
      } else if (option == 'u' && !dashed) {
        user = true;
      } else if (!contains(std::string_view("eAaxwlj"), option)) {
        return fail(Kind::Invalid,
                    cat("ps: unsupported option '", option, "' in '", arguments, "'"));
      }
    }
  }
  if (chosen.empty()) chosen = user ? user_format() : full_format();
  (void)full;  // is what there is without it, too
  if (!contains(chosen, TopField::Pid, &TopColumn::field)) {
    return fail(Kind::Invalid, "Couldn't find PID field in ps output");
  }
  return chosen;
}

namespace {

// The fields of /proc/<pid>/stat behind the name, by their numbers in proc(5), from 3 on.
class Stat {
 public:
  static Result<Stat> read(int pid) {
    Stat stat;
    stat.text_ = TRY(sys::read_file_at(sys::working_directory, cat("/proc/", pid, "/stat").c_str(),
                                       proc_bytes_max));
    const size_t open = stat.text_.find('('), close = stat.text_.rfind(')');
    if (open == std::string::npos || close == std::string::npos || close < open) {
      return fail(Kind::Internal, "/proc/PID/stat is not as proc(5) says");
    }
    stat.name_ = stat.text_.substr(open + 1, close - open - 1);
    std::string_view rest =
        std::string_view(stat.text_).substr(std::min(close + 2, stat.text_.size()));
    while (!rest.empty()) stat.fields_.emplace_back(take_until(rest, ' '));
    return stat;
  }
  std::string text(size_t number) const {
    return number - 3 < fields_.size() ? fields_[number - 3] : std::string();
  }
  int64_t number(size_t at) const { return parse_number<int64_t>(text(at)).value_or(0); }
  const std::string& name() const { return name_; }

 private:
  std::string text_, name_;
  std::vector<std::string> fields_;
};

std::string two_digits(int64_t number) { return cat(number < 10 ? "0" : "", number); }

std::string clock_text(int64_t seconds, bool short_form) {
  const int64_t days = seconds / 86400, hours = seconds / 3600 % 24, minutes = seconds / 60 % 60;
  std::string text = days > 0 ? cat(days, '-') : "";
  if (!short_form || days > 0 || hours > 0) text += cat(two_digits(hours), ':');
  return text + cat(two_digits(minutes), ':', two_digits(seconds % 60));
}

// A number's name in /etc/passwd or /etc/group of the host; itself where there is none.
std::string name_of(const char* file, std::string_view number) {
  const auto text = sys::read_file_at(sys::working_directory, file, names_bytes_max);
  std::string_view rest = text ? std::string_view(*text) : std::string_view();
  while (!rest.empty()) {
    std::string_view line = take_until(rest, '\n');
    const std::string_view name = take_until(line, ':');
    take_until(line, ':');
    if (take_until(line, ':') == number) return std::string(name);
  }
  return std::string(number);
}

std::string terminal_of(int64_t device) {
  if (device == 0) return "?";
  const unsigned number = static_cast<unsigned>(device);
  const unsigned device_major = major(number), device_minor = minor(number);
  if (device_major >= 136 && device_major <= 143) {
    return cat("pts/", (device_major - 136) * 256 + device_minor);
  }
  if (device_major == 4) return cat("tty", device_minor);
  return cat(device_major, '/', device_minor);
}

struct Process {
  Stat stat;
  std::string status, command;

  // The second word of "Uid:\t0\t0\t0\t0" (the effective one).
  std::string effective(std::string_view key) const {
    std::string_view rest = status;
    while (!rest.empty()) {
      std::string_view line = take_until(rest, '\n');
      if (take_until(line, '\t') != key) continue;
      take_until(line, '\t');
      return std::string(take_until(line, '\t'));
    }
    return "0";
  }
};

struct Moment {
  int64_t ticks_per_s = ::sysconf(_SC_CLK_TCK);
  int64_t page_kib = ::sysconf(_SC_PAGESIZE) / 1024;
  int64_t memory_kib = ::sysconf(_SC_PHYS_PAGES) * (::sysconf(_SC_PAGESIZE) / 1024);
  timespec boot{}, now{};
  Moment() {
    ::clock_gettime(CLOCK_BOOTTIME, &boot);
    ::clock_gettime(CLOCK_REALTIME, &now);
  }
};

std::string one_decimal(int64_t tenths) { return cat(tenths / 10, '.', tenths % 10); }

std::string start_text(const Moment& moment, int64_t age_s) {
  const time_t started = moment.now.tv_sec - age_s;
  tm then{}, today{};
  ::localtime_r(&started, &then);
  ::localtime_r(&moment.now.tv_sec, &today);
  char text[16];
  const bool same_day = then.tm_year == today.tm_year && then.tm_yday == today.tm_yday;
  return {text, ::strftime(text, sizeof text, same_day ? "%H:%M" : "%b%d", &then)};
}

std::string long_state(const Process& process) {
  std::string text = process.stat.text(3);
  const int64_t nice = process.stat.number(19);
  if (nice < 0) text += '<';
  if (nice > 0) text += 'N';
  if (process.stat.number(6) == parse_number<int64_t>(process.effective("Pid:")).value_or(-1)) {
    text += 's';
  }
  if (process.stat.number(20) > 1) text += 'l';
  if (process.stat.number(8) == process.stat.number(5)) text += '+';
  return text;
}

std::string cell(int pid, const Process& process, TopField field, const Moment& moment) {
  const Stat& stat = process.stat;
  const int64_t cpu_s = (stat.number(14) + stat.number(15)) / moment.ticks_per_s;
  const int64_t age_s =
      std::max<int64_t>(0, moment.boot.tv_sec - stat.number(22) / moment.ticks_per_s);
  const int64_t cpu_tenths =
      age_s == 0 ? 0 : (stat.number(14) + stat.number(15)) * 1000 / moment.ticks_per_s / age_s;
  const int64_t resident_kib = stat.number(24) * moment.page_kib;
  switch (field) {
    case TopField::Pid: return cat(pid);
    case TopField::ParentPid: return stat.text(4);
    case TopField::Uid: return process.effective("Uid:");
    case TopField::User: return name_of("/etc/passwd", process.effective("Uid:"));
    case TopField::Gid: return process.effective("Gid:");
    case TopField::Group: return name_of("/etc/group", process.effective("Gid:"));
    case TopField::Command:
      return process.command.empty() ? cat('[', stat.name(), ']') : process.command;
    case TopField::Name: return stat.name();
    case TopField::CpuPercent: return one_decimal(cpu_tenths);
    case TopField::CpuOld: return cat(cpu_tenths / 10);
    case TopField::MemoryPercent: return one_decimal(resident_kib * 1000 / moment.memory_kib);
    case TopField::VirtualKib: return cat(stat.number(23) / 1024);
    case TopField::ResidentKib: return cat(resident_kib);
    case TopField::Elapsed: return clock_text(age_s, true);
    case TopField::Time: return clock_text(cpu_s, false);
    case TopField::StartTime: return start_text(moment, age_s);
    case TopField::Terminal: return terminal_of(stat.number(7));
    case TopField::State: return stat.text(3);
    case TopField::StateLong: return long_state(process);
    case TopField::Nice: return stat.text(19);
    case TopField::Priority: return cat(39 - stat.number(18));
    case TopField::ThreadCount: return stat.text(20);
    case TopField::ProcessGroup: return stat.text(5);
    case TopField::Session: return stat.text(6);
    case TopField::WaitChannel: return "-";
  }
  return {};
}

}  // namespace

Result<std::vector<std::string>> read_top_row(int pid, const std::vector<TopColumn>& columns) {
  const auto read = [pid](const char* file) {
    return sys::read_file_at(sys::working_directory, cat("/proc/", pid, '/', file).c_str(),
                             proc_bytes_max);
  };
  Process process{
      .stat = TRY(Stat::read(pid)), .status = TRY(read("status")), .command = TRY(read("cmdline"))};
  while (process.command.ends_with('\0')) process.command.pop_back();
  std::ranges::replace_if(process.command, [](char c) { return c == '\0' || c == '\n'; }, ' ');
  const Moment moment;
  std::vector<std::string> row;
  for (const TopColumn& column : columns) row.push_back(cell(pid, process, column.field, moment));
  return row;
}

ring::Task<Containers::Top> Containers::top(std::string text, std::string ps_arguments) {
  const EntryRef entry = co_await state_->find(std::move(text));
  const Container& container = entry->container;
  if (container.state.phase == Phase::Restarting) {
    co_await fail(Kind::Conflict, cat("Container ", container.id,
                                      " is restarting, wait until the container is running"));
  }
  if (!is_up(container)) {
    co_await fail(Kind::Conflict, cat("container ", container.id, " is not running"));
  }
  const std::vector<TopColumn> columns = co_await plan_top(ps_arguments);
  const Fd group = co_await sys::open_at(sys::working_directory, container.cgroup.c_str(),
                                         O_RDONLY | O_DIRECTORY);
  std::vector<pid_t> pids = co_await sys::list_cgroup_pids(group);
  std::ranges::sort(pids);
  Top top;
  for (const TopColumn& column : columns) top.titles.push_back(column.title);
  for (const pid_t pid : pids) {
    // One that has just ended is not there any more.
    if (auto row = read_top_row(pid, columns)) top.processes.push_back(*std::move(row));
  }
  co_return top;
}

}  // namespace nacelle::engine
