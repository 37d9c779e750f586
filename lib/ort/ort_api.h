// The part of ONNX Runtime's stable C ABI (API version 17) that edgecompress uses, declared here
// because neither the PyPI wheel nor Debian 12 ships onnxruntime_c_api.h. The function table only
// ever grows at its end, so a function keeps its slot; tests/ort/ort_api_check.cpp compares every
// slot with the official header where one is installed. Shared by the runtime's caller (lib/ort)
// and the custom op library (lib/panel_sparse), which must link nothing of ONNX Runtime: its only
// exported symbol carries a version that would tie a program to one release.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

struct OrtAllocator;
struct OrtCustomOpDomain;
struct OrtEnv;
struct OrtKernelContext;
struct OrtKernelInfo;
struct OrtMemoryInfo;
struct OrtOpAttr;
struct OrtRunOptions;
struct OrtSession;
struct OrtSessionOptions;
struct OrtShapeInferContext;
struct OrtStatus;
struct OrtTensorTypeAndShapeInfo;
struct OrtTypeInfo;
struct OrtValue;

enum OrtErrorCode { ORT_OK = 0, ORT_FAIL = 1, ORT_INVALID_ARGUMENT = 2 };
enum OrtLoggingLevel { ORT_LOGGING_LEVEL_WARNING = 2, ORT_LOGGING_LEVEL_FATAL = 4 };
enum OrtAllocatorType { OrtArenaAllocator = 1 };
enum OrtMemType { OrtMemTypeDefault = 0 };
enum ONNXTensorElementDataType {
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED = 0,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT = 1,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 = 2,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8 = 3,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32 = 6,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 = 7,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 = 10
};
enum OrtOpAttrType { ORT_OP_ATTR_INT = 1 };
enum OrtCustomOpInputOutputCharacteristic { INPUT_OUTPUT_REQUIRED = 0, INPUT_OUTPUT_OPTIONAL = 1 };

struct OrtApi;

struct OrtApiBase {
  const OrtApi* (*GetApi)(std::uint32_t version);  // null when the library is older
  const char* (*GetVersionString)();
};

/// An operator as ONNX Runtime 1.17 knows it; it reads no later field of a record whose version
/// is 17.
struct OrtCustomOp {
  std::uint32_t version;
  void* (*CreateKernel)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*);
  const char* (*GetName)(const OrtCustomOp*);
  const char* (*GetExecutionProviderType)(const OrtCustomOp*);
  ONNXTensorElementDataType (*GetInputType)(const OrtCustomOp*, std::size_t);
  std::size_t (*GetInputTypeCount)(const OrtCustomOp*);
  ONNXTensorElementDataType (*GetOutputType)(const OrtCustomOp*, std::size_t);
  std::size_t (*GetOutputTypeCount)(const OrtCustomOp*);
  void (*KernelCompute)(void*, OrtKernelContext*);
  void (*KernelDestroy)(void*);
  OrtCustomOpInputOutputCharacteristic (*GetInputCharacteristic)(const OrtCustomOp*, std::size_t);
  OrtCustomOpInputOutputCharacteristic (*GetOutputCharacteristic)(const OrtCustomOp*, std::size_t);
  OrtMemType (*GetInputMemoryType)(const OrtCustomOp*, std::size_t);
  int (*GetVariadicInputMinArity)(const OrtCustomOp*);
  int (*GetVariadicInputHomogeneity)(const OrtCustomOp*);
  int (*GetVariadicOutputMinArity)(const OrtCustomOp*);
  int (*GetVariadicOutputHomogeneity)(const OrtCustomOp*);
  OrtStatus* (*CreateKernelV2)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*, void**);
  OrtStatus* (*KernelComputeV2)(void*, OrtKernelContext*);
  OrtStatus* (*InferOutputShapeFn)(const OrtCustomOp*, OrtShapeInferContext*);
  int (*GetStartVersion)(const OrtCustomOp*);
  int (*GetEndVersion)(const OrtCustomOp*);
};

