// Compiled only where ONNX Runtime's own header is found: every member we declare must stand where
// it stands there.
#include <cstddef>
#include <cstdint>

#include <onnxruntime_c_api.h>

namespace ours {
#include "ort/ort_api.h"
}

#define SAME_PLACE(type, field) \
  static_assert(offsetof(ours::type, field) == offsetof(::type, field))
#define SAME_VALUE(name) static_assert(int{ours::name} == int{::name})
SAME_PLACE(OrtApiBase, GetApi);
SAME_PLACE(OrtApiBase, GetVersionString);
SAME_PLACE(OrtCustomOp, version);
SAME_PLACE(OrtCustomOp, CreateKernel);
SAME_PLACE(OrtCustomOp, GetName);
SAME_PLACE(OrtCustomOp, GetExecutionProviderType);
SAME_PLACE(OrtCustomOp, GetInputType);
SAME_PLACE(OrtCustomOp, GetInputTypeCount);
SAME_PLACE(OrtCustomOp, GetOutputType);
SAME_PLACE(OrtCustomOp, GetOutputTypeCount);
SAME_PLACE(OrtCustomOp, KernelCompute);
SAME_PLACE(OrtCustomOp, KernelDestroy);
SAME_PLACE(OrtCustomOp, GetInputCharacteristic);
SAME_PLACE(OrtCustomOp, GetOutputCharacteristic);
SAME_PLACE(OrtCustomOp, GetInputMemoryType);
SAME_PLACE(OrtCustomOp, GetVariadicInputMinArity);
SAME_PLACE(OrtCustomOp, GetVariadicInputHomogeneity);
SAME_PLACE(OrtCustomOp, GetVariadicOutputMinArity);
SAME_PLACE(OrtCustomOp, GetVariadicOutputHomogeneity);
SAME_PLACE(OrtCustomOp, CreateKernelV2);
SAME_PLACE(OrtCustomOp, KernelComputeV2);
SAME_PLACE(OrtCustomOp, InferOutputShapeFn);
SAME_PLACE(OrtCustomOp, GetStartVersion);
SAME_PLACE(OrtCustomOp, GetEndVersion);
SAME_PLACE(OrtApi, CreateStatus);
SAME_PLACE(OrtApi, GetErrorMessage);
SAME_PLACE(OrtApi, CreateEnv);
SAME_PLACE(OrtApi, CreateSession);
SAME_PLACE(OrtApi, Run);
SAME_PLACE(OrtApi, CreateSessionOptions);
SAME_PLACE(OrtApi, SetIntraOpNumThreads);
SAME_PLACE(OrtApi, SetInterOpNumThreads);
SAME_PLACE(OrtApi, CreateCustomOpDomain);
SAME_PLACE(OrtApi, CustomOpDomain_Add);
SAME_PLACE(OrtApi, AddCustomOpDomain);
SAME_PLACE(OrtApi, SessionGetInputCount);
SAME_PLACE(OrtApi, SessionGetOutputCount);
SAME_PLACE(OrtApi, SessionGetInputTypeInfo);
SAME_PLACE(OrtApi, SessionGetOutputTypeInfo);
SAME_PLACE(OrtApi, SessionGetInputName);
SAME_PLACE(OrtApi, SessionGetOutputName);
SAME_PLACE(OrtApi, CreateTensorAsOrtValue);
SAME_PLACE(OrtApi, CreateTensorWithDataAsOrtValue);
SAME_PLACE(OrtApi, GetTensorMutableData);
SAME_PLACE(OrtApi, CastTypeInfoToTensorInfo);
SAME_PLACE(OrtApi, CreateTensorTypeAndShapeInfo);
SAME_PLACE(OrtApi, SetTensorElementType);
SAME_PLACE(OrtApi, SetDimensions);
SAME_PLACE(OrtApi, GetTensorElementType);
SAME_PLACE(OrtApi, GetDimensionsCount);
SAME_PLACE(OrtApi, GetDimensions);
SAME_PLACE(OrtApi, GetSymbolicDimensions);
SAME_PLACE(OrtApi, GetTensorShapeElementCount);
SAME_PLACE(OrtApi, GetTensorTypeAndShape);
SAME_PLACE(OrtApi, CreateCpuMemoryInfo);
SAME_PLACE(OrtApi, AllocatorFree);
SAME_PLACE(OrtApi, GetAllocatorWithDefaultOptions);
SAME_PLACE(OrtApi, KernelInfoGetAttribute_int64);
SAME_PLACE(OrtApi, KernelInfoGetAttribute_string);
SAME_PLACE(OrtApi, KernelContext_GetInputCount);
SAME_PLACE(OrtApi, KernelContext_GetInput);
SAME_PLACE(OrtApi, KernelContext_GetOutput);
SAME_PLACE(OrtApi, ReleaseEnv);
SAME_PLACE(OrtApi, ReleaseStatus);
SAME_PLACE(OrtApi, ReleaseMemoryInfo);
SAME_PLACE(OrtApi, ReleaseSession);
SAME_PLACE(OrtApi, ReleaseValue);
SAME_PLACE(OrtApi, ReleaseTypeInfo);
SAME_PLACE(OrtApi, ReleaseTensorTypeAndShapeInfo);
SAME_PLACE(OrtApi, ReleaseSessionOptions);
SAME_PLACE(OrtApi, ReleaseCustomOpDomain);
SAME_PLACE(OrtApi, AddSessionConfigEntry);
SAME_PLACE(OrtApi, RegisterCustomOpsLibrary_V2);
SAME_PLACE(OrtApi, KernelInfoGetConstantInput_tensor);
SAME_PLACE(OrtApi, ShapeInferContext_GetInputTypeShape);
SAME_PLACE(OrtApi, ShapeInferContext_GetAttribute);
SAME_PLACE(OrtApi, ShapeInferContext_SetOutputTypeShape);
SAME_PLACE(OrtApi, SetSymbolicDimensions);
SAME_PLACE(OrtApi, ReadOpAttr);
SAME_PLACE(OrtApi, KernelContext_ParallelFor);
SAME_VALUE(ORT_OK);
SAME_VALUE(ORT_FAIL);
SAME_VALUE(ORT_INVALID_ARGUMENT);
SAME_VALUE(ORT_LOGGING_LEVEL_WARNING);
SAME_VALUE(ORT_LOGGING_LEVEL_FATAL);
SAME_VALUE(OrtArenaAllocator);
SAME_VALUE(OrtMemTypeDefault);
SAME_VALUE(ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED);
SAME_VALUE(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
SAME_VALUE(ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8);
SAME_VALUE(ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8);
SAME_VALUE(ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32);
SAME_VALUE(ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64);
SAME_VALUE(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16);
SAME_VALUE(INPUT_OUTPUT_REQUIRED);
SAME_VALUE(INPUT_OUTPUT_OPTIONAL);
SAME_VALUE(ORT_OP_ATTR_INT);
