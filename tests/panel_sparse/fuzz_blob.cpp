// Opens changed sparse matrices and multiplies with those that are accepted, for a number of
// seconds. Meant for a build with AddressSanitizer and UndefinedBehaviorSanitizer, which end the
// program at the first read outside a blob.
//
//   fuzz_panel_sparse [seconds = 60] [seed = 1]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "panel_sparse/multiply.h"
#include "random_matrix.h"

namespace {

using namespace edgecompress;
using Blob = std::vector<std::uint8_t>;

constexpr std::uint64_t kEdges[] = {0,   1,   63,  64,         65,         127,
                                    128, 255, 256, 0x7FFFFFFF, ~0ULL >> 1, ~0ULL};

/// One change: a bit, a byte, an edge value over four or eight bytes, a piece copied elsewhere, or
/// another length. Half of all changes hit the header and the starts, which say what is read.
void change(Blob& blob, std::mt19937_64& random) {
  const std::size_t end = random() % 2 == 0 ? std::min<std::size_t>(128, blob.size()) : blob.size();
  const std::size_t at = random() % end;
  const std::size_t room = blob.size() - at;
  switch (random() % 6) {
    case 0:
      blob[at] ^= static_cast<std::uint8_t>(1U << random() % 8);
      break;
    case 1:
      blob[at] = static_cast<std::uint8_t>(random());
      break;
    case 2:
    case 3: {
      const std::uint64_t value = kEdges[random() % std::size(kEdges)];
      std::memcpy(blob.data() + at, &value, std::min<std::size_t>(room, random() % 2 == 0 ? 4 : 8));
      break;
    }
    case 4: {
      const std::size_t from = random() % blob.size();
      std::memmove(blob.data() + at, blob.data() + from,
                   std::min({room, blob.size() - from, std::size_t{1} + random() % 64}));
      break;
    }
    default:
      blob.resize(1 + random() % (blob.size() + 64));
  }
}

void multiply_all(const PanelSparseView& view) {
  for (const std::int64_t tokens : {1, 3, 17}) {
    const std::vector<float> x(static_cast<std::size_t>(tokens * view.columns), 0.5F);
    std::vector<float> y(static_cast<std::size_t>(tokens * view.rows));
    for (const InstructionSet set : supported_instruction_sets()) {
      multiply_panel_sparse(view, set, x, y);
      multiply_exact(view, kernels_for(set), x, 0, view.panels, y);
    }
  }
}

}  // namespace

int main(int count, char** values) {
  const int seconds = count > 1 ? std::atoi(values[1]) : 60;
  std::mt19937_64 random(count > 2 ? std::strtoull(values[2], nullptr, 10) : 1);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  const std::vector<PanelSparseForm> forms = all_forms();
  long long accepted = 0;
  long long refused = 0;
  while (std::chrono::steady_clock::now() < end) {
    const PanelSparseForm& form = forms[random() % forms.size()];
    const Blob whole =
        random_matrix(form, 1 + static_cast<std::int64_t>(random() % 40),
                      1 + static_cast<std::int64_t>(random() % (2 * form.group)),
                      static_cast<double>(random() % 5) / 4, static_cast<std::uint32_t>(random()))
            .pack();
    for (int round = 0; round < 50; ++round) {
      Blob blob = whole;
      const int changes = 1 + static_cast<int>(random() % 4);
      for (int i = 0; i < changes; ++i) change(blob, random);
      blob.shrink_to_fit();  // so that the sanitizer knows where it ends
      try {
        multiply_all(open_panel_sparse(blob));
        ++accepted;
      } catch (const Error&) {
        ++refused;
      }
    }
  }
  std::printf("%lld changed matrices refused, %lld multiplied with\n", refused, accepted);
  return accepted > 0 && refused > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
