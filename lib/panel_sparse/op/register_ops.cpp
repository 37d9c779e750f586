// The operator library: ONNX Runtime calls RegisterCustomOps after loading it, genai through
// `custom_ops_library`.
#include <limits>
#include <memory>
#include <vector>

#include "ort/ort_api.h"
#include "panel_sparse/op/ort_status.h"
#include "panel_sparse/op/panel_sparse_kernel.h"

namespace edgecompress {
namespace {

// KernelContext_ParallelFor came with 17. A newer number would only lock older runtimes out.
constexpr std::uint32_t kApiVersion = 17;

const OrtApi* g_api = nullptr;  // set once, before the first kernel

constexpr std::size_t kInputs = 3;  // activations, weights, bias

struct ReleaseShape {
  void operator()(OrtTensorTypeAndShapeInfo* info) const {
    g_api->ReleaseTensorTypeAndShapeInfo(info);
  }
};
using Shape = std::unique_ptr<OrtTensorTypeAndShapeInfo, ReleaseShape>;

/// The output has the first input's shape with N in place of K.
void infer_shape(OrtShapeInferContext& context) {
  OrtTensorTypeAndShapeInfo* input = nullptr;  // stays the context's
  check(g_api->ShapeInferContext_GetInputTypeShape(&context, 0, &input));
  std::size_t rank = 0;
  check(g_api->GetDimensionsCount(input, &rank));
  if (rank == 0) return;  // unknown so far
  std::vector<std::int64_t> extents(rank);
  std::vector<const char*> names(rank);
  check(g_api->GetDimensions(input, extents.data(), rank));
  check(g_api->GetSymbolicDimensions(input, names.data(), rank));
  const OrtOpAttr* attribute = nullptr;
  check(g_api->ShapeInferContext_GetAttribute(&context, "N", &attribute));
  std::size_t written = 0;
  check(g_api->ReadOpAttr(attribute, ORT_OP_ATTR_INT, &extents.back(), sizeof extents.back(),
                          &written));
  names.back() = "";
  OrtTensorTypeAndShapeInfo* raw = nullptr;
  check(g_api->CreateTensorTypeAndShapeInfo(&raw));
  const Shape output(raw);
  check(g_api->SetTensorElementType(output.get(), ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT));
  check(g_api->SetDimensions(output.get(), extents.data(), rank));
  check(g_api->SetSymbolicDimensions(output.get(), names.data(), rank));
  check(g_api->ShapeInferContext_SetOutputTypeShape(&context, 0, output.get()));
}

OrtCustomOp make_op() {
  OrtCustomOp op{};
  op.version = kApiVersion;
  op.GetName = [](const OrtCustomOp*) { return "PanelSparseMatMul"; };
  op.GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };  // CPU
  op.GetInputTypeCount = [](const OrtCustomOp*) { return kInputs; };
  op.GetInputType = [](const OrtCustomOp*, std::size_t index) {
    return index == 1 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  };
  op.GetInputCharacteristic = [](const OrtCustomOp*, std::size_t index) {
    return index == 2 ? INPUT_OUTPUT_OPTIONAL : INPUT_OUTPUT_REQUIRED;
  };
  op.GetInputMemoryType = [](const OrtCustomOp*, std::size_t) { return OrtMemTypeDefault; };
  op.GetOutputTypeCount = [](const OrtCustomOp*) { return std::size_t{1}; };
  op.GetOutputType = [](const OrtCustomOp*, std::size_t) {
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  };
  op.GetOutputCharacteristic = [](const OrtCustomOp*, std::size_t) {
    return INPUT_OUTPUT_REQUIRED;
  };
  const auto one = [](const OrtCustomOp*) { return 1; };
  op.GetVariadicInputMinArity = one;
  op.GetVariadicInputHomogeneity = one;
  op.GetVariadicOutputMinArity = one;
  op.GetVariadicOutputHomogeneity = one;
  op.CreateKernelV2 = [](const OrtCustomOp*, const OrtApi*, const OrtKernelInfo* info,
                         void** kernel) {
    return as_status(*g_api, [&] { *kernel = new PanelSparseKernel(*g_api, *info); });
  };
  op.KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
    return as_status(*g_api,
                     [&] { static_cast<const PanelSparseKernel*>(kernel)->compute(*context); });
  };
  op.KernelDestroy = [](void* kernel) { delete static_cast<PanelSparseKernel*>(kernel); };
  op.InferOutputShapeFn = [](const OrtCustomOp*, OrtShapeInferContext* context) {
    return as_status(*g_api, [&] { infer_shape(*context); });
  };
  op.GetStartVersion = [](const OrtCustomOp*) { return 1; };
  op.GetEndVersion = [](const OrtCustomOp*) { return std::numeric_limits<int>::max(); };
  return op;
}

/// Sessions keep a pointer to the domain, so there is one for the whole process and it is never
/// released.
OrtCustomOpDomain* domain() {
  static const OrtCustomOp op = make_op();
  static OrtCustomOpDomain* const made = [] {
    OrtCustomOpDomain* fresh = nullptr;
    check(g_api->CreateCustomOpDomain("ai.edgecompress", &fresh));
    check(g_api->CustomOpDomain_Add(fresh, &op));
    return fresh;
  }();
  return made;
}

}  // namespace
}  // namespace edgecompress

extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(
    OrtSessionOptions* options, const OrtApiBase* base) {
  using namespace edgecompress;
  const OrtApi* const api = base->GetApi(kApiVersion);
  if (api == nullptr) {  // older than 1.17: version 1 has CreateStatus in the same place
    return base->GetApi(1)->CreateStatus(ORT_FAIL, "edgecompress operators need ONNX Runtime 1.17");
  }
  g_api = api;
  return as_status(*api, [&] { check(api->AddCustomOpDomain(options, domain())); });
}
