#include "onnx_export/sparse_linear.h"

#include <algorithm>
#include <utility>

#include "base/checked_math.h"
#include "base/error.h"
#include "base/parallel.h"
#include "panel_sparse/panel_sparse_matrix.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kPieceRows = 64;  // whole panels of every form
constexpr std::int64_t kPiecesAtOnce = 16;
constexpr std::int64_t kFormatVersion = 1;
constexpr std::int64_t kRoundedActivations = 4;  // of the operator's accuracy levels, 0 and 4

/// Rows of a matrix as a packer takes them.
struct Piece {
  std::int64_t rows;
  StackedRows values;
  std::vector<std::uint8_t> keep;
};

Piece read_piece(const StackedMatrix& matrix, std::int64_t number) {
  const std::int64_t begin = number * kPieceRows;
  const std::int64_t end = std::min(matrix.rows(), begin + kPieceRows);
  Piece piece{.rows = end - begin, .values = read_stacked_rows(matrix, begin, end), .keep = {}};
  piece.keep.reserve(piece.values.codes.size());
  for (const std::int8_t code : piece.values.codes) piece.keep.push_back(code != 0 ? 1 : 0);
  return piece;
}

template <typename T>
void append(std::vector<T>& to, const std::vector<T>& more) {
  to.insert(to.end(), more.begin(), more.end());
}

class BlobWriter {
 public:
  BlobWriter(const StackedMatrix& matrix, const PanelSparseForm& form, int num_threads)
      : matrix_(matrix), form_(form), num_threads_(num_threads) {}

  void write(const ByteSink& sink) const {
    PanelSparseIndex index;
    in_order<PanelSparseIndex>(
        [&](const Piece& piece) {
          return pack_index(form_, piece.rows, matrix_.columns(), piece.values.scales, piece.keep);
        },
        [&](const PanelSparseIndex& piece) {
          append(index.bitmaps, piece.bitmaps);
          append(index.scales, piece.scales);
          append(index.panel_code_bytes, piece.panel_code_bytes);
        });
    give(sink, pack_front(form_, matrix_.rows(), matrix_.columns(), index));
    in_order<std::vector<std::uint8_t>>(
        [&](const Piece& piece) {
          return pack_codes(form_, piece.rows, matrix_.columns(), piece.values.codes, piece.keep);
        },
        [&](const std::vector<std::uint8_t>& codes) { give(sink, codes); });
    give(sink, std::vector<std::uint8_t>(kPanelSparseSlack));
  }

 private:
  static void give(const ByteSink& sink, const std::vector<std::uint8_t>& bytes) {
    sink(std::as_bytes(std::span(bytes)));
  }

  /// Packs some pieces at once and takes the results in order.
  template <typename Packed, typename Pack, typename Take>
  void in_order(Pack&& pack, Take&& take) const {
    const std::int64_t pieces = ceil_divide(matrix_.rows(), kPieceRows);
    for (std::int64_t begin = 0; begin < pieces; begin += kPiecesAtOnce) {
      const std::int64_t count = std::min(kPiecesAtOnce, pieces - begin);
      std::vector<Packed> packed(static_cast<std::size_t>(count));
      parallel_for(count, 1, num_threads_, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t at = first; at < last; ++at) {
          packed[static_cast<std::size_t>(at)] = pack(read_piece(matrix_, begin + at));
        }
      });
      for (const Packed& piece : packed) take(piece);
    }
  }

  const StackedMatrix& matrix_;
  const PanelSparseForm& form_;
  int num_threads_;
};

}  // namespace

ByteSource sparse_blob(StackedMatrix matrix, PanelSparseForm form, int num_threads) {
  return [matrix = std::move(matrix), form, num_threads](const ByteSink& sink) {
    BlobWriter(matrix, form, num_threads).write(sink);
  };
}

std::optional<std::string> add_sparse_linear(ExportContext& context, const std::string& x,
                                             const Linear& linear, const StackedMatrix& matrix,
                                             const std::string& output) {
  const SparseChoice choice = choose_sparse_form(matrix, *context.sparse, context.num_threads);
  for (const std::string& module : linear.modules) context.model.drop(module);
  context.products.push_back({.module = joined_modules(linear.modules),
                              .form = choice.form ? form_name(*choice.form) : "dense",
                              .weights = matrix.rows() * matrix.columns(),
                              .zero_share = choice.zero_share,
                              .stored_share = choice.stored_share,
                              .reason = choice.reason});
  if (!choice.form) return std::nullopt;
  std::vector<std::string> inputs{x};
  inputs.push_back(context.graph.add(
      Initializer{.name = linear.name + ".MatMul.weight_sparse",
                  .type = OnnxType::Uint8,
                  .dims = {choice.blob_bytes},
                  .source = sparse_blob(matrix, *choice.form, context.num_threads),
                  .modules = linear.modules}));
  if (linear.has_bias) inputs.push_back(add_bias_tensor(context, linear));
  const std::int64_t level = context.accuracy_level == 4 ? kRoundedActivations : 0;
  const std::string path = node_path(linear.name) + "/MatMul";
  return context.graph.add_sparse({.name = path + "_sparse",
                                   .op = std::string(kPanelSparseMatMul),
                                   .inputs = std::move(inputs),
                                   .attributes = {{"K", matrix.columns()},
                                                  {"N", matrix.rows()},
                                                  {"format_version", kFormatVersion},
                                                  {"accuracy_level", level}},
                                   .outputs = {output.empty() ? path + "/output_0" : output}});
}

}  // namespace edgecompress
