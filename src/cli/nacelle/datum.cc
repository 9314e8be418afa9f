#include "cli/nacelle/datum.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "base/text.h"
#include "codec/json.h"

namespace nacelle::cli {

namespace json = codec::json;

namespace {

const Datum nothing;

Result<Datum> read(const json::Value& value) {
  switch (value.type()) {
    case json::Type::Null: return Datum();
    case json::Type::Bool: return Datum(TRY(value.boolean()));
    case json::Type::String: return Datum(TRY(value.string()));
    // The digits as they stand there: there are 64-bit counters without a sign, and no arithmetic.
    case json::Type::Number: return Datum::digits(value.raw());
    case json::Type::Array: {
      Datum array = Datum::array();
      for (const json::Value element : TRY(value.array())) array.push(TRY(read(element)));
      return array;
    }
    case json::Type::Object: break;
  }
  Datum object = Datum::object();
  for (const auto [key, member] : TRY(value.object())) {
    object.set(TRY(key.string()), TRY(read(member)));
  }
  return object;
}

}  // namespace

Datum::Datum() = default;
Datum::Datum(const Datum&) = default;
Datum::Datum(Datum&&) noexcept = default;
Datum& Datum::operator=(const Datum&) = default;
Datum& Datum::operator=(Datum&&) noexcept = default;
Datum::~Datum() = default;
Datum::Datum(Type type) : type_(type) {}
Datum::Datum(std::string text) : type_(Type::String), text_(std::move(text)) {}
Datum::Datum(std::string_view text) : Datum(std::string(text)) {}
Datum::Datum(const char* text) : Datum(std::string(text)) {}
Datum::Datum(bool yes) : type_(Type::Bool), truth_(yes) {}
Datum::Datum(int64_t number) : type_(Type::Number), text_(cat(number)) {}

Datum Datum::digits(std::string_view digits) {
  Datum datum(Type::Number);
  datum.text_ = digits;
  return datum;
}

Datum Datum::real(double number) {
  Datum datum(Type::Number);
  char text[40];
  std::snprintf(text, sizeof text, "%.15g", number);
  if (std::strtod(text, nullptr) != number) std::snprintf(text, sizeof text, "%.17g", number);
  datum.text_ = text;
  return datum;
}

Result<Datum> Datum::parse(std::string_view text) {
  constexpr size_t bytes_max = 256u << 20;
  const json::Document document =
      TRY(json::Document::parse(text, {.bytes_max = bytes_max, .depth_max = 64}));
  return read(document.root());
}

const Datum* Datum::find(std::string_view key) const {
  const auto found = std::ranges::find(members_, key, &Member::key);
  return found == members_.end() ? nullptr : &found->value;
}

const Datum& Datum::operator[](std::string_view key) const {
  const Datum* found = find(key);
  return found == nullptr ? nothing : *found;
}

const Datum& Datum::operator[](size_t index) const {
  return index < items_.size() ? items_[index] : nothing;
}

int64_t Datum::integer() const {
  if (type_ != Type::Number) return 0;
  if (const auto whole = parse_number<int64_t>(text_)) return *whole;
  // Counters of 64 bits without a sign, such as a limit that is none.
  if (const auto large = parse_number<uint64_t>(text_)) return INT64_MAX;
  return static_cast<int64_t>(number());
}

double Datum::number() const {
  return type_ == Type::Number ? std::strtod(text_.c_str(), nullptr) : 0;
}

bool Datum::is_true() const {
  switch (type_) {
    case Type::Null: return false;
    case Type::Bool: return truth_;
    case Type::Number: return number() != 0;
    case Type::String: return !text_.empty();
    case Type::Array: return !items_.empty();
    case Type::Object: return !members_.empty();
  }
  return false;
}

Datum& Datum::set(std::string_view key, Datum value) {
  type_ = Type::Object;
  const auto found = std::ranges::find(members_, key, &Member::key);
  if (found != members_.end()) {
    found->value = std::move(value);
  } else {
    members_.push_back({std::string(key), std::move(value)});
  }
  return *this;
}

Datum& Datum::push(Datum value) {
  type_ = Type::Array;
  items_.push_back(std::move(value));
  return *this;
}

void Datum::sort_members() { std::ranges::sort(members_, {}, &Member::key); }

void Datum::write(json::Writer& out) const {
  switch (type_) {
    case Type::Null: out.null(); break;
    case Type::Bool: out.value(truth_); break;
    case Type::Number: out.raw(text_); break;
    case Type::String: out.value(std::string_view(text_)); break;
    case Type::Array:
      out.begin_array();
      for (const Datum& each : items_) each.write(out);
      out.end_array();
      break;
    case Type::Object:
      out.begin_object();
      for (const Member& each : members_) {
        out.key(each.key);
        each.value.write(out);
      }
      out.end_object();
      break;
  }
}

std::string Datum::json(std::string_view indent) const {
  json::Writer out(indent);
  write(out);
  return std::move(out).take();
}

}  // namespace nacelle::cli
