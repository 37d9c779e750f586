#include "stats/hessian.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "tensor/aten.h"
#include "tensor/one_thread.h"
#include "tensor/ordered_sum.h"

namespace edgecompress {
namespace {

// Long enough that adding in double costs little beside the product, short enough for sums in
// float.
constexpr std::int64_t kTileTokens = 1024;
// Rows and columns of a product of a Hessian: small enough to give every thread some, large enough
// to multiply fast. On the diagonal, where half of a block is wasted, blocks go down to the second.
constexpr std::int64_t kProductBlock = 128;
constexpr std::int64_t kSmallestBlock = 32;
// Rows and columns that are transposed together.
constexpr std::int64_t kTransposed = 16;
// Rows that are mirrored together: a strip of columns that stays in the cache.
constexpr std::int64_t kMirrorBlock = 16;

/// Where one of the products lies that a matrix is made of.
struct Block {
  std::int64_t row;
  std::int64_t column;
  std::int64_t rows;
  std::int64_t columns;
};

std::vector<Block> all_blocks(std::int64_t rows, std::int64_t columns) {
  std::vector<Block> blocks;
  for (std::int64_t row = 0; row < rows; row += kProductBlock) {
    for (std::int64_t column = 0; column < columns; column += kProductBlock) {
      blocks.push_back({row, column, std::min(kProductBlock, rows - row),
                        std::min(kProductBlock, columns - column)});
    }
  }
  return blocks;
}

/// The lower triangle of a block on the diagonal: the square below it, and what is left of both
/// halves.
void add_diagonal_blocks(std::int64_t begin, std::int64_t size, std::vector<Block>& blocks) {
  if (size <= kSmallestBlock) {
    blocks.push_back({begin, begin, size, size});
    return;
  }
  const std::int64_t half = (size + 1) / 2;
  blocks.push_back({begin + half, begin, size - half, half});
  add_diagonal_blocks(begin, half, blocks);
  add_diagonal_blocks(begin + half, size - half, blocks);
}

std::vector<Block> lower_blocks(std::int64_t size) {
  std::vector<Block> blocks;
  for (std::int64_t row = 0; row < size; row += kProductBlock) {
    const std::int64_t rows = std::min(kProductBlock, size - row);
    for (std::int64_t column = 0; column < row; column += kProductBlock) {
      blocks.push_back({row, column, rows, kProductBlock});
    }
    add_diagonal_blocks(row, rows, blocks);
  }
  std::stable_sort(blocks.begin(), blocks.end(), [](const Block& a, const Block& b) {
    return a.rows * a.columns > b.rows * b.columns;
  });
  return blocks;
}

at::Tensor per_token(const at::Tensor& sum, std::int64_t tokens) {
  return tokens == 0 ? sum.clone() : sum / static_cast<double>(tokens);
}

/// The symmetric matrix whose lower triangle is that of `sums` over the tokens.
at::Tensor mirrored(const at::Tensor& sums, std::int64_t tokens) {
  const std::int64_t size = sums.size(0);
  const auto divisor = static_cast<double>(std::max<std::int64_t>(tokens, 1));
  at::Tensor out = at::empty_like(sums);
  const double* const from = sums.data_ptr<double>();
  double* const to = out.data_ptr<double>();
  const std::int64_t strips = (size + kMirrorBlock - 1) / kMirrorBlock;
  at::parallel_for(0, strips, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin * kMirrorBlock; row < std::min(end * kMirrorBlock, size); ++row) {
      for (std::int64_t column = 0; column <= row; ++column) {
        to[row * size + column] = from[row * size + column] / divisor;
      }
    }
  });
  at::parallel_for(0, strips, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t strip = begin; strip < end; ++strip) {
      const std::int64_t first = strip * kMirrorBlock;
      const std::int64_t last = std::min(first + kMirrorBlock, size);
      for (std::int64_t column = first; column < size; ++column) {
        for (std::int64_t row = first; row < std::min(last, column); ++row) {
          to[row * size + column] = to[column * size + row];
        }
      }
    }
  });
  return out;
}

/// to [kTransposed, kTransposed] = from transposed, through a buffer so that both sides are copied
/// in whole cache lines.
void transpose_square(const float* from, std::int64_t from_stride, float* to,
                      std::int64_t to_stride) {
  std::array<float, kTransposed * kTransposed> square;  // NOLINT(*-member-init): filled below
  for (std::int64_t i = 0; i < kTransposed; ++i) {
    for (std::int64_t j = 0; j < kTransposed; ++j) {
      square[static_cast<std::size_t>(j * kTransposed + i)] = from[i * from_stride + j];
    }
  }
  for (std::int64_t j = 0; j < kTransposed; ++j) {
    std::copy_n(square.data() + j * kTransposed, kTransposed, to + j * to_stride);
  }
}

