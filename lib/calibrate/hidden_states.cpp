#include "calibrate/hidden_states.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <numeric>
#include <string>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "tensor/aten.h"

namespace edgecompress {
namespace {

// Enough to multiply fast; few enough for the allocator to give the same memory again.
constexpr std::int64_t kTokensAtOnce = 2048;

/// A mapping of a file that has no name any more: it goes away with the mapping.
float* map_spill_file(std::uint64_t bytes, const std::filesystem::path& folder) {
  std::string name =
      ((folder.empty() ? std::filesystem::temp_directory_path() : folder) / "edgecompress-XXXXXX")
          .string();
  const auto fail = [&](int error) {
    throw Error(ErrorKind::Io, "F-SPILL",
                concat("cannot keep ", bytes, " bytes of activations in ", name, ": ",
                       std::strerror(error), "; set TMPDIR to a folder with more space"));
  };
  const int descriptor = ::mkstemp(name.data());
  if (descriptor < 0) fail(errno);
  ::unlink(name.c_str());
  const int reserved = ::posix_fallocate(descriptor, 0, static_cast<off_t>(bytes));
  void* const data = reserved == 0
                         ? ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
                         : MAP_FAILED;
  const int error = reserved == 0 ? errno : reserved;
  ::close(descriptor);
  if (data == MAP_FAILED) fail(error);
  return static_cast<float*>(data);
}

}  // namespace

HiddenStates::HiddenStates(std::int64_t count, std::int64_t length, std::int64_t width,
                           const HiddenStateStorage& storage) {
  const auto bytes = static_cast<std::uint64_t>(count * length * width) * sizeof(float);
  in_file_ = bytes > storage.memory_limit_bytes;
  if (!in_file_) {
    states_ = at::empty({count, length, width}, at::kFloat);
    return;
  }
  float* const data = map_spill_file(bytes, storage.spill_folder);
  states_ = at::from_blob(
      data, {count, length, width}, [bytes](void* mapping) { ::munmap(mapping, bytes); },
      at::kFloat);
}

std::uint64_t HiddenStates::bytes(const HiddenStates& like, std::int64_t width) {
  return static_cast<std::uint64_t>(like.count() * like.length() * width) * sizeof(float);
}

HiddenStates::HiddenStates(const HiddenStates& like, std::int64_t width,
                           const HiddenStateStorage& storage)
    : HiddenStates(like.count(), like.length(), width, storage) {
  lengths_ = like.lengths_;
}

HiddenStates::HiddenStates(const TokenWindows& windows, const StoredMatrix& embedding,
                           const HiddenStateStorage& storage)
    : HiddenStates(windows.count, windows.length, matrix_shape(embedding).in_features, storage) {
  lengths_ = windows.lengths;
  const auto width = static_cast<std::size_t>(hidden_size());
  float* row = states_.data_ptr<float>();
  for (const std::int32_t id : windows.ids) {
    read_rows(embedding, id, id + 1, {row, width});
    row += width;
  }
}

HiddenStates::HiddenStates(const TokenWindows& windows, const at::Tensor& embedding,
                           const HiddenStateStorage& storage)
    : HiddenStates(windows.count, windows.length, embedding.size(1), storage) {
  lengths_ = windows.lengths;
  const float* const table = embedding.data_ptr<float>();
  float* row = states_.data_ptr<float>();
  for (const std::int32_t id : windows.ids) {
    row = std::copy_n(table + id * hidden_size(), hidden_size(), row);
  }
}

at::Tensor HiddenStates::without_padding(std::int64_t begin, std::int64_t end,
                                         const at::Tensor& values) const {
  if (lengths_.empty()) return values.flatten(0, 1);
  std::vector<at::Tensor> tokens;
  for (std::int64_t i = begin; i < end; ++i) {
    tokens.push_back(values.select(0, i - begin).narrow(0, 0, tokens_of(i)));
  }
  return at::cat(tokens);
}

std::int64_t HiddenStates::tokens_of(std::int64_t window) const {
  return lengths_.empty() ? length() : lengths_[static_cast<std::size_t>(window)];
}

std::int64_t HiddenStates::num_tokens() const {
  if (lengths_.empty()) return count() * length();
  return std::accumulate(lengths_.begin(), lengths_.end(), std::int64_t{0});
}

void HiddenStates::release(std::int64_t begin, std::int64_t end) {
  if (!in_file_) return;
  const at::Tensor part = states_.slice(0, begin, end);
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<std::uintptr_t>(part.data_ptr()) / page * page;
  const auto last = reinterpret_cast<std::uintptr_t>(part.data_ptr()) + part.nbytes();
  ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

std::int64_t windows_at_once(std::int64_t length) {
  return std::max<std::int64_t>(1, kTokensAtOnce / length);
}

void for_each_piece(
    HiddenStates& states, at::Device device,
    const std::function<void(std::int64_t, std::int64_t, const at::Tensor&)>& body) {
  const std::int64_t step = windows_at_once(states.length());
  for (std::int64_t begin = 0; begin < states.count(); begin += step) {
    const std::int64_t end = std::min(begin + step, states.count());
    body(begin, end, states.windows(begin, end).to(device));
    states.release(begin, end);
  }
}

void advance(HiddenStates& states, const BlockWeights& block, const RotaryTable& rotary,
             const ComputeTarget& target) {
  for_each_piece(states, target.device,
                 [&](std::int64_t begin, std::int64_t end, const at::Tensor& input) {
                   states.windows(begin, end).copy_(block_forward(block, rotary, input, {}));
                 });
}

void observe(HiddenStates& states, const BlockWeights& block, const RotaryTable& rotary,
             const ComputeTarget& target, const InputObserver& observer) {
  for_each_piece(states, target.device, [&](std::int64_t, std::int64_t, const at::Tensor& input) {
    block_forward(block, rotary, input, observer);
  });
}

}  // namespace edgecompress
