#include "llama/folder_check.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <set>

#include "base/error.h"
#include "checkpoint/file_kind.h"
#include "weights/code_packing.h"

namespace edgecompress {
namespace {

constexpr std::size_t kMostRows = 20;

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t dimension : shape) text += concat(text.size() > 1 ? ", " : "", dimension);
  return text + "]";
}

bool is_old_buffer(std::string_view name) { return name.ends_with(".rotary_emb.inv_freq"); }

bool same_bytes(const TensorEntry* first, const TensorEntry* second) {
  if (first == nullptr || second == nullptr) return first == second;
  return first->dtype == second->dtype && first->shape == second->shape &&
         (first->bytes.empty() ||
          std::memcmp(first->bytes.data(), second->bytes.data(), first->bytes.size()) == 0);
}

class Matcher {
 public:
  Matcher(const TensorStore& store, const LlamaConfig& config,
          const std::optional<QuantizationConfig>& quantization)
      : store_(store), config_(config), quantization_(quantization) {}

  std::map<std::string, StoredMatrix, std::less<>> run() {
    for (std::int64_t block = 0; block < config_.num_blocks(); ++block) match_block(block);
    expect_vector(concat(kFinalNormModule, ".weight"), config_.hidden_size);
    match_tables();
    report_unexpected();
    report();
    check_dtype();
    return std::move(matrices_);
  }

 private:
  void match_block(std::int64_t block) {
    for (const LinearKind kind : kLinearKinds) {
      const std::string module = module_name({block, kind});
      const MatrixShape shape = linear_shape(config_, {block, kind});
      match_matrix(module, "Linear", shape);
      if (has_bias(config_, kind)) expect_vector(module + ".bias", shape.out_features);
    }
    expect_vector(input_norm_module(block) + ".weight", config_.hidden_size);
    expect_vector(post_attention_norm_module(block) + ".weight", config_.hidden_size);
  }

  /// The embedding and the head. When they are tied, either name may hold the one table.
  void match_tables() {
    const MatrixShape shape{config_.vocab_size, config_.hidden_size};
    const bool head_stored = is_stored(kHeadModule);
    const bool embedding_stored = is_stored(kEmbeddingModule);
    if (!config_.tie_word_embeddings) {
      match_matrix(std::string(kEmbeddingModule), "Embedding", shape);
      if (!head_stored && embedding_stored) {
        fail("C11",
             concat("has no ", kHeadModule,
                    ".weight although config.json says that it is not tied to the embedding"));
      }
      match_matrix(std::string(kHeadModule), "Linear", shape);
      return;
    }
    if (embedding_stored || !head_stored) {
      match_matrix(std::string(kEmbeddingModule), "Embedding", shape);
    }
    if (head_stored) match_matrix(std::string(kHeadModule), "Linear", shape);
    share_table();
  }

  void share_table() {
    const auto embedding = matrices_.find(kEmbeddingModule);
    const auto head = matrices_.find(kHeadModule);
    if (embedding != matrices_.end() && head != matrices_.end()) {
      if (!same_stored_bytes(embedding->second, head->second)) {
        fail("C11", concat("stores ", kHeadModule, " and ", kEmbeddingModule,
                           " with different values although config.json says that they are tied"));
      }
      head->second = embedding->second;
    } else if (embedding != matrices_.end()) {
      check_tied_grid(embedding->second);
      matrices_.emplace(kHeadModule, embedding->second);
    } else if (head != matrices_.end()) {
      matrices_.emplace(kEmbeddingModule, head->second);
    }
  }

  /// A quantized tied table is stored once, but compressed-tensors needs its scales under both
  /// names.
  void check_tied_grid(const StoredMatrix& embedding) {
    const auto* const table = std::get_if<StoredQuantizedMatrix>(&embedding);
    if (table == nullptr) return;
    for (const auto& [suffix, expected] : {std::pair(".weight_scale", table->scales),
                                           std::pair(".weight_zero_point", table->zero_points)}) {
      const std::string name = concat(kHeadModule, suffix);
      const TensorEntry* const found = store_.find(name);
      if (found == nullptr) continue;
      expected_.insert(name);
      if (!same_bytes(found, expected)) {
        fail("C11", concat(name,
                           " differs from the embedding's although config.json says that the "
                           "two are tied"));
      }
    }
  }

