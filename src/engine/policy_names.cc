#include "engine/policy_names.h"

#include <netinet/in.h>
#include <resolv.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

#include "base/text.h"
#include "ring/blocking.h"
#include "sys/clock.h"

namespace nacelle::engine {
namespace {

constexpr size_t answer_bytes_max = 16u << 10, addresses_max = 256;
constexpr uint32_t ttl_s_min = 2, ttl_s_max = 3600, ttl_s_failed = 10;
constexpr int64_t ns_per_s = 1'000'000'000;
// How much longer than its TTL an address that a name no longer has is still its own.
constexpr int64_t grace_s = 60;
constexpr int type_a = 1, class_in = 1;  // RFC 1035
constexpr int type_aaaa = 28;            // RFC 3596

Result<std::string> ask_servers(const std::string& name, int type) {
  struct __res_state state{};
  if (::res_ninit(&state) != 0) return fail(Kind::Unavailable, "res_ninit: no resolv.conf");
  state.retry = 2;
  state.retrans = 2;
  std::string answer(answer_bytes_max, '\0');
  const int length = ::res_nquery(&state, name.c_str(), class_in, type,
                                  reinterpret_cast<unsigned char*>(answer.data()),
                                  static_cast<int>(answer.size()));
  const int trouble = state.res_h_errno;
  ::res_nclose(&state);
  if (length < 0) {
    const char* const why = trouble == 1   ? "there is no such name"
                            : trouble == 4 ? "it has no address"
                                           : "no server of names has answered";
    return fail(trouble == 1 || trouble == 4 ? Kind::NotFound : Kind::Unavailable,
                cat("name ", name, ": ", why));
  }
  answer.resize(std::min(answer.size(), static_cast<size_t>(length)));
  return answer;
}

// Addresses of both families, or why there are none.
Result<NameAnswer> ask_for_addresses(const std::string& name) {
  NameAnswer both{.addresses = {}, .ttl_s = ttl_s_max};
  Result<> first;
  for (const int type : {type_a, type_aaaa}) {
    const Result<std::string> said = ask_servers(name, type);
    Result<NameAnswer> answer = said ? parse_name_answer(*said) : std::unexpected(said.error());
    if (answer) {
      both.ttl_s = std::min(both.ttl_s, answer->ttl_s);
      both.addresses.insert(both.addresses.end(), answer->addresses.begin(),
                            answer->addresses.end());
    } else if (first) {
      first = std::unexpected(std::move(answer).error());
    }
  }
  if (both.addresses.empty() && !first) return std::unexpected(std::move(first).error());
  // Who has the one and could not be asked for the other is asked again soon.
  if (!first) both.ttl_s = std::min(both.ttl_s, ttl_s_failed);
  return both;
}

// A message of DNS, read from its beginning to its end. Names in it are passed over.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  Result<uint32_t> number(size_t bytes) {
    uint32_t value = 0;
    for (const char c : TRY(take(bytes))) value = value << 8 | static_cast<unsigned char>(c);
    return value;
  }
  Result<std::string_view> take(size_t bytes) {
    if (bytes > rest_.size()) return fail(Kind::Invalid, "an answer of DNS that is cut short");
    const std::string_view taken = rest_.substr(0, bytes);
    rest_.remove_prefix(bytes);
    return taken;
  }
  // Labels up to the empty one, or to a reference to where the rest was before.
  Result<> skip_name() {
    for (;;) {
      const uint32_t length = TRY(number(1));
      if (length == 0) return {};
      if (length >= 0xc0) return number(1) ? Result<>() : fail(Kind::Invalid, "a cut name");
      if (length >= 0x40) return fail(Kind::Invalid, "a label of an unknown kind");
      TRY(take(length));
    }
  }

 private:
  std::string_view rest_;
};

}  // namespace

