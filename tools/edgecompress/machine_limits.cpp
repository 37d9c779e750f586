#include "edgecompress/machine_limits.h"

#include <filesystem>
#include <optional>
#include <thread>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/memory_bounds.h"
#include "base/memory_budget.h"
#include "base/parallel.h"
#include "base/version.h"
#include "edgecompress/build_facts.h"
#include "onnx_export/onnx_version.h"
#include "ort/session.h"
#include "panel_sparse/multiply.h"

namespace edgecompress::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

const char* name_of(InstructionSet set) {
  switch (set) {
    case InstructionSet::Scalar:
      return "scalar";
    case InstructionSet::Avx2:
      return "avx2";
    case InstructionSet::Avx512:
      return "avx512";
    case InstructionSet::NeonDot:
      return "neon-dot";
    case InstructionSet::NeonI8mm:
      return "neon-i8mm";
  }
  ensure(false, "a known instruction set");
  return "";
}

Json or_null(const std::optional<std::uint64_t>& value) { return value ? Json(*value) : Json(); }

/// path and version, or why there is none.
Json onnxruntime_json() {
  Json out{{"api", kOnnxRuntimeApi}, {"path", nullptr}, {"version", nullptr}};
  try {
    const fs::path library = find_onnxruntime({});
    out["version"] = OnnxRuntime(library).version();
    out["path"] = library.string();
  } catch (const Error& error) {
    out["problem"] = error.what();
  }
  return out;
}

Json operators_json() {
  try {
    return {{"path", find_operator_library().string()}};
  } catch (const Error& error) {
    return {{"path", nullptr}, {"problem", error.what()}};
  }
}

Json temporary_json() {
  std::error_code error;
  const fs::path folder = fs::temp_directory_path(error);
  if (error) return {{"path", nullptr}, {"free_bytes", nullptr}};
  const fs::space_info space = fs::space(folder, error);
  return {{"path", folder.string()}, {"free_bytes", error ? Json() : Json(space.available)}};
}

}  // namespace

std::vector<std::string> instruction_set_names() {
  std::vector<std::string> names;
  for (const InstructionSet set : supported_instruction_sets()) names.emplace_back(name_of(set));
  return names;
}

Json version_json() {
  return {{"schema", "edgecompress.version/v1"},
          {"version", kVersion},
          {"commit", kBuildCommit},
          {"compiler", kBuildCompiler},
          {"torch", kBuildTorch},
          {"onnxruntime_api", kOnnxRuntimeApi},
          {"onnx_ir", kOnnxIrVersion},
          {"onnx_opset", kOnnxOpset},
          {"instruction_sets", instruction_set_names()}};
}

Json limits_json() {
  const MemoryBounds bounds = memory_bounds();
  return {{"schema", "edgecompress.limits/v1"},
          {"memory",
           {{"machine_bytes", or_null(bounds.machine)},
            {"cgroup_bytes", or_null(bounds.cgroup)},
            {"address_space_bytes", or_null(bounds.address_space)},
            {"default_max_memory_bytes", default_memory_budget()}}},
          {"threads",
           {{"machine", std::thread::hardware_concurrency()}, {"default", available_threads()}}},
          {"instruction_sets", instruction_set_names()},
          {"temporary", temporary_json()},
          {"onnxruntime", onnxruntime_json()},
          {"operators", operators_json()},
          {"onnx", {{"ir", kOnnxIrVersion}, {"opset", kOnnxOpset}}}};
}

}  // namespace edgecompress::cli
