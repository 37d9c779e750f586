// Exports a model folder for the conformance tests:
//   export_folder MODEL OUTPUT genai|standard [accuracy_level=4] [context=0] [max_generation=4096]
//   [threads=1] [exact]
// With "exact" OUTPUT also holds model.exact.onnx, the same graph at accuracy level 0.
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "onnx_export/export_model.h"

namespace {

using namespace edgecompress;

std::map<std::string, std::string> parse_options(const std::vector<std::string>& arguments) {
  std::map<std::string, std::string> options;
  for (const std::string& argument : arguments) {
    const std::size_t split = argument.find('=');
    options[argument.substr(0, split)] =
        split == std::string::npos ? "" : argument.substr(split + 1);
  }
  return options;
}

void run(const std::vector<std::string>& arguments) {
  const auto given = parse_options({arguments.begin() + 3, arguments.end()});
  const auto number = [&](const char* name, std::int64_t otherwise) {
    const auto found = given.find(name);
    return found == given.end() ? otherwise : std::stoll(found->second);
  };
  ExportOptions options;
  options.context_length = number("context", 0);
  options.max_generation_length = number("max_generation", 4096);
  options.num_threads = static_cast<int>(number("threads", 1));
  options.graph_metadata = "conformance";
  if (arguments[2] == "standard") {
    options.format = StandardFormat{};
  } else {
    options.format = GenaiFormat{.accuracy_level = static_cast<int>(number("accuracy_level", 4))};
  }
  const ModelFolder model = ModelFolder::open(arguments[0]);
  StagedFolder output(arguments[1], {arguments[0]}, ExistingOutput::Refuse);
  const OnnxArtifact artifact = export_onnx(model, options, output, "", {});
  if (given.contains("exact")) {
    write_exact_graph(artifact.graph, artifact.graph.parent_path() / "model.exact.onnx");
  }
  output.publish();
  for (const std::string& warning : artifact.warnings) std::cout << "warning: " << warning << '\n';
  std::cout << artifact.total_bytes << " bytes\n";
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() < 3) {
    std::cerr << "usage: export_folder MODEL OUTPUT genai|standard [name=value ...]\n";
    return 2;
  }
  try {
    run(arguments);
    return 0;
  } catch (const Error& error) {
    std::cerr << "error[" << error.code() << "]: " << error.what() << '\n';
    return 1;
  }
}