Result<NameAnswer> parse_name_answer(std::string_view message) {
  Reader reader(message);
  TRY(reader.take(4));  // id, flags
  const uint32_t questions = TRY(reader.number(2)), answers = TRY(reader.number(2));
  TRY(reader.take(4));
  for (uint32_t left = questions; left > 0; --left) {
    TRY(reader.skip_name());
    TRY(reader.take(4));
  }
  NameAnswer answer{.addresses = {}, .ttl_s = ttl_s_max};
  for (uint32_t left = answers; left > 0; --left) {
    TRY(reader.skip_name());
    const uint32_t type = TRY(reader.number(2)), of_class = TRY(reader.number(2));
    // A CNAME on the way counts with its own TTL.
    answer.ttl_s = std::min(answer.ttl_s, TRY(reader.number(4)));
    const uint32_t length = TRY(reader.number(2));
    Reader data(TRY(reader.take(length)));
    const bool v6 = type == type_aaaa;
    const bool is_address = (type == type_a || v6) && of_class == class_in;
    if (!is_address || length != (v6 ? 16 : 4) || answer.addresses.size() >= addresses_max)
      continue;
    Address address{.number = 0, .v6 = v6};
    for (uint32_t at = 0; at < length; at += 4) {
      address.number = address.number << 32 | TRY(data.number(4));
    }
    answer.addresses.push_back(address);
  }
  std::ranges::sort(answer.addresses);
  answer.addresses.erase(std::ranges::unique(answer.addresses).begin(), answer.addresses.end());
  return answer;
}

PolicyNames::PolicyNames(ring::Loop& loop, std::function<void()> changed)
    : loop_(loop), changed_(std::move(changed)), background_(loop, [](const Error&) {}) {}

void PolicyNames::follow(const std::set<std::string>& names) {
  std::erase_if(names_, [&](const auto& each) { return !names.contains(each.first); });
  for (const std::string& name : names) {
    const auto [known, is_new] = names_.try_emplace(name);
    if (!is_new) continue;
    known->second.number = ++watches_;
    background_.start(watch(name, watches_));
  }
}

std::vector<Address> PolicyNames::addresses_of(const std::string& name) const {
  std::vector<Address> all;
  const auto found = names_.find(name);
  if (found == names_.end()) return all;
  for (const auto& [address, until] : found->second.until_ns) all.push_back(address);
  return all;
}

std::string PolicyNames::error_of(const std::string& name) const {
  const auto found = names_.find(name);
  return found == names_.end() ? std::string() : found->second.error;
}

ring::Task<> PolicyNames::first_answers() {
  const auto is_waited_for = [](const auto& each) { return !each.second.answered; };
  while (std::ranges::any_of(names_, is_waited_for)) co_await answered_.wait();
}

// Whether there are other addresses than before.
bool PolicyNames::take(Name& name, const NameAnswer& answer) const {
  const auto now = static_cast<int64_t>(sys::monotonic_ns());
  size_t changes =
      std::erase_if(name.until_ns, [&](const auto& each) { return each.second < now; });
  const uint32_t ttl_s = std::clamp(answer.ttl_s, ttl_s_min, ttl_s_max);
  for (const Address& address : answer.addresses) {
    const auto [known, is_new] = name.until_ns.try_emplace(address, 0);
    known->second = now + (ttl_s + grace_s) * ns_per_s;
    changes += is_new;
  }
  return changes > 0;
}

ring::Task<> PolicyNames::watch(std::string name, uint64_t number) {
  for (;;) {
    const auto said = std::make_shared<NameAnswer>();
    auto ask = [name, said]() -> Result<> {
      *said = TRY(ask_for_addresses(name));
      return {};
    };
    const Result<> asked = co_await ring::as_result(ring::run_blocking(loop_, std::move(ask)));
    if (!asked && asked.error().kind() == Kind::Cancelled) co_return;
    const auto found = names_.find(name);
    // Nobody wants it any more, or another watch has begun since.
    if (found == names_.end() || found->second.number != number) co_return;
    Result<NameAnswer> answer =
        asked ? Result<NameAnswer>(*said) : Result<NameAnswer>(std::unexpected(asked.error()));
    found->second.error = answer ? std::string() : answer.error().message();
    // What it had before stays until its time is over: a server that is down opens and shuts
    // nothing.
    if (!answer) answer = NameAnswer{.addresses = {}, .ttl_s = ttl_s_failed};
    found->second.answered = true;
    const bool changed = take(found->second, *answer);
    answered_.notify_all();
    if (changed) changed_();
    const uint32_t pause_s = std::clamp(answer->ttl_s, ttl_s_min, ttl_s_max);
    co_await ring::sleep_for(loop_, std::chrono::seconds(pause_s));
  }
}

ring::Task<> PolicyNames::close() {
  background_.cancel();
  co_await background_.join();
}

}  // namespace nacelle::engine