  bool is_stored(std::string_view module) const {
    return store_.tensors().contains(concat(module, ".weight")) ||
           store_.tensors().contains(concat(module, ".weight_packed"));
  }

  void match_matrix(const std::string& module, std::string_view class_name,
                    const MatrixShape& shape) {
    const std::optional<QuantizedModule> quantized =
        quantization_ ? quantization_->find(module, class_name) : std::nullopt;
    if (quantized) {
      match_quantized(module, shape, *quantized);
      return;
    }
    const TensorEntry* const values =
        expect(module + ".weight", {shape.out_features, shape.in_features},
               {DType::F32, DType::F16, DType::BF16});
    if (values != nullptr) matrices_.emplace(module, FloatMatrix{values});
  }

  void match_quantized(const std::string& module, const MatrixShape& shape,
                       const QuantizedModule& quantized) {
    const QuantScheme& scheme = quantized.scheme;
    if (store_.tensors().contains(module + ".weight_g_idx")) {
      throw Error(ErrorKind::Unsupported, "C15",
                  concat(store_.folder().string(), ": ", module,
                         " has weight_g_idx: weights in "
                         "activation order (actorder group) are not supported"));
    }
    if (quantized.strategy == GroupStrategy::Group && shape.in_features % scheme.group_size != 0) {
      fail("C16", concat("quantization_config gives ", module, " groups of ", scheme.group_size,
                         ", which do not divide its rows of ", shape.in_features));
    }
    const std::int64_t groups = scheme.groups_per_row(shape.in_features);
    const bool packed = quantized.layout == QuantizedLayout::Packed;
    const std::int64_t row_words = packed_row_bytes(shape.in_features, scheme.bits) / 4;
    const TensorEntry* const codes =
        packed ? expect(module + ".weight_packed", {shape.out_features, row_words}, {DType::I32})
               : expect(module + ".weight", {shape.out_features, shape.in_features}, {DType::I8});
    const TensorEntry* const scales = expect(module + ".weight_scale", {shape.out_features, groups},
                                             {DType::F32, DType::F16, DType::BF16});
    const TensorEntry* zero_points = nullptr;
    if (scheme.symmetry == Symmetry::Asymmetric) {
      zero_points = match_zero_points(module, shape, quantized);
    }
    if (packed) check_stored_shape(module, shape);
    const bool complete = codes != nullptr && scales != nullptr &&
                          (scheme.symmetry == Symmetry::Symmetric || zero_points != nullptr);
    if (complete) {
      matrices_.emplace(module, StoredQuantizedMatrix{shape, scheme, codes, scales, zero_points,
                                                      quantized.activations});
    }
  }

  /// compressed-tensors packs them with the codes, unless they belong to blocks; versions before
  /// 0.9 left them as I8.
  const TensorEntry* match_zero_points(const std::string& module, const MatrixShape& shape,
                                       const QuantizedModule& quantized) {
    const std::string name = module + ".weight_zero_point";
    const std::int64_t groups = quantized.scheme.groups_per_row(shape.in_features);
    const TensorEntry* const stored = store_.find(name);
    const bool packed =
        quantized.layout == QuantizedLayout::Packed && quantized.strategy != GroupStrategy::Block;
    if (packed && (stored == nullptr || stored->dtype != DType::I8)) {
      const std::int64_t column_words =
          packed_row_bytes(shape.out_features, quantized.scheme.bits) / 4;
      return expect(name, {column_words, groups}, {DType::I32});
    }
    return expect(name, {shape.out_features, groups}, {DType::I8});
  }

  void check_stored_shape(const std::string& module, const MatrixShape& shape) {
    const TensorEntry* const stored =
        expect(module + ".weight_shape", {2}, {DType::I64, DType::I32});
    if (stored == nullptr) return;
    std::array<std::int64_t, 2> value{};
    for (std::size_t i = 0; i < value.size(); ++i) {
      if (stored->dtype == DType::I64) {
        std::memcpy(&value[i], stored->bytes.data() + 8 * i, 8);
      } else {
        std::int32_t narrow = 0;
        std::memcpy(&narrow, stored->bytes.data() + 4 * i, 4);
        value[i] = narrow;
      }
    }
    if (value[0] != shape.out_features || value[1] != shape.in_features) {
      differ(concat(stored->name, ": expected the values [", shape.out_features, ", ",
                    shape.in_features, "], found [", value[0], ", ", value[1], "]"));
    }
  }