/// Copies columns [begin, end) of a tile [tokens, columns] into rows of by_input.
void transpose_columns(const at::Tensor& tile, std::int64_t begin, std::int64_t end,
                       const at::Tensor& by_input) {
  const std::int64_t columns = tile.size(1);
  const std::int64_t stride = by_input.stride(0);
  for (std::int64_t token = 0; token < tile.size(0); token += kTransposed) {
    const std::int64_t tokens = std::min(kTransposed, tile.size(0) - token);
    const float* const from = tile.const_data_ptr<float>() + token * columns + begin;
    float* const to = by_input.data_ptr<float>() + begin * stride + token;
    if (tokens == kTransposed && end - begin == kTransposed) {
      transpose_square(from, columns, to, stride);
      continue;
    }
    for (std::int64_t j = 0; j < end - begin; ++j) {
      for (std::int64_t i = 0; i < tokens; ++i) to[j * stride + i] = from[i * columns + j];
    }
  }
}

/// Sums in an order that the source fixes and the compiler can vectorize.
double sum_of(const float* values, std::int64_t count) {
  constexpr std::int64_t kLanes = 8;
  std::array<double, kLanes> sums{};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      sums[static_cast<std::size_t>(lane)] += values[i + lane];
    }
  }
  double total = 0;
  for (; i < count; ++i) total += values[i];
  for (const double sum : sums) total += sum;
  return total;
}

/// by_input [columns, at least tokens] becomes the transposed tile [tokens, columns]; each column's
/// sum is added to `sums`.
void transpose_and_sum(const at::Tensor& tile, const at::Tensor& by_input, at::Tensor& sums) {
  const std::int64_t columns = tile.size(1);
  double* const sum = sums.data_ptr<double>();
  const std::int64_t strips = (columns + kTransposed - 1) / kTransposed;
  at::parallel_for(0, strips, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t strip = begin; strip < end; ++strip) {
      const std::int64_t first = strip * kTransposed;
      const std::int64_t last = std::min(first + kTransposed, columns);
      transpose_columns(tile, first, last, by_input);
      for (std::int64_t column = first; column < last; ++column) {
        sum[column] +=
            sum_of(by_input.const_data_ptr<float>() + column * by_input.stride(0), tile.size(0));
      }
    }
  });
}

/// Adds a block's product where it lies in `sums`, in double.
void add_to(const at::Tensor& sums, const Block& block, const at::Tensor& product) {
  const float* from = product.const_data_ptr<float>();
  for (std::int64_t row = 0; row < block.rows; ++row, from += block.columns) {
    double* const to = sums.data_ptr<double>() + (block.row + row) * sums.size(1) + block.column;
    for (std::int64_t column = 0; column < block.columns; ++column) to[column] += from[column];
  }
}

/// values / divisor, without a second matrix of doubles.
at::Tensor quotients_in_float(const at::Tensor& values, double divisor) {
  const at::Tensor contiguous = values.contiguous();
  at::Tensor quotients = at::empty(values.sizes(), at::kFloat);
  const double* const from = contiguous.const_data_ptr<double>();
  float* const to = quotients.data_ptr<float>();
  at::parallel_for(0, values.numel(), values.size(1), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) to[i] = static_cast<float>(from[i] / divisor);
  });
  return quotients;
}

void refuse_non_finite(const at::Tensor& hessian) {
  const at::Tensor diagonal = hessian.diagonal().contiguous();
  for (std::int64_t i = 0; i < diagonal.size(0); ++i) {
    const double square = diagonal.const_data_ptr<double>()[i];
    if (std::isfinite(square)) continue;
    throw Error(
        ErrorKind::Numeric, "F20",
        concat("the mean square of input ", i, " over the calibration text is ", square,
               "; the model or the calibration text makes its hidden states overflow. Check the "
               "model with `edgecompress eval` first"));
  }
}

}  // namespace

Hessian::Hessian(std::int64_t in_features)
    : products_(at::zeros({in_features, in_features}, at::kDouble)),
      sums_(at::zeros({in_features}, at::kDouble)) {}

