#include "quantize/quantize.h"

#include "quantize/rtn.h"

namespace edgecompress {
namespace {

// One overload per alternative: a method without one does not compile.
struct Quantizer {
  std::span<const float> weight;
  std::int64_t rows;
  std::int64_t columns;
  const QuantScheme& scheme;
  int num_threads;

  QuantizedMatrix operator()(const RtnOptions& options) const {
    return quantize_rtn(weight, rows, columns, scheme, options, num_threads);
  }
};

}  // namespace

QuantizedMatrix quantize(std::span<const float> weight, std::int64_t rows, std::int64_t columns,
                         const QuantScheme& scheme, const QuantizeMethod& method, int num_threads) {
  return std::visit(Quantizer{weight, rows, columns, scheme, num_threads}, method);
}

}  // namespace edgecompress