/// The function table. A number is the slot of the member beside it; gaps are functions
/// edgecompress does not call.
struct OrtApi {
  OrtStatus* (*CreateStatus)(OrtErrorCode, const char*);  // 0
  void* gap_1[1];
  const char* (*GetErrorMessage)(const OrtStatus*);                        // 2
  OrtStatus* (*CreateEnv)(OrtLoggingLevel, const char* log_id, OrtEnv**);  // 3
  void* gap_4[3];
  OrtStatus* (*CreateSession)(const OrtEnv*, const char* path, const OrtSessionOptions*,
                              OrtSession**);  // 7
  void* gap_8[1];
  OrtStatus* (*Run)(OrtSession*, const OrtRunOptions*, const char* const* input_names,
                    const OrtValue* const* inputs, std::size_t input_count,
                    const char* const* output_names, std::size_t output_count,
                    OrtValue** outputs);                    // 9
  OrtStatus* (*CreateSessionOptions)(OrtSessionOptions**);  // 10
  void* gap_11[13];
  OrtStatus* (*SetIntraOpNumThreads)(OrtSessionOptions*, int);                // 24
  OrtStatus* (*SetInterOpNumThreads)(OrtSessionOptions*, int);                // 25
  OrtStatus* (*CreateCustomOpDomain)(const char* name, OrtCustomOpDomain**);  // 26
  OrtStatus* (*CustomOpDomain_Add)(OrtCustomOpDomain*, const OrtCustomOp*);   // 27
  OrtStatus* (*AddCustomOpDomain)(OrtSessionOptions*, OrtCustomOpDomain*);    // 28
  void* gap_29[1];
  OrtStatus* (*SessionGetInputCount)(const OrtSession*, std::size_t*);   // 30
  OrtStatus* (*SessionGetOutputCount)(const OrtSession*, std::size_t*);  // 31
  void* gap_32[1];
  OrtStatus* (*SessionGetInputTypeInfo)(const OrtSession*, std::size_t, OrtTypeInfo**);   // 33
  OrtStatus* (*SessionGetOutputTypeInfo)(const OrtSession*, std::size_t, OrtTypeInfo**);  // 34
  void* gap_35[1];
  OrtStatus* (*SessionGetInputName)(const OrtSession*, std::size_t, OrtAllocator*, char**);   // 36
  OrtStatus* (*SessionGetOutputName)(const OrtSession*, std::size_t, OrtAllocator*, char**);  // 37
  void* gap_38[10];
  OrtStatus* (*CreateTensorAsOrtValue)(OrtAllocator*, const std::int64_t* shape, std::size_t rank,
                                       ONNXTensorElementDataType, OrtValue**);  // 48
  OrtStatus* (*CreateTensorWithDataAsOrtValue)(const OrtMemoryInfo*, void* data, std::size_t bytes,
                                               const std::int64_t* shape, std::size_t rank,
                                               ONNXTensorElementDataType, OrtValue**);  // 49
  void* gap_50[1];
  OrtStatus* (*GetTensorMutableData)(OrtValue*, void**);  // 51
  void* gap_52[3];
  OrtStatus* (*CastTypeInfoToTensorInfo)(const OrtTypeInfo*,
                                         const OrtTensorTypeAndShapeInfo**);  // 55
  void* gap_56[1];
  OrtStatus* (*CreateTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo**);  // 57
  OrtStatus* (*SetTensorElementType)(OrtTensorTypeAndShapeInfo*,
                                     ONNXTensorElementDataType);  // 58
  OrtStatus* (*SetDimensions)(OrtTensorTypeAndShapeInfo*, const std::int64_t*,
                              std::size_t rank);  // 59
  OrtStatus* (*GetTensorElementType)(const OrtTensorTypeAndShapeInfo*,
                                     ONNXTensorElementDataType*);                    // 60
  OrtStatus* (*GetDimensionsCount)(const OrtTensorTypeAndShapeInfo*, std::size_t*);  // 61
  OrtStatus* (*GetDimensions)(const OrtTensorTypeAndShapeInfo*, std::int64_t*,
                              std::size_t rank);  // 62
  OrtStatus* (*GetSymbolicDimensions)(const OrtTensorTypeAndShapeInfo*, const char* names[],
                                      std::size_t rank);                                     // 63
  OrtStatus* (*GetTensorShapeElementCount)(const OrtTensorTypeAndShapeInfo*, std::size_t*);  // 64
  OrtStatus* (*GetTensorTypeAndShape)(const OrtValue*, OrtTensorTypeAndShapeInfo**);         // 65
  void* gap_66[3];
  OrtStatus* (*CreateCpuMemoryInfo)(OrtAllocatorType, OrtMemType, OrtMemoryInfo**);  // 69
  void* gap_70[6];
  OrtStatus* (*AllocatorFree)(OrtAllocator*, void*);  // 76
  void* gap_77[1];
  OrtStatus* (*GetAllocatorWithDefaultOptions)(OrtAllocator**);  // 78
  void* gap_79[7];
  OrtStatus* (*KernelInfoGetAttribute_int64)(const OrtKernelInfo*, const char* name,
                                             std::int64_t*);  // 86
  OrtStatus* (*KernelInfoGetAttribute_string)(const OrtKernelInfo*, const char* name, char*,
                                              std::size_t*);                         // 87
  OrtStatus* (*KernelContext_GetInputCount)(const OrtKernelContext*, std::size_t*);  // 88
  void* gap_89[1];
  OrtStatus* (*KernelContext_GetInput)(const OrtKernelContext*, std::size_t,
                                       const OrtValue**);  // 90
  OrtStatus* (*KernelContext_GetOutput)(OrtKernelContext*, std::size_t, const std::int64_t* shape,
                                        std::size_t rank, OrtValue**);  // 91
  void (*ReleaseEnv)(OrtEnv*);                                          // 92
  void (*ReleaseStatus)(OrtStatus*);                                    // 93
  void (*ReleaseMemoryInfo)(OrtMemoryInfo*);                            // 94
  void (*ReleaseSession)(OrtSession*);                                  // 95
  void (*ReleaseValue)(OrtValue*);                                      // 96
  void* gap_97[1];
  void (*ReleaseTypeInfo)(OrtTypeInfo*);                              // 98
  void (*ReleaseTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo*);  // 99
  void (*ReleaseSessionOptions)(OrtSessionOptions*);                  // 100
  void (*ReleaseCustomOpDomain)(OrtCustomOpDomain*);                  // 101
  void* gap_102[28];
  OrtStatus* (*AddSessionConfigEntry)(OrtSessionOptions*, const char* key,
                                      const char* value);  // 130
  void* gap_131[97];
  OrtStatus* (*RegisterCustomOpsLibrary_V2)(OrtSessionOptions*, const char* path);  // 228
  void* gap_229[20];
  OrtStatus* (*KernelInfoGetConstantInput_tensor)(const OrtKernelInfo*, std::size_t,
                                                  int* is_constant, const OrtValue**);  // 249
  void* gap_250[18];
  OrtStatus* (*ShapeInferContext_GetInputTypeShape)(const OrtShapeInferContext*, std::size_t,
                                                    OrtTensorTypeAndShapeInfo**);  // 268
  OrtStatus* (*ShapeInferContext_GetAttribute)(const OrtShapeInferContext*, const char* name,
                                               const OrtOpAttr**);  // 269
  OrtStatus* (*ShapeInferContext_SetOutputTypeShape)(const OrtShapeInferContext*, std::size_t,
                                                     const OrtTensorTypeAndShapeInfo*);  // 270
  OrtStatus* (*SetSymbolicDimensions)(OrtTensorTypeAndShapeInfo*, const char* names[],
                                      std::size_t rank);  // 271
  OrtStatus* (*ReadOpAttr)(const OrtOpAttr*, OrtOpAttrType, void* data, std::size_t bytes,
                           std::size_t* written);  // 272
  void* gap_273[1];
  OrtStatus* (*KernelContext_ParallelFor)(const OrtKernelContext*, void (*body)(void*, std::size_t),
                                          std::size_t total, std::size_t batches,
                                          void* data);  // 274
};

}  // extern "C"