void Hessian::add(const at::Tensor& inputs) {
  const std::int64_t columns = sums_.size(0);
  ensure(inputs.dim() == 2 && inputs.size(1) == columns && inputs.scalar_type() == at::kFloat &&
             inputs.device().is_cpu(),
         "float inputs of [tokens, in_features] in main memory");
  const std::vector<Block> blocks = lower_blocks(columns);
  const at::Tensor by_input = at::empty({columns, kTileTokens});
  for (std::int64_t first = 0; first < inputs.size(0); first += kTileTokens) {
    const at::Tensor tile = inputs.narrow(0, first, std::min(kTileTokens, inputs.size(0) - first));
    transpose_and_sum(tile.contiguous(), by_input, sums_);
    const at::Tensor rows = by_input.narrow(1, 0, tile.size(0));
    for_each_on_one_thread(static_cast<std::int64_t>(blocks.size()), [&](std::int64_t i) {
      const Block& block = blocks[static_cast<std::size_t>(i)];
      const at::Tensor product = at::mm(rows.narrow(0, block.row, block.rows),
                                        rows.narrow(0, block.column, block.columns).t());
      add_to(products_, block, product);
    });
  }
  tokens_ += inputs.size(0);
}

at::Tensor Hessian::matrix() const {
  // The diagonal blocks are symmetric up to the order of a product's sums; one triangle decides.
  at::Tensor hessian = mirrored(products_, tokens_);
  refuse_non_finite(hessian);
  return hessian;
}

std::int64_t Hessian::flops_per_token(std::int64_t in_features) {
  std::int64_t products = 0;
  for (const Block& block : lower_blocks(in_features)) products += block.rows * block.columns;
  return 2 * products;
}

at::Tensor Hessian::mean() const { return per_token(sums_, tokens_); }

CrossMoment::CrossMoment(std::int64_t left_features, std::int64_t right_features)
    : products_(at::zeros({left_features, right_features}, at::kDouble)) {}

void CrossMoment::add(const at::Tensor& left, const at::Tensor& right) {
  ensure(left.dim() == 2 && right.dim() == 2 && left.size(0) == right.size(0) &&
             left.size(1) == products_.size(0) && right.size(1) == products_.size(1),
         "as many tokens on both sides");
  const std::vector<Block> blocks = all_blocks(left.size(1), right.size(1));
  for (std::int64_t first = 0; first < left.size(0); first += kTileTokens) {
    const std::int64_t count = std::min(kTileTokens, left.size(0) - first);
    const at::Tensor a = left.narrow(0, first, count).contiguous();
    const at::Tensor b = right.narrow(0, first, count).contiguous();
    for_each_on_one_thread(static_cast<std::int64_t>(blocks.size()), [&](std::int64_t i) {
      const Block& block = blocks[static_cast<std::size_t>(i)];
      add_to(
          products_, block,
          at::mm(a.narrow(1, block.row, block.rows).t(), b.narrow(1, block.column, block.columns)));
    });
  }
  tokens_ += left.size(0);
}

at::Tensor CrossMoment::matrix() const { return per_token(products_, tokens_); }

RelativeHessian relative_hessian(const at::Tensor& hessian) {
  ensure(hessian.dim() == 2 && hessian.size(0) == hessian.size(1) &&
             hessian.scalar_type() == at::kDouble,
         "a double Hessian of [in_features, in_features]");
  const double mean = hessian.diagonal().mean().item<double>();
  return {quotients_in_float(hessian, mean > 0 ? mean : 1), mean};
}

double output_energy(const at::Tensor& difference, const RelativeHessian& hessian) {
  const std::int64_t columns = difference.size(1);
  ensure(difference.scalar_type() == at::kFloat && hessian.matrix.size(0) == columns,
         "a float difference as wide as the Hessian");
  if (!(hessian.mean_diagonal > 0)) return 0;
  const std::vector<Block> blocks = all_blocks(difference.size(0), columns);
  std::vector<double> energies(blocks.size());
  for_each_on_one_thread(static_cast<std::int64_t>(blocks.size()), [&](std::int64_t i) {
    const Block& block = blocks[static_cast<std::size_t>(i)];
    const at::Tensor rows = difference.narrow(0, block.row, block.rows);
    const at::Tensor own = rows.narrow(1, block.column, block.columns);
    const at::Tensor factor = hessian.matrix.narrow(1, block.column, block.columns);
    // H is symmetric: what lies above a diagonal block is counted with what lies below it.
    const std::int64_t below = block.column + block.columns;
    at::Tensor product =
        at::mm(rows.narrow(1, below, columns - below), factor.narrow(0, below, columns - below))
            .mul_(2);
    product.add_(at::mm(own, factor.narrow(0, block.column, block.columns)));
    energies[static_cast<std::size_t>(i)] = ordered_sum(product.mul_(own));
  });
  return hessian.mean_diagonal * std::accumulate(energies.begin(), energies.end(), 0.0);
}

}  // namespace edgecompress
