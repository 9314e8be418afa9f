// Types that say once what they consist of, for everything that visits values: a member function
//   template <class V> void describe(V& v) { v("Hostname", hostname); v("Env", env); }
// names each member. codec/json_fields.h reads and writes such a type as a JSON object; with
// `NACELLE_FLAT_FIELDS` codec/flat.h encodes it as well.
#pragma once

namespace nacelle {

// Gives a visitor that takes values only (codec/flat.h) the members without their names.
template <class Visit>
struct WithoutNames {
  Visit& visit;
  template <class T>
  void operator()(const char*, T& value) {
    visit(value);
  }
};

// A type with a describe().
template <class T>
concept Described =
    requires(T& value, WithoutNames<void (*)(...)>& visit) { value.describe(visit); };

}  // namespace nacelle

// Inside a type that has a describe(): its fields() for codec/flat.h.
#define NACELLE_FLAT_FIELDS                      \
  template <class Visit>                         \
  void fields(Visit& visit) {                    \
    ::nacelle::WithoutNames<Visit> names{visit}; \
    describe(names);                             \
  }