static_assert(offsetof(OrtApi, CreateSession) == 7 * sizeof(void*));
static_assert(offsetof(OrtApi, SetIntraOpNumThreads) == 24 * sizeof(void*));
static_assert(offsetof(OrtApi, SessionGetInputName) == 36 * sizeof(void*));
static_assert(offsetof(OrtApi, CreateTensorAsOrtValue) == 48 * sizeof(void*));
static_assert(offsetof(OrtApi, GetTensorTypeAndShape) == 65 * sizeof(void*));
static_assert(offsetof(OrtApi, GetAllocatorWithDefaultOptions) == 78 * sizeof(void*));
static_assert(offsetof(OrtApi, ReleaseEnv) == 92 * sizeof(void*));
static_assert(offsetof(OrtApi, ReleaseCustomOpDomain) == 101 * sizeof(void*));
static_assert(offsetof(OrtApi, AddSessionConfigEntry) == 130 * sizeof(void*));
static_assert(offsetof(OrtApi, RegisterCustomOpsLibrary_V2) == 228 * sizeof(void*));
static_assert(offsetof(OrtApi, KernelInfoGetConstantInput_tensor) == 249 * sizeof(void*));
static_assert(offsetof(OrtApi, ShapeInferContext_SetOutputTypeShape) == 270 * sizeof(void*));
static_assert(offsetof(OrtApi, KernelContext_ParallelFor) == 274 * sizeof(void*));
static_assert(offsetof(OrtCustomOp, KernelDestroy) == 8 + 8 * sizeof(void*));
static_assert(offsetof(OrtCustomOp, CreateKernelV2) == 8 + 16 * sizeof(void*));
static_assert(sizeof(OrtCustomOp) == 8 + 21 * sizeof(void*));