  void expect_vector(const std::string& name, std::int64_t length) {
    expect(name, {length}, {DType::F32, DType::F16, DType::BF16});
  }

  const TensorEntry* expect(const std::string& name, const std::vector<std::int64_t>& shape,
                            const std::vector<DType>& dtypes) {
    expected_.insert(name);
    const TensorEntry* const found = store_.find(name);
    if (found == nullptr) {
      differ(concat(name, ": expected ", shape_text(shape), ", found nothing"));
      return nullptr;
    }
    if (found->shape != shape) {
      differ(concat(name, ": expected ", shape_text(shape), ", found ", shape_text(found->shape)));
      return nullptr;
    }
    if (std::find(dtypes.begin(), dtypes.end(), found->dtype) == dtypes.end()) {
      std::string names;
      for (const DType dtype : dtypes)
        names += concat(names.empty() ? "" : " or ", dtype_name(dtype));
      differ(concat(name, ": expected ", names, ", found ", dtype_name(found->dtype)));
      return nullptr;
    }
    return found;
  }

  void report_unexpected() {
    for (const auto& [name, entry] : store_.tensors()) {
      if (expected_.contains(name) || is_old_buffer(name)) continue;
      differ(concat(shown_text(name), ": expected nothing of that name, found ",
                    shape_text(entry.shape)));
    }
  }

  void differ(const std::string& row) { differences_.push_back(row); }

  void report() const {
    if (differences_.empty()) return;
    std::string table;
    for (std::size_t i = 0; i < std::min(differences_.size(), kMostRows); ++i) {
      table += "\n  " + differences_[i];
    }
    if (differences_.size() > kMostRows) {
      table += concat("\n  ... and ", differences_.size() - kMostRows, " more");
    }
    fail("C10", concat("the tensors do not match config.json (", differences_.size(),
                       " differences):", table));
  }

  /// A config that names a dtype which no matrix has describes other files.
  void check_dtype() const {
    const bool named =
        config_.document.contains("dtype") || config_.document.contains("torch_dtype");
    if (!named || quantization_) return;
    const DType found = std::get<FloatMatrix>(matrices_.begin()->second).values->dtype;
    for (const auto& [module, matrix] : matrices_) {
      if (std::get<FloatMatrix>(matrix).values->dtype == config_.dtype) return;
    }
    fail("C12",
         concat("config.json says that the weights are ", dtype_name(config_.dtype),
                ", but no matrix is; ", matrices_.begin()->first, " is ", dtype_name(found)));
  }

  [[noreturn]] void fail(const std::string& code, const std::string& message) const {
    throw Error(ErrorKind::Malformed, code, concat(store_.folder().string(), ": ", message));
  }

  const TensorStore& store_;
  const LlamaConfig& config_;
  const std::optional<QuantizationConfig>& quantization_;
  std::map<std::string, StoredMatrix, std::less<>> matrices_;
  std::set<std::string, std::less<>> expected_;
  std::vector<std::string> differences_;
};

}  // namespace

bool same_stored_bytes(const StoredMatrix& first, const StoredMatrix& second) {
  if (first.index() != second.index()) return false;
  if (const auto* const values = std::get_if<FloatMatrix>(&first)) {
    return same_bytes(values->values, std::get<FloatMatrix>(second).values);
  }
  const auto& a = std::get<StoredQuantizedMatrix>(first);
  const auto& b = std::get<StoredQuantizedMatrix>(second);
  return a.shape == b.shape && a.scheme == b.scheme && same_bytes(a.scales, b.scales) &&
         same_bytes(a.zero_points, b.zero_points) && same_bytes(a.codes, b.codes);
}

std::map<std::string, StoredMatrix, std::less<>> match_tensors(
    const TensorStore& store, const LlamaConfig& config,
    const std::optional<QuantizationConfig>& quantization) {
  return Matcher(store, config, quantization).run();
}

}  // namespace edgecompress
