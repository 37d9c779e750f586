#include "panel_sparse/op/panel_sparse_kernel.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "panel_sparse/code_layout.h"
#include "panel_sparse/little_endian.h"
#include "panel_sparse/op/ort_status.h"
#include "panel_sparse/panel_sparse_matrix.h"

namespace edgecompress {
namespace {

/// Pieces of work handed to the session's threads; several per thread, since panels differ in size
/// and threads in when they wake.
constexpr std::int64_t kMaxPieces = 64;
/// Taking a piece costs as long as reading some KiB, so none has less than this many bytes of
/// codes.
constexpr std::int64_t kLeastPieceBytes = 32 << 10;

struct Tensor {
  void* data = nullptr;
  std::vector<std::int64_t> shape;
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;

  std::int64_t count() const {
    std::int64_t product = 1;
    for (const std::int64_t extent : shape) product *= extent;
    return product;
  }
};

Tensor read_tensor(const OrtApi& api, const OrtValue* value) {
  Tensor tensor;
  check(api.GetTensorMutableData(const_cast<OrtValue*>(value), &tensor.data));
  OrtTensorTypeAndShapeInfo* info = nullptr;
  check(api.GetTensorTypeAndShape(value, &info));
  std::size_t rank = 0;
  OrtStatus* status = api.GetDimensionsCount(info, &rank);
  tensor.shape.resize(rank);
  if (status == nullptr) status = api.GetDimensions(info, tensor.shape.data(), rank);
  if (status == nullptr) status = api.GetTensorElementType(info, &tensor.type);
  api.ReleaseTensorTypeAndShapeInfo(info);
  check(status);
  return tensor;
}

/// One call of the operator, as its pieces see it.
struct Job {
  const PanelSparseView* matrix;
  const KernelSet* kernels;
  bool exact;
  std::span<const float> x;
  std::span<float> y;
  std::int64_t tokens;
  const float* bias;
  InputBuffer* buffer;
  std::int64_t panels_per_piece;
};

void quantize_piece(void* data, std::size_t token) {
  const Job& job = *static_cast<const Job*>(data);
  const auto at = static_cast<std::int64_t>(token);
  job.buffer->quantize_token(*job.matrix, *job.kernels, at,
                             job.x.data() + at * job.matrix->columns);
}

void multiply_piece(void* data, std::size_t piece) {
  const Job& job = *static_cast<const Job*>(data);
  const PanelSparseView& matrix = *job.matrix;
  const std::int64_t first = static_cast<std::int64_t>(piece) * job.panels_per_piece;
  const std::int64_t last = std::min(matrix.panels, first + job.panels_per_piece);
  if (job.exact) {
    multiply_exact(matrix, *job.kernels, job.x, first, last, job.y);
  } else {
    thread_local std::vector<std::uint8_t> scratch;
    if (scratch.size() < scratch_bytes(matrix)) scratch.resize(scratch_bytes(matrix));
    job.kernels->multiply(matrix, job.buffer->inputs(), first, last, job.y.data(), scratch.data());
  }
  if (job.bias == nullptr) return;
  const std::int64_t height = panel_rows(matrix.form);
  const std::int64_t last_row = std::min(matrix.rows, last * height);
  for (std::int64_t token = 0; token < job.tokens; ++token) {
    float* const out = job.y.data() + token * matrix.rows;
    for (std::int64_t row = first * height; row < last_row; ++row) out[row] += job.bias[row];
  }
}

}  // namespace

PanelSparseKernel::PanelSparseKernel(const OrtApi& api, const OrtKernelInfo& info) : api_(&api) {
  const std::int64_t version = attribute(info, "format_version");
  if (version != 1) {
    throw Error(ErrorKind::Unsupported, "B03",
                concat("PanelSparseMatMul: format_version ", version,
                       " is unknown to this operator library, which reads version 1"));
  }
  const std::int64_t level = attribute(info, "accuracy_level");
  if (level != 0 && level != 4) {
    throw Error(ErrorKind::Unsupported, "B03",
                concat("PanelSparseMatMul: accuracy_level is ", level,
                       "; known are 0 (float activations) and 4 (int8 activations)"));
  }
  exact_ = level == 0;
  int is_constant = 0;
  const OrtValue* weights = nullptr;
  check(api.KernelInfoGetConstantInput_tensor(&info, 1, &is_constant, &weights));
  if (is_constant == 0 || weights == nullptr) {
    throw Error(ErrorKind::Malformed, "B03",
                "PanelSparseMatMul: its second input must be an initializer");
  }
  const Tensor blob = read_tensor(api, weights);
  if (blob.type != ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8) {
    throw Error(ErrorKind::Malformed, "B03", "PanelSparseMatMul: its second input must be uint8");
  }
  matrix_ = open_panel_sparse(
      {static_cast<const std::uint8_t*>(blob.data), static_cast<std::size_t>(blob.count())});
  require("K", attribute(info, "K"), matrix_.columns);
  require("N", attribute(info, "N"), matrix_.rows);
  set_ = supported_instruction_sets().back();
  kernels_ = kernels_for(set_);
}

std::int64_t PanelSparseKernel::attribute(const OrtKernelInfo& info, const char* name) const {
  std::int64_t value = 0;
  check(api_->KernelInfoGetAttribute_int64(&info, name, &value));
  return value;
}

void PanelSparseKernel::require(const char* name, std::int64_t stated, std::int64_t held) const {
  if (stated == held) return;
  throw Error(ErrorKind::Malformed, "B03",
              concat("PanelSparseMatMul: attribute ", name, " is ", stated,
                     ", but its weights have ", held));
}

std::int64_t PanelSparseKernel::pieces_for(std::int64_t tokens) const {
  const auto code_bytes = static_cast<std::int64_t>(load_u64(matrix_.starts + 8 * matrix_.panels));
  const std::int64_t worth = code_bytes / kLeastPieceBytes * tokens;
  return std::max<std::int64_t>(1, std::min({matrix_.panels, kMaxPieces, worth}));
}

void PanelSparseKernel::compute(OrtKernelContext& context) const {
  const auto input = [&](std::size_t index) {
    const OrtValue* value = nullptr;
    check(api_->KernelContext_GetInput(&context, index, &value));
    return value;
  };
  const Tensor x = read_tensor(*api_, input(0));
  if (x.shape.empty() || x.shape.back() != matrix_.columns) {
    throw Error(
        ErrorKind::Malformed, "B03",
        concat("PanelSparseMatMul: the last dimension of its input must be K = ", matrix_.columns));
  }
  std::size_t inputs = 0;
  check(api_->KernelContext_GetInputCount(&context, &inputs));
  const OrtValue* const bias_value = inputs > 2 ? input(2) : nullptr;
  const Tensor bias = bias_value == nullptr ? Tensor{} : read_tensor(*api_, bias_value);
  if (bias_value != nullptr && bias.count() != matrix_.rows) {
    throw Error(ErrorKind::Malformed, "B03",
                concat("PanelSparseMatMul: its bias must have N = ", matrix_.rows, " values"));
  }
  std::vector<std::int64_t> shape = x.shape;
  shape.back() = matrix_.rows;
  OrtValue* output = nullptr;
  check(api_->KernelContext_GetOutput(&context, 0, shape.data(), shape.size(), &output));
  void* out = nullptr;
  check(api_->GetTensorMutableData(output, &out));
  const std::int64_t tokens = x.count() / matrix_.columns;
  if (tokens == 0) return;

  // Kept between calls: a decoder makes one of these calls per matrix and token.
  thread_local InputBuffer buffer;
  const std::int64_t pieces = pieces_for(tokens);
  Job job{.matrix = &matrix_,
          .kernels = &kernels_,
          .exact = exact_,
          .x = {static_cast<const float*>(x.data), static_cast<std::size_t>(x.count())},
          .y = {static_cast<float*>(out), static_cast<std::size_t>(tokens * matrix_.rows)},
          .tokens = tokens,
          .bias = static_cast<const float*>(bias.data),
          .buffer = &buffer,
          .panels_per_piece = (matrix_.panels + pieces - 1) / pieces};
  const auto parallel = [&](void (*body)(void*, std::size_t), std::int64_t count) {
    check(
        api_->KernelContext_ParallelFor(&context, body, static_cast<std::size_t>(count), 0, &job));
  };
  if (!exact_) {
    buffer.prepare(matrix_, tokens);
    if (tokens == 1) {
      quantize_piece(&job, 0);
    } else {
      parallel(quantize_piece, tokens);
    }
  }
  parallel(multiply_piece, (matrix_.panels + job.panels_per_piece - 1) / job.panels_per_piece);
}

}  // namespace edgecompress
