#include "edgecompress/limits_command.h"

#include <ostream>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "edgecompress/error_report.h"
#include "edgecompress/machine_limits.h"
#include "report/text_numbers.h"

namespace edgecompress::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string bytes_text(const Json& value) {
  return value.is_null() ? "no bound" : size_text(value.get<std::int64_t>());
}

std::string place_text(const Json& place) {
  if (!place.at("path").is_null()) return place.at("path").get<std::string>();
  const std::string problem = place.value("problem", "not found");
  return problem.substr(0, problem.find('\n'));  // the places that were tried: --json has them
}

std::string joined(const Json& names) {
  std::string out;
  for (const Json& name : names) out += (out.empty() ? "" : ", ") + name.get<std::string>();
  return out;
}

void print_line(std::ostream& out, const std::string& name, const std::string& value) {
  out << name << std::string(name.size() < 16 ? 16 - name.size() : 1, ' ') << printable(value)
      << "\n";
}

void print_text(const Json& limits, std::ostream& out) {
  const Json& memory = limits.at("memory");
  const Json& threads = limits.at("threads");
  const Json& runtime = limits.at("onnxruntime");
  const Json& temporary = limits.at("temporary");
  print_line(out, "memory",
             concat("machine ", bytes_text(memory.at("machine_bytes")), ", cgroup ",
                    bytes_text(memory.at("cgroup_bytes")), ", address space ",
                    bytes_text(memory.at("address_space_bytes"))));
  print_line(out, "  a run takes",
             concat("at most ", bytes_text(memory.at("default_max_memory_bytes")),
                    " unless --max-memory says otherwise"));
  print_line(out, "threads",
             concat("machine ", threads.at("machine").dump(), ", a run takes ",
                    threads.at("default").dump(), " unless --threads says otherwise"));
  print_line(out, "instructions", joined(limits.at("instruction_sets")));
  print_line(out, "temporary",
             concat(place_text(temporary), ", free ", bytes_text(temporary.at("free_bytes"))));
  print_line(out, "onnxruntime",
             concat(place_text(runtime),
                    runtime.at("version").is_null()
                        ? ""
                        : ", version " + runtime.at("version").get<std::string>(),
                    "; needs C API ", runtime.at("api").dump(), " (1.", runtime.at("api").dump(),
                    " or newer)"));
  print_line(out, "operators", place_text(limits.at("operators")));
  print_line(out, "onnx",
             concat("writes IR version ", limits.at("onnx").at("ir").dump(), ", opset ",
                    limits.at("onnx").at("opset").dump()));
}

}  // namespace

CLI::App* add_limits(CLI::App& app, LimitsOptions& options) {
  CLI::App* const command = app.add_subcommand(
      "limits", "show what this machine gives a run: memory, threads, ONNX Runtime");
  command->add_flag("--json", options.json, "print JSON on stdout");
  command->footer(
      "Examples:\n"
      "  edgecompress limits\n"
      "  edgecompress limits --json");
  return command;
}

void run_limits(const LimitsOptions& options, std::ostream& out) {
  const Json limits = limits_json();
  if (options.json) {
    out << limits.dump(1, ' ', false, Json::error_handler_t::replace) << "\n";
  } else {
    print_text(limits, out);
  }
}

}  // namespace edgecompress::cli
