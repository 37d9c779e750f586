#pragma once

#include <cstdint>

namespace edgecompress {

// ONNX 1.16's, the newest that every runtime from ONNX Runtime 1.18 on reads.
inline constexpr std::int64_t kOnnxIrVersion = 10;
// The newest opset that ONNX Runtime 1.20 reads.
inline constexpr std::int64_t kOnnxOpset = 21;

}  // namespace edgecompress
