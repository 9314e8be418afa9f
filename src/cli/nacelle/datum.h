// A JSON value that can be copied, changed and asked without ceremony: what the engine answers, and
// what --format templates are executed on. A part that is missing is a null, as deep as one asks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "codec/json_writer.h"
#include "nacelle/result.h"

namespace nacelle::cli {

class Datum {
 public:
  enum class Type : uint8_t { Null, Bool, Number, String, Array, Object };
  struct Member;

  Datum();
  Datum(const Datum&);
  Datum(Datum&&) noexcept;
  Datum& operator=(const Datum&);
  Datum& operator=(Datum&&) noexcept;
  ~Datum();
  Datum(std::string text);
  Datum(std::string_view text);
  Datum(const char* text);
  explicit Datum(bool yes);
  explicit Datum(int64_t number);
  static Datum real(double number);
  static Datum digits(std::string_view digits);  // a number as JSON has it
  static Datum array() { return Datum(Type::Array); }
  static Datum object() { return Datum(Type::Object); }
  static Result<Datum> parse(std::string_view json);

  Type type() const { return type_; }
  bool is_null() const { return type_ == Type::Null; }
  // The member or element; a null where there is none.
  const Datum& operator[](std::string_view key) const;
  const Datum& operator[](size_t index) const;
  const Datum* find(std::string_view key) const;
  // Elements of an array; none of anything else.
  const std::vector<Datum>& items() const { return items_; }
  const std::vector<Member>& members() const { return members_; }

  // What a string says, and a number in digits; "" for the rest.
  const std::string& text() const { return text_; }
  int64_t integer() const;
  double number() const;
  bool boolean() const { return type_ == Type::Bool && truth_; }
  // As Go's templates see it: nothing, zero and empty are false.
  bool is_true() const;

  Datum& set(std::string_view key, Datum value);  // replaces
  Datum& push(Datum value);
  void sort_members();

  void write(codec::json::Writer& json) const;
  std::string json(std::string_view indent = {}) const;

 private:
  explicit Datum(Type type);

  Type type_ = Type::Null;
  bool truth_ = false;
  std::string text_;
  std::vector<Datum> items_;
  std::vector<Member> members_;
};

struct Datum::Member {
  std::string key;
  Datum value;
};

}  // namespace nacelle::cli
