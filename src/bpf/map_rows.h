// All rows of a map, read in batches.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "nacelle/fd.h"
#include "nacelle/result.h"
#include "sys/bpf.h"

namespace nacelle::bpf {

inline constexpr uint32_t batch_rows = 256;

// Calls `visit(key, values)` for each row; `values` points to `per_row` of them, which is 1, or the
// number of possible CPUs where a map has a value for each. Rows must not be deleted meanwhile: a
// trie goes on from the beginning behind one that is not there.
template <class Key, class Value, class Visit>
Result<> for_each_row(const Fd& map, size_t per_row, Visit&& visit) {
  std::vector<Key> keys(batch_rows);
  std::vector<Value> values(batch_rows * per_row);
  Key position{};
  sys::BpfBatch batch{.to = &position, .keys = keys.data(), .values = values.data()};
  for (bool more = true; more; batch.from = &position) {
    batch.count = batch_rows;
    more = TRY(sys::read_map_batch(map, batch));
    for (uint32_t row = 0; row < batch.count; ++row) visit(keys[row], &values[row * per_row]);
  }
  return {};
}

}  // namespace nacelle::bpf
